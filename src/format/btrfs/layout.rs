//! Places and sizes in a filesystem that is written, and the options that decide about it.

use super::superblock::{COPIES, STRIPE};

/// Bytes of a tree block. Mixed block groups want tree blocks of the size of sectors.
pub(super) const NODE: usize = 4096;
/// Bytes of a unit of data.
pub(super) const SECTOR: u64 = 4096;
/// Bytes of a tree block for items.
pub(super) const ROOM: usize = NODE - super::node::HEADER;
/// Most bytes of a payload: that of a leaf's only item.
pub(super) const MOST_PAYLOAD: usize = ROOM - super::node::ITEM;
/// Most pointers in an inner node.
pub(super) const FAN: usize = ROOM / super::node::POINTER;
/// Most checksums in an item: more fit, and Linux reads them, but `btrfs check` finds them too large
/// (`MAX_CSUM_ITEMS`).
pub(super) const MOST_SUMS: usize = (ROOM - 2 * super::node::ITEM) / 4 - 1;
/// Longest extent (`BTRFS_MAX_EXTENT_SIZE`), in bytes.
pub(super) const MOST_EXTENT: u64 = 128 << 20;
/// Longest file that is stored in the tree: the default of Linux' mount option `max_inline`, in bytes.
pub(super) const MOST_INLINE: u64 = 2048;

pub(super) const MIB: u64 = 1 << 20;
/// The chunk for the chunk tree.
pub(super) const SYSTEM: (u64, u64) = (MIB, 4 * MIB);
/// Beginning of the chunk for everything else.
pub(super) const MIXED: u64 = 5 * MIB;
/// Its length is at least this, and a multiple of [`MIXED_UNIT`] if the device is long enough.
pub(super) const MIXED_LEAST: u64 = 8 * MIB;
pub(super) const MIXED_UNIT: u64 = 16 * MIB;

/// How a kernel will compress the files that it writes later, as `btrfs property set PATH compression …` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// `zlib`, as on a stock OEM partition.
    Zlib,
    /// `zstd`.
    Zstd,
}

impl Property {
    /// The attribute's name.
    pub(super) const NAME: &str = "btrfs.compression";

    pub(super) fn value(self) -> &'static str {
        match self {
            Property::Zlib => "zlib",
            Property::Zstd => "zstd",
        }
    }
}

/// Settings of a filesystem that is written. They determine the bytes, so all of them belong into step keys.
#[derive(Clone, Debug)]
pub struct Options<'o> {
    /// Length of the partition, in bytes.
    pub length: u64,
    /// The label: at most 255 bytes, without NUL and line feed.
    pub label: &'o str,
    /// Time of everything that has no time of its own, in seconds since 1970.
    pub epoch: u64,
    /// The UUIDs are made of it. Two filesystems with the same ones cannot be mounted at a time, so it should be a key
    /// of the contents.
    pub seed: &'o str,
    /// Set on all directories and files that do not have the property already. Nothing is compressed here.
    pub compression: Option<Property>,
}

/// The addresses that are still free. Those around a copy of the superblock are left out: they belong to no extent.
#[derive(Clone, Debug)]
pub(super) struct Space {
    next: u64,
}

impl Space {
    /// From an address on.
    pub(super) fn from(next: u64) -> Self {
        Space { next }
    }

    /// The next free address.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that are free from the next address on, as far as the next copy of a superblock.
    fn room(&mut self) -> u64 {
        for copy in COPIES {
            if (copy..copy + STRIPE).contains(&self.next) {
                self.next = copy + STRIPE;
            }
        }
        let copies = COPIES.into_iter().filter(|copy| *copy > self.next);
        copies.min().map_or(u64::MAX, |copy| copy - self.next)
    }

    /// Takes at most `most` bytes, a multiple of [`SECTOR`], for one extent: its address and length.
    pub(super) fn extent(&mut self, most: u64) -> (u64, u64) {
        let length = most.min(self.room()).min(MOST_EXTENT);
        let address = self.next;
        self.next += length;
        (address, length)
    }

    /// Takes a tree block: its address.
    pub(super) fn block(&mut self) -> u64 {
        self.extent(NODE as u64).0
    }
}

/// Bytes around copies of the superblock within a range of addresses.
pub(super) fn reserved(start: u64, end: u64) -> u64 {
    let within = |copy: u64| (copy + STRIPE).min(end).saturating_sub(copy.max(start));
    COPIES.into_iter().map(within).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_end_before_a_copy_of_the_superblock_and_go_on_behind_it() {
        let mut space = Space::from(64 * MIB - 8192);
        assert_eq!(space.block(), 64 * MIB - 8192);
        assert_eq!(space.extent(MIB), (64 * MIB - 4096, 4096));
        assert_eq!(space.extent(MIB), (64 * MIB + STRIPE, MIB));
        assert_eq!(space.extent(1 << 40).1, MOST_EXTENT);
        assert_eq!(reserved(MIXED, 64 * MIB + 4096), 4096);
        assert_eq!(reserved(MIXED, 1 << 30), STRIPE);
    }
}
