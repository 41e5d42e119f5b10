//! Zeros in what is written: long runs of them reach a sink as their length.
//!
//! Owns the finding of zeros; leaves to the sink whether they become a hole.

use std::io;

use crate::format::sparse::{RUN, Sink, is_zero, zero_slices};

/// The shortest run of zeros that is told apart, in bytes: a block of most file systems.
const SHORTEST: u64 = RUN as u64;
/// Bytes that are collected for one call of the sink.
const BUFFER: usize = 256 << 10;

/// Writes to a sink: bytes in large pieces, and runs of [`SHORTEST`] zeros and more as zeros.
pub(crate) struct Holes<'s> {
    sink: &'s mut dyn Sink,
    /// Bytes before `zeros`.
    buffer: Vec<u8>,
    /// Zeros that come after the buffer.
    zeros: u64,
    written: u64,
}

impl<'s> Holes<'s> {
    pub(crate) fn new(sink: &'s mut dyn Sink) -> Self {
        Holes { sink, buffer: Vec::with_capacity(BUFFER), zeros: 0, written: 0 }
    }

    /// Number of bytes so far, zeros and others.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes in which no zeros are looked for.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.settle()?;
        self.written += bytes.len() as u64;
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush_buffer()?;
        }
        if bytes.len() >= BUFFER {
            return self.sink.data(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes in which zeros are looked for, in whole pieces of [`SHORTEST`] bytes from the first one on.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(SHORTEST as usize) {
            if is_zero(piece) {
                self.zeros(piece.len() as u64);
            } else {
                self.data(piece)?;
            }
        }
        Ok(())
    }

    /// So many zeros.
    pub(crate) fn zeros(&mut self, length: u64) {
        self.written += length;
        self.zeros += length;
    }

    /// Ends the run of zeros, if there is one.
    fn settle(&mut self) -> io::Result<()> {
        let zeros = std::mem::take(&mut self.zeros);
        if zeros >= SHORTEST {
            self.flush_buffer()?;
            return self.sink.zeros(zeros);
        }
        zero_slices(zeros).for_each(|zeros| self.buffer.extend_from_slice(zeros));
        Ok(())
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.sink.data(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Hands all that is left to the sink.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.settle()?;
        self.flush_buffer()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sink that keeps the bytes, and the lengths of its calls: zeros as negative numbers.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Kept {
        pub bytes: Vec<u8>,
        pub calls: Vec<i64>,
    }

    impl Sink for Kept {
        fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.bytes.extend_from_slice(bytes);
            self.calls.push(bytes.len() as i64);
            Ok(())
        }

        fn zeros(&mut self, length: u64) -> io::Result<()> {
            self.bytes.resize(self.bytes.len() + length as usize, 0);
            self.calls.push(-(length as i64));
            Ok(())
        }
    }

    #[test]
    fn long_runs_are_lengths_and_short_ones_bytes() {
        let mut kept = Kept::default();
        let mut holes = Holes::new(&mut kept);
        holes.data(b"abc").unwrap();
        holes.zeros(4095);
        holes.data(b"d").unwrap();
        holes.zeros(4000);
        holes.zeros(96);
        holes.data(b"").unwrap();
        holes.data(b"e").unwrap();
        holes.data(&[7; BUFFER]).unwrap();
        holes.zeros(1);
        assert_eq!(holes.written(), 3 + 4095 + 1 + 4096 + 1 + BUFFER as u64 + 1);
        holes.finish().unwrap();
        assert_eq!(kept.calls, [3 + 4095 + 1, -4096, 1, BUFFER as i64, 1]);
    }

    #[test]
    fn zeros_are_found_in_bytes() {
        let mut kept = Kept::default();
        let mut holes = Holes::new(&mut kept);
        let mut bytes = vec![0; 3 * 4096];
        bytes[5000] = 1;
        holes.look(&bytes).unwrap();
        holes.look(&[0; 100]).unwrap();
        holes.finish().unwrap();
        assert_eq!(kept.calls, [-4096, 4096, -4196]);
        bytes.resize(3 * 4096 + 100, 0);
        assert_eq!(kept.bytes, bytes);
    }
}
