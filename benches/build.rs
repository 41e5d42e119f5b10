//! How long rebuilds take with a base of 400 MiB, beside a plain copy of that base, which is what a tool pays that joins
//! base and overlay into one file. Same run, interleaved; medians, spreads and ratios.

#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

#[path = "../tests/lab/mod.rs"]
mod lab;
#[path = "../tests/it/world.rs"]
mod world;

use world::{VERSION, World};

const ROUNDS: usize = 9;
const BASE: u64 = 400 << 20;
const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

fn main() {
    let world = World::new();
    let base = world.path("release/stable/amd64-usr").join(VERSION).join(INITRD);
    fs::write(&base, noise(BASE)).unwrap();
    fs::write(base.with_file_name(format!("{INITRD}.sig")), world::sign_file(&base)).unwrap();
    world.build();

    let mut rows = [("nothing changed", vec![]), ("one layer changed", vec![]), ("cp of the base", vec![])];
    for round in 0..ROUNDS {
        rows[0].1.push(timed(|| drop(world.build())));
        let text = format!(
            r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":[{{"path":"/etc/role","contents":{{"source":"data:,{round}"}}}}]}}}}"#
        );
        fs::write(world.path("recipes/worker.ign"), text).unwrap();
        rows[1].1.push(timed(|| drop(world.build())));
        rows[2].1.push(timed(|| assert!(fs::copy(&base, world.path("copy")).unwrap() > 0)));
    }
    let copy = median(&rows[2].1);
    println!("rebuilds with a base of {} MiB, {ROUNDS} rounds: median (min … max), ratio to cp", BASE >> 20);
    for (name, times) in &rows {
        let (min, max) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        let ratio = median(times).as_secs_f64() / copy.as_secs_f64();
        println!("  {name:18} {:>7.1?} ({min:.1?} … {max:.1?})  {ratio:.2}×", median(times));
    }
}

/// Bytes that do not compress and that no file system stores sparsely.
fn noise(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(|_| next()).collect()
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}
