//! How long rebuilds take with a base of 400 MiB, beside a plain copy of that base, which is what a tool pays that joins
//! base and overlay into one file.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;

#[path = "../tests/lab/mod.rs"]
mod lab;
mod race;
#[path = "../tests/it/world/fixture.rs"]
mod world;

use race::Race;
use world::{VERSION, World};

const ROUNDS: usize = 9;
const BASE: u64 = 400 << 20;
const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

fn main() {
    let world = World::new();
    let base = world.path("release/stable/amd64-usr").join(VERSION).join(INITRD);
    fs::write(&base, race::noise(BASE)).unwrap();
    fs::write(base.with_file_name(format!("{INITRD}.sig")), world::sign_file(&base)).unwrap();
    world.build();

    let mut race = Race::new(format!("rebuilds with a base of {} MiB", BASE >> 20));
    for round in 0..ROUNDS {
        race.turn("nothing changed", || drop(world.build()));
        let text = format!(
            r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":[{{"path":"/etc/role","contents":{{"source":"data:,{round}"}}}}]}}}}"#
        );
        fs::write(world.path("recipes/worker.ign"), text).unwrap();
        race.turn("one layer changed", || drop(world.build()));
        race.turn("cp of the base", || assert!(fs::copy(&base, world.path("copy")).unwrap() > 0));
    }
    race.finish();
}
