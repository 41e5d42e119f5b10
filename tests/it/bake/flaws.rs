//! Bad input: one clear error with the subject and a hint, the exit code of the design, and nothing changed.

use std::fs;

use crate::lab::mirror::Fault;
use crate::world::{VERSION, World, after_one};

/// Builds once, breaks something, and holds that the failed build changes neither store nor tree.
#[track_caller]
fn fails_after(breaking: impl FnOnce(&World), code: i32, words: &[&str]) {
    let world = World::new();
    let published = world.build();
    let objects = world.objects();
    breaking(&world);
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(code, words);
    assert_eq!(world.current(), Some(published.clone()));
    assert_eq!(world.objects(), objects, "the store is as it was");
    assert_eq!(world.names("output/small"), after_one(&published));
    assert!(world.names("store/tmp").is_empty(), "nothing is left behind");
}

/// The same for a recipe whose lock and store are gone, so that everything is fetched again.
#[track_caller]
fn fails_when_fetching(breaking: impl FnOnce(&World), code: i32, words: &[&str]) {
    let world = World::new();
    breaking(&world);
    world.prebake(&["build", "recipes/small.yaml"]).fails(code, words);
    assert_eq!(world.current(), None);
    assert_eq!(world.names("output/small"), [".lock"]);
    assert!(world.names("store/tmp").is_empty());
    assert!(!world.path("recipes/small.lock").exists(), "nothing unverified is locked");
    world.objects();
}

fn release(file: &str) -> String {
    format!("release/stable/amd64-usr/{VERSION}/{file}")
}

const KERNEL: &str = "flatcar_production_pxe.vmlinuz";
const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

#[test]
fn an_unknown_channel_is_named_with_its_place_and_the_nearest() {
    fails_after(
        |world| world.edit("recipes/small.yaml", "channel: stable", "channel: stabel"),
        7,
        &["recipes/small.yaml:3:20", "no Flatcar channel `stabel`", "did you mean `stable`?"],
    );
}

#[test]
fn an_unknown_version_is_named_with_channel_and_board() {
    fails_after(
        |world| world.edit("recipes/small.yaml", "channel: stable}", "channel: stable, version: 4593.2.99}"),
        7,
        &["no Flatcar release 4593.2.99 in channel stable for amd64-usr", "404"],
    );
}

#[test]
fn an_unknown_board_is_an_unknown_architecture() {
    fails_after(
        |world| world.edit("recipes/small.yaml", "channel: stable}", "channel: stable, arch: [riscv]}"),
        3,
        &["recipes/small.yaml:3:35", "unknown architecture `riscv`: amd64 or arm64"],
    );
}

#[test]
fn a_board_without_the_version_is_an_unknown_release() {
    fails_after(
        |world| world.edit("recipes/small.yaml", "channel: stable}", "channel: stable, arch: [arm64]}"),
        7,
        &["no Flatcar release 4593.2.5 in channel stable for arm64-usr"],
    );
}

#[test]
fn a_missing_signature_is_a_missing_release_file() {
    fails_when_fetching(
        |world| fs::remove_file(world.path(&release(&format!("{INITRD}.sig")))).unwrap(),
        7,
        &["flatcar_production_pxe_image.cpio.gz.sig", "404"],
    );
}

#[test]
fn the_kernels_signature_is_found_under_the_images_name() {
    let world = World::new();
    let signature = world.path(&release(&format!("{KERNEL}.sig")));
    fs::rename(&signature, world.path(&release("flatcar_production_image.vmlinuz.sig"))).unwrap();
    world.build();
    let published = format!("output/small/current/assets/flatcar/{VERSION}/{KERNEL}.sig");
    assert!(world.path(&published).exists());
}

#[test]
fn a_wrong_signature_is_not_trusted() {
    fails_when_fetching(
        |world| fs::write(world.path(&release(KERNEL)), b"another kernel").unwrap(),
        5,
        &["flatcar_production_pxe.vmlinuz.sig", "does not match", "tampered"],
    );
}

#[test]
fn a_torn_signature_is_not_trusted() {
    fails_when_fetching(
        |world| {
            let path = world.path(&release(&format!("{KERNEL}.sig")));
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..300]).unwrap();
        },
        5,
        &["flatcar_production_pxe.vmlinuz.sig", "is not a detached OpenPGP signature"],
    );
}

#[test]
fn a_foreign_signature_is_not_trusted() {
    fails_when_fetching(
        |world| {
            let foreign = crate::world::repository("tests/data/openpgp/by-foreign.sig");
            fs::copy(foreign, world.path(&release(&format!("{KERNEL}.sig")))).unwrap();
        },
        5,
        &["flatcar_production_pxe.vmlinuz.sig", "no key of the pinned primary"],
    );
}

#[test]
fn a_body_that_always_breaks_off_is_a_network_failure_after_three_tries() {
    let world =
        World::with_faults(|request| request.path.ends_with(INITRD).then_some(Fault::Truncate(50_000)));
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(6, &[INITRD, "download aborted after", "of 100000 bytes", "hint:"]);
    let tries = world.mirror.requests().iter().filter(|request| request.path.ends_with(INITRD)).count();
    assert_eq!(tries, 3);
    assert_eq!(world.current(), None);
}

#[test]
fn a_body_that_breaks_off_once_is_fetched_again() {
    let world = World::with_faults(|request| {
        (request.path.ends_with(INITRD) && request.earlier == 0).then_some(Fault::Truncate(50_000))
    });
    assert_eq!(world.build(), World::new().build());
}

#[test]
fn a_server_error_is_retried_and_a_missing_file_is_not() {
    let world = World::with_faults(|request| {
        (request.path.ends_with(KERNEL) && request.earlier == 0).then_some(Fault::Status(503))
    });
    world.build();
    let missing = World::with_faults(|request| request.path.ends_with(KERNEL).then_some(Fault::Status(404)));
    missing.prebake(&["build", "recipes/small.yaml"]).fails(7, &[KERNEL]);
    let tries = missing.mirror.requests().iter().filter(|request| request.path.ends_with(KERNEL)).count();
    assert_eq!(tries, 1);
}

#[test]
fn other_bytes_than_the_locked_ones_are_refused_even_when_well_signed() {
    let world = World::new();
    let published = world.build();
    fs::remove_dir_all(world.path("store")).unwrap();
    world.release_file(KERNEL, b"kernel of 4593.2.6");
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(4, &[KERNEL, "has sha256", "was expected", "prebake lock --update"]);
    assert_eq!(world.current(), Some(published));
}

#[test]
fn a_body_longer_than_locked_is_not_read_to_its_end() {
    let world = World::new();
    world.build();
    fs::remove_dir_all(world.path("store")).unwrap();
    fs::write(world.path(&release(INITRD)), vec![b'i'; 200_000]).unwrap();
    world
        .prebake(&["build", "recipes/small.yaml"])
        .fails(4, &[INITRD, "longer than the limit of 100000 bytes"]);
}

#[test]
fn a_version_file_that_names_another_version_is_a_mix_up() {
    fails_when_fetching(
        |world| {
            let text = b"FLATCAR_VERSION=4593.2.1\n";
            world.release_file("version.txt", text);
            // `current` still names the directory that holds it.
            let current = world.path("release/stable/amd64-usr/current");
            fs::remove_file(&current).unwrap();
            fs::create_dir(&current).unwrap();
            fs::write(current.join("version.txt"), format!("FLATCAR_VERSION={VERSION}\n")).unwrap();
        },
        7,
        &["version.txt", "it states 4593.2.1 in the directory of 4593.2.5"],
    );
}

#[test]
fn a_recipes_flaws_are_all_told_at_once() {
    fails_after(
        |world| {
            world.edit("recipes/small.yaml", "default_profile: worker", "default_profle: worker");
            world.edit("recipes/small.yaml", "00:02, profile: control", "00:01, profile: contrl");
        },
        3,
        &[
            "unknown key `default_profle`",
            "did you mean `default_profile`?",
            "nodes `n1` and `n2` have the same MAC address",
            "there is no profile `contrl`",
            "recipes/small.yaml:15:1",
        ],
    );
}

#[test]
fn a_wrong_type_is_shown_where_it_stands() {
    fails_after(
        |world| world.edit("recipes/small.yaml", "sysexts: [hello]", "sysexts: hello"),
        3,
        &["`sysexts` must be a list", "recipes/small.yaml:5:10", "^^^^^"],
    );
}

#[test]
fn a_missing_layer_is_named_with_the_place_that_wants_it() {
    fails_after(
        |world| fs::remove_file(world.path("recipes/n2.ign")).unwrap(),
        3,
        &["recipes/n2.ign", "recipes/small.yaml:14"],
    );
}

#[test]
fn an_unknown_sysext_is_named_with_the_nearest() {
    fails_after(
        |world| world.edit("recipes/small.yaml", "sysexts: [hello]", "sysexts: [helo]"),
        3,
        &["there is no sysext `helo`", "recipes/small.yaml:5:11", "did you mean `hello`?"],
    );
}

#[test]
fn a_missing_recipe_is_an_io_error_with_its_path() {
    let world = World::new();
    world.prebake(&["build", "recipes/smal.yaml"]).fails(2, &["cannot read the recipe recipes/smal.yaml"]);
}

#[test]
fn something_foreign_in_the_place_of_current_is_left_alone() {
    let world = World::new();
    fs::create_dir_all(world.path("output/small/current")).unwrap();
    fs::write(world.path("output/small/current/precious"), "x").unwrap();
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(1, &["output/small/current is not a symbolic link"]);
    assert!(world.path("output/small/current/precious").exists());
}

#[test]
fn a_layer_that_overrides_another_is_told_with_both_places() {
    let world = World::new();
    let layer = "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - path: /etc/role\n      contents: {inline: other}\n";
    fs::write(world.path("extra.bu"), layer).unwrap();
    let run = world.prebake(&["build", "recipes/small.yaml", "--layer", "extra.bu"]).ok();
    for words in ["warning", "`source` overrides an earlier layer", "extra.bu:6", "recipes/worker.ign:1:"] {
        assert!(run.stderr.contains(words), "no {words:?} in:\n{}", run.stderr);
    }
}

#[test]
fn kernel_arguments_in_a_layer_are_refused_for_a_pxe_boot() {
    fails_after(
        |world| {
            world.edit("recipes/small.yaml", "ignition: [worker.ign]\n", "ignition: [worker.ign, args.bu]\n");
            let text = "variant: flatcar\nversion: 1.1.0\nkernel_arguments:\n  should_exist: [quiet]\n";
            fs::write(world.path("recipes/args.bu"), text).unwrap();
        },
        3,
        &[
            "recipes/args.bu:4:18",
            "kernel arguments cannot be set by Ignition at a PXE boot",
            "`kernel_args`",
        ],
    );
}

#[test]
fn an_unknown_key_in_a_layer_is_an_error_and_never_dropped() {
    fails_after(
        |world| {
            world.edit("recipes/small.yaml", "ignition: [worker.ign]\n", "ignition: [worker.ign, slip.bu]\n");
            let text = "variant: flatcar\nversion: 1.0.0\nstorage:\n  fils: []\n";
            fs::write(world.path("recipes/slip.bu"), text).unwrap();
        },
        3,
        &["recipes/slip.bu:4:3", "error[$.storage.fils]: unused key fils"],
    );
}

#[test]
fn a_private_key_among_the_ssh_keys_is_refused_where_it_stands() {
    fails_after(
        |world| {
            let slip =
                "ssh_keys: [\"-----BEGIN OPENSSH PRIVATE KEY----- b3Bl\", \"github:no/body\"]\nsysexts:";
            world.edit("recipes/small.yaml", "sysexts:", slip);
        },
        3,
        &["recipes/small.yaml:5:12", "this is a private key", "`no/body` is not the name of a GitHub user"],
    );
}

/// Issue 14, A11 (10-merge-key-in-recipe): butane#507.
#[test]
fn a_layer_may_share_parts_by_anchors_and_what_is_behind_them_is_looked_through() {
    let world = World::new();
    world.edit("recipes/small.yaml", "ignition: [worker.ign]\n", "ignition: [worker.ign, share.bu]\n");
    let layer = |keys: &str| {
        format!(
            "variant: flatcar\nversion: 1.1.0\nx-app: &app\n  shell: /usr/sbin/nologin\n  {keys}: true\n\
             passwd:\n  users:\n    - <<: *app\n      name: one\n    - <<: *app\n      name: two\n"
        )
    };
    world.write("recipes/share.bu", layer("no_create_home"));
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(!run.stderr.contains("unused") && !run.stderr.contains("context tree"), "{}", run.stderr);
    world.write("recipes/share.bu", layer("no_creat_home"));
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(3, &["recipes/share.bu:5:3", "unused key no_creat_home", "did you mean `no_create_home`?"]);
}

/// 09-passes-fails-at-boot: builds published configs whose machines end in the emergency shell.
#[test]
fn a_config_that_is_certain_to_fail_at_the_boot_is_not_published() {
    fails_after(
        |world| {
            world.edit("recipes/small.yaml", "ignition: [worker.ign]\n", "ignition: [worker.ign, usr.bu]\n");
            let text =
                "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - path: /usr/local/bin/tool\n";
            fs::write(world.path("recipes/usr.bu"), text).unwrap();
        },
        3,
        &["recipes/usr.bu:5:13", "/usr is read-only on Flatcar", "/opt/bin"],
    );
}
