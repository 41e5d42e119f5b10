//! JSON Schemas of files, draft 7, which every editor's YAML support knows.
//!
//! A schema accepts whatever the decoder accepts: scalars are read as they are spelt, so a text may be a number or a boolean in
//! YAML's eyes, and null counts as absent. It refuses unknown keys, values of another kind, and forms that a pattern can tell.

use serde_json::{Map, Value as Json, json};

use super::{Format, elsewhere, meanings, without_links};
use crate::base::finding::Source;
use crate::base::yaml::keys::{Absent, Form, Key, Mapping, Rule, Value};
use crate::base::yaml::{self, Kind, Node, Style};

/// The schema of a file.
pub(super) fn of(format: &Format) -> Map<String, Json> {
    let mut schema = Map::new();
    schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".into(), format.title.into());
    schema.extend(mapping(format.mapping));
    schema
}

fn mapping(mapping: &Mapping) -> Map<String, Json> {
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    let properties = mapping.keys.iter().map(|key| (key.name.to_owned(), property(key)));
    schema.insert("properties".into(), Json::Object(properties.collect()));
    if mapping.holders {
        schema.insert("patternProperties".into(), json!({"^x-": true}));
    }
    schema.insert("additionalProperties".into(), false.into());
    let required = mapping.keys.iter().filter(|key| key.absent == Absent::Fault).map(|key| key.name);
    let required: Vec<&str> = required.collect();
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    let has = |key: &&str| json!({"required": [key]});
    let mut all = Vec::new();
    let mut dependencies = Map::new();
    for rule in mapping.rules {
        match rule {
            Rule::Any(keys) => all.push(json!({"anyOf": keys.iter().map(has).collect::<Vec<_>>()})),
            Rule::One(keys) => all.push(json!({"oneOf": keys.iter().map(has).collect::<Vec<_>>()})),
            Rule::Needs(key, others) => {
                dependencies.insert((*key).to_owned(), json!(others));
            }
        }
    }
    if !dependencies.is_empty() {
        schema.insert("dependencies".into(), Json::Object(dependencies));
    }
    if !all.is_empty() {
        schema.insert("allOf".into(), Json::Array(all));
    }
    schema
}

fn property(key: &Key) -> Json {
    let mut schema = Map::new();
    schema.insert("description".into(), description(key).into());
    let inner = value(&key.value);
    schema.extend(if key.absent == Absent::Fault { inner } else { or_null(inner) });
    if let Absent::Same(default) = key.absent
        && let Some(default) = read(default)
    {
        schema.insert("default".into(), default);
    }
    if let Some(example) = read(key.example) {
        schema.insert("examples".into(), json!([example]));
    }
    Json::Object(schema)
}

/// The text that an editor shows beside a key.
fn description(key: &Key) -> String {
    let mut text = without_links(key.words);
    for (word, meaning) in meanings(&key.value) {
        text += &format!("\n- `{word}`: {meaning}");
    }
    text + &match key.absent {
        Absent::Fault => "\n\nRequired.".to_owned(),
        Absent::Same(default) => format!("\n\nDefault: `{default}`"),
        Absent::Words(words) => format!("\n\nWithout it: {words}"),
    }
}

fn value(of: &Value) -> Map<String, Json> {
    let schema = match of {
        Value::Text => json!({"type": ["string", "number", "boolean"]}),
        Value::Form(form) => Json::Object(text(form)),
        Value::Words(words) => json!({"enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>()}),
        Value::Flag => json!({"type": "boolean"}),
        // `"1"` in quotes is read, too.
        Value::Number(least, most) => {
            let mut schema =
                json!({"type": ["integer", "string"], "pattern": "^\\+?[0-9]+$", "minimum": least});
            if *most < u64::MAX {
                schema["maximum"] = json!(most);
            }
            schema
        }
        Value::List(item) => json!({"type": "array", "items": value(item)}),
        Value::Names(form, named) => {
            let nullable = matches!(named, Value::List(_) | Value::Names(..) | Value::Options(_));
            let named = value(named);
            let named = if nullable { or_null(named) } else { named };
            let mut schema = json!({"type": "object", "additionalProperties": named});
            if !form.pattern.is_empty() {
                schema["propertyNames"] = json!({"pattern": form.pattern});
            }
            schema
        }
        Value::Keys(inner) | Value::Options(inner) => Json::Object(mapping(inner)),
        Value::Elsewhere(name) => elsewhere(name).map_or(json!({}), |inner| Json::Object(mapping(inner))),
        Value::Either(values) => json!({"anyOf": values.iter().map(value).collect::<Vec<_>>()}),
        Value::Null => json!({"type": "null"}),
    };
    match schema {
        Json::Object(schema) => schema,
        _ => Map::new(),
    }
}

fn text(form: &Form) -> Map<String, Json> {
    let mut schema = Map::new();
    let kinds = if form.numeric { json!(["string", "number", "boolean"]) } else { json!("string") };
    schema.insert("type".into(), kinds);
    if !form.pattern.is_empty() {
        schema.insert("pattern".into(), form.pattern.into());
    }
    schema
}

/// The same, or null, which counts as absent.
fn or_null(mut schema: Map<String, Json>) -> Map<String, Json> {
    if let Some(kinds) = schema.get_mut("type") {
        match kinds {
            Json::Array(kinds) => kinds.push("null".into()),
            kind => *kind = json!([kind.clone(), "null"]),
        }
    }
    if let Some(Json::Array(words)) = schema.get_mut("enum") {
        words.push(Json::Null);
    }
    if let Some(Json::Array(values)) = schema.get_mut("anyOf") {
        values.push(json!({"type": "null"}));
    }
    schema
}

/// A value of the tables as JSON.
pub(super) fn read(text: &str) -> Option<Json> {
    yaml::parse(&Source::new("a value of a table", text)).ok().map(|node| json_of(&node))
}

/// A node as JSON, with the kinds of scalars of YAML 1.2's core schema, as editors read it.
fn json_of(node: &Node) -> Json {
    match &node.kind {
        Kind::Mapping(entries) => {
            let entry =
                |(key, value): &(Node, Node)| (key.scalar().unwrap_or_default().to_owned(), json_of(value));
            Json::Object(entries.iter().map(entry).collect())
        }
        Kind::Sequence(items) => Json::Array(items.iter().map(json_of).collect()),
        Kind::Scalar(_, Style::Plain) if node.is_null() => Json::Null,
        Kind::Scalar(text, Style::Plain) if text == "true" || text == "false" => (text == "true").into(),
        Kind::Scalar(text, Style::Plain) if !text.starts_with('0') || text == "0" => {
            text.parse::<u64>().map_or_else(|_| text.clone().into(), Json::from)
        }
        Kind::Scalar(text, _) => text.clone().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_tables_are_of_the_kinds_that_editors_read() {
        assert_eq!(
            read("{a: 1, b: true, c: \"1\", d: v1.34.4, e: [~], f: 0755}").unwrap(),
            json!({"a": 1, "b": true, "c": "1", "d": "v1.34.4", "e": [null], "f": "0755"})
        );
    }
}
