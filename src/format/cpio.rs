//! cpio in the `newc` format: what the Linux kernel unpacks as an initramfs.
//!
//! Owns the layout of one plain archive, writing and listing. Leaves to others what is put in, and how archives are
//! joined or compressed. The rules follow `Documentation/driver-api/early-userspace/buffer-format.rst` and
//! `init/initramfs.c` of Linux: an uncompressed archive starts at a multiple of four bytes, a directory comes before
//! what lies in it (a file without its parents is silently dropped), and later archives win.

use std::io::{self, Read, Write};

use cpio::newc;

use crate::error::{Advice, Exit};
use crate::format::tree::{Content, Tree};

/// Enters step keys; raised when the bytes for the same tree change.
pub const REVISION: u32 = 1;
/// Bytes of a header, before the name.
const HEADER: u64 = 110;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

const TYPE_MASK: u32 = 0o170000;
const TYPE_DIR: u32 = 0o040000;
const TYPE_FILE: u32 = 0o100000;
const TYPE_SYMLINK: u32 = 0o120000;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// newc has 32 bits for a size.
    #[error("`{path}` has {size} bytes; a file in a cpio archive must be smaller than 4 GiB")]
    TooBig {
        /// Inside the tree.
        path: String,
        /// In bytes.
        size: u64,
    },
    /// newc has 32 bits for a time.
    #[error("the time {0} does not fit into a cpio archive, which ends in 2106")]
    Epoch(u64),
    /// A file with the name that ends an archive.
    #[error("`{TRAILER}` ends a cpio archive and cannot be the name of a file in it")]
    Trailer,
    /// A file could not be read or the archive not be written.
    #[error("cannot write `{path}` into the cpio archive")]
    Write {
        /// Inside the tree.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Not a cpio archive, or a damaged one.
    #[error("{subject} is not an intact cpio archive at byte {offset}")]
    Damaged {
        /// The file.
        subject: String,
        /// Of the member in question, from the start of the archive.
        offset: u64,
        /// What is wrong.
        source: io::Error,
    },
    /// A limit of [`Limits`].
    #[error("{subject}: {what} of the member at byte {offset} exceeds the limit of {limit}")]
    Limit {
        /// The file.
        subject: String,
        /// Of the member in question, from the start of the archive.
        offset: u64,
        /// What is too much.
        what: &'static str,
        /// How much is allowed.
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

/// Writes a tree as one archive and returns its length, a multiple of four, so that another archive may follow.
///
/// Entries come in the tree's order, parents first; inodes count from 1; owner 0:0; every time is `epoch` (seconds
/// since 1970). Files are streamed; a hard link is written as a copy, extended attributes are not. `out` must stand at a multiple of four in the final initrd.
pub fn write(tree: &Tree, epoch: u64, out: &mut impl Write) -> Result<u64, Error> {
    let length = length(tree)?;
    let mtime = u32::try_from(epoch).map_err(|_| Error::Epoch(epoch))?;
    for (ino, (path, entry)) in (1..).zip(tree.iter()) {
        let failed = |source| Error::Write { path: path.into(), source };
        let header = newc::Builder::new(path).ino(ino).uid(0).gid(0).mtime(mtime);
        let mode = u32::from(entry.mode);
        match &entry.content {
            // A directory counts itself and its `.`, as GNU cpio has it.
            Content::Dir => {
                let header = header.mode(TYPE_DIR | mode).nlink(2);
                member(header, 0, io::empty(), &mut *out)
            }
            Content::File(contents) => {
                let header = header.mode(TYPE_FILE | mode).nlink(1);
                member(header, contents.size(), contents.reader(), &mut *out)
            }
            Content::Symlink(target) => {
                let header = header.mode(TYPE_SYMLINK | mode).nlink(1);
                member(header, target.len() as u64, target.as_bytes(), &mut *out)
            }
        }
        .map_err(failed)?;
    }
    newc::trailer(out).map_err(|source| Error::Write { path: TRAILER.into(), source })?;
    Ok(length)
}

fn member(header: newc::Builder, size: u64, mut body: impl Read, out: &mut impl Write) -> io::Result<()> {
    // `length` has refused what does not fit.
    let mut writer = header.write(out, size as u32);
    let copied = io::copy(&mut body, &mut writer)?;
    // The crate would leave the padding out and write on.
    if copied != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{copied} of {size} bytes")));
    }
    writer.finish().map(drop)
}

/// The exact length in bytes that [`write()`] will give a tree, without reading a file.
pub fn length(tree: &Tree) -> Result<u64, Error> {
    let mut length = padded(HEADER + TRAILER.len() as u64 + 1);
    for (path, entry) in tree.iter() {
        if path == TRAILER {
            return Err(Error::Trailer);
        }
        let size = match &entry.content {
            Content::Dir => 0,
            Content::File(contents) => contents.size(),
            Content::Symlink(target) => target.len() as u64,
        };
        if size > u64::from(u32::MAX) {
            return Err(Error::TooBig { path: path.into(), size });
        }
        length += padded(HEADER + path.len() as u64 + 1) + padded(size);
    }
    Ok(length)
}

fn padded(length: u64) -> u64 {
    length.next_multiple_of(4)
}

/// How much of a foreign archive is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most members.
    pub members: usize,
    /// Longest name or link target in bytes.
    pub name: u32,
}

impl Default for Limits {
    /// A million members (Flatcar's dracut initrds have some thousands), names up to Linux' `PATH_MAX`.
    fn default() -> Self {
        Limits { members: 1_000_000, name: 4096 }
    }
}

/// One member of an archive, as its header has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name as written, which a foreign archive may begin with `./` or `/`.
    pub path: String,
    /// Type and permission bits, as in `stat`.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Length of the body in bytes.
    pub size: u32,
    /// Where the body starts, from the start of the archive.
    pub offset: u64,
    /// What a symlink points at.
    pub link: Option<String>,
}

impl Member {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & TYPE_MASK == TYPE_DIR
    }
}

/// The members of one archive.
#[derive(Debug)]
pub struct Listing {
    /// In the archive's order.
    pub members: Vec<Member>,
    /// Bytes of the archive, trailer included; what follows is padding or the next archive.
    pub length: u64,
}

/// Lists the members of one uncompressed archive, reading `from` up to the end of its trailer. `subject` names it in
/// errors.
pub fn list(subject: &str, from: &mut impl Read, limits: Limits) -> Result<Listing, Error> {
    let mut members = Vec::new();
    let mut offset = 0;
    loop {
        let damaged = |source| Error::Damaged { subject: subject.into(), offset, source };
        let limit = |what, limit| Error::Limit { subject: subject.into(), offset, what, limit };
        let mut header = [0; HEADER as usize];
        from.read_exact(&mut header).map_err(damaged)?;
        // The crate would read a name of up to 4 GiB into memory.
        let name_length = name_length(&header).map_err(damaged)?;
        if name_length > limits.name {
            return Err(limit("the name", limits.name.into()));
        }
        let mut reader = newc::Reader::new(header.chain(&mut *from)).map_err(damaged)?;
        let entry = reader.entry();
        let start = offset + padded(HEADER + u64::from(name_length));
        if entry.is_trailer() {
            return Ok(Listing { members, length: start });
        }
        if members.len() == limits.members {
            return Err(limit("the number", limits.members as u64));
        }
        let mut member = Member {
            path: entry.name().to_owned(),
            mode: entry.mode(),
            mtime: entry.mtime(),
            size: entry.file_size(),
            offset: start,
            link: None,
        };
        let size = u64::from(member.size);
        let read = if member.mode & TYPE_MASK == TYPE_SYMLINK {
            if member.size > limits.name {
                return Err(limit("the link target", limits.name.into()));
            }
            let mut target = String::new();
            let read = reader.read_to_string(&mut target).map_err(damaged)? as u64;
            member.link = Some(target);
            read
        } else {
            io::copy(&mut reader, &mut io::sink()).map_err(damaged)?
        };
        if read != size {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the body is cut off");
            return Err(damaged(source));
        }
        reader.finish().map_err(damaged)?;
        members.push(member);
        offset = start + padded(size);
    }
}

/// `c_namesize`, the twelfth of the fields of eight hex digits after the magic.
fn name_length(header: &[u8; HEADER as usize]) -> io::Result<u32> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no newc header");
    let digits = std::str::from_utf8(&header[94..102]).map_err(|_| invalid())?;
    u32::from_str_radix(digits, 16).map_err(|_| invalid())
}
