//! Real Matchbox over every tree that we emit, beside our own server on the same tree.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use prebake::ignition::{Config, Spec};
use prebake::report::Source;
use serde_json::Value;

use super::build;
use crate::http::{Reply, Server, get};
use crate::vectors::plain;

/// Takes out of an answer what may differ.
type Plain = fn(&str) -> String;

/// Where our server differs on purpose: the path, what of the answer is put aside, and why.
const DIFFERENT: [(&str, Plain, &str); 4] = [
    ("/ipxe", without_url, "machines learn where to report to"),
    ("/grub", without_url, "the same"),
    (
        "/ignition",
        raised,
        "Matchbox writes the config anew at 3.4.0, we send the bytes that the manifest names",
    ),
    ("/metadata", sorted, "Matchbox's order is random"),
];

fn without_url(script: &str) -> String {
    let without = |line: &str| {
        let kept: Vec<&str> = line.split(' ').filter(|word| !word.starts_with("prebake.url=")).collect();
        kept.join(" ")
    };
    script.lines().map(without).collect::<Vec<_>>().join("\n")
}

fn raised(config: &str) -> String {
    let config = Config::parse(&Source::new("config.ign", config)).unwrap().config.raised(Spec::V3_4);
    plain(&serde_json::from_str(&config.to_json()).unwrap()).to_string()
}

fn sorted(lines: &str) -> String {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort();
    lines.join("\n")
}

/// Holds that both servers answer alike and as the tree says: every node in several spellings, and a machine nobody knows.
/// How many questions were asked of each; nothing where judges are skipped on purpose.
pub fn check_tree(tree: &Path) -> Option<usize> {
    let matchbox = build("matchbox")?.join("matchbox");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let theirs = format!("127.0.0.1:{port}");
    let mut judge = Server::start(
        Command::new(matchbox)
            .args(["-address", &theirs, "-log-level", "debug", "-data-path"])
            .arg(tree)
            .arg("-assets-path")
            .arg(tree.join("assets")),
    );
    judge.says("Starting matchbox HTTP server");
    while std::net::TcpStream::connect(&theirs).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut server = Server::start(
        Command::new(env!("CARGO_BIN_EXE_prebake")).args(["serve", "--address", "127.0.0.1:0"]).arg(tree),
    );
    let listening = server.says("listening on http://");
    let ours = listening.rsplit('/').next().unwrap().to_owned();

    let mut asked = 0;
    let mut both = |target: &str| {
        asked += 1;
        let (theirs, ours) = (get(&theirs, target, ""), get(&ours, target, ""));
        assert_eq!(ours.status, theirs.status, "{target}: {} but {}", ours.text(), theirs.text());
        if theirs.status == 200 {
            let path = target.split('?').next().unwrap();
            let plain = DIFFERENT.iter().find(|(known, ..)| *known == path).map(|(_, plain, _)| plain);
            match plain {
                Some(plain) => assert_eq!(plain(&ours.text()), plain(&theirs.text()), "{target}"),
                None => assert!(ours.body == theirs.body, "{target}: other bytes"),
            }
        }
        ours
    };

    both("/boot.ipxe");
    for group in documents(&tree.join("groups")) {
        for query in spellings(&group) {
            for endpoint in ["ipxe", "grub", "ignition", "metadata"] {
                let reply = both(&format!("/{endpoint}?{query}"));
                assert_eq!(reply.status, 200, "/{endpoint}?{query}: {}", reply.text());
                if endpoint == "ignition" {
                    check_config(&reply);
                }
            }
        }
    }
    for profile in documents(&tree.join("profiles")) {
        let config = fs::read(tree.join("ignition").join(profile["ignition_id"].as_str().unwrap())).unwrap();
        let boot = &profile["boot"];
        let initrds = boot["initrd"].as_array().unwrap().iter();
        for url in initrds.chain([&boot["kernel"]]).map(|url| url.as_str().unwrap()) {
            // iPXE's `--name NAME URL`.
            let url = url.rsplit(' ').next().unwrap();
            let reply = both(url);
            assert_eq!(reply.body, fs::read(tree.join(url.trim_start_matches('/'))).unwrap(), "{url}");
        }
        assert!(!config.is_empty());
    }
    let unknown = "mac=52-54-00-ff-ff-ff&uuid=00000000-0000-0000-0000-00000000ffff";
    for endpoint in ["ipxe", "ignition", "metadata"] {
        both(&format!("/{endpoint}?{unknown}"));
        both(&format!("/{endpoint}"));
    }

    let log = judge.end();
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.contains("level=warn") || line.contains("level=error")).collect();
    assert!(complaints.is_empty(), "Matchbox complains:\n{}", complaints.join("\n"));
    Some(asked)
}

/// Matchbox answers a config that it cannot read with an empty one.
fn check_config(reply: &Reply) {
    let config: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_ne!(config["ignition"]["version"], "", "Matchbox could not read the config");
}

fn documents(directory: &Path) -> Vec<Value> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
}

/// Queries of one machine: as the group has it, with the MAC as iPXE's `mac:hexhyp` and in upper case.
fn spellings(group: &Value) -> Vec<String> {
    let Some(selector) = group["selector"].as_object() else { return vec![String::new()] };
    let query = |spell: fn(&str) -> String| {
        let words = selector.iter().map(|(key, value)| {
            let value = value.as_str().unwrap();
            format!("{key}={}", if key == "mac" { spell(value) } else { value.to_owned() })
        });
        words.collect::<Vec<_>>().join("&")
    };
    vec![query(str::to_owned), query(|mac| mac.replace(':', "-")), query(|mac| mac.to_uppercase())]
}

#[test]
fn matchbox_serves_the_small_tree_as_we_do() {
    let world = crate::world::World::new();
    world.build();
    if let Some(asked) = check_tree(&world.path("output/small/current")) {
        // Two nodes in three spellings and the default, at four endpoints, and every file that they boot.
        assert!(asked > 30, "only {asked} questions were asked");
    }
}
