//! A real API server is followed and awaited: nodes that come, flap and go, a server that is away, and keys that are wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prebake::base::error::{Advice, Exit};
use prebake::cluster::api::client::Connection;
use prebake::cluster::api::follow::Follower;
use prebake::cluster::api::snapshot::Snapshot;
use prebake::cluster::api::wait::{Limits, Stage, Unready, Waiter, Wish};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::judges;
use crate::lab::cluster::Cluster;

/// How long something may take that is there at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A control plane whose nodes are made by kubectl, and change by nobody else.
pub(super) fn cluster(directory: &Path) -> Option<Cluster> {
    let programs = judges::build("kubernetes")?;
    let mut cluster = Cluster::start(&programs, &directory.join("cluster")).unwrap();
    // It would set nodes without a kubelet aside.
    cluster.end("kube-controller-manager");
    cluster.kubectl(&["delete", "node", "control"]).unwrap();
    Some(cluster)
}

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(super) async fn connection(kubeconfig: &Path) -> Connection {
    let text = fs::read_to_string(kubeconfig).unwrap();
    Connection::new(&kubeconfig.display().to_string(), &text).await.unwrap()
}

pub(super) fn create(cluster: &Cluster, name: &str) {
    let node = format!("{{apiVersion: v1, kind: Node, metadata: {{name: \"{name}\"}}}}");
    cluster.apply(&["create", "-f", "-"], &node).unwrap();
}

/// Sets conditions of a node, as its kubelet or network plugin would.
fn condition(cluster: &Cluster, name: &str, conditions: Value) {
    let patch = json!({"status": {"conditions": conditions}}).to_string();
    cluster
        .kubectl(&["patch", "node", name, "--subresource=status", "--type=strategic", "-p", &patch])
        .unwrap();
}

pub(super) fn ready(cluster: &Cluster, name: &str) {
    condition(cluster, name, json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]));
}

fn names(names: &[&str]) -> Wish {
    Wish::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

/// A waiter at work.
struct Waiting {
    lines: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<(Result<(), Unready>, Waiter)>,
}

impl Waiting {
    fn begin(runtime: &Runtime, kubeconfig: &Path, wish: Wish, limits: Limits) -> Waiting {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = lines.clone();
        let kubeconfig = kubeconfig.to_owned();
        let task = runtime.spawn(async move {
            let mut waiter = Waiter::new(Follower::new(&connection(&kubeconfig).await), wish, limits);
            let mut tell = |_: &Snapshot, line: &str| told.lock().unwrap().push(line.to_owned());
            let done = waiter.complete(&mut tell).await;
            (done, waiter)
        });
        Waiting { lines, task }
    }

    /// Waits until a line was told that has this in it.
    fn hears(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines.lock().unwrap().clone();
            if lines.iter().any(|line| line.contains(text)) {
                return;
            }
            assert!(
                Instant::now() < deadline && !self.task.is_finished(),
                "nobody said `{text}`:\n{}",
                lines.join("\n")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn forget(&self) {
        self.lines.lock().unwrap().clear();
    }
}

fn prebake(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prebake")).args(args).output().unwrap()
}

/// facts/cluster.md §4, and kubernetes-sigs/cluster-api#2082, flannel-io/flannel#1989: a wait that never ended, and nodes that counted
/// as Ready without a network.
#[test]
fn a_cluster_is_awaited_through_nodes_that_flap_and_an_api_server_that_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut cluster) = cluster(directory.path()) else { return };
    let runtime = runtime();
    let kubeconfig = cluster.kubeconfig();
    let limits = Limits { stable: Duration::from_secs(2), ..Limits::default() };
    let waiting = Waiting::begin(&runtime, &kubeconfig, names(&["a", "b"]), limits);
    waiting.hears("the API server is ready (v1.33");
    create(&cluster, "a");
    waiting.hears("node a has come: its kubelet has not reported yet");
    let without_network = json!([{"type": "Ready", "status": "False", "reason": "KubeletNotReady",
        "message": "container runtime network not ready: cni plugin not initialized"}]);
    condition(&cluster, "a", without_network);
    waiting.hears("node a: KubeletNotReady: container runtime network not ready: cni plugin not initialized");
    ready(&cluster, "a");
    waiting.hears("node a is Ready");
    create(&cluster, "x");
    ready(&cluster, "x");
    create(&cluster, "b");
    condition(
        &cluster,
        "b",
        json!([
            {"type": "Ready", "status": "True"},
            {"type": "NetworkUnavailable", "status": "True", "reason": "CalicoIsDown"},
        ]),
    );
    waiting.hears("node b: its network is unavailable (CalicoIsDown)");
    // It flaps.
    condition(&cluster, "a", json!([{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]));
    waiting.hears("node a is no longer Ready: its kubelet is silent (NodeStatusUnknown");
    waiting.forget();
    cluster.end("kube-apiserver");
    waiting.hears("the API server is lost: ");
    cluster.start_api_server().unwrap();
    waiting.hears("the API server is ready (v1.33");
    condition(
        &cluster,
        "b",
        json!([{"type": "NetworkUnavailable", "status": "False", "reason": "CalicoIsUp"}]),
    );
    ready(&cluster, "a");
    waiting.hears("node a is Ready");
    waiting.hears("node b is Ready");
    assert!(!waiting.task.is_finished(), "the stranger x keeps it waiting");
    cluster.kubectl(&["delete", "node", "x"]).unwrap();
    let (done, waiter) = runtime.block_on(waiting.task).unwrap();
    done.unwrap();
    assert_eq!(waiter.snapshot.nodes.keys().collect::<Vec<_>>(), ["a", "b"]);
    drop(waiter);

    // The same by the program, with any kubeconfig; `HTTPS_PROXY` is for other hosts.
    let file = kubeconfig.display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["cluster", "wait", "--kubeconfig", &file, "--count", "2", "--timeout", "2m"]);
    let output =
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("https_proxy", "not a URL").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(" is ready: 2 of 2 nodes"), "{output:?}");

    // A late part is named, with its stage, and nothing is waited for longer than it may take.
    let limits = Limits { nodes: Duration::from_secs(1), ..Limits::default() };
    let waiting = Waiting::begin(&runtime, &kubeconfig, names(&["a", "ghost"]), limits);
    let (done, _) = runtime.block_on(waiting.task).unwrap();
    let error = done.unwrap_err();
    assert_eq!((error.stage, error.exit()), (Stage::Nodes, Exit::TimedOut));
    let late: Vec<&str> = error.late.iter().map(|late| late.subject.as_str()).collect();
    assert_eq!(late, ["node ghost", "node b"], "{error}");
    assert!(error.hint().unwrap().contains("prebake logs --mac ghost"));

    let output = prebake(&["cluster", "status", "--kubeconfig", &file, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["api"]["state"], "ready");
    assert_eq!(document["nodes"]["a"]["ready"], true);
    let certificates = document["certificates"].as_array().unwrap();
    let of: Vec<&str> = certificates.iter().map(|it| it["of"].as_str().unwrap()).collect();
    assert_eq!(of, ["kubeconfig", "authority", "API server"]);
    assert!(certificates[2]["days"].as_i64().unwrap() >= 363, "{certificates:?}");

    troubles(&mut cluster, directory.path());
}

/// A fault on the way to the API server is said in words that lead on; kube itself says `client error (Connect)`.
fn troubles(cluster: &mut Cluster, directory: &Path) {
    let kubeconfig = cluster.kubeconfig();
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let path = directory.join("kubeconfig");
    let status = |text: &str| {
        fs::write(&path, text).unwrap();
        let output = prebake(&["cluster", "status", "--kubeconfig", path.to_str().unwrap()]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let replaced = |key: &str, value: &[u8]| {
        let lines = text.lines().map(|line| match line.trim_start().strip_prefix(key) {
            Some(_) => format!(
                "{}{key}: {}\n",
                &line[..line.len() - line.trim_start().len()],
                STANDARD.encode(value)
            ),
            None => format!("{line}\n"),
        });
        lines.collect::<String>()
    };
    let key = |name: &str| fs::read(cluster.key(name)).unwrap();

    let (code, told) = status(&replaced("certificate-authority-data", &key("front-proxy-ca.crt")));
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("its certificate is not trusted: ")
            && told.contains("kubeconfig is of another cluster"),
        "{told}"
    );

    let stranger = replaced("client-certificate-data", &key("front-proxy-client.crt"));
    let stranger = stranger.lines().map(|line| match line.trim_start().strip_prefix("client-key-data") {
        Some(_) => format!("    client-key-data: {}\n", STANDARD.encode(key("front-proxy-client.key"))),
        None => format!("{line}\n"),
    });
    let (code, told) = status(&stranger.collect::<String>());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("it does not accept the kubeconfig's credentials"), "{told}");

    // Rights to nothing: what cannot be seen is said, and waited for in vain.
    let token = cluster.kubectl(&["create", "token", "default", "-n", "default"]).unwrap();
    let poor: String = text
        .lines()
        .filter(|line| !line.contains("client-certificate-data"))
        .map(|line| match line.contains("client-key-data") {
            true => format!("    token: {}\n", token.trim()),
            false => format!("{line}\n"),
        })
        .collect();
    fs::write(&path, poor).unwrap();
    let file = path.to_str().unwrap();
    let output = prebake(&["cluster", "wait", "--kubeconfig", file, "--timeout", "5s"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{told}");
    assert!(told.contains("nodes are not told: nodes is forbidden"), "{told}");

    cluster.end("kube-apiserver");
    let (code, told) = status(&text);
    assert_eq!(code, Some(6), "{told}");
    assert!(told.contains("the connection is refused"), "{told}");
    let (code, told) = status("apiVersion: v1\nkind: Config\n");
    assert_eq!(code, Some(3), "{told}");
}
