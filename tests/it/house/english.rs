//! The English of comments and documents, as far as a machine can hold it: no sentence has Who or What for its subject, and no doc
//! comment says nothing (CONTRIBUTING.md).
//!
//! The rule is a floor. A relative clause for a subject ("Who asks gets …") is where a reader stumbles; questions are excepted, and
//! code and quotations.

use super::texts::{self, Paragraph};

/// Words that a sentence does not begin with.
const SUBJECTS: [&str; 6] = ["What", "Who", "Whoever", "Whatever", "Whose", "Whom"];

/// Docs that repeat the name of their item, or say nothing of it.
const EMPTY: [&str; 21] = [
    "the file.",
    "why.",
    "the name.",
    "its name.",
    "the path.",
    "its path.",
    "the error.",
    "where.",
    "the text.",
    "how.",
    "the place.",
    "when.",
    "the bytes.",
    "its text.",
    "the value.",
    "the line.",
    "the message.",
    "the reason.",
    "the cause.",
    "which.",
    "which one.",
];

/// The text with quotations and code as blanks, so that every byte stays where it is.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut until = None;
    for character in text.chars() {
        match until {
            Some(end) if end == character => until = None,
            Some(_) => {}
            None => {
                until = match character {
                    '`' => Some('`'),
                    '"' => Some('"'),
                    '“' => Some('”'),
                    _ => None,
                }
            }
        }
        match until {
            Some('`' | '"' | '”') => out.extend(std::iter::repeat_n('x', character.len_utf8())),
            _ => out.push(character),
        }
    }
    // A quotation that does not end is none, such as an inch.
    if until.is_some() { text.to_owned() } else { out }
}

/// Where sentences begin whose subject is one of [`SUBJECTS`].
fn subjects(text: &str) -> Vec<usize> {
    let text = plain(text);
    let begins = |at: usize| {
        let before = text[..at].trim_end_matches(['*', '_', '(']);
        before.is_empty()
            || before.ends_with(' ') && before.trim_end().ends_with(['.', '!', '?', ':', ';', '*'])
    };
    let is_question = |at: usize| {
        let end = text[at..].find(['.', '!', '?']).map(|end| at + end);
        end.is_some_and(|end| text[end..].starts_with('?'))
    };
    let mut found = Vec::new();
    for subject in SUBJECTS {
        for (at, _) in text.match_indices(subject) {
            let ends = !text[at + subject.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if ends && begins(at) && !is_question(at) {
                found.push(at);
            }
        }
    }
    found.sort_unstable();
    found
}

fn flaws(paragraph: &Paragraph) -> Vec<String> {
    let text = paragraph.text();
    let place = |at| format!("{}:{}", paragraph.file, paragraph.line(at));
    let mut found: Vec<String> = { subjects(text).into_iter() }
        .map(|at| format!("{}: {}", place(at), text[at..].chars().take(80).collect::<String>()))
        .collect();
    if paragraph.is_whole_doc && EMPTY.contains(&text.to_lowercase().as_str()) {
        found.push(format!("{}: a doc that says nothing: {text}", place(0)));
    }
    found
}

fn judge(paragraphs: impl Iterator<Item = Paragraph>) {
    let flaws: Vec<String> = paragraphs.flat_map(|paragraph| flaws(&paragraph)).collect();
    assert!(
        flaws.is_empty(),
        "{} sentences have Who or What for a subject, or say nothing; CONTRIBUTING.md has the rule:\n{}",
        flaws.len(),
        flaws.join("\n")
    );
}

#[test]
fn sentences_in_comments_have_a_subject() {
    let sources = texts::files("src", "rs").into_iter();
    judge(sources.flat_map(|file| texts::comments(&file, &texts::read(&file))));
}

#[test]
fn sentences_in_documents_have_a_subject() {
    judge(texts::documents().into_iter().flat_map(|file| texts::document(&file, &texts::read(&file))));
}

#[test]
fn the_rule_finds_subjects_and_spares_questions_code_and_quotations() {
    let document = "\
# What a heading says

Who asks gets it. What it holds
is kept. **Whoever waits** is told. What is this? `What this says` is code. It says \"Well. Who asks\" here.
Somebody knows what it is; Who knows, knows: Whatever it is.

    What is indented.

- What an item says
  and goes on. Whose it is.

```
What is fenced.
```

| What | Whom |
|---|---|
| Whom it tells | what |
";
    let found: Vec<String> = texts::document("x.md", document).iter().flat_map(flaws).collect();
    let lines: Vec<&str> = found.iter().map(|flaw| flaw.split(' ').next().unwrap()).collect();
    let expected = [3, 3, 4, 5, 5, 9, 10, 18].map(|line| format!("x.md:{line}:"));
    assert_eq!(lines, expected, "{found:#?}");

    let source = "//! What it owns.\n\n/// The file.\npub file: X,\n/// The file.\n///\n/// It is read.\nfn f() {\n    // Whoever asks\n    // waits. What else?\n    let url = \"http://x\"; // What follows code\n}\n";
    let found: Vec<String> = texts::comments("x.rs", source).iter().flat_map(flaws).collect();
    let lines: Vec<&str> = found.iter().map(|flaw| flaw.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["x.rs:1:", "x.rs:3:", "x.rs:9:"], "{found:#?}");
}
