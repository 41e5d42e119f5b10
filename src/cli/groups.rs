//! The groups in which `prebake --help` lists the verbs: the daily ones first, those for shells and packagers last.

use std::fmt::Write;

use clap::Command;
use clap::builder::StyledStr;

use super::terminal;

/// Headings, each with its verbs in the order in which people need them. Every verb is in exactly one group.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Every day", &["new", "plan", "lock", "build", "serve", "status"]),
    ("Look closer", &["explain", "diff", "verify", "logs", "boot"]),
    ("Machines and releases", &["nodes", "cluster", "capi", "proxmox", "release"]),
    ("Parts of a tree", &["sysext", "ignition", "initrd", "disk"]),
    ("Signatures, sites without internet", &["bundle", "key", "mirror"]),
    ("Inputs and disk", &["fetch", "store", "prune"]),
    ("prebake itself", &["help", "version", "schema", "completions", "man"]),
];

/// Columns before a verb and behind the longest one.
const MARGIN: usize = 2;

/// The help template of the whole program: the verbs by group instead of in one list.
pub(super) fn template(command: &Command) -> StyledStr {
    let header = command.get_styles().get_header();
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n\n".to_owned();
    text += &listing(command, terminal::columns_of_stdout().unwrap_or(terminal::WIDEST));
    let _ = write!(text, "{header}{}:{header:#}\n{{options}}{{after-help}}", super::GLOBAL);
    text.into()
}

/// The groups with their verbs and summaries, for lines of this many columns.
fn listing(command: &Command, columns: usize) -> String {
    let (header, literal) = (command.get_styles().get_header(), command.get_styles().get_literal());
    let longest = command.get_subcommands().map(|verb| verb.get_name().len()).max().unwrap_or(0);
    let indent = longest + 2 * MARGIN;
    let mut text = String::new();
    for (heading, names) in GROUPS {
        let _ = writeln!(text, "{header}{heading}:{header:#}");
        for verb in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let name = verb.get_name();
            let padding = " ".repeat(longest - name.len());
            let _ = write!(text, "  {literal}{name}{literal:#}{padding}  ");
            let summary = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let lines = wrapped(&summary, columns.min(terminal::WIDEST).saturating_sub(indent).max(20));
            let _ = writeln!(text, "{}", lines.join(&format!("\n{}", " ".repeat(indent))));
        }
        text.push('\n');
    }
    text
}

/// Lines of at most this many characters, broken at blanks.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line_) if line == 0 => line_.push_str(word),
            Some(line_) if line + 1 + word.chars().count() <= width => {
                line_.push(' ');
                line_.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// Eighteen verbs in one alphabetical list did not tell a newcomer which five are needed (ux.md, §2).
    #[test]
    fn every_verb_is_in_exactly_one_group() {
        for verb in Cli::command().get_subcommands() {
            let count =
                GROUPS.iter().flat_map(|(_, names)| *names).filter(|name| **name == verb.get_name()).count();
            assert_eq!(count, 1, "src/cli/groups.rs lists `{}` {count} times", verb.get_name());
        }
        // clap makes `help` and needs no line for it.
        let is_verb = |name: &&str| *name == "help" || Cli::command().find_subcommand(name).is_some();
        assert!(GROUPS.iter().flat_map(|(_, names)| *names).all(is_verb), "a name that is no verb");
    }

    #[test]
    fn the_list_fits_narrow_terminals_and_has_each_summary_whole() {
        let plain = Cli::command().styles(clap::builder::Styles::plain());
        for columns in [60, 80, 100] {
            let listing = listing(&plain, columns);
            assert!(listing.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{listing}");
            let words = listing.split_whitespace().collect::<Vec<_>>().join(" ");
            for verb in plain.get_subcommands() {
                assert!(words.contains(&verb.get_about().unwrap().to_string()), "{}", verb.get_name());
            }
        }
    }
}
