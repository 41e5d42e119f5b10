//! Data packed or encoded inside other data: base64, base32, hexadecimal digits, percent signs, escapes, UTF-16,
//! compressed streams; and private keys in binary forms.

use std::io::{self, Read};

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use percent_encoding::percent_decode_str;

use super::effort::Effort;
use super::kind::{Kind, all, base64, base64_url, decode};
use crate::format::cpio::Compression;

/// Upper limit for the unpacked bytes of one compressed stream.
pub(super) const MAX_UNFOLDED: u64 = 16 << 20;
/// Length of the shortest row of digits that may encode a text with a secret.
pub(super) const LEAST: usize = 40;
/// Length of the shortest row of hexadecimal digits or base32 that is decoded, so that short digests are not.
const LEAST_WIDE: usize = 56;

/// The decoded form of bytes.
pub(super) enum Inside {
    /// A secret in a binary form.
    Key(Kind),
    /// The content of a stream, or a text in another encoding.
    Bytes(Vec<u8>),
}

/// All decodings of a row of digits that its alphabet allows.
pub(super) fn readings(word: &str, effort: &Effort) -> Vec<Vec<u8>> {
    let digits = word.trim_end_matches('=');
    let mut readings = Vec::new();
    if digits.len() < LEAST || !effort.spend(digits.len()) {
        return readings;
    }
    if all(digits, base64) {
        readings.extend(decode(digits));
    } else if all(digits, |byte| base64_url(byte) || base64(byte)) {
        readings.extend(decode(&digits.replace('-', "+").replace('_', "/")));
    }
    if digits.len() >= LEAST_WIDE
        && digits.len().is_multiple_of(2)
        && all(digits, |byte| byte.is_ascii_hexdigit())
    {
        readings.extend(hex(digits));
    }
    if digits.len() >= LEAST_WIDE
        && all(digits, |byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
    {
        readings.push(base32(digits));
    }
    readings
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    digits
        .as_bytes()
        .chunks_exact(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect()
}

/// Decodes base32 (RFC 4648, §6); the caller has checked the alphabet.
fn base32(digits: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(digits.len() * 5 / 8), 0u32, 0);
    for digit in digits.bytes() {
        held = held << 5 | u32::from(if digit.is_ascii_digit() { digit - b'2' + 26 } else { digit - b'A' });
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

/// Decodes bytes that are not a text themselves. Unpacking a stream uses up `effort`, and stops when there is none
/// left.
pub(super) fn inside(bytes: &[u8], effort: &Effort) -> Option<Inside> {
    if let Some(kind) = key(bytes) {
        return Some(Inside::Key(kind));
    }
    if let Some(text) = utf16(bytes) {
        return Some(Inside::Bytes(text.into_bytes()));
    }
    let most = MAX_UNFOLDED.min(effort.room());
    let mut from = bytes;
    let reader: Box<dyn Read> = match bytes {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(bytes)),
        // RFC 1950, §2.2: deflate with a window, and a check of the two bytes.
        [method, flags, ..]
            if method & 0x8f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31) =>
        {
            Box::new(ZlibDecoder::new(bytes))
        }
        _ => stream(&mut from)?,
    };
    let mut unfolded = Vec::new();
    // A broken stream is unpacked up to the break.
    let mut reader = reader.take(most);
    let _ = reader.read_to_end(&mut unfolded);
    // A rest beyond the limit is not scanned.
    if reader.limit() == 0 && !reader.into_inner().read(&mut [0]).is_ok_and(|more| more == 0) {
        effort.run_out();
    }
    effort.unfold(unfolded.len());
    (!unfolded.is_empty()).then_some(Inside::Bytes(unfolded))
}

/// A decoder for xz and zstd.
fn stream<'r>(from: &'r mut &[u8]) -> Option<Box<dyn Read + 'r>> {
    let compression =
        Compression::of(from).filter(|one| matches!(one, Compression::Xz | Compression::Zstd))?;
    compression.decoder(from).ok()?
}

/// Whether these first bytes may begin a form that [`inside`] decodes.
pub(super) fn may_be_binary(probe: &[u8]) -> bool {
    matches!(probe, [0x30, 0x80..=0x84, ..] | [0x30, 0x20..=0x7f, 0x02, ..])
        || key(probe).is_some()
        || is_utf16(probe)
        || is_stream(probe)
}

/// Whether this is xz or zstd; gzip is unpacked while it is read.
pub(super) fn is_stream(probe: &[u8]) -> bool {
    probe.starts_with(b"\xfd7zXZ\0") || probe.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// Kind of a private key or a key store, by its first bytes.
fn key(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        // Java's JKS and JCEKS; KeePass; MIT Kerberos' keytab of version 2 with an entry of less than 64 KiB.
        [0xfe, 0xed, 0xfe, 0xed, ..]
        | [0xce, 0xce, 0xce, 0xce, ..]
        | [0x03, 0xd9, 0xa2, 0x9a, ..]
        | [0x05, 0x02, 0, 0, _, _, 0, ..] => Some(Kind::KeyStore),
        // OpenPGP's secret key packet, tag 5 in the old and the new form, version 4 (RFC 9580, §4.2 and §5.5).
        [0x94, _, 4, rest @ ..]
        | [0x95, _, _, 4, rest @ ..]
        | [0xc5, 0..=191, 4, rest @ ..]
        | [0xc5, 192..=223, _, 4, rest @ ..]
            if rest.len() > 32 && matches!(rest[4], 1..=3 | 16..=19 | 22 | 25 | 27) =>
        {
            Some(Kind::PrivateKey)
        }
        _ if bytes.starts_with(b"openssh-key-v1\0") => Some(Kind::PrivateKey),
        _ => der(bytes),
    }
}

/// PKCS #1, PKCS #8 (RFC 5958), SEC 1 (RFC 5915), DSA's traditional form, and PKCS #12 (RFC 7292).
fn der(bytes: &[u8]) -> Option<Kind> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const OCTETS: u8 = 0x04;
    const OID: u8 = 0x06;
    /// 1.2.840.113549.1, RSA's arc: below it, 5 is for passwords, 7 for messages, 12.1 for older passwords.
    const RSA: [u8; 7] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01];
    let (tag, outer, rest) = tlv(bytes)?;
    if tag != SEQUENCE || rest.iter().filter(|byte| !byte.is_ascii_whitespace()).count() > 2 {
        return None;
    }
    let (first, head, rest) = tlv(outer)?;
    let (second, next, rest) = tlv(rest)?;
    let oid = |sequence: &[u8]| tlv(sequence).filter(|(tag, ..)| *tag == OID).map(|(_, oid, _)| oid.to_vec());
    match (first, head, second) {
        (INTEGER, [3], SEQUENCE)
            if oid(next).is_some_and(|oid| oid.starts_with(&RSA) && oid.get(7) == Some(&7)) =>
        {
            Some(Kind::KeyStore)
        }
        (INTEGER, [0 | 1], SEQUENCE) if oid(next).is_some() => {
            tlv(rest).filter(|(tag, ..)| *tag == OCTETS).map(|_| Kind::PrivateKey)
        }
        (INTEGER, [0 | 1], INTEGER) if next.len() >= 32 => {
            tlv(rest).filter(|(tag, ..)| *tag == INTEGER).map(|_| Kind::PrivateKey)
        }
        (INTEGER, [1], OCTETS) if (16..=66).contains(&next.len()) => Some(Kind::PrivateKey),
        (SEQUENCE, _, OCTETS) => {
            let oid = oid(head)?;
            (oid.starts_with(&RSA) && matches!(oid.get(7), Some(5 | 12))).then_some(Kind::PrivateKey)
        }
        _ => None,
    }
}

/// Splits bytes into a tag, its contents, and the rest (X.690, §8.1).
fn tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, bytes) = bytes.split_first()?;
    let (length, bytes) = bytes.split_first()?;
    let (length, bytes) = match length {
        0..=0x7f => (usize::from(*length), bytes),
        0x81..=0x83 => {
            let (digits, bytes) = bytes.split_at_checked(usize::from(length - 0x80))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), bytes)
        }
        _ => return None,
    };
    let (contents, rest) = bytes.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

fn is_utf16(probe: &[u8]) -> bool {
    let zeros = |from: usize| probe.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count() * 10;
    let pairs = probe.len() / 2;
    pairs >= 8 && (zeros(1) >= pairs * 9 && zeros(0) == 0 || zeros(0) >= pairs * 9 && zeros(1) == 0)
        || probe.starts_with(&[0xff, 0xfe]) && !probe.starts_with(&[0xff, 0xfe, 0, 0])
        || probe.starts_with(&[0xfe, 0xff])
}

/// Decodes UTF-16, recognised by its byte order mark or by the zeros of ASCII characters.
fn utf16(bytes: &[u8]) -> Option<String> {
    if !is_utf16(bytes.get(..bytes.len().min(4096))?) {
        return None;
    }
    let big = bytes.starts_with(&[0xfe, 0xff]) || bytes[0] == 0;
    let unit = |two: &[u8]| {
        let two = [two[0], two[1]];
        if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }
    };
    let units = bytes.chunks_exact(2).map(unit).filter(|unit| *unit != 0xfeff);
    Some(char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect())
}

/// A line with its percent signs decoded, and a line without the escapes of JSON, C and shells; empty if it has
/// neither.
pub(super) fn plain(line: &str) -> Vec<String> {
    let mut views = Vec::new();
    let percent =
        |bytes: &[u8]| bytes[0] == b'%' && bytes[1].is_ascii_hexdigit() && bytes[2].is_ascii_hexdigit();
    if line.as_bytes().windows(3).filter(|three| percent(three)).take(2).count() == 2
        && let Ok(text) = percent_decode_str(line).decode_utf8()
    {
        views.push(text.into_owned());
    }
    if ["\\\"", "\\n", "\\u00", "\\x"].iter().any(|escape| line.contains(escape)) {
        views.push(unescaped(line));
    }
    views
}

/// Removes escapes: `\n`, `\"`, `\u002d`, `\x2d` and so on. If the string has several lines, its quotes become line
/// ends, too.
fn unescaped(line: &str) -> String {
    let several = line.contains("\\n");
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        match several {
            true => text.push_str(&rest[..at].replace('"', "\n")),
            false => text.push_str(&rest[..at]),
        }
        rest = &rest[at + 1..];
        let code = |from: usize, digits: usize| {
            let code =
                rest.get(from..from + digits).and_then(|digits| u32::from_str_radix(digits, 16).ok())?;
            char::from_u32(code)
        };
        let (c, taken) = match rest.bytes().next() {
            Some(b'n') => ('\n', 1),
            Some(b'r' | b't') => (' ', 1),
            Some(b'u') if code(1, 4).is_some() => (code(1, 4).unwrap_or_default(), 5),
            Some(b'x') if code(1, 2).is_some() => (code(1, 2).unwrap_or_default(), 3),
            Some(byte) if byte.is_ascii_punctuation() => (char::from(byte), 1),
            _ => ('\\', 0),
        };
        text.push(c);
        rest = &rest[taken..];
    }
    text.push_str(rest);
    text
}

/// A reader that treats an error of a broken stream as its end, so that the part before it is scanned.
pub(super) struct Forgiving<R>(pub R);

impl<R: Read> Read for Forgiving<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(buffer).unwrap_or(0))
    }
}
