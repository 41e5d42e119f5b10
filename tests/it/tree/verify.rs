//! `prebake verify` on trees: whatever was done to one is found, all of it, and named.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use prebake::tree::manifest::Role;
use serde_json::Value;

use crate::house::damage::Random;
use crate::world::tree::Tree;
use crate::world::{Run, VERSION, World, peak_memory};

fn verify(world: &World, args: &[&str]) -> Run {
    world.prebake(&[&["verify"], args].concat())
}

/// Replaces a file of a tree, which may be a link into the store.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_build_is_as_it_was_published_secrets_beside_it_or_not() {
    let world = World::new();
    let build = world.build();
    for tree in ["output/small/current", &format!("output/small/{build}")] {
        let run = verify(&world, &[tree]).ok();
        assert!(run.stdout.contains(&format!("build {build}")), "{}", run.stdout);
        assert!(run.stdout.contains("all as published"), "{}", run.stdout);
    }
    fs::create_dir_all(world.path("output/small/current/private/ignition")).unwrap();
    fs::write(world.path("output/small/current/private/ignition/worker.ign"), "{}").unwrap();
    // As a build makes them: what others may read is a flaw.
    for (path, mode) in [("", 0o700), ("/ignition", 0o700), ("/ignition/worker.ign", 0o600)] {
        let path = world.path(&format!("output/small/current/private{path}"));
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    verify(&world, &["output/small/current"]).ok();
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let world = World::new();
    let build = world.build();
    let tree = world.path("output/small").join(&build);
    let stock = format!("assets/flatcar/{VERSION}");
    let kernel = format!("{stock}/flatcar_production_pxe.vmlinuz");
    let bytes = fs::read(tree.join(&kernel)).unwrap();
    replace(&tree.join(&kernel), &[&bytes[1..], b"!"].concat());
    replace(&tree.join("groups/n1.json"), b"{}");
    fs::remove_file(tree.join("groups/n2.json")).unwrap();
    fs::write(tree.join("groups/n3.json"), "{}").unwrap();
    fs::create_dir_all(tree.join("more/and/more")).unwrap();
    // A link to the very bytes, but somewhere else.
    let version = format!("{stock}/version.txt");
    fs::copy(tree.join(&version), world.path("elsewhere")).unwrap();
    fs::remove_file(tree.join(&version)).unwrap();
    symlink(world.path("elsewhere"), tree.join(&version)).unwrap();

    let run = verify(&world, &["output/small/current", "--json"]);
    run.fails(4, &["6 files of", &build, "hint:"]);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    let flaws: Vec<(&str, &str)> = told["flaws"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flaw| (flaw["path"].as_str().unwrap(), flaw["flaw"].as_str().unwrap()))
        .collect();
    assert_eq!(
        flaws,
        [
            (&*kernel, "changed"),
            (&version, "outside"),
            ("groups/n1.json", "length"),
            ("groups/n2.json", "missing"),
            ("groups/n3.json", "superfluous"),
            ("more", "superfluous"),
        ]
    );
    assert_eq!(told["build_id"], *build);
    let run = verify(&world, &["output/small/current"]);
    for words in [
        format!("{kernel} does not have the digest in the manifest"),
        format!("{version} is a link that leaves the tree"),
        "groups/n1.json has 2 bytes instead of the ".into(),
        "groups/n2.json is missing".into(),
        "groups/n3.json is not in the manifest".into(),
    ] {
        assert!(run.stdout.contains(&words), "no {words:?} in:\n{}", run.stdout);
    }
}

#[test]
fn links_within_a_tree_are_followed_and_those_out_of_it_are_not() {
    let world = World::new();
    let tree = Tree::new().file("assets/a", b"same").file("assets/b", b"same").file("more/c", b"c").publish();
    let path = tree.path().to_str().unwrap();
    let link = |target: &Path, name: &str| {
        let _ = fs::remove_file(tree.path().join(name));
        symlink(target, tree.path().join(name)).unwrap();
    };
    link("a".as_ref(), "assets/b");
    verify(&world, &[path]).ok();
    // A directory that is elsewhere, with the very files.
    fs::rename(tree.path().join("more"), world.path("more")).unwrap();
    link(&world.path("more"), "more");
    link("../../../etc/passwd".as_ref(), "stray");
    let run = verify(&world, &[path]);
    run.fails(4, &["2 files of"]);
    assert!(run.stdout.contains("more/c is a link that leaves the tree"), "{}", run.stdout);
    assert!(run.stdout.contains("stray is not in the manifest"), "{}", run.stdout);
}

#[test]
fn a_manifest_that_was_edited_is_found_by_the_name_of_its_build() {
    let world = World::new();
    let build = world.build();
    let manifest = world.path("output/small").join(&build).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    replace(&manifest, text.replace("\"name\": \"small\"", "\"name\": \"smaller\"").as_bytes());
    let run = verify(&world, &["output/small/current"]);
    run.fails(4, &["1 file of"]);
    assert!(run.stdout.contains("manifest.json belongs to the build"), "{}", run.stdout);
    replace(&manifest, text.replace("  ", " ").as_bytes());
    let run = verify(&world, &["output/small/current"]);
    run.fails(4, &["1 file of"]);
    assert!(run.stdout.contains("manifest.json is not in prebake's canonical form"), "{}", run.stdout);
    // Whoever copies a tree may call it as they like.
    replace(&manifest, text.as_bytes());
    fs::rename(world.path("output/small").join(&build), world.path("copy")).unwrap();
    verify(&world, &["copy"]).ok();
}

#[test]
fn any_flipped_bit_is_found_and_its_file_named() {
    let world = World::new();
    let build = world.build();
    let tree = world.path("output/small").join(&build);
    let told = verify(&world, &["output/small/current", "--json"]).ok().stdout;
    let files = serde_json::from_str::<Value>(&told).unwrap()["files"].as_u64().unwrap();
    let manifest: Value = serde_json::from_slice(&fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let mut paths: Vec<&str> = manifest["files"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths.len() as u64, files);
    paths.push("manifest.json");
    let mut random = Random(9);
    for path in paths {
        let whole = fs::read(tree.join(path)).unwrap();
        for _ in 0..3 {
            let mut bytes = whole.clone();
            bytes[random.below(whole.len())] ^= 1 << random.below(8);
            replace(&tree.join(path), &bytes);
            let run = verify(&world, &["output/small/current"]);
            assert_eq!(run.code, Some(4), "{path}: {}", run.stdout);
            assert!((run.stdout + &run.stderr).contains(path));
        }
        replace(&tree.join(path), &whole);
    }
    verify(&world, &["output/small/current"]).ok();
}

#[test]
fn what_is_no_tree_is_said_to_be_none() {
    let world = World::new();
    verify(&world, &["nowhere"]).fails(1, &["nowhere", "prebake build"]);
    verify(&world, &["recipes"]).fails(1, &["it has no manifest.json"]);
    let tree = Tree::new().publish();
    fs::write(tree.path().join("manifest.json"), "{\"schema\": 99}").unwrap();
    verify(&world, &[tree.path().to_str().unwrap()]).fails(4, &["has schema 99"]);
}

#[test]
fn a_large_tree_is_read_in_little_memory() {
    let world = World::new();
    let mut tree = Tree::new();
    for number in 0..4 {
        tree = tree.row(&format!("assets/{number}"), Role::Sysext, &vec![number; 64 << 20]);
    }
    let tree = tree.publish();
    let mut run = world.command(&["verify", tree.path().to_str().unwrap()]).spawn().unwrap();
    let peak = peak_memory(&mut run);
    assert!(run.wait().unwrap().success());
    assert!(peak < 48 << 10, "{peak} KiB");
}

#[test]
fn a_signed_build_is_proven_to_who_trusts_its_signers_and_to_nobody_else() {
    let world = World::new();
    for name in ["site", "other"] {
        world.prebake(&["key", "generate", "-o", name, "--no-passphrase"]).ok();
    }
    let tree = "output/small/current";
    world.build();
    verify(&world, &[tree, "--trust", "site.pub"]).fails(5, &["manifest.json", "is not signed"]);
    world.prebake(&["build", "recipes/small.yaml", "--sign-key", "site.key"]).ok();
    let run = verify(&world, &[tree, "--trust", "site.pub"]).ok();
    assert!(run.stdout.contains("signed by ") && run.stdout.contains("was built by "), "{}", run.stdout);
    let told = verify(&world, &[tree, "--trust", "site.pub", "--json"]).ok().stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["signers"].as_array().unwrap().len(), 1, "{told}");
    verify(&world, &[tree, "--trust", "other.pub"]).fails(5, &["not trusted"]);
    let both = ["--trust", "site.pub", "--trust", "other.pub"];
    verify(&world, &[&[tree, "--threshold", "2"], &both[..]].concat()).fails(5, &["1 more is missing"]);
    verify(&world, &[&[tree], &both[..]].concat()).ok();
    assert!(!verify(&world, &[tree]).ok().stdout.contains("signed by"), "nobody was named who is believed");

    // What is beside the manifest is judged to the byte, and a signature does not hide what else is wrong.
    for (name, code, words) in [
        ("manifest.json.minisig", 5, "manifest.json"),
        ("provenance.json", 5, "provenance.json"),
        ("groups/n1.json", 4, "1 file of"),
    ] {
        let path = world.path(tree).join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        replace(&path, &bytes);
        verify(&world, &[tree, "--trust", "site.pub"]).fails(code, &[words]);
        replace(&path, &whole);
    }
    verify(&world, &[tree, "--trust", "site.pub"]).ok();
}
