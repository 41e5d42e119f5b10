//! Recipe → lock → plan → SBOM → manifest of the small world, to the byte. A difference is a change that every user's BUILD-ID
//! sees: raise the revision of the step that made it, then take the new files with `PREBAKE_BLESS=1 cargo test golden`.
//!
//! The release is committed with its signatures, because another gpg may write other bytes for the same signature.

use std::fs;

use crate::world::{VERSION, World, repository};

#[track_caller]
fn golden(name: &str, found: &str) {
    let path = repository("tests/golden").join(name);
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} differs; found:\n{found}\nexpected:\n{expected}", path.display());
}

#[test]
fn the_small_recipe_gives_the_same_lock_plan_sbom_and_manifest_as_ever() {
    let world = World::new();
    for entry in fs::read_dir(repository("tests/golden/release")).unwrap() {
        let entry = entry.unwrap();
        let place = world.path("release/stable/amd64-usr").join(VERSION).join(entry.file_name());
        fs::copy(entry.path(), place).unwrap();
    }
    world.build();
    golden("small.lock", &fs::read_to_string(world.path("recipes/small.lock")).unwrap());
    golden("small.plan", &world.prebake(&["plan", "recipes/small.yaml"]).ok().stdout);
    golden(
        "small.spdx.json",
        &fs::read_to_string(world.path("output/small/current/sbom.spdx.json")).unwrap(),
    );
    golden(
        "small.manifest.json",
        &fs::read_to_string(world.path("output/small/current/manifest.json")).unwrap(),
    );
}
