//! Disk images as systemd-repart, mkosi and others make them for extensions: prebake looks into what systemd-sysext mounts.
//!
//! From flatcar/scripts#3162, flatcar/sysext-bakery#24, systemd/systemd#33683 and #37245, systemd/mkosi#3115.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Crc;
use prebake::base::finding::Severity;
use prebake::sysext::base::Base;
use prebake::sysext::extension::{Extension, Fault};
use prebake::sysext::inspect::inspect;
use prebake::sysext::merge::Merge;
use prebake::sysext::rules;

use crate::judges::containerd::there_is;
use crate::lab::merge;
use crate::world::World;

const ROOT: &str = "4f68bce3e8cd4db196e7fbcaf984b709";
const ROOT_ARM64: &str = "b921b0451df041c3af444c6f280d3fae";
const USR: &str = "8484680c952148c69c11b0720656f69e";
const ESP: &str = "c12a7328f81f11d2ba4b00a0c93ec93b";
const GENERIC: &str = "0fc63daf848347728e793d69d8477de4";
const HOME: &str = "933ac7e12eb44f13b8440e14e2aef915";

/// How a table is written.
#[derive(Clone, Copy)]
struct Shape {
    sector: usize,
    entries: usize,
    header: usize,
    backup: bool,
}

const USUAL: Shape = Shape { sector: 512, entries: 128, header: 92, backup: true };

/// A disk with these partitions: type, attributes, contents.
fn disk(shape: Shape, partitions: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let Shape { sector, entries, header, backup } = shape;
    let table = (entries * 128).div_ceil(sector);
    let first = (1 << 20) / sector;
    let mut disk = vec![0; 1 << 20];
    let mut list = vec![0; entries * 128];
    for (entry, (kind, flags, contents)) in list.chunks_mut(128).zip(partitions) {
        let start = disk.len() / sector;
        disk.extend_from_slice(contents);
        disk.resize(disk.len().next_multiple_of(sector.max(4096)), 0);
        let kind = u128::from_str_radix(kind, 16).unwrap().to_be_bytes();
        let [a, b, c, d, e, f, g, h, rest @ ..] = kind;
        entry[..8].copy_from_slice(&[d, c, b, a, f, e, h, g]);
        entry[8..16].copy_from_slice(&rest);
        entry[16] = start as u8;
        entry[17] = (start >> 8) as u8 | 1;
        entry[32..40].copy_from_slice(&(start as u64).to_le_bytes());
        entry[40..48].copy_from_slice(&(disk.len() as u64 / sector as u64 - 1).to_le_bytes());
        entry[48..56].copy_from_slice(&flags.to_le_bytes());
    }
    let crc = |bytes: &[u8]| {
        let mut crc = Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let last = disk.len() / sector + table;
    let head = |own: usize, other: usize, entries_at: usize| {
        let mut bytes = vec![0; sector];
        bytes[..8].copy_from_slice(b"EFI PART");
        bytes[8..12].copy_from_slice(&0x1_0000_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&(header as u32).to_le_bytes());
        for (index, number) in [own, other, first, last - table - 1].into_iter().enumerate() {
            bytes[24 + 8 * index..][..8].copy_from_slice(&(number as u64).to_le_bytes());
        }
        bytes[56] = 9;
        bytes[72..80].copy_from_slice(&(entries_at as u64).to_le_bytes());
        bytes[80..84].copy_from_slice(&(entries as u32).to_le_bytes());
        bytes[84..88].copy_from_slice(&128_u32.to_le_bytes());
        bytes[88..92].copy_from_slice(&crc(&list));
        let sum = crc(&bytes[..header]);
        bytes[16..20].copy_from_slice(&sum);
        bytes
    };
    disk[450] = 0xee;
    disk[454] = 1;
    disk[458..462].copy_from_slice(&(last as u32).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[sector..2 * sector].copy_from_slice(&head(1, last, 2));
    disk[2 * sector..][..list.len()].copy_from_slice(&list);
    if backup {
        let end = disk.len();
        disk.resize(end + table * sector, 0);
        disk[end..][..list.len()].copy_from_slice(&list);
        disk.extend(head(last, 1, last - table));
    }
    disk
}

/// The tree of an extension, as the root or as what lies in `/usr`, with a file more.
fn tree(dir: &Path, name: &str, in_usr: bool, more: Option<&str>) -> PathBuf {
    let root = dir.join("tree");
    let _ = fs::remove_dir_all(&root);
    let usr = if in_usr { root.clone() } else { root.join("usr") };
    let write = |path: &str, text: &str| {
        let path = usr.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let release = format!("lib/extension-release.d/extension-release.{name}");
    write(&release, "ID=_any\nARCHITECTURE=x86-64\n");
    write(&format!("share/flaw/{name}"), "merged\n");
    if let Some(more) = more {
        write(more, "x\n");
    }
    root
}

/// A file system of a tree.
fn packed(dir: &Path, tree: &Path, tool: &str) -> Vec<u8> {
    let out = dir.join("packed");
    let _ = fs::remove_file(&out);
    let mut command = match tool {
        "erofs" => {
            let mut command = Command::new("mkfs.erofs");
            command.args(["-T0", "--all-root"]).arg(&out).arg(tree);
            command
        }
        "ext4" => {
            let mut command = Command::new("/sbin/mkfs.ext4");
            command.args(["-q", "-d"]).arg(tree).arg(&out).arg("2M");
            command
        }
        _ => {
            let mut command = Command::new("mksquashfs");
            let options = ["-noappend", "-quiet", "-no-progress", "-all-root", "-no-xattrs"];
            command.arg(tree).arg(&out).args(options);
            command
        }
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    fs::read(out).unwrap()
}

/// What `make` packs of a tree, as an image; the tree has one flaw more, if that is asked for.
type Make = fn(&Path, Option<&str>) -> Vec<u8>;

fn root(dir: &Path, more: Option<&str>) -> Vec<u8> {
    packed(dir, &tree(dir, "flaw", false, more), "squashfs")
}

fn usr(dir: &Path, more: Option<&str>) -> Vec<u8> {
    packed(dir, &tree(dir, "flaw", true, more), "squashfs")
}

/// A root with an empty `/usr` to mount on, and something else that is not merged.
fn bare(dir: &Path) -> Vec<u8> {
    let root = dir.join("bare");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    fs::write(root.join("usr/lib/hidden"), "what is mounted covers it").unwrap();
    packed(dir, &root, "squashfs")
}

const DISKS: &[(&str, Make)] = &[
    ("a root", |dir, more| disk(USUAL, &[(ROOT, 0, &root(dir, more))])),
    ("a root of erofs", |dir, more| {
        disk(USUAL, &[(ROOT, 0, &packed(dir, &tree(dir, "flaw", false, more), "erofs"))])
    }),
    ("/usr alone", |dir, more| disk(USUAL, &[(USR, 0, &usr(dir, more))])),
    ("a root and /usr", |dir, more| disk(USUAL, &[(ROOT, 0, &bare(dir)), (USR, 0, &usr(dir, more))])),
    ("an ESP first", |dir, more| disk(USUAL, &[(ESP, 0, &[0; 65536]), (ROOT, 0, &root(dir, more))])),
    ("generic data", |dir, more| disk(USUAL, &[(GENERIC, 0, &root(dir, more))])),
    ("a root that is not found by its type", |dir, more| {
        disk(USUAL, &[(ROOT, 1 << 63, &[1; 4096]), (ROOT, 0, &root(dir, more))])
    }),
    ("no table at the end", |dir, more| {
        disk(Shape { backup: false, ..USUAL }, &[(ROOT, 0, &root(dir, more))])
    }),
    ("four entries", |dir, more| disk(Shape { entries: 4, ..USUAL }, &[(ROOT, 0, &root(dir, more))])),
    ("a long header", |dir, more| disk(Shape { header: 512, ..USUAL }, &[(ROOT, 0, &root(dir, more))])),
    ("sectors of 4096 bytes", |dir, more| {
        disk(Shape { sector: 4096, ..USUAL }, &[(ROOT, 0, &root(dir, more))])
    }),
    ("sectors of 2048 bytes", |dir, more| {
        disk(Shape { sector: 2048, ..USUAL }, &[(ROOT, 0, &root(dir, more))])
    }),
];

fn lint(path: &Path) -> (Extension, Vec<(&'static str, Severity)>) {
    let base = Base::well_known();
    let all = [Extension::open(path).unwrap()];
    let breaches = rules::judge(&Merge::new(&all, &base)).unwrap();
    let found = breaches.iter().map(|breach| (breach.rule, breach.severity)).collect();
    let [extension] = all;
    (extension, found)
}

#[test]
fn lint_and_inspect_look_into_whatever_systemd_sysext_mounts_of_a_disk_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("flaw.raw");
    for (what, make) in DISKS {
        fs::write(&image, make(dir.path(), None)).unwrap();
        let (extension, found) = lint(&image);
        assert_eq!(found, [], "{what}: {:?}", extension.fault);
        assert!(extension.entries.contains_key("usr/share/flaw/flaw"), "{what}");
        assert!(!extension.entries.contains_key("usr/lib/hidden"), "{what}");
        assert_eq!(extension.text("usr/share/flaw/flaw").unwrap(), "merged\n", "{what}");
        let (inspected, findings) = inspect(&image).unwrap();
        assert_eq!((inspected.name.as_deref(), findings.len()), (Some("flaw"), 0), "{what}");
        assert_eq!(inspected.format, "gpt");
        assert!(inspected.filesystem.is_some_and(|name| ["squashfs", "erofs"].contains(&name)), "{what}");
        fs::write(&image, make(dir.path(), Some("lib/os-release"))).unwrap();
        assert_eq!(lint(&image).1, [("no-os-release", Severity::Error)], "{what}");
    }
}

#[test]
fn systemd_sysext_merges_the_disk_images_that_lint_finds_sound() {
    if !merge::is_possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut refused = Vec::new();
    for (what, make) in DISKS {
        let shelf = dir.path().join("shelf");
        fs::create_dir_all(&shelf).unwrap();
        fs::write(shelf.join("flaw.raw"), make(dir.path(), None)).unwrap();
        let outcome = merge::merge(&shelf).unwrap();
        if outcome.shows("flaw").as_deref() != Some("merged\n") {
            refused.push((*what, outcome.said));
        }
    }
    // 252 looks for tables of sectors of 512 bytes only; Flatcar has had 255 since 3913, and a rule of its own for older ones.
    let refused: Vec<&str> = refused
        .iter()
        .map(|(what, said)| {
            assert!(what.starts_with("sectors of "), "{what}: {said}");
            *what
        })
        .collect();
    assert_eq!(refused, ["sectors of 4096 bytes", "sectors of 2048 bytes"]);
}

#[test]
fn a_disk_image_of_systemd_repart_is_looked_into() {
    if !there_is("systemd-repart") || !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path(), "flaw", false, Some("lib/os-release"));
    let definitions = dir.path().join("definitions");
    fs::create_dir(&definitions).unwrap();
    let write = |name: &str, text: &str| fs::write(definitions.join(name), text).unwrap();
    let head = "[Partition]\nVerityMatchKey=root\nMinimize=best\n";
    let data = "Type=root-x86-64\nFormat=squashfs\nCopyFiles=/usr/\nVerity=data\n";
    write("10-root.conf", &format!("{head}{data}"));
    write("20-verity.conf", &format!("{head}Type=root-x86-64-verity\nVerity=hash\n"));
    let image = dir.path().join("flaw.raw");
    let output = Command::new("systemd-repart")
        .args(["--empty=create", "--size=auto", "--dry-run=no", "--definitions=definitions", "--root=tree"])
        .arg(&image)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let (_, found) = lint(&image);
    assert!(found.contains(&("no-os-release", Severity::Error)), "{found:?}");
}

#[test]
fn what_cannot_be_looked_into_in_a_disk_image_is_said_and_what_cannot_be_mounted_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("flaw.raw");
    let ext4 = packed(dir.path(), &tree(dir.path(), "flaw", false, None), "ext4");
    let squashfs = root(dir.path(), None);
    let mut luks = vec![0; 65536];
    luks[..6].copy_from_slice(b"LUKS\xba\xbe");
    for (contents, what) in [(&ext4, "a disk image with ext4"), (&luks, "a disk image with encrypted (LUKS)")]
    {
        fs::write(&image, disk(USUAL, &[(ROOT, 0, contents)])).unwrap();
        let (extension, found) = lint(&image);
        assert_eq!(extension.fault, Some(Fault::Opaque(what.into())));
        assert_eq!(found, [("opaque-image", Severity::Warning)]);
    }
    let lzma = {
        let mut bytes = squashfs.clone();
        bytes[20] = 2;
        bytes
    };
    let cut = {
        let mut bytes = squashfs.clone();
        bytes[40..48].copy_from_slice(&(1_u64 << 30).to_le_bytes());
        bytes
    };
    fs::write(&image, disk(USUAL, &[(ROOT, 0, &lzma)])).unwrap();
    assert!(lint(&image).1.contains(&("compression", Severity::Error)));
    for (partitions, words) in [
        (vec![(ESP, &squashfs), (HOME, &squashfs)], "without a root or /usr partition"),
        (vec![(ROOT, &cut)], "it is cut off"),
        (vec![(ROOT, &vec![0; 8192])], "has no known file system"),
        (vec![(GENERIC, &squashfs), (GENERIC, &squashfs)], "without a root or /usr partition"),
    ] {
        let partitions: Vec<_> =
            partitions.iter().map(|(kind, contents)| (*kind, 0, contents.as_slice())).collect();
        fs::write(&image, disk(USUAL, &partitions)).unwrap();
        let (extension, found) = lint(&image);
        assert_eq!(found, [("image", Severity::Error)], "{words}");
        let Some(Fault::Broken(why)) = extension.fault else { panic!("{words}") };
        assert!(why.contains(words), "{why}");
    }
    // The other architecture's is looked into as well.
    fs::write(&image, disk(USUAL, &[(ROOT_ARM64, 0, &squashfs)])).unwrap();
    assert_eq!(lint(&image).1, []);
}

#[test]
fn prebakes_own_signed_images_are_linted_and_judged_for_a_release() {
    let world = World::new();
    world.prebake(&["sysext", "key", "generate", "keys"]).ok();
    world.write("sysext/hello/files/usr/lib/sysctl.d/x.conf", "a=1\n");
    let packaging = "{format: erofs, verity: {key: keys/sysext.key, certificate: keys/sysext.crt}}";
    world.prebake(&["sysext", "build", "hello", "--packaging", packaging]).ok();
    let lint = |args: &[&str]| {
        world.prebake(&[&["sysext", "lint", "output/sysext/hello-1-x86-64.raw"], args].concat())
    };
    let run = lint(&[]).ok();
    assert!(run.stdout.contains("too-early"), "{}", run.stdout);
    lint(&["--target", "4593.2.5"]).ok();
    let run = lint(&["--target", "4081.3.10"]);
    assert!(
        run.stdout.contains("target: the kernel of Flatcar 4081.3.10 cannot mount erofs"),
        "{}",
        run.stdout
    );
    run.fails(3, &["1 error"]);
    let run = lint(&["--target", "4757.1.0"]);
    assert!(run.stdout.contains("it is signed, but Flatcar 4757.1.0 would not merge it"), "{}", run.stdout);
    run.fails(3, &["1 error"]);
}
