//! The manifest of kube-vip, which holds an address that several machines share on one of them: a static pod, as no other pod can run
//! before there is an API server.

use serde_json::{Value, json};

use super::yaml::document;

/// Path of the manifest on a machine.
pub(crate) const MANIFEST: &str = "/etc/kubernetes/manifests/kube-vip.yaml";
/// The kubeconfig that kube-vip asks the API server with.
pub(crate) const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// The one of more rights, which kubeadm makes for the machine that begins a cluster.
pub(crate) const SUPER_ADMIN: &str = "/etc/kubernetes/super-admin.conf";

/// The first minor version whose kubeadm asks its own API server and not the shared address while it begins a cluster.
const ASKS_ITSELF: u32 = 33;

/// Whether the machine that begins a cluster of this minor version of Kubernetes needs [`SUPER_ADMIN`]: until 1.32, `kubeadm init` waits
/// for the shared address before it gives admin.conf its rights, and kube-vip gets none without (kube-vip/kube-vip#684).
pub(crate) fn begins_with_super_admin(minor: u32) -> bool {
    minor < ASKS_ITSELF
}

/// The manifest of one machine. Texts may be placeholders.
pub(crate) struct Vip<'a> {
    /// kube-vip's image.
    pub image: &'a str,
    /// When the image is pulled: a word of Kubernetes.
    pub policy: &'a str,
    /// The shared address.
    pub address: &'a str,
    /// The card that has it; empty for the one of the default route, which kube-vip finds itself.
    pub interface: &'a str,
    /// Port of the API server.
    pub port: &'a str,
    /// The kubeconfig on the machine.
    pub kubeconfig: &'a str,
}

/// The manifest.
pub(crate) fn manifest(vip: &Vip<'_>) -> String {
    let variable = |(name, value): (&str, &str)| json!({"name": name, "value": value});
    let mut environment: Vec<Value> = [
        ("vip_arp", "true"),
        ("port", vip.port),
        ("address", vip.address),
        ("vip_interface", vip.interface),
        // An address with the network's prefix would become the machine's first one (kube-vip/kube-vip#1385).
        ("vip_subnet", "32"),
        ("cp_enable", "true"),
        ("cp_namespace", "kube-system"),
        ("vip_leaderelection", "true"),
        ("vip_leasename", "plndr-cp-lock"),
        ("vip_leaseduration", "30"),
        ("vip_renewdeadline", "20"),
        ("vip_retryperiod", "4"),
    ]
    .map(variable)
    .into();
    environment
        .push(json!({"name": "vip_nodename", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}));
    document(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-vip", "namespace": "kube-system"},
        "spec": {
            "hostNetwork": true,
            "priorityClassName": "system-node-critical",
            "containers": [{
                "name": "kube-vip",
                "image": vip.image,
                "imagePullPolicy": vip.policy,
                "args": ["manager"],
                "env": environment,
                "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}},
                "volumeMounts": [{"mountPath": ADMIN, "name": "kubeconfig", "readOnly": true}],
            }],
            // The API server's certificate has this name, and it is this machine's own that is asked.
            "hostAliases": [{"hostnames": ["kubernetes"], "ip": "127.0.0.1"}],
            // Without a type, containerd makes a directory where kubeadm then cannot write its file.
            "volumes": [{"name": "kubeconfig", "hostPath": {"path": vip.kubeconfig, "type": "File"}}],
        },
    }))
}
