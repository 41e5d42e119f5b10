//! The configs of machines: to the byte for a small cluster, and judged by the real kubeadm for each shape that a cluster can have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use prebake::cluster::description::{Cluster, Etcd, Join, Node, Role, Secret};
use prebake::cluster::kubeadm::{DISCOVERY, Given, Images, Pace, Try, config, labels, vip};
use prebake::cluster::pki::Pki;
use prebake::cluster::pki::key::Algorithm;
use prebake::cluster::place::Place;

use super::{description, node, said};
use crate::judges;
use crate::world::repository;

const TOKEN: &str = "abcdef.0123456789abcdef";
const HASH: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const IMAGE: &str = "ghcr.io/kube-vip/kube-vip:v1.2.1";

fn token() -> Secret {
    Secret(TOKEN.to_owned().into())
}

fn given(token: &Secret) -> Given<'_> {
    Given {
        algorithm: Algorithm::default(),
        token,
        ca_hash: HASH,
        images: Images::Carried,
        kube_proxy: true,
        pace: Pace::Metal,
    }
}

fn text(cluster: &Cluster, node: &Node, given: &Given<'_>, which: Try) -> String {
    config(cluster, node, given, which).unwrap().to_string()
}

#[test]
fn the_machines_of_a_small_cluster_have_the_same_configs_as_ever() {
    let token = token();
    let mut found = String::new();
    let mut add = |title: &str, text: &str| found.push_str(&format!("### {title}\n{text}"));
    for version in ["v1.33.13", "v1.30.14"] {
        let mut cluster = description(version);
        let all =
            |cluster: &Cluster, at: usize, which| text(cluster, &cluster.nodes[at], &given(&token), which);
        add(&format!("{version} c1"), &all(&cluster, 0, Try::First));
        add(&format!("{version} c2"), &all(&cluster, 1, Try::First));
        add(&format!("{version} w1 again"), &all(&cluster, 3, Try::Again));
        let manifest = vip::manifest(&cluster, &cluster.nodes[0], IMAGE, Images::Carried).unwrap().unwrap();
        add(&format!("{version} c1 kube-vip"), &manifest);
        cluster.join = Join::Token(None);
        add(&format!("{version} w1 by token"), &all(&cluster, 3, Try::First));
    }
    let path = repository("tests/golden/cluster/kubeadm.yaml");
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} differs; found:\n{found}", path.display());
}

/// Each shape that a config can have, for a version.
fn shapes(version: &str) -> Vec<(String, String)> {
    let token = token();
    let mut all = Vec::new();
    for (join, is_outside) in
        [(Join::Certificate, false), (Join::Token(None), false), (Join::Token(None), true)]
    {
        let mut cluster = description(version);
        cluster.join = join;
        let file = |name: &str| said(name.into());
        cluster.etcd = is_outside.then(|| Etcd {
            endpoints: vec![said("https://10.77.0.31:2379".parse().unwrap())],
            ca: file("ca.crt"),
            cert: file("client.crt"),
            key: file("client.key"),
        });
        // Names that YAML 1.1 reads as something else than a text, and a controller without a taint.
        cluster.nodes[1].taints = Some(Vec::new());
        cluster.nodes[2].taints = Some(vec![said("a/b=on:NoExecute".to_owned())]);
        cluster.nodes.extend(
            ["y", "off", "0777", "0o17", "1.5", "12e03", "null"]
                .into_iter()
                .zip(30..)
                .map(|(name, number)| node(name, number, Role::Worker)),
        );
        for algorithm in Algorithm::ALL {
            for (kube_proxy, images, pace) in
                [(true, Images::Carried, Pace::Metal), (false, Images::Pulled, Pace::Emulated)]
            {
                let given = Given { algorithm, images, kube_proxy, pace, ..given(&token) };
                let configs = cluster.nodes.iter().flat_map(|node| {
                    [Try::First, Try::Again].map(|which| {
                        let name = format!(
                            "{}-{which:?}-{algorithm:?}-{kube_proxy}-{:?}",
                            node.name.value, cluster.join
                        );
                        (name.to_lowercase(), text(&cluster, node, &given, which))
                    })
                });
                all.extend(configs);
            }
        }
    }
    all.sort_by(|one, other| one.1.cmp(&other.1));
    all.dedup_by(|one, other| one.1 == other.1);
    all
}

/// facts: the wrong shape and unknown fields are hard errors in both forms.
#[test]
fn kubeadm_takes_the_configs_of_each_shape_without_a_warning() {
    let mut judged = 0;
    for (peer, version) in [("kubernetes", "v1.33.13"), ("kubeadm-1.30", "v1.30.14")] {
        let Some(programs) = judges::build(peer) else { return };
        let directory = tempfile::tempdir().unwrap();
        // kubeadm looks whether this file is there.
        let discovery = directory.path().join("discovery.conf");
        fs::write(&discovery, "").unwrap();
        for (name, text) in shapes(version) {
            let path = directory.path().join(name);
            fs::write(&path, text.replace(DISCOVERY, discovery.to_str().unwrap())).unwrap();
            let mut kubeadm = Command::new(programs.join("kubeadm"));
            let output = kubeadm.args(["config", "validate", "--config"]).arg(&path).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && told.trim().is_empty(), "{version}: {told}\n{text}");
            judged += 1;
        }
        // The judge is one: it refuses a key of the other form.
        let path = directory.path().join("wrong");
        let cluster = description(version);
        let wrong =
            text(&cluster, &cluster.nodes[0], &given(&token()), Try::First).replace("certSANs", "certSans");
        fs::write(&path, wrong).unwrap();
        let mut kubeadm = Command::new(programs.join("kubeadm"));
        assert!(
            !kubeadm.args(["config", "validate", "--config"]).arg(&path).output().unwrap().status.success()
        );
    }
    assert!(judged > 100, "{judged}");
}

/// Runs kubeadm in a root directory with nothing but it, in a network of its own, while programs listen on these ports.
fn kubeadm_in(root: &Path, ports: &[u16], args: &str) -> String {
    let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    let listening: Vec<String> = ports.iter().map(u16::to_string).collect();
    let script = format!(
        "ip link set lo up\n\
         python3 -c 'import socket, sys, time\n\
         kept = [socket.create_server((\"\", int(port))) for port in sys.argv[1:]]\n\
         print(flush=True)\n\
         time.sleep(60)' {} | {{ read -r _; timeout 50 chroot '{}' /kubeadm {args}; kill 0; }}",
        listening.join(" "),
        root.display(),
    );
    // A process group of its own, so that `kill 0` ends what listens.
    let mut command = Command::new("setsid");
    command.args(["--wait", "unshare", flags, "sh", "-c", &script]).stdin(Stdio::null());
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The checks that failed, by their names.
fn failed(told: &str) -> BTreeSet<String> {
    let names = told.lines().filter_map(|line| line.trim().strip_prefix("[ERROR ")?.split_once(']'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// kubernetes/kubeadm#2353, #1642, #1380, kubernetes/kubernetes#33924: a second `kubeadm init` fails on what the first one left; `all` would
/// also take a machine of another cluster.
#[test]
fn a_retry_passes_exactly_the_checks_that_fail_on_what_a_half_done_run_leaves() {
    let Some(programs) = judges::build("kubernetes") else { return };
    let token = token();
    let cluster = description("v1.33.13");
    let mut of_init = BTreeSet::new();
    for (at, phase, ports, left) in [
        (0, "init phase preflight", &CONTROLLER_PORTS[..], &CONTROLLER_FILES[..]),
        // It repeats the checks of `init`, once it has the cluster's configuration from the API server.
        (1, "join phase preflight", &[10250], &JOINING_FILES),
        (
            3,
            "join phase preflight",
            &[10250],
            &[&JOINING_FILES[..], &["etc/kubernetes/pki/ca.crt"]].concat()[..],
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let node = &cluster.nodes[at];
        fs::hard_link(programs.join("kubeadm"), root.join("kubeadm"))
            .or_else(|_| fs::copy(programs.join("kubeadm"), root.join("kubeadm")).map(drop))
            .unwrap();
        for directory in ["etc/kubernetes/manifests", "etc/kubernetes/pki", "var/lib/etcd", "proc", "tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let place = Place::new(root, "lab");
        let pki = Pki::ensure(&place, Algorithm::default(), SystemTime::now()).unwrap();
        let discovery =
            pki.discovery(&cluster, "w1", prebake::cluster::pki::JOINING_LASTS, SystemTime::now());
        fs::write(root.join("etc/kubernetes/discovery.conf"), discovery.unwrap().text()).unwrap();
        for (name, which) in [("first", Try::First), ("again", Try::Again)] {
            fs::write(root.join(name), text(&cluster, node, &given(&token), which)).unwrap();
        }
        let run = |config: &str, ports: &[u16]| {
            failed(&kubeadm_in(root, ports, &format!("{phase} --config /{config}")))
        };
        let before = run("first", &[]);
        for file in left {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "left").unwrap();
        }
        let found: BTreeSet<String> = run("first", ports).difference(&before).cloned().collect();
        assert_eq!(found.len(), left.len() + ports.len(), "{phase}: {found:?}");
        assert_eq!(run("again", ports), before, "{phase}");
        let config = text(&cluster, node, &given(&token), Try::Again);
        let passed = config.split("ignorePreflightErrors:\n").nth(1).unwrap().lines().map(str::trim);
        let passed =
            passed.map_while(|line| line.strip_prefix("- ")).map(str::to_owned).collect::<BTreeSet<_>>();
        if node.role == Role::Controller {
            of_init.extend(found.iter().cloned());
        }
        let all = if node.role == Role::Controller { &of_init } else { &found };
        assert_eq!(passed, *all, "{phase}");
        assert!(!passed.contains("all"));
    }
}

const CONTROLLER_PORTS: [u16; 6] = [6443, 10250, 10257, 10259, 2379, 2380];
const CONTROLLER_FILES: [&str; 5] = [
    "etc/kubernetes/manifests/kube-apiserver.yaml",
    "etc/kubernetes/manifests/kube-controller-manager.yaml",
    "etc/kubernetes/manifests/kube-scheduler.yaml",
    "etc/kubernetes/manifests/etcd.yaml",
    "var/lib/etcd/member",
];
const JOINING_FILES: [&str; 2] = ["etc/kubernetes/kubelet.conf", "etc/kubernetes/bootstrap-kubelet.conf"];

/// kube-vip/kube-vip#684, #938, #907: the shared address never comes up during `kubeadm init` from 1.29 on.
#[test]
fn the_shared_address_is_held_with_rights_that_are_there_and_by_controllers_alone() {
    for (version, begins) in [("v1.30.14", true), ("v1.32.13", true), ("v1.33.0", false), ("v1.36.3", false)]
    {
        let cluster = description(version);
        let manifest =
            |at: usize| vip::manifest(&cluster, &cluster.nodes[at], IMAGE, Images::Pulled).unwrap();
        assert_eq!(manifest(0).unwrap().contains("/etc/kubernetes/super-admin.conf"), begins, "{version}");
        assert!(!manifest(1).unwrap().contains("super-admin.conf"));
        assert_eq!(manifest(3), None);
    }
    let mut cluster = description("v1.33.13");
    if let Some(vip) = &mut cluster.vip {
        vip.external = true;
    }
    assert_eq!(vip::manifest(&cluster, &cluster.nodes[0], IMAGE, Images::Pulled).unwrap(), None);
    cluster.vip = None;
    assert_eq!(vip::manifest(&cluster, &cluster.nodes[0], IMAGE, Images::Pulled).unwrap(), None);
}

/// A kubelet ends at once with `unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels`.
#[test]
fn labels_that_a_kubelet_may_not_give_itself_are_left_to_an_administrator() {
    let Some(programs) = judges::build("kubernetes") else { return };
    let keys = [
        "disk",
        "example.com/a",
        "notkubernetes.io/a",
        "kubernetes.io/hostname",
        "kubernetes.io/zone",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/rack",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/anything",
        "a.node.kubernetes.io/b",
        "xnode.kubernetes.io/b",
        "kubelet.kubernetes.io/x",
        "node-role.kubernetes.io/worker",
        "node-role.kubernetes.io/control-plane",
        "node-restriction.kubernetes.io/x",
        "k8s.io/x",
        "x.k8s.io/y",
        "kubernetes.io/x",
    ];
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent");
    for key in keys {
        // It judges its flags before it looks for anything.
        let mut kubelet = Command::new("timeout");
        kubelet.args(["20"]).arg(programs.join("kubelet")).args(["--node-labels", &format!("{key}=x")]);
        let output = kubelet.arg("--kubeconfig").arg(&absent).arg("--config").arg(&absent).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let refuses = told.contains("unknown 'kubernetes.io' or 'k8s.io' labels");
        assert!(refuses || told.contains(absent.to_str().unwrap()), "{key}: {told}");
        assert_eq!(labels::may_kubelet(key), !refuses, "{key}: {told}");
    }
    let cluster = description("v1.33.13");
    let left: Vec<_> = labels::of_administrator(&cluster.nodes[3]).collect();
    assert_eq!(left, [("node-role.kubernetes.io/worker", "")]);
}

#[test]
fn a_version_that_no_config_is_written_for_is_refused() {
    let token = token();
    for version in ["v1.29.15", "v2.0.0", "v1", "latest", ""] {
        let cluster = description(version);
        let error = config(&cluster, &cluster.nodes[0], &given(&token), Try::First).unwrap_err();
        assert!(error.to_string().contains("v1.30"), "{error}");
    }
}
