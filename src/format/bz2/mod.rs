//! bzip2 on all CPUs: streams are decoded while they arrive, and written.
//!
//! Owns the format. Leaves to `unpack` the choice among formats, to the caller the reader, which may hash what it reads, and the
//! sink. Of a block nothing is written before its checksum was found to be right; only the end of the input says whether all is.
//!
//! ```text
//!              bytes            pieces, each from mark to mark             blocks in their order
//!   the input ───────▶ pieces ──┬───────────────────────────────▶ chain ─────────────────────────▶ the sink
//!    (a thread of its own)      └──▶ block::Decoder, a thread each ──┘      (the caller's thread)
//! ```
//! Memory is bounded: as many pieces as there are threads, twice, and 6 MB for each decoder.

mod bits;
mod block;
mod chain;
mod code;
mod crc;
mod pieces;
mod random;
mod rotations;
mod runs;
mod write;

use std::fmt;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::base::error::{Advice, Exit};
use crate::format::holes::Holes;
use crate::format::sparse::Sink;
use bits::Mark;
use block::{Block, Decoder, Fault};
use chain::{Chain, End, Link};
use pieces::Front;
pub use write::Encoder;
pub(crate) use write::REVISION;

/// Sizes of an input and of its contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input.
    pub input: u64,
    /// Bytes that went to the sink, zeros included.
    pub output: u64,
    /// Number of streams.
    pub streams: u64,
    /// Number of blocks in all streams.
    pub blocks: u64,
}

/// Where something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the block, from 1; 0 before the first one.
    pub block: u64,
    /// Bit of the input, from 0.
    pub bit: u64,
    /// Number of bytes that were unpacked before.
    pub output: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { block, bit, output } = self;
        write!(
            f,
            "block {block}, byte {} bit {} of the input, byte {output} of what it unpacks to",
            bit / 8,
            bit % 8
        )
    }
}

/// Reasons why an input cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input could not be read.
    #[error("cannot read {subject}")]
    Read {
        /// Name of the input, for the message.
        subject: String,
        /// The reader's error.
        source: io::Error,
    },
    /// The sink failed.
    #[error("cannot write what {subject} unpacks to")]
    Write {
        /// Name of the input, for the message.
        subject: String,
        /// The sink's error.
        source: io::Error,
    },
    /// The input does not begin with `BZh` and a level.
    #[error("{subject} is not a bzip2 file")]
    Foreign {
        /// Name of the input, for the message.
        subject: String,
    },
    /// The input ends within a stream.
    #[error("{subject} is truncated: it ends at {place}")]
    Truncated {
        /// Name of the input, for the message.
        subject: String,
        /// The input's end.
        place: Place,
    },
    /// No writer makes such an input.
    #[error("{subject} is damaged at {place}: {why}")]
    Damaged {
        /// Name of the input, for the message.
        subject: String,
        /// Where the damage was seen.
        place: Place,
        /// The damage, in words.
        why: &'static str,
    },
    /// A block's checksum is wrong.
    #[error(
        "{subject} is damaged: the checksum of its contents is {found:08x}, but should be {stated:08x}; {place}"
    )]
    BlockChecksum {
        /// Name of the input, for the message.
        subject: String,
        /// Where the block begins.
        place: Place,
        /// The checksum that the block has.
        stated: u32,
        /// The checksum of its contents.
        found: u32,
    },
    /// A stream's checksum is wrong, though those of its blocks are right.
    #[error(
        "{subject} is damaged: stream {stream} lacks blocks, or has others: its checksum is {found:08x}, but should be {stated:08x}; after {place}"
    )]
    StreamChecksum {
        /// Name of the input, for the message.
        subject: String,
        /// Number of the stream, from 1.
        stream: u64,
        /// Where the stream ends.
        place: Place,
        /// The checksum that the stream has.
        stated: u32,
        /// The checksum of its blocks.
        found: u32,
    },
    /// Something that is neither a stream nor zeros follows the last stream.
    #[error("{subject} has something else behind its last bzip2 stream, at byte {offset}")]
    Trailing {
        /// Name of the input, for the message.
        subject: String,
        /// The first byte that is not zero.
        offset: u64,
    },
    /// A thread panicked.
    #[error("cannot unpack {subject}: {role} failed, which is a fault of prebake")]
    Panicked {
        /// Name of the input, for the message.
        subject: String,
        /// The thread's part in it.
        role: &'static str,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Read { .. } | Error::Write { .. } | Error::Panicked { .. } => Exit::Failed,
            _ => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Truncated { .. }
            | Error::Damaged { .. }
            | Error::BlockChecksum { .. }
            | Error::StreamChecksum { .. } => {
                "get the file again, and compare its size and digest with those of its publisher"
            }
            Error::Trailing { .. } => "cut the file there, if what follows is not meant to be unpacked",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// A block for a worker.
struct Task {
    bytes: Vec<u8>,
    /// Its first bit in `bytes`.
    start: u64,
    /// The bit where the next mark was found.
    end: u64,
    answer: SyncSender<Worked>,
}

/// A worker's answer.
struct Worked {
    /// The task's bytes.
    bytes: Vec<u8>,
    outcome: Result<Block, Fault>,
}

/// Unpacks an input into a sink, with so many threads that decode.
///
/// The input is read once, front to back, by a thread of its own; after success all of it was read. Zeros may follow the last
/// stream, and nothing else. Runs of 4096 zeros and more reach the sink as zeros. If the input or the sink fails, all
/// ends with that error, as soon as a read that is under way returns.
pub fn decode(
    input: impl Read + Send,
    threads: usize,
    sink: &mut dyn Sink,
    subject: &str,
) -> Result<Decoded, Error> {
    decode_with(input, threads, sink, subject, |decoder, task| {
        decoder.decode(&task.bytes, task.start, task.end)
    })
}

/// See [`decode`]; `work` is what a worker does.
fn decode_with(
    input: impl Read + Send,
    threads: usize,
    sink: &mut dyn Sink,
    subject: &str,
    work: impl Fn(&mut Decoder, &Task) -> Result<Block, Fault> + Sync,
) -> Result<Decoded, Error> {
    let threads = threads.max(1);
    let is_over = AtomicBool::new(false);
    let (links, received) = sync_channel(2 * threads);
    let (tasks, taken) = channel();
    let taken = Mutex::new(taken);
    let panicked = |role| Error::Panicked { subject: subject.to_owned(), role };
    thread::scope(|scope| {
        let is_over = &is_over;
        let reader = scope.spawn(move || {
            let read = read(input, &links, &tasks);
            if read.is_err() {
                is_over.store(true, Ordering::Relaxed);
            }
            read
        });
        let worker = || {
            let mut decoder = Decoder::new();
            while let Some(task) = take(&taken).filter(|_| !is_over.load(Ordering::Relaxed)) {
                let outcome = work(&mut decoder, &task);
                // Nobody waits for the answer if the chain ended, or this block was no block.
                let _ = task.answer.send(Worked { bytes: task.bytes, outcome });
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let end = Chain::new(received, Holes::new(sink), subject).run();
        is_over.store(true, Ordering::Relaxed);
        let panics = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        let reader = reader.join();
        match end {
            Err(End::Error(error)) => Err(error),
            _ if panics > 0 => Err(panicked("a thread that decodes")),
            _ => match (reader, end) {
                (Err(_), _) | (Ok(Ok(())), Err(_)) => Err(panicked("the thread that reads")),
                (Ok(Err(source)), _) => Err(Error::Read { subject: subject.to_owned(), source }),
                (Ok(Ok(())), Ok(decoded)) => Ok(decoded),
            },
        }
    })
}

/// Reads the input and hands out its pieces: to the chain, whose queue is bounded, and then to a worker.
fn read(input: impl Read, links: &SyncSender<Link>, tasks: &Sender<Task>) -> io::Result<()> {
    pieces::cut(input, |mut piece| {
        if piece.front != Front::Mark(Mark::Block) {
            return links.send(Link { piece, work: None }).is_ok();
        }
        let (answer, work) = sync_channel(1);
        let (start, end) = (piece.shift(), piece.limit());
        let bytes = std::mem::take(&mut piece.bytes);
        links.send(Link { piece, work: Some(work) }).is_ok()
            && tasks.send(Task { bytes, start, end, answer }).is_ok()
    })
}

/// The next task, if there will be one.
fn take(tasks: &Mutex<Receiver<Task>>) -> Option<Task> {
    // No thread panics while it waits.
    let tasks = tasks.lock().ok()?;
    tasks.recv().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::format::holes::tests::Kept;

    /// So many streams of one block.
    fn file(streams: usize) -> Vec<u8> {
        let mut file = Vec::new();
        for number in 0..streams {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            write!(encoder, "stream {number}").unwrap();
            file.extend(encoder.finish().unwrap());
        }
        file
    }

    /// Fails in its own way when there is no more.
    struct Failing<'b>(&'b [u8], fn() -> io::Error);

    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(100);
            match self.0.read(&mut buffer[..count])? {
                0 => Err((self.1)()),
                count => Ok(count),
            }
        }
    }

    #[test]
    fn a_reader_that_fails_ends_it_with_its_error() {
        let file = file(300);
        let input = Failing(&file, || io::ErrorKind::ConnectionReset.into());
        let error = decode(input, 2, &mut Kept::default(), "it").unwrap_err();
        let Error::Read { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
        let error = decode(Failing(&file, || panic!("no")), 2, &mut Kept::default(), "it").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot unpack it: the thread that reads failed, which is a fault of prebake"
        );
    }

    #[test]
    fn a_sink_that_fails_ends_it_with_its_error_and_little_more_is_read() {
        struct Full(usize);
        impl Sink for Full {
            fn data(&mut self, _: &[u8]) -> io::Result<()> {
                self.0 += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            fn zeros(&mut self, _: u64) -> io::Result<()> {
                self.0 += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let contents = vec![0; 64 << 20];
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(b"x").unwrap();
        encoder.write_all(&contents).unwrap();
        let first = encoder.finish().unwrap();
        let file = first.repeat((4 << 20) / first.len());
        let mut full = Full(0);
        let mut input = &file[..];
        let error = decode(input.by_ref(), 2, &mut full, "it").unwrap_err();
        assert!(matches!(&error, Error::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull));
        assert_eq!(full.0, 1);
        assert!(input.len() > file.len() / 2, "{} of {}", input.len(), file.len());
    }

    #[test]
    fn a_worker_that_panics_ends_it_with_an_error() {
        let file = file(50);
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let work = |decoder: &mut Decoder, task: &Task| {
            assert!(seen.fetch_add(1, Ordering::Relaxed) < 20, "on purpose");
            decoder.decode(&task.bytes, task.start, task.end)
        };
        let error = decode_with(&file[..], 2, &mut Kept::default(), "it", work).unwrap_err();
        assert!(matches!(error, Error::Panicked { role: "a thread that decodes", .. }), "{error}");
    }

    #[test]
    fn blocks_are_counted_and_keep_their_order() {
        let file = file(200);
        for threads in [0, 1, 2, 7] {
            let mut kept = Kept::default();
            let decoded = decode(&file[..], threads, &mut kept, "it").unwrap();
            let expected: String = (0..200).map(|number| format!("stream {number}")).collect();
            assert_eq!(String::from_utf8(kept.bytes).unwrap(), expected);
            let (input, output) = (file.len() as u64, expected.len() as u64);
            assert_eq!(decoded, Decoded { input, output, streams: 200, blocks: 200 });
        }
    }
}
