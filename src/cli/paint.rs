//! Colours of errors and findings, which are those of rustc: the severity, the place, the marks and the way out.
//!
//! Texts are painted line by line when they are printed, so that roofs below make the same texts for everybody.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::BrightRed.on_default().bold();
const WARNING: Style = AnsiColor::BrightYellow.on_default().bold();
const GUTTER: Style = AnsiColor::BrightBlue.on_default().bold();
const HELP: Style = AnsiColor::BrightCyan.on_default().bold();
const HINT: Style = AnsiColor::BrightGreen.on_default().bold();
const MESSAGE: Style = Style::new().bold();

/// The text with colours. Lines that are no part of an error or finding stay as they are.
pub(super) fn painted(text: &str) -> String {
    let mut painted = String::with_capacity(text.len() + 64);
    // The severity of the finding at hand, and whether its excerpt has begun.
    let (mut severity, mut is_excerpt) = (ERROR, false);
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        if let Some((style, words, rest)) = headline(line) {
            (severity, is_excerpt) = (style, false);
            let _ = write!(painted, "{style}{words}{style:#}");
            let message = if rest.is_empty() { Style::new() } else { MESSAGE };
            let _ = write!(painted, "{message}{rest}{message:#}");
        } else if let Some(place) = line.strip_prefix("  --> ") {
            is_excerpt = true;
            let _ = write!(painted, "  {GUTTER}-->{GUTTER:#} {place}");
        } else if let Some((gutter, code)) =
            line.split_once('|').filter(|(gutter, _)| is_excerpt && is_gutter(gutter))
        {
            let style = if code.trim_start().starts_with('^') { severity } else { Style::new() };
            let _ = write!(painted, "{GUTTER}{gutter}|{GUTTER:#}{style}{code}{style:#}");
        } else if let Some((blank, hint)) = line.split_once("= help: ").filter(|(blank, _)| is_blank(blank)) {
            let _ = write!(painted, "{blank}{GUTTER}={GUTTER:#} {HELP}help{HELP:#}: {hint}");
        } else if let Some(hint) = line.strip_prefix("  hint: ") {
            let _ = write!(painted, "  {HINT}hint{HINT:#}: {hint}");
        } else {
            painted += line;
        }
        painted += end;
    }
    painted
}

/// `error[$.release]`, and the rest of the line; likewise for warnings.
fn headline(line: &str) -> Option<(Style, &str, &str)> {
    let (style, word) =
        [(ERROR, "error"), (WARNING, "warning")].into_iter().find(|(_, word)| line.starts_with(word))?;
    let rest = &line[word.len()..];
    let end = match rest.chars().next() {
        // A path may have colons and brackets in its quotes; its end is the last bracket before a colon.
        Some('[') => word.len() + rest.find("]:")? + 1,
        Some(':') => word.len(),
        // As the lines of a build: `warning  the disk is almost full`.
        Some(' ') if rest.starts_with("  ") => word.len(),
        _ => return None,
    };
    Some((style, &line[..end], &line[end..]))
}

/// A line number between blanks, or blanks alone.
fn is_gutter(text: &str) -> bool {
    text.chars().all(|letter| letter == ' ' || letter.is_ascii_digit())
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|letter| letter == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINDING: &str = "error[$.relese]: unknown key `relese`\n  --> edge.yaml:2:1\n  |\n2 | relese: {a | b}\n  | ^^^^^^^\n  = help: did you mean `release`?\n\nwarning: b\n  because: c\n  hint: d\n";

    /// The text without its escape sequences.
    fn stripped(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    /// Our own errors were plain beside clap's coloured ones (ux.md, §2).
    #[test]
    fn the_parts_of_a_finding_have_the_colours_of_rustc_and_its_text_stays() {
        let painted = painted(FINDING);
        assert_eq!(stripped(&painted), FINDING);
        for part in [
            format!("{ERROR}error[$.relese]{ERROR:#}{MESSAGE}: unknown key"),
            format!("  {GUTTER}-->{GUTTER:#} edge.yaml:2:1"),
            format!("\n{GUTTER}2 |{GUTTER:#} relese: {{a | b}}\n"),
            format!("{GUTTER}  |{GUTTER:#}{ERROR} ^^^^^^^{ERROR:#}\n"),
            format!("{HELP}help{HELP:#}: did you mean"),
            format!("{WARNING}warning{WARNING:#}"),
            format!("  {HINT}hint{HINT:#}: d\n"),
        ] {
            assert!(painted.contains(&part), "{part:?} is not in {painted:?}");
        }
    }

    #[test]
    fn a_path_with_brackets_belongs_to_the_severity() {
        let (_, words, rest) = headline("error[$.files[\"a: b\"].mode]: no mode").unwrap();
        assert_eq!((words, rest), ("error[$.files[\"a: b\"].mode]", ": no mode"));
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        for text in ["errors are rare\n", "fetched  a: 3 B\n", "a | b\n", "| a | b |", "  x = help: y", ""] {
            assert_eq!(painted(text), text);
        }
    }
}
