//! Labels of nodes: which ones a kubelet may give itself, and which ones somebody else must.
//!
//! A kubelet does not start with a label of Kubernetes' own domains that is not meant for it, such as `node-role.kubernetes.io/worker`
//! (`--node-labels`; kubernetes/enhancements KEP-279), and the API server would refuse it, too.

use crate::cluster::description::Node;

/// Domains whose labels a kubelet sets, with those below them.
const DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Further labels that it sets (`k8s.io/kubelet/pkg/apis/well_known_labels.go`).
const LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Whether a kubelet may give itself this label.
pub fn may_kubelet(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|front| front.ends_with('.'));
    let is_theirs = within("kubernetes.io") || within("k8s.io");
    !is_theirs || DOMAINS.iter().any(|of| within(of)) || LABELS.contains(&key)
}

/// The labels that a node's kubelet gives itself, in the form of `--node-labels`.
pub(super) fn of_kubelet(node: &Node) -> String {
    let own = node.labels.iter().filter(|(key, _)| may_kubelet(&key.value));
    let own: Vec<String> = own.map(|(key, value)| format!("{}={value}", key.value)).collect();
    own.join(",")
}

/// The labels that an administrator gives a node once it is there.
pub fn of_administrator(node: &Node) -> impl Iterator<Item = (&str, &str)> {
    let others = node.labels.iter().filter(|(key, _)| !may_kubelet(&key.value));
    others.map(|(key, value)| (key.value.as_str(), value.as_str()))
}
