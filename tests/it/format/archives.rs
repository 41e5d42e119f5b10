//! Component archives: what is taken from them and what is refused.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::write::GzEncoder;
use prebake::format::archive::{Error, Kind, Limits, Selection, extract, gunzip};
use prebake::format::tree::{self, Content, Tree};
use tar::EntryType;

/// A tar that is put together byte by byte, as no honest tool would let us.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// A member of any kind and name.
    pub fn member(mut self, name: &str, kind: EntryType, link: &str, mode: u32, body: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(body.len() as u64);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// A file.
    pub fn file(self, name: &str, body: &str) -> Self {
        self.member(name, EntryType::Regular, "", 0o640, body.as_bytes())
    }

    /// A symlink.
    pub fn link(self, name: &str, target: &str) -> Self {
        self.member(name, EntryType::Symlink, target, 0o777, b"")
    }

    /// The whole, uncompressed.
    pub fn bytes(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    /// The whole, as a .tgz.
    pub fn gzipped(self) -> Vec<u8> {
        gzipped(&self.bytes())
    }

    /// Takes `members` to `to`.
    fn take(self, members: &str, to: &str) -> Result<Tree, Error> {
        unpack(&self.bytes(), Kind::Tar, &[(members, to)], Limits::default())
    }

    /// Why everything cannot be taken to `/usr/x`.
    fn refusal(self) -> Error {
        self.take("./*", "usr/x/").unwrap_err()
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn unpack(bytes: &[u8], kind: Kind, selections: &[(&str, &str)], limits: Limits) -> Result<Tree, Error> {
    let dir = tempfile::tempdir().unwrap().keep();
    let archive = dir.join("archive");
    fs::write(&archive, bytes).unwrap();
    let selection = |(members, to): &(&str, &str)| Selection { members: (*members).into(), to: (*to).into() };
    let selections: Vec<Selection> = selections.iter().map(selection).collect();
    let result = extract(&archive, kind, &selections, limits, &dir, "component x").map(in_memory);
    fs::remove_dir_all(dir).unwrap();
    result
}

/// The same tree with contents that outlive the spool directory.
fn in_memory(tree: Tree) -> Tree {
    let mut kept = Tree::new();
    for (path, entry) in tree.iter() {
        let mut entry = entry.clone();
        if let Content::File(contents) = &mut entry.content {
            let mut bytes = Vec::new();
            std::io::copy(&mut contents.reader(), &mut bytes).unwrap();
            *contents = tree::Contents::Bytes(bytes);
        }
        kept.insert(path, entry).unwrap();
    }
    kept
}

/// `path mode contents` of everything but directories.
fn shown(tree: &Tree) -> Vec<String> {
    let show = |(path, entry): (&str, &tree::Entry)| match &entry.content {
        Content::Dir => None,
        Content::Symlink(target) => Some(format!("{path} -> {target}")),
        Content::File(tree::Contents::Bytes(bytes)) => {
            Some(format!("{path} {:o} {}", entry.mode, String::from_utf8_lossy(bytes)))
        }
        Content::File(_) => unreachable!("all is in memory"),
    };
    tree.iter().filter_map(show).collect()
}

#[test]
fn everything_is_taken_with_normal_modes_whether_gzipped_or_not() {
    let tar = || {
        Tar::default()
            .member("./", EntryType::Directory, "", 0o700, b"")
            .member("./bridge", EntryType::Regular, "", 0o4751, b"B")
            .file("./LICENSE", "L")
            .member("./dir/", EntryType::Directory, "", 0o700, b"")
            .file("./dir/deep", "D")
            .link("./dir/link", "../bridge")
            .member("./copy", EntryType::Link, "./bridge", 0o644, b"")
    };
    let expected = [
        "usr/x/LICENSE 644 L",
        "usr/x/bridge 755 B",
        "usr/x/copy 755 B",
        "usr/x/dir/deep 644 D",
        "usr/x/dir/link -> ../bridge",
    ];
    let taken = tar().take("./*", "usr/x/").unwrap();
    assert_eq!(shown(&taken), expected);
    assert_eq!(
        taken.get("usr/x/copy").unwrap().link.as_deref(),
        Some("usr/x/bridge"),
        "a hard link stays one"
    );
    let gzipped = unpack(&tar().gzipped(), Kind::TarGz, &[("*", "usr/x/")], Limits::default());
    assert_eq!(shown(&gzipped.unwrap()), expected);
}

#[test]
fn members_are_chosen_and_renamed_by_the_most_exact_selection() {
    let tar = Tar::default()
        .file("bin/ctr", "c")
        .file("bin/containerd", "d")
        .file("bin/containerd-shim", "s")
        .file("README", "r");
    let chosen = [
        ("bin/containerd*", "usr/bin/"),
        ("./bin/ctr", "usr/bin/ctr-tool"),
        ("bin/containerd-shim", "usr/libexec/"),
    ];
    let tree = unpack(&tar.bytes(), Kind::Tar, &chosen, Limits::default()).unwrap();
    assert_eq!(
        shown(&tree),
        ["usr/bin/containerd 644 d", "usr/bin/ctr-tool 644 c", "usr/libexec/containerd-shim 644 s"]
    );
}

#[test]
fn long_names_of_gnu_tar_and_pax_are_understood() {
    let long = format!("{}/file", "d".repeat(120));
    let record = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let length = (1..).find(|length| format!("{length}{rest}").len() == *length).unwrap();
        format!("{length}{rest}")
    };
    let tar = Tar::default()
        .member("././@LongLink", EntryType::GNULongName, "", 0, format!("{long}-gnu\0").as_bytes())
        .file("cut", "1")
        .member("pax", EntryType::XHeader, "", 0, record("path", &format!("{long}-pax")).as_bytes())
        .file("cut", "2");
    assert_eq!(
        shown(&tar.take("*", "usr/").unwrap()),
        [format!("usr/{long}-gnu 644 1"), format!("usr/{long}-pax 644 2")]
    );
}

#[test]
fn an_absolute_member_is_refused_even_if_it_is_not_chosen() {
    let refused =
        Tar::default().file("good", "").file("/etc/passwd", "").take("good", "usr/good").unwrap_err();
    assert!(matches!(refused, Error::Absolute { member, .. } if member == "/etc/passwd"));
}

#[test]
fn a_member_that_climbs_out_is_refused() {
    for name in ["../x", "a/../../x", "a/..", "./../x", "a//b"] {
        let refused = Tar::default().file(name, "").refusal();
        assert!(matches!(&refused, Error::Escapes { member, .. } if member == name), "{name}: {refused}");
    }
}

#[test]
fn a_pax_record_cannot_smuggle_a_name_out() {
    let tar =
        Tar::default().member("pax", EntryType::XHeader, "", 0, b"15 path=../../x\n".get(..15).unwrap());
    // The record above is one byte short of what it says: damaged, not trusted.
    assert!(matches!(tar.file("x", "").refusal(), Error::Damaged { .. }));
    let tar = Tar::default().member("pax", EntryType::XHeader, "", 0, b"16 path=../../x\n");
    assert!(matches!(tar.file("x", "").refusal(), Error::Escapes { .. }));
}

#[test]
fn links_out_of_the_tree_are_refused() {
    for target in ["/etc/passwd", "../x", "dir/../../x", ""] {
        let refused = Tar::default().link("link", target).refusal();
        assert!(matches!(refused, Error::Link { .. }), "{target}: {refused}");
    }
    let refused = Tar::default().link("bin/link", "../lib/x").take("bin/*", "usr/bin/").unwrap_err();
    assert!(matches!(refused, Error::Link { .. }), "it stays in the archive but leaves where it is put");
    assert!(Tar::default().link("dir/link", "../x").take("./*", "usr/").is_ok());
}

#[test]
fn a_hard_link_to_what_is_not_taken_is_refused() {
    let refused = Tar::default().member("link", EntryType::Link, "elsewhere", 0o644, b"").refusal();
    assert!(matches!(refused, Error::Link { target, .. } if target == "elsewhere"));
}

#[test]
fn writing_through_a_link_of_the_archive_is_a_conflict() {
    let refused = Tar::default().link("a", "b").file("a/x", "").refusal();
    assert!(matches!(refused, Error::Tree { source: tree::Error::Conflict { .. }, .. }));
}

#[test]
fn devices_pipes_and_unknown_kinds_are_refused() {
    for kind in
        [EntryType::Block, EntryType::Char, EntryType::Fifo, EntryType::GNUSparse, EntryType::new(b'Z')]
    {
        let refused = Tar::default().member("dev", kind, "", 0o644, b"").refusal();
        assert!(matches!(refused, Error::Special { .. }), "{kind:?}: {refused}");
    }
}

/// They were unpacked with the map of their holes in front: programs that are broken without a word (issue 15, C §4).
#[test]
fn files_with_holes_are_refused_in_each_form_that_gnu_tar_writes() {
    let dir = tempfile::tempdir().unwrap();
    let holes = fs::File::create(dir.path().join("holes")).unwrap();
    holes.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"end", (4 << 20) - 3).unwrap();
    let archive = dir.path().join("x.tar");
    let forms = [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for form in forms {
        let mut tar = std::process::Command::new("tar");
        tar.args(form).args(["--sparse", "-cf"]).arg(&archive).arg("-C").arg(dir.path()).arg("holes");
        assert!(tar.status().unwrap().success(), "{form:?}");
        let bytes = fs::read(&archive).unwrap();
        assert!(bytes.len() < 1 << 20, "{form:?}: tar found no holes");
        let refused =
            unpack(&bytes, Kind::Tar, &[("*", "usr/x/")], Limits::default()).unwrap_err().to_string();
        assert!(refused.contains("has the member `holes`, a sparse file"), "{form:?}: {refused}");
    }
    // star's and Solaris' forms, and a record for all members.
    for record in ["27 SUN.holesdata= 0 3 9 12\n", "24 SCHILY.realsize=1000\n"] {
        let tar = Tar::default().member("p", EntryType::XHeader, "", 0, record.as_bytes());
        let refused = tar.file("x", "abc").refusal().to_string();
        assert!(refused.contains("`x`, a sparse file"), "{refused}");
    }
    let global = Tar::default().member("p", EntryType::XGlobalHeader, "", 0, b"22 GNU.sparse.major=1\n");
    assert!(matches!(global.file("x", "abc").refusal(), Error::Damaged { .. }));
}

#[test]
fn a_selection_that_chooses_nothing_names_itself() {
    let refused = Tar::default()
        .member("dir/", EntryType::Directory, "", 0o755, b"")
        .take("dir", "usr/dir")
        .unwrap_err();
    assert!(matches!(refused, Error::Unmatched { members, .. } if members == "dir"));
}

#[test]
fn a_bomb_stops_at_the_limit_and_leaves_a_name() {
    let bomb = gzipped(&vec![0; 3 << 20]);
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let tar = Tar::default().file("x", &"0".repeat(3 << 20)).gzipped();
    let refused = unpack(&tar, Kind::TarGz, &[("*", "usr/")], limits).unwrap_err();
    assert!(matches!(refused, Error::Limit { limit, .. } if limit == 1 << 20), "{refused}");

    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("x.gz");
    fs::write(&archive, bomb).unwrap();
    assert!(matches!(gunzip(&archive, limits, dir.path()), Err(Error::Limit { .. })));
    let spooled: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().path()).collect();
    assert_eq!(spooled, [archive], "what was unpacked is gone");
}

#[test]
fn too_many_members_are_refused() {
    let tar = (0..5).fold(Tar::default(), |tar, n| tar.file(&format!("f{n}"), ""));
    let limits = Limits { members: 4, ..Limits::default() };
    assert!(matches!(unpack(&tar.bytes(), Kind::Tar, &[("*", "usr/")], limits), Err(Error::Limit { .. })));
}

#[test]
fn a_long_name_of_a_gigabyte_is_refused_before_it_is_read() {
    let mut bytes = Tar::default().member("././@LongLink", EntryType::GNULongName, "", 0, b"").0;
    let mut header = tar::Header::from_byte_slice(&bytes).clone();
    header.set_size(1 << 30);
    header.set_cksum();
    bytes.copy_from_slice(header.as_bytes());
    let refused = unpack(&bytes, Kind::Tar, &[("*", "usr/")], Limits::default()).unwrap_err();
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
}

#[test]
fn cut_and_damaged_archives_are_refused() {
    let whole = Tar::default().file("x", &"contents".repeat(1000)).gzipped();
    let mut wrong_crc = whole.clone();
    let at = wrong_crc.len() - 6;
    wrong_crc[at] ^= 1;
    for bytes in [&whole[..whole.len() / 2], &whole[..whole.len() - 4], &wrong_crc, b"<html>404</html>"] {
        let refused = unpack(bytes, Kind::TarGz, &[("*", "usr/")], Limits::default()).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    }
}

#[test]
fn one_gzipped_file_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("x.gz");
    fs::write(&archive, gzipped(b"contents")).unwrap();
    let contents = gunzip(&archive, Limits::default(), dir.path()).unwrap();
    assert_eq!(contents.sha256().unwrap(), prebake::base::digest::Sha256::of(b"contents"));
}
