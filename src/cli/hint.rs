//! Adapts hints to the running verb: removes ways out by options that the verb does not have.
//!
//! Other modules do not know which verb called them. A hint consists of one or more ways out, separated by `; `, `, or
//! ` or a full stop; those that name an option of another verb are removed here. Text in backticks is a command of its
//! own, unless it begins with a dash.

use std::collections::BTreeSet;

use clap::{ArgMatches, Command};

/// Separators between the ways out of a hint.
const SEPARATORS: [&str; 3] = ["; ", ", or ", ". "];
/// Prefix of a hint in a printed finding.
const HELP: &str = "  = help: ";

/// The options of a verb, with their dashes.
pub(super) struct Options {
    known: BTreeSet<String>,
    /// Whether the command line asked for JSON.
    pub has_json: bool,
}

impl Options {
    /// The options of the verb that a command line names.
    pub(super) fn of(command: &Command, matches: &ArgMatches) -> Options {
        let (mut command, mut matches) = (command, matches);
        while let Some((name, inner)) = matches.subcommand() {
            let Some(verb) = command.find_subcommand(name) else { break };
            (command, matches) = (verb, inner);
        }
        let has_json = matches!(matches.try_get_one("json"), Ok(Some(true)));
        Options { has_json, ..Options::of_verb(command) }
    }

    fn of_verb(verb: &Command) -> Options {
        let mut options = BTreeSet::from(["--help".to_owned(), "-h".to_owned()]);
        for argument in verb.get_arguments() {
            let longs = argument.get_long_and_visible_aliases().unwrap_or_default();
            options.extend(longs.into_iter().map(|long| format!("--{long}")));
            let shorts = argument.get_short_and_visible_aliases().unwrap_or_default();
            options.extend(shorts.into_iter().map(|short| format!("-{short}")));
        }
        Options { known: options, has_json: false }
    }

    /// The hint without the ways out that this verb does not have; `None` if none is left.
    pub(super) fn fit(&self, hint: &str) -> Option<String> {
        let mut fitting = String::new();
        for (separator, way) in ways(hint) {
            if named(way).iter().all(|option| self.known.contains(*option)) {
                let separator = if fitting.is_empty() { "" } else { separator };
                fitting += separator;
                fitting += way;
            }
        }
        (!fitting.is_empty()).then_some(fitting)
    }

    /// Adapts the hints in printed findings.
    pub(super) fn fit_helps(&self, text: &str) -> String {
        let fit = |line: &str| match line.strip_prefix(HELP) {
            Some(hint) => self.fit(hint).map(|hint| format!("{HELP}{hint}")),
            None => Some(line.to_owned()),
        };
        text.split('\n').filter_map(fit).collect::<Vec<_>>().join("\n")
    }
}

/// The ways out of a hint, each with the separator before it.
fn ways(hint: &str) -> Vec<(&str, &str)> {
    let mut ways = Vec::new();
    let (mut separator, mut begin, mut is_code) = ("", 0, false);
    for (at, letter) in hint.char_indices() {
        is_code ^= letter == '`';
        let rest = hint.get(at..).unwrap_or_default();
        if let Some(found) = SEPARATORS.into_iter().find(|found| !is_code && rest.starts_with(found)) {
            ways.push((separator, hint.get(begin..at).unwrap_or_default()));
            (separator, begin) = (found, at + found.len());
        }
    }
    ways.push((separator, hint.get(begin..).unwrap_or_default()));
    ways
}

/// The options that a way out names, except those of commands in backticks.
fn named(way: &str) -> Vec<&str> {
    let parts = way.split('`').enumerate();
    let parts = parts.filter(|(index, part)| index % 2 == 0 || part.starts_with('-'));
    parts.flat_map(|(_, part)| options(part)).collect()
}

/// The words of a text that are options, such as `--store` or `-o`.
fn options(text: &str) -> Vec<&str> {
    let is_end = |letter: char| letter.is_whitespace() || "=,;:.)('\"".contains(letter);
    let words = text.split(is_end).flat_map(|word| word.split("/-").enumerate());
    let words = words.filter(|(index, _)| *index == 0).map(|(_, word)| word);
    let is_option = |word: &&str| match word.strip_prefix("--") {
        Some(name) => name.starts_with(|c: char| c.is_ascii_lowercase()),
        None => word.len() == 2 && word.starts_with('-') && word.ends_with(|c: char| c.is_ascii_alphabetic()),
    };
    words.filter(is_option).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn of(verb: &[&str]) -> Options {
        Options::of_verb(found(verb).unwrap())
    }

    fn found(verb: &[&str]) -> Option<&'static Command> {
        static CLI: std::sync::LazyLock<Command> = std::sync::LazyLock::new(Cli::command);
        verb.iter().try_fold(&*CLI, |command, name| command.find_subcommand(name))
    }

    /// On 2026-11-29, `initrd extract` suggested `--force` and `--store`, which it does not have.
    #[test]
    fn a_hint_keeps_the_ways_out_that_its_verb_has() {
        let full = "the disk is full: make room on the one with /x, or name another --output; no partial files were left there";
        let cases: [(&[&str], &str, Option<&str>); 8] = [
            (
                &["build"],
                full,
                Some(
                    "the disk is full: make room on the one with /x, or name another --output; no partial files were left there",
                ),
            ),
            (
                &["initrd", "extract"],
                full,
                Some(
                    "the disk is full: make room on the one with /x, or name another --output; no partial files were left there",
                ),
            ),
            (
                &["sysext", "extract"],
                full,
                Some(
                    "the disk is full: make room on the one with /x, or name another --output; no partial files were left there",
                ),
            ),
            (
                &["initrd", "extract"],
                "choose another name, or replace it with --force",
                Some("choose another name"),
            ),
            (&["initrd", "extract"], "--store chooses another store", None),
            (&["lock"], "allow it with `--experimental`", None),
            (
                &["lock"],
                "`prebake build RECIPE --layer FILE` builds both again; `xz --check=crc32` packs it",
                Some("`prebake build RECIPE --layer FILE` builds both again; `xz --check=crc32` packs it"),
            ),
            (&["lock"], "name other files with -o, or wait", Some("wait")),
        ];
        for (verb, hint, expected) in cases {
            assert_eq!(of(verb).fit(hint).as_deref(), expected, "{verb:?}");
        }
        let findings = "error: a\n  --> b\n  = help: allow it with `--experimental`\n\nerror: c";
        assert_eq!(of(&["build"]).fit_helps(findings), "error: a\n  --> b\n\nerror: c");
        assert_eq!(of(&["ignition", "transpile"]).fit_helps(findings), findings);
    }

    /// Collects the text of all source files, without comments.
    fn texts(directory: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                texts(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                let source = source.split("#[cfg(test)]").next().unwrap();
                let lines = source.lines().map(str::trim).filter(|line| !line.starts_with("//"));
                // A line that ends in a backslash continues at the next line's first word.
                let text = lines.map(|line| line.strip_suffix('\\').unwrap_or(line)).collect::<Vec<_>>();
                found.push((path.display().to_string(), text.join(" ")));
            }
        }
    }

    #[test]
    fn every_command_of_prebake_that_a_message_names_is_one_with_options_that_it_has() {
        let mut sources = Vec::new();
        texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
        let (mut wrong, mut commands) = (Vec::new(), 0);
        for (path, text) in &sources {
            for command in text.split("`prebake ").skip(1).filter_map(|rest| rest.split('`').next()) {
                let words: Vec<&str> = command.split_whitespace().collect();
                let names: Vec<&str> = (0..=words.len())
                    .rev()
                    .map(|count| &words[..count])
                    .find(|names| found(names).is_some())
                    .unwrap()
                    .to_vec();
                let known = of(&names);
                commands += 1;
                let is_verb =
                    !names.is_empty() || words.iter().all(|word| word.starts_with('-') || word.contains('{'));
                let lacking = options(command).into_iter().find(|option| {
                    !(known.known.contains(*option) || names.is_empty() && *option == "--version")
                });
                if !is_verb || lacking.is_some() {
                    wrong.push(format!("{path}: prebake {command}: {lacking:?}"));
                }
            }
        }
        assert!(commands > 40, "{commands}");
        assert_eq!(wrong, Vec::<String>::new());
    }
}
