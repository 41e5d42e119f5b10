//! Opens untrusted filesystems and lists their files: every number in them is checked.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use super::content::{self, Stream};
use super::cursor::{Cursor, Root};
use super::files::{Body, Data, File, Files};
use super::items::{Inode, Named, RootItem, mode, subvolume_name};
use super::key::{Key, kind, object};
use super::source::Source;
use super::volume::Volume;
use super::{Error, Fault};
use crate::format::image::{Kind, Limits, Listed, Xattrs};
use crate::format::tree::{MAX_NAME, MAX_PATH};

/// Most memory for names, paths, targets and attributes together, in bytes.
const MEMORY: usize = 256 << 20;

/// A file and its inode.
#[derive(Debug)]
struct Entry {
    listed: Listed,
    number: u64,
    inode: Inode,
    /// The path, the target and the attributes' names are UTF-8; else some of their bytes are replaced.
    is_exact: bool,
}

/// Bytes that the data of a file takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bytes of its parts, without holes and unpacked.
    pub bytes: u64,
    /// Bytes of those that are compressed, and bytes that they are compressed to.
    pub packed: (u64, u64),
}

/// An open filesystem.
#[derive(Debug)]
pub struct Filesystem<S> {
    subject: String,
    limits: Limits,
    volume: Volume<S>,
    /// Root of the file tree, and of the tree with checksums.
    files: Root,
    sums: Root,
    /// The root directory.
    root: Entry,
    /// All others, by path.
    entries: Vec<Entry>,
}

impl<S: Source> Filesystem<S> {
    /// Opens a filesystem and reads all inodes and names. `subject` is its name for messages.
    ///
    /// # Errors
    /// It is damaged, was not unmounted, has a feature that is not read here, or exceeds a limit.
    pub fn open(source: S, subject: &str, limits: Limits) -> Result<Self, Error> {
        Self::open_unnamed(source, subject, limits).map_err(|fault| fault.of(subject))
    }

    fn open_unnamed(source: S, subject: &str, limits: Limits) -> Result<Self, Fault> {
        let volume = Volume::open(source)?;
        let (files, sums) = roots(&volume)?;
        let tables = Tables::read(&volume, &files, limits)?;
        let (root, entries) = tables.walk(&volume, &files, &sums, limits)?;
        Ok(Filesystem { subject: subject.to_owned(), limits, volume, files, sums, root, entries })
    }

    /// The filesystem's label; bytes that are not UTF-8 are replaced.
    pub fn label(&self) -> String {
        String::from_utf8_lossy(&self.volume.superblock.label).into_owned()
    }

    /// The filesystem's UUID.
    pub fn fsid(&self) -> [u8; 16] {
        self.volume.superblock.fsid
    }

    /// Length of the device, in bytes.
    pub fn length(&self) -> u64 {
        self.volume.length()
    }

    /// Bytes of it in use, as the filesystem states itself; two copies count twice.
    pub fn used(&self) -> u64 {
        self.volume.superblock.used
    }

    /// Number of the last transaction.
    pub fn generation(&self) -> u64 {
        self.volume.superblock.generation
    }

    /// The flaws that did not matter so far, because there was a second copy.
    pub fn notes(&self) -> Vec<String> {
        self.volume.notes()
    }

    /// The root directory; its path is empty.
    pub fn root(&self) -> &Listed {
        &self.root.listed
    }

    /// All files, directories and links but the root, sorted by path.
    pub fn list(&self) -> impl Iterator<Item = &Listed> {
        self.entries.iter().map(|entry| &entry.listed)
    }

    /// Sum of the lengths of all files, in bytes, for what extracts them.
    ///
    /// # Errors
    /// It exceeds the limits for an extraction.
    pub fn extracted(&self) -> Result<u64, Error> {
        let size = |entry: &Entry| if let Kind::File(size) = entry.listed.kind { size } else { 0 };
        let sum = self.entries.iter().map(size).fold(0, u64::saturating_add);
        let ratio = self.length().saturating_mul(self.limits.ratio).max(64 << 20);
        let limit = self.limits.total.min(ratio);
        if sum > limit {
            let what = "the length of its files in all".into();
            return Err(Error::Limit { subject: self.subject.clone(), what, limit });
        }
        Ok(sum)
    }

    /// The bytes of one file, named without a leading slash.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let entry = self.file(path)?;
        let limit = self.limits.file;
        if entry.inode.size > limit {
            let what = format!("the length of `{path}`");
            return Err(Error::Limit { subject: self.subject.clone(), what, limit });
        }
        let stream = self.stream_of(entry, None)?;
        stream.all().map_err(|fault| fault.at(path).of(&self.subject))
    }

    /// The bytes of one file as a stream, holes as zeros.
    ///
    /// # Errors
    /// There is no such file, it is longer than an extraction may be, or its extents are damaged or of an unknown kind.
    pub fn stream(&self, path: &str) -> Result<Stream<'_, S>, Error> {
        let entry = self.file(path)?;
        let limit = self.limits.total;
        if entry.inode.size > limit {
            let what = format!("the length of `{path}`");
            return Err(Error::Limit { subject: self.subject.clone(), what, limit });
        }
        self.stream_of(entry, None)
    }

    /// Everything as the files of a new filesystem: contents stay where they are and are streamed from there; kinds,
    /// modes, owners, times of modification, attributes, hard links and holes are kept. Compressed files are unpacked.
    ///
    /// # Errors
    /// There are devices, sockets, pipes or names that are not UTF-8, or a file's extents are damaged.
    pub fn files(&self) -> Result<Files<'_>, Error> {
        let mut files = Files::new();
        files.set_root(self.kept(&self.root, Body::Dir)?);
        let mut first: HashMap<u64, &str> = HashMap::new();
        for entry in &self.entries {
            let path = entry.listed.path.as_str();
            let body = match &entry.listed.kind {
                Kind::Dir => Body::Dir,
                Kind::Symlink(target) => Body::Symlink(target.clone()),
                Kind::File(_) => match first.get(&entry.number) {
                    Some(first) => Body::Link((*first).to_owned()),
                    None => {
                        first.insert(entry.number, path);
                        let named = |fault: Fault| fault.at(path).of(&self.subject);
                        let pieces = self.pieces(entry).map_err(named)?;
                        let parts = content::parts(&pieces, entry.inode.size, self.volume.sector());
                        Body::File(Box::new(Kept { filesystem: self, entry, parts }))
                    }
                },
                Kind::Whiteout | Kind::Special => {
                    return Err(self.unkept(entry, "a device, socket or pipe"));
                }
            };
            files.insert(path, self.kept(entry, body)?)?;
        }
        Ok(files)
    }

    /// Bytes that each file takes when it is written anew, by path: further names of a file take nothing. A file whose extents
    /// are damaged counts by its length.
    pub fn stored(&self) -> impl Iterator<Item = (&str, Stored)> {
        let mut seen = HashSet::new();
        self.entries.iter().filter_map(move |entry| {
            let Kind::File(size) = entry.listed.kind else { return None };
            let path = entry.listed.path.as_str();
            if !seen.insert(entry.number) {
                return Some((path, Stored::default()));
            }
            let stored = match self.pieces(entry) {
                Ok(pieces) => {
                    let parts = content::parts(&pieces, entry.inode.size, self.volume.sector());
                    let bytes = parts.iter().map(|part| part.end - part.start).sum();
                    Stored { bytes, packed: content::packed(&pieces) }
                }
                Err(_) => Stored { bytes: size, ..Stored::default() },
            };
            Some((path, stored))
        })
    }

    fn kept<'f>(&'f self, entry: &'f Entry, body: Body<'f>) -> Result<File<'f>, Error> {
        if !entry.is_exact {
            return Err(self.unkept(entry, "whose name, target or attribute is not UTF-8"));
        }
        Ok(File {
            mode: entry.listed.mode,
            owner: (entry.inode.uid, entry.inode.gid),
            time: Some(entry.inode.time),
            xattrs: (*entry.listed.xattrs).clone(),
            body,
        })
    }

    fn unkept(&self, entry: &Entry, what: &'static str) -> Error {
        Error::Unkept { subject: self.subject.clone(), path: entry.listed.path.clone(), what }
    }

    fn file(&self, path: &str) -> Result<&Entry, Error> {
        let found = self.entries.binary_search_by(|entry| entry.listed.path.as_str().cmp(path));
        match found.ok().and_then(|index| self.entries.get(index)) {
            Some(entry) if matches!(entry.listed.kind, Kind::File(_)) => Ok(entry),
            _ => Err(Error::NoFile { subject: self.subject.clone(), path: path.into() }),
        }
    }

    fn pieces(&self, entry: &Entry) -> Result<Vec<content::Piece>, Fault> {
        let most = self.limits.inodes.into();
        content::pieces(&self.volume, &self.files, entry.number, &entry.inode, most)
    }

    /// A file's bytes, or those of some parts of it.
    fn stream_of<'f>(
        &'f self,
        entry: &'f Entry,
        parts: Option<&[Range<u64>]>,
    ) -> Result<Stream<'f, S>, Error> {
        let path = entry.listed.path.as_str();
        let pieces = self.pieces(entry).map_err(|fault| fault.at(path).of(&self.subject))?;
        let pieces = match parts {
            Some(parts) => content::within(pieces, parts),
            None => pieces,
        };
        Ok(Stream::new(&self.volume, &self.sums, (&self.subject, path), &entry.inode, pieces))
    }
}

/// A file of an existing filesystem as one of a new filesystem.
struct Kept<'f, S> {
    filesystem: &'f Filesystem<S>,
    entry: &'f Entry,
    parts: Vec<Range<u64>>,
}

impl<S: Source> Data for Kept<'_, S> {
    fn length(&self) -> u64 {
        self.entry.inode.size
    }

    fn parts(&self) -> Vec<Range<u64>> {
        self.parts.clone()
    }

    fn read(&self) -> std::io::Result<Box<dyn Read + '_>> {
        let stream = self.filesystem.stream_of(self.entry, Some(&self.parts));
        Ok(Box::new(stream.map_err(content::error)?))
    }
}

/// Finds the file tree and the tree with checksums, and refuses subvolumes.
fn roots<S: Source>(volume: &Volume<S>) -> Result<(Root, Root), Fault> {
    let (address, level) = volume.superblock.root;
    let generation = volume.superblock.generation;
    let root = Root { tree: object::ROOT_TREE, address, level, generation };
    let (mut files, mut sums) = (None, None);
    let mut subvolume = None;
    let mut cursor = Cursor::from(volume, &root, Key::default())?;
    while let Some((key, item)) = cursor.next()? {
        let is_subvolume = |number: u64| (object::FIRST..=object::LAST).contains(&number);
        match key.kind {
            kind::ROOT => {
                let RootItem { address, level, generation, links } = RootItem::parse(item)?;
                let root = Some(Root { tree: key.object, address, level, generation });
                match key.object {
                    object::FS_TREE => files = root,
                    object::CSUM_TREE => sums = root,
                    // Without a name it is being deleted.
                    number if is_subvolume(number) && links > 0 => {
                        subvolume = subvolume.or_else(|| Some(format!("number {number}")));
                    }
                    _ => {}
                }
            }
            kind::ROOT_REF if is_subvolume(key.offset) => {
                subvolume = Some(format!("`{}`", subvolume_name(item)));
            }
            _ => {}
        }
    }
    if let Some(name) = subvolume {
        return Err(Fault::feature(format!("a subvolume or snapshot ({name})")));
    }
    let missing = |what: &str| Fault::damaged(format!("it has no {what}"));
    Ok((files.ok_or_else(|| missing("file tree"))?, sums.ok_or_else(|| missing("tree of checksums"))?))
}

/// A name in a directory: its bytes, and the number of its inode.
type Name = (Vec<u8>, u64);

/// The items of the file tree, by inode. Data is not among them.
#[derive(Default)]
struct Tables {
    inodes: HashMap<u64, Inode>,
    xattrs: HashMap<u64, Xattrs>,
    names: HashMap<u64, Vec<Name>>,
    /// Inodes with an attribute whose name is not UTF-8.
    inexact: HashSet<u64>,
    /// Bytes of names and attributes.
    memory: usize,
}

impl Tables {
    fn read<S: Source>(volume: &Volume<S>, files: &Root, limits: Limits) -> Result<Self, Fault> {
        let mut tables = Tables::default();
        let mut count = 0;
        let mut cursor = Cursor::from(volume, files, Key::default())?;
        while let Some((key, item)) = cursor.next()? {
            match key.kind {
                kind::INODE => drop(tables.inodes.insert(key.object, Inode::parse(item)?)),
                kind::XATTR => {
                    let xattrs = tables.xattrs.entry(key.object).or_default();
                    for Named { name, value, .. } in Named::all(item)? {
                        if std::str::from_utf8(name).is_err() {
                            tables.inexact.insert(key.object);
                        }
                        xattrs.insert(String::from_utf8_lossy(name).into_owned(), value.to_vec());
                        tables.memory += name.len() + value.len();
                    }
                }
                kind::DIR_INDEX => {
                    let names = tables.names.entry(key.object).or_default();
                    for Named { target, name, .. } in Named::all(item)? {
                        if target.kind != kind::INODE {
                            let name = String::from_utf8_lossy(name);
                            return Err(Fault::feature(format!("a subvolume or snapshot (`{name}`)")));
                        }
                        names.push((checked(name)?.to_vec(), target.object));
                        tables.memory += name.len();
                        count += 1;
                    }
                }
                _ => {}
            }
            if count.max(tables.inodes.len()) as u64 > limits.inodes.into() {
                return Err(Fault::Limit {
                    what: "the number of inodes".into(),
                    limit: limits.inodes.into(),
                });
            }
            judge_memory(tables.memory)?;
        }
        Ok(tables)
    }

    /// Walks from the root directory down: the root, and all else sorted by path.
    fn walk<S: Source>(
        mut self,
        volume: &Volume<S>,
        files: &Root,
        sums: &Root,
        limits: Limits,
    ) -> Result<(Entry, Vec<Entry>), Fault> {
        let xattrs: HashMap<u64, Arc<Xattrs>> =
            self.xattrs.drain().map(|(number, xattrs)| (number, Arc::new(xattrs))).collect();
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut entry = |path: String, number: u64, is_exact: bool| -> Result<Entry, Fault> {
            let lost = || Fault::damaged(format!("`{path}` has no inode"));
            let inode = *self.inodes.get(&number).ok_or_else(lost)?;
            let next = numbers.len() as u32 + 1;
            let is_exact = is_exact && !self.inexact.contains(&number);
            let (kind, is_exact) = match inode.mode & mode::KIND {
                mode::DIR => (Kind::Dir, is_exact),
                mode::FILE => (Kind::File(inode.size), is_exact),
                mode::SYMLINK => {
                    let target = target(volume, files, sums, number, &inode).map_err(|f| f.at(&path))?;
                    let is_utf8 = std::str::from_utf8(&target).is_ok();
                    (Kind::Symlink(String::from_utf8_lossy(&target).into_owned()), is_exact && is_utf8)
                }
                // overlayfs' mark of a removed file.
                mode::CHARACTER_DEVICE if inode.device == 0 => (Kind::Whiteout, is_exact),
                _ => (Kind::Special, is_exact),
            };
            let listed = Listed {
                path,
                mode: (inode.mode & 0o7777) as u16,
                uid: inode.uid,
                gid: inode.gid,
                mtime: inode.time.seconds.clamp(0, u32::MAX.into()) as u32,
                inode: *numbers.entry(number).or_insert(next),
                nlink: inode.links,
                xattrs: xattrs.get(&number).cloned().unwrap_or_default(),
                kind,
            };
            Ok(Entry { listed, number, inode, is_exact })
        };
        let root = entry(String::new(), object::FIRST, true)?;
        if root.listed.kind != Kind::Dir {
            return Err(Fault::damaged("its root is not a directory"));
        }
        let mut entries = Vec::new();
        let mut seen = HashSet::from([object::FIRST]);
        let mut open = vec![(String::new(), object::FIRST, 0, true)];
        while let Some((above, directory, depth, is_exact)) = open.pop() {
            for (name, number) in self.names.remove(&directory).unwrap_or_default() {
                if depth >= limits.depth {
                    let limit = limits.depth as u64;
                    return Err(Fault::Limit { what: "the depth of its directories".into(), limit });
                }
                let is_exact = is_exact && std::str::from_utf8(&name).is_ok();
                let name = String::from_utf8_lossy(&name);
                let path = if above.is_empty() { name.into_owned() } else { format!("{above}/{name}") };
                if path.len() > MAX_PATH {
                    let limit = MAX_PATH as u64;
                    return Err(Fault::Limit { what: "the length of a path".into(), limit });
                }
                let entry = entry(path, number, is_exact)?;
                self.memory += entry.listed.path.len();
                if let Kind::Symlink(target) = &entry.listed.kind {
                    self.memory += target.len();
                }
                judge_memory(self.memory)?;
                if entry.listed.kind == Kind::Dir {
                    // A directory has one name: a second one would be a loop, or the same subtree again and again.
                    if !seen.insert(number) {
                        return Err(Fault::damaged(format!(
                            "the directory `{}` occurs twice",
                            entry.listed.path
                        )));
                    }
                    open.push((entry.listed.path.clone(), number, depth + 1, is_exact));
                }
                entries.push(entry);
            }
        }
        entries.sort_by(|one, other| one.listed.path.cmp(&other.listed.path));
        let twice = entries.windows(2).find(|pair| pair[0].listed.path == pair[1].listed.path);
        match twice {
            // Names that are not UTF-8 may look alike.
            Some([one, other]) if one.is_exact && other.is_exact => {
                Err(Fault::damaged(format!("`{}` occurs twice", one.listed.path)))
            }
            _ => Ok((root, entries)),
        }
    }
}

fn judge_memory(memory: usize) -> Result<(), Fault> {
    let fault = || Fault::Limit { what: "the memory for its names".into(), limit: MEMORY as u64 };
    if memory > MEMORY { Err(fault()) } else { Ok(()) }
}

/// A name that can be one.
fn checked(name: &[u8]) -> Result<&[u8], Fault> {
    let is_bad = name.is_empty()
        || name.len() > MAX_NAME
        || matches!(name, b"." | b"..")
        || name.iter().any(|byte| matches!(byte, b'/' | 0));
    let fault = || Fault::damaged(format!("it has the name `{}`", name.escape_ascii()));
    if is_bad { Err(fault()) } else { Ok(name) }
}

/// The target of a symlink.
fn target<S: Source>(
    volume: &Volume<S>,
    files: &Root,
    sums: &Root,
    number: u64,
    inode: &Inode,
) -> Result<Vec<u8>, Fault> {
    if inode.size > MAX_PATH as u64 {
        return Err(Fault::Limit { what: "the length of a link's target".into(), limit: MAX_PATH as u64 });
    }
    let pieces = content::pieces(volume, files, number, inode, MAX_PATH as u64)?;
    Stream::new(volume, sums, ("", ""), inode, pieces).all()
}
