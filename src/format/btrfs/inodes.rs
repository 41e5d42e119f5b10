//! Makes the items of the file tree, and finds a place for the data of every file.

use std::collections::{BTreeMap, HashMap};

use super::Error;
use super::files::{Body, Data, File, Files};
use super::items::{self, Extent, Inode, Named, entry_kind, flag, mode};
use super::key::{Key, kind, name_hash, object, reference_hash};
use super::layout::{MOST_INLINE, MOST_PAYLOAD, Options, Property, SECTOR, Space};
use super::pack::Payload;
use super::time::Time;

/// A file whose data is stored.
pub(super) struct Stored<'d> {
    pub path: &'d str,
    pub data: &'d (dyn Data + 'd),
}

/// A range of a file's data on the device.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub address: u64,
    /// Bytes on the device, a multiple of [`SECTOR`].
    pub length: u64,
    /// Bytes of the file; zeros fill the rest.
    pub bytes: u64,
    /// Index of the file.
    pub file: usize,
    pub inode: u64,
    /// Offset in the file.
    pub offset: u64,
}

/// The file tree, and where its data is.
#[derive(Default)]
pub(super) struct Inodes<'d> {
    /// The items, by key.
    pub items: BTreeMap<Key, Payload>,
    /// Files with data, in the order of their paths.
    pub stored: Vec<Stored<'d>>,
    /// Extents, by address: those of a file follow each other.
    pub placed: Vec<Placed>,
    /// Inodes, by number from [`object::FIRST`] on, with the index of the next name in a directory.
    inodes: Vec<(Inode, u64)>,
    /// Numbers of the inodes by path.
    numbers: HashMap<&'d str, u64>,
}

impl<'d> Inodes<'d> {
    /// Numbers the files by path, and takes room for their data.
    pub(super) fn of(files: &'d Files<'d>, options: &Options<'_>, space: &mut Space) -> Result<Self, Error> {
        let mut all = Inodes::default();
        for (path, file) in files.iter() {
            all.inode(path, file, options, space)?;
        }
        for (path, file) in files.iter().skip(1) {
            all.name(path, file)?;
        }
        // The root is its own parent.
        all.items.insert(
            Key::new(object::FIRST, kind::INODE_REF, object::FIRST),
            Payload::Bytes(items::reference(0, b"..")),
        );
        for (number, (mut inode, _)) in (object::FIRST..).zip(std::mem::take(&mut all.inodes)) {
            if inode.mode & mode::KIND == mode::DIR {
                inode.links = 1;
            }
            all.items.insert(Key::new(number, kind::INODE, 0), Payload::Bytes(inode.encode()));
        }
        Ok(all)
    }

    /// Makes an inode with its attributes and data. A hard link has none of its own.
    fn inode(
        &mut self,
        path: &'d str,
        file: &'d File<'d>,
        options: &Options<'_>,
        space: &mut Space,
    ) -> Result<(), Error> {
        let number = object::FIRST + self.inodes.len() as u64;
        let mut inode = Inode {
            uid: file.owner.0,
            gid: file.owner.1,
            time: file.time.unwrap_or(Time::of_epoch(options.epoch)),
            ..Inode::default()
        };
        let permissions = u32::from(file.mode & 0o7777);
        let mut property = options.compression;
        match &file.body {
            Body::Link(_) => return Ok(()),
            Body::Dir => inode.mode = mode::DIR | permissions,
            Body::Symlink(target) => {
                let most = MOST_PAYLOAD - items::EXTENT_HEAD;
                if target.is_empty() || target.len() > most || target.contains('\0') {
                    let why = format!("a symlink's target has 1 to {most} bytes, none of them NUL");
                    return Err(Error::File { path: path.into(), why });
                }
                inode.mode = mode::SYMLINK | 0o777;
                (inode.size, inode.stored) = (target.len() as u64, target.len() as u64);
                let item = Payload::Bytes(Extent::inline(target.as_bytes()));
                self.items.insert(Key::new(number, kind::EXTENT_DATA, 0), item);
                property = None;
            }
            Body::File(data) => {
                inode.mode = mode::FILE | permissions;
                inode.size = data.length();
                inode.stored = self.data(path, number, &**data, space)?;
            }
        }
        for (name, value) in &file.xattrs {
            self.xattr(path, number, name, value)?;
        }
        match (file.xattrs.get(Property::NAME).map(Vec::as_slice), property) {
            (Some(b""), _) => {}
            (Some(b"no" | b"none"), _) => inode.flags |= flag::NO_COMPRESSION,
            (Some(_), _) => inode.flags |= flag::COMPRESSION,
            (None, Some(property)) => {
                self.xattr(path, number, Property::NAME, property.value().as_bytes())?;
                inode.flags |= flag::COMPRESSION;
            }
            (None, None) => {}
        }
        self.inodes.push((inode, 2));
        self.numbers.insert(path, number);
        Ok(())
    }

    /// Takes room for a file's data; returns how many bytes of it are stored.
    fn data(
        &mut self,
        path: &'d str,
        inode: u64,
        data: &'d dyn Data,
        space: &mut Space,
    ) -> Result<u64, Error> {
        let (length, parts) = (data.length(), data.parts());
        let mut end = 0;
        for part in &parts {
            let is_whole =
                part.start.is_multiple_of(SECTOR) && (part.end == length || part.end.is_multiple_of(SECTOR));
            if !is_whole || part.start < end || part.start >= part.end || part.end > length {
                if length == 0 {
                    continue;
                }
                let why = "its parts are not whole sectors in their order".into();
                return Err(Error::File { path: path.into(), why });
            }
            end = part.end;
        }
        // The kernel's offsets have 63 bits.
        if length > i64::MAX as u64 {
            return Err(Error::File { path: path.into(), why: format!("it has {length} bytes") });
        }
        if end == 0 {
            return Ok(0);
        }
        let file = self.stored.len();
        self.stored.push(Stored { path, data });
        if length <= MOST_INLINE {
            let item = Payload::Inline(file, length as usize);
            self.items.insert(Key::new(inode, kind::EXTENT_DATA, 0), item);
            return Ok(length);
        }
        let mut stored = 0;
        for part in parts {
            let mut offset = part.start;
            while offset < part.end {
                let left = part.end - offset;
                let (address, length) = space.extent(left.next_multiple_of(SECTOR));
                let item = Payload::Bytes(Extent::disk(address, length));
                self.items.insert(Key::new(inode, kind::EXTENT_DATA, offset), item);
                self.placed.push(Placed { address, length, bytes: length.min(left), file, inode, offset });
                stored += length;
                offset += length;
            }
        }
        Ok(stored)
    }

    fn xattr(&mut self, path: &str, inode: u64, name: &str, value: &[u8]) -> Result<(), Error> {
        let named = Named { target: Key::default(), kind: entry_kind::XATTR, name: name.as_bytes(), value };
        let fits =
            !name.is_empty() && name.len() <= 255 && Named::HEAD + name.len() + value.len() <= MOST_PAYLOAD;
        let why = || format!("its extended attribute `{name}` is longer than a tree block holds");
        let refused = || Error::File { path: path.into(), why: why() };
        if !fits {
            return Err(refused());
        }
        let key = Key::new(inode, kind::XATTR, name_hash(name.as_bytes()));
        if self.append(key, named.encode()) { Ok(()) } else { Err(refused()) }
    }

    /// Gives an inode a name in its directory.
    fn name(&mut self, path: &'d str, file: &'d File<'d>) -> Result<(), Error> {
        let refuse = |why: &str| Error::File { path: path.into(), why: why.into() };
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (kind_of_entry, target) = match &file.body {
            Body::Dir => (entry_kind::DIR, path),
            Body::Symlink(_) => (entry_kind::SYMLINK, path),
            Body::File(_) => (entry_kind::FILE, path),
            Body::Link(target) => (entry_kind::FILE, target.as_str()),
        };
        let number = self.numbers.get(target).copied();
        let number = number.ok_or_else(|| refuse("it is a hard link to a file that is not there"))?;
        let is_file = |(inode, _): &(Inode, u64)| inode.mode & mode::KIND == mode::FILE;
        let index_of = |number: u64| (number - object::FIRST) as usize;
        let is_link = matches!(file.body, Body::Link(_));
        match self.inodes.get_mut(index_of(number)) {
            Some(found) if !is_link || is_file(found) => found.0.links += 1,
            _ => return Err(refuse("it is a hard link to something else than a file")),
        }
        let parent = self.numbers.get(above).copied().unwrap_or(object::FIRST);
        let Some((directory, next)) = self.inodes.get_mut(index_of(parent)) else { return Ok(()) };
        let index = *next;
        *next += 1;
        directory.size += 2 * name.len() as u64;
        let name = name.as_bytes();
        let target = Key::new(number, kind::INODE, 0);
        let entry = Named { target, kind: kind_of_entry, name, value: b"" }.encode();
        self.items.insert(Key::new(parent, kind::DIR_INDEX, index), Payload::Bytes(entry.clone()));
        if !self.append(Key::new(parent, kind::DIR_ITEM, name_hash(name)), entry) {
            return Err(refuse("too many names in its directory have the same CRC-32C"));
        }
        if !self.append(Key::new(number, kind::INODE_REF, parent), items::reference(index, name)) {
            let key = Key::new(number, kind::INODE_EXTREF, reference_hash(parent, name));
            if !self.append(key, items::extended_reference(parent, index, name)) {
                return Err(refuse("too many names of the file have the same CRC-32C"));
            }
        }
        Ok(())
    }

    /// Adds to the item of a key, which names with the same hash share. Returns whether it fits.
    fn append(&mut self, key: Key, bytes: Vec<u8>) -> bool {
        let item = self.items.entry(key).or_insert_with(|| Payload::Bytes(Vec::new()));
        match item {
            Payload::Bytes(item) if item.len() + bytes.len() <= MOST_PAYLOAD => {
                item.extend(bytes);
                true
            }
            _ => false,
        }
    }
}
