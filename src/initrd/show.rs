//! Shows the content of an initrd, reading as little as possible.

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::path::Path;

use serde::Serialize;

use super::Error;
use super::seal::{self, Seal};
use super::segments::{Limits, Place, Segments, Start};
use crate::base::digest::Sha256;
use crate::base::finding::Finding;
use crate::format::cpio::padding::padding;
use crate::format::cpio::{Compression, Member};

/// The parts and members of an initrd.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Length of the file in bytes.
    pub size: u64,
    /// Its parts, in order, without gaps.
    pub parts: Vec<Part>,
    /// The members that were read, in order.
    pub members: Vec<Row>,
    /// Digest of the base, if prebake injected something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_sha256: Option<Sha256>,
    /// Warnings about silent behaviour of the kernel that the author may not expect.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A part of an initrd.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Part {
    /// Kind of the part.
    pub what: What,
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Its compression; for an unread part, that of the archive at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Number of its members, if they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<usize>,
}

/// Kind of a part of an initrd.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// An archive.
    Archive,
    /// Zeros.
    Padding,
    /// The file that prebake injected into, not read.
    Base,
    /// The overlay that prebake injected.
    Overlay,
    /// The record of the injection.
    Seal,
    /// An archive and everything after it: its end is known only once it is unpacked.
    Unread,
}

/// A member of an initrd.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Offset of its archive.
    pub archive: u64,
    /// Its path as written in the archive.
    pub path: String,
    /// Type and permission bits, octal.
    pub mode: String,
    /// Length of the member's body, in bytes.
    pub size: u32,
    /// Target of a symlink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Row {
    pub(crate) fn of(start: &Start, member: &Member) -> Self {
        Row {
            archive: start.offset,
            path: member.path.clone(),
            mode: format!("{:06o}", member.mode),
            size: member.size,
            target: member.link.clone(),
        }
    }
}

/// Shows a file of `size` bytes without unpacking anything. In a file that prebake joined, the seal and the headers of
/// the overlay are read; in any other file, the headers of its plain archives up to the first compressed one.
pub fn show(path: &Path, mut file: impl Read + Seek, size: u64) -> Result<Shown, Error> {
    let mut shown = Shown::new(size);
    let subject = path.display().to_string();
    let seal = Seal::read(path, &mut file, size)?;
    let mut segments = Segments::new(&subject, &mut file, Limits::default());
    segments.probe()?;
    if let Some(seal) = seal {
        let compression = segments.peek()?.and_then(|start| start.compression);
        shown.sealed(&seal, compression);
        let mut overlay = segments.starting_at(seal.overlay_offset());
        let read = overlay.next(&mut |place, member, _| {
            shown.members.push(Row::of(&place.start, member));
            Ok(())
        })?;
        let counted = read.map(|segment| segment.members);
        if let Some(part) = shown.parts.iter_mut().find(|part| part.what == What::Overlay) {
            part.members = counted;
        }
        return Ok(shown);
    }
    while let Some(start) = segments.peek()? {
        if let Some(compression) = start.compression {
            let (offset, length) = (start.offset, size - start.offset);
            shown.push(What::Unread, offset, length, Some(compression), None);
            return Ok(shown);
        }
        shown.next(&mut segments, None)?;
    }
    shown.pad(size);
    Ok(shown)
}

/// Shows all of a file, which is unpacked for that. After a fault, the content before it is still returned.
pub fn contents(
    path: &Path,
    mut file: impl Read + Seek,
    size: u64,
    limits: Limits,
) -> (Shown, Option<Error>) {
    let mut shown = Shown::new(size);
    let subject = path.display().to_string();
    let fault = (|| {
        let seal = Seal::read(path, &mut file, size)?;
        shown.base_sha256 = seal.map(|seal| seal.base_sha256);
        let mut segments = Segments::new(&subject, &mut file, limits);
        segments.probe()?;
        while shown.next(&mut segments, seal.as_ref())? {}
        shown.pad(size);
        Ok(())
    })();
    shown.judge_parents(&subject);
    (shown, fault.err())
}

impl Shown {
    fn new(size: u64) -> Self {
        Shown { size, parts: Vec::new(), members: Vec::new(), base_sha256: None, findings: Vec::new() }
    }

    fn push(
        &mut self,
        what: What,
        offset: u64,
        length: u64,
        compression: Option<Compression>,
        members: Option<usize>,
    ) {
        self.pad(offset);
        self.parts.push(Part { what, offset, length, compression, members });
    }

    /// Adds the zeros up to this offset as a part.
    fn pad(&mut self, until: u64) {
        let offset = self.parts.last().map_or(0, |part| part.offset + part.length);
        if until > offset {
            let length = until - offset;
            self.parts.push(Part { what: What::Padding, offset, length, compression: None, members: None });
        }
    }

    fn sealed(&mut self, seal: &Seal, compression: Option<Compression>) {
        self.base_sha256 = Some(seal.base_sha256);
        let overlay = seal.base_length + padding(seal.base_length);
        self.push(What::Base, 0, seal.base_length, compression, None);
        self.push(What::Overlay, overlay, seal.overlay_length, None, None);
        self.push(What::Seal, overlay + seal.overlay_length, seal::length(), None, None);
    }

    /// Reads the next archive; returns whether there was one.
    fn next<F: Read + Seek>(
        &mut self,
        segments: &mut Segments<'_, F>,
        seal: Option<&Seal>,
    ) -> Result<bool, Error> {
        let members = &mut self.members;
        let read = segments.next(&mut |place: &Place, member, _| {
            members.push(Row::of(&place.start, member));
            Ok(())
        })?;
        let Some(segment) = read else { return Ok(false) };
        let what = match seal.map(Seal::overlay_offset) {
            Some(overlay) if segment.start.offset == overlay => What::Overlay,
            Some(overlay) if segment.start.offset > overlay => What::Seal,
            _ => What::Archive,
        };
        let Start { offset, compression } = segment.start;
        self.push(what, offset, segment.length, compression, Some(segment.members));
        Ok(true)
    }

    /// The kernel drops a file without its directory, unless the kernel's own initramfs has that directory.
    fn judge_parents(&mut self, subject: &str) {
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut orphans = Vec::new();
        for row in &self.members {
            let path = row.path.trim_start_matches(['/', '.']).to_owned();
            match path.rsplit_once('/') {
                // A directory behind a link may exist at the link's target.
                Some((parent, _))
                    if !known.contains(parent) && !known.iter().any(|link| behind(parent, link)) =>
                {
                    orphans.push(row.path.clone());
                }
                _ => {}
            }
            match row.target {
                Some(_) => known.insert(format!("{path}/")),
                None if row.mode.starts_with("04") => known.insert(path),
                None => false,
            };
        }
        let Some(first) = orphans.first() else { return };
        let others =
            if orphans.len() > 1 { format!(" and {} more", orphans.len() - 1) } else { String::new() };
        let text = format!("{subject}: no earlier archive creates the directory of `{first}`{others}");
        let hint = "the kernel silently drops such a member, unless its own initramfs has the directory";
        self.findings.push(Finding::warning(text).hint(hint));
    }
}

/// Whether a directory is a link, or is below one; `link` ends with a slash if it is one.
fn behind(directory: &str, link: &str) -> bool {
    link.ends_with('/') && format!("{directory}/").starts_with(link)
}
