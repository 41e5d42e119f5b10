//! The verbs of `prebake disk`, from an image to an image.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::disk::layout::USR;
use prebake::format::gpt::Guid;
use serde_json::Value;

use super::image::{files, image, judged, table, tool, with_fat, with_table};
use crate::world::{Run, prebake_in};

/// Runs the verb in a directory.
pub(super) fn disk(directory: &Path, args: &[&str]) -> Run {
    let mut command = prebake_in(directory, &["disk"]);
    Run::of(command.args(args).output().unwrap())
}

/// A directory with a stock image and things to put into it.
pub(super) fn world() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    image(&path, "stock.bin");
    fs::write(
        path.join("node.bu"),
        "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - path: /etc/motd\n      contents:\n        inline: hello\n",
    )
    .unwrap();
    fs::write(path.join("notes"), "notes\n".repeat(5000)).unwrap();
    let tree = path.join("tree/usr/lib/extension-release.d");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("extension-release.debug"), "ID=_any\n").unwrap();
    let sysext = path.join("debug.raw");
    tool(
        "mksquashfs",
        &[
            path.join("tree").to_str().unwrap(),
            sysext.to_str().unwrap(),
            "-quiet",
            "-all-root",
            "-no-progress",
        ],
    );
    (directory, path)
}

const INTO: [&str; 9] = [
    "--ignition",
    "node.bu",
    "--sysext",
    "debug.raw",
    "--file",
    "notes/of.txt=notes:0600",
    "--kernel-arg",
    "ip=dhcp",
    "--no-autologin",
];

/// The files on OEM of an image, by `extract`.
pub(super) fn content(directory: &Path, image: &str) -> Vec<(String, u32, Vec<u8>)> {
    let out = directory.join("extracted");
    disk(directory, &["extract", image, "-o", "extracted"]).ok();
    let found = files(&out);
    fs::remove_dir_all(out).unwrap();
    found
}

pub(super) fn text(files: &[(String, u32, Vec<u8>)], path: &str) -> String {
    let file = files.iter().find(|file| file.0 == path).unwrap_or_else(|| panic!("no {path}"));
    String::from_utf8(file.2.clone()).unwrap()
}

#[test]
fn an_injection_is_on_oem_is_replaced_and_is_taken_out_again() {
    let (_directory, path) = world();
    let run = |args: &[&str]| disk(&path, args);
    run(&[&["inject", "stock.bin", "-o", "once.bin"][..], &INTO].concat()).ok();
    judged(&path.join("once.bin"));
    let stock = content(&path, "stock.bin");
    let once = content(&path, "once.bin");
    assert_eq!(
        text(&once, "grub.cfg"),
        "set oem_id=\"qemu\"\nset linux_append=\"\"\n# prebake begin: `prebake disk remove` takes these 3 lines out\n\
         set linux_append=\"$linux_append ip=dhcp\"\n# prebake end\n"
    );
    let config: Value = serde_json::from_str(&text(&once, "config.ign")).unwrap();
    assert_eq!(config["storage"]["links"][0]["target"], "/oem/sysext/debug.raw");
    assert_eq!(config["storage"]["files"][0]["path"], "/etc/motd");
    let notes = once.iter().find(|file| file.0 == "notes/of.txt").unwrap();
    assert_eq!((notes.1, notes.2.len()), (0o600, 30_000));
    for kept in stock.iter().filter(|file| file.0 != "grub.cfg") {
        assert!(once.contains(kept), "{} is not as it was", kept.0);
    }
    // Everything outside of OEM is as it was.
    let (before, after) =
        (fs::read(path.join("stock.bin")).unwrap(), fs::read(path.join("once.bin")).unwrap());
    let oem = table("OEM", USR).named("OEM").unwrap().clone();
    let (start, end) = (oem.start as usize, oem.end() as usize);
    assert!(before[..start] == after[..start] && before[end..] == after[end..]);

    run(&[&["inject", "once.bin", "-o", "twice.bin"][..], &INTO].concat()).ok();
    assert!(fs::read(path.join("twice.bin")).unwrap() == after, "the second injection differs");

    run(&["remove", "once.bin", "-o", "back.bin"]).ok();
    judged(&path.join("back.bin"));
    assert_eq!(content(&path, "back.bin"), stock);
    run(&["remove", "back.bin", "-o", "no.bin"]).fails(1, &["holds nothing that prebake put there"]);
    assert!(!path.join("no.bin").exists());
}

#[test]
fn the_same_image_comes_out_of_every_form_and_under_every_setting() {
    let (_directory, path) = world();
    disk(&path, &[&["inject", "stock.bin", "-o", "expected.bin"][..], &INTO].concat()).ok();
    let expected = fs::read(path.join("expected.bin")).unwrap();
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    tool("qemu-img", &["convert", "-c", "-O", "qcow2", &at("stock.bin"), &at("stock.qcow2")]);
    for (program, end) in
        [("lbzip2", "bz2"), ("bzip2", "b.bz2"), ("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")]
    {
        let level = if program == "xz" { "-0" } else { "-1" };
        let packed =
            Command::new(program).args([level, "-c"]).stdin(File::open(at("stock.bin")).unwrap()).output();
        fs::write(at(&format!("packed.{end}")), packed.unwrap().stdout).unwrap();
    }
    let inputs = ["stock.qcow2", "packed.bz2", "packed.b.bz2", "packed.gz", "packed.xz", "packed.zst"];
    for (number, input) in inputs.into_iter().enumerate() {
        let out = format!("of-{number}.bin");
        let mut command = prebake_in(&path, &["disk", "inject", input, "-o", &out]);
        command.args(INTO).env("TZ", "Asia/Kathmandu").env("LC_ALL", "tr_TR.UTF-8");
        Run::of(command.output().unwrap()).ok();
        assert!(fs::read(path.join(&out)).unwrap() == expected, "{input}");
    }
    // A pipe, another umask, one CPU.
    let script =
        format!("umask 077; taskset -c 0 \"$0\" disk inject - -o pipe.bin {} < packed.bz2", INTO.join(" "));
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_prebake")]).current_dir(&path).env("HOME", &path);
    Run::of(command.output().unwrap()).ok();
    assert!(fs::read(path.join("pipe.bin")).unwrap() == expected);

    // Clusters that are copied, and those that are packed anew.
    for input in ["stock.qcow2", "stock.bin"] {
        let out = format!("{input}.out.qcow2");
        disk(&path, &[&["inject", input, "-o", &out][..], &INTO].concat()).ok();
        tool("qemu-img", &["check", &at(&out)]);
        tool("qemu-img", &["compare", &at(&out), &at("expected.bin")]);
    }
}

#[test]
fn every_form_has_the_same_disk() {
    let (_directory, path) = world();
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    for (form, judge) in [
        ("qcow2", "qcow2"),
        ("vmdk", "vmdk"),
        ("vhd", "vpc"),
        ("raw", "raw"),
        ("raw.gz", ""),
        ("raw.zst", ""),
        ("raw.bz2", ""),
    ] {
        let out = format!("out-{form}");
        disk(&path, &["convert", "stock.bin", "-o", &out, "--format", form]).ok();
        match judge {
            "" => {
                let program = match form {
                    "raw.gz" => "gzip",
                    "raw.zst" => "zstd",
                    _ => "bzip2",
                };
                let unpacked = Command::new(program).arg("-dc").stdin(File::open(at(&out)).unwrap()).output();
                assert!(unpacked.unwrap().stdout == fs::read(at("stock.bin")).unwrap(), "{form}");
            }
            judge => {
                tool("qemu-img", &["compare", "-f", judge, "-F", "raw", &at(&out), &at("stock.bin")]);
            }
        }
        // And back again.
        disk(&path, &["convert", &out, "-o", "back", "--format", "raw", "--force"]).ok();
        assert!(fs::read(at("back")).unwrap().starts_with(&fs::read(at("stock.bin")).unwrap()), "{form}");
    }
    for (form, disk_of, judge) in [("ova", "out.vmdk", "vmdk"), ("gce", "disk.raw", "raw")] {
        let out = format!("out.{form}");
        disk(&path, &["convert", "stock.bin", "-o", &out, "--format", form]).ok();
        tool("tar", &["-xf", &at(&out), "-C", &at(""), disk_of]);
        tool("qemu-img", &["compare", "-f", judge, "-F", "raw", &at(disk_of), &at("stock.bin")]);
    }
}

#[test]
fn a_grown_disk_has_its_table_at_the_new_end() {
    let (_directory, path) = world();
    for (input, out) in [("stock.bin", "long.bin"), ("stock.bin", "long.qcow2"), ("long.qcow2", "again.bin")]
    {
        let size: &[&str] = if input == "stock.bin" { &["--size", "512MiB"] } else { &[] };
        disk(&path, &[&["convert", input, "-o", out][..], size].concat()).ok();
    }
    judged(&path.join("long.bin"));
    assert_eq!(path.join("long.bin").metadata().unwrap().len(), 512 << 20);
    assert!(fs::read(path.join("again.bin")).unwrap() == fs::read(path.join("long.bin")).unwrap());
    disk(&path, &["convert", "long.bin", "-o", "x.bin", "--size", "200MiB"])
        .fails(3, &["too small", "536870912"]);
}

#[test]
fn inspect_tells_what_is_there() {
    let (_directory, path) = world();
    with_fat(&path.join("stock.bin"), &["EFI/BOOT/BOOTX64.EFI", "flatcar/first_boot"]);
    disk(&path, &[&["inject", "stock.bin", "-o", "once.bin.bz2"][..], &INTO].concat()).ok();
    let run = disk(&path, &["inspect", "once.bin.bz2", "--json", "--files"]).ok();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((json["format"].as_str(), json["compression"].as_str()), (Some("raw"), Some("bzip2")));
    assert_eq!(json["platform"]["id"], "qemu");
    assert_eq!((json["arch"].as_str(), json["release"].as_str()), (Some("amd64"), Some("4593.2.5")));
    assert_eq!(json["autologin"], false);
    let expected = ["config.ign", "grub.cfg", "notes/of.txt", "sysext/debug.raw"];
    assert_eq!(json["injected"], serde_json::json!(expected));
    let oem = json["partitions"].as_array().unwrap().iter().find(|row| row["name"] == "OEM").unwrap();
    assert_eq!(oem["filesystem"], "btrfs");
    assert_eq!(json["findings"], serde_json::json!([]));
    let run = disk(&path, &["inspect", "stock.bin"]).ok();
    for words in [
        "platform   qemu (flatcar.oem.id=qemu), extension 4593.2.5",
        "injected   nothing",
        "boots      USR-A first",
        "release    4593.2.5, amd64",
        "64.00 MiB",
        "an unknown layout: ",
    ] {
        assert!(run.stdout.contains(words), "{}", run.stdout);
    }
}

#[test]
fn what_cannot_be_done_is_told_and_leaves_nothing() {
    let (_directory, path) = world();
    let packed =
        Command::new("bzip2").args(["-1", "-c", "stock.bin"]).current_dir(&path).output().unwrap().stdout;
    fs::write(path.join("cut.bz2"), &packed[..packed.len() - 100]).unwrap();
    let mut wrong = packed.clone();
    wrong[packed.len() / 2] ^= 4;
    fs::write(path.join("wrong.bz2"), wrong).unwrap();
    with_table(&path, "no-oem.bin", &table("STUFF", USR), &[]);
    with_table(&path, "other.bin", &table("STUFF", Guid::of(7)), &[]);
    fs::write(path.join("page.bin"), "<html>404 not found</html>").unwrap();
    File::create(path.join("huge")).unwrap().set_len(80 << 20).unwrap();
    // A sysext without its release file.
    fs::create_dir_all(path.join("bare/usr/bin")).unwrap();
    fs::write(path.join("bare/usr/bin/tool"), "").unwrap();
    let (tree, bare) = (path.join("bare"), path.join("bare.raw"));
    tool(
        "mksquashfs",
        &[tree.to_str().unwrap(), bare.to_str().unwrap(), "-quiet", "-all-root", "-no-progress"],
    );
    let before = fs::read_dir(&path).unwrap().count();
    let cases: [(&[&str], i32, &[&str]); 15] = [
        (&["cut.bz2"], 4, &["cut.bz2 is truncated"]),
        (&["wrong.bz2"], 4, &["wrong.bz2 is damaged", "block"]),
        (&["no-oem.bin"], 4, &["no-oem.bin has no partition `OEM`; it has the partitions EFI-SYSTEM"]),
        (&["other.bin"], 4, &["other.bin is not a Flatcar image"]),
        (&["page.bin"], 4, &["page.bin has no partition table", "web page"]),
        (&["stock.bin", "--file", "huge=huge"], 3, &["has no room", "must stay free", "huge 83886080"]),
        (&["stock.bin", "--file", "grub.cfg=notes"], 3, &["`grub.cfg` is not a path on OEM"]),
        (&["stock.bin", "--kernel-arg", "a b"], 3, &["the kernel argument `a b`", "--kernel-arg twice"]),
        (&["stock.bin", "--kernel-arg", "flatcar.oem.id=ec2"], 3, &["`flatcar.oem.id=ec2`", "--platform ID"]),
        (&["stock.bin", "--file", "/etc/motd=notes"], 3, &["`/etc/motd`", "below /oem"]),
        (&["stock.bin", "--file", "motd=notes:999"], 2, &["`999` is not a mode"]),
        (&["stock.bin", "--image", "node.bu"], 3, &["node.bu is no archive of container images"]),
        (&["node.bu", "--ignition", "stock.bin"], 3, &["stock.bin is longer than 16777216 bytes"]),
        (&["stock.bin", "--sysext", "bare.raw"], 3, &["bare.raw"]),
        (&["missing.bin"], 1, &["cannot open missing.bin"]),
    ];
    for (args, code, words) in cases {
        let all = [&["inject", "-o", "out.bin", "--file", "notes=notes"][..], args].concat();
        disk(&path, &all).fails(code, words);
    }
    disk(&path, &["inject", "stock.bin", "-o", "out.bin"]).fails(2, &["nothing was named"]);
    disk(&path, &["convert", "stock.bin", "-o", "notes"]).fails(2, &["notes exists"]);
    // A full disk, by the limit on the length of files.
    let script =
        "trap '' XFSZ; ulimit -f 20000; exec \"$0\" disk convert stock.bin -o out.bin.gz --format vhd";
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_prebake")]).current_dir(&path).env("HOME", &path);
    Run::of(command.output().unwrap()).fails(1, &["out.bin.gz"]);
    assert_eq!(fs::read_dir(&path).unwrap().count(), before, "something was left behind");
}

#[test]
fn a_generic_image_becomes_one_for_a_platform() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    with_table(path, "generic.bin", &table("OEM", USR), &[]);
    let tree = path.join("tree/usr/lib/extension-release.d");
    fs::create_dir_all(&tree).unwrap();
    fs::write(
        tree.join("extension-release.oem-proxmoxve"),
        "ID=flatcar\nVERSION_ID=4593.2.5\nARCHITECTURE=x86-64\n",
    )
    .unwrap();
    let extension = path.join("oem-proxmoxve.raw");
    tool(
        "mksquashfs",
        &[path.join("tree").to_str().unwrap(), extension.to_str().unwrap(), "-quiet", "-all-root"],
    );
    let platform = ["--platform", "proxmoxve"];
    disk(path, &[&["inject", "generic.bin", "-o", "x.bin"][..], &platform].concat())
        .fails(2, &["needs its extension", "oem-proxmoxve.raw"]);
    let args = [&["inject", "generic.bin", "-o", "p.bin", "--extension", "oem-proxmoxve.raw"][..], &platform];
    disk(path, &args.concat()).ok();
    judged(&path.join("p.bin"));
    let found = content(path, "p.bin");
    let paths: Vec<&str> = found.iter().map(|file| file.0.as_str()).collect();
    assert_eq!(
        paths,
        [
            "grub.cfg",
            "oem-release",
            "prebake.json",
            "sysext/active-oem-proxmoxve",
            "sysext/oem-proxmoxve-4593.2.5.raw"
        ]
    );
    assert!(text(&found, "oem-release").starts_with("ID=proxmoxve\nVERSION_ID=4593.2.5\n"));
    assert!(text(&found, "grub.cfg").contains("set oem_id=\"proxmoxve\""));
    disk(path, &["remove", "p.bin", "-o", "back.bin"]).ok();
    assert_eq!(content(path, "back.bin"), []);
    let run = disk(path, &["inspect", "generic.bin", "--json"]).ok();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["platform"]["id"], "generic");
    let run = disk(path, &["convert", "generic.bin", "-o", "c.bin", "--platform", "proxmoxve"]).ok();
    assert!(
        run.stderr.contains("OEM stays generic: `prebake disk inject --platform proxmoxve`"),
        "{}",
        run.stderr
    );
    let run = disk(path, &["convert", "p.bin", "-o", "d.bin", "--platform", "proxmoxve"]).ok();
    assert!(!run.stderr.contains("OEM stays"), "{}", run.stderr);
}

#[test]
fn a_written_file_has_the_disk_and_targets_are_judged() {
    let (_directory, path) = world();
    disk(&path, &["convert", "stock.bin", "-o", "stock.bin.bz2"]).ok();
    let run = disk(&path, &["write", "stock.bin.bz2", "target.bin"]).ok();
    assert!(run.stdout.contains("bytes written and read back"), "{}", run.stdout);
    assert!(fs::read(path.join("target.bin")).unwrap() == fs::read(path.join("stock.bin")).unwrap());
    disk(&path, &["write", "stock.bin.bz2", "target.bin"])
        .fails(2, &["is not overwritten unasked", "--force"]);
    disk(&path, &["write", "stock.bin.bz2", "target.bin", "--force"]).ok();
    disk(&path, &["write", "stock.bin.bz2", "."])
        .fails(2, &["is a directory, and neither a disk nor a file"]);
    let packed = fs::read(path.join("stock.bin.bz2")).unwrap();
    fs::write(path.join("cut.bz2"), &packed[..packed.len() - 100]).unwrap();
    disk(&path, &["write", "cut.bz2", "other.bin"]).fails(4, &["cut.bz2 is truncated"]);
    assert!(!path.join("other.bin").exists());
}
