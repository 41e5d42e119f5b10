//! What a tree says it is made of, and SPDX's own tools as the judge of how it says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::base::digest::Sha256;
use prebake::tree::manifest::Manifest;
use serde_json::Value;

use crate::judges;
use crate::world::registry::{Builder, Pushed};
use crate::world::{Run, VERSION, World};

const TOOL: &str = "https://github.com/Site/Tool/releases/download/v1.2.3/tool";
const PAUSE: &str = "registry.k8s.io/pause:3.10";

/// The small world on two architectures, with a component, a container image and unified kernel images; built.
fn rich() -> (World, Pushed) {
    let world = World::with_arm64();
    let tool = b"#!/bin/sh\n";
    let place = world.path("release/Site/Tool/releases/download/v1.2.3");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("tool"), tool).unwrap();
    let component = format!(
        "reload: true\ncomponents:\n  tool: {{url: \"{TOOL}\", sha256: {{amd64: {0}, arm64: {0}}}, install: /usr/bin/tool}}\n",
        Sha256::of(tool)
    );
    world.edit("sysext/hello/sysext.yaml", "reload: true\n", &component);
    world.edit("recipes/small.yaml", "channel: stable", "channel: stable, arch: [amd64, arm64]");
    world.edit("recipes/small.yaml", "sysexts:", &format!("images: [{PAUSE}]\nsysexts:"));
    world.edit("recipes/small.yaml", "profile: worker}", "profile: worker, arch: arm64}");
    world.edit("recipes/small.yaml", "profile: control,", "profile: control, arch: amd64,");
    let mut builder = Builder::default();
    let pushed = builder.push("pause", "3.10", &["arm64", "amd64"]);
    let registry = builder.start();
    let mut command = world.command(&["build", "recipes/small.yaml"]);
    command.env("PREBAKE_MIRROR_OCI", registry.url()).env("PREBAKE_MIRROR_GITHUB", world.mirror.url());
    Run::of(command.output().unwrap()).ok();
    (world, pushed)
}

fn tree(world: &World) -> PathBuf {
    world.path("output/small/current")
}

fn sbom(tree: &Path) -> Value {
    serde_json::from_slice(&fs::read(tree.join("sbom.spdx.json")).unwrap()).unwrap()
}

/// The packages whose field has this value.
fn having<'s>(sbom: &'s Value, field: &str, value: &str) -> Vec<&'s Value> {
    let packages = sbom["packages"].as_array().unwrap();
    packages.iter().filter(|package| package[field] == value).collect()
}

/// Names of what an element is in a relationship with.
fn related<'s>(sbom: &'s Value, element: &Value, verb: &str) -> BTreeSet<&'s str> {
    let relationships = sbom["relationships"].as_array().unwrap().iter();
    let of_it = relationships
        .filter(|row| row["spdxElementId"] == element["SPDXID"] && row["relationshipType"] == verb);
    of_it
        .map(|row| {
            having(sbom, "SPDXID", row["relatedSpdxElement"].as_str().unwrap())[0]["name"].as_str().unwrap()
        })
        .collect()
}

fn locators(package: &Value) -> Vec<&str> {
    let refs = package["externalRefs"].as_array().unwrap();
    refs.iter().map(|reference| reference["referenceLocator"].as_str().unwrap()).collect()
}

#[test]
fn the_sbom_tells_release_component_image_and_sysext_by_the_names_that_scanners_know() {
    let (world, pushed) = rich();
    let sbom = sbom(&tree(&world));
    let release = having(&sbom, "name", "flatcar");
    assert_eq!(release.len(), 2);
    assert_eq!(release[0]["versionInfo"], VERSION);
    assert_eq!(
        release[0]["downloadLocation"],
        format!("https://stable.release.flatcar-linux.net/amd64-usr/{VERSION}/")
    );
    let cpe = format!("cpe:2.3:o:flatcar-linux:flatcar_linux:{VERSION}:*:*:*:*:*:*:*");
    assert_eq!(locators(release[0]), [cpe, format!("pkg:generic/flatcar@{VERSION}?arch=amd64")]);

    let tool = having(&sbom, "name", "tool");
    assert_eq!(tool.len(), 2, "one for each architecture");
    assert_eq!((&tool[0]["versionInfo"], &tool[0]["downloadLocation"]), (&"v1.2.3".into(), &TOOL.into()));
    assert_eq!(locators(tool[0]), ["pkg:github/site/tool@v1.2.3"]);

    let image = having(&sbom, "name", PAUSE);
    let digest = pushed.manifests["amd64"].strip_prefix("sha256:").unwrap();
    let purl =
        format!("pkg:oci/pause@sha256%3A{digest}?arch=amd64&repository_url=registry.k8s.io/pause&tag=3.10");
    assert!(image.iter().any(|image| locators(image) == [&purl]), "{image:?}");

    let hello = having(&sbom, "packageFileName", "assets/sysext/hello/hello-1-x86-64.raw")[0];
    assert_eq!((&hello["name"], &hello["versionInfo"]), (&"hello".into(), &"1".into()));
    assert_eq!(related(&sbom, hello, "GENERATED_FROM"), ["tool"].into());
    let overlay = having(&sbom, "packageFileName", "assets/overlay/worker.amd64.cpio");
    assert_eq!(related(&sbom, overlay[0], "CONTAINS"), ["hello"].into());
    let archive = having(&sbom, "packageFileName", "assets/images/pause-3.10-amd64.tar")[0];
    assert_eq!(related(&sbom, archive, "CONTAINS"), [PAUSE].into());
    assert_eq!(sbom["creationInfo"]["created"], "2026-08-13T09:00:00Z");
}

#[test]
fn every_published_file_is_in_the_sbom_with_its_digest_but_for_those_that_list_it() {
    let (world, _) = rich();
    let tree = tree(&world);
    let sbom = sbom(&tree);
    let manifest = Manifest::parse("m", &fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let root = having(&sbom, "SPDXID", "SPDXRef-Tree")[0];
    let mut missing = Vec::new();
    for (path, file) in &manifest.files {
        match having(&sbom, "packageFileName", path)[..] {
            [package] => {
                assert_eq!(package["checksums"][0]["checksumValue"], file.sha256.to_string(), "{path}");
                assert!(
                    related(&sbom, root, "CONTAINS").contains(package["name"].as_str().unwrap()),
                    "{path}"
                );
            }
            _ => missing.push(path.as_str()),
        }
    }
    assert_eq!(missing, ["SHA256SUMS", "sbom.spdx.json"]);
    let kernel = having(
        &sbom,
        "packageFileName",
        &format!("assets/flatcar/arm64-usr/{VERSION}/flatcar_production_pxe.vmlinuz"),
    )[0];
    assert_eq!(kernel["checksums"][1]["algorithm"], "SHA512");
    assert!(kernel["sourceInfo"].as_str().unwrap().contains("8F2E8753048542474D9D9200D26D2108E2F05BC2"));
}

#[test]
fn the_lock_in_a_tree_is_the_recipes_lock() {
    let world = World::new();
    world.build();
    let lock = fs::read(world.path("recipes/small.lock")).unwrap();
    assert_eq!(fs::read(tree(&world).join("small.lock")).unwrap(), lock);
}

#[test]
fn the_sbom_of_a_tree_that_was_injected_into_says_what_has_changed_since() {
    let world = World::new();
    world.build();
    let before = fs::canonicalize(tree(&world)).unwrap();
    fs::write(world.path("motd"), "welcome\n").unwrap();
    let file = "usr/share/oem/motd=motd";
    world.prebake(&["initrd", "inject", "output/small/current", "--profile", "worker", "--file", file]).ok();
    let (before, after) = (sbom(&before), sbom(&tree(&world)));
    assert_ne!(before["documentNamespace"], after["documentNamespace"]);
    let overlay = having(&after, "packageFileName", "assets/overlay/worker.cpio")[0];
    let digest = Sha256::of(&fs::read(tree(&world).join("assets/overlay/worker.cpio")).unwrap());
    assert_eq!(overlay["checksums"][0]["checksumValue"], digest.to_string());
    assert!(overlay["sourceInfo"].as_str().unwrap().contains("initrd inject"), "{overlay}");
    judge(&tree(&world));
}

#[test]
fn spdx_tools_find_nothing_wrong_in_a_trees_sbom() {
    let (world, _) = rich();
    judge(&tree(&world));
}

/// `pyspdxtools` reads and validates by the specification; nothing is said where judges are skipped on purpose.
fn judge(tree: &Path) {
    let Some(library) = judges::python("spdx") else { return };
    let ask = |sbom: &Path| {
        let mut command = Command::new("python3");
        command.args(["-m", "spdx_tools.spdx.clitools.pyspdxtools", "--version", "SPDX-2.3", "--infile"]);
        command.arg(sbom).env("PYTHONPATH", &library).output().unwrap()
    };
    let output = ask(&tree.join("sbom.spdx.json"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");

    // The judge is awake: one id that nothing has is found.
    let text = fs::read_to_string(tree.join("sbom.spdx.json")).unwrap();
    let broken = tempfile::Builder::new().suffix(".spdx.json").tempfile().unwrap();
    fs::write(broken.path(), text.replacen("SPDXRef-Tree", "SPDXRef-Nobody", 1)).unwrap();
    assert!(!ask(broken.path()).status.success());
}
