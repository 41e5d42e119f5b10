//! The recipe's text.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Class, Layers};
use crate::base::finding::{Finding, Source};
use crate::base::size::Bytes;
use crate::base::yaml::{self, Kind};
use crate::cluster::description::{Cluster, Cni, Node, Role};
use crate::cluster::templates::matchbox::Adds;
use crate::flatcar::version::VersionWish;
use crate::machine::entry::{quoted, scalar};

/// A class of nodes as a profile.
pub(super) struct Profile<'c> {
    pub class: &'c Class<'c>,
    /// Its layers, lowest first.
    pub layers: Vec<String>,
    /// Additions of a person's own profile.
    pub adds: Adds,
}

/// Sysexts of every member. containerd is Flatcar's own, unless the description names another.
const SYSEXTS: [&str; 4] = ["kubernetes", "kubernetes-config", "containerd-config", "report"];
/// Outputs of every cluster.
const OUTPUTS: [&str; 3] = ["pxe", "matchbox", "ipxe"];

/// The recipe of a cluster, and what is wrong with further settings of it.
pub(super) fn text(
    cluster: &Cluster,
    images: &[String],
    profiles: &[Profile<'_>],
    layers: &BTreeMap<&str, Layers>,
    uuids: &BTreeMap<&str, String>,
) -> (String, Vec<Finding>) {
    let mut text =
        String::from("# Written by prebake from cluster.yaml; changes here are lost.\nschema: 1\n");
    let _ = writeln!(text, "name: {}", scalar(&cluster.name.value));
    let version = match &cluster.flatcar {
        VersionWish::Latest => String::new(),
        VersionWish::Exactly(version) => format!(", version: {version}"),
    };
    let _ = writeln!(text, "release: {{channel: {}{version}}}", scalar(&cluster.channel.value));
    let vip = cluster.vip.as_ref().is_some_and(|vip| !vip.external);
    let mut kubernetes = format!("version: {}, images: asset", cluster.kubernetes.value);
    // Images of a manifest are named by what locks it; these two have tables of their own, where nothing did.
    if images.is_empty() {
        match cluster.cni {
            Cni::Cilium => kubernetes += ", cni: cilium",
            Cni::Flannel => kubernetes += ", cni: flannel",
            Cni::None | Cni::Routes | Cni::Calico => {}
        }
    }
    if vip {
        kubernetes += ", kube_vip: true";
    }
    let _ = writeln!(text, "kubernetes: {{{kubernetes}}}");
    let (further, findings) = further(cluster, images);
    text += &further;
    if !cluster.ssh_keys.is_empty() {
        let _ = writeln!(text, "ssh_keys:");
        for key in &cluster.ssh_keys {
            let _ = writeln!(text, "  - {}", quoted(&ssh_key(cluster, &key.value)));
        }
    }
    let _ = writeln!(text, "profiles:");
    for Profile { class, layers, adds } in profiles {
        let role = match class.role {
            Role::Controller => "control-plane",
            Role::Worker => "worker",
        };
        let _ =
            writeln!(text, "  {}:\n    role: {role}\n    ignition: {}", scalar(&class.name), list(layers));
        let args = class.nodes[0].kernel_args.iter().map(|arg| &arg.value).chain(&adds.args);
        let args: Vec<&String> = args.collect();
        if !args.is_empty() {
            let _ = writeln!(text, "    kernel_args: {}", list(args));
        }
        if !adds.initrds.is_empty() {
            let files = adds.initrds.iter().map(|file| absolute(file));
            let _ = writeln!(text, "    early_initrds: {}", list(files));
        }
    }
    let _ = writeln!(text, "nodes:");
    let empty = Layers::default();
    for node in &cluster.nodes {
        let profile =
            profiles.iter().find(|profile| profile.class.nodes.iter().any(|own| std::ptr::eq(*own, node)));
        let Some(profile) = profile else { continue };
        let own = layers.get(node.name.value.as_str()).unwrap_or(&empty);
        let uuid = uuids.get(node.name.value.as_str());
        text += &line(cluster, node, &profile.class.name, own, uuid);
    }
    (text, findings)
}

/// A node's lines.
fn line(cluster: &Cluster, node: &Node, profile: &str, layers: &Layers, uuid: Option<&String>) -> String {
    let mut line = format!("  - name: {}\n    mac: \"{}\"\n", scalar(&node.name.value), node.mac.value);
    if let Some(uuid) = uuid {
        let _ = writeln!(line, "    uuid: {}", quoted(uuid));
    }
    let _ = writeln!(line, "    profile: {}\n    ip: {}", scalar(profile), cluster.network.at(node.ip.value));
    if let Some(memory) = &node.memory {
        let Bytes(bytes) = memory.value;
        let _ = writeln!(line, "    memory: {}KiB", bytes >> 10);
    }
    let further = node.ignition.iter().map(|file| absolute(&cluster.directory.join(&file.value)));
    let _ = writeln!(line, "    ignition: {}", list(layers.public.iter().cloned().chain(further)));
    if !layers.private.is_empty() {
        let _ = writeln!(line, "    private: {}", list(&layers.private));
    }
    line
}

/// Settings of the recipe that both the description and this room may name, and all others that the description has.
fn further(cluster: &Cluster, images: &[String]) -> (String, Vec<Finding>) {
    let said = cluster.recipe.clone().unwrap_or_default();
    let (mut sysexts, mut outputs): (Vec<String>, Vec<String>) =
        (SYSEXTS.map(str::to_owned).into(), OUTPUTS.map(|name| format!("{name}: {{}}")).into());
    let mut carried: Vec<String> = images.iter().map(|image| quoted(image)).collect();
    let mut rest = String::new();
    let mut findings = Vec::new();
    // One key a line, each value in YAML's flow style.
    for line in said.lines() {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        let (own, known): (&mut Vec<String>, &[&str]) = match key {
            "sysexts" => (&mut sysexts, &SYSEXTS),
            "outputs" => (&mut outputs, &OUTPUTS),
            "images" => (&mut carried, &[]),
            _ => {
                rest += line;
                rest.push('\n');
                continue;
            }
        };
        match items(value) {
            Ok(items) => {
                for (name, item) in items {
                    // A person's words about one of ours count.
                    if known.contains(&name.as_str()) {
                        own.retain(|ours| ours != &name && !ours.starts_with(&format!("{name}: ")));
                    }
                    if !own.contains(&item) {
                        own.push(item);
                    }
                }
            }
            Err(finding) => findings.push(finding),
        }
    }
    let mut text = format!("sysexts: [{}]\noutputs: {{{}}}\n", sysexts.join(", "), outputs.join(", "));
    if !carried.is_empty() {
        let _ = writeln!(text, "images: [{}]", carried.join(", "));
    }
    text += &rest;
    (text, findings)
}

/// The items of a flow sequence or mapping, each with its name and as text.
fn items(value: &str) -> Result<Vec<(String, String)>, Finding> {
    let root = yaml::parse(&Source::new("recipe", value))?;
    let name = |node: &yaml::Node| node.scalar().unwrap_or_default().to_owned();
    Ok(match &root.kind {
        Kind::Sequence(items) => items
            .iter()
            .map(|item| (item.get("name").map_or_else(|| name(item), &name), flow(item)))
            .collect(),
        Kind::Mapping(entries) => entries
            .iter()
            .map(|(key, value)| (name(key), format!("{}: {}", flow(key), flow(value))))
            .collect(),
        Kind::Scalar(..) => Vec::new(),
    })
}

/// A node in YAML's flow style.
fn flow(node: &yaml::Node) -> String {
    match &node.kind {
        Kind::Scalar(_, yaml::Style::Plain) if node.is_null() => "null".into(),
        Kind::Scalar(text, yaml::Style::Plain) => text.clone(),
        Kind::Scalar(text, _) => quoted(text),
        Kind::Sequence(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Kind::Mapping(entries) => {
            let entry = |(key, value): &(yaml::Node, yaml::Node)| format!("{}: {}", flow(key), flow(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A source of keys as the recipe reads it: its files are relative to another directory.
fn ssh_key(cluster: &Cluster, said: &str) -> String {
    let is_file = !said.contains(' ') && !said.starts_with("github:");
    if is_file { absolute(&cluster.directory.join(said)) } else { said.to_owned() }
}

fn absolute(path: &std::path::Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// A list in YAML's flow style.
fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}
