//! zstd in frames that can be read by themselves.
//!
//! Owns the frames and the table of them at the file's end, after `contrib/seekable_format` of zstd: to plain zstd
//! the file is one stream, because the table is a frame that decoders skip. A frame of ours has 1 MiB of the disk and
//! a checksum.
//!
//! The crate `zeekstd` does this, too, front to back on one thread. Frames are what threads can share, zeros need no
//! encoder at all, and foreign tables need limits: what would be left for the crate is the table, which is forty
//! lines here.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound};

use super::cutter::{Cut, Cutter, Pieced};
use super::ordered::Ordered;
use super::pieces::{Piece, Pieces};
use super::{Error, check_end};
use crate::format::fields::u32_at;
use crate::format::sparse::{Sink, is_zero};

/// Part of step keys; raised when the bytes for the same disk change.
pub(crate) const REVISION: u32 = 1;

/// Last bytes of the file: 0x8f92eab1.
pub(crate) const MAGIC: [u8; 4] = [0xb1, 0xea, 0x92, 0x8f];
/// First number of the frame with the table, which decoders skip.
const SKIPPABLE: u32 = 0x184d_2a5e;
/// Bytes of the disk in a frame: what a read at random has to decode, and enough for nearly the ratio of one stream.
const FRAME: usize = 1 << 20;
/// Bytes before and after the table's entries.
const TABLE_HEADER: u64 = 8;
const TABLE_FOOTER: u64 = 9;
/// Longest frame that is read, in bytes decompressed.
const LONGEST: u32 = 64 << 20;
/// Most frames that are read: 1 TiB of ours.
const MOST: u32 = 1 << 20;

/// Writes a disk that is handed to it front to back.
pub struct Writer<W> {
    out: W,
    cutter: Cutter,
    frames: Ordered<Frame>,
    spare: Vec<Vec<u8>>,
    /// A frame of zeros.
    zeros: Vec<u8>,
    /// The table's entries.
    table: Vec<u8>,
    length: u64,
}

/// A frame on its way to a thread and back: `length` bytes, zeros if `raw` is empty.
#[derive(Default)]
struct Frame {
    length: usize,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins the file for a disk of `length` bytes, at a level from 1 to 22.
    ///
    /// # Errors
    /// The output cannot be written, or a thread not be started.
    pub fn new(out: W, length: u64, level: i32, threads: NonZeroUsize) -> io::Result<Self> {
        let frames = Ordered::new(threads, || {
            let mut zstd = encoder(level)?;
            Ok(move |frame: &mut Frame| {
                if frame.raw.len() == FRAME && is_zero(&frame.raw) {
                    frame.raw.clear();
                }
                if frame.raw.is_empty() { Ok(()) } else { pack(&mut zstd, &frame.raw, &mut frame.packed) }
            })
        })?;
        let mut zeros = Vec::new();
        pack(&mut encoder(level)?, &vec![0; FRAME], &mut zeros)?;
        let cutter = Cutter::new(FRAME);
        Ok(Writer { out, cutter, frames, spare: Vec::new(), zeros, table: Vec::new(), length })
    }

    /// Writes the table. The disk must be complete. Returns the output.
    ///
    /// # Errors
    /// The disk is shorter than announced, or the output cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        check_end(self.cutter.length(), self.length)?;
        match self.cutter.finish() {
            // Shorter than the others.
            Some(Cut::Zeros(number, _)) => {
                self.cut(Cut::Data(number, vec![0; (self.length % FRAME as u64) as usize]))?;
            }
            Some(cut) => self.cut(cut)?,
            None => {}
        }
        while let Some(frame) = self.frames.next() {
            self.store(frame?)?;
        }
        let count = (self.table.len() / 8) as u32;
        self.out.write_all(&SKIPPABLE.to_le_bytes())?;
        self.out.write_all(&(self.table.len() as u32 + TABLE_FOOTER as u32).to_le_bytes())?;
        self.out.write_all(&self.table)?;
        self.out.write_all(&count.to_le_bytes())?;
        self.out.write_all(&[0])?; // no checksums in the table
        self.out.write_all(&MAGIC)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn push(&mut self, frame: Frame) -> io::Result<()> {
        self.frames.push(frame).map_or(Ok(()), |frame| self.store(frame?))
    }

    fn store(&mut self, frame: Frame) -> io::Result<()> {
        let packed = if frame.raw.is_empty() { &self.zeros } else { &frame.packed };
        self.out.write_all(packed)?;
        self.table.extend((packed.len() as u32).to_le_bytes());
        self.table.extend((frame.length as u32).to_le_bytes());
        if !frame.raw.is_empty() {
            self.cutter.recycle(frame.raw);
            self.spare.push(frame.packed);
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
                self.push(Frame { length: raw.len(), raw, packed })
            }
            Cut::Zeros(_, count) => {
                (0..count).try_for_each(|_| self.push(Frame { length: FRAME, ..Frame::default() }))
            }
        }
    }
}

impl<W: Write> Sink for Writer<W> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cut_data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.cut_zeros(length)
    }
}

fn encoder(level: i32) -> io::Result<Compressor<'static>> {
    let mut zstd = Compressor::new(level)?;
    zstd.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(zstd)
}

fn pack(zstd: &mut Compressor<'_>, raw: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
    packed.clear();
    packed.reserve(compress_bound(raw.len()));
    zstd.compress_to_buffer(raw, packed).map(drop)
}

/// An opened file.
#[derive(Debug)]
pub struct Image {
    file: Arc<File>,
    name: String,
    /// End of each frame in the file and on the disk, in bytes.
    ends: Vec<(u64, u64)>,
}

impl Image {
    /// Opens the file `name` by its table.
    ///
    /// # Errors
    /// The file cannot be read, its table is damaged, or exceeds a limit.
    pub fn open(file: Arc<File>, name: &str) -> Result<Self, Error> {
        let read_error = |source| Error::read(name, source);
        let damaged = |why: &str| Error::Damaged { subject: name.to_owned(), why: why.to_owned() };
        let file_length = super::length_of(&file).map_err(read_error)?;
        let missing = || damaged("it does not end with a table of frames");
        let footer_at = file_length.checked_sub(TABLE_FOOTER).ok_or_else(missing)?;
        let mut footer = [0; TABLE_FOOTER as usize];
        file.read_exact_at(&mut footer, footer_at).map_err(read_error)?;
        let (count, flags) = (u32_at(&footer, 0), footer[4]);
        if footer[5..] != MAGIC || flags & 0x7c != 0 {
            return Err(missing());
        }
        if count > MOST {
            let what = "the number of its frames".to_owned();
            return Err(Error::Limit { subject: name.to_owned(), what, limit: MOST.into() });
        }
        let entry = if flags & 0x80 == 0 { 8 } else { 12 };
        let entries = u64::from(count) * entry;
        let table_at = footer_at.checked_sub(entries + TABLE_HEADER).ok_or_else(missing)?;
        let mut table = vec![0; (TABLE_HEADER + entries) as usize];
        file.read_exact_at(&mut table, table_at).map_err(read_error)?;
        if u32_at(&table, 0) != SKIPPABLE || u64::from(u32_at(&table, 4)) != entries + TABLE_FOOTER {
            return Err(missing());
        }
        let (mut ends, mut end) = (Vec::with_capacity(count as usize), (0, 0));
        for entry in table[TABLE_HEADER as usize..].chunks_exact(entry as usize) {
            let (packed, raw) = (u32_at(entry, 0), u32_at(entry, 4));
            if raw > LONGEST {
                let what = "the length of a frame".to_owned();
                return Err(Error::Limit { subject: name.to_owned(), what, limit: LONGEST.into() });
            }
            end = (end.0 + u64::from(packed), end.1 + u64::from(raw));
            // A frame of nothing, such as one that decoders skip, has no place on the disk, but one in the file.
            match ends.last_mut() {
                Some(last) if raw == 0 => *last = end,
                _ => ends.push(end),
            }
        }
        if end.0 != table_at {
            return Err(damaged("its table tells of another length than it has"));
        }
        Ok(Image { file, name: name.to_owned(), ends })
    }

    /// The frame with an offset of the disk: its number, and where it and its bytes begin.
    fn frame(&self, offset: u64) -> (usize, (u64, u64)) {
        let number = self.ends.partition_point(|(_, end)| *end <= offset);
        (number, number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or((0, 0)))
    }
}

impl Pieces for Image {
    type Decoder = (Decompressor<'static>, Vec<u8>);

    fn length(&self) -> u64 {
        self.ends.last().map_or(0, |(_, end)| *end)
    }

    fn decoder(&self) -> io::Result<Self::Decoder> {
        Ok((Decompressor::new()?, Vec::new()))
    }

    fn piece(&self, offset: u64) -> Piece {
        let (number, (_, start)) = self.frame(offset);
        Piece { start, end: self.ends.get(number).map_or(start, |(_, end)| *end), zeros: false }
    }

    fn decode(&self, start: u64, decoder: &mut Self::Decoder, bytes: &mut Vec<u8>) -> io::Result<()> {
        let (zstd, packed) = decoder;
        let (number, (at, start)) = self.frame(start);
        let (end, raw_end) = self.ends.get(number).copied().unwrap_or((at, start));
        let length = (raw_end - start) as usize;
        let damaged = |why: &str| {
            let why = format!("frame {number}, at offset {at}, {why}");
            Err(Error::Damaged { subject: self.name.clone(), why }.into())
        };
        // No frame of zstd is so much longer than what is in it.
        if end - at > compress_bound(length) as u64 + (64 << 10) {
            return damaged("is too long");
        }
        packed.resize((end - at) as usize, 0);
        self.file.read_exact_at(packed, at)?;
        bytes.resize(length, 0);
        match zstd.decompress_to_buffer(packed, &mut bytes[..]) {
            Ok(written) if written == length => Ok(()),
            _ => damaged("cannot be decompressed"),
        }
    }
}
