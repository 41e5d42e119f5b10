//! Kinds of files that people have beside each other, for those who name one where another belongs.
//!
//! [`yaml::kinds`] knows recipes, locks and configs by their keys; this table knows all else by its
//! first bytes. It decides nothing: a verb reads its own kind first, and asks here only when that failed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::finding::Source;
use crate::base::words;
use crate::base::yaml::{self, kinds};

/// A recognised kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The kind, with its article.
    pub what: &'static str,
    /// The verb or file for people who have one.
    pub advice: &'static str,
}

/// Number of first bytes that [`of`] needs; ext4's magic is at 1080, that of ISO 9660 at 32769. A longer text is known by its
/// first lines, or not at all.
const HEAD: u64 = 1 << 20;

const MEMBERS: &str = "`prebake initrd show` lists its members";
const IMAGE: &str = "`prebake sysext inspect` shows its content";
const ARCHIVE: &str = "unpack it first";
const PUBLIC: &str = "`prebake verify --trust` and `prebake key verify --key` take it";
const SECRET: &str = "`prebake key sign --sign-key` takes it; never pass it on";
const SIGNED: &str = "name the file that it signs; `prebake key verify` finds the signature beside it";
const OPENPGP: &str = "`prebake key verify --key` and `trust.key` of a recipe take it";
const OWN: &str = "keys of prebake are made by `prebake key generate`";
const KERNEL: &str = "`prebake verify` takes the tree that it is in";

/// `(offset, magic, kind, advice)`.
pub(crate) type Magic = (usize, &'static [u8], &'static str, &'static str);

/// The most specific first.
const MAGICS: &[Magic] = &[
    (0, b"-----BEGIN PGP PUBLIC KEY", "an OpenPGP public key", OPENPGP),
    (0, b"-----BEGIN PGP PRIVATE KEY", "an OpenPGP secret key", OWN),
    (0, b"-----BEGIN PGP SIGNED", "a text that is signed with OpenPGP", SIGNED),
    (0, b"-----BEGIN PGP SIGNATURE", "an OpenPGP signature", SIGNED),
    (0, b"-----BEGIN CERTIFICATE", "a certificate (PEM)", "`trust_ca` of a recipe takes it"),
    (0, b"-----BEGIN OPENSSH PRIVATE", "a secret SSH key", OWN),
    (0, b"-----BEGIN SSH SIGNATURE", "an SSH signature", OWN),
    (0, b"-----BEGIN", "a key or certificate (PEM)", OWN),
    (0, b"ssh-", "a public SSH key", "`ssh_keys` of a recipe takes its text"),
    (0, b"ecdsa-sha2-", "a public SSH key", "`ssh_keys` of a recipe takes its text"),
    (0, b"#!ipxe", "an iPXE script", "`prebake explain` shows which script a machine gets"),
    (0, b"#!", "a script", "give the file that it is meant to work on"),
    (0, b"hsqs", "a squashfs image", IMAGE),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an erofs image", IMAGE),
    (1080, &[0x53, 0xef], "an ext4 image", IMAGE),
    (512, b"EFI PART", "a disk image", IMAGE),
    (4096, b"EFI PART", "a disk image", IMAGE),
    (0, b"QFI\xfb", "a qcow2 image", "`qemu-img convert -O raw` makes a disk image of it"),
    (32_769, b"CD001", "an ISO 9660 image", "mount it, and give the file that is in it"),
    (514, b"HdrS", "a Linux kernel", KERNEL),
    (56, b"ARM\x64", "a Linux kernel", KERNEL),
    (0, b"MZ", "a UEFI program", KERNEL),
    (0, b"\x7fELF", "a program (ELF)", "give the file that it is meant to work on"),
    (0, b"070701", "a cpio archive, as initrds are", MEMBERS),
    (0, b"070702", "a cpio archive, as initrds are", MEMBERS),
    (0, b"07070", "a cpio archive of an old format", ARCHIVE),
    (257, b"ustar", "a tar archive, as bundles are", "`prebake bundle inspect` shows what is in a bundle"),
    (0, &[0x1f, 0x8b], "a gzip file, as initrds are", MEMBERS),
    (0, &[0xfd, b'7', b'z', b'X', b'Z'], "an xz file", ARCHIVE),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "a zstd file", ARCHIVE),
    (0, b"BZh", "a bzip2 file", ARCHIVE),
    (0, b"PK\x03\x04", "a zip file", ARCHIVE),
    (0, &[0x99, 0x01], "an OpenPGP public key", OPENPGP),
    (0, &[0x99, 0x02], "an OpenPGP public key", OPENPGP),
    (0, &[0x89, 0x01], "an OpenPGP signature", SIGNED),
    (0, &[0x89, 0x02], "an OpenPGP signature", SIGNED),
];

/// Lengths of the base64 of minisign's second line: 42, 74 and 158 bytes.
const MINISIGN: [(usize, &str, &str); 3] = [
    (56, "a public key of minisign", PUBLIC),
    (100, "a minisign signature", SIGNED),
    (212, "a secret key of minisign", SECRET),
];

/// `(keys, kind, advice)` of JSON documents that prebake writes; all keys must be there.
const DOCUMENTS: [(&[&str], &str, &str); 4] = [
    (&["epoch", "releases", "files"], "a tree's manifest", "name the directory that it is in"),
    (&["payloadType", "payload", "signatures"], "a signed statement (DSSE)", "name the tree that it is in"),
    (&["spdxVersion"], "an SBOM (SPDX)", "name the tree that it is in"),
    (&["machines", "serving"], "a status document", "`prebake status --json` writes it"),
];

/// The first kind of a table whose magic is in these first bytes.
pub(crate) fn by_magic(table: &[Magic], head: &[u8]) -> Option<Known> {
    let fits = |(at, magic, ..): &&Magic| head.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    table.iter().find(fits).map(|(_, _, what, advice)| Known { what, advice })
}

/// The kind of a file that begins with these bytes.
pub(crate) fn of(head: &[u8]) -> Option<Known> {
    let known = |what, advice| Some(Known { what, advice });
    if head.is_empty() {
        return known("an empty file", "write it, or get it again");
    }
    if let Some(known) = by_magic(MAGICS, head) {
        return Some(known);
    }
    if words::page(head).is_some() {
        return known(
            "a web page",
            "it is most likely a server's error in place of a file: download it again",
        );
    }
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.lines();
    if lines.next().is_some_and(|line| line.starts_with("untrusted comment:")) {
        let length = lines.next().unwrap_or_default().trim_end().len();
        let row = MINISIGN.iter().find(|(known, ..)| *known == length);
        return row.and_then(|(_, what, advice)| known(what, advice));
    }
    let source = Source::new("", text);
    let root = yaml::parse(&source).ok()?;
    if let Some(kind) = kinds::of(&root, text) {
        return known(kind.name(), kind.advice());
    }
    let document = DOCUMENTS.iter().find(|(keys, ..)| keys.iter().all(|key| root.get(key).is_some()));
    let json =
        text.trim_start().starts_with('{').then_some(("a JSON text", "give the file that belongs here"));
    document.map(|(_, what, advice)| (*what, *advice)).or(json).and_then(|(what, advice)| known(what, advice))
}

/// The kind of a file, if it can be read and is known.
pub(crate) fn of_file(path: &Path) -> Option<Known> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    of_reader(file)
}

/// The kind of an open file, from its current position.
pub(crate) fn of_reader(file: impl Read) -> Option<Known> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).ok()?;
    of(&head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ux.md 1.19, 2026-11-28: `verify recipe.yaml` said "not a bundle: it ends after 431 bytes".
    #[test]
    fn what_people_have_beside_each_other_is_called_by_its_name() {
        let minisign =
            |bytes: usize| format!("untrusted comment: x\n{}\n", "A".repeat(bytes.div_ceil(3) * 4));
        let cases: [(Vec<u8>, &str); 16] = [
            (b"schema: 1\nname: a\nrelease: {}\nprofiles: {}\n".into(), "a recipe"),
            (b"schema: 2\nrelease: {}\ninputs: {}\n".into(), "a lock file"),
            (b"variant: flatcar\nversion: 1.1.0\n".into(), "a Butane config"),
            (b"{\"ignition\":{\"version\":\"3.3.0\"}}".into(), "an Ignition config"),
            (
                b"{\"schema\":1,\"name\":\"a\",\"epoch\":0,\"releases\":[],\"files\":{}}".into(),
                "a tree's manifest",
            ),
            (b"{}".into(), "a JSON text"),
            (minisign(42).into(), "a public key of minisign"),
            (minisign(74).into(), "a minisign signature"),
            (minisign(158).into(), "a secret key of minisign"),
            (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n".into(), "an OpenPGP public key"),
            (b"-----BEGIN CERTIFICATE-----\n".into(), "a certificate (PEM)"),
            (b"hsqs".into(), "a squashfs image"),
            (b"#!ipxe\n".into(), "an iPXE script"),
            ([&[0; 257][..], b"ustar"].concat(), "a tar archive, as bundles are"),
            (b"<!DOCTYPE html><html>".into(), "a web page"),
            (Vec::new(), "an empty file"),
        ];
        for (bytes, what) in cases {
            let found = of(&bytes).map(|known| known.what);
            assert_eq!(found, Some(what), "{:?}", String::from_utf8_lossy(&bytes));
        }
        assert_eq!((of(b"some words\n"), of(&[0; 2000])), (None, None));
    }
}
