//! The store under everything that happens to one: several builds at once, `gc`, bytes that rot, a disk that is full.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::lab::mirror::Fault;
use crate::world::{Run, VERSION, World};

const RECIPE: &str = "recipes/small.yaml";
const KERNEL: &str = "flatcar_production_pxe.vmlinuz";
const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

/// Where a file of the published tree lies in the store.
fn object_of(world: &World, file: &str) -> PathBuf {
    let bytes = fs::read(world.path("output/small/current/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let sha256 = manifest["files"][file]["sha256"].as_str().unwrap();
    world.path(&format!("store/objects/{}/{}", &sha256[..2], &sha256[2..]))
}

fn stock(file: &str) -> String {
    format!("assets/flatcar/{VERSION}/{file}")
}

/// Flips one bit of an object in place, as a failing disk does.
fn rot(object: &PathBuf) {
    let mut bytes = fs::read(object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(object, bytes).unwrap();
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.ok().stdout).unwrap()
}

fn gc(world: &World) -> Value {
    json(world.prebake(&["store", "gc", "--grace", "0s", "--json"]))
}

/// A world in which a build hangs while it fetches the kernel, with something in the store already.
fn hanging() -> (World, std::process::Child) {
    let world = World::with_faults(|request| {
        (request.path.ends_with(KERNEL) && request.earlier == 0).then_some(Fault::Stall(3))
    });
    let build =
        world.command(&["build", RECIPE]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let asked = || world.mirror.requests().iter().any(|request| request.path.ends_with(KERNEL));
    while !asked() || world.objects().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    (world, build)
}

#[test]
fn builds_that_run_at_once_share_a_store_and_agree() {
    let world = World::new();
    let outputs = ["one", "two", "three"];
    let build = |output: &&str| {
        let mut command = world.command(&["build", RECIPE, "--output", output]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = outputs.iter().map(build).collect();
    for build in running {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let ids: BTreeSet<PathBuf> =
        outputs.iter().map(|o| fs::read_link(world.path(&format!("{o}/small/current"))).unwrap()).collect();
    assert_eq!(ids.len(), 1);
    world.objects(); // asserts that every object is whole
    assert!(world.names("store/tmp").is_empty() && world.names("store/partial").is_empty());
    world.prebake(&["build", RECIPE, "--offline", "--locked", "--paranoid"]).ok();
}

#[test]
fn every_object_of_a_build_is_listed_with_who_refers_to_it_and_found_by_its_names() {
    let world = World::new();
    world.build();
    let listed = json(world.prebake(&["store", "ls", "--json"]));
    let objects = listed["objects"].as_array().unwrap();
    assert_eq!(objects.len(), world.objects().len());
    for object in objects {
        assert!(!object["references"].as_array().unwrap().is_empty(), "{object}");
    }
    let table = world.prebake(&["store", "ls"]).ok().stdout;
    for words in [
        "small.lock: flatcar/amd64/version.txt",
        "small/current: assets/overlay/worker.cpio",
        "unused: 0 objects, 0 B",
    ] {
        assert!(table.contains(words), "no {words:?} in:\n{table}");
    }
    let id = format!("flatcar/amd64/{INITRD}");
    let path = world.prebake(&["store", "path", &id]).ok().stdout;
    assert_eq!(path.trim(), object_of(&world, &stock(INITRD)).to_str().unwrap());
    let name = path.trim().rsplit('/').take(2).collect::<Vec<_>>();
    let prefix = format!("{}{}", name[1], &name[0][..10]);
    assert_eq!(world.prebake(&["store", "path", &prefix]).ok().stdout, path);
    world.prebake(&["store", "path", "flatcar/amd64/nothing"]).fails(1, &["called `flatcar/amd64/nothing`"]);
    world.prebake(&["store", "path", ""]).fails(2, &["may mean"]);
}

#[test]
fn gc_removes_what_a_newer_build_replaced_and_nothing_that_one_needs() {
    let world = World::new();
    let first = world.build();
    assert_eq!(gc(&world)["objects"], serde_json::json!([]), "everything is needed");
    let old: BTreeSet<String> = world.objects().into_iter().collect();
    world.edit("recipes/worker.ign", "data:,worker", "data:,changed");
    world.build();
    fs::remove_dir_all(world.path("output/small").join(&first)).unwrap();
    let kept = json(world.prebake(&["store", "gc", "--json"]));
    assert_eq!(kept["objects"], serde_json::json!([]), "what is young stays");
    assert_eq!(kept["kept"]["young"], 3, "the three old overlays");
    let wish = json(world.prebake(&["store", "gc", "--grace", "0s", "--dry-run", "--json"]));
    assert_eq!(world.objects().len(), old.len() + 3, "a dry run removes nothing");
    let gone = gc(&world);
    assert_eq!(wish["objects"], gone["objects"]);
    let gone_objects = gone["objects"].as_array().unwrap();
    assert_eq!((gone_objects.len(), gone["steps"].as_array().unwrap().len()), (3, 3));
    let sizes: u64 = gone_objects.iter().map(|object| object["size"].as_u64().unwrap()).sum();
    assert_eq!(gone["freed"].as_u64(), Some(sizes));
    let asked = world.mirror.requests().len();
    let report = json(world.prebake(&["build", RECIPE, "--json"]));
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["cached"] == true), "{report}");
    assert_eq!(world.mirror.requests().len(), asked);
}

#[test]
fn gc_frees_nothing_that_a_published_tree_still_holds_and_the_tree_stays_whole() {
    let world = World::new();
    let first = world.build();
    let object = object_of(&world, "assets/overlay/worker.cpio");
    world.edit("recipes/worker.ign", "data:,worker", "data:,changed");
    world.build();
    let gone = gc(&world);
    assert_eq!((gone["objects"].as_array().unwrap().len(), gone["freed"].as_u64()), (3, Some(0)));
    assert!(!object.exists());
    let status = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(world.path("output/small").join(first))
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_lock_and_a_tree_that_are_gone_keep_nothing_alive() {
    let world = World::new();
    world.build();
    let size: u64 = json(world.prebake(&["store", "ls", "--json"]))["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["size"].as_u64().unwrap())
        .sum();
    fs::remove_dir_all(world.path("output")).unwrap();
    fs::remove_file(world.path("recipes/small.lock")).unwrap();
    let gone = gc(&world);
    assert_eq!((gone["freed"].as_u64(), gone["dead_roots"].as_u64()), (Some(size), Some(2)));
    assert!(world.objects().is_empty() && world.names("store/roots").is_empty());
    world.build();
}

#[test]
fn gc_touches_nothing_while_a_lock_cannot_be_read() {
    let world = World::new();
    world.build();
    let objects = world.objects();
    fs::remove_dir_all(world.path("output")).unwrap();
    for (damaged, words) in [
        (b"<<<<<<< HEAD\n".as_slice(), "recipes/small.lock has a merge conflict at line 1"),
        (b"\xff\xfe\0", "recipes/small.lock is not a lock file"),
    ] {
        fs::write(world.path("recipes/small.lock"), damaged).unwrap();
        world.prebake(&["store", "gc", "--grace", "0s"]).fails(3, &[words, "hint:"]);
    }
    assert_eq!(world.objects(), objects);
}

#[test]
fn gc_never_runs_beside_a_build_and_waits_for_it_when_told() {
    let (world, mut build) = hanging();
    let here = world.objects();
    world.prebake(&["store", "gc", "--grace", "0s"]).fails(1, &["is in use by another prebake", "--wait"]);
    let is_here = |objects: &[String]| here.iter().all(|object| objects.contains(object));
    assert!(is_here(&world.objects()));
    let mut waiting = world.command(&["store", "gc", "--wait"]).stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(200));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    build.kill().unwrap();
    build.wait().unwrap();
    assert!(waiting.wait().unwrap().success());
    assert!(is_here(&world.objects()), "the grace period keeps what the killed build had fetched");
    world.build();
}

/// attacks.md, C-M8: `gc` takes what is half-made whatever its age, and so must know what somebody is making.
#[test]
fn gc_and_its_dry_run_take_nothing_from_builds_beside_them() {
    let world = World::new();
    let expected = world.build();
    for _ in 0..4 {
        for place in ["store/objects", "store/steps", "output"] {
            fs::remove_dir_all(world.path(place)).unwrap();
        }
        let mut build = world.command(&["build", RECIPE]).stdout(Stdio::null()).spawn().unwrap();
        let mut asked = 0;
        while build.try_wait().unwrap().is_none() {
            for flags in [&["store", "gc"][..], &["store", "gc", "--dry-run"]] {
                let run = world.prebake(flags);
                assert!(matches!(run.code, Some(0 | 1)), "{flags:?}: {}", run.stderr);
                asked += 1;
            }
        }
        assert!(build.wait().unwrap().success(), "after {asked} times");
        assert_eq!(world.current().as_ref(), Some(&expected));
        assert!(asked > 0);
    }
}

#[test]
fn a_rotten_object_is_named_by_verify_set_aside_and_fetched_again() {
    let world = World::new();
    let id = world.build();
    let objects = world.objects();
    let run = world.prebake(&["store", "verify"]).ok();
    assert!(run.stdout.starts_with(&format!("{} objects read", objects.len())), "{}", run.stdout);
    let initrd = object_of(&world, &stock(INITRD));
    rot(&initrd);
    let run = world.prebake(&["store", "verify"]);
    run.fails(4, &["1 corrupt object was set aside", "store/corrupt", "hint:"]);
    assert!(run.stdout.contains(&format!("small.lock: flatcar/amd64/{INITRD}")), "{}", run.stdout);
    assert!(!initrd.exists());
    assert_eq!(world.names("store/corrupt").len(), 1);
    world.prebake(&["store", "verify"]).ok();
    world.prebake(&["build", RECIPE, "--offline"]).fails(6, &[INITRD]);
    assert_eq!(world.build(), id);
    assert_eq!(world.objects(), objects);
    assert_eq!(gc(&world)["leftovers"], 1);
    assert!(world.names("store/corrupt").is_empty());
}

#[test]
fn a_paranoid_build_heals_inputs_artifacts_and_the_tree_made_of_them() {
    let world = World::new();
    let id = world.build();
    let objects = world.objects();
    let rotten = [stock(INITRD), stock(&format!("{KERNEL}.sig")), "assets/overlay/worker.cpio".into()];
    rotten.iter().for_each(|file| rot(&object_of(&world, file)));
    // The published files are the same inodes, so they are rotten, too.
    world.prebake(&["build", RECIPE]).ok();
    assert!(objects_are_rotten(&world), "a plain build trusts names and sizes");
    let run = world.prebake(&["build", RECIPE, "--locked", "--paranoid", "--json"]).ok();
    for words in
        [format!("corrupt  flatcar/amd64/{INITRD}: its content has sha256"), "corrupt  overlay/worker".into()]
    {
        assert!(run.stderr.contains(&words), "no {words:?} in:\n{}", run.stderr);
    }
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let built: Vec<&Value> =
        report["steps"].as_array().unwrap().iter().filter(|step| step["cached"] == false).collect();
    assert_eq!(built.len(), 1, "{report}");
    assert_eq!(world.current(), Some(id));
    assert_eq!(world.objects(), objects);
    assert!(!objects_are_rotten(&world));
    let asked = world.mirror.requests().len();
    let report = json(world.prebake(&["build", RECIPE, "--paranoid", "--json"]));
    assert_eq!(report["unchanged"], true);
    assert_eq!(world.mirror.requests().len(), asked);
}

/// Whether the published tree fails its own checksums.
fn objects_are_rotten(world: &World) -> bool {
    let check = Command::new("sha256sum")
        .args(["--check", "--strict", "--status", "SHA256SUMS"])
        .current_dir(world.path("output/small/current"))
        .status();
    !check.unwrap().success()
}

#[test]
fn fetch_warms_the_store_by_the_lock_and_never_writes_one() {
    let world = World::new();
    world.prebake(&["fetch", RECIPE]).fails(9, &["there is no lock", "prebake lock"]);
    world.prebake(&["lock", RECIPE]).ok();
    let lock = fs::read(world.path("recipes/small.lock")).unwrap();
    fs::remove_dir_all(world.path("store")).unwrap();
    world.prebake(&["fetch", RECIPE, "--offline"]).fails(6, &[INITRD]);
    let report = json(world.prebake(&["fetch", RECIPE, "--json"]));
    for input in report["inputs"].as_array().unwrap() {
        let bytes = fs::read(input["path"].as_str().unwrap()).unwrap();
        assert_eq!(prebake::base::digest::Sha256::of(&bytes).to_string(), input["sha256"].as_str().unwrap());
    }
    assert_eq!(fs::read(world.path("recipes/small.lock")).unwrap(), lock);
    world.prebake(&["fetch", RECIPE, "--offline"]).ok();
    world.prebake(&["build", RECIPE, "--offline", "--locked"]).ok();
    assert_eq!(gc(&world)["objects"], serde_json::json!([]));
}

/// Runs a shell script in a mount namespace of its own. A machine that allows none skips the test, but never in CI.
pub fn in_namespace(world: &World, script: &str) -> Option<Run> {
    let try_it = |flags: &str| {
        let status = Command::new("unshare").args([flags, "true"]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let Some(flags) = ["-m", "-rm"].into_iter().find(|flags| try_it(flags)) else {
        assert!(std::env::var_os("CI").is_none(), "no mount namespaces: the full disk cannot be tried");
        eprintln!("SKIPPED: this machine allows no mount namespaces");
        return None;
    };
    let inner = world.command(&[]);
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-euc", script]).current_dir(world.path(""));
    for (key, value) in inner.get_envs() {
        value.map(|value| command.env(key, value));
    }
    Some(Run::of(command.env("PREBAKE", inner.get_program()).output().unwrap()))
}

#[test]
fn a_full_disk_is_told_leaves_nothing_half_named_and_is_no_trouble_once_there_is_room() {
    let world = World::new();
    let mut large = vec![0; 12 << 20];
    for (index, word) in large.chunks_mut(8).enumerate() {
        word.copy_from_slice(&(index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    world.release_file(INITRD, &large);
    world.release_file(KERNEL, &large[..3 << 20]);
    fs::create_dir(world.path("disk")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=4m tmpfs disk
        export PREBAKE_STORE="$PWD/disk/store"
        status=0
        "$PREBAKE" build recipes/small.yaml || status=$?
        echo "status $status"
        find disk/store/tmp -mindepth 1
        "$PREBAKE" store verify
        [ ! -e recipes/small.lock ] && [ ! -e output/small/current ]
        mount -o remount,size=64m disk
        "$PREBAKE" build recipes/small.yaml
        "$PREBAKE" store verify
        find disk/store/tmp disk/store/partial disk/store/corrupt -mindepth 1
    "#;
    let Some(run) = in_namespace(&world, script) else { return };
    let run = run.ok();
    let (before, _) = run.stdout.split_once("small stable").expect(&run.stdout);
    assert!(before.starts_with("status 1\n"), "{before}");
    assert!(!before.contains("corrupt") && !run.stdout.contains("disk/"), "{}", run.stdout);
    for words in ["cannot ", "No space left on device", "the disk is full: make room"] {
        assert!(run.stderr.contains(words), "no {words:?} in:\n{}", run.stderr);
    }
    assert!(world.current().is_some());
}
