//! Writes a tree as one archive.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use cpio::newc;

use super::{Error, HEADER, TRAILER, TYPE_DIR, TYPE_FILE, TYPE_SYMLINK, padded};
use crate::format::tree::{Content, Entry, Tree};

/// Writes a tree as one archive and returns its length, a multiple of four, so that another archive may follow.
///
/// Entries come in the tree's order, parents first; inodes count from 1; owner 0:0; every time is `epoch` (seconds
/// since 1970). Files are streamed; the data of a hard link comes with the last of its names, as in GNU cpio. Extended
/// attributes are not written. `out` must be at a multiple of four bytes in the final initrd.
pub fn write(tree: &Tree, epoch: u64, out: &mut impl Write) -> Result<u64, Error> {
    let length = length(tree)?;
    let mtime = u32::try_from(epoch).map_err(|_| Error::Epoch(epoch))?;
    let mut links = Links::of(tree);
    let mut free_ino = 1;
    for (path, entry) in tree.iter() {
        let failed = |source| Error::Write { path: path.into(), source };
        let link = links.next(path, entry);
        let ino = link.as_ref().and_then(|link| link.ino).unwrap_or(free_ino);
        if ino == free_ino {
            free_ino += 1;
            links.number(path, entry, ino);
        }
        let header = newc::Builder::new(path).ino(ino).uid(0).gid(0).mtime(mtime);
        let mode = u32::from(entry.mode);
        match &entry.content {
            // A directory counts itself and its `.`, as in GNU cpio.
            Content::Dir => {
                let header = header.mode(TYPE_DIR | mode).nlink(2);
                member(header, 0, io::empty(), &mut *out)
            }
            Content::File(contents) => {
                let (count, last) = link.map_or((1, true), |link| (link.count, link.last));
                let header = header.mode(TYPE_FILE | mode).nlink(count);
                match last {
                    true => member(header, contents.size(), contents.reader(), &mut *out),
                    false => member(header, 0, io::empty(), &mut *out),
                }
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
    // `length` has refused larger sizes.
    let mut writer = header.write(out, size as u32);
    let copied = io::copy(&mut body, &mut writer)?;
    // The crate would leave out the padding and go on writing.
    if copied != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{copied} of {size} bytes")));
    }
    writer.finish().map(drop)
}

/// The exact length in bytes that [`write()`] produces for a tree, without reading a file.
pub fn length(tree: &Tree) -> Result<u64, Error> {
    let mut length = padded(HEADER + TRAILER.len() as u64 + 1);
    let mut links = Links::of(tree);
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
        let has_body = links.next(path, entry).is_none_or(|link| link.last);
        length += padded(HEADER + path.len() as u64 + 1) + if has_body { padded(size) } else { 0 };
    }
    Ok(length)
}

/// The files of a tree with several names, by the path of the name that the others link to.
struct Links<'t>(BTreeMap<&'t str, Inode>);

struct Inode {
    count: u32,
    passed: u32,
    ino: Option<u32>,
}

/// One name of a file with several names.
struct Link {
    count: u32,
    ino: Option<u32>,
    last: bool,
}

impl<'t> Links<'t> {
    fn of(tree: &'t Tree) -> Self {
        let mut inodes = BTreeMap::new();
        for first in tree.iter().filter_map(|(_, entry)| entry.link.as_deref()) {
            // The first name has no `link`, so it is counted here.
            inodes.entry(first).or_insert(Inode { count: 1, passed: 0, ino: None }).count += 1;
        }
        Links(inodes)
    }

    fn inode(&mut self, path: &str, entry: &Entry) -> Option<&mut Inode> {
        self.0.get_mut(entry.link.as_deref().unwrap_or(path))
    }

    /// Moves on to an entry; returns its link if it is one of several names.
    fn next(&mut self, path: &str, entry: &Entry) -> Option<Link> {
        let inode = self.inode(path, entry)?;
        inode.passed += 1;
        Some(Link { count: inode.count, ino: inode.ino, last: inode.passed == inode.count })
    }

    fn number(&mut self, path: &str, entry: &Entry, ino: u32) {
        if let Some(inode) = self.inode(path, entry) {
            inode.ino = Some(ino);
        }
    }
}
