//! The rights that a real API server, whose keys are ours, gives to the bearers of our certificates.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use prebake::cluster::pki::key::Algorithm;
use prebake::cluster::pki::{JOINING_LASTS, Pki};
use prebake::cluster::place::Place;

use super::description;
use crate::judges;
use crate::lab::cluster::Cluster;

const LONG: Duration = Duration::from_secs(60);

/// The words of `kubectl` with a kubeconfig of ours; on standard error what it says of a refusal.
fn kubectl(cluster: &Cluster, kubeconfig: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("timeout");
    command.arg("60").arg(cluster.programs().join("kubectl"));
    command.args(["--kubeconfig"]).arg(kubeconfig).args(["--server", &cluster.url()]).args(args);
    // It keeps what it finds out below its home, and makes that where it may.
    let output = command.env("HOME", kubeconfig.parent().unwrap()).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).trim().to_owned())
}

/// §2.5 of the research, and its §2.4: kubeadm takes the authorities, and the API server believes what they signed.
#[test]
fn a_control_plane_with_our_keys_takes_our_kubeconfigs_and_the_one_to_join_with_may_do_that_alone() {
    let Some(programs) = judges::build("kubernetes") else { return };
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path(), "lab");
    let ours = description("v1.33.13");
    let now = SystemTime::now();
    let pki = Pki::ensure(&place, Algorithm::default(), now).unwrap();
    let file = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).unwrap();
        directory.path().join(name)
    };
    pki.write_kubeconfig(&place, &ours, now).unwrap();
    let (admin, own) = (place.kubeconfig(), pki.super_admin_kubeconfig(&ours, now).unwrap());
    let own = file("own.conf", own.text());
    let joining = file("discovery.conf", pki.discovery(&ours, "w1", JOINING_LASTS, now).unwrap().text());

    let cluster =
        Cluster::start_with(&programs, &directory.path().join("cluster"), Some(&place.pki())).unwrap();
    let made = cluster.keys_made();
    for name in
        ["ca certificate authority", "front-proxy-ca certificate authority", "etcd/ca certificate authority"]
    {
        assert!(made.contains(&format!("Using existing {name}")), "{made}");
    }
    assert!(made.contains("Using the existing \"sa\" key"), "{made}");
    assert_eq!(cluster.invitation().unwrap().ca_cert_hash, pki.ca_hash());

    let (done, told) = kubectl(
        &cluster,
        &own,
        &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"],
    );
    assert!(done && told.starts_with("prebake ") && told.contains("system:masters"), "{told}");
    // The administrators' role is bound by `kubeadm init` at its first call; until then, they are nobody.
    let (done, told) = kubectl(&cluster, &admin, &["get", "nodes"]);
    assert!(!done && told.contains("\"kubernetes-admin\" cannot list resource"), "{told}");
    let (done, told) = kubectl(&cluster, &admin, &["get", "--raw", "/readyz"]);
    assert!(done && told == "ok", "{told}");
    let binding = [
        "create",
        "clusterrolebinding",
        "kubeadm:cluster-admins",
        "--clusterrole",
        "cluster-admin",
        "--group",
        "kubeadm:cluster-admins",
    ];
    let (done, told) = kubectl(&cluster, &own, &binding);
    assert!(done, "{told}");
    let (done, told) = kubectl(&cluster, &admin, &["auth", "can-i", "*", "*", "--all-namespaces"]);
    assert!(done && told == "yes", "{told}");
    let (done, told) = kubectl(&cluster, &admin, &["config", "current-context"]);
    assert!(done && told == "lab", "{told}");

    let system = ["-n", "kube-system"];
    let may = |args: &[&str]| {
        let (_, told) = kubectl(&cluster, &joining, &[&["auth", "can-i"], args].concat());
        // Doubts of kubectl follow the answer.
        told.split_whitespace().next().unwrap_or_default().to_owned()
    };
    for (wanted, args) in [
        ("yes", &["get", "configmap/kubeadm-config", system[0], system[1]][..]),
        ("yes", &["get", "configmap/kubelet-config", system[0], system[1]]),
        ("yes", &["get", "nodes"]),
        ("yes", &["create", "certificatesigningrequests.certificates.k8s.io"]),
        ("yes", &["create", "certificatesigningrequests.certificates.k8s.io", "--subresource", "nodeclient"]),
        // Only somebody without any certificate may read it; kubeadm goes on without.
        ("no", &["get", "configmap/cluster-info", "-n", "kube-public"]),
        ("no", &["list", "nodes"]),
        ("no", &["delete", "nodes"]),
        ("no", &["create", "nodes"]),
        ("no", &["get", "secrets", system[0], system[1]]),
        ("no", &["list", "secrets", "--all-namespaces"]),
        ("no", &["create", "pods"]),
        ("no", &["list", "configmaps", system[0], system[1]]),
        ("no", &["update", "certificatesigningrequests.certificates.k8s.io", "--subresource", "approval"]),
        ("no", &["create", "clusterrolebindings.rbac.authorization.k8s.io"]),
    ] {
        assert_eq!(may(args), wanted, "{args:?}");
    }

    // A kubelet's request made with it is granted without a person.
    let made = directory.path();
    let run = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(made).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "w1.key",
        "-subj",
        "/O=system:nodes/CN=system:node:w1",
        "-out",
        "w1.csr",
    ]);
    let request = String::from_utf8(run(&["base64", "-A", "-in", "w1.csr"])).unwrap();
    let request = file(
        "csr.yaml",
        &format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: w1}}\nspec:\n  request: {request}\n  \
             signerName: kubernetes.io/kube-apiserver-client-kubelet\n  usages: [digital signature, client auth]\n"
        ),
    );
    let (done, told) = kubectl(&cluster, &joining, &["create", "-f", request.to_str().unwrap()]);
    assert!(done, "{told}");
    let issued = ["get", "csr", "w1", "-o", "jsonpath={.spec.username} {.status.certificate}"];
    let told = cluster.await_output(&issued, LONG, |told| told.starts_with("w1 ") && told.len() > 100);
    told.unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));

    // kube-vip's manifest is a pod that the API server takes.
    let manifest = prebake::cluster::kubeadm::vip::manifest(
        &ours,
        &ours.nodes[0],
        "ghcr.io/kube-vip/kube-vip:v1.2.1",
        prebake::cluster::kubeadm::Images::Carried,
    );
    let manifest = file("kube-vip.yaml", &manifest.unwrap().unwrap());
    let account = ["-n", "kube-system", "create", "serviceaccount", "default"];
    cluster
        .await_output(
            &["-n", "kube-system", "get", "serviceaccount", "default", "-o", "name"],
            LONG,
            |name| !name.is_empty(),
        )
        .or_else(|_| cluster.kubectl(&account))
        .unwrap();
    let (done, told) = kubectl(
        &cluster,
        &own,
        &["create", "--dry-run=server", "--validate=strict", "-f", manifest.to_str().unwrap()],
    );
    assert!(done, "{told}");

    // A certificate of another cluster's authority is nobody's.
    let other = Place::new(&directory.path().join("elsewhere"), "other");
    let other = Pki::ensure(&other, Algorithm::default(), now).unwrap();
    let mut stranger = other.super_admin_kubeconfig(&ours, now).unwrap().text().to_owned();
    let line = |text: &str| {
        text.lines().find(|line| line.contains("certificate-authority-data")).unwrap().to_owned()
    };
    let trusts = line(&fs::read_to_string(&own).unwrap());
    stranger = stranger.replace(&line(&stranger), &trusts);
    let (done, told) = kubectl(&cluster, &file("stranger.conf", &stranger), &["get", "nodes"]);
    assert!(
        !done && told.to_lowercase().contains("unauthorized") || told.contains("provide credentials"),
        "{told}"
    );
}
