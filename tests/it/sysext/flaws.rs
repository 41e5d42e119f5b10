//! What is wrong with a sysext's folder or with what it fetches: a clear error, and nothing published.

use std::collections::BTreeMap;
use std::fs;

use prebake::base::arch::Arch;
use prebake::base::digest::Sha256;
use prebake::base::error::Advice;
use prebake::sysext::description::Description;
use prebake::sysext::image::{self, assemble};
use tar::EntryType;

use crate::format::archives::Tar;
use crate::world::{Run, World};

const FOLDER: &str = "sysext/hello/sysext.yaml";
const URL: &str = "https://github.com/x/y/hello.tgz";

/// Builds the small recipe after its sysext was broken.
#[track_caller]
fn refused(breaking: impl FnOnce(&World), code: i32, words: &[&str]) {
    let world = World::new();
    breaking(&world);
    let mut command = world.command(&["build", "recipes/small.yaml"]);
    let output = command.env("PREBAKE_MIRROR_GITHUB", world.mirror.url()).output().unwrap();
    Run::of(output).fails(code, words);
    assert_eq!(world.current(), None);
    let left = world.names("output/small");
    assert!(left.iter().all(|name| name == ".lock"), "{left:?}");
    assert!(world.names("store/tmp").is_empty(), "nothing half-made is left");
}

/// Gives the sysext a component, which the mirror serves as `bytes` and the folder pins as `pinned`.
fn component(world: &World, bytes: &[u8], pinned: Sha256) {
    let file = world.path("release/x/y/hello.tgz");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
    let text = format!(
        "reload: true\ncomponents:\n  it: {{url: '{URL}', sha256: {{amd64: {pinned}}}, extract: {{'./*': /usr/share/x/}}}}\n"
    );
    world.edit(FOLDER, "reload: true\n", &text);
}

/// An archive that its digest fits, and that must be refused for what it holds.
#[track_caller]
fn refused_archive(tar: Tar, words: &[&str]) {
    let bytes = tar.file("good", "good").gzipped();
    refused(|world| component(world, &bytes, Sha256::of(&bytes)), 4, words);
}

#[test]
fn a_component_other_than_its_pinned_digest_is_refused() {
    let bytes = Tar::default().file("good", "good").gzipped();
    let words = ["hello.tgz has sha256", &Sha256::of(b"other").to_string()];
    refused(|world| component(world, &bytes, Sha256::of(b"other")), 4, &words);
}

#[test]
fn an_archive_with_an_absolute_member_is_refused() {
    refused_archive(Tar::default().file("/etc/passwd", "x"), &["component `it`", "`/etc/passwd`"]);
}

#[test]
fn an_archive_with_a_member_that_climbs_out_is_refused() {
    refused_archive(Tar::default().file("a/../../x", "x"), &["component `it`", "`a/../../x`"]);
}

#[test]
fn an_archive_with_a_link_out_of_the_tree_is_refused() {
    refused_archive(Tar::default().link("link", "../../../../etc"), &["component `it`", "`link`"]);
}

#[test]
fn an_archive_with_a_device_node_is_refused() {
    let tar = Tar::default().member("null", EntryType::Char, "", 0o666, b"");
    refused_archive(tar, &["component `it`", "`null`"]);
}

#[test]
fn a_name_other_than_the_folders_is_refused() {
    let words = ["the name is `helo` but the folder is `hello`", &format!("{FOLDER}:2"), "extension-release"];
    refused(|world| world.edit(FOLDER, "name: hello", "name: helo"), 3, &words);
}

#[test]
fn an_unknown_architecture_is_refused_with_the_nearest() {
    let breaking = |world: &World| {
        component(world, b"", Sha256::of(b""));
        world.edit(FOLDER, "{amd64:", "{amd46:");
    };
    refused(breaking, 3, &["unknown key `amd46` in `sha256`", FOLDER, "did you mean `amd64`?"]);
}

#[test]
fn a_unit_that_does_not_parse_is_refused_with_its_line() {
    let breaking = |world: &World| {
        let unit = world.path("sysext/hello/files/usr/lib/systemd/system/x.service");
        fs::create_dir_all(unit.parent().unwrap()).unwrap();
        fs::write(unit, "[Unit]\nAfter=a\n[Service\n").unwrap();
    };
    refused(breaking, 3, &["`[Service` is not a section header", "x.service:3"]);
}

#[test]
fn a_file_of_4_gib_is_refused_before_it_is_read() {
    let world = World::new();
    let text = "reload: true\ncomponents: {it: {url: 'https://github.com/x', sha256_url: 'https://github.com/y', install: /usr/bin/big}}\n";
    world.edit(FOLDER, "reload: true\n", text);
    let big = world.path("big");
    let file = fs::File::create(&big).unwrap();
    let description = Description::load(&world.path("sysext/hello")).unwrap();
    let variables = description.variables(Arch::Amd64, &BTreeMap::new()).unwrap();
    let assembled = || {
        let fetched = BTreeMap::from([("it".to_owned(), big.clone())]);
        assemble(&description, Arch::Amd64, &variables, &fetched, &world.path(""))
    };
    file.set_len((1 << 32) - 1).unwrap();
    assert!(assembled().is_ok());
    file.set_len(1 << 32).unwrap();
    let error = assembled().unwrap_err();
    assert!(matches!(error, image::Error::TooLarge { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "`/usr/bin/big` of sysext `hello` has 4294967296 bytes; a file in a sysext must be smaller than 4 GiB"
    );
    assert_eq!(error.exit(), prebake::base::error::Exit::Config);
}
