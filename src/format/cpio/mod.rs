//! cpio in the `newc` format, which the Linux kernel unpacks as an initramfs.
//!
//! Owns the layout of one plain archive, writing and reading it, and the compressions around it. Leaves the contents to
//! `run` and the joining of archives to `initrd`. The rules follow
//! `Documentation/driver-api/early-userspace/buffer-format.rst` and `init/initramfs.c` of Linux: an uncompressed
//! archive starts at a multiple of four bytes, a directory comes before its contents (a file without its parents is
//! silently dropped), and later archives win.

mod compression;
pub(crate) mod padding;
mod read;
mod write;

use std::io;

use crate::base::error::{Advice, Exit};

pub(crate) use compression::{Compression, xz_check};
pub use read::{Limits, Listing, Member, Reader, Seekable, Skip, Streamed, list};
pub use write::{length, write};

/// Part of step keys; raised when the bytes for the same tree change.
pub(crate) const REVISION: u32 = 2;
/// Length of a header in bytes, without the name.
const HEADER: u64 = 110;
/// The name of the member that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Magic numbers of the formats that the kernel reads: without and with checksums (which it ignores).
pub(crate) const MAGICS: [&[u8]; 2] = [b"070701", b"070702"];

const TYPE_MASK: u32 = 0o170000;
const TYPE_DIR: u32 = 0o040000;
const TYPE_FILE: u32 = 0o100000;
const TYPE_SYMLINK: u32 = 0o120000;

/// Reasons why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file's size does not fit into newc's 32 bits.
    #[error("`{path}` has {size} bytes; a file in a cpio archive must be smaller than 4 GiB")]
    TooBig {
        /// Path inside the tree.
        path: String,
        /// Size in bytes.
        size: u64,
    },
    /// The time does not fit into newc's 32 bits.
    #[error("the time {0} does not fit into a cpio archive, which ends in 2106")]
    Epoch(u64),
    /// A file with the name that ends an archive.
    #[error("`{TRAILER}` ends a cpio archive and cannot be the name of a file in it")]
    Trailer,
    /// A file could not be read, or the archive not be written.
    #[error("cannot write `{path}` into the cpio archive")]
    Write {
        /// Path inside the tree.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a cpio archive, or is damaged.
    #[error("{subject} is not an intact cpio archive at byte {offset}")]
    Damaged {
        /// Path of the archive, for the message.
        subject: String,
        /// Offset of the member in question, from the start of the archive.
        offset: u64,
        /// The problem.
        source: io::Error,
    },
    /// A limit of [`Limits`] was exceeded.
    #[error("{subject}: {what} of the member at byte {offset} exceeds the limit of {limit}")]
    Limit {
        /// Path of the archive, for the message.
        subject: String,
        /// Offset of the member in question, from the start of the archive.
        offset: u64,
        /// The limited quantity, in words.
        what: &'static str,
        /// The limit's value.
        limit: u64,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::TooBig { .. } | Error::Trailer => Exit::Config,
            Error::Damaged { .. } | Error::Limit { .. } => Exit::Integrity,
            Error::Epoch(_) | Error::Write { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::TooBig { .. } => Some("let Ignition fetch it over HTTP, or split it".into()),
            Error::Epoch(_) => Some("check SOURCE_DATE_EPOCH".into()),
            _ => None,
        }
    }
}

fn padded(length: u64) -> u64 {
    length.next_multiple_of(4)
}
