//! Writes an image front to back.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{
    BITS, COMPRESSION_TYPE, COPIED, HEADER_2, HEADER_3, MAGIC, MOST_L1, OFFSET, Options, PACKED, Packing,
    SECTOR, WINDOW_BITS, packed_entry, packed_range,
};
use crate::format::disk::cutter::{Cut, Cutter, Pieced};
use crate::format::disk::noise::is_noise;
use crate::format::disk::ordered::Ordered;
use crate::format::disk::{Error, Format, check_end};
use crate::format::sparse::{Sink, is_zero};

/// Bytes that are written to the file at once.
const BUFFER: usize = 1 << 20;

/// Writes an image of a disk that is handed to it front to back.
pub struct Writer {
    pub(super) layout: Layout,
    cutter: Cutter,
    clusters: Ordered<Cluster>,
    spare: Vec<Vec<u8>>,
    length: u64,
}

/// A cluster on its way to a thread and back.
struct Cluster {
    number: u64,
    raw: Vec<u8>,
    packed: Vec<u8>,
    stored: Stored,
}

/// How a cluster is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Nowhere,
    Raw,
    Packed,
}

/// Compresses clusters.
enum Encoder {
    None,
    Deflate(Compress),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Writer {
    /// Begins an image of `length` bytes, rounded up to a whole number of sectors, because QEMU knows no other disks.
    /// The file is emptied.
    ///
    /// # Errors
    /// The disk is too long for clusters of that length; the file cannot be written; a thread cannot be started.
    pub fn new(out: File, length: u64, options: Options, threads: NonZeroUsize) -> io::Result<Self> {
        Writer::at(out, 0, length, options, threads)
    }

    /// The same, with the image's first byte at an offset of the file, in bytes. Bytes before it are left to others.
    ///
    /// # Errors
    /// Those of [`Writer::new`].
    pub fn at(
        out: File,
        start: u64,
        length: u64,
        options: Options,
        threads: NonZeroUsize,
    ) -> io::Result<Self> {
        out.set_len(0)?;
        let cluster = 1_usize << options.bits.clamp(*BITS.start(), *BITS.end());
        let clusters = Ordered::new(threads, || {
            let mut encoder = Encoder::new(options.packing)?;
            Ok(move |cluster: &mut Cluster| encoder.encode(cluster))
        })?;
        Ok(Writer {
            layout: Layout::new(out, start, length, options)?,
            cutter: Cutter::new(cluster),
            clusters,
            spare: Vec::new(),
            length,
        })
    }

    /// Writes the tables. The disk must be complete. Returns the image's length in bytes.
    ///
    /// # Errors
    /// The disk is shorter than announced, or the file cannot be written.
    pub fn finish(mut self) -> io::Result<u64> {
        check_end(self.cutter.length(), self.length)?;
        if let Some(cut) = self.cutter.finish() {
            self.cut(cut)?;
        }
        while let Some(cluster) = self.clusters.next() {
            self.store(cluster?)?;
        }
        self.layout.finish()
    }

    fn store(&mut self, cluster: Cluster) -> io::Result<()> {
        match cluster.stored {
            Stored::Nowhere => {}
            Stored::Raw => self.layout.raw(cluster.number, &cluster.raw)?,
            Stored::Packed => self.layout.packed(cluster.number, &cluster.packed)?,
        }
        self.cutter.recycle(cluster.raw);
        self.spare.push(cluster.packed);
        Ok(())
    }
}

impl Pieced for Writer {
    fn cutter(&mut self) -> &mut Cutter {
        &mut self.cutter
    }

    fn cut(&mut self, cut: Cut) -> io::Result<()> {
        // Zeros have no entry.
        let Cut::Data(number, mut raw) = cut else { return Ok(()) };
        // Only the disk's last cluster is shorter.
        raw.resize(self.layout.cluster as usize, 0);
        let packed = self.spare.pop().unwrap_or_default();
        let cluster = Cluster { number, raw, packed, stored: Stored::Nowhere };
        self.clusters.push(cluster).map_or(Ok(()), |cluster| self.store(cluster?))
    }
}

impl Sink for Writer {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cut_data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.cut_zeros(length)
    }
}

impl Encoder {
    fn new(packing: Packing) -> io::Result<Self> {
        Ok(match packing {
            Packing::Plain => Encoder::None,
            Packing::Deflate(level) => {
                let level = Compression::new(level.min(9));
                Encoder::Deflate(Compress::new_with_window_bits(level, false, WINDOW_BITS))
            }
            Packing::Zstd(level) => Encoder::Zstd(Box::new(zstd::bulk::Compressor::new(level)?)),
        })
    }

    fn encode(&mut self, cluster: &mut Cluster) -> io::Result<()> {
        let Cluster { raw, packed, .. } = cluster;
        packed.clear();
        let complete = match self {
            _ if is_zero(raw) => {
                cluster.stored = Stored::Nowhere;
                return Ok(());
            }
            Encoder::None => false,
            // They would take as long as any others, for nothing.
            Encoder::Deflate(_) if is_noise(raw) => false,
            Encoder::Deflate(deflate) => {
                deflate.reset();
                // Room for what cannot be compressed. Where output ends early, a reset of zlib-rs 0.6.8 keeps a place
                // in its buffer, and some clusters later it panics.
                packed.reserve(raw.len() + raw.len() / 8 + 64);
                deflate.compress_vec(raw, packed, FlushCompress::Finish)? == Status::StreamEnd
            }
            Encoder::Zstd(zstd) => {
                packed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
                zstd.compress_to_buffer(raw, packed)?;
                true
            }
        };
        cluster.stored = if complete && packed.len() < raw.len() { Stored::Packed } else { Stored::Raw };
        Ok(())
    }
}

/// The places of everything in the file, and the tables until they are written.
pub(super) struct Layout {
    out: Out,
    pub(super) cluster: u64,
    options: Options,
    /// Length of the disk, in bytes.
    length: u64,
    /// End of what is in use: a multiple of a cluster.
    top: u64,
    /// Room for compressed clusters in a cluster that is in use by others. If it ends at `top`, it can grow.
    gap: std::ops::Range<u64>,
    /// Second-level tables by number.
    tables: Vec<Option<Box<[u64]>>>,
}

impl Layout {
    fn new(file: File, start: u64, length: u64, options: Options) -> io::Result<Self> {
        let cluster = 1 << options.bits;
        let tables = length.div_ceil(cluster).div_ceil(cluster / 8);
        if !BITS.contains(&options.bits) || tables * 8 > MOST_L1 {
            let why = format!("a disk of {length} bytes needs larger clusters than {cluster} bytes");
            return Err(Error::Unfit { format: Format::Qcow2, why }.into());
        }
        let tables = vec![None; tables as usize];
        let out = Out { file, origin: start, buffer: Vec::with_capacity(BUFFER), start: 0 };
        let gap = cluster..cluster;
        Ok(Layout {
            out,
            cluster,
            options,
            length: length.next_multiple_of(SECTOR),
            top: cluster,
            gap,
            tables,
        })
    }

    /// Stores a whole cluster.
    fn raw(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let at = self.reserve(1);
        self.set(number, COPIED | at);
        self.out.write(at, bytes)
    }

    /// Stores a compressed cluster: behind the last one if there is room, or else in a cluster of its own, which has
    /// room for others.
    fn packed(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if self.gap.end != self.top && self.gap.end - self.gap.start < length {
            self.gap = self.top..self.top;
        }
        let at = self.gap.start;
        self.gap.start += length;
        if self.gap.start > self.gap.end {
            self.top = self.gap.start.next_multiple_of(self.cluster);
            self.gap.end = self.top;
        }
        let entry = packed_entry(at, length, self.options.bits).ok_or_else(|| {
            let why = format!("offset {at} is too large for a compressed cluster");
            Error::Unfit { format: Format::Qcow2, why }
        })?;
        self.set(number, entry);
        self.out.write(at, bytes)
    }

    /// Reserves the next place for bytes whose offset was `old` in another image, and that keep their offset within a
    /// cluster. Returns that place.
    pub(super) fn reserve_alike(&mut self, old: u64, length: u64) -> u64 {
        let mut at = self.gap.start / self.cluster * self.cluster + old % self.cluster;
        if at < self.gap.start || self.gap.end != self.top {
            at = self.top + old % self.cluster;
        }
        self.gap.start = at + length;
        self.top = self.top.max(self.gap.start.next_multiple_of(self.cluster));
        self.gap.end = self.top;
        at
    }

    /// The file, for what is copied into it at places from [`Layout::reserve_alike`].
    pub(super) fn file(&self) -> &File {
        &self.out.file
    }

    /// Reserves whole clusters. Returns their offset.
    fn reserve(&mut self, clusters: u64) -> u64 {
        let at = self.top;
        self.top += clusters * self.cluster;
        at
    }

    /// Sets the entry of a cluster of the disk.
    pub(super) fn set(&mut self, number: u64, entry: u64) {
        let per_table = self.cluster / 8;
        // A disk that is longer than announced is refused at its end.
        if let Some(table) = self.tables.get_mut((number / per_table) as usize) {
            let table = table.get_or_insert_with(|| vec![0; per_table as usize].into_boxed_slice());
            table[(number % per_table) as usize] = entry;
        }
    }

    /// Writes tables, reference counts and header. Returns the image's length in bytes.
    fn finish(mut self) -> io::Result<u64> {
        let (cluster, bits) = (self.cluster, self.options.bits);
        let mut touched = Vec::new();
        let mut l1 = vec![0; self.tables.len()];
        for (number, table) in std::mem::take(&mut self.tables).into_iter().enumerate() {
            let Some(table) = table else { continue };
            for entry in table.iter().filter(|entry| **entry != 0) {
                let range = match entry & PACKED {
                    0 => (entry & OFFSET)..(entry & OFFSET) + 1,
                    _ => packed_range(*entry, bits),
                };
                for cluster in range.start >> bits..=(range.end - 1) >> bits {
                    count(&mut touched, cluster)?;
                }
            }
            let at = self.reserve(1);
            l1[number] = COPIED | at;
            self.out.write(at, &big_endian(&table))?;
        }
        let l1_at = self.reserve((l1.len() as u64 * 8).div_ceil(cluster));
        self.out.write(l1_at, &big_endian(&l1))?;
        // Counts of 16 bits in blocks, which count themselves and the table of their offsets.
        let (used, per_block) = (self.top >> bits, cluster / 2);
        let (mut blocks, mut tables) = (0, 0);
        while blocks * per_block < used + blocks + tables || tables * (cluster / 8) < blocks {
            blocks = (used + blocks + tables).div_ceil(per_block);
            tables = blocks.div_ceil(cluster / 8);
        }
        let blocks_at = self.reserve(blocks);
        let tables_at = self.reserve(tables);
        count(&mut touched, 0)?;
        for at in l1.iter().filter(|entry| **entry != 0).map(|entry| entry & OFFSET) {
            count(&mut touched, at >> bits)?;
        }
        for cluster in l1_at >> bits..self.top >> bits {
            count(&mut touched, cluster)?;
        }
        let counts: Vec<u8> = touched.iter().flat_map(|count| count.to_be_bytes()).collect();
        self.out.write(blocks_at, &counts)?;
        let offsets: Vec<u64> = (0..blocks).map(|block| blocks_at + block * cluster).collect();
        self.out.write(tables_at, &big_endian(&offsets))?;
        let (l1_size, l1_at) = (l1.len() as u32, if l1.is_empty() { 0 } else { l1_at });
        let header = self.header(l1_size, l1_at, tables_at, tables as u32);
        self.out.write(0, &header)?;
        self.out.flush()?;
        self.out.file.set_len(self.out.origin + self.top)?;
        Ok(self.top)
    }

    fn header(&self, l1_size: u32, l1_at: u64, tables_at: u64, tables: u32) -> Vec<u8> {
        let is_zstd = matches!(self.options.packing, Packing::Zstd(_));
        let mut header = Vec::with_capacity(HEADER_3);
        header.extend(MAGIC);
        header.extend((if is_zstd { 3_u32 } else { 2 }).to_be_bytes());
        header.extend([0; 12]); // no backing file
        header.extend(self.options.bits.to_be_bytes());
        header.extend(self.length.to_be_bytes());
        header.extend([0; 4]); // no encryption
        header.extend(l1_size.to_be_bytes());
        header.extend(l1_at.to_be_bytes());
        header.extend(tables_at.to_be_bytes());
        header.extend(tables.to_be_bytes());
        header.extend([0; 12]); // no snapshots
        debug_assert_eq!(header.len(), HEADER_2);
        if is_zstd {
            header.extend(COMPRESSION_TYPE.to_be_bytes());
            header.extend([0; 16]); // no compatible features
            header.extend(4_u32.to_be_bytes()); // counts of 2^4 bits
            header.extend((HEADER_3 as u32).to_be_bytes());
            header.extend([1, 0, 0, 0, 0, 0, 0, 0]); // zstd
        }
        header.extend([0; 8]); // end of extensions
        header
    }
}

/// Counts one more reference to a cluster.
fn count(counts: &mut Vec<u16>, cluster: u64) -> io::Result<()> {
    let cluster = cluster as usize;
    if counts.len() <= cluster {
        counts.resize(cluster + 1, 0);
    }
    counts[cluster] = counts[cluster].checked_add(1).ok_or_else(|| {
        let why = "more than 65535 compressed clusters lie in one cluster".to_owned();
        io::Error::from(Error::Unfit { format: Format::Qcow2, why })
    })?;
    Ok(())
}

fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

/// Collects what is written at neighbouring places.
struct Out {
    file: File,
    /// Place of the image's first byte in the file.
    origin: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl Out {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if at != self.start + self.buffer.len() as u64 || self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            self.start = at;
        }
        if bytes.len() >= BUFFER {
            self.start = at + bytes.len() as u64;
            return self.file.write_all_at(bytes, self.origin + at);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.origin + self.start)?;
        self.start += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_that_cannot_be_compressed_come_one_after_the_other() {
        let mut seed = 1_u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        // With zeros among them they are not seen to be noise, but deflate cannot make use of so few.
        let raw: Vec<u8> = (0..4096).map(|at| if at % 32 == 0 { 0 } else { noise() }).collect();
        assert!(!is_noise(&raw));
        for level in 0..=9 {
            let mut encoder = Encoder::new(Packing::Deflate(level)).unwrap();
            for number in 0..50 {
                let stored = Stored::Nowhere;
                let mut cluster = Cluster { number, raw: raw.clone(), packed: Vec::new(), stored };
                encoder.encode(&mut cluster).unwrap();
                assert!(cluster.stored == Stored::Raw, "level {level}, cluster {number}");
            }
        }
    }
}
