//! What the three files share: lines with comments, and base64 of a fixed size.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{ED25519, Error, MAX_BYTES};

/// Before the comment that no signature covers.
pub const UNTRUSTED: &str = "untrusted comment: ";
/// Before the comment that a signature covers.
pub const TRUSTED: &str = "trusted comment: ";

/// Characters that move a terminal's cursor; a tab separates the fields of a trusted comment.
const CONTROLS: [RangeInclusive<char>; 3] = ['\0'..='\x08', '\n'..='\x1f', '\x7f'..='\u{9f}'];

/// One file while it is read: what it is called and what it should be, for messages.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub subject: &'a str,
    pub kind: &'static str,
}

impl<'a> Reading<'a> {
    /// The error that it is not what it should be.
    pub fn bad(self, why: impl Into<String>) -> Error {
        Error::Malformed { subject: self.subject.into(), kind: self.kind, why: why.into() }
    }

    /// The file as text, if it is not too long.
    pub fn text(self, bytes: &[u8]) -> Result<&str, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(self.bad(format!("it is longer than {MAX_BYTES} bytes")));
        }
        std::str::from_utf8(bytes).map_err(|_| self.bad("it is not text"))
    }

    /// What follows the word before a comment.
    pub fn comment<'t>(self, line: &'t str, word: &str) -> Result<&'t str, Error> {
        let comment =
            line.strip_prefix(word).ok_or_else(|| self.bad(format!("no line with `{}`", word.trim_end())))?;
        match comment.contains(is_control) {
            true => Err(self.bad("a comment has control characters")),
            false => Ok(comment),
        }
    }

    /// The one line of base64 in a key file: below an untrusted comment, or alone.
    pub fn key_line(self, text: &str) -> Result<&str, Error> {
        self.text(text.as_bytes())?;
        let text = text.trim();
        if !text.starts_with(UNTRUSTED.trim_end()) {
            return Ok(text);
        }
        let (comment, rest) = text.split_once('\n').ok_or_else(|| self.bad("its second line is missing"))?;
        self.comment(comment.trim_end_matches('\r'), UNTRUSTED)?;
        Ok(rest.trim())
    }

    /// Exactly `N` bytes of base64, without blanks and with all padding.
    pub fn decode<const N: usize>(self, line: &str) -> Result<Zeroizing<[u8; N]>, Error> {
        let expected = N.div_ceil(3) * 4;
        if line.len() != expected {
            return Err(self.bad(format!("{expected} characters of base64 are expected, not {}", line.len())));
        }
        let mut bytes = Zeroizing::new([0; N]);
        match STANDARD.decode_slice(line, &mut *bytes) {
            Ok(length) if length == N => Ok(bytes),
            _ => Err(self.bad("it is not proper base64")),
        }
    }

    /// The bytes of a file must begin with the name of Ed25519.
    pub fn must_be_ed25519(self, bytes: &[u8]) -> Result<(), Error> {
        match [bytes[0], bytes[1]] {
            ED25519 => Ok(()),
            found => Err(Error::Algorithm { subject: self.subject.into(), kind: self.kind, found }),
        }
    }
}

/// The next `N` bytes.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    let (front, rest) = bytes.split_at(N);
    taken.copy_from_slice(front);
    *bytes = rest;
    taken
}

/// Base64 with padding.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Whether a character does not belong into a comment.
pub fn is_control(character: char) -> bool {
    CONTROLS.iter().any(|range| range.contains(&character))
}
