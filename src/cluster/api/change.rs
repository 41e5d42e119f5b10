//! News of a cluster's API, one change at a time, in the words of this program.

use serde::{Deserialize, Serialize};

use super::client::Trouble;

/// One thing that is otherwise than before.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The API server is ready (`/readyz`). Until the sets that follow have come, what was known before holds.
    Answers {
        /// Version of Kubernetes, with a `v`.
        version: String,
    },
    /// The API server is not ready or not reached; it is asked again until it is.
    Lost(Trouble),
    /// One kind of objects is not told, so that nothing new is known of it.
    Blind {
        /// The kind, as `nodes`.
        what: &'static str,
        /// The API server's answer to the request for it.
        trouble: Trouble,
    },
    /// A Node came, changed or went.
    Nodes(Set<Node>),
    /// A pod of kube-system.
    Pods(Set<Pod>),
    /// Something that runs pods.
    Workloads(Kind, Set<Workload>),
}

/// A change of a set of objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Set<T> {
    /// All that there are. Others are gone: they went while nobody watched.
    All(Vec<T>),
    /// A new one, or a new state of one.
    One(T),
    /// One went.
    Gone(T),
}

/// A Node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// Whether its kubelet says so, and its network is there where the network plugin tells.
    pub ready: bool,
    /// Why it is not ready, in its own words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// `control-plane` and others, from its labels.
    pub roles: Vec<String>,
    /// Whether new pods may come to it (`kubectl cordon`).
    pub schedulable: bool,
    /// Versions of its system and programs.
    pub versions: Versions,
    /// Its own addresses (`InternalIP`).
    pub addresses: Vec<String>,
    /// When it registered, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
}

/// Versions that a Node's status has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Of the kubelet, with a `v`.
    pub kubelet: String,
    /// Of the container runtime: `containerd://2.1.5`.
    pub runtime: String,
    /// The operating system's name.
    pub os: String,
    /// Of the kernel.
    pub kernel: String,
}

/// A pod of kube-system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// The Node that it is on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// The part of the control plane that it is, such as `etcd` or `kube-apiserver`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub component: Option<String>,
    /// Whether it is ready, or has ended as it should.
    pub ready: bool,
    /// Why it is not ready: a reason such as `ImagePullBackOff`, with its message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// How often its containers began again.
    pub restarts: u32,
}

/// A kind of objects that run pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `batch/v1` Job.
    Job,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Deployment, Kind::DaemonSet, Kind::StatefulSet, Kind::Job];

    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Deployment => "Deployment",
            Kind::DaemonSet => "DaemonSet",
            Kind::StatefulSet => "StatefulSet",
            Kind::Job => "Job",
        }
    }

    /// Its resource's name.
    pub const fn plural(self) -> &'static str {
        match self {
            Kind::Deployment => "deployments",
            Kind::DaemonSet => "daemonsets",
            Kind::StatefulSet => "statefulsets",
            Kind::Job => "jobs",
        }
    }
}

/// Something that runs pods, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// How far it is.
    pub state: Rollout,
    /// Pods that are available, of a Job those that succeeded.
    pub available: u32,
    /// Pods that it wants.
    pub wanted: u32,
    /// Why it is not rolled out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// Whether prebake applied it.
    pub ours: bool,
}

/// How far a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rollout {
    /// On its way.
    Underway,
    /// All of its pods are those of its newest form, and available; a Job has completed.
    Done,
    /// A Job that has failed for good.
    Failed,
}

/// Objects with a name that is unique in their set.
pub trait Named {
    /// The unique name.
    fn key(&self) -> String;
}

impl Named for Node {
    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Named for Pod {
    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Named for Workload {
    fn key(&self) -> String {
        format!("{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}
