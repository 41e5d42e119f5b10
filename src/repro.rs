//! All that makes bytes repeat: canonical JSON, the epoch, contained paths, sorted walks.

use std::path::{Component, Path};

use serde::Serialize;

/// JSON with sorted keys, two blanks of indent and a final newline.
///
/// # Panics
/// Never for prebake's own types: they have string keys and no failing `Serialize`.
pub fn canonical_json(value: &impl Serialize) -> Vec<u8> {
    let mut tree = serde_json::to_value(value).expect("prebake's own types serialize");
    tree.sort_all_objects();
    let mut bytes = serde_json::to_vec_pretty(&tree).expect("a JSON tree serializes");
    bytes.push(b'\n');
    bytes
}

/// Whether a name from outside stays below the directory it is joined to: relative, no `..`, no `.`, not empty, no
/// NUL or backslash, no doubled or final slash.
pub fn is_contained(path: &str) -> bool {
    let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    plain
        && !path.contains(['\0', '\\'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contained_paths_never_leave() {
        for good in ["a", "a/b.c", "ü/+x"] {
            assert!(is_contained(good), "{good}");
        }
        for bad in ["", "/a", "a//b", "a/", "./a", "a/../b", "..", "a\0", "a\\b"] {
            assert!(!is_contained(bad), "{bad:?}");
        }
    }

    #[test]
    fn canonical_json_sorts_keys_at_every_level() {
        let value = serde_json::json!({"b": {"d": 1, "c": 2}, "a": []});
        assert_eq!(
            canonical_json(&value),
            b"{\n  \"a\": [],\n  \"b\": {\n    \"c\": 2,\n    \"d\": 1\n  }\n}\n"
        );
    }
}
