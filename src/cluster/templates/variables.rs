//! The variables of templates: what each is, and which templates have it.

use std::collections::BTreeMap;
use std::fmt::Write;

use zeroize::Zeroizing;

/// A variable.
#[derive(Debug)]
pub struct Variable {
    /// The name, in capitals: `CLUSTER_NAME`.
    pub name: &'static str,
    /// Its meaning, with its key in the description.
    pub says: &'static str,
    /// Templates that have it.
    pub of: Scope,
    /// Whether it opens the cluster's door. A layer that names it is one of the node's private ones.
    pub secret: bool,
}

/// Templates that have a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Cluster,
    /// Those that are filled in for each node: below `ignition/` (but for the bootstrap machine), `kubeadm/` and `groups/`.
    Node,
    /// Those below `kubeadm/`.
    Kubeadm,
}

const fn of(name: &'static str, of: Scope, says: &'static str) -> Variable {
    Variable { name, says, of, secret: false }
}

/// All variables.
pub static VARIABLES: [Variable; 14] = [
    of("BOOTSTRAP_IP", Scope::Cluster, "Address of the bootstrap machine: `bootstrap.ip`."),
    of("CLUSTER_NAME", Scope::Cluster, "The cluster's name: `cluster.name`."),
    of(
        "CONTROL_PLANE_VIP",
        Scope::Cluster,
        "Address of the API server: `control_plane_vip`, or the first controller's.",
    ),
    of("K8S_VERSION", Scope::Cluster, "Version of Kubernetes without a `v`: `cluster.k8s_version`."),
    of(
        "FLATCAR_VERSION",
        Scope::Cluster,
        "Version of Flatcar: `cluster.flatcar_version`, or `current` if that is `latest`.",
    ),
    of("POD_SUBNET", Scope::Cluster, "Addresses of pods: `cluster.pod_subnet`."),
    of("SERVICE_SUBNET", Scope::Cluster, "Addresses of services: `cluster.service_subnet`."),
    of(
        "SSH_KEY",
        Scope::Cluster,
        "The first key of `cluster.ssh_authorized_key` that is written there or in a file; empty without one.",
    ),
    Variable {
        secret: true,
        ..of("KUBEADM_TOKEN", Scope::Node, "The bootstrap token: `cluster.token`, or the generated one.")
    },
    of("NODE_NAME", Scope::Node, "The node's name."),
    of("NODE_IP", Scope::Node, "The node's address."),
    of("NODE_MAC", Scope::Node, "The address of the node's card, in lower case with colons."),
    of("NODE_ROLE", Scope::Node, "`controller` or `worker`."),
    Variable {
        secret: true,
        ..of(
            "KUBEADM_CONFIG",
            Scope::Kubeadm,
            "The config that follows from the description, of several lines.",
        )
    },
];

impl Variable {
    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Variable> {
        VARIABLES.iter().find(|variable| variable.name == name)
    }
}

/// The values that one template is filled in with. They are overwritten when they are dropped.
#[derive(Default)]
pub struct Values(BTreeMap<&'static str, Zeroizing<String>>);

impl Values {
    /// Adds a value.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Values {
        self.0.insert(name, Zeroizing::new(value.into()));
        self
    }

    /// Adds those of others.
    pub(crate) fn and(mut self, others: &Values) -> Values {
        self.0.extend(others.0.iter().map(|(name, value)| (*name, value.clone())));
        self
    }

    /// The value of a variable, if this template has it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

/// The table of all variables, as the guide has it.
pub fn table() -> String {
    let mut text = String::from("| variable | value | templates |\n|---|---|---|\n");
    for variable in &VARIABLES {
        let of = match variable.of {
            Scope::Cluster => "all",
            Scope::Node => "`ignition/` but `bootstrap`, `kubeadm/`, `groups/`",
            Scope::Kubeadm => "`kubeadm/`",
        };
        let secret = if variable.secret { " A layer that names it is private." } else { "" };
        let _ = writeln!(text, "| `{}` | {}{secret} | {of} |", variable.name, variable.says);
    }
    text
}
