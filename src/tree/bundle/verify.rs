//! Checks every byte of a bundle: headers, data, padding and end, each against what follows from the index.

use std::os::unix::fs::FileExt;
use std::{fmt, io};

use serde::Serialize;

use super::index::Index;
use super::layout::Place;
use super::open::Bundle;
use super::{Error, Extent};
use crate::base::count::counted;
use crate::base::digest::Hashing;
use crate::base::{disk, parallel};
use crate::format::tar::{BLOCK, END, Kind, Seen};
use crate::tree::manifest::Manifest;
use crate::tree::names;

/// Bytes that each thread reads in one call.
const CHUNK: usize = 256 << 10;

/// One byte or range that differs from what the index implies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Flaw {
    /// Offset of its beginning in the file.
    pub at: u64,
    /// The member that it belongs to; `None` after the last one.
    pub member: Option<String>,
    /// The fault, in words.
    pub what: String,
}

impl Flaw {
    /// Bytes of a member that do not have its digest.
    pub(super) fn data(member: &str, start: u64, size: u64) -> Self {
        let what = format!("its content ({}) does not have the digest in the index", counted(size, "byte"));
        Flaw { at: start, member: Some(member.into()), what }
    }

    /// A byte after a member's data that is not zero.
    pub(super) fn padding(member: &str, at: u64) -> Self {
        Flaw { at, member: Some(member.into()), what: "the padding after it is not zero".into() }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let member = self.member.as_deref().unwrap_or("after the last member");
        write!(f, "{member}, at byte {}: {}", self.at, self.what)
    }
}

/// Result of [`Bundle::verify`].
#[derive(Debug, Default)]
pub struct Report {
    /// Number of members, links included.
    pub members: usize,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// All damage, in the order of the file.
    pub flaws: Vec<Flaw>,
}

impl Bundle {
    /// Reads every byte once, on all CPUs.
    pub fn verify(&self) -> Result<Report, Error> {
        let members = self.layout().members();
        let found = parallel::map(
            members,
            || vec![0; CHUNK],
            |buffer, place| {
                let header = self.header_flaw(place)?;
                Ok::<_, Error>([header, self.data_flaw(place, buffer)?, self.padding_flaw(place)?])
            },
        )?;
        let mut flaws: Vec<Flaw> = found.into_iter().flatten().chain([self.end_flaw()?]).flatten().collect();
        flaws.sort();
        Ok(Report { members: members.len(), bytes: self.layout().length(), flaws })
    }

    /// Checks everything but the data: `tar` then shows the same archive that the index describes.
    pub(crate) fn check_frame(&self) -> Result<(), Error> {
        for place in self.layout().members() {
            if let Some(flaw) = self.header_flaw(place)?.or(self.padding_flaw(place)?) {
                return Err(self.damaged(flaw));
            }
        }
        self.end_flaw()?.map_or(Ok(()), |flaw| Err(self.damaged(flaw)))
    }

    /// Passes a member's bytes on in pieces, unchecked.
    pub(super) fn read_pieces<E: From<Error>>(
        &self,
        extent: Extent,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut position, end) = (extent.start, extent.start + extent.size);
        while position < end {
            let length = (end - position).min(buffer.len() as u64) as usize;
            self.fill(&mut buffer[..length], position)?;
            take(&buffer[..length])?;
            position += length as u64;
        }
        Ok(())
    }

    pub(super) fn header_flaw(&self, place: &Place) -> Result<Option<Flaw>, Error> {
        let expected = self.layout().header(place);
        let mut found = vec![0; expected.len()];
        self.fill(&mut found, place.header)?;
        let Some(at) = found.iter().zip(&expected).position(|(found, expected)| found != expected) else {
            return Ok(None);
        };
        let kind = if place.same_as.is_some() { Kind::HardLink } else { Kind::File };
        let last = found.last_chunk::<{ BLOCK as usize }>().and_then(Seen::parse);
        let what = match last {
            Some(Seen { kind: Kind::Foreign(foreign), path, .. }) => {
                format!("the archive has {foreign} `{}` in its place", path.escape_debug())
            }
            Some(seen) if seen.kind != kind || !place.path.ends_with(&seen.path) => {
                format!("the archive has `{}` in its place", seen.path.escape_debug())
            }
            _ => "its header does not match the index".into(),
        };
        Ok(Some(Flaw { at: place.header + at as u64, member: Some(place.path.clone()), what }))
    }

    fn data_flaw(&self, place: &Place, buffer: &mut [u8]) -> Result<Option<Flaw>, Error> {
        // The data of a link are read with the member that it links to.
        let extent = self.extent(&place.path).filter(|_| place.same_as.is_none());
        let Some(extent) = extent else { return Ok(None) };
        let mut hashing = Hashing::new(io::sink());
        self.read_pieces(extent, buffer, |piece| {
            hashing.update(piece);
            Ok::<_, Error>(())
        })?;
        let (_, found, _) = hashing.finish();
        Ok((found != extent.sha256).then(|| Flaw::data(&place.path, extent.start, extent.size)))
    }

    fn padding_flaw(&self, place: &Place) -> Result<Option<Flaw>, Error> {
        let start = place.data + place.size;
        let at = self.first_not_zero(start, place.end())?;
        Ok(at.map(|at| Flaw::padding(&place.path, at)))
    }

    fn end_flaw(&self) -> Result<Option<Flaw>, Error> {
        let length = self.layout().length();
        let at = self.first_not_zero(length - END, length)?;
        let what = "the end of the archive is not zero".to_owned();
        Ok(at.map(|at| Flaw { at, member: None, what }))
    }

    fn first_not_zero(&self, start: u64, end: u64) -> Result<Option<u64>, Error> {
        let mut bytes = vec![0; (end - start) as usize];
        self.fill(&mut bytes, start)?;
        Ok(bytes.iter().position(|byte| *byte != 0).map(|at| start + at as u64))
    }

    fn fill(&self, buffer: &mut [u8], position: u64) -> Result<(), Error> {
        Ok(self.file().read_exact_at(buffer, position).map_err(disk::Error::io("read", self.path()))?)
    }
}

/// How a tree in a bundle differs from its manifest, which has these bytes; `None` if it does not.
pub(super) fn tree_flaw(index: &Index, tree: &str, manifest: &Manifest, bytes: &[u8]) -> Option<String> {
    if manifest.name != tree {
        return Some(format!("its manifest calls it `{}`", manifest.name.escape_debug()));
    }
    // The BUILD-ID is taken over these bytes, and an import writes the manifest anew.
    if manifest.to_bytes() != bytes {
        return Some("its manifest is not in prebake's canonical form".into());
    }
    let same = |path: &str| {
        let member = index.members.get(&format!("{}{path}", super::index::directory(tree)));
        member.is_some_and(|member| {
            let file = &manifest.files[path];
            (member.size, member.sha256, member.executable) == (file.size, file.sha256, false)
        })
    };
    if let Some(path) = manifest.files.keys().find(|path| !same(path)) {
        return Some(format!("`{path}` is missing or differs"));
    }
    let named = |path: &str| {
        manifest.files.contains_key(path) || path == names::MANIFEST || names::BESIDE.contains(&path)
    };
    let (path, _) = index.tree(tree).find(|(path, _)| !named(path))?;
    Some(format!("`{path}` is in no manifest"))
}
