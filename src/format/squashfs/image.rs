//! An open image: its entries, and the bytes of its files.
//!
//! Images may be untrusted. All tables are decompressed, bounded and checked when an image is opened; every position is
//! looked up in them, and one that does not fit is an error. Stricter than the kernel, a directory must be sorted and
//! have only one name.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::codec::Decoder;
use super::directory;
use super::fields::Fields;
use super::inode::{self, Body, Inode};
use super::layout::{NO_TABLE, NONE, STORED, SUPERBLOCK, Superblock};
use super::metadata::{Reader, Table};
use super::source::Source;
use super::xattr;
use super::{Algorithm, Error, Fault};
use crate::format::image::{Kind, Limits, Listed, Xattrs};

/// Longest path without the final NUL: Linux' `PATH_MAX`.
const MAX_PATH: usize = 4095;

/// An open image.
pub struct Image {
    pub(super) subject: String,
    pub(super) limits: Limits,
    superblock: Superblock,
    source: Source,
    inodes: Table,
    directories: Table,
    fragments: Vec<u8>,
    ids: Vec<u8>,
    xattrs: Vec<Arc<Xattrs>>,
    pub(super) nodes: Vec<Node>,
    unpacking: Mutex<Unpacking>,
}

/// An entry of the tree. The root is the first; the entries of a directory are consecutive.
pub(super) struct Node {
    name: Range<usize>,
    parent: usize,
    depth: usize,
    /// Length of the path in bytes.
    path: usize,
    /// Offset in the table of inodes.
    pub(super) at: usize,
    pub(super) children: Range<usize>,
}

/// Decoder and buffers for decompressing blocks.
struct Unpacking {
    decoder: Decoder,
    packed: Vec<u8>,
    raw: Vec<u8>,
    /// The fragment block that was decompressed last, with its index.
    fragment: Option<(u32, Vec<u8>)>,
}

/// A piece of a file.
pub(super) enum Piece<'b> {
    Data(&'b [u8]),
    /// This many zeros, which are not stored.
    Hole(u64),
}

impl Image {
    /// Opens an image file and reads its tables.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, Error> {
        let subject = path.display().to_string();
        let failed = |source| Error::Read { subject: subject.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Self::open_at(&subject, file, 0, length, limits)
    }

    /// Opens an image inside a file, such as a partition of a disk: `length` bytes from `offset`. `subject` names it
    /// in errors.
    pub fn open_at(
        subject: &str,
        file: File,
        offset: u64,
        length: u64,
        limits: Limits,
    ) -> Result<Self, Error> {
        let opened = Source::new(file, offset, length).and_then(|source| Self::read_tables(source, limits));
        let mut image = opened.map_err(|fault| fault.of(subject))?;
        image.subject = subject.to_owned();
        image.walk().map_err(|fault| fault.of(subject))?;
        Ok(image)
    }

    fn read_tables(mut source: Source, limits: Limits) -> Result<Self, Fault> {
        let mut bytes = Vec::new();
        source.read(0, SUPERBLOCK.min(source.length) as usize, &mut bytes)?;
        let superblock = Superblock::decode(&bytes)?;
        if superblock.used > source.length {
            return Err(Fault::Foreign("it is cut off"));
        }
        source.length = superblock.used;
        if superblock.inodes > limits.inodes {
            let what = format!("the number of {} inodes", superblock.inodes);
            return Err(Fault::Limit { what, limit: limits.inodes.into() });
        }
        let mut decoder = Decoder::new(superblock.algorithm)?;
        let mut reader = Reader { source: &source, decoder: &mut decoder, limit: limits.table };
        let (ids, mut end) = reader.indexed(superblock.id_table, u64::from(superblock.ids) * 4)?;
        let mut fragments = Vec::new();
        if superblock.fragments > 0 {
            let length = u64::from(superblock.fragments) * 16;
            let first;
            (fragments, first) = reader.indexed(superblock.fragment_table, length)?;
            end = end.min(first);
        }
        if superblock.export_table != NO_TABLE {
            source.read(superblock.export_table, 8, &mut bytes)?;
            end = end.min(Fields(&bytes).u64()?);
        }
        let inodes = reader.table(superblock.inode_table, superblock.directory_table)?;
        let directories = reader.table(superblock.directory_table, end)?;
        let xattrs = xattr::read(&mut reader, superblock.xattr_table)?;
        let unpacking = Unpacking { decoder, packed: Vec::new(), raw: Vec::new(), fragment: None };
        Ok(Image {
            subject: String::new(),
            limits,
            superblock,
            source,
            inodes,
            directories,
            fragments,
            ids,
            xattrs,
            nodes: Vec::new(),
            unpacking: Mutex::new(unpacking),
        })
    }

    /// Finds all entries, directory by directory.
    fn walk(&mut self) -> Result<(), Fault> {
        let at = self.inodes.find(self.superblock.root)?;
        self.nodes.push(Node { name: 0..0, parent: 0, depth: 0, path: 0, at, children: 0..0 });
        if !matches!(self.judged(at)?.body, Body::Dir(_)) {
            return Err(Fault::Damaged("its root is not a directory"));
        }
        let mut seen = HashSet::from([at]);
        let mut paths = 0;
        let mut next = 0;
        while next < self.nodes.len() {
            let Node { depth, path, at, .. } = self.nodes[next];
            if let Body::Dir(dir) = self.judged(at)?.body {
                // The superblock's number of inodes does not count additional names.
                let most =
                    self.limits.inodes as usize - (self.nodes.len() - 1).min(self.limits.inodes as usize);
                let first = self.nodes.len();
                let found = directory::read(&self.directories, &dir, most)?;
                if !found.is_empty() && depth == self.limits.depth {
                    let limit = self.limits.depth as u64;
                    return Err(Fault::Limit { what: "the depth of a directory".into(), limit });
                }
                for entry in found {
                    let at = self.inodes.find(entry.inode)?;
                    let inode = self.judged(at)?;
                    if inode.form() != entry.form && !matches!(inode.body, Body::Special { .. }) {
                        return Err(Fault::Damaged("an entry says that its inode is of another kind"));
                    }
                    if matches!(inode.body, Body::Dir(_)) && !seen.insert(at) {
                        return Err(Fault::Damaged("a directory has two paths"));
                    }
                    let path = path + usize::from(path > 0) + entry.name.len();
                    paths += path as u64;
                    if path > MAX_PATH || paths > self.limits.table {
                        let limit = self.limits.table.min(MAX_PATH as u64);
                        return Err(Fault::Limit { what: "the length of its paths".into(), limit });
                    }
                    self.nodes.push(Node {
                        name: entry.name,
                        parent: next,
                        depth: depth + 1,
                        path,
                        at,
                        children: 0..0,
                    });
                }
                self.nodes[next].children = first..self.nodes.len();
            }
            next += 1;
        }
        Ok(())
    }

    /// Decodes an inode, and checks its references to ids and extended attributes too.
    fn judged(&self, at: usize) -> Result<Inode<'_>, Fault> {
        let inode = self.inode(at)?;
        let ids = self.ids.len() / 4;
        if usize::from(inode.uid) >= ids || usize::from(inode.gid) >= ids {
            return Err(Fault::Damaged("an inode refers to an owner that does not exist"));
        }
        if inode.xattr != NONE && inode.xattr as usize >= self.xattrs.len() {
            return Err(Fault::Damaged("an inode refers to extended attributes that do not exist"));
        }
        Ok(inode)
    }

    pub(super) fn inode(&self, at: usize) -> Result<Inode<'_>, Fault> {
        Inode::decode(&self.inodes.bytes[at..], self.superblock.block)
    }

    /// Creation time of the image, in seconds since 1970, as it states itself.
    pub fn time(&self) -> u32 {
        self.superblock.time
    }

    /// Compression of its blocks.
    pub fn compression(&self) -> Algorithm {
        self.superblock.algorithm
    }

    /// Bytes of an uncompressed block.
    pub fn block_size(&self) -> u32 {
        self.superblock.block
    }

    /// Bytes of the image without its padding.
    pub(crate) fn length(&self) -> u64 {
        self.superblock.used
    }

    pub(super) fn name(&self, node: &Node) -> &[u8] {
        &self.directories.bytes[node.name.clone()]
    }

    /// Path of a node, relative to the root.
    pub(super) fn path(&self, mut index: usize) -> Vec<u8> {
        let mut names = Vec::new();
        while index > 0 {
            names.push(self.name(&self.nodes[index]));
            index = self.nodes[index].parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    pub(super) fn parent(&self, index: usize) -> usize {
        self.nodes[index].parent
    }

    /// All entries but the root: each directory comes before its contents, which are sorted by name.
    pub fn list(&self) -> impl Iterator<Item = Listed> {
        let mut open: Vec<usize> = self.nodes[0].children.clone().rev().collect();
        std::iter::from_fn(move || {
            let index = open.pop()?;
            open.extend(self.nodes[index].children.clone().rev());
            // Cannot fail: it was decoded when the image was opened.
            self.inode(self.nodes[index].at).ok().map(|inode| self.listed(index, &inode))
        })
    }

    fn listed(&self, index: usize, inode: &Inode<'_>) -> Listed {
        let id = |index: u16| {
            let mut id = Fields(&self.ids[usize::from(index) * 4..]);
            id.u32().unwrap_or_default()
        };
        Listed {
            path: String::from_utf8_lossy(&self.path(index)).into_owned(),
            mode: inode.mode,
            uid: id(inode.uid),
            gid: id(inode.gid),
            mtime: inode.mtime,
            inode: inode.number,
            nlink: inode.nlink,
            xattrs: self.xattrs.get(inode.xattr as usize).cloned().unwrap_or_default(),
            kind: match &inode.body {
                Body::Dir(_) => Kind::Dir,
                Body::File(file) => Kind::File(file.size),
                Body::Symlink(target) => Kind::Symlink(String::from_utf8_lossy(target).into_owned()),
                Body::Special { whiteout: true } => Kind::Whiteout,
                Body::Special { whiteout: false } => Kind::Special,
            },
        }
    }

    /// The bytes of one file, named without a leading slash. Symlinks are not followed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let file = self.file(path)?;
        let limit = self.limits.file;
        if file.size > limit {
            let what = format!("the length of `{path}`");
            return Err(Error::Limit { subject: self.subject.clone(), what, limit });
        }
        self.bytes_of(&file)
    }

    /// The first bytes of a file, at most `most`; only the blocks that hold them are decompressed.
    pub fn head(&self, path: &str, most: u64) -> Result<Vec<u8>, Error> {
        let most = most.min(self.limits.file);
        let mut file = self.file(path)?;
        let blocks = most.div_ceil(self.block_size().into());
        if most < file.size
            && let Some(sizes) = usize::try_from(blocks * 4).ok().and_then(|length| file.sizes.get(..length))
        {
            file.sizes = sizes;
            file.size = file.size.min(blocks * u64::from(self.block_size()));
            // The fragment follows all blocks, and not all of them are needed.
            file.fragment = None;
        }
        let mut bytes = self.bytes_of(&file)?;
        bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    fn file(&self, path: &str) -> Result<inode::File<'_>, Error> {
        let missing = || Error::NoFile { subject: self.subject.clone(), path: path.into() };
        let index = self.find(path.as_bytes()).ok_or_else(missing)?;
        let inode = self.inode(self.nodes[index].at).map_err(|fault| fault.of(&self.subject))?;
        match inode.body {
            Body::File(file) => Ok(file),
            _ => Err(missing()),
        }
    }

    fn bytes_of(&self, file: &inode::File<'_>) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.pieces(file, |piece| {
            match piece {
                Piece::Data(data) => bytes.extend(data),
                Piece::Hole(length) => bytes.resize(bytes.len() + length as usize, 0),
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let mut at = 0;
        for name in path.split(|byte| *byte == b'/') {
            let children = self.nodes[at].children.clone();
            let found = self.nodes[children.clone()].binary_search_by(|node| self.name(node).cmp(name));
            at = children.start + found.ok()?;
        }
        Some(at)
    }

    /// Passes the bytes of a file on in order, as many as its length.
    pub(super) fn pieces(
        &self,
        file: &inode::File<'_>,
        mut take: impl FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fault = |fault: Fault| fault.of(&self.subject);
        let mut unpacking = self.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = file.start;
        let mut left = file.size;
        for size in file.sizes.chunks_exact(4) {
            let size = Fields(size).u32().map_err(fault)?;
            let length = left.min(self.block_size().into());
            left -= length;
            if size == 0 {
                take(Piece::Hole(length))?;
                continue;
            }
            let (stored, Unpacking { decoder, packed, raw, .. }) = (size & !STORED, &mut *unpacking);
            let bytes = self.block(decoder, packed, raw, at, size).map_err(fault)?;
            if bytes.len() as u64 != length {
                return Err(fault(Fault::Damaged("a block has the wrong length")));
            }
            take(Piece::Data(bytes))?;
            at = at.saturating_add(stored.into());
        }
        match file.fragment {
            Some((index, offset)) if left > 0 => {
                let fragment = self.fragment(&mut unpacking, index).map_err(fault)?;
                let start = offset as usize;
                let end = usize::try_from(left).ok().and_then(|length| start.checked_add(length));
                let bytes = end.and_then(|end| fragment.get(start..end));
                take(Piece::Data(bytes.ok_or(fault(Fault::Damaged("a fragment is too short")))?))
            }
            _ => Ok(()),
        }
    }

    fn block<'b>(
        &self,
        decoder: &mut Decoder,
        packed: &'b mut Vec<u8>,
        raw: &'b mut Vec<u8>,
        at: u64,
        size: u32,
    ) -> Result<&'b [u8], Fault> {
        let stored = size & !STORED;
        if stored > self.block_size() || stored == 0 {
            return Err(Fault::Damaged("a block has an impossible length"));
        }
        self.source.read(at, stored as usize, packed)?;
        if size & STORED != 0 {
            return Ok(packed);
        }
        decoder.decode(packed, self.block_size() as usize, raw)?;
        Ok(raw)
    }

    fn fragment<'u>(&self, unpacking: &'u mut Unpacking, index: u32) -> Result<&'u [u8], Fault> {
        let Unpacking { decoder, packed, raw, fragment } = unpacking;
        let known = fragment.take().filter(|(known, _)| *known == index);
        let found = match known {
            Some(found) => found,
            None => {
                let entry = self.fragments.get(index as usize * 16..);
                let mut entry = Fields(entry.ok_or(Fault::Damaged("a fragment does not exist"))?);
                let (at, size) = (entry.u64()?, entry.u32()?);
                (index, self.block(decoder, packed, raw, at, size)?.to_vec())
            }
        };
        Ok(&fragment.insert(found).1)
    }
}
