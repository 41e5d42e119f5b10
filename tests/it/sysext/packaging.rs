//! `packaging:` of a recipe, and the images that it makes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prebake::bake::outputs;
use prebake::bake::recipe::Recipe;
use prebake::base::arch::Arch;
use prebake::base::digest::Sha256;
use prebake::base::finding::{Findings, Place, Source};
use prebake::format::erofs;
use prebake::format::gpt::Table;
use prebake::format::image::{Kind, Limits, Listed};
use prebake::format::tree::{Content, Contents, Entry, Tree};
use prebake::sysext::ddi;
use prebake::sysext::packaging::{Filesystem, Packaging};
use prebake::sysext::signing::{self, Signer};

use crate::judges::kernel;
use crate::world::World;

const HEAD: &str = "schema: 1\nname: edge\nrelease: {channel: stable}\nprofiles: {worker: {}}\npackaging: ";

fn faults(packaging: &str) -> Vec<String> {
    let source = Source::new("r.yaml", format!("{HEAD}{packaging}\n"));
    let Err(Findings(findings)) = Recipe::parse(&source, PathBuf::new(), outputs::read) else {
        panic!("`{packaging}` was taken")
    };
    let shown = |finding: &prebake::base::finding::Finding| {
        let place = finding.place.as_ref().unwrap();
        format!("{}:{}: {}", place.line, place.column, finding.message)
    };
    findings.iter().map(shown).collect()
}

#[test]
fn a_packaging_that_no_format_has_is_refused_where_it_stands() {
    for (packaging, expected) in [
        ("{format: squshfs}", "5:21: unknown format `squshfs`"),
        ("{compression: lzo}", "5:26: unknown compression `lzo`"),
        ("{level: 23}", "5:20: the levels of zstd are 1 to 22"),
        ("{level: 0}", "5:20: the levels of zstd are 1 to 22"),
        ("{compression: gzip, level: 10}", "5:39: the levels of gzip are 1 to 9"),
        ("{compression: xz, level: 1}", "5:37: xz has no levels"),
        ("{block: 64KiB}", "5:20: a squashfs block has 128KiB, 256KiB, 512KiB or 1MiB"),
        ("{block: 131072}", "5:20: `131072` is not an amount such as 8GiB or 4096MiB"),
        (
            "{format: erofs, level: 3}",
            "5:35: `level` is for squashfs; files in erofs images are stored uncompressed",
        ),
        ("{verity: {key: sign.key}}", "5:21: `verity` needs the key `certificate`"),
        ("{verity: {certificate: sign.crt}}", "5:21: `verity` needs the key `key`"),
        ("{blocks: 1MiB}", "5:13: unknown key `blocks` in `packaging`"),
    ] {
        assert_eq!(faults(packaging), [expected], "{packaging}");
    }
}

/// A tree with what formats find hard: sizes around a block, many names in one directory, deep paths, long targets.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut put = |path: &str, entry| tree.insert(path, entry).unwrap();
    for size in [0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 8200, 131_071, 131_072, 131_073, 700_001] {
        put(&format!("usr/share/sizes/{size}"), Entry::file(0o644, Contents::Bytes(noise(size)), "test"));
    }
    for number in 0..3000 {
        let text = Contents::Bytes(format!("number {number}\n").into_bytes());
        put(&format!("usr/share/many/{:1$}", number, 1 + number % 40), Entry::file(0o600, text, "test"));
    }
    put("usr/share/again", Entry::file(0o644, Contents::Bytes(noise(700_001)), "test"));
    put("usr/bin/tool", Entry::file(0o755, Contents::Bytes(b"#!/bin/sh\n".repeat(9000)), "test"));
    put("usr/bin/-first", Entry::symlink("tool", "test"));
    put("usr/share/long", Entry::symlink("x/".repeat(2040), "test"));
    put("usr/share/empty", Entry::dir("test"));
    put(&format!("usr/{}z", "d/".repeat(100)), Entry::symlink("..", "test"));
    let mut marked = Entry::file(0o644, Contents::Bytes(noise(4000)), "test");
    marked.xattrs.insert("user.extension-release.strict".into(), b"0".to_vec());
    marked.xattrs.insert("trusted.note".into(), noise(20));
    put("usr/share/marked", marked);
    tree.link("usr/bin/another", "usr/bin/tool", "test").unwrap();
    tree.link("usr/share/zz", "usr/bin/tool", "test").unwrap();
    tree
}

/// Bytes that do not compress, the same for every run.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

/// A line for each entry: path, type, mode, owner, time, target or digest of the content.
fn described(tree: &Tree, epoch: u64) -> Vec<String> {
    let line = |(path, entry): (&str, &Entry)| {
        let (kind, what) = match &entry.content {
            Content::Dir => ('d', String::new()),
            Content::Symlink(target) => ('l', target.clone()),
            Content::File(contents) => ('f', contents.sha256().unwrap().to_string()),
        };
        format!("{path}|{kind}|{:o}|0:0|{epoch}|{what}", entry.mode)
    };
    let mut lines: Vec<String> = tree.iter().map(line).collect();
    lines.sort();
    lines
}

/// Runs a shell script as root in a mount namespace of its own, in `dir`. A machine that allows none skips the test, but
/// never in CI.
fn in_namespace(dir: &Path, script: &str) -> Option<String> {
    if !kernel::mounts() {
        return None;
    }
    let output =
        Command::new("unshare").args(["-m", "bash", "-euc", script]).current_dir(dir).output().unwrap();
    let (text, story) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}\n{text}");
    Some(text)
}

/// What the kernel shows of an image, as [`described`] says it; `options` are mount's.
fn mounted(image: &Path, options: &str) -> Option<Vec<String>> {
    let script = format!(
        "mkdir mnt; mount -o ro,loop{options} '{}' mnt; cd mnt
        find . -mindepth 1 -printf '%P|%y|%m|%U:%G|%T@|%l\n'; echo; find . -type f -exec sha256sum {{}} +",
        image.display()
    );
    let dir = tempfile::tempdir().unwrap();
    let text = in_namespace(dir.path(), &script)?;
    let (rows, digests) = text.split_once("\n\n").unwrap();
    let digests: HashMap<&str, &str> =
        digests.lines().map(|line| line.split_once("  ./").unwrap()).map(|(sum, path)| (path, sum)).collect();
    let line = |row: &str| {
        let path = row.split('|').next().unwrap();
        format!("{}{}", row.replace(".0000000000|", "|"), digests.get(path).unwrap_or(&""))
    };
    let mut lines: Vec<String> = rows.lines().map(line).collect();
    lines.sort();
    Some(lines)
}

fn image(packaging: &Packaging, tree: &Tree, epoch: u64, path: &Path) -> PathBuf {
    let mut file = File::options().create(true).read(true).write(true).truncate(true).open(path).unwrap();
    let length = packaging.write(tree, Arch::Amd64, epoch, &mut file).unwrap();
    assert_eq!(file.metadata().unwrap().len(), length);
    path.to_owned()
}

const EPOCH: u64 = 1_700_000_000;

fn erofs() -> Packaging {
    Packaging { filesystem: Filesystem::Erofs(erofs::Options::Plain), verity: None }
}

#[test]
fn the_kernel_shows_an_erofs_image_as_the_tree_it_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(&erofs(), &tree(), EPOCH, &dir.path().join("x.raw"));
    let Some(seen) = mounted(&image, "") else { return };
    assert_eq!(seen, described(&tree(), EPOCH));
    let script = format!(
        "mkdir mnt; mount -o ro,loop '{}' mnt; stat -c '%h %i' mnt/usr/bin/{{tool,another}} mnt/usr/share/zz | uniq
        cd mnt/usr/share; getfattr --absolute-names -d -m - -e hex marked | grep = | sort",
        image.display()
    );
    let told = in_namespace(dir.path(), &script).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    let hex: String = noise(20).iter().map(|byte| format!("{byte:02x}")).collect();
    let attributes = [format!("trusted.note=0x{hex}"), "user.extension-release.strict=0x30".into()];
    assert!(lines[0].starts_with("3 "), "{told}");
    assert_eq!(lines[1..], attributes, "{told}");
}

#[test]
fn the_tools_of_erofs_find_nothing_wrong_with_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(&erofs(), &tree(), EPOCH, &dir.path().join("x.raw"));
    let output = Command::new("fsck.erofs").arg(&image).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = Command::new("dump.erofs").args(["-s", "-S"]).arg(&image).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_erofs_image_is_read_back_as_it_was_written_and_is_the_same_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&erofs(), &tree(), EPOCH, &dir.path().join("x.raw"));
    let again = image(&erofs(), &tree(), EPOCH, &dir.path().join("again.raw"));
    assert_eq!(fs::read(&path).unwrap(), fs::read(again).unwrap());
    let read = erofs::Image::open(&path, Limits::default()).unwrap();
    assert_eq!(read.time(), EPOCH);
    assert_eq!(listed(&read), described(&tree(), EPOCH));
    let entry = |path: &str| read.list().find(|entry| entry.path == path).unwrap();
    assert_eq!(*entry("usr/share/marked").xattrs, tree().get("usr/share/marked").unwrap().xattrs);
    assert_eq!((entry("usr/bin/tool").nlink, entry("usr/share/zz").inode), (3, entry("usr/bin/tool").inode));
}

/// A line for each entry, as [`described`] says it.
fn listed(image: &erofs::Image) -> Vec<String> {
    let line = |entry: &Listed| {
        let (kind, what) = match &entry.kind {
            Kind::Dir => ('d', String::new()),
            Kind::Symlink(target) => ('l', target.clone()),
            Kind::File(_) => ('f', Sha256::of(&image.read(&entry.path).unwrap()).to_string()),
            Kind::Whiteout | Kind::Special => ('?', String::new()),
        };
        let Listed { path, mode, uid, gid, mtime, .. } = entry;
        format!("{path}|{kind}|{mode:o}|{uid}:{gid}|{mtime}|{what}")
    };
    let mut lines: Vec<String> = image.list().map(line).collect();
    lines.sort();
    lines
}

/// An image of twenty files in a directory.
pub fn small_erofs(dir: &Path) -> PathBuf {
    let mut tree = Tree::new();
    for number in 0..20 {
        let text = Contents::Bytes(noise(number * 300));
        tree.insert(&format!("usr/{number}/file"), Entry::file(0o644, text, "test")).unwrap();
    }
    image(&erofs(), &tree, EPOCH, &dir.join("x.raw"))
}

/// A signer of its own in a directory.
fn signer(dir: &Path) -> Signer {
    signing::generate(dir, SystemTime::now()).unwrap();
    Signer::load(&dir.join(signing::KEY), &dir.join(signing::CERTIFICATE), SystemTime::now()).unwrap()
}

/// An image with a partition table: erofs, its tree and its signature, and beside it each partition as a file.
pub fn signed(dir: &Path) -> (PathBuf, [PathBuf; 3]) {
    let packaging = Packaging { verity: Some(signer(dir)), ..erofs() };
    let path = image(&packaging, &tree(), EPOCH, &dir.join("x.raw"));
    let table = Table::read(&File::open(&path).unwrap()).unwrap().unwrap();
    let bytes = fs::read(&path).unwrap();
    let part = |index: usize| {
        let partition = &table.partitions[index];
        let file = dir.join(format!("part{index}"));
        fs::write(&file, &bytes[partition.start as usize..][..partition.length as usize]).unwrap();
        file
    };
    (path, [0, 1, 2].map(part))
}

fn run(command: &str, args: &[&str]) -> String {
    let output =
        Command::new(command).args(args).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command} {args:?}: {text}");
    text
}

#[test]
fn the_tools_of_gpt_dm_verity_and_pkcs7_agree_with_a_signed_image() {
    let dir = tempfile::tempdir().unwrap();
    let (image, [data, tree, signature]) = signed(dir.path());
    let protection = ddi::protection(&image).unwrap().unwrap();
    let root_hash = protection.root_hash.to_string();
    let text = |path: &Path| path.to_str().unwrap().to_owned();

    let told = run("/usr/sbin/sgdisk", &["-v", &text(&image)]);
    assert!(told.contains("No problems found"), "{told}");
    let told = run("/usr/sbin/sgdisk", &["-i", "1", &text(&image)]);
    let half = |at: usize| {
        let hex = &root_hash[at..at + 32].to_uppercase();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    };
    assert!(told.contains(&half(0)), "{told}");
    assert!(told.contains("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"), "{told}");
    let told = run("/usr/sbin/sgdisk", &["-i", "2", &text(&image)]);
    assert!(told.contains(&half(32)), "{told}");

    run("/usr/sbin/veritysetup", &["verify", &text(&data), &text(&tree), &root_hash]);
    let mut flipped = fs::read(&data).unwrap();
    flipped[9000] ^= 1;
    fs::write(&data, flipped).unwrap();
    let verdict =
        Command::new("/usr/sbin/veritysetup").arg("verify").args([&data, &tree]).arg(&root_hash).output();
    assert!(!verdict.unwrap().status.success());

    let json = fs::read(signature).unwrap();
    let end = json.iter().position(|byte| *byte == 0).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json[..end]).unwrap();
    assert_eq!(json["rootHash"], root_hash);
    let pem = dir.path().join(signing::CERTIFICATE);
    let shown = run("openssl", &["x509", "-in", &text(&pem), "-noout", "-fingerprint", "-sha256"]);
    let shown = shown.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!(json["certificateFingerprint"], shown);
    let (der, message) = (dir.path().join("p7"), dir.path().join("message"));
    fs::write(&der, STANDARD.decode(json["signature"].as_str().unwrap()).unwrap()).unwrap();
    for (content, good) in [(root_hash.clone(), true), (root_hash.replace('0', "1"), false)] {
        fs::write(&message, content).unwrap();
        for tool in ["cms", "smime"] {
            let args = ["-verify", "-binary", "-inform", "DER", "-CAfile", &text(&pem), "-purpose", "any"];
            let mut command = Command::new("openssl");
            command.arg(tool).args(args).arg("-content").arg(&message).arg("-in").arg(&der);
            let output = command.output().unwrap();
            assert_eq!(output.status.success(), good, "{tool}: {output:?}");
        }
    }
}

#[test]
fn the_kernel_mounts_the_first_partition_of_a_signed_image() {
    let dir = tempfile::tempdir().unwrap();
    let (image, _) = signed(dir.path());
    let (start, length) = ddi::filesystem(&File::open(&image).unwrap()).unwrap().unwrap();
    let options = format!(",offset={start},sizelimit={length}");
    let Some(seen) = mounted(&image, &options) else { return };
    assert_eq!(seen, described(&tree(), EPOCH));
}

#[test]
fn two_signed_images_of_one_tree_and_key_are_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for filesystem in [Filesystem::default(), Filesystem::Erofs(erofs::Options::Plain)] {
        let keys = dir.path().join(format!("{filesystem:?}"));
        let packaging = Packaging { filesystem, verity: Some(signer(&keys)) };
        let [one, two] = ["one", "two"].map(|name| image(&packaging, &tree(), EPOCH, &dir.path().join(name)));
        assert_eq!(ddi::protection(&one).unwrap(), ddi::protection(&two).unwrap());
        assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "{filesystem:?}");
    }
}

#[test]
fn only_the_owner_may_read_a_generated_key_and_it_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = signer(dir.path()).fingerprint();
    let key = dir.path().join(signing::KEY);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&key).unwrap();
    assert!(matches!(signing::generate(dir.path(), SystemTime::now()), Err(signing::Error::Exists(_))));
    assert_eq!(fs::read(&key).unwrap(), before);
    let pem = dir.path().join(signing::CERTIFICATE);
    let der =
        Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(pem).output().unwrap().stdout;
    assert_eq!(Sha256::of(&der), fingerprint);
}

#[test]
fn a_key_or_certificate_that_does_not_serve_is_refused_at_the_line_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    signer(&path("ours"));
    signer(&path("theirs"));
    signing::generate(&path("old"), SystemTime::UNIX_EPOCH).unwrap();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    openssl(&["genrsa", "-out", "small.key", "1024"]);
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ec.key"]);
    openssl(&["genrsa", "-traditional", "-out", "old.key", "2048"]);
    openssl(&["req", "-x509", "-key", "old.key", "-days", "2", "-subj", "/CN=x", "-out", "pkcs1.crt"]);
    openssl(&["pkey", "-aes256", "-passout", "pass:x", "-in", "old.key", "-out", "locked.key"]);
    fs::write(path("text"), "no key at all\n").unwrap();

    let load = |key: &str, certificate: &str| {
        let text = format!("{HEAD}\n  verity:\n    key: {key}\n    certificate: {certificate}\n");
        let source = Source::new("r.yaml", text);
        let (recipe, _) = Recipe::parse(&source, dir.path().to_owned(), outputs::read).unwrap();
        recipe.packaging.load(SystemTime::now())
    };
    assert!(load("ours/sysext.key", "ours/sysext.crt").unwrap().verity.is_some());
    assert!(load("old.key", "pkcs1.crt").is_ok());
    for (key, certificate, line, expected) in [
        ("ours/sysext.key", "theirs/sysext.crt", 8, "does not belong to the key"),
        ("old/sysext.key", "old/sysext.crt", 8, "it expired at 1979-12-30"),
        ("small.key", "ours/sysext.crt", 7, "not a usable private key"),
        ("ec.key", "ours/sysext.crt", 7, "not a private RSA key"),
        ("locked.key", "ours/sysext.crt", 7, "it is encrypted"),
        ("text", "ours/sysext.crt", 7, "it is not a PEM file"),
        ("nothing", "ours/sysext.crt", 7, "cannot read"),
        ("ours/sysext.key", "text", 8, "it is not one X.509 certificate in PEM"),
    ] {
        let Err(Findings(findings)) = load(key, certificate) else {
            panic!("{key} {certificate} were taken")
        };
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].place.as_ref().unwrap().line, line, "{key} {certificate}");
        assert!(findings[0].message.contains(expected), "{}", findings[0].message);
    }
}

#[test]
fn a_signed_build_tells_its_root_hash_brings_the_certificate_and_keeps_the_key_to_itself() {
    let world = World::new();
    let fingerprint = signer(&world.path("recipes/keys")).fingerprint().to_string();
    let packaging = "packaging:\n  format: erofs\n  verity: {key: keys/sysext.key, certificate: keys/sysext.crt}\nprofiles:";
    world.edit("recipes/small.yaml", "profiles:", packaging);
    let first = world.build();

    let tree = world.path("output/small/current");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let image = "assets/sysext/hello/hello-1-x86-64.raw";
    let protection = ddi::protection(&tree.join(image)).unwrap().unwrap();
    let row = &manifest["files"][image]["verity"];
    assert_eq!(row["root_hash"], protection.root_hash.to_string());
    assert_eq!(row["certificate_sha256"], fingerprint);

    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(tree.join("ignition/worker.ign")).unwrap()).unwrap();
    let files = config["storage"]["files"].as_array().unwrap();
    let path = format!("/etc/verity.d/prebake-{}.crt", &fingerprint[..16]);
    let file = files.iter().find(|file| file["path"] == path.as_str()).unwrap();
    let source = file["contents"]["source"].as_str().unwrap().strip_prefix("data:;base64,").unwrap();
    assert_eq!(STANDARD.decode(source).unwrap(), fs::read(world.path("recipes/keys/sysext.crt")).unwrap());

    // A second build, with nothing in the store, is the same; the key is in nothing that was made.
    let secret = fs::read_to_string(world.path("recipes/keys/sysext.key")).unwrap();
    let line = secret.lines().nth(5).unwrap();
    let grep = Command::new("grep")
        .args(["-rlF", line, "store", "output", "recipes"])
        .current_dir(world.path(""))
        .output();
    assert_eq!(String::from_utf8_lossy(&grep.unwrap().stdout), "recipes/keys/sysext.key\n");
    fs::remove_dir_all(world.path("store")).unwrap();
    fs::remove_dir_all(world.path("output")).unwrap();
    assert_eq!(world.build(), first);
}

#[test]
fn what_a_release_would_not_take_is_refused_where_the_recipe_asks_for_it() {
    let source = |packaging: &str| Source::new("r.yaml", format!("{HEAD}{packaging}\n"));
    let wish =
        |packaging| Recipe::parse(&source(packaging), PathBuf::new(), outputs::read).unwrap().0.packaging;
    let erofs = wish("{format: erofs}");
    let verity = wish("{verity: {key: k, certificate: c}}");
    let gzip = wish("{compression: gzip}");
    let zstd = wish("{compression: zstd}");
    let unmountable = |place: &str, version: &str, what: &str| {
        format!("{place}: the kernel of Flatcar {version} cannot mount {what} images")
    };
    for (wish, version, expected) in [
        (&erofs, "4081.3.10", vec![unmountable("5:21", "4081.3.10", "erofs")]),
        (&erofs, "4230.2.4", vec![unmountable("5:21", "4230.2.4", "erofs")]),
        (&erofs, "4459.2.0", vec![]),
        (&erofs, "4593.2.5", vec![]),
        (&verity, "4081.3.10", vec![]),
        (&verity, "4593.2.5", vec![]),
        (&zstd, "3602.2.1", vec![unmountable("5:26", "3602.2.1", "squashfs with zstd")]),
        (&zstd, "3602.2.2", vec![]),
        (&gzip, "3510.3.8", vec![]),
        // What is packed without a word of the recipe is zstd, which the LTS of 2023 does not mount.
        (
            &verity,
            "3510.2.0",
            vec![
                unmountable("1:1", "3510.2.0", "squashfs with zstd"),
                "5:43: Flatcar 3510.2.0 would not merge any sysext: its systemd is not known to judge signatures by /etc/verity.d".into(),
            ],
        ),
        (
            &verity,
            "4757.1.0",
            vec![
                "5:43: Flatcar 4757.1.0 would not merge any sysext: it merges sysexts in the initrd, which trusts only Flatcar's own certificate".into(),
            ],
        ),
    ] {
        let release = Place { source: Source::new("release", "r"), line: 1, column: 1 };
        let findings = wish.findings(version.parse().unwrap(), &release);
        let shown = findings.iter().map(|finding| {
            let place = finding.place.as_ref().unwrap();
            format!("{}:{}: {}", place.line, place.column, finding.message)
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{version}");
        assert!(findings.iter().all(|finding| finding.hint.is_some()));
    }
}

#[test]
fn an_image_of_mkfs_erofs_is_read_unless_it_is_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("usr/lib")).unwrap();
    fs::write(source.join("usr/lib/large"), noise(50_000)).unwrap();
    fs::write(source.join("usr/lib/small"), b"x".repeat(9000)).unwrap();
    std::os::unix::fs::symlink("small", source.join("usr/lib/link")).unwrap();
    let path = dir.path().join("x.raw");
    let make = |options: &[&str]| {
        let output = Command::new("mkfs.erofs").args(options).arg(&path).arg(&source).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    make(&["-T7", "--all-root", "-U00000000-0000-0000-0000-000000000000"]);
    let read = erofs::Image::open(&path, Limits::default()).unwrap();
    let names: Vec<&str> = read.list().map(|entry| entry.path.as_str()).collect();
    assert_eq!(names, ["usr", "usr/lib", "usr/lib/large", "usr/lib/link", "usr/lib/small"]);
    assert_eq!(read.read("usr/lib/large").unwrap(), noise(50_000));
    assert_eq!(read.head("usr/lib/large", 49_999).unwrap(), &noise(50_000)[..49_999]);
    assert_eq!(read.head("usr/lib/small", 5000).unwrap(), b"x".repeat(5000));
    make(&["-zlz4"]);
    assert!(matches!(erofs::Image::open(&path, Limits::default()), Err(erofs::Error::Feature { .. })));
}

#[test]
fn a_key_made_by_the_binary_signs_an_image_on_the_command_line() {
    let world = World::new();
    let made = world.prebake(&["sysext", "key", "generate", "keys"]).ok();
    assert!(made.stdout.contains("keys/sysext.key"), "{}", made.stdout);
    world.prebake(&["sysext", "key", "generate", "keys"]).fails(2, &["sysext.key", "remove both files"]);
    let packaging = "{format: erofs, verity: {key: keys/sysext.key, certificate: keys/sysext.crt}}";
    world.prebake(&["sysext", "build", "hello", "--packaging", packaging]).ok();
    let image = world.path("output/sysext/hello-1-x86-64.raw");
    assert!(prebake::sysext::ddi::protection(&image).unwrap().is_some());
    for (packaging, words) in [
        ("{compression: brotli}", "unknown compression `brotli`"),
        ("{level: 23}", "the levels of zstd are 1 to 22"),
        ("{verity: {key: none.key, certificate: keys/sysext.crt}}", "none.key"),
        ("{", "--packaging"),
    ] {
        world.prebake(&["sysext", "build", "hello", "--packaging", packaging]).fails(3, &[words]);
    }
}
