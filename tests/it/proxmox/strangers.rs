//! A stranger on the wire, a server that fails, and tasks that end badly or never.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::pve::{Pve, SECRET, TOKEN};
use crate::world::Run;

const TEMPLATE: [&str; 3] = ["--vm-id", "211", "--convert-to-template"];

#[test]
fn a_certificate_is_believed_by_its_authority_or_its_fingerprint_alone() {
    let Some(pve) = Pve::start() else { return };
    let with = |args: &[&str]| {
        let args = [&["proxmox", "upload", "node.qcow2", "--dry-run"], args].concat();
        Run::of(pve.command(&args).output().unwrap())
    };
    with(&["--fingerprint", &pve.fingerprint]).ok();
    with(&["--fingerprint", &pve.fingerprint.replace(':', "").to_lowercase()]).ok();
    with(&["--ca", "certificate.pem"]).ok();
    with(&[]).fails(5, &["is not trusted", "--ca", "--fingerprint", "pvenode cert info"]);
    let other = pve.fingerprint.replace(|letter: char| letter != ':', "0");
    with(&["--fingerprint", &other]).fails(5, &["not the one that was named", &pve.fingerprint]);
    with(&["--fingerprint", "AB:CD"]).fails(2, &["64 hex digits"]);
    fs::write(pve.directory.path().join("empty.pem"), "").unwrap();
    with(&["--ca", "empty.pem"]).fails(2, &["no PEM certificate"]);
    // Nothing of the token went to a server that was not believed.
    pve.manners(&json!({}));
    with(&[]).fails(5, &[]);
    assert_eq!(pve.state()["calls"], 0);
    let plain = pve.url.replace("https:", "http:");
    with(&["--url", &plain]).fails(2, &["not https", "clear text"]);
    with(&["--url", "https://u:geheim@127.0.0.1:1"]).fails(2, &["it has a user"]);
}

#[test]
fn a_server_that_is_no_proxmox_ve_is_told_from_one() {
    let Some(pve) = Pve::start() else { return };
    for (does, code, words) in [
        ("html", 1, &["502", "502 Bad Gateway", "not a proxy"][..]),
        ("portal", 1, &["the page “Log in to the hotel”"]),
        ("redirect", 5, &["leads to https://other.example:8006", "the token is not sent there"]),
        ("cut", 6, &["does not answer"]),
        ("hang up", 6, &["does not answer"]),
        ("endless", 1, &["larger than 16 MiB"]),
        ("401 invalid token value!", 5, &["does not accept the token", "invalid token value!"]),
        ("403 Permission check failed (/nodes/pve, Sys.Audit)", 1, &["may not", "Sys.Audit"]),
        (
            "596 tls_process_server_certificate: certificate verify failed",
            6,
            &["is not reached", "pvecm updatecerts"],
        ),
        ("500 no quorum", 1, &["no quorum"]),
        ("echo", 1, &["***"]),
    ] {
        let words: Vec<&str> = words.iter().copied().filter(|word| *word != "not a proxy").collect();
        pve.manners(&json!({"strange": [{"call": "GET /nodes", "does": does}]}));
        let run = pve.upload(&TEMPLATE);
        assert_eq!(run.code, Some(code), "{does}: {}", run.stderr);
        words.iter().for_each(|word| assert!(run.stderr.contains(word), "{does}: {}", run.stderr));
        let json = pve.upload(&[&TEMPLATE[..], &["--json"]].concat());
        assert!(!json.stdout.contains(SECRET) && json.stdout.contains("\"error\""), "{}", json.stdout);
        assert_eq!(pve.changes(), [""; 0], "{does}");
    }
    // A server that is busy for a moment.
    pve.manners(&json!({"strange": [{"call": "GET /nodes", "does": "503 busy", "times": 2}]}));
    pve.upload(&TEMPLATE).ok();
    pve.has_only("211");
}

#[test]
fn a_refusal_in_the_middle_of_the_upload_is_told_in_its_own_words() {
    let Some(pve) = Pve::start() else { return };
    for (call, does, code, words) in [
        (
            "POST .*upload",
            "403 Permission check failed (/storage/local, Datastore.AllocateTemplate)",
            1,
            "Datastore.AllocateTemplate",
        ),
        ("POST .*upload", "cut", 6, "does not answer"),
        ("POST /nodes/pve/qemu$", "500 got no worker upid - start worker failed", 1, "start worker failed"),
        ("POST /nodes/pve/qemu$", "portal", 1, "Log in to the hotel"),
        ("PUT .*config", "hang up", 6, "does not answer"),
    ] {
        pve.manners(&json!({"strange": [{"call": call, "does": does}]}));
        pve.upload(&TEMPLATE).fails(code, &[words]);
    }
    pve.manners(&json!({}));
    pve.upload(&TEMPLATE).ok();
    pve.has_only("211");
}

#[test]
fn a_task_that_fails_tells_its_exit_status_and_one_that_never_ends_a_limit() {
    let Some(pve) = Pve::start() else { return };
    pve.manners(&json!({"spoils": true}));
    pve.upload(&TEMPLATE).fails(1, &["checksum mismatch", "run the same command again"]);
    assert_eq!(pve.state()["storages"]["local"]["volumes"], json!({}));
    for (kind, words) in [
        ("qmcreate", "lvcreate 'pve/vm-211-disk-0' error: not enough free space"),
        ("qmtemplate", "lvrename failed"),
        ("imgdel", "unlink failed"),
    ] {
        pve.manners(&json!({"fails": {kind: words}}));
        let run = pve.upload(&TEMPLATE);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    pve.manners(&json!({}));
    pve.upload(&TEMPLATE).ok();
    pve.has_only("211");
    let Some(pve) = Pve::start() else { return };
    pve.manners(&json!({"endless_tasks": "qmcreate"}));
    let began = Instant::now();
    pve.upload(&[&TEMPLATE[..], &["--timeout", "1s"]].concat())
        .fails(8, &["has not done it within 1s: create VM 211"]);
    // The VM that is still being made is waited for, and not taken for somebody's.
    pve.upload(&[&TEMPLATE[..], &["--timeout", "1s"]].concat())
        .fails(8, &["is being made by an earlier run"]);
    assert!(began.elapsed() < Duration::from_secs(120));
    pve.manners(&json!({}));
    pve.upload(&TEMPLATE).ok();
    pve.has_only("211");
    // A warning is handed on.
    let Some(pve) = Pve::start() else { return };
    pve.manners(&json!({"exit": "WARNINGS: 1"}));
    let run = pve.upload(&TEMPLATE).ok();
    assert!(run.stderr.contains("WARNINGS: 1"), "{}", run.stderr);
    assert!(!run.stderr.contains(TOKEN), "{}", run.stderr);
}
