//! Calls of Matchbox's API as lines of JSON, which `tests/peers/matchbox/rpc` plays.
//!
//! A bench takes this file, too.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// A call that puts a group; its metadata are JSON, as text.
pub(crate) fn group(id: &str, profile: &str, selector: &Value, metadata: &str) -> Value {
    let metadata = BASE64_STANDARD.encode(metadata);
    let group = json!({"id": id, "profile": profile, "selector": selector, "metadata": metadata});
    json!({"call": "GroupPut", "request": {"group": group}})
}

/// A call that puts a profile.
pub(crate) fn profile(profile: &Value) -> Value {
    json!({"call": "ProfilePut", "request": {"profile": profile}})
}

/// A call that puts a config, of `Ignition` or `Generic`.
pub(crate) fn config(kind: &str, name: &str, text: impl AsRef<[u8]>) -> Value {
    json!({"call": format!("{kind}Put"), "request": {"name": name, "config": BASE64_STANDARD.encode(text)}})
}

/// A call that gets or deletes, such as `GroupGet`, by an id or a name.
pub(crate) fn by_id(call: &str, id: &str) -> Value {
    let field = if call.starts_with("Group") || call.starts_with("Profile") { "id" } else { "name" };
    json!({"call": call, "request": {field: id}})
}

/// A call with labels.
pub(crate) fn select(call: &str, labels: &Value) -> Value {
    json!({"call": call, "request": {"labels": labels}})
}

/// A call of all that is listed.
pub(crate) fn list(call: &str) -> Value {
    json!({"call": call, "request": {}})
}

/// A message as it goes over the wire.
pub(crate) fn frame(method: &str, bytes: &[u8]) -> Value {
    json!({"method": method, "frame": BASE64_STANDARD.encode(bytes)})
}
