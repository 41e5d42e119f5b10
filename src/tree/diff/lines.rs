//! Differences of configs, scripts and templates, line by line.
//!
//! An Ignition config is one line of JSON with its files packed into URLs. It is expanded first: sorted keys, one
//! element per line, and texts of files and units as lists of their lines.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::base::canonical::canonical_json;
use crate::base::digest::Sha256;
use crate::base::error::Result;
use crate::ignition::closure::gunzip;
use crate::ignition::data_url;
use crate::tree::manifest::Role;
use crate::tree::open::Tree;

/// Upper limit, in bytes, for a text that is compared line by line, and for an unpacked file.
const MOST: u64 = 4 << 20;
/// Unchanged lines shown around a difference.
const CONTEXT: usize = 2;

/// How a text changed.
#[derive(Debug, Serialize)]
pub(crate) struct Lines {
    /// The files that all changed in this way, sorted.
    pub paths: Vec<String>,
    /// A unified diff without its header; `None` where a text is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// The texts that both trees have and that differ. Changes that several files share, such as the scripts of many nodes,
/// are listed once.
pub(crate) fn lines(from: &Tree, to: &Tree) -> Result<Vec<Lines>> {
    let (old, new) = (&from.manifest().files, &to.manifest().files);
    let mut changed: BTreeMap<(Sha256, Sha256), Vec<&str>> = BTreeMap::new();
    for (path, before) in old.iter().filter(|(_, file)| is_text(file.role)) {
        if let Some(after) = new.get(path).filter(|after| after.sha256 != before.sha256) {
            changed.entry((before.sha256, after.sha256)).or_default().push(path);
        }
    }
    // Files that are not equal may still have the same changed lines.
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lines = Vec::new();
    for paths in changed.into_values() {
        let path = paths[0];
        let paths = paths.iter().map(|path| (*path).to_owned());
        if old[path].size.max(new[path].size) > MOST {
            lines.push(Lines { paths: paths.collect(), diff: None });
            continue;
        }
        let text =
            |tree: &Tree| Ok::<_, crate::base::error::Error>(spread(new[path].role, &tree.read(path)?));
        alike.entry(unified(&text(from)?, &text(to)?)).or_default().extend(paths);
    }
    lines.extend(alike.into_iter().map(|(diff, mut paths)| {
        paths.sort();
        Lines { paths, diff: Some(diff) }
    }));
    lines.sort_by(|a, b| a.paths.cmp(&b.paths));
    Ok(lines)
}

/// Whether people write or read files of this role as lines. Profiles and groups are compared by their meaning.
fn is_text(role: Role) -> bool {
    matches!(role, Role::Ignition | Role::Boot | Role::Template | Role::Transfer | Role::ClusterApi)
}

fn unified(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(CONTEXT).missing_newline_hint(false).to_string()
}

fn spread(role: Role, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match serde_json::from_str(&text) {
        Ok(mut config) if role == Role::Ignition => {
            unfold(&mut config);
            String::from_utf8_lossy(&canonical_json(&config)).into_owned()
        }
        _ => text.into_owned(),
    }
}

/// Replaces packed data in a config by their text, in place.
fn unfold(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let gzip = object.get("compression").is_some_and(|compression| compression == "gzip");
            for (key, value) in object.iter_mut() {
                match (key.as_str(), &*value) {
                    ("source", Value::String(url)) if url.starts_with("data:") => {
                        *value = unpacked(url, gzip)
                    }
                    ("passwordHash", Value::String(hash)) => {
                        *value = json!(digest("not shown", hash.as_bytes()))
                    }
                    (_, Value::String(text)) if text.contains('\n') => *value = in_lines(text),
                    _ => unfold(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unfold),
        _ => {}
    }
}

/// Content of a data URL: lines where it is a text, else its length and digest.
fn unpacked(url: &str, gzip: bool) -> Value {
    let Ok(bytes) = data_url::decode(url) else { return json!(url) };
    let bytes = match gzip {
        true => gunzip(&bytes, MOST).unwrap_or(bytes),
        false => bytes,
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => in_lines(text),
        _ => json!(digest(&format!("{} bytes", bytes.len()), &bytes)),
    }
}

fn in_lines(text: &str) -> Value {
    json!(text.lines().collect::<Vec<_>>())
}

fn digest(what: &str, bytes: &[u8]) -> String {
    format!("{what}, sha256 {}", &Sha256::of(bytes).to_string()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(source: &str, more: &str) -> Vec<u8> {
        format!(r#"{{"storage":{{"files":[{{"path":"/etc/a","contents":{{"source":"{source}"{more}}}}}]}}}}"#)
            .into_bytes()
    }

    fn diff(before: &[u8], after: &[u8]) -> String {
        unified(&spread(Role::Ignition, before), &spread(Role::Ignition, after))
    }

    #[test]
    fn a_line_of_a_file_inside_a_config_is_a_line_of_the_difference() {
        let text = diff(&config("data:,one%0Atwo%0Athree%0A", ""), &config("data:,one%0A2%0Athree%0A", ""));
        let changed: Vec<&str> =
            text.lines().filter(|line| line.starts_with(['+', '-'])).map(str::trim).collect();
        assert_eq!(
            changed.iter().map(|line| line.replace(' ', "")).collect::<Vec<_>>(),
            ["-\"two\",", "+\"2\","]
        );
    }

    #[test]
    fn bytes_that_are_no_text_and_hashes_of_passwords_are_told_by_digest() {
        let text = diff(&config("data:;base64,AAEC", ""), &config("data:;base64,AAED", ""));
        assert!(text.contains("3 bytes, sha256 "), "{text}");
        let user = |hash: &str| {
            format!(r#"{{"passwd":{{"users":[{{"name":"a","passwordHash":"{hash}"}}]}}}}"#).into_bytes()
        };
        let text = diff(&user("$6$secret"), &user("$6$other"));
        assert!(text.contains("not shown") && !text.contains("$6$"), "{text}");
    }

    #[test]
    fn a_packed_file_is_unpacked_and_one_that_is_not_what_it_says_stays_as_it_is() {
        // printf 'hi\n' | gzip -n | base64
        let gzipped = "data:;base64,H4sIAAAAAAAAA8vI5AIAenpv7QMAAAA=";
        let after = spread(Role::Ignition, &config(gzipped, r#","compression":"gzip""#));
        assert!(after.contains("\"hi\""), "{after}");
        let broken = spread(Role::Ignition, &config("data:;base64,!", ""));
        assert!(broken.contains("data:;base64,!"), "{broken}");
        assert_eq!(spread(Role::Boot, b"#!ipxe\n"), "#!ipxe\n");
    }
}
