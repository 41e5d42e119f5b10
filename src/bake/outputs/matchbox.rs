//! Matchbox's data directory: `profiles/`, `groups/`, `ignition/`, `generic/`. Both Matchbox itself and `prebake serve`
//! serve the tree.
//!
//! Ids are file names, selectors are unique, and there is at most one default group: a recipe that would leave Matchbox
//! a choice was refused.

use super::pxe::Load;
use super::{Boot, Built, OutputFormat};
use crate::machine::node::{Node, metadata, selector};
use crate::tree::manifest::Role;
use crate::tree::names::{
    self, Endpoint, GENERATION, INSTALLED, ROLE, config_id, generic, group, ignition, installed_id,
};
use crate::tree::records::{self, Profile};
use crate::tree::row::Row;

/// The output `matchbox`.
#[derive(Debug)]
pub(crate) struct Matchbox;

impl OutputFormat for Matchbox {
    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        for boot in &built.artifacts.boots {
            let own = (boot.id.clone(), &boot.ignition);
            // Fetched by the installer. If such a machine boots over the network again, the installer leaves a
            // finished disk alone.
            let installed = boot.installed.iter().map(|config| (installed_id(&boot.id), config));
            for (id, config) in std::iter::once(own).chain(installed) {
                let profile = profile(id, boot, built);
                let config = Row::text(ignition(&profile.ignition_id), Role::Ignition, config.clone());
                let profile = Row::text(names::profile(&profile.id), Role::Profile, profile.to_bytes());
                rows.extend([config, profile].map(|row| row.of(boot)));
            }
            let template = boot.generic.iter().cloned();
            rows.extend(template.map(|text| Row::text(generic(&boot.id), Role::Template, text).of(boot)));
        }
        rows.extend(groups(built).map(|Group { record, boot, node }| {
            let row = Row::text(group(&record.id), Role::Group, record.to_bytes());
            match node {
                Some(node) => row.for_node(node, boot),
                None => row.of(boot),
            }
        }));
        rows
    }
}

/// The profile of an id: the boot itself, or the same with the config of the system that it installs.
fn profile(id: String, boot: &Boot, built: &Built<'_>) -> Profile {
    Profile {
        name: id.clone(),
        boot: Some(loads(boot, built)),
        ignition_id: config_id(&id),
        generic_id: boot.generic.iter().map(|_| boot.id.as_str()).collect(),
        cloud_id: String::new(),
        id,
    }
}

/// The files that a profile has a machine load. URLs have no host: iPXE takes the one that the script came from. A config is asked
/// for as Matchbox gives it, by what iPXE knows the machine by.
fn loads(boot: &Boot, built: &Built<'_>) -> records::Boot {
    let arch = if built.recipe.release.archs.len() > 1 { "&arch=${buildarch:uristring}" } else { "" };
    let config = Endpoint::Ignition.name();
    let load = Load::with_config(boot, built, &format!("{config}?uuid=${{uuid}}&mac=${{mac:hexhyp}}{arch}"));
    records::Boot {
        kernel: format!("/{}", load.kernel),
        initrd: load.initrds.iter().map(|path| format!("/{path}")).collect(),
        args: load.args,
    }
}

/// A group of machines and their boot.
struct Group<'b> {
    record: records::Group,
    boot: &'b Boot,
    /// `None` for machines that no node names.
    node: Option<&'b Node>,
}

impl<'b> Group<'b> {
    fn new(id: String, boot: &'b Boot, node: Option<&'b Node>) -> Self {
        let (name, profile) = (id.clone(), boot.id.clone());
        let record = records::Group { id, name, profile, ..records::Group::default() };
        Group { record, boot, node }
    }
}

/// The groups of all nodes, then the default ones.
fn groups<'b>(built: &'b Built<'_>) -> impl Iterator<Item = Group<'b>> {
    let nodes = built.recipe.nodes.iter().filter_map(|node| {
        let mut group = Group::new(node.name.value.clone(), built.boot_of(node)?, Some(node));
        (group.record.selector, group.record.metadata) = (selector(node), metadata(node));
        // The server lets controllers join one after another, and has to know them.
        let role = built.recipe.profiles.get(&group.boot.profile).and_then(|profile| profile.role);
        group.record.metadata.extend(role.map(|role| (ROLE.to_owned(), role.as_str().into())));
        Some(group)
    });
    let defaults = built.default_boots().into_iter().enumerate().map(|(index, boot)| {
        let mut group = Group::new(built.recipe.default_name(boot.arch), boot, None);
        // iPXE's `buildarch`, which `/boot.ipxe` passes on. The first group also takes machines that state no
        // architecture, or an unknown one.
        let arch = (index > 0).then(|| ("arch".to_owned(), boot.arch.ipxe().into()));
        group.record.selector.extend(arch);
        group
    });
    nodes.chain(defaults).flat_map(|group| stages(group, built))
}

/// A machine that installs itself has two groups: one for the network boot, and one with `os=installed`, the label that
/// Matchbox's users know.
fn stages<'b>(mut group: Group<'b>, built: &Built<'_>) -> Vec<Group<'b>> {
    let profile = built.recipe.profiles.get(&group.boot.profile);
    let Some(install) = profile.and_then(|profile| profile.install.as_ref()) else { return vec![group] };
    let mut record = group.record.clone();
    record.id = installed_id(&record.id);
    record.name.clone_from(&record.id);
    record.profile = installed_id(&record.profile);
    record.selector.extend([INSTALLED.map(str::to_owned).into()]);
    group.record.metadata.insert(GENERATION.into(), install.generation.to_string().into());
    let installed = Group { record, ..group };
    vec![group, installed]
}
