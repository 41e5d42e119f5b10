//! Data URLs: decodes those that Ignition accepts (it uses vincent-petithory/dataurl), and writes Butane's.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Go's standard encoding: padding is required, unused bits of the last digit are ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The content of a data URL.
///
/// # Errors
/// The defect, in the words of the library that Ignition uses.
pub fn decode(url: &str) -> Result<Vec<u8>, &'static str> {
    let rest = url.strip_prefix("data:").ok_or("missing data prefix")?;
    let (rest, base64) = skip_params(skip_media_type(rest)?)?;
    match base64 {
        true => {
            let digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\n".contains(&byte);
            if !rest.bytes().all(digit) {
                return Err("invalid data character");
            }
            let digits: Vec<u8> = rest.bytes().filter(|byte| *byte != b'\n').collect();
            BASE64.decode(digits).map_err(|_| "illegal base64 data")
        }
        false => {
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>#\"{}|\\^[]`".contains(&byte);
            if !rest.bytes().all(plain) {
                return Err("invalid data character");
            }
            unescape(rest)
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// Splits off the longest run of token characters.
fn token(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len()))
}

fn skip_media_type(text: &str) -> Result<&str, &'static str> {
    if text.starts_with([',', ';']) {
        return Ok(text);
    }
    // After an `x` the library skips one more character without checking it.
    let unseen = text.char_indices().nth(2).map_or(text.len(), |(at, _)| at);
    let start = if text.starts_with(['x', 'X']) && !text[1..].starts_with('-') { unseen } else { 0 };
    let (_, rest) = token(&text[start..]);
    let kind = &text[..text.len() - rest.len()];
    let Some(rest) = rest.strip_prefix('/') else {
        return Err(if rest.is_empty() {
            "missing media type slash"
        } else {
            "invalid character for media type"
        });
    };
    let kinds = ["text", "image", "audio", "video", "application", "message", "multipart", "x-", "X-"];
    if !kinds.iter().any(|known| kind.starts_with(known)) {
        return Err("invalid media type");
    }
    let (_, rest) = token(rest);
    match rest.as_bytes().first() {
        Some(b',' | b';') => Ok(rest),
        Some(_) => Err("invalid character for media subtype"),
        None => Err("incomplete media type"),
    }
}

/// Reads `;NAME=VALUE` and at last `;base64` up to the comma; returns the rest, and whether the data are base64.
fn skip_params(mut text: &str) -> Result<(&str, bool), &'static str> {
    loop {
        if let Some(data) = text.strip_prefix(',') {
            return Ok((data, false));
        }
        let param = text.strip_prefix(';').ok_or("missing comma before data")?;
        let (name, rest) = token(param);
        if name.is_empty() {
            return Err("unterminated parameter sequence");
        }
        if let Some(data) = rest.strip_prefix(',') {
            return match name {
                "base64" => Ok((data, true)),
                _ => Err("expected base64"),
            };
        }
        let value = rest.strip_prefix('=').ok_or("invalid character for parameter attribute")?;
        text = match value.strip_prefix('"') {
            Some(quoted) => skip_quoted(quoted)?,
            None => {
                let (value, rest) = token(value);
                if value.is_empty() {
                    return Err("invalid character for parameter value");
                }
                unescape(value)?;
                rest
            }
        };
        if !text.starts_with([',', ';']) {
            return Err("expected semicolon or comma");
        }
    }
}

/// Skips a quoted value, whose escapes are those of a Go string.
fn skip_quoted(text: &str) -> Result<&str, &'static str> {
    let bytes = text.as_bytes();
    let digits = |from: usize, count: usize, radix: u32| {
        let digits = text.get(from..from + count)?;
        digits.bytes().all(|digit| (digit as char).is_digit(radix)).then_some(())?;
        u32::from_str_radix(digits, radix).ok()
    };
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += match byte {
            b'"' => return Ok(&text[at + 1..]),
            b'\n' | 0x80.. => return Err("invalid character for parameter value"),
            b'\\' => {
                let length = match bytes.get(at + 1) {
                    Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\' | b'"') => Some(2),
                    Some(b'x') => digits(at + 2, 2, 16).map(|_| 4),
                    Some(b'u') => digits(at + 2, 4, 16).and_then(char::from_u32).map(|_| 6),
                    Some(b'U') => digits(at + 2, 8, 16).and_then(char::from_u32).map(|_| 10),
                    Some(b'0'..=b'7') => digits(at + 1, 3, 8).filter(|value| *value < 256).map(|_| 4),
                    _ => None,
                };
                length.ok_or("invalid syntax")?
            }
            _ => 1,
        };
    }
    Err("unclosed quoted string")
}

fn unescape(text: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let hex = |at: usize| bytes.get(at).and_then(|digit| (*digit as char).to_digit(16));
        let (Some(high), Some(low)) = (hex(at), hex(at + 1)) else {
            return Err("rfc2396: invalid unescape sequence");
        };
        out.push((high << 4 | low) as u8);
        at += 2;
    }
    Ok(out)
}

/// Percent-encodes all characters except letters, digits and ``-_.!~*'()``, as Butane writes inline contents.
pub(crate) fn escape(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len() * 2);
    for &byte in bytes {
        match byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            true => out.push(byte as char),
            false => {
                out.push('%');
                out.push(HEX[usize::from(byte >> 4)] as char);
                out.push(HEX[usize::from(byte & 15)] as char);
            }
        }
    }
    out
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Decodes base64 text, for `!!binary` in YAML; line ends are ignored as in Go.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: Cow<'_, str> = match text.contains(['\n', '\r']) {
        true => text.replace(['\n', '\r'], "").into(),
        false => text.into(),
    };
    BASE64.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_ignition_decides_what_is_a_data_url() {
        let good: [(&str, &[u8]); 9] = [
            ("data:,", b""),
            ("data:,a%20b", b"a b"),
            ("data:;base64,YQ==", b"a"),
            ("data:;base64,YR==", b"a"),
            ("data:;base64,YW\nJj\n", b"abc"),
            ("data:text/plain;charset=utf-8,x", b"x"),
            ("data:text/plain;a=\"b\\n;\";base64,YQ==", b"a"),
            ("data:x-foo/bar,x", b"x"),
            ("data:textile/,x", b"x"),
        ];
        for (url, bytes) in good {
            assert_eq!(decode(url).as_deref(), Ok(bytes), "{url}");
        }
        let bad = [
            "DATA:,x",
            "data:",
            "data:a b",
            "data:,a b",
            "data:,ä",
            "data:,%4",
            "data:;base64,YQ=",
            "data:;base64,YQ",
            "data:;base65,YQ==",
            "data:;base64;a=b,YQ==",
            "data:font/woff,x",
            "data:TEXT/plain,x",
            "data:text,x",
            "data:text/plain",
            "data:text/plain;a=,x",
            "data:text/plain;a=\"b,x",
            "data:text/plain;a=%4,x",
            "data:;,x",
            "data:x,y/z,",
        ];
        for url in bad {
            assert!(decode(url).is_err(), "{url}");
        }
    }
}
