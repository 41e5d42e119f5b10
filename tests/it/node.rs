//! The whole line for Kubernetes: a machine whose kubelet, kubeadm and containerd are our sysexts, and whose container
//! images came with our tree, joins a real API server and runs a pod. No registry runs when it boots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Server;
use crate::lab::cluster::{self, Cluster, Invitation};
use crate::lab::machine::{self, Machine};
use crate::lab::mirror::Mirror;
use crate::lab::release;
use crate::lab::upstream::Upstream;
use crate::registry;
use crate::world::{Run, repository};

/// How long one stage of the boot may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

const CNI: &str = "v1.7.1";
const CONTAINERD: &str = "2.1.5";
const RUNC: &str = "v1.3.3";

/// What kubeadm of that version wants, without its registry.
const IMAGES: [(&str, &str); 7] = [
    ("kube-apiserver", cluster::VERSION),
    ("kube-controller-manager", cluster::VERSION),
    ("kube-scheduler", cluster::VERSION),
    ("kube-proxy", cluster::VERSION),
    ("coredns/coredns", "v1.12.0"),
    ("etcd", "3.5.24-0"),
    ("pause", "3.10"),
];

/// Waits for ever; with two arguments it copies the one file to the other instead.
const PROGRAM: &str = r"
    #include <fcntl.h>
    #include <unistd.h>
    int main(int count, char **arguments) {
        char bytes[256];
        if (count == 3) {
            int from = open(arguments[1], O_RDONLY), to = open(arguments[2], O_WRONLY | O_CREAT, 0644);
            ssize_t length = read(from, bytes, sizeof bytes);
            return length <= 0 || write(to, bytes, length) != length;
        }
        for (;;) pause();
    }
";

const RECIPE: &str = "\
schema: 1
name: node
release: {channel: stable}
trust: {primary_fingerprint: 9B368570AEFD715B83A15ACE4F564163D3EA328A, key: lab.asc}
kubernetes: {version: v1.33.13}
sysexts: [kubernetes, containerd]
images: [registry.k8s.io/pause:3.10, registry.k8s.io/kube-proxy:v1.33.13]
profiles: {worker: {kernel_args: ['console=ttyS0,115200n8']}}
default_profile: worker
";

/// What upstream publishes, of our own making.
fn upstream(directory: &Path) -> Upstream {
    let upstream = Upstream::new(directory);
    let peers = cluster::peer("kubernetes").unwrap();
    for program in ["kubeadm", "kubelet", "kubectl"] {
        let path = format!("kubernetes/{}/bin/linux/amd64/{program}", cluster::VERSION);
        upstream.publish(&path, &peers.join(program), &format!("{program}.sha256")).unwrap();
    }
    let plugins = cluster::debian("containernetworking-plugins").unwrap();
    let plugin = |name: &&str| (format!("./{name}"), plugins.join("usr/lib/cni").join(name));
    let files: Vec<_> = ["bridge", "host-local", "loopback"].iter().map(plugin).collect();
    let archive = format!("cni-plugins-linux-amd64-{CNI}.tgz");
    let path = format!("github/containernetworking/plugins/releases/download/{CNI}/{archive}");
    upstream.publish_archive(&path, &files, &format!("{archive}.sha256")).unwrap();
    let containerd = cluster::debian("containerd").unwrap();
    let program = |name: &&str| (format!("bin/{name}"), containerd.join("usr/bin").join(name));
    let files: Vec<_> = ["containerd", "containerd-shim-runc-v2", "ctr"].iter().map(program).collect();
    let archive = format!("containerd-static-{CONTAINERD}-linux-amd64.tar.gz");
    let path = format!("github/containerd/containerd/releases/download/v{CONTAINERD}/{archive}");
    upstream.publish_archive(&path, &files, &format!("{archive}.sha256sum")).unwrap();
    let runc = cluster::debian("runc").unwrap().join("usr/sbin/runc");
    let path = format!("github/opencontainers/runc/releases/download/{RUNC}/runc.amd64");
    upstream.publish(&path, &runc, "runc.sha256sum").unwrap();
    upstream
}

/// A registry with the images of `IMAGES`, each of the one program and a file that holds the nonce.
fn registry(work: &Path, nonce: &str) -> registry::Registry {
    let (source, program) = (work.join("program.c"), work.join("program"));
    fs::write(&source, PROGRAM).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-Os", "-s", "-o"]).arg(&program).arg(&source);
    assert!(compiler.status().unwrap().success());
    let program = fs::read(program).unwrap();
    let mut registry = registry::Builder::default();
    for (repository, tag) in IMAGES {
        let files = vec![("pause", &program[..]), ("nonce", nonce.as_bytes())];
        registry.push_files(repository, tag, &[("amd64", files)]);
    }
    registry.start()
}

/// The layer of one run: how this machine joins, and what it says on its console.
fn layer(invitation: &Invitation, nonce: &str) -> String {
    let Invitation { endpoint, token, ca_cert_hash } = invitation;
    format!(
        r#"variant: flatcar
version: 1.0.0
storage:
  files:
    - {{path: /etc/hostname, contents: {{inline: node1}}}}
    # Flatcar has systemd-resolved for this.
    - {{path: /etc/resolv.conf, contents: {{inline: "nameserver 10.0.2.3\n"}}}}
    # Nobody answers there.
    - {{path: /etc/hosts, overwrite: true, contents: {{inline: "127.0.0.1 localhost registry.k8s.io\n"}}}}
    - path: /etc/cni/net.d/10-lab.conflist
      contents:
        inline: '{{"cniVersion": "0.4.0", "name": "lab", "plugins": [{{"type": "bridge", "bridge": "cni0",
          "isGateway": true, "ipam": {{"type": "host-local", "subnet": "10.244.0.0/24"}}}}]}}'
systemd:
  units:
    - {{name: systemd-networkd-wait-online.service, enabled: true}}
    - name: kubeadm-join.service
      enabled: true
      contents: |
        [Unit]
        Requires=containerd.service
        Wants=network-online.target
        After=containerd.service network-online.target
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        StandardOutput=journal+console
        StandardError=journal+console
        ExecStartPre=/usr/bin/bash -c 'for i in pause-3.10 kube-proxy-v1.33.13; do curl -fsSo /tmp/x.tar SERVER/assets/images/$i-amd64.tar && ctr -n k8s.io images import /tmp/x.tar; done'
        ExecStart=/usr/bin/kubeadm join {endpoint} --node-name node1 --token {token} --discovery-token-ca-cert-hash {ca_cert_hash} --cri-socket unix:///run/containerd/containerd.sock
        [Install]
        WantedBy=multi-user.target
    - name: lab-node.service
      enabled: true
      contents: |
        [Unit]
        After=kubeadm-join.service
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        StandardOutput=tty
        TTYPath=/dev/console
        ExecStart=/usr/bin/ctr --namespace k8s.io images list
        ExecStart=/usr/bin/echo LAB-NODE {nonce}
        [Install]
        WantedBy=multi-user.target
"#
    )
}

fn prebake(work: &Path, args: &[&str], mirrors: &[(&str, String)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(args).current_dir(work).env("PREBAKE_STORE", work.join("store"));
    for (source, url) in mirrors {
        command.env(format!("PREBAKE_MIRROR_{source}"), url);
    }
    Run::of(command.output().unwrap()).ok()
}

#[test]
fn a_machine_out_of_our_sysexts_joins_a_real_api_server_without_any_registry() {
    let directory = TempDir::new().unwrap();
    let work = directory.path();
    let nonce = "nonce";
    let release = release::build(&work.join("lab")).unwrap();
    let upstream = upstream(&work.join("upstream"));
    let registry = registry(work, nonce);
    let mirror = Mirror::builder()
        .directory("/flatcar/", &release.server)
        .directory("/", &upstream.directory)
        .start()
        .unwrap();
    let at = |path: &str| format!("{}/{path}", mirror.url());
    let mirrors = [
        ("FLATCAR", at("flatcar")),
        ("KUBERNETES", at("kubernetes")),
        ("GITHUB", at("github")),
        ("WEB", at("web")),
        ("OCI", registry.url()),
    ];
    fs::write(work.join("node.yaml"), RECIPE).unwrap();
    fs::copy(repository("tests/lab/keys/lab.asc"), work.join("lab.asc")).unwrap();
    std::os::unix::fs::symlink(repository("sysext"), work.join("sysext")).unwrap();
    prebake(work, &["lock", "node.yaml"], &mirrors);
    drop(registry);

    let _turn = machine::turn();
    let cluster = Cluster::start(&work.join("cluster")).unwrap();
    let t = std::time::Instant::now();
    fs::write(work.join("join.bu"), layer(&cluster.invitation().unwrap(), nonce).replace("SERVER", "http://10.0.2.2:18099")).unwrap();
    prebake(work, &["build", "node.yaml", "--layer", "join.bu"], &mirrors);
    println!("build {:?}", t.elapsed());
    drop(mirror);
    Command::new("sh").args(["-c", "find output -type f | xargs ls -la"]).current_dir(work).status().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let mut server = Server::start(command.args(["serve", "--address", "127.0.0.1:18099", "output/node/current"]).current_dir(work));
    server.says("listening on");
    let address: std::net::SocketAddr = "127.0.0.1:18099".parse().unwrap();
    let harness = Mirror::builder()
        .directory("/", &release.harness)
        .page("/start.ipxe", machine::start_script(address))
        .start()
        .unwrap();
    let url = format!("{}/start.ipxe", machine::seen_from_inside(harness.address()));
    let mut machine = Machine::builder(&url, Path::new("/tmp/cluster/console")).memory_mib(4096).start().unwrap();
    println!("{:?}", machine.wait_for(&["LAB-NODE"], PATIENCE));
    println!("{:?}", cluster.await_output(&["get", "nodes", "-o", "wide"], PATIENCE, |x| x.contains(" Ready ")));
    std::thread::sleep(Duration::from_secs(5));
    println!("{}", cluster.kubectl(&["get", "nodes", "-o", "yaml"]).unwrap());
    println!("{}", cluster.kubectl(&["get", "events", "-A"]).unwrap());
    let _: Option<Value> = None;
}

#[test]
fn tmp_cluster() {
    let directory = TempDir::new().unwrap();
    let t = std::time::Instant::now();
    let cluster = Cluster::start(&directory.path().join("cluster")).unwrap();
    println!("{:?} {:?}", t.elapsed(), cluster.invitation());
    println!("{}", cluster.kubectl(&["get", "nodes,cm,sa", "-A"]).unwrap());
    println!("{}", cluster.logs());
    let t = std::time::Instant::now();
    drop(cluster);
    println!("ended {:?}", t.elapsed());
}
