//! btrfs by its judge that needs root: the kernel.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::files::*;
use crate::judges::kernel::{self, Mounted};
use prebake::format::btrfs::{Error, Files, Property};
use prebake::format::tree::Tree;

fn mount(image: &Path, at: &Path, options: &str) -> Mounted {
    Mounted::new("btrfs", options, image, at)
}

#[test]
fn the_kernel_reads_and_writes_what_was_written() {
    if !kernel::mounts() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
    let tree = all_kinds();
    let files = Files::of_tree(&tree).unwrap();
    for (length, property) in [(16 * MIB, Property::Zstd), (128 * MIB, Property::Zlib)] {
        let mut options = options(length);
        options.compression = Some(property);
        write_to(&image, &files, &options);
        let mounted = mount(&image, &at, "rw");
        assert_eq!(seen_in(&at), seen_of(&tree));
        let text = run(Command::new("getfattr")
            .args(["--absolute-names", "-n", "user.note", "--only-values"])
            .arg(mounted.at("secret")));
        assert_eq!(text.stdout, b"kept");
        let property = run(Command::new("btrfs").args(["property", "get"]).arg(&at).arg("compression"));
        let told = String::from_utf8(property.stdout).unwrap();
        assert!(["compression=zlib\n", "compression=zstd\n"].contains(&told.as_str()), "{told}");
        if length > 16 * MIB {
            fs::write(mounted.at("new"), noise(1, 20_000_000)).unwrap();
        }
        fs::write(mounted.at("text"), b"compressible ".repeat(80_000)).unwrap();
        fs::rename(mounted.at("grub.cfg"), mounted.at("deep/renamed")).unwrap();
        let (one, other) = colliding();
        let (one, other) = (format!("same/{one}"), format!("same/{other}"));
        fs::remove_file(mounted.at(&one)).unwrap();
        File::options().append(true).open(mounted.at(&other)).unwrap().write_all(b"more").unwrap();
        fs::remove_file(mounted.at("hard")).unwrap();
        fs::remove_dir_all(mounted.at("lengths")).unwrap();
        run(&mut Command::new("sync"));
        let scrub = run(Command::new("btrfs").args(["scrub", "start", "-B"]).arg(&at));
        let scrub = String::from_utf8(scrub.stdout).unwrap();
        assert!(scrub.contains("no errors found"), "{scrub}");
        let expected = seen_in(&at);
        mounted.unmount();
        check(&image);
        assert_eq!(seen(&open(&image).unwrap()), expected);
    }
}

#[test]
fn a_filesystem_without_room_mounts_and_files_can_be_removed() {
    if !kernel::mounts() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
    let mut tree = Tree::new();
    tree.insert("large", file(noise(1, 40_000_000))).unwrap();
    tree.insert("small", file("small")).unwrap();
    let files = Files::of_tree(&tree).unwrap();
    let needed = prebake::format::btrfs::Layout::new(&files, &options(1 << 30)).unwrap().needed();
    write_to(&image, &files, &options(needed));
    let mounted = mount(&image, &at, "rw");
    assert_eq!(seen_in(&at), seen_of(&tree));
    fs::remove_file(mounted.at("large")).unwrap();
    fs::write(mounted.at("small"), noise(2, 5_000_000)).unwrap();
    mounted.unmount();
    check(&image);
}

#[test]
fn what_the_kernel_wrote_is_read_and_kept() {
    if !kernel::mounts() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, at, new) = (dir.path().join("image"), dir.path().join("mnt"), dir.path().join("new"));
    for compression in ["no", "zlib", "zstd", "zstd:15", "zlib:9"] {
        File::create(&image).unwrap().set_len(300 * MIB).unwrap();
        run(Command::new("mkfs.btrfs").args(["-q", "-f", "--mixed"]).arg(&image));
        let mounted = mount(&image, &at, &format!("compress-force={compression}"));
        for number in 0..300 {
            fs::write(mounted.at(&format!("file {number}")), format!("{number} ").repeat(number * 20))
                .unwrap();
        }
        fs::write(mounted.at("text"), b"a text that is long and can be compressed; ".repeat(70_000)).unwrap();
        fs::write(mounted.at("noise"), noise(3, 3_000_001)).unwrap();
        fs::hard_link(mounted.at("text"), mounted.at("hard")).unwrap();
        let sparse = File::create(mounted.at("sparse")).unwrap();
        sparse.set_len(90 << 20).unwrap();
        sparse.write_all_at(&noise(4, 10_000), (30 << 20) + 123).unwrap();
        run(Command::new("fallocate").args(["-l", "5M"]).arg(mounted.at("reserved")));
        fs::write(mounted.at("reserved"), "").unwrap();
        run(Command::new("fallocate").args(["-l", "5M"]).arg(mounted.at("reserved")));
        run(Command::new("cp").arg("--reflink=always").arg(mounted.at("text")).arg(mounted.at("clone")));
        // A part of an extent, and one that begins within it.
        let clone = File::options().write(true).open(mounted.at("clone")).unwrap();
        clone.write_all_at(&noise(5, 5000), 70_000).unwrap();
        run(Command::new("setfattr").args(["-n", "user.note", "-v", "kept"]).arg(mounted.at("text")));
        run(&mut Command::new("sync"));
        drop((sparse, clone));
        let expected = seen_in(&at);
        mounted.unmount();
        let filesystem = open(&image).unwrap();
        assert_eq!(seen(&filesystem), expected, "{compression}");
        let text = filesystem.list().find(|listed| listed.path == "hard").unwrap();
        assert_eq!((text.nlink, text.xattrs["user.note"].as_slice()), (2, &b"kept"[..]));
        let (_, used, _) = write_to(&new, &filesystem.files().unwrap(), &options(256 * MIB));
        assert!(used < 25 * MIB, "holes are not stored: {used}");
        check(&new);
        let mounted = mount(&new, &at, "ro");
        assert_eq!(seen_in(&at), expected, "{compression}");
        mounted.unmount();
    }
}

#[test]
fn lzo_snapshots_and_logs_are_refused() {
    if !kernel::mounts() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, at, copy) = (dir.path().join("image"), dir.path().join("mnt"), dir.path().join("copy"));
    let fresh = |options: &str| {
        File::create(&image).unwrap().set_len(300 * MIB).unwrap();
        run(Command::new("mkfs.btrfs").args(["-q", "-f"]).arg(&image));
        mount(&image, &at, options)
    };
    let mounted = fresh("compress-force=lzo");
    fs::write(mounted.at("text"), b"compressible ".repeat(80_000)).unwrap();
    fs::create_dir(mounted.at("dir")).unwrap();
    mounted.unmount();
    let filesystem = open(&image).unwrap();
    let error = filesystem.read("text").unwrap_err().to_string();
    assert!(error.contains("with files compressed with lzo (`text`)"), "{error}");
    assert!(filesystem.files().err().unwrap().to_string().contains("lzo (`text`)"));

    let mounted = fresh("rw");
    fs::write(mounted.at("text"), "text").unwrap();
    run(Command::new("btrfs").args(["subvolume", "snapshot"]).arg(&at).arg(mounted.at("before")));
    mounted.unmount();
    let error = open(&image).unwrap_err().to_string();
    assert!(error.contains("with a subvolume or snapshot (`before`)"), "{error}");
    let mounted = mount(&image, &at, "rw");
    run(Command::new("btrfs").args(["subvolume", "delete", "-C"]).arg(mounted.at("before")));
    run(Command::new("btrfs").args(["subvolume", "sync"]).arg(&at));
    mounted.unmount();
    assert_eq!(open(&image).unwrap().read("text").unwrap(), b"text");

    let mounted = fresh("rw");
    fs::write(mounted.at("text"), "text").unwrap();
    run(&mut Command::new("sync"));
    let mut file = File::options().append(true).open(mounted.at("text")).unwrap();
    file.write_all(&noise(1, 50_000)).unwrap();
    file.sync_all().unwrap();
    fs::copy(&image, &copy).unwrap();
    drop(file);
    mounted.unmount();
    assert!(matches!(open(&copy).unwrap_err(), Error::Unclean { .. }));
    assert!(open(&image).is_ok());
}
