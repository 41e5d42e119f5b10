//! Importing at a site: what it believes, what it remembers, what it copies, and what a crash leaves.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use prebake::base::digest::Sha256;
use prebake::tree::manifest::Manifest;
use prebake::trust::rotation::Rotation;
use serde_json::json;

use super::{Desk, VARIED, json};
use crate::world::World;
use crate::world::kills::Span;

/// Every file of a published tree is what its manifest says, and nothing else lies there.
fn assert_whole(tree: &Path) {
    let manifest = Manifest::parse("manifest", &fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let name = tree.canonicalize().unwrap();
    assert_eq!(name.file_name().unwrap().to_str().unwrap(), manifest.build_id());
    for (path, file) in &manifest.files {
        assert_eq!(Sha256::of(&fs::read(tree.join(path)).unwrap()), file.sha256, "{path}");
    }
}

#[test]
fn an_imported_tree_is_the_built_one_and_a_warm_store_copies_nothing() {
    let (desk, world) = (Desk::new(), World::new());
    desk.key("site");
    let id = world.build();
    desk.create(world.path("output/small/current").to_str().unwrap(), "x.bundle", &[]).ok();
    let first = json(desk.import("x.bundle", &["--trust", "site.pub", "--json"]));
    assert_eq!(fs::read_link(desk.path("output/small/current")).unwrap(), Path::new(&id));
    assert_whole(&desk.path("output/small/current"));
    let same = std::process::Command::new("diff")
        .arg("-r")
        .args([world.path("output/small").join(&id), desk.path("output/small").join(&id)])
        .output()
        .unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    assert!(first["objects"]["copied"].as_u64().unwrap() > 5, "{first}");
    assert_eq!(first["trusted"], true);

    let again = json(desk.import("x.bundle", &["--json"]));
    assert_eq!(again["objects"], json!({"copied": 0, "bytes": 0, "shared": first["objects"]["copied"]}));
    assert_eq!(again["published"][0]["unchanged"], true);
    // Published anew out of the store, where nothing is read of the bundle's members any more.
    fs::remove_dir_all(desk.path("output")).unwrap();
    let anew = json(desk.import("x.bundle", &["--json"]));
    assert_eq!((&anew["objects"]["copied"], &anew["published"][0]["unchanged"]), (&json!(0), &json!(false)));
    assert_whole(&desk.path("output/small/current"));

    // The store of who built it has all but the texts that a build writes into its tree; what is private there stays.
    let built = world.path("output/small").join(&id);
    fs::create_dir_all(built.join("private/ignition")).unwrap();
    fs::write(built.join("private/ignition/n1.ign"), "{}").unwrap();
    let (bundle, key) = (desk.path("x.bundle"), desk.path("site.pub"));
    let args = ["bundle", "import", bundle.to_str().unwrap(), "--trust", key.to_str().unwrap(), "--json"];
    let at_home = json(world.prebake(&args));
    assert!(at_home["objects"]["bytes"].as_u64().unwrap() < 50_000, "{at_home}");
    assert!(built.join("private/ignition/n1.ign").exists());
}

#[test]
fn a_site_believes_what_the_first_import_was_told_and_refuses_what_is_older() {
    let desk = Desk::new();
    desk.key("site");
    desk.key("thief");
    let make = |content: &[u8], sequence: &str, more: &[&str]| {
        let name = format!("{sequence}.bundle");
        desk.tree("tree", "small", &[("a", content)]);
        let create = ["bundle", "create", "tree", "-o", &name, "--sequence", sequence];
        desk.prebake(&[&create[..], more].concat()).ok();
        name
    };
    let signed = ["--sign-key", "site.key"];
    let (one, two) = (make(b"1", "1", &signed), make(b"2", "2", &signed));
    let (stolen, unsigned) =
        (make(b"3", "30", &["--sign-key", "thief.key"]), make(b"4", "40", &["--unsigned"]));
    desk.import(&two, &[]).fails(5, &["no key is trusted yet", "--trust"]);
    desk.import(&unsigned, &["--trust", "site.pub"]).fails(5, &["is not signed", "--allow-unsigned"]);
    desk.import(&stolen, &["--trust", "site.pub"]).fails(5, &["not trusted"]);
    assert!(!desk.path("output").exists());

    desk.import(&two, &["--trust", "site.pub"]).ok();
    let newest = fs::read_link(desk.path("output/small/current")).unwrap();
    desk.import(&one, &[]).fails(5, &["number 1 of small", "seen number 2", "--allow-older"]);
    desk.import(&stolen, &[]).fails(5, &["not trusted"]);
    // To trust another key on the command line is not enough once the site knows whose bundles these are.
    desk.import(&stolen, &["--trust", "thief.pub"]).fails(5, &["not trusted"]);
    assert_eq!(fs::read_link(desk.path("output/small/current")).unwrap(), newest);

    desk.import(&one, &["--allow-older"]).ok();
    desk.import(&unsigned, &["--allow-unsigned"]).ok();
    // Neither moved what the site has seen.
    desk.import(&one, &[]).fails(5, &["seen number 2"]);
    desk.import(&two, &[]).ok();
    assert_eq!(fs::read_link(desk.path("output/small/current")).unwrap(), newest);
    fs::write(desk.path("store/bundles/small.json"), "{").unwrap();
    desk.import(&two, &[])
        .fails(5, &["store/bundles/small.json", "does not state which keys this site trusts"]);
}

#[test]
fn a_key_that_follows_another_is_believed_and_the_old_one_no_longer() {
    let desk = Desk::new();
    let (old, new) = (desk.key("old"), desk.key("new"));
    desk.tree("tree", "small", VARIED);
    let rotation = Rotation::sign(&old, &new.public()).unwrap();
    fs::write(desk.path("r.json"), rotation.statement()).unwrap();
    fs::write(desk.path("r.json.minisig"), rotation.signature().to_bytes()).unwrap();
    let create = |name: &str, more: &[&str]| {
        let create = ["bundle", "create", "tree", "-o", name];
        desk.prebake(&[&create[..], more].concat()).ok();
    };
    create("old.bundle", &["--sign-key", "old.key"]);
    create("new.bundle", &["--sign-key", "new.key"]);
    create("rotated.bundle", &["--sign-key", "new.key", "--rotation", "r.json"]);
    desk.import("old.bundle", &["--trust", "old.pub"]).ok();
    desk.import("new.bundle", &[]).fails(5, &["not trusted"]);
    desk.import("rotated.bundle", &[]).ok();
    desk.import("new.bundle", &[]).ok();
    desk.import("old.bundle", &[]).fails(5, &["not trusted"]);
    desk.import("old.bundle", &["--trust", "old.pub"]).fails(5, &["not trusted"]);
}

#[test]
fn an_expired_bundle_is_refused_unless_it_is_wanted() {
    let desk = Desk::new();
    desk.key("site");
    desk.tree("tree", "small", VARIED);
    desk.create("tree", "x.bundle", &["--expires", "2020-02-03"]).ok();
    for verb in ["verify", "import"] {
        let args = ["bundle", verb, "x.bundle", "--trust", "site.pub"];
        desk.prebake(&args).fails(5, &["expired on 2020-02-03", "--allow-expired"]);
        desk.prebake(&[&args[..], &["--allow-expired"]].concat()).ok();
    }
}

#[test]
fn machines_of_the_site_are_judged_against_the_tree_before_anything_is_imported() {
    let (desk, world) = (Desk::new(), World::new());
    desk.key("site");
    world.build();
    desk.create(world.path("output/small/current").to_str().unwrap(), "x.bundle", &[]).ok();
    let nodes = |profile: &str| {
        let node = format!("{{name: w7, mac: '52:54:00:00:00:77', profile: {profile}}}");
        fs::write(desk.path("site.yaml"), format!("schema: 1\nnodes:\n  - {node}\n")).unwrap();
    };
    let flags = ["--trust", "site.pub", "--nodes", "site.yaml"];
    nodes("wroker");
    desk.import("x.bundle", &flags).fails(3, &["site.yaml:3", "did you mean `worker`?"]);
    assert!(!desk.path("output/small").exists());
    nodes("worker");
    let run = desk.import("x.bundle", &flags).ok();
    assert!(
        run.stdout.contains("serve output/small/current --nodes output/small/nodes.yaml"),
        "{}",
        run.stdout
    );
    let [kept, given] =
        ["output/small/nodes.yaml", "site.yaml"].map(|file| fs::read(desk.path(file)).unwrap());
    assert_eq!(kept, given);
}

#[test]
fn several_trees_are_imported_at_once() {
    let desk = Desk::new();
    desk.key("site");
    let north = desk.tree("north", "north", &[("base", &[7; 9000]), ("n", b"n")]);
    let south = desk.tree("south", "south", &[("base", &[7; 9000]), ("s", b"s")]);
    let create =
        ["bundle", "create", "south", "north", "-o", "x.bundle", "--name", "both", "--sign-key", "site.key"];
    desk.prebake(&create).ok();
    let imported = json(desk.import("x.bundle", &["--trust", "site.pub", "--json"]));
    assert_eq!(imported["objects"]["copied"], 3);
    for (name, id) in [("north", north), ("south", south)] {
        assert_eq!(fs::read_link(desk.path(&format!("output/{name}/current"))).unwrap(), Path::new(&id));
        assert_whole(&desk.path(&format!("output/{name}/current")));
    }
}

#[test]
fn an_import_that_is_killed_at_any_moment_leaves_nothing_half_and_goes_on_where_it_was() {
    let files: Vec<(String, Vec<u8>)> =
        (0..48_u32).map(|n| (format!("assets/{n}"), n.to_le_bytes().repeat(100_000))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
    let desk = Desk::new();
    desk.key("site");
    let old = desk.tree("old", "small", &[("assets/0", b"old")]);
    let new = desk.tree("new", "small", &files);
    desk.create("old", "old.bundle", &["--sequence", "1"]).ok();
    desk.create("new", "new.bundle", &["--sequence", "2"]).ok();
    let import = ["bundle", "import", "new.bundle", "--trust", "site.pub"];
    let mut span = Span::of(|| drop(desk.prebake(&import).ok()));
    let (mut interrupted, mut round) = (0, 0);
    while round < 20 || interrupted < 10 {
        for directory in ["store", "output"] {
            fs::remove_dir_all(desk.path(directory)).unwrap();
        }
        desk.import("old.bundle", &["--trust", "site.pub"]).ok();
        // Somewhere in each twentieth of it.
        let random =
            f64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_micros() % 1000) / 1000.0;
        let part = (f64::from(round % 20) + random) / 20.0;
        interrupted += u32::from(span.kill(desk.command(&import).stdout(std::process::Stdio::null()), part));

        let current = fs::read_link(desk.path("output/small/current")).unwrap();
        assert!(current == Path::new(&old) || current == Path::new(&new), "round {round}: {current:?}");
        assert_whole(&desk.path("output/small/current"));
        let objects = prebake::store::Store::open(&desk.path("store")).unwrap();
        assert_eq!(objects.verify().unwrap().corrupt, [], "round {round}");
        let had = objects.objects().unwrap().len() as u64;
        drop(objects);
        let rest = json(desk.import("new.bundle", &["--json"]));
        assert!(rest["objects"]["copied"].as_u64().unwrap() <= 49 - had, "round {round}: {rest}");
        assert_eq!(fs::read_link(desk.path("output/small/current")).unwrap(), Path::new(&new));
        assert_whole(&desk.path("output/small/current"));
        let names = fs::read_dir(desk.path("output/small")).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert!(!names.iter().any(|name| name.starts_with(".tmp-")), "round {round}: {names:?}");
        round += 1;
    }
}
