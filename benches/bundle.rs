//! Bundles of a tree with a base of 400 MiB, beside what people do instead: `tar | zstd`, `cp`, `sha256sum`, `tar x`.
//!
//! Files in a tree are compressed already, so the contents are noise. All contestants work on the same file system, and the
//! files are in the page cache.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use prebake::base::digest::Sha256;
use prebake::tree::manifest::{File, Manifest, Role, SCHEMA};
use prebake::tree::names::MANIFEST as FILE_NAME;

mod race;

use race::{Race, run};

const ROUNDS: usize = 7;
const BASE: u64 = 400 << 20;
const SYSEXTS: u64 = 8;
const SYSEXT: u64 = 32 << 20;
/// Configs, scripts and groups.
const TEXTS: u32 = 200;

fn prebake(here: &Path, args: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    run(command.args(args).current_dir(here).env("PREBAKE_STORE", here.join("store")));
}

fn shell(here: &Path, script: &str) {
    run(Command::new("bash").args(["-ec", script]).current_dir(here));
}

fn tree(place: &Path) {
    let mut files = BTreeMap::new();
    let mut put = |path: String, bytes: &[u8]| {
        let target = place.join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
        files.insert(path, File::new(Role::Sysext, bytes.len() as u64, Sha256::of(bytes)));
    };
    let base = race::noise(BASE);
    put("assets/base".into(), &base);
    for number in 0..SYSEXTS {
        let mut image = base[(number * SYSEXT) as usize..][..SYSEXT as usize].to_vec();
        image[0] ^= 1;
        put(format!("assets/sysext/{number}.raw"), &image);
    }
    for number in 0..TEXTS {
        put(format!("ignition/{number}.ign"), format!("{{\"node\": {number}}}").as_bytes());
    }
    let manifest = Manifest {
        schema: SCHEMA,
        name: "race".into(),
        epoch: 1_700_000_000,
        releases: Vec::new(),
        files,
        joined: BTreeMap::new(),
    };
    fs::write(place.join(FILE_NAME), manifest.to_bytes()).unwrap();
}

fn main() {
    // Beside the build: what lies in memory would race against disks.
    let desk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let here = desk.path();
    tree(&here.join("tree"));
    shell(here, "sync -f .");
    let create = || prebake(here, &["bundle", "create", "tree", "-o", "x.bundle", "--unsigned"]);

    let mut race = Race::new("a bundle of 656 MiB");
    for _ in 0..ROUNDS {
        shell(here, "rm -rf x.bundle copy x.tar.zst");
        race.turn("prebake bundle create", create);
        race.turn("tar | zstd -T0", || {
            shell(here, "tar c tree | zstd -q -T0 -o x.tar.zst && sync x.tar.zst")
        });
        // A bundle has its name when it is on the disk.
        race.turn("cp -r, then sync", || shell(here, "cp -r tree copy && sync -f copy"));
    }
    race.finish();

    let mut race = Race::new("every byte of a bundle judged");
    for _ in 0..ROUNDS {
        race.turn("prebake bundle verify", || {
            prebake(here, &["bundle", "verify", "x.bundle", "--allow-unsigned"])
        });
        race.turn("on one processor", || {
            let mut command = Command::new("taskset");
            command.args(["1", env!("CARGO_BIN_EXE_prebake"), "bundle", "verify", "x.bundle"]);
            run(command.arg("--allow-unsigned").current_dir(here));
        });
        race.turn("sha256sum", || shell(here, "sha256sum x.bundle"));
    }
    race.finish();

    let mut race = Race::new("every file of a tree judged");
    for _ in 0..ROUNDS {
        race.turn("prebake verify", || prebake(here, &["verify", "tree"]));
        race.turn("on one processor", || {
            let mut command = Command::new("taskset");
            run(command.args(["1", env!("CARGO_BIN_EXE_prebake"), "verify", "tree"]).current_dir(here));
        });
        race.turn("sha256sum", || shell(here, "find tree/assets tree/ignition -type f -exec sha256sum {} +"));
    }
    race.finish();

    let import = || prebake(here, &["bundle", "import", "x.bundle", "--allow-unsigned"]);
    let mut race = Race::new("a bundle imported");
    for _ in 0..ROUNDS {
        shell(here, "rm -rf store output synced unpacked && mkdir unpacked && sync -f .");
        race.turn("prebake import, all new", import);
        shell(here, "rm -rf output && sync -f .");
        race.turn("prebake import, warm store", import);
        race.turn("prebake import, unchanged", import);
        race.turn("tar x, then sync", || {
            shell(here, "mkdir synced && tar xf x.bundle -C synced && sync -f synced");
        });
        race.turn("tar x", || shell(here, "tar xf x.bundle -C unpacked"));
    }
    race.finish();
}
