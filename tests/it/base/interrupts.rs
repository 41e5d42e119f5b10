//! Nothing unfinished is left, however a verb that writes ends: interrupted, killed, or for a full disk (findings 1.11 and M8 of
//! 2026-11-28: each interrupted `bundle create` left a hidden file of up to the bundle's size, for ever).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use prebake::tree::names;

use super::crashes::Dice;
use crate::world::{Run, World};

const RECIPE: &str = "recipes/small.yaml";

/// A world with files that take a while.
fn world() -> World {
    world_of(48 << 20)
}

/// A world with files of so many bytes, built once; its trees, an initrd and a sysext image are at hand.
pub fn world_of(size: usize) -> World {
    let world = World::new();
    let mut large = vec![0; size];
    for (index, word) in large.chunks_mut(8).enumerate() {
        word.copy_from_slice(&(index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    // An initrd by its first bytes, as long as real ones.
    let cpio = Command::new("sh")
        .args(["-c", "printf '%s\\n' . | cpio --quiet -o -H newc"])
        .current_dir(world.path("recipes"))
        .output();
    let initrd = [cpio.unwrap().stdout, vec![0; size]].concat();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &initrd);
    world.write("sysext/hello/files/usr/share/hello/large", &large);
    world.build();
    for args in [
        &["key", "generate", "-o", "ours", "--no-passphrase"][..],
        &["key", "generate", "-o", "next", "--no-passphrase"],
        &["bundle", "create", "output/small/current", "-o", "there.bundle", "--sign-key", "ours.key"],
        &[
            "initrd",
            "inject",
            "output/small/current/assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz",
            "--ignition",
            "recipes/worker.ign",
            "-o",
            "there.cpio",
        ],
    ] {
        world.prebake(args).ok();
    }
    world
}

/// Every path below a directory, but for what a store keeps to go on with.
fn listed(directory: &Path) -> BTreeSet<String> {
    let output = Command::new("find")
        .args([".", "-path", "./store/*", "-prune", "-o", "-print"])
        .current_dir(directory)
        .output();
    let listed: BTreeSet<String> =
        String::from_utf8(output.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    let scratch = directory.join("store/tmp");
    let left: Vec<_> =
        fs::read_dir(scratch).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "the store's own");
    listed
}

/// A verb, and what it makes in the world's directory.
pub type Case = (&'static [&'static str], &'static [&'static str]);
/// The writing verbs.
pub const VERBS: &[Case] = &[
    (
        &["bundle", "create", "output/small/current", "-o", "new.bundle", "--sign-key", "ours.key"],
        &["new.bundle"],
    ),
    (&["bundle", "sign", "there.bundle", "--sign-key", "next.key"], &[]),
    (
        &["bundle", "import", "there.bundle", "--trust", "ours.pub", "--store", "new-store", "-o", "new"],
        &["new", "new-store"],
    ),
    (&["initrd", "inject", "there.cpio", "--ignition", "recipes/n2.ign", "-o", "new.cpio"], &["new.cpio"]),
    (
        &[
            "initrd",
            "inject",
            "output/small/current",
            "--profile",
            "worker",
            "--ignition",
            "recipes/n2.ign",
            "-o",
            "new",
        ],
        &["new"],
    ),
    (&["initrd", "remove", "there.cpio", "-o", "new.cpio"], &["new.cpio"]),
    (&["initrd", "extract", "there.cpio", "-C", "new"], &["new"]),
    (&["sysext", "build", "hello", "-o", "new"], &["new"]),
    (&["sysext", "extract", "output/small/current/assets/sysext/hello/hello-1-x86-64.raw", "new"], &["new"]),
    (&["sysext", "key", "generate", "new"], &["new"]),
    (&["key", "generate", "-o", "new", "--no-passphrase"], &["new.key", "new.pub"]),
    (
        &["key", "rotate", "--old", "ours.key", "--new", "next.pub", "-o", "new.json"],
        &["new.json", "new.json.minisig"],
    ),
    (&["key", "sign", "there.bundle", "--sign-key", "ours.key"], &["there.bundle.minisig"]),
    (&["ignition", "merge", "recipes/worker.ign", "recipes/n2.ign", "-o", "new.ign"], &["new.ign"]),
    (&["lock", "--update", RECIPE, "--store", "new-store"], &["new-store"]),
    (&["fetch", RECIPE, "--store", "new-store"], &["new-store"]),
    (&["build", RECIPE, "-o", "new", "--store", "new-store"], &["new", "new-store"]),
];

/// Removes what a run made that came to its end.
pub fn clean(world: &World, made: &[&str]) {
    for name in made {
        let path = world.path(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
}

#[test]
fn a_verb_that_is_interrupted_at_any_moment_says_so_and_leaves_nothing_behind() {
    let world = world();
    let before = listed(&world.path(""));
    for (verb, made) in VERBS {
        let mut heard = 0;
        world.prebake(verb).ok();
        let whole: BTreeSet<String> = listed(&world.path("")).difference(&before).cloned().collect();
        clean(&world, made);
        for (signal, pause) in
            [("INT", 5), ("TERM", 20), ("INT", 45), ("INT", 90), ("TERM", 180), ("INT", 400)]
        {
            let mut command = world.command(verb);
            // Where temporary files go that are for this machine alone.
            fs::create_dir_all(world.path("tmp")).unwrap();
            command.env("TMPDIR", world.path("tmp"));
            let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            thread::sleep(Duration::from_millis(pause));
            let _ = Command::new("kill")
                .args([&format!("-{signal}"), &child.id().to_string()])
                .stderr(Stdio::null())
                .status();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let what = format!("{verb:?} after {pause} ms: {:?} {said}", output.status);
            match output.status.code() {
                // It was faster.
                Some(0) => {}
                Some(130) => {
                    heard += 1;
                    assert!(said.contains("interrupted; run the same command again"), "{what}");
                }
                // Before it had begun.
                None => assert!(output.status.signal().is_some() && said.is_empty(), "{what}"),
                Some(_) => panic!("{what}"),
            }
            assert_eq!(fs::read_dir(world.path("tmp")).unwrap().count(), 0, "{what}");
            fs::remove_dir(world.path("tmp")).unwrap();
            let left = listed(&world.path(""));
            let is_made =
                |path: &String| made.iter().any(|name| path.trim_start_matches("./").starts_with(name));
            if output.status.code() == Some(0) {
                clean(&world, made);
                continue;
            }
            // A store and an output directory are there before what they are for; what lies in them is whole.
            let unfinished = |path: &&String| path.contains("/.prebake-") || path.contains("/.tmp-");
            assert_eq!(left.iter().filter(unfinished).count(), 0, "{what}: {left:?}");
            let others: BTreeSet<String> = left.iter().filter(|path| !is_made(path)).cloned().collect();
            assert_eq!(others, before, "{what}");
            if !made.contains(&"new-store") {
                let is_half = |path: &&String| {
                    // A tree is published whole, behind the directory of its name and the lock in it.
                    let published = path.strip_prefix("./new/small").map(|rest| rest.split('/').nth(1));
                    match published {
                        Some(None | Some(".lock" | "current")) => false,
                        Some(Some(id)) => {
                            !world.path(&format!("new/small/{id}/{}", names::MANIFEST)).is_file()
                        }
                        None => *path != "./new",
                    }
                };
                let half: BTreeSet<String> = left.difference(&before).filter(is_half).cloned().collect();
                // A signal that comes behind the last file finds all of them: never one without the other.
                assert!(half.is_empty() || left.difference(&before).eq(&whole), "{what}: {half:?}");
            }
            clean(&world, made);
        }
        eprintln!("{verb:?}: interrupted {heard} times of 6");
    }
    // The same commands go on.
    for (verb, made) in VERBS {
        world.prebake(verb).ok();
        clean(&world, made);
    }
}

/// Other verbs that write, and what they make.
const MORE: &[Case] = &[
    (&["ignition", "transpile", "recipes/layer.bu", "-o", "new.ign"], &["new.ign"]),
    (&["man", "-o", "new"], &["new"]),
    (
        &[
            "build",
            RECIPE,
            "-o",
            "new",
            "--private",
            "new-private",
            "--store",
            "new-store",
            "--sign-key",
            "ours.key",
        ],
        &["new", "new-private", "new-store"],
    ),
    (
        &[
            "build",
            RECIPE,
            "-o",
            "new",
            "--events",
            "new.events",
            "--summary",
            "new.md",
            "--junit",
            "new.xml",
        ],
        &["new", "new.events", "new.md", "new.xml"],
    ),
    (&["prune", "--keep", "0", "copy"], &["copy"]),
    (&["store", "gc", "--store", "new-store"], &["new-store"]),
    (&["verify", "output/small/current"], &[]),
    (&["plan", RECIPE], &[]),
    (&["explain", "output/small/current"], &[]),
];

/// ux.md 1.11: `bundle create` died without a word, and left a hidden file each time.
#[test]
fn every_verb_that_is_interrupted_at_random_points_says_so_and_leaves_no_hidden_file() {
    let world = world_of(4 << 20);
    world.write("recipes/layer.bu", "variant: flatcar\nversion: 1.1.0\n");
    let before = listed(&world.path(""));
    for (verb, made) in VERBS.iter().chain(MORE) {
        let mut dice = Dice::new("interrupted", verb);
        let prepare = || {
            if verb[0] == "prune" {
                let copied =
                    Command::new("cp").args(["-r", "output", "copy"]).current_dir(world.path("")).status();
                assert!(copied.unwrap().success());
                let current = world.path("copy/small/current");
                fs::remove_file(&current).unwrap();
                std::os::unix::fs::symlink("nowhere", current).unwrap();
            }
        };
        prepare();
        let started = std::time::Instant::now();
        world.prebake(verb).ok();
        let span = started.elapsed();
        clean(&world, made);
        for signal in ["INT", "TERM", "INT", "TERM"] {
            prepare();
            let child = world.command(verb).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let part = dice.below(1000) as u32;
            thread::sleep(span * part / 1000);
            let id = child.id().to_string();
            let _ = Command::new("kill").args([&format!("-{signal}"), &id]).stderr(Stdio::null()).status();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let what = format!("{verb:?} at {part} of 1000, {signal}: {:?} {said}", output.status);
            match output.status.code() {
                Some(0) => {}
                Some(130) => assert!(said.contains("interrupted; run the same command again"), "{what}"),
                None => assert!(output.status.signal().is_some() && said.is_empty(), "{what}"),
                Some(_) => panic!("{what}"),
            }
            let left = listed(&world.path(""));
            let hidden: Vec<&String> =
                left.iter().filter(|path| path.contains("/.prebake-") || path.contains("/.tmp-")).collect();
            assert!(hidden.is_empty(), "{what}: {hidden:?}");
            clean(&world, made);
            let others: BTreeSet<String> = listed(&world.path(""));
            assert_eq!(others, before, "{what}");
        }
    }
}

#[test]
fn a_bundle_that_is_killed_leaves_nothing_and_what_others_left_is_swept() {
    let world = world();
    let before = listed(&world.path(""));
    // As a file system without unnamed files has it after a power cut.
    fs::write(world.path(".prebake-0000-abcdef"), vec![1; 1000]).unwrap();
    for pause in [20, 60, 120] {
        let (verb, made) = VERBS[0];
        let mut child = world.command(verb).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        clean(&world, made);
    }
    world.prebake(VERBS[0].0).ok();
    clean(&world, VERBS[0].1);
    assert_eq!(listed(&world.path("")), before);
}

#[test]
fn a_full_disk_is_named_with_what_chooses_another_and_nothing_stays_on_it() {
    let world = world();
    fs::create_dir(world.path("disk")).unwrap();
    let verbs = [
        ("bundle create output/small/current -o disk/new.bundle --unsigned", Some("--output")),
        ("initrd inject there.cpio --ignition recipes/n2.ign -o disk/new.cpio", Some("--output")),
        ("initrd extract there.bundle.cpio -C disk/new", Some("--output")),
        ("sysext build hello -o disk", Some("--output")),
        (
            "sysext extract output/small/current/assets/sysext/hello/hello-1-x86-64.raw disk/new",
            Some("--output"),
        ),
        ("build recipes/small.yaml -o disk", Some("--output")),
    ];
    fs::write(world.path("there.bundle.cpio"), crate::initrd::layouts::archive("large", &vec![7; 8 << 20]))
        .unwrap();
    for (verb, option) in verbs {
        let script = format!(
            "mount -t tmpfs -o size=4m tmpfs disk
            code=0; \"$PREBAKE\" {verb} || code=$?
            echo code $code; find disk -mindepth 1 ! -name .lock ! -path disk/small"
        );
        let Some(Run { stdout, stderr, .. }) = crate::store::trials::in_namespace(&world, &script) else {
            return;
        };
        assert!(stdout.contains("code 1"), "{verb}: {stdout}\n{stderr}");
        let left: Vec<&str> = stdout.lines().skip_while(|line| !line.starts_with("code")).skip(1).collect();
        assert_eq!(left, Vec::<&str>::new(), "{verb}");
        assert!(stderr.contains("No space left on device"), "{verb}: {stderr}");
        let hint = stderr.lines().find(|line| line.contains("hint:")).unwrap_or_default();
        assert!(hint.contains("/disk") && hint.contains("is full"), "{verb}: {stderr}");
        // What chooses another is an option that the verb has, and no other is named.
        let options: Vec<&str> = hint.split([' ', ',', ';']).filter(|word| word.starts_with("--")).collect();
        assert_eq!(options, Vec::from_iter(option), "{verb}: {hint}");
    }
}
