//! FAT file systems, so far as to find a file by its path.
//!
//! Owns the boot sector, the table of clusters and directories of FAT12, FAT16 and FAT32, with long names (Microsoft,
//! "FAT: General Overview of On-Disk Format", 1.03). Leaves the contents of files, and writing, to others.

use std::io;

use crate::format::fields::{u8_at, u16_at, u32_at};
use crate::format::gpt::ReadAt;

/// Most clusters of a directory that are followed, so that a loop in the table ends.
const MOST_CLUSTERS: usize = 4096;
/// Most bytes of a directory that are read.
const MOST_DIRECTORY: usize = 4 << 20;
const ENTRY: usize = 32;
/// `ATTR_LONG_NAME`, and its mask.
const LONG: u8 = 0x0f;
/// `ATTR_VOLUME_ID` and `ATTR_DIRECTORY`.
const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;

/// Reasons why a file is not looked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read.
    #[error("cannot read {subject}")]
    Read {
        /// Name of the file system.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file system is damaged.
    #[error("{subject} is no intact FAT: {why}")]
    Damaged {
        /// Name of the file system.
        subject: String,
        /// The problem, in words.
        why: &'static str,
    },
}

/// A file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Length in bytes; 0 for directories.
    pub length: u64,
    /// First cluster.
    cluster: u32,
}

/// The width of the numbers in the table of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// An opened file system.
pub struct Filesystem<'r> {
    read: &'r ReadAt<'r>,
    subject: String,
    width: Width,
    /// Offset of the first table, in bytes.
    table: u64,
    /// Offset and length of the root directory of FAT12 and FAT16, in bytes.
    root: (u64, usize),
    /// First cluster of the root directory of FAT32.
    root_cluster: u32,
    /// Offset of cluster 2, in bytes.
    data: u64,
    /// Bytes of a cluster.
    cluster: usize,
    clusters: u32,
}

/// A number of 16 bits, for sums with wider ones.
fn word_at(bytes: &[u8], at: usize) -> u32 {
    u16_at(bytes, at).into()
}

impl<'r> Filesystem<'r> {
    /// Reads the boot sector of a file system that has `length` bytes at most; `subject` is its name, for messages.
    ///
    /// # Errors
    /// It cannot be read, or is no FAT.
    pub fn open(length: u64, read: &'r ReadAt<'r>, subject: &str) -> Result<Self, Error> {
        let damaged = |why| Error::Damaged { subject: subject.to_owned(), why };
        let mut boot = [0; 512];
        if length < boot.len() as u64 {
            return Err(damaged("it is shorter than a sector"));
        }
        read(0, &mut boot).map_err(|source| Error::Read { subject: subject.to_owned(), source })?;
        if boot[510..] != [0x55, 0xaa] {
            return Err(damaged("its boot sector has no signature"));
        }
        let (sector, per_cluster) = (word_at(&boot, 11), u32::from(u8_at(&boot, 13)));
        if !sector.is_power_of_two() || !(512..=4096).contains(&sector) || !per_cluster.is_power_of_two() {
            return Err(damaged("the lengths of its sectors and clusters make no sense"));
        }
        let (reserved, tables, entries) =
            (word_at(&boot, 14), u32::from(u8_at(&boot, 16)), word_at(&boot, 17));
        let wide = |short: u32, at: usize| if short == 0 { u32_at(&boot, at) } else { short };
        let (total, per_table) = (wide(word_at(&boot, 19), 32), wide(word_at(&boot, 22), 36));
        let sector = u64::from(sector);
        let table = u64::from(reserved) * sector;
        let root = table + u64::from(tables) * u64::from(per_table) * sector;
        let root_length = entries as usize * ENTRY;
        let data = (root + root_length as u64).next_multiple_of(sector);
        let end = u64::from(total) * sector;
        let cluster = u64::from(per_cluster) * sector;
        if reserved == 0 || tables == 0 || per_table == 0 || end > length || data >= end {
            return Err(damaged("its parts have no room in it"));
        }
        // The number of clusters alone decides about the width (section "FAT Type Determination").
        let clusters = (end - data) / cluster;
        let width = match clusters {
            0..4085 => Width::Twelve,
            4085..65525 => Width::Sixteen,
            _ => Width::ThirtyTwo,
        };
        Ok(Filesystem {
            read,
            subject: subject.to_owned(),
            width,
            table,
            root: (root, root_length),
            root_cluster: u32_at(&boot, 44),
            data,
            cluster: cluster as usize,
            clusters: u32::try_from(clusters).map_err(|_| damaged("it has too many clusters"))?,
        })
    }

    fn damaged(&self, why: &'static str) -> Error {
        Error::Damaged { subject: self.subject.clone(), why }
    }

    fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        let read = (self.read)(at, &mut bytes);
        read.map_err(|source| Error::Read { subject: self.subject.clone(), source })?;
        Ok(bytes)
    }

    /// The cluster after this one; `None` at the end.
    fn next(&self, cluster: u32) -> Result<Option<u32>, Error> {
        let cluster = u64::from(cluster);
        let (next, end) = match self.width {
            Width::Twelve => {
                let pair = word_at(&self.bytes(self.table + cluster + cluster / 2, 2)?, 0);
                (if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }, 0xff8)
            }
            Width::Sixteen => (word_at(&self.bytes(self.table + cluster * 2, 2)?, 0), 0xfff8),
            Width::ThirtyTwo => {
                (u32_at(&self.bytes(self.table + cluster * 4, 4)?, 0) & 0x0fff_ffff, 0x0fff_fff8)
            }
        };
        Ok((next < end).then_some(next))
    }

    /// The entries of a directory; that of cluster 0 is the root.
    fn directory(&self, cluster: u32) -> Result<Vec<u8>, Error> {
        let mut cluster = match (cluster, self.width) {
            (0, Width::ThirtyTwo) => self.root_cluster,
            (0, _) => return self.bytes(self.root.0, self.root.1),
            (cluster, _) => cluster,
        };
        let mut bytes = Vec::new();
        for _ in 0..MOST_CLUSTERS {
            let number = cluster.checked_sub(2).filter(|number| *number < self.clusters);
            let number = number.ok_or_else(|| self.damaged("a directory lies outside of it"))?;
            let at = self.data + u64::from(number) * self.cluster as u64;
            let more = self.bytes(at, self.cluster)?;
            let is_ended = more.chunks_exact(ENTRY).any(|entry| entry[0] == 0);
            bytes.extend(more);
            match self.next(cluster)? {
                Some(next) if !is_ended && bytes.len() < MOST_DIRECTORY => cluster = next,
                Some(_) if !is_ended => return Err(self.damaged("a directory is too long")),
                _ => return Ok(bytes),
            }
        }
        Err(self.damaged("a directory has no end"))
    }

    /// Finds a file or directory by its path, with slashes between names and without regard to case.
    ///
    /// # Errors
    /// The image cannot be read, or a directory on the way is damaged.
    pub fn find(&self, path: &str) -> Result<Option<Found>, Error> {
        let mut found = Found { is_directory: true, length: 0, cluster: 0 };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !found.is_directory {
                return Ok(None);
            }
            let entries = self.directory(found.cluster)?;
            match self.named(&entries, name) {
                Some(entry) => found = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The entry of this name, long or short.
    fn named(&self, entries: &[u8], wanted: &str) -> Option<Found> {
        let is_same = |name: &str| name.to_lowercase() == wanted.to_lowercase();
        let mut long: Vec<u16> = Vec::new();
        for entry in entries.chunks_exact(ENTRY) {
            match (entry[0], entry[11]) {
                (0, _) => return None,
                // Removed.
                (0xe5, _) => long.clear(),
                (_, attributes) if attributes & 0x3f == LONG => {
                    // The last part comes first, and parts have 13 units in three fields.
                    let fields = [&entry[1..11], &entry[14..26], &entry[28..32]];
                    let units = fields.into_iter().flat_map(|field| field.chunks_exact(2));
                    let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                    let mut part: Vec<u16> = units.take_while(|unit| ![0, 0xffff].contains(unit)).collect();
                    if entry[0] & 0x40 == 0 {
                        part.append(&mut long);
                    }
                    part.truncate(255);
                    long = part;
                }
                (_, attributes) => {
                    let name = String::from_utf16_lossy(&std::mem::take(&mut long));
                    if attributes & VOLUME == 0 && (is_same(&name) || is_same(&short(entry))) {
                        let high = if self.width == Width::ThirtyTwo { word_at(entry, 20) << 16 } else { 0 };
                        let is_directory = attributes & DIRECTORY != 0;
                        let length = if is_directory { 0 } else { u32_at(entry, 28).into() };
                        return Some(Found { is_directory, length, cluster: high | word_at(entry, 26) });
                    }
                }
            }
        }
        None
    }
}

/// The short name of an entry: `NAME.EXT`.
fn short(entry: &[u8]) -> String {
    let text = |range: std::ops::Range<usize>| {
        let field = entry.get(range).unwrap_or_default();
        String::from_utf8_lossy(field).trim_end_matches(' ').to_owned()
    };
    let (name, extension) = (text(0..8), text(8..11));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}
