//! Content codings that were not requested: decoded if they are unambiguous, else reported.
//!
//! A server's `Content-Encoding: gzip` on `x.cpio.gz` mostly describes the file (mod_mime, S3 metadata), so it is
//! decoded only if another gzip is inside. On any other file whose bytes are gzip, the server or a proxy has compressed
//! the file.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// First two bytes of gzip (RFC 1952 §2.3.1).
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Suffixes of files that are gzip themselves.
const GZIP_NAMES: [&str; 2] = [".gz", ".tgz"];
/// Most bytes that are held back to find out whether there is gzip inside of gzip.
const PROBED: usize = 64 << 10;

/// The compression of a body on top of the file's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// With gzip, if the bytes begin so.
    Gzip,
    /// Like `Gzip`, for a file that is gzip itself: compressed only if there is another gzip inside.
    Twice,
    /// A coding that prebake cannot decode.
    Other(String),
}

impl Coding {
    /// Determines the coding of an answer from its headers and URL.
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
            ("gzip" | "x-gzip", None) if GZIP_NAMES.iter().any(|suffix| path.ends_with(suffix)) => {
                Coding::Twice
            }
            ("gzip" | "x-gzip", None) => Coding::Gzip,
            (_, None) => Coding::Other(first.chars().filter(char::is_ascii_graphic).take(40).collect()),
        }
    }
}

/// Decompresses a body while it arrives.
pub struct Unpacker {
    /// The decompressed bytes must begin with these, or else the body is left as it is.
    inside: &'static [u8],
    /// `None` until it is known that the bytes are to be decompressed.
    decoder: Option<GzDecoder<Vec<u8>>>,
    /// The first bytes, while that is unknown.
    held: Vec<u8>,
    /// Output of decompressing the first [`Unpacker::tried`] of the held bytes, to see what is inside.
    trial: GzDecoder<Vec<u8>>,
    tried: usize,
    is_plain: bool,
}

impl Unpacker {
    /// An unpacker at the body's start; `None` if there is nothing to decompress.
    pub fn of(coding: &Coding) -> Option<Self> {
        let inside: &[u8] = match coding {
            Coding::Identity | Coding::Other(_) => return None,
            Coding::Gzip => &[],
            Coding::Twice => &GZIP,
        };
        let trial = GzDecoder::new(Vec::new());
        Some(Unpacker { inside, decoder: None, held: Vec::new(), trial, tried: 0, is_plain: false })
    }

    /// Takes the next bytes and returns decompressed ones.
    pub fn push(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        if self.is_plain {
            return Ok(bytes);
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.write_all(&bytes)?;
            return Ok(std::mem::take(decoder.get_mut()).into());
        }
        self.held.extend_from_slice(&bytes);
        match self.is_packed() {
            None => Ok(Bytes::new()),
            // A wrong header, as of files that were stored with it.
            Some(false) => {
                self.is_plain = true;
                Ok(std::mem::take(&mut self.held).into())
            }
            Some(true) => {
                self.decoder = Some(GzDecoder::new(Vec::new()));
                let held = Bytes::from(std::mem::take(&mut self.held));
                self.push(held)
            }
        }
    }

    /// Whether the held bytes are to be decompressed; `None` while unknown.
    fn is_packed(&mut self) -> Option<bool> {
        if self.held.len() < GZIP.len() {
            return None;
        }
        if !self.held.starts_with(&GZIP) || self.inside.is_empty() {
            return Some(self.held.starts_with(&GZIP));
        }
        // Byte by byte, so that the verdict does not depend on how the network split the bytes.
        while let Some(byte) = self.held.get(self.tried) {
            self.tried += 1;
            // `flush` yields the output so far; an error means that it is not gzip.
            let tried = self.trial.write_all(&[*byte]).and_then(|()| self.trial.flush());
            let found = self.trial.get_ref();
            match found.len() >= self.inside.len() {
                true => return Some(found.starts_with(self.inside)),
                false if tried.is_err() || self.tried > PROBED => return Some(false),
                false => {}
            }
        }
        None
    }

    /// The remaining bytes at the end.
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
            (&["gzip"], "http://h/x.cpio.gz", Coding::Twice),
            (&["x-gzip"], "http://h/x.TGZ?a", Coding::Twice),
            (&["gzip"], "http://h/x.bin.bz2", Coding::Gzip),
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
        let pack = |bytes: &[u8]| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        };
        let once = pack(&plain);
        let twice = pack(&once);
        let short = pack(b"a");
        let cases = [
            (Coding::Gzip, &once, &plain),
            (Coding::Gzip, &plain, &plain),
            (Coding::Twice, &twice, &once),
            (Coding::Twice, &once, &once),
            (Coding::Twice, &plain, &plain),
            (Coding::Twice, &short, &short),
        ];
        for (coding, sent, expected) in cases {
            for cut in [1, 1000, usize::MAX] {
                let mut unpacker = Unpacker::of(&coding).unwrap();
                let mut out = Vec::new();
                for piece in sent.chunks(cut) {
                    out.extend_from_slice(&unpacker.push(Bytes::copy_from_slice(piece)).unwrap());
                }
                out.extend_from_slice(&unpacker.finish().unwrap());
                assert!(out == *expected, "{coding:?} of {} bytes cut into {cut}", sent.len());
            }
        }
        // Found by the fuzz target `answer`: gzip that is broken right after its first bytes came out undecoded, or not
        // at all.
        let mut broken = pack(b"\x1f\x8b and no more of it");
        let middle = broken.len() - 12;
        broken[middle..].fill(0xff);
        let mut told: Vec<Option<Vec<u8>>> = Vec::new();
        for cut in [1, 3, 7, usize::MAX] {
            let mut unpacker = Unpacker::of(&Coding::Twice).unwrap();
            let mut pieces = broken.chunks(cut).map(|piece| unpacker.push(Bytes::copy_from_slice(piece)));
            let out: io::Result<Vec<Bytes>> = pieces.by_ref().collect();
            drop(pieces);
            told.push(
                out.ok().and_then(|out| Some([out.concat(), unpacker.finish().ok()?.to_vec()].concat())),
            );
        }
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
        let mut unpacker = Unpacker::of(&Coding::Gzip).unwrap();
        unpacker.push(Bytes::copy_from_slice(&once[..once.len() / 2])).unwrap();
        assert!(unpacker.finish().is_err(), "half of it is an error");
    }
}
