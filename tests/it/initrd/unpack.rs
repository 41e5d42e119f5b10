//! A Linux kernel as the judge of every layout and compression: it unpacks initrds in QEMU, and a small init says what it found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use prebake::base::digest::Sha256;
use prebake::format::cpio;
use prebake::format::tree::{Contents, Entry, Tree};
use prebake::initrd::inject::{self, Target};
use tempfile::TempDir;

use crate::initrd::layouts::{INITRD, archive, noise, through};
use crate::lab::machine::{self, Machine, Stall};
use crate::lab::release::{self, Release};
use crate::world::World;
use crate::world::http::{Server, get};

const BOOT: Duration = Duration::from_secs(240);

/// Prints a line for each file below /found and Flatcar's /usr/share/oem: its path, how many links it has, its digest.
const INIT: &str = r#"#!/bin/busybox sh
for file in $(/bin/busybox find /found /usr/share/oem -type f -o -type l); do
    set -- $(/bin/busybox sha256sum "$file")
    /bin/busybox echo "FOUND $file $(/bin/busybox stat -c %h "$file") $1"
done
/bin/busybox echo UNPACKED
/bin/busybox poweroff -f
"#;

/// How the kernel is given archives: each by the tool that compresses it.
const TOOLS: [(&str, &[&str]); 7] = [
    ("gzip", &["gzip", "-n"]),
    ("zstd", &["zstd", "-q"]),
    ("xz", &["xz", "--check=crc32"]),
    ("lzma", &["lzma"]),
    ("bzip2", &["bzip2"]),
    ("lz4", &["lz4", "-l"]),
    ("plain", &["cat"]),
];

/// An initrd that boots: busybox and the init, then an archive of every compression, the last by one more tool. Its length is
/// no multiple of four.
fn base(work: &Path, last: &[&str]) -> Vec<u8> {
    // The lab's bootengine brings a static busybox; its init is replaced, since later archives win.
    let mut base = fs::read(lab(work).harness.join("bootengine.cpio.gz")).unwrap();
    let mut tree = Tree::new();
    tree.insert("init", Entry::file(0o755, Contents::Bytes(INIT.into()), "test")).unwrap();
    let mut plain = Vec::new();
    cpio::write(&tree, 0, &mut plain).unwrap();
    base.extend(through(&["gzip", "-n"], &plain));
    for (name, tool) in TOOLS {
        if name == "plain" {
            // The kernel knows the end of the lz4 archive before it by four zeros.
            base.resize((base.len() + 4).next_multiple_of(4), 0);
        }
        base.extend(through(tool, &archive(&format!("found/{name}"), name.as_bytes())));
    }
    // Compressed archives may begin and end anywhere, behind a plain one at a multiple of four only.
    let mut last = (0..).map(|size| through(last, &archive("found/last", &noise(size))));
    base.extend(last.find(|bytes| bytes.len() % 4 == 1).unwrap());
    base
}

fn lab(work: &Path) -> Release {
    release::build(&work.join("lab")).unwrap()
}

/// Boots an initrd: what it found, by path, or the line that ended the boot.
fn boot(work: &Path, initrd: &[u8]) -> Result<BTreeMap<String, (u32, String)>, String> {
    let file = work.join("initrd");
    fs::write(&file, initrd).unwrap();
    let args = "console=ttyS0,115200n8 panic=-1";
    let kernel = lab(work).server.join("stable/amd64-usr/current/flatcar_production_pxe.vmlinuz");
    let machine = Machine::of_files(&kernel, &file, args, &work.join("console"));
    let mut machine = machine.start().unwrap();
    let mut found = BTreeMap::new();
    loop {
        match machine.wait_for(&["FOUND ", "UNPACKED"], BOOT) {
            Ok(event) if event.pattern == 1 => return Ok(found),
            Ok(event) => {
                let words: Vec<&str> =
                    event.line.split_whitespace().skip_while(|word| *word != "FOUND").collect();
                let [_, path, links, digest] = words[..] else { panic!("{}", event.line) };
                found.insert(path.to_owned(), (links.parse().unwrap(), digest.to_owned()));
            }
            Err(Stall::Fatal(line)) => return Err(line),
            Err(stall) => panic!("{stall}\n{}", machine.last_lines(30).join("\n")),
        }
    }
}

fn of(bytes: &[u8]) -> (u32, String) {
    (1, Sha256::of(bytes).to_string())
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn the_kernel_unpacks_every_compression_and_what_was_injected_behind_them() {
    let work = TempDir::new().unwrap();
    let _turn = machine::turn();
    // The only compression whose end needs more than the next archive.
    let base = base(work.path(), &["lz4", "-l"]);
    assert_eq!(base.len() % 4, 1);
    let path = work.path().join("base");
    fs::write(&path, &base).unwrap();
    fs::write(work.path().join("image"), "an image at two places").unwrap();
    let image = Contents::on_disk(work.path().join("image")).unwrap();
    let mut overlay = Tree::new();
    overlay.insert("found/two", Entry::file(0o644, image, "test")).unwrap();
    overlay.link("found/one", "found/two", "test").unwrap();
    let mut add = |path: &str, entry| overlay.insert(path, entry).unwrap();
    add("found/link", Entry::symlink("gzip", "test"));
    // What the base has, too: the later one wins.
    add("found/xz", Entry::file(0o600, Contents::Bytes(b"replaced".to_vec()), "test"));
    add("found/deep/er/file", Entry::file(0o644, Contents::Bytes(b"deep".to_vec()), "test"));
    let joined = Target { path: work.path().join("joined"), force: true };
    inject::inject(&path, &overlay, 0, &joined).unwrap();
    let bytes = fs::read(&joined.path).unwrap();
    let found = boot(work.path(), &bytes).unwrap();
    let mut expected: BTreeMap<String, (u32, String)> =
        TOOLS.iter().map(|(name, _)| (format!("/found/{name}"), of(name.as_bytes()))).collect();
    let image = (2, Sha256::of(b"an image at two places").to_string());
    expected.insert("/found/one".into(), image.clone());
    expected.insert("/found/two".into(), image);
    expected.insert("/found/link".into(), of(b"gzip"));
    expected.insert("/found/xz".into(), of(b"replaced"));
    expected.insert("/found/deep/er/file".into(), of(b"deep"));
    let last = found.get("/found/last").cloned();
    expected.insert("/found/last".into(), last.expect("the last compressed archive"));
    assert_eq!(found, expected);

    // The same without the zeros: the judge can say no.
    let misplaced = [&base[..], &bytes[base.len() + 7..]].concat();
    let said = boot(work.path(), &misplaced).unwrap_err();
    assert!(said.contains("Initramfs unpacking failed"), "{said}");
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn the_kernel_unpacks_what_each_layout_hands_it() {
    let work = TempDir::new().unwrap();
    let base = base(work.path(), &["zstd", "-q"]);
    for layout in ["overlay", "single", "virtual"] {
        let world = World::new();
        world.release_file(INITRD, &base);
        let args = "    kernel_args: [console=ttyS0]\n";
        world.edit("recipes/small.yaml", args, &format!("{args}    layout: {layout}\n"));
        world.build();
        let tree = world.path("output/small/current");
        let (_server, address) = Server::prebake(&tree);
        let script = get(&address, "/ipxe?mac=52-54-00-00-00-01", "").text();
        let mut initrd = Vec::new();
        for url in script.lines().filter_map(|line| line.strip_prefix("initrd ")) {
            // As iPXE, GRUB and the kernel's EFI stub put several initrds behind each other.
            initrd.resize(initrd.len().next_multiple_of(4), 0);
            initrd.extend(get(&address, url, "").body);
        }
        let _turn = machine::turn();
        let found = boot(work.path(), &initrd).unwrap();
        let config = fs::read(tree.join("ignition/worker.ign")).unwrap();
        let image = fs::read(tree.join("assets/sysext/hello/hello-1-x86-64.raw")).unwrap();
        assert_eq!(found["/usr/share/oem/config.ign"], of(&config), "{layout}");
        assert_eq!(found["/usr/share/oem/sysext/hello.raw"], of(&image), "{layout}");
        for (name, _) in TOOLS {
            assert_eq!(found[&format!("/found/{name}")], of(name.as_bytes()), "{layout}");
        }
    }
}
