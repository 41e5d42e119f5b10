//! One program for every target: `make fuzz` builds and runs it; `PREBAKE_FUZZ_TARGET` chooses what must hold.
//!
//! The targets stand in `tests/it/judges/properties/targets.rs`, where `make test` runs them too. With `PREBAKE_FUZZ_SEEDS` it
//! writes the seeds of all targets below that directory, a directory each, prints the targets' names, and ends.

#![no_main]
#![allow(dead_code)]

#[path = "../../tests/it/judges/properties/mod.rs"]
mod properties;

use std::path::Path;
use std::process::exit;
use std::sync::OnceLock;
use std::{env, fs};

use properties::targets::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fn choose() {
    if let Some(directory) = env::var_os("PREBAKE_FUZZ_SEEDS") {
        for target in &TARGETS {
            let directory = Path::new(&directory).join(target.name);
            fs::create_dir_all(&directory).expect("a directory for seeds");
            for (number, seed) in (target.seeds)().iter().enumerate() {
                fs::write(directory.join(format!("seed-{number:03}")), seed).expect("room for a seed");
            }
            println!("{}", target.name);
        }
        exit(0);
    }
    let name = env::var("PREBAKE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("PREBAKE_FUZZ_TARGET=`{name}` is no target; there are {}", names.join(", "));
        exit(2);
    };
    TARGET.get_or_init(|| target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |bytes: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.holds)(bytes);
    }
});
