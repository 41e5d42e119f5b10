//! Cuts a stream of data and zeros into pieces of one size.
//!
//! Owns the cutting. Leaves the pieces' encoding to the containers. Pieces that consist of announced zeros alone cost
//! nothing, however many there are.

use std::io;

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Bytes of one piece, at its number: as long as a piece is, but for the stream's last one.
    Data(u64, Vec<u8>),
    /// A number of pieces of zeros, from a number on. Only the stream's last one may be shorter than a piece.
    Zeros(u64, u64),
}

/// A writer of pieces, which is handed a stream.
pub(crate) trait Pieced {
    /// The cutter of its stream.
    fn cutter(&mut self) -> &mut Cutter;

    /// Takes the next pieces.
    ///
    /// # Errors
    /// They cannot be written.
    fn cut(&mut self, cut: Cut) -> io::Result<()>;

    /// Takes bytes of the stream.
    ///
    /// # Errors
    /// Those of [`Pieced::cut`].
    fn cut_data(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if let Some(cut) = self.cutter().data(&mut bytes) {
                self.cut(cut)?;
            }
        }
        Ok(())
    }

    /// Takes zeros of the stream.
    ///
    /// # Errors
    /// Those of [`Pieced::cut`].
    fn cut_zeros(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            if let Some(cut) = self.cutter().zeros(&mut length) {
                self.cut(cut)?;
            }
        }
        Ok(())
    }
}

/// Collects what makes up a piece.
#[derive(Debug)]
pub(crate) struct Cutter {
    size: usize,
    /// The bytes of the present piece, if some of them are not zeros by announcement.
    buffer: Vec<u8>,
    /// Zeros at the end of the present piece that are not in the buffer.
    zeros: usize,
    /// Number of the present piece.
    number: u64,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

impl Cutter {
    /// Begins a stream that is cut into pieces of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        Cutter { size, buffer: Vec::new(), zeros: 0, number: 0, spare: Vec::new() }
    }

    /// The length of the stream until now, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.number * self.size as u64 + (self.buffer.len() + self.zeros) as u64
    }

    /// Takes back the buffer of a piece that is done.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spare.push(buffer);
    }

    /// Takes bytes from the front of `bytes`, at most as many as complete a piece. Returns that piece, if there is one.
    pub(crate) fn data(&mut self, bytes: &mut &[u8]) -> Option<Cut> {
        if self.buffer.capacity() == 0 {
            self.buffer = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.size));
        }
        let at = self.buffer.len() + self.zeros;
        let (now, rest) = bytes.split_at((self.size - at).min(bytes.len()));
        self.buffer.resize(at, 0);
        self.zeros = 0;
        self.buffer.extend_from_slice(now);
        *bytes = rest;
        self.complete()
    }

    /// Takes zeros, and lowers `length` to those that are left. Returns the pieces that they complete.
    pub(crate) fn zeros(&mut self, length: &mut u64) -> Option<Cut> {
        let at = self.buffer.len() + self.zeros;
        let whole = *length / self.size as u64;
        if at == 0 && whole > 0 {
            *length %= self.size as u64;
            self.number += whole;
            return Some(Cut::Zeros(self.number - whole, whole));
        }
        let now = (*length).min((self.size - at) as u64);
        self.zeros += now as usize;
        *length -= now;
        self.complete()
    }

    /// The present piece, if it is complete.
    fn complete(&mut self) -> Option<Cut> {
        if self.buffer.len() + self.zeros < self.size { None } else { self.finish() }
    }

    /// The piece that has been begun, if there is one.
    pub(crate) fn finish(&mut self) -> Option<Cut> {
        let zeros = std::mem::take(&mut self.zeros);
        if self.buffer.len() + zeros == 0 {
            return None;
        }
        self.number += 1;
        if self.buffer.is_empty() {
            return Some(Cut::Zeros(self.number - 1, 1));
        }
        let mut piece = std::mem::take(&mut self.buffer);
        piece.resize(piece.len() + zeros, 0);
        Some(Cut::Data(self.number - 1, piece))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_the_stream_and_announced_zeros_cost_nothing(
            parts in prop::collection::vec((any::<bool>(), 0..40_usize), 0..30),
        ) {
            const SIZE: usize = 8;
            let (mut cutter, mut cuts, mut stream) = (Cutter::new(SIZE), Vec::new(), Vec::new());
            for (is_data, length) in parts {
                if is_data {
                    let bytes: Vec<u8> = (1..=length as u8).collect();
                    let mut left = &bytes[..];
                    while !left.is_empty() {
                        cuts.extend(cutter.data(&mut left));
                    }
                    stream.extend(bytes);
                } else {
                    let mut left = length as u64;
                    while left > 0 {
                        cuts.extend(cutter.zeros(&mut left));
                    }
                    stream.resize(stream.len() + length, 0);
                }
                prop_assert_eq!(cutter.length(), stream.len() as u64);
            }
            cuts.extend(cutter.finish());
            let (mut number, mut at) = (0, 0);
            for cut in cuts {
                match cut {
                    Cut::Data(own, bytes) => {
                        prop_assert_eq!(own, number);
                        prop_assert!(bytes.len() == SIZE || at + bytes.len() == stream.len());
                        prop_assert_eq!(&stream[at..at + bytes.len()], &bytes[..]);
                        prop_assert!(bytes.iter().any(|byte| *byte != 0));
                        (number, at) = (number + 1, at + bytes.len());
                    }
                    Cut::Zeros(own, count) => {
                        prop_assert_eq!(own, number);
                        let end = (at + count as usize * SIZE).min(stream.len());
                        prop_assert!(stream[at..end].iter().all(|byte| *byte == 0));
                        (number, at) = (number + count, end);
                    }
                }
            }
            prop_assert_eq!(at, stream.len());
        }
    }
}
