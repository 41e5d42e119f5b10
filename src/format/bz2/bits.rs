//! Bits of the input, most significant first, and the marks that blocks and streams have at their fronts.
//!
//! Owns the reading of bits and the search for marks at any bit. Leaves to `chain` which of the marks found are real, for
//! 48 bits inside of a block may look like one.

/// Bits of a mark.
pub(super) const MARK: u64 = 48;
/// The first bits of a block: the digits of pi.
const BLOCK: u64 = 0x3141_5926_5359;
/// The bits behind a stream's last block: the digits of pi's square root.
const END: u64 = 0x1772_4538_5090;
const MARK_BITS: u64 = (1 << MARK) - 1;

/// Kinds of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A block.
    Block,
    /// The end of a stream, which has its checksum.
    End,
}

impl Mark {
    /// The mark that these 48 bits are.
    fn of(bits: u64) -> Option<Self> {
        match bits {
            BLOCK => Some(Mark::Block),
            END => Some(Mark::End),
            _ => None,
        }
    }
}

/// Bytes between two places that the search looks at.
const STRIDE: usize = 4;

/// The pairs of bytes, as a set, that can stand at a place where the search looks when a mark lies there. At any bit that a mark
/// begins at, exactly one such place is among its first 32 bits, and the pair there lies within the mark.
const HINTS: [u64; 1024] = {
    let mut hints = [0; 1024];
    let mut offset = 0;
    while offset < 8 * STRIDE as u64 {
        let (block, end) = (BLOCK >> (32 - offset) & 0xffff, END >> (32 - offset) & 0xffff);
        hints[block as usize / 64] |= 1 << (block % 64);
        hints[end as usize / 64] |= 1 << (end % 64);
        offset += 1;
    }
    hints
};

/// The first mark that begins at bit `from` or later and ends within `bytes`, with the bit that it begins at.
pub(super) fn find(bytes: &[u8], from: u64) -> Option<(u64, Mark)> {
    let first = (from.div_ceil(8) as usize).next_multiple_of(STRIDE);
    let places = bytes.get(first..)?.chunks(STRIDE).enumerate();
    for (index, place) in places {
        let &[high, low, ..] = place else { break };
        let pair = usize::from(high) << 8 | usize::from(low);
        if HINTS[pair / 64] >> (pair % 64) & 1 == 1 {
            let last = 8 * (first + index * STRIDE) as u64;
            let earliest = (last + 1).saturating_sub(8 * STRIDE as u64).max(from);
            let found = (earliest..=last).find_map(|bit| Some((bit, mark_at(bytes, bit)?)));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// The mark that begins at a bit.
fn mark_at(bytes: &[u8], bit: u64) -> Option<Mark> {
    let (start, shift) = ((bit / 8) as usize, bit % 8);
    let end = (bit + MARK).div_ceil(8) as usize;
    let value = bytes.get(start..end)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let unused = 8 * (end - start) as u64 - shift - MARK;
    Mark::of(value >> unused & MARK_BITS)
}

/// A reader of bits. Behind the last one it reads zeros: its user compares [`Bits::position`] with [`Bits::end`].
pub(super) struct Bits<'b> {
    bytes: &'b [u8],
    /// The next byte that is not in `word`.
    next: usize,
    /// Bits that were fetched, from the highest down; all below are zeros or those of byte `next` on.
    word: u64,
    /// Number of bits in `word`.
    held: u32,
    end: u64,
}

impl<'b> Bits<'b> {
    /// Reads from bit `start` on, up to bit `end`.
    pub(super) fn new(bytes: &'b [u8], start: u64, end: u64) -> Self {
        let mut bits = Bits { bytes, next: (start / 8) as usize, word: 0, held: 0, end };
        bits.fill();
        bits.skip((start % 8) as u32);
        bits
    }

    /// The bit that comes next.
    pub(super) fn position(&self) -> u64 {
        8 * self.next as u64 - u64::from(self.held)
    }

    /// The first bit that is not to be read.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Fetches until at least 56 bits are held.
    #[inline(always)]
    pub(super) fn fill(&mut self) {
        if let Some(eight) = self.bytes.get(self.next..).and_then(|rest| rest.first_chunk()) {
            self.word |= u64::from_be_bytes(*eight) >> self.held;
            let taken = (63 - self.held) >> 3;
            self.next += taken as usize;
            self.held += taken * 8;
        } else {
            self.fill_at_end();
        }
    }

    #[cold]
    fn fill_at_end(&mut self) {
        while self.held < 56 {
            let byte = self.bytes.get(self.next).copied().unwrap_or(0);
            self.word |= u64::from(byte) << (56 - self.held);
            self.next += 1;
            self.held += 8;
        }
    }

    /// The bits that are held, the next one as the highest.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        self.word
    }

    /// Passes over bits that are held.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.word <<= count;
        self.held -= count;
    }

    /// The next number of this many bits, 1 to 32.
    pub(super) fn number(&mut self, count: u32) -> u32 {
        self.fill();
        let number = (self.word >> (64 - count)) as u32;
        self.skip(count);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mark at a bit of so many bytes, with all other bits set or not.
    fn marked(mark: u64, bit: u64, length: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; length];
        for k in 0..MARK {
            let (at, mask) = (((bit + k) / 8) as usize, 0x80 >> ((bit + k) % 8));
            bytes[at] = if mark >> (47 - k) & 1 == 1 { bytes[at] | mask } else { bytes[at] & !mask };
        }
        bytes
    }

    #[test]
    fn a_mark_is_found_at_every_bit() {
        for (value, mark) in [(BLOCK, Mark::Block), (END, Mark::End)] {
            for fill in [0, 0xff] {
                for bit in 0..=8 * 20 - MARK {
                    let bytes = marked(value, bit, 20, fill);
                    for from in 0..=bit {
                        assert_eq!(find(&bytes, from), Some((bit, mark)));
                    }
                    assert_eq!(find(&bytes, bit + 1), None);
                    let whole = (bit + MARK).div_ceil(8) as usize;
                    assert_eq!(find(&bytes[..whole], 0), Some((bit, mark)));
                    assert_eq!(find(&bytes[..whole - 1], 0), None);
                }
            }
        }
    }

    #[test]
    fn of_marks_that_overlap_each_is_found() {
        // The last three bits of a block's mark are its first three.
        let mut bytes = marked(BLOCK, 3, 20, 0);
        let second = marked(BLOCK, 48, 20, 0);
        bytes.iter_mut().zip(second).for_each(|(byte, more)| *byte |= more);
        assert_eq!(find(&bytes, 0), Some((3, Mark::Block)));
        assert_eq!(find(&bytes, 4), Some((48, Mark::Block)));
    }

    #[test]
    fn numbers_are_read_across_bytes_and_zeros_behind_the_end() {
        let bytes: Vec<u8> = (1..=20).collect();
        let mut bits = Bits::new(&bytes, 12, 160);
        assert_eq!((bits.number(4), bits.number(8), bits.number(32)), (2, 3, 0x0405_0607));
        assert_eq!(bits.position(), 56);
        let mut bits = Bits::new(&bytes, 152, 160);
        assert_eq!((bits.number(8), bits.position()), (20, 160));
        assert_eq!((bits.number(32), bits.number(32), bits.number(32), bits.position()), (0, 0, 0, 256));
    }
}
