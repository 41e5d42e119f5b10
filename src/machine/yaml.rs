//! Documents of Kubernetes as text: plain YAML that readers of YAML 1.1 and 1.2 take for the same.
//!
//! kubeadm and kubectl read YAML 1.1, where `on`, `0777` and `1_000` are no texts; so a text is plain here only if it is one for
//! everybody (`scalar`). Keys stay in the order of their types. A text of several lines is one line with escapes for machines, and a
//! block for people, who read and change templates.

use serde::Serialize;
use serde_json::Value;

use super::entry::scalar;
use crate::base::finding::is_unseen;

/// A document. Its types serialize: their keys are texts.
#[expect(clippy::expect_used, reason = "our types have no maps with other keys than texts")]
pub(crate) fn document<T: Serialize>(document: &T) -> String {
    let value = serde_json::to_value(document).expect("a document of ours serializes");
    written(&value, Lines::Escaped)
}

/// A document that people read: texts of several lines are blocks, as far as a block can hold them.
pub(crate) fn readable(value: &Value) -> String {
    written(value, Lines::Blocks)
}

fn written(value: &Value, lines: Lines) -> String {
    let mut text = String::new();
    block(&mut text, value, 0, "", lines);
    text
}

/// How texts of several lines are written.
#[derive(Clone, Copy)]
enum Lines {
    /// On one line, in double quotes.
    Escaped,
    /// As literal blocks.
    Blocks,
}

impl Lines {
    /// Whether a block holds a text, byte for byte: it does not begin with a blank, which would be indentation, has no blanks at ends of
    /// lines, which editors take away, ends with one newline or none, and has only what everybody sees (YAML 1.2.2, 8.1.1 and 5.1).
    fn as_block(self, text: &str) -> bool {
        let is_seen = |letter: char| letter == '\t' || !is_unseen(letter);
        let holds = |line: &str| !line.ends_with([' ', '\t']) && line.chars().all(is_seen);
        matches!(self, Lines::Blocks)
            && text.contains('\n')
            && !text.starts_with([' ', '\n', '\t'])
            && !text.ends_with("\n\n")
            && text.split('\n').all(holds)
    }
}

/// Several documents in one file.
pub(crate) fn documents(documents: &[String]) -> String {
    documents.join("---\n")
}

/// Writes a value as lines. The first line gets the dash of a list's item in place of the end of its indentation.
fn block(text: &mut String, value: &Value, indent: usize, dash: &str, lines: Lines) {
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
                        block(text, value, indent + 2, "", lines);
                    }
                    // Items stand below the first letter of their key.
                    Value::Array(items) if !items.is_empty() => {
                        text.push('\n');
                        block(text, value, indent, "", lines);
                    }
                    Value::String(long) if lines.as_block(long) => literal(text, long, indent + 2),
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
                block(text, item, indent + 2, "- ", lines);
            }
        }
        _ => {
            begin(text);
            text.push_str(&inline(value));
            text.push('\n');
        }
    }
}

/// Writes a text as a block, behind its key.
fn literal(text: &mut String, long: &str, indent: usize) {
    text.push_str(if long.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in long.lines() {
        if !line.is_empty() {
            text.push_str(&" ".repeat(indent));
            text.push_str(line);
        }
        text.push('\n');
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

    #[test]
    fn people_get_blocks_and_no_byte_is_another_than_it_was() {
        let value = json!({"files": [
            {"content": "#!/bin/bash\n\n  x\ty # z: \"q\"\n"}, {"content": "a\nb"}, {"content": "a\nb\n\n"}, {"content": " a\nb"},
            {"content": "a \nb"}, {"content": "a\n\u{200b}b"}, {"content": "a\r\nb"}, {"content": "\n"}, {"content": "---\na: 1\n"},
        ]});
        let text = readable(&value);
        assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), value, "{text}");
        let expected = "files:\n- content: |\n    #!/bin/bash\n\n      x\ty # z: \"q\"\n- content: |-\n    a\n    b\n- content: \"a\\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(!document(&value).contains('|'));
    }
}
