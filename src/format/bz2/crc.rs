//! bzip2's checksum: CRC-32 with the polynomial of Ethernet, most significant bit first.
//!
//! Owns the arithmetic; leaves to `block` and `chain` what a checksum is of.

/// x³² is what these bits are the coefficients of, modulo the polynomial.
const POLYNOMIAL: u32 = 0x04c1_1db7;

/// `TABLES[k][b]` is byte `b`, followed by `k` zero bytes, in the register.
const TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut register = (byte as u32) << 24;
        let mut k = 0;
        while k < 8 {
            register = timed_x(register);
            k += 1;
        }
        tables[0][byte] = register;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before: u32 = tables[k - 1][byte];
            tables[k][byte] = before << 8 ^ tables[0][(before >> 24) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
};

/// `ZEROS[k]` multiplies the register as 2ᵏ zero bytes do.
const ZEROS: [u32; 64] = {
    let mut zeros = [1 << 8; 64];
    let mut k = 1;
    while k < 64 {
        zeros[k] = product(zeros[k - 1], zeros[k - 1]);
        k += 1;
    }
    zeros
};

const fn timed_x(register: u32) -> u32 {
    if register >> 31 == 1 { register << 1 ^ POLYNOMIAL } else { register << 1 }
}

/// The product of two polynomials, modulo [`POLYNOMIAL`].
const fn product(a: u32, b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        product = timed_x(product);
        if b >> bit & 1 == 1 {
            product ^= a;
        }
    }
    product
}

/// The checksum of bytes that come in pieces.
pub(super) struct Crc(u32);

impl Crc {
    pub(super) fn new() -> Self {
        Crc(u32::MAX)
    }

    /// The checksum of all bytes so far.
    pub(super) fn sum(&self) -> u32 {
        !self.0
    }

    /// More bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut register = self.0;
        let (eights, rest) = bytes.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in eights {
            let [a, b, c, d] = (register ^ u32::from_be_bytes([a, b, c, d])).to_be_bytes();
            register = TABLES[7][usize::from(a)]
                ^ TABLES[6][usize::from(b)]
                ^ TABLES[5][usize::from(c)]
                ^ TABLES[4][usize::from(d)]
                ^ TABLES[3][usize::from(e)]
                ^ TABLES[2][usize::from(f)]
                ^ TABLES[1][usize::from(g)]
                ^ TABLES[0][usize::from(h)];
        }
        for byte in rest {
            register = register << 8 ^ TABLES[0][usize::from((register >> 24) as u8 ^ byte)];
        }
        self.0 = register;
    }

    /// `count` more bytes, all of them zero, in a time that hardly grows with their number.
    pub(super) fn zeros(&mut self, count: u64) {
        for (k, factor) in ZEROS.iter().enumerate() {
            if count >> k & 1 == 1 {
                self.0 = product(self.0, *factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        // CRC-32/BZIP2 in Greg Cook's catalogue of parametrised CRC algorithms.
        let mut crc = Crc::new();
        crc.update(b"123456789");
        assert_eq!(crc.sum(), 0xfc89_1918);
    }

    #[test]
    fn zeros_are_counted_as_if_they_were_there() {
        for count in [0, 1, 7, 8, 255, 4096, 1_000_003] {
            let (mut counted, mut there) = (Crc::new(), Crc::new());
            counted.update(b"before");
            there.update(b"before");
            counted.zeros(count);
            there.update(&vec![0; count as usize]);
            counted.update(b"after it");
            there.update(b"after it");
            assert_eq!(counted.sum(), there.sum(), "{count}");
        }
    }
}
