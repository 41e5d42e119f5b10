//! Discoverable disk images: a file system in one partition, its dm-verity tree in a second one, and the signature of
//! the tree's root hash in a third one.
//!
//! Owns the partitions as the Discoverable Partitions Specification defines them. The file system and the certificate
//! determine all bytes of an image: the same input gives the same bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::signing::{self, Signer};
use crate::base::arch::Arch;
use crate::base::digest::Sha256;
use crate::base::error::Advice;
use crate::base::words;
use crate::format::gpt::{self, Guid, Partition, Table};
use crate::format::verity;

/// Part of step keys; raised when the bytes around the same file system change.
pub(crate) const REVISION: u32 = 1;

/// Attribute bit 60: mount read-only.
const READ_ONLY: u64 = 1 << 60;
/// Attribute bit 63: not to be discovered by its type.
const NO_AUTO: u64 = 1 << 63;
/// Longest signature partition that systemd reads, in bytes.
const MAX_SIGNATURE: u64 = 4 << 20;
/// Number of bytes that are moved at a time.
const CHUNK: u64 = 1 << 20;

/// The partition types of a file system, its verity tree and the tree's signature.
struct Set {
    data: Guid,
    verity: Guid,
    signature: Guid,
}

/// The partition types of one architecture. prebake's sysexts use those of a root, whether they contain `usr`, `opt` or
/// both; other images may have `/usr` in a partition of its own.
struct Types {
    root: Set,
    usr: Set,
}

const AMD64: Types = Types {
    root: Set {
        data: guid("4f68bce3e8cd4db196e7fbcaf984b709"),
        verity: guid("2c7357edebd246d9aec123d437ec2bf5"),
        signature: guid("41092b059fc84523994f2def0408b176"),
    },
    usr: Set {
        data: guid("8484680c952148c69c11b0720656f69e"),
        verity: guid("77ff5f63e7b64633acf41565b864c0e6"),
        signature: guid("e7bb33fb06cf4e818273e543b413e2e2"),
    },
};
const ARM64: Types = Types {
    root: Set {
        data: guid("b921b0451df041c3af444c6f280d3fae"),
        verity: guid("df3300ced69f4c92978c9bfb0f38d820"),
        signature: guid("6db69de629f44758a7a5962190f00ce3"),
    },
    usr: Set {
        data: guid("b0e01050ee5f4390949a9101b17104e9"),
        verity: guid("6e11a4e7fbca4dedb9e9e1a512bb664e"),
        signature: guid("c23ce4ff44bd4b00b2d4b41b3419e02a"),
    },
};
/// Generic Linux data: taken for a root if it is the only partition of this type and there is no other root or `/usr`.
const GENERIC: Guid = guid("0fc63daf848347728e793d69d8477de4");

const fn guid(hex: &str) -> Guid {
    let (digits, mut bytes, mut at) = (hex.as_bytes(), [0; 16], 0);
    while at < 32 {
        let digit = digits[at];
        let value = if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
        bytes[at / 2] = bytes[at / 2] << 4 | value;
        at += 1;
    }
    Guid(bytes)
}

const fn types(arch: Arch) -> &'static Types {
    match arch {
        Arch::Amd64 => &AMD64,
        Arch::Arm64 => &ARM64,
    }
}

/// The dm-verity protection of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// Root hash of the dm-verity tree.
    pub root_hash: Sha256,
    /// SHA-256 of the signer's certificate in DER.
    pub certificate_sha256: Sha256,
}

/// Reasons why an image cannot be protected or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read or written.
    #[error("cannot protect the image with dm-verity")]
    Write(#[source] io::Error),
    /// The signature could not be made.
    #[error(transparent)]
    Sign(#[from] signing::Error),
    /// An image could not be read.
    #[error("cannot read {subject}")]
    Read {
        /// Path of the image.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// The image is damaged.
    #[error("{subject} is not an intact disk image: {why}")]
    Damaged {
        /// Path of the image.
        subject: String,
        /// The problem, in words.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> crate::base::error::Exit {
        match self {
            Error::Sign(error) => error.exit(),
            Error::Damaged { .. } => crate::base::error::Exit::Integrity,
            Error::Write(_) | Error::Read { .. } => crate::base::error::Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Sign(error) => error.hint(),
            _ => None,
        }
    }
}

/// The signature partition's JSON, with systemd's field names.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    root_hash: Sha256,
    certificate_fingerprint: Sha256,
    signature: String,
}

/// Turns a file that contains a file system of `length` bytes, a multiple of 4096, into a signed disk image, and
/// returns its length.
///
/// Salt, disk GUID and the tree's UUID are derived from the digest of the file system; the UUIDs of the first two
/// partitions are the halves of the root hash, by which systemd finds them.
pub(crate) fn protect(file: &File, length: u64, arch: Arch, signer: &Signer) -> Result<u64, Error> {
    let content = digest(file, length).map_err(Error::Write)?;
    let derived = |what: &str| *Sha256::of(format!("prebake {what} {content}").as_bytes()).bytes();
    shift(file, length, Table::FIRST).map_err(Error::Write)?;
    let (salt, tree_id) = (derived("verity salt"), half(&derived("verity uuid"), 0));
    let verity = verity::hash(file, Table::FIRST, length, &salt, tree_id).map_err(Error::Write)?;
    let root_hash = Sha256::from(verity.root);
    let signature = Signature {
        root_hash,
        certificate_fingerprint: signer.fingerprint(),
        signature: STANDARD.encode(signer.sign(root_hash.to_string().as_bytes())?),
    };
    let mut json = serde_json::to_vec(&signature).map_err(|error| Error::Write(error.into()))?;
    json.resize(json.len().next_multiple_of(verity::BLOCK), 0);

    let Set { data: root, verity: tree, signature } = &types(arch).root;
    let name = arch.systemd();
    let mut end = Table::FIRST;
    let mut partition = |number, kind: &Guid, id, suffix: &str, length| {
        let start = end;
        end += length;
        let name = format!("root-{name}{suffix}");
        Partition { number, kind: *kind, id: Guid(id), name, flags: READ_ONLY, start, length }
    };
    let partitions = vec![
        partition(1, root, half(&verity.root, 0), "", length),
        partition(2, tree, half(&verity.root, 16), "-verity", verity.area.len() as u64),
        partition(3, signature, half(&derived("signature uuid"), 0), "-verity-sig", json.len() as u64),
    ];
    let total = Table::disk_length(end);
    let write = || {
        file.set_len(total)?;
        file.write_all_at(&verity.area, partitions[1].start)?;
        file.write_all_at(&json, partitions[2].start)?;
        let disk = Guid(half(&derived("disk guid"), 0));
        Table::new(disk, partitions, total).write(file)
    };
    write().map_err(Error::Write)?;
    Ok(total)
}

/// The protection of an image, from its signature partition; `None` if it has none. The signature is not verified.
pub fn protection(path: &Path) -> Result<Option<Protection>, Error> {
    let subject = || path.display().to_string();
    let damaged = |why: String| Error::Damaged { subject: subject(), why };
    let read = |source| Error::Read { subject: subject(), source };
    let file = File::open(path).map_err(read)?;
    let table = match Table::read(&file) {
        Ok(Some(table)) => table,
        Ok(None) => return Ok(None),
        Err(gpt::Error::Read(source)) => return Err(read(source)),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let signature = |partition: &&Partition| {
        let of = |arch: &Arch| [&types(*arch).root, &types(*arch).usr];
        Arch::ALL.iter().flat_map(of).any(|set| set.signature == partition.kind)
    };
    let Some(partition) = table.partitions.iter().find(signature) else { return Ok(None) };
    if partition.length > MAX_SIGNATURE {
        return Err(damaged("its signature partition is longer than 4 MiB".into()));
    }
    let mut bytes = vec![0; partition.length as usize];
    file.read_exact_at(&mut bytes, partition.start).map_err(read)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let signature: Signature = serde_json::from_slice(text)
        .map_err(|error| damaged(format!("its signature is not JSON: {}", words::of_serde(&error))))?;
    Ok(Some(Protection {
        root_hash: signature.root_hash,
        certificate_sha256: signature.certificate_fingerprint,
    }))
}

/// A file system in a disk image that systemd-sysext mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Mount point: empty for the root, else `usr`.
    pub at: &'static str,
    /// Offset in bytes.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The content of a disk image, as far as systemd-sysext uses it.
#[derive(Clone, Debug)]
pub struct Volumes {
    /// The root and `/usr`, those that exist; the first partition of each kind counts.
    pub mounted: Vec<Volume>,
    /// Whether it has a signature.
    pub is_signed: bool,
    /// Bytes of a sector.
    pub sector: u64,
    /// Names of all partitions.
    pub names: Vec<String>,
}

/// The file systems of a disk image that systemd-sysext mounts (`DISSECT_IMAGE_MOUNT_ROOT_ONLY`, `…_USR_NO_ROOT`,
/// `…_GENERIC_ROOT` of sysext.c); `None` if the file is not a disk image.
pub fn volumes(file: &File) -> Result<Option<Volumes>, gpt::Error> {
    let Some(table) = Table::read(file)? else { return Ok(None) };
    let partitions = || table.partitions.iter().filter(|partition| partition.flags & NO_AUTO == 0);
    let first = |at, of: fn(&Types) -> &Set| {
        let is_one =
            |partition: &&Partition| Arch::ALL.iter().any(|arch| of(types(*arch)).data == partition.kind);
        partitions().find(is_one).map(|found| Volume { at, start: found.start, length: found.length })
    };
    let mut mounted: Vec<Volume> =
        [first("", |types| &types.root), first("usr", |types| &types.usr)].into_iter().flatten().collect();
    if mounted.is_empty()
        && let [only] = partitions().filter(|partition| partition.kind == GENERIC).collect::<Vec<_>>()[..]
    {
        mounted.push(Volume { at: "", start: only.start, length: only.length });
    }
    let sets = || Arch::ALL.iter().flat_map(|arch| [&types(*arch).root, &types(*arch).usr]);
    let is_signed = partitions().any(|partition| sets().any(|set| set.signature == partition.kind));
    let named = |partition: &Partition| match partition.name.as_str() {
        "" => partition.kind.to_string(),
        name => name.to_owned(),
    };
    let names = table.partitions.iter().map(named).collect();
    Ok(Some(Volumes { mounted, is_signed, sector: table.sector, names }))
}

/// Offset and length of the file system in one of prebake's disk images; `None` if the file is not a disk image or has
/// no root partition.
pub fn filesystem(file: &File) -> Result<Option<(u64, u64)>, gpt::Error> {
    let root = |volumes: Volumes| volumes.mounted.into_iter().find(|volume| volume.at.is_empty());
    Ok(volumes(file)?.and_then(root).map(|volume| (volume.start, volume.length)))
}

fn half(hash: &[u8; 32], at: usize) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[at..at + 16]);
    half
}

fn digest(file: &File, length: u64) -> io::Result<Sha256> {
    let mut hashing = crate::base::digest::Hashing::new(io::sink());
    let mut buffer = vec![0; CHUNK as usize];
    let mut at = 0;
    while at < length {
        let chunk = &mut buffer[..CHUNK.min(length - at) as usize];
        file.read_exact_at(chunk, at)?;
        hashing.update(chunk);
        at += chunk.len() as u64;
    }
    Ok(hashing.finish().1)
}

/// Moves the first `length` bytes of a file up by `by` bytes, starting with the last ones.
fn shift(file: &File, length: u64, by: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK as usize];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let chunk = &mut buffer[..(end - start) as usize];
        file.read_exact_at(chunk, start)?;
        file.write_all_at(chunk, start + by)?;
        end = start;
    }
    file.write_all_at(&vec![0; by as usize], 0)
}
