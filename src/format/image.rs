//! What the readers of images have in common: how much they look at, and what they list.

use std::collections::BTreeMap;
use std::sync::Arc;

/// How much of a foreign image is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most inodes, and most names of inodes.
    pub inodes: u32,
    /// Bytes of each table, unpacked.
    pub table: u64,
    /// Deepest directory.
    pub depth: usize,
    /// Longest file that is read as a whole, in bytes.
    pub file: u64,
    /// Bytes of all files that an extraction writes.
    pub total: u64,
    /// How many times as long as the image these may be. The first 64 MiB are free.
    pub ratio: u64,
}

impl Default for Limits {
    /// A million inodes and 256 MiB for a table; 128 directories deep; 16 MiB for a file that is read as a whole;
    /// 16 GiB and 200 times the image for what is extracted, which is many times what binaries reach.
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
pub type Xattrs = BTreeMap<String, Vec<u8>>;

/// What a listed entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file of so many bytes.
    File(u64),
    /// A symlink and its target.
    Symlink(String),
    /// The character device 0:0, with which overlayfs marks what is removed.
    Whiteout,
    /// Any other device, socket or pipe, none of which prebake ever writes.
    Special,
}

/// One entry of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Without a leading slash. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Permission bits.
    pub mode: u16,
    /// Owner's user number.
    pub uid: u32,
    /// Owner's group number.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Number of the inode. Hard links have the same.
    pub inode: u32,
    /// Names of the inode, as it says.
    pub nlink: u32,
    /// Extended attributes.
    pub xattrs: Arc<Xattrs>,
    /// What it is.
    pub kind: Kind,
}
