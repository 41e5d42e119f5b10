//! What an image says of itself, whoever built it.

use std::path::Path;

use serde::Serialize;

use super::release::{self, Release};
use super::rules;
use crate::format::squashfs::{Error, Image, Kind, Limits};
use crate::report::Finding;

/// An image, looked at.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// The name that the image must be merged under, by its extension-release file, where it has one.
    pub name: Option<String>,
    /// The fields of that file.
    pub release: std::collections::BTreeMap<String, String>,
    /// Seconds since 1970 at which the image says it was made.
    pub epoch: u32,
    /// Files, links and directories, sorted by path.
    pub entries: Vec<Row>,
    /// Bytes of all files together, uncompressed.
    pub size: u64,
}

/// One entry of an image.
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
}

/// Reads the tables of an image and its extension-release file, and judges what is in it by the rules.
pub fn inspect(path: &Path) -> Result<(Inspected, Vec<Finding>), Error> {
    let image = Image::open(path, Limits::default())?;
    let listed: Vec<_> = image.list().collect();
    let prefix = release::path("");
    let file =
        listed.iter().find(|entry| entry.path.starts_with(&prefix) && matches!(entry.kind, Kind::File(_)));
    let release = match file {
        Some(file) => Release::parse(&String::from_utf8_lossy(&image.read(&file.path)?)),
        None => Release::default(),
    };
    let name = file.map(|file| file.path[prefix.len()..].to_owned());
    let entries = listed.iter().map(|entry| (entry.path.as_str(), rules::Kind::from(&entry.kind)));
    let mut findings = rules::findings(name.as_deref().unwrap_or_default(), entries);
    if file.is_some() {
        findings.extend(release.faults().into_iter().map(|(message, fix)| Finding::error(message).hint(fix)));
    }
    let sizes = listed.iter().map(|entry| if let Kind::File(size) = entry.kind { size } else { 0 });
    let size = sizes.fold(0, u64::saturating_add);
    let rows = listed.into_iter().map(|entry| {
        let (kind, size, target) = match entry.kind {
            Kind::Dir => ("dir", None, None),
            Kind::File(size) => ("file", Some(size), None),
            Kind::Symlink(target) => ("link", None, Some(target)),
            Kind::Special => ("special", None, None),
        };
        Row { path: format!("/{}", entry.path), kind, mode: entry.mode, size, target }
    });
    let inspected =
        Inspected { name, release: release.0, epoch: image.time(), entries: rows.collect(), size };
    Ok((inspected, findings))
}
