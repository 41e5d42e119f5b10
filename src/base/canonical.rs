//! Everything that makes bytes reproducible: canonical JSON, times, contained paths.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// JSON with sorted keys, an indent of two blanks and a final newline.
///
/// # Panics
/// Never for prebake's own types: they have string keys and no failing `Serialize`.
#[expect(clippy::expect_used, reason = "the types are ours, and none of them fails")]
pub fn canonical_json(value: &impl Serialize) -> Vec<u8> {
    let mut tree = serde_json::to_value(value).expect("prebake's own types serialize");
    tree.sort_all_objects();
    let mut bytes = serde_json::to_vec_pretty(&tree).expect("a JSON tree serializes");
    bytes.push(b'\n');
    bytes
}

/// The `schema` of one of prebake's own documents. Read before anything else of it, since a newer document may have
/// fields that this prebake refuses.
pub(crate) fn schema_of(bytes: &[u8]) -> Result<u32, serde_json::Error> {
    #[derive(Deserialize)]
    struct Document {
        schema: u32,
    }
    serde_json::from_slice(bytes).map(|Document { schema }| schema)
}

/// Whether a name from outside stays below the directory it is joined to: relative, no `..`, no `.`, not empty, no NUL,
/// no doubled or final slash. A backslash is an ordinary character, as in `dev-disk-by\x2dlabel.mount`.
pub(crate) fn is_contained(path: &str) -> bool {
    let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    plain
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The same for a path that also becomes part of a URL, where a backslash is a slash (WHATWG URL, path state).
pub(crate) fn is_contained_in_url(path: &str) -> bool {
    is_contained(path) && !path.contains('\\')
}

/// `#[serde(with = …)]` for a point in time that may be absent: RFC 3339 in UTC, to the second.
pub(crate) mod rfc3339 {
    use std::time::{Duration, SystemTime};

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes whole seconds, since OpenPGP has no finer time.
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_str(&crate::base::clock::date(*time)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time and drops any fraction of a second.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        let whole = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(whole)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contained_paths_never_leave() {
        for good in ["a", "a/b.c", "ü/+x"] {
            assert!(is_contained(good) && is_contained_in_url(good), "{good}");
        }
        for bad in ["", "/a", "a//b", "a/", "./a", "a/../b", "..", "a\0"] {
            assert!(!is_contained(bad) && !is_contained_in_url(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_backslash_is_a_letter_on_disk_and_a_slash_in_urls() {
        for name in ["a\\b", r"dev-disk-by\x2dlabel.mount", r"..\..\etc"] {
            assert!(is_contained(name) && !is_contained_in_url(name), "{name}");
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
