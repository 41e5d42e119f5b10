//! Signatures: four lines, of which every byte is checked.

use super::encoding::{Reading, SIGNATURE, TRUSTED, UNTRUSTED, encode, is_control, take};
use super::{ED25519, Error, KeyId, MAX_BYTES, PREHASHED, Prehash, PublicKey};

const LENGTH: usize = 74;
/// Number of lines in a signature file.
const LINES: usize = 4;
const KIND: &str = SIGNATURE;
/// Most bytes that minisign reads of a comment line, including the line end.
const MAX_UNTRUSTED: usize = 1023;
const MAX_TRUSTED: usize = 8191;
/// The untrusted comment that minisign writes by default.
const MINISIGNS_COMMENT: &str = "signature from minisign secret key";

/// A detached signature.
#[derive(Clone, Debug)]
pub struct Signature {
    subject: String,
    is_legacy: bool,
    key_id: KeyId,
    signature: [u8; 64],
    trusted_comment: String,
    global: [u8; 64],
}

/// The trusted comment of prebake's signatures. `epoch` is the artifact's time and not that of the signing, so that
/// signing twice gives the same bytes. The wording is minisign's.
pub fn trusted_comment(epoch: u64, file: &str) -> String {
    format!("timestamp:{epoch}\tfile:{file}\thashed")
}

impl Signature {
    pub(super) fn new(
        key_id: KeyId,
        comment: &str,
        covered: &[u8],
        sign: impl Fn(&[u8]) -> [u8; 64],
    ) -> Self {
        let escape = |letter: char| match is_control(letter) {
            true => letter.escape_default().to_string(),
            false => letter.to_string(),
        };
        let trusted_comment: String = comment.chars().map(escape).collect();
        let signature = sign(covered);
        let global = sign(&[&signature, trusted_comment.as_bytes()].concat());
        let subject = format!("the signature by {key_id}");
        Signature { subject, is_legacy: false, key_id, signature, trusted_comment, global }
    }

    /// Reads a `.minisig` file strictly: a signature that [`Signature::verify`] accepts has only one spelling, except
    /// for the first line, which may be prebake's or minisign's own.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Algorithm`].
    pub fn parse(subject: &str, bytes: &[u8]) -> Result<Self, Error> {
        let (signature, untrusted) = Signature::read(subject, bytes)?;
        match untrusted == MINISIGNS_COMMENT || untrusted == signature.untrusted_comment() {
            true => Ok(signature),
            false => {
                let why = "its first line, which is not signed, is neither prebake's nor minisign's own";
                Err(Reading { subject, kind: KIND }.bad(why))
            }
        }
    }

    /// Reads a signature as leniently as minisign does, for files that people made, kept and passed on. Any untrusted
    /// comment is accepted and dropped, lines may end with CRLF, the last line end may be missing, and anything after
    /// the fourth line is ignored. The signed parts must match exactly.
    pub fn parse_commented(subject: &str, bytes: &[u8]) -> Result<Self, Error> {
        Ok(Signature::read_as_minisign(subject, bytes)?.0)
    }

    /// Reads a file with the signatures of several signers one after the other, each by [`Signature::parse`]. minisign
    /// itself reads only the first.
    pub(crate) fn parse_all(subject: &str, bytes: &[u8]) -> Result<Vec<Self>, Error> {
        each(bytes).map(|file| Signature::parse(subject, file)).collect()
    }

    /// Like [`Signature::parse_all`], but by [`Signature::parse_commented`]: each line that begins with `untrusted
    /// comment:` starts another signature.
    pub(crate) fn parse_all_commented(subject: &str, bytes: &[u8]) -> Result<Vec<Self>, Error> {
        let (first, mut rest) = Signature::read_as_minisign(subject, bytes)?;
        let mut signatures = vec![first];
        loop {
            let begins = |at: &usize| {
                rest[*at..].starts_with(UNTRUSTED.as_bytes()) && (*at == 0 || rest[at - 1] == b'\n')
            };
            let Some(begin) = (0..rest.len()).find(begins) else { return Ok(signatures) };
            let (signature, behind) = Signature::read_as_minisign(subject, &rest[begin..])?;
            signatures.push(signature);
            rest = behind;
        }
    }

    /// Reads a signature as minisign 0.11 does, and returns the bytes after it.
    fn read_as_minisign<'b>(subject: &str, bytes: &'b [u8]) -> Result<(Self, &'b [u8]), Error> {
        let reading = Reading { subject, kind: KIND };
        if bytes.len() > MAX_BYTES {
            return Err(reading.bad(format!("it is longer than {MAX_BYTES} bytes")));
        }
        reading.must_not_be_mistaken(bytes)?;
        let mut rest = bytes;
        // Returns a line, its length including the line end, and whether it had a line end.
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (whole, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            rest = behind;
            // minisign ends a line at the first carriage return in it.
            let line = whole.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
            (line, whole.len(), end.is_some())
        };
        let (untrusted, length, _) = line();
        if !untrusted.starts_with(UNTRUSTED.as_bytes()) {
            return Err(reading.bad(format!("it does not begin with `{}`", UNTRUSTED.trim_end())));
        }
        if length > MAX_UNTRUSTED {
            return Err(reading.bad("its untrusted comment is longer than minisign reads"));
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| reading.bad("it is not text"));
        let (signature, length, _) = line();
        let signature = text(signature)?;
        if signature.len() == encoded_len(LENGTH) && length > signature.len() + "\r\n".len() {
            return Err(reading.bad("its second line continues after the signature"));
        }
        let ((trusted, length, ends), (global, ..)) = (line(), line());
        if !trusted.starts_with(TRUSTED.as_bytes()) && reading.decode::<LENGTH>(signature).is_ok() {
            return Err(reading.not_commented());
        }
        let head = format!("{UNTRUSTED}\n{signature}\n");
        let trusted = text(trusted)?;
        if !ends || length > MAX_TRUSTED {
            reading.decode::<LENGTH>(signature)?;
            return Err(
                reading.bad("its fourth line is missing, or its trusted comment longer than minisign reads")
            );
        }
        let plain = format!("{head}{trusted}\n{}\n", text(global)?);
        Ok((Signature::read(subject, plain.as_bytes())?.0, rest))
    }

    fn read<'b>(subject: &str, bytes: &'b [u8]) -> Result<(Self, &'b str), Error> {
        let reading = Reading { subject, kind: KIND };
        let text = reading.text(bytes)?;
        let lines: Vec<&str> = text.split('\n').collect();
        let [untrusted, signature, trusted, global, ""] = lines[..] else {
            return Err(reading.bad("it does not have exactly four lines"));
        };
        let untrusted = reading.comment(untrusted, UNTRUSTED)?;
        let bytes = reading.decode::<LENGTH>(signature)?;
        let is_legacy = bytes[..2] != PREHASHED;
        if is_legacy {
            reading.must_be_ed25519(&*bytes)?;
        }
        let mut rest = &bytes[2..];
        let signature = Signature {
            subject: subject.into(),
            is_legacy,
            key_id: KeyId(take(&mut rest)),
            signature: take(&mut rest),
            trusted_comment: reading.comment(trusted, TRUSTED)?.into(),
            global: *reading.decode(global)?,
        };
        Ok((signature, untrusted))
    }

    /// The `.minisig` file. Its untrusted comment names the key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [0; LENGTH];
        bytes[..2].copy_from_slice(if self.is_legacy { &ED25519 } else { &PREHASHED });
        bytes[2..10].copy_from_slice(&self.key_id.0);
        bytes[10..].copy_from_slice(&self.signature);
        let (untrusted, signature, global) = (self.untrusted_comment(), encode(&bytes), encode(&self.global));
        format!("{UNTRUSTED}{untrusted}\n{signature}\n{TRUSTED}{}\n{global}\n", self.trusted_comment)
            .into_bytes()
    }

    fn untrusted_comment(&self) -> String {
        format!("signature by {}", self.key_id)
    }

    /// The file's path or name, for messages.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The signer's key id, as the signature states it.
    pub(crate) fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The signer's own statement about the bytes. Believe it only after the signature is verified.
    pub fn trusted_comment(&self) -> &str {
        &self.trusted_comment
    }

    /// Whether it covers the message itself instead of its digest (`minisign -S -l`).
    pub(crate) fn is_legacy(&self) -> bool {
        self.is_legacy
    }

    /// Verifies that `key` made this signature over these bytes and its trusted comment.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Mismatch`], [`Error::Comment`].
    pub fn verify(&self, key: &PublicKey, message: &[u8]) -> Result<(), Error> {
        match self.is_legacy {
            true => self.covers(key, message),
            false => self.covers(key, &Prehash::of(message).0),
        }
    }

    /// Like [`Signature::verify`], if only the digest is available.
    ///
    /// # Errors
    /// [`Error::Legacy`] too.
    pub(crate) fn verify_prehash(&self, key: &PublicKey, prehash: &Prehash) -> Result<(), Error> {
        match self.is_legacy {
            true => Err(Error::Legacy { subject: self.subject.clone() }),
            false => self.covers(key, &prehash.0),
        }
    }

    fn covers(&self, key: &PublicKey, signed: &[u8]) -> Result<(), Error> {
        let (subject, signer) = (self.subject.clone(), self.key_id);
        if signer != key.id() {
            return Err(Error::Foreign { subject, signer, key: key.id() });
        }
        if !key.has_signed(signed, &self.signature) {
            return Err(Error::Mismatch { subject, signer });
        }
        let commented = [&self.signature, self.trusted_comment.as_bytes()].concat();
        match key.has_signed(&commented, &self.global) {
            true => Ok(()),
            false => Err(Error::Comment { subject, signer }),
        }
    }
}

/// Length of the base64 text of this many bytes.
const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Splits a file every four lines; the last piece may be shorter.
fn each(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut ends = (0..bytes.len()).filter(|at| bytes[*at] == b'\n');
        let end = ends.nth(LINES - 1).map_or(bytes.len(), |at| at + 1);
        let (file, rest) = bytes.split_at(end);
        bytes = rest;
        (!file.is_empty()).then_some(file)
    })
}
