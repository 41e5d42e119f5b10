//! The whole line for Kubernetes: a machine whose kubelet, kubeadm and containerd are our sysexts, and whose container
//! images come from our server, joins a real API server and runs a pod. No registry runs when it boots.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::judges;
use crate::lab::cluster::{self, Cluster, Invitation};
use crate::lab::machine::{self, Machine};
use crate::lab::mirror::Mirror;
use crate::lab::upstream::{CONTAINERD, Upstream};
use crate::lab::{self, release};
use crate::world::http::Server;
use crate::world::registry;
use crate::world::{Run, repository};

/// How long one stage may take on a busy machine. An idle one boots and joins in a minute.
const PATIENCE: Duration = Duration::from_secs(400);

/// What a worker of that version needs, and the recipe's own image: registry, repository, tag.
const WORKER: [(&str, &str, &str); 4] = [
    ("registry.k8s.io", "kube-proxy", cluster::VERSION),
    ("registry.k8s.io", "coredns/coredns", "v1.12.0"),
    ("registry.k8s.io", "pause", "3.10"),
    ("ghcr.io", "lab/say", "1.0"),
];

/// What only a control plane needs; it is published all the same.
const CONTROL_PLANE: [(&str, &str, &str); 4] = [
    ("registry.k8s.io", "kube-apiserver", cluster::VERSION),
    ("registry.k8s.io", "kube-controller-manager", cluster::VERSION),
    ("registry.k8s.io", "kube-scheduler", cluster::VERSION),
    ("registry.k8s.io", "etcd", "3.5.24-0"),
];

/// What must be merged, and nothing else.
const SYSEXTS: [&str; 6] = [
    "containerd",
    "containerd-config",
    "kubernetes",
    "kubernetes-config",
    "kubernetes-images-worker",
    "prebake-images",
];

const RECIPE: &str = "\
schema: 1
name: node
release: {channel: stable}
trust: {primary_fingerprint: 9B368570AEFD715B83A15ACE4F564163D3EA328A, key: lab.asc}
kubernetes: {version: v1.33.13, images: asset}
sysexts: [kubernetes, kubernetes-config, containerd, containerd-config]
images: [ghcr.io/lab/say:1.0]
public_secrets:
  - {path: /etc/systemd/system/kubeadm-join.service, why: its token is of a cluster that ends with the test}
profiles:
  worker: {role: worker, kernel_args: ['console=ttyS0,115200n8']}
default_profile: worker
";

/// All programs in the images: it waits for ever; with two arguments it copies the one file to the other instead.
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

/// A pod on the machine. Its first container tells the API server what file the image holds.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: say}
spec:
  nodeName: node1
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  initContainers:
    - name: say
      image: ghcr.io/lab/say:1.0
      imagePullPolicy: Never
      command: [/program, /nonce, /dev/termination-log]
  containers:
    - name: wait
      image: ghcr.io/lab/say:1.0
      imagePullPolicy: Never
      command: [/program]
";

/// A registry with the images, each of the program and a file that holds the nonce; and the digest of the config of the
/// one that sandboxes are started with, by which CRI knows it.
pub(crate) fn registry(work: &Path, nonce: &str) -> (registry::Registry, String) {
    let (source, program) = (work.join("program.c"), work.join("program"));
    fs::write(&source, PROGRAM).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-Os", "-s", "-o"]).arg(&program).arg(&source);
    assert!(compiler.status().unwrap().success());
    let program = fs::read(program).unwrap();
    let mut registry = registry::Builder::default();
    let mut sandbox = String::new();
    for (_, repository, tag) in WORKER.into_iter().chain(CONTROL_PLANE) {
        // containerd starts the sandbox image by its entry point, which is /pause.
        let files = vec![
            ("program", &program[..]),
            ("pause", &program),
            ("nonce", nonce.as_bytes()),
            ("name", repository.as_bytes()),
        ];
        let pushed = registry.push_files(repository, tag, &[("amd64", files)]);
        if repository == "pause" {
            sandbox = pushed.configs["amd64"].clone();
        }
    }
    (registry.start(), sandbox)
}

/// The layer of one run: how this machine joins, and what it says on its console.
fn layer(invitation: &Invitation, nonce: &str) -> String {
    let Invitation { endpoint, token, ca_cert_hash } = invitation;
    let network = json!({"cniVersion": "0.4.0", "name": "lab", "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "subnet": "10.244.0.0/24"},
    }]});
    let say = format!(
        "#!/bin/bash\n\
         set -e\n\
         systemd-sysext status --json=short | sed 's/^/LAB-MERGED /'\n\
         ctr --namespace k8s.io images list --quiet 'labels.\"io.cri-containerd.pinned\"==pinned' |\n\
         sed 's/^/LAB-PINNED /'\n\
         echo LAB-NODE {nonce}\n"
    );
    let join = format!(
        "[Unit]\n\
         Requires=containerd.service\n\
         Wants=network-online.target\n\
         After=containerd.service network-online.target\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         StandardOutput=journal+console\n\
         StandardError=journal+console\n\
         ExecStart=/usr/bin/kubeadm join {endpoint} --node-name node1 --token {token} \
         --discovery-token-ca-cert-hash {ca_cert_hash} --cri-socket unix:///run/containerd/containerd.sock\n\
         ExecStart=/usr/bin/bash /etc/lab-say\n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    );
    let file =
        |path: &str, text: &str| json!({"path": path, "overwrite": true, "contents": {"inline": text}});
    let layer = json!({
        "variant": "flatcar",
        "version": "1.0.0",
        "storage": {"files": [
            file("/etc/hostname", "node1\n"),
            // Flatcar has systemd-resolved for this.
            file("/etc/resolv.conf", "nameserver 10.0.2.3\n"),
            // Nobody listens there.
            file("/etc/hosts", "127.0.0.1 localhost node1 registry.k8s.io ghcr.io\n"),
            file("/etc/cni/net.d/10-lab.conflist", &network.to_string()),
            file("/etc/lab-say", &say),
        ]},
        "systemd": {"units": [
            {"name": "systemd-networkd-wait-online.service", "enabled": true},
            {"name": "kubeadm-join.service", "enabled": true, "contents": join},
        ]},
    });
    // JSON is YAML.
    layer.to_string()
}

/// The recipe's directory, and where its sources' mirrors are.
pub(crate) struct Site {
    work: PathBuf,
    mirrors: Vec<(&'static str, String)>,
}

impl Site {
    pub(crate) fn new(work: &Path, mirror: &Mirror, registry: &registry::Registry) -> Site {
        fs::write(work.join("node.yaml"), RECIPE).unwrap();
        fs::copy(repository("tests/lab/keys/lab.asc"), work.join("lab.asc")).unwrap();
        symlink(repository("sysext"), work.join("sysext")).unwrap();
        let at = |path: &str| format!("{}/{path}", mirror.url());
        let mirrors = vec![
            ("FLATCAR", at("flatcar")),
            ("KUBERNETES", at("kubernetes")),
            ("GITHUB", at("github")),
            ("OCI", registry.url()),
        ];
        Site { work: work.to_owned(), mirrors }
    }

    /// Runs the binary, which must succeed.
    pub(crate) fn prebake(&self, args: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(args).current_dir(&self.work).env("PREBAKE_STORE", self.work.join("store"));
        for (source, url) in &self.mirrors {
            command.env(format!("PREBAKE_MIRROR_{source}"), url);
        }
        Run::of(command.output().unwrap()).ok()
    }
}

/// Follows the machine's console until the run's nonce: the sysexts that it merged, the images that it pinned.
fn follow(machine: &mut Machine, nonce: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut merged, mut pinned) = (BTreeSet::new(), BTreeSet::new());
    let last = format!("LAB-NODE {nonce}");
    let words = ["LAB-MERGED ", "LAB-PINNED ", &last, "Failed to start kubeadm-join"];
    loop {
        let event = machine.wait_for(&words, PATIENCE);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(80).join("\n")));
        let (_, rest) = event.line.split_once(words[event.pattern]).unwrap();
        match event.pattern {
            0 => {
                let hierarchies: Vec<Value> = serde_json::from_str(rest).unwrap();
                let names = |hierarchy: &Value| hierarchy["extensions"].as_array().cloned();
                let names = hierarchies.iter().filter_map(names).flatten();
                merged.extend(names.map(|name| name.as_str().unwrap().to_owned()));
            }
            1 => drop(pinned.insert(rest.to_owned())),
            2 => return (merged, pinned),
            _ => panic!("{}", machine.last_lines(80).join("\n")),
        }
    }
}

/// The API server's answer once it has these words, or its logs and events.
#[track_caller]
fn ask(cluster: &Cluster, args: &[&str], words: &str) -> Value {
    let wanted = |answer: &str| answer.contains(words);
    match cluster.await_output(&[args, &["-o", "json"]].concat(), PATIENCE, wanted) {
        Ok(answer) => serde_json::from_str(&answer).unwrap(),
        Err(error) => {
            let events = cluster.kubectl(&["get", "events", "-A"]).unwrap_or_default();
            panic!("no {words:?}: {error}\n{events}\n{}", cluster.logs())
        }
    }
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_machine_out_of_our_sysexts_joins_a_real_api_server_without_any_registry() {
    let peers = ["kubernetes", "containerd", "cni"].map(judges::build);
    let [Some(kubernetes), Some(containerd), Some(cni)] = peers else { return };
    let directory = TempDir::new().unwrap();
    let work = directory.path();
    let nonce = lab::nonce();

    let release = release::build(&work.join("lab")).unwrap();
    let upstream = Upstream::of_a_node(&work.join("upstream"), &kubernetes, &containerd, &cni).unwrap();
    let (registry, sandbox) = registry(work, &nonce);
    let mirror = Mirror::builder()
        .directory("/flatcar/", &release.server)
        .directory("/", &upstream.directory)
        .start()
        .unwrap();
    let site = Site::new(work, &mirror, &registry);
    site.prebake(&["lock", "node.yaml"]);
    // From here on there is no registry, and nothing of upstream.
    drop((registry, mirror));

    let _turn = machine::turn();
    let cluster = Cluster::start(&kubernetes, &work.join("cluster")).unwrap();
    fs::write(work.join("join.bu"), layer(&cluster.invitation().unwrap(), &nonce)).unwrap();
    site.prebake(&["build", "node.yaml", "--locked", "--offline", "--layer", "join.bu"]);
    let (_server, address) = Server::prebake(&work.join("output/node/current"));
    let harness = Mirror::builder()
        .directory("/", &release.harness)
        .page("/start.ipxe", machine::start_script(address.parse().unwrap()))
        .start()
        .unwrap();
    let url = format!("{}/start.ipxe", machine::seen_from_inside(harness.address()));
    let console = work.join("console");
    let mut machine = Machine::builder(&url, &console).memory_mib(4096).start().unwrap();

    let (merged, pinned) = follow(&mut machine, &nonce);
    assert_eq!(merged, BTreeSet::from(SYSEXTS.map(str::to_owned)));
    // Each image by its tag and, as CRI looks for it where a pod names one, by the digests of its index and of its manifest.
    let (by_digest, by_tag): (BTreeSet<String>, BTreeSet<String>) =
        pinned.into_iter().partition(|name| name.contains("@sha256:"));
    let names = WORKER.map(|(host, repository, tag)| format!("{host}/{repository}:{tag}"));
    // What containerd is configured to start sandboxes with it pins by itself.
    let wanted: BTreeSet<String> = names.into_iter().chain([sandbox]).collect();
    assert_eq!(by_tag, wanted);
    for (host, repository, _) in WORKER {
        let image = format!("{host}/{repository}@");
        assert_eq!(by_digest.iter().filter(|name| name.starts_with(&image)).count(), 2, "{by_digest:?}");
    }
    assert_eq!(by_digest.len(), 2 * WORKER.len());

    let ready = r#""reason": "KubeletReady""#;
    let node = ask(&cluster, &["get", "node", "node1"], ready);
    let about = &node["status"]["nodeInfo"];
    assert_eq!(about["kubeletVersion"], cluster::VERSION);
    assert_eq!(about["containerRuntimeVersion"], format!("containerd://{CONTAINERD}"));
    assert!(about["osImage"].as_str().unwrap().contains("Flatcar"), "{about}");

    // A pod needs the sandbox image that containerd is configured with, and the pod's own.
    cluster.apply(&["apply", "-f", "-"], POD).unwrap();
    let pod = ask(&cluster, &["get", "pod", "say"], r#""phase": "Running""#);
    let said = &pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["message"];
    assert_eq!(said, &json!(nonce), "{pod}");
    assert!(pod["status"]["podIP"].as_str().unwrap().starts_with("10.244.0."), "{pod}");
    let events = cluster.kubectl(&["get", "events", "-A", "-o", "custom-columns=:reason"]).unwrap();
    let wrong = ["Pulling", "Failed", "ErrImageNeverPull", "FailedCreatePodSandBox"];
    assert!(!events.lines().any(|reason| wrong.contains(&reason)), "{events}");

    drop(machine);
    let console = BufReader::new(fs::File::open(console).unwrap());
    let lost = console.split(b'\n').map(|line| String::from_utf8_lossy(&line.unwrap()).into_owned());
    let lost: Vec<String> = lost.filter(|line| line.contains("Initramfs unpacking failed")).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
