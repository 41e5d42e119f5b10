//! The compressions that the kernel accepts around an archive, recognised by their first bytes (Linux,
//! `lib/decompress.c`).

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

/// Most memory for a dictionary: enough for `xz -9` and `zstd --long=27`, and more than the kernel grants.
const MEMORY: u64 = 256 << 20;
/// The kernel's limit for zstd's window, as a power of two.
const ZSTD_WINDOW: u32 = 27;

/// Compression of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The predecessor of xz.
    Lzma,
    /// xz; the kernel checks CRC-32 only.
    Xz,
    /// lzop.
    Lzo,
    /// The legacy frame of lz4 (`lz4 -l`).
    Lz4,
    /// RFC 8878.
    Zstd,
}

use Compression::{Bzip2, Gzip, Lz4, Lzma, Lzo, Xz, Zstd};

/// First bytes of each compression, from the kernel's table.
const MAGICS: [([u8; 2], Compression); 8] = [
    ([0x1f, 0x8b], Gzip),
    ([0x1f, 0x9e], Gzip),
    ([0x42, 0x5a], Bzip2),
    ([0x5d, 0x00], Lzma),
    ([0xfd, 0x37], Xz),
    ([0x89, 0x4c], Lzo),
    ([0x02, 0x21], Lz4),
    ([0x28, 0xb5], Zstd),
];

impl Compression {
    /// The compression by the first bytes of a member.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        MAGICS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, compression)| *compression)
    }

    /// Name of the compression's tool.
    pub fn name(self) -> &'static str {
        match self {
            Gzip => "gzip",
            Bzip2 => "bzip2",
            Lzma => "lzma",
            Xz => "xz",
            Lzo => "lzo",
            Lz4 => "lz4",
            Zstd => "zstd",
        }
    }

    /// Decompresses one member, and consumes exactly its bytes of `from` when read to the end. As in the kernel, a
    /// second gzip member, zstd frame or xz stream is a member of its own. `None` for compressions that prebake knows
    /// by name only.
    pub(crate) fn decoder<'r>(self, from: &'r mut dyn BufRead) -> io::Result<Option<Box<dyn Read + 'r>>> {
        Ok(Some(match self {
            Gzip => Box::new(GzDecoder::new(from)),
            Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(decoder)
            }
            Xz => Box::new(XzDecoder::new_stream(from, Stream::new_stream_decoder(MEMORY, 0)?)),
            Lzma => Box::new(XzDecoder::new_stream(from, Stream::new_lzma_decoder(MEMORY)?)),
            Bzip2 | Lzo | Lz4 => return Ok(None),
        }))
    }
}

/// The check that an xz stream's header names, if the kernel cannot compute it (xz file format 1.2, §2.1.1.2; Linux,
/// Documentation/staging/xz.rst: `--check=crc32` or `none`).
pub(crate) fn xz_check(start: &[u8]) -> Option<&'static str> {
    match start.get(7)? & 0x0f {
        0x00 | 0x01 => None,
        0x04 => Some("CRC-64"),
        0x0a => Some("SHA-256"),
        _ => Some("an unknown check"),
    }
}
