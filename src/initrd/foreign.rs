//! Files that people mistake for an initrd, recognised by their first bytes.

use crate::base::kind;

/// A kind of file that is not an initrd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    /// The kind, with its article.
    pub what: &'static str,
    /// How to get an initrd out of it.
    pub way_out: &'static str,
}

/// Bytes that [`what`] needs: the magic of ISO 9660 is at 32769.
pub(super) const HEAD: usize = 32_774;

const UNPACK: &str = "unpack it, and pack its content with `cpio --quiet -o -H newc`";
const NEWC: &str = "pack it again: `cpio -i -d <FILE`, then `find . | cpio -o -H newc`";
const KERNEL: &str = "name the initrd; the kernel is a file of its own";
const FILESYSTEM: &str =
    "an initrd is an archive: mount the image and pack its content with `cpio -o -H newc`";

/// Each with its way out, the most specific first.
const MAGICS: &[kind::Magic] = &[
    (0, b"070707", "a cpio archive in the old portable format (odc), not in newc", NEWC),
    (0, &[0xc7, 0x71], "a cpio archive in the old binary format, not in newc", NEWC),
    (0, &[0x71, 0xc7], "a cpio archive in the old binary format, not in newc", NEWC),
    (
        0,
        &[0x04, 0x22, 0x4d, 0x18],
        "an lz4 frame, but the kernel unpacks only the legacy format",
        "compress with `lz4 -l`",
    ),
    (0, &[0x1f, 0x9d], "a file of compress(1), which the kernel does not unpack", "compress with `gzip`"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"PK\x03\x04", "a zip file", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (514, b"HdrS", "a Linux kernel", KERNEL),
    (56, b"ARM\x64", "a Linux kernel", KERNEL),
    (0, b"MZ", "a UEFI program", KERNEL),
    (0, b"\x7fELF", "a program (ELF)", KERNEL),
    (0, b"\x27\x05\x19\x56", "an image for U-Boot", "cut off its header of 64 bytes: `tail -c +65`"),
    (0, &[0xd0, 0x0d, 0xfe, 0xed], "a device tree or FIT image", "take the initrd out of it: `dumpimage`"),
    (0, b"ANDROID!", "a boot image of Android", "take the initrd out of it: `unpack_bootimg`"),
    (32_769, b"CD001", "an ISO 9660 image", "take the initrd out of it: `bsdtar -xf`, or mount it"),
    (0, b"hsqs", "a squashfs image", FILESYSTEM),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an erofs image", FILESYSTEM),
    (1080, &[0x53, 0xef], "an ext4 image", FILESYSTEM),
    (512, b"EFI PART", "a disk image", FILESYSTEM),
    (4096, b"EFI PART", "a disk image", FILESYSTEM),
    (0, b"QFI\xfb", "a qcow2 image", FILESYSTEM),
    (0, b"!<arch>", "a Debian package or another `ar` archive", UNPACK),
    (0, b"\xed\xab\xee\xdb", "an RPM package", UNPACK),
    (510, &[0x55, 0xaa], "a disk image", FILESYSTEM),
    (0, b"#!", "a script", "name the initrd"),
    (0, b"<", "a web page, most likely a server's error in place of the download", "download it again"),
    (0, b"{", "a JSON text", "name the initrd; `--ignition` takes configs"),
];

/// The kind of a file that begins with these bytes, and the way out.
pub(super) fn what(head: &[u8]) -> Option<Foreign> {
    // Behind those of the table: configs, keys and the like.
    let known = kind::by_magic(MAGICS, head).or_else(|| kind::of(head));
    known.map(|kind::Known { what, advice }| Foreign { what, way_out: advice })
}
