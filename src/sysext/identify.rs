//! Recognises a file by its first bytes: image formats that systemd-sysext mounts, and files that people mistake for
//! one.

use crate::flatcar::quirks::Packing;
use crate::format::erofs::Features;
use crate::format::gpt::Table;

/// Number of bytes that [`Format::of`] needs: ext4's magic is at offset 1080, btrfs' at 65600.
pub const HEAD: usize = 65_608;

/// The format of a file that is supposed to be an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The file is empty.
    Empty,
    /// Squashfs 4.0.
    Squashfs(Superblock),
    /// erofs, which some Flatcar kernels do not support.
    Erofs(Features),
    /// A partition table: a discoverable disk image.
    Gpt,
    /// A file system that the kernel mounts and prebake cannot read.
    Filesystem(&'static str),
    /// Not an image; holds its kind, in words.
    Foreign(&'static str),
    /// No known format.
    Unknown,
}

/// Fields of the superblock of a squashfs image, before anything in the image is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The compressor's number.
    pub compressor: u16,
    /// Block size in bytes.
    pub block: u32,
    /// Length of the image in bytes.
    pub used: u64,
}

/// Squashfs' compressors by number (`squashfs_fs.h`).
const COMPRESSORS: [(u16, &str, Packing); 6] = [
    (1, "gzip", Packing::SquashfsGzip),
    (2, "lzma", Packing::SquashfsLzma),
    (3, "lzo", Packing::SquashfsLzo),
    (4, "xz", Packing::SquashfsXz),
    (5, "lz4", Packing::SquashfsLz4),
    (6, "zstd", Packing::SquashfsZstd),
];
/// Algorithms of erofs images.
const ALGORITHMS: [(&str, Packing); 4] = [
    ("lz4", Packing::ErofsLz4),
    ("lzma", Packing::ErofsLzma),
    ("deflate", Packing::ErofsDeflate),
    ("zstd", Packing::ErofsZstd),
];

/// `(offset, magic, format)`, the most distinctive first.
const MAGICS: &[(usize, &[u8], Format)] = &[
    (1080, &[0x53, 0xef], Format::Filesystem("ext4")),
    (65_600, b"_BHRfS_M", Format::Filesystem("btrfs")),
    (0, b"XFSB", Format::Filesystem("xfs")),
    (0, b"LUKS\xba\xbe", Format::Filesystem("encrypted (LUKS)")),
    (0, &[0x1f, 0x8b], Format::Foreign("a gzip file; unpack it first")),
    (0, &[0xfd, b'7', b'z', b'X', b'Z'], Format::Foreign("an xz file; unpack it first")),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], Format::Foreign("a zstd file; unpack it first")),
    (0, b"BZh", Format::Foreign("a bzip2 file; unpack it first")),
    (0, b"PK\x03\x04", Format::Foreign("a zip file")),
    (257, b"ustar", Format::Foreign("a tar archive")),
    (0, b"070701", Format::Foreign("a cpio archive")),
    (32_769, b"CD001", Format::Foreign("an ISO 9660 image; mount it and take what is in it")),
    (0, b"QFI\xfb", Format::Foreign("a qcow2 image; `qemu-img convert -O raw` makes a disk image of it")),
    (0, b"\x7fELF", Format::Foreign("a program")),
    (0, b"<", Format::Foreign("a web page, most likely a server's error in place of the download")),
    (0, b"{", Format::Foreign("a JSON text")),
];

impl Format {
    /// Recognises the first [`HEAD`] bytes of a file, or all bytes of a shorter one.
    pub fn of(head: &[u8]) -> Format {
        if head.is_empty() {
            return Format::Empty;
        }
        if head.starts_with(b"hsqs") && head.len() >= 96 {
            let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
            let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
            let used = u64::from(u32_at(40)) | u64::from(u32_at(44)) << 32;
            return Format::Squashfs(Superblock { block: u32_at(12), compressor: u16_at(20), used });
        }
        // Checked first, because the first sector of a disk image may contain anything.
        if Table::headers().any(|at| head.get(at..).is_some_and(|rest| rest.starts_with(b"EFI PART"))) {
            return Format::Gpt;
        }
        if let Some(features) = Features::of(head) {
            return Format::Erofs(features);
        }
        let fits = |(at, magic, _): &&(usize, &[u8], Format)| {
            head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
        };
        MAGICS.iter().find(fits).map_or(Format::Unknown, |(_, _, format)| *format)
    }
}

impl Format {
    /// The compressions of its data, as far as kernels differ in them; a file system may have several.
    pub(crate) fn packings(&self) -> Vec<Packing> {
        match self {
            Format::Squashfs(superblock) => {
                superblock.row().map(|(_, _, packing)| *packing).into_iter().collect()
            }
            Format::Erofs(features) => {
                let algorithms = features.algorithms().into_iter();
                let of =
                    |name| ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, packing)| *packing);
                let newer = features.is_newer().then_some(Packing::ErofsNewer);
                [Packing::Erofs].into_iter().chain(algorithms.filter_map(of)).chain(newer).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Superblock {
    /// Name of the compression, such as `zstd`.
    pub(crate) fn compression(&self) -> &'static str {
        self.row().map_or("unknown", |(_, name, _)| name)
    }

    fn row(&self) -> Option<&'static (u16, &'static str, Packing)> {
        COMPRESSORS.iter().find(|(number, ..)| *number == self.compressor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_often_taken_for_an_image_is_told_apart() {
        let at = |offset: usize, magic: &[u8]| {
            let mut head = vec![0; offset];
            head.extend(magic);
            Format::of(&head)
        };
        assert_eq!(at(0, b""), Format::Empty);
        assert_eq!(at(0, &[0; 200]), Format::Unknown);
        assert_eq!(at(512, b"EFI PART"), Format::Gpt);
        assert_eq!(at(1080, &[0x53, 0xef]), Format::Filesystem("ext4"));
        assert_eq!(at(65_600, b"_BHRfS_M"), Format::Filesystem("btrfs"));
        assert!(matches!(at(0, b"<!DOCTYPE html>"), Format::Foreign(what) if what.contains("web page")));
        assert_eq!(at(0, b"hsqs"), Format::Unknown, "a superblock has 96 bytes");
    }

    #[test]
    fn the_superblock_names_its_compressor() {
        let mut head = vec![0; 96];
        head[..4].copy_from_slice(b"hsqs");
        head[20] = 3;
        let format = Format::of(&head);
        let Format::Squashfs(superblock) = format else { panic!("squashfs") };
        assert_eq!((superblock.compression(), format.packings()), ("lzo", vec![Packing::SquashfsLzo]));
    }
}
