//! Writes images: data first, then the metadata that points at it, the superblock last.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::layout::{BLOCK, DIRENT, Features, Inode, Layout, SLOT, Superblock};
use super::xattr;
use super::{Error, Options};
use crate::base::disk::read_full;
use crate::format::tree::{Content, Contents, EXECUTABLE, Tree};

/// File types in directory entries (`FT_*` of Linux' `fs_types.h`) and in modes.
const FILE: (u8, u16) = (1, 0o100_000);
const DIR: (u8, u16) = (2, 0o040_000);
const LINK: (u8, u16) = (7, 0o120_000);
/// Most bytes of an inode's extended attributes, which must fit into one block with it.
const MAX_XATTRS: usize = 2048;
/// Number of metadata blocks that are searched for room for a small inode.
const WINDOW: usize = 256;

/// Writes a tree as an image over `out`, which is truncated, and returns its length, a multiple of 4096.
///
/// Entries are in path order; owner 0:0; every time is `epoch` (seconds since 1970); the root's mode is
/// 0755, its UUID empty. Files are streamed; equal files of at least one block are stored once.
pub(crate) fn write(tree: &Tree, epoch: u64, options: Options, out: &mut File) -> Result<u64, Error> {
    let Options::Plain = options;
    out.set_len(0).and_then(|()| out.seek(SeekFrom::Start(BLOCK as u64))).map_err(Error::Write)?;
    let mut data = Data { out: BufWriter::with_capacity(1 << 20, out), blocks: 1, stored: HashMap::new() };
    let mut nodes = nodes(tree)?;
    for node in &mut nodes {
        let head = node.xattrs.len();
        let stored = match &node.source {
            Source::File(contents) => data.file(contents, head),
            Source::Link(target) => data.bytes(target.as_bytes(), head),
            Source::Dir(names) => data.reserve(directory_len(names), head),
        };
        node.stored = stored.map_err(Error::Write)?;
    }
    let mut meta = Meta::default();
    for (number, node) in nodes.iter_mut().enumerate() {
        let inode = node.inode(number, epoch);
        node.nid = meta.place(inode.encoded_len() + node.xattrs.len() + node.stored.tail_len()) as u64;
    }
    for number in 0..nodes.len() {
        if let Source::Dir(names) = &nodes[number].source {
            let bytes = directory(names, &nodes);
            let (blocks, tail) = bytes.split_at(bytes.len() - nodes[number].stored.tail_len());
            data.put_at(nodes[number].stored.block, blocks).map_err(Error::Write)?;
            nodes[number].stored.tail = Tail::Bytes(tail.to_vec());
        }
        let node = &nodes[number];
        let mut bytes = node.inode(number, epoch).encode();
        bytes.extend_from_slice(&node.xattrs);
        if let Tail::Bytes(tail) = &node.stored.tail {
            bytes.extend_from_slice(tail);
        }
        meta.put(node.nid as usize, &bytes);
    }
    let blocks = data.blocks + (meta.bytes.len() / BLOCK) as u64;
    let superblock = Superblock {
        root: nodes[0].nid as u16,
        inodes: nodes.len() as u64,
        time: epoch,
        blocks: u32::try_from(blocks).map_err(|_| Error::TooLarge)?,
        meta: data.blocks as u32,
        xattrs: 0,
        features: Features { block: BLOCK as u32, ..Features::default() },
    };
    data.put_at(data.blocks as u32, &meta.bytes)
        .and_then(|()| data.put_at(0, &superblock.encode()))
        .and_then(|()| data.out.flush())
        .map_err(Error::Write)?;
    let length = blocks * BLOCK as u64;
    // A duplicate is written, recognised and then overwritten, so the last one may have left a part after the end.
    data.out.get_ref().set_len(length).map_err(Error::Write)?;
    Ok(length)
}

/// An inode to be written.
struct Node<'t> {
    mode: u16,
    links: u32,
    source: Source<'t>,
    /// The encoded extended attributes, which follow the inode.
    xattrs: Vec<u8>,
    stored: Stored,
    /// The slot of its inode.
    nid: u64,
}

enum Source<'t> {
    File(&'t Contents),
    Link(&'t str),
    /// The directory's names, including `.` and `..`, sorted bytewise for Linux' binary search.
    Dir(Vec<Name<'t>>),
}

/// An entry of a directory.
struct Name<'t> {
    name: &'t str,
    /// Index of the node that it names.
    node: usize,
    /// `FT_*`.
    kind: u8,
}

/// Location of a node's data.
#[derive(Clone, Default)]
struct Stored {
    size: u64,
    block: u32,
    tail: Tail,
}

/// Data that is kept with the inode.
#[derive(Clone, Default)]
enum Tail {
    #[default]
    None,
    /// This many bytes, whose content is not known yet.
    Reserved(usize),
    Bytes(Vec<u8>),
}

impl Stored {
    fn tail_len(&self) -> usize {
        match &self.tail {
            Tail::None => 0,
            Tail::Reserved(len) => *len,
            Tail::Bytes(bytes) => bytes.len(),
        }
    }
}

impl<'t> Node<'t> {
    fn name(&mut self, name: Name<'t>) {
        if let Source::Dir(names) = &mut self.source {
            names.push(name);
        }
    }

    fn inode(&self, number: usize, epoch: u64) -> Inode {
        Inode {
            layout: if self.stored.tail_len() > 0 { Layout::Inline } else { Layout::Plain },
            mode: self.mode,
            size: self.stored.size,
            links: self.links,
            data: self.stored.block,
            number: number as u32 + 1,
            uid: 0,
            gid: 0,
            time: epoch,
            xattrs: self.xattrs.len(),
        }
    }
}

/// The root and everything below it, in path order. A hard link is one more name of its file's node.
fn nodes(tree: &Tree) -> Result<Vec<Node<'_>>, Error> {
    let node = |(_, kind): (u8, u16), mode: u16, source| Node {
        mode: kind | mode,
        links: 1,
        source,
        xattrs: Vec::new(),
        stored: Stored::default(),
        nid: 0,
    };
    let dir = |mode, this: usize, parent: usize| {
        let name = |name, node| Name { name, node, kind: DIR.0 };
        Node { links: 2, ..node(DIR, mode, Source::Dir(vec![name(".", this), name("..", parent)])) }
    };
    let mut nodes = vec![dir(EXECUTABLE, 0, 0)];
    let mut places = HashMap::from([("", 0)]);
    for (path, entry) in tree.iter().filter(|(_, entry)| entry.link.is_none()) {
        // A tree always holds the parents of its entries, and yields them first.
        let (parent, name) = split(path, &places);
        let this = nodes.len();
        places.insert(path, this);
        let (kind, mut new) = match &entry.content {
            Content::Dir => {
                nodes[parent].links += 1;
                (DIR.0, dir(entry.mode, this, parent))
            }
            Content::File(contents) => (FILE.0, node(FILE, entry.mode, Source::File(contents))),
            Content::Symlink(target) => (LINK.0, node(LINK, entry.mode, Source::Link(target))),
        };
        let refused = |name| Error::Xattr { path: path.into(), name };
        new.xattrs = xattr::encode(&entry.xattrs).map_err(refused)?;
        if new.xattrs.len() > MAX_XATTRS {
            return Err(refused(entry.xattrs.keys().next_back().cloned().unwrap_or_default()));
        }
        nodes.push(new);
        nodes[parent].name(Name { name, node: this, kind });
    }
    let links = tree.iter().filter_map(|(path, entry)| Some((path, entry.link.as_deref()?)));
    for (path, file) in links {
        let ((parent, name), node) = (split(path, &places), places[file]);
        nodes[node].links += 1;
        nodes[parent].name(Name { name, node, kind: FILE.0 });
    }
    for node in &mut nodes {
        if let Source::Dir(names) = &mut node.source {
            names.sort_unstable_by_key(|name| name.name);
        }
    }
    Ok(nodes)
}

/// The index of the directory that contains a path, and the path's name in it.
fn split<'t>(path: &'t str, places: &HashMap<&str, usize>) -> (usize, &'t str) {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    (places[above], name)
}

/// The ranges of entries that share a block.
fn directory_blocks(names: &[Name<'_>]) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut first, mut used) = (0, 0);
    for (index, name) in names.iter().enumerate() {
        let needed = DIRENT + name.name.len();
        if used + needed > BLOCK {
            blocks.push(first..index);
            (first, used) = (index, 0);
        }
        used += needed;
    }
    blocks.push(first..names.len());
    blocks
}

fn block_len(names: &[Name<'_>]) -> usize {
    names.iter().map(|name| DIRENT + name.name.len()).sum()
}

fn directory_len(names: &[Name<'_>]) -> u64 {
    let blocks = directory_blocks(names);
    let last = blocks.last().cloned().unwrap_or_default();
    ((blocks.len() - 1) * BLOCK + block_len(&names[last])) as u64
}

/// Encodes a directory: each block has its entries, then their names.
fn directory(names: &[Name<'_>], nodes: &[Node<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for range in directory_blocks(names) {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let names = &names[range];
        let mut offset = names.len() * DIRENT;
        for name in names {
            bytes.extend_from_slice(&nodes[name.node].nid.to_le_bytes());
            bytes.extend_from_slice(&(offset as u16).to_le_bytes());
            bytes.extend_from_slice(&[name.kind, 0]);
            offset += name.name.len();
        }
        names.iter().for_each(|name| bytes.extend_from_slice(name.name.as_bytes()));
    }
    bytes
}

/// The blocks of data, written one after another.
struct Data<'o> {
    out: BufWriter<&'o mut File>,
    /// The next free block.
    blocks: u64,
    /// Data that is already stored, by digest, length, and whether all of it is in blocks.
    stored: HashMap<([u8; 32], u64, bool), Stored>,
}

impl Data<'_> {
    /// Writes a file. Its last partial block is kept with the inode if it fits there after `head` bytes of attributes.
    fn file(&mut self, contents: &Contents, head: usize) -> io::Result<Stored> {
        let size = contents.size();
        let mut reader = contents.reader();
        let mut stored = Stored { size, block: self.blocks as u32, tail: Tail::None };
        let (start, mut hasher) = (self.blocks, Sha256::new());
        let mut buffer = vec![0; 1 << 17];
        loop {
            let length = read_full(&mut reader, &mut buffer)?;
            hasher.update(&buffer[..length]);
            let tail = length % BLOCK;
            let inline = tail > 0 && fits_inline(head + tail);
            let blocks = if inline { length - tail } else { length };
            self.out.write_all(&buffer[..blocks])?;
            self.blocks += blocks.div_ceil(BLOCK) as u64;
            if inline {
                stored.tail = Tail::Bytes(buffer[blocks..length].to_vec());
            } else {
                self.pad(blocks)?;
            }
            if length < buffer.len() {
                break;
            }
        }
        if self.blocks == start {
            return Ok(stored);
        }
        // The attributes decide whether the tail is kept with the inode.
        let key = (hasher.finalize().into(), size, matches!(stored.tail, Tail::None));
        if let Some(same) = self.stored.get(&key) {
            self.out.seek(SeekFrom::Start(start * BLOCK as u64))?;
            self.blocks = start;
            return Ok(same.clone());
        }
        self.stored.insert(key, stored.clone());
        Ok(stored)
    }

    fn bytes(&mut self, bytes: &[u8], head: usize) -> io::Result<Stored> {
        let mut stored = self.reserve(bytes.len() as u64, head)?;
        match stored.tail {
            Tail::Reserved(_) => stored.tail = Tail::Bytes(bytes.to_vec()),
            _ => self.put_at(stored.block, bytes)?,
        }
        Ok(stored)
    }

    /// Reserves room for data that is written later with [`Data::put_at`].
    fn reserve(&mut self, size: u64, head: usize) -> io::Result<Stored> {
        let mut stored = Stored { size, block: self.blocks as u32, tail: Tail::None };
        let tail = (size % BLOCK as u64) as usize;
        self.blocks += size / BLOCK as u64;
        match tail {
            0 => {}
            _ if fits_inline(head + tail) => stored.tail = Tail::Reserved(tail),
            _ => self.blocks += 1,
        }
        self.out.seek(SeekFrom::Start(self.blocks * BLOCK as u64))?;
        Ok(stored)
    }

    /// Writes at a block, padded to whole blocks, and returns to the end of the data.
    fn put_at(&mut self, block: u32, bytes: &[u8]) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(u64::from(block) * BLOCK as u64))?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len())?;
        self.out.seek(SeekFrom::Start(self.blocks * BLOCK as u64)).map(drop)
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..length.next_multiple_of(BLOCK) - length])
    }
}

/// Whether this many bytes fit into one block with an inode of either form.
fn fits_inline(behind: usize) -> bool {
    behind + 64 <= BLOCK
}

/// Allocates the slots of inodes. An inode and its tail are within one block.
#[derive(Default)]
struct Meta {
    bytes: Vec<u8>,
    /// Number of bytes used in each block.
    used: Vec<usize>,
}

impl Meta {
    /// Allocates room and returns the slot.
    fn place(&mut self, length: usize) -> usize {
        let length = length.next_multiple_of(SLOT);
        let first = self.used.len().saturating_sub(WINDOW);
        let block = (first..self.used.len()).find(|block| self.used[*block] + length <= BLOCK);
        let block = block.unwrap_or_else(|| {
            // Slot 0 stays empty: an inode's number is its slot, and 0 is not a valid number.
            self.used.push(if self.used.is_empty() { SLOT } else { 0 });
            self.used.len() - 1
        });
        let at = block * BLOCK + self.used[block];
        self.used[block] += length;
        self.bytes.resize(self.used.len() * BLOCK, 0);
        at / SLOT
    }

    fn put(&mut self, slot: usize, bytes: &[u8]) {
        self.bytes[slot * SLOT..][..bytes.len()].copy_from_slice(bytes);
    }
}
