//! The payloads of items that file trees and the root tree have.

use super::Fault;
use super::key::{Key, kind};
use super::time::Time;
use crate::format::fields::{Fields, u8_at, u16_at, u32_at, u64_at};

/// The kind of file in the high bits of a mode (`stat`).
pub(super) mod mode {
    pub const KIND: u32 = 0o170_000;
    pub const DIR: u32 = 0o040_000;
    pub const FILE: u32 = 0o100_000;
    pub const SYMLINK: u32 = 0o120_000;
    pub const CHARACTER_DEVICE: u32 = 0o020_000;
}

/// Flags of an inode (`BTRFS_INODE_…`).
pub(super) mod flag {
    /// Its data has no checksums.
    pub const NO_SUMS: u64 = 1;
    /// New data is not compressed.
    pub const NO_COMPRESSION: u64 = 1 << 3;
    /// New data is compressed.
    pub const COMPRESSION: u64 = 1 << 11;
    /// Of the inodes in the items of file trees (`BTRFS_INODE_ROOT_ITEM_INIT`).
    pub const ROOT: u64 = 1 << 31;
}

/// Kinds of files in directory entries (`BTRFS_FT_…`).
pub(super) mod entry_kind {
    pub const FILE: u8 = 1;
    pub const DIR: u8 = 2;
    pub const SYMLINK: u8 = 7;
    pub const XATTR: u8 = 8;
}

/// Number of the only transaction of a filesystem made here.
pub(super) const GENERATION: u64 = 1;

/// An inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Inode {
    /// Length of the data in bytes; of a directory, twice the sum of its names' lengths.
    pub size: u64,
    /// Bytes of its data that are stored, rounded up to sectors unless inline, before compression.
    pub stored: u64,
    /// Number of names; directories have 1.
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    /// Kind and permissions as in `stat`.
    pub mode: u32,
    /// Number of a device.
    pub device: u64,
    /// Bits of [`flag`].
    pub flags: u64,
    /// Time of the last modification.
    pub time: Time,
}

impl Inode {
    const LENGTH: usize = 160;

    /// The item. All four times are `time`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = Fields::default()
            .u64s(&[GENERATION, GENERATION, self.size, self.stored, 0])
            .u32s(&[self.links, self.uid, self.gid, self.mode])
            .u64s(&[self.device, self.flags, 0])
            .zeros(32);
        (0..4).fold(head, |item, _| item.u64s(&[self.time.seconds as u64]).u32s(&[self.time.nanoseconds])).0
    }

    pub(super) fn parse(item: &[u8]) -> Result<Self, Fault> {
        if item.len() < Inode::LENGTH {
            return Err(Fault::damaged("an inode is cut off"));
        }
        Ok(Inode {
            size: u64_at(item, 16),
            stored: u64_at(item, 24),
            links: u32_at(item, 40),
            uid: u32_at(item, 44),
            gid: u32_at(item, 48),
            mode: u32_at(item, 52),
            device: u64_at(item, 56),
            flags: u64_at(item, 64),
            time: Time { seconds: u64_at(item, 136) as i64, nanoseconds: u32_at(item, 144).min(999_999_999) },
        })
    }
}

/// An entry of a directory, or an attribute of an inode, which has the same form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<'b> {
    /// The file, or zeros.
    pub target: Key,
    /// One of [`entry_kind`].
    pub kind: u8,
    pub name: &'b [u8],
    /// The attribute's value.
    pub value: &'b [u8],
}

impl<'b> Named<'b> {
    /// Bytes in front of the name.
    pub(super) const HEAD: usize = 30;

    pub(super) fn encode(&self) -> Vec<u8> {
        Fields::default()
            .key(self.target)
            .u64s(&[GENERATION])
            .u16s(&[self.value.len() as u16, self.name.len() as u16])
            .bytes(&[self.kind])
            .bytes(self.name)
            .bytes(self.value)
            .0
    }

    /// All that share an item: their names have the same hash.
    pub(super) fn all(mut item: &'b [u8]) -> Result<Vec<Self>, Fault> {
        let mut found = Vec::new();
        while !item.is_empty() {
            let name_end = Self::HEAD + usize::from(u16_at(item, 27));
            let end = name_end + usize::from(u16_at(item, 25));
            let parts = item.get(Self::HEAD..name_end).zip(item.get(name_end..end));
            let (name, value) = parts.ok_or_else(|| Fault::damaged("a name is cut off"))?;
            found.push(Named { target: Key::at(item, 0), kind: u8_at(item, 29), name, value });
            item = &item[end..];
        }
        Ok(found)
    }
}

/// The payload that says where an inode has a name: index in the directory, and the name.
pub(super) fn reference(index: u64, name: &[u8]) -> Vec<u8> {
    Fields::default().u64s(&[index]).u16s(&[name.len() as u16]).bytes(name).0
}

/// The same, with the directory, for files with more names in one directory than an item holds.
pub(super) fn extended_reference(directory: u64, index: u64, name: &[u8]) -> Vec<u8> {
    Fields::default().u64s(&[directory, index]).u16s(&[name.len() as u16]).bytes(name).0
}

/// How an extent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Zlib,
    Lzo,
    Zstd,
}

/// A range of a file's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes of its data once unpacked.
    pub unpacked: u64,
    pub packing: Packing,
    pub place: Place,
}

/// Location of an extent's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the item itself.
    Inline(Vec<u8>),
    /// No data: zeros, reserved or not.
    Hole {
        /// Bytes of the file.
        length: u64,
    },
    /// At an address.
    Disk {
        address: u64,
        /// Bytes there, rounded up to sectors.
        stored: u64,
        /// Bytes of the unpacked data before the file's range.
        skip: u64,
        /// Bytes of the file.
        length: u64,
    },
}

/// Bytes of an extent's item in front of inline data, and of a whole one with an address.
pub(super) const EXTENT_HEAD: usize = 21;
const EXTENT: usize = 53;

impl Extent {
    /// The item of inline data, without compression.
    pub(super) fn inline(data: &[u8]) -> Vec<u8> {
        Fields::default().u64s(&[GENERATION, data.len() as u64]).bytes(&[0; 5]).bytes(data).0
    }

    /// The item of a whole uncompressed extent at an address.
    pub(super) fn disk(address: u64, length: u64) -> Vec<u8> {
        // The last of these bytes says that the data is not inline.
        let head = Fields::default().u64s(&[GENERATION, length]).bytes(&[0, 0, 0, 0, 1]);
        head.u64s(&[address, length, 0, length]).0
    }

    pub(super) fn parse(item: &[u8]) -> Result<Self, Fault> {
        let cut = || Fault::damaged("an extent is cut off");
        let packing = match u8_at(item, 16) {
            0 => Packing::None,
            1 => Packing::Zlib,
            2 => Packing::Lzo,
            3 => Packing::Zstd,
            other => return Err(Fault::feature(format!("compression of kind {other}"))),
        };
        if u8_at(item, 17) != 0 || u16_at(item, 18) != 0 {
            return Err(Fault::feature("encrypted files"));
        }
        let (address, length) = (u64_at(item, 21), u64_at(item, 45));
        let place = match u8_at(item, 20) {
            0 => Place::Inline(item.get(EXTENT_HEAD..).ok_or_else(cut)?.to_vec()),
            1 | 2 if item.len() < EXTENT => return Err(cut()),
            1 if address != 0 => {
                Place::Disk { address, stored: u64_at(item, 29), skip: u64_at(item, 37), length }
            }
            1 | 2 => Place::Hole { length },
            other => return Err(Fault::damaged(format!("an extent is of the unknown kind {other}"))),
        };
        Ok(Extent { unpacked: u64_at(item, 8), packing, place })
    }
}

/// Where a tree begins, in the root tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RootItem {
    pub address: u64,
    pub level: u8,
    pub generation: u64,
    /// Number of its names; a subvolume that is being deleted has none.
    pub links: u32,
}

impl RootItem {
    /// Bytes up to the level: the length of the items of Linux before 3.6, whose later fields are not used here.
    const OLD: usize = 239;

    /// The item of a tree of `used` bytes. `tree` is its UUID, for the file tree alone.
    pub(super) fn encode(&self, used: u64, files: Option<([u8; 16], Time)>, has_inodes: bool) -> Vec<u8> {
        let flags = if has_inodes { flag::ROOT } else { 0 };
        let (uuid, time) = files.unwrap_or_default();
        let inode = Fields::default()
            .u64s(&[1, 0, 3, super::layout::NODE as u64, 0])
            .u32s(&[1, 0, 0, mode::DIR | 0o755])
            .u64s(&[0, flags, 0])
            .up_to(Inode::LENGTH);
        let directory = if has_inodes { super::key::object::FIRST } else { 0 };
        let times = |item: Fields| item.u64s(&[time.seconds as u64]).u32s(&[time.nanoseconds]);
        let item = inode
            .u64s(&[self.generation, directory, self.address, 0, used, 0, 0])
            .u32s(&[self.links])
            // Nothing of it has been dropped: a key, and a level.
            .zeros(Key::LENGTH + 1)
            .bytes(&[self.level])
            .u64s(&[self.generation])
            .bytes(&uuid)
            // No parent, and received from nobody.
            .zeros(32)
            // Four transactions, then four times, of which the first two count.
            .zeros(32);
        times(times(item)).zeros(24 + 64).0
    }

    pub(super) fn parse(item: &[u8]) -> Result<Self, Fault> {
        let root = RootItem {
            address: u64_at(item, 176),
            level: u8_at(item, 238),
            generation: u64_at(item, 160),
            links: u32_at(item, 216),
        };
        if item.len() < RootItem::OLD || root.level > 7 {
            return Err(Fault::damaged("the root of a tree is cut off or too high"));
        }
        Ok(root)
    }
}

/// The name of a subvolume, from the item of a [`kind::ROOT_REF`].
pub(super) fn subvolume_name(item: &[u8]) -> String {
    let end = 18 + usize::from(u16_at(item, 16));
    String::from_utf8_lossy(item.get(18..end).unwrap_or_default()).into_owned()
}

/// The key and payload of a data extent in the extent tree: it is used once, at an offset of a file.
pub(super) fn extent_of_data(address: u64, length: u64, inode: u64, offset: u64) -> (Key, Vec<u8>) {
    let payload = Fields::default()
        // One reference; the third number says that it is data.
        .u64s(&[1, GENERATION, 1])
        .bytes(&[kind::EXTENT_DATA_REF])
        .u64s(&[super::key::object::FS_TREE, inode, offset])
        .u32s(&[1]);
    (Key::new(address, kind::EXTENT, length), payload.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_written() {
        let inode = Inode {
            size: 1,
            stored: 2,
            links: 3,
            uid: 4,
            gid: 5,
            mode: mode::FILE | 0o4755,
            device: 6,
            flags: flag::COMPRESSION,
            time: Time { seconds: -7, nanoseconds: 8 },
        };
        assert_eq!(Inode::parse(&inode.encode()).unwrap(), inode);
        assert!(Inode::parse(&inode.encode()[..159]).is_err());
        let extent = Extent::parse(&Extent::disk(4096, 8192)).unwrap();
        let place = Place::Disk { address: 4096, stored: 8192, skip: 0, length: 8192 };
        assert_eq!(extent, Extent { unpacked: 8192, packing: Packing::None, place });
        let inline = Extent::parse(&Extent::inline(b"text")).unwrap();
        let place = Place::Inline(b"text".to_vec());
        assert_eq!(inline, Extent { unpacked: 4, packing: Packing::None, place });
        let root = RootItem { address: 1 << 40, level: 2, generation: 9, links: 1 };
        let item = root.encode(4096, None, false);
        assert_eq!((item.len(), RootItem::parse(&item).unwrap()), (439, root));
    }

    #[test]
    fn names_that_share_an_item_are_all_found_and_a_cut_one_is_told() {
        let entry = |name| Named { target: Key::new(257, 1, 0), kind: entry_kind::FILE, name, value: b"" };
        let item = [entry(b"one").encode(), entry(b"another").encode()].concat();
        assert_eq!(Named::all(&item).unwrap(), [entry(b"one"), entry(b"another")]);
        assert!(Named::all(&item[..item.len() - 1]).is_err());
    }
}
