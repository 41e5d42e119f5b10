//! Ed25519 keys and signatures in minisign's format, to the byte.
//!
//! ```text
//! KEY.pub      untrusted comment: …            KEY.key   untrusted comment: …
//!              base64(Ed id key)                         base64(Ed Sc|00 B2 salt limits id⊕ seed⊕ key⊕ checksum⊕)
//! FILE.minisig untrusted comment: …            signature over BLAKE2b-512 of the file (`ED`), or the file (`Ed`, legacy)
//!              base64(ED id signature)
//!              trusted comment: …              signature over the signature and this comment
//!              base64(signature)
//! ```
//! Owns the three files and their cryptography. Leaves the required signers to `trust`, and the sources of keys and
//! passphrases to `cli`. Compatible with minisign 0.11 (`minisign -V` accepts prebake's signatures) and libsodium,
//! whose scrypt limits it uses.

mod encoding;
mod public;
mod secret;
mod signature;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};

use blake2::{Blake2b512, Digest};
use serde::{Serialize, Serializer};

use crate::base::error::{Advice, Exit};

pub use public::PublicKey;
pub use secret::{Locked, Secret, SecretKey};
pub use signature::{Signature, trusted_comment};

/// The ending of a signature's name, behind the name of the file that it signs.
pub(crate) const SUFFIX: &str = ".minisig";
/// Largest key or signature file that is read, in bytes. minisign writes comments of up to 1 KiB and 8 KiB.
pub(crate) const MAX_BYTES: usize = 16 << 10;
/// Largest file that a legacy signature is verified for, in bytes, because the file must be held in memory. minisign
/// has the same limit.
pub(crate) const MAX_LEGACY: u64 = 1 << 30;

/// First two bytes of every minisign key: the algorithm Ed25519.
const ED25519: [u8; 2] = *b"Ed";
/// First two bytes of a signature over a BLAKE2b-512 digest.
const PREHASHED: [u8; 2] = *b"ED";

/// The random number by which a signature names its key. It helps to find the key and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

/// 16 upper-case hex digits, as minisign prints it: a little-endian number.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The BLAKE2b-512 digest of a message. Every signature covers this digest, except legacy ones, which cover the message
/// itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Prehash([u8; 64]);

impl Prehash {
    /// Digests bytes in memory.
    pub(crate) fn of(message: &[u8]) -> Self {
        Prehash(Blake2b512::digest(message).into())
    }

    /// Digests a stream, read to its end.
    pub(crate) fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Blake2b512::new();
        // Fits into one core's own cache.
        let mut buffer = vec![0; 128 << 10];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(Prehash(hasher.finalize().into())),
                length => hasher.update(&buffer[..length]),
            }
        }
    }
}

/// Reasons why a key or signature cannot be used or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not of the expected kind.
    #[error("{subject} is not a minisign {kind}: {why}")]
    Malformed {
        /// Path or name of the file, for the message.
        subject: String,
        /// The expected kind of file, in words.
        kind: &'static str,
        /// The problem, in words.
        why: String,
        /// The way out.
        hint: &'static str,
    },
    /// The key or signature is not for Ed25519.
    #[error("{subject} is a {kind} of another algorithm ({}), not Ed25519", found.escape_ascii())]
    Algorithm {
        /// Path or name of the file, for the message.
        subject: String,
        /// The expected kind of file, in words.
        kind: &'static str,
        /// The two bytes that name the algorithm.
        found: [u8; 2],
    },
    /// A public key that anybody can make signatures for, or that is no point of the curve.
    #[error("{subject} holds {id}, which is no safe Ed25519 key")]
    WeakKey {
        /// Path or name of the key file, for the message.
        subject: String,
        /// The key's id.
        id: KeyId,
    },
    /// The passphrase's scrypt parameters ask for more memory or time than minisign ever does.
    #[error(
        "{subject} asks for {memory} bytes of memory and {operations} operations for its passphrase, more than minisign writes"
    )]
    Bomb {
        /// The key file.
        subject: String,
        /// scrypt's memory limit, in bytes.
        memory: u64,
        /// scrypt's limit of operations.
        operations: u64,
    },
    /// This machine lacks the memory that scrypt needs for the passphrase.
    #[error("{subject} needs {memory} bytes of memory for its passphrase, and they cannot be had")]
    Memory {
        /// The key file.
        subject: String,
        /// Memory that scrypt needs, in bytes.
        memory: u64,
    },
    /// The passphrase does not open the key.
    #[error("the passphrase does not open {subject}")]
    Passphrase {
        /// The key file.
        subject: String,
    },
    /// A secret key whose parts contradict each other.
    #[error("{subject} is damaged: its {what}")]
    Damaged {
        /// The key file.
        subject: String,
        /// The contradicting parts, in words.
        what: &'static str,
    },
    /// The operating system provided no random numbers.
    #[error("the system provides no random numbers for a key")]
    NoRandomness,
    /// The signature was made by another key.
    #[error("{subject} was made by {signer}, not by {key}")]
    Foreign {
        /// The signature file.
        subject: String,
        /// The signer's key id, as the signature states it.
        signer: KeyId,
        /// The expected signer's key id.
        key: KeyId,
    },
    /// The signature does not match the message.
    #[error("{subject} does not match: the bytes are not what {signer} signed")]
    Mismatch {
        /// The signature file.
        subject: String,
        /// The key's id.
        signer: KeyId,
    },
    /// The trusted comment differs from the signed one.
    #[error("the trusted comment of {subject} is not the one that {signer} signed")]
    Comment {
        /// The signature file.
        subject: String,
        /// The key's id.
        signer: KeyId,
    },
    /// A legacy signature covers the message itself, and only the digest is available.
    #[error("{subject} is a legacy signature, which needs the whole file in memory")]
    Legacy {
        /// The signature file.
        subject: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::NoRandomness | Error::Memory { .. } => Exit::Failed,
            _ => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Malformed { hint, .. } => hint,
            Error::Algorithm { .. } | Error::WeakKey { .. } => "make a key with `prebake key generate`",
            Error::Bomb { .. } => "the file may be a trap; use a copy of the key that you know",
            Error::Memory { .. } => {
                "sign on a machine with 2 GiB of memory, or with a key without a passphrase"
            }
            Error::Passphrase { .. } => {
                "it must be the passphrase that the key was made with, letter by letter"
            }
            Error::Damaged { .. } => "use another copy of the key",
            Error::Foreign { .. } => "name the public key of its maker",
            Error::Mismatch { .. } | Error::Comment { .. } => {
                "get the file and its signature again, together; one of them was changed"
            }
            Error::Legacy { .. } => "sign it again without `minisign -l`",
            Error::NoRandomness => return None,
        };
        Some(hint.into())
    }
}
