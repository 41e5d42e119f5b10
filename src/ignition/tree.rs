//! A config as a tree of records that follow the [schema](super::schema), in which every node remembers its origin.
//!
//! One tree serves Butane and Ignition, so a check is written once, and a finding points at the file, line and column
//! that a person wrote, even after merging.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prebake_text::finding::{Place, Source, floor};
use prebake_text::yaml::Position;

use super::schema::{Key, Plain, Schema, Type};
use super::spec::Spec;

/// A value with its origin.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    /// Bytes from `!!binary` in a text field that are not text. Only inline contents keep them unchanged.
    Bytes(Vec<u8>),
    Int(i64),
    Flag(bool),
    List(Vec<Node>),
    Record(Record),
}

/// Origins are ignored in comparisons.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// The fields of one schema. A field that is plain (not a pointer) in Ignition is always present.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub schema: &'static Schema,
    fields: Vec<Option<Node>>,
}

/// Two records are equal if they mean the same: empty lists and records count as absent.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        let meant = |field: &Option<Node>| field.as_ref().is_some_and(|node| !node.is_void());
        std::ptr::eq(self.schema, other.schema)
            && self.fields.iter().zip(&other.fields).all(|(a, b)| match (meant(a), meant(b)) {
                (true, true) => a == b,
                (false, false) => true,
                _ => false,
            })
    }
}

impl Node {
    pub fn text(text: impl Into<String>, origin: &Origin) -> Self {
        Node { value: Value::Text(text.into()), origin: origin.clone() }
    }

    pub fn int(number: i64, origin: &Origin) -> Self {
        Node { value: Value::Int(number), origin: origin.clone() }
    }

    pub fn flag(flag: bool, origin: &Origin) -> Self {
        Node { value: Value::Flag(flag), origin: origin.clone() }
    }

    pub fn record(record: Record, origin: &Origin) -> Self {
        Node { value: Value::Record(record), origin: origin.clone() }
    }

    pub fn list(items: Vec<Node>, origin: &Origin) -> Self {
        Node { value: Value::List(items), origin: origin.clone() }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_record(&self) -> Option<&Record> {
        match &self.value {
            Value::Record(record) => Some(record),
            _ => None,
        }
    }

    pub fn as_list(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Whether it is an empty list or a record without any meaningful field, which is the same as absent.
    pub fn is_void(&self) -> bool {
        match &self.value {
            Value::List(items) => items.is_empty(),
            Value::Record(record) => record.is_zero(),
            _ => false,
        }
    }

    /// The key of an item in a keyed list: Ignition's `Key()`.
    pub fn key(&self) -> String {
        match &self.value {
            Value::Text(text) => text.clone(),
            Value::Record(record) => match record.schema.key {
                Key::Field(name) => record.text(name).unwrap_or_default().to_owned(),
                Key::Partition => match (record.int("number"), record.text("label")) {
                    (Some(number), _) if number != 0 => format!("number:{number}"),
                    (_, Some(label)) => format!("label:{label}"),
                    _ => String::new(),
                },
                Key::None => String::new(),
            },
            _ => String::new(),
        }
    }
}

impl Record {
    /// An empty record, with the plain fields of a spec at their zero values.
    pub fn new(schema: &'static Schema, spec: Spec) -> Self {
        let fields = schema.fields.iter().map(|field| {
            let value = match field.ty {
                Type::Text => Value::Text(String::new()),
                Type::Int => Value::Int(0),
                _ => return None,
            };
            (field.is_plain(spec) && field.since <= spec).then_some(Node { value, origin: Origin::default() })
        });
        Record { schema, fields: fields.collect() }
    }

    fn index(&self, name: &str) -> usize {
        let index = self.schema.fields.iter().position(|field| field.name == name);
        index.unwrap_or_else(|| panic!("the schema {} has no field {name}", self.schema.name))
    }

    /// The fields in the schema's order.
    pub fn fields(&self) -> &[Option<Node>] {
        &self.fields
    }

    pub fn at_mut(&mut self, index: usize) -> &mut Option<Node> {
        &mut self.fields[index]
    }

    pub fn get(&self, name: &str) -> Option<&Node> {
        self.fields[self.index(name)].as_ref()
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        let index = self.index(name);
        self.fields[index].as_mut()
    }

    pub fn set(&mut self, name: &str, node: Node) {
        let index = self.index(name);
        self.fields[index] = Some(node);
    }

    pub fn take(&mut self, name: &str) -> Option<Node> {
        let index = self.index(name);
        self.fields[index].take()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// A text that is present and not empty.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name)?.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub fn is_true(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }

    pub fn record(&self, name: &str) -> Option<&Record> {
        self.get(name)?.as_record()
    }

    /// The record in a field, created if it is absent.
    pub fn record_mut(&mut self, name: &str, spec: Spec) -> &mut Record {
        let index = self.index(name);
        let Type::Record(schema) = self.schema.fields[index].ty else {
            panic!("the field {name} of {} is no record", self.schema.name);
        };
        let origin = Origin::default();
        let node = self.fields[index].get_or_insert_with(|| Node::record(Record::new(schema, spec), &origin));
        match &mut node.value {
            Value::Record(record) => record,
            _ => unreachable!("decoding follows the schema"),
        }
    }

    /// The items of a list; empty if it is absent.
    pub fn list(&self, name: &str) -> &[Node] {
        self.get(name).map_or(&[], Node::as_list)
    }

    /// The records of a list.
    pub fn records(&self, name: &str) -> impl Iterator<Item = &Record> {
        self.list(name).iter().filter_map(Node::as_record)
    }

    /// The list in a field, created if it is absent.
    pub fn list_mut(&mut self, name: &str) -> &mut Vec<Node> {
        let index = self.index(name);
        let node = self.fields[index].get_or_insert_with(|| Node::list(Vec::new(), &Origin::default()));
        match &mut node.value {
            Value::List(items) => items,
            _ => unreachable!("decoding follows the schema"),
        }
    }

    /// The records of a list, mutable.
    pub fn records_mut(&mut self, name: &str) -> impl Iterator<Item = &mut Record> {
        let index = self.index(name);
        let items = match self.fields[index].as_mut().map(|node| &mut node.value) {
            Some(Value::List(items)) => items.as_mut_slice(),
            _ => &mut [],
        };
        items.iter_mut().filter_map(|node| match &mut node.value {
            Value::Record(record) => Some(record),
            _ => None,
        })
    }

    /// Whether it is Go's zero value of the struct: nothing set but plain fields at zero and empty parts.
    pub fn is_zero(&self) -> bool {
        self.schema.fields.iter().zip(&self.fields).all(|(field, node)| match node {
            None => true,
            Some(node) => match &node.value {
                Value::Text(text) => field.plain == Plain::Always && text.is_empty(),
                Value::Int(number) => field.plain == Plain::Always && *number == 0,
                _ => node.is_void(),
            },
        })
    }
}

/// The origin of a node: a chain of steps from the root of a text, each with its position.
#[derive(Clone, Default)]
pub(crate) struct Origin(Option<Arc<Spot>>);

struct Spot {
    parent: Origin,
    step: Step,
    text: Arc<Text>,
    at: At,
}

/// A text with the starts of its lines, which are computed for the first finding.
#[derive(Debug)]
pub(crate) struct Text {
    source: Arc<Source>,
    lines: OnceLock<Vec<usize>>,
}

impl Text {
    pub fn new(source: &Arc<Source>) -> Arc<Self> {
        Arc::new(Text { source: source.clone(), lines: OnceLock::new() })
    }

    /// The place of a byte offset; offsets beyond the end give the end.
    pub fn place(&self, offset: usize) -> Place {
        let text = self.source.text.as_str();
        let lines = self.lines.get_or_init(|| {
            let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        });
        let offset = floor(text, offset);
        let line = lines.partition_point(|start| *start <= offset);
        let column = text[lines[line - 1]..offset].chars().count() + 1;
        Place { source: self.source.clone(), line, column }
    }
}

/// A position inside a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Byte(usize),
    Position(Position),
}

impl At {
    /// The place in a text.
    pub fn place(self, text: &Text) -> Place {
        match self {
            At::Byte(offset) => text.place(offset),
            At::Position(Position { line, column }) => Place { source: text.source.clone(), line, column },
        }
    }
}

/// One step of a path inside a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The document itself.
    Root,
    /// A key in Ignition's spelling.
    Json(&'static str),
    /// The same key in Butane's spelling.
    Yaml(&'static str),
    /// An item of a list.
    Index(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Root => f.write_str("$"),
            Step::Json(name) => write!(f, ".{name}"),
            Step::Yaml(name) => write!(f, ".{}", super::schema::snake_case(name)),
            Step::Index(index) => write!(f, ".{index}"),
        }
    }
}

impl Origin {
    /// The origin of a whole document.
    pub fn root(text: &Arc<Text>, at: At) -> Self {
        Origin(Some(Arc::new(Spot { parent: Origin::default(), step: Step::Root, text: text.clone(), at })))
    }

    /// The origin one step below this one. Unknown if this one is unknown.
    pub fn child(&self, step: Step, at: At) -> Self {
        let below =
            |spot: &Arc<Spot>| Arc::new(Spot { parent: self.clone(), step, text: spot.text.clone(), at });
        Origin(self.0.as_ref().map(below))
    }

    /// Whether this was written in Butane.
    pub fn is_yaml(&self) -> bool {
        let mut at = self;
        while let Some(spot) = &at.0 {
            if matches!(spot.step, Step::Yaml(_)) {
                return true;
            }
            at = &spot.parent;
        }
        false
    }

    /// Whether the origin is known: a person wrote the node.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// The place in the text, if the origin is known.
    pub fn place(&self) -> Option<Place> {
        self.0.as_ref().map(|spot| spot.at.place(&spot.text))
    }

    /// The place where the document starts.
    pub fn document_start(&self) -> Option<Place> {
        let mut at = self;
        while let Some(spot) = &at.0 {
            if !spot.parent.is_known() {
                return at.place();
            }
            at = &spot.parent;
        }
        None
    }

    /// The path inside the document, such as `$.storage.files.0`.
    pub fn path(&self) -> Option<String> {
        let spot = self.0.as_ref()?;
        Some(format!("{}{}", spot.parent.path().unwrap_or_default(), spot.step))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.path().unwrap_or_default(),
            self.place().map_or(String::new(), |p| p.to_string())
        )
    }
}
