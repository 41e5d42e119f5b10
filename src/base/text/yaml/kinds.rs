//! Recognises the kind of a file by its keys, for people who give a file of the wrong kind.

use super::{Kind as NodeKind, Node};

/// A kind of file that people may have beside a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A recipe of prebake.
    Recipe,
    /// Machines that a site adds to a tree.
    Inventory,
    /// The lock of a recipe.
    Lock,
    /// A description of a cluster: `cluster.yaml`.
    Cluster,
    /// A sysext's description: `sysext.yaml`.
    Sysext,
    /// A Butane config, which has a `variant`.
    Butane,
    /// An Ignition config of spec 3 or older; JSON is YAML, too.
    Ignition,
    /// A config for `ct`, the predecessor of Butane for Ignition of spec 2.
    ContainerLinux,
    /// A config for cloud-init or coreos-cloudinit.
    CloudConfig,
    /// A Kubernetes manifest, such as OpenShift's MachineConfig.
    Kubernetes,
}

/// Top-level keys of Container Linux Configs that no Butane config has.
const CONTAINER_LINUX: [&str; 6] = ["locksmith", "update", "etcd", "flannel", "docker", "networkd"];

/// The kind of a text, if its keys identify one.
pub fn of(root: &Node, text: &str) -> Option<Kind> {
    if text.trim_start_matches('\u{feff}').starts_with("#cloud-config") {
        return Some(Kind::CloudConfig);
    }
    let has = |key: &str| root.get(key).is_some();
    let any = |keys: &[&str]| keys.iter().any(|key| has(key));
    Some(if has("apiVersion") && has("kind") {
        Kind::Kubernetes
    } else if has("variant") {
        Kind::Butane
    } else if root.get("ignition").is_some_and(|ignition| ignition.get("version").is_some()) {
        Kind::Ignition
    } else if !has("schema") && (any(&CONTAINER_LINUX) || has_filesystem_of_files(root)) {
        Kind::ContainerLinux
    } else if !has("schema") && any(&["coreos", "write_files", "runcmd"]) {
        Kind::CloudConfig
    } else if has("schema") && has("inputs") && has("release") {
        Kind::Lock
    } else if has("cluster") && any(&["nodes", "bootstrap", "control_plane_vip"]) {
        Kind::Cluster
    } else if any(&["profiles", "release"]) {
        Kind::Recipe
    } else if has("schema") && has("nodes") {
        Kind::Inventory
    } else if has("schema") && any(&["components", "upholds", "os", "text", "links"]) {
        Kind::Sysext
    } else {
        return None;
    })
}

/// Whether there is a `filesystem: root`, which every file of a Container Linux Config and of Ignition 2 has.
fn has_filesystem_of_files(root: &Node) -> bool {
    let files = root.get("storage").and_then(|storage| storage.get("files")).map(|files| &files.kind);
    matches!(files, Some(NodeKind::Sequence(items)) if items.iter().any(|file| file.get("filesystem").is_some()))
}

impl Kind {
    /// Its name, with its article.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Recipe => "a recipe",
            Kind::Inventory => "an inventory",
            Kind::Lock => "a lock file",
            Kind::Cluster => "a cluster's description",
            Kind::Sysext => "a sysext's description",
            Kind::Butane => "a Butane config",
            Kind::Ignition => "an Ignition config",
            Kind::ContainerLinux => "a Container Linux Config",
            Kind::CloudConfig => "a cloud-config",
            Kind::Kubernetes => "a Kubernetes object",
        }
    }

    /// The way out for people who gave such a file.
    pub fn advice(self) -> &'static str {
        match self {
            Kind::Recipe => "`prebake build` reads it",
            Kind::Inventory => "`prebake serve --nodes` reads it",
            Kind::Lock => "name the recipe that it belongs to: it has the same name and ends in .yaml",
            Kind::Cluster => "`prebake cluster` reads it",
            Kind::Sysext => "a recipe names its folder in `sysexts`, and `prebake sysext build` builds it",
            Kind::Butane => {
                "a recipe names it in `ignition` of a profile, and `prebake ignition transpile` translates it"
            }
            Kind::Ignition => {
                "it is translated already: `prebake ignition validate` checks it, and a layer is read as \
                 Ignition if its name ends in .ign"
            }
            Kind::ContainerLinux => {
                "it cannot be translated to Ignition spec 3: write it as Butane (`variant: flatcar`, `version: 1.1.0`), \
                 without `filesystem: root`, and with `update:` and `locksmith:` as the file /etc/flatcar/update.conf"
            }
            Kind::CloudConfig => "rewrite it as Butane: `variant: flatcar`, `version: 1.1.0`",
            Kind::Kubernetes => "the part of a MachineConfig below `spec.config` is an Ignition config",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Source;

    #[test]
    fn a_file_is_known_by_its_keys() {
        for (text, kind) in [
            ("variant: flatcar\n", Some(Kind::Butane)),
            ("{\"ignition\": {\"version\": \"2.3.0\"}}", Some(Kind::Ignition)),
            ("locksmith: {reboot_strategy: off}\n", Some(Kind::ContainerLinux)),
            ("storage: {files: [{filesystem: root, path: /a}]}\n", Some(Kind::ContainerLinux)),
            ("#cloud-config\nusers: []\n", Some(Kind::CloudConfig)),
            ("apiVersion: v1\nkind: Pod\n", Some(Kind::Kubernetes)),
            ("schema: 1\nrelease: {}\ninputs: {}\n", Some(Kind::Lock)),
            ("schema: 1\nname: a\nrelease: {}\nprofiles: {}\n", Some(Kind::Recipe)),
            ("schema: 1\nnodes: []\n", Some(Kind::Inventory)),
            ("cluster: {name: a}\nnodes: []\n", Some(Kind::Cluster)),
            ("schema: 1\nname: a\nupholds: []\n", Some(Kind::Sysext)),
            ("schema: 1\nupdate: x\nprofiles: {}\n", Some(Kind::Recipe)),
            ("name: a\n", None),
            ("", None),
        ] {
            let root = crate::yaml::parse(&Source::new("x", text)).unwrap();
            assert_eq!(of(&root, text), kind, "{text}");
        }
    }
}
