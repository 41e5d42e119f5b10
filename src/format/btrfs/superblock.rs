//! The superblock: where everything begins. A filesystem has up to three copies of it.

use super::Fault;
use super::key::object;
use super::node::checksum;
use crate::format::fields::{Fields, u8_at, u16_at, u32_at, u64_at, uuid_at};

/// Bytes of a superblock.
pub(super) const LENGTH: usize = 4096;
/// Offsets of the copies on the device (`btrfs_sb_offset`). A copy exists where the device is long enough for it.
pub(super) const COPIES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// Bytes around a copy, from its offset on, in which nothing else is stored (`BTRFS_STRIPE_LEN`).
pub(super) const STRIPE: u64 = 64 << 10;
/// Offset and room of the label, with its final NUL.
const LABEL: usize = 0x12b;
pub(super) const LABEL_ROOM: usize = 256;
/// Offset and room of the array with the chunks that hold the chunk tree.
const CHUNKS: usize = 0x32b;
const CHUNKS_ROOM: usize = 2048;
/// Offset and length of the description of the device.
const DEVICE: usize = 0xc9;
pub(super) const DEVICE_LENGTH: usize = 98;

const MAGIC: &[u8; 8] = b"_BHRfS_M";
/// `BTRFS_HEADER_FLAG_WRITTEN`, and the flag of a relocated block, which means nothing to a reader.
const FLAG_WRITTEN: u64 = 1;
const FLAG_RELOC: u64 = 2;

/// Features that a reader must know (`BTRFS_FEATURE_INCOMPAT_…`).
pub(super) mod incompat {
    pub const MIXED_BACKREF: u64 = 1;
    pub const DEFAULT_SUBVOLUME: u64 = 1 << 1;
    pub const MIXED_GROUPS: u64 = 1 << 2;
    pub const LZO: u64 = 1 << 3;
    pub const ZSTD: u64 = 1 << 4;
    pub const BIG_METADATA: u64 = 1 << 5;
    pub const EXTENDED_IREF: u64 = 1 << 6;
    pub const SKINNY_METADATA: u64 = 1 << 8;
    pub const NO_HOLES: u64 = 1 << 9;
    pub const METADATA_UUID: u64 = 1 << 10;
    /// The features that are read here. lzo is refused where a file uses it.
    pub const KNOWN: u64 = MIXED_BACKREF
        | DEFAULT_SUBVOLUME
        | MIXED_GROUPS
        | LZO
        | ZSTD
        | BIG_METADATA
        | EXTENDED_IREF
        | SKINNY_METADATA
        | NO_HOLES
        | METADATA_UUID;
    /// Names of others, for messages.
    pub const NAMES: [(u64, &str); 6] = [
        (1 << 7, "RAID 5 or 6"),
        (1 << 11, "RAID 1 with three or four copies"),
        (1 << 12, "zones"),
        (1 << 13, "an extent tree of version 2"),
        (1 << 14, "a tree of RAID stripes"),
        (1 << 16, "simple quotas"),
    ];
}

/// The free space tree exists and is right (`BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE` and `…_VALID`).
const COMPAT_RO: u64 = 3;

/// The fields that are used here.
#[derive(Clone, Debug, Default)]
pub(super) struct Superblock {
    /// UUID of the filesystem.
    pub fsid: [u8; 16],
    /// UUID in the headers of its tree blocks: the same, but for `METADATA_UUID`.
    pub metadata: [u8; 16],
    /// Number of the last transaction.
    pub generation: u64,
    /// Address and level of the root tree.
    pub root: (u64, u8),
    /// Address, level and generation of the chunk tree.
    pub chunks: (u64, u8, u64),
    /// Length of the device, in bytes.
    pub total: u64,
    /// Bytes of it in use.
    pub used: u64,
    /// Bytes of a unit of data, and of a tree block.
    pub sector: u32,
    pub node: u32,
    /// Features of [`incompat`].
    pub incompat: u64,
    /// The device item: [`DEVICE_LENGTH`] bytes.
    pub device: Vec<u8>,
    /// The label as stored, without NULs.
    pub label: Vec<u8>,
    /// Keys and items of the chunks that hold the chunk tree.
    pub system: Vec<u8>,
}

impl Superblock {
    /// The copy for one of [`COPIES`].
    pub(super) fn encode(&self, offset: u64) -> Vec<u8> {
        let (root, root_level) = self.root;
        let (chunks, chunk_level, chunk_generation) = self.chunks;
        let bytes = Fields::default()
            .zeros(32)
            .bytes(&self.fsid)
            .u64s(&[offset, FLAG_WRITTEN])
            .bytes(MAGIC)
            // No log tree: its address and transaction are 0.
            .u64s(&[self.generation, root, chunks, 0, 0, self.total, self.used, object::ROOT_DIR, 1])
            .u32s(&[self.sector, self.node, self.node, self.sector, self.system.len() as u32])
            .u64s(&[chunk_generation, 0, COMPAT_RO, self.incompat])
            // Checksums are CRC-32C: kind 0.
            .u16s(&[0])
            .bytes(&[root_level, chunk_level, 0])
            .bytes(&self.device)
            .bytes(&self.label)
            .up_to(LABEL + LABEL_ROOM)
            // There is no space cache of version 1, and the UUID tree is up to date.
            .u64s(&[0, self.generation])
            .up_to(CHUNKS)
            .bytes(&self.system)
            .up_to(LENGTH);
        let mut bytes = bytes.0;
        let sum = checksum(&bytes[32..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Whether bytes look like a superblock, intact or not.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        bytes.get(0x40..0x48) == Some(MAGIC)
    }

    /// Reads the copy at an offset of the device: [`LENGTH`] bytes.
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Self, Fault> {
        if !Self::is_one(bytes) || bytes.len() < LENGTH {
            return Err(Fault::damaged("the superblock has no magic number"));
        }
        // Kinds of checksums: `btrfs_csum_type`. Without knowing it, nothing else can be believed.
        match u16_at(bytes, 0xc4) {
            0 => {}
            1 => return Err(Fault::feature("checksums by xxhash64")),
            2 => return Err(Fault::feature("checksums by SHA-256")),
            3 => return Err(Fault::feature("checksums by BLAKE2b")),
            other => return Err(Fault::damaged(format!("the superblock has the kind of checksum {other}"))),
        }
        if checksum(&bytes[32..LENGTH]) != u32_at(bytes, 0) {
            return Err(Fault::damaged(format!("the checksum of the superblock at {offset} is wrong")));
        }
        if u64_at(bytes, 0x30) != offset {
            return Err(Fault::damaged(format!("the superblock at {offset} belongs elsewhere")));
        }
        let array = u32_at(bytes, 0xa0) as usize;
        let system = bytes.get(CHUNKS..CHUNKS + array).filter(|_| array <= CHUNKS_ROOM);
        let system = system.ok_or_else(|| Fault::damaged("the superblock's list of chunks is too long"))?;
        let label = &bytes[LABEL..LABEL + LABEL_ROOM];
        let fsid = uuid_at(bytes, 0x20);
        let incompat = u64_at(bytes, 0xbc);
        let has_other = incompat & incompat::METADATA_UUID != 0;
        let superblock = Superblock {
            fsid,
            metadata: if has_other { uuid_at(bytes, 0x23b) } else { fsid },
            generation: u64_at(bytes, 0x48),
            root: (u64_at(bytes, 0x50), u8_at(bytes, 0xc6)),
            chunks: (u64_at(bytes, 0x58), u8_at(bytes, 0xc7), u64_at(bytes, 0xa4)),
            total: u64_at(bytes, 0x70),
            used: u64_at(bytes, 0x78),
            sector: u32_at(bytes, 0x90),
            node: u32_at(bytes, 0x94),
            incompat,
            device: bytes[DEVICE..DEVICE + DEVICE_LENGTH].to_vec(),
            label: label.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
            system: system.to_vec(),
        };
        superblock.judge(bytes)?;
        Ok(superblock)
    }

    /// Refuses features and sizes that cannot be read.
    fn judge(&self, bytes: &[u8]) -> Result<(), Fault> {
        let (log, devices, flags) = (u64_at(bytes, 0x60), u64_at(bytes, 0x88), u64_at(bytes, 0x38));
        let unknown = self.incompat & !incompat::KNOWN;
        if unknown != 0 {
            let names = incompat::NAMES.iter().filter(|(bit, _)| unknown & bit != 0).map(|(_, name)| *name);
            let names: Vec<&str> = names.collect();
            return Err(match names.is_empty() {
                true => Fault::feature(format!("unknown features ({unknown:#x})")),
                false => Fault::feature(names.join(", ")),
            });
        }
        if flags & !(FLAG_WRITTEN | FLAG_RELOC) != 0 {
            // Seeds of other filesystems, dumps of metadata, a UUID that is being changed.
            return Err(Fault::feature(format!(
                "the flags {flags:#x}, which ordinary filesystems do not have"
            )));
        }
        if devices != 1 {
            return Err(Fault::feature(format!("{devices} devices")));
        }
        if log != 0 {
            return Err(Fault::Unclean);
        }
        let is_size = |size: u32| size.is_power_of_two() && (4096..=65536).contains(&size);
        if !is_size(self.sector) || !is_size(self.node) || self.node < self.sector {
            let why = format!("its sectors have {} bytes and its tree blocks {}", self.sector, self.node);
            return Err(Fault::damaged(why));
        }
        if self.root.1 > 7 || self.chunks.1 > 7 {
            return Err(Fault::damaged("a tree is higher than 8 levels"));
        }
        Ok(())
    }
}
