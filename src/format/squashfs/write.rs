//! Writes a tree as an image.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;

use super::blocks::{self, Packed};
use super::codec::Encoder;
use super::content::{Unique, first_name};
use super::directory;
use super::inode::{Body, Dir, File as FileBody, Inode};
use super::layout::{NO_TABLE, NONE, PADDING, Position, SUPERBLOCK, Superblock, compression_options, flag};
use super::metadata::{self, Writer};
use super::xattr::{self, Sets};
use super::{Error, Options};
use crate::format::tree::{Content, Entry, Tree};

/// Writes a tree as an image over `out`, which is truncated, and returns its length, a multiple of 4096. There are as
/// many compressing threads as the machine has cores.
///
/// Entries are in path order; owner 0:0; every time, including the file system's own, is `epoch` (seconds since 1970);
/// the root directory has mode 0755. Equal files are stored once, blocks of zeros not at all. Files are streamed.
pub fn write(tree: &Tree, epoch: u64, options: Options, out: &mut File) -> Result<u64, Error> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    write_with(tree, epoch, options, threads, out)
}

/// Like [`write()`], with a given number of compressing threads, which does not change the bytes. Memory grows by a few
/// block buffers and one compression state per thread.
pub fn write_with(
    tree: &Tree,
    epoch: u64,
    options: Options,
    threads: NonZeroUsize,
    out: &mut File,
) -> Result<u64, Error> {
    let time = u32::try_from(epoch).map_err(|_| Error::Epoch(epoch))?;
    for (path, entry) in tree.iter() {
        for (name, value) in &entry.xattrs {
            if let Some(why) = xattr::fault(name, value) {
                return Err(Error::Xattr { path: path.into(), name: name.clone(), why });
            }
        }
    }
    image(tree, time, options, threads, out).map_err(Error::Write)
}

fn image(tree: &Tree, time: u32, options: Options, threads: NonZeroUsize, out: &mut File) -> io::Result<u64> {
    let unique = Unique::of(tree)?;
    out.set_len(0)?;
    out.seek(SeekFrom::Start(SUPERBLOCK))?;
    let mut data = BufWriter::with_capacity(1 << 20, &*out);
    let mut flags = flag::DUPLICATES | flag::EXPORTABLE | flag::ALWAYS_FRAGMENTS;
    let mut start = SUPERBLOCK;
    if let Some(bytes) = compression_options(options) {
        let block = metadata::stored_block(&bytes);
        data.write_all(&block)?;
        start += block.len() as u64;
        flags |= flag::OPTIONS;
    }
    let packed = blocks::pack(&unique.contents, options, threads, start, &mut data)?;
    if packed.fragments.is_empty() {
        flags |= flag::NO_FRAGMENTS;
    }

    let mut encoder = Encoder::new(options)?;
    let sets = Sets::of(tree);
    let inodes = Inodes::of(tree, time, &unique, &packed, &sets).encode(&mut encoder, options)?;
    let inode_table = packed.end;
    let directory_table = inode_table + inodes.table.len() as u64;
    let mut tables = inodes.table;
    tables.extend(inodes.directories);
    let mut next = Tables { start: inode_table, bytes: tables, encoder: &mut encoder };
    let fragments = packed
        .fragments
        .iter()
        .flat_map(|(start, size)| [start.to_le_bytes(), u64::from(*size).to_le_bytes()].concat());
    let fragment_table = match packed.fragments.len() {
        0 => NO_TABLE,
        _ => next.indexed(&fragments.collect::<Vec<u8>>())?,
    };
    let positions = inodes.positions.iter().flat_map(|position| u64::from(*position).to_le_bytes());
    let export_table = next.indexed(&positions.collect::<Vec<u8>>())?;
    // The only id, 0, is root's user and group.
    let id_table = next.indexed(&[0; 4])?;
    let xattr_table = next.xattrs(&sets)?;
    let used = next.end();
    data.write_all(&next.bytes)?;
    data.flush()?;

    let superblock = Superblock {
        inodes: inodes.positions.len() as u32,
        time,
        block: options.block.bytes(),
        fragments: packed.fragments.len() as u32,
        algorithm: options.compression.algorithm(),
        flags,
        ids: 1,
        root: inodes.root,
        used,
        id_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    };
    drop(data);
    out.rewind()?;
    out.write_all(&superblock.encode())?;
    let length = used.next_multiple_of(PADDING);
    out.set_len(length)?;
    Ok(length)
}

/// The tables at the end of an image, one after the other.
struct Tables<'e> {
    start: u64,
    bytes: Vec<u8>,
    encoder: &'e mut Encoder,
}

impl Tables<'_> {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Appends a table and returns the position of its index.
    fn indexed(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.end();
        let mut table = Writer::new(self.encoder);
        table.write(bytes)?;
        let (stored, index) = table.finish_indexed(at)?;
        self.bytes.extend(stored);
        Ok(index)
    }

    fn xattrs(&mut self, sets: &Sets<'_>) -> io::Result<u64> {
        if sets.is_empty() {
            return Ok(NO_TABLE);
        }
        let (stored, head) = sets.encode(self.end(), self.encoder)?;
        self.bytes.extend(stored);
        Ok(head)
    }
}

/// The data from which the inodes of a tree are made.
struct Inodes<'t> {
    tree: &'t Tree,
    time: u32,
    unique: &'t Unique<'t>,
    packed: &'t Packed,
    sets: &'t Sets<'t>,
    /// Inode numbers of the entries; the root has 1. The names of one inode share its number.
    numbers: HashMap<&'t str, u32>,
    /// Number of names of each inode, plus subdirectories of each directory, by inode number.
    counts: Vec<u32>,
}

/// The encoded tables of inodes and directories.
struct Encoded {
    table: Vec<u8>,
    directories: Vec<u8>,
    root: Position,
    /// Positions by inode number, from 1.
    positions: Vec<Position>,
}

impl<'t> Inodes<'t> {
    fn of(tree: &'t Tree, time: u32, unique: &'t Unique<'t>, packed: &'t Packed, sets: &'t Sets<'t>) -> Self {
        let mut numbers = HashMap::from([("", 1)]);
        let mut counts = vec![0, 0];
        for (path, entry) in tree.iter() {
            let next = counts.len() as u32;
            let number = *numbers.entry(first_name(tree, path, entry)).or_insert(next);
            if number == next {
                counts.push(0);
            }
            match entry.content {
                Content::Dir => counts[numbers[parent(path)] as usize] += 1,
                _ => counts[number as usize] += 1,
            }
        }
        Inodes { tree, time, unique, packed, sets, numbers, counts }
    }

    fn number(&self, path: &str, entry: &Entry) -> u32 {
        self.numbers[first_name(self.tree, path, entry)]
    }

    fn inode<'b>(&self, number: u32, entry: &Entry, body: Body<'b>) -> Inode<'b> {
        let count = self.counts[number as usize];
        let nlink = if matches!(body, Body::Dir(_)) { count + 2 } else { count };
        let xattr = self.sets.number(&entry.xattrs).unwrap_or(NONE);
        Inode { mode: entry.mode, uid: 0, gid: 0, mtime: self.time, number, nlink, xattr, body }
    }

    /// From the last entry to the first, so that the contents of a directory have positions before the directory
    /// itself.
    fn encode(&self, encoder: &mut Encoder, options: Options) -> io::Result<Encoded> {
        let mut inodes = Writer::new(encoder);
        let mut other = Encoder::new(options)?;
        let mut directories = Writer::new(&mut other);
        let mut positions = vec![None; self.counts.len()];
        let mut children: HashMap<&str, Vec<directory::Entry<'t>>> = HashMap::new();
        let root = Entry::dir("");
        let entries = self.tree.iter().rev().zip(self.unique.of.iter().rev());
        let entries = entries.map(|((path, entry), content)| (path, entry, *content));
        for (path, entry, content) in entries.chain([("", &root, None)]) {
            let number = self.number(path, entry);
            let written;
            let body = match &entry.content {
                Content::Dir => {
                    let mut entries = children.remove(path).unwrap_or_default();
                    entries.reverse();
                    written = directory::write(&entries, &mut directories)?;
                    let above =
                        if path.is_empty() { self.counts.len() as u32 } else { self.numbers[parent(path)] };
                    Body::Dir(Dir {
                        at: written.at,
                        length: written.length,
                        parent: above,
                        indexed: written.indexed,
                        index: &written.index,
                    })
                }
                Content::Symlink(target) => Body::Symlink(target.as_bytes()),
                Content::File(contents) => {
                    // Every file has a content, so the default never applies.
                    let stored = &self.packed.files[content.unwrap_or_default()];
                    Body::File(FileBody {
                        start: stored.start,
                        size: contents.size(),
                        sparse: stored.sparse,
                        fragment: stored.fragment,
                        sizes: &stored.sizes,
                    })
                }
            };
            let inode = self.inode(number, entry, body);
            let position = match positions[number as usize] {
                Some(position) => position,
                None => {
                    let position = inodes.position();
                    inodes.write(&inode.encode())?;
                    *positions[number as usize].insert(position)
                }
            };
            if !path.is_empty() {
                let name = path[parent(path).len()..].trim_start_matches('/').as_bytes();
                let entry = directory::Entry { name, inode: position, number, form: inode.form() };
                children.entry(parent(path)).or_default().push(entry);
            }
        }
        let positions: Vec<Position> = positions.into_iter().skip(1).flatten().collect();
        Ok(Encoded {
            table: inodes.finish()?,
            directories: directories.finish()?,
            root: positions[0],
            positions,
        })
    }
}

/// The directory that contains a path; the root is the empty path.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
