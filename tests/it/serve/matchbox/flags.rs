//! Matchbox's flags and variables are understood, and what makes no sense is said so.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::{Directory, Served, ended};
use crate::world::http::get;

fn prebake(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.arg("serve").args(args);
    command
}

#[test]
fn matchbox_flags_with_one_dash_or_two_serve_what_they_would_there() {
    let directory = Directory::new();
    directory.write("files/a.txt", "asset");
    let (data, assets) = (directory.path(""), directory.path("files"));
    let (data, assets) = (data.to_str().unwrap(), assets.to_str().unwrap());
    let lines: [&[&str]; 3] = [
        &["-address", "127.0.0.1:0", "-data-path", data, "-assets-path", assets, "-log-level", "info"],
        &["-address=127.0.0.1:0", "--data-path", data, &format!("-assets-path={assets}"), "-log-level=debug"],
        &[
            "--address",
            "127.0.0.1:0",
            "--matchbox",
            data,
            "--assets-path",
            assets,
            "-rpc-address=",
            "-cert-file=absent",
        ],
    ];
    for line in lines {
        let served = Served::started(prebake(line));
        served.answers("/ipxe", 200, "#!ipxe\nkernel k\nboot\n");
        served.answers("/assets/a.txt", 200, "asset");
    }
}

#[test]
fn the_environment_is_heard_where_no_flag_speaks_and_an_empty_variable_is_none() {
    let (directory, other) = (Directory::new(), Directory::empty());
    directory.write("assets/a.txt", "asset");
    let mut command = prebake(&[]);
    command.env("MATCHBOX_ADDRESS", "127.0.0.1:0").env("MATCHBOX_DATA_PATH", directory.path(""));
    if !Path::new("/var/lib/matchbox/assets").exists() {
        let served = Served::started(command);
        served.answers("/assets/a.txt", 200, "asset");
        let told = "/var/lib/matchbox/assets, Matchbox's own, is not there";
        assert!(served.server.log.iter().any(|line| line.contains(told)), "{:?}", served.server.log);
    }
    let mut command =
        prebake(&["--address", "127.0.0.1:0", "--matchbox", directory.path("").to_str().unwrap()]);
    command.env("MATCHBOX_ADDRESS", "nowhere").env("MATCHBOX_DATA_PATH", other.path(""));
    command.env("MATCHBOX_ASSETS_PATH", "");
    let served = Served::started(command);
    served.answers("/ipxe", 200, "#!ipxe\nkernel k\nboot\n");
    served.answers("/assets/a.txt", 200, "asset");
    let served = directory.serve_with(&["--assets-path", ""]);
    served.lacks("/assets/a.txt");
}

#[test]
fn a_quiet_log_has_warnings_and_no_requests() {
    let directory = Directory::new();
    let mut served = directory.serve_with(&["-log-level", "warning"]);
    served.answers("/ipxe", 200, "#!ipxe\nkernel k\nboot\n");
    directory.write("groups/broken.json", "{");
    get(&served.address, "/ipxe", "");
    served.server.says("groups/broken.json");
    assert!(!served.server.log.iter().any(|line| line.contains("GET /ipxe")), "{:?}", served.server.log);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_with_the_way_out() {
    let directory = Directory::new();
    let data = directory.path("");
    let data = data.to_str().unwrap();
    let run = |args: &[&str]| ended(&[&["serve"], args].concat());
    let absent = directory.path("absent");
    let absent = absent.to_str().unwrap();
    let refusal = format!("{absent} is not a readable directory");
    run(&[]).fails(2, &["no tree, bundle or data directory was given", "--matchbox DIR"]);
    run(&["tree", "--matchbox", data]).fails(2, &["cannot be used with"]);
    run(&["tree", "--assets-path", data])
        .fails(2, &["--assets-path is for a Matchbox data directory", "tree is none"]);
    run(&["tree", "--strict"]).fails(2, &["--strict is for a Matchbox data directory", "--matchbox DIR"]);
    directory.write("key.pem", "no certificate\n");
    let key = directory.path("key.pem");
    let key = key.to_str().unwrap();
    let swapped = ["--address", "127.0.0.1:0", "--tls-only", "--tls-cert", key, "--tls-key", key];
    run(&[&["--matchbox", data][..], &swapped].concat())
        .fails(5, &["--tls-cert and --tls-key name it", "--tls-key for its key"]);
    run(&["--matchbox", data, "-log-level", "critical"]).fails(2, &["critical"]);
    run(&["--address", "127.0.0.1:0", "--matchbox", absent]).fails(1, &[&refusal]);
    let no_assets = ["--address", "127.0.0.1:0", "--matchbox", data, "--assets-path", absent];
    run(&no_assets).fails(1, &[&refusal, "--assets-path ''"]);
    run(&[data]).fails(2, &["is no tree, but a Matchbox data directory", "serve it with --matchbox "]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let whose = format!("(process {}) has this port: stop it first", std::process::id());
    let of_another = [&*whose, "choose another with --address"];
    run(&["--address", &taken, "--matchbox", data]).fails(1, &of_another);
    let version = run(&["-version"]).ok();
    assert!(version.stdout.starts_with("prebake "), "{}", version.stdout);
}

#[test]
fn flags_of_grpc_that_do_nothing_are_told() {
    let directory = Directory::new();
    let served = directory.serve_with(&["-cert-file", "absent", "--lenient"]);
    let told = "warning: -cert-file and others do nothing without --rpc-address HOST:PORT";
    assert!(served.server.log.iter().any(|line| line.contains(told)), "{:?}", served.server.log);
}

#[test]
fn a_command_line_of_matchbox_means_its_own_directory() {
    if Path::new("/var/lib/matchbox").exists() {
        eprintln!("skipped: this machine has Matchbox's own directory");
        return;
    }
    let words = [
        "/var/lib/matchbox, which -log-level stands for, is not there",
        "--matchbox DIR or MATCHBOX_DATA_PATH",
    ];
    ended(&["serve", "-log-level=debug", "--address", "127.0.0.1:0"]).fails(2, &words);
    let words = ["no tree, bundle or data directory was given", "--matchbox DIR"];
    ended(&["serve", "--log-level=debug", "--address", "127.0.0.1:0"]).fails(2, &words);
}
