//! `cluster.yaml`: a cluster as a person wants it.
//!
//! ```text
//! file ─▶ (sops) ─▶ YAML ─decode─▶ Draft: each value by itself ─judge─▶ all values together ─▶ Cluster, and the doubts about it
//! ```
//! Owns the values and their verdicts; the tables of keys are in [`keys`]. Leaves files that are encrypted to `sops`, and
//! everything that follows from the description to the other rooms.

mod decode;
mod flow;
mod forms;
mod judge;
pub mod keys;
mod load;
mod ssh;
#[cfg(test)]
mod tests;
mod versions;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, Source};
use crate::base::reader::another_kind;
use crate::base::size::Bytes;
use crate::base::yaml::decode::{Decoder, Spanned};
use crate::base::yaml::kinds::Kind;
use crate::base::yaml::{self, Node as Yaml};
use crate::flatcar::version::VersionWish;
use crate::machine::network::Network;
use crate::machine::node::Mac;

/// A cluster. Prints as its name alone: URLs of it may hold passwords.
pub struct Cluster {
    /// Its name: of the tree, of the kubeconfig's context, and `clusterName` of kubeadm.
    pub name: Spanned<String>,
    /// Version of Kubernetes, with a `v`: `v1.33.13`. The description takes it without one, too.
    pub kubernetes: Spanned<String>,
    /// Channel of Flatcar.
    pub channel: Spanned<String>,
    /// Version of Flatcar.
    pub flatcar: VersionWish,
    /// Addresses of pods.
    pub pods: Spanned<Network>,
    /// Addresses of services.
    pub services: Spanned<Network>,
    /// The network of the machines, in which all of their addresses are.
    pub network: Network,
    /// The router that machines are told, if there is one.
    pub gateway: Option<Spanned<Ipv4Addr>>,
    /// The name servers that machines are told.
    pub dns: Vec<Spanned<Ipv4Addr>>,
    /// The address of the API server, if it is none of a controller's own.
    pub vip: Option<Vip>,
    /// Keys that may log in as `core`: lines, files or `github:USER`, as a recipe's `ssh_keys`.
    pub ssh_keys: Vec<Spanned<String>>,
    /// How machines prove that they may join.
    pub join: Join,
    /// The kind of keys that are made for it.
    pub keys: KeyKind,
    /// The network plugin.
    pub cni: Cni,
    /// An etcd outside of the cluster; the controllers run members otherwise.
    pub etcd: Option<Etcd>,
    /// Further manifests, in the order in which they are applied.
    pub addons: Vec<Addon>,
    /// The machine that forms the cluster. It never becomes a member.
    pub bootstrap: Bootstrap,
    /// The members, in the order of the file. The first controller runs `kubeadm init`.
    pub nodes: Vec<Node>,
    /// Registries to ask in place of public ones, by host.
    pub registry_mirrors: Vec<(Spanned<String>, Vec<Url>)>,
    /// The proxy of the site, for containerd alone.
    pub proxy: Option<Proxy>,
    /// Servers of the time.
    pub ntp: Vec<Spanned<String>>,
    /// A directory of programs that run once all nodes are Ready.
    pub hooks: Option<Spanned<PathBuf>>,
    /// Further settings of the recipe, such as `mirrors`, `trust`, `packaging` and `images`, as lines that are copied there; the
    /// paths in them are absolute.
    pub recipe: Option<String>,
    /// Directory of `cluster.yaml`, to which its paths are relative; absolute if it was [loaded](Cluster::load).
    pub directory: PathBuf,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name.value).finish_non_exhaustive()
    }
}

/// The kind of a cluster's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on the curve P-256.
    #[default]
    Ecdsa,
    /// RSA of 2048 bits.
    Rsa,
}

/// The address of the API server that controllers share.
#[derive(Debug)]
pub struct Vip {
    /// The address.
    pub address: Spanned<Ipv4Addr>,
    /// Whether something outside of the cluster holds it; kube-vip on the controllers holds it otherwise.
    pub external: bool,
}

/// How machines prove that they may join.
#[derive(Debug, PartialEq, Eq)]
pub enum Join {
    /// By a client certificate of the bootstrappers' group, which lasts a day and which the boot server makes anew each hour (no token
    /// that expires, no `cluster-info` that must be signed).
    Certificate,
    /// By a bootstrap token, `[a-z0-9]{6}.[a-z0-9]{16}`; generated if it is absent.
    Token(Option<Secret>),
}

/// An etcd outside of the cluster. Paths are as of the description's directory.
#[derive(Debug)]
pub struct Etcd {
    /// URLs of its members (https).
    pub endpoints: Vec<Spanned<Url>>,
    /// File of the authority of its certificates.
    pub ca: Spanned<PathBuf>,
    /// File of the API server's client certificate.
    pub cert: Spanned<PathBuf>,
    /// File of the key of that certificate.
    pub key: Spanned<PathBuf>,
}

/// The network plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cni {
    /// None of ours: a manifest among the add-ons, or a person, brings one.
    None,
    /// The plugins `bridge` and `host-local` with static routes between the nodes: for one L2 network, without any image.
    Routes,
    /// flannel, from its locked manifest.
    Flannel,
    /// Cilium, from a manifest that was rendered when the lock was made.
    Cilium,
    /// Calico, from its locked manifest.
    Calico,
}

/// Manifests that are applied after the API server answers.
#[derive(Debug)]
pub struct Addon {
    /// Name of one that prebake knows, or of the site's own.
    pub name: Spanned<String>,
    /// Files and directories of manifests; none for those that prebake knows by its name.
    pub manifests: Vec<Spanned<PathBuf>>,
    /// Images that its manifests do not name in an `image:`.
    pub images: Vec<Spanned<String>>,
}

/// The machine that runs prebake.
#[derive(Debug)]
pub struct Bootstrap {
    /// Its name, if the description has one.
    pub name: Option<Spanned<String>>,
    /// Its address, at which machines find it.
    pub ip: Spanned<Ipv4Addr>,
    /// Its card, if the description has one.
    pub mac: Option<Spanned<Mac>>,
    /// The network interface with that address; found by the address if it is absent.
    pub interface: Option<Spanned<String>>,
    /// Whether it gives addresses itself; beside another DHCP server (proxyDHCP) otherwise.
    pub dhcp: bool,
}

/// A member of the cluster.
#[derive(Debug)]
pub struct Node {
    /// Host name, name of the Node object, and of the Matchbox group.
    pub name: Spanned<String>,
    /// The card that it boots over.
    pub mac: Spanned<Mac>,
    /// Its address on that card.
    pub ip: Spanned<Ipv4Addr>,
    /// Its part in the cluster.
    pub role: Role,
    /// Where it keeps its state.
    pub storage: Storage,
    /// Amount of memory, if known.
    pub memory: Option<Spanned<Bytes>>,
    /// Labels of the Node object.
    pub labels: Vec<(Spanned<String>, String)>,
    /// Taints, as `KEY=VALUE:EFFECT`; a controller's own (`node-role.kubernetes.io/control-plane:NoSchedule`) unless it is `[]`.
    pub taints: Option<Vec<Spanned<String>>>,
    /// Further public layers: Butane or Ignition files, relative to `cluster.yaml`.
    pub ignition: Vec<Spanned<PathBuf>>,
    /// Kernel arguments.
    pub kernel_args: Vec<Spanned<String>>,
    /// Its power, if a program can switch it.
    pub power: Option<Power>,
}

/// The part of a node in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It runs the API server and a member of etcd.
    Controller,
    /// It runs pods only.
    Worker,
}

/// Where a node keeps what a power cut must not take.
#[derive(Debug)]
pub enum Storage {
    /// Nowhere: it runs from memory, and forms or joins the cluster at each boot. A controller may only if it says `ephemeral: true`.
    Memory,
    /// On a disk or partition that Ignition makes a file system on if it has none; the system itself is in memory.
    State {
        /// A device file below `/dev/disk`.
        device: Spanned<String>,
    },
    /// Flatcar is installed on its disk; options as of a profile's `install:` in a recipe, as one line that is copied there.
    Installed(String),
}

/// How a machine's power is switched. Prints as its kind alone: there may be a password in a URL or among a command's words.
pub enum Power {
    /// By its BMC over Redfish.
    Redfish {
        /// `https://10.0.9.11`, with a path if the BMC has several systems: `…/redfish/v1/Systems/1`.
        url: Spanned<Url>,
        /// User name.
        user: String,
        /// Where the password comes from.
        password: Password,
        /// Whether its certificate is not judged. Without a file of authorities nearly no BMC has one that could be.
        insecure: bool,
    },
    /// By a command of one's own, such as `[ipmitool, -H, 10.0.9.11, …]`: the words `on`, `off`, `status` or `pxe` follow it.
    Command(Vec<String>),
}

impl std::fmt::Debug for Power {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Power::Redfish { .. } => "Redfish(…)",
            Power::Command(_) => "Command(…)",
        })
    }
}

/// A password that is not in the description unless the description is encrypted.
#[derive(Debug)]
pub enum Password {
    /// In an environment variable.
    Environment(String),
    /// In a file that only its owner may read.
    File(PathBuf),
    /// In the description, which was encrypted.
    Text(Secret),
}

/// A text that is neither printed nor logged, and overwritten when it is dropped.
#[derive(PartialEq, Eq)]
pub struct Secret(pub zeroize::Zeroizing<String>);

impl Secret {
    /// A secret with this text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(zeroize::Zeroizing::new(text.into()))
    }
}

impl std::ops::Deref for Secret {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A site's proxy.
pub struct Proxy {
    /// For http and https.
    pub url: Spanned<Url>,
    /// Hosts and networks besides the cluster's own that are asked without it.
    pub except: Vec<String>,
}

/// From a tree to a cluster, with every finding about it.
fn decode(
    root: &Yaml,
    source: &Arc<Source>,
    directory: PathBuf,
    origin: decode::Origin<'_>,
) -> Result<(Cluster, Vec<Finding>), Findings> {
    another_kind(root, source, Kind::Cluster)?;
    let decoder = Decoder::new(source);
    let draft = decode::draft(&decoder, root, source, &directory, origin);
    judge::together(&decoder, &draft);
    match draft.complete(directory) {
        Some(cluster) => decoder.settle(cluster),
        // A value that is missing has left a finding.
        None => match decoder.finish(()) {
            Err(findings) => Err(findings),
            Ok(()) => Err(Finding::error(format!("{} is not a complete description", source.name)).into()),
        },
    }
}

impl Cluster {
    /// Reads a description, encrypted or not; `-` is standard input. Beside it come the doubts about it. Of the files that it names,
    /// it looks into those with SSH keys alone.
    ///
    /// # Errors
    /// All findings in it at once, or a failure to read it or to open it.
    pub fn load(path: &Path) -> Result<(Cluster, Vec<Finding>)> {
        load::load(path)
    }

    /// Checks an unencrypted description that is already in memory, without the files that it names.
    ///
    /// # Errors
    /// All findings in it at once.
    pub fn parse(source: &Arc<Source>, directory: PathBuf) -> Result<(Cluster, Vec<Finding>), Findings> {
        let root = yaml::merge::parse(source)?;
        decode(&root, source, directory, decode::Origin::Plain)
    }

    /// Files and directories that it names, besides those of [`recipe`](Self::recipe).
    pub fn named(&self) -> Vec<PathBuf> {
        let etcd = self.etcd.iter().flat_map(|etcd| [&etcd.ca, &etcd.cert, &etcd.key]);
        let layers = self.nodes.iter().flat_map(|node| &node.ignition);
        let manifests = self.addons.iter().flat_map(|addon| &addon.manifests);
        let spanned = etcd.chain(layers).chain(manifests).chain(&self.hooks).map(|path| path.value.clone());
        let passwords = self.nodes.iter().filter_map(|node| match &node.power {
            Some(Power::Redfish { password: Password::File(path), .. }) => Some(path.clone()),
            _ => None,
        });
        let is_file = |key: &&Spanned<String>| !key.value.contains(' ') && !key.value.starts_with("github:");
        let keys = self.ssh_keys.iter().filter(is_file).map(|key| PathBuf::from(&key.value));
        spanned.chain(passwords).chain(keys).map(|path| self.directory.join(path)).collect()
    }

    /// `HOST:6443` of the API server: the shared address, or the first controller's.
    pub fn endpoint(&self) -> String {
        let first = || self.controllers().next().map(|node| node.ip.value);
        let address = self.vip.as_ref().map(|vip| vip.address.value).or_else(first);
        address.map(|address| format!("{address}:6443")).unwrap_or_default()
    }

    /// The controllers, in the order of the file.
    pub fn controllers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Controller)
    }

    /// The workers, in the order of the file.
    pub fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Worker)
    }

    /// Whether this node runs `kubeadm init`.
    pub fn begins(&self, node: &Node) -> bool {
        self.controllers().next().is_some_and(|first| first.name.value == node.name.value)
    }
}
