//! Extracts the tree of an image into a directory on disk.
//!
//! Nothing is written outside of the directory: it is new, the kernel resolves every path below it and through no
//! symlink (openat2(2), Linux 5.6), every file is created and never reopened for writing, and symlinks come last.
//! Owners, extended attributes and the setuid bits are dropped; images with devices are refused.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use super::image::{Image, Piece};
use super::inode::{Body, Inode};
use super::{Error, Fault};
use crate::base::unfinished::Directory;

/// Number of bytes that may always be extracted, however short the image is.
const FREE: u64 = 64 << 20;

impl Image {
    /// Writes all files, directories and symlinks below `target`, which must not exist yet, and appears only when
    /// everything is written. Modes (without setuid, setgid and sticky), times and hard links are kept.
    ///
    /// # Errors
    /// [`Error::Special`] for images with devices, pipes or sockets; [`Error::Limit`] for more bytes than the limits
    /// allow: both before anything is written.
    pub fn extract(&self, target: &Path) -> Result<(), Error> {
        let tree = Extraction::plan(self, target)?;
        if fs::symlink_metadata(target).is_ok() {
            return Err(Error::Occupied { target: target.display().to_string() });
        }
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let failed = |source| tree.failed(0, source);
        let scratch = Directory::in_directory(parent).map_err(failed)?;
        tree.write(File::open(scratch.path()).map_err(failed)?)?;
        scratch.rename(target).map_err(failed)
    }
}

/// The plan of an extraction; entries are given by index.
struct Extraction<'i> {
    image: &'i Image,
    target: &'i Path,
    dirs: Vec<usize>,
    files: Vec<usize>,
    /// Hard links, each with the first name of its inode.
    links: Vec<(usize, usize)>,
    symlinks: Vec<usize>,
}

impl<'i> Extraction<'i> {
    fn plan(image: &'i Image, target: &'i Path) -> Result<Self, Error> {
        let mut plan = Extraction {
            image,
            target,
            dirs: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            symlinks: Vec::new(),
        };
        let mut total: u64 = 0;
        let mut first_names = HashMap::new();
        let mut fragments = HashMap::new();
        for (index, node) in image.nodes.iter().enumerate() {
            match plan.inode(index)?.body {
                Body::Dir(_) => plan.dirs.push(index),
                Body::Symlink(_) => plan.symlinks.push(index),
                Body::File(file) => match first_names.get(&node.at) {
                    Some(first) => plan.links.push((index, *first)),
                    None => {
                        first_names.insert(node.at, index);
                        fragments.insert(index, file.fragment);
                        total = total.saturating_add(file.size);
                        plan.files.push(index);
                    }
                },
                Body::Special { .. } => {
                    let path = String::from_utf8_lossy(&image.path(index)).into_owned();
                    return Err(Error::Special { subject: image.subject.clone(), path });
                }
            }
        }
        let limits = image.limits;
        let limit = limits.total.min(image.length().saturating_mul(limits.ratio).max(FREE));
        if total > limit {
            let what = format!("the length of {total} bytes of its files");
            return Err(Error::Limit { subject: image.subject.clone(), what, limit });
        }
        // In this order each fragment block is decompressed only once.
        plan.files.sort_by_key(|index| fragments[index]);
        Ok(plan)
    }

    fn inode(&self, index: usize) -> Result<Inode<'i>, Error> {
        let at = self.image.nodes[index].at;
        self.image.inode(at).map_err(|fault: Fault| fault.of(&self.image.subject))
    }

    fn failed(&self, index: usize, source: io::Error) -> Error {
        Error::Extract {
            path: String::from_utf8_lossy(&self.image.path(index)).into_owned(),
            target: self.target.display().to_string(),
            source,
        }
    }

    fn write(&self, root: File) -> Result<(), Error> {
        for &dir in &self.dirs {
            let children = self.image.nodes[dir].children.clone();
            let handle = self.open(&root, dir, OFlags::PATH | OFlags::DIRECTORY)?;
            for child in children {
                if let Body::Dir(_) = self.inode(child)?.body {
                    self.check(child, rustix::fs::mkdirat(&handle, self.name(child), Mode::RWXU))?;
                }
            }
        }
        for &file in &self.files {
            self.write_file(&root, file)?;
        }
        for &(link, first) in &self.links {
            let (from, to) = (self.parent(&root, first)?, self.parent(&root, link)?);
            let (old, new) = (self.name(first), self.name(link));
            self.check(link, rustix::fs::linkat(&from, old, &to, new, AtFlags::empty()))?;
        }
        for &symlink in &self.symlinks {
            let Body::Symlink(text) = self.inode(symlink)?.body else { continue };
            let parent = self.parent(&root, symlink)?;
            self.check(symlink, rustix::fs::symlinkat(text, &parent, self.name(symlink)))?;
        }
        // Deepest first: a directory's time changes with its entries, and its mode may forbid creating them.
        for &dir in self.dirs.iter().rev() {
            let handle = File::from(self.open(&root, dir, OFlags::RDONLY | OFlags::DIRECTORY)?);
            self.finish(dir, &handle)?;
        }
        Ok(())
    }

    fn write_file(&self, root: &File, index: usize) -> Result<(), Error> {
        let Body::File(file) = self.inode(index)?.body else { return Ok(()) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut out = File::from(self.open(root, index, flags)?);
        self.image.pieces(&file, |piece| {
            let written = match piece {
                Piece::Data(bytes) => out.write_all(bytes),
                Piece::Hole(length) => out.seek(SeekFrom::Current(length as i64)).map(drop),
            };
            written.map_err(|source| self.failed(index, source))
        })?;
        out.set_len(file.size).map_err(|source| self.failed(index, source))?;
        self.finish(index, &out)
    }

    /// Sets mode and time.
    fn finish(&self, index: usize, file: &File) -> Result<(), Error> {
        let inode = self.inode(index)?;
        let mode = Permissions::from_mode(u32::from(inode.mode) & 0o777);
        let time = UNIX_EPOCH + Duration::from_secs(inode.mtime.into());
        let set = file.set_permissions(mode).and_then(|()| file.set_modified(time));
        set.map_err(|source| self.failed(index, source))
    }

    fn name(&self, index: usize) -> &OsStr {
        OsStr::from_bytes(self.image.name(&self.image.nodes[index]))
    }

    fn parent(&self, root: &File, index: usize) -> Result<OwnedFd, Error> {
        self.open(root, self.image.parent(index), OFlags::PATH | OFlags::DIRECTORY)
    }

    fn open(&self, root: &File, index: usize, flags: OFlags) -> Result<OwnedFd, Error> {
        let path = match index {
            0 => b".".to_vec(),
            _ => self.image.path(index),
        };
        let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let opened = rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve);
        self.check(index, opened)
    }

    fn check<T>(&self, index: usize, result: rustix::io::Result<T>) -> Result<T, Error> {
        result.map_err(|error| self.failed(index, error.into()))
    }
}
