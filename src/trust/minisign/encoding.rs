//! Encoding shared by the three kinds of file: lines with comments, and base64 of a fixed size.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{ED25519, Error, MAX_BYTES};
use crate::base::finding::plain;

/// Prefix of the first line's comment, which no signature covers.
pub(crate) const UNTRUSTED: &str = "untrusted comment: ";
/// Prefix of the comment that the global signature covers.
pub(crate) const TRUSTED: &str = "trusted comment: ";

/// The `kind` of signatures. [`Reading::must_not_be_mistaken`] refuses a byte order mark in them; in keys minisign
/// skips it.
pub(crate) const SIGNATURE: &str = "signature";

/// The hint of errors that know nothing more specific about the file.
const WAY_OUT: &str = "`prebake key show FILE` shows what kind of file it is";

/// Lengths, in bytes, of the decoded lines that begin with `Ed` or `ED`, each with the kind of file and a hint.
const LINES: [(usize, &str, &str); 4] = [
    (
        42,
        "public key",
        "for a signature give the file that ends in .minisig, for a secret key the one that ends in .key",
    ),
    (74, "signature", "name the signer's public key, the file that ends in .pub"),
    (
        104,
        "secret key of OpenBSD's signify",
        "make a key with `prebake key generate`; signify's public keys are accepted",
    ),
    (158, "secret key", "give the public key beside it, which ends in .pub; never pass a secret key on"),
];

/// Control characters, which could move a terminal's cursor. Tab is not among them: it separates the fields of a
/// trusted comment.
const CONTROLS: [RangeInclusive<char>; 3] = ['\0'..='\x08', '\n'..='\x1f', '\x7f'..='\u{9f}'];

/// One file while it is read: its name and its expected kind, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub subject: &'a str,
    pub kind: &'static str,
}

impl<'a> Reading<'a> {
    /// The error for a file that is not of the expected kind.
    pub(crate) fn bad(self, why: impl Into<String>) -> Error {
        self.bad_with(why, WAY_OUT)
    }

    /// Like [`Reading::bad`], with a hint of its own.
    fn bad_with(self, why: impl Into<String>, hint: &'static str) -> Error {
        Error::Malformed { subject: self.subject.into(), kind: self.kind, why: why.into(), hint }
    }

    /// Returns an error if the file is recognisably of another kind (OpenPGP, SSH, PEM, UTF-16 …), which people confuse
    /// with this one, or if an editor has changed it; `Ok` otherwise.
    pub(crate) fn must_not_be_mistaken(self, bytes: &[u8]) -> Result<(), Error> {
        let first =
            std::str::from_utf8(bytes).unwrap_or_default().split(['\n', '\r']).next().unwrap_or_default();
        let is_binary = |tags: &[u8]| {
            std::str::from_utf8(bytes).is_err() && bytes.first().is_some_and(|byte| tags.contains(byte))
        };
        let is_openpgp = |label: &str| first.starts_with("-----BEGIN PGP ") && first.contains(label);
        let by_gpg = "verify it with gpg, or with `prebake key verify --key KEYFILE`; your own keys are minisign's (`prebake key generate`)";
        let utf8 = "save it as UTF-8 without a byte order mark, or get the file again";
        let found = if bytes.starts_with(b"\xef\xbb\xbf") && self.kind == SIGNATURE {
            ("it begins with a byte order mark, which an editor added", utf8)
        } else if [&b"\xff\xfe"[..], b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
            ("it is UTF-16, as Windows' editors and shells write it", utf8)
        } else if is_openpgp("SIGNATURE") || is_binary(&[0x88, 0x89, 0x8a, 0x8b, 0xc2]) {
            ("it is an OpenPGP signature", by_gpg)
        } else if is_openpgp("KEY") || is_binary(&[0x94, 0x95, 0x98, 0x99, 0x9a, 0xc5, 0xc6]) {
            ("it is an OpenPGP key", by_gpg)
        } else if first.starts_with("-----BEGIN OPENSSH ") || first.starts_with("ssh-") {
            ("it is an SSH key", "make a key with `prebake key generate`")
        } else if first.starts_with("-----BEGIN SSH SIGNATURE") {
            ("it is an SSH signature", "sign with a key of `prebake key generate` or minisign")
        } else if first.starts_with("-----BEGIN ") {
            ("it is a PEM file", "make a key with `prebake key generate`")
        } else {
            return Ok(());
        };
        Err(self.bad_with(found.0, found.1))
    }

    /// The error for a signature without a trusted comment.
    pub(crate) fn not_commented(self) -> Error {
        self.bad_with(
            "its third line is not a trusted comment, as in signatures of OpenBSD's signify",
            "sign with minisign or `prebake key sign`; signify's public keys are accepted, its signatures are not",
        )
    }

    /// The file as text, if it is not too long.
    pub(crate) fn text(self, bytes: &[u8]) -> Result<&str, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(self.bad(format!("it is longer than {MAX_BYTES} bytes")));
        }
        self.must_not_be_mistaken(bytes)?;
        std::str::from_utf8(bytes).map_err(|_| self.bad("it is not text"))
    }

    /// The comment without its prefix `word`.
    pub(crate) fn comment<'t>(self, line: &'t str, word: &str) -> Result<&'t str, Error> {
        let comment =
            line.strip_prefix(word).ok_or_else(|| self.bad(format!("no line with `{}`", word.trim_end())))?;
        match comment.contains(is_control) {
            true => Err(self.bad("a comment has control characters")),
            false => Ok(comment),
        }
    }

    /// The one line of base64 in a key file: the second line, whatever the first one and the lines after it say (as
    /// minisign reads it), or the only line.
    pub(crate) fn key_line(self, text: &str) -> Result<&str, Error> {
        self.text(text.as_bytes())?;
        let mut lines = text.trim().split('\n');
        let (first, second) = (lines.next().unwrap_or_default(), lines.next());
        match second {
            // minisign ends a line at the first carriage return in it.
            Some(line) => Ok(line.split('\r').next().unwrap_or_default().trim()),
            None if plain(first).starts_with(UNTRUSTED.trim_end()) => {
                Err(self.bad("its second line is missing"))
            }
            None => Ok(plain(first).trim()),
        }
    }

    /// Exactly `N` bytes of base64, without blanks and with all padding.
    pub(crate) fn decode<const N: usize>(self, line: &str) -> Result<Zeroizing<[u8; N]>, Error> {
        let expected = N.div_ceil(3) * 4;
        if line.len() != expected {
            let length = STANDARD.decode(line).map_or(0, |bytes| bytes.len());
            if let Some((_, what, hint)) = LINES.iter().find(|(bytes, ..)| *bytes == length)
                && (line.starts_with("RW") || line.starts_with("RU"))
            {
                return Err(self.bad_with(format!("it is a {what}"), hint));
            }
            return Err(self.bad(format!("{expected} characters of base64 are expected, not {}", line.len())));
        }
        let mut bytes = Zeroizing::new([0; N]);
        match STANDARD.decode_slice(line, &mut *bytes) {
            Ok(length) if length == N => Ok(bytes),
            _ => Err(self.bad("it is not valid base64")),
        }
    }

    /// Refuses bytes that do not begin with Ed25519's two-byte algorithm name.
    pub(crate) fn must_be_ed25519(self, bytes: &[u8]) -> Result<(), Error> {
        match [bytes[0], bytes[1]] {
            ED25519 => Ok(()),
            found => Err(Error::Algorithm { subject: self.subject.into(), kind: self.kind, found }),
        }
    }
}

/// Takes the next `N` bytes off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    let (front, rest) = bytes.split_at(N);
    taken.copy_from_slice(front);
    *bytes = rest;
    taken
}

/// Base64 with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Whether a character is not allowed in a comment.
pub(crate) fn is_control(character: char) -> bool {
    CONTROLS.iter().any(|range| range.contains(&character))
}
