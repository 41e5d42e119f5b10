//! Verifies objects again: objects that rotted on disk are found, set aside and never served.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Store;
use crate::base::digest::{Object, Sha256};
use crate::base::disk::Error;
use crate::base::parallel;

/// An object whose bytes do not match its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The object's name, which is the digest that it should have.
    pub sha256: Sha256,
    /// Its actual length in bytes.
    pub size: u64,
    /// The reason, in words.
    pub why: String,
}

/// The result of [`Store::verify`].
#[derive(Debug, Default)]
pub struct Report {
    /// Number of objects that were read.
    pub objects: usize,
    /// Their total length in bytes.
    pub bytes: u64,
    /// The corrupt ones among them, which are now set aside; sorted by name.
    pub corrupt: Vec<Corrupt>,
}

/// The objects that a paranoid process has read so far.
#[derive(Debug, Default)]
pub(super) struct Vigilance {
    sound: Mutex<BTreeSet<Sha256>>,
    corrupt: Mutex<Vec<Corrupt>>,
}

impl Vigilance {
    /// Reads an object unless that was done before. Returns whether it is sound.
    pub(super) fn vouches(&self, store: &Store, object: &Object) -> bool {
        if held(&self.sound).contains(&object.sha256) {
            return true;
        }
        match store.examine(&object.sha256) {
            Ok(Ok(_)) => held(&self.sound).insert(object.sha256),
            Ok(Err(corrupt)) => {
                held(&self.corrupt).push(corrupt);
                false
            }
            // It vanished in the meantime, or cannot be moved; making it again replaces it.
            Err(_) => false,
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Whether objects are read before they are used.
    pub(crate) fn is_paranoid(&self) -> bool {
        self.vigilance.is_some()
    }

    /// The objects that a paranoid store has set aside since the last call, for the report.
    pub(crate) fn take_corrupt(&self) -> Vec<Corrupt> {
        self.vigilance.as_ref().map_or(Vec::new(), |vigilance| std::mem::take(&mut held(&vigilance.corrupt)))
    }

    /// Reads every object, on all processors, and sets the corrupt ones aside.
    pub fn verify(&self) -> Result<Report, Error> {
        let objects = self.objects()?;
        let examined = parallel::map(
            &objects,
            || (),
            |(), object| match self.examine(&object.sha256) {
                // Another process removed it in the meantime.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
                examined => examined.map(Some),
            },
        )?;
        let mut report = Report::default();
        for (object, examined) in objects.iter().zip(examined) {
            let Some(examined) = examined else { continue };
            report.objects += 1;
            report.bytes += object.size;
            report.corrupt.extend(examined.err());
        }
        report.corrupt.sort_by_key(|corrupt| corrupt.sha256);
        Ok(report)
    }

    /// All objects with their names and actual lengths, sorted. Other files are skipped.
    pub fn objects(&self) -> Result<Vec<Object>, Error> {
        let mut objects = Vec::new();
        self.walk("objects", |sha256, meta| objects.push(Object { sha256, size: meta.len() }))?;
        objects.sort_by_key(|object| object.sha256);
        Ok(objects)
    }

    /// Visits the files of a fanned-out directory.
    pub(super) fn walk(
        &self,
        directory: &str,
        mut visit: impl FnMut(Sha256, fs::Metadata),
    ) -> Result<(), Error> {
        for shelf in list(&self.root.join(directory))? {
            if !shelf.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for entry in list(&shelf.path())? {
                let name = format!("{}{}", shelf.file_name().display(), entry.file_name().display());
                if let (Ok(sha256), Ok(meta)) = (name.parse(), entry.metadata()) {
                    visit(sha256, meta);
                }
            }
        }
        Ok(())
    }

    /// Whether an object with this digest is here, byte for byte. For short objects whose content decides something. A
    /// corrupt one is set aside.
    pub(crate) fn is_sound(&self, object: &Object) -> bool {
        matches!(self.examine(&object.sha256), Ok(Ok(size)) if size == object.size)
    }

    /// Reads one object. A corrupt one is set aside, under ROOT/corrupt.
    fn examine(&self, sha256: &Sha256) -> Result<Result<u64, Corrupt>, Error> {
        let path = self.path(sha256);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let opened = file.metadata().map_err(Error::io("read", &path))?;
        let why = match Sha256::of_reader(&file) {
            Ok((found, size)) if found == *sha256 => return Ok(Ok(size)),
            Ok((found, _)) => format!("its content has sha256 {found}"),
            Err(error) => format!("it cannot be read: {error}"),
        };
        // Another process may have replaced it with a sound one since it was opened.
        let is_same =
            fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino()));
        if is_same {
            let aside = self.root.join("corrupt").join(sha256.to_string());
            fs::rename(&path, &aside).map_err(Error::io("set aside", &path))?;
        }
        Ok(Err(Corrupt { sha256: *sha256, size: opened.len(), why }))
    }

    /// Whether a file that was made from an object still has the object's bytes.
    pub(crate) fn is_copy(&self, file: &Path, object: &Object) -> bool {
        let inode = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let original = fs::metadata(self.path(&object.sha256)).map(inode);
        match (fs::symlink_metadata(file).map(inode), original) {
            (Ok(copy), Ok(original)) if copy == original => self.has(object),
            (Ok(_), _) => {
                File::open(file).and_then(Sha256::of_reader).is_ok_and(|(found, _)| found == object.sha256)
            }
            (Err(_), _) => false,
        }
    }
}

/// The entries of a directory.
pub(super) fn list(path: &Path) -> Result<Vec<fs::DirEntry>, Error> {
    let entries = || fs::read_dir(path)?.collect::<io::Result<Vec<_>>>();
    entries().map_err(Error::io("list", path))
}
