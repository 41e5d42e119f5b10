//! The values of pipelines: from the data or the template, with what Go's reflection knows about them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use super::value::Value;

/// A value in a running template.
#[derive(Clone, Debug)]
pub(super) struct Datum<'a> {
    pub data: Data<'a>,
    /// Whether it was taken out of a list or map of any type and is still "in an interface". Only messages and `nil`
    /// depend on it: a boxed `nil` is a null in the data, an unboxed one is no value at all.
    pub boxed: bool,
}

/// The value by its Go type.
#[derive(Clone, Debug)]
pub(super) enum Data<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// `uint8`, an element of a string.
    Byte(u8),
    Float(f64),
    Text(Text<'a>),
    List(List<'a>),
    Map(&'a BTreeMap<String, Value>),
    Strings(&'a BTreeMap<String, String>),
}

impl<'a> Datum<'a> {
    /// Go's zero `reflect.Value`.
    pub(crate) const NOTHING: Datum<'static> = Datum { data: Data::Nil, boxed: false };

    /// The data as a whole, as it is passed to a template, or an element of a map of strings.
    pub(crate) fn plain(value: &'a Value) -> Self {
        Datum { boxed: false, ..Datum::element(value) }
    }

    /// An element of a list or map.
    pub(crate) fn element(value: &'a Value) -> Self {
        let data = match value {
            Value::Null => Data::Nil,
            Value::Bool(value) => Data::Bool(*value),
            Value::Number(number) => Data::Float(*number),
            Value::String(text) => Data::Text(Text::Borrowed(text)),
            Value::List(items) => Data::List(List::whole(items)),
            Value::Map(members) => Data::Map(members),
            Value::Strings(members) => Data::Strings(members),
        };
        Datum { data, boxed: true }
    }

    /// A key, or an element of a map of strings.
    pub(crate) fn string(text: &'a str) -> Self {
        Data::Text(Text::Borrowed(text.as_bytes())).into()
    }

    /// A text that the template made.
    pub(crate) fn text(text: Vec<u8>) -> Self {
        Data::Text(Text::Owned(text.into())).into()
    }

    /// The value without its box, as at the end of every command.
    pub(crate) fn unboxed(self) -> Self {
        Datum { boxed: false, ..self }
    }

    /// Go's static type name: for a boxed value, that of the box.
    pub(crate) fn type_name(&self) -> &'static str {
        if self.boxed { "interface {}" } else { self.data.type_name() }
    }
}

impl<'a> From<Data<'a>> for Datum<'a> {
    fn from(data: Data<'a>) -> Self {
        Datum { data, boxed: false }
    }
}

impl Data<'_> {
    /// Go's type name, as `%T` prints it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Data::Nil => "<nil>",
            Data::Bool(_) => "bool",
            Data::Int(_) => "int",
            Data::Byte(_) => "uint8",
            Data::Float(_) => "float64",
            Data::Text(_) => "string",
            Data::List(_) => "[]interface {}",
            Data::Map(_) => "map[string]interface {}",
            Data::Strings(_) => "map[string]string",
        }
    }

    /// The value's truth for `if`, `and`, `or` and `not`: not empty, not zero.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Data::Nil => false,
            Data::Bool(value) => *value,
            Data::Int(value) => *value != 0,
            Data::Byte(value) => *value != 0,
            Data::Float(value) => *value != 0.0,
            Data::Text(text) => !text.is_empty(),
            Data::List(list) => list.len() > 0,
            Data::Map(members) => !members.is_empty(),
            Data::Strings(members) => !members.is_empty(),
        }
    }
}

/// A string, from the data or the template, or made at run time.
#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a [u8]),
    Owned(Rc<[u8]>),
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Borrowed(text) => text,
            Text::Owned(text) => text,
        }
    }
}

/// A slice of a list. As in Go, slicing may go beyond its end, up to its capacity.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    whole: &'a [Value],
    start: usize,
    len: usize,
    capacity: usize,
}

impl<'a> List<'a> {
    fn whole(items: &'a [Value]) -> Self {
        // `encoding/json` appends one by one, and `append` doubles the capacity. Beyond 512 elements Go's allocator
        // decides too.
        let capacity = if items.is_empty() { 0 } else { items.len().next_power_of_two() };
        List { whole: items, start: 0, len: items.len(), capacity }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn get(&self, index: usize) -> Option<Datum<'a>> {
        let item = || self.whole.get(self.start + index).unwrap_or(&Value::Null);
        (index < self.len).then(|| Datum::element(item()))
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Datum<'a>> {
        (0..self.len).filter_map(move |index| self.get(index))
    }

    /// `list[from:to:capacity]`; the caller has checked that they are in order and within the capacity.
    pub(crate) fn slice(&self, from: usize, to: usize, capacity: usize) -> Self {
        List { whole: self.whole, start: self.start + from, len: to - from, capacity: capacity - from }
    }
}
