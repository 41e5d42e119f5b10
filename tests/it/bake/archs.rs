//! One recipe for machines of several architectures.

use std::collections::BTreeMap;
use std::fs;

use prebake::tree::manifest::{File, Manifest, Role};

use crate::judges::matchbox::check_tree;
use crate::world::{VERSION, World};

/// The small world with an arm64 board on the mirror, and a recipe for both.
fn world() -> World {
    let world = World::with_arm64();
    world.edit("recipes/small.yaml", "channel: stable}", "channel: stable, arch: [arm64, amd64]}");
    world.edit("recipes/small.yaml", "profile: worker}", "profile: worker, arch: amd64}");
    world.edit("recipes/small.yaml", "profile: control,", "profile: control, arch: arm64,");
    world
}

fn files(world: &World) -> BTreeMap<String, File> {
    let bytes = fs::read(world.path("output/small/current/manifest.json")).unwrap();
    Manifest::parse("manifest.json", &bytes).unwrap().files
}

fn text(world: &World, path: &str) -> String {
    fs::read_to_string(world.path("output/small/current").join(path)).unwrap()
}

#[test]
fn each_architecture_gets_its_own_release_sysexts_and_overlays() {
    let world = world();
    world.build();
    let files = files(&world);
    let of_role =
        |role| files.iter().filter(move |(_, file)| file.role == role).map(|(path, _)| path.as_str());
    let kernels: Vec<&str> = of_role(Role::Kernel).collect();
    let kernel = |board| format!("assets/flatcar/{board}/{VERSION}/flatcar_production_pxe.vmlinuz");
    assert_eq!(kernels, [kernel("amd64-usr"), kernel("arm64-usr")]);
    let sysexts: Vec<&str> = of_role(Role::Sysext).collect();
    assert_eq!(sysexts, ["assets/sysext/hello/hello-1-arm64.raw", "assets/sysext/hello/hello-1-x86-64.raw"]);
    let overlays: Vec<&str> = of_role(Role::Overlay).collect();
    let expected = ["control.amd64", "control.arm64+n2", "control.arm64", "worker.amd64", "worker.arm64"];
    assert_eq!(overlays, expected.map(|id| format!("assets/overlay/{id}.cpio")));
    assert_ne!(files[sysexts[0]].sha256, files[sysexts[1]].sha256, "they name their architecture");
    let script = text(&world, "boot/ipxe/mac-52-54-00-00-00-02.ipxe");
    assert!(script.contains("/arm64-usr/") && script.contains("control.arm64+n2.cpio"), "{script}");
}

#[test]
fn a_machine_without_a_node_boots_the_default_of_its_architecture() {
    let world = world();
    world.build();
    let of = |id: &str| -> serde_json::Value {
        serde_json::from_str(&text(&world, &format!("groups/{id}.json"))).unwrap()
    };
    assert_eq!(of("default")["profile"], "worker.amd64");
    assert!(of("default").get("selector").is_none(), "a BIOS says i386");
    assert_eq!(of("default-arm64")["profile"], "worker.arm64");
    assert_eq!(of("default-arm64")["selector"], serde_json::json!({"arch": "arm64"}));
    let entry = text(&world, "boot.ipxe");
    let chain = "chain boot/ipxe/default-${buildarch}.ipxe || chain boot/ipxe/default.ipxe";
    assert!(entry.contains(chain), "{entry}");
    check_tree(&world.path("output/small/current"));
}

#[test]
fn a_node_must_say_its_architecture_and_it_must_be_one_of_the_release() {
    let world = world();
    world.edit("recipes/small.yaml", "profile: worker, arch: amd64}", "profile: worker}");
    world.edit("recipes/small.yaml", "arch: [arm64, amd64]", "arch: [arm64, amd64, arm64]");
    world.prebake(&["build", "recipes/small.yaml"]).fails(
        3,
        &[
            "small.yaml:13:5",
            "this node needs an `arch`: the release is for amd64 and arm64",
            "`arm64` is listed twice",
        ],
    );
    world.edit("recipes/small.yaml", "arch: [arm64, amd64, arm64]", "arch: [amd64]");
    world
        .prebake(&["build", "recipes/small.yaml"])
        .fails(3, &["the recipe's release is for amd64, not arm64"]);
}
