//! Parts of a description as text for a recipe: the same values on one line, with aliases expanded.

use std::path::Path;

use crate::base::yaml::{Kind, Node, Style};
use crate::machine::entry::quoted;

/// A node in YAML's flow style.
pub(super) fn text(node: &Node) -> String {
    written(node, &|text| text.to_owned())
}

/// The entries of a mapping, each on a line of its own, with the paths in them made absolute: the recipe lies elsewhere.
pub(super) fn lines(node: &Node, directory: &Path) -> String {
    let Kind::Mapping(entries) = &node.kind else { return String::new() };
    let absolute = |path: &str| {
        let path = directory.join(path);
        std::path::absolute(&path).unwrap_or(path).display().to_string()
    };
    let file = |key: &str, text: &str| match key {
        // A sysext is a name or a path.
        "sysexts" if !text.contains('/') => text.to_owned(),
        _ => absolute(text),
    };
    let line = |(key, value): &(Node, Node)| {
        let name = key.scalar().unwrap_or_default();
        let value = match (name, &value.kind) {
            ("trust_ca", _) => written(value, &|text| file(name, text)),
            ("sysexts", Kind::Sequence(items)) => {
                let item = |item: &Node| match &item.kind {
                    Kind::Scalar(..) => written(item, &|text| file(name, text)),
                    _ => mapped(item, &["name"], &|text| file(name, text)),
                };
                format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
            }
            ("trust", _) => mapped(value, &["key"], &|text| file(name, text)),
            ("packaging", _) => mapped(value, &["key", "certificate"], &|text| file(name, text)),
            _ => text(value),
        };
        format!("{}: {value}\n", text(key))
    };
    entries.iter().map(line).collect()
}

/// A node whose scalars below some keys are changed.
fn mapped(node: &Node, keys: &[&str], change: &dyn Fn(&str) -> String) -> String {
    match &node.kind {
        Kind::Mapping(entries) => {
            let entry = |(key, value): &(Node, Node)| {
                let is_path = key.scalar().is_some_and(|key| keys.contains(&key)) && value.scalar().is_some();
                let value = if is_path { written(value, change) } else { mapped(value, keys, change) };
                format!("{}: {value}", text(key))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        _ => text(node),
    }
}

/// A node with each of its texts changed. A plain scalar without a tag may be a number, a word or null, and stays plain.
fn written(node: &Node, change: &dyn Fn(&str) -> String) -> String {
    let plain = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+'))
    };
    match &node.kind {
        Kind::Scalar(text, Style::Plain) if node.is_null() || plain(text) && change(text) == *text => {
            if node.is_null() { "null".into() } else { text.clone() }
        }
        Kind::Scalar(text, _) => quoted(&change(text)),
        Kind::Sequence(items) => {
            format!("[{}]", items.iter().map(|item| written(item, change)).collect::<Vec<_>>().join(", "))
        }
        Kind::Mapping(entries) => {
            let entry = |(key, value): &(Node, Node)| format!("{}: {}", text_of(key), written(value, change));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn text_of(node: &Node) -> String {
    text(node)
}
