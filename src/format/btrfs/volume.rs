//! The device under a filesystem that is read: its superblock, and the bytes at an address, each from the first copy
//! that is intact.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Fault;
use super::chunk::Map;
use super::cursor::{Cursor, Root};
use super::key::{Key, kind, object};
use super::node::{Expected, Node, checksum};
use super::source::Source;
use super::superblock::{self, COPIES, Superblock};
use crate::format::fields::{u32_at, u64_at};

/// An open device.
#[derive(Debug)]
pub(super) struct Volume<S> {
    source: S,
    pub superblock: Superblock,
    chunks: Map,
    /// Offset of the superblock, if it is not the first one.
    copy: Option<u64>,
    /// Number of times that a first copy was damaged and the second one intact.
    second: AtomicU64,
}

impl<S: Source> Volume<S> {
    /// Finds the superblock and reads the chunk tree.
    pub(super) fn open(source: S) -> Result<Self, Fault> {
        let (superblock, copy) = superblock_of(&source)?;
        if superblock.total > source.length() {
            let why = format!("it has {} bytes, and {} of them are there", superblock.total, source.length());
            return Err(Fault::damaged(why));
        }
        let device = (u64_at(&superblock.device, 0), superblock.total);
        let chunks = Map::of_system(&superblock.system, device)?;
        let second = AtomicU64::new(0);
        let mut volume = Volume { source, superblock, chunks, copy, second };
        let (address, level, generation) = volume.superblock.chunks;
        let root = Root { tree: object::CHUNK_TREE, address, level, generation };
        let mut all = volume.chunks.clone();
        let mut cursor = Cursor::from(&volume, &root, Key::new(object::FIRST, kind::CHUNK, 0))?;
        while let Some((key, item)) = cursor.next()? {
            if key.kind == kind::CHUNK {
                all.add(key.offset, item)?;
            }
        }
        volume.chunks = all;
        Ok(volume)
    }

    /// Bytes of a unit of data.
    pub(super) fn sector(&self) -> u64 {
        self.superblock.sector.into()
    }

    /// Length of the device in bytes.
    pub(super) fn length(&self) -> u64 {
        self.superblock.total
    }

    /// The flaws that did not matter, because there was a copy.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(copy) = self.copy {
            notes.push(format!("the first superblock is damaged; the one at {} MiB was used", copy >> 20));
        }
        match self.second.load(Ordering::Relaxed) {
            0 => {}
            1 => notes.push("one block is damaged; its second copy was used".into()),
            count => notes.push(format!("{count} blocks are damaged; their second copies were used")),
        }
        notes
    }

    /// Reads a tree block, and checks it.
    pub(super) fn node(&self, expected: &Expected) -> Result<Node, Fault> {
        if expected.generation > self.superblock.generation {
            return Err(Fault::damaged(format!("the tree block at {} is of the future", expected.address)));
        }
        let (address, length) = (expected.address, self.superblock.node);
        let judge = |bytes| {
            let why = |why| Fault::damaged(format!("the tree block at address {address} is damaged: {why}"));
            Node::parse(bytes, &self.superblock.metadata, expected).map_err(why)
        };
        self.intact(address, length.into(), judge)
    }

    /// Reads data at an address; `sums` are those of its sectors, if it has any. The caller limits the length.
    pub(super) fn data(&self, address: u64, length: u64, sums: Option<&[u32]>) -> Result<Vec<u8>, Fault> {
        let sector = self.sector();
        self.intact(address, length, |bytes| {
            let sectors = bytes.chunks(sector as usize).zip(sums.unwrap_or_default());
            let wrong = sectors.map(|(bytes, sum)| checksum(bytes) == *sum).position(|is_right| !is_right);
            wrong.map_or(Ok(()), |index| {
                let at = address + index as u64 * sector;
                Err(Fault::damaged(format!("the checksum of the data at address {at} is wrong")))
            })?;
            Ok(bytes)
        })
    }

    /// The judge's result for the first copy that it does not refuse.
    fn intact<T>(
        &self,
        address: u64,
        length: u64,
        judge: impl Fn(Vec<u8>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut first = None;
        for place in self.chunks.places(address, length)? {
            let mut bytes = vec![0; length as usize];
            let read = self.source.read_at(&mut bytes, place).map_err(Fault::Io);
            match read.and_then(|()| judge(bytes)) {
                Ok(found) => {
                    self.second.fetch_add(first.is_some().into(), Ordering::Relaxed);
                    return Ok(found);
                }
                Err(fault) => drop(first.get_or_insert(fault)),
            }
        }
        Err(first.unwrap_or_else(|| Fault::damaged("a chunk has no copy")))
    }

    /// The checksums of data, one for each sector of the range; `None` if one of them does not exist. The caller limits
    /// the length.
    pub(super) fn sums(&self, tree: &Root, address: u64, length: u64) -> Result<Option<Vec<u32>>, Fault> {
        let sector = self.sector();
        let wanted = (length / sector) as usize;
        let mut sums = Vec::with_capacity(wanted);
        let first = Key::new(object::EXTENT_CSUM, kind::CSUM, address);
        let mut cursor = Cursor::before(self, tree, first)?;
        while sums.len() < wanted
            && let Some((key, item)) = cursor.next()?
        {
            if (key.object, key.kind) != (first.object, first.kind) {
                continue;
            }
            let next = address + sums.len() as u64 * sector;
            if key.offset > next {
                break;
            }
            let skip = (next - key.offset) / sector;
            let rest = usize::try_from(skip * 4).ok().and_then(|skip| item.get(skip..)).unwrap_or_default();
            let rest = rest.chunks_exact(4).map(|sum| u32_at(sum, 0));
            sums.extend(rest.take(wanted - sums.len()));
        }
        Ok((sums.len() == wanted).then_some(sums))
    }
}

/// The first superblock; if it is damaged, the intact copy of the latest generation and its offset.
///
/// Linux writes the first one before the others, and mounts by it alone: a copy is never newer, but may be what an
/// earlier filesystem left there.
fn superblock_of(source: &impl Source) -> Result<(Superblock, Option<u64>), Fault> {
    let read = |offset: u64| {
        let mut bytes = vec![0; superblock::LENGTH];
        source.read_at(&mut bytes, offset).map(|()| bytes)
    };
    let exists = |offset: &u64| offset + superblock::LENGTH as u64 <= source.length();
    let [first, copies @ ..] = COPIES;
    if !exists(&first) {
        return Err(Fault::Foreign);
    }
    let bytes = read(first).map_err(Fault::Io)?;
    if !Superblock::is_one(&bytes) {
        return Err(Fault::Foreign);
    }
    let fault = match Superblock::parse(&bytes, first) {
        Ok(superblock) => return Ok((superblock, None)),
        Err(fault @ Fault::Damaged(_)) => fault,
        Err(fault) => return Err(fault),
    };
    let intact = |offset| Some((Superblock::parse(&read(offset).ok()?, offset).ok()?, Some(offset)));
    let copies = copies.into_iter().filter(exists).filter_map(intact);
    copies.max_by_key(|(superblock, _)| superblock.generation).ok_or(fault)
}
