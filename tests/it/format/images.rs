//! What the writers of `format` write, read again by our own readers and by the tools that everybody trusts: GNU cpio
//! and squashfs-tools.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use prebake::base::digest::Sha256;
use prebake::format::image::{Kind, Limits, Listed};
use prebake::format::tree::{self, Content, Contents, Entry, Tree};
use prebake::format::{cpio, squashfs};
use proptest::prelude::*;

/// A Saturday in 2023, so that a wrong time is seen.
pub const EPOCH: u64 = 1_700_000_000;

/// Whether a tool is there. A missing one fails, unless PREBAKE_SKIP_JUDGES=1 allows to go without outside of CI.
pub fn judge(tool: &str, package: &str) -> bool {
    let there =
        Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let may_skip = set("PREBAKE_SKIP_JUDGES", "1") && !set("CI", "true");
    assert!(there || may_skip, "{tool} is missing: apt-get install {package}, or set PREBAKE_SKIP_JUDGES=1");
    there
}

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What one entry of a tree looks like from outside, whatever it was read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Dir(u32),
    File(u32, Sha256),
    Link(String),
}

pub type Sight = BTreeMap<String, Seen>;

pub fn sight_of_tree(tree: &Tree) -> Sight {
    let see = |entry: &Entry| match &entry.content {
        Content::Dir => Seen::Dir(entry.mode.into()),
        Content::File(contents) => Seen::File(entry.mode.into(), contents.sha256().unwrap()),
        Content::Symlink(target) => Seen::Link(target.clone()),
    };
    tree.iter().map(|(path, entry)| (path.to_owned(), see(entry))).collect()
}

/// Looks at an unpacked tree; every file must carry `EPOCH`. (GNU cpio sets a directory's time too early.)
pub fn sight_of_directory(root: &Path) -> Sight {
    let mut sight = Sight::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for item in fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            let seen = if metadata.is_symlink() {
                Seen::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else if metadata.is_dir() {
                open.push(path.clone());
                Seen::Dir(mode)
            } else {
                Seen::File(mode, Sha256::of(&fs::read(&path).unwrap()))
            };
            if metadata.is_file() {
                assert_eq!(metadata.mtime(), EPOCH as i64, "{}", path.display());
            }
            sight.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), seen);
        }
    }
    sight
}

fn cpio_bytes(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = cpio::write(tree, EPOCH, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, length);
    assert_eq!(length % 4, 0, "another archive may follow");
    bytes
}

fn sight_of_cpio(bytes: &[u8]) -> Sight {
    let listing = cpio::list("test", &mut &bytes[..], cpio::Limits::default()).unwrap();
    assert_eq!(listing.length, bytes.len() as u64);
    let see = |member: cpio::Member| {
        assert_eq!(u64::from(member.mtime), EPOCH);
        let mode = member.mode & 0o7777;
        let body = &bytes[member.offset as usize..][..member.size as usize];
        let seen = match (member.is_dir(), member.link) {
            (true, _) => Seen::Dir(mode),
            (_, Some(target)) => Seen::Link(target),
            _ => Seen::File(mode, Sha256::of(body)),
        };
        (member.path, seen)
    };
    listing.members.into_iter().map(see).collect()
}

fn squashfs_image(tree: &Tree, path: &Path, options: squashfs::Options) -> Sha256 {
    let length = squashfs::write(tree, EPOCH, options, &mut File::create(path).unwrap()).unwrap();
    let (digest, read) = Sha256::of_reader(File::open(path).unwrap()).unwrap();
    assert_eq!(read, length);
    digest
}

fn sight_of_squashfs(path: &Path) -> Sight {
    let image = squashfs::Image::open(path, Limits::default()).unwrap();
    assert_eq!(u64::from(image.time()), EPOCH);
    let see = |listed: Listed| {
        assert_eq!((listed.uid, listed.gid, u64::from(listed.mtime)), (0, 0, EPOCH));
        let mode = listed.mode.into();
        let seen = match listed.kind {
            Kind::Dir => Seen::Dir(mode),
            Kind::Symlink(target) => Seen::Link(target),
            Kind::File(size) => {
                let bytes = image.read(&listed.path).unwrap();
                assert_eq!(bytes.len() as u64, size);
                Seen::File(mode, Sha256::of(&bytes))
            }
            Kind::Special | Kind::Whiteout => panic!("{} is special", listed.path),
        };
        (listed.path, seen)
    };
    image.list().map(see).collect()
}

/// Low levels keep the tests quick; the level changes sizes, not what is in the image.
pub fn quick() -> squashfs::Options {
    let compression = squashfs::Compression::Zstd(squashfs::Level::new(1).unwrap());
    squashfs::Options { compression, ..Default::default() }
}

/// A tree that has one of everything: empty and large files, deep and empty directories, names that sort badly, links.
pub fn sample() -> Tree {
    // A linear congruence (Knuth's MMIX) is noise enough not to be compressed.
    let next =
        |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    let noise: Vec<u8> =
        std::iter::successors(Some(1), next).map(|x| (x >> 56) as u8).take(700_000).collect();
    let mut tree = Tree::new();
    let mut file = |path: &str, mode, bytes: Vec<u8>| {
        tree.insert(path, Entry::file(mode, Contents::Bytes(bytes), "sample")).unwrap();
    };
    file("usr/bin/tool", 0o755, noise.clone());
    // The last file of all: its second copy must leave no tail behind.
    file("usr/z/same-tool", 0o755, noise);
    file("usr/share/a/b/c/empty", 0o644, Vec::new());
    file("usr/share/a-b", 0o600, b"sorts between a and a/b".to_vec());
    file("usr/share/ümläut", 0o644, b"x".to_vec());
    file("usr/share/zeros", 0o644, vec![0; 300_000]);
    tree.insert("usr/share/void", Entry::dir("sample")).unwrap();
    tree.insert("usr/libexec/exec", Entry::symlink("/var/kubernetes/exec", "sample")).unwrap();
    tree
}

/// Any tree of up to 24 entries; what conflicts is left out.
pub fn any_tree() -> impl Strategy<Value = Tree> {
    let name = prop_oneof!["[a-c]", "[a-c]-[a-c]", "[ -.0-\\[\\]-~äß]{1,12}"];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let entry = prop_oneof![
        Just(Entry::dir("any")),
        (0u16..0o400, prop::collection::vec(any::<u8>(), 0..200), 1usize..2000).prop_map(
            |(mode, seed, times)| {
                // Readable, so that an ordinary user can look at what was unpacked.
                Entry::file(mode | 0o400, Contents::Bytes(seed.repeat(times)), "any")
            }
        ),
        "[a-z./]{1,40}".prop_map(|target| Entry::symlink(target, "any")),
    ];
    prop::collection::vec((path, entry), 0..24).prop_map(|entries| {
        let mut tree = Tree::new();
        for (path, entry) in entries {
            let mut next = tree.clone();
            if next.insert(&path, entry).is_ok() {
                tree = next;
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_tree_comes_back_from_cpio(tree in any_tree()) {
        prop_assert_eq!(sight_of_cpio(&cpio_bytes(&tree)), sight_of_tree(&tree));
    }

    #[test]
    fn any_tree_comes_back_from_squashfs(tree in any_tree()) {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("x.raw");
        squashfs_image(&tree, &image, quick());
        prop_assert_eq!(sight_of_squashfs(&image), sight_of_tree(&tree));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn unsquashfs_extracts_any_tree(tree in any_tree()) {
        if judge("unsquashfs", "squashfs-tools") {
            prop_assert_eq!(unsquashed(&tree), sight_of_tree(&tree));
        }
    }
}

fn unsquashed(tree: &Tree) -> Sight {
    let dir = tempfile::tempdir().unwrap();
    let (image, root) = (dir.path().join("x.raw"), dir.path().join("root"));
    squashfs_image(tree, &image, quick());
    run(Command::new("unsquashfs").args(["-no-progress", "-d"]).arg(&root).arg(&image));
    sight_of_directory(&root)
}

#[test]
fn unsquashfs_extracts_the_sample() {
    if judge("unsquashfs", "squashfs-tools") {
        assert_eq!(unsquashed(&sample()), sight_of_tree(&sample()));
    }
}

#[test]
fn unsquashfs_extracts_a_directory_of_many_files() {
    if !judge("unsquashfs", "squashfs-tools") {
        return;
    }
    let mut tree = Tree::new();
    for number in 0..3000 {
        let path = format!("usr/share/many/a-name-that-is-long-enough-to-fill-the-table-{number:05}");
        let contents = Contents::Bytes(number.to_string().into_bytes());
        tree.insert(&path, Entry::file(0o644, contents, "many")).unwrap();
    }
    assert_eq!(unsquashed(&tree), sight_of_tree(&tree));
}

#[test]
fn squashfs_says_zstd_128_kib_blocks_and_no_xattrs() {
    if !judge("unsquashfs", "squashfs-tools") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("x.raw");
    squashfs_image(&sample(), &image, squashfs::Options::default());
    let said = run(Command::new("unsquashfs").arg("-s").arg(&image));
    let level = format!("compression-level {}", squashfs::Compression::DEFAULT_ZSTD.get());
    for expected in ["Compression zstd", &level, "Block size 131072", "Number of xattr ids 0"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_hard_link_leads_to_a_file_of_the_tree() {
    let mut tree = sample();
    for target in ["usr/bin", "usr/libexec/exec", "usr/elsewhere"] {
        assert!(matches!(tree.link("usr/link", target, "test"), Err(tree::Error::Path { .. })), "{target}");
    }
    tree.link("usr/one", "usr/bin/tool", "test").unwrap();
    tree.link("usr/two", "usr/one", "test").unwrap();
    let first = |path: &str| tree.get(path).unwrap().link.as_deref();
    assert_eq!([first("usr/one"), first("usr/two")], [Some("usr/bin/tool"); 2]);
}

#[test]
fn gnu_cpio_extracts_the_sample() {
    if !judge("cpio", "cpio") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(dir.path().join("x.cpio"), cpio_bytes(&sample())).unwrap();
    let archive = || Stdio::from(File::open(dir.path().join("x.cpio")).unwrap());
    let cpio =
        |args: &str| run(Command::new("cpio").args([args, "--quiet"]).stdin(archive()).current_dir(&root));

    let listed = cpio("-itvn");
    let paths: Vec<&str> = listed.lines().map(|line| line.split_whitespace().nth(8).unwrap()).collect();
    assert_eq!(paths, sample().iter().map(|(path, _)| path).collect::<Vec<_>>());
    let owners = listed.lines().all(|line| line.split_whitespace().skip(2).take(2).eq(["0", "0"]));
    assert!(owners, "{listed}");

    cpio("-idm");
    assert_eq!(sight_of_directory(&root), sight_of_tree(&sample()));
}

#[test]
fn archives_written_one_after_another_are_listed_one_after_another() {
    let (first, second) = (cpio_bytes(&sample()), cpio_bytes(&Tree::new()));
    let joined = [first.as_slice(), &second].concat();
    let mut reader = joined.as_slice();
    let lengths = [(); 2].map(|()| cpio::list("x", &mut reader, cpio::Limits::default()).unwrap().length);
    assert_eq!(lengths, [first.len() as u64, second.len() as u64]);
    assert!(reader.is_empty());
}

/// Writes the same files in another order with other modes, times and owners' bits.
fn working_copy(root: &Path, names: &[&str], umask: u32) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("contents of {name}").repeat(5000)).unwrap();
        let mode = if name.contains("bin") { 0o777 } else { 0o666 };
        fs::set_permissions(&path, PermissionsExt::from_mode(mode & !umask)).unwrap();
    }
    std::os::unix::fs::symlink("a", root.join("link")).unwrap();
}

#[test]
fn umask_time_and_order_of_the_working_copy_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["usr/bin/a", "usr/share/z", "usr/share/b/c", "usr/share/b-c"];
    let reversed: Vec<&str> = names.iter().rev().copied().collect();
    let build = |copy: &str, names: &[&str], umask, time: u64| {
        let root = dir.path().join(copy);
        working_copy(&root, names, umask);
        let file = File::open(root.join(names[0])).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time)).unwrap();
        let tree = Tree::of_directory(&root, copy).unwrap();
        let image = squashfs_image(&tree, &dir.path().join(format!("{copy}.raw")), quick());
        (image, Sha256::of(&cpio_bytes(&tree)), tree.digest().unwrap())
    };
    let first = build("one", &names, 0o022, 1);
    assert_eq!(first, build("two", &reversed, 0o077, 2_000_000_000));
}

fn tree_of(path: &str, entry: Entry) -> Result<Tree, tree::Error> {
    let mut tree = Tree::new();
    tree.insert(path, entry).map(|()| tree)
}

fn file(contents: Contents) -> Entry {
    Entry::file(0o644, contents, "test")
}

#[test]
fn a_path_that_leaves_the_tree_is_refused() {
    for path in ["", "/etc/x", "../x", "a/../x", "a//b", "./a", "a/", "a\0b"] {
        assert!(matches!(tree_of(path, Entry::dir("test")), Err(tree::Error::Path { .. })), "{path:?}");
    }
}

#[test]
fn names_and_targets_longer_than_linux_allows_are_refused() {
    let deep = vec!["d".repeat(250); 17].join("/");
    assert!(matches!(tree_of(&"n".repeat(256), Entry::dir("test")), Err(tree::Error::Path { .. })));
    assert!(matches!(tree_of(&deep, Entry::dir("test")), Err(tree::Error::Path { .. })));
    for target in ["", "a\0b", &"t".repeat(4096)] {
        assert!(matches!(tree_of("l", Entry::symlink(target, "test")), Err(tree::Error::Path { .. })));
    }
}

#[test]
fn a_file_below_a_file_or_a_link_is_a_conflict() {
    for first in [file(Contents::Bytes(Vec::new())), Entry::symlink("/etc", "test")] {
        let mut tree = tree_of("a", first).unwrap();
        let below = tree.insert("a/b", Entry::dir("other"));
        let Err(tree::Error::Conflict { path, first, second }) = below else { panic!("{below:?}") };
        assert_eq!([path.as_str(), &first, &second], ["a", "test", "other"]);
    }
}

#[test]
fn a_directory_entry_merges_and_keeps_its_first_mode() {
    let mut tree = tree_of("a/b", Entry::dir("test")).unwrap();
    tree.insert("a", Entry { mode: 0o700, ..Entry::dir("other") }).unwrap();
    assert_eq!((tree.len(), tree.get("a").unwrap().mode), (2, 0o755));
}

#[test]
fn a_directory_with_a_socket_or_a_name_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    assert!(matches!(Tree::of_directory(dir.path(), "x"), Err(tree::Error::Special { kind: "socket", .. })));
    fs::remove_file(dir.path().join("socket")).unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    assert!(matches!(Tree::of_directory(dir.path(), "x"), Err(tree::Error::NotUtf8 { .. })));
}

#[test]
fn a_file_of_4_gib_does_not_go_into_a_cpio() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big");
    let big = File::create(&path).unwrap();
    let write = |length| {
        big.set_len(length).unwrap();
        let tree = tree_of("big", file(Contents::on_disk(&path).unwrap())).unwrap();
        cpio::length(&tree)
    };
    assert!(
        matches!(write(1 << 32), Err(cpio::Error::TooBig { path, size }) if path == "big" && size == 1 << 32)
    );
    assert!(write((1 << 32) - 1).is_ok());
}

#[test]
fn a_file_with_the_name_of_the_trailer_does_not_go_into_a_cpio() {
    let tree = tree_of("TRAILER!!!", Entry::dir("test")).unwrap();
    assert!(matches!(cpio::write(&tree, EPOCH, &mut Vec::new()), Err(cpio::Error::Trailer)));
    assert!(cpio::length(&tree_of("a/TRAILER!!!", Entry::dir("test")).unwrap()).is_ok());
}

#[test]
fn a_time_beyond_2106_is_refused() {
    let late = 1 << 32;
    let mut out = tempfile::tempfile().unwrap();
    assert!(matches!(cpio::write(&Tree::new(), late, &mut out), Err(cpio::Error::Epoch(_))));
    let image = squashfs::write(&Tree::new(), late, quick(), &mut out);
    assert!(matches!(image, Err(squashfs::Error::Epoch(_))));
}

#[test]
fn a_file_that_changes_its_length_while_an_image_is_made_fails_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("growing");
    for now in ["", "short", "longer than it was"] {
        fs::write(&path, "as it was").unwrap();
        let tree = tree_of("x", file(Contents::on_disk(&path).unwrap())).unwrap();
        fs::write(&path, now).unwrap();
        let cpio = cpio::write(&tree, EPOCH, &mut Vec::new()).unwrap_err();
        let image = squashfs::write(&tree, EPOCH, quick(), &mut tempfile::tempfile().unwrap()).unwrap_err();
        for error in [&cpio as &dyn std::error::Error, &image] {
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains("growing changed while it was read"), "{now:?}: {cause}");
        }
    }
}

#[test]
fn cpio_limits_stop_names_and_numbers() {
    let tree = sample();
    let list = |limits| cpio::list("x", &mut cpio_bytes(&tree).as_slice(), limits);
    let few = cpio::Limits { members: 3, ..Default::default() };
    let short = cpio::Limits { name: 10, ..Default::default() };
    for limits in [few, short] {
        assert!(matches!(list(limits), Err(cpio::Error::Limit { .. })));
    }
}

#[test]
fn cut_or_foreign_bytes_are_not_listed_as_a_cpio() {
    let whole = cpio_bytes(&sample());
    for length in [0, 50, 110, 115, whole.len() / 2, whole.len() - 1] {
        let refused = cpio::list("x", &mut &whole[..length], cpio::Limits::default());
        assert!(matches!(refused, Err(cpio::Error::Damaged { .. })), "{length}");
    }
    assert!(cpio::list("x", &mut &[b'x'; 4096][..], cpio::Limits::default()).is_err());
}

#[test]
fn what_is_no_squashfs_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.raw");
    let open = || squashfs::Image::open(&path, Limits::default()).map(drop).unwrap_err();
    for bytes in [&b""[..], b"<html>404</html>", &[0; 4096]] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(open(), squashfs::Error::Foreign { .. }));
    }
    squashfs_image(&sample(), &path, quick());
    let image = squashfs::Image::open(&path, Limits { file: 100, ..Default::default() }).unwrap();
    assert!(matches!(image.read("usr/bin/tool"), Err(squashfs::Error::Limit { .. })));
    assert!(matches!(image.read("usr/bin"), Err(squashfs::Error::NoFile { .. })));
    let few = Limits { inodes: 3, ..Default::default() };
    assert!(matches!(squashfs::Image::open(&path, few), Err(squashfs::Error::Limit { .. })));
    File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
    assert!(matches!(open(), squashfs::Error::Foreign { why: "it is cut off", .. }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_damaged_cpio_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = cpio_bytes(&sample());
        *at.get_mut(&mut bytes[..2000]) = byte;
        let _ = cpio::list("x", &mut bytes.as_slice(), cpio::Limits::default());
    }

    #[test]
    fn a_damaged_squashfs_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.raw");
        let mut small = Tree::new();
        small.insert("usr/a/b", file(Contents::Bytes(b"small".to_vec()))).unwrap();
        small.insert("usr/link", Entry::symlink("a", "test")).unwrap();
        let length = squashfs::write(&small, EPOCH, quick(), &mut File::create(&path).unwrap()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        prop_assert_eq!(bytes.len() as u64, length);
        *at.get_mut(&mut bytes[..600]) = byte;
        fs::write(&path, bytes).unwrap();
        if let Ok(image) = squashfs::Image::open(&path, Limits::default()) {
            for listed in image.list() {
                let _ = image.read(&listed.path);
            }
        }
    }
}
