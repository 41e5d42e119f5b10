//! Bytes that deflate would not shorten.
//!
//! Owns a guess that costs a fraction of deflating: most of a Flatcar disk, and of what is put on it, is packed already.
//! Whole numbers alone decide, so the same bytes are judged the same everywhere. Leaves to its callers how such bytes are
//! stored.

/// Bytes that are looked at first: most data that can be packed shows there.
const FIRST: usize = 4096;
/// The farthest that deflate looks back in a cluster, in bytes: the window of qcow2.
const WINDOW: u32 = 4096;
/// Places of strings that are remembered: 32 KiB, which is what the nearest cache of a processor holds.
const SLOTS: usize = 1 << 12;

/// Whether bytes occur about equally often, and hardly a string of four comes again within deflate's window. Then deflate
/// saves less than one byte in a hundred.
pub(crate) fn is_noise(bytes: &[u8]) -> bool {
    let first = bytes.get(..FIRST).unwrap_or_default();
    // Of few bytes, chance alone makes some more frequent.
    is_even(first, 8) && is_even(bytes, 32) && repeats(bytes) <= bytes.len() / 256
}

/// Whether the chance that two of the bytes are equal is at most that of noise and a `part` of it. With one in 32 more, a
/// byte has more than 7.95 bits (Rényi, 1961: his entropy of order 2 is never above Shannon's).
fn is_even(bytes: &[u8], part: u64) -> bool {
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let length = bytes.len() as u64;
    let (even, pairs) =
        (length * length / 256, counts.iter().map(|count| u64::from(*count).pow(2)).sum::<u64>());
    length > 0 && pairs <= even + length + even / part
}

/// Number of places where the four bytes that begin there came before within the window.
fn repeats(bytes: &[u8]) -> usize {
    // Strings, each with the place behind the last one where it began.
    let mut seen = [(0_u32, 0_u32); SLOTS];
    let mut found = 0;
    for (at, four) in (1..).zip(bytes.windows(4)) {
        let &[a, b, c, d] = four else { continue };
        let string = u32::from_le_bytes([a, b, c, d]);
        // Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4).
        let slot = &mut seen[(string.wrapping_mul(0x9e37_79b1) >> 20) as usize % SLOTS];
        let (before, last) = *slot;
        found += usize::from(before == string && last > 0 && at - last <= WINDOW);
        *slot = (string, at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster of bytes that do not repeat.
    fn noise() -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..8192).flat_map(|_| next()).collect()
    }

    #[test]
    fn noise_is_noise_and_nothing_else_is() {
        assert!(is_noise(&noise()));
        let (zeros, text) = (vec![0; 65_536], "a text of many words, ".repeat(3000));
        let counted: Vec<u8> = (0..65_536_u32).flat_map(|number| number.to_le_bytes()).collect();
        let every_byte: Vec<u8> = (0..65_536).map(|place| place as u8).collect();
        for bytes in [&zeros[..], text.as_bytes(), &counted, &every_byte, &[], &[1, 2, 3]] {
            assert!(!is_noise(bytes), "{:?}", bytes.get(..20));
        }
    }

    #[test]
    fn noise_that_repeats_itself_or_ends_early_is_none() {
        let bytes = noise();
        // Each 2 KiB twice: even, and half of it is said again.
        let again: Vec<u8> = bytes.chunks(2048).take(16).flat_map(|part| [part, part].concat()).collect();
        assert!(is_even(&again, 32) && !is_noise(&again));
        let mut half = bytes.clone();
        half[32_768..].fill(0);
        assert!(!is_noise(&half));
        // Six bits of each byte: deflate saves a quarter.
        let bits: Vec<u8> = bytes.iter().map(|byte| byte & 63).collect();
        assert!(!is_noise(&bits));
        // One in ten is a zero more often: 4 bits in 100.
        let biased: Vec<u8> =
            bytes.iter().enumerate().map(|(at, byte)| if at % 10 == 0 { 0 } else { *byte }).collect();
        assert!(!is_noise(&biased));
    }
}
