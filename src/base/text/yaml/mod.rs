//! YAML as a tree that remembers the position and the spelling of everything.
//!
//! Everything that a person writes for prebake (recipes, sysext descriptions, Butane) is read through this tree: a
//! serde decoder stops at the first fault and forgets positions, and Butane's modes depend on how a scalar was spelt.
//! Owns syntax, aliases, duplicate keys and the limits on hostile input. Leaves the meaning of scalars to [`decode`]
//! (prebake's own files) and to `ignition` (Butane, which follows Go's YAML).

pub mod decode;
mod events;
pub mod keys;
pub mod kinds;
pub mod merge;
mod scan;

use std::collections::HashMap;
use std::sync::Arc;

use crate::conflict;
use crate::finding::{Finding, Place, Source};
use events::{Event, EventKind, Parser};
use scan::Fault;

/// Upper limit for a text, in bytes. Real configs are a few hundred KiB; the tree of a text of this length stays well
/// below 1 GiB.
pub const MAX_BYTES: usize = 16 << 20;
/// Upper limit for the nesting.
pub const MAX_DEPTH: usize = 128;
/// Upper limit for the nodes that aliases add, so that ten lines cannot expand to gigabytes.
pub const MAX_ALIASED_NODES: usize = 200_000;
/// Upper limit for the text that anchors and aliases copy, in bytes, so that one long text cannot fill the memory
/// either.
pub const MAX_COPIED_BYTES: usize = 64 << 20;

/// A position in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Spelling of a scalar. Only plain ones can be anything but a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// As a `|` or `>` block.
    Block,
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// Start of the node, or of the alias if it was written as one.
    pub start: Position,
    /// End of the node (exclusive).
    pub end: Position,
    /// Whether the node was written as `*alias`; its children keep the positions of the anchor.
    pub aliased: bool,
    /// An explicit tag in its short form, such as `!!binary`.
    pub tag: Option<String>,
    /// Scalar, sequence or mapping, with its content.
    pub kind: Kind,
}

/// Content of a node.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A scalar: its text, not yet given a type.
    Scalar(String, Style),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order written. Keys are unique.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar.
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Whether this is YAML's null: empty, `~` or `null`, plain.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(text, Style::Plain)
            if self.tag.is_none() && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// A null at another node's position, for a node that may be left out.
    pub fn null_at(place: &Node) -> Node {
        let kind = Kind::Scalar(String::new(), Style::Plain);
        Node { start: place.start, end: place.start, aliased: false, tag: None, kind }
    }

    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Mapping(entries) => {
                entries.iter().find(|(k, _)| k.scalar() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The node's place in the text it was parsed from.
    pub fn place(&self, source: &Arc<Source>) -> Place {
        Place { source: source.clone(), line: self.start.line, column: self.start.column }
    }
}

/// Reads the first document of a text. An empty text is a null scalar at 1:1.
///
/// # Errors
/// One finding with its place: a merge conflict, bad syntax, a duplicate key, or a limit of this module.
pub fn parse(source: &Arc<Source>) -> Result<Node, Finding> {
    document(source).map_err(|found| conflict::or(source, found))
}

fn document(source: &Arc<Source>) -> Result<Node, Finding> {
    if source.text.len() > MAX_BYTES {
        return Err(Finding::error(format!(
            "{} is {} bytes long; the limit for YAML is {} MiB",
            source.name,
            source.text.len(),
            MAX_BYTES >> 20
        ))
        .hint("put large contents into a file of their own and name it with `local:`"));
    }
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    if text.starts_with('\u{feff}') {
        let place = Place { source: source.clone(), line: 1, column: 2 };
        let finding = Finding::error("there is a second byte order mark at the beginning").at(place);
        return Err(finding.hint("save the file without a byte order mark"));
    }
    if let Some((offset, _)) = text.char_indices().find(|(_, c)| !is_printable(*c)) {
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = Place { source: source.clone(), line, column };
        return Err(Finding::error("control characters are not allowed").at(place));
    }
    let builder = Builder { source, names: HashMap::new(), nodes: HashMap::new(), copied: Size::default() };
    builder.document(&mut Parser::new(text, false))
}

/// Place of a byte of a scalar's text in the source, for faults inside units, keys and other texts that a config
/// contains. `None` if no scalar of that text begins at `start`. The whole source is read for this, so long sources are
/// not searched.
pub fn within(source: &Arc<Source>, start: Position, text: &str, offset: usize) -> Option<Place> {
    const MAX_LENGTH: usize = 512 << 10;
    let wanted = text;
    if source.text.len() > MAX_LENGTH {
        return None;
    }
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    if text.contains(|c| !is_printable(c)) {
        return None;
    }
    let mut parser = Parser::new(text, true);
    let (value, trace) = loop {
        match parser.next().ok()? {
            Event { kind: EventKind::Scalar(value, _, trace), start: at, .. }
                if at == start && value == wanted =>
            {
                break (value, trace);
            }
            Event { kind: EventKind::DocumentEnd | EventKind::StreamEnd, .. } => return None,
            _ => {}
        }
    };
    let before = trace.partition_point(|(from, _)| *from <= offset);
    let (from, place) = *trace.get(before.checked_sub(1)?)?;
    let column = place.column + value.get(from..offset)?.chars().count();
    Some(Place { source: source.clone(), line: place.line, column })
}

struct Builder<'s> {
    source: &'s Arc<Source>,
    /// The last anchor of each name, counted from the first in the text, since a name may be used again.
    names: HashMap<String, usize>,
    /// Complete nodes, by anchor.
    nodes: HashMap<usize, (Node, Size)>,
    copied: Size,
}

/// Size of a node with everything below it, counted when it is copied.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, other: Size) {
        self.nodes += other.nodes;
        self.bytes += other.bytes;
    }
}

/// A collection that is still open.
struct Open {
    node: Node,
    anchor: Option<usize>,
    size: Size,
    /// The key whose value is still missing.
    key: Option<Node>,
    /// Texts of the keys so far, to find duplicates without a quadratic walk.
    seen: HashMap<String, Position>,
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

impl Builder<'_> {
    fn document(mut self, parser: &mut Parser<'_>) -> Result<Node, Finding> {
        let mut stack: Vec<Open> = Vec::new();
        let mut anchors = 0;
        loop {
            let Event { kind, anchor, tag, start, end } =
                parser.next().map_err(|fault| self.not_yaml(fault))?;
            let anchor = anchor.map(|name| {
                anchors += 1;
                self.names.insert(name, anchors);
                anchors
            });
            let node = |kind| Node { start, end, aliased: false, tag, kind };
            let (done, size, anchor) = match kind {
                EventKind::Scalar(text, style, _) => {
                    let size = Size { nodes: 1, bytes: text.len() };
                    (node(Kind::Scalar(text, style)), size, anchor)
                }
                EventKind::SequenceStart => {
                    self.open(&mut stack, node(Kind::Sequence(Vec::new())), anchor)?;
                    continue;
                }
                EventKind::MappingStart => {
                    self.open(&mut stack, node(Kind::Mapping(Vec::new())), anchor)?;
                    continue;
                }
                EventKind::SequenceEnd | EventKind::MappingEnd => {
                    let Some(mut open) = stack.pop() else { continue };
                    open.node.end = end;
                    (open.node, open.size, open.anchor)
                }
                EventKind::Alias(name) => {
                    let Some(target) = self.names.get(&name).copied() else {
                        let finding = self.finding(start, format!("unknown anchor '{name}' referenced"));
                        return Err(finding.hint(format!("an alias must come after its anchor, `&{name}`")));
                    };
                    let Some(size) = self.nodes.get(&target).map(|(_, size)| *size) else {
                        return Err(self.finding(start, format!("anchor '{name}' value contains itself")));
                    };
                    self.charge(start, size)?;
                    let target = self.nodes[&target].0.clone();
                    (Node { start, end, aliased: true, ..target }, size, None)
                }
                EventKind::DocumentStart => continue,
                EventKind::DocumentEnd | EventKind::StreamEnd => break,
            };
            if let Some(anchor) = anchor {
                self.charge(done.start, size)?;
                self.nodes.insert(anchor, (done.clone(), size));
            }
            let Some(parent) = stack.last_mut() else {
                // Go reads to the document's end before it decodes, and reports syntax faults there first.
                while !matches!(
                    parser.next().map_err(|fault| self.not_yaml(fault))?.kind,
                    EventKind::DocumentEnd | EventKind::StreamEnd
                ) {}
                return Ok(done);
            };
            parent.size += size;
            match &mut parent.node.kind {
                Kind::Sequence(items) => items.push(done),
                Kind::Mapping(entries) => match parent.key.take() {
                    Some(key) => entries.push((key, done)),
                    None => {
                        // Go takes two lists for the same key, and likewise two mappings.
                        let text = match &done.kind {
                            Kind::Scalar(text, _) => text.as_str(),
                            Kind::Sequence(_) => "[…]",
                            Kind::Mapping(_) => "{…}",
                        };
                        if let Some(first) = parent.seen.insert(text.to_owned(), done.start) {
                            let finding = self.finding(done.start, format!("duplicate key `{text}`"));
                            let first =
                                Place { source: self.source.clone(), line: first.line, column: first.column };
                            return Err(finding.related(first, "first given here"));
                        }
                        parent.key = Some(done);
                    }
                },
                Kind::Scalar(..) => unreachable!("only collections are opened"),
            }
        }
        let start = Position { line: 1, column: 1 };
        Ok(Node {
            start,
            end: start,
            aliased: false,
            tag: None,
            kind: Kind::Scalar(String::new(), Style::Plain),
        })
    }

    /// A syntax fault as a finding, with what was being read, and the way out for the most common fault, tabs.
    fn not_yaml(&self, fault: Fault) -> Finding {
        let finding = self.finding(fault.at, format!("not YAML: {}", fault.problem));
        let finding = match fault.context {
            Some((words, at)) if at.line != fault.at.line => {
                let place = Place { source: self.source.clone(), line: at.line, column: at.column };
                finding.related(place, words)
            }
            _ => finding,
        };
        let line = self.source.line(fault.at.line).unwrap_or_default();
        let indentation = line.len() - line.trim_start().len();
        match line[..indentation].contains('\t') {
            true => finding.hint("indent with blanks: YAML allows no tabs there"),
            false => finding,
        }
    }

    /// Counts a copy that is about to be made, and refuses too many.
    fn charge(&mut self, at: Position, size: Size) -> Result<(), Finding> {
        self.copied += size;
        let limit = match self.copied {
            Size { nodes, .. } if nodes > MAX_ALIASED_NODES => format!("{MAX_ALIASED_NODES} nodes"),
            Size { bytes, .. } if bytes > MAX_COPIED_BYTES => format!("{MAX_COPIED_BYTES} bytes"),
            _ => return Ok(()),
        };
        Err(self
            .finding(at, format!("aliases expand to more than {limit}"))
            .hint("write the repeated part out, or split the config into layers"))
    }

    fn open(&self, stack: &mut Vec<Open>, node: Node, anchor: Option<usize>) -> Result<(), Finding> {
        if stack.len() == MAX_DEPTH {
            return Err(self.finding(node.start, too_deep()));
        }
        stack.push(Open { node, anchor, size: Size { nodes: 1, bytes: 0 }, key: None, seen: HashMap::new() });
        Ok(())
    }

    fn finding(&self, at: Position, message: impl Into<String>) -> Finding {
        Finding::error(message).at(Place { source: self.source.clone(), line: at.line, column: at.column })
    }
}

/// Whether YAML 1.2 §5.1 allows a character in a text.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Finding {
        parse(&Source::new("x.yaml", text)).unwrap_err()
    }

    #[test]
    fn scalars_keep_their_spelling_quotes_and_place() {
        let source = Source::new("x.yaml", "a:\n  mode: 0644\n  name: '0644'\n");
        let root = parse(&source).unwrap();
        let mode = root.get("a").unwrap().get("mode").unwrap();
        assert!(matches!(&mode.kind, Kind::Scalar(t, Style::Plain) if t == "0644"));
        assert_eq!(mode.start, Position { line: 2, column: 9 });
        let name = root.get("a").unwrap().get("name").unwrap();
        assert!(matches!(&name.kind, Kind::Scalar(t, Style::Quoted) if t == "0644"));
    }

    #[test]
    fn a_block_starts_at_its_indicator_and_a_list_at_its_first_dash() {
        let text = "a: |\n  x\nb:\n  - >- # a |\n\n    y\n  - [z]\nc: !!str |+\nd: |\n";
        let source = Source::new("x.yaml", text);
        let root = parse(&source).unwrap();
        let start = |node: &Node| (node.start.line, node.start.column);
        let Kind::Sequence(items) = &root.get("b").unwrap().kind else { panic!("a list") };
        assert_eq!(start(root.get("a").unwrap()), (1, 4));
        assert_eq!(start(root.get("b").unwrap()), (4, 3));
        assert_eq!(start(&items[0]), (4, 5));
        assert_eq!(start(&items[1]), (7, 5));
        assert_eq!(start(root.get("c").unwrap()), (8, 4));
        assert_eq!(start(root.get("d").unwrap()), (9, 4));
    }

    #[test]
    fn a_duplicate_key_names_both_places() {
        let finding = fault("a: 1\nb: 2\na: 3\n");
        assert_eq!(finding.message, "duplicate key `a`");
        assert_eq!(finding.place.unwrap().line, 3);
        assert_eq!(finding.related[0].0.line, 1);
    }

    #[test]
    fn an_alias_bomb_is_refused_at_the_alias() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let row = vec![format!("*a{}", i - 1); 10].join(",");
            text += &format!("a{i}: &a{i} [{row}]\n");
        }
        assert!(fault(&text).message.contains("aliases expand"));
    }

    #[test]
    fn deep_nesting_is_refused_without_overflowing_the_stack() {
        assert!(fault(&"[".repeat(100_000)).place.is_some());
        assert!(fault(&"- ".repeat(200)).message.contains("nested deeper"));
    }

    #[test]
    fn an_empty_text_is_null() {
        assert!(parse(&Source::new("x.yaml", "")).unwrap().is_null());
    }
}
