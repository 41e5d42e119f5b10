//! Tells what changed in a directory since the last call.
//!
//! On a local file system, inotify is used: the kernel queues an event before the edit returns, so one non-blocking
//! read per request is enough to serve every edit with the next request. Otherwise (network and unknown file systems,
//! no watches left), each request compares the times of all files: some 10 ms for 10,000 files. Neither notices writes
//! through a memory map, or through another name of a file that was added after the directory was read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// File systems that only this kernel writes to, so that it sees every change. The numbers are those of statfs(2).
const LOCAL: [u32; 11] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0x2fc1_2fc1, // ZFS
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // EROFS
];
/// Deepest directory that is watched.
const MAX_DEPTH: usize = 16;

/// The changes in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// Nothing has changed.
    None,
    /// These files were created, written or removed.
    Files(BTreeSet<PathBuf>),
    /// The changes cannot be listed: read the directory again, with a new [`Watch`].
    Everything,
}

/// Watches a directory and everything below it.
#[derive(Debug)]
pub(crate) struct Watch {
    path: PathBuf,
    /// The path with all links resolved.
    root: PathBuf,
    skip: Option<PathBuf>,
    identity: Option<Identity>,
    /// `None` if all files are compared instead.
    events: Option<Events>,
    /// Files that events do not cover.
    compared: BTreeMap<PathBuf, Stamp>,
    /// Whether files may be known by other names than those in events.
    has_links: bool,
}

#[derive(Debug)]
struct Events {
    inotify: OwnedFd,
    /// Directories by watch. A file with several names has a watch of its own, without an entry here.
    directories: HashMap<i32, PathBuf>,
}

/// Attributes that change when a file is written or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([i64; 6]);

impl Stamp {
    fn of(data: &Metadata) -> Stamp {
        let device_and_inode = (data.dev() ^ data.ino().rotate_left(32)) as i64;
        let length = data.len() as i64;
        Stamp([device_and_inode, length, data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()])
    }
}

impl Watch {
    /// Starts watching. Changes to anything that is read from now on are reported, except for `skip` and everything
    /// below it.
    pub(crate) fn new(path: &Path, skip: Option<&Path>) -> Watch {
        let (path, skip) = (path.to_owned(), skip.map(Path::to_owned));
        let identity = identity(&path);
        let root = path.canonicalize().unwrap_or_else(|_| path.clone());
        let mut watch =
            Watch { path, root, skip, identity, events: None, compared: BTreeMap::new(), has_links: false };
        watch.events = watch.watch_all().ok();
        if watch.events.is_none() {
            watch.compared = watch.survey();
        }
        watch
    }

    /// Whether the kernel reports edits. Otherwise, each call has to look at every file.
    pub(crate) fn has_events(&self) -> bool {
        self.events.is_some()
    }

    /// The resolved directory, not a link.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The changes since the last call.
    pub(crate) fn changes(&mut self) -> Changes {
        if identity(&self.path) != self.identity {
            return Changes::Everything;
        }
        let Some(events) = &mut self.events else {
            return if self.survey() == self.compared { Changes::None } else { Changes::Everything };
        };
        let stamped = |(path, stamp): (&PathBuf, &Stamp)| {
            fs::metadata(path).is_ok_and(|data| Stamp::of(&data) == *stamp)
        };
        if !self.compared.iter().all(stamped) {
            return Changes::Everything;
        }
        match events.read() {
            None => Changes::Everything,
            Some(files) if files.is_empty() => Changes::None,
            Some(_) if self.has_links => Changes::Everything,
            // The watch of a directory does not cover links, and files with other names.
            Some(files)
                if files.iter().any(|file| fs::symlink_metadata(file).is_ok_and(|data| is_shared(&data))) =>
            {
                Changes::Everything
            }
            Some(files) => Changes::Files(files),
        }
    }

    fn watch_all(&mut self) -> io::Result<Events> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut events = Events { inotify, directories: HashMap::new() };
        let mut rest = vec![(self.root.clone(), 0)];
        while let Some((directory, depth)) = rest.pop() {
            // Before the directory is listed, so that later changes are events.
            let entries = match events.add(&directory).and_then(|()| fs::read_dir(&directory)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => continue,
                // It has other times as soon as it may be read.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let data = fs::metadata(&directory).ok();
                    self.compared.extend(data.map(|data| (directory, Stamp::of(&data))));
                    continue;
                }
                entries => entries?,
            };
            for entry in entries.flatten() {
                let path = entry.path();
                // The metadata of the entry itself, not of a link's target.
                let Ok(data) = entry.metadata() else { continue };
                if data.is_dir() && depth < MAX_DEPTH && self.skip.as_ref() != Some(&path) {
                    rest.push((path, depth + 1));
                } else if data.is_file() && is_shared(&data) {
                    events.add_file(&path)?;
                } else if data.is_symlink() {
                    self.has_links = true;
                    if let Some(data) = fs::metadata(&path).ok().filter(|_| self.leads_to_skipped(&path)) {
                        self.compared.insert(path, Stamp::of(&data));
                    }
                }
            }
        }
        Ok(events)
    }

    fn leads_to_skipped(&self, link: &Path) -> bool {
        let target = link.canonicalize();
        self.skip.as_ref().zip(target.ok()).is_some_and(|(skip, target)| target.starts_with(skip))
    }

    /// Every file and directory with its times. For links, those of their targets.
    fn survey(&self) -> BTreeMap<PathBuf, Stamp> {
        let mut found = BTreeMap::new();
        let mut rest = vec![(self.root.clone(), 0)];
        while let Some((directory, depth)) = rest.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                if self.skip.as_ref() == Some(&path) {
                    continue;
                }
                if depth < MAX_DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    rest.push((path.clone(), depth + 1));
                }
                let data = fs::metadata(&path).or_else(|_| fs::symlink_metadata(&path));
                if let Ok(data) = data {
                    found.insert(path, Stamp::of(&data));
                }
            }
        }
        found
    }
}

impl Events {
    fn add(&mut self, directory: &Path) -> io::Result<()> {
        // The number fits into 32 bits, whatever its type on this machine.
        let kind = rustix::fs::statfs(directory)?.f_type as u32;
        if !LOCAL.contains(&kind) {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.inotify, directory, flags)?;
        self.directories.insert(watch, directory.into());
        Ok(())
    }

    fn add_file(&self, file: &Path) -> io::Result<()> {
        let flags = WatchFlags::MODIFY | WatchFlags::ATTRIB;
        inotify::add_watch(&self.inotify, file, flags)?;
        Ok(())
    }

    /// The files with queued events; `None` if these do not cover everything.
    fn read(&mut self) -> Option<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut all_told = true;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return all_told.then_some(files),
                Err(Errno::INTR) => continue,
                Err(_) => return None,
            };
            let directory = self.directories.get(&event.wd());
            match (directory, event.file_name()) {
                (Some(directory), Some(name)) if !event.events().contains(ReadFlags::ISDIR) => {
                    files.insert(directory.join(OsStr::from_bytes(name.to_bytes())));
                }
                _ => all_told = false,
            }
        }
    }
}

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// The file or directory that a path leads to now.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// Whether a file can change through another name.
fn is_shared(data: &Metadata) -> bool {
    data.is_symlink() || data.is_file() && data.nlink() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watches a directory with `a/x`, makes an edit, and returns the changes.
    fn told(events: bool, links: bool, edit: impl FnOnce(&Path)) -> Changes {
        let directory = tempfile::tempdir().unwrap();
        // An edit may move it.
        let root = directory.path().canonicalize().unwrap().join("root");
        for path in ["a", "assets"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for path in ["a/x", "a/y", "assets/z"] {
            fs::write(root.join(path), "1").unwrap();
        }
        fs::hard_link(root.join("a/y"), root.join("assets/twin")).unwrap();
        if links {
            std::os::unix::fs::symlink("../assets/z", root.join("a/link")).unwrap();
        }
        let mut watch = Watch::new(&root, Some(&root.join("assets")));
        assert!(watch.has_events(), "the machine's temporary directory is not local");
        if !events {
            watch.events = None;
            watch.compared = watch.survey();
        }
        assert_eq!(watch.changes(), Changes::None);
        edit(&root);
        let changes = watch.changes();
        let is_first_of_all = changes == Changes::Everything;
        assert!(is_first_of_all || watch.changes() == Changes::None, "told twice");
        match changes {
            Changes::Files(files) => {
                Changes::Files(files.iter().map(|file| file.strip_prefix(&root).unwrap().into()).collect())
            }
            changes => changes,
        }
    }

    #[test]
    fn an_edited_file_is_told_by_name_and_whatever_is_more_by_all() {
        let files = |name: &str| Changes::Files([PathBuf::from(name)].into());
        assert_eq!(told(true, false, |root| fs::write(root.join("a/x"), "2").unwrap()), files("a/x"));
        assert_eq!(told(true, false, |root| fs::write(root.join("a/new"), "2").unwrap()), files("a/new"));
        assert_eq!(told(true, false, |root| fs::remove_file(root.join("a/x")).unwrap()), files("a/x"));
        assert_eq!(
            told(true, false, |root| fs::write(root.join("assets/other"), "2").unwrap()),
            Changes::None
        );
        let whole: [fn(&Path); 6] = [
            // With links, the name in an event may differ from the one by which a file is known.
            |root| fs::write(root.join("a/x"), "2").unwrap(),
            |root| fs::create_dir(root.join("b")).unwrap(),
            |root| fs::remove_dir_all(root.join("a")).unwrap(),
            |root| fs::write(root.join("assets/twin"), "2").unwrap(),
            |root| fs::write(root.join("assets/z"), "22").unwrap(),
            |root| fs::rename(root, root.with_extension("gone")).unwrap(),
        ];
        for edit in whole {
            assert_eq!(told(true, true, edit), Changes::Everything);
        }
    }

    #[test]
    fn without_events_times_and_lengths_tell() {
        let edits: [fn(&Path); 5] = [
            |root| fs::write(root.join("a/x"), "22").unwrap(),
            |root| fs::write(root.join("a/new"), "2").unwrap(),
            |root| fs::remove_file(root.join("a/x")).unwrap(),
            |root| fs::write(root.join("assets/z"), "22").unwrap(),
            |root| fs::create_dir(root.join("b")).unwrap(),
        ];
        for edit in edits {
            assert_eq!(told(false, true, edit), Changes::Everything);
        }
        assert_eq!(
            told(false, true, |root| fs::write(root.join("assets/other"), "2").unwrap()),
            Changes::None
        );
    }
}
