//! btrfs by its judges that need no privileges: `btrfs check`, `mkfs.btrfs`, GRUB.

mod damage;
mod files;
mod kernel;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use files::*;
use prebake::format::btrfs::{Body, Data, Error, Files, Filesystem, Layout, Property};
use prebake::format::image::{Kind, Limits};
use prebake::format::tree::{Contents, Entry, Tree};
use sha2::{Digest, Sha256};

/// GRUB finds a file in an image, with these bytes.
fn grub_compares(image: &Path, path: &str, bytes: &Path) {
    run(Command::new("grub-fstest").arg(image).arg("cmp").arg(format!("/{path}")).arg(bytes));
}

#[test]
fn every_kind_of_file_is_found_by_btrfs_check_grub_and_ourselves() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("oem.img");
    let tree = all_kinds();
    let files = Files::of_tree(&tree).unwrap();
    for (length, compression) in
        [(16 * MIB, None), (128 * MIB, Some(Property::Zlib)), (1024 * MIB + 12_345, Some(Property::Zstd))]
    {
        let mut options = options(length);
        options.compression = compression;
        let (needed, used, free) = write_to(&image, &files, &options);
        assert!(needed <= length && used + free <= length, "{needed} {used} {free} {length}");
        check(&image);
        let filesystem = open(&image).unwrap();
        assert_eq!(seen(&filesystem), seen_of(&tree), "{length}");
        assert_eq!((filesystem.label().as_str(), filesystem.used()), ("OEM", used));
        assert_eq!(filesystem.length(), length / 4096 * 4096);
        assert!(filesystem.notes().is_empty());
        let find = |path: &str| filesystem.list().find(|listed| listed.path == path).unwrap();
        assert_eq!(find("hard").nlink, 4);
        assert_eq!(find("hard").inode, find("deep/hard").inode);
        assert_eq!(find("secret").xattrs["user.note"], b"kept");
        assert_eq!(find("secret").mtime, 1_700_000_000);
        let property = find("secret").xattrs.get("btrfs.compression").map(Vec::as_slice);
        assert_eq!(property.is_some(), compression.is_some());
    }
    let bytes = dir.path().join("bytes");
    let (one, other) = colliding();
    for path in [
        "lengths/2048",
        "lengths/2049",
        "lengths/5000000",
        "link",
        &format!("same/{one}"),
        &format!("deep/{other}/er/{other}"),
    ] {
        let path_of_bytes = if path == "link" { "lengths/4096" } else { path };
        fs::write(&bytes, open(&image).unwrap().read(path_of_bytes).unwrap()).unwrap();
        grub_compares(&image, path, &bytes);
    }
    let listed = run(Command::new("grub-fstest").arg(&image).args(["ls", "/"])).stdout;
    let listed = String::from_utf8(listed).unwrap();
    for name in ["grub.cfg", "deep/", "secret"] {
        assert!(listed.contains(name), "{listed}");
    }
}

/// Bytes that are made as they are read.
struct Generated {
    seed: u64,
    length: u64,
}

impl Generated {
    fn at(&self, offset: u64) -> u8 {
        ((offset >> 12).wrapping_mul(self.seed | 1) >> 3) as u8 ^ offset as u8
    }
}

struct Generator<'g>(&'g Generated, u64);

impl Read for Generator<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min((self.0.length - self.1) as usize);
        for (index, byte) in buffer[..length].iter_mut().enumerate() {
            *byte = self.0.at(self.1 + index as u64);
        }
        self.1 += length as u64;
        Ok(length)
    }
}

impl Data for Generated {
    fn length(&self) -> u64 {
        self.length
    }
    fn read(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(Generator(self, 0)))
    }
}

/// Whether two streams have the same bytes.
fn same(mut one: impl Read, mut other: impl Read) -> bool {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut left).unwrap();
        if read == 0 {
            return other.read(&mut right).unwrap() == 0;
        }
        if other.read_exact(&mut right[..read]).is_err() || left[..read] != right[..read] {
            return false;
        }
    }
}

fn body(seed: u64, length: u64) -> prebake::format::btrfs::File<'static> {
    prebake::format::btrfs::File::new(0o644, Body::File(Box::new(Generated { seed, length })))
}

#[test]
fn thousands_of_files_and_three_large_ones_make_trees_of_many_levels() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("big.img");
    let mut files = Files::new();
    for number in 0..3000 {
        files.insert(&format!("many/{number:05}/{number}"), body(number, number * 7 % 6000)).unwrap();
    }
    for number in 0..3 {
        files.insert(&format!("large/{number}"), body(number + 9, 220_000_001)).unwrap();
    }
    let (needed, ..) = write_to(&image, &files, &options(1024 * MIB));
    assert!(needed > 630 * MIB);
    check(&image);
    let filesystem = open(&image).unwrap();
    let mut count = 0;
    for listed in filesystem.list() {
        if let Body::File(data) = &files.get(&listed.path).unwrap().body {
            assert!(same(filesystem.stream(&listed.path).unwrap(), data.read().unwrap()), "{}", listed.path);
            count += 1;
        }
    }
    assert_eq!(count, 3003);
    let bytes = dir.path().join("bytes");
    for path in ["large/2", "many/02999/2999", "many/00000/0"] {
        io::copy(&mut filesystem.stream(path).unwrap(), &mut File::create(&bytes).unwrap()).unwrap();
        grub_compares(&image, path, &bytes);
    }
}

#[test]
fn nothing_is_stored_around_the_second_superblock_wherever_the_device_ends() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("edge.img");
    let stripe = 64 * MIB;
    // One that ends before, one whose blocks cross, and one whose data does.
    for size in [stripe - 5 * MIB - 60_000, stripe - 5 * MIB - 4096, 90 * MIB] {
        let mut files = Files::new();
        files.insert("one", body(3, size / 2)).unwrap();
        files.insert("two", body(4, size - size / 2)).unwrap();
        let needed = Layout::new(&files, &options(1 << 30)).unwrap().needed();
        for length in [needed, needed + 4096, 128 * MIB, stripe + 4095, stripe + 4096] {
            if length < needed {
                continue;
            }
            write_to(&image, &files, &options(length));
            check(&image);
            let filesystem = open(&image).unwrap();
            for (path, seed, size) in [("one", 3, size / 2), ("two", 4, size - size / 2)] {
                let data = Generated { seed, length: size };
                assert!(same(filesystem.stream(path).unwrap(), data.read().unwrap()), "{size} {length}");
            }
            if length >= stripe + 4096 {
                let mut around = vec![0; 64 << 10];
                File::open(&image).unwrap().read_at(&mut around, stripe).unwrap();
                assert_eq!(&around[64..72], b"_BHRfS_M");
                assert!(around[4096..].iter().all(|byte| *byte == 0));
            }
        }
    }
}

#[test]
fn too_small_is_told_with_what_is_needed_and_there_and_the_least_length_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("full.img");
    let mut files = Files::new();
    files.insert("payload", body(1, 123_456_789)).unwrap();
    let Err(error) = Layout::new(&files, &options(120 * MIB + 5)) else { panic!("it fits") };
    assert_eq!(error.to_string(), "the btrfs filesystem needs 123 MiB, and there are 120 MiB");
    let Error::TooSmall { needed, there } = error else { panic!("{error}") };
    assert_eq!((needed, there), (123 * MIB, 120 * MIB + 5));
    assert!(Layout::new(&files, &options(needed - 1)).is_err());
    let (again, used, free) = write_to(&image, &files, &options(needed));
    assert_eq!(again, needed);
    assert!(used > 123_456_789 && free < MIB, "{used} {free}");
    check(&image);
    assert!(Layout::new(&Files::new(), &options(0)).is_err());
}

/// The digest of an image with everything in it.
fn digest_of_all_kinds() -> String {
    let tree = all_kinds();
    let mut memory = Whole(Vec::new());
    Layout::new(&Files::of_tree(&tree).unwrap(), &options(16 * MIB)).unwrap().write(&mut memory).unwrap();
    Sha256::digest(&memory.0).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_are_the_same_under_other_settings() {
    const NAME: &str = "the_bytes_are_the_same_under_other_settings";
    // Without the name of the crate, as the test's program knows it.
    let (_, module) = module_path!().split_once("::").unwrap();
    let own = digest_of_all_kinds();
    if std::env::var_os("BTRFS_DIGEST").is_some() {
        println!("digest {own}");
        return;
    }
    for (zone, locale) in [("Asia/Kathmandu", "tr_TR.UTF-8"), ("America/St_Johns", "C")] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("{module}::{NAME}"), "--nocapture"]).env("BTRFS_DIGEST", "1");
        let output = run(command.env("TZ", zone).env("LC_ALL", locale));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("digest {own}")), "{text}");
    }
}

#[test]
fn another_seed_or_file_makes_other_uuids_of_version_8_and_other_bytes() {
    let tree = Tree::new();
    let files = Files::of_tree(&tree).unwrap();
    let id = |seed| {
        Layout::new(&files, &prebake::format::btrfs::Options { seed, ..options(16 * MIB) }).unwrap().fsid()
    };
    assert_ne!(id("one"), id("other"));
    assert_eq!((id("one")[6] >> 4, id("one")[8] >> 6), (8, 2));
}

/// A directory with much in it, on disk.
fn directory(root: &Path) {
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    for number in 0..300 {
        fs::write(root.join(format!("sub/{number}")), noise(number, number as usize * 31)).unwrap();
    }
    fs::write(root.join("large"), noise(7, 3_000_000)).unwrap();
    fs::write(root.join("secret"), "x").unwrap();
    fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o4700)).unwrap();
    std::os::unix::fs::symlink("../large", root.join("sub/deep/link")).unwrap();
    fs::hard_link(root.join("large"), root.join("sub/hard")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 20 << 20).unwrap();
}

fn mkfs(image: &Path, length: u64, arguments: &[&str]) {
    File::create(image).unwrap().set_len(length).unwrap();
    run(Command::new("mkfs.btrfs").args(["-q", "-f"]).args(arguments).arg(image));
}

#[test]
fn images_of_mkfs_are_read_whatever_their_profile() {
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    directory(&root);
    let from = root.to_str().unwrap();
    for arguments in [
        &["-m", "single"][..],
        &["-m", "dup"],
        &["-m", "dup", "-d", "dup"],
        &["--mixed", "-m", "single", "-d", "single"],
        &["--mixed", "-m", "dup", "-d", "dup"],
        &["-n", "65536"],
        &["-O", "^no-holes,^extref,^skinny-metadata", "-R", "^free-space-tree"],
    ] {
        mkfs(&image, 300 * MIB, &[arguments, &["-L", "name", "--rootdir", from]].concat());
        let filesystem = open(&image).unwrap();
        assert_eq!(seen(&filesystem), seen_in(&root), "{arguments:?}");
        assert_eq!(filesystem.label(), "name");
        assert!(filesystem.extracted().unwrap() > 43_000_000);
        assert_eq!(
            filesystem.read("sparse").unwrap_err().to_string(),
            "the image: the length of `sparse` exceeds the limit of 16777216"
        );
    }
}

#[test]
fn an_image_inside_of_a_disk_is_read_there() {
    let dir = tempfile::tempdir().unwrap();
    let (image, disk) = (dir.path().join("image"), dir.path().join("disk"));
    let tree = all_kinds();
    write_to(&image, &Files::of_tree(&tree).unwrap(), &options(16 * MIB));
    let mut out = File::create(&disk).unwrap();
    out.write_all(&noise(1, 777)).unwrap();
    io::copy(&mut File::open(&image).unwrap(), &mut out).unwrap();
    out.write_all(&noise(2, 777)).unwrap();
    let part = |length| {
        let file = File::open(&disk).unwrap();
        Filesystem::open(prebake::format::btrfs::Window::new(file, 777, length), "OEM", Limits::default())
    };
    assert_eq!(seen(&part(16 * MIB).unwrap()), seen_of(&tree));
    let cut = part(16 * MIB - 4096).unwrap_err().to_string();
    assert_eq!(
        cut,
        "OEM is not an intact btrfs filesystem: it has 16777216 bytes, and 16773120 of them are there"
    );
}

/// Offsets in an image of the tree blocks of a tree.
fn blocks_of(image: &Path, tree: u64, size: usize) -> Vec<u64> {
    let bytes = fs::read(image).unwrap();
    let fsid = &bytes[0x10020..0x10030];
    let is_one = |block: &&(usize, &[u8])| {
        block.1[32..48] == *fsid && block.1[88..96] == tree.to_le_bytes() && block.1[64..80] != [0; 16]
    };
    let found = bytes.chunks_exact(size).enumerate().collect::<Vec<_>>();
    found.iter().filter(is_one).map(|(index, _)| (index * size) as u64).collect()
}

#[test]
fn a_second_copy_serves_for_a_damaged_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), noise(1, 500_000)).unwrap();
    mkfs(&image, 300 * MIB, &["-m", "dup", "-d", "dup", "-n", "4096", "--rootdir", root.to_str().unwrap()]);
    let sound = seen(&open(&image).unwrap());
    let device = File::options().read(true).write(true).open(&image).unwrap();
    // Blocks of earlier transactions are among them, which have no copy.
    let bytes = fs::read(&image).unwrap();
    let block = |at: u64| &bytes[at as usize..][..4096];
    let all = blocks_of(&image, 5, 4096);
    let is_copy = |at: &u64| all.iter().filter(|other| block(**other) == block(*at)).count() == 2;
    let copies: Vec<u64> = all.iter().copied().filter(is_copy).collect();
    assert!(copies.len() >= 2, "{all:?}");
    let damage = |at: u64| {
        let mut bytes = [0; 64];
        device.read_exact_at(&mut bytes, at + 200).unwrap();
        device.write_all_at(&bytes.map(|byte| !byte), at + 200).unwrap();
    };
    let half = copies.len() / 2;
    copies[..half].iter().for_each(|at| damage(*at));
    let filesystem = open(&image).unwrap();
    assert_eq!(seen(&filesystem), sound);
    let notes = filesystem.notes().join(" ");
    assert!(notes.contains("second cop"), "{notes} {copies:?}");
    copies[half..].iter().for_each(|at| damage(*at));
    let error = open(&image).unwrap_err();
    assert!(matches!(&error, Error::Damaged { why, .. } if why.contains("its checksum is wrong")), "{error}");
    copies.iter().for_each(|at| damage(*at));

    // Data: both copies of the first extent begin with the same bytes.
    let (bytes, start) = (fs::read(&image).unwrap(), &noise(1, 500_000)[..64]);
    let places: Vec<usize> =
        (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..].starts_with(start)).collect();
    assert_eq!(places.len(), 2);
    damage(places[0] as u64 - 200 + 100);
    let filesystem = open(&image).unwrap();
    assert_eq!(seen(&filesystem), sound);
    assert_eq!(filesystem.notes(), ["one block is damaged; its second copy was used"]);
    damage(places[1] as u64 - 200 + 100);
    let error = open(&image).unwrap().read("file").unwrap_err().to_string();
    assert!(error.contains("`file`: the checksum of the data at address"), "{error}");
}

/// Changes a superblock's bytes, and makes its checksum right again.
fn edit(image: &Path, copy: u64, change: impl Fn(&mut [u8])) {
    let device = File::options().read(true).write(true).open(image).unwrap();
    let mut bytes = vec![0; 4096];
    device.read_exact_at(&mut bytes, copy).unwrap();
    change(&mut bytes);
    let sum = crc32c::crc32c(&bytes[32..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    device.write_all_at(&bytes, copy).unwrap();
}

#[test]
fn the_second_superblock_serves_for_a_damaged_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let tree = all_kinds();
    write_to(&image, &Files::of_tree(&tree).unwrap(), &options(128 * MIB));
    let device = File::options().write(true).open(&image).unwrap();
    device.write_all_at(b"damage", (64 << 10) + 0x50).unwrap();
    let filesystem = open(&image).unwrap();
    assert_eq!(seen(&filesystem), seen_of(&tree));
    assert_eq!(filesystem.notes(), ["the first superblock is damaged; the one at 64 MiB was used"]);
    device.write_all_at(b"damage", (64 << 20) + 0x50).unwrap();
    let error = open(&image).unwrap_err().to_string();
    assert_eq!(
        error,
        "the image is not an intact btrfs filesystem: the checksum of the superblock at 65536 is wrong"
    );
    // Another filesystem may have been made over this one.
    device.write_all_at(&[0; 4096], 64 << 10).unwrap();
    assert!(matches!(open(&image).unwrap_err(), Error::Foreign { .. }));
}

#[test]
fn what_is_not_read_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let tree = Tree::new();
    write_to(&image, &Files::of_tree(&tree).unwrap(), &options(16 * MIB));
    let set = |at: usize, value: u64| {
        move |bytes: &mut [u8]| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes())
    };
    for (change, words) in [
        (set(0x88, 3), "with 3 devices"),
        (set(0x60, 6 << 20), "was not unmounted"),
        (set(0xbc, 0x345 | 1 << 13), "with an extent tree of version 2"),
        (set(0xbc, 0x345 | 1 << 40), "with unknown features (0x10000000000)"),
        (set(0x38, 1 | 1 << 32), "with the flags 0x100000001"),
        (set(0x48, 0), "is of the future"),
        (set(0x48, 2), "is of another generation"),
        (set(0x50, 123), "no chunk holds"),
        (set(0x70, 1 << 50), "it has 1125899906842624 bytes"),
        (set(0x90, 512 | 4096 << 32), "its sectors have 512 bytes"),
        (set(0xa0, 5000), "list of chunks is too long"),
        (set(0xa0, 30), "a chunk has an impossible kind"),
        (set(0xa0, 16), "list of chunks is cut off"),
    ] {
        let sound = fs::read(&image).unwrap();
        edit(&image, 64 << 10, change);
        let error = open(&image).unwrap_err().to_string();
        assert!(error.contains(words) && error.starts_with("the image"), "{error}");
        fs::write(&image, sound).unwrap();
    }
    mkfs(&image, 300 * MIB, &["--csum", "xxhash"]);
    assert!(open(&image).unwrap_err().to_string().contains("with checksums by xxhash64"));
    let second = dir.path().join("second");
    File::create(&second).unwrap().set_len(300 * MIB).unwrap();
    mkfs(&image, 300 * MIB, &["-m", "raid1", "-d", "raid1", second.to_str().unwrap()]);
    assert!(open(&image).unwrap_err().to_string().contains("with 2 devices"));
    // With the number of devices and the length changed, the chunks still tell.
    edit(&image, 64 << 10, set(0x88, 1));
    File::options().write(true).open(&image).unwrap().set_len(600 * MIB).unwrap();
    let error = open(&image).unwrap_err().to_string();
    assert!(error.contains("with RAID 1"), "{error}");
    fs::write(&image, noise(1, 100_000)).unwrap();
    assert!(matches!(open(&image).unwrap_err(), Error::Foreign { .. }));
    fs::write(&image, "short").unwrap();
    assert!(matches!(open(&image).unwrap_err(), Error::Foreign { .. }));
}

#[test]
fn an_existing_filesystem_is_kept_with_new_files_and_again_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (root, old, new) = (dir.path().join("root"), dir.path().join("old"), dir.path().join("new"));
    directory(&root);
    mkfs(&old, 300 * MIB, &["--rootdir", root.to_str().unwrap()]);
    let mut tree = Tree::new();
    for (path, bytes) in
        [("config.ign", &b"{}"[..]), ("sub/7", b"replaced"), ("sysext/x.raw", &noise(5, 700_000))]
    {
        tree.insert(path, file(bytes)).unwrap();
    }
    let inject = |from: &Path, to: &Path| {
        let filesystem = open(from).unwrap();
        let mut files = filesystem.files().unwrap();
        files.add(&tree).unwrap();
        write_to(to, &files, &options(256 * MIB))
    };
    let (_, used, _) = inject(&old, &new);
    check(&new);
    assert!(used > 40 * MIB, "mkfs stores the zeros of sparse files: {used}");
    let mut expected = seen_in(&root);
    expected.extend(seen_of(&tree));
    let filesystem = open(&new).unwrap();
    assert_eq!(seen(&filesystem), expected);
    let find = |path: &str| filesystem.list().find(|listed| listed.path == path).unwrap().clone();
    assert_eq!((find("large").nlink, find("large").inode), (2, find("sub/hard").inode));
    let old_times = open(&old).unwrap();
    let old_time = old_times.list().find(|listed| listed.path == "large").unwrap().mtime;
    assert_eq!((find("large").mtime, find("config.ign").mtime), (old_time, 1_700_000_000));
    let again = dir.path().join("again");
    inject(&new, &again);
    assert!(fs::read(&new).unwrap() == fs::read(&again).unwrap());
}

#[test]
fn what_cannot_be_kept_is_told_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    fs::create_dir(&root).unwrap();
    run(Command::new("mkfifo").arg(root.join("pipe")));
    mkfs(&image, 300 * MIB, &["--rootdir", root.to_str().unwrap()]);
    let filesystem = open(&image).unwrap();
    assert_eq!(filesystem.list().next().unwrap().kind, Kind::Special);
    let error = filesystem.files().err().unwrap().to_string();
    assert_eq!(error, "the image has `pipe`, a device, socket or pipe, which prebake cannot keep");
    fs::remove_file(root.join("pipe")).unwrap();
    use std::os::unix::ffi::OsStrExt;
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    mkfs(&image, 300 * MIB, &["--rootdir", root.to_str().unwrap()]);
    let error = open(&image).unwrap().files().err().unwrap().to_string();
    assert_eq!(
        error,
        "the image has `\u{fffd}`, whose name, target or attribute is not UTF-8, which prebake cannot keep"
    );
}

#[test]
fn a_file_with_hundreds_of_names_has_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let mut tree = Tree::new();
    tree.insert("file", file(noise(1, 10_000))).unwrap();
    for number in 0..400 {
        tree.link(&format!("names/{number:0200}"), "file", "test").unwrap();
    }
    write_to(&image, &Files::of_tree(&tree).unwrap(), &options(16 * MIB));
    check(&image);
    let filesystem = open(&image).unwrap();
    assert_eq!(seen(&filesystem), seen_of(&tree));
    assert!(
        filesystem
            .list()
            .filter(|listed| matches!(listed.kind, Kind::File(_)))
            .all(|listed| listed.nlink == 401)
    );
}

#[test]
fn files_that_do_not_fit_into_the_format_are_told() {
    let refused = |path: &str, entry: Entry| {
        let mut tree = Tree::new();
        tree.insert(path, entry).unwrap();
        let files = Files::of_tree(&tree).unwrap();
        Layout::new(&files, &options(64 * MIB)).err().unwrap().to_string()
    };
    let long = refused("link", Entry::symlink("x".repeat(3950), "test"));
    assert!(long.contains("`link`") && long.contains("3949 bytes"), "{long}");
    let mut entry = file("");
    entry.xattrs.insert("user.large".into(), vec![1; 4000]);
    assert!(refused("file", entry).contains("`user.large`"));
    let (files, label) = (Files::new(), "x".repeat(256));
    let refused =
        Layout::new(&files, &prebake::format::btrfs::Options { label: &label, ..options(64 * MIB) });
    assert!(matches!(refused.err().unwrap(), Error::Label(_)));
}

#[test]
fn a_file_that_has_changed_is_told_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("on disk");
    for (then, now) in [(100, 99), (100, 101), (100_000, 99_999), (100_000, 100_001), (8192, 0)] {
        fs::write(&path, noise(1, then)).unwrap();
        let mut tree = Tree::new();
        tree.insert("file", Entry::file(0o644, Contents::on_disk(&path).unwrap(), "test")).unwrap();
        let files = Files::of_tree(&tree).unwrap();
        let layout = Layout::new(&files, &options(16 * MIB)).unwrap();
        fs::write(&path, noise(1, now)).unwrap();
        let error = layout.write(&mut Whole(Vec::new())).unwrap_err();
        assert_eq!(error.to_string(), "cannot put `file` into the btrfs filesystem", "{then} {now}");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("changed"));
    }
}
