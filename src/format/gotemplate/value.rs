//! The data that a template is rendered with.

use std::collections::BTreeMap;

/// A JSON value as Go's `encoding/json` decodes it without a given type, plus the one map of strings that Matchbox
/// adds.
///
/// Values come from a JSON parser, which limits their nesting; printing recurses as deep as they nest.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `nil`.
    Null,
    /// `bool`.
    Bool(bool),
    /// `float64`: every JSON number.
    Number(f64),
    /// `string`; one that comes from a URL need not be UTF-8.
    String(Vec<u8>),
    /// `[]interface {}`.
    List(Vec<Value>),
    /// `map[string]interface {}`.
    Map(BTreeMap<String, Value>),
    /// `map[string]string`, for whose missing keys `index` returns an empty string: Matchbox's `request.query`.
    Strings(BTreeMap<String, String>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Number(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into_bytes())
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => text.into(),
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(Value::from).collect()),
            serde_json::Value::Object(members) => {
                Value::Map(members.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}
