//! Sysexts and images on ROOT, where OEM is too small: judged by e2fsck and debugfs, and the same in every form.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::disk::layout::USR;
use serde_json::Value;

use super::image::{judged, partition, table, tool, with_ext4};
use super::verbs::{content, disk, text, world};
use crate::store::trials::in_namespace;
use crate::world::{Run, World, prebake_in};

const INTO: [&str; 7] =
    ["--ignition", "node.bu", "--sysext", "debug.raw", "--image", "pause.tar", "--on-root"];

/// Bytes that nothing else has.
const MARK: &[u8] = b"a mark that is in this container image alone";

/// The world with an ext4 on ROOT, and a container image that has more than an inode.
fn rooted() -> (tempfile::TempDir, PathBuf) {
    let (directory, path) = world();
    with_ext4(&path.join("stock.bin"));
    let noise = (0..400_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
    let mut archive: Vec<u8> = MARK.iter().copied().chain(noise).collect();
    // By this a tar is known.
    archive[257..262].copy_from_slice(b"ustar");
    fs::write(path.join("pause.tar"), archive).unwrap();
    (directory, path)
}

/// The judges of ROOT find nothing wrong, and show the files below a directory.
#[track_caller]
fn root_judged(image: &Path, directory: &str) -> String {
    let root = partition(image, "ROOT");
    let path = root.to_str().unwrap();
    tool("e2fsck", &["-fn", path]);
    let listed = tool("debugfs", &["-R", &format!("ls -p {directory}"), path]);
    fs::remove_file(root).unwrap();
    listed
}

fn has_mark(path: &Path) -> bool {
    let mark = std::str::from_utf8(MARK).unwrap();
    Command::new("grep").args(["-aqF", mark]).arg(path).status().unwrap().success()
}

#[test]
fn an_injection_on_root_is_found_replaced_and_taken_out_again() {
    let (_directory, path) = rooted();
    let run = disk(&path, &[&["inject", "stock.bin", "-o", "once.bin", "--json"][..], &INTO].concat()).ok();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["on_root"], serde_json::json!(["opt/extensions/debug.raw", "opt/images/pause.tar"]));
    for words in ["flatcar-reset", "--keep-paths '/opt/extensions/.*'"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let once = path.join("once.bin");
    judged(&once);
    let listed = root_judged(&once, "/opt/extensions");
    assert!(listed.contains("/100644/0/0/debug.raw/"), "{listed}");
    // Ignition links to it, and OEM has no copy.
    let oem = content(&path, "once.bin");
    let config: Value = serde_json::from_str(&text(&oem, "config.ign")).unwrap();
    let link = &config["storage"]["links"][0];
    assert_eq!(
        (&link["path"], &link["target"]),
        (&"/etc/extensions/debug.raw".into(), &"/opt/extensions/debug.raw".into(),)
    );
    let on_oem = |path: &str| oem.iter().any(|file| file.0 == path);
    assert!(!on_oem("sysext/debug.raw") && !on_oem("images/pause.tar"));
    // Everything else is as it was.
    let (before, after) = (fs::read(path.join("stock.bin")).unwrap(), fs::read(&once).unwrap());
    let (oem, root) =
        (table("OEM", USR).named("OEM").unwrap().clone(), table("OEM", USR).named("ROOT").unwrap().clone());
    let parts = [0..oem.start, oem.end()..root.start, root.end()..before.len() as u64];
    for part in parts {
        let part = part.start as usize..part.end as usize;
        assert!(before[part.clone()] == after[part.clone()], "{part:?}");
    }

    // It is shown, and copied out of a packed image, too.
    disk(&path, &["convert", "once.bin", "-o", "once.bin.bz2"]).ok();
    for image in ["once.bin", "once.bin.bz2"] {
        let run = disk(&path, &["inspect", image]).ok();
        assert!(
            run.stdout.contains("on ROOT    /opt/extensions/debug.raw (4.00 KiB), /opt/images/pause.tar"),
            "{}",
            run.stdout
        );
        disk(&path, &["extract", image, "-o", "out", "--injected"]).ok();
        for (copied, source) in [
            ("out/ROOT/opt/extensions/debug.raw", "debug.raw"),
            ("out/ROOT/opt/images/pause.tar", "pause.tar"),
        ] {
            assert!(fs::read(path.join(copied)).unwrap() == fs::read(path.join(source)).unwrap(), "{copied}");
        }
        fs::remove_dir_all(path.join("out")).unwrap();
    }
    disk(&path, &["extract", "once.bin", "-o", "out", "--limit", "100KiB"])
        .fails(4, &["more than the limit"]);

    disk(&path, &[&["inject", "once.bin", "-o", "twice.bin"][..], &INTO].concat()).ok();
    judged(&path.join("twice.bin"));
    root_judged(&path.join("twice.bin"), "/opt");
    assert_eq!(content(&path, "twice.bin"), content(&path, "once.bin"));
    // Less takes what is not asked for any more, also to OEM.
    disk(&path, &["inject", "once.bin", "-o", "less.bin", "--sysext", "debug.raw"]).ok();
    let listed = root_judged(&path.join("less.bin"), "/");
    assert!(listed.contains("/stock/") && !has_mark(&path.join("less.bin")), "{listed}");
    assert!(content(&path, "less.bin").iter().any(|file| file.0 == "sysext/debug.raw"));

    for image in ["once.bin", "once.bin.bz2", "twice.bin"] {
        disk(&path, &["remove", image, "-o", "back.bin", "--force", "--format", "raw"]).ok();
        let back = path.join("back.bin");
        judged(&back);
        assert_eq!(content(&path, "back.bin"), content(&path, "stock.bin"));
        let listed = root_judged(&back, "/opt");
        assert!(!listed.contains("extensions") && !listed.contains("images"), "{listed}");
        assert!(has_mark(&once) && !has_mark(&back), "{image}: bytes were left behind");
    }
}

#[test]
fn the_same_root_comes_out_of_every_form() {
    let (_directory, path) = rooted();
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    disk(&path, &[&["inject", "stock.bin", "-o", "expected.bin"][..], &INTO].concat()).ok();
    let expected = fs::read(path.join("expected.bin")).unwrap();
    tool("qemu-img", &["convert", "-c", "-O", "qcow2", &at("stock.bin"), &at("stock.qcow2")]);
    let packed = Command::new("bzip2").args(["-1", "-c", "stock.bin"]).current_dir(&path).output().unwrap();
    fs::write(at("stock.bin.bz2"), packed.stdout).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for input in ["stock.bin", "stock.qcow2", "stock.bin.bz2"] {
        let mut command = prebake_in(&path, &["disk", "inject", input, "-o", "of.bin", "--force"]);
        command.args(INTO).env("TZ", "Asia/Kathmandu").env("E2FSPROGS_FAKE_TIME", "77");
        Run::of(command.output().unwrap()).ok();
        assert!(fs::read(path.join("of.bin")).unwrap() == expected, "{input}");
    }
    disk(&path, &[&["inject", "stock.qcow2", "-o", "of.qcow2"][..], &INTO].concat()).ok();
    tool("qemu-img", &["check", &at("of.qcow2")]);
    tool("qemu-img", &["compare", &at("of.qcow2"), &at("expected.bin")]);
    // A longer disk: ROOT grows in the table alone, as for every other image.
    for input in ["stock.bin", "stock.bin.bz2", "stock.qcow2"] {
        let args = ["inject", input, "-o", "long.bin", "--force", "--size", "512MiB", "--format", "raw"];
        disk(&path, &[&args[..], &INTO].concat()).ok();
        judged(&path.join("long.bin"));
        assert!(root_judged(&path.join("long.bin"), "/opt/images").contains("/pause.tar/"), "{input}");
        assert_eq!(path.join("long.bin").metadata().unwrap().len(), 512 << 20);
    }
}

#[test]
fn what_has_no_place_on_root_is_told() {
    let (_directory, path) = rooted();
    let huge = File::create(path.join("huge.tar")).unwrap();
    huge.set_len(80 << 20).unwrap();
    huge.write_all_at(b"ustar", 257).unwrap();
    let inject = |args: &[&str]| disk(&path, &[&["inject", "stock.bin", "-o", "out.bin"][..], args].concat());
    inject(&["--image", "huge.tar"]).fails(3, &["OEM", "has no room", "--on-root"]);
    inject(&["--image", "huge.tar", "--on-root"])
        .fails(3, &["ROOT's file system (12582912 bytes", "opt/images/huge.tar 83886080", "too many"]);
    // Somebody's own file.
    let root = partition(&path.join("stock.bin"), "ROOT");
    for command in ["mkdir opt", "mkdir opt/images", "write pause.tar opt/images/pause.tar"] {
        let done = Command::new("debugfs").args(["-w", "-R", command]).arg(&root).current_dir(&path).output();
        assert!(done.unwrap().status.success());
    }
    super::image::put(&path.join("stock.bin"), "ROOT", &root);
    inject(&["--image", "pause.tar", "--on-root"])
        .fails(3, &["ROOT has a `/opt/images/pause.tar` that prebake did not put there"]);
    // A root that the machine has to mend first, and one that is none.
    tool("debugfs", &["-w", "-R", "feature needs_recovery", root.to_str().unwrap()]);
    super::image::put(&path.join("stock.bin"), "ROOT", &root);
    inject(&["--sysext", "debug.raw", "--on-root"])
        .fails(4, &["needs_recovery", "has been booted or mounted"]);
    let partition = table("OEM", USR).named("ROOT").unwrap().clone();
    let file = File::options().write(true).open(path.join("stock.bin")).unwrap();
    file.write_all_at(b"LUKS\xba\xbe", partition.start).unwrap();
    file.write_all_at(&[0; 2], partition.start + 1080).unwrap();
    inject(&["--sysext", "debug.raw", "--on-root"]).fails(4, &["ROOT is encrypted (LUKS)"]);
    // Without files for ROOT it is nobody's business.
    inject(&["--sysext", "debug.raw"]).ok();
}

#[test]
fn a_missing_debugfs_is_named_before_the_image_is_read_to_its_end() {
    let (_directory, path) = rooted();
    let world = World::new();
    for file in ["stock.bin", "debug.raw"] {
        fs::copy(path.join(file), world.path(file)).unwrap();
    }
    let script = "
        mkdir empty
        mount -t tmpfs none /usr/sbin
        export PATH=/usr/bin:/bin
        \"$PREBAKE\" disk inject stock.bin -o out.bin --sysext debug.raw --on-root
    ";
    let Some(run) = in_namespace(&world, script) else { return };
    run.fails(1, &["`debugfs` is missing", "e2fsprogs", "--on-root"]);
    assert!(!world.path("out.bin").exists());
}
