//! Google's images: a gzip stream of a tar archive with one member, `disk.raw`; and the gzip stream of a disk alone.
//!
//! Owns the archive and the gzip stream. An archive's disk is a whole number of GiB, as Google demands; zeros fill it up.
//!
//! The stream is one gzip member of deflate blocks that several threads make of pieces of 1 MiB, as `pigz` does: each
//! ends at a byte (a sync flush) and refers to nothing before it, so pieces are joined by putting one after the
//! other. Several gzip members would be simpler, and RFC 1952 allows them, but some readers stop after the first one.
//! The price is less than 1 % of length.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use flate2::{Compress, Compression, Crc, FlushCompress};

use super::check_end;
use super::cutter::{Cut, Cutter, Pieced};
use super::ordered::Ordered;
use crate::format::sparse::{Sink, is_zero};

/// Part of step keys; raised when the bytes for the same disk change.
pub(crate) const REVISION: u32 = 1;

/// The unit of the length of Google's disks, in bytes.
const UNIT: u64 = 1 << 30;
/// Bytes that are compressed at once.
const PIECE: usize = 1 << 20;
/// Block of a tar archive, in bytes.
const BLOCK: usize = 512;
/// Longest file whose length a tar header states in octal digits, in bytes: 8 GiB less one.
const MOST_OCTAL: u64 = 0o777_7777_7777;

/// Writes an image of a disk that is handed to it front to back.
pub struct Writer<W: Write> {
    out: W,
    cutter: Cutter,
    pieces: Ordered<Block>,
    spare: Vec<Vec<u8>>,
    /// A piece of zeros, compressed.
    zeros: Block,
    crc: Crc,
    /// Bytes of the disk until now.
    at: u64,
    length: u64,
    /// Bytes that were written, for the end of the gzip stream.
    written: u64,
    /// Whether the disk is in an archive.
    is_archive: bool,
}

/// A piece on its way to a thread and back: `length` bytes, zeros if `raw` is empty.
#[derive(Default)]
struct Block {
    length: usize,
    raw: Vec<u8>,
    packed: Vec<u8>,
    crc: Crc,
}

impl<W: Write> Writer<W> {
    /// Begins an image of `length` bytes, which is rounded up to whole GiB, at a level from 0 to 9.
    ///
    /// # Errors
    /// The output cannot be written, or a thread not be started.
    pub fn new(out: W, length: u64, level: u32, threads: NonZeroUsize) -> io::Result<Self> {
        let mut writer = Writer::begin(out, length, level, threads)?;
        writer.is_archive = true;
        writer.cut_data(&header("disk.raw", length.next_multiple_of(UNIT)))?;
        Ok(writer)
    }

    /// Begins a gzip stream of the disk alone.
    ///
    /// # Errors
    /// Those of [`Writer::new`].
    pub fn gzip(out: W, length: u64, level: u32, threads: NonZeroUsize) -> io::Result<Self> {
        Writer::begin(out, length, level, threads)
    }

    fn begin(mut out: W, length: u64, level: u32, threads: NonZeroUsize) -> io::Result<Self> {
        let deflate = || Compress::new(Compression::new(level.min(9)), false);
        let pieces = Ordered::new(threads, || {
            let mut deflate = deflate();
            Ok(move |block: &mut Block| encode(&mut deflate, block))
        })?;
        let mut zeros = Block { length: PIECE, ..Block::default() };
        pack(&mut deflate(), &vec![0; PIECE], &mut zeros.packed, &mut zeros.crc)?;
        // Deflate, no name, no time, an unknown system.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        Ok(Writer {
            out,
            cutter: Cutter::new(PIECE),
            pieces,
            spare: Vec::new(),
            zeros,
            crc: Crc::new(),
            at: 0,
            length,
            written: 0,
            is_archive: false,
        })
    }

    /// Ends the image. The disk must be complete. Returns the output.
    ///
    /// # Errors
    /// The disk is shorter than announced, or the output cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        check_end(self.at, self.length)?;
        // The rest of the disk, and the archive's end: two blocks of zeros.
        if self.is_archive {
            self.cut_zeros(self.length.next_multiple_of(UNIT) - self.length + 2 * BLOCK as u64)?;
        }
        // A short last piece may be zeros: only whole ones are known compressed.
        let rest = (self.cutter.length() % PIECE as u64) as usize;
        match self.cutter.finish() {
            Some(Cut::Zeros(number, _)) => self.cut(Cut::Data(number, vec![0; rest]))?,
            Some(cut) => self.cut(cut)?,
            None => {}
        }
        while let Some(block) = self.pieces.next() {
            self.store(block?)?;
        }
        // An empty last block, the checksum, and the length modulo 2^32.
        self.out.write_all(&[3, 0])?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&(self.written as u32).to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn push(&mut self, block: Block) -> io::Result<()> {
        self.pieces.push(block).map_or(Ok(()), |block| self.store(block?))
    }

    fn store(&mut self, block: Block) -> io::Result<()> {
        let from = if block.raw.is_empty() { &self.zeros } else { &block };
        self.out.write_all(&from.packed)?;
        self.crc.combine(&from.crc);
        self.written += block.length as u64;
        if !block.raw.is_empty() {
            self.cutter.recycle(block.raw);
            self.spare.push(block.packed);
        }
        Ok(())
    }
}

impl<W: Write> Pieced for Writer<W> {
    fn cutter(&mut self) -> &mut Cutter {
        &mut self.cutter
    }

    fn cut(&mut self, cut: Cut) -> io::Result<()> {
        match cut {
            Cut::Data(_, raw) => {
                let packed = self.spare.pop().unwrap_or_default();
                self.push(Block { length: raw.len(), raw, packed, crc: Crc::new() })
            }
            Cut::Zeros(_, count) => {
                (0..count).try_for_each(|_| self.push(Block { length: PIECE, ..Block::default() }))
            }
        }
    }
}

impl<W: Write> Sink for Writer<W> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.cut_data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.at = self.at.saturating_add(length);
        self.cut_zeros(length)
    }
}

/// Compresses a piece into blocks that end at a byte. A whole piece of zeros is left to the writer, which has it.
fn encode(deflate: &mut Compress, block: &mut Block) -> io::Result<()> {
    let Block { raw, packed, crc, .. } = block;
    packed.clear();
    if raw.len() == PIECE && is_zero(raw) {
        raw.clear();
    }
    if raw.is_empty() {
        return Ok(());
    }
    pack(deflate, raw, packed, crc)
}

fn pack(deflate: &mut Compress, raw: &[u8], packed: &mut Vec<u8>, crc: &mut Crc) -> io::Result<()> {
    deflate.reset();
    crc.reset();
    crc.update(raw);
    // Stored blocks of what cannot be compressed need a little more than the piece.
    packed.reserve(raw.len() + raw.len() / 8 + 1024);
    deflate.compress_vec(raw, packed, FlushCompress::Sync)?;
    if deflate.total_in() != raw.len() as u64 || !packed.ends_with(&[0, 0, 0xff, 0xff]) {
        return Err(io::Error::other("deflate made a piece much longer"));
    }
    Ok(())
}

/// The header of the archive's member in GNU tar's old format, which Google names: above 8 GiB its length is a binary
/// number, and ustar ends there.
fn header(name: &str, length: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0"); // mode, owner, group
    match length {
        0..=MOST_OCTAL => put(124, format!("{length:011o}").as_bytes()),
        _ => {
            put(124, &[0x80]);
            put(128, &length.to_be_bytes());
        }
    }
    put(136, b"00000000000\0        0"); // time, the checksum as blanks, a file
    put(257, b"ustar  \0");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
