//! The flagship: from a bundle, `prebake cluster init` forms a real cluster of machines that boot over an air-gapped network.
//!
//! `make flagship` runs it, and `make test` does not: two emulated machines took 25 minutes on two busy processors. So it is with the
//! box of Vagrant, whose one machine is a control plane.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::judges;
use crate::lab::cluster::VERSION;
use crate::lab::formation::{self, Peers, Shape};
use crate::lab::images::{self, Programs};
use crate::lab::machine::{self, Machine};
use crate::lab::mirror::Mirror;
use crate::lab::upstream::Upstream;
use crate::lab::{nonce, release};
use crate::world::{PRIMARY, Run, repository};

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

/// Runs in the box, once its control plane is there: seed 002's last command, as the user whom `vagrant ssh` logs in.
const ASK: &str = r#"
    - name: ask.service
      enabled: true
      contents: |
        [Service]
        StandardOutput=journal+console
        StandardError=journal+console
        Restart=on-failure
        RestartSec=30
        StartLimitIntervalSec=0
        ExecStart=/usr/bin/bash -c 'if [ -s /home/core/.kube/config ]; then su - core -c "kubectl cluster-info" && kubectl --kubeconfig /etc/kubernetes/admin.conf wait --for=condition=Ready node/flatcar --timeout=300s && echo LAB-BOX NONCE; else journalctl --no-pager -o cat -p err -n 2 -u kubelet; exit 1; fi'
        [Install]
        WantedBy=multi-user.target
"#;

/// Files that each Flatcar has, without which no pod starts; the lab's release has neither systemd-resolved nor Flatcar's baselayout.
const NAMES: &str = r#"    - path: /etc/resolv.conf
      contents: {inline: "nameserver 10.0.2.3\n"}
    - path: /etc/hosts
      contents: {inline: "127.0.0.1 localhost\n::1 localhost\n"}
"#;

#[test]
#[ignore = "a control plane on one emulated processor: `make flagship`"]
fn the_box_of_vagrant_answers_kubectl_cluster_info() {
    let peers = ["kubernetes", "containerd", "cni", "etcd", "coredns"].map(judges::build);
    let [Some(kubernetes), Some(containerd), Some(cni), Some(etcd), Some(coredns)] = peers else { return };
    let directory = TempDir::new().unwrap();
    let work = directory.path();
    let release = release::build(&work.join("lab")).unwrap();
    let upstream = Upstream::of_a_node(&work.join("upstream"), &kubernetes, &containerd, &cni).unwrap();
    let programs = Programs { kubernetes: &kubernetes, etcd: &etcd, coredns: &coredns, kube_vip: None };
    let mirror = Mirror::builder()
        .directory("/flatcar/", &release.server)
        .directory("/v2/", &images::registry(&programs).unwrap())
        .directory("/", &upstream.directory)
        .start()
        .unwrap();
    let nonce = nonce();
    let edited = |file: &str, edits: &[(&str, &str)]| {
        let mut text = fs::read_to_string(repository("recipes").join(file)).unwrap();
        for (from, to) in edits {
            assert!(text.contains(from), "{file} has no {from:?}");
            text = text.replace(from, to);
        }
        text
    };
    // The lab's release has no containerd of its own.
    let trust = format!("trust: {{primary_fingerprint: {PRIMARY}, key: lab.asc}}\nsysexts: [containerd, ");
    fs::create_dir(work.join("vagrant")).unwrap();
    fs::copy(repository("tests/lab/keys/lab.asc"), work.join("lab.asc")).unwrap();
    fs::write(
        work.join("vagrant.yaml"),
        edited(
            "vagrant.yaml",
            &[
                ("v1.34.4", VERSION),
                ("sysexts: [", &trust),
                ("platforms: [vagrant]", "platforms: [vagrant]\n    size: 9GiB"),
            ],
        ),
    )
    .unwrap();
    let hostname = "    - path: /etc/hostname\n";
    let names = format!("{NAMES}{hostname}");
    let layer = edited("vagrant/base.bu", &[("v1.34.4", VERSION), (hostname, &names)]);
    let layer = layer + &ASK.replace("NONCE", &nonce)[1..];
    fs::write(work.join("vagrant/base.bu"), layer).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(args).current_dir(work).env("PREBAKE_STORE", work.join("store"));
        for (source, path) in
            [("FLATCAR", "/flatcar"), ("KUBERNETES", "/kubernetes"), ("GITHUB", "/github"), ("OCI", "")]
        {
            command.env(format!("PREBAKE_MIRROR_{source}"), format!("{}{path}", mirror.url()));
        }
        Run::of(command.output().unwrap()).ok()
    };
    run(&["build", "vagrant.yaml"]);
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(work.join("output/vagrant/current/disk/control/vagrant.box"))
        .arg("-C")
        .arg(work)
        .status();
    assert!(unpacked.unwrap().success());

    let _turn = machine::turn();
    let machine = Machine::builder("", &work.join("console")).no_network_boot().qcow2(&work.join("box.img"));
    let mut machine = machine.memory_mib(4096).start().unwrap();
    for sign in ["is running at", &format!("LAB-BOX {nonce}")] {
        let event = machine.wait_for(&[sign], FORMED);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(80).join("\n")));
        eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
    }
}
