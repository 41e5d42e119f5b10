//! Tree blocks: leaves with items, and inner nodes with the addresses of others.
//!
//! A leaf's items grow from the front and their payloads from the back; the payload of the first item is the last one.

use super::key::{Key, kind, object};
use crate::format::fields::{Fields, u8_at, u32_at, u64_at, uuid_at};

/// Bytes in front of a block's items.
pub(super) const HEADER: usize = 101;
/// Bytes of an item without its payload: key, offset and length.
pub(super) const ITEM: usize = Key::LENGTH + 8;
/// Bytes of a pointer to another block: key, address, generation.
pub(super) const POINTER: usize = Key::LENGTH + 16;
/// The checksum of everything: CRC-32C, in the first 4 of 32 bytes.
pub(super) use crc32c::crc32c as checksum;

/// `BTRFS_HEADER_FLAG_WRITTEN`, and `BTRFS_MIXED_BACKREF_REV`, in the highest byte.
const FLAGS: u64 = 1 | 1 << 56;

/// The fields of a header that all blocks of a filesystem share, when they are written.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    /// UUID of the filesystem.
    pub fsid: [u8; 16],
    /// UUID of the chunk tree.
    pub chunks: [u8; 16],
    /// Number of the transaction.
    pub generation: u64,
}

impl Stamp {
    /// A leaf of `size` bytes; its items must fit.
    pub(super) fn leaf<'i>(
        &self,
        size: usize,
        address: u64,
        owner: u64,
        items: impl ExactSizeIterator<Item = (Key, &'i [u8])>,
    ) -> Vec<u8> {
        let count = items.len();
        let mut block = self.header(address, owner, count, 0).up_to(size).0;
        let (mut at, mut end) = (HEADER, size);
        for (key, payload) in items {
            end -= payload.len();
            block[end..][..payload.len()].copy_from_slice(payload);
            let item = Fields::default().key(key).u32s(&[(end - HEADER) as u32, payload.len() as u32]);
            block[at..][..ITEM].copy_from_slice(&item.0);
            at += ITEM;
        }
        seal(block)
    }

    /// An inner node of `size` bytes; its pointers must fit.
    pub(super) fn inner(
        &self,
        size: usize,
        address: u64,
        owner: u64,
        level: u8,
        children: impl ExactSizeIterator<Item = (Key, u64)>,
    ) -> Vec<u8> {
        let header = self.header(address, owner, children.len(), level);
        let block =
            children.fold(header, |block, (key, child)| block.key(key).u64s(&[child, self.generation]));
        seal(block.up_to(size).0)
    }

    fn header(&self, address: u64, owner: u64, count: usize, level: u8) -> Fields {
        Fields::default()
            .zeros(32)
            .bytes(&self.fsid)
            .u64s(&[address, FLAGS])
            .bytes(&self.chunks)
            .u64s(&[self.generation, owner])
            .u32s(&[count as u32])
            .bytes(&[level])
    }
}

fn seal(mut block: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&block[32..]);
    block[..4].copy_from_slice(&sum.to_le_bytes());
    block
}

/// The properties that a block must have by what points to it. They leave no room for loops: levels fall, and the keys
/// of a block lie between those of its neighbours.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// The tree.
    pub tree: u64,
    /// Address in the filesystem.
    pub address: u64,
    /// Height above the leaves.
    pub level: u8,
    /// Number of the transaction that wrote it.
    pub generation: u64,
    /// Its first key, unless it is a root.
    pub first: Option<Key>,
    /// A key that is greater than all of its own.
    pub end: Option<Key>,
}

/// A block that has been checked.
#[derive(Clone, Debug)]
pub(super) struct Node {
    bytes: Vec<u8>,
    count: usize,
    /// Height above the leaves.
    pub level: u8,
}

impl Node {
    /// Checks a block; the error says what is wrong with it.
    pub(super) fn parse(bytes: Vec<u8>, fsid: &[u8; 16], expected: &Expected) -> Result<Self, &'static str> {
        if checksum(bytes.get(32..).unwrap_or_default()) != u32_at(&bytes, 0) {
            return Err("its checksum is wrong");
        }
        if u64_at(&bytes, 48) != expected.address || uuid_at(&bytes, 32) != *fsid {
            return Err("it belongs elsewhere");
        }
        if u64_at(&bytes, 80) != expected.generation {
            return Err("it is of another generation than expected");
        }
        // Blocks of the file tree may have been written for a snapshot that is gone.
        let owner = u64_at(&bytes, 88);
        let is_file_tree = |tree| tree == object::FS_TREE || (object::FIRST..=object::LAST).contains(&tree);
        if owner != expected.tree && !(is_file_tree(owner) && is_file_tree(expected.tree)) {
            return Err("it belongs to another tree");
        }
        let (count, level) = (u32_at(&bytes, 96) as usize, u8_at(&bytes, 100));
        if level != expected.level {
            return Err("it has another level than expected");
        }
        let unit = if level == 0 { ITEM } else { POINTER };
        if count > bytes.len().saturating_sub(HEADER) / unit {
            return Err("it has more items than room");
        }
        let node = Node { bytes, count, level };
        node.judge_keys(expected)?;
        if level == 0 {
            node.judge_items()?;
        }
        Ok(node)
    }

    fn judge_keys(&self, expected: &Expected) -> Result<(), &'static str> {
        if self.count == 0 {
            // Only the root of an empty tree.
            return if self.level == 0 && expected.first.is_none() { Ok(()) } else { Err("it is empty") };
        }
        if expected.first.is_some_and(|first| first != self.key(0)) {
            return Err("its first key is not the expected one");
        }
        let keys = (0..self.count).map(|index| self.key(index));
        if !keys.clone().zip(keys.skip(1)).all(|(one, next)| one < next) {
            return Err("its keys are not in order");
        }
        if expected.end.is_some_and(|end| self.key(self.count - 1) >= end) {
            return Err("its last key belongs to another block");
        }
        Ok(())
    }

    /// Payloads follow each other without gaps from the end on, as in every block that Linux accepts
    /// (`check_leaf` of tree-checker.c).
    fn judge_items(&self) -> Result<(), &'static str> {
        let mut end = self.bytes.len() - HEADER;
        for index in 0..self.count {
            let (offset, length) = self.range(index);
            if offset.checked_add(length) != Some(end) || offset < self.count * ITEM {
                return Err("an item lies outside of its room");
            }
            end = offset;
        }
        Ok(())
    }

    fn at(&self, index: usize) -> usize {
        HEADER + index * if self.level == 0 { ITEM } else { POINTER }
    }

    /// Offset after the header, and length, of an item's payload.
    fn range(&self, index: usize) -> (usize, usize) {
        let at = self.at(index) + Key::LENGTH;
        (u32_at(&self.bytes, at) as usize, u32_at(&self.bytes, at + 4) as usize)
    }

    /// Number of items or pointers.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The key of an item or pointer.
    pub(super) fn key(&self, index: usize) -> Key {
        Key::at(&self.bytes, self.at(index))
    }

    /// The payload of an item of a leaf; empty if there is no such item.
    pub(super) fn payload(&self, index: usize) -> &[u8] {
        let (offset, length) = self.range(index);
        self.bytes.get(HEADER + offset..HEADER + offset + length).unwrap_or_default()
    }

    /// Address and generation of a child of an inner node.
    pub(super) fn child(&self, index: usize) -> (u64, u64) {
        let at = self.at(index) + Key::LENGTH;
        (u64_at(&self.bytes, at), u64_at(&self.bytes, at + 8))
    }

    /// The last index whose key is at most a given one, or the first index.
    pub(super) fn last_at_most(&self, key: Key) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.saturating_sub(1)
    }
}

/// The key and payload of a tree block in the extent tree: it is used once, by `owner`.
pub(super) fn extent_of_block(address: u64, level: u8, owner: u64, generation: u64) -> (Key, Vec<u8>) {
    let payload = Fields::default()
        // One reference; the second flag says that it is a tree block.
        .u64s(&[1, generation, 2])
        .bytes(&[kind::TREE_BLOCK_REF])
        .u64s(&[owner]);
    (Key::new(address, kind::METADATA, level.into()), payload.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { fsid: [1; 16], chunks: [2; 16], generation: 3 };

    fn expected() -> Expected {
        Expected { tree: 5, address: 8192, level: 0, generation: 3, first: None, end: None }
    }

    #[test]
    fn a_leaf_is_read_as_written_and_every_flipped_bit_is_told() {
        let items =
            [(Key::new(1, 2, 3), &b"first"[..]), (Key::new(1, 2, 4), b""), (Key::new(2, 0, 0), b"third")];
        let block = STAMP.leaf(4096, 8192, 5, items.into_iter());
        let node = Node::parse(block.clone(), &[1; 16], &expected()).unwrap();
        let read = (0..node.count()).map(|index| (node.key(index), node.payload(index)));
        assert!(read.eq(items));
        for bit in [0, 32 * 8, 48 * 8, 96 * 8 + 1, 4095 * 8 + 7] {
            let mut block = block.clone();
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(Node::parse(block, &[1; 16], &expected()).is_err(), "{bit}");
        }
    }

    #[test]
    fn a_block_that_is_sound_in_itself_must_be_the_one_that_was_pointed_to() {
        let items = [(Key::new(1, 2, 3), &b"first"[..]), (Key::new(1, 2, 4), b"")];
        let block = STAMP.leaf(4096, 8192, 5, items.into_iter());
        let wrong = [
            Expected { tree: 7, ..expected() },
            Expected { address: 4096, ..expected() },
            Expected { level: 1, ..expected() },
            Expected { generation: 2, ..expected() },
            Expected { first: Some(Key::new(1, 2, 2)), ..expected() },
            Expected { end: Some(Key::new(1, 2, 4)), ..expected() },
        ];
        for expected in wrong {
            assert!(Node::parse(block.clone(), &[1; 16], &expected).is_err(), "{expected:?}");
        }
        assert!(Node::parse(block, &[9; 16], &expected()).is_err());
    }

    #[test]
    fn keys_out_of_order_and_items_over_one_another_are_told() {
        let twice = [(Key::new(1, 2, 3), &b""[..]), (Key::new(1, 2, 3), b"")];
        let block = STAMP.leaf(4096, 8192, 5, twice.into_iter());
        assert_eq!(Node::parse(block, &[1; 16], &expected()).unwrap_err(), "its keys are not in order");
        let mut block = STAMP.leaf(4096, 8192, 5, [(Key::new(1, 2, 3), &b"some"[..])].into_iter());
        block[HEADER + Key::LENGTH] ^= 4;
        let block = seal(block);
        assert_eq!(
            Node::parse(block, &[1; 16], &expected()).unwrap_err(),
            "an item lies outside of its room"
        );
    }
}
