//! The references of locks and published trees into the store: the reader that `gc` is handed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use super::lock::Lock;
use super::manifest::Manifest;
use super::names::MANIFEST;
use crate::base::disk;
use crate::base::error::Result;
use crate::store::Store;
use crate::store::roots::Named;

/// Keeps what a recipe's published tree is made of, for as long as `current` (the link's path) names it.
///
/// # Errors
/// The link cannot be made.
pub(crate) fn keep_tree(store: &Store, current: &Path) -> std::result::Result<(), disk::Error> {
    store.keep(&current.join(MANIFEST))
}

/// Reads a root: a tree's manifest by its name, else a lock.
///
/// # Errors
/// It is there and cannot be read.
pub(crate) fn read(root: &Path) -> Result<Option<Named>> {
    match root.file_name() == Some(OsStr::new(MANIFEST)) {
        true => tree(root),
        false => lock(root),
    }
}

fn lock(path: &Path) -> Result<Option<Named>> {
    let Some(lock) = Lock::load(path)? else { return Ok(None) };
    let objects = lock.objects().map(|(name, object)| (name.to_owned(), object.sha256)).collect();
    Ok(Some(Named { root: path.to_owned(), objects, steps: Vec::new() }))
}

fn tree(path: &Path) -> Result<Option<Named>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(disk::Error::io("read", path)(error).into()),
    };
    let manifest = Manifest::parse(&path.display().to_string(), &bytes)?;
    let mut named =
        Named { root: path.parent().unwrap_or(path).to_owned(), objects: Vec::new(), steps: Vec::new() };
    for (name, file) in manifest.files {
        named.steps.extend(file.step);
        named.objects.push((name, file.sha256));
    }
    Ok(Some(named))
}
