//! `prebake release show`: what is said of a release is signed, and costs next to nothing to learn.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use crate::world::{PRIMARY, Run, VERSION, World, repository, sign};

const DISK: &str = "flatcar_production_image.bin.bz2";

fn show(world: &World, args: &[&str]) -> Run {
    let key = repository("tests/lab/keys/lab.asc").display().to_string();
    world.prebake(&[&["release", "show", "--pin", PRIMARY, "--key", &key], args].concat())
}

#[test]
fn the_latest_stable_release_is_shown_with_its_files_and_none_of_them_is_fetched() {
    let world = World::new();
    let text = show(&world, &[]).ok().stdout;
    assert!(
        text.starts_with(&format!("Flatcar stable {VERSION} for amd64-usr\n  built   2026-08-10-1200\n")),
        "{text}"
    );
    assert!(
        text.contains("  signed  2026-08-13T09:00:00Z by 8F2E8753048542474D9D9200D26D2108E2F05BC2\n"),
        "{text}"
    );
    let files: Vec<Vec<&str>> =
        text.lines().skip(4).map(|line| line.split_whitespace().take(3).collect()).collect();
    assert!(files.contains(&vec![DISK, "48.83", "KiB"]), "{text}");
    assert!(!text.contains("flatcar_production_iso_image.iso"), "what is not there is not shown");
    for request in world.mirror.requests().iter().filter(|request| !request.path.contains("version.txt")) {
        assert_eq!(request.range.as_deref(), Some("bytes=0-0"), "{}", request.path);
    }
    let report: Value =
        serde_json::from_str(&show(&world, &["stable", VERSION, "--json"]).ok().stdout).unwrap();
    assert_eq!((&report["version"], &report["fields"]["FLATCAR_BUILD"]), (&VERSION.into(), &"4593".into()));
    let disk = report["artifacts"].as_array().unwrap().iter().find(|row| row["file"] == DISK).unwrap();
    assert_eq!(disk["size"], 50_000);
}

#[test]
fn an_export_is_evaluated_by_a_shell_and_runs_nothing() {
    let world = World::new();
    let text = format!(
        "FLATCAR_VERSION={VERSION}\nFLATCAR_BUILD_ID=\"x'; touch hacked; $(touch hacked)\"\nPATH=/nowhere\n"
    );
    world.release_file("version.txt", text.as_bytes());
    let exports = show(&world, &["--export"]).ok().stdout;
    let script = format!(
        "{exports}\nprintf '%s|' \"$FLATCAR_CHANNEL\" \"$FLATCAR_BOARD\" \"$FLATCAR_VERSION\" \"$FLATCAR_BUILD_ID\"; ls"
    );
    let output =
        Command::new("sh").args(["-euc", &script]).current_dir(world.path("recipes")).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let expected = format!("stable|amd64-usr|{VERSION}|x'; touch hacked; $(touch hacked)|");
    assert!(output.starts_with(&expected) && !output.ends_with("hacked\n"), "{exports}\n{output}");
    assert!(!world.path("recipes/hacked").exists());
}

#[test]
fn a_version_file_is_not_believed_before_its_signature() {
    let world = World::new();
    let file = world.path(&format!("release/stable/amd64-usr/{VERSION}/version.txt"));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("4593\n", "4594\n")).unwrap();
    let run = show(&world, &["--export"]);
    run.fails(5, &["version.txt.sig does not match the file"]);
    assert_eq!(run.stdout, "");
    fs::write(&file, "FLATCAR_VERSION=4593.2.1\n").unwrap();
    fs::write(file.with_file_name("version.txt.sig"), sign(b"FLATCAR_VERSION=4593.2.1\n")).unwrap();
    show(&world, &["stable", VERSION]).fails(7, &["it says 4593.2.1 in the directory of 4593.2.5"]);
}

#[test]
fn an_lts_stream_is_a_channel_and_what_is_none_is_told() {
    let world = World::new();
    let boards = world.path("release/stable/amd64-usr");
    fs::create_dir_all(world.path("release/lts/arm64-usr")).unwrap();
    symlink(boards.join(VERSION), world.path("release/lts/arm64-usr").join(VERSION)).unwrap();
    symlink(VERSION, world.path("release/lts/arm64-usr/current-2024")).unwrap();
    let exports = show(&world, &["lts-2024", "--arch", "arm64", "--export"]).ok().stdout;
    assert!(exports.starts_with("FLATCAR_CHANNEL=lts-2024\nFLATCAR_BOARD=arm64-usr\n"), "{exports}");
    show(&world, &["lts-2023", "--arch", "arm64"])
        .fails(7, &["no Flatcar release current in channel lts-2023"]);
    show(&world, &["stabel"]).fails(7, &["no Flatcar channel `stabel`", "did you mean `stable`?"]);
    show(&world, &["lts-24"]).fails(7, &["no Flatcar channel `lts-24`"]);
    show(&world, &["stable", "4593.2.99"]).fails(7, &["no Flatcar release 4593.2.99 in channel stable"]);
    show(&world, &["stable", "newest"]).fails(2, &["`newest` is not a Flatcar version"]);
}

#[test]
fn a_recipe_may_follow_an_lts_stream() {
    let world = World::new();
    fs::create_dir_all(world.path("release/lts/amd64-usr")).unwrap();
    symlink(
        world.path("release/stable/amd64-usr").join(VERSION),
        world.path("release/lts/amd64-usr").join(VERSION),
    )
    .unwrap();
    symlink(VERSION, world.path("release/lts/amd64-usr/current-2024")).unwrap();
    world.edit("recipes/small.yaml", "channel: stable", "channel: lts-2024");
    world.build();
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    assert!(lock.contains("channel: lts-2024"), "{lock}");
    assert!(
        lock.contains(&format!("https://lts.release.flatcar-linux.net/amd64-usr/{VERSION}/version.txt")),
        "{lock}"
    );
}
