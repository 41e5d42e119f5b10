//! Matchbox's data directory: `profiles/`, `groups/`, `ignition/`. Real Matchbox serves the tree, and so does ours.
//!
//! Ids are file names, selectors are unique, there is at most one default group: where Matchbox would guess, the
//! recipe was refused.

use serde_json::{Map, Value, json};

use super::pxe::Load;
use super::{Built, OutputFormat, Row};
use crate::manifest::Role;
use crate::recipe::Node;
use crate::repro::canonical_json;

/// The format.
pub struct Matchbox;

impl OutputFormat for Matchbox {
    fn name(&self) -> &'static str {
        "matchbox"
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        for boot in &built.boots {
            let load = Load::of(boot, built);
            let ignition_id = format!("{}.ign", boot.id);
            let profile = json!({
                "id": boot.id,
                "name": boot.id,
                "boot": {
                    "kernel": format!("/{}", load.kernel),
                    "initrd": load.initrds.iter().map(|path| format!("/{path}")).collect::<Vec<_>>(),
                    "args": load.args,
                },
                "ignition_id": ignition_id,
            });
            let ignition = format!("ignition/{ignition_id}");
            rows.push(Row::text(ignition, Role::Ignition, boot.ignition.clone()).of(boot));
            let path = format!("profiles/{}.json", boot.id);
            rows.push(Row::text(path, Role::Profile, canonical_json(&profile)).of(boot));
        }
        for node in &built.recipe.nodes {
            let Some(boot) = built.boot_of(node) else { continue };
            let group = json!({
                "id": node.name.value,
                "name": node.name.value,
                "profile": boot.id,
                "selector": selector(node),
                "metadata": metadata(node),
            });
            let path = format!("groups/{}.json", node.name.value);
            let row = Row::text(path, Role::Group, canonical_json(&group));
            rows.push(Row {
                profile: Some(boot.profile.clone()),
                node: Some(node.name.value.clone()),
                ..row
            });
        }
        for (index, boot) in built.default_boots().into_iter().enumerate() {
            let name = built.recipe.default_name(boot.arch);
            let mut group = json!({"id": name, "name": name, "profile": boot.id});
            if index > 0 {
                // iPXE's `buildarch`, which `/boot.ipxe` hands on. The first group takes all that say nothing, or another.
                group["selector"] = json!({"arch": boot.arch.ipxe()});
            }
            let path = format!("groups/{name}.json");
            rows.push(Row::text(path, Role::Group, canonical_json(&group)).of(boot));
        }
        rows
    }
}

/// All labels of a selector must match: a node with both a MAC and a UUID is known by both together.
fn selector(node: &Node) -> Map<String, Value> {
    let mac = node.mac.as_ref().map(|mac| ("mac".to_owned(), mac.value.to_string().into()));
    let uuid = node.uuid.as_ref().map(|uuid| ("uuid".to_owned(), uuid.value.clone().into()));
    mac.into_iter().chain(uuid).collect()
}

fn metadata(node: &Node) -> Map<String, Value> {
    let name = ("name".to_owned(), node.name.value.clone().into());
    let ip = node.ip.as_ref().map(|ip| ("ip".to_owned(), ip.clone().into()));
    [name].into_iter().chain(ip).collect()
}
