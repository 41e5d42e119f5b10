//! What an extension says of itself, whoever built it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::base::Base;
use super::extension::{Error, Extension, Fault, Form};
use super::identify::Format;
use super::merge::Merge;
use super::rules::{self, Breach};
use crate::base::finding::Finding;
use crate::format::image::Kind;

/// An extension, looked at.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// The name that it must be merged under, by its extension-release file, where it has one.
    pub name: Option<String>,
    /// The fields of that file.
    pub release: BTreeMap<String, String>,
    /// `squashfs`, `erofs`, `gpt`, `directory` or the name of another file system.
    pub format: &'static str,
    /// The file system that is merged, where a disk image holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<&'static str>,
    /// What its data is compressed with, where the format says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<&'static str>,
    /// Block size in bytes, where the format has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// Bytes of the image; of a directory, of its files.
    pub length: u64,
    /// Bytes of all files together, uncompressed.
    pub size: u64,
    /// Seconds since 1970 at which the image says it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Files, links and directories, sorted by path.
    pub entries: Vec<Row>,
}

/// One entry.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Absolute, as it will be on the node.
    pub path: String,
    /// `dir`, `file`, `link` or `special`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u16,
    /// Length of a file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What a link points at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Number of the inode, where several names are one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// Looks at an image or directory, and judges what is in it by the rules as if it lay under the name that it wants.
pub fn inspect(path: &Path) -> Result<(Inspected, Vec<Finding>), Error> {
    let extension = Extension::open(path)?.under_its_own_name();
    if let Some(Fault::Broken(why)) = &extension.fault {
        return Err(Error::Broken { subject: extension.subject.clone(), why: why.clone() });
    }
    let release = extension.release()?;
    let (format, compression, block) = match extension.form {
        Form::Image(format) => described(format),
        Form::Directory | Form::Tree => ("directory", None, None),
    };
    let inner =
        extension.filesystems.last().filter(|_| extension.disk.is_some()).map(|inner| described(*inner));
    let (filesystem, compression, block) = match inner {
        Some((name, compression, block)) => (Some(name), compression, block),
        None => (None, compression, block),
    };
    let rows: Vec<Row> = extension
        .entries
        .iter()
        .map(|(path, seen)| {
            let (kind, size, target) = match &seen.kind {
                Kind::Dir => ("dir", None, None),
                Kind::File(size) => ("file", Some(*size), None),
                Kind::Symlink(target) => ("link", None, Some(target.clone())),
                Kind::Whiteout | Kind::Special => ("special", None, None),
            };
            Row { path: format!("/{path}"), kind, mode: seen.mode, size, target, inode: seen.inode }
        })
        .collect();
    let inspected = Inspected {
        name: extension.release_names().first().map(|_| extension.name().to_owned()),
        release: release.unwrap_or_default().0,
        format,
        filesystem,
        compression,
        block,
        length: extension.size,
        size: rows.iter().filter_map(|row| row.size).fold(0, u64::saturating_add),
        epoch: extension.time(),
        entries: rows,
    };
    let (base, alone) = (Base::well_known(), [extension]);
    let breaches = rules::judge(&Merge::new(&alone, &base))?;
    Ok((inspected, breaches.iter().map(Breach::finding).collect()))
}

/// Name, compression and block size.
fn described(format: Format) -> (&'static str, Option<&'static str>, Option<u32>) {
    match format {
        Format::Squashfs(superblock) => ("squashfs", Some(superblock.compression()), Some(superblock.block)),
        Format::Erofs(features) => ("erofs", features.algorithms().first().copied(), None),
        Format::Gpt => ("gpt", None, None),
        Format::Filesystem(name) => (name, None, None),
        Format::Empty | Format::Foreign(_) | Format::Unknown => ("unknown", None, None),
    }
}
