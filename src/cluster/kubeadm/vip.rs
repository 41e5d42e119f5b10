//! The manifest of kube-vip, which holds the shared address on one of the controllers: a static pod, as no other pod can run before
//! there is an API server.

use serde_json::{Value, json};

use super::{Error, INTERFACE, Images, PORT, minor};
use crate::cluster::description::{Cluster, Node, Role};
use crate::cluster::yaml::document;

/// Path of the manifest on a machine.
pub const MANIFEST: &str = "/etc/kubernetes/manifests/kube-vip.yaml";

/// The first minor version whose kubeadm asks its own API server and not the shared address while it begins a cluster.
const ASKS_ITSELF: u32 = 33;

/// The manifest for a controller; nothing for a worker, and where there is no shared address or somebody else holds it.
///
/// # Errors
/// The version of Kubernetes is not supported.
pub fn manifest(
    cluster: &Cluster,
    node: &Node,
    image: &str,
    images: Images,
) -> Result<Option<String>, Error> {
    let minor = minor(cluster)?;
    let Some(vip) = cluster.vip.as_ref().filter(|vip| !vip.external && node.role == Role::Controller) else {
        return Ok(None);
    };
    // Until 1.32, `kubeadm init` waits for the shared address before it gives admin.conf its rights, and kube-vip gets none without
    // (kube-vip/kube-vip#684). The controller that begins is known when this is written, so nothing is edited on it.
    let kubeconfig = match minor < ASKS_ITSELF && cluster.begins(node) {
        true => "/etc/kubernetes/super-admin.conf",
        false => "/etc/kubernetes/admin.conf",
    };
    let variable = |(name, value): (&str, String)| json!({"name": name, "value": value});
    let mut environment: Vec<Value> = [
        ("vip_arp", "true".to_owned()),
        ("port", PORT.to_string()),
        ("address", vip.address.value.to_string()),
        ("vip_interface", INTERFACE.to_owned()),
        // An address with the network's prefix would become the machine's first one (kube-vip/kube-vip#1385).
        ("vip_subnet", "32".to_owned()),
        ("cp_enable", "true".to_owned()),
        ("cp_namespace", "kube-system".to_owned()),
        ("vip_leaderelection", "true".to_owned()),
        ("vip_leasename", "plndr-cp-lock".to_owned()),
        ("vip_leaseduration", "30".to_owned()),
        ("vip_renewdeadline", "20".to_owned()),
        ("vip_retryperiod", "4".to_owned()),
    ]
    .map(variable)
    .into();
    environment
        .push(json!({"name": "vip_nodename", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}));
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-vip", "namespace": "kube-system"},
        "spec": {
            "hostNetwork": true,
            "priorityClassName": "system-node-critical",
            "containers": [{
                "name": "kube-vip",
                "image": image,
                "imagePullPolicy": images.policy(),
                "args": ["manager"],
                "env": environment,
                "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}},
                "volumeMounts": [{"mountPath": "/etc/kubernetes/admin.conf", "name": "kubeconfig", "readOnly": true}],
            }],
            // The API server's certificate has this name, and it is this machine's own that is asked.
            "hostAliases": [{"hostnames": ["kubernetes"], "ip": "127.0.0.1"}],
            // Without a type, containerd makes a directory where kubeadm then cannot write its file.
            "volumes": [{"name": "kubeconfig", "hostPath": {"path": kubeconfig, "type": "File"}}],
        },
    });
    Ok(Some(document(&manifest)))
}
