//! The superblock, and constants that all parts of the format share.

use super::fields::Fields;
use super::{Algorithm, Compression, Fault, Options};

/// Bytes of the superblock.
pub(crate) const SUPERBLOCK: u64 = 96;
/// Uncompressed bytes of a metadata block.
pub(crate) const METADATA: usize = 8192;
/// Images are padded to a multiple of this, so that loop devices show the last block.
pub(crate) const PADDING: u64 = 4096;
/// Replaces the position of a missing table.
pub(crate) const NO_TABLE: u64 = u64::MAX;
/// Replaces an index: no fragment, no extended attributes.
pub(crate) const NONE: u32 = u32::MAX;
/// Flag in the size of a data block: it is stored uncompressed. Size 0 is a block of zeros that is not stored.
pub(crate) const STORED: u32 = 1 << 24;

const MAGIC: &[u8; 4] = b"hsqs";
const VERSION: [u16; 2] = [4, 0];

/// Bits of [`Superblock::flags`].
pub(crate) mod flag {
    /// No fragments at all.
    pub(crate) const NO_FRAGMENTS: u16 = 0x10;
    /// The ends of large files are in fragments as well.
    pub(crate) const ALWAYS_FRAGMENTS: u16 = 0x20;
    /// Equal files are stored once.
    pub(crate) const DUPLICATES: u16 = 0x40;
    /// There is a table from inode numbers to positions.
    pub(crate) const EXPORTABLE: u16 = 0x80;
    /// The options of the compression follow the superblock.
    pub(crate) const OPTIONS: u16 = 0x400;
}

/// Position of an inode or a directory: the metadata block, in bytes from the table's start, and the offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Offset of the block, as stored.
    pub block: u32,
    /// Offset in the decompressed block.
    pub offset: u16,
}

impl From<Position> for u64 {
    fn from(position: Position) -> u64 {
        u64::from(position.block) << 16 | u64::from(position.offset)
    }
}

impl From<u64> for Position {
    /// The format has 48 bits for a position.
    fn from(packed: u64) -> Self {
        Position { block: (packed >> 16) as u32, offset: packed as u16 }
    }
}

/// The fields at the start of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Number of inodes.
    pub inodes: u32,
    /// Creation time, in seconds since 1970.
    pub time: u32,
    /// Bytes of a data block.
    pub block: u32,
    /// Number of fragment blocks.
    pub fragments: u32,
    /// Compression of its blocks.
    pub algorithm: Algorithm,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Number of user and group ids.
    pub ids: u16,
    /// Position of the root directory's inode.
    pub root: Position,
    /// Length of the image without padding.
    pub used: u64,
    /// Position of the table of ids; this and all following ones are from the start of the image.
    pub id_table: u64,
    /// Position of the table of extended attributes.
    pub xattr_table: u64,
    /// Position of the table of inodes.
    pub inode_table: u64,
    /// Position of the table of directories.
    pub directory_table: u64,
    /// Position of the table of fragments.
    pub fragment_table: u64,
    /// Position of the table from inode numbers to inode positions.
    pub export_table: u64,
}

impl Superblock {
    /// Encodes the superblock.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.inodes, self.time, self.block, self.fragments] {
            out.extend(number.to_le_bytes());
        }
        let log = self.block.trailing_zeros() as u16;
        let [major, minor] = VERSION;
        for number in [self.algorithm as u16, log, self.flags, self.ids, major, minor] {
            out.extend(number.to_le_bytes());
        }
        let tables = [
            self.root.into(),
            self.used,
            self.id_table,
            self.xattr_table,
            self.inode_table,
            self.directory_table,
            self.fragment_table,
            self.export_table,
        ];
        out.extend(tables.iter().flat_map(|number: &u64| number.to_le_bytes()));
        out
    }

    /// Decodes the superblock and checks everything that can be checked without the tables.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut fields = Fields(bytes);
        if bytes.len() < SUPERBLOCK as usize || fields.bytes(4)? != MAGIC {
            return Err(Fault::Foreign("its magic number is wrong"));
        }
        let [inodes, time, block, fragments] = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
        let [algorithm, log, flags, ids] = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?];
        if [fields.u16()?, fields.u16()?] != VERSION {
            return Err(Fault::Foreign("its format version is not 4.0"));
        }
        let powers = 12..=20; // 4 KiB to 1 MiB
        if !powers.contains(&log) || block != 1 << log {
            return Err(Fault::Foreign("its block size is not supported by Linux"));
        }
        let algorithm = Algorithm::of(algorithm).ok_or(Fault::Foreign("it uses an unknown compression"))?;
        let mut next = || fields.u64();
        Ok(Superblock {
            inodes,
            time,
            block,
            fragments,
            algorithm,
            flags,
            ids,
            root: next()?.into(),
            used: next()?,
            id_table: next()?,
            xattr_table: next()?,
            inode_table: next()?,
            directory_table: next()?,
            fragment_table: next()?,
            export_table: next()?,
        })
    }
}

/// The options of a compression, as stored after the superblock; `None` for the format's defaults.
pub(crate) fn compression_options(options: Options) -> Option<Vec<u8>> {
    match options.compression {
        Compression::Zstd(level) => Some(u32::from(level.get()).to_le_bytes().to_vec()),
        Compression::Gzip(level) => {
            let mut bytes = u32::from(level.get()).to_le_bytes().to_vec();
            bytes.extend(15_u16.to_le_bytes()); // zlib's window, 32 KiB
            bytes.extend(0_u16.to_le_bytes()); // zlib's default strategy
            Some(bytes)
        }
        Compression::Xz => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superblock_comes_back() {
        let superblock = Superblock {
            inodes: 1,
            time: 2,
            block: 1 << 17,
            fragments: 3,
            algorithm: Algorithm::Xz,
            flags: flag::DUPLICATES,
            ids: 4,
            root: Position { block: 5, offset: 6 },
            used: 7,
            id_table: 8,
            xattr_table: NO_TABLE,
            inode_table: 9,
            directory_table: 10,
            fragment_table: 11,
            export_table: 12,
        };
        let bytes = superblock.encode();
        assert_eq!(bytes.len() as u64, SUPERBLOCK);
        assert_eq!(Superblock::decode(&bytes).unwrap(), superblock);
    }
}
