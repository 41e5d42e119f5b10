//! Matchbox's data directory: `profiles/`, `groups/`, `ignition/`, `generic/`. Real Matchbox serves the tree, and so does ours.
//!
//! Ids are file names, selectors are unique, there is at most one default group: where Matchbox would guess, the
//! recipe was refused.

use serde_json::{Map, Value, json};

use super::pxe::Load;
use super::{Boot, Built, OutputFormat};
use crate::base::canonical::canonical_json;
use crate::machine::node::{Node, metadata, selector};
use crate::tree::manifest::Role;
use crate::tree::names::{GENERATION, installed_id};
use crate::tree::row::Row;

/// The format.
#[derive(Debug)]
pub struct Matchbox;

impl OutputFormat for Matchbox {
    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        for boot in &built.boots {
            let ignition_id = format!("{}.ign", boot.id);
            let ignition = format!("ignition/{ignition_id}");
            rows.push(Row::text(ignition, Role::Ignition, boot.ignition.clone()).of(boot));
            let loads = self::boot(boot, built);
            let mut profile =
                json!({"id": boot.id, "name": boot.id, "boot": loads, "ignition_id": ignition_id});
            if let Some(template) = &boot.generic {
                profile["generic_id"] = json!(boot.id);
                let path = format!("generic/{}", boot.id);
                rows.push(Row::text(path, Role::Template, template.clone()).of(boot));
            }
            let path = format!("profiles/{}.json", boot.id);
            rows.push(Row::text(path, Role::Profile, canonical_json(&profile)).of(boot));
            if let Some(installed) = &boot.installed {
                // Fetched by the installer. A machine that boots it over the network comes to the installer again, which
                // leaves a finished disk alone.
                let id = installed_id(&boot.id);
                let mut profile = profile;
                (profile["id"], profile["name"]) = (json!(id), json!(id));
                profile["ignition_id"] = json!(format!("{id}.ign"));
                let ignition = Row::text(format!("ignition/{id}.ign"), Role::Ignition, installed.clone());
                let path = format!("profiles/{id}.json");
                rows.extend(
                    [ignition, Row::text(path, Role::Profile, canonical_json(&profile))]
                        .map(|row| row.of(boot)),
                );
            }
        }
        rows.extend(groups(built).map(|group| {
            let mut file = group.to_json();
            file["id"] = json!(group.id);
            file["name"] = json!(group.id);
            let path = format!("groups/{}.json", group.id);
            let row = Row::text(path, Role::Group, canonical_json(&file));
            match group.node {
                Some(node) => row.for_node(node, group.boot),
                None => row.of(group.boot),
            }
        }));
        rows
    }
}

/// What a profile has a machine load. URLs without a host: iPXE takes them from where the script came from. A config is asked
/// for as Matchbox gives it, by what iPXE knows the machine by.
pub(super) fn boot(boot: &Boot, built: &Built<'_>) -> Value {
    let arch = if built.recipe.release.archs.len() > 1 { "&arch=${buildarch:uristring}" } else { "" };
    let load = Load::with_config(boot, built, &format!("ignition?uuid=${{uuid}}&mac=${{mac:hexhyp}}{arch}"));
    json!({
        "kernel": format!("/{}", load.kernel),
        "initrd": load.initrds.iter().map(|path| format!("/{path}")).collect::<Vec<_>>(),
        "args": load.args,
    })
}

/// Which machines boot what.
pub(super) struct Group<'b> {
    pub id: String,
    /// The id of the profile.
    profile: String,
    pub boot: &'b Boot,
    /// None is for machines that no node names.
    pub node: Option<&'b Node>,
    /// All of these labels must match; none match every machine.
    selector: Map<String, Value>,
    metadata: Map<String, Value>,
}

impl Group<'_> {
    /// As Matchbox reads it, without its own name.
    pub fn to_json(&self) -> Value {
        let mut group = json!({"profile": self.profile});
        for (key, map) in [("selector", &self.selector), ("metadata", &self.metadata)] {
            if !map.is_empty() {
                group[key] = json!(map);
            }
        }
        group
    }
}

/// The groups of all nodes, then the default ones.
pub(super) fn groups<'b>(built: &'b Built<'_>) -> impl Iterator<Item = Group<'b>> {
    let nodes = built.recipe.nodes.iter().filter_map(|node| {
        let (id, selector, metadata) = (node.name.value.clone(), selector(node), metadata(node));
        let boot = built.boot_of(node)?;
        Some(Group { id, profile: boot.id.clone(), boot, node: Some(node), selector, metadata })
    });
    let defaults = built.default_boots().into_iter().enumerate().map(|(index, boot)| {
        // iPXE's `buildarch`, which `/boot.ipxe` hands on. The first group takes all that say nothing, or another.
        let arch = (index > 0).then(|| ("arch".to_owned(), boot.arch.ipxe().into()));
        let (selector, metadata) = (arch.into_iter().collect(), Map::new());
        let id = built.recipe.default_name(boot.arch);
        Group { id, profile: boot.id.clone(), boot, node: None, selector, metadata }
    });
    nodes.chain(defaults).flat_map(|group| stages(group, built))
}

/// A machine that installs itself is two: what boots over the network, and `os=installed`, as Matchbox's users say it.
fn stages<'b>(mut group: Group<'b>, built: &Built<'_>) -> Vec<Group<'b>> {
    let profile = built.recipe.profiles.get(&group.boot.profile);
    let Some(install) = profile.and_then(|profile| profile.install.as_ref()) else { return vec![group] };
    let mut selector = group.selector.clone();
    selector.insert("os".into(), "installed".into());
    let installed = Group {
        id: installed_id(&group.id),
        profile: installed_id(&group.profile),
        selector,
        metadata: group.metadata.clone(),
        ..group
    };
    group.metadata.insert(GENERATION.into(), install.generation.to_string().into());
    vec![group, installed]
}
