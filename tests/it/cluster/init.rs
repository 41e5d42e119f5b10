//! `prebake cluster init` without machines: its server, its record, and what a kill, a second one and a teardown make of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::generate::Site;
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
            assert!(record(&site)["steps"].is_object(), "the record is whole after a kill at {step}");
        }
        let init = Init::start(&site, &["--keep-serving"]);
        let ask = init.hears(|news| news["news"] == "ask");
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
        let status: Value = serde_json::from_str(&get("10.77.0.1:8080", "/status", "").text()).unwrap();
        assert_eq!(status["cluster"]["name"], "edge", "{status}");
        assert_eq!(status["cluster"]["nodes"]["total"], 5);

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
