//! Documents of Kubernetes as text: plain YAML that readers of YAML 1.1 and 1.2 take for the same.
//!
//! kubeadm and kubectl read YAML 1.1, where `on`, `0777` and `1_000` are no texts; so a text is plain here only if it is one for
//! everybody (`scalar`). Keys stay in the order of their types.

use serde::Serialize;
use serde_json::Value;

use crate::machine::entry::scalar;

/// A document. Its types serialize: their keys are texts.
#[expect(clippy::expect_used, reason = "our types have no maps with other keys than texts")]
pub(crate) fn document<T: Serialize>(document: &T) -> String {
    let value = serde_json::to_value(document).expect("a document of ours serializes");
    let mut text = String::new();
    block(&mut text, &value, 0, "");
    text
}

/// Several documents in one file.
pub(crate) fn documents(documents: &[String]) -> String {
    documents.join("---\n")
}

/// Writes a value as lines. The first line gets the dash of a list's item in place of the end of its indentation.
fn block(text: &mut String, value: &Value, indent: usize, dash: &str) {
    let mut first = true;
    let mut begin = |text: &mut String| {
        let lead = if first { dash } else { "" };
        first = false;
        text.push_str(&" ".repeat(indent - lead.len()));
        text.push_str(lead);
    };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                begin(text);
                text.push_str(&scalar(key));
                text.push(':');
                match value {
                    Value::Object(entries) if !entries.is_empty() => {
                        text.push('\n');
                        block(text, value, indent + 2, "");
                    }
                    // Items stand below the first letter of their key.
                    Value::Array(items) if !items.is_empty() => {
                        text.push('\n');
                        block(text, value, indent, "");
                    }
                    _ => text.push_str(&format!(" {}\n", inline(value))),
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let lead = if first { dash } else { "" };
                first = false;
                // A list in a list would need its own dash; none of our documents has one.
                debug_assert!(lead.is_empty() && !item.is_array());
                block(text, item, indent + 2, "- ");
            }
        }
        _ => {
            begin(text);
            text.push_str(&inline(value));
            text.push('\n');
        }
    }
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_reads_back_as_what_was_written() {
        let value = json!({
            "kind": "Pod", "on": "off", "port": 6443, "empty": {}, "none": [], "no": null, "is": true,
            "list": [{"name": "node-ip", "value": "10.0.0.1", "deep": {"list": ["0777", "1_000", "12:30:45", "1e3", "y"]}}, "x", {}],
            "evil": "a: b # c\n\t\"\\ é \u{7f} ",
        });
        let text = document(&value);
        assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), value, "{text}");
        assert!(
            text.contains(
                "list:\n- name: node-ip\n  value: \"10.0.0.1\"\n  deep:\n    list:\n    - \"0777\"\n"
            ),
            "{text}"
        );
    }
}
