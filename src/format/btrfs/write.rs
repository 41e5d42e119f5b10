//! Lays a new filesystem out, and writes it front to back.
//!
//! Everything but the data and its checksums is known before the first byte is written: the addresses of all blocks
//! follow from the lengths of the files.

use std::io::{self, Read};

use super::Error;
use super::chunk::{Chunk, group};
use super::files::Files;
use super::inodes::{Inodes, Placed, Stored};
use super::items::{self, Extent, GENERATION, Inode, Named, RootItem, entry_kind, mode};
use super::key::{Key, kind, name_hash, object};
use super::layout::{
    MIB, MIXED, MIXED_LEAST, MIXED_UNIT, MOST_SUMS, NODE, Options, Property, SECTOR, SYSTEM, Space, reserved,
};
use super::node::{Stamp, checksum, extent_of_block};
use super::pack::{Block, Packed, Payload};
use super::superblock::{self, COPIES, Superblock, incompat};
use super::time::Time;
use crate::base::digest::Sha256;
use crate::format::fields::{Fields, u64_at};
use crate::format::sparse::Sink;

/// Bytes of data that are read at once.
const UNIT: usize = 1 << 20;

/// A filesystem whose every block has its place.
pub struct Layout<'d> {
    length: u64,
    needed: u64,
    free: u64,
    superblock: Superblock,
    stamp: Stamp,
    stored: Vec<Stored<'d>>,
    placed: Vec<Placed>,
    /// The chunk tree, which lies before the data.
    chunks: Packed,
    /// All other trees, by address.
    trees: Vec<Packed>,
}

impl<'d> Layout<'d> {
    /// Lays the files out. Reads no contents.
    ///
    /// # Errors
    /// The files do not fit into the length or into the format, or the label is none.
    pub fn new(files: &'d Files<'d>, options: &Options<'_>) -> Result<Self, Error> {
        let label = options.label.as_bytes();
        if label.len() >= superblock::LABEL_ROOM || label.iter().any(|byte| matches!(byte, 0 | b'\n')) {
            return Err(Error::Label(options.label.into()));
        }
        let uuid = |role| uuid(role, options.seed);
        let (fsid, device, tree_uuid) = (uuid("filesystem"), uuid("device"), uuid("files"));
        let stamp = Stamp { fsid, chunks: uuid("chunks"), generation: GENERATION };
        let time = Time::of_epoch(options.epoch);

        let mut space = Space::from(MIXED);
        let Inodes { items, stored, placed, .. } = Inodes::of(files, options, &mut space)?;
        let inodes = Packed::new(object::FS_TREE, items.into_iter().collect(), || space.block());
        let sums = Packed::new(object::CSUM_TREE, sums(&placed), || space.block());
        let mut leaf = |owner, items| Packed::new(owner, items, || space.block());
        let of_uuid = vec![(uuid_key(tree_uuid), known(Fields::default().u64s(&[object::FS_TREE])))];
        let uuids = leaf(object::UUID_TREE, of_uuid);
        let reloc = leaf(object::DATA_RELOC_TREE, empty_directory(object::FIRST, time));
        // These have one leaf each, too, and are filled when all else is known: they describe it.
        let [frees, devices, roots] = [object::FREE_SPACE_TREE, object::DEV_TREE, object::ROOT_TREE];
        let [mut frees, mut devices, mut roots] =
            [frees, devices, roots].map(|owner| leaf(owner, Vec::new()));
        let chunks = Packed::new(object::CHUNK_TREE, Vec::new(), || SYSTEM.0);

        let others = [&chunks, &inodes, &sums, &uuids, &reloc, &frees, &devices, &roots];
        let (extents, room) = extents(&placed, &others, &space, options.length);
        if room.needed > room.total {
            return Err(Error::TooSmall { needed: room.needed, there: options.length });
        }
        let groups = room.groups();
        let in_mixed = [&inodes, &sums, &uuids, &reloc, &frees, &devices, &roots, &extents];
        let blocks = in_mixed.iter().flat_map(|tree| &tree.blocks).map(|block| (block.address, NODE as u64));
        let used = placed.iter().map(|placed| (placed.address, placed.length)).chain(blocks);
        let system = [(SYSTEM.0, NODE as u64)];
        frees = leaf_of(&frees, [free_space(&groups[0], system), free_space(&groups[1], used)].concat());
        devices = leaf_of(&devices, device_items(&groups, stamp.chunks));
        let described = [&extents, &devices, &inodes, &sums, &uuids, &frees, &reloc];
        roots = leaf_of(&roots, root_items(&described, tree_uuid, time));

        let allocated = groups.iter().map(|group| group.length).sum();
        let device_item = device_item(room.total, allocated, &device, &fsid);
        let chunk = |group: &Group| {
            let chunk = Chunk { length: group.length, kind: group.kind, copies: vec![group.start] };
            (Key::new(object::FIRST, kind::CHUNK, group.start), chunk.encode(SECTOR as u32, &device))
        };
        let [(system_key, system), (mixed_key, mixed)] = groups.each_ref().map(chunk);
        let list = Fields::default().key(system_key).bytes(&system).0;
        let device_key = Key::new(object::DEVICE, kind::DEV, object::DEVICE);
        let items = [(device_key, device_item.clone()), (system_key, system), (mixed_key, mixed)];
        let chunks = leaf_of(&chunks, items.map(|(key, item)| (key, Payload::Bytes(item))).into());

        let used = groups.iter().map(|group| group.used).sum();
        let superblock = Superblock {
            fsid,
            metadata: fsid,
            generation: GENERATION,
            root: roots.root(),
            chunks: (chunks.root().0, chunks.root().1, GENERATION),
            total: room.total,
            used,
            sector: SECTOR as u32,
            node: NODE as u32,
            incompat: features(options.compression),
            device: device_item,
            label: label.to_vec(),
            system: list,
        };
        let end = room.total / MIB * MIB;
        let free = (end - MIXED).saturating_sub(reserved(MIXED, end)).saturating_sub(groups[1].used);
        let trees = vec![inodes, sums, uuids, reloc, frees, devices, roots, extents];
        let (length, needed) = (options.length, room.needed);
        Ok(Layout { length, needed, free, superblock, stamp, stored, placed, chunks, trees })
    }

    /// Length of the image, in bytes: that of the options.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes in use by data and trees.
    pub fn used(&self) -> u64 {
        self.superblock.used
    }

    /// Bytes that are left for data and its trees, which take about a hundredth of it. Linux keeps some of them to
    /// itself.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Least length with which the files fit, in bytes.
    pub fn needed(&self) -> u64 {
        self.needed
    }

    /// UUID of the filesystem.
    pub fn fsid(&self) -> [u8; 16] {
        self.superblock.fsid
    }

    /// Writes the whole filesystem, exactly [`Layout::length`] bytes, and reads every file once, in the order of their
    /// paths, small ones last. Memory is about 1 MiB, and 4 bytes for each 4 KiB of data.
    ///
    /// # Errors
    /// The sink's, or a file's contents cannot be read or have another length than declared.
    pub fn write(&self, sink: &mut dyn Sink) -> Result<(), Error> {
        let copies = COPIES.iter().filter(|copy| *copy + superblock::LENGTH as u64 <= self.superblock.total);
        let mut out = Out { sink, at: 0, superblock: &self.superblock, copies: copies.copied().collect() };
        self.tree(&self.chunks, &mut [].iter(), &mut out)?;
        let mut sums = Vec::new();
        for placed in self.placed.chunk_by(|one, next| one.file == next.file) {
            self.data(placed, &mut sums, &mut out)?;
        }
        let mut sums = sums.iter();
        for tree in &self.trees {
            self.tree(tree, &mut sums, &mut out)?;
        }
        out.zeros_to(self.length).map_err(Error::Write)
    }

    /// Writes the extents of one file, and notes their checksums.
    fn data(&self, extents: &[Placed], sums: &mut Vec<u32>, out: &mut Out<'_>) -> Result<(), Error> {
        let Some(stored) = extents.first().and_then(|extent| self.stored.get(extent.file)) else {
            return Ok(());
        };
        let mut reader = Exact::of(stored)?;
        let mut buffer = vec![0; UNIT];
        for extent in extents {
            out.zeros_to(extent.address).map_err(Error::Write)?;
            let mut left = extent.bytes;
            while left > 0 {
                let length = left.min(UNIT as u64) as usize;
                let padded = length.next_multiple_of(SECTOR as usize);
                let unit = &mut buffer[..padded];
                reader.fill(&mut unit[..length])?;
                unit[length..].fill(0);
                sums.extend(unit.chunks_exact(SECTOR as usize).map(checksum));
                out.data(unit).map_err(Error::Write)?;
                left -= length as u64;
            }
        }
        reader.end()
    }

    /// Writes the blocks of a tree. Takes the checksums that its items need.
    fn tree(
        &self,
        tree: &Packed,
        sums: &mut std::slice::Iter<'_, u32>,
        out: &mut Out<'_>,
    ) -> Result<(), Error> {
        for Block { address, level, range, .. } in &tree.blocks {
            let block = if *level == 0 {
                let items = tree.items.get(range.clone()).unwrap_or_default();
                let payloads = items.iter().map(|(_, payload)| self.payload(payload, sums));
                let payloads = payloads.collect::<Result<Vec<_>, _>>()?;
                let items = items.iter().zip(&payloads).map(|((key, _), payload)| (*key, payload.as_slice()));
                self.stamp.leaf(NODE, *address, tree.owner, items)
            } else {
                let children = tree.blocks.get(range.clone()).unwrap_or_default();
                let children = children.iter().map(|child| (child.first, child.address));
                self.stamp.inner(NODE, *address, tree.owner, *level, children)
            };
            out.zeros_to(*address).and_then(|()| out.data(&block)).map_err(Error::Write)?;
        }
        Ok(())
    }

    /// The bytes of a payload.
    fn payload(&self, payload: &Payload, sums: &mut std::slice::Iter<'_, u32>) -> Result<Vec<u8>, Error> {
        Ok(match payload {
            Payload::Bytes(bytes) => bytes.clone(),
            Payload::Sums(count) => sums.by_ref().take(*count).flat_map(|sum| sum.to_le_bytes()).collect(),
            Payload::Inline(file, length) => {
                let mut bytes = vec![0; *length];
                if let Some(stored) = self.stored.get(*file) {
                    let mut reader = Exact::of(stored)?;
                    reader.fill(&mut bytes)?;
                    reader.end()?;
                }
                Extent::inline(&bytes)
            }
        })
    }
}

/// A reader that must give exactly as many bytes as were declared.
struct Exact<'d> {
    path: &'d str,
    reader: Box<dyn Read + 'd>,
}

impl<'d> Exact<'d> {
    fn of(stored: &Stored<'d>) -> Result<Self, Error> {
        let path = stored.path;
        let reader = stored.data.read().map_err(|source| Error::Content { path: path.into(), source })?;
        Ok(Exact { path, reader })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.reader.read_exact(bytes).map_err(|source| self.error(source))
    }

    /// Makes sure that there is nothing more.
    fn end(&mut self) -> Result<(), Error> {
        match self.reader.read_exact(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(source) => Err(self.error(source)),
            Ok(()) => {
                Err(self.error(io::Error::new(io::ErrorKind::InvalidData, "it is longer than declared")))
            }
        }
    }

    fn error(&self, source: io::Error) -> Error {
        let source = match source.kind() {
            // That of `read_exact` itself, which has nothing to tell.
            io::ErrorKind::UnexpectedEof if source.get_ref().is_none() => {
                io::Error::new(source.kind(), "it is shorter than declared")
            }
            _ => source,
        };
        Error::Content { path: self.path.into(), source }
    }
}

/// The image that is being written, and the copies of the superblock that are still to come.
struct Out<'o> {
    sink: &'o mut dyn Sink,
    at: u64,
    superblock: &'o Superblock,
    copies: std::collections::VecDeque<u64>,
}

impl Out<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.sink.data(bytes)
    }

    /// Goes on with zeros up to an offset, except for copies of the superblock on the way.
    fn zeros_to(&mut self, end: u64) -> io::Result<()> {
        while let Some(copy) = self.copies.front().copied().filter(|copy| *copy < end) {
            self.copies.pop_front();
            self.zeros(copy)?;
            let superblock = self.superblock.encode(copy);
            self.data(&superblock)?;
        }
        self.zeros(end)
    }

    fn zeros(&mut self, end: u64) -> io::Result<()> {
        match end.saturating_sub(self.at) {
            0 => Ok(()),
            length => {
                self.at = end;
                self.sink.zeros(length)
            }
        }
    }
}

/// The features of a stock OEM partition, and what the property needs besides.
fn features(property: Option<Property>) -> u64 {
    let stock = incompat::MIXED_BACKREF
        | incompat::MIXED_GROUPS
        | incompat::EXTENDED_IREF
        | incompat::SKINNY_METADATA
        | incompat::NO_HOLES;
    if property == Some(Property::Zstd) { stock | incompat::ZSTD } else { stock }
}

/// A UUID of version 8 (RFC 9562, 5.8): made of a seed.
fn uuid(role: &str, seed: &str) -> [u8; 16] {
    let digest = Sha256::of(format!("btrfs {role}\0{seed}").as_bytes());
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.bytes()[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// A tree that has one leaf, with its items.
fn leaf_of(empty: &Packed, items: Vec<(Key, Payload)>) -> Packed {
    let (address, _) = empty.root();
    let packed = Packed::new(empty.owner, items, || address);
    debug_assert_eq!(packed.blocks.len(), 1);
    packed
}

fn known(item: Fields) -> Payload {
    Payload::Bytes(item.0)
}

/// A UUID as the key of the item that says whose it is.
fn uuid_key(uuid: [u8; 16]) -> Key {
    Key::new(u64_at(&uuid, 0), kind::UUID_SUBVOL, u64_at(&uuid, 8))
}

/// The checksums of data, as items. Data that is contiguous shares items.
fn sums(placed: &[Placed]) -> Vec<(Key, Payload)> {
    let mut items: Vec<(u64, u64)> = Vec::new();
    for Placed { address, length, .. } in placed {
        match items.last_mut() {
            Some((start, sum)) if *start + *sum == *address => *sum += length,
            _ => items.push((*address, *length)),
        }
    }
    let split = |(start, length): (u64, u64)| {
        let most = MOST_SUMS as u64 * SECTOR;
        (start..start + length).step_by(most as usize).map(move |at| {
            let count = (start + length - at).min(most) / SECTOR;
            (Key::new(object::EXTENT_CSUM, kind::CSUM, at), Payload::Sums(count as usize))
        })
    };
    items.into_iter().flat_map(split).collect()
}

/// The inode of a directory without names, which is its own parent.
fn empty_directory(number: u64, time: Time) -> Vec<(Key, Payload)> {
    let stored = NODE as u64;
    let inode = Inode { stored, links: 1, mode: mode::DIR | 0o755, time, ..Inode::default() };
    vec![
        (Key::new(number, kind::INODE, 0), Payload::Bytes(inode.encode())),
        (Key::new(number, kind::INODE_REF, number), Payload::Bytes(items::reference(0, b".."))),
    ]
}

/// A chunk, with what is used of it.
struct Group {
    start: u64,
    length: u64,
    kind: u64,
    used: u64,
}

/// The room on the device.
struct Room {
    /// Length of the device in bytes, and the least length.
    total: u64,
    needed: u64,
    /// Length of the chunk for data and metadata, and bytes that are used of it.
    mixed: u64,
    used: u64,
}

impl Room {
    /// `end` is the first address that is not needed.
    fn new(end: u64, used: u64, length: u64) -> Self {
        let total = length / SECTOR * SECTOR;
        let taken = (end - MIXED).next_multiple_of(MIB).max(MIXED_LEAST);
        let most = (total / MIB * MIB).saturating_sub(MIXED);
        Room { total, needed: MIXED + taken, mixed: taken.next_multiple_of(MIXED_UNIT).min(most), used }
    }

    fn groups(&self) -> [Group; 2] {
        let (start, length) = SYSTEM;
        let mixed = group::DATA | group::METADATA;
        [
            Group { start, length, kind: group::SYSTEM, used: NODE as u64 },
            Group { start: MIXED, length: self.mixed, kind: mixed, used: self.used },
        ]
    }
}

/// The extent tree, which has an item for each of its own blocks, too; and the room that everything takes.
///
/// More blocks need at least as many items, and more items at least as many blocks, so the number of blocks rises from
/// one to the first number that is enough.
fn extents(placed: &[Placed], others: &[&Packed], space: &Space, length: u64) -> (Packed, Room) {
    let data = placed.iter().map(|at| items::extent_of_data(at.address, at.length, at.inode, at.offset));
    let blocks = others.iter().flat_map(|tree| tree.blocks.iter().map(|block| (tree.owner, block)));
    let item = |owner, address, level| extent_of_block(address, level, owner, GENERATION);
    let blocks = blocks.map(|(owner, block)| item(owner, block.address, block.level));
    let known: Vec<(Key, Vec<u8>)> = data.chain(blocks).collect();
    let of_others: usize = others.iter().map(|tree| tree.blocks.len()).sum();
    let of_data: u64 = placed.iter().map(|placed| placed.length).sum();
    let mut levels = vec![0];
    loop {
        let mut next = space.clone();
        let own = levels.iter().map(|level| item(object::EXTENT_TREE, next.block(), *level));
        let mut items: Vec<(Key, Vec<u8>)> = own.chain(known.iter().cloned()).collect();
        // All blocks but that of the chunk tree.
        let blocks = (of_others - 1 + levels.len()) as u64;
        let room = Room::new(next.next(), of_data + blocks * NODE as u64, length);
        items.extend(room.groups().map(|group| {
            let item = Fields::default().u64s(&[group.used, object::FIRST, group.kind]);
            (Key::new(group.start, kind::BLOCK_GROUP, group.length), item.0)
        }));
        items.sort_by_key(|(key, _)| *key);
        let items = items.into_iter().map(|(key, item)| (key, Payload::Bytes(item))).collect();
        let mut next = space.clone();
        let packed = Packed::new(object::EXTENT_TREE, items, || next.block());
        let found: Vec<u8> = packed.blocks.iter().map(|block| block.level).collect();
        if found == levels {
            return (packed, room);
        }
        levels = found;
    }
}

/// The free space of a chunk: the number of free ranges, and each of them. Used ranges ascend. Room around a copy of the
/// superblock counts as free.
fn free_space(group: &Group, used: impl IntoIterator<Item = (u64, u64)>) -> Vec<(Key, Payload)> {
    let end = group.start + group.length;
    let mut gaps = Vec::new();
    let mut at = group.start;
    for (address, length) in used.into_iter().chain([(end, 0)]) {
        if address > at {
            let key = Key::new(at, kind::FREE_SPACE_EXTENT, address - at);
            gaps.push((key, Payload::Bytes(Vec::new())));
        }
        at = address + length;
    }
    // They are listed by range, not by bitmap: no flags.
    let info = known(Fields::default().u32s(&[gaps.len() as u32, 0]));
    let mut items = vec![(Key::new(group.start, kind::FREE_SPACE_INFO, group.length), info)];
    items.append(&mut gaps);
    items.sort_by_key(|(key, _)| *key);
    items
}

/// Statistics, which are zeros, and where each chunk is on the device.
fn device_items(groups: &[Group], chunks: [u8; 16]) -> Vec<(Key, Payload)> {
    let statistics = (Key::new(0, kind::PERSISTENT, object::DEVICE), known(Fields::default().zeros(40)));
    let extents = groups.iter().map(|group| {
        let item = Fields::default().u64s(&[object::CHUNK_TREE, object::FIRST, group.start, group.length]);
        (Key::new(object::DEVICE, kind::DEV_EXTENT, group.start), known(item.bytes(&chunks)))
    });
    std::iter::once(statistics).chain(extents).collect()
}

/// The device: its length, and bytes of it in chunks.
fn device_item(total: u64, allocated: u64, uuid: &[u8; 16], fsid: &[u8; 16]) -> Vec<u8> {
    let sector = SECTOR as u32;
    let item = Fields::default()
        .u64s(&[object::DEVICE, total, allocated])
        .u32s(&[sector, sector, sector])
        // Type, generation, beginning, group, seek time, bandwidth: unknown to all kernels, and 0.
        .zeros(8 + 8 + 8 + 4 + 1 + 1)
        .bytes(uuid)
        .bytes(fsid);
    debug_assert_eq!(item.0.len(), superblock::DEVICE_LENGTH);
    item.0
}

/// Where each tree begins, and the directory that names the file tree as the default subvolume.
fn root_items(trees: &[&Packed], tree_uuid: [u8; 16], time: Time) -> Vec<(Key, Payload)> {
    let root = |tree: &&Packed| {
        let (address, level) = tree.root();
        let item = RootItem { address, level, generation: GENERATION, links: 1 };
        let files = (tree.owner == object::FS_TREE).then_some((tree_uuid, time));
        let has_inodes = matches!(tree.owner, object::FS_TREE | object::DATA_RELOC_TREE);
        let item = item.encode(tree.length(), files, has_inodes);
        (Key::new(tree.owner, kind::ROOT, 0), Payload::Bytes(item))
    };
    let mut items: Vec<(Key, Payload)> = trees.iter().map(root).collect();
    items.extend(empty_directory(object::ROOT_DIR, time));
    let (name, target) = (&b"default"[..], Key::new(object::FS_TREE, kind::ROOT, u64::MAX));
    let entry = Named { target, kind: entry_kind::DIR, name, value: b"" };
    let key = Key::new(object::ROOT_DIR, kind::DIR_ITEM, name_hash(name));
    items.push((key, Payload::Bytes(entry.encode())));
    items.sort_by_key(|(key, _)| *key);
    items
}
