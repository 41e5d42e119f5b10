//! Reading images, whoever made them: every number in them is doubted.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Error;
use super::layout::{BLOCK, DIRENT, Inode, Layout, SLOT, Superblock, u16_at, u64_at};
use crate::format::squashfs::{Kind, Limits, Listed};
use crate::format::tree::{MAX_NAME, MAX_PATH};

/// Deepest directory that is entered; Linux' `PATH_MAX` allows no name below it.
const MAX_DEPTH: usize = MAX_PATH / 2;

/// An image that is read.
#[derive(Debug)]
pub struct Image {
    subject: String,
    limits: Limits,
    file: File,
    /// Length in bytes.
    length: u64,
    superblock: Superblock,
    entries: Vec<(Listed, Inode, u64)>,
}

impl Image {
    /// Whether a file begins as an erofs image does.
    pub fn is_one(file: &File) -> bool {
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, 0).is_ok() && Superblock::parse(&block).is_ok()
    }

    /// Opens an image and reads all inodes and names.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, Error> {
        let subject = path.display().to_string();
        let failed = |source| Error::Read { subject: subject.clone(), source };
        let damaged = |why: String| Error::Damaged { subject: subject.clone(), why };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut block = [0; BLOCK];
        if length < BLOCK as u64 {
            return Err(damaged("it is shorter than a block".into()));
        }
        file.read_exact_at(&mut block, 0).map_err(failed)?;
        let superblock = Superblock::parse(&block).map_err(damaged)?;
        if superblock.incompat != 0 {
            return Err(damaged(format!(
                "it has the features {:#x}, which are not read here",
                superblock.incompat
            )));
        }
        if u64::from(superblock.blocks) * BLOCK as u64 > length {
            return Err(damaged("it is cut off".into()));
        }
        let mut image = Image { subject, limits, file, length, superblock, entries: Vec::new() };
        image.walk()?;
        image.entries.sort_by(|(one, ..), (other, ..)| one.path.cmp(&other.path));
        Ok(image)
    }

    /// Seconds since 1970 at which the image says it was made.
    pub fn time(&self) -> u64 {
        self.superblock.time
    }

    /// All entries but the root, sorted by path.
    pub fn list(&self) -> impl Iterator<Item = &Listed> {
        self.entries.iter().map(|(listed, ..)| listed)
    }

    /// The bytes of one file, named without a leading slash.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let found = self.entries.binary_search_by(|(listed, ..)| listed.path.as_str().cmp(path));
        match found.map(|index| &self.entries[index]) {
            Ok((Listed { kind: Kind::File(size), .. }, inode, at)) => {
                if *size > self.limits.file {
                    return Err(self.limit(format!("the length of `{path}`"), self.limits.file));
                }
                self.data(inode, *at)
            }
            _ => Err(Error::NoFile { subject: self.subject.clone(), path: path.into() }),
        }
    }

    fn walk(&mut self) -> Result<(), Error> {
        let (root, at) = self.inode(self.superblock.root.into())?;
        if kind_of(root.mode) != 0o040_000 {
            return Err(self.damaged("its root is not a directory"));
        }
        let mut seen = BTreeSet::from([at]);
        let mut open = vec![(String::new(), root, at, 0)];
        while let Some((above, inode, at, depth)) = open.pop() {
            if depth > MAX_DEPTH {
                return Err(self.limit("the depth of its directories".into(), MAX_DEPTH as u64));
            }
            for (name, nid) in self.names(&inode, at)? {
                let path = if above.is_empty() { name } else { format!("{above}/{name}") };
                if path.len() > MAX_PATH {
                    return Err(self.limit("the length of a path".into(), MAX_PATH as u64));
                }
                if self.entries.len() as u64 >= u64::from(self.limits.inodes) {
                    return Err(self.limit("the number of inodes".into(), self.limits.inodes.into()));
                }
                let (inode, at) = self.inode(nid)?;
                let kind = self.kind(&inode, at)?;
                if kind == Kind::Dir {
                    // A directory has one name: another would be a loop, or the same subtree again and again.
                    if !seen.insert(at) {
                        return Err(self.damaged("a directory is in it twice"));
                    }
                    open.push((path.clone(), inode, at, depth + 1));
                }
                let listed = Listed {
                    path,
                    mode: inode.mode & 0o7777,
                    uid: inode.uid,
                    gid: inode.gid,
                    mtime: u32::try_from(inode.time).unwrap_or(u32::MAX),
                    kind,
                };
                self.entries.push((listed, inode, at));
            }
        }
        Ok(())
    }

    fn kind(&self, inode: &Inode, at: u64) -> Result<Kind, Error> {
        Ok(match kind_of(inode.mode) {
            0o040_000 => Kind::Dir,
            0o100_000 => Kind::File(inode.size),
            0o120_000 => {
                if inode.size > MAX_PATH as u64 {
                    return Err(self.limit("the length of a link's target".into(), MAX_PATH as u64));
                }
                Kind::Symlink(String::from_utf8_lossy(&self.data(inode, at)?).into_owned())
            }
            _ => Kind::Special,
        })
    }

    /// The inode in a slot, and where it begins in the image.
    fn inode(&self, nid: u64) -> Result<(Inode, u64), Error> {
        let meta = u64::from(self.superblock.meta) * BLOCK as u64;
        let at = nid.checked_mul(SLOT as u64).and_then(|offset| meta.checked_add(offset));
        let at =
            at.filter(|at| *at < self.length).ok_or_else(|| self.damaged("an inode lies outside of it"))?;
        let bytes = self.bytes(at, 64.min(self.length - at))?;
        let inode = Inode::parse(&bytes, self.superblock.time).map_err(|why| self.damaged(&why))?;
        Ok((inode, at))
    }

    /// The names in a directory, without `.` and `..`, and the inodes that they name.
    fn names(&self, inode: &Inode, at: u64) -> Result<Vec<(String, u64)>, Error> {
        let longest = u64::from(self.limits.inodes).saturating_mul((DIRENT + MAX_NAME) as u64);
        if inode.size > longest {
            return Err(self.limit("the length of a directory".into(), longest));
        }
        let bytes = self.data(inode, at)?;
        let mut names = Vec::new();
        for block in bytes.chunks(BLOCK) {
            // The first name begins behind the last entry.
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

    /// All data of an inode, whose size the caller has limited.
    fn data(&self, inode: &Inode, at: u64) -> Result<Vec<u8>, Error> {
        let tail = match inode.layout {
            Layout::Plain => 0,
            Layout::Inline => inode.size % BLOCK as u64,
        };
        let mut bytes = self.bytes(u64::from(inode.data) * BLOCK as u64, inode.size - tail)?;
        let behind = at + inode.head as u64;
        bytes.extend(self.bytes(behind, tail)?);
        Ok(bytes)
    }

    /// A range of the image. Nothing is allocated for what lies outside of it.
    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, Error> {
        if length == 0 {
            return Ok(Vec::new());
        }
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(self.damaged("data lies outside of it"));
        }
        let mut bytes = vec![0; length as usize];
        let failed = |source| Error::Read { subject: self.subject.clone(), source };
        self.file.read_exact_at(&mut bytes, at).map_err(failed)?;
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
