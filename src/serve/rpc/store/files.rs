//! The files below a data directory: read, listed, replaced as a whole, removed.
//!
//! Owns how a path is found (Go's `path.Clean`; a link may lead anywhere inside of the directory, and not out of it), how a file
//! is written (unfinished beside its place, synced, renamed), and the words of Matchbox's errors, which are Go's. Leaves to the
//! [store](super) which path a record has.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{self as unix, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Code, Error, Fault};
use crate::base::disk;
use crate::base::path::clean;
use crate::base::size::Bytes;
use crate::base::unfinished::{self, Unfinished};
use crate::serve::process::confine::denied;
use crate::serve::site::watch::{Identity, identity};
use crate::tree::beneath::{Refused, Root};

/// Longest file that is read, in bytes; machines are given no longer one either.
pub(super) const MAX_FILE: u64 = 16 << 20;
/// The most links that are followed one after the other, as in Linux.
const MAX_LINKS: usize = 40;
/// Deepest folder in which unfinished files are looked for.
const MAX_DEPTH: usize = 16;
/// Behind the name of the data directory, in errors of a process that has lost its rights with it.
const REPLACED: &str =
    "was replaced by another directory while the server ran, and must be served anew: restart the server";
/// The mode of new folders, less the umask.
const FOLDER_MODE: u32 = 0o755;
/// The mode of new files, less the umask.
const FILE_MODE: u32 = 0o644;

/// Longest path in bytes that the kernel takes (PATH_MAX, less the byte behind it).
const LONGEST_PATH: usize = 4095;

/// The files of a data directory.
#[derive(Debug)]
pub(super) struct Files {
    /// As it was named: errors say it so.
    directory: PathBuf,
    /// The directory that the name led to at the start, for which alone this process has rights.
    identity: Option<Identity>,
}

/// Why something is not done.
enum Failed {
    /// The system refused it.
    Io(io::Error),
    /// A link leads out of the directory.
    Outside,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Failed {
        match refused {
            Refused::Outside => Failed::Outside,
            Refused::Damaged(error) => Failed::Io(error),
        }
    }
}

impl From<Errno> for Failed {
    fn from(error: Errno) -> Failed {
        Failed::Io(error.into())
    }
}

/// A path below the data directory, cleaned as Matchbox cleans it: `..` does not lead out.
///
/// # Errors
/// A path with a NUL.
pub(super) fn contained(path: &str) -> Result<String, Fault> {
    match path.contains('\0') {
        true => Err(Fault::of(Code::Unknown, "invalid character in file path")),
        false => Ok(clean(&format!("/{path}")).split_off(1)),
    }
}

impl Files {
    /// The files of a directory, in the folders of which nothing unfinished is left, and into which this process may write.
    ///
    /// # Errors
    /// It is missing, or not to be written.
    pub(super) fn open(directory: &Path, folders: &[&str]) -> Result<Files, Error> {
        let files = Files { directory: directory.into(), identity: identity(directory) };
        let root = fs::read_dir(directory).and_then(|_| directory.canonicalize());
        let root = root.map_err(|source| Error::NoDirectory { path: directory.into(), source })?;
        let folders = folders.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir());
        let folders: Vec<PathBuf> = folders.collect();
        for path in &folders {
            let target = path.canonicalize();
            let target = target.map_err(|source| Error::NoDirectory { path: path.clone(), source })?;
            if !target.starts_with(&root) {
                return Err(Error::Outside { path: path.clone(), target });
            }
        }
        for folder in [&root].into_iter().chain(&folders) {
            // It has no name, and is gone when it is dropped.
            Unfinished::in_directory(folder, FILE_MODE)
                .map_err(|source| Error::ReadOnly { path: folder.clone(), source: nameless(source) })?;
        }
        folders.iter().for_each(|folder| sweep(folder, MAX_DEPTH));
        Ok(files)
    }

    /// A path as Go's errors show it.
    fn shown(&self, path: &str) -> String {
        clean(&format!("{}/{path}", self.directory.display()))
    }

    fn fault(&self, action: &str, path: &str, failed: Failed) -> Fault {
        match failed {
            Failed::Io(error) => {
                let replaced = match error.kind() == io::ErrorKind::PermissionDenied && self.is_replaced() {
                    true => format!("; {} {REPLACED}", self.directory.display()),
                    false => String::new(),
                };
                let words = words(&error);
                let way_out = if replaced.is_empty() { way_out(&self.hindrance(path), &error) } else { None };
                let message = format!("{action} {}: {words}{replaced}", self.shown(path));
                Fault { way_out, ..Fault::of(Code::Unknown, message) }
            }
            Failed::Outside => Fault::of(
                Code::InvalidArgument,
                format!("{path} is or lies behind a link that points outside the data directory"),
            ),
        }
    }

    /// Why something cannot be read. Clients that read or list may show no error at all, so that all of it is for the log.
    fn unread(&self, path: &str, failed: Failed) -> Fault {
        let place = self.directory.join(path);
        let way_out = match &failed {
            Failed::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let why = denied::why(&place, error, self.is_replaced());
                Some(format!("{}: {why}", self.shown(path)))
            }
            Failed::Io(_) | Failed::Outside => None,
        };
        Fault { way_out, ..self.fault("open", path, failed) }
    }

    /// The file or folder on the way to a path that is not to be written, as far as that can be seen; else the folder it lies in.
    fn hindrance(&self, path: &str) -> PathBuf {
        let place = self.directory.join(path);
        let is_closed = |way: &&Path| {
            let asked = rustix::fs::accessat(CWD, *way, Access::WRITE_OK, AtFlags::EACCESS);
            matches!(asked, Err(error) if error != Errno::NOENT)
        };
        let mut ways = place.ancestors().take_while(|way| way.starts_with(&self.directory));
        let way = ways.find(|way| way.symlink_metadata().is_ok()).filter(is_closed);
        way.unwrap_or(disk::directory_of(&place)).to_owned()
    }

    /// Whether the name of the directory leads to another one than at the start.
    fn is_replaced(&self) -> bool {
        identity(&self.directory).is_some_and(|now| Some(now) != self.identity)
    }

    fn root(&self) -> Result<Root, Failed> {
        Ok(Root::open(&self.directory.canonicalize()?)?)
    }

    /// Refuses a path that the kernel would not take, before any folder is made for it: Go makes those that it can.
    fn fits(&self, root: &Root, path: &str) -> Result<(), Fault> {
        let before = root.path().as_os_str().len().max(self.shown("").len());
        let is_too_long = |part: &str| before + 1 + part.len() > LONGEST_PATH;
        if !is_too_long(path) {
            return Ok(());
        }
        let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        let too_long = || Errno::NAMETOOLONG.into();
        Err(match folders.into_iter().find(|folder| is_too_long(folder)) {
            Some(folder) => self.fault("mkdir", folder, too_long()),
            None => self.fault("open", path, too_long()),
        })
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// It cannot be read, or is longer than [`MAX_FILE`].
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, Fault> {
        if path.is_empty() {
            return Err(self.fault("read", path, Errno::ISDIR.into()));
        }
        let read = || -> Result<Vec<u8>, Failed> {
            let root = self.root()?;
            let file = root.file(&root.path().join(path))?;
            let mut bytes = Vec::new();
            file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|failed| match failed {
            // A directory is opened, but has no bytes.
            Failed::Io(error) if error.raw_os_error().is_none() && self.directory.join(path).is_dir() => {
                self.fault("read", path, Errno::ISDIR.into())
            }
            failed => self.unread(path, failed),
        })?;
        match bytes.len() as u64 > MAX_FILE {
            true => {
                Err(Fault::of(Code::ResourceExhausted, format!("{path} is larger than {}", Bytes(MAX_FILE))))
            }
            false => Ok(bytes),
        }
    }

    /// The names in a folder, in order; names that are not UTF-8 and unfinished files are left out.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, Fault> {
        let list = || -> Result<Vec<String>, Failed> {
            let root = self.root()?;
            let place = beneath(&root, &root.path().join(folder))?;
            let names = fs::read_dir(place)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
            let names = names.collect::<io::Result<Vec<Option<String>>>>()?;
            let names = names.into_iter().flatten().filter(|name| !name.starts_with(unfinished::PREFIX));
            let mut names: Vec<String> = names.collect();
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(|failed| self.unread(folder, failed))
    }

    /// Writes a file: readers see the old bytes or the new ones, and both outlast a power cut. Missing folders are made.
    ///
    /// # Errors
    /// A folder cannot be made, or the file not be written.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Fault> {
        let root = self.root().map_err(|failed| self.fault("open", path, failed))?;
        self.fits(&root, path)?;
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.make(&root, folder)?;
        }
        let open = || -> Result<(Unfinished, PathBuf, PathBuf), Failed> {
            let target = target(&root, path)?;
            let old = match fs::symlink_metadata(&target) {
                Ok(old) if old.is_dir() => return Err(Errno::ISDIR.into()),
                Ok(old) => Some(old),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error.into()),
            };
            let folder = disk::directory_of(&target).to_owned();
            let Some(old) = old else {
                return Ok((Unfinished::with_usual_mode(&folder, FILE_MODE)?, target, folder));
            };
            // A rename would go over the head of a file that may not be written.
            rustix::fs::accessat(CWD, &target, Access::WRITE_OK, AtFlags::EACCESS)?;
            let mode = old.mode() & 0o7777;
            let file = Unfinished::in_directory(&folder, mode)?;
            // As far as this process may: a file that is written in place keeps its owner, too.
            let owned = unix::fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
            // chown(2) takes away what a write by root leaves: the bits by which a program runs as its owner.
            if owned.is_ok() && rustix::process::geteuid().is_root() {
                file.as_file().set_permissions(Permissions::from_mode(mode))?;
            }
            Ok((file, target, folder))
        };
        let (mut file, target, folder) = open().map_err(|failed| self.fault("open", path, failed))?;
        let mut write = || {
            file.write_all(bytes)?;
            file.as_file().sync_all()
        };
        write().map_err(|error| self.fault("write", path, error.into()))?;
        file.replace(&target).map_err(|error| self.fault("rename", path, error.into()))?;
        self.sync(&folder, path)
    }

    /// Removes a file, a link or an empty folder.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn remove(&self, path: &str) -> Result<(), Fault> {
        let remove = || -> Result<PathBuf, Failed> {
            let root = self.root()?;
            let place = root.path().join(path);
            let folder = beneath(&root, disk::directory_of(&place))?;
            let place = folder.join(place.file_name().unwrap_or_default());
            let Err(error) = fs::remove_file(&place) else { return Ok(folder) };
            match fs::remove_dir(&place) {
                Ok(()) => Ok(folder),
                // The error that Go tells of the two.
                Err(other) if Errno::from_io_error(&other) != Some(Errno::NOTDIR) => Err(other.into()),
                Err(_) => Err(error.into()),
            }
        };
        let folder = remove().map_err(|failed| self.fault("remove", path, failed))?;
        self.sync(&folder, path)
    }

    /// Makes a folder and those above it, one after the other, each looked up in the one before.
    fn make(&self, root: &Root, folder: &str) -> Result<(), Fault> {
        if beneath(root, &root.path().join(folder)).is_ok() {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |place: &Path| rustix::fs::open(place, flags, Mode::empty());
        let mut above = open(root.path()).map_err(|error| self.fault("open", folder, error.into()))?;
        let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
        for part in ends.map(|end| &folder[..end]) {
            let name = part.rsplit('/').next().unwrap_or(part);
            let step = || rustix::fs::openat(&above, name, flags | OFlags::NOFOLLOW, Mode::empty());
            let make = || -> Result<(OwnedFd, bool), Failed> {
                match step() {
                    Ok(there) => Ok((there, false)),
                    Err(Errno::NOENT) => {
                        match rustix::fs::mkdirat(&above, name, FOLDER_MODE.into()) {
                            // Another call made it meanwhile.
                            Ok(()) | Err(Errno::EXIST) => Ok((step()?, true)),
                            Err(error) => Err(error.into()),
                        }
                    }
                    // A link to a folder, or no folder.
                    Err(Errno::NOTDIR | Errno::LOOP) => match beneath(root, &root.path().join(part)) {
                        Ok(place) => Ok((open(&place)?, false)),
                        // As Go tells of a link that leads nowhere.
                        Err(Failed::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                            Err(Errno::EXIST.into())
                        }
                        Err(failed) => Err(failed),
                    },
                    Err(error) => Err(error.into()),
                }
            };
            let (there, is_new) = make().map_err(|failed| self.fault("mkdir", part, failed))?;
            if is_new {
                let above = rustix::fs::openat(&above, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                self.synced(above.map(fs::File::from).map_err(io::Error::from), part)?;
            }
            above = there;
        }
        Ok(())
    }

    fn sync(&self, folder: &Path, path: &str) -> Result<(), Fault> {
        self.synced(fs::File::open(folder), path)
    }

    fn synced(&self, folder: io::Result<fs::File>, path: &str) -> Result<(), Fault> {
        match folder.and_then(|folder| folder.sync_all()) {
            // Some folders may be written to, but not read; another call may have removed it since.
            Err(error)
                if [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound].contains(&error.kind()) =>
            {
                Ok(())
            }
            synced => synced.map_err(|error| self.fault("sync", path, error.into())),
        }
    }
}

/// Removes what killed processes left unfinished in a folder and those below it.
fn sweep(folder: &Path, depth: usize) {
    unfinished::sweep(folder);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in folders.filter(|_| depth > 0) {
        sweep(&entry.path(), depth - 1);
    }
}

/// A folder without any link on the way.
fn beneath(root: &Root, folder: &Path) -> Result<PathBuf, Failed> {
    match folder.strip_prefix(root.path()) {
        Ok(_) => inside(root, root.folder(folder)?),
        // Where a link led that names a whole path.
        Err(_) => inside(root, folder.canonicalize()?),
    }
}

fn inside(root: &Root, place: PathBuf) -> Result<PathBuf, Failed> {
    if place.starts_with(root.path()) { Ok(place) } else { Err(Failed::Outside) }
}

/// The place of a file that is to be written, with all links followed, its own too.
fn target(root: &Root, path: &str) -> Result<PathBuf, Failed> {
    let mut place = root.path().join(path);
    for _ in 0..MAX_LINKS {
        let Some(name) = place.file_name().map(ToOwned::to_owned) else {
            return inside(root, place.canonicalize()?);
        };
        let folder = beneath(root, disk::directory_of(&place))?;
        let here = folder.join(name);
        match fs::symlink_metadata(&here).is_ok_and(|found| found.is_symlink()) {
            true => place = folder.join(fs::read_link(&here)?),
            false => return Ok(here),
        }
    }
    Err(Errno::LOOP.into())
}

/// An error of the system, in Go's words.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    // An error of `tempfile`: it has no number, and the name of an unfinished file, which nobody knows.
    let unfinished = text.split_once(" at path \"").map(|(text, _)| text);
    let is = |known: Errno| match Errno::from_io_error(error) {
        Some(number) => known == number,
        None => unfinished.is_some() && io::Error::from(known).kind() == error.kind(),
    };
    let known = WORDS.iter().find(|(known, _)| is(*known)).map(|(_, words)| (*words).to_owned());
    known.unwrap_or_else(|| unfinished.unwrap_or(&text).to_owned())
}

/// The error without the name of an unfinished file.
fn nameless(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), words(&error))
}

/// The way out where the system refuses to write into a place, if only the administrator can help.
pub(super) fn way_out(place: &Path, error: &io::Error) -> Option<String> {
    let place = place.display();
    let is = |known: Errno| match Errno::from_io_error(error) {
        Some(number) => known == number,
        None => io::Error::from(known).kind() == error.kind(),
    };
    if is(Errno::NOSPC) || is(Errno::DQUOT) {
        return Some(format!(
            "the disk is full: make room on the one with {place}; `df -h` and `df -i` tell whether bytes or inodes are missing"
        ));
    }
    if is(Errno::ROFS) {
        return Some(format!(
            "{place} is mounted read-only (`findmnt -T {place}`): mount it to be written; under systemd with ProtectSystem=strict the unit needs ReadWritePaths={place}"
        ));
    }
    (is(Errno::ACCESS) || is(Errno::PERM)).then(|| match rustix::process::geteuid().is_root() {
        true => format!(
            "{} may not write {place}, whoever owns it: look for the attribute `i` or `a` (`lsattr -d {place}`, `chattr -i -a {place}`), or for a rule of systemd, SELinux or AppArmor",
            writer()
        ),
        false => format!(
            "{} may not write {place}: give it to that user (chown), or leave out --rpc-address",
            writer()
        ),
    })
}

/// The user of this process: its name, if /etc/passwd may be read and has one, and its number.
pub(super) fn writer() -> String {
    let number = rustix::process::geteuid().as_raw().to_string();
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut rows = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = rows.find(|row| row.get(2) == Some(&&*number)).and_then(|row| row.first().copied());
    name.map_or_else(|| format!("the user {number}"), |name| format!("the user {number} ({name})"))
}

/// Go's words for errors of files (package syscall).
const WORDS: [(Errno, &str); 19] = [
    (Errno::NOENT, "no such file or directory"),
    (Errno::IO, "input/output error"),
    // Before the other number of this kind: folders that may not be written to give it.
    (Errno::ACCESS, "permission denied"),
    (Errno::PERM, "operation not permitted"),
    (Errno::NFILE, "too many open files in system"),
    (Errno::MFILE, "too many open files"),
    (Errno::FBIG, "file too large"),
    (Errno::BUSY, "device or resource busy"),
    (Errno::EXIST, "file exists"),
    (Errno::XDEV, "invalid cross-device link"),
    (Errno::NOTDIR, "not a directory"),
    (Errno::ISDIR, "is a directory"),
    (Errno::INVAL, "invalid argument"),
    (Errno::NOSPC, "no space left on device"),
    (Errno::ROFS, "read-only file system"),
    (Errno::NAMETOOLONG, "file name too long"),
    (Errno::NOTEMPTY, "directory not empty"),
    (Errno::LOOP, "too many levels of symbolic links"),
    (Errno::DQUOT, "disk quota exceeded"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_unfinished_files_are_in_gos_words_without_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let missing = unfinished::named_in(&directory.path().join("missing"), "").unwrap_err();
        assert!(missing.to_string().contains(unfinished::PREFIX), "{missing}");
        assert_eq!(words(&missing), "no such file or directory");
        let nameless = nameless(missing);
        assert_eq!(
            (nameless.kind(), &*nameless.to_string()),
            (io::ErrorKind::NotFound, "no such file or directory")
        );
        // As `tempfile` hands on the errors of a full disk and of a folder of others.
        let of = |kind, text: &str| words(&io::Error::new(kind, format!("{text} at path \"/d/.prebake-1\"")));
        assert_eq!(
            of(io::ErrorKind::StorageFull, "No space left on device (os error 28)"),
            "no space left on device"
        );
        assert_eq!(
            of(io::ErrorKind::PermissionDenied, "Permission denied (os error 13)"),
            "permission denied"
        );
        assert_eq!(of(io::ErrorKind::Other, "Odd"), "Odd");
        // Errors of our own stay.
        let own = io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe");
        assert_eq!(
            (words(&own), words(&Errno::PERM.into())),
            ("it is a pipe".into(), "operation not permitted".into())
        );
    }

    #[test]
    fn the_way_out_names_the_place_and_is_one_for_the_user_that_writes() {
        let out = |number: Errno| way_out(Path::new("/d/groups"), &number.into());
        let has = |number: Errno, words: &[&str]| {
            let told = out(number).unwrap();
            assert!(words.iter().all(|word| told.contains(word)) && told.contains("/d/groups"), "{told}");
        };
        has(Errno::NOSPC, &["df -i"]);
        has(Errno::ROFS, &["findmnt -T /d/groups", "ReadWritePaths=/d/groups"]);
        for number in [Errno::ACCESS, Errno::PERM] {
            match rustix::process::geteuid().is_root() {
                true => has(number, &["the user 0", "chattr -i -a /d/groups"]),
                false => has(number, &["the user ", "chown"]),
            }
        }
        assert!(!out(Errno::PERM).unwrap().contains("chown") || !rustix::process::geteuid().is_root());
        assert_eq!(out(Errno::ISDIR), None);
        // As `tempfile` hands it on.
        let nameless = way_out(Path::new("/d"), &io::Error::new(io::ErrorKind::StorageFull, "x"));
        assert!(nameless.is_some_and(|told| told.contains("df -h")));
    }

    #[test]
    fn what_hinders_a_write_is_the_folder_of_a_new_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("groups")).unwrap();
        let files = Files::open(directory.path(), &[]).unwrap();
        let groups = directory.path().join("groups");
        assert_eq!(files.hindrance("groups/new.json"), groups);
        let denied = files.fault("open", "groups/new.json", Errno::PERM.into());
        assert_eq!(denied.message, format!("open {}/new.json: operation not permitted", groups.display()));
        assert!(denied.way_out.unwrap().contains(groups.to_str().unwrap()));
    }
}
