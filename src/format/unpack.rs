//! Files that may be packed: recognised by their first bytes, and unpacked into a sink.
//!
//! Owns the choice, and the formats whose decoding is one crate's call; leaves bzip2 to `bz2`. Several gzip members (RFC 1952,
//! 2.2), zstd frames (RFC 8878, 3) or xz streams (xz file format 1.2, 2) are unpacked one after the other; zeros may follow the
//! last one.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

use super::bz2;
use super::holes::Holes;
use super::sparse::Sink;
use crate::base::error::{Advice, Exit};

/// Most memory for unpacking xz: enough for `xz -9`, whose dictionary has 64 MiB.
const XZ_MEMORY: u64 = 128 << 20;
/// Largest window of zstd, as a power of two: enough for `zstd --ultra -22`.
const ZSTD_WINDOW: u32 = 27;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Bytes that [`Packing::of`] wants to see.
pub const HEAD: usize = 6;

/// A file's compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// With nothing.
    None,
    /// bzip2.
    Bzip2,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// xz.
    Xz,
}

impl Packing {
    /// The packing by the first [`HEAD`] bytes, or all bytes if there are fewer.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Packing::Bzip2,
            // The only method that there is.
            [0x1f, 0x8b, 8, ..] => Packing::Gzip,
            // A frame, or one to skip, which `zstd --patch` and seekable files begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
            _ => Packing::None,
        }
    }

    /// The name of the program that packs so; `raw` for none.
    pub fn name(self) -> &'static str {
        match self {
            Packing::None => "raw",
            Packing::Bzip2 => "bzip2",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Xz => "xz",
        }
    }

    /// Ends of names of files that are packed so, without a dot.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Packing::None => &[],
            Packing::Bzip2 => &["bz2"],
            Packing::Gzip => &["gz"],
            Packing::Zstd => &["zst", "zstd"],
            Packing::Xz => &["xz"],
        }
    }
}

/// Sizes of what was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of the input.
    pub input: u64,
    /// Bytes that went to the sink, zeros included.
    pub output: u64,
}

/// Reasons why a file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bzip2 file.
    #[error(transparent)]
    Bzip2(#[from] bz2::Error),
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
    /// No writer makes such an input, or it is not whole.
    #[error(
        "{subject} is a damaged or truncated {packing} file: seen at byte {input}, after {output} unpacked bytes"
    )]
    Damaged {
        /// Name of the input, for the message.
        subject: String,
        /// The format.
        packing: &'static str,
        /// Number of bytes that were read of the input.
        input: u64,
        /// Number of bytes that were unpacked before.
        output: u64,
        /// The decoder's error.
        source: io::Error,
    },
    /// Something that is neither packed nor zeros follows what is packed.
    #[error("{subject} has something else behind its last {packing} data, at byte {offset}")]
    Trailing {
        /// Name of the input, for the message.
        subject: String,
        /// The format.
        packing: &'static str,
        /// The first byte that is not zero.
        offset: u64,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Bzip2(error) => error.exit(),
            Error::Read { .. } | Error::Write { .. } => Exit::Failed,
            Error::Damaged { .. } | Error::Trailing { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Bzip2(error) => error.hint(),
            Error::Damaged { .. } => Some(
                "get the file again, and compare its size and digest with those of its publisher".to_owned(),
            ),
            Error::Trailing { .. } => {
                Some("cut the file there, if what follows is not meant to be unpacked".to_owned())
            }
            Error::Read { .. } | Error::Write { .. } => None,
        }
    }
}

/// Unpacks an input into a sink; bzip2 with so many threads, all else with the caller's alone.
///
/// The input is read once, front to back; after success all of it was read. Bytes that reach the sink before an error need not be
/// right, except for bzip2's.
pub fn unpack(
    packing: Packing,
    input: impl Read + Send,
    threads: usize,
    sink: &mut dyn Sink,
    subject: &str,
) -> Result<Unpacked, Error> {
    if packing == Packing::Bzip2 {
        let bz2::Decoded { input, output, .. } = bz2::decode(input, threads, sink, subject)?;
        return Ok(Unpacked { input, output });
    }
    let input = BufReader::with_capacity(CHUNK, Counted { input, count: 0, failure: None });
    let mut unpacking = Unpacking { input, holes: Holes::new(sink), subject, packing };
    match packing {
        Packing::None => unpacking.copy()?,
        _ => while unpacking.member()? {},
    }
    let (input, output) = (unpacking.input.get_ref().count, unpacking.holes.written());
    let finished = unpacking.holes.finish();
    finished.map_err(|source| Error::Write { subject: subject.to_owned(), source })?;
    Ok(Unpacked { input, output })
}

/// A reader that counts, and remembers that it failed: decoders may say so in words of their own.
struct Counted<R> {
    input: R,
    count: u64,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Ok(count) => {
                    self.count += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    self.failure = Some(error);
                    return Err(kind.into());
                }
            }
        }
    }
}

/// An input on its way to a sink.
struct Unpacking<'u, R> {
    input: BufReader<Counted<R>>,
    holes: Holes<'u>,
    subject: &'u str,
    packing: Packing,
}

impl<R: Read> Unpacking<'_, R> {
    /// Writes the input as it is.
    fn copy(&mut self) -> Result<(), Error> {
        let packing = Packing::None;
        pass(&mut self.input, &mut self.holes).map_err(|failure| self.error(packing, failure))
    }

    /// Unpacks a member, frame or stream, and returns whether another one follows.
    fn member(&mut self) -> Result<bool, Error> {
        let packing = self.packing;
        let input = &mut self.input;
        let passed = match packing {
            Packing::Gzip => pass(&mut GzDecoder::new(input), &mut self.holes),
            Packing::Zstd => zstd::stream::read::Decoder::with_buffer(input)
                .and_then(|decoder| {
                    let mut decoder = decoder.single_frame();
                    decoder.window_log_max(ZSTD_WINDOW)?;
                    Ok(decoder)
                })
                .map_err(Failure::Input)
                .and_then(|mut decoder| pass(&mut decoder, &mut self.holes)),
            Packing::Xz => Stream::new_stream_decoder(XZ_MEMORY, 0)
                .map_err(|error| Failure::Input(error.into()))
                .and_then(|stream| pass(&mut XzDecoder::new_stream(input, stream), &mut self.holes)),
            // They are unpacked elsewhere.
            Packing::None | Packing::Bzip2 => Ok(()),
        };
        passed.map_err(|failure| self.error(packing, failure))?;
        self.follows()
    }

    /// Whether another member follows, behind any number of zeros.
    fn follows(&mut self) -> Result<bool, Error> {
        loop {
            let held = match self.input.fill_buf() {
                Ok(held) => held,
                Err(error) => return Err(self.error(self.packing, Failure::Input(error))),
            };
            if held.is_empty() {
                return Ok(false);
            }
            let zeros = held.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                break;
            }
            self.input.consume(zeros);
        }
        // A buffer may hold the first byte alone; the decoder judges the others.
        let first = self.input.buffer().first().copied();
        let (offset, packing) = (self.offset(), self.packing);
        let is_member = match packing {
            Packing::Gzip => first == Some(0x1f),
            Packing::Zstd => matches!(first, Some(0x28 | 0x50..=0x5f)),
            Packing::Xz => first == Some(0xfd),
            Packing::None | Packing::Bzip2 => false,
        };
        if is_member {
            return Ok(true);
        }
        Err(Error::Trailing { subject: self.subject.to_owned(), packing: packing.name(), offset })
    }

    /// The next byte of the input.
    fn offset(&self) -> u64 {
        self.input.get_ref().count - self.input.buffer().len() as u64
    }

    fn error(&mut self, packing: Packing, failure: Failure) -> Error {
        let subject = self.subject.to_owned();
        match (self.input.get_mut().failure.take(), failure) {
            (Some(source), _) => Error::Read { subject, source },
            (None, Failure::Output(source)) => Error::Write { subject, source },
            (None, Failure::Input(source)) => {
                let (input, output) = (self.offset(), self.holes.written());
                Error::Damaged { subject, packing: packing.name(), input, output, source }
            }
        }
    }
}

/// Reasons why a member does not pass.
enum Failure {
    /// The decoder, or the reader below it.
    Input(io::Error),
    /// The sink.
    Output(io::Error),
}

/// Writes what a decoder gives.
fn pass(from: &mut dyn Read, holes: &mut Holes<'_>) -> Result<(), Failure> {
    let mut chunk = vec![0; CHUNK];
    loop {
        // Zeros are looked for in whole blocks, wherever decoders stop.
        let mut filled = 0;
        while filled < CHUNK {
            match from.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Input(error)),
            }
        }
        holes.look(&chunk[..filled]).map_err(Failure::Output)?;
        if filled < CHUNK {
            return Ok(());
        }
    }
}
