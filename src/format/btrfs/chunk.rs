//! Chunks: which addresses of the filesystem lie where on the device.

use std::collections::BTreeMap;

use super::Fault;
use super::key::{Key, kind, object};
use super::superblock::STRIPE;
use crate::format::fields::{Fields, u16_at, u64_at};

/// Uses and profiles of a chunk (`BTRFS_BLOCK_GROUP_…`).
pub(super) mod group {
    pub const DATA: u64 = 1;
    pub const SYSTEM: u64 = 2;
    pub const METADATA: u64 = 4;
    /// Two copies of everything, on one device.
    pub const DUP: u64 = 1 << 5;
    /// The profiles that need several devices.
    pub const OTHERS: [(u64, &str); 7] = [
        (1 << 3, "RAID 0"),
        (1 << 4, "RAID 1"),
        (1 << 6, "RAID 10"),
        (1 << 7, "RAID 5"),
        (1 << 8, "RAID 6"),
        (1 << 9, "RAID 1 with three copies"),
        (1 << 10, "RAID 1 with four copies"),
    ];
    pub const KNOWN: u64 = DATA | SYSTEM | METADATA | DUP;
}

/// Bytes of a chunk item before its stripes, and of a stripe.
const HEAD: usize = 48;
const STRIPE_ITEM: usize = 32;
/// Most chunks that are read: those of a disk of 64 TiB whose chunks have 1 GiB.
const MOST: usize = 65536;

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Bytes.
    pub length: u64,
    /// Bits of [`group`].
    pub kind: u64,
    /// Where its copies begin on the device: one or two.
    pub copies: Vec<u64>,
}

impl Chunk {
    /// The item of a chunk on the device 1.
    pub(super) fn encode(&self, sector: u32, device: &[u8; 16]) -> Vec<u8> {
        let copies = self.copies.len() as u16;
        let head = Fields::default()
            .u64s(&[self.length, object::EXTENT_TREE, STRIPE, self.kind])
            .u32s(&[sector, sector, sector])
            .u16s(&[copies, 0]);
        let stripe = |item: Fields, start: &u64| item.u64s(&[object::DEVICE, *start]).bytes(device);
        self.copies.iter().fold(head, stripe).0
    }

    /// Reads an item at the beginning of bytes; also returns its length.
    fn parse(bytes: &[u8], device: u64) -> Result<(Self, usize), Fault> {
        let (length, kind, count) = (u64_at(bytes, 0), u64_at(bytes, 24), usize::from(u16_at(bytes, 44)));
        if let Some((_, name)) = group::OTHERS.iter().find(|(bit, _)| kind & bit != 0) {
            return Err(Fault::feature(*name));
        }
        let wanted = if kind & group::DUP != 0 { 2 } else { 1 };
        let end = HEAD + count * STRIPE_ITEM;
        if kind & !group::KNOWN != 0 || kind & !group::DUP == 0 || count != wanted || bytes.len() < end {
            return Err(Fault::damaged("a chunk has an impossible kind or number of copies"));
        }
        let stripes = bytes[HEAD..end].chunks_exact(STRIPE_ITEM);
        if stripes.clone().any(|stripe| u64_at(stripe, 0) != device) {
            return Err(Fault::feature("a chunk on another device"));
        }
        let copies = stripes.map(|stripe| u64_at(stripe, 8)).collect();
        Ok((Chunk { length, kind, copies }, end))
    }
}

/// All chunks, by their first address.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    chunks: BTreeMap<u64, Chunk>,
    /// Number of the one device, and its length in bytes.
    device: (u64, u64),
}

impl Map {
    /// The chunks that a superblock lists.
    pub(super) fn of_system(array: &[u8], device: (u64, u64)) -> Result<Self, Fault> {
        let mut map = Map { chunks: BTreeMap::new(), device };
        let mut rest = array;
        while !rest.is_empty() {
            let key = Key::at(rest, 0);
            let item = rest.get(Key::LENGTH..).filter(|_| key.kind == kind::CHUNK);
            let item = item.ok_or_else(|| Fault::damaged("the superblock's list of chunks is cut off"))?;
            let length = map.add(key.offset, item)?;
            rest = &item[length..];
        }
        Ok(map)
    }

    /// Adds a chunk's item; returns its length. The chunk may be known already.
    pub(super) fn add(&mut self, start: u64, item: &[u8]) -> Result<usize, Fault> {
        let (number, total) = self.device;
        let (chunk, length) = Chunk::parse(item, number)?;
        let end = start.checked_add(chunk.length).filter(|_| chunk.length > 0);
        let ends = |copy: &u64| copy.checked_add(chunk.length).is_some_and(|end| end <= total);
        let (Some(end), true) = (end, chunk.copies.iter().all(ends)) else {
            return Err(Fault::damaged(format!("the chunk at {start} lies outside of the device")));
        };
        if self.chunks.get(&start) == Some(&chunk) {
            return Ok(length);
        }
        let below = self.chunks.range(..end).next_back();
        if below.is_some_and(|(other, below)| other + below.length > start) {
            return Err(Fault::damaged(format!("the chunk at {start} overlaps another one")));
        }
        if self.chunks.len() >= MOST {
            return Err(Fault::Limit { what: "the number of chunks".into(), limit: MOST as u64 });
        }
        self.chunks.insert(start, chunk);
        Ok(length)
    }

    /// The places on the device of a range of addresses, one for each copy.
    pub(super) fn places(&self, address: u64, length: u64) -> Result<Vec<u64>, Fault> {
        let outside = || Fault::damaged(format!("no chunk holds the {length} bytes at address {address}"));
        let (start, chunk) = self.chunks.range(..=address).next_back().ok_or_else(outside)?;
        let inside = address - start;
        if inside.checked_add(length).is_none_or(|end| end > chunk.length) {
            return Err(outside());
        }
        Ok(chunk.copies.iter().map(|copy| copy + inside).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(length: u64, kind: u64, copies: &[u64]) -> Vec<u8> {
        Chunk { length, kind, copies: copies.to_vec() }.encode(4096, &[7; 16])
    }

    #[test]
    fn an_address_is_found_in_every_copy_and_nowhere_else() {
        let mut map = Map { chunks: BTreeMap::new(), device: (1, 1 << 20) };
        map.add(65536, &item(8192, group::METADATA | group::DUP, &[0, 32768])).unwrap();
        assert_eq!(map.places(65536 + 4096, 4096).unwrap(), [4096, 36864]);
        for (address, length) in [(65535, 1), (65536, 8193), (65536 + 8192, 1), (u64::MAX, u64::MAX)] {
            assert!(map.places(address, length).is_err(), "{address} {length}");
        }
    }

    #[test]
    fn chunks_that_overlap_or_leave_the_device_or_need_more_of_them_are_refused() {
        let mut map = Map { chunks: BTreeMap::new(), device: (1, 1 << 20) };
        map.add(65536, &item(8192, group::DATA, &[0])).unwrap();
        let refused = |map: &mut Map, start, item: &[u8]| map.add(start, item).unwrap_err();
        for start in [65536 - 4096, 65536, 65536 + 4096] {
            refused(&mut map, start, &item(8192, group::DATA, &[8192]));
        }
        refused(&mut map, 0, &item(8192, group::DATA, &[(1 << 20) - 4096]));
        refused(&mut map, 0, &item(0, group::DATA, &[0]));
        refused(&mut map, u64::MAX, &item(8192, group::DATA, &[0]));
        refused(&mut map, 0, &item(8192, group::DATA, &[0, 8192]));
        let raid = refused(&mut map, 0, &item(8192, group::DATA | 1 << 4, &[0, 8192]));
        assert!(matches!(raid, Fault::Feature(what) if what == "RAID 1"));
        map.add(65536, &item(8192, group::DATA, &[0])).unwrap();
    }
}
