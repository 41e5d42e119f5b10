//! Merge conflicts that git and Mercurial leave in a text: recognised, named, and taken apart.
//!
//! A marker is seven `<`, `=`, `>` or `|` at the begin of a line, followed by a blank or the line's end (gitattributes(5),
//! `conflict-marker-size`).

use std::sync::Arc;

use crate::finding::{Finding, Place, Source};

/// Length of a marker.
const LENGTH: usize = 7;

/// A way out that holds for every kind of text.
const WAY_OUT: &str = "keep what is right of both sides and remove the marks, or take one side: `git checkout --ours FILE` or `git checkout --theirs FILE`";

/// Kinds of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Ours,
    Base,
    Middle,
    Theirs,
}

impl Mark {
    fn of(line: &str) -> Option<Mark> {
        let letter = line.chars().next()?;
        let rest = line.get(LENGTH..).filter(|_| line.chars().take(LENGTH).all(|other| other == letter))?;
        let is_marker = rest.is_empty() || rest.starts_with([' ', '\r', '\n']);
        let mark = match letter {
            '<' => Mark::Ours,
            '|' => Mark::Base,
            '=' => Mark::Middle,
            '>' => Mark::Theirs,
            _ => return None,
        };
        is_marker.then_some(mark)
    }
}

/// Line of the first conflict, from 1. A text with a first mark alone counts: somebody removed the others.
pub fn first(text: &str) -> Option<usize> {
    let mut marks =
        text.split_inclusive('\n').enumerate().filter_map(|(at, line)| Some((at + 1, Mark::of(line)?)));
    let (line, first) = marks.next()?;
    let others = || marks.map(|(_, mark)| mark);
    match first {
        Mark::Ours => Some(line),
        // `=======` alone underlines headings.
        Mark::Base | Mark::Middle => others().any(|mark| mark == Mark::Theirs).then_some(line),
        Mark::Theirs => Some(line),
    }
}

/// The two texts that were to be merged; `None` if the marks do not stand in order.
pub fn sides(text: &str) -> Option<[String; 2]> {
    let (mut ours, mut theirs) = (String::new(), String::new());
    let mut within = None;
    for line in text.split_inclusive('\n') {
        within = match (within, Mark::of(line)) {
            (None, Some(Mark::Ours)) => Some(Mark::Ours),
            (Some(Mark::Ours), Some(Mark::Base)) => Some(Mark::Base),
            (Some(Mark::Ours | Mark::Base), Some(Mark::Middle)) => Some(Mark::Middle),
            (Some(Mark::Middle), Some(Mark::Theirs)) => None,
            // The common ancestor of a nested conflict may have marks of its own.
            (Some(Mark::Base), _) => within,
            (_, Some(_)) => return None,
            (None, None) => {
                ours += line;
                theirs += line;
                within
            }
            (Some(Mark::Ours), None) => {
                ours += line;
                within
            }
            (Some(_), None) => {
                theirs += line;
                within
            }
        };
    }
    within.is_none().then_some([ours, theirs])
}

/// The finding for a text that cannot be read: its first conflict, if it has one, else the reader's own.
pub fn or(source: &Arc<Source>, found: Finding) -> Finding {
    match first(&source.text) {
        Some(line) => Finding::error(format!("a merge conflict at line {line}"))
            .at(Place { source: source.clone(), line, column: 1 })
            .hint(WAY_OUT),
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ux.md 1.18, 2026-11-28.
    #[test]
    fn both_sides_of_a_conflict_are_found_in_every_style_of_git() {
        let merge = "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other\nd\n";
        let diff3 = "a\n<<<<<<< HEAD\nb\n||||||| 1a2b3c\nx\n<<<<<<<<< nested\n=========\n=======\nc\n>>>>>>> other\nd\n";
        for text in [merge, diff3, &merge.replace('\n', "\r\n")] {
            assert_eq!(first(text), Some(2), "{text}");
            let [ours, theirs] = sides(text).unwrap().map(|side| side.replace('\r', ""));
            assert_eq!((ours.as_str(), theirs.as_str()), ("a\nb\nd\n", "a\nc\nd\n"), "{text}");
        }
        let twice = format!("{merge}{merge}");
        assert_eq!(sides(&twice).unwrap()[1], "a\nc\nd\na\nc\nd\n");
    }

    #[test]
    fn marks_out_of_order_have_no_sides_and_other_texts_no_marks() {
        for (text, line) in [
            ("<<<<<<< HEAD\na\n", Some(1)),
            ("a\n>>>>>>> b\n", Some(2)),
            ("a\n=======\n>>>>>>> b\n", Some(2)),
            ("<<<<<<< a\n=======\n", Some(1)),
        ] {
            assert_eq!((first(text), sides(text)), (line, None), "{text:?}");
        }
        for text in [
            "",
            "a: 1\n",
            "Title\n=======\ntext\n",
            " <<<<<<< a\n",
            "<<<<<<<<\n",
            "<<<<<<\n",
            "=======\n",
            "ü======\n",
        ] {
            assert_eq!(first(text), None, "{text:?}");
        }
    }
}
