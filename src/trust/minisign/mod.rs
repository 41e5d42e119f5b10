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
//! Owns the three files and their cryptography. Leaves to `trust` who must have signed, and to `cli` where keys and
//! passphrases come from. Peers: minisign 0.11 (`minisign -V` takes what is written here) and libsodium, whose scrypt
//! limits it uses.

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
pub const SUFFIX: &str = ".minisig";
/// Largest key or signature file that is read, in bytes. minisign writes comments of up to 1 KiB and 8 KiB.
pub const MAX_BYTES: usize = 16 << 10;
/// Largest file that a legacy signature is judged for, in bytes: it must be held in memory. minisign's own limit.
pub const MAX_LEGACY: u64 = 1 << 30;

/// What all of minisign's keys begin with: the algorithm Ed25519.
const ED25519: [u8; 2] = *b"Ed";
/// What a signature over a BLAKE2b-512 digest begins with.
const PREHASHED: [u8; 2] = *b"ED";

/// The random number by which a signature names its key. It finds a key, it proves nothing.
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

/// The BLAKE2b-512 digest of a message: what a signature covers unless it is a legacy one.
#[derive(Clone, PartialEq, Eq)]
pub struct Prehash([u8; 64]);

impl Prehash {
    /// Of bytes in memory.
    pub fn of(message: &[u8]) -> Self {
        Prehash(Blake2b512::digest(message).into())
    }

    /// Of a stream, read to its end.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Blake2b512::new();
        // What a core's own cache holds.
        let mut buffer = vec![0; 128 << 10];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(Prehash(hasher.finalize().into())),
                length => hasher.update(&buffer[..length]),
            }
        }
    }
}

/// Why a key or signature cannot be used or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not such a file.
    #[error("{subject} is not a minisign {kind}: {why}")]
    Malformed {
        /// The file.
        subject: String,
        /// What was expected, in words.
        kind: &'static str,
        /// What is wrong with it.
        why: String,
        /// What to do about that.
        hint: &'static str,
    },
    /// A key or signature of something else than Ed25519.
    #[error("{subject} is a {kind} of another algorithm ({}), not Ed25519", found.escape_ascii())]
    Algorithm {
        /// The file.
        subject: String,
        /// What was expected, in words.
        kind: &'static str,
        /// The two bytes that name it.
        found: [u8; 2],
    },
    /// A public key for which anybody can make signatures, or that is no point of the curve.
    #[error("{subject} holds {id}, which is no safe Ed25519 key")]
    WeakKey {
        /// The file.
        subject: String,
        /// The key.
        id: KeyId,
    },
    /// More memory or time for the passphrase than minisign ever asks for.
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
    /// This machine lacks the memory that the passphrase takes.
    #[error("{subject} needs {memory} bytes of memory for its passphrase, and they cannot be had")]
    Memory {
        /// The key file.
        subject: String,
        /// In bytes.
        memory: u64,
    },
    /// The passphrase does not open the key.
    #[error("the passphrase does not open {subject}")]
    Passphrase {
        /// The key file.
        subject: String,
    },
    /// A secret key whose parts do not belong together.
    #[error("{subject} is damaged: its {what}")]
    Damaged {
        /// The key file.
        subject: String,
        /// Which part contradicts which.
        what: &'static str,
    },
    /// The operating system gave no random numbers.
    #[error("the system provides no random numbers for a key")]
    NoRandomness,
    /// Signed by somebody else.
    #[error("{subject} was made by {signer}, not by {key}")]
    Foreign {
        /// The signature file.
        subject: String,
        /// Who made it, as it says.
        signer: KeyId,
        /// Who was expected.
        key: KeyId,
    },
    /// The bytes are not the signed bytes.
    #[error("{subject} does not match: the bytes are not what {signer} signed")]
    Mismatch {
        /// The signature file.
        subject: String,
        /// The key.
        signer: KeyId,
    },
    /// The trusted comment is not the signed one.
    #[error("the trusted comment of {subject} is not the one that {signer} signed")]
    Comment {
        /// The signature file.
        subject: String,
        /// The key.
        signer: KeyId,
    },
    /// A legacy signature covers the bytes themselves, and they are not at hand.
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
