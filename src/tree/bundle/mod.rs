//! Bundles: trees in one signed file, for a site without a network.
//!
//! ```text
//! signatures/…        one for each signer, over the bytes of the index
//! bundle.json         the index: every member behind it with size and digest
//! README SHA256SUMS   for a person with nothing but tar, minisign and sha256sum
//! bin/ keys/          binaries of prebake, public keys
//! trees/NAME/…        each tree as it was published
//! ```
//! A bundle is a plain tar archive that follows from its index to the byte: a reader knows where each member lies without
//! searching, and every byte that is not as it must be is found and named. Owns the format, making and reading it, and what a
//! site remembers of bundles. Leaves to `minisign` and `trust` what a signature is and who must have signed, to `publish` how
//! a tree appears.

pub mod create;
pub mod import;
pub mod index;
pub mod layout;
pub mod open;
pub mod policy;
pub mod signatures;
pub mod site;
pub mod verify;

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
/// The index's name in the archive.
pub const INDEX: &str = "bundle.json";
/// Where the signatures lie in the archive, before the index.
pub const SIGNATURES: &str = "signatures";

/// Bytes of a member inside the bundle file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where they begin, in bytes.
    pub start: u64,
    /// How many they are.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the beginning of a bundle.
    #[error("{subject} is not a bundle: {reason}")]
    Foreign {
        /// The file.
        subject: String,
        /// What it has instead.
        reason: String,
    },
    /// Another version of the format.
    #[error("{subject} is a bundle of schema {found}; this prebake reads {}", index::SCHEMA)]
    Schema {
        /// The file.
        subject: String,
        /// Its schema.
        found: u32,
    },
    /// An index that no bundle has.
    #[error("the index of {subject} cannot be used: {reason}")]
    Index {
        /// The file.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A byte that is not what the index says.
    #[error("{subject} is damaged: {flaw}")]
    Damaged {
        /// The file.
        subject: String,
        /// Which, and how.
        flaw: verify::Flaw,
    },
    /// Longer or shorter than its index says.
    #[error("{subject} has {} instead of the {expected} in its index: {}", counted(*found, "byte"), if found < expected { "it was cut off" } else { "something was appended" })]
    Length {
        /// The file.
        subject: String,
        /// What it has.
        found: u64,
        /// What it should have.
        expected: u64,
    },
    /// Not in the index.
    #[error("{subject} has no member `{member}`")]
    Absent {
        /// The file.
        subject: String,
        /// The path that was asked for.
        member: String,
    },
    /// More than anybody should hold in memory.
    #[error("{member} of {subject} has {size} bytes; the limit for such a file is {most}")]
    TooLong {
        /// The file.
        subject: String,
        /// The member.
        member: String,
        /// Its length.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A tree whose manifest names other files than the bundle holds.
    #[error("the tree {tree} in {subject} does not match its manifest: {reason}")]
    Tree {
        /// The file.
        subject: String,
        /// The tree's name.
        tree: String,
        /// The difference.
        reason: String,
    },
    /// A file that cannot go into a bundle as it is.
    #[error("{} cannot be added to a bundle: {reason}", path.display())]
    Made {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Two trees that sites could not tell apart.
    #[error("two of the trees are called `{tree}`")]
    Twice {
        /// Their name.
        tree: String,
    },
    /// Nobody signed it.
    #[error("{subject} is not signed")]
    Unsigned {
        /// The file.
        subject: String,
    },
    /// Nobody said who is to be believed.
    #[error("{subject} is signed by {}, and no key is trusted yet", list(signers))]
    NoTrust {
        /// The file.
        subject: String,
        /// Who signed.
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
        /// The file.
        subject: String,
        /// Whose signature it says to be.
        signer: KeyId,
        /// What does not fit.
        source: minisign::Error,
    },
    /// Signatures that are not enough.
    #[error(transparent)]
    Trust(#[from] signers::Error),
    /// Older than what the site has seen.
    #[error("{subject} is number {found} of {name}, and this site has seen number {seen}")]
    Older {
        /// The file.
        subject: String,
        /// The bundle's name.
        name: String,
        /// Its sequence number.
        found: u64,
        /// The highest that was seen.
        seen: u64,
    },
    /// What the site remembers cannot be read.
    #[error("{} does not state which keys this site trusts: {reason}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Too old.
    #[error("{subject} expired on {}, and this machine's clock says {}", clock::date(*expires), clock::date(*now))]
    Expired {
        /// The file.
        subject: String,
        /// When.
        expires: std::time::SystemTime,
        /// This machine's time.
        now: std::time::SystemTime,
    },
    /// The operating system refused.
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
            Error::Foreign { .. } => Some("`prebake bundle create` makes bundles".into()),
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
