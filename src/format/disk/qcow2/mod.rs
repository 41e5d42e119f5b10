//! QEMU's images, `qcow2`, versions 2 and 3.
//!
//! Owns the bytes of the container, after QEMU's `qcow2.txt`. An image is read in its active state:
//! internal snapshots are ignored; backing files, encryption, data outside of the file and extended tables are
//! refused. Images are written as Flatcar publishes them: version 2 (`compat=0.10`) with deflated clusters of 64 KiB.
//! Leaves the meaning of the disk to others.
//!
//! Written images have, in this order: a cluster with the header; the data; the second-level tables; the first-level
//! table; reference counts. All but the header stand at the end, so nothing has to be known before, and no table is
//! written twice.

mod customise;
mod read;
mod write;

pub use customise::{Patch, Pour, customise};
pub use read::Image;
pub use write::Writer;

/// Part of step keys; raised when the bytes for the same disk change.
pub(crate) const REVISION: u32 = 2;

/// First bytes of an image.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Length of the header of version 2, in bytes.
const HEADER_2: usize = 72;
/// Length of the header of version 3 with the compression type, in bytes.
const HEADER_3: usize = 112;
/// Bits of the shortest and longest cluster's length: 512 bytes to 2 MiB, as QEMU has it.
const BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Longest first-level table, in bytes (`QCOW_MAX_L1_SIZE` of QEMU).
const MOST_L1: u64 = 32 << 20;
/// Entry: the cluster is referred to once. Without meaning for readers.
const COPIED: u64 = 1 << 63;
/// Second-level entry: the cluster is compressed.
const PACKED: u64 = 1 << 62;
/// Second-level entry of version 3: the cluster reads as zeros, whatever its offset.
const ZERO: u64 = 1;
/// Bits of an entry that hold an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Unit in which an entry states the length of a compressed cluster, in bytes.
const SECTOR: u64 = 512;
/// Binary logarithm of the window that zlib may use: QEMU reads clusters with one of 4 KiB (`block/qcow2-threads.c`).
const WINDOW_BITS: u8 = 12;
/// Incompatible feature of version 3: the clusters' compression is named in the header.
const COMPRESSION_TYPE: u64 = 1 << 3;

/// How clusters are stored. It determines the bytes, so all of it belongs into step keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Uncompressed, in version 2.
    Plain,
    /// Deflated at a level from 0 to 9, in version 2, which every program reads.
    Deflate(u32),
    /// zstd at a level from 1 to 22, in version 3: for QEMU 5.1 and newer.
    Zstd(i32),
}

impl Default for Packing {
    /// zlib's own level, which QEMU uses.
    fn default() -> Self {
        Packing::Deflate(6)
    }
}

/// Shape of a written image. It determines the bytes, so all of it belongs into step keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How clusters are stored.
    pub packing: Packing,
    /// Binary logarithm of a cluster's length, 9 to 21.
    pub bits: u32,
}

impl Default for Options {
    /// Clusters of 64 KiB, deflated.
    fn default() -> Self {
        Options { packing: Packing::default(), bits: 16 }
    }
}

/// Shift of the number of additional sectors in the entry of a compressed cluster; bits below hold the offset.
fn sectors_shift(bits: u32) -> u32 {
    62 - (bits - 8)
}

/// The entry of a compressed cluster that is `length` bytes long at offset `at`, with `bits` of a cluster's length.
/// `None` if it does not fit.
fn packed_entry(at: u64, length: u64, bits: u32) -> Option<u64> {
    let shift = sectors_shift(bits);
    let sectors = (at + length.max(1) - 1) / SECTOR - at / SECTOR;
    (at >> shift == 0 && sectors >> (bits - 8) == 0).then_some(PACKED | sectors << shift | at)
}

/// Offset and end of a compressed cluster by its entry. The end is that of its last sector; the cluster's own is
/// unknown.
fn packed_range(entry: u64, bits: u32) -> std::ops::Range<u64> {
    let shift = sectors_shift(bits);
    let at = entry & ((1 << shift) - 1);
    let sectors = (entry & (PACKED - 1)) >> shift;
    at..(at / SECTOR + sectors + 1) * SECTOR
}
