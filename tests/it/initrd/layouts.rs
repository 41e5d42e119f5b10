//! `prebake initrd` and the layouts, against GNU cpio and the real compressors.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use prebake::base::digest::Sha256;
use prebake::format::cpio;
use prebake::format::tree::{Contents, Entry, Tree};
use prebake::initrd::Error;
use prebake::initrd::extract::{self, extract};
use prebake::initrd::inject::{self, Target};
use prebake::initrd::segments::Limits;
use prebake::initrd::show::{Shown, What, contents, show};
use prebake::tree::manifest::Manifest;

use crate::judges::properties;
use crate::world::http::{Server, get, head};
use crate::world::{Run, VERSION, World};

pub const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";

/// A directory to work in.
struct Desk(TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn prebake(&self, args: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        Run::of(
            command.args(args).current_dir(self.0.path()).env_remove("SOURCE_DATE_EPOCH").output().unwrap(),
        )
    }
}

/// What a tool makes of bytes.
pub fn through(command: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_owned();
    let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// Every compression that prebake reads, by the tool that makes it.
const READ: [(&str, &[&str]); 5] = [
    ("plain", &["cat"]),
    ("gzip", &["gzip", "-n"]),
    ("zstd", &["zstd", "-q"]),
    ("xz", &["xz", "--check=crc32"]),
    ("lzma", &["lzma"]),
];

/// An archive of one file of this name and content.
pub fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.insert(name, Entry::file(0o644, Contents::Bytes(content.to_vec()), "test")).unwrap();
    let mut bytes = Vec::new();
    cpio::write(&tree, 0, &mut bytes).unwrap();
    bytes
}

/// A gzipped base whose length leaves `rest` over a multiple of four.
fn base(rest: usize) -> Vec<u8> {
    let sizes = 0..;
    let made = sizes.map(|size| through(&["gzip", "-n"], &archive("usr.squashfs", &noise(size))));
    made.into_iter().find(|bytes| bytes.len() % 4 == rest).unwrap()
}

pub fn noise(size: usize) -> Vec<u8> {
    (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn look(bytes: &[u8]) -> (Shown, Option<Error>) {
    contents("x".as_ref(), Cursor::new(bytes), bytes.len() as u64, Limits::default())
}

/// One of 1,000 injected faults: a stage that could not be removed after all had gone well stayed beside what it had become, for
/// the next run found that there and swept nothing.
#[test]
fn what_an_earlier_extraction_left_beside_its_directory_goes_also_where_there_is_nothing_to_do() {
    let world = World::new();
    let cpio =
        Command::new("sh").args(["-c", "printf '%s\\n' . | cpio --quiet -o -H newc"]).output().unwrap();
    fs::write(world.path("an.cpio"), cpio.stdout).unwrap();
    world.prebake(&["initrd", "extract", "an.cpio", "-C", "out"]).ok();
    fs::write(world.path("out/file"), "").unwrap();
    fs::create_dir(world.path(".prebake-00000000-left")).unwrap();
    world
        .prebake(&["initrd", "extract", "an.cpio", "-C", "out"])
        .fails(1, &["out exists", "choose another name"]);
    assert!(!world.path(".prebake-00000000-left").exists());
}

#[test]
fn archives_of_every_compression_are_found_where_their_tools_put_them() {
    let mut whole = Vec::new();
    let mut expected = Vec::new();
    // Each after each, in the file of one and in that of another, with zeros where the kernel wants them.
    for (name, tool) in READ.iter().chain(READ.iter().rev()) {
        whole.resize(whole.len().next_multiple_of(4), 0);
        let bytes = through(tool, &archive(&format!("dir/{name}"), &noise(100_000)));
        expected.push(((*name).to_owned(), whole.len() as u64, bytes.len() as u64));
        whole.extend(bytes);
    }
    let (shown, fault) = look(&whole);
    assert!(fault.is_none(), "{fault:?}");
    let archives = shown.parts.iter().filter(|part| part.what == What::Archive);
    let found: Vec<_> = archives
        .map(|part| {
            assert_eq!(part.members, Some(2));
            let name = part.compression.map_or("plain", |compression| compression.name());
            (name.to_owned(), part.offset, part.length)
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(shown.members.len(), 2 * expected.len());
}

#[test]
fn compressed_archives_follow_each_other_at_any_byte_and_several_lie_in_one_stream() {
    let two = [archive("a", b"1"), vec![0; 512], archive("b", b"2")].concat();
    let gzip = through(&["gzip", "-n"], &two);
    let zstd = through(&["zstd", "-q"], &archive("c", b"3"));
    for zeros in [0, 1, 2, 3, 1000] {
        let whole = [gzip.clone(), vec![0; zeros], zstd.clone(), vec![0; zeros]].concat();
        let (shown, fault) = look(&whole);
        assert!(fault.is_none(), "{fault:?}");
        let names: Vec<&str> = shown.members.iter().map(|row| row.path.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}

#[test]
fn gnu_cpio_lists_and_unpacks_what_was_written_hard_links_included() {
    let desk = Desk::new();
    let image = desk.write("image", "the same bytes");
    let mut tree = Tree::new();
    tree.insert("m/middle", Entry::file(0o644, Contents::on_disk(&image).unwrap(), "test")).unwrap();
    for name in ["z/last", "a/first"] {
        tree.link(name, "m/middle", "test").unwrap();
    }
    tree.insert("other", Entry::file(0o755, Contents::on_disk(&image).unwrap(), "test")).unwrap();
    tree.insert("link", Entry::symlink("a/first", "test")).unwrap();
    let mut bytes = Vec::new();
    let length = cpio::write(&tree, 7, &mut bytes).unwrap();
    assert_eq!(length, bytes.len() as u64);
    let body = b"the same bytes";
    let bodies = bytes.windows(body.len()).filter(|window| window == body).count();
    assert_eq!(bodies, 2, "once for each file");
    let listed = String::from_utf8(through(&["cpio", "-t", "--quiet"], &bytes)).unwrap();
    let names: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);

    desk.write("x.cpio", &bytes);
    fs::create_dir(desk.path("theirs")).unwrap();
    let script = "cd theirs && cpio -id --quiet < ../x.cpio";
    assert!(Command::new("sh").args(["-c", script]).current_dir(desk.path("")).status().unwrap().success());
    extract(&desk.path("x.cpio"), &desk.path("ours"), extract::Options::default()).unwrap();
    for side in ["theirs", "ours"] {
        let inode = |name: &str| fs::metadata(desk.path(side).join(name)).unwrap().ino();
        assert_eq!(inode("a/first"), inode("z/last"), "{side}");
        assert_eq!(inode("a/first"), inode("m/middle"), "{side}");
        assert_ne!(inode("a/first"), inode("other"), "{side}");
        for name in ["a/first", "other", "link"] {
            assert_eq!(fs::read(desk.path(side).join(name)).unwrap(), body, "{side}/{name}");
        }
        let mode = fs::metadata(desk.path(side).join("other")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}

#[test]
fn an_injection_is_base_zeros_overlay_and_record_and_comes_off_byte_for_byte() {
    let desk = Desk::new();
    desk.write("config.ign", r#"{"ignition":{"version":"3.3.0"}}"#);
    desk.write("note", "one");
    let what = ["--ignition", "config.ign", "--file", "usr/share/oem/note=note:0600"];
    for rest in 0..4 {
        let base = base(rest);
        desk.write("base", &base);
        let run = |verb: &[&str]| desk.prebake(&[&["initrd"], verb].concat()).ok();
        run(&[&["inject", "--overlay-only", "-o", "overlay", "--force"], &what[..]].concat());
        run(&[&["inject", "base", "-o", "joined", "--force"], &what[..]].concat());
        let joined = desk.read("joined");
        let start = [base.clone(), vec![0; 4 + (4 - rest) % 4], desk.read("overlay")].concat();
        assert_eq!(joined[..start.len()], start);

        // Twice is once, and something else takes its place.
        run(&[&["inject", "joined", "-o", "again", "--force"], &what[..]].concat());
        assert_eq!(desk.read("again"), joined);
        let said =
            run(&["inject", "again", "-o", "again", "--force", "--file", "usr/share/oem/x=note"]).stdout;
        assert!(said.contains("replacing an earlier injection"), "{said}");
        let members = String::from_utf8(through(
            &["cpio", "-t", "--quiet"],
            &desk.read("again")[start.len() - desk.read("overlay").len()..],
        ))
        .unwrap();
        assert_eq!(members, "usr\nusr/share\nusr/share/oem\nusr/share/oem/x\n");
        for file in ["joined", "again"] {
            let said = run(&["remove", file, "-o", "off", "--force"]).stdout;
            assert_eq!(desk.read("off"), base);
            assert!(said.contains(&Sha256::of(&base).to_string()), "{said}");
        }
        let (shown, fault) = look(&joined);
        assert!(fault.is_none() && shown.findings.is_empty(), "{fault:?} {:?}", shown.findings);
    }
}

/// Counts what is read of a file.
struct Counting<'c>(File, &'c mut u64);

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        *self.1 += read as u64;
        Ok(read)
    }
}

impl Seek for Counting<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// The note of issue 15: what is injected was not looked through.
#[test]
fn secrets_that_are_put_into_an_initrd_are_told() {
    let desk = Desk::new();
    desk.write("base", base(1));
    desk.write("app.env", "A=1\nDB_PASSWORD=S3same!ouvre\n");
    let file = ["--file", "etc/app.env=app.env"];
    for how in [&["base"][..], &["--overlay-only"]] {
        let run =
            desk.prebake(&[&["initrd", "inject"], how, &["-o", "joined", "--force"], &file[..]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let told = "a password is in `/etc/app.env`: everybody who gets this initrd can read it";
        assert_eq!(run.stderr.matches(told).count(), 1, "{how:?}: {}", run.stderr);
        assert!(!run.stderr.contains("S3same"), "{}", run.stderr);
    }
}

#[test]
fn showing_a_large_injected_initrd_reads_its_headers_and_no_more() {
    let desk = Desk::new();
    let base = desk.write("base", base(1));
    // A hole of 64 MiB behind the first archive; kernels pass over zeros.
    File::options().write(true).open(&base).unwrap().set_len((64 << 20) + 1).unwrap();
    let image = desk.write("image", noise(1 << 20));
    let mut tree = Tree::new();
    for n in 0..20 {
        let entry = Entry::file(0o644, Contents::Bytes(fs::read(&image).unwrap()), "test");
        tree.insert(&format!("usr/share/oem/sysext/{n}.raw"), entry).unwrap();
    }
    let target = Target { path: desk.path("joined"), force: false };
    let done = inject::inject(&base, &tree, 0, &target).unwrap();
    let file = File::open(&target.path).unwrap();
    let size = file.metadata().unwrap().len();
    assert_eq!(size, done.seal.file_length());
    let mut read = 0;
    let shown = show(&target.path, Counting(file, &mut read), size).unwrap();
    assert_eq!(shown.members.len(), 4 + 20);
    assert_eq!(shown.base_sha256, Some(Sha256::of(&fs::read(&base).unwrap())));
    let parts: Vec<_> = shown.parts.iter().map(|part| (part.what, part.offset, part.length)).collect();
    let overlay = done.seal.overlay_offset();
    let seal = overlay + done.seal.overlay_length;
    assert_eq!(
        parts,
        [
            (What::Base, 0, (64 << 20) + 1),
            (What::Padding, (64 << 20) + 1, 7),
            (What::Overlay, overlay, done.seal.overlay_length),
            (What::Seal, seal, size - seal),
        ]
    );
    assert!(read < 20_000, "{read} bytes were read of {size}");
}

#[test]
fn sysexts_certificates_and_images_go_where_flatcar_finds_them_and_no_url_is_named() {
    let world = World::new();
    world.build();
    fs::copy(
        world.path("output/small/current/assets/sysext/hello/hello-1-x86-64.raw"),
        world.path("hello-1-x86-64.raw"),
    )
    .unwrap();
    fs::write(world.path("site.pem"), "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n")
        .unwrap();
    fs::write(world.path("pause.tar"), "an archive").unwrap();
    let args = "initrd inject --overlay-only -o o.cpio --ignition recipes/worker.ign --sysext hello-1-x86-64.raw --ca site.pem --image pause.tar";
    world.prebake(&args.split(' ').collect::<Vec<_>>()).ok();
    world.prebake(&["initramfs", "extract", "o.cpio", "-C", "out"]).ok();
    let oem = world.path("out/usr/share/oem");
    // The name is the one in the image, not that of the file.
    assert!(oem.join("sysext/hello.raw").is_file());
    assert_eq!(fs::read(oem.join("images/pause.tar")).unwrap(), b"an archive");
    let text = fs::read_to_string(oem.join("config.ign")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let link = &config["storage"]["links"][0];
    assert_eq!(
        (link["path"].as_str(), link["target"].as_str()),
        (Some("/etc/extensions/hello.raw"), Some("/oem/sysext/hello.raw"))
    );
    let files: Vec<_> = config["storage"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["/etc/ssl/certs/site.pem", "/etc/role"]);
    let authority =
        config["ignition"]["security"]["tls"]["certificateAuthorities"][0]["source"].as_str().unwrap();
    assert!(authority.starts_with("data:;base64,LS0tLS1CRUdJTi"), "{authority}");
    assert!(!text.contains("http"), "{text}");
}

// rdbo/sigma-linux#43, rear/rear#1290: "no cpio archive begins in it" was all that was said.
#[test]
fn what_is_no_initrd_is_called_by_its_name_by_show_and_inject() {
    let desk = Desk::new();
    let plain = archive("a", b"contents");
    fs::create_dir(desk.path("tree")).unwrap();
    desk.write("tree/file", "contents");
    let in_tree = |script: &str| {
        let output =
            Command::new("sh").args(["-euc", script]).current_dir(desk.path("tree")).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        output.stdout
    };
    let at = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0x11; 40_000];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    };
    let tar = in_tree("tar -cf - .");
    let squashfs =
        in_tree("mksquashfs . ../image -noappend -quiet -no-progress >/dev/null; cat ../image; rm ../image");
    for (bytes, words) in [
        (
            through(&["xz", "--check=crc64"], &plain),
            &["it is xz with CRC-64, but the kernel supports only CRC-32", "xz --check=crc32"][..],
        ),
        (in_tree("find . | cpio --quiet -o -H odc"), &["old portable format (odc)", "cpio -o -H newc"]),
        (in_tree("find . | cpio --quiet -o -H bin"), &["old binary format"]),
        (through(&["lz4", "-q", "-"], &plain), &["an lz4 frame", "lz4 -l"]),
        (at(32_769, b"CD001"), &["an ISO 9660 image"]),
        (squashfs, &["a squashfs image", "mount the image"]),
        (fs::read(env!("CARGO_BIN_EXE_prebake")).unwrap()[..70_000].to_vec(), &["a program (ELF)"]),
        (at(514, b"HdrS"), &["a Linux kernel", "name the initrd"]),
        (tar.clone(), &["a tar archive"]),
        (b"<!DOCTYPE html><title>404</title>".to_vec(), &["a web page"]),
        (through(&["gzip", "-n"], &tar), &["the compressed content is a tar archive"]),
        (through(&["zstd", "-q"], b"{\"ignition\": {}}"), &["the compressed content is a JSON text"]),
    ] {
        desk.write("it", &bytes);
        for args in [
            &["show", "it"][..],
            &["show", "--contents", "it"],
            &["inject", "it", "-o", "out", "--file", "a=it"],
            &["extract", "it", "-C", "into"],
        ] {
            let run = desk.prebake(&[&["initrd"], args].concat());
            assert_eq!(run.code, Some(4), "{args:?} {words:?}: {}", run.stderr);
            assert!(run.stderr.contains("it is not an initrd: "), "{args:?}: {}", run.stderr);
            for word in words {
                assert!(run.stderr.contains(word), "{args:?}: no {word:?} in {}", run.stderr);
            }
            assert!(!desk.path("out").exists());
        }
    }
}

// flatcar/Flatcar#994, Limine-Bootloader/Limine#599: the kernel stops before the overlay, and nobody said so.
#[test]
fn nothing_is_injected_into_a_base_at_which_the_kernel_stops() {
    let desk = Desk::new();
    desk.write("note", "note");
    let plain = archive("a", b"contents");
    let packed = through(&["gzip", "-n"], &archive("usr.squashfs", &noise(5000)));
    let without_trailer = &plain[..plain.len() - 124];
    assert!(plain[plain.len() - 124..].starts_with(b"070701"));
    for (base, words) in [
        ([&packed[..], b"garbage"].concat(), "neither an archive nor compressed data begins there"),
        ([&plain[..], &[0; 4], b"garbage!"].concat(), "neither an archive nor compressed data begins there"),
        (packed[..packed.len() - 20].to_vec(), "incomplete deflate stream"),
        (packed[..packed.len() - 4].to_vec(), "the gzip archive at byte 0 is damaged"),
        (through(&["gzip", "-n"], without_trailer), "is not an intact cpio archive"),
        (without_trailer.to_vec(), "is not an intact cpio archive"),
        ([&plain[..], &[0; 2], &plain[..]].concat(), "must begin at a multiple of four"),
        ([&packed[..], &through(&["xz", "--check=crc64"], &plain)[..]].concat(), "it is xz with CRC-64"),
    ] {
        desk.write("base", &base);
        let run = desk.prebake(&["initrd", "inject", "base", "-o", "out", "--file", "a=note"]);
        assert_eq!(run.code, Some(4), "{words}: {}", run.stderr);
        assert!(run.stderr.contains("anything injected into base would be lost"), "{}", run.stderr);
        assert!(run.stderr.contains(words), "no {words:?} in {}", run.stderr);
        assert!(!desk.path("out").exists());
        let shown = desk.prebake(&["initrd", "show", "--contents", "base"]);
        assert_eq!(shown.code, Some(4), "show says the same: {}", shown.stderr);
    }
    // What only the kernel unpacks may be sound: a warning.
    desk.write("base", through(&["lz4", "-l", "-q", "-"], &plain));
    let run = desk.prebake(&["initrd", "inject", "base", "-o", "out", "--file", "a=note"]).ok();
    assert!(run.stderr.contains("warning: cannot tell whether the kernel would find"), "{}", run.stderr);
}

// The kernel takes any bytes but zero for a name (init/initramfs.c).
#[test]
fn names_that_are_not_utf8_are_shown_and_extracted_byte_for_byte() {
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let name = std::ffi::OsStr::from_bytes(b"d\xfcr/f\xe9.txt");
    fs::create_dir_all(desk.path("tree").join(name).parent().unwrap()).unwrap();
    fs::write(desk.path("tree").join(name), "latin").unwrap();
    let link = desk.path("tree").join(std::ffi::OsStr::from_bytes(b"l\xefnk"));
    std::os::unix::fs::symlink(name, link).unwrap();
    let script = "find . | cpio --quiet -o -H newc";
    let output = Command::new("sh").args(["-euc", script]).current_dir(desk.path("tree")).output().unwrap();
    desk.write("base", through(&["gzip", "-n"], &output.stdout));
    desk.write("note", "note");
    desk.prebake(&["initrd", "inject", "base", "-o", "out", "--file", "usr/share/oem/a=note"]).ok();
    let shown = desk.prebake(&["initrd", "show", "--contents", "out"]).ok();
    assert!(shown.stdout.contains("f\u{fffd}.txt"), "{}", shown.stdout);
    desk.prebake(&["initrd", "extract", "out", "-C", "into"]).ok();
    assert_eq!(fs::read(desk.path("into").join(name)).unwrap(), b"latin");
    let link = desk.path("into").join(std::ffi::OsStr::from_bytes(b"l\xefnk"));
    assert_eq!(fs::read_link(link).unwrap(), std::path::Path::new(name));
}

/// What a person gets wrong, how the run ends, and what it says.
type Flaw = (&'static str, &'static [&'static str], i32, &'static [&'static str]);

const FLAWS: [Flaw; 18] = [
    ("text", &["inject", "text", "-o", "out", "--file", "a=note"], 4, &["text is not an initrd", "hint:"]),
    (
        "empty",
        &["inject", "empty", "-o", "out", "--file", "a=note"],
        4,
        &["empty is not an initrd: it is empty, or contains only zeros"],
    ),
    (
        "gzipped text",
        &["inject", "text.gz", "-o", "out", "--file", "a=note"],
        4,
        &["the compressed content is not a cpio archive in newc format"],
    ),
    (
        "directory",
        &["inject", ".", "-o", "out", "--file", "a=note"],
        2,
        &[". is a directory", "with --profile"],
    ),
    ("missing", &["inject", "absent", "-o", "out", "--file", "a=note"], 1, &["cannot read absent"]),
    ("nothing to inject", &["inject", "base", "-o", "out"], 2, &["required"]),
    ("there already", &["inject", "base", "-o", "note", "--file", "a=note"], 1, &["note exists", "--force"]),
    (
        "one path twice",
        &["inject", "base", "-o", "out", "--file", "a=note", "--file", "a=text"],
        3,
        &["`a` comes from note and again from text"],
    ),
    (
        "climbing out",
        &["inject", "base", "-o", "out", "--file", "../a=note"],
        3,
        &["`../a`", "not a path inside"],
    ),
    (
        "no certificate",
        &["inject", "base", "-o", "out", "--ca", "note"],
        3,
        &["note: it contains no PEM certificate"],
    ),
    ("invalid config", &["inject", "base", "-o", "out", "--ignition", "bad.ign"], 3, &["bad.ign:1:"]),
    (
        "nothing injected",
        &["remove", "base", "-o", "out"],
        1,
        &["base does not end with an injection", "initrd show"],
    ),
    ("appended", &["remove", "appended", "-o", "out"], 4, &["3 bytes were appended", "head -c"]),
    (
        "appended, again",
        &["inject", "appended", "-o", "out", "--file", "a=note"],
        4,
        &["3 bytes were appended"],
    ),
    (
        "changed base",
        &["remove", "changed", "-o", "out"],
        4,
        &["the base was changed after the injection", " instead of "],
    ),
    (
        "changed base, again",
        &["inject", "changed", "-o", "out", "--file", "a=note"],
        4,
        &["the base was changed"],
    ),
    ("cut at the start", &["show", "beheaded"], 4, &["the file has", "but its record states"]),
    ("into a full directory", &["extract", "base", "-C", "."], 1, &[". exists"]),
];

#[test]
fn each_flaw_is_an_error_that_names_the_file_and_leaves_nothing_behind() {
    let desk = Desk::new();
    desk.write("base", base(3));
    desk.write("note", "note");
    desk.write("text", "some text");
    desk.write("empty", [0; 64]);
    desk.write("bad.ign", r#"{"ignition":{"version":"9.9.9"}}"#);
    desk.write("text.gz", through(&["gzip", "-n"], b"no archive, but long enough for a header"));
    desk.prebake(&["initrd", "inject", "base", "-o", "good", "--file", "usr/share/oem/a=note"]).ok();
    let good = desk.read("good");
    desk.write("appended", [&good[..], b"abc"].concat());
    desk.write("beheaded", &good[4..]);
    let mut changed = good.clone();
    changed[30] ^= 1;
    desk.write("changed", &changed);
    let before = fs::read_dir(desk.path("")).unwrap().count();
    for (flaw, args, code, said) in FLAWS {
        let run = desk.prebake(&[&["initrd"], args].concat());
        assert_eq!(run.code, Some(code), "{flaw}: {}", run.stderr);
        for words in said {
            assert!(run.stderr.contains(words), "{flaw}: {words:?} is not in\n{}", run.stderr);
        }
        assert!(!desk.path("out").exists(), "{flaw}");
        assert_eq!(fs::read_dir(desk.path("")).unwrap().count(), before, "{flaw} left something behind");
    }
    assert_eq!(desk.read("note"), b"note");
}

#[test]
fn what_the_kernel_would_lose_is_told_with_its_byte() {
    let plain = archive("a", b"1");
    let gzip = base(1);
    let cases = [
        ([gzip.clone(), plain.clone()].concat(), gzip.len(), "must begin at a multiple of four"),
        ([plain.clone(), vec![0], gzip.clone()].concat(), plain.len() + 1, "after a plain archive"),
        ([plain.clone(), through(&["xz", "--check=crc64"], &plain)].concat(), plain.len(), "CRC-64"),
        ([plain.clone(), through(&["xz", "--check=sha256"], &plain)].concat(), plain.len(), "SHA-256"),
        ([plain.clone(), b"junk".to_vec()].concat(), plain.len(), "neither an archive nor"),
    ];
    for (bytes, at, why) in cases {
        let (shown, fault) = look(&bytes);
        let Some(Error::Lost { offset, why: said, .. }) = fault else { panic!("{why}: {fault:?}") };
        assert_eq!(offset, at as u64, "{why}");
        assert!(said.contains(why), "{said}");
        assert_eq!(
            shown.parts.iter().filter(|part| part.what == What::Archive).count(),
            1,
            "what comes before"
        );
    }
    for (tool, name) in [(&["bzip2"][..], "bzip2"), (&["lz4", "-l"][..], "lz4")] {
        let bytes = [plain.clone(), through(tool, &plain)].concat();
        let Some(Error::Unreadable { offset, compression, .. }) = look(&bytes).1 else { panic!("{name}") };
        assert_eq!((offset, compression.name()), (plain.len() as u64, name));
    }
    let old =
        through(&["sh", "-c", "d=$(mktemp -d) && cd $d && : > x && echo x | cpio -o -H odc --quiet"], b"");
    let Some(Error::Lost { why, .. }) = look(&[plain, old].concat()).1 else { panic!() };
    assert!(why.contains("old portable format"), "{why}");
}

#[test]
fn damaged_and_truncated_archives_are_told_with_what_they_are() {
    for (name, tool) in READ {
        let whole = through(tool, &archive("a", &noise(50_000)));
        for length in [whole.len() / 2, whole.len() - 1] {
            let (_, fault) = look(&whole[..length]);
            let fault = fault.unwrap_or_else(|| panic!("{name} cut at {length}"));
            assert!(matches!(fault, Error::Damaged { .. } | Error::Cpio(_)), "{name}: {fault:?}");
        }
    }
    let desk = Desk::new();
    let mut bytes = through(&["gzip", "-n"], &archive("a", &noise(50_000)));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    desk.write("x.gz", bytes);
    let run = desk.prebake(&["initrd", "show", "--contents", "x.gz"]);
    assert_eq!(run.code, Some(4));
    assert!(
        run.stderr.contains("x.gz") && run.stderr.contains("byte 0") && run.stderr.contains("hint: "),
        "{}",
        run.stderr
    );
}

#[test]
fn a_disk_that_takes_no_more_leaves_nothing_under_the_final_name() {
    let desk = Desk::new();
    desk.write("base", base(0));
    desk.write("large", noise(1 << 20));
    // A limit on the size of files stands in for a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 100; exec {} initrd inject base -o out --file usr/share/oem/x=large",
        env!("CARGO_BIN_EXE_prebake")
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(desk.path("")).output().unwrap();
    let run = Run::of(output);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("cannot write") && run.stderr.contains("File too large"), "{}", run.stderr);
    let mut names: Vec<_> =
        fs::read_dir(desk.path("")).unwrap().map(|item| item.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["base", "large"]);
}

/// A member with any type, mode and name, which no tree would hold.
fn raw(name: &str, mode: u32, ino: u32, nlink: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = ::cpio::newc::Builder::new(name).mode(mode).ino(ino).nlink(nlink);
    let mut writer = header.write(&mut bytes, body.len() as u32);
    writer.write_all(body).unwrap();
    writer.finish().unwrap();
    bytes
}

fn ended(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    ::cpio::newc::trailer(&mut bytes).unwrap();
    bytes
}

#[test]
fn nothing_is_extracted_outside_of_the_directory() {
    let desk = Desk::new();
    desk.write("victim", "untouched");
    fs::set_permissions(desk.path("victim"), fs::Permissions::from_mode(0o600)).unwrap();
    let outside = desk.path("victim").display().to_string();
    let parent = desk.path("").display().to_string();
    let (file, link, dir) = (0o100_644, 0o120_777, 0o040_755);
    let archives = [
        // Through a link to the outside, absolute and relative.
        ended(&[raw("out", link, 1, 1, parent.as_bytes()), raw("out/victim", file, 2, 1, b"x")]),
        ended(&[raw("out", link, 1, 1, b".."), raw("out/victim", file, 2, 1, b"x")]),
        // Over a link at the very name.
        ended(&[raw("victim", link, 1, 1, outside.as_bytes()), raw("victim", file, 2, 1, b"x")]),
        // A hard link to what became a symbolic one: neither its bytes nor its mode may go through.
        ended(&[
            raw("a", file, 1, 2, b""),
            raw("a", link, 3, 1, outside.as_bytes()),
            raw("b", 0o100_777, 1, 2, b""),
        ]),
        ended(&[
            raw("a", file, 1, 2, b""),
            raw("a", link, 3, 1, outside.as_bytes()),
            raw("b", file, 1, 2, b"x"),
        ]),
        ended(&[raw("/absolute", file, 1, 1, b"x"), raw("./dot/", dir, 2, 2, b"")]),
    ];
    for (n, bytes) in archives.iter().enumerate() {
        desk.write("x.cpio", bytes);
        let _ = extract(&desk.path("x.cpio"), &desk.path(&format!("in{n}")), extract::Options::default());
        assert_eq!(desk.read("victim"), b"untouched", "{n}");
        let mode = fs::metadata(desk.path("victim")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{n}");
    }
    // As below `/` of a machine: the directory is the root of what is unpacked.
    assert_eq!(fs::read(desk.path("in1/victim")).unwrap(), b"x");
    assert_eq!(fs::read(desk.path("in2/victim")).unwrap(), b"x");
    assert_eq!(fs::read(desk.path("in5/absolute")).unwrap(), b"x");
    desk.write("x.cpio", ended(&[raw("a/../../victim", file, 1, 1, b"x")]));
    let refused = extract(&desk.path("x.cpio"), &desk.path("dots"), extract::Options::default());
    assert!(matches!(refused, Err(Error::Unsafe { .. })), "{refused:?}");
}

#[test]
fn devices_are_left_out_orphans_are_dropped_as_by_the_kernel_and_bombs_are_stopped() {
    let desk = Desk::new();
    desk.write(
        "x.cpio",
        ended(&[
            raw("null", 0o020_666, 1, 1, b""),
            raw("pipe", 0o010_600, 2, 1, b""),
            raw("no/directory", 0o100_644, 3, 1, b"x"),
            raw("setuid", 0o104_755, 4, 1, b"x"),
        ]),
    );
    let done = extract(&desk.path("x.cpio"), &desk.path("out"), extract::Options::default()).unwrap();
    assert_eq!(done.special, ["null", "pipe"]);
    assert_eq!(done.orphans, ["no/directory"]);
    assert_eq!(done.written, 1);
    let mode = fs::metadata(desk.path("out/setuid")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    let told = desk.prebake(&["initrd", "show", "--contents", "x.cpio"]).ok().stderr;
    assert!(told.contains("no earlier archive creates the directory of `no/directory`"), "{told}");

    desk.write("bomb.gz", through(&["gzip", "-n"], &archive("zeros", &vec![0; 4 << 20])));
    let run = desk.prebake(&["initrd", "extract", "bomb.gz", "-C", "boom", "--limit", "1MiB"]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stderr.contains("more than the limit"), "{}", run.stderr);
}

/// A world whose base does not end at a multiple of four.
fn world_of(layout: &str) -> World {
    let world = World::new();
    world.release_file(INITRD, &base(1));
    world.edit(
        "recipes/small.yaml",
        "    kernel_args: [console=ttyS0]\n",
        &format!("    kernel_args: [console=ttyS0]\n    layout: {layout}\n"),
    );
    world
}

fn file(world: &World, path: &str) -> Vec<u8> {
    fs::read(world.path("output/small/current").join(path)).unwrap()
}

#[test]
fn a_single_layout_publishes_one_file_that_every_script_names() {
    let world = world_of("single");
    world.build();
    let joined = file(&world, "assets/initrd/worker.img");
    let base = file(&world, &format!("assets/flatcar/{VERSION}/{INITRD}"));
    let (shown, fault) = look(&joined);
    assert!(fault.is_none(), "{fault:?}");
    let names: Vec<&str> = shown.members.iter().map(|row| row.path.as_str()).collect();
    assert!(names.contains(&"usr.squashfs") && names.contains(&"usr/share/oem/config.ign"), "{names:?}");
    assert_eq!(shown.base_sha256, Some(Sha256::of(&base)));
    for script in ["boot/ipxe/mac-52-54-00-00-00-01.ipxe", "profiles/worker.json"] {
        let text = String::from_utf8(file(&world, script)).unwrap();
        assert!(text.contains("initrd=worker.img") && text.contains("/assets/initrd/worker.img"), "{text}");
        assert!(!text.contains(INITRD) && !text.contains("overlay"), "{text}");
    }
    // The other profile has the default.
    let other = String::from_utf8(file(&world, "profiles/control.json")).unwrap();
    assert!(other.contains(INITRD) && other.contains("overlay/control.cpio"), "{other}");
    world.prebake(&["initrd", "remove", "output/small/current/assets/initrd/worker.img", "-o", "off"]).ok();
    assert_eq!(fs::read(world.path("off")).unwrap(), base);
    crate::judges::matchbox::check_tree(&world.path("output/small/current"));
}

#[test]
fn a_virtual_layout_is_answered_with_the_bytes_of_the_single_one_and_stores_nothing() {
    let single = world_of("single");
    single.build();
    let expected = file(&single, "assets/initrd/worker.img");

    let world = world_of("virtual");
    let warned = world.prebake(&["build", "recipes/small.yaml"]).ok().stderr;
    assert!(
        warned.contains("real Matchbox has no such file") && warned.contains("small.yaml:10:"),
        "{warned}"
    );
    let tree = world.path("output/small/current");
    assert!(!tree.join("assets/initrd").exists());
    let manifest = Manifest::parse("m", &fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let row = &manifest.joined["assets/initrd/worker.img"];
    assert_eq!(row.size, expected.len() as u64);
    assert_eq!(row.parts[1], "assets/overlay/worker.cpio");

    let (_server, address) = Server::prebake(&tree);
    let url = "/assets/initrd/worker.img";
    let whole = get(&address, url, "");
    assert_eq!((whole.status, whole.body), (200, expected.clone()));
    let length = expected.len().to_string();
    let asked = head(&address, url);
    assert_eq!((asked.status, asked.header("content-length")), (200, Some(length.as_str())));
    let etag = asked.header("etag").unwrap().to_owned();
    assert_eq!(get(&address, url, &format!("If-None-Match: {etag}\n")).status, 304);

    // Around the seam, where base, zeros and overlay meet.
    let base = manifest.files[&row.parts[0]].size as usize;
    assert_eq!(base % 4, 1);
    for from in base - 5..base + 12 {
        for to in from..base + 13 {
            let reply = get(&address, url, &format!("Range: bytes={from}-{to}\nIf-Range: {etag}\n"));
            assert_eq!((reply.status, &reply.body[..]), (206, &expected[from..=to]), "{from}-{to}");
        }
    }
    let last = get(&address, url, "Range: bytes=-10\n");
    assert_eq!(last.body, expected[expected.len() - 10..]);
    assert_eq!(get(&address, url, &format!("Range: bytes={length}-\n")).status, 416);
    let parts = get(&address, url, &format!("Range: bytes=0-3,{}-{}\n", base - 1, base + 4));
    let text = parts.body.windows(6).any(|window| window == &expected[base - 1..base + 5]);
    assert!(parts.status == 206 && text);
    let script = get(&address, "/ipxe?mac=52-54-00-00-00-01", "").text();
    assert!(
        script.contains("initrd=worker.img") && script.contains("initrd /assets/initrd/worker.img\n"),
        "{script}"
    );

    // Another config is another initrd.
    world.edit("recipes/worker.ign", "data:,worker", "data:,changed");
    world.build();
    assert_ne!(head(&address, url).header("etag"), Some(etag.as_str()));
}

#[test]
fn a_thousand_overlays_never_cost_a_base() {
    let world = world_of("virtual");
    world.build();
    let base = format!("assets/flatcar/{VERSION}/{INITRD}");
    let object = Sha256::of(&file(&world, &base)).to_string();
    let object = world.path(&format!("store/objects/{}/{}", &object[..2], &object[2..]));
    // Whoever read the base now would fail.
    let length = fs::metadata(&object).unwrap().len();
    fs::remove_file(&object).unwrap();
    File::create(&object).unwrap().set_len(length).unwrap();
    world.edit("recipes/worker.ign", "data:,worker", "data:,changed");
    world.prebake(&["build", "recipes/small.yaml"]).ok();
    let manifest = Manifest::parse("m", &file(&world, "manifest.json")).unwrap();
    let row = &manifest.joined["assets/initrd/worker.img"];
    assert_ne!(manifest.files[&row.parts[0]].sha256, Sha256::of(&vec![0; length as usize]));
}

#[test]
fn an_unknown_layout_and_one_without_a_base_are_findings_where_they_stand() {
    let world = world_of("stacked");
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    assert_eq!(run.code, Some(3));
    assert!(
        run.stderr.contains("`stacked` is not a layout: overlay, single or virtual")
            && run.stderr.contains("small.yaml:10:13"),
        "{}",
        run.stderr
    );
    let world = world_of("single");
    world.edit(
        "recipes/small.yaml",
        "default_profile: worker\n",
        "default_profile: worker\noutputs: {disk: {}}\n",
    );
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("add `pxe` to `outputs`"), "{}", run.stderr);
}

#[test]
fn a_diskless_boot_has_everything_in_its_files_and_asks_for_nothing() {
    for layout in ["overlay", "single", "virtual"] {
        let world = world_of(layout);
        world.build();
        let path = match layout {
            "single" => "assets/initrd/worker.img",
            _ => "assets/overlay/worker.cpio",
        };
        let initrd = world.path("output/small/current").join(path);
        extract(&initrd, &world.path("out"), extract::Options::default()).unwrap();
        let oem = world.path("out/usr/share/oem");
        let config = fs::read_to_string(oem.join("config.ign")).unwrap();
        for word in ["http:", "https:", "tftp:", "s3:", "oem:"] {
            assert!(!config.contains(word), "{config}");
        }
        assert!(config.contains("/oem/sysext/hello.raw"));
        let image = fs::read(oem.join("sysext/hello.raw")).unwrap();
        assert_eq!(image, file(&world, "assets/sysext/hello/hello-1-x86-64.raw"));
        let args = String::from_utf8(file(&world, "boot/ipxe/mac-52-54-00-00-00-01.ipxe")).unwrap();
        assert!(!args.contains("config.url"), "{args}");
    }
}

fn some_initrd(parts: &[(usize, usize)]) -> Vec<u8> {
    let mut whole = Vec::new();
    for (tool, size) in parts {
        whole.resize(whole.len().next_multiple_of(4), 0);
        whole.extend(through(READ[tool % READ.len()].1, &archive("a/b", &noise(*size))));
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_changed_in_an_initrd_nothing_panics(
        parts in prop::collection::vec((0usize..5, 0usize..3000), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = some_initrd(&parts);
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        properties::initrd(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        properties::initrd(&bytes);
    }

    #[test]
    fn what_is_written_is_read_and_extracted_again(
        files in prop::collection::btree_map("[a-z]{1,3}(/[a-z]{1,3}){0,3}", prop::collection::vec(any::<u8>(), 0..200), 0..20),
    ) {
        let mut tree = Tree::new();
        for (path, bytes) in files {
            // One file where another needs a directory is the tree's to refuse.
            let _ = tree.insert(&path, Entry::file(0o640, Contents::Bytes(bytes), "test"));
        }
        let mut bytes = Vec::new();
        cpio::write(&tree, 1, &mut bytes).unwrap();
        let desk = Desk::new();
        desk.write("x", &bytes);
        let done = extract(&desk.path("x"), &desk.path("out"), extract::Options::default()).unwrap();
        prop_assert_eq!(done.written, tree.len());
        for (path, entry) in tree.iter() {
            let made = desk.path("out").join(path);
            match &entry.content {
                prebake::format::tree::Content::File(Contents::Bytes(expected)) => {
                    prop_assert_eq!(&fs::read(&made).unwrap(), expected);
                }
                _ => prop_assert!(Path::new(&made).is_dir()),
            }
        }
    }
}
