//! `prebake mirror`: a directory that stands in for all public hosts.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::world::registry::{Builder, Registry};
use crate::world::{Run, World, prebake_in};

const RECIPE: &str = "recipes/small.yaml";

/// A world with an unsigned component of the web and an image, and its registry.
fn world() -> (World, Registry) {
    let world = World::new();
    let mut registry = Builder::default();
    registry.push("pause", "3.10", &["amd64"]);
    let registry = registry.start();
    let sums = world.path("release/files/v1.2");
    fs::create_dir_all(&sums).unwrap();
    fs::write(sums.join("tool"), "tool 1.2\n").unwrap();
    let digest = prebake::base::digest::Sha256::of(b"tool 1.2\n");
    fs::write(sums.join("tool.sha256"), format!("{digest}  tool\n")).unwrap();
    world.write(
        "sysext/hello/sysext.yaml",
        "schema: 1\nname: hello\nversion: '1.2'\nos: any\nreload: true\ncomponents:\n  tool:\n    \
         url: https://example.org/files/v{version}/tool\n    sha256_url: https://example.org/files/v{version}/tool.sha256\n    \
         install: /usr/bin/tool\n",
    );
    world.edit(RECIPE, "default_profile:", "images: [registry.example/pause:3.10]\ndefault_profile:");
    (world, registry)
}

fn run(world: &World, registry: &Registry, args: &[&str]) -> Run {
    let web = format!("file://{}", world.path("web").display());
    fs::create_dir_all(world.path("web/example.org")).unwrap();
    let link = world.path("web/example.org/files");
    if !link.exists() {
        std::os::unix::fs::symlink(world.path("release/files"), link).unwrap();
    }
    let mut command = world.command(args);
    command.env("PREBAKE_MIRROR_OCI", registry.url()).env("PREBAKE_MIRROR_WEB", web);
    Run::of(command.output().unwrap())
}

/// Runs in another directory with another store, and with nothing but the mirror that was filled.
fn elsewhere(directory: &Path, variables: &serde_json::Map<String, Value>, args: &[&str]) -> Run {
    let mut command = prebake_in(directory, args);
    for (name, base) in variables {
        command.env(name, base.as_str().unwrap());
    }
    // Whatever has no mirror meets a closed port.
    for proxy in ["http_proxy", "https_proxy"] {
        command.env(proxy, "http://127.0.0.1:9");
    }
    Run::of(command.output().unwrap())
}

/// Issue 17, point 2, and ux 1.15.
#[test]
fn a_fresh_store_builds_from_a_filled_directory_alone() {
    let (world, registry) = world();
    run(&world, &registry, &["mirror", RECIPE, "-o", "mirror"]).fails(9, &["no lock", "prebake lock"]);
    run(&world, &registry, &["build", RECIPE]).ok();
    let filled = run(&world, &registry, &["mirror", RECIPE, "-o", "mirror", "--json"]).ok();
    let filled: Value = serde_json::from_str(&filled.stdout).unwrap();
    let variables = filled["variables"].as_object().unwrap();
    let names: Vec<&String> = variables.keys().collect();
    assert_eq!(names, ["PREBAKE_MIRROR_FLATCAR", "PREBAKE_MIRROR_OCI", "PREBAKE_MIRROR_WEB"]);

    let site = tempfile::tempdir().unwrap();
    for folder in ["recipes", "sysext"] {
        let copied =
            std::process::Command::new("cp").args(["-r"]).arg(world.path(folder)).arg(site.path()).status();
        assert!(copied.unwrap().success());
    }
    elsewhere(site.path(), variables, &["build", RECIPE, "--locked"]).ok();
    let tree = |root: &Path| fs::read_link(root.join("output/small/current")).unwrap();
    assert_eq!(tree(site.path()), tree(&world.path("")), "the same BUILD-ID");
    // Without the lock as well, and without a copy of the key beside the recipe.
    fs::remove_file(site.path().join("recipes/small.lock")).unwrap();
    fs::remove_dir_all(site.path().join("store")).unwrap();
    fs::remove_file(site.path().join("recipes/lab.asc")).unwrap();
    let text = fs::read_to_string(site.path().join(RECIPE)).unwrap();
    fs::write(site.path().join(RECIPE), text.replace(", key: lab.asc", "")).unwrap();
    elsewhere(site.path(), variables, &["lock", RECIPE]).ok();
    let lock = |root: &Path| fs::read_to_string(root.join("recipes/small.lock")).unwrap();
    assert_eq!(lock(site.path()), lock(&world.path("")));
}

#[test]
fn a_mirror_is_filled_once_and_what_is_damaged_or_missing_again() {
    let (world, registry) = world();
    run(&world, &registry, &["build", RECIPE]).ok();
    let mirror = |args: &[&str]| {
        let args = [
            &[
                "mirror",
                "recipes/small.lock",
                "--key",
                "recipes/lab.asc",
                "-o",
                "mirror",
                "--offline",
                "--json",
            ],
            args,
        ]
        .concat();
        let run = run(&world, &registry, &args).ok();
        let filled: Value = serde_json::from_str(&run.stdout).unwrap();
        let new = filled["files"].as_array().unwrap().iter().filter(|file| file["new"] == true);
        new.map(|file| file["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = mirror(&[]);
    assert!(all.len() > 8, "{all:?}");
    assert!(mirror(&[]).is_empty());
    let mut harmed = vec![all[0].clone(), all[all.len() - 1].clone()];
    fs::remove_file(&harmed[0]).unwrap();
    let bytes = fs::read(&harmed[1]).unwrap();
    fs::write(&harmed[1], vec![0; bytes.len()]).unwrap();
    harmed.sort();
    assert_eq!(mirror(&[]), harmed);
    assert_eq!(fs::read(&all[all.len() - 1]).unwrap(), bytes);
}

/// ux 1.15: a plain path gave "builder error, relative URL without a base" and exit code 6.
#[test]
fn a_mirror_that_is_a_path_and_no_url_is_told_with_the_url() {
    let world = World::new();
    let release = world.path("release");
    for (base, words) in [
        (release.display().to_string(), format!("PREBAKE_MIRROR_FLATCAR=file://{}", release.display())),
        (
            "release".into(),
            format!("PREBAKE_MIRROR_FLATCAR=file://{}", fs::canonicalize(&release).unwrap().display()),
        ),
        ("./nowhere".into(), "its absolute path: PREBAKE_MIRROR_FLATCAR=file:///srv/mirror".into()),
        ("file:release".into(), "does not name an absolute path".into()),
        ("file://host/release".into(), "does not name an absolute path".into()),
    ] {
        let run = world.command(&["lock", RECIPE]).env("PREBAKE_MIRROR_FLATCAR", &base).output().unwrap();
        Run::of(run).fails(2, &["PREBAKE_MIRROR_FLATCAR is `", &words]);
    }
}
