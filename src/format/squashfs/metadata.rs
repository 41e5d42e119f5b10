//! Metadata blocks: 8 KiB of a table each, compressed, after two bytes with the compressed length.
//!
//! A table is a sequence of such blocks; only the last one is shorter. Other tables refer to a place in it by the
//! block's stored position and an offset in the block. Tables of fixed-size entries (fragments, ids) have an index of
//! the blocks' positions instead.

use std::io;

use super::Fault;
use super::codec::{Decoder, Encoder};
use super::fields::Fields;
use super::layout::{METADATA, Position};
use super::source::Source;

/// Flag in the two bytes before a block: it is stored uncompressed.
const STORED: u16 = 1 << 15;
/// Error for a table that overlaps the next one.
const CROSSES: &str = "a table reaches into the next one";

/// A table that is being written.
pub(crate) struct Writer<'e> {
    encoder: &'e mut Encoder,
    pending: Vec<u8>,
    packed: Vec<u8>,
    /// The finished blocks.
    stored: Vec<u8>,
    starts: Vec<u64>,
}

impl<'e> Writer<'e> {
    /// An empty table.
    pub(crate) fn new(encoder: &'e mut Encoder) -> Self {
        Writer { encoder, pending: Vec::new(), packed: Vec::new(), stored: Vec::new(), starts: Vec::new() }
    }

    /// Position of the next byte.
    pub(crate) fn position(&self) -> Position {
        // A table of 4 GiB would have more than 50 million inodes, which would not fit into memory.
        Position { block: self.stored.len() as u32, offset: self.pending.len() as u16 }
    }

    /// Appends bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(METADATA - self.pending.len()));
            self.pending.extend(now);
            if self.pending.len() == METADATA {
                self.flush()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let smaller = self.encoder.encode(&self.pending, &mut self.packed)?;
        let (bytes, mark) = if smaller { (&self.packed, 0) } else { (&self.pending, STORED) };
        self.starts.push(self.stored.len() as u64);
        self.stored.extend((bytes.len() as u16 | mark).to_le_bytes());
        self.stored.extend(bytes);
        self.pending.clear();
        Ok(())
    }

    /// Returns the stored bytes of the table.
    pub(crate) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.flush()?;
        Ok(self.stored)
    }

    /// Returns the stored bytes followed by the index of blocks, for a table that will start at `at`, and the position
    /// where the index starts.
    pub(crate) fn finish_indexed(mut self, at: u64) -> io::Result<(Vec<u8>, u64)> {
        self.flush()?;
        let index = at + self.stored.len() as u64;
        self.stored.extend(self.starts.iter().flat_map(|start| (at + start).to_le_bytes()));
        Ok((self.stored, index))
    }
}

/// Encodes the options of a compression as a block that is never compressed.
pub(crate) fn stored_block(bytes: &[u8]) -> Vec<u8> {
    let mut block = (bytes.len() as u16 | STORED).to_le_bytes().to_vec();
    block.extend(bytes);
    block
}

/// Reads tables.
pub(crate) struct Reader<'s> {
    /// The bytes of the image.
    pub source: &'s Source,
    /// Decoder for the image's compression.
    pub decoder: &'s mut Decoder,
    /// Most bytes of one table, decompressed.
    pub limit: u64,
}

impl Reader<'_> {
    fn too_large(&self) -> Fault {
        Fault::Limit { what: "a table of it".into(), limit: self.limit }
    }

    /// Reads the table whose blocks fill `start..end`.
    pub(crate) fn table(&mut self, start: u64, end: u64) -> Result<Table, Fault> {
        let length = end.checked_sub(start).ok_or(Fault::Damaged("its tables are in the wrong order"))?;
        // Apart from their length fields, compressed blocks are never longer than their content.
        if length > self.limit + self.limit / 1024 {
            return Err(self.too_large());
        }
        let mut stored = Vec::new();
        self.source.read(start, length as usize, &mut stored)?;
        let mut table = Table::default();
        let mut rest = Fields(&stored);
        let mut raw = Vec::new();
        while !rest.0.is_empty() {
            if !table.bytes.len().is_multiple_of(METADATA) {
                return Err(Fault::Damaged("a block in the middle of a table is too short"));
            }
            table.starts.push((stored.len() - rest.0.len()) as u32);
            let head = rest.u16().map_err(|_| Fault::Damaged(CROSSES))?;
            let bytes = rest.bytes((head & !STORED).into()).map_err(|_| Fault::Damaged(CROSSES))?;
            self.unpack(head, bytes, &mut raw)?;
            table.bytes.extend(&raw);
            if table.bytes.len() as u64 > self.limit {
                return Err(self.too_large());
            }
        }
        Ok(table)
    }

    /// Reads the `length` bytes of a table whose index is at `index`; also returns the position of its first block.
    pub(crate) fn indexed(&mut self, index: u64, length: u64) -> Result<(Vec<u8>, u64), Fault> {
        if length > self.limit {
            return Err(self.too_large());
        }
        let mut starts = Vec::new();
        self.source.read(index, length.div_ceil(METADATA as u64) as usize * 8, &mut starts)?;
        let mut starts = Fields(&starts);
        let (mut bytes, mut stored, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = index;
        while (bytes.len() as u64) < length {
            let start = starts.u64()?;
            if bytes.is_empty() {
                first = start;
            }
            self.source.read(start, 2, &mut stored)?;
            let head = Fields(&stored).u16()?;
            self.source.read(start.saturating_add(2), (head & !STORED).into(), &mut stored)?;
            self.unpack(head, &stored, &mut raw)?;
            if raw.len() as u64 != (length - bytes.len() as u64).min(METADATA as u64) {
                return Err(Fault::Damaged("a block of a table has the wrong length"));
            }
            bytes.extend(&raw);
        }
        Ok((bytes, first))
    }

    fn unpack(&mut self, head: u16, bytes: &[u8], raw: &mut Vec<u8>) -> Result<(), Fault> {
        if head & STORED == 0 {
            self.decoder.decode(bytes, METADATA, raw)?;
        } else {
            raw.clear();
            raw.extend(bytes);
        }
        match raw.len() {
            1..=METADATA => Ok(()),
            _ => Err(Fault::Damaged("a block of a table has the wrong length")),
        }
    }
}

/// A table that was read.
#[derive(Default)]
pub(crate) struct Table {
    /// The table's bytes, decompressed.
    pub bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Table {
    /// The offset in the table for a position.
    pub(crate) fn find(&self, position: Position) -> Result<usize, Fault> {
        let block = self.starts.binary_search(&position.block).ok();
        block
            .map(|block| block * METADATA + usize::from(position.offset))
            .filter(|at| *at <= self.bytes.len() && usize::from(position.offset) < METADATA)
            .ok_or(Fault::Damaged("a position points outside of its table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::squashfs::Options;
    use std::io::Write as _;

    #[test]
    fn tables_of_any_length_come_back_and_positions_are_found_in_them() {
        let options = Options::default();
        for length in [0, 1, METADATA - 1, METADATA, METADATA + 1, 3 * METADATA] {
            let mut encoder = Encoder::new(options).unwrap();
            let mut writer = Writer::new(&mut encoder);
            let bytes: Vec<u8> = (0..length).map(|at| (at * at / 128) as u8).collect();
            let half = bytes.len() / 2;
            writer.write(&bytes[..half]).unwrap();
            let middle = writer.position();
            writer.write(&bytes[half..]).unwrap();
            let (stored, index) = writer.finish_indexed(0).unwrap();

            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&stored).unwrap();
            let source = Source::new(file, 0, stored.len() as u64).unwrap();
            let mut decoder = Decoder::new(options.compression.algorithm()).unwrap();
            let mut reader = Reader { source: &source, decoder: &mut decoder, limit: 1 << 20 };
            let table = reader.table(0, index).unwrap();
            assert!(table.bytes == bytes);
            if length > 0 {
                assert_eq!(table.find(middle).unwrap(), half);
            }
            assert!(reader.indexed(index, length as u64).unwrap().0 == bytes);
            reader.limit = 0;
            assert!(length == 0 || matches!(reader.table(0, index), Err(Fault::Limit { .. })));
        }
    }
}
