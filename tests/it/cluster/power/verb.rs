//! `prebake cluster power` itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::bmc::{Bmc, MAC, Manners, PASSWORD, USER};
use crate::world::Run;

fn power(directory: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["cluster", "power"]).args(args).current_dir(directory).env("BMC_PASSWORD", PASSWORD);
    Run::of(command.output().unwrap())
}

/// A node with a BMC, one with a program beside the description, and one with neither.
fn described(directory: &Path, bmc: &Bmc, secret: &str) {
    let program = directory.join("power.sh");
    let text = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $2 in on|off) echo $2 >w1.power;; status) cat w1.power 2>/dev/null || echo off;; *) exit 1;; esac\n";
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host";
    let text = format!(
        "cluster:\n  name: lab\n  k8s_version: 1.33.13\n  flatcar_version: 4593.2.5\n  pod_subnet: 10.244.0.0/16\n  service_subnet: 10.96.0.0/12\n  \
         ssh_authorized_key: {key}\nbootstrap: {{ip: 10.77.0.1}}\nnodes:\n  \
         - {{name: c1, ip: 10.77.0.11, mac: '{MAC}', role: controller, state: /dev/disk/by-id/virtio-s, bmc: {{redfish: '{}', user: {USER}, password: {secret}}}}}\n  \
         - {{name: w1, ip: 10.77.0.21, mac: '52:54:00:77:00:21', role: worker, power: {{command: [./power.sh, w1]}}}}\n  \
         - {{name: w2, ip: 10.77.0.22, mac: '52:54:00:77:00:22', role: worker}}\n",
        bmc.url()
    );
    fs::write(directory.join("cluster.yaml"), text).unwrap();
}

#[test]
fn machines_are_switched_by_name_or_all_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let bmc = Bmc::start(Manners::default());
    described(directory.path(), &bmc, "{env: BMC_PASSWORD}");
    let told = power(directory.path(), &["status"]).ok();
    let rows: Vec<Vec<&str>> = told.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[1..],
        [["c1", "off", "as", "it", "was"], ["w1", "off", "as", "it", "was"]],
        "{}",
        told.stdout
    );
    power(directory.path(), &["on", "w1"]).ok();
    assert!(!bmc.is_on());
    let told = power(directory.path(), &["on", "--json"]).ok();
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let row =
        |node: &str, changed: bool| json!({"node": node, "state": "on", "changed": changed, "boot": null});
    assert_eq!(told["nodes"], json!([row("c1", true), row("w1", false)]));
    power(directory.path(), &["cycle", "c1"]).ok();
    assert_eq!(bmc.sent("POST"), [json!({"ResetType": "On"}), json!({"ResetType": "ForceRestart"})]);
    power(directory.path(), &["off"]).ok();
    assert!(!bmc.is_on());
}

// Paths were joined to a relative directory twice, and to an empty one not at all.
#[test]
fn programs_and_passwords_lie_beside_the_description_wherever_prebake_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("site");
    fs::create_dir(&site).unwrap();
    let bmc = Bmc::start(Manners::default());
    described(&site, &bmc, "{file: password}");
    let file = site.join("password");
    fs::write(&file, PASSWORD).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for (from, path) in [
        (directory.path(), "site/cluster.yaml"),
        (directory.path(), "./site/../site/cluster.yaml"),
        (site.as_path(), "cluster.yaml"),
        (site.as_path(), "./cluster.yaml"),
        (Path::new("/"), site.join("cluster.yaml").to_str().unwrap()),
    ] {
        let told = power(from, &["status", "--cluster", path]).ok();
        assert_eq!(told.stdout.matches("as it was").count(), 2, "{path}: {}", told.stdout);
    }
}

#[test]
fn what_fails_is_told_with_its_way_out_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let bmc = Bmc::start(Manners { challenges: true, repeats: true, ..Manners::default() });
    let file = directory.path().join("password");
    fs::write(&file, "falsch-und-lang\n").unwrap();
    described(directory.path(), &bmc, "{file: password}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let told = power(directory.path(), &["status"]);
    assert!(
        told.code == Some(1) && told.stderr.contains("others can read") && told.stderr.contains("chmod 600"),
        "{}",
        told.stderr
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for args in [&["status"][..], &["on", "--json"]] {
        let told = power(directory.path(), args);
        let all = told.stdout.clone() + &told.stderr;
        assert!(told.code == Some(5) && all.contains("does not let `admin` in"), "{:?} {all}", told.code);
        assert!(!all.contains("falsch") && all.contains("w1"), "{all}");
    }
    let told = power(directory.path(), &["on", "w2"]);
    assert!(
        told.code == Some(2) && told.stderr.contains("w2: its description has neither"),
        "{}",
        told.stderr
    );
    let told = power(directory.path(), &["off", "w3"]);
    assert!(told.code == Some(2) && told.stderr.contains("no node `w3`"), "{}", told.stderr);
}

/// A cluster that was formed, and whose API server does not answer: nobody knows whose power may go.
#[test]
fn power_stays_where_nobody_tells_which_nodes_are_ready() {
    let directory = tempfile::tempdir().unwrap();
    let bmc = Bmc::start(Manners { on: true, ..Manners::default() });
    described(directory.path(), &bmc, "{env: BMC_PASSWORD}");
    power(directory.path(), &["cycle", "c1"]).ok();
    fs::create_dir_all(directory.path().join("output/.lab")).unwrap();
    let record = r#"{"schema": 1, "cluster": "lab", "steps": {"nodes": {"began": "x", "ended": "y"}}}"#;
    fs::write(directory.path().join("output/.lab/state.json"), record).unwrap();
    let told = power(directory.path(), &["cycle", "c1"]);
    assert!(told.code == Some(6) && told.stderr.contains("--force"), "{:?} {}", told.code, told.stderr);
    assert_eq!(bmc.sent("POST").len(), 1);
    power(directory.path(), &["cycle", "c1", "--force"]).ok();
    assert_eq!(bmc.sent("POST").len(), 2);
}
