//! Tests of clusters: from their description to the moment when they are ready.

mod addons;
mod api;
mod doctor;
mod flagship;
mod generate;
mod init;
mod keys;
mod kubeadm;
mod power;
mod rehearsal;
mod rights;
mod units;

use prebake::base::finding::{Place as Mark, Source};
use prebake::base::yaml::decode::Spanned;
use prebake::cluster::description::{Bootstrap, Cluster, Cni, Join, KeyKind, Node, Role, Storage, Vip};
use prebake::flatcar::version::VersionWish;
use std::path::PathBuf;

/// A value of a description, without a file that it comes from.
pub(crate) fn said<T>(value: T) -> Spanned<T> {
    Spanned { value, place: Mark { source: Source::new("cluster.yaml", ""), line: 1, column: 1 } }
}

/// A member of a cluster.
pub(crate) fn node(name: &str, number: u8, role: Role) -> Node {
    Node {
        name: said(name.to_owned()),
        mac: said(format!("52:54:00:77:00:{number:02x}").parse().unwrap()),
        ip: said([10, 77, 0, number].into()),
        role,
        storage: Storage::Memory,
        memory: None,
        labels: Vec::new(),
        taints: None,
        ignition: Vec::new(),
        kernel_args: Vec::new(),
        power: None,
    }
}

/// A cluster of three controllers and two workers with a shared address.
pub(crate) fn description(version: &str) -> Cluster {
    let mut w1 = node("w1", 21, Role::Worker);
    w1.labels =
        [("disk", "on"), ("node-role.kubernetes.io/worker", ""), ("topology.kubernetes.io/zone", "a")]
            .map(|(key, value)| (said(key.to_owned()), value.to_owned()))
            .into();
    w1.taints = Some(vec![said("gpu=yes:NoSchedule".to_owned()), said("slow:PreferNoSchedule".to_owned())]);
    Cluster {
        name: said("lab".to_owned()),
        kubernetes: said(version.to_owned()),
        channel: said("stable".to_owned()),
        flatcar: VersionWish::Latest,
        pods: said("10.244.0.0/16".parse().unwrap()),
        services: said("10.96.0.0/12".parse().unwrap()),
        network: "10.77.0.0/24".parse().unwrap(),
        gateway: None,
        dns: Vec::new(),
        vip: Some(Vip { address: said([10, 77, 0, 5].into()), external: false }),
        ssh_keys: Vec::new(),
        join: Join::Certificate,
        cni: Cni::Routes,
        keys: KeyKind::Ecdsa,
        etcd: None,
        addons: Vec::new(),
        bootstrap: Bootstrap {
            name: None,
            ip: said([10, 77, 0, 1].into()),
            mac: None,
            interface: None,
            dhcp: true,
        },
        nodes: vec![
            node("c1", 11, Role::Controller),
            node("c2", 12, Role::Controller),
            node("c3", 13, Role::Controller),
            w1,
            // A name that YAML 1.1 reads as a number.
            node("1e3", 22, Role::Worker),
        ],
        registry_mirrors: Vec::new(),
        proxy: None,
        ntp: Vec::new(),
        hooks: None,
        recipe: None,
        directory: PathBuf::new(),
    }
}
