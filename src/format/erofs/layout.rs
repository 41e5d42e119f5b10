//! The fixed structures of the format: superblock, inode, directory entry. All numbers are little-endian.

use super::xattr;
use crate::format::fields::{u16_at, u32_at, u64_at};

/// Bytes of a block. Linux mounts images whose blocks are no larger than its pages.
pub(super) const BLOCK: usize = 4096;
/// Offset of the superblock.
pub(super) const SUPER: usize = 1024;
/// Inodes begin at multiples of this number of bytes; an inode's number (`nid`) is the slot in which it begins.
pub(super) const SLOT: usize = 32;
/// Bytes of a directory entry without its name.
pub(super) const DIRENT: usize = 12;

const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`: the superblock has a checksum.
const COMPAT_CHECKSUM: u32 = 1;
/// `EROFS_FEATURE_COMPAT_MTIME`: times are modification times.
const COMPAT_MTIME: u32 = 2;

/// The superblock's fields that decide whether a kernel can mount the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `EROFS_FEATURE_INCOMPAT_…`: features that a reader must know.
    pub incompat: u32,
    /// One bit for each algorithm of [`ALGORITHMS`] that files may be compressed with. Valid only with
    /// `INCOMPAT_ALGORITHMS`; without it, compressed means lz4.
    pub algorithms: u16,
    /// Number of other devices with data of the image.
    pub devices: u16,
    /// Bytes per block.
    pub block: u32,
}

/// Names of the algorithms, by their bit (`Z_EROFS_COMPRESSION_…`).
const ALGORITHMS: [&str; 4] = ["lz4", "lzma", "deflate", "zstd"];
/// Files may be compressed with lz4 whose data is aligned to the end of its blocks: every compressed image has this
/// feature.
const INCOMPAT_ZERO_PADDING: u32 = 0x1;
/// The superblock lists the algorithms; also says that clusters may be large.
const INCOMPAT_ALGORITHMS: u32 = 0x2;
/// Files may be stored in chunks.
const INCOMPAT_CHUNKS: u32 = 0x4;
/// Features that some Linux before 6.13 knows, with their names (`fs/erofs/erofs_fs.h`).
const INCOMPAT: [(u32, &str); 7] = [
    (INCOMPAT_ZERO_PADDING, "compression"),
    (INCOMPAT_ALGORITHMS, "compression"),
    (INCOMPAT_CHUNKS, "files in chunks"),
    (0x8, "several devices or algorithms"),
    (0x10, "packed tails"),
    (0x20, "fragments"),
    (0x40, "prefixes of attributes"),
];

impl Features {
    /// Reads the features from the first bytes of an image; `None` if there is no superblock.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let superblock = head.get(SUPER..SUPER + 128)?;
        let bits = superblock[12];
        (u32_at(superblock, 0) == MAGIC).then(|| Features {
            incompat: u32_at(superblock, 80),
            algorithms: u16_at(superblock, 84),
            devices: u16_at(superblock, 86),
            block: 1_u32.checked_shl(bits.into()).unwrap_or(0),
        })
    }

    /// Names of the algorithms with which files may be compressed.
    pub(crate) fn algorithms(&self) -> Vec<&'static str> {
        match self.incompat {
            bits if bits & INCOMPAT_ALGORITHMS != 0 => {
                let used = |(bit, _): &(usize, &&str)| self.algorithms & 1 << bit != 0;
                ALGORITHMS.iter().enumerate().filter(used).map(|(_, name)| *name).collect()
            }
            bits if bits & INCOMPAT_ZERO_PADDING != 0 => vec!["lz4"],
            _ => Vec::new(),
        }
    }

    /// Whether it has a feature that came after Linux 6.12.
    pub(crate) fn is_newer(&self) -> bool {
        self.incompat & !INCOMPAT.iter().fold(0, |all, (bit, _)| all | bit) != 0
    }

    /// The features that prebake cannot read, in words.
    pub(crate) fn unread(&self) -> Option<String> {
        if self.block != BLOCK as u32 {
            return Some(format!("erofs with blocks of {} bytes", self.block));
        }
        let mut names: Vec<String> = match self.algorithms().as_slice() {
            [] => Vec::new(),
            algorithms => vec![format!("compression ({})", algorithms.join(", "))],
        };
        let rest = INCOMPAT.iter().filter(|(bit, _)| self.incompat & bit != 0 && *bit > INCOMPAT_CHUNKS);
        names.extend(rest.map(|(_, name)| (*name).to_owned()));
        if self.is_newer() {
            names.push(format!("unknown features ({:#x})", self.incompat));
        }
        (!names.is_empty()).then(|| format!("erofs with {}", names.join(", ")))
    }
}

/// The superblock's fields, as far as prebake uses them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    /// Slot of the root's inode.
    pub root: u16,
    /// Number of inodes.
    pub inodes: u64,
    /// Seconds since 1970, for all inodes without a time of their own.
    pub time: u64,
    /// Length of the image in blocks.
    pub blocks: u32,
    /// The block with slot 0.
    pub meta: u32,
    /// The block from which shared extended attributes are counted.
    pub xattrs: u32,
    /// Features that a reader must know.
    pub features: Features,
}

impl Superblock {
    /// Encodes the image's first block. The UUID and the volume's name are empty.
    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[SUPER + at..][..bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        put(12, &[BLOCK.trailing_zeros() as u8]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.time.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.meta.to_le_bytes());
        put(80, &self.features.incompat.to_le_bytes());
        let checksum = crc32c(&block[SUPER..]);
        block[SUPER + 4..SUPER + 8].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Reads the image's first block.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, String> {
        let at = |offset| &block[SUPER + offset..];
        let features = Features::of(block).ok_or("its first block has no superblock")?;
        // Linux accepts blocks from 512 bytes up to its page size (`erofs_read_superblock`); Flatcar's pages have 4096
        // bytes.
        if !(512..=BLOCK as u32).contains(&features.block) {
            return Err(format!(
                "its blocks have {} bytes, but the kernel's pages have 4096",
                features.block
            ));
        }
        if u32_at(at(8), 0) & COMPAT_CHECKSUM != 0 {
            let mut zeroed = *block;
            zeroed[SUPER + 4..SUPER + 8].fill(0);
            if features.block == BLOCK as u32 && crc32c(&zeroed[SUPER..]) != u32_at(at(4), 0) {
                return Err("the checksum of its superblock is wrong".into());
            }
        }
        Ok(Superblock {
            root: u16_at(at(14), 0),
            inodes: u64_at(at(16), 0),
            time: u64_at(at(24), 0),
            blocks: u32_at(at(36), 0),
            meta: u32_at(at(40), 0),
            xattrs: u32_at(at(44), 0),
            features,
        })
    }
}

/// Location of an inode's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In consecutive blocks.
    Plain = 0,
    /// In consecutive blocks, except the last part, which follows the inode in the same block.
    Inline = 2,
    /// In chunks of consecutive blocks, whose list follows the inode; the low bits of [`Inode::data`] give its format.
    /// Only read, never written.
    Chunks = 4,
}

/// An inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inode {
    /// Location of the data.
    pub layout: Layout,
    /// Type and permissions as in `stat`.
    pub mode: u16,
    /// Length of the data in bytes.
    pub size: u64,
    /// Number of names.
    pub links: u32,
    /// `i_u`: the first block of the data, or the format of its chunks.
    pub data: u32,
    /// Inode number for 32-bit `stat`.
    pub number: u32,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Modification time, in seconds since 1970.
    pub time: u64,
    /// Bytes of extended attributes after the inode; inline data follows them.
    pub xattrs: usize,
}

impl Inode {
    /// Whether the inode needs the long form. In the short form the superblock's time applies.
    fn is_long(&self) -> bool {
        self.size > u64::from(u32::MAX) || self.links > u32::from(u16::MAX)
    }

    /// Length in bytes of the result of [`Inode::encode`].
    pub(super) fn encoded_len(&self) -> usize {
        if self.is_long() { 64 } else { 32 }
    }

    /// Encodes the inode, with owner 0:0 and the superblock's time.
    pub(super) fn encode(&self) -> Vec<u8> {
        let long = self.is_long();
        let format = (self.layout as u16) << 1 | u16::from(long);
        let mut bytes = vec![0; self.encoded_len()];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &format.to_le_bytes());
        if self.xattrs > 0 {
            put(2, &((self.xattrs - xattr::HEADER) as u16 / 4 + 1).to_le_bytes());
        }
        put(4, &self.mode.to_le_bytes());
        put(16, &self.data.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        if long {
            put(8, &self.size.to_le_bytes());
            put(32, &self.time.to_le_bytes());
            put(44, &self.links.to_le_bytes());
        } else {
            put(6, &(self.links as u16).to_le_bytes());
            put(8, &(self.size as u32).to_le_bytes());
        }
        bytes
    }

    /// Reads an inode from at least 64 bytes, or fewer at the end of the image; also returns its length.
    pub(super) fn parse(bytes: &[u8], time: u64) -> Result<(Self, usize), String> {
        let short = || "an inode is cut off".to_owned();
        if bytes.len() < 32 {
            return Err(short());
        }
        let format = u16_at(bytes, 0);
        let long = format & 1 != 0;
        let layout = match format >> 1 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            4 => Layout::Chunks,
            other => {
                return Err(format!("an inode has the data layout {other}, which prebake does not support"));
            }
        };
        let xattrs = match u16_at(bytes, 2) {
            0 => 0,
            words => xattr::HEADER + 4 * (usize::from(words) - 1),
        };
        let common = Inode {
            layout,
            mode: u16_at(bytes, 4),
            size: u32_at(bytes, 8).into(),
            links: u16_at(bytes, 6).into(),
            data: u32_at(bytes, 16),
            number: u32_at(bytes, 20),
            uid: u16_at(bytes, 24).into(),
            gid: u16_at(bytes, 26).into(),
            time,
            xattrs,
        };
        if !long {
            return Ok((common, 32));
        }
        if bytes.len() < 64 {
            return Err(short());
        }
        let inode = Inode {
            size: u64_at(bytes, 8),
            uid: u32_at(bytes, 24),
            gid: u32_at(bytes, 28),
            time: u64_at(bytes, 32),
            links: u32_at(bytes, 44),
            ..common
        };
        Ok((inode, 64))
    }
}

/// CRC-32C without the final inversion, like Linux' `crc32c(~0, …)`.
fn crc32c(bytes: &[u8]) -> u32 {
    !::crc32c::crc32c(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // RFC 3720, B.4: 32 bytes of zeros give 8a9136aa.
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_changed_superblock_is_told() {
        let superblock = Superblock {
            root: 1,
            inodes: 2,
            time: 3,
            blocks: 4,
            meta: 5,
            xattrs: 0,
            features: Features::default(),
        };
        let mut block = superblock.encode();
        assert_eq!(Superblock::parse(&block).unwrap().blocks, 4);
        block[SUPER + 36] ^= 1;
        assert!(Superblock::parse(&block).is_err());
    }
}
