//! Blocks made by hand: marks inside of blocks, randomised blocks, and others that no writer makes. Their contents are computed
//! plainly, and `bzip2` says whether they are right.

/// Bits in the making.
#[derive(Clone, Default)]
pub struct Bits {
    pub bytes: Vec<u8>,
    pub count: usize,
}

impl Bits {
    pub fn put(&mut self, value: u64, count: u32) {
        for k in (0..count).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().unwrap();
            *last |= ((value >> k & 1) as u8) << (7 - self.count % 8);
            self.count += 1;
        }
    }
}

pub const BLOCK: u64 = 0x3141_5926_5359;
pub const END: u64 = 0x1772_4538_5090;

pub fn crc(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for byte in bytes {
        register ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            register = if register >> 31 == 1 { register << 1 ^ 0x04c1_1db7 } else { register << 1 };
        }
    }
    !register
}

/// A stream, and what it unpacks to.
pub struct Stream {
    bits: Bits,
    checksum: u32,
    pub contents: Vec<u8>,
}

impl Stream {
    pub fn new(level: u8) -> Self {
        let mut bits = Bits::default();
        bits.put(u64::from_be_bytes([0, 0, 0, 0, b'B', b'Z', b'h', b'0' + level]), 32);
        Stream { bits, checksum: 0, contents: Vec::new() }
    }

    /// A block with these symbols, each of eight bits, without the last one, 255: 0 and 1 make runs, 2 to 254 are places in a list of
    /// 254 bytes, less one. Hence any bytes but 255 can stand in a block.
    pub fn block(&mut self, symbols: &[u8], origin: usize) {
        let mut list: Vec<u8> = (0..254).collect();
        let (mut column, mut run, mut digit) = (Vec::new(), 0, 1);
        for symbol in symbols.iter().copied().chain([255]) {
            if symbol < 2 {
                run += digit << symbol;
                digit *= 2;
                continue;
            }
            column.extend(std::iter::repeat_n(list[0], run));
            (run, digit) = (0, 1);
            if symbol < 255 {
                let byte = list.remove(usize::from(symbol) - 1);
                list.insert(0, byte);
                column.push(byte);
            }
        }
        let mut sorted: Vec<usize> = (0..column.len()).collect();
        sorted.sort_by_key(|at| column[*at]);
        let mut at = origin;
        let shortened: Vec<u8> = (0..column.len())
            .map(|_| {
                at = sorted[at];
                column[at]
            })
            .collect();
        let (mut contents, mut at) = (Vec::new(), 0);
        while at < shortened.len() {
            let byte = shortened[at];
            if shortened[at..].starts_with(&[byte; 4]) {
                contents.extend(std::iter::repeat_n(byte, 4 + usize::from(shortened[at + 4])));
                at += 5;
            } else {
                contents.push(byte);
                at += 1;
            }
        }
        let checksum = crc(&contents);
        self.checksum = self.checksum.rotate_left(1) ^ checksum;
        self.contents.extend(contents);
        let bits = &mut self.bits;
        bits.put(BLOCK, 48);
        bits.put(checksum.into(), 32);
        bits.put(0, 1);
        bits.put(origin as u64, 24);
        bits.put(0xffff, 16);
        (0..15).for_each(|_| bits.put(0xffff, 16));
        bits.put(0xfffc, 16);
        bits.put(2, 3);
        let groups = (symbols.len() + 1).div_ceil(50);
        bits.put(groups as u64, 15);
        (0..groups).for_each(|_| bits.put(0, 1));
        for _ in 0..2 {
            bits.put(8, 5);
            (0..256).for_each(|_| bits.put(0, 1));
        }
        symbols.iter().for_each(|symbol| bits.put((*symbol).into(), 8));
        bits.put(255, 8);
    }

    pub fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.bits.put(END, 48);
        self.bits.put(self.checksum.into(), 32);
        (self.bits.bytes, self.contents)
    }
}
