//! The report of a build in JUnit's XML, as GitLab, Jenkins and GitHub's actions read it: every input that was fetched,
//! every step and the second build is a test case, and the last case is the build as a whole.

use std::path::Path;
use std::time::Duration;

use super::record::{End, Happened, State, Task};
use crate::base::disk;
use crate::base::words::in_xml;

/// Writes the report atomically.
pub(crate) fn write(path: &Path, happened: &Happened) -> Result<(), disk::Error> {
    disk::write_atomic(path, xml(happened).as_bytes())
}

/// Result of a test case.
enum Verdict<'v> {
    Passed,
    Skipped(&'v str),
    Failed { kind: String, message: &'v str, text: String },
}

fn xml(happened: &Happened) -> String {
    let failure = match &happened.end {
        End::Done { .. } => None,
        End::Failed { exit, error, hint } => {
            let hint = hint.iter().map(|hint| format!("hint: {hint}"));
            let text: Vec<String> = error.iter().cloned().chain(hint).collect();
            let message = error.first().map_or("", String::as_str);
            Some((format!("exit {exit}"), message, text.join("\n")))
        }
    };
    let failed = || match &failure {
        Some((kind, message, text)) => Verdict::Failed { kind: kind.clone(), message, text: text.clone() },
        None => Verdict::Passed,
    };
    let mut cases = String::new();
    let (mut tests, mut failures, mut skipped) = (0, 0, 0);
    let mut add = |class: &str, name: &str, took: Duration, notes: &[String], verdict: Verdict<'_>| {
        tests += 1;
        match &verdict {
            Verdict::Passed => {}
            Verdict::Skipped(_) => skipped += 1,
            Verdict::Failed { .. } => failures += 1,
        }
        cases += &case(class, name, took, notes, &verdict);
    };
    let took = |task: &Task| match task.state {
        State::Running(began) => began.elapsed(),
        State::Done(took) => took,
        State::Cached => Duration::ZERO,
    };
    for fetch in &happened.fetches {
        // Other fetches were running when one failed; the build's own error says which one failed.
        let verdict = match fetch.is_running() {
            true => Verdict::Skipped("it was still running when the build ended"),
            false => Verdict::Passed,
        };
        add("prebake.fetch", &fetch.id, took(fetch), &fetch.notes, verdict);
    }
    for step in &happened.steps {
        let verdict = match step.state {
            State::Cached => Verdict::Skipped("already in the store"),
            State::Done(_) => Verdict::Passed,
            State::Running(_) => failed(),
        };
        add("prebake.step", &step.id, took(step), &step.notes, verdict);
    }
    if let Some(rebuild) = &happened.rebuild {
        let verdict = if rebuild.is_running() { failed() } else { Verdict::Passed };
        add("prebake.rebuild", "a second build gives the same result", took(rebuild), &[], verdict);
    }
    add("prebake.build", &happened.recipe, happened.took, &happened.warnings, failed());
    let head = format!(
        "name=\"prebake build {}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\"",
        in_xml(&happened.recipe),
        happened.took.as_secs_f64()
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite {head}>\n{cases}</testsuite>\n</testsuites>\n"
    )
}

fn case(class: &str, name: &str, took: Duration, notes: &[String], verdict: &Verdict<'_>) -> String {
    let seconds = took.as_secs_f64();
    let head = format!("<testcase classname=\"{class}\" name=\"{}\" time=\"{seconds:.3}\"", in_xml(name));
    let verdict = match verdict {
        Verdict::Passed => String::new(),
        Verdict::Skipped(why) => format!("<skipped message=\"{}\"/>", in_xml(why)),
        Verdict::Failed { kind, message, text } => {
            let (message, text) = (in_xml(message), in_xml(text));
            format!("<failure type=\"{kind}\" message=\"{message}\">{text}</failure>")
        }
    };
    let notes = match notes {
        [] => String::new(),
        notes => format!("<system-out>{}</system-out>", in_xml(&notes.join("\n"))),
    };
    match (verdict.as_str(), notes.as_str()) {
        ("", "") => format!("{head}/>\n"),
        _ => format!("{head}>{verdict}{notes}</testcase>\n"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes the text as a parser does (XML 1.0, §4.1 and §4.6).
    fn unescape(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('&') {
            let (name, after) = behind.split_once(';').expect("each reference ends");
            plain += before;
            plain.push(match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                name => char::from(name.strip_prefix('#').unwrap().parse::<u8>().unwrap()),
            });
            rest = after;
        }
        plain + rest
    }

    proptest! {
        #[test]
        fn any_text_is_well_formed_and_comes_back(text in any::<String>()) {
            let escaped = in_xml(&text);
            let is_markup = |letter: char| letter < ' ' || "<>\"\u{fffe}\u{ffff}".contains(letter);
            prop_assert_eq!(escaped.find(is_markup), None);
            let allowed = |letter: char| {
                let is_known = !matches!(letter, '\0'..' ' | '\u{fffe}' | '\u{ffff}') || "\t\n\r".contains(letter);
                if is_known { letter } else { '\u{fffd}' }
            };
            prop_assert_eq!(unescape(&escaped), text.chars().map(allowed).collect::<String>());
        }
    }

    #[test]
    fn the_sums_in_the_head_are_those_of_the_cases() {
        let task = |id: &str, state| Task {
            id: id.into(),
            began: Duration::ZERO,
            state,
            size: None,
            notes: vec!["a note".into()],
        };
        let happened = Happened {
            recipe: "a&b.yaml".into(),
            fetches: vec![task("one", State::Done(Duration::from_millis(1500)))],
            steps: vec![
                task("cached", State::Cached),
                task("failing", State::Running(std::time::Instant::now())),
            ],
            end: End::Failed {
                exit: 4,
                error: vec!["<bad>".into(), "cause".into()],
                hint: Some("do".into()),
            },
            ..Happened::default()
        };
        let xml = xml(&happened);
        assert!(xml.contains("tests=\"4\" failures=\"2\" errors=\"0\" skipped=\"1\""), "{xml}");
        assert!(
            xml.contains("name=\"one\" time=\"1.500\"><system-out>a note</system-out></testcase>"),
            "{xml}"
        );
        let failure =
            "<failure type=\"exit 4\" message=\"&lt;bad&gt;\">&lt;bad&gt;&#10;cause&#10;hint: do</failure>";
        assert_eq!(xml.matches(failure).count(), 2, "of the step and of the build: {xml}");
    }
}
