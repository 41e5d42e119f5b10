//! Reads untrusted images: every number in them is checked.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::layout::{BLOCK, DIRENT, Inode, Layout, SLOT, Superblock};
use super::{Error, xattr};
use crate::format::fields::{u16_at, u32_at, u64_at};
use crate::format::image::{Kind, Limits, Listed, Xattrs};
use crate::format::tree::{MAX_NAME, MAX_PATH};

/// Deepest directory that is entered; by Linux' `PATH_MAX` no name below it can be valid.
const MAX_DEPTH: usize = MAX_PATH / 2;

/// Most memory for paths, targets and attributes together, in bytes.
const MEMORY: usize = 256 << 20;

/// An inode, and the offset in the image right after it.
#[derive(Clone, Copy, Debug)]
struct Found {
    inode: Inode,
    behind: u64,
}

/// An open image.
#[derive(Debug)]
pub struct Image {
    subject: String,
    limits: Limits,
    file: File,
    /// Offset of the image in its file.
    start: u64,
    /// Length of the image, in bytes.
    length: u64,
    superblock: Superblock,
    entries: Vec<(Listed, Found)>,
}

impl Image {
    /// Opens an image and reads all inodes and names.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, Error> {
        let subject = path.display().to_string();
        let failed = |source| Error::Read { subject: subject.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Image::open_at(&subject, file, 0, length, limits)
    }

    /// Like [`Image::open`], for an image that is `length` bytes of a file, from `start` on.
    pub(crate) fn open_at(
        subject: &str,
        file: File,
        start: u64,
        length: u64,
        limits: Limits,
    ) -> Result<Self, Error> {
        let subject = subject.to_owned();
        let failed = |source| Error::Read { subject: subject.clone(), source };
        let damaged = |why: String| Error::Damaged { subject: subject.clone(), why };
        let mut block = [0; BLOCK];
        if length < BLOCK as u64 {
            return Err(damaged("it is shorter than a block".into()));
        }
        file.read_exact_at(&mut block, start).map_err(failed)?;
        let superblock = Superblock::parse(&block).map_err(damaged)?;
        if superblock.features.devices != 0 {
            return Err(damaged("some of it is on other devices".into()));
        }
        if let Some(what) = superblock.features.unread() {
            return Err(Error::Feature { subject, what });
        }
        if u64::from(superblock.blocks) * BLOCK as u64 > length {
            return Err(damaged("it is cut off".into()));
        }
        let mut image = Image { subject, limits, file, start, length, superblock, entries: Vec::new() };
        image.walk()?;
        image.entries.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
        Ok(image)
    }

    /// Creation time of the image, in seconds since 1970, as it states itself.
    pub fn time(&self) -> u64 {
        self.superblock.time
    }

    /// All entries but the root, sorted by path.
    pub fn list(&self) -> impl Iterator<Item = &Listed> {
        self.entries.iter().map(|(listed, _)| listed)
    }

    /// The bytes of one file, named without a leading slash.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let found = self.file(path)?;
        if found.inode.size > self.limits.file {
            return Err(self.limit(format!("the length of `{path}`"), self.limits.file));
        }
        self.data(found)
    }

    /// The first bytes of a file, at most `limit`.
    pub fn head(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let found = self.file(path)?;
        self.start_of(found, limit.min(found.inode.size))
    }

    fn file(&self, path: &str) -> Result<&Found, Error> {
        let found = self.entries.binary_search_by(|(listed, _)| listed.path.as_str().cmp(path));
        match found.map(|index| &self.entries[index]) {
            Ok((Listed { kind: Kind::File(_), .. }, found)) => Ok(found),
            _ => Err(Error::NoFile { subject: self.subject.clone(), path: path.into() }),
        }
    }

    fn walk(&mut self) -> Result<(), Error> {
        let root = self.inode(self.superblock.root.into())?;
        if kind_of(root.inode.mode) != 0o040_000 {
            return Err(self.damaged("its root is not a directory"));
        }
        let mut seen = BTreeSet::from([root.behind]);
        let mut open = vec![(String::new(), root, 0)];
        let mut memory = 0;
        while let Some((above, directory, depth)) = open.pop() {
            if depth > MAX_DEPTH {
                return Err(self.limit("the depth of its directories".into(), MAX_DEPTH as u64));
            }
            for (name, nid) in self.names(&directory)? {
                let path = if above.is_empty() { name } else { format!("{above}/{name}") };
                if path.len() > MAX_PATH {
                    return Err(self.limit("the length of a path".into(), MAX_PATH as u64));
                }
                if self.entries.len() as u64 >= u64::from(self.limits.inodes) {
                    return Err(self.limit("the number of inodes".into(), self.limits.inodes.into()));
                }
                let found = self.inode(nid)?;
                let kind = self.kind(&found)?;
                if kind == Kind::Dir {
                    // A directory has one name: a second one would be a loop, or the same subtree again and again.
                    if !seen.insert(found.behind) {
                        return Err(self.damaged("a directory occurs twice"));
                    }
                    open.push((path.clone(), found, depth + 1));
                }
                let inode = found.inode;
                let listed = Listed {
                    path,
                    mode: inode.mode & 0o7777,
                    uid: inode.uid,
                    gid: inode.gid,
                    mtime: u32::try_from(inode.time).unwrap_or(u32::MAX),
                    inode: inode.number,
                    nlink: inode.links,
                    xattrs: Arc::new(self.xattrs(&found)?),
                    kind,
                };
                let target = if let Kind::Symlink(target) = &listed.kind { target.len() } else { 0 };
                let xattrs = listed.xattrs.iter().map(|(name, value)| name.len() + value.len());
                memory += listed.path.len() + target + xattrs.sum::<usize>();
                if memory > MEMORY {
                    return Err(self.limit("the memory for its names".into(), MEMORY as u64));
                }
                self.entries.push((listed, found));
            }
        }
        Ok(())
    }

    fn kind(&self, found: &Found) -> Result<Kind, Error> {
        let inode = &found.inode;
        Ok(match kind_of(inode.mode) {
            0o040_000 => Kind::Dir,
            0o100_000 => Kind::File(inode.size),
            0o120_000 => {
                if inode.size > MAX_PATH as u64 {
                    return Err(self.limit("the length of a link's target".into(), MAX_PATH as u64));
                }
                Kind::Symlink(String::from_utf8_lossy(&self.data(found)?).into_owned())
            }
            // overlayfs' mark of a removed file.
            0o020_000 if inode.data == 0 => Kind::Whiteout,
            _ => Kind::Special,
        })
    }

    fn inode(&self, nid: u64) -> Result<Found, Error> {
        let meta = u64::from(self.superblock.meta) * BLOCK as u64;
        let at = nid.checked_mul(SLOT as u64).and_then(|offset| meta.checked_add(offset));
        let at =
            at.filter(|at| *at < self.length).ok_or_else(|| self.damaged("an inode lies outside of it"))?;
        let bytes = self.bytes(at, 64.min(self.length - at))?;
        let (inode, length) = Inode::parse(&bytes, self.superblock.time).map_err(|why| self.damaged(&why))?;
        Ok(Found { inode, behind: at + length as u64 })
    }

    fn xattrs(&self, found: &Found) -> Result<Xattrs, Error> {
        let bytes = self.bytes(found.behind, found.inode.xattrs as u64)?;
        let shared = |number: u32| {
            let at = u64::from(self.superblock.xattrs) * BLOCK as u64 + u64::from(number) * 4;
            // Enough for the longest attribute: a name of 255 bytes and a value of 64 KiB after four bytes.
            self.bytes(at, (4 + 255 + u64::from(u16::MAX)).min(self.length.saturating_sub(at)))
        };
        xattr::decode(&bytes, shared, |why| self.damaged(why))
    }

    /// The names in a directory, except `.` and `..`, each with the number of its inode.
    fn names(&self, directory: &Found) -> Result<Vec<(String, u64)>, Error> {
        let longest = u64::from(self.limits.inodes).saturating_mul((DIRENT + MAX_NAME) as u64);
        if directory.inode.size > longest {
            return Err(self.limit("the length of a directory".into(), longest));
        }
        // Holes would make a huge directory of a small image; no tool writes directories in chunks.
        if directory.inode.layout == Layout::Chunks {
            return Err(self.damaged("a directory is in chunks"));
        }
        let bytes = self.data(directory)?;
        let mut names = Vec::new();
        for block in bytes.chunks(BLOCK) {
            // The first name begins right after the last entry.
            let entries = usize::from(u16_at(block, 8)) / DIRENT;
            if entries == 0 || entries * DIRENT > block.len() {
                return Err(self.damaged("a directory's entries lie outside of it"));
            }
            for index in 0..entries {
                let start = usize::from(u16_at(block, index * DIRENT + 8));
                let end = match index + 1 < entries {
                    true => usize::from(u16_at(block, (index + 1) * DIRENT + 8)),
                    false => block.len(),
                };
                let name = block
                    .get(start..end)
                    .ok_or_else(|| self.damaged("a name lies outside of its directory"))?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                if name == "." || name == ".." {
                    continue;
                }
                if name.is_empty() || name.len() > MAX_NAME || name.contains('/') {
                    return Err(self.damaged(&format!("it has the name {name:?}")));
                }
                if names.len() as u64 >= u64::from(self.limits.inodes) {
                    return Err(self.limit("the number of names".into(), self.limits.inodes.into()));
                }
                names.push((name, u64_at(block, index * DIRENT)));
            }
        }
        Ok(names)
    }

    /// All data of an inode; the caller has limited its size.
    fn data(&self, found: &Found) -> Result<Vec<u8>, Error> {
        self.start_of(found, found.inode.size)
    }

    /// The first bytes of an inode's data, at most as many as it has.
    fn start_of(&self, Found { inode, behind }: &Found, length: u64) -> Result<Vec<u8>, Error> {
        let (block, inode_end) = (BLOCK as u64, behind + inode.xattrs as u64);
        let whole = match inode.layout {
            Layout::Plain => inode.size,
            Layout::Inline => inode.size - inode.size % block,
            Layout::Chunks => return self.chunks(inode, inode_end, length),
        };
        let mut bytes = self.bytes(u64::from(inode.data) * block, length.min(whole))?;
        bytes.extend(self.bytes(inode_end, length.saturating_sub(whole))?);
        Ok(bytes)
    }

    /// Reads data in chunks: a list after the inode gives the first block of each (`erofs_map_blocks` of Linux).
    fn chunks(&self, inode: &Inode, behind: u64, length: u64) -> Result<Vec<u8>, Error> {
        const BLOCK_BITS: u32 = 0x1f;
        const INDEXES: u32 = 0x20;
        const HOLE: u32 = u32::MAX;
        let bits = BLOCK.trailing_zeros() + (inode.data & BLOCK_BITS);
        let chunk =
            1_u64.checked_shl(bits).ok_or_else(|| self.damaged("a file has an impossible chunk size"))?;
        // An index has a device and flags before its block.
        let (unit, at) = if inode.data & INDEXES != 0 { (8, 4) } else { (4, 0) };
        let list = behind.next_multiple_of(unit);
        let mut bytes = Vec::new();
        for index in 0..length.div_ceil(chunk) {
            let entry = self.bytes(list + index * unit, unit)?;
            let wanted = chunk.min(length - index * chunk);
            match u32_at(&entry, at) {
                HOLE => bytes.resize(bytes.len() + wanted as usize, 0),
                first => bytes.extend(self.bytes(u64::from(first) * BLOCK as u64, wanted)?),
            }
        }
        Ok(bytes)
    }

    /// A range of the image. Nothing is allocated for a range beyond its end.
    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, Error> {
        if length == 0 {
            return Ok(Vec::new());
        }
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(self.damaged("data lies outside of it"));
        }
        let mut bytes = vec![0; length as usize];
        let failed = |source| Error::Read { subject: self.subject.clone(), source };
        self.file.read_exact_at(&mut bytes, self.start + at).map_err(failed)?;
        Ok(bytes)
    }

    fn damaged(&self, why: &str) -> Error {
        Error::Damaged { subject: self.subject.clone(), why: why.into() }
    }

    fn limit(&self, what: String, limit: u64) -> Error {
        Error::Limit { subject: self.subject.clone(), what, limit }
    }
}

/// The type bits of a mode.
fn kind_of(mode: u16) -> u16 {
    mode & 0o170_000
}
