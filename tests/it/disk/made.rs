//! What releases have for recipes' disk images, small, and a look into the images that are made of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use prebake::disk::layout::USR;
use prebake::format::btrfs::{Filesystem, Window};
use prebake::format::gpt::Table;
use prebake::format::image::Limits;

use super::image::{judged, table, tool, with_ext4, with_table};

/// The generic image, in bzip2 by its own program: an OEM without files.
pub(crate) fn generic() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let image = with_table(directory.path(), "generic.bin", &table("OEM", USR), &[]);
        tool("bzip2", &["-1", image.to_str().unwrap()]);
        fs::read(directory.path().join("generic.bin.bz2")).unwrap()
    })
}

/// The same with an ext4 on ROOT, as stock ones have it.
pub(crate) fn rooted() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let image = with_table(directory.path(), "generic.bin", &table("OEM", USR), &[]);
    with_ext4(&image);
    tool("bzip2", &["-1", image.to_str().unwrap()]);
    fs::read(directory.path().join("generic.bin.bz2")).unwrap()
}

/// The extension of a platform: `oem-ID.raw`.
pub(crate) fn extension(id: &str) -> Vec<u8> {
    extension_with(id, "")
}

/// The same of a release.
pub(crate) fn extension_of(id: &str, release: &str) -> Vec<u8> {
    extension_with(id, &format!("VERSION_ID={release}\n"))
}

fn extension_with(id: &str, more: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let releases = directory.path().join("tree/usr/lib/extension-release.d");
    fs::create_dir_all(&releases).unwrap();
    let text = format!("ID=flatcar\n{more}SYSEXT_LEVEL=1.0\n");
    fs::write(releases.join(format!("extension-release.oem-{id}")), text).unwrap();
    let [tree, image] = ["tree", "oem.raw"].map(|name| directory.path().join(name).display().to_string());
    let fixed = ["-quiet", "-no-progress", "-all-root", "-all-time", "0", "-mkfs-time", "0"];
    tool("mksquashfs", &[&[tree.as_str(), image.as_str()][..], &fixed[..]].concat());
    fs::read(image).unwrap()
}

/// An image that was made, unpacked.
pub(crate) struct Disk {
    _directory: tempfile::TempDir,
    file: File,
    /// Its partition table.
    pub table: Table,
}

impl Disk {
    /// Unpacks an image by QEMU's own program, which finds no fault in it, or by `zstd`; `sgdisk` and `btrfs` judge it.
    pub(crate) fn open(image: &Path) -> Disk {
        let directory = tempfile::tempdir().unwrap();
        let raw = directory.path().join("raw");
        let [image, unpacked] = [image, raw.as_path()].map(|path| path.to_str().unwrap());
        if image.ends_with(".qcow2") {
            tool("qemu-img", &["check", "-f", "qcow2", image]);
            tool("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", image, unpacked]);
        } else {
            tool("zstd", &["-dq", "--sparse", image, "-o", unpacked]);
        }
        judged(&raw);
        let file = File::open(&raw).unwrap();
        let table = Table::read(&file).unwrap().unwrap();
        Disk { _directory: directory, file, table }
    }

    /// The filesystem on OEM.
    pub(crate) fn oem(&self) -> Filesystem<Window> {
        let oem = self.table.named("OEM").unwrap();
        let window = Window::new(self.file.try_clone().unwrap(), oem.start, oem.length);
        Filesystem::open(window, "OEM", Limits::default()).unwrap()
    }

    /// A text on OEM.
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.oem().read(path).unwrap()).unwrap()
    }

    /// Bytes of a partition.
    pub(crate) fn bytes(&self, name: &str, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.table.named(name).unwrap().start + offset).unwrap();
        bytes
    }

    /// A file on ROOT, in whose file system `e2fsck` finds no fault.
    pub(crate) fn on_root(&self, path: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let [root, out] = ["root", "out"].map(|name| directory.path().join(name).display().to_string());
        let length = self.table.named("ROOT").unwrap().length.min(12 << 20);
        fs::write(&root, self.bytes("ROOT", 0, length as usize)).unwrap();
        tool("e2fsck", &["-fn", &root]);
        tool("debugfs", &["-R", &format!("dump {path} {out}"), &root]);
        fs::read(out).unwrap()
    }
}
