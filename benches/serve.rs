//! The server against nginx and real Matchbox on the same files, and a storm of machines over one link.
//!
//! `cargo bench --bench serve -- large` runs one race alone: large, small, groups, idle, storm.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::BufReader;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

#[path = "serve/client.rs"]
mod client;
#[path = "serve/link.rs"]
mod link;
#[path = "serve/peers.rs"]
mod peers;
mod race;
#[path = "../tests/it/world/tree.rs"]
mod tree;

use client::{get, load};
use link::Link;
use peers::Peer;
use race::Race;
use tree::{Tree, mac};

const ROUNDS: usize = 5;
const GIB: u64 = 1 << 30;
/// The link of the storm, what each machine loads over it, and how many machines there are.
const LINK: u64 = 400_000_000;
const INITRD: u64 = 16 << 20;
const NODES: u8 = 64;
/// The machines of a storm: `--storm HOST:PORT`, at the clients' end of the link.
const STORM: &str = "--storm";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [first, address] = &args[..]
        && first == STORM
    {
        return machines(address);
    }
    let wanted = |name: &str| args.iter().all(|arg| arg == name);
    if wanted("large") {
        let tree = Tree::new().file("assets/large", &race::noise(GIB)).publish();
        large(&tree, 1);
        large(&tree, 4);
    }
    if wanted("small") {
        small();
    }
    if wanted("groups") {
        [10, 200, 2_000, 10_000].into_iter().for_each(groups);
    }
    if wanted("idle") {
        idle();
    }
    if wanted("storm") {
        storm();
    }
}

/// Our server, nginx and Matchbox on a tree.
fn peers(tree: &Tree, work: &Path) -> Vec<(&'static str, Peer)> {
    let mut peers = vec![("prebake", Peer::prebake(tree.path(), &[], &work.join("log")))];
    peers.extend(Peer::matchbox(tree.path(), &[]).map(|peer| ("matchbox", peer)));
    peers.push(("nginx, sendfile", Peer::nginx(tree.path(), work)));
    peers
}

/// A file of 1 GiB, by so many clients at once.
fn large(tree: &Tree, clients: u32) {
    let work = tempfile::tempdir().unwrap();
    let peers = peers(tree, work.path());
    let mut time = Race::new(format!("1 GiB to each of {clients} clients"));
    let mut cpu = Race::new(format!("CPU seconds per GiB, {clients} clients"));
    for _ in 0..ROUNDS {
        for (name, peer) in &peers {
            let before = peer.cpu();
            time.turn(name, || {
                thread::scope(|scope| {
                    for _ in 0..clients {
                        let stream = TcpStream::connect(&peer.address).unwrap();
                        scope.spawn(|| assert_eq!(load(stream, "/assets/large"), GIB));
                    }
                });
            });
            cpu.took(name, (peer.cpu() - before) / clients);
        }
    }
    time.finish();
    cpu.finish();
}

/// A file of 4 KiB, over and over on 16 connections, by wrk.
fn small() {
    const SECONDS: u64 = 4;
    let work = tempfile::tempdir().unwrap();
    let tree = Tree::new().file("assets/small", &race::noise(4096)).publish();
    let peers = peers(&tree, work.path());
    let mut time = Race::new("100,000 files of 4 KiB");
    let mut cpu = Race::new("CPU seconds per 100,000 files of 4 KiB");
    for _ in 0..ROUNDS {
        for (name, peer) in &peers {
            let url = format!("http://{}/assets/small", peer.address);
            let before = peer.cpu();
            let output =
                Command::new("wrk").args(["-t1", "-c16", &format!("-d{SECONDS}s"), &url]).output().unwrap();
            let used = peer.cpu() - before;
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(!text.contains("Non-2xx"), "{name}: {text}");
            let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).unwrap();
            let rate: f64 = rate.trim().parse().unwrap();
            time.took(name, Duration::from_secs_f64(100_000.0 / rate));
            cpu.took(name, used.mul_f64(100_000.0 / rate / SECONDS as f64));
        }
    }
    time.finish();
    cpu.finish();
}

/// Boot scripts and configs where so many groups may match; times are of one request.
fn groups(count: u32) {
    let work = tempfile::tempdir().unwrap();
    // Matchbox insists on a directory of assets.
    let tree = Tree::new().groups(count).file("assets/none", b"").publish();
    let ours = Peer::prebake(tree.path(), &[], &work.path().join("log"));
    let Some(theirs) = Peer::matchbox(tree.path(), &[]) else {
        println!("Matchbox cannot be built here, so nobody raced it over {count} groups");
        return;
    };
    for target in ["ipxe", "ignition"] {
        let mut race = Race::new(format!("one /{target} of {count} groups"));
        for _ in 0..ROUNDS {
            // Matchbox reads all groups for each request.
            for (name, peer, requests) in
                [("prebake", &ours, 2_000), ("matchbox", &theirs, 20_000 / count.clamp(20, 2_000))]
            {
                let mut input = BufReader::new(TcpStream::connect(&peer.address).unwrap());
                let started = Instant::now();
                for request in 0..requests {
                    let mac = mac(request * 7919 % count).replace(':', "-");
                    assert!(!get(&mut input, &format!("/{target}?mac={mac}")).is_empty());
                }
                race.took(name, started.elapsed() / requests);
            }
        }
        race.finish();
    }
}

/// What a server costs that does nothing yet, with 10,000 groups.
fn idle() {
    let work = tempfile::tempdir().unwrap();
    let tree = Tree::new().groups(10_000).publish();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let ours = Peer::prebake(tree.path(), &[], &work.path().join("log"));
        let mut input = BufReader::new(TcpStream::connect(&ours.address).unwrap());
        get(&mut input, "/ipxe?mac=52-54-00-00-00-01");
        println!("10,000 groups, idle: {} KiB, first answer after {:.1?}", ours.memory(), started.elapsed());
    }
}

/// 64 machines load an initrd over one link. A lower bound is what the link carries, heads of packets included.
fn storm() {
    let tree = Tree::new().file("assets/initrd", &race::noise(INITRD)).publish();
    // Of each frame of 1514 bytes 1448 are a TCP segment's: Ethernet 14, IPv4 20, TCP with timestamps 32.
    let bytes = (u64::from(NODES) * INITRD) as f64 * 1514.0 / 1448.0;
    let bound = Duration::from_secs_f64(bytes * 8.0 / LINK as f64);
    for cap in [None, Some("380Mbit")] {
        for _ in 0..3 {
            let link = Link::lay(LINK, NODES);
            let mut server = link.near(env!("CARGO_BIN_EXE_prebake"));
            server.args(["serve", "--address", "10.99.0.1:8080"]).arg(tree.path());
            server.args(cap.iter().flat_map(|cap| ["--bandwidth", cap])).stderr(std::process::Stdio::null());
            let mut server = server.spawn().unwrap();
            let this = std::env::current_exe().unwrap();
            let output = link.far(this.to_str().unwrap()).args([STORM, "10.99.0.1:8080"]).output().unwrap();
            server.kill().unwrap();
            server.wait().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let mut seconds: Vec<f64> = text.lines().map(|line| line.parse().unwrap()).collect();
            assert_eq!(seconds.len(), usize::from(NODES), "{}", String::from_utf8_lossy(&output.stderr));
            seconds.sort_by(f64::total_cmp);
            let (first, last) = (seconds[0], seconds[seconds.len() - 1]);
            println!(
                "a storm of {NODES} machines, {} MiB each, {} Mbit, cap {}: {last:.2} s, {:.3}× the link's bound; spread {:.1} %",
                INITRD >> 20,
                LINK / 1_000_000,
                cap.unwrap_or("none"),
                last / bound.as_secs_f64(),
                (last - first) / last * 100.0,
            );
            keep(cap, bound, &seconds);
        }
    }
}

/// Keeps the times of a storm beside those of the races.
fn keep(cap: Option<&str>, bound: Duration, seconds: &[f64]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/races");
    fs::create_dir_all(&directory).unwrap();
    let json = serde_json::json!({"bound": bound.as_secs_f64(), "seconds": seconds});
    let path = directory.join(format!("storm-{}.json", cap.unwrap_or("free")));
    fs::write(path, serde_json::to_vec_pretty(&json).unwrap()).unwrap();
}

/// Each machine loads the initrd; its seconds are printed.
fn machines(address: &str) {
    let server: SocketAddr = address.parse().unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        for node in 1..=NODES {
            scope.spawn(move || {
                let stream = connect(node, server);
                assert_eq!(load(stream, "/assets/initrd"), INITRD);
                println!("{}", started.elapsed().as_secs_f64());
            });
        }
    });
}

/// Connects from a machine's own address, once the server listens.
fn connect(node: u8, server: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    loop {
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&stream, &SocketAddr::from(([10, 99, 1, node], 0))).unwrap();
        if connect(&stream, &server).is_ok() {
            return TcpStream::from(stream);
        }
        thread::sleep(Duration::from_millis(5));
    }
}
