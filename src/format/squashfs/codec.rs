//! Compresses and decompresses one block at a time, with any algorithm. Each thread has its own codec.

use std::io;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

use super::{Algorithm, Compression, Fault, Options};

/// Most memory for one xz block: its dictionary, at most the 1 MiB of a block, and liblzma's own tables.
const XZ_MEMORY: u64 = 8 << 20;
/// The default preset of xz and of mksquashfs.
const XZ_PRESET: u32 = 6;
/// Use zlib's header and checksum.
const ZLIB: bool = true;

/// Compresses blocks.
pub(crate) enum Encoder {
    /// zstd with one context for all blocks.
    Zstd(zstd::bulk::Compressor<'static>),
    /// zlib with one state for all blocks.
    Gzip(Compress),
    /// xz, which starts anew for each block, with a dictionary of this many bytes.
    Xz(u32),
}

impl Encoder {
    /// Makes an encoder.
    pub(crate) fn new(options: Options) -> io::Result<Self> {
        Ok(match options.compression {
            Compression::Zstd(level) => Encoder::Zstd(zstd::bulk::Compressor::new(level.get().into())?),
            Compression::Gzip(level) => {
                Encoder::Gzip(Compress::new(flate2::Compression::new(level.get().into()), ZLIB))
            }
            // Linux allocates memory for one block and refuses a larger dictionary (fs/squashfs/xz_wrapper.c).
            Compression::Xz => Encoder::Xz(options.block.bytes()),
        })
    }

    /// Compresses a block into `packed`. Returns whether it became smaller; if not, `packed` holds nothing useful.
    pub(crate) fn encode(&mut self, raw: &[u8], packed: &mut Vec<u8>) -> io::Result<bool> {
        packed.clear();
        let full = |written: usize| written > 0 && written < raw.len();
        match self {
            Encoder::Zstd(zstd) => {
                packed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
                let written = zstd.compress_to_buffer(raw, packed)?;
                Ok(full(written))
            }
            Encoder::Gzip(zlib) => {
                zlib.reset();
                // Room for what only grows: zlib-rs 0.6.8 panics, with raw streams at least, if many ended for want of it.
                packed.reserve(raw.len() + raw.len() / 8 + 64);
                let status = zlib.compress_vec(raw, packed, FlushCompress::Finish)?;
                Ok(status == flate2::Status::StreamEnd && full(packed.len()))
            }
            Encoder::Xz(dictionary) => {
                let mut lzma = LzmaOptions::new_preset(XZ_PRESET)?;
                lzma.dict_size(*dictionary);
                let mut xz = Stream::new_stream_encoder(Filters::new().lzma2(&lzma), Check::Crc32)?;
                packed.reserve(raw.len());
                let status = xz.process_vec(raw, packed, Action::Finish)?;
                Ok(status == Status::StreamEnd && full(packed.len()))
            }
        }
    }
}

/// Decompresses blocks.
pub(crate) enum Decoder {
    /// zlib streams.
    Gzip(Decompress),
    /// xz streams, each with a decoder of its own.
    Xz,
    /// Raw LZ4 blocks.
    Lz4,
    /// zstd frames.
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Decoder {
    /// Makes a decoder, if the algorithm is supported.
    pub(crate) fn new(algorithm: Algorithm) -> Result<Self, Fault> {
        match algorithm {
            Algorithm::Gzip => Ok(Decoder::Gzip(Decompress::new(ZLIB))),
            Algorithm::Xz => Ok(Decoder::Xz),
            Algorithm::Lz4 => Ok(Decoder::Lz4),
            Algorithm::Zstd => zstd::bulk::Decompressor::new().map(Decoder::Zstd).map_err(Fault::Io),
            Algorithm::Lzma | Algorithm::Lzo => Err(Fault::Compression(algorithm)),
        }
    }

    /// Decompresses a block into `raw`, which never grows beyond `most` bytes.
    pub(crate) fn decode(&mut self, packed: &[u8], most: usize, raw: &mut Vec<u8>) -> Result<(), Fault> {
        raw.resize(most, 0);
        let written = match self {
            Decoder::Gzip(zlib) => {
                zlib.reset(ZLIB);
                let status = zlib.decompress(packed, raw, FlushDecompress::Finish);
                (matches!(status, Ok(flate2::Status::StreamEnd))).then(|| zlib.total_out() as usize)
            }
            Decoder::Xz => xz(packed, raw),
            Decoder::Lz4 => lz4_flex::block::decompress_into(packed, raw).ok(),
            Decoder::Zstd(zstd) => zstd.decompress_to_buffer(packed, &mut raw[..]).ok(),
        };
        raw.truncate(written.ok_or(Fault::Damaged("a block cannot be decompressed"))?);
        Ok(())
    }
}

fn xz(packed: &[u8], raw: &mut [u8]) -> Option<usize> {
    let mut stream = Stream::new_stream_decoder(XZ_MEMORY, 0).ok()?;
    let status = stream.process(packed, raw, Action::Finish).ok()?;
    (status == Status::StreamEnd).then(|| stream.total_out() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::squashfs::{BlockSize, Level};

    const ALL: [Compression; 3] =
        [Compression::Zstd(Level::MAX), Compression::Gzip(Level::MAX), Compression::Xz];

    #[test]
    fn blocks_come_back_and_never_outgrow_their_size() {
        let raw = b"some text, again and again; ".repeat(300);
        for compression in ALL {
            let options = Options { compression, block: BlockSize::Kib128 };
            let (mut packed, mut back) = (Vec::new(), Vec::new());
            assert!(Encoder::new(options).unwrap().encode(&raw, &mut packed).unwrap());
            let mut decoder = Decoder::new(compression.algorithm()).unwrap();
            decoder.decode(&packed, 1 << 17, &mut back).unwrap();
            assert!(back == raw, "{compression:?}");
            assert!(decoder.decode(&packed, raw.len() - 1, &mut back).is_err(), "{compression:?}");
            assert!(decoder.decode(&packed[..packed.len() - 1], 1 << 17, &mut back).is_err());
        }
    }

    #[test]
    fn what_does_not_shrink_is_said_to_be_so() {
        for compression in ALL {
            let options = Options { compression, block: BlockSize::Kib128 };
            assert!(!Encoder::new(options).unwrap().encode(b"x", &mut Vec::new()).unwrap());
        }
    }

    fn lz4(packed: &[u8]) -> Option<Vec<u8>> {
        let mut raw = Vec::new();
        Decoder::Lz4.decode(packed, 300, &mut raw).ok().map(|()| raw)
    }

    #[test]
    fn lz4_unpacks_literals_and_overlapping_matches() {
        assert_eq!(lz4(b"\x30abc").unwrap(), b"abc");
        // `ab`, then six bytes from a distance of two, then `c`.
        assert_eq!(lz4(b"\x22ab\x02\x00\x10c").unwrap(), b"ababababc");
        // A match of 15 + 255 + 1 + 4 bytes.
        assert_eq!(lz4(b"\x1fa\x01\x00\xff\x01\x00").unwrap(), b"a".repeat(276));
    }

    #[test]
    fn lz4_refuses_damage() {
        let cases: [&[u8]; 6] = [
            b"",
            b"\x30ab",
            b"\x10a\x00\x00\x00",             // no distance
            b"\x10a\x02\x00\x00",             // before the start
            b"\x1fa\x01\x00\xff\xff\x00\x00", // too long
            b"\xf0",
        ];
        for case in cases {
            assert_eq!(lz4(case), None, "{case:?}");
        }
    }
}
