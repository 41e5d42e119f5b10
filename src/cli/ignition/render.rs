//! Prints findings as Butane does: the place, two lines around it, and the message under the text that it is about.

use std::fmt::Write;

use crate::base::finding::{self, Finding, MOST, Place, Window};

/// Number of lines shown before and after the place.
const CONTEXT: usize = 2;

/// All findings, separated by empty lines, or one per line if `raw`.
pub(super) fn all(findings: &[Finding], raw: bool) -> String {
    // One-line findings are cheap; for blocks, each finding is searched in its text.
    let shown = if raw { findings.len() } else { findings.len().min(MOST + 1) };
    let mut texts: Vec<String> =
        findings[..shown].iter().map(|finding| if raw { line(finding) } else { block(finding) }).collect();
    if shown < findings.len() {
        texts.push(format!("{}\n", finding::more(findings.len() - shown)));
    }
    texts.join(if raw { "" } else { "\n" })
}

/// One line: `error at $.storage.files.0.path, line 5 col 13: path not absolute`.
pub(super) fn line(finding: &Finding) -> String {
    let place = finding.place.as_ref().map(|place| format!("line {} col {}", place.line, place.column));
    let at: Vec<String> = finding.path.clone().filter(|path| path != "$").into_iter().chain(place).collect();
    let at = if at.is_empty() { String::new() } else { format!(" at {}", at.join(", ")) };
    format!("{}{at}: {}\n", finding.severity, finding.message)
}

fn block(finding: &Finding) -> String {
    let mut out = String::new();
    let Some(place) = &finding.place else {
        out.push_str(&line(finding));
        hint(&mut out, finding, 1);
        return out;
    };
    let path = finding.path.as_ref().map_or(String::new(), |path| format!("[{path}]"));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}{path}:", finding.severity);
    let gutter = excerpt(&mut out, place, &finding.message);
    for (place, why) in &finding.related {
        excerpt(&mut out, place, why);
    }
    hint(&mut out, finding, gutter);
    out
}

fn hint(out: &mut String, finding: &Finding, gutter: usize) {
    if let Some(hint) = &finding.hint {
        let _ = writeln!(out, " {:gutter$} = help: {hint}", "");
    }
}

/// Prints the lines around a place, and returns the width of the line numbers.
fn excerpt(out: &mut String, place: &Place, message: &str) -> usize {
    let _ = writeln!(out, "  --> {place}");
    let first = place.line.saturating_sub(CONTEXT).max(1);
    let lines = place.source.text.lines().enumerate().skip(first - 1).take(place.line + CONTEXT + 1 - first);
    let lines: Vec<(usize, &str)> = lines.map(|(index, line)| (index + 1, line)).collect();
    let gutter = lines.last().map_or(1, |(number, _)| number.to_string().len());
    let _ = writeln!(out, " {:gutter$} |", "");
    let window = Window::around(place.column);
    let beginning = Window::around(1);
    let mut marked = false;
    for (number, line) in lines {
        let shown = if number == place.line { window.show(line) } else { beginning.show(line) };
        let _ = writeln!(out, " {number:gutter$} | {shown}");
        if number == place.line {
            let _ = writeln!(out, " {:gutter$} | {} {message}", "", window.mark(&shown));
            marked = true;
        }
    }
    if !marked {
        let _ = writeln!(out, " {:gutter$} | {message}", "");
    }
    let _ = writeln!(out, " {:gutter$} |", "");
    gutter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Source;

    #[test]
    fn a_finding_looks_like_one_of_butane() {
        let source = Source::new("config.bu", "a\nb\nc: etc/hosts x\nd\ne\nf\n");
        let finding = Finding::error("path not absolute")
            .at(Place { source, line: 3, column: 4 })
            .path("$.c")
            .hint("start with `/`");
        let shown = "error[$.c]:\n  --> config.bu:3:4\n   |\n 1 | a\n 2 | b\n 3 | c: etc/hosts x\n   |    ^^^^^^^^^ \
                     path not absolute\n 4 | d\n 5 | e\n   |\n   = help: start with `/`\n";
        assert_eq!(block(&finding), shown);
        assert_eq!(line(&finding), "error at $.c, line 3 col 4: path not absolute\n");
    }

    #[test]
    fn of_a_very_long_line_only_the_part_in_question_is_shown() {
        let text = format!("{}HERE{}", "x".repeat(5000), "y".repeat(5000));
        let place = Place { source: Source::new("c.ign", text), line: 1, column: 5001 };
        let shown = block(&Finding::error("m").at(place));
        assert!(shown.contains("HERE") && shown.len() < 1500, "{}", shown.len());
    }
}
