//! `prebake key` with keys of one's own. The judge is the real minisign, in both directions.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use crate::world::{PRIMARY, Run, World, repository};

const PASSPHRASE: &str = "correct horse";
const FILE: &str = "data.bin";

/// Held by tests that seal or open keys with a passphrase: each takes 1 GiB of memory.
static SEALING: Mutex<()> = Mutex::new(());

/// A directory with a file to sign.
struct Desk(TempDir);

fn sealing() -> MutexGuard<'static, ()> {
    SEALING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.write(FILE, "some bytes\n");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn key(&self, args: &[&str]) -> Run {
        self.key_with(args, &[])
    }

    /// The same with variables.
    fn key_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Run {
        let args = [&["key"], args].concat();
        let mut command = self.command(env!("CARGO_BIN_EXE_prebake"), &args);
        Run::of(command.envs(variables.iter().copied()).output().unwrap())
    }

    /// The real minisign, which takes passphrases from a pipe too.
    fn minisign(&self, args: &[&str], passphrases: &str) -> Run {
        let mut command = self.command("minisign", args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut minisign = command.spawn().unwrap();
        minisign.stdin.take().unwrap().write_all(passphrases.as_bytes()).unwrap();
        Run::of(minisign.wait_with_output().unwrap())
    }

    /// `prebake key …` on a terminal on which somebody types.
    fn typed(&self, words: &str, typing: &str) -> Run {
        let prebake = format!("{} key {words}", env!("CARGO_BIN_EXE_prebake"));
        let mut command =
            self.command("script", &["--quiet", "--return", "--command", &prebake, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut script = command.spawn().unwrap();
        script.stdin.take().unwrap().write_all(typing.as_bytes()).unwrap();
        Run::of(script.wait_with_output().unwrap())
    }

    /// Makes keys that no passphrase seals: NAME.key and NAME.pub.
    fn open_keys(&self, names: &[&str]) {
        for name in names {
            self.key(&["generate", "-o", name, "--no-passphrase"]).ok();
        }
    }
}

#[test]
fn minisign_takes_our_open_keys_and_their_signatures() {
    let desk = Desk::new();
    desk.open_keys(&["site"]);
    let signed = desk.key(&["sign", FILE, "--sign-key", "site.key"]).ok();
    assert!(signed.stdout.starts_with("data.bin.minisig: signed by "), "{}", signed.stdout);
    let judged = desk.minisign(&["-V", "-H", "-p", "site.pub", "-m", FILE], "").ok();
    assert!(judged.stdout.contains("Trusted comment: file:data.bin\thashed"), "{}", judged.stdout);
    // Its own signature with our key is ours but for the first line and the comment.
    desk.minisign(
        &["-S", "-W", "-s", "site.key", "-m", FILE, "-x", "theirs.minisig", "-t", "file:data.bin\thashed"],
        "",
    )
    .ok();
    let below = |text: String| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(below(desk.read("theirs.minisig")), below(desk.read("data.bin.minisig")));
    desk.minisign(&["-R", "-s", "site.key", "-p", "again.pub"], "").ok();
    assert_eq!(desk.read("again.pub").lines().nth(1), desk.read("site.pub").lines().nth(1));
    desk.write(FILE, "other bytes\n");
    assert_ne!(desk.minisign(&["-V", "-p", "site.pub", "-m", FILE], "").code, Some(0));
}

#[test]
fn minisign_opens_our_sealed_keys_with_the_passphrase_alone() {
    let _one_at_a_time = sealing();
    let desk = Desk::new();
    let passphrase = ("PREBAKE_SIGN_PASSPHRASE", PASSPHRASE);
    desk.key_with(&["generate", "-o", "sealed"], &[passphrase]).ok();
    assert!(desk.read("sealed.key").starts_with("untrusted comment: minisign encrypted secret key\n"));
    let sign = ["-S", "-s", "sealed.key", "-m", FILE];
    assert_ne!(desk.minisign(&sign, "wrong\n").code, Some(0));
    desk.minisign(&sign, &format!("{PASSPHRASE}\n")).ok();
    desk.key(&["verify", FILE, "--trust", "sealed.pub"]).ok();
    let shown = desk.key(&["show", "sealed.key"]).ok().stdout;
    assert_eq!(shown, "sealed.key: secret key, sealed with a passphrase that takes 1024 MiB of memory\n");
}

#[test]
fn our_signatures_come_from_minisigns_sealed_and_open_keys_too() {
    let _one_at_a_time = sealing();
    let desk = Desk::new();
    desk.minisign(&["-G", "-p", "sealed.pub", "-s", "sealed.key"], &format!("{PASSPHRASE}\n{PASSPHRASE}\n"))
        .ok();
    desk.minisign(&["-G", "-W", "-p", "open.pub", "-s", "open.key"], "").ok();
    desk.write("passphrase", &format!("{PASSPHRASE}\nwhat stands below is not read\n"));
    let both = ["--sign-key", "sealed.key", "--sign-key", "open.key", "--passphrase-file", "passphrase"];
    desk.key(&[&["sign", FILE][..], &both].concat()).ok();
    for key in ["sealed.pub", "open.pub"] {
        let shown = desk.key(&["show", key, "--json"]).ok().stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let signature = format!("{FILE}.{}.minisig", shown[0]["id"].as_str().unwrap());
        desk.minisign(&["-V", "-p", key, "-m", FILE, "-x", &signature], "").ok();
    }
    desk.key(&["verify", FILE, "--trust", "sealed.pub,open.pub", "--threshold", "2"]).ok();
    desk.write("passphrase", "wrong\n");
    let wrong = desk.key(&[&["sign", FILE][..], &both].concat());
    wrong.fails(5, &["the passphrase does not open sealed.key", "hint:"]);
}

#[test]
fn each_kind_of_minisigns_signatures_is_judged() {
    let desk = Desk::new();
    desk.minisign(&["-G", "-W", "-p", "their.pub", "-s", "their.key"], "").ok();
    let trust = ["verify", FILE, "--trust", "their.pub"];
    for (name, more) in [
        ("plain", &[][..]),
        ("legacy", &["-l"]),
        ("comments", &["-c", "by Ada, of Operations", "-t", "release 7"]),
    ] {
        desk.minisign(&[&["-S", "-W", "-s", "their.key", "-m", FILE][..], more].concat(), "").ok();
        let judged = desk.key(&trust).ok().stdout;
        assert!(judged.starts_with("data.bin: signed by "), "{name}: {judged}");
        assert_eq!(judged.contains("release 7"), name == "comments", "{judged}");
    }
    let changed = desk.read("data.bin.minisig").replace("release 7", "release 8");
    desk.write("data.bin.minisig", &changed);
    desk.key(&trust).fails(
        5,
        &["data.bin has an invalid signature", "the trusted comment of data.bin.minisig is not the one that"],
    );
    fs::remove_file(desk.path("data.bin.minisig")).unwrap();
    desk.key(&trust).fails(5, &["data.bin has no signature beside it"]);
}

/// attacks.md, §4: `key generate`, killed between its two files, left a key that was in the way of the next run.
/// A run of 2026-11-29: a pipe in a key's place was waited for without an end, and `-o /` wrote `/.key`.
#[test]
fn what_is_no_file_in_a_keys_place_and_a_name_that_is_none_are_refused_at_once() {
    let desk = Desk::new();
    for name in ["site.key", "sysext.key", "other.pub", "sysext.crt"] {
        assert!(Command::new("mkfifo").arg(desk.path(name)).status().unwrap().success());
    }
    std::os::unix::fs::symlink("nowhere", desk.path("linked.key")).unwrap();
    fs::create_dir(desk.path("certificate")).unwrap();
    fs::rename(desk.path("sysext.crt"), desk.path("certificate/sysext.crt")).unwrap();
    let cases: [(&[&str], &str); 11] = [
        (&["key", "generate", "--no-passphrase"], "site.key already exists"),
        (&["key", "generate", "-o", "other", "--no-passphrase"], "other.pub already exists"),
        (&["key", "generate", "-o", "linked", "--no-passphrase"], "linked.key already exists"),
        (&["sysext", "key", "generate", "."], "sysext.key"),
        (&["sysext", "key", "generate", "certificate"], "sysext.crt"),
        (&["key", "generate", "-o", "/", "--no-passphrase"], "is not a key's path"),
        (&["key", "generate", "-o", ".", "--no-passphrase"], "is not a key's path"),
        (&["key", "generate", "-o", "..", "--no-passphrase"], "is not a key's path"),
        (&["key", "generate", "-o", "keys/", "--no-passphrase"], "is not a key's path"),
        (&["key", "generate", "-o", "keys/..", "--no-passphrase"], "is not a key's path"),
        (&["key", "generate", "-o", "keys/.", "--no-passphrase"], "is not a key's path"),
    ];
    for (args, expected) in cases {
        // Had it waited, `timeout` says 124.
        let mut command = desk.command("timeout", &["60", env!("CARGO_BIN_EXE_prebake")]);
        Run::of(command.args(args).output().unwrap()).fails(2, &[expected, "hint:"]);
    }
    assert!(!desk.path("..key").exists() && !desk.path(".key").exists() && !desk.path("keys").exists());
}

/// A run of 2026-11-29: a key whose certificate lies elsewhere got another one without a word.
#[test]
fn a_sysext_key_that_lies_alone_gets_a_certificate_with_a_word() {
    let desk = Desk::new();
    let generate = || {
        let args = ["sysext", "key", "generate", "keys"];
        Run::of(desk.command(env!("CARGO_BIN_EXE_prebake"), &args).output().unwrap()).ok()
    };
    let said = generate();
    assert!(!said.stderr.contains("warning"), "{}", said.stderr);
    fs::remove_file(desk.path("keys/sysext.crt")).unwrap();
    let said = generate();
    let expected = "warning: keys/sysext.key existed without a certificate, as an interrupted run leaves it; a new certificate was made";
    assert!(said.stderr.contains(expected), "{}", said.stderr);
    assert!(desk.path("keys/sysext.crt").is_file());
}

#[test]
fn a_secret_key_that_was_left_alone_gets_its_public_key_and_no_other_file_is_taken_for_one() {
    let desk = Desk::new();
    desk.open_keys(&["site"]);
    let (secret, public) = (desk.read("site.key"), desk.read("site.pub"));
    fs::remove_file(desk.path("site.pub")).unwrap();
    // It was to be sealed now, and is not.
    desk.key(&["generate", "--passphrase-file", "site.key"]).fails(2, &["site.key already exists"]);
    let run = desk.key(&["generate", "--no-passphrase"]).ok();
    assert!(
        run.stderr.contains("was left by an interrupted run: site.pub is made from it"),
        "{}",
        run.stderr
    );
    assert_eq!((desk.read("site.key"), desk.read("site.pub")), (secret, public));
    fs::remove_file(desk.path("site.pub")).unwrap();
    for foreign in ["", "-----BEGIN PRIVATE KEY-----\n", "untrusted comment: x\nRWQ\n"] {
        fs::write(desk.path("site.key"), foreign).unwrap();
        desk.key(&["generate", "--no-passphrase"]).fails(2, &["site.key already exists"]);
        assert!(!desk.path("site.pub").exists());
    }
}

#[test]
fn only_its_owner_reads_a_new_secret_key_and_it_replaces_none() {
    let desk = Desk::new();
    desk.open_keys(&["site"]);
    let mode = |name: &str| fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("site.key"), mode("site.pub")), (0o600, 0o644));
    let (secret, public) = (desk.read("site.key"), desk.read("site.pub"));
    desk.key(&["generate", "--no-passphrase"]).fails(2, &["site.key already exists", "-o"]);
    fs::remove_file(desk.path("site.key")).unwrap();
    desk.key(&["generate", "--no-passphrase"]).fails(2, &["site.pub already exists"]);
    assert_eq!(desk.read("site.pub"), public);
    fs::remove_file(desk.path("site.pub")).unwrap();
    let report = desk.key(&["generate", "--no-passphrase", "--json"]).ok().stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["public"], "site.pub");
    assert_eq!(desk.read("site.pub").lines().nth(1), report["key"].as_str());
    assert_ne!(desk.read("site.key"), secret);
    desk.write("empty", "\n");
    let empty = desk.key(&["generate", "-o", "other", "--passphrase-file", "empty"]);
    empty.fails(2, &["an empty passphrase", "--no-passphrase"]);
    assert!(!desk.path("other.key").exists());
}

#[test]
fn a_secret_key_that_others_can_read_is_warned_of() {
    let desk = Desk::new();
    desk.open_keys(&["site"]);
    let sign = || desk.key(&["sign", FILE, "--sign-key", "site.key"]).ok().stderr;
    assert_eq!(sign(), "");
    fs::set_permissions(desk.path("site.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        sign().contains("warning: others can read or write the secret key site.key (mode 0644): chmod 600")
    );
}

#[test]
fn a_passphrase_is_typed_twice_for_a_new_key_and_once_for_an_old_one() {
    let _one_at_a_time = sealing();
    let desk = Desk::new();
    let differ = desk.typed("generate -o site", "one\ntwo\n");
    assert_eq!(differ.code, Some(2), "{}", differ.stdout);
    assert!(differ.stdout.contains("the two passphrases for site.key differ"), "{}", differ.stdout);
    assert!(!desk.path("site.key").exists());
    let made = desk.typed("generate -o site", "one\none\n").ok().stdout;
    assert!(made.contains("New passphrase for site.key:") && made.contains("trust with  RW"), "{made}");
    let signed = desk.typed("sign data.bin --sign-key site.key", "one\n").ok().stdout;
    assert!(signed.contains("Passphrase of site.key:"), "{signed}");
    desk.minisign(&["-V", "-p", "site.pub", "-m", FILE], "").ok();
}

#[test]
fn where_nobody_can_type_a_passphrase_the_verb_ends_with_advice() {
    let _one_at_a_time = sealing();
    let desk = Desk::new();
    let prebake = env!("CARGO_BIN_EXE_prebake");
    // A session of its own has no terminal, wherever the tests run.
    let without_terminal = |args: &[&str]| {
        let args = [&["--wait", prebake, "key"], args].concat();
        Run::of(desk.command("setsid", &args).output().unwrap())
    };
    let advice = ["there is no terminal to ask for it on", "--passphrase-file", "PREBAKE_SIGN_PASSPHRASE"];
    without_terminal(&["generate"]).fails(2, &advice);
    desk.key_with(&["generate"], &[("PREBAKE_SIGN_PASSPHRASE", PASSPHRASE)]).ok();
    without_terminal(&["sign", FILE, "--sign-key", "site.key"]).fails(2, &advice);
}

#[test]
fn a_key_comes_from_a_variable_as_a_name_or_as_text_and_is_never_shown() {
    let desk = Desk::new();
    desk.open_keys(&["site"]);
    let secret = desk.read("site.key");
    let line = secret.lines().nth(1).unwrap();
    let public = desk.read("site.pub");
    for value in ["site.key", &secret, line] {
        let signed = desk.key_with(&["sign", FILE], &[("PREBAKE_SIGN_KEY", value)]).ok();
        assert!(!format!("{}{}", signed.stdout, signed.stderr).contains(line));
        for trusted in ["site.pub", &public, public.lines().nth(1).unwrap()] {
            desk.key_with(&["verify", FILE], &[("PREBAKE_TRUST", trusted)]).ok();
        }
    }
    let help = desk.key_with(&["sign", "--help"], &[("PREBAKE_SIGN_KEY", line)]).ok().stdout;
    assert!(help.contains("PREBAKE_SIGN_KEY") && !help.contains(line), "{help}");
    let bad = line.replace('A', "B");
    let refused = desk.key_with(&["sign", FILE], &[("PREBAKE_SIGN_KEY", &bad)]);
    assert_eq!(refused.code, Some(5));
    assert!(!refused.stderr.contains(&bad), "{}", refused.stderr);
    let unset = desk.key_with(&["sign", FILE], &[("PREBAKE_SIGN_KEY", "")]);
    unset.fails(2, &["its path is empty", "the secret may not be set for this job"]);
    desk.key(&["sign", FILE]).fails(2, &["no key to sign with", "--sign-key"]);
}

#[test]
fn signing_twice_gives_the_same_bytes_and_the_epoch_is_the_files() {
    let desk = Desk::new();
    desk.open_keys(&["site"]);
    let signature = |more: &[&str], variables: &[(&str, &str)]| {
        let sign = [&["sign", FILE, "--sign-key", "site.key"], more].concat();
        desk.key_with(&sign, variables).ok();
        desk.minisign(&["-V", "-p", "site.pub", "-m", FILE], "").ok();
        desk.read("data.bin.minisig")
    };
    assert_eq!(signature(&[], &[]), signature(&[], &[]));
    let dated = signature(&[], &[("SOURCE_DATE_EPOCH", "1700000000")]);
    assert!(dated.contains("\ntrusted comment: timestamp:1700000000\tfile:data.bin\thashed\n"), "{dated}");
    assert_eq!(signature(&["--epoch", "1700000000"], &[]), dated);
    assert!(signature(&["--comment", "release 7"], &[]).contains("\ntrusted comment: release 7\n"));
}

#[test]
fn as_many_keys_as_the_threshold_says_must_have_signed_and_the_missing_are_counted() {
    let desk = Desk::new();
    desk.open_keys(&["a", "b", "c"]);
    let verify = |more: &[&str]| desk.key(&[&["verify", FILE][..], more].concat());
    desk.key(&["sign", FILE, "--sign-key", "a.key"]).ok();
    verify(&[]).fails(2, &["no key is trusted to sign data.bin", "--trust", "PREBAKE_TRUST"]);
    verify(&["--trust", "b.pub"]).fails(5, &["not trusted", "hint:"]);
    verify(&["--trust", "a.pub", "--threshold", "2"])
        .fails(2, &["a threshold of 2 is impossible with 1 trusted key"]);
    let two = ["--trust", "a.pub", "--trust", "b.pub", "--trust", "c.pub", "--threshold", "2"];
    verify(&two).fails(5, &["2 of ", "1 more is missing", "have one of the other keys sign it too"]);
    // The same key's second signature is no second vote.
    fs::copy(desk.path("data.bin.minisig"), desk.path("copy.minisig")).unwrap();
    verify(&[&["data.bin.minisig", "copy.minisig"][..], &two].concat()).fails(5, &["1 more is missing"]);
    desk.key(&["sign", FILE, "--sign-key", "a.key", "--sign-key", "c.key"]).ok();
    let report: Value = serde_json::from_str(&verify(&[&two[..], &["--json"]].concat()).ok().stdout).unwrap();
    assert_eq!(report["trusted"].as_array().unwrap().len(), 3, "{report:#}");
}

/// The note of issue 14: with one damaged `.minisig` of several the reason was that they are of two kinds, or too many.
#[test]
fn of_several_signatures_the_damaged_one_is_named_with_what_is_wrong_with_it() {
    let desk = Desk::new();
    desk.open_keys(&["a", "b"]);
    desk.key(&["sign", FILE, "--sign-key", "a.key", "--sign-key", "b.key"]).ok();
    let both: Vec<String> = fs::read_dir(desk.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".minisig"))
        .collect();
    assert_eq!(both.len(), 2, "{both:?}");
    let verify = |signatures: &[&str]| {
        desk.key(&[&["verify", FILE][..], signatures, &["--trust", "a.pub,b.pub"]].concat())
    };
    for damaged in &both {
        let whole = desk.read(damaged);
        for text in ["", "untrusted", "<html>", "\0\0\0", &whole[..40], &whole[10..]] {
            desk.write(damaged, text);
            let run = verify(&[]);
            run.fails(5, &[damaged]);
            for wrong in ["OpenPGP", "the first one is", "were given"] {
                assert!(!run.stderr.contains(wrong), "{text:?}: {}", run.stderr);
            }
            desk.key(&["verify", FILE, damaged, "--trust", "a.pub"]).fails(5, &[damaged]);
        }
        desk.write(damaged, &whole);
    }
    verify(&[]).ok();
    let openpgp = fs::read(crate::world::repository("tests/data/openpgp/good.sig")).unwrap();
    fs::write(desk.path("other.sig"), openpgp).unwrap();
    verify(&[&both[0], "other.sig"]).fails(2, &["other.sig is an OpenPGP signature"]);
    verify(&["other.sig", &both[0]]).fails(2, &["other.sig is an OpenPGP signature"]);
}

#[test]
fn blanks_beside_the_commas_of_a_list_of_keys_are_no_part_of_their_names() {
    let desk = Desk::new();
    desk.open_keys(&["a", "b"]);
    desk.key(&["sign", FILE, "--sign-key", "a.key", "--sign-key", "b.key"]).ok();
    for list in ["a.pub, b.pub", " a.pub ,\tb.pub\n", "a.pub,b.pub"] {
        desk.key_with(&["verify", FILE, "--threshold", "2"], &[("PREBAKE_TRUST", list)]).ok();
    }
    desk.key_with(&["verify", FILE], &[("PREBAKE_TRUST", "a.pub, ")]).fails(2, &["its path is empty"]);
}

#[test]
fn signers_do_not_overwrite_each_other() {
    let desk = Desk::new();
    desk.open_keys(&["ada", "bob"]);
    for key in ["ada.key", "bob.key", "ada.key", "bob.key"] {
        desk.key(&["sign", FILE, "--sign-key", key]).ok();
    }
    let both = ["verify", FILE, "--trust", "ada.pub,bob.pub", "--threshold", "2", "--json"];
    let report: Value = serde_json::from_str(&desk.key(&both).ok().stdout).unwrap();
    assert_eq!(report["signers"].as_array().unwrap().len(), 2, "{report:#}");
    desk.minisign(&["-V", "-p", "ada.pub", "-m", FILE], "").ok();
}

#[test]
fn a_vendors_signature_does_not_do_where_a_key_of_ones_own_is_asked_for() {
    let desk = Desk::new();
    desk.open_keys(&["site"]);
    let vendors = |name: &str| repository("tests/data/openpgp").join(name);
    fs::copy(vendors("data.txt"), desk.path("data.txt")).unwrap();
    fs::copy(vendors("good.sig"), desk.path("data.txt.sig")).unwrap();
    let vendors_key = repository("tests/lab/keys/lab.asc").display().to_string();
    let verify = |more: &[&str]| desk.key(&[&["verify", "data.txt", "--pin", PRIMARY][..], more].concat());
    verify(&["--trust", "site.pub"]).fails(5, &["data.txt.sig is an OpenPGP signature", "--key"]);
    verify(&["--trust", "site.pub", "--key", &vendors_key]).ok();
    verify(&["--key", &vendors_key]).ok();
}

#[test]
fn a_rotation_hands_trust_over_from_the_old_key_to_the_new_one() {
    let desk = Desk::new();
    desk.open_keys(&["old", "new", "thief"]);
    desk.key(&["rotate", "--old", "old.key", "--new", "new.pub", "-o", "r.json"]).ok();
    desk.minisign(&["-V", "-p", "old.pub", "-m", "r.json"], "").ok();
    let shown = desk.key(&["show", "r.json"]).ok().stdout;
    assert!(shown.starts_with("r.json: key ") && shown.contains("as its successor"), "{shown}");
    let verify = |more: &[&str]| desk.key(&[&["verify", FILE, "--trust", "old.pub"][..], more].concat());
    desk.key(&["sign", FILE, "--sign-key", "new.key"]).ok();
    verify(&[]).fails(5, &["not trusted", "its rotation must be included"]);
    let judged = verify(&["--rotation", "r.json"]).ok().stdout;
    let new = desk.read("new.pub").lines().nth(1).unwrap().to_owned();
    assert!(judged.contains(&format!("to trust from now on: {new}")), "{judged}");
    // The old key is done with.
    fs::remove_file(desk.path("data.bin.minisig")).unwrap();
    desk.key(&["sign", FILE, "--sign-key", "old.key"]).ok();
    verify(&["--rotation", "r.json"]).fails(5, &["not trusted"]);
    // Nobody else can hand it over.
    fs::remove_file(desk.path("r.json.minisig")).unwrap();
    desk.key(&["sign", "r.json", "--sign-key", "thief.key"]).ok();
    verify(&["--rotation", "r.json"]).fails(5, &["r.json is not signed by the key that it replaces"]);
    desk.key(&["rotate", "--old", "old.key", "--new", "old.pub"]).fails(5, &["both keys are the same"]);
    let made = desk.key(&["rotate", "--old", "old.key", "--new", "new.pub", "--json"]).ok().stdout;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["new"], new.as_str());
    let statement = made["statement"].as_str().unwrap();
    assert!(statement.ends_with(".rotation.json") && desk.path(statement).exists(), "{made:#}");
}

#[test]
fn files_say_what_they_are_and_bad_ones_what_is_wrong() {
    let desk = Desk::new();
    let data = |name: &str| repository("tests/data/minisign").join(name).display().to_string();
    let (public, secret, signature) = (data("open.pub"), data("open.key"), data("legacy.minisig"));
    let shown = desk.key(&["show", &public, &secret, &signature]).ok().stdout;
    for words in [
        "open.pub: public key 387941DE67D3058B",
        "open.key: secret key 387941DE67D3058B, not sealed",
        "legacy.minisig: signature by 387941DE67D3058B, legacy, not verified",
    ] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    let line = fs::read_to_string(&secret).unwrap().lines().nth(1).unwrap().to_owned();
    assert!(!shown.contains(&line), "the secret is out");
    let kinds = desk.key(&["show", &public, &secret, &signature, "--json"]).ok().stdout;
    let kinds: Value = serde_json::from_str(&kinds).unwrap();
    let kinds: Vec<&str> =
        kinds.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["public key", "secret key", "signature"]);

    let sign = |key: &str, text: &str| {
        desk.write(key, text);
        fs::set_permissions(desk.path(key), fs::Permissions::from_mode(0o600)).unwrap();
        desk.key(&["sign", FILE, "--sign-key", key])
    };
    let comment = "untrusted comment: a key\n";
    sign("short.key", &format!("{comment}{}\n", &line[..100])).fails(5, &["212 characters", "key show"]);
    sign("other.key", &format!("{comment}{}\n", line.replacen("RW", "RX", 1)))
        .fails(5, &["another algorithm"]);
    sign("public.key", &fs::read_to_string(&public).unwrap()).fails(5, &["not a minisign secret key"]);
    sign("pem.key", "-----BEGIN PRIVATE KEY-----\n").fails(5, &["not a minisign secret key"]);
    let bomb = line.replacen("RWQAAEIy", "RWRTY0Iy", 1);
    let limits = format!("{}{}", &bomb[..52], "/".repeat(16)) + &bomb[68..];
    sign("bomb.key", &format!("{comment}{limits}\n")).fails(5, &["more than minisign writes"]);
}

#[test]
fn a_tree_is_believed_where_trusted_keys_signed_it_and_nowhere_else() {
    let world = World::new();
    for name in ["ada", "bob", "stranger"] {
        world.prebake(&["key", "generate", "-o", name, "--no-passphrase"]).ok();
    }
    let unsigned = world.build();
    let sign = ["--sign-key", "ada.key", "--sign-key", "bob.key"];
    world.prebake(&[&["build", "recipes/small.yaml"][..], &sign].concat()).ok();
    assert_eq!(world.current().unwrap(), unsigned, "signing does not change the build");
    let tree = "output/small/current";
    let (both, stranger) = (["--trust", "ada.pub,bob.pub", "--threshold", "2"], ["--trust", "stranger.pub"]);
    let manifest = format!("{tree}/manifest.json");
    world.prebake(&[&["key", "verify", &manifest][..], &both].concat()).ok();
    let judged = world.prebake(&[&["verify", tree][..], &both].concat()).ok().stdout;
    assert!(judged.contains(": signed by "), "{judged}");
    // Each verb that opens a tree asks the same.
    for verb in [&["verify", tree][..], &["diff", tree, tree], &["serve", tree, "--address", "127.0.0.1:0"]] {
        world.prebake(&[verb, &stranger].concat()).fails(5, &["manifest.json of", "not trusted"]);
    }
    fs::remove_file(world.path(&format!("{manifest}.minisig"))).unwrap();
    let gone = world.prebake(&[&["verify", tree][..], &both].concat());
    gone.fails(5, &["manifest.json of", "is not signed"]);
    world.prebake(&["verify", tree]).ok();
}
