//! The types of kubeadm's configs, as far as they are written (kubeadm.k8s.io/v1beta3 and v1beta4, kubelet.config.k8s.io/v1beta1).

use std::collections::BTreeMap;

use serde::Serialize;

/// The two forms of kubeadm's configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    V1beta3,
    V1beta4,
}

impl Form {
    /// The form for a minor version: kubeadm 1.30 refuses v1beta4 without `--allow-experimental-api`.
    pub(super) const fn of(minor: u32) -> Form {
        match minor {
            ..=30 => Form::V1beta3,
            _ => Form::V1beta4,
        }
    }

    pub(super) const fn api_version(self) -> &'static str {
        match self {
            Form::V1beta3 => "kubeadm.k8s.io/v1beta3",
            Form::V1beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }

    /// v1beta4 has it among the timeouts.
    pub(super) const fn discovery_timeout(self) -> Option<&'static str> {
        match self {
            Form::V1beta3 => Some(TIMEOUTS.discovery),
            Form::V1beta4 => None,
        }
    }
}

/// Arguments of a program: a map in v1beta3, a list in v1beta4.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Args {
    Map(BTreeMap<String, String>),
    List(Vec<Arg>),
}

#[derive(Serialize)]
pub(super) struct Arg {
    name: String,
    value: String,
}

impl Args {
    /// Nothing if there are none.
    pub(super) fn of(form: Form, args: Vec<(String, String)>) -> Option<Args> {
        match form {
            _ if args.is_empty() => None,
            Form::V1beta3 => Some(Args::Map(args.into_iter().collect())),
            Form::V1beta4 => {
                Some(Args::List(args.into_iter().map(|(name, value)| Arg { name, value }).collect()))
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitConfiguration {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) bootstrap_tokens: Vec<BootstrapToken>,
    #[serde(rename = "localAPIEndpoint")]
    pub(super) local_api_endpoint: Endpoint,
    pub(super) node_registration: NodeRegistration,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) skip_phases: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeouts: Option<Timeouts>,
}

#[derive(Serialize)]
pub(super) struct BootstrapToken {
    pub(super) token: String,
    pub(super) description: &'static str,
    pub(super) ttl: &'static str,
    pub(super) usages: [&'static str; 2],
    pub(super) groups: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoint {
    pub(super) advertise_address: String,
    pub(super) bind_port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeRegistration {
    pub(super) name: String,
    pub(super) cri_socket: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) taints: Option<Vec<Taint>>,
    pub(super) image_pull_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubelet_extra_args: Option<Args>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ignore_preflight_errors: Vec<&'static str>,
}

#[derive(PartialEq, Eq, Serialize)]
pub(super) struct Taint {
    key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    effect: String,
}

impl Taint {
    /// A taint of the form `KEY=VALUE:EFFECT` or `KEY:EFFECT`, which the description has judged.
    pub(super) fn of(text: &str) -> Taint {
        let (what, effect) = text.rsplit_once(':').unwrap_or((text, ""));
        let (key, value) = what.split_once('=').unwrap_or((what, ""));
        Taint { key: key.into(), value: value.into(), effect: effect.into() }
    }
}

/// How long kubeadm waits for what. Its own limits are from a minute to five, which a machine that unpacks its first image from a slow
/// disk exceeds (kubernetes/kubernetes#74249; the API call is the first to end, before the one for the control plane begins).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeouts {
    control_plane_component_health_check: &'static str,
    kubelet_health_check: &'static str,
    #[serde(rename = "kubernetesAPICall")]
    kubernetes_api_call: &'static str,
    #[serde(rename = "etcdAPICall")]
    etcd_api_call: &'static str,
    tls_bootstrap: &'static str,
    discovery: &'static str,
    upgrade_manifests: &'static str,
}

pub(super) const TIMEOUTS: Timeouts = Timeouts {
    control_plane_component_health_check: "10m0s",
    kubelet_health_check: "10m0s",
    kubernetes_api_call: "10m0s",
    etcd_api_call: "10m0s",
    tls_bootstrap: "10m0s",
    discovery: "15m0s",
    upgrade_manifests: "10m0s",
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterConfiguration {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) cluster_name: String,
    pub(super) kubernetes_version: String,
    pub(super) control_plane_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) feature_gates: Option<FeatureGates>,
    pub(super) networking: Networking,
    pub(super) api_server: ApiServer,
    pub(super) controller_manager: Component,
    pub(super) scheduler: Component,
    pub(super) etcd: Etcd,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proxy: Option<Proxy>,
}

#[derive(Serialize)]
pub(super) struct FeatureGates {
    #[serde(rename = "PublicKeysECDSA")]
    pub(super) public_keys_ecdsa: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Networking {
    pub(super) dns_domain: &'static str,
    pub(super) pod_subnet: String,
    pub(super) service_subnet: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiServer {
    #[serde(rename = "certSANs")]
    pub(super) cert_sans: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout_for_control_plane: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Component {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_args: Option<Args>,
}

/// Members on the controllers, or others somewhere.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Etcd {
    Local(LocalEtcd),
    External(ExternalEtcd),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExternalEtcd {
    pub(super) endpoints: Vec<String>,
    pub(super) ca_file: String,
    pub(super) cert_file: String,
    pub(super) key_file: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LocalEtcd {
    pub(super) data_dir: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_args: Option<Args>,
}

#[derive(Serialize)]
pub(super) struct Proxy {
    pub(super) disabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JoinConfiguration {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) discovery: Discovery,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) control_plane: Option<ControlPlane>,
    pub(super) node_registration: NodeRegistration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeouts: Option<Timeouts>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Discovery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<DiscoveryFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bootstrap_token: Option<DiscoveryToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiscoveryFile {
    pub(super) kube_config_path: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiscoveryToken {
    pub(super) token: String,
    pub(super) api_server_endpoint: String,
    pub(super) ca_cert_hashes: [String; 1],
}

#[derive(Serialize)]
pub(super) struct ControlPlane {
    #[serde(rename = "localAPIEndpoint")]
    pub(super) local_api_endpoint: Endpoint,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KubeletConfiguration {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) cgroup_driver: &'static str,
    pub(super) volume_plugin_dir: &'static str,
    pub(super) runtime_request_timeout: &'static str,
}
