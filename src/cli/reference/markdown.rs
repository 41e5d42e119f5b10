//! The tables of keys in `docs/formats`, between two marks.

use super::{demands, kind, meanings, sections};
use crate::base::yaml::keys::{Absent, Key, Mapping, Value};

/// The lines between which a document has its tables.
pub const MARKS: [&str; 2] = [
    "<!-- Made from the decoder's table of keys: PREBAKE_BLESS=1 cargo test --test it reference -->\n",
    "<!-- The end of the tables. -->\n",
];

/// Tables of every key of a file, with a heading for each mapping.
pub fn tables(top: &'static Mapping) -> String {
    let mut text = String::new();
    for section in sections(top) {
        if !section.path.is_empty() {
            text += &format!("\n### `{}`\n", section.path);
        }
        text += "\n| key | value | without it | changes | example |\n|---|---|---|---|---|\n";
        section.mapping.keys.iter().for_each(|key| text += &row(key));
        let demands = demands(section.mapping);
        if !demands.is_empty() {
            text += &format!("\n{}\n", demands.join(" "));
        }
    }
    text + "\n"
}

fn row(key: &Key) -> String {
    let absent = match key.absent {
        Absent::Fault => "required".to_owned(),
        Absent::Same(default) => format!("`{default}`"),
        Absent::Words(words) => words.to_owned(),
    };
    let meanings: Vec<String> =
        meanings(&key.value).into_iter().map(|(word, meaning)| format!("`{word}`: {meaning}")).collect();
    let words = match meanings.is_empty() || matches!(key.value, Value::List(_)) {
        true => key.words.to_owned(),
        false => format!("{} {}.", key.words, meanings.join("; ")),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    let (value, absent, words) = (cell(&kind(&key.value)), cell(&absent), cell(&words));
    format!("| `{}` | {value} | {absent} | {words} | `{}: {}` |\n", key.name, key.name, cell(key.example))
}

/// A document with other text between its marks; `None` if it lacks them.
pub fn replaced(document: &str, marks: [&str; 2], text: &str) -> Option<String> {
    let (before, rest) = document.split_once(marks[0])?;
    let (_, after) = rest.split_once(marks[1])?;
    Some([before, marks[0], text, marks[1], after].concat())
}
