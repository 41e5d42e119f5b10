//! Types shared by the readers of images: their limits and listings.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Limits for reading an untrusted image.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most inodes, and most names of inodes.
    pub inodes: u32,
    /// Most bytes of each table, decompressed.
    pub table: u64,
    /// Deepest nesting of directories.
    pub depth: usize,
    /// Longest file that is read into memory, in bytes.
    pub file: u64,
    /// Most bytes that an extraction may write in all.
    pub total: u64,
    /// Largest ratio of those bytes to the image's length. The first 64 MiB are exempt.
    pub ratio: u64,
}

impl Default for Limits {
    /// A million inodes and 256 MiB for a table; 128 directories deep; 16 MiB for a file that is read into memory; 16
    /// GiB and 200 times the image for an extraction, which is many times the ratio of binaries.
    fn default() -> Self {
        Limits {
            inodes: 1_000_000,
            table: 256 << 20,
            depth: 128,
            file: 16 << 20,
            total: 16 << 30,
            ratio: 200,
        }
    }
}

/// The attributes of an entry by their full names, such as `user.extension-release.strict`.
pub(crate) type Xattrs = BTreeMap<String, Vec<u8>>;

/// Kind of a listed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file, with its length in bytes.
    File(u64),
    /// A symlink and its target.
    Symlink(String),
    /// The character device 0:0, with which overlayfs marks removed files.
    Whiteout,
    /// Any other device, socket or pipe, which prebake never writes.
    Special,
}

/// One entry of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Path without a leading slash. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Permission bits.
    pub mode: u16,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Modification time, in seconds since 1970.
    pub mtime: u32,
    /// Number of the inode, which hard links share.
    pub inode: u32,
    /// Number of the inode's names, as it states itself.
    pub nlink: u32,
    /// Extended attributes by their full names.
    pub xattrs: Arc<Xattrs>,
    /// Kind of the entry.
    pub kind: Kind,
}
