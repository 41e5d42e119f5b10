//! Disks as their containers give them: read at any place, or poured front to back.
//!
//! Owns the interface [`Disk`] and what containers of compressed pieces have in common: a few decoded pieces are kept
//! for reads at random, and several threads decode what is poured. Leaves the places of pieces to the containers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::ordered::Ordered;
use crate::format::sparse::{self, Sink};

/// Bytes of decoded pieces that are kept for further reads; one piece is kept in any case.
const KEPT: usize = 4 << 20;

/// The bytes of a disk.
pub trait Disk: Send + Sync {
    /// The disk's length in bytes.
    fn length(&self) -> u64;

    /// Fills the buffer with the bytes at an offset.
    ///
    /// # Errors
    /// The range exceeds the disk, the file cannot be read or is damaged there.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The stretch of one kind that an offset below the disk's length lies in: it may begin before and end after it.
    fn piece(&self, offset: u64) -> Piece;

    /// Pours a range, decoded by several threads.
    ///
    /// # Errors
    /// Those of [`Disk::read_at`], and those of the sink.
    fn pour(&self, range: Range<u64>, threads: NonZeroUsize, sink: &mut dyn Sink) -> io::Result<()>;
}

/// A stretch of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Offset on the disk, in bytes.
    pub start: u64,
    /// Offset of its end, in bytes.
    pub end: u64,
    /// Whether the container says that it is zeros. Others may be zeros, too.
    pub zeros: bool,
}

/// A container of pieces that are decoded one at a time.
pub trait Pieces: Send + Sync + 'static {
    /// The state that a thread needs to decode, and may use again.
    type Decoder: Send + 'static;

    /// The disk's length in bytes.
    fn length(&self) -> u64;

    /// Makes a decoder.
    ///
    /// # Errors
    /// There is no memory for it.
    fn decoder(&self) -> io::Result<Self::Decoder>;

    /// The piece with an offset below the disk's length.
    fn piece(&self, offset: u64) -> Piece;

    /// Decodes the piece that begins at `start` into `bytes`, whatever these held, up to the piece's end.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    fn decode(&self, start: u64, decoder: &mut Self::Decoder, bytes: &mut Vec<u8>) -> io::Result<()>;
}

/// A disk in a container of pieces.
pub struct InPieces<P: Pieces> {
    pieces: Arc<P>,
    cache: Mutex<Cache<P::Decoder>>,
}

/// Decoded pieces, the latest last.
struct Cache<D> {
    decoder: Option<D>,
    kept: VecDeque<(u64, Vec<u8>)>,
}

/// A part of a piece on its way to a thread and back.
struct Wanted {
    piece: Piece,
    range: Range<u64>,
    bytes: Vec<u8>,
}

impl<P: Pieces> InPieces<P> {
    /// A disk in an opened container.
    pub fn new(pieces: Arc<P>) -> Self {
        InPieces { pieces, cache: Mutex::new(Cache { decoder: None, kept: VecDeque::new() }) }
    }

    /// Calls `seen` with the bytes of a piece that is no zeros by announcement.
    fn with(&self, piece: Piece, seen: impl FnOnce(&[u8])) -> io::Result<()> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = cache.kept.iter().find(|(start, _)| *start == piece.start) {
            seen(bytes);
            return Ok(());
        }
        let room = (KEPT as u64 / (piece.end - piece.start).max(1)).max(1) as usize;
        let mut bytes =
            if cache.kept.len() >= room { cache.kept.pop_front() } else { None }.unwrap_or_default().1;
        let mut decoder = cache.decoder.take().map_or_else(|| self.pieces.decoder(), Ok)?;
        let result = self.pieces.decode(piece.start, &mut decoder, &mut bytes);
        cache.decoder = Some(decoder);
        result?;
        seen(&bytes);
        cache.kept.push_back((piece.start, bytes));
        Ok(())
    }
}

impl<P: Pieces> Disk for InPieces<P> {
    fn length(&self) -> u64 {
        self.pieces.length()
    }

    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        check_range(offset, buffer.len() as u64, self.length())?;
        while !buffer.is_empty() {
            let piece = self.pieces.piece(offset);
            let length = (piece.end - offset).min(buffer.len() as u64) as usize;
            let (now, rest) = buffer.split_at_mut(length);
            if piece.zeros {
                now.fill(0);
            } else {
                let skip = (offset - piece.start) as usize;
                self.with(piece, |bytes| now.copy_from_slice(&bytes[skip..skip + now.len()]))?;
            }
            (buffer, offset) = (rest, offset + length as u64);
        }
        Ok(())
    }

    fn piece(&self, offset: u64) -> Piece {
        self.pieces.piece(offset)
    }

    fn pour(&self, range: Range<u64>, threads: NonZeroUsize, sink: &mut dyn Sink) -> io::Result<()> {
        check_range(range.start, range.end.saturating_sub(range.start), self.length())?;
        let mut ordered = Ordered::new(threads, || {
            let (pieces, mut decoder) = (self.pieces.clone(), self.pieces.decoder()?);
            Ok(move |wanted: &mut Wanted| match wanted.piece.zeros {
                true => Ok(()),
                false => pieces.decode(wanted.piece.start, &mut decoder, &mut wanted.bytes),
            })
        })?;
        let mut spare = Vec::new();
        let mut hand_on = |wanted: io::Result<Wanted>, spare: &mut Vec<Vec<u8>>| -> io::Result<()> {
            let Wanted { piece, range, bytes } = wanted?;
            match piece.zeros {
                true => sink.zeros(range.end - range.start)?,
                false => {
                    let (from, to) = (range.start - piece.start, range.end - piece.start);
                    sink.data(&bytes[from as usize..to as usize])?;
                }
            }
            spare.push(bytes);
            Ok(())
        };
        let mut at = range.start;
        while at < range.end {
            let mut piece = self.pieces.piece(at);
            // Neighbouring zeros are told at once.
            while piece.zeros && piece.end < range.end {
                let next = self.pieces.piece(piece.end);
                if !next.zeros {
                    break;
                }
                piece.end = next.end;
            }
            let end = piece.end.min(range.end);
            let bytes = spare.pop().unwrap_or_default();
            if let Some(done) = ordered.push(Wanted { piece, range: at..end, bytes }) {
                hand_on(done, &mut spare)?;
            }
            at = end;
        }
        while let Some(done) = ordered.next() {
            hand_on(done, &mut spare)?;
        }
        Ok(())
    }
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct Window {
    file: Arc<File>,
    start: u64,
    length: u64,
}

impl Window {
    /// The `length` bytes of a file from `start` on. Bytes that the file lacks are an error when they are read.
    pub fn new(file: Arc<File>, start: u64, length: u64) -> Self {
        Window { file, start, length }
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The whole file, and the place of the window's first byte in it.
    pub(super) fn place(&self) -> (&File, u64) {
        (&self.file, self.start)
    }

    /// Fills a buffer with the bytes from an offset on.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        check_range(at, buffer.len() as u64, self.length)?;
        self.file.read_exact_at(buffer, self.start.saturating_add(at))
    }
}

/// A file or block device that is the disk itself, or a part of it that is.
#[derive(Debug)]
pub struct Raw(Window);

impl Raw {
    /// The first `length` bytes of a file.
    pub fn new(file: Arc<File>, length: u64) -> Self {
        Raw(Window::new(file, 0, length))
    }

    /// A part of a file.
    pub fn of_window(window: Window) -> Self {
        Raw(window)
    }
}

impl Disk for Raw {
    fn length(&self) -> u64 {
        self.0.length
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn piece(&self, _offset: u64) -> Piece {
        Piece { start: 0, end: self.0.length, zeros: false }
    }

    fn pour(&self, range: Range<u64>, _threads: NonZeroUsize, sink: &mut dyn Sink) -> io::Result<()> {
        let Window { file, start, length } = &self.0;
        check_range(range.start, range.end.saturating_sub(range.start), *length)?;
        let shifted = |at: u64| start.saturating_add(at);
        sparse::pour(file, shifted(range.start)..shifted(range.end), sink)
    }
}

/// Refuses a range beyond the disk's end.
fn check_range(offset: u64, length: u64, disk: u64) -> io::Result<()> {
    if offset.checked_add(length).is_some_and(|end| end <= disk) {
        return Ok(());
    }
    let why = format!("the disk has {disk} bytes, but {length} bytes are wanted at offset {offset}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
}
