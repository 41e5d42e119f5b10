//! Content codings that nobody asked for: undone where there is no doubt, named where there is.
//!
//! A server's `Content-Encoding: gzip` on `x.cpio.gz` mostly describes the file (mod_mime, S3 metadata) and is left alone; on
//! anything else, with bytes that are gzip, the server or something in between has packed the file.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// What gzip begins with (RFC 1952 §2.3.1).
pub const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Names of files that are packed themselves.
const PACKED: [&str; 10] = [".gz", ".tgz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".ova", ".tbz2", ".txz"];

/// How a body is packed beyond what the file itself is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// With gzip, if it begins so.
    Gzip,
    /// In a way that is not undone.
    Other(String),
}

impl Coding {
    /// Reads an answer's headers, for a URL.
    pub fn of(headers: &HeaderMap, url: &str) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings =
            values.flat_map(|value| value.split(',')).map(|coding| coding.trim().to_ascii_lowercase());
        let mut codings = codings
            .by_ref()
            .filter(|coding| !matches!(coding.as_str(), "" | "identity" | "aws-chunked" | "utf-8"));
        let Some(first) = codings.next() else { return Coding::Identity };
        let path = url.split(['?', '#']).next().unwrap_or(url).to_ascii_lowercase();
        match (first.as_str(), codings.next()) {
            (_, Some(_)) => Coding::Other("several codings".into()),
            ("gzip" | "x-gzip", None) if PACKED.iter().any(|suffix| path.ends_with(suffix)) => {
                Coding::Identity
            }
            ("gzip" | "x-gzip", None) => Coding::Gzip,
            (_, None) => Coding::Other(first.chars().filter(char::is_ascii_graphic).take(40).collect()),
        }
    }
}

/// A body that is unpacked while it arrives.
pub struct Unpacker {
    /// Nothing until it is known whether the bytes are gzip at all.
    decoder: Option<GzDecoder<Vec<u8>>>,
    /// A single first byte.
    held: Vec<u8>,
    is_plain: bool,
}

impl Unpacker {
    /// Before the first byte.
    pub fn new() -> Self {
        Unpacker { decoder: None, held: Vec::new(), is_plain: false }
    }

    /// The bytes that these stand for.
    pub fn push(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        if self.is_plain {
            return Ok(bytes);
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.write_all(&bytes)?;
            return Ok(std::mem::take(decoder.get_mut()).into());
        }
        self.held.extend_from_slice(&bytes);
        if self.held.len() < GZIP.len() {
            return Ok(Bytes::new());
        }
        let held = Bytes::from(std::mem::take(&mut self.held));
        if !held.starts_with(&GZIP) {
            // A header that is wrong, as of files that were stored with it.
            self.is_plain = true;
            return Ok(held);
        }
        self.decoder = Some(GzDecoder::new(Vec::new()));
        self.push(held)
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> io::Result<Bytes> {
        match self.decoder.take() {
            Some(decoder) => Ok(decoder.finish()?.into()),
            None => Ok(std::mem::take(&mut self.held).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn a_coding_is_undone_unless_the_file_itself_is_packed() {
        let cases = [
            (&[][..], "http://h/x", Coding::Identity),
            (&["identity"], "http://h/x", Coding::Identity),
            (&["gzip"], "http://h/version.txt", Coding::Gzip),
            (&["X-GZIP"], "http://h/version.txt?a=.gz", Coding::Gzip),
            (&["gzip"], "http://h/x.cpio.gz", Coding::Identity),
            (&["x-gzip"], "http://h/x.TGZ?a", Coding::Identity),
            (&["br"], "http://h/x", Coding::Other("br".into())),
            (&["gzip, br"], "http://h/x", Coding::Other("several codings".into())),
            (&["gzip", "gzip"], "http://h/x", Coding::Other("several codings".into())),
        ];
        for (values, url, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(Coding::of(&headers, url), expected, "{values:?} {url}");
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in_however_they_are_cut() {
        let plain: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&plain).unwrap();
        let packed = packer.finish().unwrap();
        for (bytes, cut) in [(&packed, 1), (&packed, 4096), (&plain, 1), (&plain, 1000)] {
            let mut unpacker = Unpacker::new();
            let mut out = Vec::new();
            for piece in bytes.chunks(cut) {
                out.extend_from_slice(&unpacker.push(Bytes::copy_from_slice(piece)).unwrap());
            }
            out.extend_from_slice(&unpacker.finish().unwrap());
            assert!(out == plain, "cut into {cut}");
        }
        let mut unpacker = Unpacker::new();
        unpacker.push(Bytes::copy_from_slice(&packed[..packed.len() / 2])).unwrap();
        assert!(unpacker.finish().is_err(), "half of it is an error");
    }
}
