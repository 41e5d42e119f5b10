//! File operations whose errors name the file: atomic writes, secrets, bounded reads, directories.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tempfile::NamedTempFile;

use crate::base::error::{Advice, Exit};
use crate::base::size::Bytes;
use crate::base::unfinished::{self, Unfinished};

/// A failed file operation, with the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a file that failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The refused action, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The disk has too little space for the bytes to come.
    #[error("cannot store {} more in {}, where {} are free", Bytes(*needed), path.display(), Bytes(*free))]
    Room {
        /// The store's path.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Required bytes.
        needed: u64,
        /// The same error that a write would give.
        source: io::Error,
    },
    /// The bytes differ from the expected ones.
    #[error("{subject} has {what} {found}, but {expected} was expected")]
    Differs {
        /// The file or URL.
        subject: String,
        /// `sha256`, `sha512` or `size`.
        what: &'static str,
        /// The actual value.
        found: String,
        /// The expected value.
        expected: String,
    },
}

impl Error {
    /// Wraps an I/O error; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Io { .. } | Error::Room { .. } => Exit::Failed,
            Error::Differs { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Room { path, .. } => {
                Some(format!("{}; if no file of this kind is that large, the mirror states a wrong size", unfinished::full(path)))
            }
            Error::Io { source, path, .. } if unfinished::is_full(source) => Some(unfinished::full(path)),
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("check who owns it; --store chooses another store; --output chooses another place".into())
            }
            Error::Io { .. } => None,
            Error::Differs { .. } => Some(
                "the mirror's file differs from the locked one; try another mirror, or `prebake lock --update` if the change is wanted".into(),
            ),
        }
    }
}

/// Writes a small file so that readers see either the old bytes or the new ones, never a mixture: a temporary file next
/// to the target, sync, rename, sync the directory. Creates missing parent directories.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    finish(written_beside(path, bytes)?, path)
}

/// The same for a file that must not be there yet, also if another process makes it meanwhile.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let file = written_beside(path, bytes)?;
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    file.appear(path).map_err(Error::io("write", path))?;
    sync_directory(directory_of(path))
}

/// A file with these bytes that lacks its name yet. Creates missing parent directories.
fn written_beside(path: &Path, bytes: &[u8]) -> Result<Unfinished, Error> {
    let directory = directory_of(path);
    create_directories(directory)?;
    let mut file =
        Unfinished::in_directory(directory, 0o644).map_err(Error::io("create a file in", directory))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    Ok(file)
}

/// Writes an output that the user asked for to a file. It is written atomically if the file can be replaced. It is
/// written in place if not: for a pipe or a device, a file with several names or another owner, a mounted file, or one
/// in a directory that takes no further file. A link is followed to its target. No directory is created, and a new file
/// has the mode that the umask allows.
pub(crate) fn write_output(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_replaceable =
        |meta: &fs::Metadata| meta.is_file() && meta.nlink() == 1 && meta.uid() == geteuid().as_raw();
    let (target, mode) = match fs::metadata(path) {
        Ok(meta) if is_replaceable(&meta) => (fs::canonicalize(path)?, meta.permissions().mode() & 0o777),
        Err(_) if fs::symlink_metadata(path).is_err() => (path.to_owned(), 0o666 & !umask()),
        _ => return fs::write(path, bytes),
    };
    let replace = || {
        let directory = directory_of(&target);
        let mut file = Unfinished::in_directory(directory, mode)?;
        file.write_all(bytes)?;
        // The old bytes must not go before the new ones are on disk.
        file.as_file().sync_all()?;
        file.replace(&target)?;
        File::open(directory)?.sync_all()
    };
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    match replace() {
        Err(error)
            if [CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy]
                .contains(&error.kind()) =>
        {
            fs::write(path, bytes)
        }
        done => done,
    }
}

/// The version of a file, as far as a file system can tell. The time of change follows also from a new owner or mode, and from a
/// replacement that has the time and length of the file before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    /// In bytes.
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<fs::Metadata> for Version {
    fn from(found: fs::Metadata) -> Version {
        Version {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The umask, read without changing it for other threads.
pub(crate) fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o022)
}

/// Reads until the buffer is full or the reader is at its end; returns how many bytes it got.
pub(crate) fn read_full(reader: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads a file that the user named. More than `most` bytes are an error, in case it has no end.
pub(crate) fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    bounded(File::open(path)?, most)
}

/// Standard input, as [`read_at_most`] reads a file.
pub(crate) fn piped(most: usize) -> io::Result<Vec<u8>> {
    bounded(io::stdin().lock(), most)
}

/// All that a reader has.
fn bounded(reader: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// Writes a small file that only its owner may read from the start, and that replaces nothing.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = Unfinished::in_directory(directory_of(path), 0o600)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.appear(path)
    };
    write().map_err(Error::io("write", path))?;
    sync_directory(directory_of(path))
}

/// Gives a complete file its name: sync, rename, sync the directory.
pub(crate) fn finish(file: Unfinished, path: &Path) -> Result<(), Error> {
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    file.replace(path).map_err(Error::io("write", path))?;
    sync_directory(directory_of(path))
}

pub(crate) fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    let directory = directory_of(path);
    create_directories(directory)?;
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    unfinished::together(|| file.persist(path)).map_err(|e| Error::io("write", path)(e.error))?;
    sync_directory(directory)
}

/// The directory that a file is in. The parent of a bare name is an empty path, which no system call accepts.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a directory and its missing ancestors, and makes them last through a power cut: a file on disk is lost if
/// its directory is not on disk.
pub(crate) fn create_directories(path: &Path) -> Result<(), Error> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    missing.into_iter().rev().map(directory_of).try_for_each(|above| match sync_directory(above) {
        // Some directories may be written to, but not read.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    })
}

/// Makes a rename inside a directory last through a power cut.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("sync", path))
}
