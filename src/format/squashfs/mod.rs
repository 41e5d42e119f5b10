//! Squashfs 4.0: the read-only file system that every Flatcar kernel mounts, written and read without its tools.
//!
//! Owns the bytes of an image: blocks, tables, owners, times, and the checks of images that others built. Leaves the
//! contents to `sysext`.
//!
//! An image is a superblock (`layout`), the packed data (`blocks`, which `content` chooses), and tables in metadata
//! blocks of 8 KiB (`metadata`): inodes (`inode`), directories (`directory`), fragments, inode positions for file
//! handles, ids and extended attributes (`xattr`). Sources are Linux' Documentation/filesystems/squashfs.rst and
//! fs/squashfs/squashfs_fs.h, and the "Squashfs Binary Format" (squashfs-tools-ng, doc/format.adoc). The kernel's own
//! checks are in fs/squashfs/super.c, fragment.c, export.c, id.c and xattr_id.c: tables must be in the order above, and
//! the last three must end where the next one starts. All numbers are little-endian.

mod blocks;
mod codec;
mod content;
mod directory;
mod extract;
mod fields;
mod image;
mod inode;
mod layout;
mod metadata;
mod source;
mod write;
mod xattr;

use std::fmt;
use std::io;

use crate::base::error::{Advice, Exit};
use crate::base::unfinished;

pub use image::Image;
pub use write::{write, write_with};

/// Part of step keys; raised when the bytes for the same tree change.
pub(crate) const REVISION: u32 = 2;

/// Reasons why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The time does not fit into squashfs' 32 bits.
    #[error("the time {0} does not fit into a squashfs image, which ends in 2106")]
    Epoch(u64),
    /// A file could not be read, or the image not be written.
    #[error("cannot write the squashfs image")]
    Write(#[source] io::Error),
    /// An extended attribute that the format cannot hold.
    #[error("`{path}` has the extended attribute `{name}`, which a squashfs image cannot hold: {why}")]
    Xattr {
        /// Path inside the tree.
        path: String,
        /// The attribute's name with its namespace.
        name: String,
        /// The violated rule.
        why: &'static str,
    },
    /// The image file could not be used.
    #[error("cannot read {subject}")]
    Read {
        /// Path of the image, for the message.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// A squashfs image whose parts do not fit together.
    #[error("{subject} is not an intact squashfs image: {why}")]
    Damaged {
        /// Path of the image, for the message.
        subject: String,
        /// The problem, in words.
        why: &'static str,
    },
    /// The file is not a squashfs image, or its superblock has impossible values.
    #[error("{subject} is not a squashfs image: {why}")]
    Foreign {
        /// Path of the image, for the message.
        subject: String,
        /// The problem, in words.
        why: &'static str,
    },
    /// A compression that prebake does not support.
    #[error("{subject} is compressed with {algorithm}, which prebake does not read")]
    Compression {
        /// Path of the image, for the message.
        subject: String,
        /// Its compression.
        algorithm: Algorithm,
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
    /// A device, socket or pipe, which is never extracted.
    #[error("{subject} contains `/{path}`, a device, socket or pipe, which prebake does not extract")]
    Special {
        /// Path of the image, for the message.
        subject: String,
        /// Path inside the image.
        path: String,
    },
    /// The target of an extraction already exists.
    #[error("{target} already exists")]
    Occupied {
        /// The target directory.
        target: String,
    },
    /// An extracted file could not be created.
    #[error("cannot extract `/{path}` below {target}")]
    Extract {
        /// Path inside the image.
        path: String,
        /// The target directory.
        target: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Damaged { .. }
            | Error::Foreign { .. }
            | Error::Compression { .. }
            | Error::Limit { .. }
            | Error::Special { .. } => Exit::Integrity,
            Error::Xattr { .. } => Exit::Config,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Epoch(_) => Some("check SOURCE_DATE_EPOCH".into()),
            Error::Compression { .. } => {
                Some("unsquashfs may read it; pack it again with zstd, gzip or xz".into())
            }
            Error::Extract { target, source, .. } if unfinished::is_full(source) => {
                Some(unfinished::full(target.as_ref()))
            }
            Error::Occupied { .. } => Some("name a directory that does not exist yet".into()),
            _ => None,
        }
    }
}

/// The compressions that the format defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Algorithm {
    /// zlib streams.
    Gzip = 1,
    /// The `.lzma` format, never supported by Linux.
    Lzma = 2,
    /// LZO1X.
    Lzo = 3,
    /// `.xz` streams with CRC32.
    Xz = 4,
    /// Raw LZ4 blocks.
    Lz4 = 5,
    /// zstd frames.
    Zstd = 6,
}

impl Algorithm {
    const ALL: [Algorithm; 6] =
        [Algorithm::Gzip, Algorithm::Lzma, Algorithm::Lzo, Algorithm::Xz, Algorithm::Lz4, Algorithm::Zstd];

    fn of(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u16 == id)
    }

    /// The name in mksquashfs' `-comp`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Algorithm::Gzip => "gzip",
            Algorithm::Lzma => "lzma",
            Algorithm::Lzo => "lzo",
            Algorithm::Xz => "xz",
            Algorithm::Lz4 => "lz4",
            Algorithm::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of uncompressed data that are compressed together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockSize {
    /// 128 KiB, the default of mksquashfs.
    #[default]
    Kib128,
    /// 256 KiB.
    Kib256,
    /// 512 KiB, as in Flatcar's own sysexts.
    Kib512,
    /// 1 MiB, the largest that squashfs allows.
    Mib1,
}

impl BlockSize {
    /// All sizes, smallest first.
    pub const ALL: [BlockSize; 4] =
        [BlockSize::Kib128, BlockSize::Kib256, BlockSize::Kib512, BlockSize::Mib1];

    /// The size in bytes.
    pub(crate) const fn bytes(self) -> u32 {
        match self {
            BlockSize::Kib128 => 128 << 10,
            BlockSize::Kib256 => 256 << 10,
            BlockSize::Kib512 => 512 << 10,
            BlockSize::Mib1 => 1 << 20,
        }
    }
}

/// A compression level from 1 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level<const MAX: u8>(u8);

impl<const MAX: u8> Level<MAX> {
    /// Level 1, for data that hardly compresses.
    pub(crate) const LEAST: Self = Level(1);
    /// The highest level.
    pub const MAX: Self = Level(MAX);

    /// The level; `None` if it does not exist.
    pub const fn new(level: u8) -> Option<Self> {
        if level >= 1 && level <= MAX { Some(Level(level)) } else { None }
    }

    /// The level's number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Compression of an image that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zstd, in Linux since 4.14.
    Zstd(Level<22>),
    /// gzip, which every kernel reads.
    Gzip(Level<9>),
    /// xz with a dictionary of one block: the smallest image and the slowest to read.
    Xz,
}

impl Compression {
    /// The zstd level that makes an image in half the time of `mksquashfs`' own default, and a smaller one (`cargo
    /// bench --bench sysext`).
    pub const DEFAULT_ZSTD: Level<22> = Level(9);

    /// The algorithm without its level.
    pub(crate) const fn algorithm(self) -> Algorithm {
        match self {
            Compression::Zstd(_) => Algorithm::Zstd,
            Compression::Gzip(_) => Algorithm::Gzip,
            Compression::Xz => Algorithm::Xz,
        }
    }

    /// The level, if the compression has levels.
    pub(crate) const fn level(self) -> Option<u8> {
        match self {
            Compression::Zstd(level) => Some(level.get()),
            Compression::Gzip(level) => Some(level.get()),
            Compression::Xz => None,
        }
    }

    /// The same algorithm with the least effort, for data that is already compressed.
    pub(crate) const fn least(self) -> Self {
        match self {
            Compression::Zstd(_) => Compression::Zstd(Level::LEAST),
            Compression::Gzip(_) => Compression::Gzip(Level::LEAST),
            Compression::Xz => Compression::Xz,
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Zstd(Self::DEFAULT_ZSTD)
    }
}

/// Settings for writing an image. They determine the bytes, so all of them belong into step keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Compression and its level.
    pub compression: Compression,
    /// Block size.
    pub block: BlockSize,
}

/// A defect of an image, found by code that does not know the image's name.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Damaged(&'static str),
    Foreign(&'static str),
    Compression(Algorithm),
    Limit { what: String, limit: u64 },
}

impl Fault {
    fn of(self, subject: &str) -> Error {
        let subject = subject.to_owned();
        match self {
            Fault::Io(source) => Error::Read { subject, source },
            Fault::Damaged(why) => Error::Damaged { subject, why },
            Fault::Foreign(why) => Error::Foreign { subject, why },
            Fault::Compression(algorithm) => Error::Compression { subject, algorithm },
            Fault::Limit { what, limit } => Error::Limit { subject, what, limit },
        }
    }
}
