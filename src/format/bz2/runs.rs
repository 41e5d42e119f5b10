//! The runs that bzip2 shortens before it sorts: four equal bytes are followed by the number of those that come after them.
//!
//! Owns the expansion of a block's bytes, piece by piece: 900 000 bytes can stand for 46 MB, which nobody holds.

/// Equal bytes that a number follows.
const EQUAL: usize = 4;
/// Most bytes of a run.
pub(super) const LONGEST: usize = EQUAL + u8::MAX as usize;

/// A part of a block's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'b> {
    /// Bytes as they are.
    Bytes(&'b [u8]),
    /// A byte, and how often it comes: 4 to [`LONGEST`] times.
    Run(u8, usize),
}

/// A block's last run lacks the number that follows it, which bzip2 refuses, too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfinished;

/// The parts of a block whose shortened bytes these are.
pub(super) struct Parts<'b>(&'b [u8]);

impl<'b> Parts<'b> {
    pub(super) fn new(shortened: &'b [u8]) -> Self {
        Parts(shortened)
    }
}

impl<'b> Iterator for Parts<'b> {
    type Item = Result<Part<'b>, Unfinished>;

    fn next(&mut self) -> Option<Self::Item> {
        match (run(self.0), self.0) {
            (Some(0), &[byte, _, _, _, more, ref rest @ ..]) => {
                self.0 = rest;
                Some(Ok(Part::Run(byte, EQUAL + usize::from(more))))
            }
            (Some(0), _) => {
                self.0 = &[];
                Some(Err(Unfinished))
            }
            (None, []) => None,
            (start, bytes) => {
                let (plain, rest) = bytes.split_at(start.unwrap_or(bytes.len()));
                self.0 = rest;
                Some(Ok(Part::Bytes(plain)))
            }
        }
    }
}

/// Where the first four equal bytes begin.
fn run(bytes: &[u8]) -> Option<usize> {
    bytes.windows(EQUAL).position(|four| {
        let four = four.first_chunk().map_or(1, |four| u32::from_le_bytes(*four));
        four == (four & 0xff) * 0x0101_0101
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(shortened: &[u8]) -> Vec<Result<Part<'_>, Unfinished>> {
        Parts::new(shortened).collect()
    }

    #[test]
    fn four_equal_bytes_are_followed_by_a_number() {
        assert_eq!(parts(b"abcc"), [Ok(Part::Bytes(b"abcc"))]);
        assert_eq!(parts(b"aaaa\0"), [Ok(Part::Run(b'a', 4))]);
        assert_eq!(
            parts(b"baaaa\xffaaab"),
            [Ok(Part::Bytes(b"b")), Ok(Part::Run(b'a', 259)), Ok(Part::Bytes(b"aaab"))]
        );
        // The number is no part of a run, whatever it is.
        assert_eq!(
            parts(b"\x04\x04\x04\x04\x04\x04\x04\x04"),
            [Ok(Part::Run(4, 8)), Ok(Part::Bytes(b"\x04\x04\x04"))]
        );
        assert_eq!(parts(b"xaaaa"), [Ok(Part::Bytes(b"x")), Err(Unfinished)]);
        assert_eq!(parts(b""), []);
    }
}
