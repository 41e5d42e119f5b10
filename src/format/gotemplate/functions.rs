//! The functions that every template has (Go's `text/template/funcs.go`). Matchbox adds none.
//!
//! Leaves `and` and `or` to `exec`, because they do not evaluate all their arguments.

use super::datum::{Data, Datum, List, Text};
use super::escape;
use super::format::{self, Refusal, shown};

/// One of the built-in functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Call,
    Eq,
    Ge,
    Gt,
    Html,
    Index,
    Js,
    Le,
    Len,
    Lt,
    Ne,
    Not,
    Or,
    Print,
    Printf,
    Println,
    Slice,
    Urlquery,
}

/// The number of values that a function takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arity {
    Exactly(usize),
    AtLeast(usize),
}

const FUNCTIONS: &[(&str, Function, Arity)] = &[
    ("and", Function::And, Arity::AtLeast(1)),
    ("call", Function::Call, Arity::AtLeast(1)),
    ("eq", Function::Eq, Arity::AtLeast(1)),
    ("ge", Function::Ge, Arity::Exactly(2)),
    ("gt", Function::Gt, Arity::Exactly(2)),
    ("html", Function::Html, Arity::AtLeast(0)),
    ("index", Function::Index, Arity::AtLeast(1)),
    ("js", Function::Js, Arity::AtLeast(0)),
    ("le", Function::Le, Arity::Exactly(2)),
    ("len", Function::Len, Arity::Exactly(1)),
    ("lt", Function::Lt, Arity::Exactly(2)),
    ("ne", Function::Ne, Arity::Exactly(2)),
    ("not", Function::Not, Arity::Exactly(1)),
    ("or", Function::Or, Arity::AtLeast(1)),
    ("print", Function::Print, Arity::AtLeast(0)),
    ("printf", Function::Printf, Arity::AtLeast(1)),
    ("println", Function::Println, Arity::AtLeast(0)),
    ("slice", Function::Slice, Arity::AtLeast(1)),
    ("urlquery", Function::Urlquery, Arity::AtLeast(0)),
];

/// Reasons why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The error in Go's words.
    Call(String),
    Refused(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

fn failed<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Call(message.into()))
}

impl Function {
    pub(crate) fn named(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    pub(crate) fn name(self) -> &'static str {
        FUNCTIONS[self as usize].0
    }

    pub(crate) fn arity(self) -> Arity {
        FUNCTIONS[self as usize].2
    }

    /// Calls the function with as many values as its arity requires. A text that it makes has at most `room` bytes;
    /// `written` is the first value as the template writes it.
    pub(crate) fn call<'a>(
        self,
        values: &[Datum<'a>],
        room: usize,
        written: &str,
    ) -> Result<Datum<'a>, Failure> {
        let boolean = |value: Result<bool, Failure>| Ok(Data::Bool(value?).into());
        let escaped = |escape: fn(&[u8]) -> Vec<u8>| match escape(&text_of(values, room)?) {
            text if text.len() > room => Err(Refusal::TooLong.into()),
            text => Ok(Datum::text(text)),
        };
        match (self, values) {
            (Function::Eq, [value, others @ ..]) => boolean(equals_any(value, others)),
            (Function::Ne, [a, b]) => boolean(equals(&a.data, &b.data).map(|equal| !equal)),
            (Function::Lt, [a, b]) => boolean(less(&a.data, &b.data)),
            (Function::Ge, [a, b]) => boolean(less(&a.data, &b.data).map(|less| !less)),
            (Function::Le, [a, b]) => boolean(less_or_equal(&a.data, &b.data)),
            (Function::Gt, [a, b]) => boolean(less_or_equal(&a.data, &b.data).map(|less| !less)),
            (Function::Not, [value]) => boolean(Ok(!value.data.is_true())),
            (Function::Len, [value]) => Ok(Data::Int(length(value)? as i64).into()),
            (Function::Index, [value, keys @ ..]) => index(value, keys),
            (Function::Slice, [value, bounds @ ..]) => slice(value, bounds),
            (Function::Html, _) => escaped(escape::html),
            (Function::Js, _) => escaped(escape::js),
            (Function::Urlquery, _) => escaped(escape::urlquery),
            (Function::Print, _) => Ok(Datum::text(format::print(values, room)?)),
            (Function::Println, _) => Ok(Datum::text(format::println(values, room)?)),
            (Function::Printf, [Datum { data: Data::Text(format), .. }, values @ ..]) => {
                Ok(Datum::text(format::printf(format, values, room)?))
            }
            (Function::Call, [Datum { data: Data::Nil, .. }, ..]) => failed("call of nil"),
            (Function::Call, [value, ..]) => {
                failed(format!("non-function {written} of type {}", value.data.type_name()))
            }
            // The caller has counted the values, and evaluates `and` and `or` itself.
            (function, values) => failed(format!("{} cannot be called with {values:?}", function.name())),
        }
    }
}

/// The text to escape: the values as `print` joins them, with null as in an action.
fn text_of(values: &[Datum], room: usize) -> Result<Vec<u8>, Refusal> {
    if let [Datum { data: Data::Text(text), .. }] = values {
        return Ok(text.to_vec());
    }
    let mut values = values.to_vec();
    for value in &mut values {
        if let Data::Nil = value.data {
            *value = Datum::string(NO_VALUE);
        }
    }
    format::print(&values, room)
}

/// Output of an action for null.
pub(super) const NO_VALUE: &str = "<no value>";

/// Types whose values can be compared with each other; except for the integers, never across types.
#[derive(PartialEq)]
enum Basic<'a> {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(&'a [u8]),
}

fn basic<'a>(data: &'a Data) -> Option<Basic<'a>> {
    Some(match data {
        Data::Bool(value) => Basic::Bool(*value),
        Data::Int(value) => Basic::Integer(*value),
        Data::Byte(value) => Basic::Integer((*value).into()),
        Data::Float(value) => Basic::Float(*value),
        Data::Text(text) => Basic::Text(text),
        Data::Nil | Data::List(_) | Data::Map(_) | Data::Strings(_) => return None,
    })
}

fn incompatible<T>(a: &Data, b: &Data) -> Result<T, Failure> {
    failed(format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name()))
}

fn equals_any(value: &Datum, others: &[Datum]) -> Result<bool, Failure> {
    if others.is_empty() {
        return failed("missing argument for comparison");
    }
    for other in others {
        if equals(&value.data, &other.data)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equals(a: &Data, b: &Data) -> Result<bool, Failure> {
    use std::mem::discriminant;
    match (basic(a), basic(b)) {
        (Some(x), Some(y)) if discriminant(&x) == discriminant(&y) => Ok(x == y),
        _ if matches!(a, Data::Nil) || matches!(b, Data::Nil) => Ok(discriminant(a) == discriminant(b)),
        (None, None) if matches!(a, Data::List(_)) != matches!(b, Data::List(_)) => failed(format!(
            "non-comparable types {}: {}, {}: {}",
            shown(a, 's'),
            a.type_name(),
            b.type_name(),
            shown(b, 'v')
        )),
        (None, None) => failed(format!("non-comparable type {}: {}", shown(b, 's'), b.type_name())),
        _ => incompatible(a, b),
    }
}

fn less(a: &Data, b: &Data) -> Result<bool, Failure> {
    match (basic(a), basic(b)) {
        (None, _) | (_, None) | (Some(Basic::Bool(_)), Some(Basic::Bool(_))) => {
            failed("invalid type for comparison")
        }
        (Some(Basic::Integer(a)), Some(Basic::Integer(b))) => Ok(a < b),
        (Some(Basic::Float(a)), Some(Basic::Float(b))) => Ok(a < b),
        (Some(Basic::Text(a)), Some(Basic::Text(b))) => Ok(a < b),
        _ => incompatible(a, b),
    }
}

fn less_or_equal(a: &Data, b: &Data) -> Result<bool, Failure> {
    Ok(less(a, b)? || equals(a, b)?)
}

fn length(value: &Datum) -> Result<usize, Failure> {
    match &value.data {
        Data::Text(text) => Ok(text.len()),
        Data::List(list) => Ok(list.len()),
        Data::Map(members) => Ok(members.len()),
        Data::Strings(members) => Ok(members.len()),
        Data::Nil if value.boxed => failed("len of nil pointer"),
        Data::Nil => failed("reflect: call of reflect.Value.Type on zero Value"),
        data => failed(format!("len of type {}", data.type_name())),
    }
}

/// A whole number no greater than a limit. (No number in the data is a whole number, so a boxed value never is.)
fn position(index: &Datum, limit: usize) -> Result<usize, Failure> {
    let number = match index.data {
        _ if index.boxed => return failed("cannot index slice/array with type interface {}"),
        Data::Int(number) => number,
        Data::Byte(number) => number.into(),
        Data::Nil => return failed("cannot index slice/array with nil"),
        ref other => return failed(format!("cannot index slice/array with type {}", other.type_name())),
    };
    match usize::try_from(number) {
        Ok(position) if position <= limit => Ok(position),
        _ => failed(format!("index out of range: {number}")),
    }
}

fn index<'a>(value: &Datum<'a>, keys: &[Datum<'a>]) -> Result<Datum<'a>, Failure> {
    if matches!(value.data, Data::Nil) {
        return failed("index of untyped nil");
    }
    let mut item = value.clone().unboxed();
    for key in keys {
        let key = &key.clone().unboxed();
        item = match &item.data {
            Data::Nil => return failed("index of nil pointer"),
            // An index equal to the length passes `position`, and Go's reflection refuses it.
            Data::List(list) => match list.get(position(key, list.len())?) {
                Some(item) => item,
                None => return failed("reflect: slice index out of range"),
            },
            Data::Text(text) => match text.get(position(key, text.len())?) {
                Some(byte) => Data::Byte(*byte).into(),
                None => return failed("reflect: string index out of range"),
            },
            Data::Map(members) => match map_key(key)?.and_then(|key| members.get(key)) {
                Some(value) => Datum::element(value),
                None => Datum { data: Data::Nil, boxed: true },
            },
            Data::Strings(members) => {
                Datum::string(map_key(key)?.and_then(|key| members.get(key)).map_or("", String::as_str))
            }
            other => return failed(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// The key to look up; a text that is not UTF-8 is in no map.
fn map_key<'k>(key: &'k Datum) -> Result<Option<&'k str>, Failure> {
    match &key.data {
        Data::Text(text) => Ok(std::str::from_utf8(text).ok()),
        Data::Nil => failed("value is nil; should be of type string"),
        other => failed(format!("value has type {}; should be string", other.type_name())),
    }
}

fn slice<'a>(value: &Datum<'a>, bounds: &[Datum<'a>]) -> Result<Datum<'a>, Failure> {
    if matches!(value.data, Data::Nil) {
        return failed("slice of untyped nil");
    }
    if bounds.len() > 3 {
        return failed(format!("too many slice indexes: {}", bounds.len()));
    }
    let (length, capacity) = match &value.data {
        Data::Text(_) if bounds.len() == 3 => return failed("cannot 3-index slice a string"),
        Data::Text(text) => (text.len(), text.len()),
        Data::List(list) => (list.len(), list.capacity()),
        other => return failed(format!("can't slice item of type {}", other.type_name())),
    };
    let mut ends = [0, length, capacity];
    for (end, bound) in ends.iter_mut().zip(bounds) {
        *end = position(bound, capacity)?;
    }
    let [from, to, capacity] = ends;
    if from > to {
        return failed(format!("invalid slice index: {from} > {to}"));
    }
    if to > capacity {
        return failed(format!("invalid slice index: {to} > {capacity}"));
    }
    Ok(match &value.data {
        Data::List(list) => Data::List(List::slice(list, from, to, capacity)).into(),
        Data::Text(Text::Borrowed(text)) => Data::Text(Text::Borrowed(&text[from..to])).into(),
        Data::Text(Text::Owned(text)) => Datum::text(text[from..to].to_vec()),
        other => return failed(format!("can't slice item of type {}", other.type_name())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_names() {
        for (at, (name, function, _)) in FUNCTIONS.iter().enumerate() {
            assert_eq!(*function as usize, at, "{name}");
        }
    }
}
