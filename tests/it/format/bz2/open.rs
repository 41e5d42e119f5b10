//! Sinks and shorthands of the tests of bzip2.

use std::io::{self, Read, Write};

use prebake::format::sparse::Sink;
use prebake::format::{bz2, unpack};

/// Keeps bytes, and how many of them came as zeros.
#[derive(Default)]
pub(crate) struct Kept {
    pub bytes: Vec<u8>,
    pub zeros: u64,
    pub most: Option<usize>,
}

impl Kept {
    fn room(&self, more: u64) -> io::Result<()> {
        match self.most {
            Some(most) if self.bytes.len() as u64 + more > most as u64 => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

impl Sink for Kept {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room(bytes.len() as u64)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.room(length)?;
        self.zeros += length;
        self.bytes.resize(self.bytes.len() + length as usize, 0);
        Ok(())
    }
}

pub(crate) fn decode(
    input: impl Read + Send,
    threads: usize,
    sink: &mut dyn Sink,
) -> Result<(u64, u64, u64, u64), bz2::Error> {
    bz2::decode(input, threads, sink, "it").map(|done| (done.input, done.output, done.streams, done.blocks))
}

pub(crate) fn unpack(bytes: &[u8], threads: usize) -> Result<Kept, unpack::Error> {
    let mut kept = Kept::default();
    let packing = unpack::Packing::of(&bytes[..bytes.len().min(unpack::HEAD)]);
    let done = unpack::unpack(packing, bytes, threads, &mut kept, "it")?;
    assert_eq!((done.input, done.output), (bytes.len() as u64, kept.bytes.len() as u64));
    Ok(kept)
}

pub(crate) fn encode<W: Write>(
    out: W,
    threads: usize,
    write: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
) -> io::Result<W> {
    let mut encoder = bz2::Encoder::new(out, threads)?;
    write(&mut encoder)?;
    encoder.finish()
}
