//! `.sig` and `.asc`, verified by gpgv.

use std::fs;
use std::process::Command;

use super::{Directory, Served, ended};
use crate::world::http::{Reply, get};
use crate::world::{Run, World, repository};

const ENDPOINTS: [&str; 8] =
    ["boot.ipxe", "boot.ipxe.0", "ipxe", "grub", "ignition", "cloud", "generic", "metadata"];

fn key_ring(name: &str) -> String {
    repository("tests/vectors/matchbox/keyring").join(name).to_str().unwrap().into()
}

/// Whether a detached signature is one of the kit's key over these bytes; what gpgv says of it.
fn verified(body: &[u8], signature: &[u8]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let [body_path, signature_path] = ["body", "signature"].map(|name| directory.path().join(name));
    fs::write(&body_path, body).unwrap();
    fs::write(&signature_path, signature).unwrap();
    let gpgv = Command::new("gpgv")
        .args(["--keyring", &key_ring("pubring.gpg")])
        .arg(signature_path)
        .arg(body_path)
        .output();
    let output = gpgv.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn check(address: &str, target: &str, headers: &str) -> Reply {
    let (path, query) =
        target.split_once('?').map_or((target, String::new()), |(path, query)| (path, format!("?{query}")));
    let plain = get(address, target, headers);
    for (extension, kind) in [("sig", "application/octet-stream"), ("asc", "text/plain; charset=utf-8")] {
        let signed = get(address, &format!("{path}.{extension}{query}"), headers);
        assert_eq!((signed.status, signed.header("content-type")), (plain.status, Some(kind)), "{target}");
        let (good, said) = verified(&plain.body, &signed.body);
        assert!(good, "{target}.{extension}: {said}");
        assert!(!verified(&[&*plain.body, b"x"].concat(), &signed.body).0, "{target}: it covers anything");
        if extension == "asc" {
            let text = signed.text();
            let framed = text.starts_with("-----BEGIN PGP SIGNATURE-----\n")
                && text.ends_with("\n-----END PGP SIGNATURE-----");
            assert!(framed, "{text}");
        }
    }
    plain
}

#[test]
fn every_endpoint_has_signatures_that_gpgv_believes_of_errors_too() {
    let data = repository("tests/vectors/matchbox/data");
    let served = Served::new(&data, &["--key-ring-path", &key_ring("secring.gpg")]);
    let address = &served.address;
    for endpoint in ENDPOINTS {
        assert_eq!(check(address, &format!("/{endpoint}"), "").status, 200, "{endpoint}");
    }
    assert_eq!(check(address, "/ipxe?case=no-boot", "").status, 404);
    assert_eq!(check(address, "/generic", "Range: bytes=0-6\n").status, 206);
    for query in ["gen=crlf", "gen=empty", "gen=big"] {
        check(address, &format!("/generic?{query}"), "");
    }
    for none in ["/assets/plain.txt.sig", "/.sig", "/ipxe.SIG", "/report.sig", "/ipxe.sig.sig"] {
        assert_eq!(get(address, none, "").status, 404, "{none}");
    }
}

#[test]
fn line_ends_of_any_kind_are_signed_as_gpg_reads_them() {
    let directory = Directory::new();
    let served = directory.serve_with(&["--key-ring-path", &key_ring("secring.gpg")]);
    for text in ["", "\n", "a\nb", "a\r\nb\r\n", "a\rb", "a\r", "a\n\r\n\rb", "a \t\nb "] {
        directory.write("generic/t", text);
        check(&served.address, "/generic", "");
    }
}

#[test]
fn trees_are_signed_too_with_a_key_ring_of_the_environment() {
    let world = World::new();
    world.build();
    let tree = world.path("output/small/current");
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["serve", "--address", "127.0.0.1:0"]).arg(&tree);
    command.env("MATCHBOX_KEY_RING_PATH", key_ring("secring.gpg"));
    let served = Served::started(command);
    for endpoint in ["boot.ipxe", "ipxe", "grub", "ignition", "metadata"] {
        assert_eq!(check(&served.address, &format!("/{endpoint}"), "").status, 200, "{endpoint}");
    }
    // Its file is sent, not what an endpoint says: that is signed by whoever published it.
    assert_eq!(get(&served.address, "/manifest.json.sig", "").status, 404);
}

#[test]
fn a_key_ring_that_cannot_sign_is_refused_at_start() {
    let directory = Directory::new();
    let data = directory.path("");
    let data = data.to_str().unwrap();
    let refused = |ring: &str, code, words: &[&str]| {
        let args = ["serve", "--address", "127.0.0.1:0", "--key-ring-path", ring, "--matchbox", data];
        ended(&args).fails(code, words);
    };
    let absent = directory.path("absent");
    let absent = absent.to_str().unwrap();
    refused(absent, 1, &[&format!("cannot read the key ring {absent}")]);
    refused(&key_ring("pubring.gpg"), 5, &["pubring.gpg", "gpg --export-secret-keys"]);
    directory.write("garbage", "garbage");
    refused(directory.path("garbage").to_str().unwrap(), 5, &["cannot sign with the key ring"]);
}

#[test]
fn a_locked_key_is_opened_by_the_passphrase_of_the_environment_alone() {
    let directory = Directory::new();
    let home = tempfile::tempdir().unwrap();
    let gpg = |args: &[&str]| {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "open sesame"]);
        let output = command.args(args).env("GNUPGHOME", home.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    gpg(&["--quick-generate-key", "lab@lab.test", "rsa2048", "sign", "never"]);
    let ring = directory.path("locked.gpg");
    fs::write(&ring, gpg(&["--export-secret-keys"])).unwrap();
    // gpg leaves an agent running in every home that held a secret key.
    let ended = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", home.path()).status();
    assert!(ended.unwrap().success());
    let serve = |passphrase: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(["serve", "--address", "127.0.0.1:0", "--key-ring-path"]).arg(&ring);
        command.arg("--matchbox").arg(directory.path(""));
        command.envs(passphrase.map(|phrase| ("MATCHBOX_PASSPHRASE", phrase)));
        command
    };
    Run::of(serve(None).output().unwrap()).fails(5, &["locked", "no passphrase", "MATCHBOX_PASSPHRASE"]);
    Run::of(serve(Some("wrong")).output().unwrap()).fails(5, &["the passphrase does not unlock it"]);
    let signature = Served::started(serve(Some("open sesame"))).get("/boot.ipxe.sig");
    assert_eq!((signature.status, signature.body.is_empty()), (200, false));
}
