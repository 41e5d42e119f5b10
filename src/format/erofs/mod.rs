//! EROFS images, which Flatcar's kernel mounts from major 4284 on (`quirks`).
//!
//! Owns the bytes of the image. The format is that of Linux, `fs/erofs/erofs_fs.h`, with blocks of 4096 bytes: what is
//! written mounts on Linux 5.16 and newer. Leaves the contents to `sysext`.
//!
//! An image is, in this order: a block with the superblock; the files' data; the blocks of large directories; the
//! metadata (inodes, each followed by what of its data is kept with it).

mod layout;
mod read;
mod write;
mod xattr;

use std::io;

use crate::base::error::{Advice, Exit};
pub use layout::Features;
pub use read::Image;
pub use write::write;

/// Enters step keys; raised when the bytes for the same tree change.
pub const REVISION: u32 = 1;

/// How the data of files is stored. All of it is in the bytes, so all of it belongs into a step key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Options {
    /// As it is.
    #[default]
    Plain,
}

/// Why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or the image not be written.
    #[error("cannot write the erofs image")]
    Write(#[source] io::Error),
    /// More than the format can address.
    #[error("the tree does not fit into an erofs image, which ends at 16 TiB")]
    TooLarge,
    /// An extended attribute that cannot be stored.
    #[error("`{path}` has the extended attribute `{name}`, which an erofs image cannot hold")]
    Xattr {
        /// Inside the image.
        path: String,
        /// The attribute.
        name: String,
    },
    /// The image file could not be used.
    #[error("cannot read {subject}")]
    Read {
        /// The image.
        subject: String,
        /// What the system says.
        source: io::Error,
    },
    /// Not an erofs image, or a damaged one.
    #[error("{subject} is not an intact erofs image: {why}")]
    Damaged {
        /// The image.
        subject: String,
        /// What is wrong.
        why: String,
    },
    /// An image with a feature that is not read here, though kernels may.
    #[error("{subject} is {what}, which prebake does not support")]
    Feature {
        /// The image.
        subject: String,
        /// What it is, with the feature.
        what: String,
    },
    /// A limit of [`Limits`](crate::format::image::Limits).
    #[error("{subject}: {what} exceeds the limit of {limit}")]
    Limit {
        /// The image.
        subject: String,
        /// What is too much.
        what: String,
        /// How much is allowed.
        limit: u64,
    },
    /// No regular file of that name.
    #[error("{subject} has no file `{path}`")]
    NoFile {
        /// The image.
        subject: String,
        /// Inside the image.
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
