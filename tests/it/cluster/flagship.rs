//! The flagship: from a bundle, `prebake cluster init` forms a real cluster of machines that boot over an air-gapped network.
//!
//! `make flagship` runs it, and `make test` does not: two emulated machines took 25 minutes on two busy processors.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::judges;
use crate::lab::formation::{self, Peers, Shape};
use crate::lab::{machine, nonce};

/// How long the cluster may take on a busy machine, and how long its pods.
const FORMED: Duration = Duration::from_secs(3000);
const ANSWERED: Duration = Duration::from_secs(900);

#[test]
#[ignore = "half an hour of two processors: `make flagship`"]
fn a_cluster_forms_behind_an_air_gap_from_a_bundle_and_its_pods_answer() {
    let peers = ["kubernetes", "containerd", "cni", "etcd", "coredns"].map(judges::build);
    let [Some(kubernetes), Some(containerd), Some(cni), Some(etcd), Some(coredns)] = peers else { return };
    let peers = Peers { kubernetes, containerd, cni, etcd, coredns, kube_vip: None };
    let directory = TempDir::new().unwrap();
    let shape = Shape { controllers: 1, workers: 1, disks: false };
    let prebake = Path::new(env!("CARGO_BIN_EXE_prebake"));
    let mut site = formation::carry_in(shape, &peers, prebake, &directory.path().join("site")).unwrap();

    let _turn = machine::turn();
    let init = site.init(&[], FORMED).unwrap_or_else(|error| panic!("{error}"));
    // The process that forms a cluster fits beside whatever else runs there (debug builds are larger).
    assert!(init.memory_kib < 150 << 10, "init held {} KiB", init.memory_kib);
    let nodes = site.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]).unwrap();
    assert_eq!(nodes, "c1 w1");
    let nonce = nonce();
    let told = site.answers(&nonce, ANSWERED).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(told, [nonce.clone(), nonce]);
    let events = site.kubectl(&["get", "events", "-A", "-o", "custom-columns=:reason"]).unwrap();
    let wrong = ["Pulling", "ErrImageNeverPull", "FailedCreatePodSandBox"];
    assert!(!events.lines().any(|reason| wrong.contains(&reason)), "{events}");
}
