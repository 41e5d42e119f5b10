//! The key that signs releases: `prebake key` about it, and what builds use when the recipe names no file.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::world::{PRIMARY, World, repository};

mod gpg;

const RECIPE: &str = "recipes/small.yaml";
const FOREIGN: &str = "11F842873F1CB8D4D760F67FD97044FA27500537";
const ON_MIRROR: &str = "release/security/image-signing-key/Flatcar_Image_Signing_Key.asc";

fn fixture(name: &str) -> String {
    repository("tests/data/openpgp").join(name).display().to_string()
}

fn lab_key() -> PathBuf {
    repository("tests/lab/keys/lab.asc")
}

/// A world whose recipe names no key file; the mirror has one.
fn world() -> World {
    let world = World::new();
    world.edit(RECIPE, ", key: lab.asc", "");
    publish(&world, &fs::read(lab_key()).unwrap());
    world
}

fn publish(world: &World, key: &[u8]) {
    let path = world.path(ON_MIRROR);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, key).unwrap();
}

#[test]
fn a_signature_is_judged_as_builds_do_and_refused_with_the_reason() {
    let world = World::new();
    let key = lab_key().display().to_string();
    let verify = |signature: &str, pin: &str| {
        let (data, signature) = (fixture("data.txt"), fixture(signature));
        world.prebake(&["key", "verify", &data, &signature, "--key", &key, "--pin", pin])
    };
    let good = verify("good.sig", PRIMARY).ok().stdout;
    assert!(
        good.contains("signed by 8F2E8753048542474D9D9200D26D2108E2F05BC2 on 2025-06-01T00:00:00Z"),
        "{good}"
    );
    for (signature, words) in [
        ("by-revoked-subkey.sig", "which is revoked"),
        ("by-subkey-after-its-expiry.sig", "which had already expired when it signed"),
        ("sha1.sig", "too weak"),
        ("before-its-subkey.sig", "did not exist yet"),
        ("by-foreign.sig", "no key of the pinned primary"),
        ("truncated.sig", "is not a detached OpenPGP signature"),
    ] {
        verify(signature, PRIMARY).fails(5, &[words, "hint:"]);
    }
    verify("good.sig", FOREIGN).fails(5, &["does not hold the pinned primary key", FOREIGN]);
    fs::write(world.path("data.txt"), "other bytes").unwrap();
    fs::copy(fixture("good.sig"), world.path("data.txt.sig")).unwrap();
    let run = world.prebake(&["key", "verify", "data.txt", "--key", &key, "--pin", PRIMARY]);
    run.fails(5, &["data.txt.sig does not match the file"]);
}

#[test]
fn a_key_file_is_shown_with_what_would_be_believed_today() {
    let world = World::new();
    let file = lab_key().display().to_string();
    let table = world.prebake(&["key", "show", &file, "--pin", PRIMARY]).ok().stdout;
    let row = |fingerprint: &str| {
        let line = table.lines().find(|line| line.contains(fingerprint)).unwrap();
        line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row(PRIMARY), "2018-02-26 never - certify, sign yes");
    assert_eq!(row("61E4740906FEABB5B3DA2224F4EC2BA6E0BBB113"), "2022-08-10 2023-08-10 - sign no: expired");
    assert_eq!(
        row("440A2DF8BF53477F2F0E4E76CFDADC948D47013F"),
        "2023-08-11 2036-01-01 since its creation sign no: revoked"
    );
    assert_eq!(row("8F2E8753048542474D9D9200D26D2108E2F05BC2"), "2025-03-07 2036-12-31 - sign yes");
    let under_its_old_name = world.prebake(&["keys", "show", &file, "--pin", PRIMARY]).ok().stdout;
    assert_eq!(under_its_old_name, table);
    let foreign = world.prebake(&["key", "show", &file]).ok().stdout;
    assert!(foreign.contains("not the pinned primary") && !foreign.contains("yes"), "{foreign}");
    let report = world.prebake(&["key", "show", &file, "--pin", PRIMARY, "--json"]).ok().stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report[0]["certificates"][0]["keys"][1]["refusal"], "expired");
    world.prebake(&["key", "show"]).fails(1, &["the store has no copy", "prebake key update"]);
}

#[test]
fn a_key_that_was_fetched_once_is_used_when_it_cannot_be_fetched() {
    let world = world();
    let build = world.prebake(&["lock", RECIPE]).ok();
    assert!(!build.stderr.contains("the copy in the store is used"));
    fs::remove_file(world.path(ON_MIRROR)).unwrap();
    fs::remove_dir_all(world.path("store/objects")).unwrap();
    let again = world.prebake(&["build", RECIPE, "--locked"]).ok();
    assert!(again.stderr.contains("404; the copy in the store is used"), "{}", again.stderr);
    let file = world.path("release/stable/amd64-usr/current/version.txt").display().to_string();
    world.prebake(&["key", "verify", &file, "--pin", PRIMARY]).ok();
    fs::remove_dir_all(world.path("store")).unwrap();
    world
        .prebake(&["build", RECIPE])
        .fails(6, &["key file cannot be fetched", "Flatcar_Image_Signing_Key.asc", "404", "`trust.key`"]);
}

#[test]
fn an_update_tells_what_is_new_and_refuses_an_older_copy() {
    let world = world();
    let update = ["key", "update", "--pin", FOREIGN];
    world.prebake(&update).fails(5, &["does not hold the pinned primary key"]);
    publish(&world, &fs::read(repository("tests/lab/keys/foreign.asc")).unwrap());
    assert!(
        world.prebake(&update).ok().stdout.contains(&format!("new       {FOREIGN} 2020-01-01 without end"))
    );
    assert!(world.prebake(&update).ok().stdout.contains("nothing new, "));
    // Two files in one: the pinned key now has one more subkey, and then it has not.
    publish(&world, &fs::read(fixture("adopted-subkey.asc")).unwrap());
    let run = world.prebake(&update).ok();
    assert!(run.stdout.starts_with("new       8F2E8753048542474D9D9200D26D2108E2F05BC2"), "{}", run.stdout);
    let table = world.prebake(&["key", "show", "--pin", FOREIGN]).ok().stdout;
    assert!(table.contains("no: unbound"), "{table}");
    publish(&world, &fs::read(repository("tests/lab/keys/foreign.asc")).unwrap());
    world.prebake(&update).fails(
        5,
        &["takes back what an earlier copy", "8F2E8753048542474D9D9200D26D2108E2F05BC2 is missing"],
    );
    assert_eq!(world.prebake(&["key", "show", "--pin", FOREIGN]).ok().stdout, table, "the newer copy stays");
}
