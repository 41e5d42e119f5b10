//! Injecting into a base of 400 MiB, beside what people do instead: `cat`, unpacking and packing again, and a file for each
//! node; and how long a look into the result takes.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "../tests/lab/mod.rs"]
mod lab;
mod race;
#[path = "../tests/it/world/fixture.rs"]
mod world;

use race::{Race, run};
use world::World;

const ROUNDS: usize = 7;
const BASE: u64 = 400 << 20;
/// Of a sysext, say.
const PAYLOAD: u64 = 32 << 20;
const NODES: usize = 100;

fn prebake(directory: &Path, args: &[&str]) {
    run(Command::new(env!("CARGO_BIN_EXE_prebake")).args(args).current_dir(directory));
}

fn shell(directory: &Path, script: &str) {
    run(Command::new("bash").args(["-ec", script]).current_dir(directory));
}

fn main() {
    let desk = tempfile::tempdir().unwrap();
    let here = desk.path();
    // As Flatcar's: a gzipped archive around a squashfs that does not compress.
    fs::create_dir(here.join("base")).unwrap();
    fs::write(here.join("base/usr.squashfs"), race::noise(BASE)).unwrap();
    fs::write(here.join("image.raw"), race::noise(PAYLOAD)).unwrap();
    shell(here, "cd base && find . | cpio --quiet -o -H newc | gzip -1 > ../base.cpio.gz");
    let inject = |base: &str, out: &str, more: &[&str]| {
        let file = "usr/share/oem/sysext/image.raw=image.raw";
        prebake(here, &[&["initrd", "inject", base, "-o", out, "--file", file], more].concat());
    };
    prebake(
        here,
        &[
            "initrd",
            "inject",
            "--overlay-only",
            "-o",
            "overlay.cpio",
            "--file",
            "usr/share/oem/sysext/image.raw=image.raw",
        ],
    );

    let gone = |name: &str| drop(fs::remove_file(here.join(name)));
    let mut whole = Race::new("one file of a base of 400 MiB and an overlay of 32 MiB");
    for _ in 0..ROUNDS {
        gone("joined");
        whole.turn("prebake initrd inject", || inject("base.cpio.gz", "joined", &[]));
        gone("catted");
        whole.turn("cat base overlay", || shell(here, "cat base.cpio.gz overlay.cpio > catted"));
    }
    whole.finish();

    let mut again = Race::new("the same against unpacking and packing again");
    for _ in 0..3 {
        gone("joined");
        again.turn("prebake initrd inject", || inject("base.cpio.gz", "joined", &[]));
        again.turn("cpio and gzip", || {
            shell(
                here,
                "rm -rf tree && mkdir tree && cd tree && gzip -dc ../base.cpio.gz | cpio --quiet -id \
                 && mkdir -p usr/share/oem/sysext && cp ../image.raw usr/share/oem/sysext/ \
                 && find . | cpio --quiet -o -H newc | gzip > ../packed",
            );
        });
    }
    again.finish();

    let mut look = Race::new("a look into the injected file");
    for _ in 0..ROUNDS {
        look.turn("prebake initrd show", || prebake(here, &["initrd", "show", "joined"]));
        look.turn("prebake --version", || prebake(here, &["--version"]));
    }
    look.finish();
    nodes();
}

/// A hundred nodes with configs of their own, in the overlay layout.
fn nodes() {
    let world = World::new();
    let mut race = Race::new(format!("{NODES} nodes with configs of their own"));
    let list = |round: usize| -> String {
        let node = |n: usize| {
            let config = format!(
                r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":[{{"path":"/etc/node","contents":{{"source":"data:,{n}-{round}"}}}}]}}}}"#
            );
            fs::write(world.path(&format!("recipes/{n}.ign")), config).unwrap();
            format!("  - {{name: m{n}, mac: '52:54:00:00:01:{n:02x}', profile: bare, ignition: [{n}.ign]}}\n")
        };
        (0..NODES).map(node).collect()
    };
    let recipe = fs::read_to_string(world.path("recipes/small.yaml")).unwrap();
    // Sysexts make an overlay as large as they are; what a node costs is its config.
    let recipe = recipe.replace("sysexts: [hello]\n", "").replace("profiles:\n", "profiles:\n  bare: {}\n");
    let with = |round| recipe.replace("nodes:\n", &format!("nodes:\n{}", list(round)));
    fs::write(world.path("recipes/small.yaml"), with(0)).unwrap();
    world.build();
    for round in 1..=ROUNDS {
        fs::write(world.path("recipes/small.yaml"), with(round)).unwrap();
        race.turn("build with 100 new configs", || drop(world.build()));
        race.turn("build with nothing new", || drop(world.build()));
    }
    race.finish();
    let overlays = fs::read_dir(world.path("output/small/current/assets/overlay")).unwrap();
    let sizes =
        overlays.map(|file| file.unwrap()).filter(|file| file.file_name().to_string_lossy().contains("+m"));
    let sizes: Vec<u64> = sizes.map(|file| file.metadata().unwrap().len()).collect();
    println!("{} overlays, {} bytes in all", sizes.len(), sizes.iter().sum::<u64>());
}
