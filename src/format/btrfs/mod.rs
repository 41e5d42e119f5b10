//! btrfs filesystems on one device, as Flatcar's OEM partition has one: read without mounting, and written front to
//! back.
//!
//! Owns the bytes of the filesystem, by Linux' `include/uapi/linux/btrfs_tree.h`: superblocks, chunks, tree blocks,
//! items, data and its checksums. Leaves the partition around it to [`gpt`](super::gpt), and the choice of its files to
//! its callers.
//!
//! A [`Filesystem`] lists the files of an image of anybody, and gives their contents as streams. [`Files`] are the
//! files of a new one: those of a [`Tree`](crate::format::tree::Tree), or of a [`Filesystem`], or both. A [`Layout`] says
//! what they take, and then writes them. The same files, options and seed give the same bytes.
//!
//! ```text
//!      0    64 KiB       1 MiB      5 MiB            64 MiB                        the device's end
//!      ┌──────┬─────────┬──────────┬────────────────┬──────┬──────────┬─────┬─────┐
//!      │      │superblock│ chunk   │ data           │copy, │ data     │other│     │
//!      │      │          │ tree    │                │64 KiB│          │trees│     │
//!      └──────┴─────────┴──────────┴────────────────┴──────┴──────────┴─────┴─────┘
//!                        SYSTEM     one chunk for data and metadata, by 16 MiB      unallocated: Linux makes more chunks
//! ```
//! Addresses in the filesystem are offsets on the device. A kernel that mounts it can write to it, as Flatcar's update of
//! its OEM extension does.

mod chunk;
mod content;
mod cursor;
mod files;
mod inodes;
mod items;
mod key;
mod layout;
mod node;
mod pack;
mod read;
mod source;
mod superblock;
mod time;
mod volume;
mod write;

use std::io;

use crate::base::error::{Advice, Exit};
pub use content::Stream;
pub use files::{Body, Data, File, Files};
pub use layout::{Options, Property};
pub use read::{Filesystem, Stored};
pub use source::{Source, Window};
pub use time::Time;
pub use write::Layout;

/// Part of step keys; raised when the bytes for the same files change.
pub(crate) const REVISION: u32 = 1;

/// Reasons why a filesystem cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read.
    #[error("cannot read {subject}")]
    Read {
        /// Name of the image, for the message.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// There is no superblock.
    #[error("{subject} is not a btrfs filesystem: there is no superblock at 64 KiB")]
    Foreign {
        /// Name of the image, for the message.
        subject: String,
    },
    /// Something in it is wrong.
    #[error("{subject} is not an intact btrfs filesystem: {why}")]
    Damaged {
        /// Name of the image, for the message.
        subject: String,
        /// The problem and its place, in words.
        why: String,
    },
    /// A feature that prebake cannot read, though kernels may.
    #[error("{subject} is a btrfs filesystem with {what}, which prebake does not support")]
    Feature {
        /// Name of the image, for the message.
        subject: String,
        /// The feature, in words.
        what: String,
    },
    /// It has a log tree: the last changes are in a log that a mount would replay.
    #[error("{subject} was not unmounted: its log has changes that the filesystem itself lacks")]
    Unclean {
        /// Name of the image, for the message.
        subject: String,
    },
    /// A limit of [`Limits`](crate::format::image::Limits) was exceeded.
    #[error("{subject}: {what} exceeds the limit of {limit}")]
    Limit {
        /// Name of the image, for the message.
        subject: String,
        /// The limited quantity, in words.
        what: String,
        /// The limit's value.
        limit: u64,
    },
    /// There is no regular file of that name.
    #[error("{subject} has no file `{path}`")]
    NoFile {
        /// Name of the image, for the message.
        subject: String,
        /// Path inside the filesystem.
        path: String,
    },
    /// An existing file that a new filesystem cannot keep.
    #[error("{subject} has `{path}`, {what}, which prebake cannot keep")]
    Unkept {
        /// Name of the image, for the message.
        subject: String,
        /// Path inside the filesystem.
        path: String,
        /// The reason, in words.
        what: &'static str,
    },
    /// A file that the format cannot hold.
    #[error("`{path}` does not fit into a btrfs filesystem: {why}")]
    File {
        /// Path inside the filesystem.
        path: String,
        /// The rule that it breaks.
        why: String,
    },
    /// A label that the format cannot hold.
    #[error(
        "`{0}` is no label of a btrfs filesystem, which has at most 255 bytes, without NUL and line feed"
    )]
    Label(String),
    /// The files take more than there is. Amounts are in MiB, what is needed rounded up, what is there rounded down.
    #[error("the btrfs filesystem needs {} MiB, and there are {} MiB", needed.div_ceil(1 << 20), there >> 20)]
    TooSmall {
        /// Least length with which the files fit, in bytes.
        needed: u64,
        /// The length that was given, in bytes.
        there: u64,
    },
    /// A file's contents could not be read, or have another length than declared.
    #[error("cannot put `{path}` into the btrfs filesystem")]
    Content {
        /// Path inside the filesystem.
        path: String,
        /// The error of its source.
        source: io::Error,
    },
    /// The image could not be written.
    #[error("cannot write the btrfs filesystem")]
    Write(#[source] io::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Damaged { .. } | Error::Limit { .. } => Exit::Integrity,
            Error::File { .. } | Error::Label(_) | Error::TooSmall { .. } => Exit::Config,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unclean { .. } => Some("mount and unmount it once, which replays the log".into()),
            Error::TooSmall { .. } => Some("leave files out, or give the partition more room".into()),
            Error::Feature { .. } => Some(
                "prebake reads one device, checksums by CRC-32C, zlib and zstd, and no subvolumes".into(),
            ),
            _ => None,
        }
    }
}

/// A defect, found by code that does not know the image's name.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Foreign,
    Damaged(String),
    Feature(String),
    Unclean,
    Limit { what: String, limit: u64 },
}

impl Fault {
    fn damaged(why: impl Into<String>) -> Self {
        Fault::Damaged(why.into())
    }

    fn feature(what: impl Into<String>) -> Self {
        Fault::Feature(what.into())
    }

    fn of(self, subject: &str) -> Error {
        let subject = subject.to_owned();
        match self {
            Fault::Io(source) => Error::Read { subject, source },
            Fault::Foreign => Error::Foreign { subject },
            Fault::Damaged(why) => Error::Damaged { subject, why },
            Fault::Feature(what) => Error::Feature { subject, what },
            Fault::Unclean => Error::Unclean { subject },
            Fault::Limit { what, limit } => Error::Limit { subject, what, limit },
        }
    }

    /// The same, of a file.
    fn at(self, path: &str) -> Self {
        match self {
            Fault::Damaged(why) => Fault::Damaged(format!("`{path}`: {why}")),
            Fault::Feature(what) => Fault::Feature(format!("{what} (`{path}`)")),
            other => other,
        }
    }
}
