//! prebake is killed at each call, before it is done and after: the next run ends in the same state, with nothing left over.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::pve::{Pve, SECRET};
use crate::world::Run;

/// Longest that prebake takes to a call on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Calls of one upload: more than this would be a circle.
const MOST: u64 = 120;

/// Kills an upload at its call of a number; `false` if it had fewer calls.
fn kill(pve: &Pve, number: u64, when: &str, ticks: u64, signal: rustix::process::Signal) -> bool {
    pve.manners(&json!({"hold": [number, when], "ticks": ticks}));
    let mut command = pve.command(&[
        "proxmox",
        "upload",
        "node.qcow2",
        "--vm-id",
        "211",
        "--size",
        "40GiB",
        "--convert-to-template",
        "--fingerprint",
        &pve.fingerprint,
    ]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    loop {
        if pve.is_held() {
            break;
        }
        if let Some(status) = child.try_wait().unwrap() {
            let run = Run::of(child.wait_with_output().unwrap());
            assert!(status.success(), "{}", run.stderr);
            return false;
        }
        assert!(began.elapsed() < PATIENCE, "call {number} never came");
        thread::sleep(Duration::from_millis(5));
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, signal).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    assert!(!run.stderr.contains(SECRET));
    if signal == rustix::process::Signal::INT {
        assert_eq!(run.code, Some(130), "{}", run.stderr);
        assert!(run.stderr.contains("run the same command again"), "{}", run.stderr);
    }
    pve.manners(&json!({"release": true}));
    true
}

fn at_each_call(when: &str, ticks: u64, signal: rustix::process::Signal) {
    for number in 1..MOST {
        let Some(pve) = Pve::start() else { return };
        if !kill(&pve, number, when, ticks, signal) {
            assert!(number > 12, "an upload has more calls than {number}");
            return;
        }
        pve.manners(&json!({"ticks": ticks}));
        let run = pve.upload(&["--vm-id", "211", "--size", "40GiB", "--convert-to-template"]);
        assert_eq!(run.code, Some(0), "killed {when} call {number}: {}", run.stderr);
        pve.has_only("211");
        let disk = pve.state()["vms"]["211"]["config"]["scsi0"].as_str().unwrap().to_owned();
        assert!(disk.contains(":base-211-disk-") && disk.ends_with("size=40G"), "{disk}");
    }
    panic!("an upload of {MOST} calls");
}

#[test]
fn killed_before_any_call_is_done_the_next_run_ends_the_same() {
    at_each_call("before", 1, rustix::process::Signal::KILL);
}

#[test]
fn killed_after_any_call_was_done_the_next_run_ends_the_same() {
    at_each_call("after", 1, rustix::process::Signal::KILL);
}

/// Tasks of the killed run go on meanwhile, and a VM is locked as long as one makes it.
#[test]
fn interrupted_while_tasks_go_on_the_next_run_waits_for_them() {
    at_each_call("after", 3, rustix::process::Signal::INT);
}

/// Another build at the same id takes the place of one that was left unfinished, and of nothing else.
#[test]
fn a_half_made_vm_of_another_build_is_removed_and_a_finished_one_is_not() {
    let Some(pve) = Pve::start() else { return };
    // The call after the one that makes the VM.
    let at = (1..MOST).find(|number| {
        assert!(kill(&pve, *number, "after", 1, rustix::process::Signal::KILL));
        pve.settle();
        !pve.state()["vms"].as_object().unwrap().is_empty()
    });
    assert!(at.is_some());
    let other = super::pve::image_of("proxmoxve", "4593.2.4");
    std::fs::write(pve.directory.path().join("node.qcow2"), other).unwrap();
    let run = pve.upload(&["--vm-id", "211", "--convert-to-template"]).ok();
    assert!(run.stderr.contains("VM 211 is unfinished, of another build"), "{}", run.stderr);
    let described = pve.state()["vms"]["211"]["config"]["description"].as_str().unwrap().to_owned();
    assert!(described.contains("4593.2.4") && described.contains("finished"), "{described}");
    std::fs::write(pve.directory.path().join("node.qcow2"), &super::pve::image().0).unwrap();
    pve.upload(&["--vm-id", "211", "--convert-to-template"])
        .fails(1, &["is taken by the template `node` on pve of build"]);
}
