//! The room on OEM: estimated from above, so that what is taken for granted fits.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Entry, Node, Oem, Source, extension_name};
use crate::base::size::Bytes;
use crate::disk::Error;

/// Bytes that a small btrfs takes beside data: 5 MiB before the first chunk, 64 KiB around the second superblock, nine
/// trees.
const FIXED: u64 = (5 << 20) + (64 << 10) + (64 << 10);
/// Bytes of metadata for each entry, generously: an inode, three items for its name, and half-filled leaves.
const PER_ENTRY: u64 = 1 << 10;
/// A file of up to this many bytes is stored in its leaf.
const INLINE: u64 = 2048;
/// Unit of data, in bytes.
const BLOCK: u64 = 4096;

/// The room on OEM, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Length of the partition.
    pub length: u64,
    /// Bytes of files and of the file system's tables, estimated from above.
    pub there: u64,
    /// Bytes that must stay free: twice the platform's own extension, because an update puts the next one beside it
    /// (`oem-postinst` keeps two).
    pub reserve: u64,
    /// Bytes that are left for more.
    pub free: u64,
}

/// A file of the image as it will be written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of data, without holes; 0 for the second and further names of a file.
    pub bytes: u64,
    /// Bytes of those that are stored compressed now, and bytes that they are stored in; they are written unpacked.
    pub packed: (u64, u64),
}

impl<K: Clone> Oem<K> {
    /// Says what the files of the image take, by path. Without that each takes its length.
    pub fn count(&mut self, kept: BTreeMap<String, Kept>) {
        self.kept = kept;
    }

    /// Bytes of the files that are stored compressed, and what they are stored in.
    fn packed(&self) -> (u64, u64) {
        let is_there = |path: &str| {
            let node = self.entries.get(path).map(|entry| &entry.node);
            matches!(node, Some(Node::File(_, Source::Kept(_))))
        };
        let rows = self.kept.iter().filter(|(path, _)| is_there(path)).map(|(_, kept)| kept.packed);
        rows.fold((0, 0), |(all, stored), (bytes, packed)| {
            (all.saturating_add(bytes), stored.saturating_add(packed))
        })
    }

    /// A note about files that are stored compressed: writing them unpacks them.
    pub fn unpacked(&self) -> Option<String> {
        match self.packed() {
            (0, _) => None,
            (bytes, stored) => Some(format!(
                "{} of files on OEM are stored compressed, in {}; where OEM is written anew they are unpacked",
                Bytes(bytes),
                Bytes(stored)
            )),
        }
    }

    /// Bytes that an entry takes in the file system, estimated from above.
    fn cost(&self, path: &str, entry: &Entry<K>) -> u64 {
        let data = match &entry.node {
            Node::File(size, source) if *size > INLINE => {
                let known = self.kept.get(path).filter(|_| matches!(source, Source::Kept(_)));
                let size = known.map_or(*size, |kept| kept.bytes);
                let rounded = size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
                // Four bytes of checksum for each block, in leaves that may be half full.
                rounded.saturating_add(rounded / BLOCK * 8)
            }
            Node::File(size, _) => size * 2,
            _ => 0,
        };
        data.saturating_add(PER_ENTRY)
    }

    /// The room on it.
    pub fn room(&self) -> Room {
        let costs = self.entries.iter().map(|(path, entry)| self.cost(path, entry));
        let there = costs.fold(FIXED, u64::saturating_add);
        let extensions = self.entries.iter().filter(|(path, _)| extension_name(path).is_some());
        let reserve =
            extensions.map(|(path, entry)| self.cost(path, entry)).max().unwrap_or(0).saturating_mul(2);
        let free = self.length.saturating_sub(there).saturating_sub(reserve);
        Room { length: self.length, there, reserve, free }
    }

    /// The reason for which so much is there, in words, with a blank before it.
    fn unpacked_why(&self) -> String {
        match self.packed() {
            (0, _) => String::new(),
            (bytes, stored) => {
                format!(" ({bytes} of them were compressed in {stored}, and are written unpacked)")
            }
        }
    }

    /// Fails if there is no room for what was added to `stock`.
    pub(super) fn must_fit(&self, stock: &Self) -> Result<(), Error> {
        let (room, before) = (self.room(), stock.room());
        let needed = room.there.saturating_add(room.reserve);
        if needed <= self.length {
            return Ok(());
        }
        let mut added: Vec<_> =
            self.entries.iter().filter(|(path, _)| !stock.entries.contains_key(*path)).collect();
        added.sort_by_key(|(path, entry)| std::cmp::Reverse(self.cost(path, entry)));
        let largest = added.iter().filter_map(|(path, entry)| match &entry.node {
            Node::File(size, _) => Some(format!("{path} {size}")),
            _ => None,
        });
        let reserve_why = match room.reserve {
            0 => String::new(),
            _ => " for the platform's extension of the next two releases".into(),
        };
        Err(Error::Room {
            subject: self.subject.clone(),
            length: self.length,
            there: before.there,
            there_why: self.unpacked_why(),
            asked: room.there.saturating_sub(before.there),
            largest: largest.take(3).collect::<Vec<_>>().join(", "),
            reserve: room.reserve,
            reserve_why,
            missing: needed - self.length,
        })
    }
}

/// The room in words: `12.00 MiB used, 88.00 MiB free, 28.00 MiB kept for updates`.
impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} used, {} free", Bytes(self.there), Bytes(self.free))?;
        match self.reserve {
            0 => Ok(()),
            reserve => write!(f, ", {} kept for updates", Bytes(reserve)),
        }
    }
}
