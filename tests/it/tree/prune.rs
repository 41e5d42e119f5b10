//! `prebake prune`: what goes, what stays, and who is asked.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use crate::world::World;
use crate::world::http::Server;

/// A world with so many builds, oldest first, each with a file system time of its own.
fn builds(count: usize) -> (World, Vec<String>) {
    let world = World::new();
    let mut ids = Vec::new();
    for number in 0..count {
        world.write(
            "recipes/n2.ign",
            format!(
                r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":[{{"path":"/etc/{number}"}}]}}}}"#
            ),
        );
        ids.push(world.build());
        world.age(ids.last().unwrap(), (count - number) as u64);
    }
    (world, ids)
}

impl World {
    /// Sets the time at which a tree was published, in hours before now.
    fn age(&self, build: &str, hours: u64) {
        let manifest = self.path("output/small").join(build).join("manifest.json");
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
        fs::set_permissions(&manifest, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        File::options().write(true).open(&manifest).unwrap().set_modified(then).unwrap();
    }

    fn prune(&self, more: &[&str]) -> Value {
        let args = [&["prune", "--json"], more].concat();
        serde_json::from_str(&self.prebake(&args).ok().stdout).unwrap()
    }

    fn trees(&self) -> Vec<String> {
        self.names("output/small").into_iter().filter(|name| name.len() == 16).collect()
    }
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

fn ids(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["build_id"].as_str().unwrap()).collect()
}

/// ux.md 1.11, 2026-11-28: trees were never removed, so each release stayed on the disk, and `store gc` kept what they used.
#[test]
fn current_and_the_newest_stay_and_gc_frees_what_the_others_used() {
    let (world, builds) = builds(5);
    let told = world.prune(&["--keep", "2", "--dry-run"]);
    assert_eq!(ids(&told["removed"]), [&*builds[2], &builds[1], &builds[0]], "{told:#}");
    assert_eq!(world.trees(), sorted(&builds), "a dry run removes nothing");
    // `current` stays, however old it is.
    fs::remove_file(world.path("output/small/current")).unwrap();
    std::os::unix::fs::symlink(&builds[0], world.path("output/small/current")).unwrap();
    let told = world.prune(&["--keep", "2"]);
    assert_eq!(ids(&told["removed"]), [&*builds[2], &builds[1]]);
    let why: Vec<&str> =
        told["kept"].as_array().unwrap().iter().map(|row| row["kept"].as_str().unwrap()).collect();
    assert_eq!(why, ["newest", "newest", "current"]);
    assert_eq!(world.trees(), sorted(&[builds[0].clone(), builds[3].clone(), builds[4].clone()]));
    assert!(told["freed"].as_u64().unwrap() > 0 && told["removed"][0]["bytes"].as_u64().unwrap() > 100_000);
    world.prebake(&["verify", "output/small/current"]).ok();
    // The overlays of the removed trees.
    let before = world.objects().len();
    world.prebake(&["store", "gc", "--grace", "0s"]).ok();
    assert!(world.objects().len() < before);
    for tree in world.trees() {
        world.prebake(&["verify", &format!("output/small/{tree}")]).ok();
    }
    // The directory of one recipe, and of none.
    let told = world.prune(&["--keep", "0", "output/small"]);
    assert_eq!(ids(&told["kept"]), [&*builds[0]]);
    world.prebake(&["prune", "--keep", "1", "recipes"]).fails(2, &["has no trees", "--output"]);
    world.prebake(&["prune", "--keep", "1", "nowhere"]).fails(2, &["has no trees"]);
    world.prebake(&["prune", "output"]).fails(2, &["--keep"]);
}

/// Newcomer to issue 21: terraform.md has the server name a build, which went under its machines.
#[test]
fn a_build_whose_assets_are_served_beside_a_data_directory_stays() {
    let (world, builds) = builds(3);
    let assets = world.path("output/small").join(&builds[0]).join("assets");
    for folder in ["mb/groups", "mb/profiles"] {
        fs::create_dir_all(world.path(folder)).unwrap();
    }
    let mut serve =
        world.command(&["serve", "--matchbox", "mb", "--address", "127.0.0.1:0", "--assets-path"]);
    let mut server = Server::start(serve.arg(&assets));
    server.says("listening on");
    assert_eq!(ids(&world.prune(&["--keep", "1"])["removed"]), [&*builds[1]]);
    server.terminate();
    server.wait();
    assert_eq!(ids(&world.prune(&["--keep", "1"])["removed"]), [&*builds[0]]);
}

#[test]
fn a_tree_that_is_served_and_one_that_is_built_stay() {
    let (world, builds) = builds(3);
    let served = world.path("output/small").join(&builds[0]);
    let (mut server, _) = Server::prebake(&served);
    let told = world.prune(&["--keep", "1"]);
    assert_eq!(ids(&told["removed"]), [&*builds[1]]);
    let used = told["kept"].as_array().unwrap().iter().find(|row| row["build_id"] == *builds[0]).unwrap();
    assert_eq!(used["kept"], "used", "{told:#}");
    assert!(served.join("manifest.json").exists());
    server.terminate();
    server.wait();
    // As a build has it.
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(world.path("output/small/.lock"))
        .unwrap();
    lock.lock().unwrap();
    fs::write(world.path("output/small/.lock"), format!("process {} since now\n", std::process::id()))
        .unwrap();
    for flags in [&["--keep", "1"][..], &["--keep", "1", "--dry-run"]] {
        let told = world.prune(flags);
        assert_eq!(
            (told["removed"].as_array().unwrap().len(), &told["busy"][0]["name"]),
            (0, &"small".into())
        );
        let holder = told["busy"][0]["holder"].as_str().unwrap();
        assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
    }
    drop(lock);
    assert_eq!(ids(&world.prune(&["--keep", "1"])["removed"]), [&*builds[0]]);
}

#[test]
fn what_a_kept_tree_was_injected_into_stays_and_what_others_put_there_too() {
    let (world, builds) = builds(3);
    let inject = [
        "initrd",
        "inject",
        "output/small/current",
        "--profile",
        "worker",
        "--ignition",
        "recipes/control.ign",
    ];
    world.prebake(&inject).ok();
    let injected = world.current().unwrap();
    fs::create_dir_all(world.path("output/small/0123456789abcdef")).unwrap();
    fs::write(world.path("output/small/notes"), "mine").unwrap();
    let told = world.prune(&["--keep", "0"]);
    assert_eq!(ids(&told["removed"]), [&*builds[1], &builds[0]], "{told:#}");
    let why: Vec<(&str, &str)> = told["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["build_id"].as_str().unwrap(), row["kept"].as_str().unwrap()))
        .collect();
    assert_eq!(why, [(&*injected, "current"), (&builds[2], "origin")]);
    for name in ["0123456789abcdef", "notes"] {
        assert!(world.path("output/small").join(name).exists(), "{name}");
    }
    // The build goes back to the tree without the injection, and says so.
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(
        run.stdout.contains(&format!("unchanged; current led to {injected} until now")),
        "{}",
        run.stdout
    );
    assert_eq!(world.current().as_deref(), Some(&*builds[2]));
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(run.stdout.contains("(unchanged)"), "{}", run.stdout);
}

#[test]
fn a_prune_that_is_killed_leaves_no_half_tree_under_its_name() {
    let (world, builds) = builds(2);
    for pause in [0, 2, 5, 10, 20] {
        let mut child = world.command(&["prune", "--keep", "0"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        for tree in world.trees() {
            world.prebake(&["verify", &format!("output/small/{tree}")]).ok();
        }
    }
    world.prune(&["--keep", "0"]);
    assert_eq!(world.trees(), [&*builds[1]]);
    let hidden = |name: &String| name.starts_with(".tmp-");
    assert_eq!(world.names("output/small").iter().filter(|name| hidden(name)).count(), 0);
    assert!(Path::new(&world.path("output/small/current")).exists());
}
