//! The contents of files that are read: which extents they are made of, and their bytes as a stream.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;

use flate2::{Decompress, FlushDecompress};

use super::cursor::{Cursor, Root};
use super::items::{Extent, Inode, Packing, Place, flag};
use super::key::{Key, kind};
use super::source::Source;
use super::volume::Volume;
use super::{Error, Fault};

/// Longest extent that is compressed, before and after it (`BTRFS_MAX_COMPRESSED`, `BTRFS_MAX_UNCOMPRESSED`), in bytes.
const PACKED: u64 = 128 << 10;
/// Largest window of zstd that Linux uses (`ZSTD_BTRFS_MAX_WINDOWLOG`), as the exponent of 2.
const ZSTD_WINDOW: u32 = 17;
/// Bytes that are read at once.
const UNIT: u64 = 1 << 20;

/// A range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Offset in the file.
    start: u64,
    /// Bytes.
    length: u64,
    from: From,
}

/// Location of a range's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    Zeros,
    /// In the tree.
    Inline {
        bytes: Vec<u8>,
        unpacked: u64,
        packing: Packing,
    },
    /// At an address, as they are.
    Plain {
        address: u64,
    },
    /// At an address, compressed; the range begins `skip` bytes after the beginning of what is unpacked.
    Packed {
        address: u64,
        stored: u64,
        unpacked: u64,
        skip: u64,
        packing: Packing,
    },
}

/// The ranges of a file, from its beginning to its end without gaps.
pub(super) fn pieces<S: Source>(
    volume: &Volume<S>,
    files: &Root,
    number: u64,
    inode: &Inode,
    most: u64,
) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut cursor = Cursor::from(volume, files, Key::new(number, kind::EXTENT_DATA, 0))?;
    while let Some((key, item)) = cursor.next()? {
        let start = key.offset;
        // Extents behind the end are room that was reserved.
        if (key.object, key.kind) != (number, kind::EXTENT_DATA) || start >= inode.size {
            break;
        }
        if start < at {
            return Err(Fault::damaged("an extent overlaps another one"));
        }
        if pieces.len() as u64 >= most {
            return Err(Fault::Limit { what: "the number of extents of a file".into(), limit: most });
        }
        let (length, from) = location(Extent::parse(item)?, start, volume.sector())?;
        pieces.push(Piece { start: at, length: start - at, from: From::Zeros });
        pieces.push(Piece { start, length: length.min(inode.size - start), from });
        at = start.saturating_add(length);
    }
    pieces.push(Piece { start: at, length: inode.size.saturating_sub(at), from: From::Zeros });
    pieces.retain(|piece| piece.length > 0);
    Ok(pieces)
}

/// Judges an extent that begins at an offset; gives its length in the file and where its bytes are.
fn location(extent: Extent, start: u64, sector: u64) -> Result<(u64, From), Fault> {
    let Extent { unpacked, packing, place } = extent;
    let wrong = || Fault::damaged("an extent has an impossible length or place");
    if packing == Packing::Lzo {
        return Err(Fault::feature("files compressed with lzo"));
    }
    match place {
        Place::Inline(bytes) => {
            let most = if packing == Packing::None { bytes.len() as u64 } else { PACKED };
            if start != 0 || unpacked > most {
                return Err(wrong());
            }
            Ok((unpacked, From::Inline { bytes, unpacked, packing }))
        }
        Place::Hole { length } if length > 0 => Ok((length, From::Zeros)),
        Place::Hole { .. } => Err(wrong()),
        Place::Disk { address, stored, skip, length } => {
            let is_aligned = [start, address, stored, skip, length].iter().all(|number| number % sector == 0);
            let end = skip.checked_add(length).ok_or_else(wrong)?;
            let fits = match packing {
                Packing::None => end <= stored,
                _ => end <= unpacked && unpacked <= PACKED && stored <= PACKED,
            };
            let address_of_range = address.checked_add(skip).filter(|_| is_aligned && fits && length > 0);
            let plain = address_of_range.ok_or_else(wrong)?;
            Ok(match packing {
                Packing::None => (length, From::Plain { address: plain }),
                _ => (length, From::Packed { address, stored, unpacked, skip, packing }),
            })
        }
    }
}

/// The parts of a file that have data, in whole sectors but for its end.
pub(super) fn parts(pieces: &[Piece], size: u64, sector: u64) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.from != From::Zeros) {
        let end = (piece.start + piece.length).checked_next_multiple_of(sector).unwrap_or(size).min(size);
        let start = piece.start - piece.start % sector;
        match parts.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => parts.push(start..end),
        }
    }
    parts
}

/// Bytes of pieces that are compressed, and bytes that they are compressed to.
pub(super) fn packed(pieces: &[Piece]) -> (u64, u64) {
    pieces.iter().fold((0, 0), |(bytes, packed): (u64, u64), piece| match piece.from {
        From::Packed { stored, .. } => (bytes.saturating_add(piece.length), packed.saturating_add(stored)),
        _ => (bytes, packed),
    })
}

/// The pieces within parts; only zeros are outside of them.
pub(super) fn within(pieces: Vec<Piece>, parts: &[Range<u64>]) -> Vec<Piece> {
    let mut kept = Vec::with_capacity(pieces.len());
    let mut parts = parts.iter().peekable();
    for piece in pieces {
        let end = piece.start + piece.length;
        if piece.from != From::Zeros {
            kept.push(piece);
            continue;
        }
        while parts.next_if(|part| part.end <= piece.start).is_some() {}
        for part in parts.clone().take_while(|part| part.start < end) {
            let (start, end) = (part.start.max(piece.start), part.end.min(end));
            kept.push(Piece { start, length: end - start, from: From::Zeros });
        }
    }
    kept
}

/// The bytes of a file, read as they are asked for. Every sum is checked; memory is about 1 MiB.
///
/// A defect is an [`io::Error`] that wraps an [`Error`].
pub struct Stream<'f, S> {
    volume: &'f Volume<S>,
    /// Root of the tree with checksums; `None` if the file has none.
    sums: Option<&'f Root>,
    subject: &'f str,
    path: &'f str,
    pieces: VecDeque<Piece>,
    /// Bytes that have been read, and how many of them have been given.
    block: Vec<u8>,
    given: usize,
    has_failed: bool,
}

impl<'f, S: Source> Stream<'f, S> {
    /// The bytes of these pieces, one after the other.
    pub(super) fn new(
        volume: &'f Volume<S>,
        sums: &'f Root,
        (subject, path): (&'f str, &'f str),
        inode: &Inode,
        pieces: Vec<Piece>,
    ) -> Self {
        let sums = (inode.flags & flag::NO_SUMS == 0).then_some(sums);
        let pieces = VecDeque::from(pieces);
        Stream { volume, sums, subject, path, pieces, block: Vec::new(), given: 0, has_failed: false }
    }

    /// All bytes at once; the caller limits their number.
    pub(super) fn all(mut self) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        loop {
            self.fill()?;
            match self.block.get(self.given..) {
                Some(block) if !block.is_empty() => bytes.extend(block),
                _ => return Ok(bytes),
            }
        }
    }

    /// Reads the next bytes into `block`; it stays empty at the end.
    fn fill(&mut self) -> Result<(), Fault> {
        self.given = 0;
        self.block.clear();
        let Some(mut piece) = self.pieces.pop_front() else { return Ok(()) };
        if matches!(piece.from, From::Zeros | From::Plain { .. }) && piece.length > UNIT {
            let (start, length) = (piece.start + UNIT, piece.length - UNIT);
            let from = match piece.from {
                From::Plain { address } => From::Plain { address: address + UNIT },
                _ => From::Zeros,
            };
            piece.length = UNIT;
            self.pieces.push_front(Piece { start, length, from });
        }
        let length = piece.length as usize;
        match piece.from {
            From::Zeros => self.block.resize(length, 0),
            From::Plain { address } => {
                self.block = self.data(address, piece.length.next_multiple_of(self.volume.sector()))?;
                self.block.truncate(length);
            }
            From::Inline { bytes, unpacked, packing } => {
                self.block = unpack(packing, bytes, unpacked as usize, length)?;
                self.block.truncate(length);
            }
            From::Packed { address, stored, unpacked, skip, packing } => {
                let bytes = self.data(address, stored)?;
                let needed = skip as usize + length;
                self.block = unpack(packing, bytes, unpacked as usize, needed)?;
                self.block.truncate(needed);
                self.given = skip as usize;
            }
        }
        Ok(())
    }

    /// Bytes at an address, checked. The length is limited by [`PACKED`] or [`UNIT`].
    fn data(&self, address: u64, length: u64) -> Result<Vec<u8>, Fault> {
        let missing = || Fault::damaged(format!("the data at address {address} has no checksums"));
        let sums = match self.sums {
            Some(root) => Some(self.volume.sums(root, address, length)?.ok_or_else(missing)?),
            None => None,
        };
        self.volume.data(address, length, sums.as_deref())
    }
}

impl<S: Source> Read for Stream<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.has_failed {
            return Err(io::Error::other("the file could not be read before"));
        }
        if self.given >= self.block.len()
            && let Err(fault) = self.fill()
        {
            self.has_failed = true;
            return Err(error(fault.at(self.path).of(self.subject)));
        }
        let read = self.block.get(self.given..).unwrap_or_default().read(buffer)?;
        self.given += read;
        Ok(read)
    }
}

/// A defect as the error of a reader.
pub(super) fn error(error: Error) -> io::Error {
    let kind = match &error {
        // An interrupted read would be tried again, behind what is missing.
        Error::Read { source, .. } if source.kind() != io::ErrorKind::Interrupted => source.kind(),
        Error::Read { .. } => io::ErrorKind::Other,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

/// Unpacks at most `unpacked` bytes, of which the first `needed` must be there. Zeros fill the rest, as in Linux.
fn unpack(packing: Packing, bytes: Vec<u8>, unpacked: usize, needed: usize) -> Result<Vec<u8>, Fault> {
    let mut out = vec![0; unpacked];
    let wrong = |what: &str| Fault::damaged(format!("its {what} data is damaged"));
    let found = match packing {
        Packing::None => return Ok(bytes),
        Packing::Lzo => return Err(Fault::feature("files compressed with lzo")),
        Packing::Zlib => {
            let mut decoder = Decompress::new(true);
            decoder.decompress(&bytes, &mut out, FlushDecompress::Finish).map_err(|_| wrong("zlib"))?;
            decoder.total_out() as usize
        }
        Packing::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&bytes[..]).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW)?;
                Ok(decoder)
            });
            let mut decoder = decoder.map_err(Fault::Io)?.single_frame();
            let mut found = 0;
            while found < out.len() {
                match decoder.read(&mut out[found..]).map_err(|_| wrong("zstd"))? {
                    0 => break,
                    read => found += read,
                }
            }
            found
        }
    };
    let name = if packing == Packing::Zlib { "zlib" } else { "zstd" };
    if found < needed { Err(wrong(name)) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeros(start: u64, length: u64) -> Piece {
        Piece { start, length, from: From::Zeros }
    }

    fn plain(start: u64, length: u64) -> Piece {
        Piece { start, length, from: From::Plain { address: 0 } }
    }

    #[test]
    fn parts_are_whole_sectors_and_keep_the_zeros_within_them() {
        let inline = Piece {
            start: 0,
            length: 100,
            from: From::Inline { bytes: vec![1; 100], unpacked: 100, packing: Packing::None },
        };
        let pieces = vec![inline.clone(), zeros(100, 20380), plain(20480, 4096), zeros(24576, 10)];
        let parts = parts(&pieces, 24586, 4096);
        assert_eq!(parts, [0..4096, 20480..24576]);
        assert_eq!(within(pieces, &parts), [inline, zeros(100, 3996), plain(20480, 4096)]);
    }

    #[test]
    fn packed_data_that_is_too_short_or_none_is_told() {
        let text = b"a text that repeats, a text that repeats".repeat(50);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut zlib, &text).unwrap();
        let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        zstd.window_log(ZSTD_WINDOW).unwrap();
        io::Write::write_all(&mut zstd, &text).unwrap();
        let packed = [(Packing::Zlib, zlib.finish().unwrap()), (Packing::Zstd, zstd.finish().unwrap())];
        for (packing, mut bytes) in packed {
            bytes.resize(4096, 0);
            let out = unpack(packing, bytes.clone(), 4096, text.len()).unwrap();
            assert!(out.starts_with(&text) && out.len() == 4096, "{packing:?}");
            assert!(unpack(packing, bytes.clone(), 4096, text.len() + 1).is_err(), "{packing:?}");
            assert!(unpack(packing, vec![0; 4096], 4096, 1).is_err(), "{packing:?}");
        }
    }
}
