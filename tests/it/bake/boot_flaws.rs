//! Bad input that would boot machines wrongly: nodes, profiles, arguments, and initrds that do not fit or line up.

use std::fs;
use std::process::Command;

use crate::world::{Run, World};

const RECIPE: &str = "recipes/small.yaml";
const N1: &str = "{name: n1, mac: 52:54:00:00:00:01,";
const N2: &str = "{name: n2, mac: 52:54:00:00:00:02,";

fn edited(edits: &[(&str, &str)]) -> World {
    let world = World::new();
    edits.iter().for_each(|(from, to)| world.edit(RECIPE, from, to));
    world
}

#[test]
fn a_node_that_is_listed_twice_is_refused_at_the_second_with_the_place_of_the_first() {
    let uuid = "uuid: 0d1e2a3b-0000-4000-8000-00000000000a,";
    let with_uuid = |node: &str, uuid: &str| format!("{node} {uuid}");
    let (first, again) = (with_uuid(N1, uuid), with_uuid(N2, &uuid.to_uppercase().replace("UUID", "uuid")));
    for (edits, words) in [
        (vec![("name: n2", "name: n1")], ["node `n1` is listed twice", "first listed here"]),
        (
            vec![("00:00:00:02", "00:00:00:01")],
            ["nodes `n1` and `n2` have the same MAC address 52:54:00:00:00:01", "first given here"],
        ),
        (
            vec![("52:54:00:00:00:02", "52-54-00-00-00-01")],
            ["nodes `n1` and `n2` have the same MAC address 52:54:00:00:00:01", "first given here"],
        ),
        (
            vec![(N1, first.as_str()), (N2, again.as_str())],
            [
                "nodes `n1` and `n2` have the same UUID 0d1e2a3b-0000-4000-8000-00000000000a",
                "first given here",
            ],
        ),
    ] {
        let run = edited(&edits).prebake(&["build", RECIPE]);
        run.fails(3, &[words[0], words[1], "recipes/small.yaml:14:", "recipes/small.yaml:13:"]);
    }
}

#[test]
fn a_profile_that_no_machine_comes_to_is_warned_of_unless_a_menu_offers_it() {
    let warning = "no machine boots the profile `spare`";
    let spare = |outputs: &str| {
        let world = edited(&[("profiles:\n", "profiles:\n  spare: {}\n")]);
        world.edit(RECIPE, "default_profile:", &format!("{outputs}default_profile:"));
        world.prebake(&["build", RECIPE]).ok().stderr
    };
    let told = spare("");
    assert!(told.contains(warning) && told.contains("recipes/small.yaml:7:3"), "{told}");
    for outputs in ["pxe: {}, ipxe: {menu: {}}", "pxe: {}, grub: {}", "pxe: {}, pxelinux: {}"] {
        let told = spare(&format!("outputs: {{{outputs}}}\n"));
        assert!(!told.contains(warning), "{outputs}: {told}");
    }
    let world = edited(&[
        ("default_profile: worker\n", ""),
        ("n1, mac: 52:54:00:00:00:01, profile: worker", "n1, mac: 52:54:00:00:00:01, profile: control"),
    ]);
    let told = world.prebake(&["build", RECIPE]).ok().stderr;
    assert!(told.contains("no machine boots the profile `worker`"), "{told}");
}

#[test]
fn arguments_that_would_not_arrive_as_written_are_refused_where_they_stand() {
    for (arg, words) in [
        (
            r#""quiet\nroot=/dev/sda""#,
            r"kernel argument `quiet\nroot=/dev/sda` has a control character in it",
        ),
        (r#"'dyndbg="file x'"#, "has an opening quote without a closing one"),
        ("'console=tty0 quiet'", "has a blank outside of quotes, so it is two arguments"),
        ("'sshkey=ssh-ed25519'", "is not in double quotes, and Flatcar then ignores it"),
        ("''", "kernel argument `` is empty"),
    ] {
        let world = edited(&[("[console=ttyS0]", &format!("[{arg}]"))]);
        world.prebake(&["build", RECIPE]).fails(3, &[words, "recipes/small.yaml:9:19"]);
    }
    // Inside of double quotes a blank is the value's own.
    edited(&[("[console=ttyS0]", r#"['dyndbg="file x +p"']"#)]).build();
}

/// An empty archive of this many bytes, which is more than the zeros of one that nothing needs.
fn cpio_of(size: usize) -> Vec<u8> {
    let zero = "00000000";
    let header =
        ["070701", zero, zero, zero, zero, "00000001", zero, zero, zero, zero, zero, zero, "0000000b", zero];
    let mut bytes = format!("{}TRAILER!!!\0", header.concat()).into_bytes();
    assert!(size >= bytes.len());
    bytes.resize(size, 0);
    bytes
}

/// The kernel's EFI stub puts the initrds that `initrd=` names one behind the other, without a gap.
#[test]
fn what_the_efi_stub_joins_is_an_initrd_that_loses_nothing_in_every_layout() {
    for layout in ["overlay", "single"] {
        let early = format!("    layout: {layout}\n    early_initrds: [odd.cpio]\n    kernel_args");
        let world = edited(&[("    kernel_args", &early)]);
        let mut gzip = Command::new("sh");
        let made = gzip.args(["-c", "echo . | cpio --quiet -o -H newc | gzip -n"]).output().unwrap();
        // Neither the base nor the early initrd ends at a multiple of four.
        let mut base = made.stdout;
        base.resize(base.len().next_multiple_of(4) + 1, 0);
        world.release_file("flatcar_production_pxe_image.cpio.gz", &base);
        fs::write(world.path("recipes/odd.cpio"), cpio_of(125)).unwrap();
        world.build();
        let tree = world.path("output/small/current");
        let script = fs::read_to_string(tree.join("boot/ipxe/mac-52-54-00-00-00-01.ipxe")).unwrap();
        let files: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("initrd ../../")).collect();
        let mut joined = Vec::new();
        for name in script.split_whitespace().filter_map(|word| word.strip_prefix("initrd=")) {
            let path = files.iter().find(|path| path.ends_with(name)).unwrap();
            joined.extend(fs::read(tree.join(path)).unwrap());
        }
        fs::write(world.path("joined"), joined).unwrap();
        world.prebake(&["initrd", "extract", "joined", "-C", "out"]).ok();
        let config = fs::read(world.path("out/usr/share/oem/config.ign")).unwrap();
        assert_eq!(config, fs::read(tree.join("ignition/worker.ign")).unwrap(), "{layout}");
    }
}

#[test]
fn a_virtual_initrd_that_no_server_would_join_is_warned_of() {
    let told = |outputs: &str| {
        let world = edited(&[("    kernel_args", "    layout: virtual\n    kernel_args")]);
        world.edit(
            RECIPE,
            "default_profile:",
            &format!("outputs: {{pxe: {{}}, {outputs}}}\ndefault_profile:"),
        );
        world.prebake(&["build", RECIPE]).ok().stderr
    };
    for loader in ["grub", "pxelinux"] {
        let warned = told(&format!("{loader}: {{}}"));
        assert!(warned.contains(&format!("`{loader}` loads by TFTP")), "{warned}");
        assert!(warned.contains("recipes/small.yaml:9:13"), "{warned}");
        assert!(!told(&format!("{loader}: {{base_url: \"http://10.0.0.1\"}}")).contains("virtual"));
    }
}

#[test]
fn a_unified_kernel_image_holds_the_single_initrd_as_it_is() {
    let world = edited(&[
        ("    kernel_args", "    layout: single\n    kernel_args"),
        ("default_profile:", "outputs: {pxe: {}, uki: {}}\ndefault_profile:"),
    ]);
    world.build();
    let tree = world.path("output/small/current");
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["--dump-section", ".initrd=section"]).arg(tree.join("boot/uki/worker.efi")).arg("copy");
    Run::of(objcopy.current_dir(world.path("")).output().unwrap()).ok();
    let mut single = fs::read(tree.join("assets/initrd/worker.img")).unwrap();
    single.resize(single.len().next_multiple_of(4), 0);
    assert!(fs::read(world.path("section")).unwrap() == single);
}
