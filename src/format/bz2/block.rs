//! A block: its header, its symbols, and the bytes that they stand for.
//!
//! Owns the way from bits to bytes whose checksum is right. A block ends where its symbols say so, and nothing else tells;
//! leaves to `chain` whether another one begins there. The format has no specification but bzip2 1.0.8 (decompress.c, huffman.c).
//!
//! A block's bytes were shortened (`runs`), sorted (Burrows and Wheeler, 1994), turned into places in a list that has the byte
//! before at its front, and written in prefix codes. All of that is undone here.

use super::bits::{Bits, MARK};
use super::code::{Code, LONGEST, SYMBOLS};
use super::crc::Crc;
use super::random::derandomise;
use super::rotations::Rotations;
use super::runs::{self, Part, Parts};

/// Bytes of a block per level of its stream.
pub(super) const LEVEL: usize = 100_000;
/// Most bytes of a block, shortened.
pub(super) const LARGEST: usize = 9 * LEVEL;
/// Symbols that are written with the same code.
const GROUP: usize = 50;
/// The numbers of codes that a block may have.
const CODES: std::ops::RangeInclusive<usize> = 2..=6;
/// The symbols that write a run's length, in two digits, 1 and 2, the lowest first.
const RUN_B: u16 = 1;

/// A block's contents.
#[derive(Debug)]
pub(super) struct Block {
    /// Its bytes, of which [`Parts`] gives the contents.
    pub shortened: Vec<u8>,
    /// The checksum of its contents.
    pub checksum: u32,
    /// The bit behind it.
    pub end: u64,
}

/// Reasons why there is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The bits end before the block does.
    RanOut,
    /// No writer makes such a block.
    Damaged(&'static str),
    /// Its contents have another checksum.
    Checksum {
        /// As its header has it.
        stated: u32,
        /// That of its contents.
        found: u32,
    },
}

/// A block that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Its reason.
    pub reason: Reason,
    /// The bit where it was seen.
    pub bit: u64,
}

/// Decodes one block after the other, with memory of 6 MB, and at worst 12.
pub(super) struct Decoder {
    codes: Vec<Code>,
    /// The code of each group of symbols.
    selectors: Vec<u8>,
    /// The last column of the sorted rotations.
    column: Vec<u8>,
    rotations: Rotations,
}

/// The parts of a block's header that outlive it.
struct Header {
    checksum: u32,
    is_randomised: bool,
    /// The rotation that is the block itself.
    origin: usize,
    /// The bytes that occur, in their order.
    list: [u8; 256],
    /// Number of bytes that occur.
    used: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Decoder {
            codes: (0..*CODES.end()).map(|_| Code::new()).collect(),
            selectors: Vec::new(),
            column: vec![0; LARGEST],
            rotations: Rotations::new(),
        }
    }

    /// The block whose mark begins at bit `start`, of bits that end at `end`.
    pub(super) fn decode(&mut self, bytes: &[u8], start: u64, end: u64) -> Result<Block, Fault> {
        let mut bits = Bits::new(bytes, start + MARK, end);
        let mut counts = [0; 256];
        let read = self.header(&mut bits).and_then(|header| {
            let length = self.symbols(&mut bits, &header, &mut counts)?;
            if bits.position() > end { Err(Reason::RanOut) } else { Ok((header, length)) }
        });
        let position = bits.position();
        let (header, length) = read.map_err(|reason| {
            // With fewer bits left than are looked at for a symbol, zeros may have been taken for bits.
            let ran_out = position + LONGEST as u64 > end;
            Fault { reason: if ran_out { Reason::RanOut } else { reason }, bit: position.min(end) }
        })?;
        self.contents(&header, length, &counts)
            .map(|shortened| Block { shortened, checksum: header.checksum, end: position })
            .map_err(|reason| Fault { reason, bit: position })
    }

    /// The shortened bytes of a block whose column has been read, if their checksum is right.
    fn contents(&mut self, header: &Header, length: usize, counts: &[u32; 256]) -> Result<Vec<u8>, Reason> {
        if header.origin >= length {
            return Err(Reason::Damaged("it begins at a byte that it does not have"));
        }
        let mut shortened = self.rotations.walk(&self.column[..length], header.origin, counts);
        if header.is_randomised {
            derandomise(&mut shortened);
        }
        let found =
            checksum(&shortened).map_err(|runs::Unfinished| Reason::Damaged("its last run has no length"))?;
        if found != header.checksum {
            return Err(Reason::Checksum { stated: header.checksum, found });
        }
        Ok(shortened)
    }

    fn header(&mut self, bits: &mut Bits<'_>) -> Result<Header, Reason> {
        let checksum = bits.number(32);
        let is_randomised = bits.number(1) == 1;
        let origin = bits.number(24) as usize;
        let (mut list, mut used) = ([0; 256], 0);
        let sixteens = bits.number(16);
        for sixteen in (0..16).filter(|sixteen| sixteens >> (15 - sixteen) & 1 == 1) {
            let present = bits.number(16);
            for byte in (0..16).filter(|byte| present >> (15 - byte) & 1 == 1) {
                list[used] = (16 * sixteen + byte) as u8;
                used += 1;
            }
        }
        if used == 0 {
            return Err(Reason::Damaged("no byte occurs in it"));
        }
        let codes = bits.number(3) as usize;
        if !CODES.contains(&codes) {
            return Err(Reason::Damaged("it has fewer than 2 codes, or more than 6"));
        }
        self.selectors(bits, codes)?;
        for code in &mut self.codes[..codes] {
            let mut lengths = [0; SYMBOLS];
            let lengths = &mut lengths[..used + 2];
            read_lengths(bits, lengths)?;
            code.set(lengths);
        }
        Ok(Header { checksum, is_randomised, origin, list, used })
    }

    /// Reads which code each group has: places in a list whose front is what came last, as so many ones and a zero.
    fn selectors(&mut self, bits: &mut Bits<'_>, codes: usize) -> Result<(), Reason> {
        let count = bits.number(15);
        if count == 0 {
            return Err(Reason::Damaged("it has no symbols"));
        }
        let mut list = [0, 1, 2, 3, 4, 5];
        self.selectors.clear();
        for _ in 0..count {
            bits.fill();
            let place = bits.word().leading_ones();
            if place as usize >= codes {
                return Err(Reason::Damaged("it uses a code that it does not have"));
            }
            bits.skip(place + 1);
            list[..=place as usize].rotate_right(1);
            self.selectors.push(list[0]);
        }
        if bits.position() > bits.end() { Err(Reason::RanOut) } else { Ok(()) }
    }

    /// Reads the symbols into `column`, counts its bytes, and returns its length.
    fn symbols(
        &mut self,
        bits: &mut Bits<'_>,
        header: &Header,
        counts: &mut [u32; 256],
    ) -> Result<usize, Reason> {
        const TOO_LONG: Reason = Reason::Damaged("it has more than 900000 bytes");
        let last = header.used as u16 + 1;
        let mut list = List::new(header.list);
        let (mut made, mut run, mut digit) = (0, 0, 1);
        for selector in &self.selectors {
            let code = &self.codes[usize::from(*selector)];
            if !code.is_sound() {
                return Err(Reason::Damaged("one of its codes is impossible"));
            }
            for _ in 0..GROUP {
                bits.fill();
                let symbol =
                    code.symbol(bits).ok_or(Reason::Damaged("there are bits in it that no code has"))?;
                if symbol <= RUN_B {
                    run += digit << symbol;
                    digit <<= 1;
                    if run > LARGEST {
                        return Err(TOO_LONG);
                    }
                    continue;
                }
                if run > 0 {
                    let byte = list.front();
                    let room = self.column.get_mut(made..made + run).ok_or(TOO_LONG)?;
                    room.fill(byte);
                    counts[usize::from(byte)] += run as u32;
                    made += run;
                    (run, digit) = (0, 1);
                }
                if symbol == last {
                    return Ok(made);
                }
                let byte = list.take(usize::from(symbol) - 1);
                *self.column.get_mut(made).ok_or(TOO_LONG)? = byte;
                counts[usize::from(byte)] += 1;
                made += 1;
            }
            if bits.position() > bits.end() {
                return Err(Reason::RanOut);
            }
        }
        Err(Reason::Damaged("its symbols do not end"))
    }
}

/// Reads the lengths of a code: the first as a number, each as what it differs from the one before.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Result<(), Reason> {
    let mut length = bits.number(5);
    for place in lengths {
        loop {
            if !(1..=LONGEST as u32).contains(&length) {
                return Err(Reason::Damaged("it has a code of no bits, or of more than 20"));
            }
            bits.fill();
            match bits.word() >> 62 {
                0b10 => length += 1,
                0b11 => length -= 1,
                _ => break,
            }
            bits.skip(2);
            if bits.position() > bits.end() {
                return Err(Reason::RanOut);
            }
        }
        bits.skip(1);
        *place = length as u8;
    }
    Ok(())
}

/// The checksum of a block's contents.
fn checksum(shortened: &[u8]) -> Result<u32, runs::Unfinished> {
    const ZEROS: &[u8] = &[0; 512];
    let mut crc = Crc::new();
    let mut zeros = 0;
    let pass = |crc: &mut Crc, zeros: &mut u64| match ZEROS.get(..*zeros as usize) {
        Some(few) => crc.update(few),
        None => crc.zeros(*zeros),
    };
    for part in Parts::new(shortened) {
        match part? {
            Part::Run(0, length) => zeros += length as u64,
            part => {
                pass(&mut crc, &mut zeros);
                zeros = 0;
                match part {
                    Part::Bytes(bytes) => crc.update(bytes),
                    Part::Run(byte, length) => crc.update(&[byte; runs::LONGEST][..length]),
                }
            }
        }
    }
    pass(&mut crc, &mut zeros);
    Ok(crc.sum())
}

/// The bytes that occur, the one that came last at the front.
struct List {
    /// The first eight, the front in the low bits: most symbols are near it, and a register moves them without a loop.
    front: u64,
    /// All of them, except that the first eight are out of date.
    rest: [u8; 256],
}

/// Bytes in [`List::front`].
const FRONT: usize = 8;

impl List {
    fn new(bytes: [u8; 256]) -> Self {
        let front = bytes.first_chunk().map_or(0, |front| u64::from_le_bytes(*front));
        List { front, rest: bytes }
    }

    fn front(&self) -> u8 {
        self.front as u8
    }

    /// Moves the byte at this place, from 1 to 255, to the front.
    #[inline(always)]
    fn take(&mut self, place: usize) -> u8 {
        if place < FRONT {
            let shift = 8 * place as u32;
            let byte = (self.front >> shift) as u8;
            // Those behind it stay; those before it move by one.
            let before = (1 << shift) - 1;
            let behind = u64::MAX << shift << 8;
            self.front = self.front & behind | (self.front & before) << 8 | u64::from(byte);
            return byte;
        }
        self.take_far(place)
    }

    #[inline(never)]
    fn take_far(&mut self, place: usize) -> u8 {
        let place = place & 255;
        let byte = self.rest[place];
        self.rest.copy_within(FRONT..place, FRONT + 1);
        self.rest[FRONT] = (self.front >> (8 * (FRONT - 1))) as u8;
        self.front = self.front << 8 | u64::from(byte);
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_list() {
        let mut plain: Vec<u8> = (0..=255).rev().collect();
        let mut list = List::new(plain.clone().try_into().unwrap());
        for step in 0..10_000_usize {
            let place = 1 + (step * step + step / 7) % [3, 8, 9, 16, 255][step % 5];
            let byte = plain.remove(place);
            plain.insert(0, byte);
            assert_eq!((list.take(place), list.front()), (byte, byte));
        }
    }
}
