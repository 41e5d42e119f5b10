//! Decodes a YAML tree into a record as Go fills Butane's structs, with a warning for every part that Butane would
//! ignore.

use prebake_text::finding::{Finding, Severity, nearest};
use prebake_text::yaml::merge::is_merge;
use prebake_text::yaml::{self, Kind, Position};

use super::goyaml::{self, Misfit};
use crate::report::Report;
use crate::schema::{Field, Schema, Type, snake_case};
use crate::spec::Spec;
use crate::tree::{At, Node, Origin, Record, Step, Text, Value};

/// Settings for decoding a document.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub spec: Spec,
    /// Whether warnings will be errors, for the hints.
    pub strict: bool,
    /// Whether anchors, `<<` and `x-` keys cause no warnings, see [`crate::Transpile::sharing`].
    pub sharing: bool,
}

/// Decodes a document. A value that does not fit is an error, an unknown key a warning.
pub(super) fn decode(
    schema: &'static Schema,
    root: &yaml::Node,
    origin: &Origin,
    manner: Manner,
    text: &Text,
    report: &mut Report,
) -> Record {
    let mut decoder = Decoder { spec: manner.spec, manner, text, report, within: None };
    decoder.record(schema, root, origin)
}

/// The entries of a mapping, including those merged by `<<`, each with whether it was merged.
///
/// # Errors
/// The value of a `<<` that is not a mapping.
pub(super) fn entries(node: &yaml::Node) -> Result<Vec<(&yaml::Node, &yaml::Node, bool)>, &yaml::Node> {
    let Kind::Mapping(pairs) = &node.kind else { return Ok(Vec::new()) };
    let mut entries: Vec<_> =
        pairs.iter().filter(|(key, _)| !is_merge(key)).map(|(key, value)| (key, value, false)).collect();
    for (_, value) in pairs.iter().filter(|(key, _)| is_merge(key)) {
        let merged: Vec<&yaml::Node> = match &value.kind {
            Kind::Mapping(_) => vec![value],
            Kind::Sequence(items) => items.iter().collect(),
            Kind::Scalar(..) => return Err(value),
        };
        for mapping in merged {
            if !matches!(mapping.kind, Kind::Mapping(_)) {
                return Err(mapping);
            }
            for (key, value, _) in self::entries(mapping)? {
                if !entries.iter().any(|(known, ..)| known.scalar() == key.scalar()) {
                    entries.push((key, value, true));
                }
            }
        }
    }
    Ok(entries)
}

struct Decoder<'d> {
    spec: Spec,
    manner: Manner,
    text: &'d Text,
    report: &'d mut Report,
    /// Position of the alias or `<<` that brought in the node being decoded. Butane neither checks such parts for
    /// unknown keys nor knows positions inside them.
    within: Option<Position>,
}

impl Decoder<'_> {
    fn record(&mut self, schema: &'static Schema, node: &yaml::Node, origin: &Origin) -> Record {
        let mut record = Record::new(schema, self.spec);
        if goyaml::is_null(node) {
            self.mismatch(origin, "null is not a mapping");
            return record;
        }
        if !matches!(node.kind, Kind::Mapping(_)) {
            self.misfit(node, origin, goyaml::misfit(node, &format!("a mapping ({})", schema.name)));
            return record;
        }
        let outer = self.within;
        if node.aliased && outer.is_none() && !self.manner.sharing {
            self.mismatch(origin, "unknown keys inside an alias are not detected");
        }
        self.enter(node);
        if self.within.is_none() || self.manner.sharing {
            self.unused(schema, node, origin);
        }
        let entries = match entries(node) {
            Ok(entries) => entries,
            Err(value) => {
                let message = "map merge requires map or sequence of maps as the value";
                self.misfit(value, origin, Misfit(message.into()));
                Vec::new()
            }
        };
        for (key, value, merged) in entries {
            if let Err(misfit) = goyaml::bytes(key) {
                self.misfit(key, origin, misfit);
                continue;
            }
            let index = key.scalar().and_then(|key| schema.yaml_field(key, self.spec));
            let Some(index) = index else { continue };
            let field = &schema.fields[index];
            let before = self.within;
            if merged && before.is_none() {
                self.within = Some(node.start);
            }
            let origin = origin.child(Step::Yaml(field.name), self.at(value));
            if let Some(value) = self.value(field, value, &origin) {
                *record.at_mut(index) = Some(Node { value, origin });
            }
            self.within = before;
        }
        self.within = outer;
        record
    }

    fn value(&mut self, field: &Field, node: &yaml::Node, origin: &Origin) -> Option<Value> {
        let outcome = match field.ty {
            Type::Record(schema) => return Some(Value::Record(self.record(schema, node, origin))),
            Type::Texts | Type::Records(_) => return self.list(field.ty, node, origin),
            Type::Int => goyaml::int(node).map(|number| number.map(Value::Int)),
            Type::Flag => goyaml::flag(node).map(|flag| flag.map(Value::Flag)),
            Type::Text => goyaml::bytes(node).map(|bytes| bytes.map(text_value)),
        };
        outcome.unwrap_or_else(|misfit| {
            self.misfit(node, origin, misfit);
            None
        })
    }

    fn list(&mut self, ty: Type, node: &yaml::Node, origin: &Origin) -> Option<Value> {
        if goyaml::is_null(node) {
            return None;
        }
        let Kind::Sequence(items) = &node.kind else {
            self.misfit(node, origin, goyaml::misfit(node, "a list"));
            return None;
        };
        let outer = self.within;
        self.enter(node);
        let kept = items.iter().filter(|item| !goyaml::is_null(item)).count();
        let mut values = Vec::with_capacity(kept);
        for (index, item) in items.iter().enumerate() {
            let origin = origin.child(Step::Index(index), self.at(item));
            if goyaml::is_null(item) {
                // Go drops the null, and Butane then compares the following items with the wrong nodes.
                if matches!(ty, Type::Records(_)) && index < kept {
                    self.mismatch(&origin, "a null in a list is dropped");
                }
                continue;
            }
            let value = match ty {
                Type::Records(schema) => Some(Value::Record(self.record(schema, item, &origin))),
                _ => match goyaml::bytes(item) {
                    Ok(bytes) => bytes.map(text_value),
                    Err(misfit) => {
                        self.misfit(item, &origin, misfit);
                        None
                    }
                },
            };
            values.extend(value.map(|value| Node { value, origin }));
        }
        self.within = outer;
        Some(Value::List(values))
    }

    fn enter(&mut self, node: &yaml::Node) {
        if node.aliased && self.within.is_none() {
            self.within = Some(node.start);
        }
    }

    fn at(&self, node: &yaml::Node) -> At {
        At::Position(self.within.unwrap_or(node.start))
    }

    /// Reports a value that does not fit. Go reports the value's own line, even if an alias refers to it.
    fn misfit(&mut self, node: &yaml::Node, origin: &Origin, Misfit(message): Misfit) {
        let finding = Finding::error(message).at(At::Position(node.start).place(self.text));
        let finding = match goyaml::is_quoted_number_or_flag(node) {
            true => finding.hint("leave out the quotes: quoted, it is a text"),
            false => finding,
        };
        self.report.push(match origin.path() {
            Some(path) => finding.path(path),
            None => finding,
        });
    }

    fn mismatch(&mut self, origin: &Origin, why: &str) {
        if self.within.is_none() {
            let path = origin.path().unwrap_or_default();
            let message = format!("context tree does not match content tree at {path}: {why}");
            self.report.warning(origin, &[], message);
        }
    }

    fn unused(&mut self, schema: &'static Schema, node: &yaml::Node, origin: &Origin) {
        let sharing = self.manner.sharing;
        let keys: Vec<&yaml::Node> = match (&node.kind, sharing) {
            // With `sharing`, merged keys are checked here, instead of a warning about `<<` itself.
            (_, true) => entries(node).unwrap_or_default().into_iter().map(|(key, ..)| key).collect(),
            (Kind::Mapping(pairs), false) => pairs.iter().map(|(key, _)| key).collect(),
            _ => return,
        };
        let is_top = std::ptr::eq(schema, &crate::schema::CONFIG);
        for key in keys {
            let name = key.scalar().unwrap_or_default();
            let is_holder = sharing && is_top && name.starts_with("x-");
            if schema.yaml_field(name, self.spec).is_some() && !is_merge(key) || is_holder {
                continue;
            }
            if self.report.is_full() {
                self.report.leave_out(Severity::Warning);
                continue;
            }
            let path = format!("{}.{name}", origin.path().unwrap_or_default());
            let finding = Finding::warning(format!("unused key {name}"))
                .at(At::Position(key.start).place(self.text))
                .path(path);
            self.report.push(finding.hint(self.advice(schema, name)));
        }
    }

    /// A hint about an unknown key.
    fn advice(&self, schema: &'static Schema, name: &str) -> String {
        if name == "<<" {
            return "it works, although Butane warns about it".into();
        }
        if let Some(index) = schema.yaml_field(name, Spec::V3_7Experimental) {
            return match schema.fields[index].since <= Spec::V3_4 {
                true => format!("the key `{name}` needs `version: 1.1.0`; it is ignored here"),
                false => format!("the key `{name}` needs `version: 1.2.0-experimental`; it is ignored here"),
            };
        }
        let known: Vec<String> = schema
            .fields
            .iter()
            .filter(|field| field.in_butane(self.spec))
            .map(|field| snake_case(field.name))
            .collect();
        match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? As written, it is ignored"),
            None if self.manner.strict => format!("known keys: {}", known.join(", ")),
            None => "it is ignored; `--strict` makes this an error".into(),
        }
    }
}

/// A text, or bytes if `!!binary` holds data that is not text.
fn text_value(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::Text(text),
        Err(error) => Value::Bytes(error.into_bytes()),
    }
}
