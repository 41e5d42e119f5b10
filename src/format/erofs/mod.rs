//! EROFS images, which Flatcar's kernel mounts from major 4284 on (`quirks`).
//!
//! Owns the bytes of the image. The format is that of Linux, `fs/erofs/erofs_fs.h`, with blocks of 4096 bytes;
//! prebake's images mount on Linux 5.16 and newer. Leaves the contents to `sysext`.
//!
//! An image is, in this order: a block with the superblock; the files' data; the blocks of large directories; the
//! metadata (inodes, each followed by its inline data).

mod layout;
mod read;
mod write;
mod xattr;

use std::io;

use crate::base::error::{Advice, Exit};
pub(crate) use layout::Features;
pub use read::Image;
pub(crate) use write::write;

/// Part of step keys; raised when the bytes for the same tree change.
pub(crate) const REVISION: u32 = 1;

/// Storage of the files' data. It determines the bytes, so all of it belongs into step keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Options {
    /// Uncompressed.
    #[default]
    Plain,
}

/// Reasons why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, or the image not be written.
    #[error("cannot write the erofs image")]
    Write(#[source] io::Error),
    /// The tree is larger than the format can address.
    #[error("the tree does not fit into an erofs image, which ends at 16 TiB")]
    TooLarge,
    /// An extended attribute that cannot be stored.
    #[error("`{path}` has the extended attribute `{name}`, which an erofs image cannot hold")]
    Xattr {
        /// Path inside the image.
        path: String,
        /// The attribute's full name.
        name: String,
    },
    /// The image file could not be used.
    #[error("cannot read {subject}")]
    Read {
        /// Path of the image, for the message.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not an erofs image, or is damaged.
    #[error("{subject} is not an intact erofs image: {why}")]
    Damaged {
        /// Path of the image, for the message.
        subject: String,
        /// The problem, in words.
        why: String,
    },
    /// An image with a feature that prebake cannot read, though kernels may.
    #[error("{subject} is {what}, which prebake does not support")]
    Feature {
        /// Path of the image, for the message.
        subject: String,
        /// The feature, in words.
        what: String,
    },
    /// A limit of [`Limits`](crate::format::image::Limits) was exceeded.
    #[error("{subject}: {what} exceeds the limit of {limit}")]
    Limit {
        /// Path of the image, for the message.
        subject: String,
        /// The limited quantity, in words.
        what: String,
        /// The limit's value.
        limit: u64,
    },
    /// There is no regular file of that name.
    #[error("{subject} has no file `{path}`")]
    NoFile {
        /// Path of the image, for the message.
        subject: String,
        /// Path inside the image.
        path: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Damaged { .. } | Error::Limit { .. } => Exit::Integrity,
            Error::Xattr { .. } => Exit::Config,
            _ => Exit::Failed,
        }
    }
}
