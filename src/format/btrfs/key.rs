//! Keys, by which the items of every tree are sorted, and the numbers in them (btrfs-progs, `btrfs_tree.h`).

use crate::format::fields::{Fields, u8_at, u64_at};

/// Trees and other objects with fixed numbers.
pub(super) mod object {
    /// The only device of a filesystem made here.
    pub const DEVICE: u64 = 1;
    pub const ROOT_TREE: u64 = 1;
    pub const EXTENT_TREE: u64 = 2;
    pub const CHUNK_TREE: u64 = 3;
    pub const DEV_TREE: u64 = 4;
    pub const FS_TREE: u64 = 5;
    /// The directory in the root tree that names the default subvolume.
    pub const ROOT_DIR: u64 = 6;
    pub const CSUM_TREE: u64 = 7;
    pub const UUID_TREE: u64 = 9;
    pub const FREE_SPACE_TREE: u64 = 10;
    pub const DATA_RELOC_TREE: u64 = -9_i64 as u64;
    /// Owner of all checksums.
    pub const EXTENT_CSUM: u64 = -10_i64 as u64;
    /// The first and the last number of what users make: inodes in a file tree, subvolumes in the root tree. All
    /// chunks belong to the first.
    pub const FIRST: u64 = 256;
    pub const LAST: u64 = -256_i64 as u64;
}

/// Kinds of items.
pub(super) mod kind {
    pub const INODE: u8 = 1;
    pub const INODE_REF: u8 = 12;
    pub const INODE_EXTREF: u8 = 13;
    pub const XATTR: u8 = 24;
    pub const DIR_ITEM: u8 = 84;
    pub const DIR_INDEX: u8 = 96;
    pub const EXTENT_DATA: u8 = 108;
    pub const CSUM: u8 = 128;
    pub const ROOT: u8 = 132;
    pub const ROOT_REF: u8 = 156;
    pub const EXTENT: u8 = 168;
    pub const METADATA: u8 = 169;
    pub const TREE_BLOCK_REF: u8 = 176;
    pub const EXTENT_DATA_REF: u8 = 178;
    pub const BLOCK_GROUP: u8 = 192;
    pub const FREE_SPACE_INFO: u8 = 198;
    pub const FREE_SPACE_EXTENT: u8 = 199;
    pub const DEV_EXTENT: u8 = 204;
    pub const DEV: u8 = 216;
    pub const CHUNK: u8 = 228;
    /// Statistics of a device (`BTRFS_PERSISTENT_ITEM_KEY`).
    pub const PERSISTENT: u8 = 249;
    pub const UUID_SUBVOL: u8 = 251;
}

/// The key of an item. Items are sorted by object, then kind, then offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// A number of [`object`], an inode, or an address.
    pub object: u64,
    /// A number of [`kind`].
    pub kind: u8,
    /// Its meaning depends on the kind: an offset in a file, a length, an address, the hash of a name.
    pub offset: u64,
}

impl Key {
    /// Bytes of a key.
    pub(super) const LENGTH: usize = 17;

    pub(super) const fn new(object: u64, kind: u8, offset: u64) -> Self {
        Key { object, kind, offset }
    }

    /// The key at an offset; zeros beyond the end.
    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        Key::new(u64_at(bytes, at), u8_at(bytes, at + 8), u64_at(bytes, at + 9))
    }

    pub(super) fn encode(self) -> [u8; Key::LENGTH] {
        let mut bytes = [0; Key::LENGTH];
        bytes[..8].copy_from_slice(&self.object.to_le_bytes());
        bytes[8] = self.kind;
        bytes[9..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }
}

impl Fields {
    /// Appends a key.
    pub(super) fn key(self, key: Key) -> Self {
        self.bytes(&key.encode())
    }
}

/// The offset in the key of a directory entry or an attribute: CRC-32C of the name, begun with `!1` and not inverted
/// at the end (`btrfs_name_hash`). Different names may have the same hash and then share an item.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    (!crc32c::crc32c_append(1, name)).into()
}

/// The offset in the key of an extended reference: like [`name_hash`], begun with the directory's number
/// (`btrfs_extref_hash`).
pub(super) fn reference_hash(directory: u64, name: &[u8]) -> u64 {
    (!crc32c::crc32c_append(!(directory as u32), name)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_hash_that_kernels_give_it() {
        // The entry `default` of every root tree: `btrfs inspect-internal dump-tree` shows (6 DIR_ITEM 2378154706).
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }

    #[test]
    fn keys_sort_by_object_then_kind_then_offset_and_repeat() {
        let keys =
            [Key::new(1, 200, 9), Key::new(256, 1, 0), Key::new(256, 84, 1), Key::new(256, 84, u64::MAX)];
        assert!(keys.is_sorted());
        for key in keys {
            assert_eq!(Key::at(&key.encode(), 0), key);
        }
    }
}
