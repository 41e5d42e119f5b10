//! Images that are longer or shorter than their table says, and those that are none: the same rule, whichever way.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use prebake::disk::layout::USR;
use serde_json::Value;

use super::image::{judged, table, tool};
use super::inputs::packed;
use super::verbs::{disk, world};
use crate::world::{Run, prebake_in};

const INTO: [&str; 4] = ["--file", "notes/of.txt=notes", "--kernel-arg", "ip=dhcp"];

/// A file of that length, with the bytes of another one as far as it goes.
fn of_length(directory: &Path, from: &str, to: &str, length: u64) -> File {
    fs::copy(directory.join(from), directory.join(to)).unwrap();
    let file = File::options().read(true).write(true).open(directory.join(to)).unwrap();
    file.set_len(length).unwrap();
    file
}

/// The names of the same image for each way in which one is read: in place, by clusters, as a stream.
fn ways(path: &Path, name: &str) -> [String; 3] {
    let names = [name.to_owned(), format!("{name}.qcow2"), format!("{name}.bz2")];
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    let convert = ["convert", "-f", "raw", "-O", "qcow2"];
    tool("qemu-img", &[&convert[..], &[&at(name), &at(&names[1])]].concat());
    packed(path, "bzip2", name, &names[2]);
    names
}

/// The same disk, of the same length.
#[track_caller]
fn same(path: &Path, name: &str, form: &str, expected: &str) {
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    let form = if form == "vhd" { "vpc" } else { form };
    tool("qemu-img", &["compare", "-f", form, "-F", "raw", &at(name), &at(expected)]);
    // A comparison takes zeros at the end of the longer one for nothing.
    let told: Value =
        serde_json::from_str(&tool("qemu-img", &["info", "-f", form, "--output=json", &at(name)])).unwrap();
    assert_eq!(told["virtual-size"], path.join(expected).metadata().unwrap().len(), "{name} {form}");
}

#[test]
fn a_disk_longer_than_its_table_has_one_rule_for_all_ways() {
    let (_directory, path) = world();
    let length = path.join("stock.bin").metadata().unwrap().len();
    disk(&path, &[&["inject", "stock.bin", "-o", "expected.bin"][..], &INTO].concat()).ok();
    disk(&path, &["convert", "stock.bin", "-o", "grown.bin", "--size", "160MiB"]).ok();
    of_length(&path, "stock.bin", "long.bin", length + (15 << 20));
    let told = format!("the copy of the partition table ends at byte {length}, and the image at byte");
    for image in ways(&path, "long.bin") {
        for form in ["raw", "qcow2"] {
            let out = ["-o", "out", "--force", "--format", form];
            let run = disk(&path, &[&["inject", &image][..], &out, &INTO].concat()).ok();
            assert!(run.stderr.contains(&told), "{image} {form}: {}", run.stderr);
            same(&path, "out", form, "expected.bin");
            disk(&path, &[&["convert", &image, "--size", "160MiB"][..], &out].concat()).ok();
            same(&path, "out", form, "grown.bin");
        }
        judged(&path.join("grown.bin"));
        for form in ["raw", "qcow2", "vmdk", "vhd"] {
            disk(&path, &["convert", &image, "-o", "out", "--force", "--format", form]).ok();
            same(&path, "out", form, "long.bin");
        }
        for form in ["raw.gz", "raw.zst", "raw.bz2"] {
            disk(&path, &["convert", &image, "-o", "packed", "--force", "--format", form]).ok();
            disk(&path, &["convert", "packed", "-o", "out", "--force", "--format", "raw"]).ok();
            same(&path, "out", "raw", "long.bin");
        }
        disk(&path, &["write", &image, "disk.bin", "--force"]).ok();
        same(&path, "disk.bin", "raw", "long.bin");
    }
    let file = of_length(&path, "stock.bin", "more.bin", length + (1 << 20));
    file.write_all_at(b"more", length + 600_000).unwrap();
    for image in ways(&path, "more.bin") {
        disk(&path, &[&["inject", &image, "-o", "no.bin"][..], &INTO].concat())
            .fails(4, &[&format!("goes on at byte {length}")]);
        assert!(!path.join("no.bin").exists());
        for form in ["raw", "qcow2"] {
            disk(&path, &["convert", &image, "-o", "out", "--force", "--format", form]).ok();
            same(&path, "out", form, "more.bin");
        }
    }
}

#[test]
fn an_image_that_lost_its_end_is_refused_by_all_ways() {
    let (_directory, path) = world();
    let length = path.join("stock.bin").metadata().unwrap().len();
    of_length(&path, "stock.bin", "cut.bin", length - (5 << 20));
    for image in ways(&path, "cut.bin") {
        for verb in [&["convert"][..], &[&["inject"][..], &INTO].concat()] {
            disk(&path, &[verb, &[&image, "-o", "no.bin"]].concat())
                .fails(4, &["is truncated: it ends at byte"]);
            assert!(!path.join("no.bin").exists());
        }
    }
    // A part of a sector.
    of_length(&path, "stock.bin", "odd.bin", length + 100);
    packed(&path, "bzip2", "odd.bin", "odd.bin.bz2");
    for image in ["odd.bin", "odd.bin.bz2"] {
        disk(&path, &[&["inject", image, "-o", "no.bin"][..], &INTO].concat())
            .fails(4, &["which is no multiple of a sector's 512"]);
        let run = disk(&path, &["convert", image, "-o", "out.bin", "--force"]).ok();
        assert!(run.stderr.contains("no multiple of a sector's 512"), "{}", run.stderr);
        assert!(fs::read(path.join("out.bin")).unwrap() == fs::read(path.join("odd.bin")).unwrap());
    }
}

#[test]
fn a_copy_of_what_is_no_disk_is_refused_or_told() {
    let (_directory, path) = world();
    let noise: Vec<u8> = (0..1_u32 << 20).map(|at| (at / 7 % 251) as u8).collect();
    for (name, bytes) in
        [("empty", &b""[..]), ("page", b"<html>404"), ("short", &[7; 300]), ("noise", &noise)]
    {
        fs::write(path.join(name), bytes).unwrap();
        packed(&path, "bzip2", name, &format!("{name}.bz2"));
    }
    for end in ["", ".bz2"] {
        for (name, words) in
            [("empty", "it is empty"), ("page", "a web page"), ("short", "it is shorter than a sector")]
        {
            for form in ["raw", "qcow2"] {
                disk(&path, &["convert", &format!("{name}{end}"), "-o", "no", "--format", form])
                    .fails(4, &[words]);
                assert!(!path.join("no").exists());
            }
        }
        let run = disk(&path, &["convert", &format!("noise{end}"), "-o", "out.bin", "--force"]).ok();
        assert!(run.stderr.contains("has no partition table"), "{}", run.stderr);
        assert!(fs::read(path.join("out.bin")).unwrap() == noise);
    }
    for (magic, words) in [
        (&b"QED\0"[..], "is a QED, which"),
        (b"WithoutFreeSpace", "is a disk of Parallels"),
        (b"WithouFreSpacExt", "is a disk of Parallels"),
        (b"LUKS\xba\xbe", "is an encrypted volume (LUKS)"),
    ] {
        let mut bytes = noise.clone();
        bytes[..magic.len()].copy_from_slice(magic);
        fs::write(path.join("other"), bytes).unwrap();
        disk(&path, &["convert", "other", "-o", "no.bin"]).fails(1, &[words]);
    }
}

#[test]
fn an_encrypted_root_does_not_grow() {
    let (_directory, path) = world();
    let root = table("OEM", USR).named("ROOT").unwrap().clone();
    let file = File::options().write(true).open(path.join("stock.bin")).unwrap();
    file.write_all_at(b"LUKS\xba\xbe", root.start).unwrap();
    for image in ways(&path, "stock.bin") {
        for verb in [&["convert"][..], &[&["inject"][..], &INTO].concat()] {
            for form in ["raw", "qcow2"] {
                let out = [&image, "-o", "no", "--size", "1GiB", "--format", form];
                disk(&path, &[verb, &out].concat())
                    .fails(4, &["ROOT is encrypted (LUKS), and would not grow at boot"]);
                assert!(!path.join("no").exists());
            }
        }
        disk(&path, &[&["inject", &image, "-o", "out", "--force", "--format", "raw"][..], &INTO].concat())
            .ok();
    }
}

#[test]
fn an_extraction_fills_an_empty_directory_and_keeps_holes() {
    let (_directory, path) = world();
    File::create(path.join("zeros")).unwrap().set_len(4 << 20).unwrap();
    disk(&path, &["inject", "stock.bin", "-o", "node.bin", "--file", "holes/zeros=zeros"]).ok();
    for name in ["empty", "behind"] {
        fs::create_dir(path.join(name)).unwrap();
    }
    symlink("behind", path.join("link")).unwrap();
    let mut command = prebake_in(&path, &["disk", "extract", "../node.bin", "-o", "."]);
    Run::of(command.current_dir(path.join("empty")).output().unwrap()).ok();
    disk(&path, &["extract", "node.bin", "-o", "link"]).ok();
    disk(&path, &["extract", "node.bin", "-o", "new"]).ok();
    for name in ["empty", "behind", "new"] {
        let file = path.join(name).join("holes/zeros").metadata().unwrap();
        assert_eq!(file.len(), 4 << 20, "{name}");
        assert!(file.blocks() * 512 < 1 << 20, "{name}: {} blocks", file.blocks());
        let names: Vec<_> =
            fs::read_dir(path.join(name)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".prebake")), "{names:?}");
    }
    disk(&path, &["extract", "node.bin", "-o", "link"]).fails(1, &["is not an empty directory"]);
}
