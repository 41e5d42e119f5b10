//! Bytes that were verified once are not fetched again: not by a lock made anew, and not by another recipe.

use std::fs;

use crate::lab::mirror::{Mirror, Request};
use crate::world::{VERSION, World};

const RECIPE: &str = "recipes/small.yaml";
const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

/// The paths that were asked since this many requests, without the version's directory.
fn asked(mirror: &Mirror, since: usize) -> Vec<String> {
    let name = |request: &Request| request.path.trim_start_matches("/stable/amd64-usr/").to_owned();
    mirror.requests().iter().skip(since).map(name).collect()
}

/// A second recipe beside the small one, for the same release.
fn second(world: &World) {
    let text = fs::read_to_string(world.path(RECIPE)).unwrap();
    world.write("recipes/second.yaml", text.replace("name: small", "name: second"));
}

/// ux 1.7: seven GETs and the whole release for a lock that did not move, and for each further recipe.
#[test]
fn a_lock_made_anew_and_a_second_recipe_ask_only_which_version_is_current() {
    let world = World::new();
    world.build();
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    let before = world.mirror.requests().len();
    world.prebake(&["lock", "--update", RECIPE]).ok();
    assert_eq!(asked(&world.mirror, before), ["current/version.txt"]);
    assert_eq!(fs::read_to_string(world.path("recipes/small.lock")).unwrap(), lock);
    second(&world);
    world.prebake(&["build", "recipes/second.yaml"]).ok();
    assert_eq!(asked(&world.mirror, before), ["current/version.txt", "current/version.txt"]);
    let second_lock = fs::read_to_string(world.path("recipes/second.lock")).unwrap();
    assert_eq!(second_lock, lock, "the same bytes, signer and time");
    // With its version written down, it needs no network at all.
    world.write("recipes/third.yaml", fs::read_to_string(world.path("recipes/second.yaml")).unwrap());
    world.edit(
        "recipes/third.yaml",
        "{channel: stable}",
        &format!("{{channel: stable, version: {VERSION}}}"),
    );
    let before = world.mirror.requests().len();
    world.prebake(&["build", "--offline", "recipes/third.yaml"]).ok();
    assert_eq!(asked(&world.mirror, before).len(), 0);
}

#[test]
fn another_mirror_is_asked_for_the_signatures_and_not_for_the_bytes() {
    let world = World::new();
    world.build();
    second(&world);
    let other = Mirror::builder().directory("/", &world.path("release")).start().unwrap();
    let run =
        world.command(&["build", "recipes/second.yaml"]).env("PREBAKE_MIRROR_FLATCAR", other.url()).output();
    assert!(run.unwrap().status.success());
    let asked = asked(&other, 0);
    assert!(asked.iter().all(|path| path.ends_with(".sig") || path == "current/version.txt"), "{asked:?}");
    assert!(asked.iter().any(|path| path.ends_with(&format!("{INITRD}.sig"))), "{asked:?}");
}

/// docs/decisions/063: what another recipe believed proves nothing.
#[test]
fn a_recipe_with_another_pin_gets_nothing_out_of_the_memory() {
    let world = World::new();
    world.build();
    second(&world);
    world.edit("recipes/second.yaml", "9B368570AEFD", "9B368570AEFE");
    let before = world.mirror.requests().len();
    world.prebake(&["lock", "recipes/second.yaml"]).fails(5, &[]);
    assert!(!world.path("recipes/second.lock").exists());
    assert!(asked(&world.mirror, before).len() > 1);
}

#[test]
fn a_memory_whose_bytes_are_gone_or_whose_signature_is_damaged_is_fetched_again() {
    let world = World::new();
    world.build();
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    let object = |id: &str| {
        let entry = lock.split(&format!("  flatcar/amd64/{id}:\n")).nth(1).unwrap();
        let sha256 = entry.split("sha256: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        world.path(&format!("store/objects/{}/{}", &sha256[..2], &sha256[2..]))
    };
    fs::remove_file(object(INITRD)).unwrap();
    let damaged = object("flatcar_production_pxe.vmlinuz.sig");
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, "x").unwrap();
    let before = world.mirror.requests().len();
    world.prebake(&["lock", "--update", RECIPE]).ok();
    let mut asked = asked(&world.mirror, before);
    asked.sort();
    let of = |name: &str| format!("{VERSION}/{name}");
    let expected = [
        of("flatcar_production_pxe.vmlinuz.sig"),
        of(INITRD),
        of(&format!("{INITRD}.sig")),
        "current/version.txt".to_owned(),
    ];
    assert_eq!(asked, expected);
    assert_eq!(fs::read_to_string(world.path("recipes/small.lock")).unwrap(), lock);
}
