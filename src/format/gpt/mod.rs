//! GUID partition tables: read from either end of a disk, edited, and written for both ends.
//!
//! Owns the tables (UEFI specification 2.10, chapter 5): the protective MBR with the boot code before it, the header
//! and entries at the beginning, their copy at the end. Entries, attributes, boot code and the MBR's other partitions
//! are kept bit for bit where nothing asks for a change. Leaves the partitions' contents to others, and the choice of
//! partitions to `disk` and `sysext`.

mod entry;
mod grow;
mod mbr;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::io;

use flate2::Crc;

use entry::ENTRY;
pub use entry::{Guid, Partition};

/// Part of step keys; raised when the bytes for the same table change.
pub const REVISION: u32 = 1;

/// Bytes of a sector, when a table is made anew.
pub const SECTOR: u64 = 512;
/// Sector sizes that are tried when reading, in bytes: nothing in an image states the size, so systemd tries these too
/// (`probe_sector_size` of dissect-image.c, since 253).
const SECTORS: [u64; 4] = [512, 1024, 2048, 4096];
/// Number of entries in a new table: the fewest that the specification allows.
const ENTRIES: usize = 128;
/// Number of sectors for the entries of a new table.
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
/// Bytes of a header, by the specification's present fields.
const HEADER: usize = 92;
/// Most entries that are read.
const MAX_ENTRIES: u32 = 1024;
/// Most bytes between a header and its entries that are kept: boot loaders of some boards have up to 8 MiB there.
const MOST_GAP: u64 = 16 << 20;
/// Bytes at the beginning of a disk that hold a table of 128 entries with sectors of 512 bytes: 34 sectors.
pub const HEAD: usize = (2 + ENTRY_SECTORS as usize) * SECTOR as usize;

/// A departure from an intact table with a protective MBR, at which nothing needs to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The table at the beginning could not be used; the one at the end was.
    Primary(&'static str),
    /// The copy at the end is missing or differs.
    Backup(&'static str),
    /// The copy is not at the end of the image: something made the image longer. Both in bytes.
    Inside {
        /// The length of the disk by the table.
        length: u64,
        /// The length of the image.
        image: u64,
    },
    /// The MBR lists partitions beside the protective one, for firmware and tools that know no GPT.
    Hybrid,
    /// The MBR has no protective partition.
    Unprotected,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Primary(why) => {
                write!(
                    f,
                    "the partition table at the beginning is damaged ({why}); its copy at the end is used"
                )
            }
            Finding::Backup(why) => write!(f, "the copy of the partition table at the end is damaged: {why}"),
            Finding::Inside { length, image } => write!(
                f,
                "the copy of the partition table ends at byte {length}, and the image at byte {image}"
            ),
            Finding::Hybrid => {
                f.write_str("the MBR lists partitions of its own beside the partition table (hybrid)")
            }
            Finding::Unprotected => f.write_str("the MBR has no protective partition"),
        }
    }
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The disk's GUID.
    pub disk: Guid,
    /// Bytes of a sector.
    pub sector: u64,
    /// The partitions, in the order of their entries.
    pub partitions: Vec<Partition>,
    /// Length of the disk in bytes: the copy of the header is in its last sector.
    pub length: u64,
    /// Departures that were seen while reading.
    pub findings: Vec<Finding>,
    /// The first sector, with boot code.
    mbr: Vec<u8>,
    /// The sectors between the header at the beginning and its entries, which a boot loader may have for itself.
    gap: Vec<u8>,
    /// All entries as they were read.
    entries: Vec<u8>,
    /// The first sector that partitions may use.
    first_usable: u64,
}

/// Reasons why a table cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read.
    #[error("cannot read the partition table")]
    Read(#[from] io::Error),
    /// The table is damaged.
    #[error("the partition table is damaged: {0}")]
    Damaged(&'static str),
    /// The partitions reach beyond a new length of the disk.
    #[error(
        "a disk of {asked} bytes is too short: the partition `{name}` and the table after it end at byte {needed}"
    )]
    Short {
        /// The asked length in bytes.
        asked: u64,
        /// The name of the last partition.
        name: String,
        /// The least length, in bytes.
        needed: u64,
    },
    /// A partition that cannot grow where it is.
    #[error("the partition `{name}` cannot grow to {asked} bytes: {why}")]
    Fixed {
        /// The partition's name.
        name: String,
        /// The asked length in bytes.
        asked: u64,
        /// The reason, in words.
        why: String,
    },
}

/// Reads bytes at an offset; all of the buffer or an error.
pub type ReadAt<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + 'a;

impl Table {
    /// First offset where a partition may begin in a new table, in bytes: a multiple of 4096 after the table.
    pub const FIRST: u64 = ((2 + ENTRY_SECTORS) * SECTOR).next_multiple_of(4096);

    /// A new table of 128 entries, for a disk of `length` bytes, a multiple of 512. There may be at most 128
    /// partitions, numbered 1 to 128; they must begin and end at sector boundaries, after [`HEAD`] and before the room
    /// that [`Table::disk_length`] reserves at the end.
    pub fn new(disk: Guid, partitions: Vec<Partition>, length: u64) -> Self {
        Table {
            disk,
            sector: SECTOR,
            partitions,
            length,
            findings: Vec::new(),
            mbr: mbr::fresh(SECTOR, length / SECTOR - 1),
            gap: Vec::new(),
            entries: vec![0; ENTRIES * ENTRY],
            first_usable: 2 + ENTRY_SECTORS,
        }
    }

    /// The length of a disk image in bytes whose last partition ends at `end`.
    pub fn disk_length(end: u64) -> u64 {
        (end.next_multiple_of(SECTOR) + (ENTRY_SECTORS + 1) * SECTOR).next_multiple_of(4096)
    }

    /// Offsets of the headers that [`Table::read`] tries.
    pub fn headers() -> impl Iterator<Item = usize> {
        SECTORS.into_iter().map(|sector| sector as usize)
    }

    /// The partition of this name; the first, if there are several.
    pub fn named(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// The partitions of this type.
    pub fn of_kind(&self, kind: Guid) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(move |partition| partition.kind == kind)
    }

    /// The partition that lies last on the disk.
    pub fn last(&self) -> Option<&Partition> {
        self.partitions.iter().max_by_key(|partition| partition.start)
    }

    /// Whether the table at the beginning was damaged, and the copy at the end is used.
    pub fn from_backup(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Primary(_)))
    }

    /// Sectors of the entries.
    fn entry_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.sector)
    }

    /// Offset in bytes of the copy at the end, which is where the room for partitions ends.
    pub fn tail_start(&self) -> u64 {
        self.length.saturating_sub((self.entry_sectors() + 1) * self.sector)
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
