//! The input, cut where marks are found.
//!
//! Owns the reading of the input, once and front to back. Leaves to `chain` which marks are real.

use std::io::{self, ErrorKind, Read};

use super::bits::{self, MARK, Mark};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Most bytes of a block in the input: 900 000 symbols with the longest codes are 2.25 MB, and a header has less than 64 KiB.
pub(super) const LARGEST: usize = 5 << 19;
/// Bytes after which a piece is cut that is no block. The end of a stream with the header of the next one is shorter, all else is
/// refused or zeros.
const LONGEST_OTHER: usize = 64 << 10;

/// The beginning of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// The input.
    Input,
    /// A mark.
    Mark(Mark),
    /// Nothing: the piece before would have become too long.
    Cut,
}

/// Bits from one mark to the next.
#[derive(Debug)]
pub(super) struct Piece {
    /// Its first bit, counted from the front of the input.
    pub start: u64,
    /// The bit behind it.
    pub end: u64,
    /// Its beginning.
    pub front: Front,
    /// The bytes that its bits lie in: all of those, with bits of neighbours in the first and last.
    pub bytes: Vec<u8>,
    /// Whether the input ends with it.
    pub is_last: bool,
}

impl Piece {
    /// Its first bit, counted from the front of `bytes`.
    pub(super) fn shift(&self) -> u64 {
        self.start % 8
    }

    /// The bit behind it, counted from the front of `bytes`.
    pub(super) fn limit(&self) -> u64 {
        self.shift() + self.end - self.start
    }
}

/// Reads the input to its end, or until `give`, to which the pieces go, wants no more.
pub(super) fn cut(mut input: impl Read, mut give: impl FnMut(Piece) -> bool) -> io::Result<()> {
    let mut held = Held { bytes: Vec::new(), chunk: vec![0; CHUNK], before: 0 };
    let (mut start, mut front, mut searched) = (0, Front::Input, 0);
    loop {
        while let Some((bit, mark)) = held.find(searched) {
            if !give(held.piece(start, bit, front, false)) {
                return Ok(());
            }
            (start, front, searched) = (bit, Front::Mark(mark), bit + 1);
        }
        // A mark that has not arrived as a whole begins here or later.
        searched = searched.max((held.end() + 1).saturating_sub(MARK));
        let longest = if front == Front::Mark(Mark::Block) { LARGEST } else { LONGEST_OTHER };
        let cut = searched / 8 * 8;
        if cut > start + 8 * longest as u64 {
            if !give(held.piece(start, cut, front, false)) {
                return Ok(());
            }
            (start, front) = (cut, Front::Cut);
        }
        held.forget(start);
        if held.read(&mut input)? == 0 {
            give(held.piece(start, held.end(), front, true));
            return Ok(());
        }
    }
}

/// The part of the input that has been read and is not yet in a piece.
struct Held {
    bytes: Vec<u8>,
    /// Room for what is read at once.
    chunk: Vec<u8>,
    /// Bytes of the input before `bytes`.
    before: u64,
}

impl Held {
    /// The bit behind all that has been read.
    fn end(&self) -> u64 {
        8 * (self.before + self.bytes.len() as u64)
    }

    /// The first mark from a bit on.
    fn find(&self, from: u64) -> Option<(u64, Mark)> {
        let before = 8 * self.before;
        bits::find(&self.bytes, from - before).map(|(bit, mark)| (before + bit, mark))
    }

    fn piece(&self, start: u64, end: u64, front: Front, is_last: bool) -> Piece {
        let place = |byte: u64| (byte - self.before) as usize;
        let bytes = self.bytes[place(start / 8)..place(end.div_ceil(8))].to_vec();
        Piece { start, end, front, bytes, is_last }
    }

    /// Lets go of the bytes before a bit, when they are enough for moving the others to be cheap.
    fn forget(&mut self, start: u64) {
        let count = (start / 8 - self.before) as usize;
        if count >= CHUNK && count >= self.bytes.len() / 2 || count == self.bytes.len() {
            self.bytes.drain(..count);
            self.before += count as u64;
        }
    }

    /// Number of bytes that were read: none at the end.
    fn read(&mut self, input: &mut impl Read) -> io::Result<usize> {
        loop {
            match input.read(&mut self.chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => {
                    let chunk = self.chunk.get(..*read.as_ref().unwrap_or(&0));
                    self.bytes.extend_from_slice(chunk.unwrap_or(&self.chunk));
                    return read;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at once.
    struct Slow<'b>(&'b [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    fn pieces(bytes: &[u8], at_once: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        cut(Slow(bytes, at_once), |piece| {
            pieces.push(piece);
            true
        })
        .unwrap();
        pieces
    }

    #[test]
    fn pieces_are_the_same_however_the_input_arrives() {
        let mut bytes = b"BZh9".to_vec();
        bytes.extend([0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 1, 2, 3, 0b1010_0001]);
        bytes.extend([0x77, 0x24, 0x53, 0x85, 0x09, 0x0f, 0xff]);
        for at_once in [1, 2, 7, 100] {
            let found = pieces(&bytes, at_once);
            let shown: Vec<_> = found.iter().map(|p| (p.start, p.end, p.front, p.is_last)).collect();
            assert_eq!(
                shown,
                [
                    (0, 32, Front::Input, false),
                    (32, 108, Front::Mark(Mark::Block), false),
                    (108, 168, Front::Mark(Mark::End), true),
                ]
            );
            assert_eq!(found[1].bytes, bytes[4..14]);
            assert_eq!(
                (found[2].bytes.as_slice(), found[2].shift(), found[2].limit()),
                (&bytes[13..], 4, 64)
            );
        }
    }

    #[test]
    fn what_has_no_mark_is_cut() {
        let bytes = vec![0; 3 << 20];
        let found = pieces(&bytes, usize::MAX);
        assert!(found.len() > 3 && found.iter().all(|piece| piece.bytes.len() <= CHUNK + LONGEST_OTHER));
        assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start && pair[1].front == Front::Cut));
        assert_eq!(found.iter().map(|piece| piece.bytes.len()).sum::<usize>(), bytes.len());
        let found = pieces(b"", 1);
        assert_eq!((found.len(), found[0].end, found[0].is_last), (1, 0, true));
    }

    #[test]
    fn no_more_is_read_than_is_wanted() {
        let mut bytes = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59].repeat(3);
        bytes.push(0);
        let mut count = 0;
        let mut input = Slow(&bytes, 6);
        cut(&mut input, |_| {
            count += 1;
            count < 2
        })
        .unwrap();
        assert_eq!((count, input.0.len()), (2, 7));
    }
}
