//! Another Rust program uses `prebake-ignition`: by its path, without a network, and without all else that prebake depends on.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::repository;

const MEMBER: &str = "src/ignition";
/// The rest of prebake's needs: nothing of it comes along.
const STRANGERS: [&str; 9] =
    ["prebake", "aws-lc-rs", "clap", "hyper", "indicatif", "reqwest", "rustix", "tempfile", "tokio"];

/// The first block of a text that begins with a fence.
fn block<'t>(text: &'t str, fence: &str) -> &'t str {
    let (_, rest) = text.split_once(fence).unwrap();
    rest.split_once("```\n").unwrap().0
}

#[test]
fn another_program_translates_merges_and_checks_with_the_example_of_the_readme() {
    let readme = fs::read_to_string(repository(&format!("{MEMBER}/README.md"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let member = repository(MEMBER);
    let manifest = format!(
        "[package]\nname = \"outside\"\nedition = \"2024\"\n\n[dependencies]\nprebake-ignition = {{ path = {member:?} }}\n\n\
         [profile.dev]\ndebug = false\n\n[workspace]\n"
    );
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.path().join("src/main.rs"), block(&readme, "```rust\n")).unwrap();
    // The versions that prebake is built with are on this machine.
    fs::copy(repository("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let cargo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO")).args(arguments).current_dir(folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    // A directory that stays, so that only the first run builds.
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let said = cargo(&["run", "--offline", "--quiet", "--target-dir", built.to_str().unwrap()]);
    let told = block(&readme, "```text\n");
    assert!(said.trim_end().ends_with(told.trim_end()), "{said}");

    let tree = cargo(&["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let brought: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(brought.contains(&"prebake-text"), "{tree}");
    for stranger in STRANGERS {
        assert!(!brought.contains(&stranger), "{stranger} comes along:\n{tree}");
    }
}

#[test]
fn a_member_names_no_dependency_that_its_sources_do_not_use() {
    for member in [MEMBER, "src/base/text"] {
        let manifest = fs::read_to_string(repository(member).join("Cargo.toml")).unwrap();
        let needs = manifest.split_once("[dependencies]\n").unwrap().1.split_once("\n[").unwrap().0;
        let mut sources = String::new();
        let mut folders = vec![repository(member)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.extension().is_some_and(|extension| extension == "rs") {
                    true => sources.push_str(&fs::read_to_string(path).unwrap()),
                    false if path.is_dir() => folders.push(path),
                    false => {}
                }
            }
        }
        let names: Vec<&str> = needs.lines().filter_map(|line| line.split(['.', ' ']).next()).collect();
        assert!(names.len() > 2, "{member} names {names:?}");
        for name in names {
            let used = format!("{}::", name.replace('-', "_"));
            assert!(sources.contains(&used), "{member} does not use {name}");
        }
    }
}
