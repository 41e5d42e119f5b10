//! The squashfs codec before its judges: the kernel, which mounts what was written, and squashfs-tools, on either
//! side; and before images that mean harm.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::base::digest::Sha256;
use prebake::format::image::{Kind, Limits};
use prebake::format::squashfs::{
    Algorithm, BlockSize, Compression, Error, Image, Level, Options, write, write_with,
};
use prebake::format::tree::{Content, Contents, Entry, Keep, Tree};
use proptest::prelude::*;

use crate::format::images::{
    EPOCH, Seen, Sight, any_tree, judge, quick, run, sample, sight_of_directory, sight_of_tree,
};
use crate::house::damage::Random;
use crate::judges::kernel::{self, Mounted};
use crate::judges::properties;

/// The strictest attribute of systemd (os-release(5)), and the only one known to be needed.
const STRICT: &str = "user.extension-release.strict";

fn packed_with(compression: Compression) -> Options {
    Options { compression, ..Options::default() }
}

/// Each compression, at levels that differ from the default.
fn all_options() -> Vec<Options> {
    let levels = [
        Compression::Zstd(Level::new(3).unwrap()),
        Compression::Zstd(Level::MAX),
        Compression::Gzip(Level::new(6).unwrap()),
        Compression::Gzip(Level::MAX),
        Compression::Xz,
    ];
    let with_blocks = |compression| BlockSize::ALL.map(|block| Options { compression, block });
    levels.into_iter().flat_map(with_blocks).collect()
}

fn file(text: impl Into<Vec<u8>>) -> Entry {
    Entry::file(0o644, Contents::Bytes(text.into()), "test")
}

/// A tree with what the sample has, and hard links, extended attributes and a directory that needs an index.
fn full() -> Tree {
    let mut tree = sample();
    tree.link("usr/bin/second-name", "usr/bin/tool", "test").unwrap();
    tree.link("usr/z/third-name", "usr/bin/second-name", "test").unwrap();
    let mut release = file("ID=_any\n");
    release.xattrs = BTreeMap::from([(STRICT.into(), b"0".to_vec()), ("user.other".into(), vec![7; 2500])]);
    tree.insert("usr/lib/extension-release.d/extension-release.x", release).unwrap();
    let mut labelled = Entry::dir("test");
    labelled.xattrs = BTreeMap::from([(STRICT.into(), b"0".to_vec())]);
    tree.insert("usr/labelled", labelled).unwrap();
    for number in 0..2000 {
        let path = format!("usr/share/many/a-name-that-is-long-enough-to-fill-the-table-{number:05}");
        tree.insert(&path, file(number.to_string())).unwrap();
    }
    tree
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self, tree: &Tree, options: Options) -> PathBuf {
        let path = self.path("image.raw");
        let length = write(tree, EPOCH, options, &mut File::create(&path).unwrap()).unwrap();
        assert_eq!((length % 4096, fs::metadata(&path).unwrap().len()), (0, length));
        path
    }

    /// An image by mksquashfs.
    fn foreign(&self, directory: &Path, args: &[&str]) -> PathBuf {
        let path = self.path("foreign.raw");
        let mut mksquashfs = Command::new("mksquashfs");
        mksquashfs.arg(directory).arg(&path).args(["-noappend", "-quiet", "-no-progress"]).args(args);
        run(&mut mksquashfs);
        path
    }
}

fn open(image: &Path) -> Image {
    Image::open(image, Limits::default()).unwrap()
}

/// Mounts an image, where this user may.
fn mount(image: &Path, at: &Path) -> Option<Mounted> {
    kernel::mounts().then(|| Mounted::new("squashfs", "ro", image, at))
}

#[test]
fn the_kernel_mounts_every_compression_and_block_size() {
    let tree = sample();
    for options in all_options() {
        let scratch = Scratch::new();
        let (image, at) = (scratch.image(&tree, options), scratch.path("at"));
        let Some(_mounted) = mount(&image, &at) else { return };
        assert_eq!(sight_of_directory(&at), sight_of_tree(&tree), "{options:?}");
    }
}

#[test]
fn the_kernel_mounts_trees_without_data_or_without_anything() {
    let mut empty_file = Tree::new();
    empty_file.insert("a/empty", file("")).unwrap();
    for tree in [Tree::new(), empty_file] {
        let scratch = Scratch::new();
        let (image, at) = (scratch.image(&tree, quick()), scratch.path("at"));
        let Some(_mounted) = mount(&image, &at) else { return };
        assert_eq!(sight_of_directory(&at), sight_of_tree(&tree));
    }
}

#[test]
fn the_kernel_sees_links_attributes_times_owners_and_large_directories() {
    let tree = full();
    let scratch = Scratch::new();
    let (image, at) = (scratch.image(&tree, quick()), scratch.path("at"));
    let Some(_mounted) = mount(&image, &at) else { return };
    assert_eq!(sight_of_directory(&at), sight_of_tree(&tree));
    let stat = |path: &str| fs::symlink_metadata(at.join(path)).unwrap();
    let names = ["usr/bin/tool", "usr/bin/second-name", "usr/z/third-name"].map(stat);
    assert!(names.iter().all(|name| name.nlink() == 3 && name.ino() == names[0].ino()));
    assert_eq!(stat("usr/z/same-tool").nlink(), 1, "a copy is no hard link");
    assert_eq!(stat("usr").nlink(), 2 + 6, "bin, labelled, lib, libexec, share, z and its own two names");
    for path in ["", "usr", "usr/bin/tool", "usr/libexec/exec"] {
        let stat = stat(path);
        assert_eq!((stat.mtime(), stat.uid(), stat.gid()), (EPOCH as i64, 0, 0), "/{path}");
    }
    assert_eq!(stat("").mode() & 0o7777, 0o755);
    for path in ["usr/lib/extension-release.d/extension-release.x", "usr/labelled"] {
        let mut value = [0; 8];
        let length = rustix::fs::lgetxattr(at.join(path), STRICT, &mut value).unwrap();
        assert_eq!(&value[..length], b"0", "{path}");
    }
    // Each name by itself, which is what the index is for.
    for (path, _) in tree.iter() {
        stat(path);
    }
    assert!(!at.join("usr/share/many/a-name-that-is-not-there").exists());
}

#[test]
fn a_file_of_more_than_4_gib_is_stored_without_its_holes() {
    const LENGTH: u64 = (4 << 30) + 200_000;
    let scratch = Scratch::new();
    let big = File::create(scratch.path("big")).unwrap();
    big.set_len(LENGTH).unwrap();
    big.write_all_at(b"in the middle", 3 << 30).unwrap();
    big.write_all_at(b"the end", LENGTH - 7).unwrap();
    let mut tree = Tree::new();
    tree.insert("big", Entry::file(0o644, Contents::on_disk(scratch.path("big")).unwrap(), "test")).unwrap();
    let (image, at) = (scratch.image(&tree, quick()), scratch.path("at"));
    assert!(fs::metadata(&image).unwrap().len() < 64 << 10);
    let listed: Vec<_> = open(&image).list().map(|listed| listed.kind).collect();
    assert_eq!(listed, [Kind::File(LENGTH)]);
    let Some(_mounted) = mount(&image, &at) else { return };
    let mounted = File::open(at.join("big")).unwrap();
    assert_eq!(mounted.metadata().unwrap().len(), LENGTH);
    assert!(mounted.metadata().unwrap().blocks() < 2000, "holes take no blocks");
    for (text, offset) in [(&b"in the middle"[..], 3 << 30), (b"the end", LENGTH - 7), (&[0; 9], 1 << 32)] {
        let mut bytes = vec![0; text.len()];
        mounted.read_exact_at(&mut bytes, offset).unwrap();
        assert_eq!(bytes, text);
    }
}

#[test]
fn unsquashfs_extracts_every_compression_and_block_size() {
    if !judge("unsquashfs", "squashfs-tools") {
        return;
    }
    let mut cases: Vec<_> = all_options().into_iter().map(|options| (sample(), options)).collect();
    cases.push((full(), quick()));
    for (tree, options) in cases {
        let scratch = Scratch::new();
        let (image, at) = (scratch.image(&tree, options), scratch.path("at"));
        run(Command::new("unsquashfs").args(["-no-progress", "-d"]).args([&at, &image]));
        assert_eq!(sight_of_directory(&at), sight_of_tree(&tree), "{options:?}");
        let names = tree.iter().filter(|(_, entry)| entry.link.is_some()).count() as u64;
        assert_eq!(fs::metadata(at.join("usr/bin/tool")).unwrap().nlink(), names + 1);
    }
}

#[test]
fn equal_files_are_stored_once_and_zeros_not_at_all() {
    let size = |copies: usize, zeros: usize| {
        let scratch = Scratch::new();
        let mut tree = sample();
        let Content::File(contents) = tree.get("usr/bin/tool").unwrap().content.clone() else { panic!() };
        for copy in 0..copies {
            let path = format!("usr/copy/{copy}");
            tree.insert(&path, Entry::file(0o755, contents.clone(), "test")).unwrap();
            tree.insert(&format!("usr/small/{copy}"), file([copy as u8 / 100; 9_000])).unwrap();
        }
        tree.insert("usr/zeros", file(vec![0; zeros << 17])).unwrap();
        fs::metadata(scratch.image(&tree, quick())).unwrap().len()
    };
    // Inodes, names and lists of blocks are all that grows.
    assert!(size(40, 800).abs_diff(size(1, 1)) < 16 << 10);
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let mut tree = full();
    let Content::File(contents) = tree.get("usr/bin/tool").unwrap().content.clone() else { panic!() };
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut contents.reader(), &mut bytes).unwrap();
    for number in 0..5 {
        // Text of growing disorder, so that blocks take more and less time.
        let text: Vec<u8> = bytes.iter().map(|byte| byte % (number + 1) * 7).collect();
        tree.insert(&format!("usr/text/{number}"), file(text)).unwrap();
    }
    for options in [quick(), packed_with(Compression::Gzip(Level::MAX)), packed_with(Compression::Xz)] {
        let digest = |threads| {
            let mut out = tempfile::tempfile().unwrap();
            write_with(&tree, EPOCH, options, NonZeroUsize::new(threads).unwrap(), &mut out).unwrap();
            std::io::Seek::rewind(&mut out).unwrap();
            Sha256::of_reader(out).unwrap()
        };
        let [one, two, eight] = [1, 2, 8].map(digest);
        assert_eq!((one, one), (two, eight), "{options:?}");
    }
}

/// The files of a tree as a directory on disk.
fn on_disk(tree: &Tree, root: &Path) {
    fs::create_dir(root).unwrap();
    for (path, entry) in tree.iter() {
        let to = root.join(path);
        match &entry.content {
            Content::Dir => fs::create_dir(&to).unwrap(),
            Content::Symlink(target) => std::os::unix::fs::symlink(target, &to).unwrap(),
            Content::File(_) if entry.link.is_some() => {}
            Content::File(contents) => {
                std::io::copy(&mut contents.reader(), &mut File::create(&to).unwrap()).unwrap();
                fs::set_permissions(&to, PermissionsExt::from_mode(entry.mode.into())).unwrap();
            }
        }
    }
    // What they are links to may come later.
    for (path, entry) in tree.iter() {
        if let Some(first) = &entry.link {
            fs::hard_link(root.join(first), root.join(path)).unwrap();
        }
    }
}

fn sight_of_image(image: &Image) -> Sight {
    let see = |listed: prebake::format::image::Listed| {
        let seen = match listed.kind {
            Kind::Dir => Seen::Dir(listed.mode.into()),
            Kind::Symlink(target) => Seen::Link(target),
            Kind::File(_) => Seen::File(listed.mode.into(), Sha256::of(&image.read(&listed.path).unwrap())),
            Kind::Special | Kind::Whiteout => panic!("{} is special", listed.path),
        };
        (listed.path, seen)
    };
    image.list().map(see).collect()
}

#[test]
fn images_by_mksquashfs_are_read_whatever_they_are_packed_with() {
    if !judge("mksquashfs", "squashfs-tools") {
        return;
    }
    let tree = full();
    let scratch = Scratch::new();
    let root = scratch.path("root");
    on_disk(&tree, &root);
    let cases: [(&[&str], Algorithm, u32); 11] = [
        (&[], Algorithm::Gzip, 1 << 17),
        (&["-comp", "zstd", "-b", "1M"], Algorithm::Zstd, 1 << 20),
        (&["-comp", "xz", "-b", "256K"], Algorithm::Xz, 1 << 18),
        (&["-comp", "xz", "-Xbcj", "x86"], Algorithm::Xz, 1 << 17),
        (&["-comp", "lz4"], Algorithm::Lz4, 1 << 17),
        (&["-comp", "lz4", "-Xhc", "-b", "4K"], Algorithm::Lz4, 4096),
        (&["-always-use-fragments"], Algorithm::Gzip, 1 << 17),
        (&["-no-fragments"], Algorithm::Gzip, 1 << 17),
        (&["-no-exports", "-no-xattrs"], Algorithm::Gzip, 1 << 17),
        (&["-noI", "-noD", "-noF", "-noX"], Algorithm::Gzip, 1 << 17),
        (&["-no-duplicates", "-no-sparse"], Algorithm::Gzip, 1 << 17),
    ];
    for (args, algorithm, block) in cases {
        let image = open(&scratch.foreign(&root, args));
        assert_eq!((image.compression(), image.block_size()), (algorithm, block), "{args:?}");
        assert_eq!(sight_of_image(&image), sight_of_tree(&tree), "{args:?}");
        let names: Vec<_> = image.list().filter(|listed| listed.nlink == 3).collect();
        assert!(names.len() >= 3 && names[0].inode == names[1].inode, "{args:?}");
    }
    let image = scratch.foreign(&root, &["-comp", "lzo"]);
    let refused = Image::open(&image, Limits::default()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::Compression { algorithm: Algorithm::Lzo, .. }), "{refused}");
    assert!(refused.to_string().contains("lzo"));
}

#[test]
fn attributes_by_mksquashfs_are_read() {
    if !judge("mksquashfs", "squashfs-tools") {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.path("root");
    fs::create_dir(&root).unwrap();
    // The long value is stored once and pointed at from the second file.
    for (name, short) in [("a", "0"), ("b", "1")] {
        fs::write(root.join(name), name).unwrap();
        let set = |attribute: &str, value: &[u8]| {
            rustix::fs::setxattr(root.join(name), attribute, value, rustix::fs::XattrFlags::empty()).unwrap();
        };
        set(STRICT, short.as_bytes());
        set("user.long", &[9; 3000]);
    }
    let listed: Vec<_> = open(&scratch.foreign(&root, &[])).list().collect();
    for (listed, short) in listed.iter().zip(["0", "1"]) {
        let expected =
            BTreeMap::from([(STRICT.into(), short.as_bytes().to_vec()), ("user.long".into(), vec![9; 3000])]);
        assert_eq!(*listed.xattrs, expected, "{}", listed.path);
    }
    let keep = Keep { xattrs: true, links: false };
    let kept = Tree::of_directory_with(&root, "test", keep).unwrap();
    let ours: Vec<_> = open(&scratch.image(&kept, quick())).list().map(|listed| listed.xattrs).collect();
    assert_eq!(ours, listed.iter().map(|listed| listed.xattrs.clone()).collect::<Vec<_>>());
    let dropped = Tree::of_directory(&root, "test").unwrap();
    assert!(dropped.iter().all(|(_, entry)| entry.xattrs.is_empty()));
}

#[test]
fn a_directory_keeps_its_hard_links_where_it_is_asked_for() {
    let scratch = Scratch::new();
    let root = scratch.path("root");
    on_disk(&full(), &root);
    let keep = Keep { links: true, xattrs: false };
    let kept = Tree::of_directory_with(&root, "test", keep).unwrap();
    let names = ["usr/bin/tool", "usr/z/third-name"].map(|path| kept.get(path).unwrap().link.as_deref());
    assert_eq!(names, [Some("usr/bin/second-name"); 2], "the first in the order of names has the file");
    let plain = Tree::of_directory(&root, "test").unwrap();
    assert!(plain.iter().all(|(_, entry)| entry.link.is_none()));
    assert_ne!(kept.digest().unwrap(), plain.digest().unwrap());
}

#[test]
fn an_attribute_that_cannot_be_stored_is_refused_by_name() {
    for (name, length) in [("system.posix_acl_access", 1), ("user.", 1), ("user.x", 65537)] {
        let mut entry = file("x");
        entry.xattrs.insert(name.into(), vec![0; length]);
        let mut tree = Tree::new();
        tree.insert("usr/x", entry).unwrap();
        let refused = write(&tree, EPOCH, quick(), &mut tempfile::tempfile().unwrap()).unwrap_err();
        assert!(matches!(&refused, Error::Xattr { path, .. } if path == "usr/x"), "{refused}");
        assert!(refused.to_string().contains(name));
    }
}

#[test]
fn an_image_inside_of_a_file_is_read_in_its_place() {
    let scratch = Scratch::new();
    let image = fs::read(scratch.image(&sample(), quick())).unwrap();
    let disk = scratch.path("disk");
    let (before, behind) = (vec![0xff; 1 << 20], vec![0xff; 12345]);
    fs::write(&disk, [&before[..], &image, &behind].concat()).unwrap();
    let open = |offset, length| {
        Image::open_at("partition 1", File::open(&disk).unwrap(), offset, length, Limits::default())
    };
    let (offset, length) = (before.len() as u64, image.len() as u64);
    assert_eq!(sight_of_image(&open(offset, length).unwrap()), sight_of_tree(&sample()));
    for (offset, length) in [(offset, 5000), (offset, u64::MAX), (offset, length + 20_000), (0, length)] {
        let refused = open(offset, length).map(drop).unwrap_err();
        assert!(matches!(&refused, Error::Foreign { .. }), "{refused}");
    }
}

#[test]
fn the_head_of_a_file_is_its_beginning_whether_blocks_holes_or_fragments_hold_it() {
    let mut tree = Tree::new();
    let noise = |length: usize| (0..length).map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]);
    for length in [0, 10, 128 << 10, (128 << 10) + 10, 300 << 10] {
        tree.insert(&format!("usr/{length}"), file(noise(length).collect::<Vec<u8>>())).unwrap();
    }
    tree.insert("usr/zeros", file(vec![0; 300 << 10])).unwrap();
    let scratch = Scratch::new();
    let image = open(&scratch.image(&tree, Options::default()));
    for listed in image.list().filter(|listed| matches!(listed.kind, Kind::File(_))) {
        let whole = image.read(&listed.path).unwrap();
        for most in [0, 1, 10, (128 << 10) - 1, 128 << 10, (128 << 10) + 5, 256 << 10, 1 << 30] {
            let head = image.head(&listed.path, most).unwrap();
            assert_eq!(head, whole[..whole.len().min(most as usize)], "{} {most}", listed.path);
        }
    }
}

#[test]
fn what_is_extracted_is_what_was_written() {
    let tree = full();
    let scratch = Scratch::new();
    let image = open(&scratch.image(&tree, quick()));
    let target = scratch.path("target");
    image.extract(&target).unwrap();
    assert_eq!(sight_of_directory(&target), sight_of_tree(&tree));
    let stat = |path: &str| fs::symlink_metadata(target.join(path)).unwrap();
    assert_eq!(stat("usr/bin/tool").ino(), stat("usr/z/third-name").ino());
    assert_eq!((stat("").mtime(), stat("usr/share").mtime()), (EPOCH as i64, EPOCH as i64));
    assert!(stat("usr/share/zeros").blocks() < 500, "holes stay holes");
    assert!(matches!(image.extract(&target), Err(Error::Occupied { .. })));
}

#[test]
fn devices_are_not_extracted_and_setuid_bits_are_dropped() {
    if !judge("mksquashfs", "squashfs-tools") {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.path("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("su"), "x").unwrap();
    fs::set_permissions(root.join("su"), PermissionsExt::from_mode(0o4755)).unwrap();
    let image = open(&scratch.foreign(&root, &[]));
    assert_eq!(image.list().next().unwrap().mode, 0o4755);
    image.extract(&scratch.path("plain")).unwrap();
    assert_eq!(fs::metadata(scratch.path("plain/su")).unwrap().mode() & 0o7777, 0o755);

    let image = open(&scratch.foreign(&root, &["-p", "null c 666 0 0 1 3"]));
    assert_eq!(image.list().next().unwrap().kind, Kind::Special);
    let refused = image.extract(&scratch.path("devices")).unwrap_err();
    assert!(matches!(&refused, Error::Special { path, .. } if path == "null"), "{refused}");
    assert!(!scratch.path("devices").exists());
}

#[test]
fn limits_stop_what_would_fill_the_disk() {
    let mut tree = Tree::new();
    tree.insert("a/b/c", file(vec![0; 100 << 20])).unwrap();
    let scratch = Scratch::new();
    let path = scratch.image(&tree, quick());
    let limited =
        |limits| Image::open(&path, limits).and_then(|image| image.extract(&scratch.path("target")));
    for limits in [
        Limits { total: 99 << 20, ..Limits::default() },
        Limits { ratio: 100, ..Limits::default() },
        Limits { depth: 1, ..Limits::default() },
        Limits { inodes: 2, ..Limits::default() },
        Limits { table: 10, ..Limits::default() },
    ] {
        assert!(matches!(limited(limits), Err(Error::Limit { .. })), "{limits:?}");
        assert!(!scratch.path("target").exists());
    }
    limited(Limits { ratio: u64::MAX, ..Limits::default() }).unwrap();
}

/// An image whose directory has been tampered with: its tables are too short to be packed, so names can be replaced.
#[test]
fn a_name_that_leads_out_or_comes_twice_is_refused() {
    let scratch = Scratch::new();
    let outside = scratch.path("outside");
    fs::create_dir(&outside).unwrap();
    let mut tree = Tree::new();
    tree.insert("qx", Entry::symlink(outside.to_str().unwrap(), "test")).unwrap();
    tree.insert("qz/file", file("x")).unwrap();
    let path = scratch.image(&tree, quick());
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(2).rposition(|name| name == b"qz").unwrap();
    for name in [b"qx", b"..", b"q/", b"/q", b"\0q", b"aa"] {
        let mut bytes = bytes.clone();
        bytes[at..at + 2].copy_from_slice(name);
        fs::write(&path, bytes).unwrap();
        let refused = Image::open(&path, Limits::default()).map(drop).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{name:?}: {refused}");
    }
    let mut bytes = bytes.clone();
    bytes[at..at + 2].copy_from_slice(b"qy");
    fs::write(&path, bytes).unwrap();
    open(&path).extract(&scratch.path("target")).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Images for [`properties::squashfs`]: small, of each compression, by both writers.
fn small_images() -> Vec<Vec<u8>> {
    let mut tree = Tree::new();
    let mut text = file("some text ".repeat(2000));
    text.xattrs.insert(STRICT.into(), b"0".to_vec());
    tree.insert("usr/bin/a", text).unwrap();
    tree.link("usr/bin/b", "usr/bin/a", "test").unwrap();
    tree.insert("usr/lib/c", file(vec![0; 140_000])).unwrap();
    tree.insert("usr/lib/link", Entry::symlink("../../../../tmp", "test")).unwrap();
    for number in 0..60 {
        tree.insert(&format!("usr/many/some-name-{number}"), file(format!("{number}"))).unwrap();
    }
    let scratch = Scratch::new();
    let root = scratch.path("root");
    on_disk(&tree, &root);
    let mut images: Vec<Vec<u8>> = [Compression::default(), Compression::Gzip(Level::MAX), Compression::Xz]
        .map(|compression| fs::read(scratch.image(&tree, packed_with(compression))).unwrap())
        .into();
    if judge("mksquashfs", "squashfs-tools") {
        let foreign = [&["-comp", "lz4"][..], &["-noI", "-noD", "-noF", "-noX"]];
        images.extend(foreign.map(|args| fs::read(scratch.foreign(&root, args)).unwrap()));
    }
    images
}

#[test]
fn thousands_of_damaged_images_are_refused_or_read_and_do_no_harm() {
    let mut random = Random(7);
    for image in small_images() {
        properties::squashfs(&image);
        // The superblock and the tables, at the end, decide most.
        let places = [0..96, image.len() - image.len().min(6000)..image.len()];
        for _ in 0..600 {
            properties::squashfs(&random.damage(&image, &places));
        }
    }
}

/// Options, and a tree with links and attributes.
fn any_case() -> impl Strategy<Value = (Options, Tree)> {
    let xattrs =
        prop::collection::btree_map("user\\.[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..300), 0..3);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), xattrs, any::<bool>()), 0..6);
    let options = prop::sample::select(all_options());
    (options, any_tree(), changes).prop_map(|(options, tree, changes)| {
        let mut changed = Tree::new();
        let paths: Vec<String> = tree.iter().map(|(path, _)| path.to_owned()).collect();
        let touched = |path: &str| {
            let mut chosen = changes.iter().filter(|_| !paths.is_empty());
            chosen.find(|(index, ..)| index.get(&paths) == path).map(|(_, xattrs, link)| (xattrs, *link))
        };
        for (path, entry) in tree.iter() {
            let (xattrs, link) = touched(path).map(|(set, link)| (set.clone(), link)).unwrap_or_default();
            changed.insert(path, Entry { xattrs, ..entry.clone() }).unwrap();
            if link && matches!(entry.content, Content::File(_)) {
                let _ = changed.link(&format!("zz-{}", path.replace('/', "-")), path, "any");
            }
        }
        (options, changed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_tree_with_links_and_attributes_comes_back((options, tree) in any_case()) {
        let scratch = Scratch::new();
        let image = open(&scratch.image(&tree, options));
        prop_assert_eq!(sight_of_image(&image), sight_of_tree(&tree));
        for listed in image.list() {
            let entry = tree.get(&listed.path).unwrap();
            prop_assert_eq!(&*listed.xattrs, &entry.xattrs);
        }
        let target = scratch.path("target");
        image.extract(&target).unwrap();
        prop_assert_eq!(sight_of_directory(&target), sight_of_tree(&tree));
        for (path, entry) in tree.iter() {
            if let Some(first) = &entry.link {
                let [one, two] = [path, first].map(|path| fs::metadata(target.join(path)).unwrap().ino());
                prop_assert_eq!(one, two);
            }
        }
    }
}
