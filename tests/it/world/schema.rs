//! Holds JSON against the schemas that are published in docs/formats: the keywords that these use, and no others.

use std::fs;

use serde_json::Value;

use crate::world::repository;

/// A published schema.
pub struct Schema(Value);

impl Schema {
    /// Reads one of docs/formats.
    pub fn load(name: &str) -> Schema {
        let path = repository("docs/formats").join(name);
        Schema(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    }

    /// Panics with the place of the first thing that does not fit.
    #[track_caller]
    pub fn check(&self, value: &Value) {
        if let Err(fault) = fits(&self.0, value, "$") {
            panic!("{fault} in {value}");
        }
    }

    /// The values of `event` that the alternatives name.
    pub fn events(&self) -> Vec<&str> {
        let alternatives = self.0["oneOf"].as_array().unwrap();
        alternatives.iter().map(|one| one["properties"]["event"]["const"].as_str().unwrap()).collect()
    }
}

fn fits(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let rules = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err(format!("{at} is not known")),
        schema => schema.as_object().unwrap(),
    };
    for (keyword, rule) in rules {
        match keyword.as_str() {
            "$schema" | "title" | "description" => {}
            "const" if rule == value => {}
            "const" => return Err(format!("{at} is not {rule}")),
            "type" => {
                let types = rule.as_array().cloned().unwrap_or(vec![rule.clone()]);
                if !types.iter().any(|name| is_a(value, name.as_str().unwrap())) {
                    return Err(format!("{at} is not {rule}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) {
                    return Err(format!("{at} is less than {rule}"));
                }
            }
            "required" => {
                let missing =
                    rule.as_array().unwrap().iter().find(|key| value.get(key.as_str().unwrap()).is_none());
                if let Some(key) = missing {
                    return Err(format!("{at} has no {key}"));
                }
            }
            "properties" | "additionalProperties" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(rule, item, &format!("{at}[{index}]"))?;
                }
            }
            "oneOf" => {
                let alternatives = rule.as_array().unwrap().iter();
                let faults: Vec<String> = alternatives.filter_map(|one| fits(one, value, at).err()).collect();
                if faults.len() + 1 != rule.as_array().unwrap().len() {
                    return Err(format!("not one alternative fits: {}", faults.join("; ")));
                }
            }
            other => panic!("this check does not know the keyword {other}"),
        }
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    for (key, member) in members {
        let at = format!("{at}.{key}");
        let known = rules.get("properties").and_then(|properties| properties.get(key));
        if let Some(rule) = known.or(rules.get("additionalProperties")) {
            fits(rule, member, &at)?;
        }
    }
    Ok(())
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type of JSON is called {other}"),
    }
}
