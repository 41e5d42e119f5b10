//! `prebake cluster init` without machines: its server, its record, and what a kill, a second one and a teardown make of it.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api;
use super::generate::Site;
use crate::judges;
use crate::lab::cluster::{Cluster, debian};
use crate::lab::network::{Client, Network};
use crate::world::http::get;

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// An `init` that runs, and its news.
struct Init {
    child: Child,
    news: std::sync::mpsc::Receiver<Value>,
}

impl Init {
    fn start(site: &Site, args: &[&str]) -> Init {
        let mut command: Command =
            site.command(&[&["cluster", "init", "--json", "--ipxe-dir", "ipxe"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, news) = std::sync::mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let stderr = child.stderr.take().unwrap();
        thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| eprintln!("init: {line}"))
        });
        Init { child, news }
    }

    /// The first news that is wanted.
    #[track_caller]
    fn hears(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(since.elapsed());
            let news = self.news.recv_timeout(left).expect("the news in time");
            if is_it(&news) {
                return news;
            }
        }
    }

    fn step(&self, step: &str) {
        self.hears(|news| news["news"] == "step" && news["step"] == step);
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This thread lives on a network with a bridge that has a carrier.
fn network() -> (Network, Client) {
    let network = Network::new();
    let idle = network.client("52:54:00:77:00:99");
    network.enter();
    (network, idle)
}

fn site() -> Site {
    let site = Site::new();
    site.world.edit("cluster.yaml", "bootstrap: {ip: 10.77.0.1}", "bootstrap: {ip: 10.77.0.1, dhcp: true}");
    for loader in ["undionly.kpxe", "ipxe.efi", "ipxe-arm64.efi"] {
        site.world.write(&format!("ipxe/{loader}"), "x");
    }
    site
}

fn record(site: &Site) -> Value {
    serde_json::from_str(&fs::read_to_string(site.world.path("output/.edge/state.json")).unwrap()).unwrap()
}

#[test]
fn init_serves_and_asks_for_power_and_goes_on_after_a_kill_at_each_step_and_another_one_is_refused() {
    thread::spawn(|| {
        let (_network, _idle) = network();
        let site = site();
        for step in ["generate", "examine", "serve", "power", "answer"] {
            let init = Init::start(&site, &[]);
            init.step(step);
            init.kill();
            assert!(record(&site)["steps"][step]["began"].is_string(), "what is told is recorded: {step}");
        }
        let init = Init::start(&site, &["--keep-serving"]);
        let ask = init.hears(|news| news["news"] == "ask");
        // The status page has what is news.
        let status: Value = serde_json::from_str(&get("10.77.0.1:8080", "/status", "").text()).unwrap();
        assert_eq!(status["cluster"]["name"], "edge", "{status}");
        assert_eq!(status["cluster"]["nodes"]["total"], 5);
        assert_eq!(status["cluster"]["ask"], "power on: c1, c2, c3, w1, w2");
        assert_eq!(ask["machines"]["c1"], "52:54:00:77:00:11");
        assert_eq!(ask["machines"].as_object().unwrap().len(), 5);
        let record = record(&site);
        assert!(record["build"].is_string() && record["steps"]["serve"]["ended"].is_string(), "{record}");

        // The same server as `prebake serve`: the script of a node, and what it is told of its secrets.
        let script = get("10.77.0.1:8080", "/ipxe?mac=52:54:00:77:00:11", "");
        assert_eq!(script.status, 200);
        assert!(script.text().contains("guarded/"), "{}", script.text());
        // This host is no controller: its address is none of theirs.
        assert_eq!(get("10.77.0.1:8080", "/turn?mac=52:54:00:77:00:12", "").status, 403);
        // A machine that reports is news, and its stage the table's.
        let form = "mac=52:54:00:77:00:11&stage=images&detail=3 of 8";
        let posted =
            Command::new("curl").args(["-sf", "-d", form, "http://10.77.0.1:8080/report"]).status().unwrap();
        assert!(posted.success());
        init.hears(|news| {
            news["node"] == "c1" && news["text"].as_str().is_some_and(|text| text.starts_with("images"))
        });

        let refused = site.run(&["cluster", "init", "--ipxe-dir", "ipxe"]);
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let pid = format!("process {}", init.child.id());
        assert!(
            refused.stderr.contains("`prebake cluster init`") && refused.stderr.contains(&pid),
            "{}",
            refused.stderr
        );

        // Teardown stops it, and leaves keys and kubeconfig.
        let mut init = init;
        let torn = site.run(&["cluster", "teardown"]).ok();
        assert!(torn.stdout.contains("is stopped"), "{}", torn.stdout);
        assert_eq!(init.child.wait().unwrap().code(), Some(0));
        assert!(!site.world.path("output/.edge/private").exists());
        assert!(
            site.world.path("output/.edge/pki/ca.key").exists()
                && site.world.path("output/kubeconfig").exists()
        );

        // `serve` makes the private part anew, and `--destroy` needs the name.
        let wrong = site.run(&["cluster", "teardown", "--destroy", "--confirm", "other"]);
        assert_eq!(wrong.code, Some(2));
        assert!(site.world.path("output/kubeconfig").exists());
        site.run(&["cluster", "teardown", "--destroy", "--confirm", "edge"]).ok();
        assert!(!site.world.path("output/kubeconfig").exists() && !site.world.path("output/.edge").exists());
        assert!(site.world.path("output/edge/current").exists(), "trees stay");
    })
    .join()
    .unwrap();
}

#[test]
fn a_time_limit_names_what_is_late_and_ends_with_8() {
    thread::spawn(|| {
        let (_network, _idle) = network();
        let site = site();
        let late = site.run(&["cluster", "init", "--ipxe-dir", "ipxe", "--timeout", "3s"]);
        assert_eq!(late.code, Some(8), "{}", late.stderr);
        for words in [
            "waiting for the API server",
            "c1 (52:54:00:77:00:11) was never seen",
            "the same command goes on",
        ] {
            assert!(late.stderr.contains(words), "{words}: {}", late.stderr);
        }
    })
    .join()
    .unwrap();
}

/// Has this thread's network reach an API server on its loopback at the cluster's shared address.
fn share(cluster: &Cluster) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let added = ["addr", "add", "10.77.0.5/32", "dev", "lo"];
    assert!(Command::new("ip").args(added).env("PATH", path).status().unwrap().success());
    let behind = cluster.url().replace("https://", "");
    let door = TcpListener::bind("10.77.0.5:6443").unwrap();
    thread::spawn(move || {
        for near in door.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(&behind) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
}

/// Nodes that are Ready say nothing of add-ons: only a run that came to its end is not gone on with.
#[test]
fn a_kill_after_the_api_server_answers_costs_nothing_and_a_complete_cluster_is_left_alone() {
    let Some(programs) = judges::build("kubernetes") else { return };
    debian("etcd-server").unwrap();
    thread::spawn(move || {
        let (_network, _idle) = network();
        let site = site();
        // A label that w1's kubelet may not give itself.
        let label = "memory: 4GiB, labels: {node-role.kubernetes.io/worker: \"\"}}";
        site.world.edit("cluster.yaml", "memory: 4GiB}", label);
        site.run(&["cluster", "generate"]).ok();
        let keys = site.world.path("output/.edge/pki");
        let mut cluster =
            Cluster::start_with(&programs, &site.world.path("control-plane"), Some(&keys)).unwrap();
        // It would set nodes without a kubelet aside.
        cluster.end("kube-controller-manager");
        cluster.kubectl(&["delete", "node", "control"]).unwrap();
        share(&cluster);

        let init = Init::start(&site, &[]);
        init.step("nodes");
        init.kill();
        let steps = record(&site)["steps"].clone();
        assert!(steps["power"]["ended"].is_string() && steps["nodes"]["ended"].is_null(), "{steps}");

        // A teardown takes the right to join, and whoever is awaited gets it back.
        let bindings = ["kubeadm:kubelet-bootstrap", "kubeadm:node-autoapprove-bootstrap"];
        let rights = |cluster: &Cluster| {
            bindings.map(|name| {
                let path = "jsonpath={.roleRef} {.subjects}";
                cluster.kubectl(&["get", "clusterrolebinding", name, "-o", path]).unwrap()
            })
        };
        let of_kubeadm = rights(&cluster);
        cluster.kubectl(&[&["delete", "clusterrolebinding"][..], &bindings].concat()).unwrap();
        api::create(&cluster, "c1");
        let init = Init::start(&site, &[]);
        init.hears(|news| news["text"].as_str().is_some_and(|text| text.contains("can join again")));
        assert_eq!(rights(&cluster), of_kubeadm);
        cluster.kubectl(&["delete", "node", "c1"]).unwrap();
        for name in ["c1", "c2", "c3", "w1", "w2"] {
            api::create(&cluster, name);
            api::ready(&cluster, name);
        }
        init.step("settle");
        init.kill();
        let label = ["get", "node", "w1", "-o", "jsonpath={.metadata.labels}"];
        let labels = cluster.kubectl(&label).unwrap();
        assert!(labels.contains("node-role.kubernetes.io/worker"), "{labels}");

        // All nodes are Ready, and yet it goes on: nobody knows that all add-ons were there.
        let mut init = Init::start(&site, &[]);
        init.step("settle");
        let status: Value = serde_json::from_str(&get("10.77.0.1:8080", "/status", "").text()).unwrap();
        assert_eq!(status["cluster"]["nodes"]["ready"], 5, "{status}");
        assert!(status["cluster"]["ask"].is_null(), "machines that are Ready have power: {status}");
        let done = init.hears(|news| news["news"] == "ready");
        assert_eq!(done["nodes"], 5);
        assert_eq!(init.child.wait().unwrap().code(), Some(0));

        let again = site.run(&["cluster", "init", "--json", "--ipxe-dir", "ipxe"]).ok();
        let news: Vec<Value> = again.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(news.len(), 1, "it takes no step: {news:?}");
        assert_eq!(news[0]["news"], "ready");
        drop(cluster);
    })
    .join()
    .unwrap();
}
