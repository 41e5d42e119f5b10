//! Signed builds, judged by minisign, by OpenSSL, and by the libraries of DSSE, in-toto and SLSA.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prebake::tree::manifest::Manifest;
use prebake::tree::provenance;
use prebake::trust::minisign::{PublicKey, SecretKey};
use prebake::trust::signers::Trust;
use serde_json::{Value, json};

use crate::judges;
use crate::judges::containerd::there_is;
use crate::world::World;

const ENVELOPE: &str = "provenance.json";
const SIGNATURES: &str = "manifest.json.minisig";

/// A key in the world: its file's name, and its public half.
fn key(world: &World, name: &str) -> PublicKey {
    let key = SecretKey::generate().unwrap();
    prebake::base::disk::write_secret(&world.path(name), key.to_file(None).unwrap().as_bytes()).unwrap();
    fs::write(world.path(&format!("{name}.pub")), key.public().to_file()).unwrap();
    key.public()
}

fn tree(world: &World) -> PathBuf {
    world.path("output/small/current")
}

fn beside(world: &World) -> [Vec<u8>; 2] {
    [SIGNATURES, ENVELOPE].map(|name| fs::read(tree(world).join(name)).unwrap())
}

fn sign(world: &World, args: &[&str]) {
    world.prebake(&[&["build", "recipes/small.yaml"], args].concat()).ok();
}

fn envelope(world: &World) -> Value {
    serde_json::from_slice(&beside(world)[1]).unwrap()
}

fn payload(envelope: &Value) -> Vec<u8> {
    STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()
}

fn statement(world: &World) -> Value {
    serde_json::from_slice(&payload(&envelope(world))).unwrap()
}

#[test]
fn minisign_itself_takes_the_signature_of_a_manifest_and_refuses_another_manifest() {
    if !there_is("minisign") {
        return;
    }
    let world = World::new();
    let one = key(&world, "one");
    key(&world, "two");
    sign(&world, &["--sign-key", "one", "--sign-key", "two"]);
    let verify = |manifest: &Path, key: &str| {
        let mut command = Command::new("minisign");
        command.args(["-V", "-m"]).arg(manifest).arg("-x").arg(tree(&world).join(SIGNATURES));
        command.args(["-P", key]).output().unwrap()
    };
    let good = verify(&tree(&world).join("manifest.json"), &one.to_string());
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success(), "{said}");
    assert!(said.contains("timestamp:1786611600\tfile:manifest.json\thashed"), "{said}");
    fs::write(world.path("other.json"), "{}\n").unwrap();
    assert!(!verify(&world.path("other.json"), &one.to_string()).status.success());
}

#[test]
fn openssl_finds_the_signature_over_dsses_own_encoding() {
    let world = World::new();
    let key = key(&world, "one");
    sign(&world, &["--sign-key", "one"]);
    let envelope = envelope(&world);
    let (kind, payload) = (envelope["payloadType"].as_str().unwrap(), payload(&envelope));
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    fs::write(world.path("pae"), [head.as_bytes(), &payload].concat()).unwrap();
    assert_eq!(envelope["signatures"][0]["keyid"], key.id().to_string());
    let signature = STANDARD.decode(envelope["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    fs::write(world.path("sig"), signature).unwrap();
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): a fixed head and the point.
    let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    fs::write(world.path("key.der"), [&head[..], key.point()].concat()).unwrap();
    let verify = || {
        let mut openssl = Command::new("openssl");
        openssl.args(["pkeyutl", "-verify", "-pubin", "-inkey", "key.der", "-keyform", "DER", "-rawin"]);
        openssl.args(["-in", "pae", "-sigfile", "sig"]).current_dir(world.path("")).output().unwrap()
    };
    let output = verify();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(world.path("pae"), b"DSSEv1 ").unwrap();
    assert!(!verify().status.success());
}

#[test]
fn the_libraries_of_dsse_in_toto_and_slsa_take_the_statement() {
    let world = World::new();
    let key = key(&world, "one");
    sign(&world, &["--sign-key", "one", "--builder-id", "https://ci.example/builders/1"]);
    let Some(judge) = judges::build("attestation") else { return };
    let hex = key.point().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let ask = |envelope: &Path| {
        let mut command = Command::new(judge.join("judge"));
        command.arg(envelope).arg(key.id().to_string()).arg(&hex).output().unwrap()
    };
    let output = ask(&tree(&world).join(ENVELOPE));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = Manifest::parse("m", &fs::read(tree(&world).join("manifest.json")).unwrap()).unwrap().files;
    let expected = json!({
        "signer": key.id().to_string(), "payload_type": "application/vnd.in-toto+json",
        "predicate": "https://slsa.dev/provenance/v1", "build_type": "urn:prebake:build:1",
        "builder": "https://ci.example/builders/1", "subjects": files.len() + 1,
        // Six inputs of the lock, and three layers.
        "dependencies": 9,
    });
    assert_eq!(found, expected);

    let text = fs::read_to_string(tree(&world).join(ENVELOPE)).unwrap();
    let changed = text.replace(envelope(&world)["payload"].as_str().unwrap(), &STANDARD.encode("{}"));
    fs::write(world.path("changed"), changed).unwrap();
    assert!(!ask(&world.path("changed")).status.success());
}

#[test]
fn a_statement_names_every_published_file_what_went_in_and_nothing_of_where_it_was_built() {
    let world = World::new();
    key(&world, "one");
    fs::write(world.path("extra.ign"), r#"{"ignition":{"version":"3.3.0"}}"#).unwrap();
    sign(&world, &["--sign-key", "one", "--layer", "extra.ign"]);
    let statement = statement(&world);
    let manifest = fs::read(tree(&world).join("manifest.json")).unwrap();
    let files = Manifest::parse("m", &manifest).unwrap().files;
    let digest = |name: &str| {
        let mut subjects = statement["subject"].as_array().unwrap().iter();
        subjects.find(|subject| subject["name"] == name).map(|subject| subject["digest"]["sha256"].clone())
    };
    assert_eq!(digest("manifest.json"), Some(json!(prebake::base::digest::Sha256::of(&manifest))));
    for (path, file) in &files {
        assert_eq!(digest(path), Some(json!(file.sha256)), "{path}");
    }
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["recipe"]["name"], "small.yaml");
    assert_eq!(definition["externalParameters"]["layers"][0]["name"], "extra.ign");
    let dependencies = definition["resolvedDependencies"].as_array().unwrap();
    let kernel =
        dependencies.iter().find(|input| input["name"] == "flatcar/amd64/flatcar_production_pxe.vmlinuz");
    let kernel = kernel.unwrap();
    assert!(kernel["uri"].as_str().unwrap().starts_with("https://stable.release.flatcar-linux.net/"));
    assert_eq!(kernel["annotations"]["signer"], "8F2E8753048542474D9D9200D26D2108E2F05BC2");
    let text = String::from_utf8(payload(&envelope(&world))).unwrap();
    assert!(!text.contains(world.path("").to_str().unwrap()) && !text.contains("127.0.0.1"));
}

#[test]
fn signing_changes_no_build_id_repeats_its_bytes_and_a_build_without_it_leaves_it_alone() {
    let world = World::new();
    let unsigned = world.build();
    let [one, two] = ["one", "two"].map(|name| key(&world, name));
    sign(&world, &["--sign-key", "one"]);
    assert_eq!(world.current().unwrap(), unsigned);
    let first = beside(&world);
    sign(&world, &["--sign-key", "one"]);
    assert_eq!(beside(&world), first);
    assert_eq!(world.build(), unsigned);
    assert_eq!(beside(&world), first);

    let judge = |keys: &[&PublicKey], threshold: usize| {
        let trust = Trust::new(keys.iter().map(|key| (*key).clone()), threshold).unwrap();
        let manifest = fs::read(tree(&world).join("manifest.json")).unwrap();
        let [signatures, envelope] = beside(&world);
        provenance::judge("it", &manifest, Some(&signatures), Some(&envelope), &trust, &[]).map(drop)
    };
    judge(&[&one], 1).unwrap();
    assert!(judge(&[&two], 1).is_err());
    let run = world.prebake(&["build", "recipes/small.yaml", "--sign-key", "one", "--sign-key", "two"]).ok();
    assert!(run.stdout.contains(&format!("signed    by {}, {}", one.id(), two.id())), "{}", run.stdout);
    judge(&[&one, &two], 2).unwrap();

    // What is signed is signed before it appears: another store and output give the same bytes.
    let again = World::new();
    for name in ["one", "two"] {
        fs::copy(world.path(name), again.path(name)).unwrap();
    }
    sign(&again, &["--sign-key", "one", "--sign-key", "two"]);
    assert_eq!(beside(&again), beside(&world));
}

#[test]
fn verify_takes_a_tree_by_its_signers_and_judges_them_before_any_file() {
    let world = World::new();
    let [one, two] = ["one", "two"].map(|name| key(&world, name));
    world.build();
    let current = "output/small/current";
    let verify = |trust: &[&str]| world.prebake(&[&["verify", current], trust].concat());
    let (by_one, by_both) =
        (["--trust", "one.pub"], ["--trust", "one.pub", "--trust", "two.pub", "--threshold", "2"]);
    verify(&by_one).fails(5, &["is not signed"]);
    sign(&world, &["--sign-key", "one", "--builder-id", "https://ci.example/1"]);
    let said = verify(&by_one).ok().stdout;
    assert!(
        said.contains(&format!("signed by {}, stating that it was built by https://ci.example/1", one.id())),
        "{said}"
    );
    verify(&["--trust", "two.pub"]).fails(5, &[&one.id().to_string(), &two.id().to_string()]);
    verify(&by_both).fails(5, &["1 more is missing"]);
    sign(&world, &["--sign-key", "one", "--sign-key", "two"]);
    let told = verify(&[&by_both[..], &["--json"]].concat()).ok().stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["signers"].as_array().unwrap().len(), 2);
    assert!(told["builder"].as_str().unwrap().starts_with("pkg:generic/prebake@"), "{told}");

    // A statement about another tree, then one of nobody, then another manifest: each is a matter of trust, not of bytes.
    let whole = beside(&world);
    let change = |name: &str, bytes: &[u8]| {
        let path = tree(&world).join(name);
        fs::remove_file(&path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let manifest = fs::read(tree(&world).join("manifest.json")).unwrap();
    world.edit("recipes/small.yaml", "console=ttyS0", "console=ttyS1");
    let old = fs::canonicalize(tree(&world)).unwrap();
    sign(&world, &["--sign-key", "one"]);
    let [_, foreign] = beside(&world);
    let old_tree = format!("output/small/{}", old.file_name().unwrap().to_str().unwrap());
    fs::remove_file(tree(&world)).unwrap();
    std::os::unix::fs::symlink(&old, tree(&world)).unwrap();
    change(ENVELOPE, &foreign);
    verify(&by_one).fails(5, &["is about another tree"]);
    change(ENVELOPE, b"{}");
    verify(&by_one).fails(5, &["is not a signed statement of provenance"]);
    change(ENVELOPE, &whole[1]);
    change("manifest.json", &String::from_utf8(manifest).unwrap().replace("amd64", "arm64").into_bytes());
    world.prebake(&["verify", &old_tree, "--trust", "one.pub"]).fails(5, &["manifest.json"]);
}

#[test]
fn a_builder_without_a_key_or_by_a_name_that_is_no_uri_is_refused() {
    let world = World::new();
    key(&world, "one");
    let build = |args: &[&str]| world.prebake(&[&["build", "recipes/small.yaml"], args].concat());
    build(&["--builder-id", "https://ci.example"]).fails(2, &["--sign-key"]);
    build(&["--sign-key", "one", "--builder-id", "my laptop"]).fails(2, &["is not a URI"]);
    build(&["--sign-key", "nowhere"]).fails(1, &["nowhere"]);
    assert_eq!(world.current(), None, "nothing is published unsigned where a signature was asked for");
}
