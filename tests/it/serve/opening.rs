//! The first lines of a server, and what it refuses or warns about at its start.

use std::fs;

use crate::lab::network::{ADDRESS, Network};
use crate::world::World;
use crate::world::http::{Server, get};

/// A server's lines until it answers and has said what is wrong.
fn opening(world: &World, address: &str, flags: &[&str]) -> Vec<String> {
    let args = [&["serve", "output/small/current", "--address", address], flags].concat();
    let mut server = Server::start(&mut world.command(&args));
    server.says("serving ");
    server.terminate();
    server.wait();
    server.end().lines().map(str::to_owned).collect()
}

fn at(lines: &[String], words: &str) -> usize {
    lines.iter().position(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?} in {lines:#?}"))
}

/// ux.md 1.14, 2026-11-28: the first line was `confined: …`, the status page and the DHCP boot file were in none, and the loopback
/// was no cause for a warning.
#[test]
fn a_server_says_first_where_it_is_found_then_what_it_serves_then_what_is_wrong() {
    let world = World::new();
    world.build();
    let lines = opening(&world, "127.0.0.1:0", &["--max-boots", "1"]);
    assert!(lines[0].starts_with("page http://127.0.0.1:") && lines[0].ends_with('/'), "{lines:#?}");
    assert!(lines[1].starts_with("DHCP boot file http://127.0.0.1:"), "{lines:#?}");
    assert!(lines[1].ends_with("/boot.ipxe"), "{lines:#?}");
    let serving = at(&lines, "serving ");
    assert!(at(&lines, "warning: no machine reaches the loopback address") > serving, "{lines:#?}");
    assert!(at(&lines, "--address") > serving && at(&lines, "confined") > serving, "{lines:#?}");
    // Wherever it listens, an address is named that is one of this machine's.
    for address in ["0.0.0.0:0", "[::]:0", "http://0.0.0.0:0/", "0"] {
        let lines = opening(&world, address, &[]);
        assert!(lines[0].starts_with("page http://") && !lines[0].contains("0.0.0.0"), "{lines:#?}");
        assert!(!lines[0].contains("[::]") && lines[1].starts_with("DHCP boot file http://"), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("loopback")), "{lines:#?}");
    }
}

/// Review of issue 17: --quiet silenced the lines of text, but not those of JSON. A server's log is its result.
#[test]
fn a_quiet_server_keeps_its_log_in_either_form_and_says_no_more() {
    let world = World::new();
    world.build();
    for format in ["text", "json"] {
        let args =
            ["-q", "serve", "output/small/current", "--address", "127.0.0.1:0", "--log-format", format];
        let mut server = Server::start(&mut world.command(&args));
        let listening = server.says("listening on http://");
        let address = listening.split("http://").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert_eq!(get(&address, "/ipxe?mac=52:54:00:00:00:01", "").status, 200);
        server.says("/ipxe");
        server.terminate();
        server.wait();
        let all = server.end();
        assert!(!all.contains("no machine reaches the loopback") && !all.contains("confined"), "{all}");
    }
}

#[test]
fn a_build_names_an_address_that_machines_reach() {
    let world = World::new();
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    let next = run.stdout.lines().find(|line| line.contains("next")).unwrap().to_owned();
    let address = next.split("--address ").nth(1).unwrap_or_else(|| panic!("{next}"));
    assert!(address.ends_with(":8080") && !address.starts_with("127."), "{next}");
    // The command is one that runs, but for the port.
    let words = next.split_whitespace().skip(2).map(|word| word.replace(":8080", ":0"));
    let words: Vec<String> = words.collect();
    let mut server = Server::start(&mut world.command(&words.iter().map(String::as_str).collect::<Vec<_>>()));
    server.says("serving ");
}

/// ux.md 1.19: told at the first change, or never.
#[test]
fn what_cannot_be_meant_is_told_at_the_start() {
    let world = World::new();
    world.build();
    let serve = |flags: &[&str]| {
        world.prebake(&[&["serve", "output/small/current", "--address", "127.0.0.1:0"], flags].concat())
    };
    // Review of issue 17, 4: it was served as plain HTTP.
    let serve_at = |address: &str| world.prebake(&["serve", "output/small/current", "--address", address]);
    serve_at("https://127.0.0.1:0").fails(2, &["cannot listen on https://127.0.0.1:0", "--tls-address"]);
    serve(&["--bandwidth", "10"]).fails(2, &["`10` has no unit", "10Mbit"]);
    serve(&["--max-boots", "0"]).fails(2, &["a number from 1 on is required"]);
    serve(&["--state", "nowhere/state.json"]).fails(1, &["nowhere/state.json"]);
    // Nobody may write there, root included.
    serve(&["--state", "/proc/state.json"]).fails(1, &["cannot write the state file in /proc"]);
    fs::create_dir(world.path("empty")).unwrap();
    let mut command = world.command(&["serve", "--matchbox", "empty", "--address", "127.0.0.1:0"]);
    let mut server = Server::start(&mut command);
    server.says("warning: groups/: there is no such folder, so no machine gets an answer");
    server.terminate();
    server.wait();
    let create = [
        "bundle",
        "create",
        "output/small/current",
        "-o",
        "old.bundle",
        "--unsigned",
        "--expires",
        "2020-01-01",
    ];
    let run = world.prebake(&create).ok();
    assert!(run.stderr.contains("warning: the bundle expired already"), "{}", run.stderr);
}

/// A boot server without a default route, as in a rack of its own, ended with a panic behind its first lines.
#[test]
fn a_server_without_a_default_route_starts_and_names_the_address_of_its_network() {
    let world = World::new();
    world.build();
    let network = Network::new();
    let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
    command.args(["serve", "--address", "127.0.0.1:0"]).arg(world.path("output/small/current"));
    let mut server = Server::start(&mut command);
    let warning = server.says("no machine reaches the loopback address");
    assert!(warning.contains(&format!("--address {ADDRESS}:")), "{warning}");
    server.terminate();
    server.wait();
}
