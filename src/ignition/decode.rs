//! Decodes JSON into a record, as Go's decoder fills Ignition's structs.

use prebake_text::finding::{Severity, nearest};
use prebake_text::json::{Member, Raw, RawValue, same_key};

use super::report::Report;
use super::schema::{Field, Schema, Type};
use super::spec::Spec;
use super::tree::{At, Node, Origin, Record, Step, Value};

/// Fills a record of a spec from a JSON value; every value that does not fit and every unknown key is a finding.
pub(crate) fn decode(
    schema: &'static Schema,
    raw: &Raw,
    spec: Spec,
    root: &Origin,
    report: &mut Report,
) -> Record {
    let mut record = Record::new(schema, spec);
    Decoder { spec, report }.record(&mut record, raw, root);
    record
}

struct Decoder<'r> {
    spec: Spec,
    report: &'r mut Report,
}

impl Decoder<'_> {
    /// Go decodes an object into the existing struct, so a repeated key adds to the values that the first one set.
    fn record(&mut self, record: &mut Record, raw: &Raw, origin: &Origin) {
        let members = match &raw.value {
            RawValue::Object(members) => members,
            RawValue::Null => {
                let path = origin.path().unwrap_or_default();
                let message =
                    format!("context tree does not match content tree at {path}: null is not an object");
                return self.report.warning(origin, &[], message);
            }
            _ => return self.misfit(raw, origin, &format!("object ({})", record.schema.name)),
        };
        let spec = self.spec;
        let fields = record.schema.fields;
        let known = || fields.iter().enumerate().filter(move |(_, field)| field.in_ignition(spec));
        for Member { key, start, value } in members {
            let exact = known().find(|(_, field)| field.name == key);
            let matched = exact.or_else(|| known().find(|(_, field)| same_key(key, field.name)));
            if exact.is_none() {
                self.unused(key, *start, origin, known().map(|(_, field)| field.name));
            }
            if let Some((index, field)) = matched {
                let origin = origin.child(Step::Json(field.name), At::Byte(value.at()));
                self.field(record.at_mut(index), field, value, origin);
            }
        }
    }

    fn unused(
        &mut self,
        key: &str,
        start: usize,
        parent: &Origin,
        known: impl Iterator<Item = &'static str>,
    ) {
        if self.report.is_full() {
            return self.report.leave_out(Severity::Warning);
        }
        let at = parent.child(Step::Root, At::Byte(start)).place();
        let path = format!("{}.{key}", parent.path().unwrap_or_default());
        let finding = prebake_text::finding::Finding::warning(format!("unused key {key}")).path(path);
        let finding = match nearest(key, known) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint(format!("Ignition {} does not know it and ignores it", self.spec)),
        };
        self.report.push(prebake_text::finding::Finding { place: at, ..finding });
    }

    fn field(&mut self, slot: &mut Option<Node>, field: &Field, raw: &Raw, origin: Origin) {
        if let Type::Record(schema) = field.ty {
            let node = slot.get_or_insert_with(|| Node::record(Record::new(schema, self.spec), &origin));
            node.origin = origin.clone();
            if let Value::Record(record) = &mut node.value {
                self.record(record, raw, &origin);
            }
            return;
        }
        if matches!(raw.value, RawValue::Null) {
            // A pointer or list becomes absent, a plain value keeps its value.
            if !field.is_plain(self.spec) {
                *slot = None;
            }
            return;
        }
        let value = match field.ty {
            Type::Texts | Type::Records(_) => {
                let earlier = slot.take().map(|node| node.value);
                self.list(earlier, field.ty, raw, &origin)
            }
            ty => self.scalar(ty, raw, &origin),
        };
        if let Some(value) = value {
            *slot = Some(Node { value, origin });
        }
    }

    fn scalar(&mut self, ty: Type, raw: &Raw, origin: &Origin) -> Option<Value> {
        match (ty, &raw.value) {
            (Type::Text, RawValue::Text(text)) => Some(Value::Text(text.clone())),
            (Type::Flag, RawValue::Flag(flag)) => Some(Value::Flag(*flag)),
            (Type::Int, RawValue::Number(digits)) => match digits.parse() {
                Ok(number) => Some(Value::Int(number)),
                Err(_) => {
                    self.misfit_text(&format!("number {digits}"), origin, "int");
                    None
                }
            },
            _ => {
                self.misfit(raw, origin, scalar_name(ty));
                None
            }
        }
    }

    fn list(&mut self, earlier: Option<Value>, ty: Type, raw: &Raw, origin: &Origin) -> Option<Value> {
        let RawValue::List(items) = &raw.value else {
            self.misfit(raw, origin, "array");
            return earlier;
        };
        // Go decodes the items into those that an earlier key of the same name left behind.
        let mut earlier = match earlier {
            Some(Value::List(nodes)) => nodes.into_iter(),
            _ => Vec::new().into_iter(),
        };
        let nodes = items.iter().enumerate().map(|(index, item)| {
            let origin = origin.child(Step::Index(index), At::Byte(item.at()));
            let node = earlier.next();
            match ty {
                Type::Records(schema) => {
                    let mut record = match node.map(|node| node.value) {
                        Some(Value::Record(record)) => record,
                        _ => Record::new(schema, self.spec),
                    };
                    self.record(&mut record, item, &origin);
                    Node::record(record, &origin)
                }
                _ if matches!(item.value, RawValue::Null) => node.unwrap_or_else(|| Node::text("", &origin)),
                _ => {
                    let value = self.scalar(Type::Text, item, &origin);
                    Node { value: value.unwrap_or_else(|| Value::Text(String::new())), origin }
                }
            }
        });
        Some(Value::List(nodes.collect()))
    }

    fn misfit(&mut self, raw: &Raw, origin: &Origin, wanted: &str) {
        self.misfit_text(raw.kind(), origin, wanted);
    }

    fn misfit_text(&mut self, found: &str, origin: &Origin, wanted: &str) {
        self.report.error(
            origin,
            &[],
            format!("json: cannot unmarshal {found} into a field of type {wanted}"),
        );
    }
}

fn scalar_name(ty: Type) -> &'static str {
    match ty {
        Type::Int => "int",
        Type::Flag => "bool",
        Type::Text => "string",
        Type::Record(_) => "object",
        Type::Texts | Type::Records(_) => "array",
    }
}
