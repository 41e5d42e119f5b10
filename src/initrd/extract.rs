//! Unpacking an initrd below a directory, as the kernel would unpack it into its root.
//!
//! Later members win, links are followed as if the directory were the root (`openat2` with `RESOLVE_IN_ROOT`), and
//! nothing is ever written outside of it. Owners and times are not set, setuid bits are dropped, and devices are left
//! out unless requested.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs as unix;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Error;
use super::segments::{Limits, Place, Segments};
use crate::base::{disk, unfinished};
use crate::format::cpio::{self, Member};

/// Part of a body that is in memory at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// Options of an extraction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Upper limits.
    pub limits: Limits,
    /// Make devices, pipes and sockets, too; devices need root.
    pub devices: bool,
    /// Only the archive that begins at this byte; `None` extracts all.
    pub only: Option<u64>,
}

/// Result of an extraction.
#[derive(Clone, Debug, Default)]
pub struct Extracted {
    /// Number of members written; a later one may have replaced an earlier.
    pub written: usize,
    /// Devices, pipes and sockets that were left out.
    pub special: Vec<String>,
    /// Members whose directory is in no earlier archive: the kernel drops them silently.
    pub orphans: Vec<String>,
}

/// Unpacks the initrd at `path` into `directory`, which must be empty or not exist yet.
pub fn extract(path: &Path, directory: &Path, options: Options) -> Result<Extracted, Error> {
    let file = File::open(path).map_err(disk::Error::io("read", path))?;
    // A partial extraction would block the next attempt, so everything goes into a temporary directory first, which is
    // removed however the run ends.
    let is_there = fs::symlink_metadata(directory).is_ok();
    let place = if is_there { directory } else { disk::directory_of(directory) };
    fs::create_dir_all(place).map_err(disk::Error::io("create", place))?;
    if is_there {
        // Earlier runs may have left their temporary directories in both.
        unfinished::sweep(directory);
        unfinished::sweep(disk::directory_of(directory));
        let mut entries = fs::read_dir(directory).map_err(disk::Error::io("list", directory))?;
        if entries.next().is_some() {
            return Err(Error::Exists { path: directory.into() });
        }
    }
    let stage = unfinished::Directory::in_directory(place)
        .map_err(disk::Error::io("create a directory in", place))?;
    let top = stage.path().join("root");
    fs::create_dir(&top).map_err(disk::Error::io("create", &top))?;
    let root = unix::openat(CWD, &top, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(|errno| disk::Error::io("open", &top)(errno.into()))?;
    let subject = path.display().to_string();
    let mut unpacker = Unpacker {
        subject: &subject,
        directory,
        root,
        options,
        links: HashMap::new(),
        done: Extracted::default(),
    };
    let mut segments = Segments::new(&subject, file, options.limits).starting_at(options.only.unwrap_or(0));
    segments.probe()?;
    while segments.next(&mut |place, member, body| unpacker.member(place, member, body))?.is_some() {
        if options.only.is_some() {
            break;
        }
    }
    let appear = || match is_there {
        false => fs::rename(&top, directory),
        // A directory that already exists keeps its owner and mode, and may be a mount point.
        true => fs::read_dir(&top)?.try_for_each(|entry| {
            let entry = entry?;
            fs::rename(entry.path(), directory.join(entry.file_name()))
        }),
    };
    unfinished::together(appear).map_err(disk::Error::io("write", directory))?;
    Ok(unpacker.done)
}

struct Unpacker<'u> {
    subject: &'u str,
    directory: &'u Path,
    root: OwnedFd,
    options: Options,
    /// The first path of each file with several links.
    links: HashMap<(u64, usize, (u64, u32)), Vec<u8>>,
    done: Extracted,
}

impl Unpacker<'_> {
    fn member(&mut self, place: &Place, member: &Member, body: &mut dyn Read) -> Result<(), Error> {
        let path = self.contained(member)?;
        let (parent, name) = split(&path);
        if name.is_empty() {
            return Ok(()); // the root itself
        }
        let on_disk = self.directory.join(OsStr::from_bytes(&path));
        let failed = |errno: Errno| disk::Error::io("write", &on_disk)(errno.into());
        let parent = match self.open(parent) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.done.orphans.push(shown(&path));
                return Ok(());
            }
            Err(errno) => return Err(failed(errno).into()),
        };
        let kind = FileType::from_raw_mode(member.mode);
        let mode = Mode::from_raw_mode(member.mode & 0o777);
        match kind {
            FileType::Directory => self.directory(&parent, name, mode).map_err(failed)?,
            FileType::RegularFile => {
                let key = (place.start.offset, place.archive, member.inode);
                let first = self.links.get(&key).filter(|_| member.nlink > 1).cloned();
                clear(&parent, name).map_err(failed)?;
                match &first {
                    Some(first) => self.link(first, &parent, name).map_err(failed)?,
                    None => drop(create(&parent, name, mode).map_err(failed)?),
                }
                if member.size > 0 {
                    let file = unix::openat(
                        &parent,
                        name,
                        OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                        Mode::empty(),
                    );
                    self.copy(body, File::from(file.map_err(failed)?), place, &on_disk)?;
                }
                // The mode comes last, since it may take write permission away.
                unix::chmodat(&parent, name, mode, AtFlags::empty()).map_err(failed)?;
                if first.is_none() && member.nlink > 1 {
                    self.links.insert(key, path);
                }
            }
            FileType::Symlink => {
                clear(&parent, name).map_err(failed)?;
                unix::symlinkat(member.target.as_slice(), &parent, name).map_err(failed)?;
            }
            _ if self.options.devices => {
                clear(&parent, name).map_err(failed)?;
                let (major, minor) = member.device;
                unix::mknodat(&parent, name, kind, mode, unix::makedev(major, minor)).map_err(failed)?;
            }
            _ => {
                self.done.special.push(shown(&path));
                return Ok(());
            }
        }
        self.done.written += 1;
        Ok(())
    }

    fn copy(&self, body: &mut dyn Read, mut file: File, place: &Place, path: &Path) -> Result<(), Error> {
        let (subject, offset) = (self.subject, place.start.offset);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = body.read(&mut chunk);
            match read.map_err(|source| cpio::Error::Damaged { subject: subject.into(), offset, source })? {
                0 => return Ok(()),
                read => file.write_all(&chunk[..read]).map_err(disk::Error::io("write", path))?,
            }
        }
    }

    /// The name without the parts that stand for the root; empty for the root itself. It may have any bytes, as in the
    /// kernel.
    fn contained(&self, member: &Member) -> Result<Vec<u8>, Error> {
        let parts = member.name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        let parts: Vec<&[u8]> = parts.collect();
        match parts.contains(&&b".."[..]) {
            true => Err(Error::Unsafe {
                subject: self.subject.into(),
                member: member.path.clone(),
                why: "its name leaves the directory with `..`",
            }),
            false => Ok(parts.join(&b'/')),
        }
    }

    fn open(&self, parent: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        unix::openat2(&self.root, parent, flags, Mode::empty(), resolve)
    }

    /// An existing directory takes the mode of the later member. Its owner can always write into it.
    fn directory(&self, parent: &OwnedFd, name: &[u8], mode: Mode) -> Result<(), Errno> {
        let is_there = unix::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if !is_there {
            clear(parent, name)?;
            unix::mkdirat(parent, name, Mode::RWXU)?;
        }
        unix::chmodat(parent, name, mode | Mode::RWXU, AtFlags::empty())
    }

    fn link(&self, first: &[u8], parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let (from, first) = split(first);
        unix::linkat(self.open(from)?, first, parent, name, AtFlags::empty())?;
        // The first path may have been replaced since; chmod of a symlink would change its target.
        let stat = unix::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => unix::chmodat(parent, name, Mode::RUSR | Mode::WUSR, AtFlags::empty()),
            _ => unix::unlinkat(parent, name, AtFlags::empty()).and(Err(Errno::LOOP)),
        }
    }
}

/// Splits a path into directory and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b".", path),
    }
}

/// A path as shown to people.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn create(parent: &OwnedFd, name: &[u8], mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    unix::openat(parent.as_fd(), name, flags, mode | Mode::WUSR)
}

/// Removes what exists at the path, a directory only if it is empty, as the kernel does.
fn clear(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match unix::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => unix::unlinkat(parent, name, AtFlags::REMOVEDIR),
        Err(errno) => Err(errno),
    }
}
