//! Tables of the keys that mappings may have.
//!
//! A decoder opens a mapping with its [`Mapping`] and accepts no other keys; references, manual pages and JSON Schemas are written
//! from the same tables, so none of them can know other keys than the decoder. Owns the shape of such tables. Leaves each table
//! to the decoder that reads it, and every rendering to those who print.

/// The keys that a mapping may have.
#[derive(Debug)]
pub struct Mapping {
    /// Its name in messages, such as `the recipe` or `` `trust` ``.
    pub what: &'static str,
    /// Its keys, in the order in which people read about them.
    pub keys: &'static [Key],
    /// Whether keys that begin with `x-` are ignored: they hold values for anchors.
    pub holders: bool,
    /// Demands of its keys on each other.
    pub rules: &'static [Rule],
}

/// A demand on the keys of one mapping.
#[derive(Debug)]
pub enum Rule {
    /// At least one of them is there.
    Any(&'static [&'static str]),
    /// Exactly one of them is there.
    One(&'static [&'static str]),
    /// The first one demands the others.
    Needs(&'static str, &'static [&'static str]),
}

/// A key of a mapping.
#[derive(Debug)]
pub struct Key {
    /// Its spelling.
    pub name: &'static str,
    /// Its values.
    pub value: Value,
    /// The meaning of its absence. Null counts as absent.
    pub absent: Absent,
    /// A value in YAML that fits on one line.
    pub example: &'static str,
    /// Its effect, in one or two sentences of Markdown on one line.
    pub words: &'static str,
}

/// The meaning of a key's absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The key is required.
    Fault,
    /// The same as this value, in YAML.
    Same(&'static str),
    /// Told in words, such as `no node`.
    Words(&'static str),
}

/// The values of a key, or of an item below it.
#[derive(Debug)]
pub enum Value {
    /// Any scalar, as it is spelt.
    Text,
    /// A scalar of a certain form.
    Form(&'static Form),
    /// One of some words, with their meanings; an empty meaning is that of the word before it.
    Words(&'static [(&'static str, &'static str)]),
    /// `true` or `false`.
    Flag,
    /// A whole number between these, inclusive.
    Number(u64, u64),
    /// A list.
    List(&'static Value),
    /// A mapping whose keys are names that users choose: the form of those and their placeholder in paths, and the values.
    Names(&'static Form, &'static Value),
    /// A mapping with keys of a table.
    Keys(&'static Mapping),
    /// The same, or nothing at all.
    Options(&'static Mapping),
    /// Any of several.
    Either(&'static [Value]),
    /// Null, where it means something.
    Null,
    /// The keys of this name, which another roof's table has.
    Elsewhere(&'static str),
}

/// The form of a text, as far as a pattern can tell it; parsers judge more.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Its name, such as `MAC address`.
    pub name: &'static str,
    /// A regular expression of ECMA 262 that accepts all that the parser accepts; empty for any text.
    pub pattern: &'static str,
    /// Whether a text of this form may be read as a number by YAML.
    pub numeric: bool,
}

impl Mapping {
    /// A mapping without rules and holders.
    pub const fn of(what: &'static str, keys: &'static [Key]) -> Mapping {
        Mapping { what, keys, holders: false, rules: &[] }
    }

    /// Its key of this spelling.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Key {
    /// A key that must be there.
    pub const fn needed(name: &'static str, value: Value, example: &'static str, words: &'static str) -> Key {
        Key { name, value, absent: Absent::Fault, example, words }
    }

    /// A key whose absence is the same as a value.
    pub const fn same(
        name: &'static str,
        value: Value,
        default: &'static str,
        example: &'static str,
        words: &'static str,
    ) -> Key {
        Key { name, value, absent: Absent::Same(default), example, words }
    }

    /// A key whose absence is told in words.
    pub const fn may(
        name: &'static str,
        value: Value,
        absent: &'static str,
        example: &'static str,
        words: &'static str,
    ) -> Key {
        Key { name, value, absent: Absent::Words(absent), example, words }
    }
}

impl Value {
    /// The table below this value, if it is one: its own, or that of its items or names.
    pub fn mapping(&self) -> Option<&'static Mapping> {
        match self {
            Value::Keys(mapping) | Value::Options(mapping) => Some(mapping),
            Value::List(value) | Value::Names(_, value) => value.mapping(),
            Value::Either(values) => values.iter().find_map(Value::mapping),
            _ => None,
        }
    }
}
