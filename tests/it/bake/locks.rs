//! `prebake lock`: what moves, what stays, and how it is told.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::lab::mirror::Mirror;
use crate::world::{Run, VERSION, World, release, stock};

const RECIPE: &str = "recipes/small.yaml";
const NEWER: &str = "4593.2.6";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt";

/// A world with inputs of all kinds, locked once; then every one of them has moved upstream.
struct Moved {
    world: World,
    web: Mirror,
}

impl Moved {
    fn new() -> Moved {
        let world = World::new();
        let web = world.path("web");
        fs::create_dir_all(web.join("files.example")).unwrap();
        let component = "components:\n  tool: {url: \"https://files.example/tool\", sha256_url: \"https://files.example/tool.sha256\", install: /usr/bin/tool}\n";
        world.edit("sysext/hello/sysext.yaml", "reload: true\n", &format!("reload: true\n{component}"));
        world.edit(RECIPE, "sysexts:", "ssh_keys: [\"github:octo\"]\nsysexts:");
        let web = Mirror::builder().directory("/", &web).start().unwrap();
        let moved = Moved { world, web };
        moved.upstream("tool 1", &format!("{KEY} one\n"));
        moved.prebake(&["lock", RECIPE]).ok();
        moved.upstream("tool 2, longer", &format!("{KEY} one\n{OTHER} two\n"));
        let boards = moved.world.path("release/stable/amd64-usr");
        release(&moved.world.path("release"), NEWER, &stock(NEWER));
        fs::remove_file(boards.join("current")).unwrap();
        symlink(NEWER, boards.join("current")).unwrap();
        moved
    }

    fn upstream(&self, tool: &str, keys: &str) {
        let write = |file: &str, text: &str| fs::write(self.world.path("web").join(file), text).unwrap();
        write("files.example/tool", tool);
        write("files.example/tool.sha256", &prebake::base::digest::Sha256::of(tool.as_bytes()).to_string());
        write("octo.keys", keys);
    }

    fn prebake(&self, args: &[&str]) -> Run {
        let mut command = self.world.command(args);
        command.env("PREBAKE_MIRROR_WEB", self.web.url()).env("PREBAKE_MIRROR_GITHUB", self.web.url());
        Run::of(command.output().unwrap())
    }

    /// Ids that an update moves, and what the lock says of the release afterwards.
    fn update(&self, names: &[&str]) -> (Vec<String>, Vec<String>, String) {
        let args = [&["lock", RECIPE, "--json", "--update"], names].concat();
        let report: Value = serde_json::from_str(&self.prebake(&args).ok().stdout).unwrap();
        let texts = |list: &str, key: &str| {
            let rows = report[list].as_array().unwrap().iter();
            rows.map(|row| row[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let version = report["release"]["new"]["version"].as_str().unwrap().to_owned();
        (texts("inputs", "id"), texts("ssh_keys", "user"), version)
    }
}

#[test]
fn an_update_without_names_moves_everything_and_shows_old_and_new() {
    let moved = Moved::new();
    let run = moved.prebake(&["lock", "--update", RECIPE]).ok();
    let lines: Vec<Vec<&str>> =
        run.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["INPUT", "SIZE", "OLD", "SIZE", "NEW"], "{}", run.stdout);
    assert_eq!(lines[1], ["release", "stable", VERSION, "→", "stable", NEWER]);
    assert_eq!(lines[2], ["github:octo", "1", "SSH", "key", "→", "2", "SSH", "keys"]);
    let tool = lines.iter().find(|line| line[0] == "sysext/hello/amd64/tool").unwrap();
    let digest = |text: &str| prebake::base::digest::Sha256::of(text.as_bytes()).to_string()[..12].to_owned();
    assert_eq!(tool[1..], ["6", "B", &digest("tool 1"), "→", "14", "B", &digest("tool 2, longer")]);
    assert!(moved.prebake(&["lock", RECIPE]).ok().stdout.contains("small.lock is up to date"));
}

/// attacks.md, C-M15: a mirror's older, rightly signed `version.txt` took a scheduled update back to flaws that were mended.
#[test]
fn an_update_goes_back_to_an_older_release_only_where_somebody_says_so() {
    let moved = Moved::new();
    moved.prebake(&["lock", "--update", RECIPE]).ok();
    let current = moved.world.path("release/stable/amd64-usr/current");
    fs::remove_file(&current).unwrap();
    symlink(VERSION, &current).unwrap();
    let lock = || fs::read_to_string(moved.world.path("recipes/small.lock")).unwrap();
    let before = lock();
    for names in [&[][..], &["flatcar"]] {
        let run = moved.prebake(&[&["lock", "--update", RECIPE], names].concat());
        run.fails(5, &[VERSION, NEWER, "as current", "--allow-older"]);
        assert_eq!(lock(), before, "{names:?}");
    }
    moved.prebake(&["lock", "--update", "--allow-older", RECIPE]).ok();
    assert!(lock().contains(&format!("version: {VERSION}")), "{}", lock());
    // A version that the recipe names is the user's own word.
    moved.world.edit(RECIPE, "channel: stable", &format!("channel: stable, version: {NEWER}"));
    moved.prebake(&["lock", RECIPE]).ok();
    moved.world.edit(RECIPE, &format!("version: {NEWER}"), &format!("version: {VERSION}"));
    moved.prebake(&["lock", RECIPE]).ok();
}

#[test]
fn a_lock_without_update_stays_whatever_moved_upstream() {
    let moved = Moved::new();
    let before = fs::read(moved.world.path("recipes/small.lock")).unwrap();
    assert!(moved.prebake(&["lock", RECIPE]).ok().stdout.contains("is up to date"));
    assert_eq!(fs::read(moved.world.path("recipes/small.lock")).unwrap(), before);
}

#[test]
fn an_update_of_a_sysext_a_user_or_flatcar_moves_nothing_else() {
    let moved = Moved::new();
    let none = Vec::<String>::new;
    let tool = || vec!["sysext/hello/amd64/tool".to_owned()];
    assert_eq!(moved.update(&["hello"]), (tool(), none(), VERSION.into()));
    assert_eq!(moved.update(&["github:octo"]), (none(), vec!["octo".into()], VERSION.into()));
    moved.upstream("tool 3", "");
    assert_eq!(moved.update(&["sysext/hello/amd64/tool"]), (tool(), none(), VERSION.into()));
    moved.upstream("tool 4", "");
    let (inputs, users, version) = moved.update(&["flatcar"]);
    assert!(!inputs.is_empty() && inputs.iter().all(|id| id.starts_with("flatcar/")), "{inputs:?}");
    assert_eq!((users, version), (none(), NEWER.into()));
    moved.prebake(&["build", RECIPE, "--locked", "--offline"]).ok();
}

#[test]
fn a_name_that_is_not_in_the_lock_is_told_with_the_nearest() {
    let moved = Moved::new();
    let run = moved.prebake(&["lock", RECIPE, "--update", "helo"]);
    run.fails(2, &["recipes/small.lock has no input named `helo`", "did you mean `hello`?"]);
    moved.prebake(&["lock", RECIPE, "hello"]).fails(2, &["--update"]);
}

#[test]
fn a_recipe_that_names_a_newer_version_moves_its_lock_by_itself() {
    let moved = Moved::new();
    moved.world.edit(RECIPE, "channel: stable}", &format!("channel: stable, version: {NEWER}}}"));
    moved.prebake(&["build", RECIPE, "--locked"]).fails(9, &["wants version 4593.2.6"]);
    moved.prebake(&["build", RECIPE]).ok();
}

#[test]
fn a_file_that_was_signed_anew_is_not_the_locked_one() {
    let world = World::new();
    world.build();
    let kernel = world.path("release/stable/amd64-usr").join(VERSION).join("flatcar_production_pxe.vmlinuz");
    let signature = kernel.with_file_name("flatcar_production_pxe.vmlinuz.sig");
    let good = fs::read(&signature).unwrap();
    fs::remove_dir_all(world.path("store")).unwrap();
    // A second signature behind the first: another file, as good as the locked one.
    fs::write(&signature, [good.clone(), good].concat()).unwrap();
    for verb in ["fetch", "build"] {
        world
            .prebake(&[verb, RECIPE])
            .fails(4, &["flatcar_production_pxe.vmlinuz.sig has size", "was expected"]);
    }
}

#[test]
fn a_recipe_in_the_working_directory_is_locked_beside_itself() {
    let world = World::new();
    for name in world.names("recipes") {
        fs::rename(world.path(&format!("recipes/{name}")), world.path(&name)).unwrap();
    }
    world.prebake(&["lock", "small.yaml"]).ok();
    assert!(world.path("small.lock").is_file());
}

/// git in a world's directory, as nobody in particular.
fn git(world: &World, args: &[&str]) -> (bool, String) {
    let output = std::process::Command::new("git")
        .args(["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"])
        .args(args)
        .current_dir(world.path(""))
        .env("HOME", world.path(""))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A branch from `main`, with what `change` leaves in recipe, sysext and lock.
fn branch(world: &World, name: &str, change: impl FnOnce()) {
    assert!(git(world, &["checkout", "-q", "main"]).0);
    assert!(git(world, &["checkout", "-q", "-b", name]).0);
    change();
    assert!(git(world, &["commit", "-qam", name]).0);
}

/// Merges `theirs` into `ours`, which must conflict in the lock, and nowhere else.
fn conflict(world: &World, style: &str) {
    assert!(git(world, &["checkout", "-q", "ours"]).0);
    let style = format!("merge.conflictStyle={style}");
    assert!(!git(world, &["-c", &style, "merge", "theirs"]).0, "it merged");
    assert_eq!(git(world, &["diff", "--name-only", "--diff-filter=U"]).1, "recipes/small.lock\n");
}

fn lock(world: &World) -> Value {
    serde_yaml::from_str(&fs::read_to_string(world.path("recipes/small.lock")).unwrap()).unwrap()
}

const NEWEST: &str = "4593.2.7";

/// ux.md 1.18, 2026-11-28: `invalid type: string "<<<<<<< HEAD", expected struct Lock`, and the way out moved everything to
/// today's versions.
#[test]
fn a_lock_that_git_could_not_merge_is_settled_out_of_both_sides_and_nothing_moves_to_today() {
    let world = World::with_arm64();
    let boards = world.path("release/stable");
    let current = |version: &str| {
        for board in ["amd64-usr", "arm64-usr"] {
            let link = boards.join(board).join("current");
            fs::remove_file(&link).unwrap();
            symlink(version, link).unwrap();
        }
    };
    for version in [NEWER, NEWEST] {
        release(&world.path("release"), version, &stock(version));
        let arm = boards.join("arm64-usr").join(version);
        fs::create_dir_all(&arm).unwrap();
        for file in fs::read_dir(boards.join("amd64-usr").join(version)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), arm.join(file.file_name())).unwrap();
        }
    }
    world.prebake(&["lock", RECIPE]).ok();
    fs::write(world.path(".gitignore"), "release\nstore\n").unwrap();
    assert!(git(&world, &["init", "-q", "-b", "main"]).0 && git(&world, &["add", "."]).0);
    assert!(git(&world, &["commit", "-qm", "main"]).0);
    // We build for arm64 as well, a bot moved the release.
    branch(&world, "ours", || {
        world.edit(RECIPE, "{channel: stable}", "{channel: stable, arch: [amd64, arm64]}");
        world.edit(RECIPE, "- {name: ", "- {arch: amd64, name: ");
        world.prebake(&["lock", RECIPE]).ok();
    });
    branch(&world, "theirs", || {
        current(NEWER);
        world.prebake(&["lock", "--update", RECIPE]).ok();
    });
    current(NEWEST);
    for style in ["merge", "diff3"] {
        conflict(&world, style);
        let marked = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
        let line = 1 + marked.lines().position(|line| line.starts_with("<<<<<<<")).unwrap();
        for verb in [&["plan"][..], &["build"], &["fetch"], &["build", "--locked"], &["plan", "--locked"]] {
            let said = format!("recipes/small.lock has a merge conflict at line {line}");
            world.prebake(&[verb, &[RECIPE]].concat()).fails(3, &[&said, "`prebake lock RECIPE` settles it"]);
        }
        // Hooks of git have an environment that may name another repository; review of issue 17, 10.
        let mut command = world.command(&["lock", RECIPE]);
        command.env("GIT_DIR", world.path("absent")).env("GIT_INDEX_FILE", "index").env("GIT_WORK_TREE", "/");
        let run = Run::of(command.output().unwrap()).ok();
        assert!(run.stdout.contains("merge conflict settled"), "{}", run.stdout);
        assert!(run.stderr.contains("as git's index has them"), "{}", run.stderr);
        let settled = lock(&world);
        assert_eq!(settled["release"]["version"], NEWER, "the newer side, and not today's {NEWEST}");
        let inputs = settled["inputs"].as_object().unwrap();
        assert!(inputs.values().all(|entry| entry["url"].as_str().unwrap().contains(NEWER)), "{inputs:#?}");
        for arch in ["amd64", "arm64"] {
            assert!(inputs.contains_key(&format!("flatcar/{arch}/version.txt")), "{inputs:#?}");
        }
        // What they locked is as they locked it.
        let theirs = git(&world, &["show", "theirs:recipes/small.lock"]).1;
        let theirs: Value = serde_yaml::from_str(&theirs).unwrap();
        for (id, entry) in theirs["inputs"].as_object().unwrap() {
            assert_eq!(&inputs[id], entry, "{id}");
        }
        world.prebake(&["build", RECIPE, "--locked"]).ok();
        assert!(git(&world, &["merge", "--abort"]).0);
    }
    // A recipe that names a version has the side of that version, older or not.
    conflict(&world, "merge");
    // An edit by hand outside the marks counts, although git's index does not have it; review of issue 17, 11.
    let edit = format!("schema: 2\nssh_keys:\n  octo:\n  - {KEY}\n");
    world.edit(RECIPE, "sysexts:", "ssh_keys: [\"github:octo\"]\nsysexts:");
    world.edit("recipes/small.lock", "schema: 2\n", &edit);
    // git wrote half an entry of each side into both, so the marks cannot be verified; that they were taken is told before.
    let run = world.prebake(&["lock", RECIPE, "--json"]);
    assert!(run.stderr.contains("its text outside the marks is not as git merged it"), "{}", run.stderr);
    // Of the two, the one is told that is met first.
    assert!(matches!(run.code, Some(4 | 5)), "{}", run.stderr);
    assert!(git(&world, &["checkout", "-q", "--", RECIPE]).0);
    assert!(git(&world, &["merge", "--abort"]).0);
    conflict(&world, "zdiff3");
    world.edit(RECIPE, "channel: stable", "channel: stable, version: 4593.2.5");
    let told: Value = serde_json::from_str(&world.prebake(&["lock", RECIPE, "--json"]).ok().stdout).unwrap();
    assert_eq!((&told["moved"], &told["settled"]["theirs"]), (&true.into(), &0.into()), "{told:#}");
    assert_eq!(lock(&world)["release"]["version"], VERSION);
    assert!(
        lock(&world)["inputs"]
            .as_object()
            .unwrap()
            .values()
            .all(|entry| entry["url"].as_str().unwrap().contains(VERSION))
    );
}

/// Review of issue 17, 12: the other side's sysexts were dropped.
#[test]
fn sysexts_that_either_side_locked_stay_and_a_prebake_with_others_is_told() {
    let world = World::new();
    world.edit(RECIPE, "sysexts: [", "sysexts: [report, ");
    world.prebake(&["lock", RECIPE]).ok();
    let path = world.path("recipes/small.lock");
    let with = fs::read_to_string(&path).unwrap();
    let report = lock(&world)["sysexts"]["report"].as_str().unwrap().to_owned();
    let without = with.replace(&format!("sysexts:\n  report: {report}\n"), "");
    assert_ne!(with, without);
    let settle = |theirs: &str| {
        fs::write(&path, format!("<<<<<<< HEAD\n{without}=======\n{theirs}>>>>>>> b\n")).unwrap();
        let run = world.prebake(&["lock", RECIPE, "--json"]).ok();
        assert_eq!(fs::read_to_string(&path).unwrap(), with);
        let told: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(told["settled"]["source"], "marks");
        (told["sysexts"].clone(), run.stderr.contains("`report` of this prebake is not the one"))
    };
    let none = serde_json::json!([]);
    assert_eq!(settle(&with), (none, false));
    let other = "0".repeat(64);
    let moved = serde_json::json!([{"name": "report", "old": other, "new": report}]);
    assert_eq!(settle(&with.replace(&report, &other)), (moved, true));
}

#[test]
fn a_lock_whose_marks_are_not_in_order_is_left_to_people_and_other_texts_name_their_conflicts() {
    let world = World::new();
    world.build();
    let path = world.path("recipes/small.lock");
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        format!("<<<<<<< HEAD\n{good}"),
        format!("<<<<<<< HEAD\n{good}=======\n>>>>>>> b\n"),
        format!("<<<<<<< HEAD\nnothing\n=======\n{good}>>>>>>> b\n"),
    ] {
        fs::write(&path, &bad).unwrap();
        world.prebake(&["lock", RECIPE]).fails(3, &["has a merge conflict at line 1", "git checkout --ours"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), bad, "it was changed");
    }
    for (bad, words) in [("", "it is empty"), ("- a\n", "a list stands where a mapping of keys belongs")] {
        fs::write(&path, bad).unwrap();
        world.prebake(&["plan", RECIPE]).fails(3, &[words]);
    }
    fs::write(&path, good.replacen("size: ", "size: a", 1)).unwrap();
    world.prebake(&["plan", RECIPE]).fails(3, &["stands where a whole number belongs"]);
    fs::write(&path, &good).unwrap();
    let marked = |text: &str| format!("{text}<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> b\n");
    let one = "schema: 1\n";
    for (file, verb) in [
        ("recipes/small.yaml", &["plan", RECIPE][..]),
        ("nodes.yaml", &["explain", "output/small/current", "--nodes", "nodes.yaml"]),
        ("sysext/hello/sysext.yaml", &["plan", RECIPE]),
        ("recipes/worker.ign", &["build", RECIPE]),
        ("layer.bu", &["ignition", "transpile", "layer.bu"]),
        ("layer.ign", &["ignition", "show", "layer.ign"]),
    ] {
        let was = fs::read(world.path(file)).ok();
        world.write(file, marked(one));
        let run = world.prebake(verb);
        assert!(
            run.code != Some(0) && run.stderr.contains("a merge conflict at line 2"),
            "{file}: {}",
            run.stderr
        );
        if let Some(was) = was {
            world.write(file, was);
        }
    }
}
