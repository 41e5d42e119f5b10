//! Files that tell kubeadm what to do on each machine: a config to begin or to join with, and the manifest of the shared address.
//!
//! The form is v1beta4, and v1beta3 for 1.30, whose kubeadm takes v1beta4 only as an experiment. kubeadm refuses keys that it does not
//! know, so what a version cannot say is left out: each type here has what both forms have in common, and the differences are where
//! `Form` is asked. Names and addresses come from the description and never from the machine, which may have several cards or no name
//! yet (kubernetes/kubernetes#33618). Leaves the files' places and the units that run kubeadm to `project`.

pub mod labels;
mod preflight;
mod types;
pub mod vip;

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use crate::base::error::{Advice, Exit};
use crate::cluster::description::{Cluster, Join, Node, Role, Secret};
use crate::cluster::pki::{self, key::Algorithm};
use crate::machine::yaml::{document, documents};
use types::{
    ApiServer, Args, BootstrapToken, ClusterConfiguration, Component, ControlPlane, Discovery, DiscoveryFile,
    DiscoveryToken, Endpoint, Etcd, ExternalEtcd, Form, InitConfiguration, JoinConfiguration,
    KubeletConfiguration, LocalEtcd, Networking, NodeRegistration, Proxy, Taint, Timeouts,
};

/// Path of the config for kubeadm on a machine.
pub const CONFIG: &str = "/etc/kubernetes/kubeadm.yaml";
/// Path of the config for a machine whose first try did not end well.
pub const RETRY: &str = "/etc/kubernetes/kubeadm-retry.yaml";
/// Path of the kubeconfig to join with.
pub const DISCOVERY: &str = "/etc/kubernetes/discovery.conf";
/// Port of the API server on each controller.
pub const PORT: u16 = 6443;
/// The card of each machine, by the name that its `.link` file gives it.
pub const INTERFACE: &str = "lan0";

/// containerd's socket, with its scheme: a machine with several runtimes would be refused otherwise.
const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
/// Where plugins of volumes lie. kubeadm's default is below /usr, which is read-only (kubernetes/kubeadm#3318).
const VOLUME_PLUGINS: &str = "/var/lib/kubelet/volumeplugins";
/// The oldest minor version that configs are written for.
const OLDEST: u32 = 30;

/// Values that configs need besides the description.
pub struct Given<'a> {
    /// The kind of the keys that kubeadm makes: [`Pki::algorithm`](crate::cluster::pki::Pki::algorithm).
    pub algorithm: Algorithm,
    /// The cluster's bootstrap token.
    pub token: &'a Secret,
    /// `sha256:` and the digest of the authority's public key.
    pub ca_hash: &'a str,
    /// Where images come from.
    pub images: Images,
    /// Whether kube-proxy runs; a network plugin may do its work.
    pub kube_proxy: bool,
    /// How fast the machines are.
    pub pace: Pace,
}

/// Where images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// They are imported before kubeadm runs: none is pulled, so that one that lacks is an error and no wait for a registry.
    Carried,
    /// From registries.
    Pulled,
}

impl Images {
    const fn policy(self) -> &'static str {
        match self {
            Images::Carried => "Never",
            Images::Pulled => "IfNotPresent",
        }
    }
}

/// How fast the machines are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As metal is: Kubernetes' and etcd's own limits.
    #[default]
    Metal,
    /// Emulated without KVM: leaders keep their lease and nodes stay ready through pauses of many seconds (seen: the controller manager
    /// lost its lease under load).
    Emulated,
}

/// The try that a config is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// The first: everything that kubeadm checks must be so, for it finds a machine that belongs to another cluster.
    First,
    /// One after a try that ended in the middle: exactly what that leaves is no obstacle.
    Again,
}

/// Reasons why no config can be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A version of Kubernetes that configs are not written for.
    #[error(
        "no config for kubeadm of Kubernetes {0} can be written: versions from v1.{OLDEST} on are supported"
    )]
    Version(String),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Version(_) => Exit::Config,
        }
    }
}

/// The minor version of the cluster's Kubernetes.
///
/// # Errors
/// It is not supported.
pub fn minor(cluster: &Cluster) -> Result<u32, Error> {
    let version = &cluster.kubernetes.value;
    let minor = crate::bake::kubernetes::kubeadm::minor(version).ok().filter(|minor| *minor >= OLDEST);
    minor.ok_or_else(|| Error::Version(version.clone()))
}

/// The config of a member: for `kubeadm init` on the first controller, for `kubeadm join` on all others. It may hold a token.
///
/// # Errors
/// The version of Kubernetes is not supported.
pub fn config(
    cluster: &Cluster,
    node: &Node,
    given: &Given<'_>,
    which: Try,
) -> Result<Zeroizing<String>, Error> {
    let minor = minor(cluster)?;
    let writer = Writer { cluster, node, given, which, form: Form::of(minor), minor };
    Ok(Zeroizing::new(match cluster.begins(node) {
        true => {
            documents(&[document(&writer.init()), document(&writer.cluster()), document(&writer.kubelet())])
        }
        false => document(&writer.join()),
    }))
}

struct Writer<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    given: &'a Given<'a>,
    which: Try,
    form: Form,
    minor: u32,
}

impl Writer<'_> {
    fn init(&self) -> InitConfiguration {
        InitConfiguration {
            api_version: self.form.api_version(),
            kind: "InitConfiguration",
            // Without one, kubeadm makes one that lasts a day and that nobody asked for.
            bootstrap_tokens: vec![BootstrapToken {
                token: self.given.token.0.to_string(),
                description: "made by prebake",
                ttl: match self.cluster.join {
                    // Nobody joins with it.
                    Join::Certificate => "1m0s",
                    Join::Token(_) => "2h0m0s",
                },
                usages: ["signing", "authentication"],
                groups: ["system:bootstrappers:kubeadm:default-node-token"],
            }],
            local_api_endpoint: self.endpoint(),
            node_registration: self.registration(),
            // v1beta4 has a word for it, which upgrades heed, too.
            skip_phases: match self.form == Form::V1beta3 && !self.given.kube_proxy {
                true => vec!["addon/kube-proxy"],
                false => Vec::new(),
            },
            timeouts: self.timeouts(),
        }
    }

    fn cluster(&self) -> ClusterConfiguration {
        let form = self.form;
        let emulated = self.given.pace == Pace::Emulated;
        let when = |emulated: bool, args: &[(&str, &str)]| match emulated {
            true => args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            false => Vec::new(),
        };
        const LEASE: [(&str, &str); 3] = [
            ("leader-elect-lease-duration", "60s"),
            ("leader-elect-renew-deadline", "50s"),
            ("leader-elect-retry-period", "5s"),
        ];
        let mut manager = vec![("flex-volume-plugin-dir".to_owned(), VOLUME_PLUGINS.to_owned())];
        manager.extend(when(emulated, &LEASE));
        manager.extend(when(emulated, &[("node-monitor-grace-period", "2m0s")]));
        let component = |args| Component { extra_args: Args::of(form, args) };
        ClusterConfiguration {
            api_version: form.api_version(),
            kind: "ClusterConfiguration",
            cluster_name: self.cluster.name.value.clone(),
            // Without it, kubeadm asks the internet for the newest one.
            kubernetes_version: self.cluster.kubernetes.value.clone(),
            control_plane_endpoint: self.cluster.endpoint(),
            encryption_algorithm: (form == Form::V1beta4).then(|| self.encryption().as_str()),
            feature_gates: self.feature_gates(),
            networking: Networking {
                dns_domain: "cluster.local",
                pod_subnet: self.cluster.pods.value.to_string(),
                service_subnet: self.cluster.services.value.to_string(),
            },
            api_server: ApiServer {
                cert_sans: self.names(),
                timeout_for_control_plane: (form == Form::V1beta3).then_some("10m0s"),
            },
            controller_manager: component(manager),
            scheduler: component(when(emulated, &LEASE)),
            etcd: self.etcd(when(emulated, &[("heartbeat-interval", "500"), ("election-timeout", "5000")])),
            proxy: (form == Form::V1beta4 && !self.given.kube_proxy).then_some(Proxy { disabled: true }),
        }
    }

    fn etcd(&self, args: Vec<(String, String)>) -> Etcd {
        let Some(etcd) = &self.cluster.etcd else {
            return Etcd::Local(LocalEtcd {
                data_dir: "/var/lib/etcd",
                extra_args: Args::of(self.form, args),
            });
        };
        let file = |name: &str| format!("/etc/kubernetes/pki/{name}");
        let [ca, certificate, key] = pki::EXTERNAL_ETCD;
        Etcd::External(ExternalEtcd {
            endpoints: etcd
                .endpoints
                .iter()
                .map(|url| url.value.as_str().trim_end_matches('/').to_owned())
                .collect(),
            ca_file: file(ca),
            cert_file: file(certificate),
            key_file: file(key),
        })
    }

    fn kubelet(&self) -> KubeletConfiguration {
        KubeletConfiguration {
            api_version: "kubelet.config.k8s.io/v1beta1",
            kind: "KubeletConfiguration",
            cgroup_driver: "systemd",
            volume_plugin_dir: VOLUME_PLUGINS,
            // A container's image is unpacked while it is created, and after two minutes, the kubelet's own limit, that is begun anew. In
            // the lab an API server had not come after 450 s of such tries; with this limit its image was unpacked in 130 s.
            runtime_request_timeout: "15m0s",
        }
    }

    fn join(&self) -> JoinConfiguration {
        let proof = match self.cluster.join {
            Join::Certificate => Discovery {
                file: Some(DiscoveryFile { kube_config_path: DISCOVERY }),
                bootstrap_token: None,
                timeout: self.form.discovery_timeout(),
            },
            Join::Token(_) => Discovery {
                file: None,
                bootstrap_token: Some(DiscoveryToken {
                    token: self.given.token.0.to_string(),
                    api_server_endpoint: self.cluster.endpoint(),
                    ca_cert_hashes: [self.given.ca_hash.to_owned()],
                }),
                timeout: self.form.discovery_timeout(),
            },
        };
        JoinConfiguration {
            api_version: self.form.api_version(),
            kind: "JoinConfiguration",
            discovery: proof,
            control_plane: (self.node.role == Role::Controller)
                .then(|| ControlPlane { local_api_endpoint: self.endpoint() }),
            node_registration: self.registration(),
            timeouts: self.timeouts(),
        }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { advertise_address: self.node.ip.value.to_string(), bind_port: PORT }
    }

    fn registration(&self) -> NodeRegistration {
        let mut args = vec![("node-ip".to_owned(), self.node.ip.value.to_string())];
        let own = labels::of_kubelet(self.node);
        if !own.is_empty() {
            args.push(("node-labels".to_owned(), own));
        }
        NodeRegistration {
            name: self.node.name.value.clone(),
            cri_socket: CRI_SOCKET,
            taints: self.taints(),
            image_pull_policy: self.given.images.policy(),
            kubelet_extra_args: Args::of(self.form, args),
            ignore_preflight_errors: match self.which {
                Try::First => Vec::new(),
                Try::Again => preflight::left(
                    self.node.role,
                    self.cluster.begins(self.node),
                    self.cluster.etcd.is_none(),
                ),
            },
        }
    }

    /// Nothing leaves it to kubeadm: a controller's own taint, and none for a worker. An empty list is none at all.
    fn taints(&self) -> Option<Vec<Taint>> {
        let said = self.node.taints.as_ref()?;
        let mut taints: Vec<Taint> = said.iter().map(|taint| Taint::of(&taint.value)).collect();
        let own = Taint::of("node-role.kubernetes.io/control-plane:NoSchedule");
        if self.node.role == Role::Controller && !taints.is_empty() && !taints.contains(&own) {
            taints.insert(0, own);
        }
        Some(taints)
    }

    fn timeouts(&self) -> Option<Timeouts> {
        (self.form == Form::V1beta4).then_some(types::TIMEOUTS)
    }

    /// The kind of keys that kubeadm makes: the authority's, or the nearest that this version can make.
    fn encryption(&self) -> Algorithm {
        match self.given.algorithm {
            Algorithm::EcdsaP384 if self.minor < 34 => Algorithm::EcdsaP256,
            algorithm => algorithm,
        }
    }

    /// v1beta3 knows RSA of 2048 bits, and ECDSA behind a gate.
    fn feature_gates(&self) -> Option<types::FeatureGates> {
        let is_ecdsa = matches!(self.given.algorithm, Algorithm::EcdsaP256 | Algorithm::EcdsaP384);
        (self.form == Form::V1beta3 && is_ecdsa).then_some(types::FeatureGates { public_keys_ecdsa: true })
    }

    /// Names and addresses under which any controller's API server may be reached: they are in the certificate of each, so that a
    /// controller that comes later, or takes another's place, changes none.
    fn names(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let vip = self.cluster.vip.iter().map(|vip| vip.address.value.to_string());
        let controllers =
            self.cluster.controllers().flat_map(|node| [node.name.value.clone(), node.ip.value.to_string()]);
        let here = ["localhost", "127.0.0.1"].map(str::to_owned);
        vip.chain(controllers).chain(here).filter(|name| seen.insert(name.clone())).collect()
    }
}
