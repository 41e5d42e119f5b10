//! JSON of a config, as Go's `encoding/json` writes it.
//!
//! Ignition is a Go program: its writer escapes HTML. A config must mean here what it means there.

use std::borrow::Cow;
use std::fmt::Write;

use prebake_text::json::lossy;

use super::schema::{Field, Type};
use super::spec::Spec;
use super::tree::{Node, Origin, Record, Value};

/// Writes a record as Go would: fields in the schema's order, empty parts left out, HTML escaped.
///
/// `indent` is the number of blanks per level, or `None` for one line.
pub(crate) fn write(record: &Record, spec: Spec, indent: Option<usize>) -> String {
    let mut writer = Writer { out: String::new(), spec, indent, level: 0, empty_records: false };
    writer.record(record);
    writer.out
}

/// Writes it in one line including empty records, because Go's `omitempty` does not omit structs.
pub(crate) fn write_structs(record: &Record, spec: Spec) -> String {
    let mut writer = Writer { out: String::new(), spec, indent: None, level: 0, empty_records: true };
    writer.record(record);
    writer.out
}

struct Writer {
    out: String,
    spec: Spec,
    indent: Option<usize>,
    level: usize,
    empty_records: bool,
}

impl Writer {
    fn record(&mut self, record: &Record) {
        let spec = self.spec;
        let absent = |field: &Field| match field.ty {
            Type::Record(schema) if self.empty_records => {
                Some(Cow::Owned(Node::record(Record::new(schema, spec), &Origin::default())))
            }
            _ => None,
        };
        let fields = record.schema.fields.iter().zip(record.fields());
        let shown = fields.filter_map(|(field, node)| {
            let node = node.as_ref().map(Cow::Borrowed).or_else(|| absent(field))?;
            let is_record = matches!(node.value, Value::Record(_));
            // Go omits a plain zero number, but writes a plain empty text.
            let omitted = node.is_void() && !(is_record && self.empty_records)
                || !field.in_ignition(spec)
                || matches!(node.value, Value::Int(0)) && field.plain == super::schema::Plain::Always;
            (!omitted).then_some((field.name, node))
        });
        let shown: Vec<_> = shown.collect();
        self.brackets(b"{}", &shown, |writer, (name, node)| {
            writer.string(name);
            writer.out.push_str(if writer.indent.is_some() { ": " } else { ":" });
            writer.value(&node.value);
        });
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.string(text),
            Value::Bytes(bytes) => self.string(&lossy(bytes)),
            Value::Int(number) => self.out.push_str(&number.to_string()),
            Value::Flag(flag) => self.out.push_str(if *flag { "true" } else { "false" }),
            Value::List(items) => self.brackets(b"[]", items, |writer, item| writer.value(&item.value)),
            Value::Record(record) => self.record(record),
        }
    }

    fn brackets<T>(&mut self, pair: &[u8; 2], items: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.out.push(pair[0] as char);
        self.level += 1;
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.line();
            one(self, item);
        }
        self.level -= 1;
        if !items.is_empty() {
            self.line();
        }
        self.out.push(pair[1] as char);
    }

    fn line(&mut self) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * self.level));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    // Writing to a string cannot fail.
                    let _ = write!(self.out, "\\u{:04x}", c as u32);
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
