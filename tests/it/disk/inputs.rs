//! Images in the containers and packings in which they are published, and with damaged tables: read, changed, and told.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use prebake::base::digest::Sha256;
use serde_json::Value;

use super::image::{judged, tool, with_fat};
use super::verbs::{disk, world};

const INTO: [&str; 4] = ["--file", "notes/of.txt=notes", "--kernel-arg", "ip=dhcp"];

/// Packs a file by its own program into another one.
pub(super) fn packed(directory: &Path, program: &str, from: &str, to: &str) {
    let from = File::open(directory.join(from)).unwrap();
    let done = Command::new(program).args(["-1", "-c"]).stdin(from).output().unwrap();
    assert!(done.status.success());
    fs::write(directory.join(to), done.stdout).unwrap();
}

/// The stock image in every container that is read, by the programs that people make them with; the name of each form
/// and of its packing.
fn containers(path: &Path) -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    let options = ["-o", "subformat=streamOptimized"];
    tool(
        "qemu-img",
        &[&["convert", "-O", "vmdk"][..], &options, &[&at("stock.bin"), &at("node.vmdk")]].concat(),
    );
    // Azure's: `force_size`, so that the length is that of the disk, whole MiB.
    let options = ["-o", "subformat=fixed,force_size=on"];
    tool(
        "qemu-img",
        &[&["convert", "-O", "vpc"][..], &options, &[&at("stock.bin"), &at("stock.vhd")]].concat(),
    );
    fs::write(path.join("node.ovf"), "<Envelope/>").unwrap();
    fs::write(path.join("node.mf"), "SHA256(node.vmdk)= 00\n").unwrap();
    tool(
        "tar",
        &["--format=ustar", "-C", &at(""), "-cf", &at("stock.ova"), "node.ovf", "node.mf", "node.vmdk"],
    );
    fs::copy(path.join("stock.bin"), path.join("disk.raw")).unwrap();
    // Google's are longer than the disk: whole GiB.
    let disk = File::options().write(true).open(path.join("disk.raw")).unwrap();
    disk.set_len(disk.metadata().unwrap().len() + (16 << 20)).unwrap();
    tool("tar", &["--format=oldgnu", "-C", &at(""), "-cf", &at("gce.tar"), "disk.raw"]);
    tool("tar", &["--format=posix", "-C", &at(""), "-czf", &at("posix.tar.gz"), "disk.raw"]);
    fs::remove_file(path.join("disk.raw")).unwrap();
    for (program, from, to) in [
        ("gzip", "gce.tar", "stock.tar.gz"),
        ("bzip2", "stock.vhd", "stock.vhd.bz2"),
        ("bzip2", "node.vmdk", "stock.vmdk.bz2"),
        ("zstd", "stock.ova", "stock.ova.zst"),
    ] {
        packed(path, program, from, to);
    }
    vec![
        ("node.vmdk", "vmdk", None),
        ("stock.vmdk.bz2", "vmdk", Some("bzip2")),
        ("stock.vhd", "vhd", None),
        ("stock.vhd.bz2", "vhd", Some("bzip2")),
        ("stock.ova", "ova", None),
        ("stock.ova.zst", "ova", Some("zstd")),
        ("gce.tar", "gce", None),
        ("stock.tar.gz", "gce", Some("gzip")),
        ("posix.tar.gz", "gce", Some("gzip")),
    ]
}

#[test]
fn every_container_is_told_by_its_bytes_and_gives_the_same_image() {
    let (_directory, path) = world();
    let rows = containers(&path);
    disk(&path, &[&["inject", "stock.bin", "-o", "expected.bin"][..], &INTO].concat()).ok();
    let (stock, expected) =
        (fs::read(path.join("stock.bin")).unwrap(), fs::read(path.join("expected.bin")).unwrap());
    for (file, form, packing) in rows {
        // A name tells nothing.
        fs::copy(path.join(file), path.join("image")).unwrap();
        let run = disk(&path, &["inspect", "image", "--json"]).ok();
        let json: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((json["format"].as_str(), json["compression"].as_str()), (Some(form), packing), "{file}");
        assert_eq!(json["platform"]["id"], "qemu", "{file}");
        disk(&path, &["convert", "image", "-o", "back.bin", "--force", "--format", "raw"]).ok();
        let back = fs::read(path.join("back.bin")).unwrap();
        assert!(back.starts_with(&stock) && back[stock.len()..].iter().all(|byte| *byte == 0), "{file}");
        disk(
            &path,
            &[&["inject", "image", "-o", "of.bin", "--force", "--format", "raw"][..], &INTO].concat(),
        )
        .ok();
        assert!(fs::read(path.join("of.bin")).unwrap() == expected, "{file}");
        // The same out of a pipe.
        let script = "\"$0\" disk convert - -o piped.bin --force --format raw < image";
        let done = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_prebake")])
            .current_dir(&path)
            .env("HOME", &path)
            .output()
            .unwrap();
        assert!(done.status.success(), "{file}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(fs::read(path.join("piped.bin")).unwrap().starts_with(&stock), "{file}");
    }
    // What prebake writes, it reads.
    for form in ["ova", "gce", "vhd", "vmdk"] {
        disk(&path, &["convert", "stock.bin", "-o", "own", "--force", "--format", form]).ok();
        disk(&path, &["convert", "own", "-o", "back.bin", "--force", "--format", "raw"]).ok();
        assert!(fs::read(path.join("back.bin")).unwrap().starts_with(&stock), "{form}");
    }
}

#[test]
fn damaged_containers_are_told() {
    let (_directory, path) = world();
    containers(&path);
    let cut = |from: &str, to: &str, length: u64| {
        fs::copy(path.join(from), path.join(to)).unwrap();
        File::options().write(true).open(path.join(to)).unwrap().set_len(length).unwrap();
    };
    let length = |file: &str| path.join(file).metadata().unwrap().len();
    cut("stock.ova", "cut.ova", length("stock.ova") / 2);
    cut("gce.tar", "cut.tar", 50 << 20);
    packed(&path, "gzip", "cut.tar", "cut.tar.gz");
    tool("tar", &["-C", path.to_str().unwrap(), "-cf", path.join("none.tar").to_str().unwrap(), "node.ovf"]);
    fs::copy(path.join("node.vmdk"), path.join("second.vmdk")).unwrap();
    let two = path.join("two.ova");
    tool("tar", &["-C", path.to_str().unwrap(), "-cf", two.to_str().unwrap(), "node.vmdk", "second.vmdk"]);
    let holes = File::create(path.join("disk.raw")).unwrap();
    holes.set_len(64 << 20).unwrap();
    holes.write_all_at(b"data", 8 << 20).unwrap();
    let sparse = path.join("sparse.tar.gz");
    tool(
        "tar",
        &[
            "--format=oldgnu",
            "-S",
            "-C",
            path.to_str().unwrap(),
            "-czf",
            sparse.to_str().unwrap(),
            "disk.raw",
        ],
    );
    // A footer whose checksum is wrong is nothing that may follow a disk.
    fs::copy(path.join("stock.vhd"), path.join("bad.vhd")).unwrap();
    let bad = File::options().write(true).open(path.join("bad.vhd")).unwrap();
    bad.write_all_at(&[1], length("stock.vhd") - 100).unwrap();
    packed(&path, "bzip2", "bad.vhd", "bad.vhd.bz2");
    for (image, code, words) in [
        ("cut.ova", 4, &["cut.ova", "ends behind the file"][..]),
        ("cut.tar", 4, &["cut.tar", "ends behind the file"]),
        ("cut.tar.gz", 4, &["cut.tar.gz", "the archive ends"]),
        ("none.tar", 1, &["none.tar is an archive without a disk"]),
        ("two.ova", 1, &["an archive of several disks (`node.vmdk`, `second.vmdk`)"]),
        ("sparse.tar.gz", 1, &["`disk.raw` is stored sparsely"]),
        ("bad.vhd.bz2", 4, &["bad.vhd.bz2 goes on at byte"]),
    ] {
        disk(&path, &[&["inject", image, "-o", "out.bin", "--format", "raw"][..], &INTO].concat())
            .fails(code, words);
        assert!(!path.join("out.bin").exists());
    }
}

/// Overwrites the first table in four ways.
fn damaged(path: &Path, way: usize) {
    let file = File::options().write(true).open(path).unwrap();
    match way {
        // A byte of the header; a byte of an entry; the header; all of the beginning.
        0 => file.write_all_at(&[0xff], 512 + 40),
        1 => file.write_all_at(&[0xff], 1024 + 130),
        2 => file.write_all_at(&[0; 512], 512),
        _ => file.write_all_at(&[0; 17408], 0),
    }
    .unwrap();
}

#[test]
fn a_damaged_table_is_read_at_the_end_however_the_image_comes() {
    let (_directory, path) = world();
    disk(&path, &[&["inject", "stock.bin", "-o", "expected.bin"][..], &INTO].concat()).ok();
    let said = "the partition table at the beginning is damaged";
    for way in 0..4 {
        fs::copy(path.join("stock.bin"), path.join("bad.bin")).unwrap();
        damaged(&path.join("bad.bin"), way);
        packed(&path, "bzip2", "bad.bin", "bad.bin.bz2");
        for image in ["bad.bin", "bad.bin.bz2"] {
            let run = disk(&path, &["inspect", image]).ok();
            assert!(run.stderr.contains(said), "{image} {way}: {}", run.stderr);
            for (verb, more, expected) in
                [("inject", &INTO[..], "expected.bin"), ("convert", &["--format", "raw"], "stock.bin")]
            {
                let run = disk(&path, &[&[verb, image, "-o", "out.bin", "--force"][..], more].concat()).ok();
                assert!(run.stderr.contains(said), "{verb} {image} {way}: {}", run.stderr);
                judged(&path.join("out.bin"));
                let same = fs::read(path.join("out.bin")).unwrap() == fs::read(path.join(expected)).unwrap();
                assert!(same, "{verb} {image} {way}");
            }
            let run = disk(&path, &["write", image, "disk.bin", "--force"]).ok();
            assert!(run.stderr.contains(said), "write {image} {way}: {}", run.stderr);
            assert!(fs::read(path.join("disk.bin")).unwrap() == fs::read(path.join("stock.bin")).unwrap());
        }
    }
    // Both are damaged: nothing is written.
    let file = File::options().write(true).open(path.join("bad.bin")).unwrap();
    let end = file.metadata().unwrap().len();
    file.write_all_at(&[0; 16896], end - 16896).unwrap();
    packed(&path, "bzip2", "bad.bin", "bad.bin.bz2");
    for image in ["bad.bin", "bad.bin.bz2"] {
        disk(&path, &[&["inject", image, "-o", "no.bin"][..], &INTO].concat())
            .fails(4, &["has no partition table: it begins with zeros"]);
        assert!(!path.join("no.bin").exists());
    }
}

#[test]
fn json_says_the_digest_of_what_was_written() {
    let (_directory, path) = world();
    let said = |args: &[&str]| -> Value {
        serde_json::from_str(&disk(&path, &[args, &["--json"]].concat()).ok().stdout).unwrap()
    };
    let checked = |json: &Value, file: &str| {
        let bytes = fs::read(path.join(file)).unwrap();
        assert_eq!(json["sha256"], Sha256::of(&bytes).to_string(), "{file}");
        assert_eq!(json["bytes"], bytes.len() as u64, "{file}");
    };
    for form in ["raw", "raw.gz", "raw.zst", "raw.bz2", "qcow2", "vmdk", "vhd", "ova", "gce"] {
        let out = format!("out-{form}");
        checked(&said(&["convert", "stock.bin", "-o", &out, "--format", form]), &out);
        let json =
            said(&["inject", "stock.bin", "-o", &out, "--force", "--format", form, "--kernel-arg", "quiet"]);
        checked(&json, &out);
    }
    checked(&said(&["remove", "out-qcow2", "-o", "back.qcow2"]), "back.qcow2");
}

#[test]
fn inspect_tells_whether_ignition_will_run() {
    let (_directory, path) = world();
    let told = |image: &str| -> (Value, String) {
        let run = disk(&path, &["inspect", image, "--json"]).ok();
        (serde_json::from_str(&run.stdout).unwrap(), run.stderr)
    };
    // Without a FAT nothing is known.
    let (json, _) = told("stock.bin");
    assert_eq!(json["first_boot"], Value::Null);
    assert_eq!(json["grub"], "set oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin\"\n");
    for (files, expected) in [
        (&["flatcar/first_boot"][..], true),
        (&["coreos/first_boot"], true),
        (&["flatcar/vmlinuz-a", "coreos/second_boot"], false),
    ] {
        with_fat(&path.join("stock.bin"), files);
        packed(&path, "bzip2", "stock.bin", "stock.bin.bz2");
        for image in ["stock.bin", "stock.bin.bz2"] {
            let (json, stderr) = told(image);
            assert_eq!(json["first_boot"], expected, "{files:?}");
            assert_eq!(stderr.contains("this image has been booted"), !expected, "{stderr}");
            let words =
                if expected { "still to come: Ignition will run" } else { "done: Ignition will not run" };
            let run = disk(&path, &["inspect", image]).ok();
            assert!(run.stdout.contains(words), "{}", run.stdout);
        }
    }
}
