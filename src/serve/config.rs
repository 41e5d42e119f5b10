//! What a machine is configured with: `/ignition` and `/metadata`.

use serde_json::{Map, Value};

use super::answer::Answer;
use super::assets;
use super::labels::Labels;
use super::routes::{Request, World, select};

/// The machine's Ignition config, as it was published.
pub fn ignition(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    assets::answer(world.site, &format!("ignition/{}", profile.ignition_id), request).matched(group)
}

/// Shell assignments: metadata, selectors and what the machine said, sorted (Matchbox's order is random).
pub fn metadata(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, _) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    let mut lines = Vec::new();
    flatten("", &group.metadata, &mut lines);
    lines.extend(group.selector.iter().map(|(key, value)| format!("{}={value}\n", key.to_uppercase())));
    lines.extend(labels.iter().map(|(k, v)| format!("REQUEST_QUERY_{}={v}\n", k.to_uppercase())));
    lines.push(format!("REQUEST_RAW_QUERY={}\n", request.query));
    lines.sort();
    // The content type is Matchbox's, slip included.
    Answer::new(200, "plain/text", lines.concat()).matched(group)
}

fn flatten(prefix: &str, values: &Map<String, Value>, lines: &mut Vec<String>) {
    for (key, value) in values {
        let key = format!("{prefix}{}", key.to_uppercase());
        match value {
            Value::Object(inner) => flatten(&format!("{key}_"), inner, lines),
            Value::String(text) => lines.push(format!("{key}={text}\n")),
            Value::Bool(_) | Value::Number(_) => lines.push(format!("{key}={value}\n")),
            Value::Null | Value::Array(_) => {}
        }
    }
}
