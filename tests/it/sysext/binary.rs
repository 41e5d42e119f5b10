//! The sysexts that are in the binary: a copy of it that stands alone builds what a clone of the repository builds.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use prebake::sysext::description::Description;
use prebake::sysext::shipped::Shipped;
use serde_json::Value;

use crate::world::{Run, World, repository};

/// The small world without any folder of sysexts, whose recipe wants one that ships.
fn world() -> World {
    let world = World::new();
    fs::remove_dir_all(world.path("sysext")).unwrap();
    world.edit("recipes/small.yaml", "sysexts: [hello]", "sysexts: [report]");
    world
}

fn copy(world: &World, name: &str, to: &str) {
    fs::create_dir_all(world.path(to)).unwrap();
    let from = repository("sysext").join(name);
    assert!(Command::new("cp").arg("-a").arg(from).arg(world.path(to)).status().unwrap().success());
}

fn lock(world: &World) -> String {
    fs::read_to_string(world.path("recipes/small.lock")).unwrap()
}

#[test]
fn the_binary_has_every_folder_of_the_repository_but_the_labs_byte_for_byte() {
    let folders = fs::read_dir(repository("sysext")).unwrap().map(|entry| entry.unwrap().file_name());
    let folders: BTreeSet<String> = folders.map(|name| name.into_string().unwrap()).collect();
    let shipped: BTreeSet<String> = Shipped::all().iter().map(|shipped| shipped.name.to_owned()).collect();
    let lab: Vec<&String> = folders.difference(&shipped).collect();
    assert_eq!(lab, ["lab-hello"]);
    let mut links = 0;
    for shipped in Shipped::all() {
        let of_disk = Description::load(&repository("sysext").join(shipped.name)).unwrap();
        let of_binary = Description::shipped(shipped).unwrap();
        // The digest of a step's key: paths, kinds, modes, targets and bytes.
        assert_eq!(of_binary.digest().unwrap(), of_disk.digest().unwrap(), "{}", shipped.name);
        assert_eq!(of_binary.node_layer.is_some(), of_disk.node_layer.is_some(), "{}", shipped.name);
        let is_link = |(_, entry): &(&str, &prebake::format::tree::Entry)| entry.mode == 0o777;
        links += of_binary.files.iter().filter(is_link).count();
    }
    assert!(links > 0, "kubernetes has a link");
}

/// ux 1.3: outside of the repository `sysext ls` failed, and every sysext of a recipe was unknown.
#[test]
fn a_recipe_takes_its_sysexts_from_the_binary_and_gives_the_tree_that_a_folder_gives() {
    let world = world();
    let id = world.build();
    let text = lock(&world);
    assert!(text.contains("sysexts:\n  report: "), "{text}");
    world.prebake(&["build", "recipes/small.yaml", "--locked", "--offline"]).ok();
    // The same folder beside the recipe is no other input.
    copy(&world, "report", "sysext");
    let again = world.prebake(&["build", "recipes/small.yaml", "--locked", "--offline"]).ok();
    assert!(!again.stderr.contains("built "), "{}", again.stderr);
    assert_eq!(world.current().unwrap(), id);
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    assert_eq!(lock(&world), text);
}

#[test]
fn another_content_than_the_locked_one_is_drift_whether_it_comes_from_the_binary_or_a_folder() {
    let world = world();
    let first = world.build();
    // A newer prebake has other bytes below the same name, so the lock has the digest of others.
    let of_another = |pin: &str| {
        let text = lock(&world);
        let line = text.lines().find(|line| line.starts_with("  report: ")).unwrap().to_owned();
        fs::write(world.path("recipes/small.lock"), text.replace(&line, pin)).unwrap();
    };
    of_another(&format!("  report: {}", "a".repeat(64)));
    let drifts = |words: &str| {
        for args in [
            &["build", "--locked"][..],
            &["build", "--locked", "--offline"],
            &["fetch"],
            &["plan", "--locked"],
        ] {
            let args: Vec<&str> = args.iter().copied().chain(["recipes/small.yaml"]).collect();
            world.prebake(&args).fails(9, &[words, "prebake lock"]);
        }
    };
    drifts("the sysext `report` of prebake");
    let story = world.prebake(&["lock", "recipes/small.yaml"]).ok().stdout;
    assert!(story.contains("sysext report") && story.contains("aaaaaaaaaaaa"), "{story}");
    world.prebake(&["build", "recipes/small.yaml", "--locked"]).ok();
    assert_eq!(world.current().unwrap(), first);

    // A folder that takes its place, and differs.
    copy(&world, "report", "sysext");
    world.edit("sysext/report/files/usr/libexec/prebake-report", "#!/bin/", "#! /bin/");
    drifts("the sysext `report` in ");
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    assert!(!lock(&world).contains("sysexts:"), "what is beside a recipe is not pinned: {}", lock(&world));
    world.prebake(&["build", "recipes/small.yaml", "--locked"]).ok();
    assert_ne!(world.current().unwrap(), first);

    // Without the folder the one in the binary would be built instead.
    fs::remove_dir_all(world.path("sysext")).unwrap();
    drifts("is not locked");
    let moved = world.prebake(&["lock", "recipes/small.yaml", "--json"]).ok().stdout;
    let moved: Value = serde_json::from_str(&moved).unwrap();
    assert_eq!(
        (moved["moved"].as_bool(), moved["sysexts"][0]["name"].as_str()),
        (Some(true), Some("report"))
    );
    world.edit("recipes/small.yaml", "sysexts: [report]", "sysexts: []");
    drifts("the sysext `report` is locked but not needed");
}

#[test]
fn a_lock_without_pins_stays_as_it_is_where_folders_are_used() {
    let world = World::new();
    world.build();
    let text = lock(&world);
    assert!(!text.contains("sysexts:"), "{text}");
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    assert_eq!(lock(&world), text);
}

#[test]
fn what_a_recipe_adds_by_itself_is_in_the_binary_too() {
    let world = world();
    world.write(
        "recipes/small.yaml",
        "schema: 1\nname: small\nrelease: {channel: stable}\nkubernetes: {version: v1.34.4, images: true}\n\
         sysexts: [kubernetes, kubernetes-config, containerd-config, report]\nprofiles:\n  worker: {}\n  \
         disk: {install: {device: /dev/vda}}\noutputs: {pxe: {}, matchbox: {}, disk: {}}\n",
    );
    let plan = world.prebake(&["plan", "recipes/small.yaml"]).ok();
    assert!(plan.stdout.contains("sysext/kubernetes/amd64/kubelet"), "{}", plan.stdout);
}

#[test]
fn a_folder_that_cannot_be_read_is_not_passed_over_for_the_one_in_the_binary() {
    let world = world();
    world.write("sysext/report/sysext.yml", "schema: 1\n");
    world
        .prebake(&["plan", "recipes/small.yaml"])
        .fails(1, &["sysext/report/sysext.yaml", "a folder with a sysext.yaml"]);
    world.write("sysext/report/sysext.yaml", "schema: 1\nname: report\nversion: '1'\nos: any\nfoo: 1\n");
    world.prebake(&["plan", "recipes/small.yaml"]).fails(3, &["unknown key `foo`"]);
}

fn rows(run: Run) -> Vec<Value> {
    serde_json::from_str(&run.ok().stdout).unwrap()
}

#[test]
fn sysext_ls_tells_folders_from_the_binary_and_what_they_hide_anywhere() {
    let world = World::new();
    fs::remove_dir_all(world.path("sysext")).unwrap();
    let table = world.prebake(&["sysext", "ls"]).ok().stdout;
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        table.lines().any(|line| line.starts_with("report ") && line.contains(&format!("prebake {version}"))),
        "{table}"
    );
    let all = rows(world.prebake(&["sysext", "ls", "--json"]));
    assert_eq!(all.len(), Shipped::all().len());
    assert!(
        all.iter()
            .all(|row| row["from"] == "prebake" && row["prebake"] == version && row["folder"].is_null())
    );

    copy(&world, "report", "sysext");
    copy(&world, "report", "deep/sysext");
    world.write("sysext/own/sysext.yaml", "schema: 1\nname: own\nversion: '1'\nos: any\n");
    let mut command = world.command(&["sysext", "ls"]);
    let table = Run::of(command.current_dir(world.path("deep")).output().unwrap()).ok().stdout;
    let line = table.lines().find(|line| line.starts_with("report ")).unwrap();
    assert!(
        line.contains("sysext/report, hides /") && line.contains(&format!("hides prebake {version}")),
        "{line}"
    );
    let all = rows(world.prebake(&["sysext", "ls", "--json"]));
    let of = |name: &str| all.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(
        (of("own")["from"].as_str(), of("own")["hides"].as_array().unwrap().len()),
        (Some("folder"), 0)
    );
    assert_eq!(of("report")["hides"][0]["prebake"], version);
    assert!(of("report")["folder"].as_str().unwrap().ends_with("/sysext/report"));
}

#[test]
fn build_and_lint_take_names_of_the_binary_where_no_folder_is() {
    let world = world();
    world.prebake(&["sysext", "build", "report", "template"]).ok();
    copy(&world, "report", "copies");
    copy(&world, "template", "copies");
    world.prebake(&["sysext", "build", "copies/report", "copies/template", "-o", "other"]).ok();
    let images = world.names("output/sysext");
    assert_eq!(images.len(), 3, "{images:?}");
    for image in images {
        let read = |place: &str| fs::read(world.path(place).join(&image)).unwrap();
        assert!(read("output/sysext") == read("other"), "{image}");
    }
    let judged = world.prebake(&["sysext", "lint", "report"]).ok().stdout;
    assert!(judged.contains("report: no findings"), "{judged}");
    world.prebake(&["sysext", "lint", "reprot"]).fails(3, &["did you mean `report`?"]);
}

#[test]
fn a_new_sysext_is_built_as_it_was_written_and_a_copy_takes_the_place_of_the_shipped_one() {
    let world = world();
    let story = world.prebake(&["sysext", "new", "agent"]).ok().stdout;
    assert!(story.contains("prebake sysext build sysext/agent"), "{story}");
    let text = fs::read_to_string(world.path("sysext/agent/sysext.yaml")).unwrap();
    assert!(text.contains("name: agent") && !text.contains("template"), "{text}");
    world.prebake(&["sysext", "lint", "sysext/agent"]).ok();
    world.prebake(&["sysext", "build", "agent"]).ok();
    world.prebake(&["sysext", "new", "agent"]).fails(2, &["sysext/agent/sysext.yaml", "nothing was written"]);
    world.prebake(&["sysext", "new", "a/b"]).fails(2, &["cannot be the name of a sysext"]);
    world.prebake(&["sysext", "new", "report"]).fails(2, &["comes with a sysext `report`", "--copy"]);
    world.prebake(&["sysext", "new", "reporter", "--copy"]).fails(2, &["no sysext `reporter`"]);
    world.prebake(&["sysext", "new", "kubernetes", "--copy"]).ok();
    let files = "sysext/kubernetes/files/usr/libexec/kubernetes/kubelet-plugins/volume/exec";
    assert!(fs::read_link(world.path(files)).is_ok());
    world.prebake(&["sysext", "new", "report", "--copy"]).ok();
    let script = world.path("sysext/report/files/usr/libexec/prebake-report");
    assert_eq!(fs::metadata(script).unwrap().permissions().mode() & 0o777, 0o755);
    let all = rows(world.prebake(&["sysext", "ls", "--json"]));
    assert_eq!(all.iter().find(|row| row["name"] == "report").unwrap()["from"], "folder");
}
