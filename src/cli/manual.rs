//! The sections of a verb's manual page: those of `--help`, and those that only manual pages have.

use std::fmt::Write;
use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;

use super::{examples, exits};

/// A verb's page and its file name, such as `prebake-sysext-build.1`. The command has to be built.
pub(super) fn page(command: &Command) -> io::Result<(String, String)> {
    // Without a date, so that the same version gives the same page; clap_mangen 0.3 writes an empty date as no argument
    // at all.
    let man = Man::new(command.clone())
        .date("\"\"")
        .source(concat!("prebake ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut bytes = Vec::new();
    man.render_title(&mut bytes)?;
    man.render_name_section(&mut bytes)?;
    man.render_synopsis_section(&mut bytes)?;
    man.render_description_section(&mut bytes)?;
    let mut options = Vec::new();
    man.render_options_section(&mut options)?;
    bytes.extend(below_one_heading(&String::from_utf8_lossy(&options)).into_bytes());
    if command.has_subcommands() {
        man.render_subcommands_section(&mut bytes)?;
    }
    let mut text = String::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        // Each section that is rendered alone begins with the same definition of an apostrophe.
        let is_again = (line.starts_with(".ie ") || line.starts_with(".el ")) && text.contains(line);
        if !is_again {
            let _ = writeln!(text, "{line}");
        }
    }
    Ok((man.get_filename(), text + &own_sections(command)))
}

/// Options have one section, and each heading of theirs is a part of it.
fn below_one_heading(options: &str) -> String {
    let mut text = String::new();
    for line in options.lines() {
        match line.strip_prefix(".SH ") {
            Some(heading) if text.contains(".SH ") => text += &format!(".SS {heading}\n"),
            Some("OPTIONS") => text += ".SH OPTIONS\n",
            Some(heading) => text += &format!(".SH OPTIONS\n.SS {heading}\n"),
            None => text += &format!("{line}\n"),
        }
    }
    text
}

/// The sections after the options.
fn own_sections(command: &Command) -> String {
    let page = command.get_display_name().unwrap_or_else(|| command.get_name());
    let verb = command.get_bin_name().unwrap_or_default().trim_start_matches("prebake").trim_start();
    let mut text = String::new();
    let examples = examples::of(verb);
    if !examples.is_empty() {
        text += ".SH EXAMPLES\n";
        for (line, purpose) in examples {
            let _ = write!(text, "{}\n.PP\n.nf\n.RS\n{}\n.RE\n.fi\n.PP\n", escaped(purpose), escaped(line));
        }
    }
    let codes = exits::codes().map(|(code, meaning)| (code.to_string(), meaning.to_owned()));
    let codes: Vec<_> = codes.collect();
    section(&mut text, "EXIT STATUS", &codes);
    section(&mut text, "ENVIRONMENT", &variables(command));
    section(&mut text, "FILES", &files(command));
    let mut others = if page == "prebake" { Vec::new() } else { vec![("prebake".to_owned(), 1)] };
    others.extend(
        page.rsplit_once('-').map(|(above, _)| (above.to_owned(), 1)).filter(|(above, _)| above != "prebake"),
    );
    others.extend(command.get_subcommands().map(|inner| (format!("{page}-{}", inner.get_name()), 1)));
    if !others.is_empty() {
        let others = others.iter().map(|(name, section)| format!(".BR {} ({section})", escaped(name)));
        let _ = writeln!(text, ".SH \"SEE ALSO\"\n{}", others.collect::<Vec<_>>().join(" ,\n"));
    }
    text
}

/// A section that explains terms.
fn section(text: &mut String, heading: &str, terms: &[(String, String)]) {
    if terms.is_empty() {
        return;
    }
    let _ = writeln!(text, ".SH \"{heading}\"");
    for (term, meaning) in terms {
        let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(term), escaped(meaning));
    }
}

/// Variables that a verb reads: those that stand for its options, and those of every verb.
fn variables(command: &Command) -> Vec<(String, String)> {
    let of_option = |argument: &Arg| {
        let name = argument.get_env()?.to_string_lossy().into_owned();
        Some((name, format!("Counts where --{} is not given.", argument.get_long()?)))
    };
    let mut variables: Vec<_> = command.get_arguments().filter_map(of_option).collect();
    variables.extend([
        ("NO_COLOR".into(), "Set and not empty, it turns colours off unless --color=always is given.".into()),
        ("CLICOLOR_FORCE".into(), "Set to 1, it colours files and pipes, too.".into()),
        ("TERM".into(), "A terminal that is `dumb` gets no colours.".into()),
    ]);
    variables
}

/// Files that a verb reads or writes beside those that it is given.
fn files(command: &Command) -> Vec<(String, String)> {
    let has = |id: &str| command.get_arguments().any(|argument| argument.get_id() == id);
    let publishes = command.get_arguments().any(|argument| {
        argument.get_id() == "output"
            && argument.get_default_values().first().is_some_and(|value| value == "output")
    });
    let rows = [
        (has("recipe"), "RECIPE.lock", "The lock, beside the recipe, in the place of its `.yaml`."),
        (publishes, "output/NAME/BUILD-ID", "A published tree; output/NAME/current leads to the newest."),
        (
            has("store"),
            "~/.cache/prebake/store",
            "The store, if neither --store nor PREBAKE_STORE names another; below $XDG_CACHE_HOME where that is set.",
        ),
    ];
    let rows = rows.into_iter().filter(|(is_used, ..)| *is_used);
    rows.map(|(_, path, meaning)| (path.to_owned(), meaning.to_owned())).collect()
}

/// A line of text for roff: backslashes, hyphens that are copied as such, and no control at its beginning.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::help::dressed;

    #[test]
    fn a_page_has_the_sections_of_a_manual_page_in_their_order() {
        let mut prebake = dressed();
        prebake.build();
        let (name, text) = page(prebake.find_subcommand("build").unwrap()).unwrap();
        assert_eq!(name, "prebake-build.1");
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let expected = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXAMPLES",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "FILES",
            "\"SEE ALSO\"",
        ];
        assert_eq!(
            sections.iter().map(|name| name.trim_matches('"')).collect::<Vec<_>>(),
            expected.map(|name| name.trim_matches('"'))
        );
        assert!(text.contains(".SS DELIVERY\n") && text.contains("\\fBPREBAKE_STORE\\fR"), "{text}");
    }

    #[test]
    fn lines_cannot_become_requests() {
        assert_eq!(escaped(".a -b \\c"), "\\&.a \\-b \\ec");
    }
}
