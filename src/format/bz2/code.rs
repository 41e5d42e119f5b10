//! Prefix codes: the symbols of a block, by the lengths of their codes.
//!
//! Owns the tables that bits are looked up in; leaves to `block` where lengths come from and what symbols mean.

use super::bits::Bits;

/// Symbols of the largest alphabet: two for runs, 255 for places in the list, one for the block's end.
pub(super) const SYMBOLS: usize = 258;
/// Bits of the longest code.
pub(super) const LONGEST: usize = 20;
/// Bits that are looked up at once; longer codes are rare.
const FAST: usize = 10;
/// Bits of an entry in `fast` that are the code's length.
const LENGTH: u32 = 5;

/// A prefix code.
pub(super) struct Code {
    /// For each value of the next [`FAST`] bits the symbol, shifted by [`LENGTH`] bits, and its code's length; zero if the code is longer.
    fast: [u16; 1 << FAST],
    /// For each length the first value of the next bits, left-aligned, that begins no code of this length or a shorter one.
    limits: [u64; LONGEST + 1],
    /// For each length the place in `symbols` of its first code, less that code.
    bases: [u32; LONGEST + 1],
    /// The symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
    /// Whether the lengths make a code. A block may state others, if it never uses them.
    is_sound: bool,
}

impl Code {
    pub(super) fn new() -> Self {
        Code {
            fast: [0; 1 << FAST],
            limits: [0; LONGEST + 1],
            bases: [0; LONGEST + 1],
            symbols: [0; SYMBOLS],
            is_sound: false,
        }
    }

    /// Becomes the code with these lengths, 1 to [`LONGEST`] each.
    pub(super) fn set(&mut self, lengths: &[u8]) {
        let mut counts = [0; LONGEST + 1];
        for length in lengths {
            counts[usize::from(*length)] += 1;
        }
        self.fast.fill(0);
        // The first code of a length, and the place of its symbol.
        let (mut code, mut place) = (0_u32, 0_u32);
        let mut places = [0; LONGEST + 1];
        for length in 1..=LONGEST {
            places[length] = place as usize;
            self.bases[length] = place.wrapping_sub(code);
            code += counts[length];
            place += counts[length];
            self.is_sound = code <= 1 << length;
            if !self.is_sound {
                return;
            }
            // The code that has no successor fills the room of all lengths.
            self.limits[length] = u64::from(code).checked_shl(64 - length as u32).unwrap_or(0);
            if code == 1 << length {
                self.limits[length] = u64::MAX;
            }
            code <<= 1;
        }
        for (symbol, length) in lengths.iter().enumerate() {
            let place = &mut places[usize::from(*length)];
            self.symbols[*place] = symbol as u16;
            *place += 1;
        }
        let mut symbols = self.symbols.iter();
        let mut at = 0;
        for (length, count) in counts.iter().enumerate().take(FAST + 1).skip(1) {
            let room = 1 << (FAST - length);
            for symbol in symbols.by_ref().take(*count as usize) {
                self.fast[at..at + room].fill(symbol << LENGTH | length as u16);
                at += room;
            }
        }
    }

    /// Whether symbols can be read.
    pub(super) fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// The next symbol; at least [`LONGEST`] bits must be held. `None` if no code begins so.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let entry = self.fast[(bits.word() >> (64 - FAST)) as usize];
        if entry != 0 {
            bits.skip(u32::from(entry) & ((1 << LENGTH) - 1));
            return Some(entry >> LENGTH);
        }
        self.long_symbol(bits)
    }

    #[cold]
    fn long_symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let word = bits.word();
        let length = (FAST + 1..=LONGEST).find(|length| word < self.limits[*length])?;
        let code = (word >> (64 - length)) as u32;
        bits.skip(length as u32);
        self.symbols.get(self.bases[length].wrapping_add(code) as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_all_lengths_are_read() {
        // 0, 10, 110, … and two codes of 20 bits.
        let lengths: Vec<u8> = (1..=20).chain([20]).collect();
        let mut code = Code::new();
        code.set(&lengths);
        assert!(code.is_sound());
        for (symbol, length) in lengths.iter().enumerate() {
            let ones = u64::MAX << (64 - symbol as u32).min(63);
            let value = if symbol == 0 { 0 } else { ones };
            let bytes = value.to_be_bytes();
            let mut bits = Bits::new(&bytes, 0, 64);
            assert_eq!(code.symbol(&mut bits), Some(symbol as u16));
            assert_eq!(bits.position(), u64::from(*length));
        }
    }

    #[test]
    fn lengths_that_leave_no_room_make_no_code_and_room_that_is_left_none_either() {
        let mut code = Code::new();
        code.set(&[1, 1, 1]);
        assert!(!code.is_sound());
        code.set(&[2, 2, 12]);
        assert!(code.is_sound());
        let symbol = |first: u16| {
            let bytes = (u64::from(first) << 48).to_be_bytes();
            code.symbol(&mut Bits::new(&bytes, 0, 64))
        };
        assert_eq!(
            [symbol(0), symbol(0x4000), symbol(0x8000), symbol(0x8010)],
            [Some(0), Some(1), Some(2), None]
        );
    }
}
