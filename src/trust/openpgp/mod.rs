//! Detached OpenPGP signatures, judged against a pinned primary key.
//!
//! The pin is the fingerprint of a *primary* key. The key file may come from anywhere: it is refused unless it holds
//! that primary. Then each signing key below it is judged: its binding and back signature, its usage, its expiry at the
//! time of the signature, its revocation. Revocations that were known when prebake was built stay known, even if a file
//! leaves them out. gpg's exit code alone says none of this (a signature by an expired or revoked subkey still
//! "verifies"), which is why the policy is ours and only the primitives are rPGP's. Verification is one pass: bytes are
//! pushed while they arrive, and the SHA-512 falls out of the same pass.

mod armor;
mod key;
mod known;
mod policy;
#[cfg(test)]
mod tests;
mod verify;
mod words;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::clock::{self, Judgement};
use crate::base::error::{Advice, Exit};

pub(crate) use armor::is_signature;
pub use key::{Certificate, Part, Revoked, TrustedKey};
pub use verify::{Signed, Verifier};

/// Largest key file and signature file that is read, in bytes. Flatcar's are 12 KiB and 594 bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Most signatures in one file. Each costs a hashing pass over the signed data, and vendors sign with one key or two.
pub(crate) const MAX_SIGNATURES: usize = 16;
/// Hint for files that are signed by the wrong key.
const SUSPICIOUS: &str =
    "do not use these bytes; check the mirror, then whether the vendor rotated its key (update the key file)";
/// How far a signer's clock may run ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// The fingerprint of a version 4 key: 20 bytes, upper-case hex in files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 20]);

/// The primary key of "Flatcar Buildbot (Official Builds)". Its signing subkeys rotate each year; it does not.
pub const FLATCAR_PRIMARY: Fingerprint = Fingerprint([
    0xf8, 0x8c, 0xfe, 0xde, 0xff, 0x29, 0xa5, 0xb4, 0xd9, 0x52, 0x38, 0x64, 0xe2, 0x5d, 0x9a, 0xed, 0x05,
    0x93, 0xb3, 0x4a,
]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// 40 hex digits; blanks between them are welcome.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> =
            text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        match digits {
            Some(digits) if digits.len() == 40 => {
                let mut bytes = [0; 20];
                bytes
                    .iter_mut()
                    .zip(digits.chunks(2))
                    .for_each(|(byte, pair)| *byte = pair[0] << 4 | pair[1]);
                Ok(Fingerprint(bytes))
            }
            _ => {
                Err(format!("`{text}` is not a fingerprint: 40 hex digits are expected, not a short key id"))
            }
        }
    }
}

/// Reasons why a key or signature is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an OpenPGP key file.
    #[error("{subject} is not an OpenPGP public key file: {why}")]
    KeyFile {
        /// Path or URL of the key file, for the message.
        subject: String,
        /// The parser's complaint.
        why: String,
    },
    /// The key file holds other keys than the pinned one.
    #[error("{subject} does not hold the pinned primary key {pin}; it holds {found}")]
    WrongPrimary {
        /// Path or URL of the key file, for the message.
        subject: String,
        /// The pinned primary key.
        pin: Fingerprint,
        /// The keys that the file holds, in words.
        found: String,
    },
    /// The key file is older than a copy that was seen before.
    #[error("{subject} takes back what an earlier copy of the key said: {}", lost.join("; "))]
    RolledBack {
        /// Path or URL of the key file, for the message.
        subject: String,
        /// Statements that the earlier copy had and this one lacks.
        lost: Vec<String>,
    },
    /// Not a signature at all.
    #[error("{subject} is not a detached OpenPGP signature: {why}")]
    Malformed {
        /// The signature file.
        subject: String,
        /// The parser's complaint.
        why: String,
    },
    /// No signature by a key under the pinned primary.
    #[error("{subject} was made by {issuer}, which is no key of the pinned primary {pin}")]
    Foreign {
        /// The signature file.
        subject: String,
        /// The signer's fingerprint or key id, as far as the signature states it.
        issuer: String,
        /// The pinned primary key.
        pin: Fingerprint,
    },
    /// The signer is known, but this signature must not be believed.
    #[error("{subject} was made by {signer}, {refusal}{}", refusal.dates(*signed, *now))]
    Refused {
        /// The signature file.
        subject: String,
        /// The signing key.
        signer: Fingerprint,
        /// The policy's reason.
        refusal: Refusal,
        /// The time of signing, as the signature states it.
        signed: SystemTime,
        /// This machine's time.
        now: SystemTime,
    },
    /// The signature does not match the file.
    #[error("{subject} does not match the file: the bytes are not what {signer} signed")]
    Mismatch {
        /// The signature file.
        subject: String,
        /// The signing key.
        signer: Fingerprint,
    },
}

/// Reasons to refuse a known signer's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key had expired when it signed.
    #[error("which had already expired when it signed")]
    Expired,
    /// The key is revoked.
    #[error("which is revoked")]
    Revoked,
    /// The primary key is revoked or had expired.
    #[error("whose primary key is revoked or expired")]
    PrimaryInvalid,
    /// The signature is older than its key.
    #[error("which did not exist yet at the time the signature claims")]
    NotYetValid,
    /// The signature claims to come from the future.
    #[error("at a time that is still to come")]
    FromTheFuture,
    /// The key is not meant for signing.
    #[error("which is not a signing key")]
    WrongUsage,
    /// The key's binding to the primary does not verify.
    #[error("which is not properly bound to the primary key")]
    Unbound,
    /// The key's binding to the primary, or its own signature in return, uses MD5, SHA-1 or another weak hash.
    #[error("which is bound to the primary key with a hash algorithm that is too weak")]
    WeaklyBound,
    /// The primary key has no valid signature over itself.
    #[error("whose primary key has not signed itself, or with a hash algorithm that is too weak")]
    PrimaryUnproven,
    /// The signature uses MD5, SHA-1 or another weak hash.
    #[error("with a hash algorithm that is too weak")]
    WeakHash,
    /// The signature has a critical subpacket or notation that prebake does not know.
    #[error("but it calls something critical that is not understood")]
    UnknownCritical,
    /// Not a version 4 signature over binary data.
    #[error("but it is not a version 4 signature over binary data")]
    WrongType,
    /// The signature has an expiry time of its own, which has passed.
    #[error("but the signature itself has expired")]
    SignatureExpired,
}

impl Refusal {
    /// The role of this machine's clock in the refusal. `None` for all refusals that are judged at the time of the
    /// signature.
    fn by_the_clock(self) -> Option<Judgement> {
        match self {
            Refusal::FromTheFuture => Some(Judgement::ToCome),
            Refusal::SignatureExpired | Refusal::PrimaryInvalid => Some(Judgement::Lapsed),
            _ => None,
        }
    }

    /// The two contradicting times, for the message, if one of them is this machine's clock.
    fn dates(self, signed: SystemTime, now: SystemTime) -> String {
        let dates = || {
            format!(
                ": it is dated {}, but this machine's clock says {}",
                clock::date(signed),
                clock::date(now)
            )
        };
        self.by_the_clock().map_or(String::new(), |_| dates())
    }

    /// The reason's name in tables and JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::Expired => "expired",
            Refusal::Revoked => "revoked",
            Refusal::PrimaryInvalid => "primary-invalid",
            Refusal::NotYetValid => "not-yet-valid",
            Refusal::FromTheFuture => "from-the-future",
            Refusal::WrongUsage => "wrong-usage",
            Refusal::Unbound => "unbound",
            Refusal::WeaklyBound => "weakly-bound",
            Refusal::PrimaryUnproven => "primary-unproven",
            Refusal::WeakHash => "weak-hash",
            Refusal::UnknownCritical => "unknown-critical",
            Refusal::WrongType => "wrong-type",
            Refusal::SignatureExpired => "signature-expired",
        }
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Trust
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::KeyFile { .. } | Error::WrongPrimary { .. } => {
                "fetch the vendor's key file again; the pin is `trust.primary_fingerprint` in the recipe, else Flatcar's own".into()
            }
            Error::RolledBack { .. } => {
                "it is an old copy, or parts of it were removed: get the current key file from the vendor or another mirror".into()
            }
            Error::Malformed { .. } => "the mirror may have answered with an error page; fetch it again".into(),
            Error::Refused { refusal, now, .. } => match refusal.by_the_clock() {
                Some(judgement) => clock::first(*now, judgement, SUSPICIOUS),
                None => SUSPICIOUS.into(),
            },
            Error::Foreign { .. } => SUSPICIOUS.into(),
            Error::Mismatch { .. } => "the file is damaged or was tampered with; fetch both again from another mirror".into(),
        })
    }
}
