//! Making bundles.

use std::fs;

use prebake::tree::bundle::{Bundle, Demand};
use serde_json::json;

use super::{Desk, VARIED, copy, json};
use crate::world::{Run, World, peak_memory};

#[test]
fn a_bundle_made_twice_on_different_settings_is_the_same_file() {
    let (desk, world) = (Desk::new(), World::new());
    desk.key("site");
    world.build();
    let tree = world.path("output/small/current");
    desk.create(tree.to_str().unwrap(), "one.bundle", &["--expires", "2030-01-01", "--sequence", "4"]).ok();
    // Another directory, and files that were written at another time by somebody with another umask.
    copy(&tree.canonicalize().unwrap(), &desk.path("elsewhere"));
    let script = "umask 077; exec taskset 1 \"$@\"";
    let prebake = env!("CARGO_BIN_EXE_prebake");
    let args = ["bundle", "create", "elsewhere", "-o", "two.bundle", "--sequence", "4"];
    let run = std::process::Command::new("sh")
        .args(["-c", script, "sh", prebake])
        .args(args)
        .args(["--sign-key", "site.key", "--expires", "2030-01-01T00:00:00Z"])
        .current_dir(desk.path(""))
        .env("TZ", "Pacific/Chatham")
        .env("LC_ALL", "tr_TR.UTF-8")
        .output();
    Run::of(run.unwrap()).ok();
    let [one, two] = ["one.bundle", "two.bundle"].map(|name| fs::read(desk.path(name)).unwrap());
    assert!(one == two, "the two differ");
}

#[test]
fn nobody_makes_a_bundle_without_a_signature_by_accident() {
    let desk = Desk::new();
    desk.key("site");
    desk.tree("tree", "small", VARIED);
    let create = ["bundle", "create", "tree", "-o", "x.bundle"];
    desk.prebake(&create).fails(2, &["would not be signed", "--unsigned"]);
    assert!(!desk.path("x.bundle").exists());
    desk.create("tree", "x.bundle", &["--unsigned"]).fails(2, &["would be signed, but --unsigned was given"]);
    desk.prebake(&[&create[..], &["--unsigned"]].concat()).ok();
    assert!(desk.path("x.bundle").exists());
}

#[test]
fn a_file_that_changed_since_it_was_published_is_named_and_no_bundle_is_made() {
    let desk = Desk::new();
    desk.key("site");
    for (changed, words) in
        [(&[9; 1500][..], "its content differs"), (&[1; 1499], "1499 bytes instead of 1500")]
    {
        desk.tree("tree", "small", VARIED);
        fs::write(desk.path("tree/assets/one.raw"), changed).unwrap();
        fs::write(desk.path("x.bundle"), "an older bundle").unwrap();
        desk.create("tree", "x.bundle", &[]).fails(4, &["tree/assets/one.raw", words, "hint:"]);
        assert_eq!(fs::read(desk.path("x.bundle")).unwrap(), b"an older bundle");
        let left = fs::read_dir(desk.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with(".tmp-")));
    }
}

#[test]
fn what_is_private_in_a_tree_is_not_packed() {
    let desk = Desk::new();
    desk.key("site");
    desk.tree("tree", "small", VARIED);
    fs::create_dir_all(desk.path("tree/private/ignition")).unwrap();
    fs::write(desk.path("tree/private/ignition/n1.ign"), "a secret of the site").unwrap();
    desk.create("tree", "x.bundle", &[]).ok();
    let bundle = fs::read(desk.path("x.bundle")).unwrap();
    assert!(!bundle.windows(8).any(|window| window == b"a secret" || window == b"private/"));
}

#[test]
fn trees_may_be_several_and_share_what_they_have_in_common() {
    let desk = Desk::new();
    desk.key("site");
    let base = vec![7; 100_000];
    let north = desk.tree("north", "north", &[("base", &base), ("n", b"n")]);
    let south = desk.tree("south", "south", &[("base", &base), ("s", b"s")]);
    let args = ["bundle", "create", "north", "south", "-o", "x.bundle", "--sign-key", "site.key"];
    desk.prebake(&args).fails(2, &["needs a name", "--name"]);
    desk.prebake(&[&args[..], &["--name", "both"]].concat()).ok();
    let bundle = Bundle::open(&desk.path("x.bundle"), &Demand::anything()).unwrap();
    let trees: Vec<_> = bundle.index().trees().map(|tree| (tree.name.to_owned(), tree.build_id())).collect();
    assert_eq!(trees, [("north".to_owned(), north), ("south".to_owned(), south)]);
    assert_eq!(bundle.extent("trees/north/base"), bundle.extent("trees/south/base"));
    assert!(bundle.layout().length() < 150_000);
    assert_eq!(bundle.read("trees/south/base", 1 << 20).unwrap(), base);

    desk.tree("other", "north", &[("n", b"another")]);
    let twice = ["bundle", "create", "north", "other", "-o", "y.bundle", "--unsigned", "--name", "y"];
    desk.prebake(&twice).fails(2, &["two of the trees are called `north`"]);
}

#[test]
fn binaries_and_keys_come_along_and_inspect_shows_all_of_it_without_believing_it() {
    let desk = Desk::new();
    let key = desk.key("site");
    let id = desk.tree("tree", "small", VARIED);
    fs::create_dir(desk.path("dist")).unwrap();
    let create =
        ["--with-binaries", "dist", "--key", "site.pub", "--sequence", "3", "--expires", "2031-02-03"];
    desk.create("tree", "x.bundle", &create).fails(2, &["dist has no prebake-amd64"]);
    fs::write(desk.path("dist/prebake-arm64"), "\x7fELF").unwrap();
    let made = json(desk.create("tree", "x.bundle", &[&create[..], &["--json"]].concat()));
    let shown = desk.prebake(&["bundle", "inspect", "x.bundle", "--json"]);
    assert!(shown.stderr.contains("NOT VERIFIED"), "{}", shown.stderr);
    let shown = json(shown);
    assert_eq!(shown["verified"], false);
    assert_eq!(shown["signers"], json!([key.public().id().to_string()]));
    for (field, value) in [("sequence", json!(3)), ("expires", json!("2031-02-03T00:00:00Z"))] {
        assert_eq!((&shown[field], &made[field]), (&value, &value));
    }
    assert_eq!(shown["trees"][0]["build_id"], json!(id));
    let listed = std::process::Command::new("tar").arg("tvf").arg(desk.path("x.bundle")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line.starts_with("-rwxr-xr-x") && line.ends_with("bin/prebake-arm64")));
    assert!(listed.contains("keys/site.pub"), "{listed}");
}

#[test]
fn no_verb_holds_a_file_in_memory() {
    let desk = Desk::new();
    desk.key("site");
    let large: Vec<u8> = (0..96 << 20).map(|byte: u32| (byte >> 3) as u8).collect();
    desk.tree("tree", "small", &[("base", &large)]);
    let peak = |args: &[&str]| {
        let mut child = desk.command(args).stdout(std::process::Stdio::null()).spawn().unwrap();
        let peak = peak_memory(&mut child);
        assert!(child.wait().unwrap().success(), "{args:?}");
        peak
    };
    let verbs: [&[&str]; 3] = [
        &["bundle", "create", "tree", "-o", "x.bundle", "--sign-key", "site.key"],
        &["bundle", "verify", "x.bundle", "--trust", "site.pub"],
        &["bundle", "import", "x.bundle", "--trust", "site.pub"],
    ];
    for verb in verbs {
        let peak = peak(verb);
        assert!(peak < 64 << 10, "{verb:?} took {peak} KiB");
    }
}
