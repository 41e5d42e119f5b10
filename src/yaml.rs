//! YAML as a tree that remembers where everything stands and how it was written.
//!
//! Everything a person writes for prebake (recipes, sysext descriptions, Butane) is read through this tree: a serde
//! decoder stops at the first fault and forgets positions, and Butane's modes depend on how a scalar was spelt.
//! Owns syntax, aliases, duplicate keys and the limits on hostile input. Leaves the meaning of scalars to [`decode`]
//! (prebake's own files) and to `ignition` (Butane, which follows Go's YAML).

pub mod decode;

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::report::{Finding, Place, Source};

/// Longest text that is read, in bytes. Real configs are a few hundred KiB; a tree of the limit stays well below 1 GiB.
pub const MAX_BYTES: usize = 16 << 20;
/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 128;
/// Most nodes that aliases may add, so that ten lines cannot unfold into gigabytes.
pub const MAX_ALIASED_NODES: usize = 200_000;
/// Most bytes of text that anchors and aliases may copy, so that one long text cannot fill the memory either.
pub const MAX_COPIED_BYTES: usize = 64 << 20;

/// A place in the text: line and column from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl From<Marker> for Position {
    fn from(marker: Marker) -> Self {
        Position { line: marker.line(), column: marker.col() + 1 }
    }
}

/// How a scalar was written. Only plain ones can be anything but a string.
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
    /// Where the node starts; for an alias, where the alias stands.
    pub start: Position,
    /// Where the node ends (exclusive).
    pub end: Position,
    /// Whether the node was written as `*alias`; its children keep the positions of the anchor.
    pub aliased: bool,
    /// An explicit tag in its short form, such as `!!binary`.
    pub tag: Option<String>,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text, not yet given a type.
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

    /// A null where another node stands, for what may be left out.
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
/// One finding with its place: bad syntax, a duplicate key, or a limit of this module.
pub fn parse(source: &Arc<Source>) -> Result<Node, Finding> {
    if source.text.len() > MAX_BYTES {
        return Err(Finding::error(format!(
            "{} is {} bytes long; the limit for YAML is {MAX_BYTES}",
            source.name,
            source.text.len()
        ))
        .hint("put large contents into a file of their own and name it with `local:`"));
    }
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    if let Some((offset, _)) = text.char_indices().find(|(_, c)| !is_printable(*c)) {
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = Place { source: source.clone(), line, column };
        return Err(Finding::error("control characters are not allowed").at(place));
    }
    let lines = text.lines().collect();
    let builder = Builder { source, lines, anchors: HashMap::new(), copied: Size::default() };
    builder.document(&mut Parser::new_from_str(text))
}

struct Builder<'s> {
    source: &'s Arc<Source>,
    lines: Vec<&'s str>,
    anchors: HashMap<usize, (Node, Size)>,
    copied: Size,
}

/// How much a node is with everything below it, to charge copies by.
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
    anchor: usize,
    size: Size,
    /// The key that waits for its value.
    key: Option<Node>,
    /// Texts of the keys so far, to find duplicates without a quadratic walk.
    seen: HashMap<String, Position>,
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

impl Builder<'_> {
    fn document<'i>(mut self, parser: &mut Parser<'i, saphyr_parser::StrInput<'i>>) -> Result<Node, Finding> {
        let mut stack: Vec<Open> = Vec::new();
        for event in parser {
            let (event, span) = event.map_err(|error| {
                let why = match error.info() {
                    // The parser looks ahead and may reach its own limit before this one.
                    info if info.contains("recursion limit") => too_deep(),
                    info => format!("not YAML: {info}"),
                };
                self.finding((*error.marker()).into(), why)
            })?;
            let start = match &event {
                Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
                    self.header(span.start.into())
                }
                Event::SequenceStart(..) => self.dash(span.start.into()),
                _ => Position::from(span.start),
            };
            let end = Position::from(span.end);
            let node = |kind, tag: Option<std::borrow::Cow<'_, saphyr_parser::Tag>>| Node {
                start,
                end,
                aliased: false,
                tag: tag.map(|t| short_tag(&t)),
                kind,
            };
            let (done, size, anchor) = match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let style = match style {
                        ScalarStyle::Plain => Style::Plain,
                        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    };
                    let size = Size { nodes: 1, bytes: text.len() };
                    (node(Kind::Scalar(text.into_owned(), style), tag), size, anchor)
                }
                Event::SequenceStart(anchor, tag) => {
                    self.open(&mut stack, node(Kind::Sequence(Vec::new()), tag), anchor)?;
                    continue;
                }
                Event::MappingStart(anchor, tag) => {
                    self.open(&mut stack, node(Kind::Mapping(Vec::new()), tag), anchor)?;
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(mut open) = stack.pop() else { continue };
                    open.node.end = end;
                    (open.node, open.size, open.anchor)
                }
                Event::Alias(anchor) => {
                    let Some(size) = self.anchors.get(&anchor).map(|(_, size)| *size) else {
                        return Err(self.finding(start, "alias of an anchor that is not complete yet"));
                    };
                    self.charge(start, size)?;
                    let target = self.anchors[&anchor].0.clone();
                    (Node { start, end, aliased: true, ..target }, size, 0)
                }
                Event::DocumentEnd | Event::StreamEnd => break,
                _ => continue,
            };
            if anchor != 0 {
                self.charge(done.start, size)?;
                self.anchors.insert(anchor, (done.clone(), size));
            }
            let Some(parent) = stack.last_mut() else { return Ok(done) };
            parent.size += size;
            match &mut parent.node.kind {
                Kind::Sequence(items) => items.push(done),
                Kind::Mapping(entries) => match parent.key.take() {
                    Some(key) => entries.push((key, done)),
                    None => {
                        if let Some(text) = done.scalar()
                            && let Some(first) = parent.seen.insert(text.to_owned(), done.start)
                        {
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

    /// Counts a copy that is about to be made.
    fn charge(&mut self, at: Position, size: Size) -> Result<(), Finding> {
        self.copied += size;
        let limit = match self.copied {
            Size { nodes, .. } if nodes > MAX_ALIASED_NODES => format!("{MAX_ALIASED_NODES} nodes"),
            Size { bytes, .. } if bytes > MAX_COPIED_BYTES => format!("{MAX_COPIED_BYTES} bytes"),
            _ => return Ok(()),
        };
        Err(self
            .finding(at, format!("aliases unfold to more than {limit}"))
            .hint("write the repeated part out, or split the config into layers"))
    }

    /// The `|` or `>` of a block whose text starts here; the parser tells only where the text is.
    fn header(&self, text: Position) -> Position {
        let found = |line: usize, from: usize| {
            let column = block_header(self.lines.get(line - 1)?, from)?;
            Some(Position { line, column: column + 1 })
        };
        let above =
            (1..text.line).rev().find(|line| !self.lines.get(line - 1).is_some_and(|l| l.trim().is_empty()));
        // A tag before the indicator is the start, as it is for every other node.
        match found(text.line, text.column - 1) {
            Some(_) => text,
            None => above.and_then(|line| found(line, 0)).unwrap_or(text),
        }
    }

    /// The first `-` of a block sequence; the parser tells where its first item is. A flow sequence starts at its `[`.
    fn dash(&self, item: Position) -> Position {
        let line = self.lines.get(item.line - 1).copied().unwrap_or_default();
        let chars: Vec<char> = line.chars().take(item.column).collect();
        let before = chars.get(..item.column - 1).unwrap_or_default();
        let dash = before.iter().rposition(|c| *c != ' ').filter(|at| before[*at] == '-');
        match dash.filter(|_| chars.last() != Some(&'[')) {
            Some(at) => Position { column: at + 1, ..item },
            None => item,
        }
    }

    fn open(&self, stack: &mut Vec<Open>, node: Node, anchor: usize) -> Result<(), Finding> {
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

/// The characters that YAML 1.2 §5.1 lets stand in a text.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

/// The column, from 0, of a block scalar's indicator in a line from a column on: `|` or `>` after a blank, then digits
/// and signs, then nothing but a comment.
fn block_header(line: &str, from: usize) -> Option<usize> {
    let chars: Vec<char> = line.chars().collect();
    let is_header = |at: usize| {
        let after_blank = at == 0 || chars[at - 1].is_whitespace();
        let rest: String = chars[at + 1..].iter().collect();
        let rest = rest.trim_start_matches(['+', '-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        let comment = rest.trim_start();
        after_blank && (comment.is_empty() || comment.starts_with('#') && comment.len() < rest.len())
    };
    (from..chars.len()).find(|at| matches!(chars[*at], '|' | '>') && is_header(*at))
}

/// `!!str` for the core schema, `!name` else.
fn short_tag(tag: &saphyr_parser::Tag) -> String {
    match tag.handle.as_str() {
        "tag:yaml.org,2002:" => format!("!!{}", tag.suffix),
        handle => format!("{handle}{}", tag.suffix),
    }
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
        assert!(fault(&text).message.contains("unfold"));
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
