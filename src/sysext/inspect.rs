//! Reports an extension's own data, whoever built it.

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

/// An inspected extension.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// The name under which it must be merged, by its extension-release file, if it has one.
    pub name: Option<String>,
    /// The fields of the extension-release file.
    pub release: BTreeMap<String, String>,
    /// `squashfs`, `erofs`, `gpt`, `directory` or the name of another file system.
    pub format: &'static str,
    /// The file system that is merged, if it is inside a disk image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<&'static str>,
    /// Compression of its data, if the format states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<&'static str>,
    /// Block size in bytes, if the format has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// Bytes of the image; of a directory, the bytes of its files.
    pub length: u64,
    /// Total bytes of all files, uncompressed.
    pub size: u64,
    /// Creation time of the image, in seconds since 1970, as it states itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Files, links and directories, sorted by path.
    pub entries: Vec<Row>,
}

/// One entry of the extension.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Absolute path, as on the node.
    pub path: String,
    /// `dir`, `file`, `link` or `special`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u16,
    /// Length of a file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Target of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Number of the inode, if the file has several names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// Inspects an image or directory, and judges its content by the rules, as if it had the name in its release file.
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

/// Inspects an image that somebody else built: the name that it is merged under, by its release file, else that of the
/// image file; and the findings, each with the image's path.
///
/// # Errors
/// Those of [`inspect`].
pub fn foreign(image: &Path) -> Result<(String, Inspected, Vec<Finding>), Error> {
    let (inspected, mut findings) = inspect(image)?;
    let stem = image.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = inspected.name.clone().unwrap_or_else(|| stem.to_owned());
    for finding in &mut findings {
        finding.message = format!("{}: {}", image.display(), finding.message);
    }
    Ok((name, inspected, findings))
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
