//! Trees that are written at once: sorted items, packed into leaves, and inner nodes above them.

use std::ops::Range;

use super::key::Key;
use super::layout::{FAN, ROOM};
use super::node::ITEM;

/// The payload of an item. Some payloads are known only when the data has been read.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// Known bytes.
    Bytes(Vec<u8>),
    /// The data of a file, inline: its index, and its length in bytes.
    Inline(usize, usize),
    /// This many checksums, of the data that follows that of the item before.
    Sums(usize),
}

impl Payload {
    /// Bytes of it.
    pub(super) fn length(&self) -> usize {
        match self {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Inline(_, length) => super::items::EXTENT_HEAD + length,
            Payload::Sums(count) => count * 4,
        }
    }
}

/// A block of a tree.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub address: u64,
    pub level: u8,
    /// Of a leaf, the indexes of its items; else those of the blocks below.
    pub range: Range<usize>,
    pub first: Key,
}

/// A tree whose blocks have addresses.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// The tree's number.
    pub owner: u64,
    pub items: Vec<(Key, Payload)>,
    /// The leaves, then each level above, up to the root. Addresses ascend.
    pub blocks: Vec<Block>,
}

impl Packed {
    /// Packs sorted items, each of which fits into a leaf. `place` gives the addresses, one after the other.
    pub(super) fn new(owner: u64, items: Vec<(Key, Payload)>, mut place: impl FnMut() -> u64) -> Self {
        let mut blocks = Vec::new();
        let (mut start, mut used) = (0, 0);
        let mut leaf = |range: Range<usize>| {
            let first = items.get(range.start).map(|(key, _)| *key).unwrap_or_default();
            blocks.push(Block { address: place(), level: 0, range, first });
        };
        for (index, (_, payload)) in items.iter().enumerate() {
            let needed = ITEM + payload.length();
            if used + needed > ROOM {
                leaf(start..index);
                (start, used) = (index, 0);
            }
            used += needed;
        }
        leaf(start..items.len());
        let (mut below, mut level) = (0..blocks.len(), 0);
        while below.len() > 1 {
            level += 1;
            for start in below.clone().step_by(FAN) {
                let range = start..(start + FAN).min(below.end);
                let first = blocks.get(start).map(|block| block.first).unwrap_or_default();
                blocks.push(Block { address: place(), level, range, first });
            }
            below = below.end..blocks.len();
        }
        Packed { owner, items, blocks }
    }

    /// Address and level of the root.
    pub(super) fn root(&self) -> (u64, u8) {
        self.blocks.last().map_or((0, 0), |root| (root.address, root.level))
    }

    /// Bytes of its blocks.
    pub(super) fn length(&self) -> u64 {
        (self.blocks.len() * super::layout::NODE) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(count: u64, length: usize) -> Packed {
        let items = (0..count).map(|number| (Key::new(number, 0, 0), Payload::Bytes(vec![0; length])));
        let mut next = 0;
        Packed::new(5, items.collect(), || {
            next += 1;
            next
        })
    }

    #[test]
    fn every_item_is_in_one_leaf_and_every_block_but_the_root_below_one_other() {
        for (count, length, level) in
            [(0, 0, 0), (1, super::super::layout::MOST_PAYLOAD, 0), (160, 0, 1), (40_000, 100, 2)]
        {
            let tree = packed(count, length);
            assert_eq!(tree.root(), (tree.blocks.len() as u64, level));
            let of = |is_leaf: bool| {
                let blocks = tree.blocks.iter().filter(move |block| (block.level == 0) == is_leaf);
                blocks.flat_map(|block| block.range.clone())
            };
            assert!(of(true).eq(0..count as usize));
            assert!(of(false).eq(0..tree.blocks.len() - 1));
        }
    }
}
