//! Written images before the judges that the system has.

use std::fs::{self, File};
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use prebake::format::disk::ovf::{Firmware, Machine};
use prebake::format::disk::qcow2::{self, Packing, Patch};
use prebake::format::disk::{Container, Disk, Format, Options, PROBE, convert, detect, open};
use prebake::format::sparse::{Nothing, Sink};

use crate::house::damage::Random;

const TEXT: &[u8] = b"Flatcar Container Linux by Kinvolk, a disk image that is compressed well. 0123456789\n";

/// A disk's name, length and contents by offset.
type Row<'a> = (&'static str, u64, Vec<(u64, &'a [u8])>);

/// Disks by name, each a raw file.
fn disks(dir: &Path) -> Vec<(&'static str, PathBuf, u64)> {
    let mut random = Random(1);
    let text: Vec<u8> = TEXT.iter().copied().cycle().take(700_000).collect();
    let noise = random.bytes(900_000);
    let mut mixed: Vec<u8> = Vec::new();
    for _ in 0..60 {
        let length = (random.next() % 90_000) as usize;
        match random.next() % 3 {
            0 => mixed.resize(mixed.len() + length, 0),
            1 => mixed.extend(&text[..length]),
            _ => mixed.extend(&noise[..length]),
        }
    }
    let rows: Vec<Row<'_>> = vec![
        ("empty", 0, vec![]),
        ("one-sector", 512, vec![(0, &text[..512])]),
        ("zeros", 3 << 20, vec![]),
        ("text", 700_000, vec![(0, &text)]),
        ("noise", 900_000, vec![(0, &noise)]),
        ("mixed", mixed.len() as u64, vec![(0, &mixed)]),
        (
            "far",
            (9 << 30) + 12_345,
            vec![(0, b"boot"), ((5 << 30) + 100, &mixed), ((9 << 30) + 12_000, &text[..345])],
        ),
    ];
    let write = |(name, length, parts): Row<'_>| {
        let path = dir.join(format!("{name}.raw"));
        let file = File::create(&path).unwrap();
        file.set_len(length).unwrap();
        parts.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        (name, path, length)
    };
    rows.into_iter().map(write).collect()
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn create(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

fn disk(path: &Path) -> Box<dyn Disk> {
    open(File::open(path).unwrap(), &path.display().to_string()).unwrap()
}

/// Converts with one thread and with many, and demands the same bytes.
fn written(raw: &Path, format: Format, options: &Options<'_>) -> PathBuf {
    let path = raw.with_extension(format.extension());
    let other = raw.with_extension("other");
    convert(&*disk(raw), format, create(&path), options, threads(63)).unwrap();
    convert(&*disk(raw), format, create(&other), options, threads(1)).unwrap();
    run(Command::new("cmp").arg(&path).arg(&other));
    fs::remove_file(other).unwrap();
    path
}

#[track_caller]
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}{text}", String::from_utf8_lossy(&output.stdout));
    output.stdout
}

/// QEMU finds nothing wrong, and sees the disk that we put in.
#[track_caller]
fn qemu_agrees(raw: &Path, path: &Path, format: &str) {
    if matches!(format, "qcow2" | "vmdk") {
        let said = run(Command::new("qemu-img").args(["check", "-f", format]).arg(path));
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("No errors were found"), "{}: {said}", path.display());
    }
    // An odd disk ends with zeros up to a whole sector, which `compare` overlooks.
    run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", format]).arg(raw).arg(path));
}

/// Our reader sees the same disk, poured and read at random.
#[track_caller]
fn reads_alike(raw: &Path, path: &Path) {
    let (expected, ours) = (disk(raw), disk(path));
    let length = ours.length();
    assert!((0..512).contains(&(length - expected.length())), "{}", path.display());
    let back = path.with_extension("back");
    convert(&*ours, Format::Raw, create(&back), &Options::default(), threads(3)).unwrap();
    assert_eq!(fs::metadata(&back).unwrap().len(), length);
    run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw"]).arg(raw).arg(&back));
    fs::remove_file(back).unwrap();
    let mut random = Random(2);
    for _ in 0..if length == 0 { 0 } else { 200 } {
        let at = random.next() % expected.length();
        let piece = (random.next() % 150_000).min(expected.length() - at);
        let (mut one, mut two) = (vec![1; piece as usize], vec![2; piece as usize]);
        expected.read_at(&mut one, at).unwrap();
        ours.read_at(&mut two, at).unwrap();
        assert!(one == two, "{} at {at}", path.display());
    }
    assert!(ours.read_at(&mut [0; 2], length - length.min(1)).is_err());
}

#[test]
fn qemu_takes_qcow2_of_any_disk() {
    let dir = tempfile::tempdir().unwrap();
    for (name, raw, _) in disks(dir.path()) {
        for packing in [Packing::Deflate(6), Packing::Plain, Packing::Zstd(3)] {
            for bits in if name == "mixed" { vec![9, 12, 16, 21] } else { vec![16] } {
                let qcow2 = qcow2::Options { packing, bits };
                let path = written(&raw, Format::Qcow2, &Options { qcow2, ..Options::default() });
                qemu_agrees(&raw, &path, "qcow2");
                reads_alike(&raw, &path);
            }
        }
    }
}

#[test]
fn we_read_what_qemu_writes() {
    let dir = tempfile::tempdir().unwrap();
    let all = disks(dir.path());
    let variants: [(&str, &str, &[&str]); 10] = [
        ("qcow2", "", &[]),
        ("qcow2", "compat=0.10", &["-c"]),
        ("qcow2", "compat=1.1,compression_type=zstd", &["-c"]),
        ("qcow2", "cluster_size=512", &[]),
        ("qcow2", "cluster_size=2M,lazy_refcounts=on", &["-c"]),
        ("qcow2", "preallocation=metadata", &[]),
        ("vmdk", "subformat=streamOptimized", &[]),
        ("vpc", "subformat=fixed,force_size=on", &[]),
        ("raw", "", &[]),
        ("qcow2", "refcount_bits=1", &[]),
    ];
    for (name, raw, _) in &all {
        for (format, option, flags) in variants {
            if *name == "far"
                && (option.contains("512") || option.contains("force") || option.contains("prealloc"))
            {
                continue;
            }
            let path = dir.path().join("foreign");
            let mut command = Command::new("qemu-img");
            command.args(["convert", "-f", "raw", "-O", format]).args(flags);
            if !option.is_empty() {
                command.args(["-o", option]);
            }
            if *name == "empty" && matches!(format, "vmdk" | "vpc") {
                continue; // QEMU makes none.
            }
            run(command.arg(raw).arg(&path));
            reads_alike(raw, &path);
        }
    }
}

#[test]
fn what_we_do_not_read_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (_, raw, _) = disks(dir.path()).remove(3);
    let path = dir.path().join("foreign");
    let say = |args: &[&str]| {
        run(Command::new("qemu-img").args(args).arg(&path).arg("1M"));
        match open(File::open(&path).unwrap(), "foreign") {
            Ok(_) => panic!("{args:?} is read"),
            Err(error) => error.to_string(),
        }
    };
    let create = |format, option| ["create", "-f", format, "-o", option];
    let backing = format!("backing_fmt=raw,backing_file={}", raw.display());
    let data = format!("data_file={}", dir.path().join("data").display());
    for (args, word) in [
        (create("qcow2", &backing), "backing file"),
        (create("qcow2", &data), "another file"),
        (create("qcow2", "extended_l2=on,cluster_size=128k"), "extended"),
        (create("vmdk", "subformat=monolithicFlat"), "in other files"),
        (create("vmdk", "subformat=monolithicSparse"), "other than streamOptimized"),
        (create("vpc", "subformat=dynamic"), "dynamic"),
        (create("vhdx", "subformat=dynamic"), "VHDX"),
        (create("vdi", "static=off"), "VirtualBox"),
    ] {
        let said = say(&args);
        assert!(said.contains(word), "{args:?}: {said}");
    }
}

#[test]
fn qemu_takes_vmdk_vhd_and_the_disk_of_an_ova() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { name: "a disk & <more>", identity: *b"0123456789abcdef", ..Options::default() };
    for (name, raw, length) in disks(dir.path()) {
        let path = written(&raw, Format::Vmdk, &options);
        // QEMU opens no empty disk.
        if length > 0 {
            qemu_agrees(&raw, &path, "vmdk");
        }
        reads_alike(&raw, &path);
        if length % 512 == 0 {
            let path = written(&raw, Format::Vhd, &options);
            assert_eq!(fs::metadata(&path).unwrap().len(), length + 512);
            if length > 0 {
                qemu_agrees(&raw, &path, "vpc");
                reads_alike(&raw, &path);
            }
        }
        if name == "mixed" {
            ova(&raw, dir.path(), &options);
        }
    }
}

/// An OVA before GNU tar, xmllint, sha256sum and QEMU.
fn ova(raw: &Path, dir: &Path, options: &Options<'_>) {
    let properties = [("guestinfo.ignition.config.data", "{\"a\": \"<&'\n>\"}"), ("own", "ü\u{1}")];
    let machine = Machine { firmware: Firmware::Efi, properties: &properties, ..Machine::default() };
    let options = Options { machine, ..options.clone() };
    let path = written(raw, Format::Ova, &options);
    let list = run(Command::new("tar").args(["-tvf"]).arg(&path).env("TZ", "UTC"));
    let list = String::from_utf8(list).unwrap();
    let names: Vec<&str> = list.lines().map(|line| line.split_once("00:00 ").unwrap().1).collect();
    assert_eq!(names, ["a disk & <more>.ovf", "a disk & <more>.mf", "a disk & <more>.vmdk"], "{list}");
    let into = dir.join("ova");
    fs::create_dir(&into).unwrap();
    run(Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&into));
    let ovf = into.join("a disk & <more>.ovf");
    run(Command::new("xmllint").arg("--noout").arg(&ovf));
    let ask = |what: &str| {
        let out = run(Command::new("xmllint").arg("--xpath").arg(format!("string({what})")).arg(&ovf));
        String::from_utf8(out).unwrap().trim_end_matches('\n').to_owned()
    };
    let vmdk = into.join("a disk & <more>.vmdk");
    assert_eq!(
        ask("//*[local-name()='File']/@*[local-name()='size']"),
        fs::metadata(&vmdk).unwrap().len().to_string()
    );
    assert_eq!(ask("//*[local-name()='File']/@*[local-name()='href']"), "a disk & <more>.vmdk");
    let value = |key: &str| {
        ask(&format!("//*[local-name()='Property'][@*[local-name()='key']='{key}']/@*[local-name()='value']"))
    };
    assert_eq!(value("guestinfo.ignition.config.data"), "{\"a\": \"<&'\n>\"}");
    assert_eq!(
        (value("guestinfo.own"), value("guestinfo.interface.1.dhcp")),
        ("ü".to_owned(), "no".to_owned())
    );
    let manifest = fs::read_to_string(into.join("a disk & <more>.mf")).unwrap();
    assert_eq!(manifest.lines().count(), 2);
    for line in manifest.lines() {
        let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        let said = run(Command::new("sha256sum").arg("-b").arg(into.join(name)));
        assert!(String::from_utf8(said).unwrap().starts_with(digest), "{name}");
    }
    qemu_agrees(raw, &vmdk, "vmdk");
}

/// vagrant-libvirt reads `metadata.json` for the format and the length of the volume, and takes `box.img`.
#[test]
fn a_box_has_what_vagrant_libvirt_looks_for() {
    let dir = tempfile::tempdir().unwrap();
    for (name, raw, length) in disks(dir.path()) {
        let path = written(&raw, Format::Box, &Options::default());
        reads_alike(&raw, &path);
        let into = dir.path().join(name);
        fs::create_dir(&into).unwrap();
        run(Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&into));
        let list = String::from_utf8(run(Command::new("tar").arg("-tf").arg(&path))).unwrap();
        assert_eq!(list, "metadata.json\nVagrantfile\nbox.img\n");
        let metadata = fs::read(into.join("metadata.json")).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
        let gib = length.div_ceil(1 << 30);
        let expected = serde_json::json!({"provider": "libvirt", "format": "qcow2", "virtual_size": gib});
        assert_eq!(metadata, expected);
        let image = into.join("box.img");
        assert!(run(Command::new("qemu-img").arg("check").arg("-f").arg("qcow2").arg(&image)).len() > 1);
        qemu_agrees(&raw, &image, "qcow2");
    }
}

/// vagrant-libvirt takes a disk by the format that `metadata.json` says.
#[test]
fn a_box_that_says_no_qcow2_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (_, raw, _) = disks(dir.path()).remove(3);
    let sound = written(&raw, Format::Box, &Options::default());
    let into = dir.path().join("box");
    fs::create_dir(&into).unwrap();
    run(Command::new("tar").arg("-xf").arg(&sound).arg("-C").arg(&into));
    let path = dir.path().join("other.box");
    let pack = |members: &[&str]| {
        run(Command::new("tar").arg("-C").arg(&into).arg("-cf").arg(&path).args(members));
    };
    let told = || open(File::open(&path).unwrap(), "other.box").err().map(|error| error.to_string());
    pack(&["./box.img", "./metadata.json"]);
    assert_eq!(told(), None);
    pack(&["Vagrantfile", "box.img"]);
    let why = told().unwrap();
    assert!(why.contains("other.box") && why.contains("no metadata.json"), "{why}");
    for (metadata, words) in [
        (r#"{"format": "vmdk", "provider": "libvirt"}"#, "a box of the format `vmdk`, and not qcow2"),
        (r#"{"provider": "virtualbox"}"#, "metadata.json in it has no `format`"),
        ("{", "metadata.json in it is not JSON"),
        (r#"{"disks": [{"path": "../../etc/passwd", "format": "qcow2"}]}"#, "the disk `../../etc/passwd`"),
        (&"{".repeat(200_000), "exceeds the limit of 65536"),
    ] {
        fs::write(into.join("metadata.json"), metadata).unwrap();
        pack(&["metadata.json", "box.img"]);
        let why = told().unwrap();
        assert!(why.contains(words), "{why}");
    }
    // Two names of one file: the second is a link in the archive.
    fs::hard_link(into.join("box.img"), into.join("again.img")).unwrap();
    pack(&["again.img", "box.img"]);
    let why = told().unwrap();
    assert!(why.contains("`box.img` is a hard link to `again.img`, and no file of its own"), "{why}");
    fs::remove_file(into.join("box.img")).unwrap();
    std::os::unix::fs::symlink("again.img", into.join("box.img")).unwrap();
    pack(&["again.img", "box.img"]);
    let why = told().unwrap();
    assert!(why.contains("`box.img` is a symbolic link to `again.img`"), "{why}");
}

#[test]
fn gnu_tar_and_gzip_take_googles_archive() {
    let dir = tempfile::tempdir().unwrap();
    for (name, raw, length) in disks(dir.path()) {
        if length == 0 {
            continue;
        }
        let path = written(&raw, Format::GceTar, &Options::default());
        // Nine GiB of zeros take gunzip half a minute.
        let whole = length.next_multiple_of(1 << 30);
        let list = run(Command::new("sh")
            .arg("-c")
            .arg("head -c 20000 \"$1\" | tar -tvz 2>/dev/null | head -1")
            .arg("sh")
            .arg(&path));
        let list = String::from_utf8(list).unwrap();
        assert!(list.contains(&format!(" {whole} 1970-01-01")), "{list}");
        assert!(list.ends_with("disk.raw\n"), "{list}");
        if name == "mixed" {
            run(Command::new("gzip").arg("-t").arg(&path));
            run(Command::new("tar").arg("-xzSf").arg(&path).arg("-C").arg(dir.path()));
            let back = dir.path().join("disk.raw");
            assert_eq!(fs::metadata(&back).unwrap().len(), whole);
            run(Command::new("cmp").arg("-n").arg(length.to_string()).arg(&raw).arg(&back));
            let mut rest = vec![1; 1 << 20];
            File::open(&back).unwrap().read_exact_at(&mut rest, length).unwrap();
            assert!(rest.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn zstd_takes_seekable_files() {
    let dir = tempfile::tempdir().unwrap();
    for (name, raw, length) in disks(dir.path()) {
        let path = written(&raw, Format::RawZst, &Options::default());
        reads_alike(&raw, &path);
        if length < 1 << 30 {
            let back = raw.with_extension("back");
            run(Command::new("zstd").args(["-q", "-d", "-f"]).arg(&path).arg("-o").arg(&back));
            run(Command::new("cmp").arg(&raw).arg(&back));
        } else {
            assert_eq!(name, "far");
            run(Command::new("zstd").args(["-q", "-t"]).arg(&path));
        }
    }
}

#[test]
fn files_are_told_by_their_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (_, raw, _) = disks(dir.path()).remove(2);
    for (format, container) in [
        (Format::Raw, Container::Raw),
        (Format::RawZst, Container::SeekableZst),
        (Format::Qcow2, Container::Qcow2),
        (Format::Vmdk, Container::Vmdk),
        (Format::Vhd, Container::Vhd),
        (Format::Ova, Container::Tar),
        (Format::Box, Container::Tar),
        (Format::GceTar, Container::Gz),
    ] {
        assert_eq!(Format::named(format.name()), Some(format));
        let path = dir.path().join("any");
        convert(&*disk(&raw), format, create(&path), &Options::default(), threads(1)).unwrap();
        let bytes = fs::read(&path).unwrap();
        let most = bytes.len().min(PROBE);
        assert_eq!(detect(&bytes[..most], &bytes[bytes.len() - most..]), container);
    }
}

/// Patches of bytes.
fn patches<'a>(rows: &'a [(u64, Vec<u8>)]) -> Vec<Patch<'a>> {
    let patch = |(start, bytes): &'a (u64, Vec<u8>)| Patch {
        start: *start,
        length: bytes.len() as u64,
        pour: Box::new(move |sink: &mut dyn Sink| sink.data(bytes)),
    };
    rows.iter().map(patch).collect()
}

#[test]
fn a_customised_qcow2_is_the_patched_disk_and_keeps_compressed_clusters() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let (noise, text) = (random.bytes(200_000), TEXT.repeat(5000));
    let variants: [(&str, &[&str]); 5] = [
        ("compat=0.10", &["-c"]),
        ("compat=1.1", &[]),
        ("compat=1.1,compression_type=zstd", &["-c"]),
        ("cluster_size=4k", &["-c"]),
        ("cluster_size=2M", &["-c"]),
    ];
    for (name, raw, length) in disks(dir.path()) {
        for (option, flags) in variants {
            let source = dir.path().join("source.qcow2");
            let out = dir.path().join("out.qcow2");
            let mut command = Command::new("qemu-img");
            run(command
                .args(["convert", "-O", "qcow2", "-f", "raw", "-o", option])
                .args(flags)
                .arg(&raw)
                .arg(&source));
            let grown = length.next_multiple_of(512) + 3_000_000;
            // In the middle of clusters, next to each other, of zeros, and at the new end.
            let mut rows = vec![(grown - 512, noise[..512].to_vec())];
            if length > 600_000 {
                rows.extend([
                    (0, noise[..17_408].to_vec()),
                    (17_408, text[..1000].to_vec()),
                    (100_000, noise.clone()),
                    (400_000, vec![0; 131_072]),
                    (length - 7, text[..70_000].to_vec()),
                ]);
            }
            let image =
                Arc::new(qcow2::Image::open(Arc::new(File::open(&source).unwrap()), "source").unwrap());
            qcow2::customise(&image, grown, patches(&rows), create(&out), threads(5)).unwrap();
            let expected = dir.path().join("expected.raw");
            run(Command::new("cp").arg("--sparse=always").arg(&raw).arg(&expected));
            let file = File::options().write(true).open(&expected).unwrap();
            file.set_len(grown.next_multiple_of(512)).unwrap();
            rows.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
            qemu_agrees(&expected, &out, "qcow2");
            reads_alike(&expected, &out);
            if name == "mixed" && option == "compat=0.10" {
                // Patched places alone are written anew: 700 kB at most.
                let (before, after) = (fs::read(&source).unwrap(), fs::read(&out).unwrap());
                let blocks: std::collections::HashSet<&[u8]> = after.chunks(4096).collect();
                let kept = before.chunks(4096).filter(|block| blocks.contains(block)).count() * 4096;
                assert!(kept + 800_000 > before.len(), "{kept} of {} bytes are kept", before.len());
                assert!(after.len() < before.len() + 900_000);
            }
        }
    }
}

#[test]
fn patches_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, raw, length) = disks(dir.path()).remove(3);
    let path = written(&raw, Format::Qcow2, &Options::default());
    let image = Arc::new(qcow2::Image::open(Arc::new(File::open(&path).unwrap()), "source").unwrap());
    let out = dir.path().join("out");
    let length = length.next_multiple_of(512);
    for (length, rows) in [
        (length - 1, vec![]),
        (length, vec![(0, vec![1; 600]), (599, vec![1; 2])]),
        (length, vec![(length - 1, vec![1; 2])]),
        (length, vec![(u64::MAX, vec![1; 2])]),
    ] {
        assert!(qcow2::customise(&image, length, patches(&rows), create(&out), threads(1)).is_err());
    }
    let short = Patch { start: 0, length: 3, pour: Box::new(|sink: &mut dyn Sink| sink.data(&[1; 2])) };
    assert!(qcow2::customise(&image, length, vec![short], create(&out), threads(1)).is_err());
}

/// Reads all that can be read of a file: at random and poured, up to 256 MiB.
fn read_all(path: &Path) -> bool {
    let Ok(disk) = open(File::open(path).unwrap(), "damaged") else { return false };
    let length = disk.length();
    let mut at = 0;
    for _ in 0..2000 {
        if at >= length {
            break;
        }
        let piece = disk.piece(at);
        assert!(piece.start <= at && at < piece.end && piece.end <= length);
        at = piece.end;
    }
    let mut buffer = [0; 5000];
    for at in [0, length / 2, length.saturating_sub(5000)] {
        let _ = disk.read_at(&mut buffer, at);
    }
    disk.pour(0..length.min(256 << 20), threads(2), &mut Nothing).is_ok()
}

#[test]
fn damaged_files_neither_panic_nor_hang() {
    let dir = tempfile::tempdir().unwrap();
    let (_, raw, _) = disks(dir.path()).remove(5);
    let mut random = Random(4);
    let path = dir.path().join("damaged");
    let mut failed = 0;
    for (format, packing) in [
        (Format::Qcow2, Packing::Deflate(1)),
        (Format::Qcow2, Packing::Zstd(1)),
        (Format::Qcow2, Packing::Plain),
        (Format::Vmdk, Packing::Plain),
        (Format::Vhd, Packing::Plain),
        (Format::RawZst, Packing::Plain),
    ] {
        let small = dir.path().join("small.raw");
        fs::write(&small, &fs::read(&raw).unwrap()[..512 * 700]).unwrap();
        let qcow2 = qcow2::Options { packing, bits: 12 };
        let sound = fs::read(written(&small, format, &Options { qcow2, ..Options::default() })).unwrap();
        for _ in 0..150 {
            let mut bytes = sound.clone();
            for _ in 0..=random.next() % 4 {
                // Headers, tables and footers are at the ends.
                let near = [120, 512, 20_000, bytes.len() as u64][(random.next() % 4) as usize]
                    .min(bytes.len() as u64);
                let at = (random.next() % near) as usize;
                let at = if random.next().is_multiple_of(2) { at } else { bytes.len() - 1 - at };
                let values = [0, 0xff, bytes[at] ^ 1 << (random.next() % 8), random.next() as u8];
                bytes[at] = values[(random.next() % 4) as usize];
            }
            if random.next().is_multiple_of(5) {
                bytes.truncate((random.next() % bytes.len() as u64) as usize);
            }
            fs::write(&path, &bytes).unwrap();
            failed += usize::from(!read_all(&path));
        }
    }
    assert!(failed > 200, "only {failed} of 900 were found damaged");
}

#[test]
fn a_disk_of_another_length_than_announced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for format in
        [Format::Qcow2, Format::Vmdk, Format::Vhd, Format::Ova, Format::Box, Format::GceTar, Format::RawZst]
    {
        for given in [1 << 20, 3 << 20] {
            let out = create(&dir.path().join("out"));
            let options = Options::default();
            let mut writer =
                prebake::format::disk::Writer::new(format, out, 2 << 20, &options, threads(2)).unwrap();
            writer.data(&vec![7; given]).unwrap();
            assert!(writer.finish().is_err(), "{format:?} with {given} bytes");
        }
    }
}

#[test]
fn a_full_device_is_an_error() {
    let mut bytes = Vec::new();
    File::open("/dev/urandom").unwrap().take(4 << 20).read_to_end(&mut bytes).unwrap();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut writer =
        prebake::format::disk::vmdk::Writer::new(full(), 4 << 20, "disk", &[0; 16], 1, threads(2));
    let result = writer.as_mut().map(|writer| writer.data(&bytes));
    assert!(!matches!(result, Ok(Ok(()))));
}
