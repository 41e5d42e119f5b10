//! Groups of Matchbox that are for one machine alone.

use std::sync::Arc;

use serde_json::Value;

use super::{Field, Row, Rows};
use crate::base::finding::{Finding, Place, Source};
use crate::tree::names::INSTALLED;
use crate::tree::records::Group;

/// Keys of metadata that name a machine, as templates of the field call it.
const NAMES: [&str; 4] = ["hostname", "name", "host_name", "domain_name"];
/// Keys of metadata with a machine's address.
const ADDRESSES: [&str; 4] = ["ip", "ip_address", "address", "ipv4_address"];

/// The address in a group's metadata, with the key that has it.
pub(crate) fn address_of(group: &Group) -> Option<(&'static str, &str)> {
    ADDRESSES.iter().find_map(|key| Some((*key, group.metadata.get(*key)?.as_str()?)))
}

/// Reads a group; one that no MAC address or UUID selects is for several machines, and is left out.
pub(super) fn read(source: &Arc<Source>, rows: &mut Rows) {
    let place = Place { source: source.clone(), line: 1, column: 1 };
    let file = source.name.rsplit('/').next().unwrap_or(&source.name);
    let id = file.strip_suffix(".json").unwrap_or(file);
    let group = match Group::read(id, source.text.as_bytes()) {
        Ok(group) => group,
        Err(why) => return rows.findings.push(Finding::error(why).at(place)),
    };
    let at = |text: &str| {
        let line = source.text.lines().position(|line| line.contains(text)).map_or(1, |index| index + 1);
        Place { line, ..place.clone() }
    };
    let mut row = Row::new(place.clone(), false);
    for (key, field) in [("mac", Field::Mac), ("uuid", Field::Uuid)] {
        if let Some(value) = group.selector.get(key) {
            row.put(field, value, &at(&format!("\"{key}\"")));
        }
    }
    // The same machine, once its system is installed.
    if group.selector.contains_key(INSTALLED[0]) {
        return;
    }
    if row.values.is_empty() {
        let text = format!("the group `{id}` is for several machines, and is left out");
        return rows.findings.push(Finding::warning(text).at(place));
    }
    let of = |keys: &[&'static str]| {
        keys.iter().find_map(|key| Some((*key, group.metadata.get(*key).and_then(Value::as_str)?)))
    };
    match of(&NAMES) {
        Some((key, name)) => row.put(Field::Name, name, &at(&format!("\"{key}\""))),
        None => row.put(Field::Name, id, &place),
    }
    if let Some((key, address)) = address_of(&group) {
        row.put(Field::Ip, address, &at(&format!("\"{key}\"")));
    }
    row.put(Field::Profile, &group.profile, &at("\"profile\""));
    rows.push(row);
}
