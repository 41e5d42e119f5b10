//! Reads an image: its tables when it is opened, its clusters when they are asked for.

use std::fs::File;
use std::io;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress};
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::{
    BITS, COMPRESSION_TYPE, COPIED, HEADER_2, MAGIC, MOST_L1, OFFSET, PACKED, Packing, ZERO, packed_range,
};
use crate::format::disk::Error;
use crate::format::disk::pieces::{Piece, Pieces, Window};

/// Most bytes of second-level tables that are read: enough for 2 TiB of data in clusters of 64 KiB.
const MOST_TABLES: u64 = 256 << 20;
/// Most clusters in a file, which cost a bit each: 128 TiB of 64 KiB.
const MOST_CLUSTERS: u64 = 1 << 31;
/// Longest disk that is read, in bytes: 64 TiB.
const MOST: u64 = 64 << 40;
/// Features of version 3 by bit that are refused, and the words for them.
const FEATURES: [(u64, &str); 4] = [
    (1, "an image that was not closed (its reference counts are dirty; `qemu-img check -r all` closes it)"),
    (2, "marked as corrupt"),
    (4, "an image whose data are in another file"),
    (16, "an image with extended second-level tables"),
];

/// Compression of an image's clusters, as its header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Deflate,
    Zstd,
}

/// An opened image.
#[derive(Debug)]
pub struct Image {
    pub(super) file: Window,
    name: String,
    /// Length of the disk, in bytes.
    pub(super) length: u64,
    /// Length of the file, in bytes.
    pub(super) file_length: u64,
    pub(super) bits: u32,
    pub(super) compression: Compression,
    /// Second-level tables by number.
    pub(super) tables: Vec<Option<Box<[u64]>>>,
}

/// Storage of one cluster of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is zeros.
    Zeros,
    /// Its bytes are at this offset; what lies behind the file's end is zeros.
    Plain(u64),
    /// It is compressed within these offsets.
    Packed { at: u64, end: u64 },
}

/// Decompresses clusters.
pub enum Decoder {
    /// Raw deflate.
    Deflate(Decompress),
    /// zstd frames.
    Zstd(DCtx<'static>),
}

impl Image {
    /// Opens the image `name`: reads its tables and checks that they lie in the file and share nothing.
    ///
    /// # Errors
    /// The file cannot be read, is not an intact image, has features that prebake does not read, or exceeds a limit.
    pub fn open(file: Arc<File>, name: &str) -> Result<Self, Error> {
        let length = super::super::length_of(&file).map_err(|source| Error::read(name, source))?;
        Self::of_window(Window::new(file, 0, length), name)
    }

    /// Opens an image that is a part of a file.
    ///
    /// # Errors
    /// Those of [`Image::open`].
    pub fn of_window(file: Window, name: &str) -> Result<Self, Error> {
        let damaged = |why: &str| Error::Damaged { subject: name.to_owned(), why: why.to_owned() };
        let read_error = |source| Error::read(name, source);
        let feature = |what: &str| Error::Feature { subject: name.to_owned(), what: what.to_owned() };
        let file_length = file.length();
        let mut header = [0; HEADER_2 + 40];
        let known = file_length.min(header.len() as u64) as usize;
        file.read_exact_at(&mut header[..known], 0).map_err(read_error)?;
        if known < HEADER_2 || !header.starts_with(&MAGIC) {
            return Err(damaged("it does not begin with a header"));
        }
        let u32_at =
            |at: usize| header[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        let (version, bits, length) = (u32_at(4), u32_at(20), u64_at(24));
        if !(2..=3).contains(&version) {
            return Err(feature(&format!("of version {version}")));
        }
        if u64_at(8) != 0 {
            return Err(feature("an image with a backing file"));
        }
        if u32_at(32) != 0 {
            return Err(feature("encrypted"));
        }
        if !BITS.contains(&bits) {
            return Err(damaged(&format!("its clusters have 2^{bits} bytes")));
        }
        let mut compression = Compression::Deflate;
        if version == 3 {
            let (features, header_length) = (u64_at(72), u32_at(100));
            if known < HEADER_2 + 32 || header_length < 104 {
                return Err(damaged("its header is too short"));
            }
            if let Some((_, what)) = FEATURES.iter().find(|(bit, _)| features & bit != 0) {
                return Err(feature(what));
            }
            if features & !COMPRESSION_TYPE != 0 {
                return Err(feature(&format!("an image with the unknown features {features:#x}")));
            }
            if features & COMPRESSION_TYPE != 0 {
                compression = match header[104] {
                    _ if header_length <= 104 => return Err(damaged("its header is too short")),
                    0 => Compression::Deflate,
                    1 => Compression::Zstd,
                    other => return Err(feature(&format!("compressed by the unknown method {other}"))),
                };
            }
        }
        let limit =
            |what: &str, limit| Error::Limit { subject: name.to_owned(), what: what.to_owned(), limit };
        if length > MOST {
            return Err(limit("the disk's length", MOST));
        }
        let (cluster, l1_at) = (1_u64 << bits, u64_at(40));
        let wanted = length.div_ceil(cluster).div_ceil(cluster / 8);
        if wanted * 8 > MOST_L1 {
            return Err(limit("the length of its first-level table", MOST_L1));
        }
        if u64::from(u32_at(36)) < wanted {
            return Err(damaged("its first-level table is shorter than the disk"));
        }
        let mut image =
            Image { file, name: name.to_owned(), length, file_length, bits, compression, tables: vec![] };
        if file_length >> bits > MOST_CLUSTERS {
            return Err(limit("the number of clusters in its file", MOST_CLUSTERS));
        }
        let mut used = Used { bits, clusters: vec![0; (file_length >> bits >> 6) as usize + 1] };
        used.add(0, cluster);
        let l1 = image.table(l1_at, wanted, &mut used, "first-level table")?;
        image.read_tables(&l1, version, used)?;
        Ok(image)
    }

    /// Reads a table of big-endian entries.
    fn table(&self, at: u64, entries: u64, used: &mut Used, what: &str) -> Result<Vec<u64>, Error> {
        let length = entries * 8;
        if !at.is_multiple_of(self.cluster())
            || at.checked_add(length).is_none_or(|end| end > self.file_length)
        {
            return Err(self.damaged(format!("the {what} at offset {at} is not a place in the file")));
        }
        if !used.add(at, length) {
            return Err(self.damaged(format!("the {what} at offset {at} overlaps with other parts")));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|error| Error::read(&self.name, error))?;
        let entry = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(bytes.chunks_exact(8).map(entry).collect())
    }

    /// Reads and judges the second-level tables.
    fn read_tables(&mut self, l1: &[u64], version: u32, mut used: Used) -> Result<(), Error> {
        let (cluster, bits) = (self.cluster(), self.bits);
        let count = l1.iter().filter(|entry| *entry & OFFSET != 0).count() as u64;
        if count * cluster > MOST_TABLES {
            let what = "the length of its second-level tables".to_owned();
            return Err(Error::Limit { subject: self.name.clone(), what, limit: MOST_TABLES });
        }
        let clusters = self.length.div_ceil(cluster);
        let mut packed = Vec::new();
        for (number, entry) in l1.iter().enumerate() {
            if entry & !(OFFSET | COPIED) != 0 {
                return Err(self.damaged(format!("entry {number} of its first-level table has unknown bits")));
            }
            let at = entry & OFFSET;
            if at == 0 {
                self.tables.push(None);
                continue;
            }
            let mut table = self.table(at, cluster / 8, &mut used, "second-level table")?;
            let first = number as u64 * (cluster / 8);
            // Entries beyond the disk's end are never looked at.
            table.truncate((clusters - first).min(cluster / 8) as usize);
            for (entry, number) in table.iter().zip(first..) {
                let at = entry & OFFSET;
                let wrong = if entry & PACKED != 0 {
                    let range = packed_range(*entry, bits);
                    packed.push(range.start);
                    (range.start >= self.file_length).then_some("lies behind the file's end")
                } else if entry & !(OFFSET | COPIED | ZERO) != 0 || (entry & ZERO != 0 && version == 2) {
                    Some("has unknown bits in its entry")
                } else if at == 0 || entry & ZERO != 0 {
                    None
                } else if !at.is_multiple_of(cluster) || at >= self.file_length {
                    Some("is not at a cluster of the file")
                } else {
                    (!used.add(at, cluster)).then_some("overlaps with other parts")
                };
                if let Some(wrong) = wrong {
                    return Err(self.damaged(format!("cluster {number} {wrong}, at offset {at}")));
                }
            }
            self.tables.push(Some(table.into_boxed_slice()));
        }
        // Compressed clusters are packed tightly, and their lengths are known by sectors only. But none is shorter
        // than its algorithm makes zeros: that bounds how much a short file can unpack to.
        let ratio = if self.compression == Compression::Deflate { 1032 } else { 16384 };
        packed.sort_unstable();
        if let Some(at) = packed.iter().find(|at| used.has(**at)) {
            return Err(
                self.damaged(format!("the compressed cluster at offset {at} overlaps with other parts"))
            );
        }
        if let Some(pair) = packed.windows(2).find(|pair| pair[1] - pair[0] < (cluster / ratio).max(8)) {
            return Err(self.damaged(format!("two compressed clusters overlap at offset {}", pair[0])));
        }
        Ok(())
    }

    /// Length of a cluster in bytes.
    pub(super) fn cluster(&self) -> u64 {
        1 << self.bits
    }

    /// How clusters of this image are written.
    pub(super) fn packing(&self) -> Packing {
        match self.compression {
            Compression::Deflate => Packing::default(),
            Compression::Zstd => Packing::Zstd(zstd::DEFAULT_COMPRESSION_LEVEL),
        }
    }

    /// Where the cluster of a number is stored.
    pub(super) fn entry(&self, number: u64) -> Entry {
        let per_table = self.cluster() / 8;
        let table = self.tables.get((number / per_table) as usize).and_then(Option::as_ref);
        let entry = table.and_then(|table| table.get((number % per_table) as usize)).copied().unwrap_or(0);
        if entry & PACKED != 0 {
            let range = packed_range(entry, self.bits);
            return Entry::Packed { at: range.start, end: range.end.min(self.file_length) };
        }
        match entry & OFFSET {
            0 => Entry::Zeros,
            _ if entry & ZERO != 0 => Entry::Zeros,
            at => Entry::Plain(at),
        }
    }

    /// Whether a compressed cluster can be had out of these bytes of the file alone.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn unpacks(
        &self,
        range: std::ops::Range<u64>,
        (decoder, packed): &mut (Decoder, Vec<u8>),
    ) -> io::Result<bool> {
        packed.resize(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0), 0);
        self.file.read_exact_at(packed, range.start)?;
        Ok(decoder.decode(packed, &mut vec![0; self.cluster() as usize]))
    }

    fn damaged(&self, why: String) -> Error {
        Error::Damaged { subject: self.name.clone(), why }
    }
}

/// Which clusters of the file have a use: a bit for each.
struct Used {
    bits: u32,
    clusters: Vec<u64>,
}

impl Used {
    /// Takes a range that begins at a cluster's offset, below the file's end. Returns whether all of it was free.
    fn add(&mut self, at: u64, length: u64) -> bool {
        (at >> self.bits..(at + length).div_ceil(1 << self.bits)).all(|cluster| {
            let Some(word) = self.clusters.get_mut((cluster >> 6) as usize) else { return false };
            let was_free = *word & 1 << (cluster & 63) == 0;
            *word |= 1 << (cluster & 63);
            was_free
        })
    }

    /// Whether the cluster at an offset is in use.
    fn has(&self, at: u64) -> bool {
        let cluster = at >> self.bits;
        self.clusters.get((cluster >> 6) as usize).is_some_and(|word| word & 1 << (cluster & 63) != 0)
    }
}

impl Pieces for Image {
    type Decoder = (Decoder, Vec<u8>);

    fn length(&self) -> u64 {
        self.length
    }

    fn decoder(&self) -> io::Result<Self::Decoder> {
        let decoder = match self.compression {
            Compression::Deflate => Decoder::Deflate(Decompress::new(false)),
            Compression::Zstd => Decoder::Zstd(DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?),
        };
        Ok((decoder, Vec::new()))
    }

    fn piece(&self, at: u64) -> Piece {
        let number = at >> self.bits;
        let per_table = self.cluster() / 8;
        let clusters = match self.tables.get((number / per_table) as usize) {
            Some(None) => per_table - number % per_table,
            _ => 1,
        };
        let start = number << self.bits;
        let end = (start + clusters * self.cluster()).min(self.length);
        Piece { start, end, zeros: self.entry(number) == Entry::Zeros }
    }

    fn decode(&self, start: u64, decoder: &mut Self::Decoder, bytes: &mut Vec<u8>) -> io::Result<()> {
        let number = start >> self.bits;
        let (decoder, packed) = decoder;
        bytes.resize(self.cluster() as usize, 0);
        match self.entry(number) {
            Entry::Zeros => bytes.fill(0),
            Entry::Plain(at) => {
                let known = (self.file_length - at).min(self.cluster()) as usize;
                self.file.read_exact_at(&mut bytes[..known], at)?;
                bytes[known..].fill(0);
            }
            Entry::Packed { at, end } => {
                packed.resize((end - at) as usize, 0);
                self.file.read_exact_at(packed, at)?;
                if !decoder.decode(packed, bytes) {
                    let why = format!("cluster {number}, at offset {at}, cannot be decompressed");
                    return Err(self.damaged(why).into());
                }
            }
        }
        bytes.truncate((self.length - start).min(self.cluster()) as usize);
        Ok(())
    }
}

impl Decoder {
    /// Fills `raw` with what is in `packed`, behind which there may be other bytes. Returns whether it is that long.
    fn decode(&mut self, packed: &[u8], raw: &mut [u8]) -> bool {
        match self {
            Decoder::Deflate(deflate) => {
                deflate.reset(false);
                let result = deflate.decompress(packed, raw, FlushDecompress::Finish);
                result.is_ok() && deflate.total_out() == raw.len() as u64
            }
            Decoder::Zstd(zstd) => {
                let mut input = InBuffer::around(packed);
                let length = raw.len();
                let mut output = OutBuffer::around(raw);
                let _ = zstd.reset(zstd::zstd_safe::ResetDirective::SessionOnly);
                while output.pos() < length {
                    let before = (input.pos(), output.pos());
                    let result = zstd.decompress_stream(&mut output, &mut input);
                    if result.is_err() || before == (input.pos(), output.pos()) {
                        return false;
                    }
                }
                true
            }
        }
    }
}
