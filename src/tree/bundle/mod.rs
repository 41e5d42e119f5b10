//! Bundles: trees in one signed file, for a site without a network.
//!
//! ```text
//! signatures/…        one for each signer, over the bytes of the index
//! bundle.json         the index: every member after it with size and digest
//! README SHA256SUMS   for a person with nothing but tar, minisign and sha256sum
//! bin/ keys/          binaries of prebake, public keys
//! trees/NAME/…        each tree as it was published
//! ```
//! A bundle is a plain tar archive whose every byte follows from its index: a reader finds each member without
//! searching, and any wrong byte is found and named. Owns the format, making and reading it, and the site's memory of
//! bundles. Leaves signatures to `minisign`, the choice of trusted keys to `trust`, and the publication of trees to
//! `publish`.

pub mod create;
pub(crate) mod import;
pub mod index;
pub(crate) mod layout;
pub(crate) mod open;
pub(crate) mod policy;
pub mod signatures;
pub(crate) mod site;
pub(crate) mod verify;

use std::path::PathBuf;

use crate::base::clock::{self, Judgement};
use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::tree::manifest;
use crate::trust::minisign::{self, KeyId};
use crate::trust::signers;

pub use self::open::{Bundle, Demand};
/// Name of the index in the archive.
pub(crate) const INDEX: &str = "bundle.json";
/// Directory of the signatures in the archive, before the index.
pub(crate) const SIGNATURES: &str = "signatures";

/// Position of a member's bytes in the bundle file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the first byte.
    pub start: u64,
    /// Number of bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
}

/// Reasons to refuse a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not begin as a bundle does.
    #[error("{subject} is not a bundle: {reason}")]
    Foreign {
        /// Path of the file.
        subject: String,
        /// The unexpected beginning.
        reason: String,
        /// The verb that takes such a file, if its kind is known.
        advice: Option<&'static str>,
    },
    /// Another version of the format.
    #[error("{subject} is a bundle of schema {found}; this prebake reads {}", index::SCHEMA)]
    Schema {
        /// Path of the bundle.
        subject: String,
        /// Schema number that it states.
        found: u32,
    },
    /// An index that is malformed or contradicts itself.
    #[error("the index of {subject} cannot be used: {reason}")]
    Index {
        /// Path of the bundle.
        subject: String,
        /// The fault in the index.
        reason: String,
    },
    /// A byte that differs from what the index says.
    #[error("{subject} is damaged: {flaw}")]
    Damaged {
        /// Path of the bundle.
        subject: String,
        /// Position and kind of the damage.
        flaw: verify::Flaw,
    },
    /// The file is longer or shorter than its index says.
    #[error("{subject} has {} instead of the {expected} in its index: {}", counted(*found, "byte"), if found < expected { "it was cut off" } else { "something was appended" })]
    Length {
        /// Path of the bundle.
        subject: String,
        /// Length of the file, in bytes.
        found: u64,
        /// Length that its index implies, in bytes.
        expected: u64,
    },
    /// A member that is not in the index.
    #[error("{subject} has no member `{member}`")]
    Absent {
        /// Path of the bundle.
        subject: String,
        /// Path of the member that was requested.
        member: String,
    },
    /// A member that is too long to be held in memory.
    #[error("{member} of {subject} has {size} bytes; the limit for such a file is {most}")]
    TooLong {
        /// Path of the bundle.
        subject: String,
        /// Path of the member.
        member: String,
        /// Its length in bytes.
        size: u64,
        /// The limit in bytes.
        most: u64,
    },
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A tree whose manifest and whose files in the bundle differ.
    #[error("the tree {tree} in {subject} does not match its manifest: {reason}")]
    Tree {
        /// Path of the bundle.
        subject: String,
        /// The tree's name.
        tree: String,
        /// The first difference.
        reason: String,
    },
    /// A file that cannot go into a bundle as it is.
    #[error("{} cannot be added to a bundle: {reason}", path.display())]
    Made {
        /// Path of the file.
        path: PathBuf,
        /// Why it cannot be added, in words.
        reason: String,
    },
    /// Two trees of one name, which sites could not tell apart.
    #[error("two of the trees are called `{tree}`")]
    Twice {
        /// Name of both trees.
        tree: String,
    },
    /// A bundle without a signature.
    #[error("{subject} is not signed")]
    Unsigned {
        /// Path of the bundle.
        subject: String,
    },
    /// A signed bundle, where no trusted key is known.
    #[error("{subject} is signed by {}, and no key is trusted yet", list(signers))]
    NoTrust {
        /// Path of the bundle.
        subject: String,
        /// Keys that signed it.
        signers: Vec<KeyId>,
    },
    /// A signature or key that cannot be read.
    #[error(transparent)]
    Signature(#[from] minisign::Error),
    /// A signature over another index, or by another key.
    #[error(
        "{INDEX} of {subject} and {SIGNATURES}/{signer}{} and .pub do not belong together",
        minisign::SUFFIX
    )]
    Mismatch {
        /// Path of the bundle.
        subject: String,
        /// Key that the file name states.
        signer: KeyId,
        /// The failed check.
        source: minisign::Error,
    },
    /// Too few signatures by trusted keys.
    #[error(transparent)]
    Trust(#[from] signers::Error),
    /// A bundle older than one that the site has seen.
    #[error("{subject} is number {found} of {name}, and this site has seen number {seen}")]
    Older {
        /// Path of the bundle.
        subject: String,
        /// The bundle's name.
        name: String,
        /// Its sequence number.
        found: u64,
        /// The highest number that the site has seen.
        seen: u64,
    },
    /// The site's memory of bundles cannot be read.
    #[error("{} does not state which keys this site trusts: {reason}", path.display())]
    Memory {
        /// Path of the site's file.
        path: PathBuf,
        /// The fault in the file, in words.
        reason: String,
    },
    /// A bundle after its expiry.
    #[error("{subject} expired on {}, and this machine's clock says {}", clock::date(*expires), clock::date(*now))]
    Expired {
        /// Path of the bundle.
        subject: String,
        /// Time of expiry that its index states.
        expires: std::time::SystemTime,
        /// This machine's time.
        now: std::time::SystemTime,
    },
    /// An operation on a file that failed.
    #[error(transparent)]
    File(#[from] disk::Error),
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::File(error) => Some(error),
            Error::Manifest(error) => Some(error),
            Error::Signature(error) => Some(error),
            Error::Trust(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::File(_) | Error::Manifest(_) | Error::Signature(_) | Error::Trust(_) => self.inner_exit(),
            Error::Twice { .. } => Exit::Usage,
            Error::Unsigned { .. }
            | Error::Mismatch { .. }
            | Error::NoTrust { .. }
            | Error::Expired { .. } => Exit::Trust,
            Error::Older { .. } | Error::Memory { .. } => Exit::Trust,
            Error::Foreign { .. }
            | Error::Schema { .. }
            | Error::Index { .. }
            | Error::Damaged { .. }
            | Error::Length { .. }
            | Error::Absent { .. }
            | Error::TooLong { .. }
            | Error::Made { .. }
            | Error::Tree { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Foreign { advice, .. } => {
                Some(advice.unwrap_or("`prebake bundle create` makes bundles").into())
            }
            Error::Schema { .. } => {
                Some("use the prebake that made it; a bundle may carry its binary, below bin/".into())
            }
            Error::Index { .. } | Error::Tree { .. } => {
                Some("it was not made by `prebake bundle create`; do not use it".into())
            }
            Error::Made { .. } => Some("the tree was changed after it was built; build it again".into()),
            Error::Twice { .. } => Some("a bundle holds one build of a recipe".into()),
            Error::Damaged { .. } | Error::Length { .. } => {
                Some("copy it again from where it was made; `prebake bundle verify` names all damage".into())
            }
            Error::Unsigned { .. } => Some(
                "sign it with `prebake bundle sign`; --allow-unsigned accepts the file without proof of its origin".into(),
            ),
            Error::NoTrust { .. } => Some(
                "give --trust with the public key that you got by another channel; --allow-unsigned accepts the file without proof of its origin"
                    .into(),
            ),
            Error::File(_) | Error::Signature(_) | Error::Trust(_) | Error::Manifest(_) => self.inner_hint(),
            Error::Mismatch { .. } => Some("one of them was changed: copy the bundle again from where it was made".into()),
            Error::Expired { now, .. } => {
                let newer = "get a newer bundle; --allow-expired uses this one anyway";
                Some(clock::first(*now, Judgement::Lapsed, newer))
            }
            Error::Older { .. } => {
                Some("get a newer bundle; --allow-older goes back to this one anyway".into())
            }
            Error::Memory { .. } => {
                Some("remove it to start over, and give --trust with the next import".into())
            }
            Error::Absent { .. } | Error::TooLong { .. } => None,
        }
    }
}
