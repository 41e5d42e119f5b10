//! Decompresses LZ4 blocks, which images made by other tools have. The format is lz4's doc/lz4_Block_format.md.

use super::Fault;
use super::fields::Fields;

/// Shortest match; stored lengths are relative to it.
const MIN_MATCH: usize = 4;
/// The four-bit length that means that more bytes follow.
const MORE: usize = 15;

/// Decompresses one block and returns its length; `None` if it is damaged or does not fit into `out`.
pub(crate) fn decode(packed: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut input = Fields(packed);
    let mut at = 0_usize;
    loop {
        let token = usize::from(input.bytes(1).ok()?[0]);
        let literals = length(token >> 4, &mut input).ok()?;
        out.get_mut(at..at.checked_add(literals)?)?.copy_from_slice(input.bytes(literals).ok()?);
        at += literals;
        // The last sequence has no match.
        if input.0.is_empty() {
            return Some(at);
        }
        let from = at.checked_sub(input.u16().ok()?.into()).filter(|from| *from < at)?;
        let end = at.checked_add(length(token & MORE, &mut input).ok()?)?.checked_add(MIN_MATCH)?;
        if end > out.len() {
            return None;
        }
        // Byte by byte, because a match may overlap its own output.
        for to in at..end {
            out[to] = out[to - (at - from)];
        }
        at = end;
    }
}

fn length(start: usize, input: &mut Fields<'_>) -> Result<usize, Fault> {
    let mut length = start;
    let mut last = start == MORE;
    while last {
        let byte = input.bytes(1)?[0];
        length = length.saturating_add(byte.into());
        last = byte == u8::MAX;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
        let mut out = [0; 300];
        decode(packed, &mut out).map(|length| out[..length].to_vec())
    }

    #[test]
    fn literals_and_overlapping_matches_are_unpacked() {
        assert_eq!(unpack(b"\x30abc").unwrap(), b"abc");
        // `ab`, then six bytes from a distance of two, then `c`.
        assert_eq!(unpack(b"\x22ab\x02\x00\x10c").unwrap(), b"ababababc");
        // A match of 15 + 255 + 1 + 4 bytes.
        let long = unpack(b"\x1fa\x01\x00\xff\x01\x00").unwrap();
        assert_eq!(long, b"a".repeat(276));
    }

    #[test]
    fn damage_is_refused() {
        let cases: [&[u8]; 6] = [
            b"",
            b"\x30ab",
            b"\x10a\x00\x00\x00",             // no distance
            b"\x10a\x02\x00\x00",             // before the start
            b"\x1fa\x01\x00\xff\xff\x00\x00", // too long
            b"\xf0",
        ];
        for case in cases {
            assert_eq!(unpack(case), None, "{case:?}");
        }
    }
}
