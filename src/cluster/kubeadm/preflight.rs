//! Remains of a run of kubeadm that ended in the middle, by the names of the checks that then fail in the next one.
//!
//! Never `all`: a machine that belongs to another cluster must be found by the first run (kubernetes/kubeadm#1642).

use crate::cluster::description::Role;

/// Remains of any controller after a while: servers on their ports, and manifests.
const CONTROLLER: [&str; 6] = [
    "Port-6443",
    "Port-10257",
    "Port-10259",
    "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml",
    "FileAvailable--etc-kubernetes-manifests-kube-controller-manager.yaml",
    "FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml",
];
/// The manifest of etcd.
const ETCD_MANIFEST: &str = "FileAvailable--etc-kubernetes-manifests-etcd.yaml";
/// Remains of a member of etcd.
const MEMBER: [&str; 3] = ["Port-2379", "Port-2380", "DirAvailable--var-lib-etcd"];
/// The kubelet's port, which any member has taken.
const KUBELET: &str = "Port-10250";
/// Remains of a machine that began to join.
const JOINING: [&str; 2] =
    ["FileAvailable--etc-kubernetes-kubelet.conf", "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf"];
/// The file that only a worker must not have yet.
const WORKER: &str = "FileAvailable--etc-kubernetes-pki-ca.crt";

/// The names for a member's next run.
pub(super) fn left(role: Role, begins: bool, is_member: bool) -> Vec<&'static str> {
    let mut names = vec![KUBELET];
    if role == Role::Controller {
        names.extend(CONTROLLER);
        if is_member {
            names.push(ETCD_MANIFEST);
            names.extend(MEMBER);
        }
    }
    if !begins {
        names.extend(JOINING);
        if role == Role::Worker {
            names.push(WORKER);
        }
    }
    names
}
