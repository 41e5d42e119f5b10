//! A changed value written into the text that it was read from: what stays the same keeps its bytes, its comments and its order.
//!
//! Old tree and new value are walked together. Equal parts are copied from the text; a mapping is written entry by entry, each with the
//! comments above it; only what is new or has another shape is made anew. Owns the text. Leaves which values change to `convert`.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::PrettyFormatter;

use super::manifests::{is_open, is_template, json, unmask};
use crate::addon::scalar::key as name_of;
use crate::base::finding::floor;
use crate::base::yaml::{Kind, Node, Position};
use crate::machine::entry::scalar;

/// The places, line and column, of a text's first character and of the one behind it.
type Span = ((usize, usize), (usize, usize));

/// A text's lines, with a tree that was read from it.
pub(super) struct Patch<'t> {
    lines: Vec<&'t str>,
}

impl<'t> Patch<'t> {
    /// Of a whole file.
    pub(super) fn new(text: &'t str) -> Patch<'t> {
        Patch { lines: text.split_inclusive('\n').collect() }
    }

    /// Lines from one to another (from 1, the second is excluded) as they are.
    pub(super) fn lines(&self, from: usize, to: usize) -> String {
        let range = from.saturating_sub(1)..to.saturating_sub(1).min(self.lines.len());
        self.lines.get(range).map(<[&str]>::concat).unwrap_or_default()
    }

    /// Number of lines, plus one.
    pub(super) fn end(&self) -> usize {
        self.lines.len() + 1
    }

    /// The line of the mark that ends a document which begins at a line, if there is one.
    pub(super) fn mark(&self, start: usize) -> Option<usize> {
        let is_mark = |line: &str| {
            ["---", "..."].iter().any(|mark| {
                line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
            })
        };
        let mut lines = self.lines.iter().enumerate().skip(start);
        lines.find(|(_, line)| is_mark(line.trim_end())).map(|(at, _)| at + 1)
    }

    fn line(&self, number: usize) -> &'t str {
        number.checked_sub(1).and_then(|at| self.lines.get(at)).copied().unwrap_or_default()
    }

    /// The text of a document whose root begins in column 1 of `node`'s line, up to line `end` (excluded).
    pub(super) fn document(&self, node: &Node, new: &Value, end: usize) -> String {
        let mut text = self.chunk(node, new, end);
        if !text.ends_with('\n') && end < self.end() {
            text.push('\n');
        }
        text
    }

    /// The text from a node's first character to line `end` (excluded), with the new value.
    fn chunk(&self, node: &Node, new: &Value, end: usize) -> String {
        let start = self.body(node);
        if json(node).is_ok_and(|old| old == *new) {
            return self.raw(start.line, start.column, end);
        }
        match (&node.kind, new) {
            (Kind::Mapping(entries), Value::Object(map))
                if !map.is_empty() && self.is_block(node, entries, end) =>
            {
                self.mapping(start, entries, map, end)
            }
            (Kind::Sequence(items), Value::Array(values))
                if !values.is_empty() && values.len() == items.len() && self.is_list(node, items, end) =>
            {
                self.sequence(start, items, values, end)
            }
            (Kind::Mapping(_) | Kind::Sequence(_), Value::Object(_) | Value::Array(_))
                if !self.is_flow(node) =>
            {
                let mut text = String::new();
                block(&mut text, new, start.column - 1);
                let first = text.trim_start_matches(' ').to_owned();
                first + &self.tail(end)
            }
            _ => self.replaced(node, new, end),
        }
    }

    /// A value on a line, with what follows it there.
    fn replaced(&self, node: &Node, new: &Value, end: usize) -> String {
        let rest = match node.end.line >= node.start.line && node.end.line < end.max(node.start.line + 1) {
            true => self.raw(node.end.line, node.end.column, end),
            false => "\n".to_owned(),
        };
        format!("{}{rest}", flow(new))
    }

    /// Blank lines and comments before line `end`, which belong to nothing that was replaced.
    fn tail(&self, end: usize) -> String {
        let mut from = end;
        while from > 1 && self.line(from - 1).trim().is_empty() {
            from -= 1;
        }
        self.lines(from, end)
    }

    /// Text from a place to line `end` (excluded).
    fn raw(&self, line: usize, column: usize, end: usize) -> String {
        let first = self.line(line);
        let at = first.char_indices().nth(column.saturating_sub(1)).map_or(first.len(), |(at, _)| at);
        let first = first.get(floor(first, at)..).unwrap_or_default();
        format!("{first}{}", self.lines(line + 1, end.max(line + 1)))
    }

    /// A node's first character, behind its anchor and tag if those stand on a line above.
    fn body(&self, node: &Node) -> Position {
        let first = match &node.kind {
            _ if node.aliased || self.is_flow(node) => None,
            Kind::Mapping(entries) => entries.first().map(|(key, _)| key.start),
            Kind::Sequence(items) => items.first().map(|item| {
                let line = self.line(item.start.line);
                let indent = line.chars().take_while(|letter| *letter == ' ').count();
                Position { line: item.start.line, column: indent + 1 }
            }),
            Kind::Scalar(..) => None,
        };
        first.filter(|first| first.line > node.start.line).unwrap_or(node.start)
    }

    /// Whether a node is written with braces or brackets.
    fn is_flow(&self, node: &Node) -> bool {
        self.first(node).starts_with(['{', '['])
    }

    /// The rest of a node's first line, behind its anchor and tag.
    fn first(&self, node: &Node) -> &'t str {
        let line = self.line(node.start.line);
        let at =
            line.char_indices().nth(node.start.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
        let mut rest = line.get(at..).unwrap_or_default();
        while rest.starts_with(['&', '!']) {
            rest = rest.split_once([' ', '\t']).map_or("", |(_, rest)| rest.trim_start());
        }
        rest
    }

    /// Whether a mapping's keys each begin a line of their own, in one column, inside its lines. Merged and aliased ones do not.
    fn is_block(&self, node: &Node, entries: &[(Node, Node)], end: usize) -> bool {
        let mut last = 0;
        let start = self.body(node);
        !node.aliased
            && !self.is_flow(node)
            && entries.first().is_some_and(|(key, _)| key.start == start)
            && entries.iter().all(|(key, _)| {
                let is_next =
                    key.start.line > last && key.start.line < end && key.start.column == start.column;
                last = key.start.line;
                is_next
            })
    }

    /// Whether a list's items each begin on the line of their dash.
    fn is_list(&self, node: &Node, items: &[Node], end: usize) -> bool {
        let mut last = 0;
        !node.aliased
            && !self.is_flow(node)
            && items.iter().all(|item| {
                let line: String = self.line(item.start.line).chars().take(item.start.column - 1).collect();
                let is_next =
                    item.start.line > last && item.start.line < end && line.trim_end().ends_with('-');
                last = item.start.line;
                is_next
            })
    }

    /// The first line of what belongs to a line: comments directly above it, in its column.
    fn lead(&self, line: usize, column: usize, floor: usize) -> usize {
        let mut lead = line;
        while lead - 1 > floor {
            let above = self.line(lead - 1);
            let indent = above.chars().take_while(|letter| *letter == ' ').count();
            if indent + 1 != column || !above.trim_start().starts_with('#') {
                break;
            }
            lead -= 1;
        }
        lead
    }

    fn mapping(
        &self,
        start: Position,
        entries: &[(Node, Node)],
        map: &serde_json::Map<String, Value>,
        end: usize,
    ) -> String {
        let column = start.column;
        let indent = " ".repeat(column - 1);
        let names: Vec<Option<String>> = entries.iter().map(|(key, _)| name_of(key).ok()).collect();
        // Where each entry's text begins, and the end of the last one.
        let mut starts: Vec<usize> = Vec::new();
        let mut before = start.line;
        for (at, (key, _)) in entries.iter().enumerate() {
            starts.push(if at == 0 { key.start.line } else { self.lead(key.start.line, column, before) });
            before = key.start.line;
        }
        starts.push(end);
        let mut parts: Vec<String> = Vec::new();
        for (name, new) in map {
            let found = names.iter().position(|known| known.as_ref() == Some(name));
            let Some(at) = found else {
                let mut text = String::new();
                entry(&mut text, name, new, column - 1);
                parts.push(text.get(column - 1..).unwrap_or_default().to_owned());
                continue;
            };
            let (Some((key, value)), Some(&from), Some(&to)) =
                (entries.get(at), starts.get(at), starts.get(at + 1))
            else {
                continue;
            };
            // The first line's indentation is written by what is before it.
            let head = |patch: &Self, upto: usize| match from == key.start.line {
                true => patch.raw(from, column, upto),
                false => patch.lines(from, upto).get(column - 1..).unwrap_or_default().to_owned(),
            };
            let is_same = json(value).is_ok_and(|old| old == *new);
            let body = self.body(value);
            let is_below = body.line > key.start.line;
            parts.push(match (is_same, is_below) {
                (true, _) => head(self, to.max(from + 1)),
                (false, true) => {
                    let above = head(self, body.line);
                    let lead: String = self.line(body.line).chars().take(body.column - 1).collect();
                    // An anchor or a tag stands before the value.
                    above + &lead + &self.chunk(value, new, to)
                }
                (false, false) => {
                    let is_simple = self.is_flow(value) || !matches!(new, Value::Object(_) | Value::Array(_));
                    let above =
                        if from < key.start.line { self.lines(from, key.start.line) } else { String::new() };
                    let above =
                        above.get(column - 1..).map(|text| text.to_owned() + &indent).unwrap_or_default();
                    match is_simple && !value.is_null() {
                        true => {
                            let lead: String = self
                                .line(key.start.line)
                                .chars()
                                .take(value.start.column - 1)
                                .skip(column - 1)
                                .collect();
                            above + &lead + &self.replaced(value, new, to)
                        }
                        false => {
                            let mut text = String::new();
                            entry(&mut text, name, new, column - 1);
                            above + text.get(column - 1..).unwrap_or_default() + &self.tail(to)
                        }
                    }
                }
            });
        }
        let mut text = String::new();
        for part in parts {
            if !text.is_empty() {
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                text += &indent;
            }
            text += &part;
        }
        text
    }

    fn sequence(&self, start: Position, items: &[Node], values: &[Value], end: usize) -> String {
        let column = start.column;
        let mut starts: Vec<usize> = Vec::new();
        let mut before = start.line;
        for (at, item) in items.iter().enumerate() {
            starts.push(if at == 0 { item.start.line } else { self.lead(item.start.line, column, before) });
            before = item.start.line;
        }
        starts.push(end);
        let mut text = String::new();
        for (at, (item, new)) in items.iter().zip(values).enumerate() {
            let (from, to) =
                (starts.get(at).copied().unwrap_or(end), starts.get(at + 1).copied().unwrap_or(end));
            let dash: String = self.line(item.start.line).chars().take(item.start.column - 1).collect();
            match at {
                0 => text += dash.get(column - 1..).unwrap_or_default(),
                _ => text += &(self.lines(from, item.start.line) + &dash),
            }
            text += &self.chunk(item, new, to);
            if !text.ends_with('\n') && at + 1 < items.len() {
                text.push('\n');
            }
        }
        text
    }

    /// The comments of a document's lines that its new text does not have: line, column and text, without the `#`.
    pub(super) fn lost(&self, node: &Node, end: usize, new: &str) -> Vec<(usize, usize, String)> {
        let mut texts = BTreeSet::new();
        self.texts(node, &mut texts);
        let old = self.lines(node.start.line, end);
        // Lines of long texts may end as a comment does; they are in both, so what is missing is a comment.
        let (old, new) = (endings(&old), endings(new));
        let mut missing: HashMap<&str, usize> = old
            .iter()
            .map(|(text, many)| (*text, many.saturating_sub(new.get(text).copied().unwrap_or_default())))
            .collect();
        let mut lost = Vec::new();
        for number in node.start.line..end {
            let line = self.line(number).trim_end();
            let Some(at) = marks(line).find(|at| {
                let place = (number, line.get(..*at).map_or(0, |before| before.chars().count()) + 1);
                // A place is inside of the last text that begins before it, or of none.
                texts
                    .range(..=(place, (usize::MAX, usize::MAX)))
                    .next_back()
                    .is_none_or(|(_, end)| *end <= place)
            }) else {
                continue;
            };
            let text = line.get(at..).unwrap_or_default();
            if let Some(many) = missing.get_mut(text).filter(|many| **many > 0) {
                *many -= 1;
                let column = line.get(..at).map_or(0, |before| before.chars().count()) + 1;
                lost.push((number, column, text.trim_start_matches('#').trim().to_owned()));
            }
        }
        lost
    }

    /// Where texts in quotes and those of several lines begin and end, which may have a `#` that begins no comment.
    fn texts(&self, node: &Node, found: &mut BTreeSet<Span>) {
        match &node.kind {
            _ if node.aliased => {}
            Kind::Mapping(entries) => entries.iter().for_each(|(key, value)| {
                self.texts(key, found);
                self.texts(value, found);
            }),
            Kind::Sequence(items) => items.iter().for_each(|item| self.texts(item, found)),
            Kind::Scalar(..) => {
                let first = self.first(node);
                let start = (node.start.line, node.start.column);
                if first.starts_with(['"', '\'']) {
                    found.insert((start, (node.end.line, node.end.column)));
                } else if first.starts_with(['|', '>']) {
                    let indent = |number| {
                        let line: &str = self.line(number);
                        (!line.trim().is_empty())
                            .then(|| line.chars().take_while(|letter| *letter == ' ').count())
                    };
                    let from = node.start.line + 1;
                    let depth = (from..self.end()).find_map(indent).unwrap_or_default();
                    let to = (from..self.end()).find(|at| indent(*at).is_some_and(|found| found < depth));
                    found.insert(((from, 1), (to.unwrap_or(self.end()), 1)));
                }
            }
        }
    }
}

/// Places of a line, in bytes, at which a comment may begin. Of a line with very many, the first ones.
fn marks(line: &str) -> impl Iterator<Item = usize> {
    const MOST: usize = 16;
    let is_apart =
        |at: usize| line.get(..at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']));
    line.match_indices('#').map(|(at, _)| at).filter(move |at| is_apart(*at)).take(MOST)
}

/// How many lines of a text end with each text that may be a comment.
fn endings(text: &str) -> HashMap<&str, usize> {
    let mut found = HashMap::new();
    for line in text.lines().map(str::trim_end) {
        for at in marks(line) {
            *found.entry(line.get(at..).unwrap_or_default()).or_default() += 1;
        }
    }
    found
}

/// A value as JSON, in lines if the old text is in lines, and as far indented. `None` if the old text is no JSON.
pub(super) fn as_json(old: &str, new: &Value) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(old).ok()?;
    let mut new = new.clone();
    clear(&mut new);
    let old = old.trim();
    let mut text = Vec::new();
    let second = old.lines().nth(1);
    let is_written = match second {
        Some(line) => {
            let indent = line.get(..line.len() - line.trim_start().len()).unwrap_or_default();
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            new.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))
        }
        None => serde_json::to_writer(&mut text, &new),
    };
    is_written.ok()?;
    String::from_utf8(text).ok()
}

/// Takes the mask off a value's texts and names.
fn clear(value: &mut Value) {
    match value {
        Value::String(text) if is_template(text) => *text = unmask(text),
        Value::Array(items) => items.iter_mut().for_each(clear),
        Value::Object(map) => {
            let entries = std::mem::take(map).into_iter();
            *map = entries
                .map(|(key, mut value)| {
                    clear(&mut value);
                    (unmask(&key), value)
                })
                .collect();
        }
        _ => {}
    }
}

/// A value as a document of its own.
pub(super) fn whole(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

/// A text on one line: plain if everybody reads it as that text, with its variables in clear.
fn text(value: &str) -> String {
    let clear = unmask(value);
    match (is_open(value), is_template(value)) {
        (true, _) => clear,
        (false, true) => Value::from(clear).to_string(),
        // Nobody reads a number, a truth or a time with a slash in it.
        (false, false) if value.contains('/') && is_path(value) => clear,
        (false, false) => scalar(value),
    }
}

/// Whether a text is one of letters, digits and `/._-`, which begins as a path or a name.
fn is_path(text: &str) -> bool {
    text.starts_with(|first: char| first == '/' || first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
}

/// A value on one line.
fn flow(value: &Value) -> String {
    let word = |value: &str| match is_open(value) || value.contains(['{', '}', '[', ']', ',']) {
        // Plain texts end at these inside of brackets.
        true if !is_open(value) => Value::from(unmask(value)).to_string(),
        _ => text(value),
    };
    match value {
        Value::String(value) => text(value),
        Value::Array(items) => {
            let items = items.iter().map(|item| match item {
                Value::String(value) => word(value),
                other => flow(other),
            });
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| match value {
                Value::String(value) => format!("{}: {}", text(key), word(value)),
                other => format!("{}: {}", text(key), flow(other)),
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A key with its value, as lines.
fn entry(out: &mut String, key: &str, value: &Value, indent: usize) {
    *out += &format!("{}{}:", " ".repeat(indent), text(key));
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        _ => *out += &format!(" {}\n", flow(value)),
    }
}

/// A value as lines, each indented by as many blanks.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| entry(out, key, value, indent));
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = String::new();
                match item {
                    Value::Object(map) if !map.is_empty() => block(&mut inner, item, indent + 2),
                    _ => inner = format!("{}{}\n", " ".repeat(indent + 2), flow(item)),
                }
                *out += &format!("{}- {}", " ".repeat(indent), inner.trim_start_matches(' '));
            }
        }
        _ => *out += &format!("{}{}\n", " ".repeat(indent), flow(value)),
    }
}
