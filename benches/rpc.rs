//! Matchbox's gRPC API against real Matchbox: what Terraform puts and reads for 200 nodes, by Matchbox's own client library, and by
//! Terraform.
//!
//! `cargo bench --bench rpc -- library` runs one race alone: library, terraform. Data directories are made in `TMPDIR`: each put of
//! ours is on the disk when it is confirmed, each of Matchbox's in memory, so that a directory in memory (`TMPDIR=/dev/shm`) tells
//! how much of a difference that is.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

#[path = "serve/peers.rs"]
mod peers;
mod race;
#[path = "../tests/it/serve/rpc/request.rs"]
mod request;
#[path = "../tests/it/serve/rpc/script.rs"]
mod script;
#[path = "../tests/it/serve/rpc/site.rs"]
mod site;
#[path = "../tests/it/judges/terraform.rs"]
mod terraform;

use peers::{Peer, built, free_address};
use race::Race;
use script::{Script, client};
use site::{Certificates, bench, each, puts};
use terraform::{Module, Terraform};

const ROUNDS: usize = 3;
const NODES: usize = 200;
/// Calls at once: one client, and as many as Terraform makes by itself.
const CLIENTS: [usize; 2] = [1, 10];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wanted = |name: &str| args.iter().all(|arg| arg == name);
    let Some(programs) = built("matchbox") else {
        println!("Matchbox cannot be built here, so nobody raced it");
        return;
    };
    let certificates = Certificates::new();
    if wanted("library") {
        CLIENTS.into_iter().for_each(|clients| library(&programs, &certificates, clients));
    }
    if wanted("terraform") {
        match built("terraform") {
            Some(programs) => apply(&Terraform::of(&programs), &certificates),
            None => println!("Terraform cannot be built here, so it was no part of the race"),
        }
    }
}

/// A server on a data directory of its own.
struct Site {
    name: &'static str,
    peer: Peer,
    rpc: String,
    _data: TempDir,
}

/// Ours and Matchbox.
fn sites(certificates: &Certificates) -> [Site; 2] {
    ["prebake", "matchbox"].map(|name| {
        let (data, rpc) = (tempfile::tempdir().unwrap(), free_address());
        // Matchbox insists on a directory of assets.
        fs::create_dir(data.path().join("assets")).unwrap();
        let flags = certificates.flags();
        let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        flags.extend(["-rpc-address", &rpc]);
        let peer = match name {
            "matchbox" => Peer::matchbox(data.path(), &flags).unwrap(),
            _ => {
                flags.extend(["--log-level", "warn", "--matchbox"]);
                Peer::prebake(data.path(), &flags, &data.path().join("assets/log"))
            }
        };
        while TcpStream::connect(&rpc).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        Site { name, peer, rpc, _data: data }
    })
}

/// All puts, the same again over what is there, the reads of a plan, and all deletes, by so many clients at once.
fn library(programs: &Path, certificates: &Certificates, clients: usize) {
    let scripts = |calls: &dyn Fn(usize) -> Vec<Value>| -> Vec<Script> {
        let of = |first| (first..NODES).step_by(clients).flat_map(calls).collect::<Vec<Value>>();
        (0..clients).map(|first| Script::new(&of(first))).collect()
    };
    let turns = [
        ("puts", scripts(&|node| puts(node, "one"))),
        ("puts over others", scripts(&|node| puts(node, "two"))),
        ("reads", scripts(&|node| each("Get", node))),
        ("deletes", scripts(&|node| each("Delete", node))),
    ];
    let sites = sites(certificates);
    let races = |what: &str| {
        turns.each_ref().map(|(name, _)| {
            let by = if clients == 1 { "one client".into() } else { format!("{clients} clients at once") };
            Race::new(format!("{name} of {NODES} nodes by {by}{what}"))
        })
    };
    let (mut times, mut costs) = (races(""), races(": CPU seconds of the server"));
    for _ in 0..ROUNDS {
        for Site { name, peer, rpc, .. } in &sites {
            for (((_, scripts), time), cost) in turns.iter().zip(&mut times).zip(&mut costs) {
                let before = peer.cpu();
                time.turn(name, || {
                    let client = || client(programs, rpc, &certificates.path(""));
                    let players = scripts.iter().map(|script| script.played(client()).spawn().unwrap());
                    let players: Vec<Child> = players.collect();
                    players.into_iter().for_each(|mut player| assert!(player.wait().unwrap().success()));
                });
                cost.took(name, peer.cpu() - before);
                scripts.iter().for_each(Script::went_well);
            }
        }
    }
    for (time, cost) in times.into_iter().zip(costs) {
        time.finish();
        cost.finish();
    }
}

/// Terraform's run over a bench, from nothing, and its plan of it: once each, since nearly all of it is Terraform's own time.
fn apply(terraform: &Terraform, certificates: &Certificates) {
    let mut applied = Race::new(format!("terraform apply of {NODES} nodes"));
    let mut planned = Race::new(format!("terraform plan of {NODES} nodes"));
    for site in sites(certificates) {
        let module = Module::new(terraform, &certificates.provider(&site.rpc), &bench(NODES, "race"));
        let run = |race: &mut Race, args: &[&str]| race.program(site.name, &module.command(args));
        run(&mut applied, &["apply", "-auto-approve", "-input=false"]);
        run(&mut planned, &["plan", "-detailed-exitcode", "-input=false"]);
    }
    applied.finish();
    planned.finish();
}
