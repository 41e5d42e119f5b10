//! `prebake build` from end to end, on a small signed release behind a mirror.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use prebake::tree::manifest::Manifest;

use crate::judges::matchbox::check_tree;
use crate::lab::mirror::Mirror;
use crate::world::kills::Span;
use crate::world::{PRIMARY, Run, VERSION, World, after_one, peak_memory};

fn manifest(world: &World) -> Manifest {
    let bytes = fs::read(world.path("output/small/current/manifest.json")).unwrap();
    Manifest::parse("manifest.json", &bytes).unwrap()
}

#[test]
fn a_build_publishes_stock_files_overlays_and_configs_and_every_digest_holds() {
    let world = World::new();
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(run.stdout.contains("signed by 8F2E8753048542474D9D9200D26D2108E2F05BC2"), "{}", run.stdout);
    let manifest = manifest(&world);
    let stock = format!("assets/flatcar/{VERSION}");
    let paths: Vec<&str> = manifest.files.keys().map(String::as_str).collect();
    let expected = [
        "SHA256SUMS".to_owned(),
        format!("{stock}/flatcar_production_pxe.vmlinuz"),
        format!("{stock}/flatcar_production_pxe.vmlinuz.sig"),
        format!("{stock}/flatcar_production_pxe_image.cpio.gz"),
        format!("{stock}/flatcar_production_pxe_image.cpio.gz.sig"),
        format!("{stock}/version.txt"),
        format!("{stock}/version.txt.sig"),
        "assets/flatcar/current/version.txt".into(),
        "assets/flatcar/current/version.txt.sig".into(),
        "assets/overlay/control+n2.cpio".into(),
        "assets/overlay/control.cpio".into(),
        "assets/overlay/worker.cpio".into(),
        "assets/sysext/hello/hello-1-x86-64.raw".into(),
        "autoexec.ipxe".into(),
        "boot.ipxe".into(),
        "boot/ipxe/default.ipxe".into(),
        "boot/ipxe/mac-52-54-00-00-00-01.ipxe".into(),
        "boot/ipxe/mac-52-54-00-00-00-02.ipxe".into(),
        "groups/default.json".into(),
        "groups/n1.json".into(),
        "groups/n2.json".into(),
        "ignition/control+n2.ign".into(),
        "ignition/control.ign".into(),
        "ignition/worker.ign".into(),
        "profiles/control+n2.json".into(),
        "profiles/control.json".into(),
        "profiles/worker.json".into(),
        "sbom.spdx.json".into(),
        "small.lock".into(),
    ];
    assert_eq!(paths, expected);
    for (path, file) in &manifest.files {
        let bytes = fs::read(world.path("output/small/current").join(path)).unwrap();
        assert_eq!(prebake::base::digest::Sha256::of(&bytes), file.sha256, "{path}");
        assert_eq!(bytes.len() as u64, file.size, "{path}");
    }
    let initrd = &manifest.files[&format!("{stock}/flatcar_production_pxe_image.cpio.gz")];
    let url = &initrd.origin.as_ref().unwrap().url;
    assert!(url.starts_with("https://stable.release.flatcar-linux.net/amd64-usr/4593.2.5/"), "{url}");
}

#[test]
fn real_matchbox_and_our_server_answer_alike_from_the_published_tree() {
    let world = World::new();
    world.build();
    if let Some(asked) = check_tree(&world.path("output/small/current")) {
        // Two nodes in five spellings and the default, at four endpoints, and every file that they boot.
        assert!(asked > 44, "only {asked} questions were asked");
    }
}

#[test]
fn without_a_default_profile_both_servers_refuse_a_machine_that_nobody_knows() {
    let world = World::new();
    world.edit("recipes/small.yaml", "default_profile: worker\n", "");
    world.build();
    check_tree(&world.path("output/small/current"));
}

#[test]
fn sha256sum_itself_finds_every_published_file_intact() {
    let world = World::new();
    world.build();
    let status = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(world.path("output/small/current"))
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_second_build_fetches_nothing_builds_nothing_and_lands_on_the_same_tree() {
    let world = World::new();
    let first = world.build();
    let asked = world.mirror.requests().len();
    let run = world.prebake(&["build", "recipes/small.yaml", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["build_id"], first.as_str());
    assert_eq!(report["unchanged"], true);
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["cached"] == true));
    assert_eq!(world.mirror.requests().len(), asked, "nothing is asked of the network");
}

#[test]
fn a_changed_layer_rebuilds_overlays_only_and_never_opens_the_base() {
    let world = World::new();
    let first = world.build();
    // Whoever read the base now would find other bytes than its digest promises.
    let base = "flatcar_production_pxe_image.cpio.gz";
    let sha256 = manifest(&world).files[&format!("assets/flatcar/{VERSION}/{base}")].sha256.to_string();
    let object = world.path(&format!("store/objects/{}/{}", &sha256[..2], &sha256[2..]));
    let before = fs::metadata(&object).unwrap();
    fs::set_permissions(&object, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&object, vec![b'X'; before.len() as usize]).unwrap();
    world.edit("recipes/worker.ign", "data:,worker", "data:,changed");
    let run = world.prebake(&["build", "recipes/small.yaml", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_ne!(report["build_id"], first.as_str());
    let built: Vec<&str> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["cached"] == false)
        .map(|step| step["id"].as_str().unwrap())
        .collect();
    assert_eq!(built, ["overlay/control", "overlay/control+n2", "overlay/worker"]);
}

#[test]
fn directory_umask_time_zone_and_thread_count_leave_no_trace_in_the_build_id() {
    let first = World::new().build();
    let world = World::new();
    let exe = env!("CARGO_BIN_EXE_prebake");
    let script = format!("umask 077; exec {exe} build \"$PWD/recipes/small.yaml\" --output elsewhere/out");
    let mut command = world.command(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).current_dir(world.path("")).env("TZ", "Pacific/Chatham").env("LC_ALL", "C");
    for (key, value) in command.get_envs() {
        value.map(|value| shell.env(key, value));
    }
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let current = fs::read_link(world.path("elsewhere/out/small/current")).unwrap();
    assert_eq!(current.display().to_string(), first);
    let _ = command.stdin(Stdio::null());
}

#[test]
fn a_build_that_is_killed_at_any_point_leaves_nothing_half_and_the_rerun_gives_the_same_build_id() {
    let (unharmed, world) = (World::new(), World::new());
    let mut span = Span::of(|| drop(unharmed.build()));
    let expected = unharmed.current().unwrap();
    for round in 0..20 {
        let mut command = world.command(&["build", "recipes/small.yaml"]);
        span.kill(command.stdout(Stdio::null()).stderr(Stdio::null()), f64::from(round) / 20.0);
        world.objects(); // asserts that every object is whole
        if let Some(current) = world.current() {
            assert_eq!(current, expected);
            assert!(world.path("output/small/current/manifest.json").exists());
            // Once it is published, later rounds start over with an empty store and output.
            fs::remove_dir_all(world.path("output")).unwrap();
            fs::remove_dir_all(world.path("store")).unwrap();
        }
    }
    assert_eq!(world.build(), expected);
    assert_eq!(world.names("output/small"), after_one(&expected));
}

#[test]
fn an_extra_layer_from_the_command_line_wins_over_the_recipes() {
    let world = World::new();
    let layer = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/role","contents":{"source":"data:,override"}}]}}"#;
    fs::write(world.path("extra.ign"), layer).unwrap();
    world.prebake(&["build", "recipes/small.yaml", "--layer", "extra.ign"]).ok();
    let config = fs::read_to_string(world.path("output/small/current/ignition/worker.ign")).unwrap();
    assert!(config.contains("data:,override") && !config.contains("data:,worker"), "{config}");
}

#[test]
fn a_damaged_published_tree_is_made_whole_again() {
    let world = World::new();
    let first = world.build();
    fs::remove_file(world.path("output/small/current/profiles/worker.json")).unwrap();
    assert_eq!(world.build(), first);
    assert!(world.path("output/small/current/profiles/worker.json").exists());
}

#[test]
fn offline_builds_from_the_store_and_names_all_that_is_missing() {
    let world = World::new();
    world.build();
    world.prebake(&["build", "recipes/small.yaml", "--offline", "--locked"]).ok();
    fs::remove_dir_all(world.path("store")).unwrap();
    let run = world.prebake(&["build", "recipes/small.yaml", "--offline"]);
    run.fails(6, &["flatcar/amd64/version.txt", "flatcar/amd64/flatcar_production_pxe.vmlinuz", "hint:"]);
}

#[test]
fn a_locked_build_refuses_a_recipe_that_moved() {
    let world = World::new();
    world.prebake(&["build", "recipes/small.yaml", "--locked"]).fails(9, &["there is no lock"]);
    world.build();
    world.edit("recipes/small.yaml", "channel: stable}", "channel: stable, version: 4593.2.4}");
    let run = world.prebake(&["build", "recipes/small.yaml", "--locked"]);
    run.fails(9, &["wants version 4593.2.4, the lock has 4593.2.5", "prebake lock"]);
}

#[test]
fn a_second_build_in_the_same_output_waits_for_nobody_and_says_who_is_there() {
    let world = World::with_faults(|request| {
        (request.path.ends_with("pxe.vmlinuz")).then_some(crate::lab::mirror::Fault::Stall(3))
    });
    let mut first = world.command(&["build", "recipes/small.yaml"]).stderr(Stdio::piped()).spawn().unwrap();
    while !world.mirror.requests().iter().any(|request| request.path.ends_with("pxe.vmlinuz")) {
        thread::sleep(Duration::from_millis(10));
    }
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(1, &["is in use by another build: process", &first.id().to_string(), "--output"]);
    first.kill().unwrap();
    first.wait().unwrap();
    let mut rest = String::new();
    first.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
}

#[test]
fn memory_stays_flat_however_large_the_base_is() {
    let world = World::new();
    const SIZE: u64 = 2 << 30;
    let base =
        world.path("release/stable/amd64-usr").join(VERSION).join("flatcar_production_pxe_image.cpio.gz");
    fs::File::create(&base).unwrap().set_len(SIZE).unwrap();
    fs::write(
        base.with_file_name("flatcar_production_pxe_image.cpio.gz.sig"),
        crate::world::sign_file(&base),
    )
    .unwrap();
    let mut child = world.command(&["build", "recipes/small.yaml"]).stderr(Stdio::null()).spawn().unwrap();
    let peak = peak_memory(&mut child);
    assert!(child.wait().unwrap().success());
    println!("peak memory of a build with a 2 GiB base: {} MiB", peak >> 10);
    assert!(peak > 1 << 10 && peak < 150 << 10, "{peak} KiB");
}

#[test]
fn the_recipes_key_file_must_hold_the_pinned_primary() {
    let world = World::new();
    world.edit("recipes/small.yaml", PRIMARY, "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A");
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(5, &["lab.asc does not hold the pinned primary key F88C", PRIMARY]);
    assert!(world.objects().is_empty());
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt laptop";

/// attacks.md, §4 (C/gh.sh): what `github:` answered decided what may sign for others, and what ran at a login.
#[test]
fn keys_of_github_with_options_or_hidden_characters_reach_no_lock() {
    for (published, words) in [
        (
            format!("{OTHER}\ncert-authority {OTHER}\n"),
            &["octo.keys:2", "has options (`cert-authority`)"][..],
        ),
        (format!("command=\"id\" {OTHER}\n"), &["SHA256:", "are accepted only from a recipe"]),
        (format!("environment=\"A=b\" {OTHER}\n"), &["options (`environment="]),
        (format!("{OTHER}\u{1b}[31m\n"), &["U+001B"]),
        (format!("{OTHER}\0\n"), &["U+0000"]),
        (format!("{OTHER}\u{202e}\n"), &["U+202E"]),
    ] {
        let world = World::new();
        let github = Mirror::builder().page("/octo.keys", published).start().unwrap();
        world.edit("recipes/small.yaml", "sysexts:", "ssh_keys: [\"github:octo\"]\nsysexts:");
        let mut command = world.command(&["lock", "recipes/small.yaml"]);
        let run = Run::of(command.env("PREBAKE_MIRROR_GITHUB", github.url()).output().unwrap());
        run.fails(3, words);
        assert!(!run.stderr.contains(['\u{1b}', '\0', '\u{202e}']), "{:?}", run.stderr);
        assert!(!world.path("recipes/small.lock").exists());
    }
    // One that an earlier prebake locked is not believed for that.
    let world = World::new();
    let github = Mirror::builder().page("/octo.keys", format!("{OTHER} a\n{OTHER} b\n")).start().unwrap();
    world.edit("recipes/small.yaml", "sysexts:", "ssh_keys: [\"github:octo\"]\nsysexts:");
    let run = |args: &[&str]| {
        Run::of(world.command(args).env("PREBAKE_MIRROR_GITHUB", github.url()).output().unwrap())
    };
    run(&["lock", "recipes/small.yaml"]).ok();
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    assert!(lock.contains(&format!("- {OTHER} a")) && !lock.contains(&format!("{OTHER} b")), "{lock}");
    world.edit("recipes/small.lock", &format!("- {OTHER} a"), &format!("- cert-authority {OTHER} a"));
    run(&["build", "recipes/small.yaml", "--locked"])
        .fails(3, &["the locked keys of github:octo", "options"]);
}

#[test]
fn ssh_keys_from_the_recipe_a_file_and_github_reach_every_profile_and_github_is_pinned() {
    let world = World::new();
    let github = Mirror::builder().page("/octo.keys", format!("{OTHER}\n")).start().unwrap();
    let keys = format!("ssh_keys: [\"{KEY}\", team.pub, \"github:octo\"]\nsysexts:");
    world.edit("recipes/small.yaml", "sysexts:", &keys);
    fs::write(world.path("recipes/team.pub"), format!("# team\n{KEY}\n")).unwrap();
    let build = || {
        let mut command = world.command(&["build", "recipes/small.yaml"]);
        let output = command.env("PREBAKE_MIRROR_GITHUB", github.url()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    build();
    for profile in ["worker", "control", "control+n2"] {
        let path = format!("output/small/current/ignition/{profile}.ign");
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(world.path(&path)).unwrap()).unwrap();
        let core = &config["passwd"]["users"][0];
        assert_eq!(core["name"], "core");
        assert_eq!(core["sshAuthorizedKeys"], serde_json::json!([KEY, OTHER]), "{profile}");
    }
    build();
    assert_eq!(github.requests().len(), 1, "the lock pins what GitHub said");
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    assert!(lock.contains("octo:") && lock.contains(OTHER), "{lock}");
}
