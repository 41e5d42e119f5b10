//! The directory of a cluster's keys: its owner's alone, and written one complete file after the other.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::Error;
use crate::base::disk;
use crate::cluster::place::Place;

/// Longest file that is read, in bytes: a bundle of authorities is far below.
const MAX_FILE: usize = 1 << 20;

/// The directory of a cluster's keys.
pub(super) struct Store {
    directory: PathBuf,
    /// Files that others could read until now.
    exposed: RefCell<Vec<PathBuf>>,
}

/// Makes a directory for its owner's eyes, and closes one that others could enter.
pub(super) fn private_directory(path: &Path) -> Result<bool, disk::Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => disk::sync_directory(disk::directory_of(path)).map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => close(path, 0o700),
        Err(error) => Err(disk::Error::io("create", path)(error)),
    }
}

/// Takes a file or directory from others than its owner; whether they could have read it.
fn close(path: &Path, mode: u32) -> Result<bool, disk::Error> {
    let is_open =
        fs::metadata(path).map_err(disk::Error::io("read", path))?.permissions().mode() & 0o077 != 0;
    if is_open {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(disk::Error::io("close to others", path))?;
    }
    Ok(is_open)
}

/// The bytes of a file, and whether others could read it before.
type Private = (Zeroizing<Vec<u8>>, bool);

/// A file for its owner's eyes, closed if others could read it; nothing if it is not there.
pub(super) fn read_private(path: &Path) -> Result<Option<Private>, disk::Error> {
    let bytes = match disk::read_at_most(path, MAX_FILE) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk::Error::io("read", path)(error)),
    };
    Ok(Some((bytes, close(path, 0o600)?)))
}

/// A file that somebody named, whose permissions are their affair.
pub(super) fn read_given(path: &Path) -> Result<Zeroizing<Vec<u8>>, disk::Error> {
    disk::read_at_most(path, MAX_FILE).map(Zeroizing::new).map_err(disk::Error::io("read", path))
}

impl Store {
    /// Makes the directory if it is not there.
    pub(super) fn make(place: &Place) -> Result<Store, Error> {
        let own = place.own();
        disk::create_directories(disk::directory_of(&own))?;
        let store = Store { directory: place.pki(), exposed: RefCell::default() };
        for directory in [&own, &store.directory, &store.directory.join("etcd")] {
            if private_directory(directory)? {
                store.exposed.borrow_mut().push(directory.clone());
            }
        }
        Ok(store)
    }

    /// Opens the directory that is there.
    pub(super) fn open(place: &Place) -> Result<Store, Error> {
        let directory = place.pki();
        match directory.is_dir() {
            true => Ok(Store { directory, exposed: RefCell::default() }),
            false => Err(Error::Absent(directory)),
        }
    }

    /// Held while files are made: two runs at once would each make half of a set.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let lock = || {
            let directory = File::open(&self.directory)?;
            directory.lock()?;
            Ok(directory)
        };
        Ok(lock().map_err(disk::Error::io("lock", &self.directory))?)
    }

    /// Path of a file.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file, if it is there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.path(name);
        let Some((bytes, was_open)) = read_private(&path)? else { return Ok(None) };
        if was_open {
            self.exposed.borrow_mut().push(path);
        }
        Ok(Some(bytes))
    }

    /// A file that must be there.
    pub(super) fn need(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.read(name)?.ok_or(Error::Lost { path: self.path(name), why: "it is not there" })
    }

    /// Writes a file that is not there yet: it has its name when it is complete, and lasts.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(disk::write_secret(&self.path(name), bytes)?)
    }

    /// Its directory, and what others could read.
    pub(super) fn end(self) -> (PathBuf, Vec<PathBuf>) {
        (self.directory, self.exposed.into_inner())
    }
}
