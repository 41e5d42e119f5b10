//! Writes bzip2: a stream for each 900 000 bytes, all of them at once.
//!
//! Owns the cutting into streams, as pbzip2 does it, which every reader of bzip2 takes. Leaves the format of a stream to the crate
//! `bzip2`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use bzip2::Compression;
use bzip2::write::BzEncoder;

use super::block::LARGEST;
use crate::format::sparse::Sink;

/// Part of step keys; raised when the bytes for the same contents change.
pub(crate) const REVISION: u32 = 1;

/// Bytes for a worker, and where it puts their stream.
type Task = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// A stream of the output.
enum Stream {
    /// In the making.
    Awaited(Receiver<io::Result<Vec<u8>>>),
    /// That of so many zeros as a stream holds.
    Zeros,
}

/// Threads that encode. They end with it.
struct Workers {
    tasks: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    fn new(count: usize) -> io::Result<Self> {
        let (tasks, taken) = channel();
        let taken = Arc::new(Mutex::new(taken));
        let mut workers = Workers { tasks: Some(tasks), threads: Vec::new() };
        for _ in 0..count {
            let taken = Arc::clone(&taken);
            let work = move || {
                while let Some((bytes, answer)) = take(&taken) {
                    // Nobody waits for it if the output failed.
                    let _ = answer.send(stream(&bytes));
                }
            };
            workers.threads.push(Builder::new().name("bzip2".to_owned()).spawn(work)?);
        }
        Ok(workers)
    }

    /// Lets a worker encode these bytes.
    fn encode(&self, bytes: Vec<u8>) -> io::Result<Stream> {
        let (answer, awaited) = sync_channel(1);
        let sent = self.tasks.as_ref().is_some_and(|tasks| tasks.send((bytes, answer)).is_ok());
        if sent { Ok(Stream::Awaited(awaited)) } else { Err(gone()) }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked left somebody without an answer, who says so.
            let _ = thread.join();
        }
    }
}

fn take(tasks: &Mutex<Receiver<Task>>) -> Option<Task> {
    // No thread panics while it waits.
    let tasks = tasks.lock().ok()?;
    tasks.recv().ok()
}

fn gone() -> io::Error {
    io::Error::other("a thread that encodes bzip2 failed")
}

/// The stream with these bytes.
fn stream(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = BzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A sink that writes bzip2. The bytes are the same for any number of threads, and however the contents arrive.
pub struct Encoder<W> {
    out: W,
    workers: Workers,
    /// The contents of the next stream, fewer than it holds.
    open: Vec<u8>,
    /// Streams that were not yet written, in their order.
    streams: VecDeque<Stream>,
    /// Most of those.
    most: usize,
    /// The stream of zeros, once it is known.
    zeros: Option<Vec<u8>>,
    is_empty: bool,
}

impl<W: Write> Encoder<W> {
    /// Writes to `out`, with so many threads that encode.
    pub fn new(out: W, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        Ok(Encoder {
            out,
            workers: Workers::new(threads)?,
            open: Vec::new(),
            streams: VecDeque::new(),
            most: 2 * threads,
            zeros: None,
            is_empty: true,
        })
    }

    /// Writes all that is left and gives the output back. Without contents there is one stream without blocks.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.open.is_empty() || self.is_empty {
            self.close()?;
        }
        while let Some(stream) = self.streams.pop_front() {
            self.write(stream)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// Ends the stream whose contents are in `open`.
    fn close(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.open);
        let is_zero = bytes.len() == LARGEST && bytes.iter().all(|byte| *byte == 0);
        let stream = if is_zero { Stream::Zeros } else { self.workers.encode(bytes)? };
        self.push(stream)
    }

    /// Writes what is done, and waits if too much is not.
    fn push(&mut self, stream: Stream) -> io::Result<()> {
        self.is_empty = false;
        self.streams.push_back(stream);
        while let Some(stream) = self.streams.pop_front() {
            if self.streams.len() < self.most && matches!(stream, Stream::Awaited(_)) {
                self.streams.push_front(stream);
                break;
            }
            self.write(stream)?;
        }
        Ok(())
    }

    fn write(&mut self, next: Stream) -> io::Result<()> {
        match next {
            Stream::Awaited(awaited) => self.out.write_all(&awaited.recv().map_err(|_| gone())??),
            Stream::Zeros => {
                let zeros = match self.zeros.take() {
                    Some(zeros) => zeros,
                    None => stream(&vec![0; LARGEST])?,
                };
                self.out.write_all(self.zeros.insert(zeros))
            }
        }
    }
}

impl<W: Write> Sink for Encoder<W> {
    fn data(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(LARGEST - self.open.len()));
            self.open.extend_from_slice(now);
            if self.open.len() == LARGEST {
                self.close()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn zeros(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            if self.open.is_empty() && length >= LARGEST as u64 {
                self.push(Stream::Zeros)?;
                length -= LARGEST as u64;
                continue;
            }
            let now = length.min((LARGEST - self.open.len()) as u64);
            self.open.resize(self.open.len() + now as usize, 0);
            if self.open.len() == LARGEST {
                self.close()?;
            }
            length -= now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bz2::decode;
    use crate::format::holes::tests::Kept;

    fn encoded(threads: usize, write: impl Fn(&mut dyn Sink) -> io::Result<()>) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), threads).unwrap();
        write(&mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_bytes_depend_on_the_contents_alone() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|k| (k.wrapping_mul(k) >> 7) as u8).collect();
        let zeros = 3 * LARGEST as u64 + 17;
        let at_once = encoded(1, |sink| {
            sink.data(&bytes)?;
            sink.zeros(zeros)?;
            sink.data(b"end")
        });
        let in_pieces = encoded(3, |sink| {
            for piece in bytes.chunks(99_991) {
                sink.data(piece)?;
            }
            sink.data(&vec![0; 1_000_000])?;
            sink.zeros(zeros - 1_000_000)?;
            sink.data(b"end")
        });
        assert!(at_once == in_pieces);
        let mut kept = Kept::default();
        let decoded = decode(&at_once[..], 2, &mut kept, "it").unwrap();
        assert_eq!((decoded.streams, decoded.output), (5, 1_000_000 + zeros + 3));
        assert_eq!(kept.bytes.len() as u64, decoded.output);
        assert!(kept.bytes.starts_with(&bytes) && kept.bytes.ends_with(b"\0end"));
    }

    #[test]
    fn nothing_is_a_stream_without_blocks() {
        let empty = encoded(1, |_| Ok(()));
        assert_eq!(empty, b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0");
    }

    #[test]
    fn an_output_that_fails_fails() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = Encoder::new(Full, 2).unwrap();
        let error = (0..100).find_map(|_| encoder.data(&[1; 900_000]).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
