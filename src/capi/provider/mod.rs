//! The table of infrastructure providers: what a template for each has that others have not.
//!
//! A provider is data as far as providers differ by data: kinds and versions of its API, the platform of the disk image, where a machine
//! learns its name and number from, and its variables. The `spec` of its two kinds is a function. Each was held against the provider's own
//! definitions (`docs/formats/capi.md`).

mod aws;
mod azure;
mod kubevirt;
mod openstack;
mod proxmox;
mod vsphere;

use serde_json::Value;

use super::components::{BOOTSTRAP, CERT_MANAGER, CONTROL_PLANE, CORE, Component};
use super::variables::Variable;

/// The group of all kinds of infrastructure.
pub const GROUP: &str = "infrastructure.cluster.x-k8s.io";

/// Cluster API's gate without which `format: ignition` is refused.
pub const GATE: &str = "EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION";

/// An infrastructure provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name in recipes and for clusterctl.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The platform of the disk images that its machines boot.
    pub platform: &'static str,
    /// Version of its API.
    pub api: &'static str,
    /// Its kind for a cluster.
    pub cluster: &'static str,
    /// Its kind for a template of machines.
    pub machine: &'static str,
    /// Its components.
    pub component: Component,
    /// Further components that it cannot do without.
    pub others: &'static [&'static Component],
    /// Whether kube-vip holds the address of the control plane; else the provider brings a load balancer.
    pub is_vip: bool,
    /// Whether the cluster needs a cloud controller manager, which initialises its nodes.
    pub is_external: bool,
    /// Where a machine learns what it is.
    pub identity: Identity,
    /// Its own variables.
    pub variables: &'static [Variable],
    /// Its `spec` of a cluster.
    pub cluster_spec: fn(&Choices) -> Value,
    /// Its `spec` of a machine.
    pub machine_spec: fn(&Choices, Role) -> Value,
    /// Further objects of the cluster.
    pub more: fn() -> Vec<Value>,
    /// Gates of the provider itself that Ignition needs at `clusterctl init`, besides Cluster API's own.
    pub gates: &'static [&'static str],
    /// Advice for readers of the template, in sentences.
    pub remarks: &'static [&'static str],
}

/// How a machine learns its own name and number, before kubeadm runs.
#[derive(Debug)]
pub struct Identity {
    /// The unit that asks the platform, if there is one.
    pub unit: Option<&'static str>,
    /// The file with what it said, as an environment.
    pub environment: Option<&'static str>,
    /// Lines of bash that set `NODE_NAME`, and `NODE_ID` where [`Identity::provider_id`] has it.
    pub lines: &'static [&'static str],
    /// The node's provider id, by which Cluster API finds the machine of a node; `${NODE_ID}` stands in it. Without one the cloud
    /// controller manager, or the provider itself, sets it.
    pub provider_id: Option<&'static str>,
}

/// The part of machines in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// They run the API server.
    ControlPlane,
    /// They run pods.
    Worker,
}

/// Settings of a recipe that one provider alone has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Proxmox: percentage of a host's memory that its scheduler gives away; 0 for no limit.
    pub memory_adjustment: Option<u64>,
    /// Proxmox: the first and last number of machines.
    pub vm_ids: Option<(u32, u32)>,
    /// Proxmox: the template that machines are clones of.
    pub template: Option<Template>,
}

/// A template of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// The one of this number.
    Id(u32),
    /// The one that has these tags, and perhaps more.
    Tags(Vec<String>),
}

/// The table; the first is the one that recipes get without a word.
pub static PROVIDERS: [&Provider; 6] = [
    &proxmox::PROXMOX,
    &openstack::OPENSTACK,
    &vsphere::VSPHERE,
    &kubevirt::KUBEVIRT,
    &aws::AWS,
    &azure::AZURE,
];

impl Provider {
    /// The provider of a name.
    pub fn of(name: &str) -> Option<&'static Provider> {
        PROVIDERS.into_iter().find(|provider| provider.name == name)
    }

    /// All components that a management cluster for it runs, in the order in which they are installed.
    pub fn components(&'static self) -> Vec<&'static Component> {
        let own = [&CERT_MANAGER, &CORE, &BOOTSTRAP, &CONTROL_PLANE];
        own.into_iter().chain(self.others.iter().copied()).chain([&self.component]).collect()
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        format!("{GROUP}/{}", self.api)
    }
}

/// No further object.
fn none() -> Vec<Value> {
    Vec::new()
}
