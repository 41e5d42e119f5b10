//! The place where a person wrote a secret: in the layer, or in the local file that the layer names.
//!
//! The shown part of a line ends where the secret begins, since findings are printed into the logs of CI.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assign;
use super::scan::{Hit, scan};
use crate::base::finding::{Place, Source};

/// Upper limit for a local file that is searched for the line, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// The place of a secret in contents that a layer brought from `origin`; also the place in the layer, if the secret is
/// in another file. `name` is the path on the machine.
pub(crate) fn of_contents(origin: &Place, name: &str, contents: &[u8], hit: Hit) -> (Place, Option<Place>) {
    let line = contents.split(|byte| *byte == b'\n').nth(hit.line - 1).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    // The text of a block begins below its `|`, any other text beside its key.
    for number in [origin.line + hit.line, origin.line + hit.line - 1] {
        let Some(written) = origin.source.line(number) else { continue };
        if let Some(column) = column_in(written, &line, hit.column) {
            return (masked(&origin.source.name, written, number, column), None);
        }
    }
    match local_file(origin, name, &line, hit) {
        Some(place) => (place, Some(masked_place(origin))),
        None => (masked_place(origin), None),
    }
}

/// The place of a secret in a text whose line may be anywhere in a source, such as in the values of a YAML file.
pub(crate) fn of_text(source: &Arc<Source>, text: &str, hit: Hit) -> Place {
    let line = text.lines().nth(hit.line - 1).unwrap_or_default();
    let found = source.text.lines().enumerate().find_map(|(index, written)| {
        Some(masked(&source.name, written, index + 1, column_in(written, line, hit.column)?))
    });
    found.unwrap_or_else(|| masked(&source.name, "", 1, 1))
}

/// The place of a secret in a text that a person wrote.
pub(crate) fn of_source(name: &str, line: &str, hit: Hit) -> Place {
    masked(name, line, hit.line, hit.column)
}

/// The same place without the text there, for messages that hide it, too.
pub(crate) fn masked_place(place: &Place) -> Place {
    let line = place.source.line(place.line).unwrap_or_default();
    masked(&place.source.name, line, place.line, place.column)
}

/// The column in a written line that corresponds to a column of the contents; `None` if it is another line.
fn column_in(written: &str, line: &str, column: usize) -> Option<usize> {
    let text = line.trim();
    let at = written.find(text).filter(|_| !text.is_empty())?;
    let indent = line.chars().take_while(|c| c.is_whitespace()).count();
    Some(written[..at].chars().count() + column.saturating_sub(indent).max(1))
}

/// A line up to a column, as the only text of its source. Of the part before the column, only the name of the secret is
/// shown, since another secret may be in it.
pub(crate) fn masked(name: &str, line: &str, number: usize, column: usize) -> Place {
    let before: Vec<char> = line.chars().take(column - 1).collect();
    let text = format!("{}{}…", "\n".repeat(number - 1), name_alone(&before));
    Place { source: Source::new(name, text), line: number, column }
}

/// The part of a line before a secret, with the same width: the name directly before the secret is kept, and one mark
/// replaces the rest. The mark does not show how long anything in the rest is.
fn name_alone(before: &[char]) -> String {
    const MARK: &str = "***";
    /// Upper limit for a name, in characters.
    const MAX_NAME: usize = 40;
    /// Upper limit for the punctuation before the first name in a line of YAML, JSON or TOML.
    const MAX_SIGNS: usize = 3;
    let is_sign = |c: char| "\"'-{[,".contains(c);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let count = |text: &[char], of: &dyn Fn(char) -> bool| text.iter().rev().take_while(|c| of(**c)).count();
    let end = before.len() - count(before, &|c| c.is_whitespace() || "\"':=>([".contains(c));
    let start = end - count(&before[..end], &is_part);
    let tied = before[end..].iter().any(|c| ":= ".contains(*c));
    // A name that is joined to something by punctuation may be part of a secret.
    let apart = start
        .checked_sub(1)
        .is_none_or(|at| before[at].is_whitespace() || is_sign(before[at]) || ";&?".contains(before[at]));
    let name: String = before[start..end].iter().collect();
    let opening = |text: &[char]| {
        text.iter().all(|c| c.is_whitespace() || is_sign(*c))
            && text.iter().filter(|c| is_sign(**c)).count() <= MAX_SIGNS
    };
    let (first, says) = (opening(&before[..start]), assign::class(&name).is_some());
    let shown = tied && apart && name.len() <= MAX_NAME && (first && says || assign::is_generic(&name));
    let hidden = if shown { start } else { before.len() };
    let rest: String = before[hidden..].iter().collect();
    match opening(&before[..hidden]) {
        true => before[..hidden].iter().collect::<String>() + &rest,
        false => format!("{:hidden$}{rest}", &MARK[..hidden.min(MARK.len())]),
    }
}

/// The line in the file that `local:` names, or in a file of the tree that it names.
fn local_file(origin: &Place, name: &str, line: &str, hit: Hit) -> Option<Place> {
    let value = local(origin)?;
    let value = value.as_str();
    if value.is_empty() || value.contains('\0') {
        return None;
    }
    let base = Path::new(&origin.source.name).parent().unwrap_or(Path::new("")).join(value);
    let below = name.match_indices('/').map(|(at, _)| base.join(&name[at + 1..]));
    let candidates: Vec<PathBuf> = std::iter::once(base.clone()).chain(below).collect();
    candidates.iter().find_map(|path| {
        let found = line_of(path, hit.line)?;
        (found.trim_end() == line.trim_end()).then(|| of_source(&path.display().to_string(), &found, hit))
    })
}

/// The value of `local:`, whether a file or a tree is written: at its value, or at the first key of a map, of either
/// style.
fn local(origin: &Place) -> Option<String> {
    /// Upper limit for the map of a tree, in lines.
    const MAX_LINES: usize = 12;
    let first = origin.source.line(origin.line)?;
    let value: String = first.chars().skip(origin.column - 1).collect();
    let is_key = |text: &str| {
        let key = text.split(':').next().unwrap_or_default().trim_matches(['"', '\'', '{', ' ']);
        ["local", "path"].contains(&key) && text.contains(':')
    };
    let after = |text: &str| {
        let at = text.find("local:").or_else(|| text.find("\"local\":").map(|at| at + 2))?;
        Some(scalar(&text[at + "local:".len()..]))
    };
    if !is_key(&value) {
        return Some(scalar(&value));
    }
    let below = (origin.line + 1..origin.line + MAX_LINES).map_while(|number| origin.source.line(number));
    let below = below.take_while(|line| !line.trim_start().starts_with("- "));
    after(&value).or_else(|| below.map(str::trim).find(|line| line.starts_with("local:")).and_then(after))
}

/// A scalar of YAML without its quotes, in a map of either style.
fn scalar(text: &str) -> String {
    let text = text.trim();
    let inside = |quote: char| text.strip_prefix(quote)?.split(quote).next();
    let plain =
        || text.split([',', '}', ']']).next().unwrap_or(text).split(" #").next().unwrap_or(text).trim_end();
    inside('"').or_else(|| inside('\'')).unwrap_or_else(plain).to_owned()
}

fn line_of(path: &Path, number: usize) -> Option<String> {
    let file = fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let mut lines = BufReader::new(file.take(MAX_FILE)).split(b'\n');
    let line = lines.nth(number - 1)?.ok()?;
    Some(String::from_utf8_lossy(&line).into_owned())
}

/// A text up to its first secret, for messages; `None` if it has none.
pub(crate) fn masked_text(text: &str) -> Option<String> {
    let hit = scan("", text.as_bytes()).ok()?.into_iter().next()?;
    let before: Vec<char> = text.chars().take(hit.column - 1).collect();
    Some(name_alone(&before) + "…")
}
