//! `prebake diff`: what differs between two trees, for people and for scripts.

use std::fs;

use serde_json::{Value, json};

use crate::world::{Run, World, release, stock};

const NEWER: &str = "4593.2.6";

/// The small world, and the two builds of it: the second of a newer release, with a new node, another version of its
/// sysext, other kernel arguments and another line in a file.
fn two() -> (World, [String; 2]) {
    let world = World::new();
    world.edit("recipes/small.yaml", "channel: stable", "channel: stable, version: 4593.2.5");
    let first = world.build();
    release(&world.path("release"), NEWER, &stock(NEWER));
    world.edit("recipes/small.yaml", "4593.2.5", NEWER);
    world.edit("recipes/small.yaml", "[console=ttyS0]", "[console=ttyS1, quiet]");
    let node = "default_profile:";
    world.edit(
        "recipes/small.yaml",
        node,
        "  - {name: n3, mac: 52:54:00:00:00:03, profile: worker}\ndefault_profile:",
    );
    world.edit("recipes/worker.ign", "data:,worker", "data:,worker%0Aof%20the%20north%0A");
    world.edit("sysext/hello/sysext.yaml", "version: '1'", "version: '2'");
    world.edit("sysext/hello/files/usr/share/hello/greeting", "hello", "good day");
    let second = world.build();
    (world, [first, second].map(|id| format!("output/small/{id}")))
}

fn diff(world: &World, trees: &[String; 2], more: &[&str]) -> Run {
    world.prebake(&[&["diff", &trees[0], &trees[1]], more].concat())
}

/// The lines of a section, without their indent.
fn section<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
    let lines = text.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    lines.take_while(|line| !line.is_empty()).map(str::trim).collect()
}

#[test]
fn a_person_sees_versions_arguments_machines_and_lines() {
    let (world, trees) = two();
    let text = diff(&world, &trees, &[]).ok().stdout;
    assert_eq!(section(&text, "Releases"), ["~ amd64  stable 4593.2.5 → stable 4593.2.6"], "{text}");
    let versions = section(&text, "Versions");
    assert!(
        versions[0].starts_with("~ sysext hello (amd64)  1 (") && versions[0].contains(" → 2 ("),
        "{text}"
    );
    let boots = section(&text, "Boots");
    assert_eq!(
        boots[boots.iter().position(|line| *line == "~ worker").unwrap() + 1..][..3],
        ["- console=ttyS0", "+ console=ttyS1", "+ quiet"]
    );
    let machines = section(&text, "Machines");
    assert_eq!(machines, ["+ n3  mac=52:54:00:00:00:03 gets worker {\"name\":\"n3\"}"], "{text}");
    let lines = section(&text, "Lines");
    assert!(lines.iter().any(|line| line.starts_with('+') && line.ends_with("\"of the north\"")), "{text}");
    assert!(
        lines.contains(&"ignition/control+n2.ign and 2 more with the same change"),
        "one change is told once: {text}"
    );
    assert!(text.contains("\nFiles: 9 added, 7 removed, 17 changed; "), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");
}

#[test]
fn a_script_gets_json_and_an_exit_code() {
    let (world, trees) = two();
    let run = diff(&world, &trees, &["--json", "--exit-code"]);
    assert_eq!(run.code, Some(10), "{}", run.stderr);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let release = json!([{"name": "amd64", "before": "stable 4593.2.5", "after": "stable 4593.2.6"}]);
    assert_eq!(found["releases"], release);
    let of = |list: &str, name: &str| {
        let rows = found[list].as_array().unwrap();
        rows.iter()
            .find(|row| row["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {rows:#?}"))
            .clone()
    };
    let hello = of("versions", "sysext hello (amd64)");
    assert_eq!((&hello["before"][0]["version"], &hello["after"][0]["version"]), (&json!("1"), &json!("2")));
    let worker = of("boots", "worker");
    assert!(worker["after"]["args"].as_array().unwrap().contains(&json!("quiet")));
    let gone = of("files", "assets/flatcar/4593.2.5/flatcar_production_pxe.vmlinuz");
    assert_eq!((&gone["before"]["size"], &gone["after"]), (&json!(18), &Value::Null));
    assert_eq!(of("machines", "n3")["after"]["profile"], "worker");

    let same = [trees[0].clone(), trees[0].clone()];
    let run = diff(&world, &same, &["--exit-code"]).ok();
    assert!(run.stdout.contains("are the same"), "{}", run.stdout);
    // One that was carried and signed, beside one that was just built.
    world.prebake(&["key", "generate", "-o", "site", "--no-passphrase"]).ok();
    world.prebake(&["bundle", "create", &trees[0], "-o", "signed.bundle", "--sign-key", "site.key"]).ok();
    let args = ["diff", "signed.bundle", &trees[1], "--trust", "site.pub"];
    world.prebake(&args).fails(5, &["is not signed"]);
    world.prebake(&[&args[..], &["--allow-unsigned"]].concat()).ok();
}

#[test]
fn bundles_are_compared_without_being_unpacked_once_they_are_believed() {
    let (world, trees) = two();
    let bundles = ["a.bundle", "b.bundle"];
    for (tree, bundle) in trees.iter().zip(bundles) {
        world.prebake(&["bundle", "create", tree, "-o", bundle, "--unsigned"]).ok();
    }
    let args = ["bundle", "diff", bundles[0], bundles[1], "--json"];
    let run = world.prebake(&args);
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    let run = world.prebake(&[&args[..], &["--allow-unsigned", "--deep"]].concat()).ok();
    let mut found: Value = serde_json::from_str(&run.stdout).unwrap();
    let mut expected: Value =
        serde_json::from_str(&diff(&world, &trees, &["--json", "--deep"]).ok().stdout).unwrap();
    for side in ["from", "to"] {
        assert_ne!(found[side]["place"], expected[side]["place"]);
        found[side]["place"] = expected[side]["place"].take();
        expected[side]["place"] = found[side]["place"].clone();
    }
    assert_eq!(found, expected);
    // A tree and a bundle of it are the same.
    let run = world.prebake(&["diff", &trees[0], bundles[0], "--allow-unsigned", "--exit-code"]).ok();
    assert!(run.stdout.contains("are the same"), "{}", run.stdout);
}

#[test]
fn deep_tells_which_files_inside_a_sysext_changed() {
    let (world, trees) = two();
    let text = diff(&world, &trees, &["--deep"]).ok().stdout;
    let inside = section(&text, "Inside sysexts");
    assert_eq!(inside[0], "hello (amd64)", "{text}");
    let greeting = inside.iter().find(|line| line.contains("usr/share/hello/greeting")).unwrap();
    assert!(
        greeting.starts_with('~') && greeting.contains(" 6 B ") && greeting.contains(" 9 B "),
        "{greeting}"
    );
    assert!(!diff(&world, &trees, &[]).ok().stdout.contains("Inside sysexts"));
}

#[test]
fn a_tree_that_lacks_what_it_names_or_is_none_is_told_by_name() {
    let (world, trees) = two();
    diff(&world, &[trees[0].clone(), "recipes".into()], &[]).fails(1, &["recipes is not a tree"]);
    let config = world.path(&trees[1]).join("ignition/worker.ign");
    fs::remove_file(&config).unwrap();
    diff(&world, &trees, &[]).fails(4, &["ignition/worker.ign", &trees[1]]);
}
