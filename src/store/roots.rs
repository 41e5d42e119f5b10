//! Who refers to what: locks and published trees, each known to the store by a link in `ROOT/roots`.
//!
//! A root is a symbolic link to the lock or to the tree's `current/manifest.json`, so what it refers to is read from
//! what stands there *now*: a lock that moved or a tree that was deleted keeps nothing alive. A link whose target is
//! gone is dead.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::verify::list;
use super::{Error, Store, sync_directory};
use crate::base::digest::Sha256;
use crate::tree::lock::Lock;
use crate::tree::manifest::{FILE_NAME, Manifest};

/// A place that refers to objects, and what it calls one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The lock, or the published tree.
    pub root: PathBuf,
    /// An input's id in the lock, or a path in the tree.
    pub name: String,
}

/// All that living roots refer to.
#[derive(Debug, Default)]
pub struct References {
    /// By object.
    pub objects: BTreeMap<Sha256, Vec<Reference>>,
    /// Steps whose outputs are in a tree.
    pub steps: BTreeSet<Sha256>,
    /// Links whose targets are gone.
    pub dead: Vec<PathBuf>,
}

impl Store {
    /// Keeps what a lock names, for as long as the lock lies there.
    pub fn keep_lock(&self, lock: &Path) -> Result<(), Error> {
        self.keep(lock)
    }

    /// Keeps what a recipe's published tree is made of, for as long as `current` (the link's path) names it.
    pub fn keep_tree(&self, current: &Path) -> Result<(), Error> {
        self.keep(&current.join(FILE_NAME))
    }

    fn keep(&self, target: &Path) -> Result<(), Error> {
        let target = std::path::absolute(target).map_err(Error::io("find", target))?;
        let name = Sha256::of(target.as_os_str().as_bytes()).to_string();
        let link = self.root.join("roots").join(name);
        match symlink(&target, &link) {
            Ok(()) => sync_directory(&self.root.join("roots")),
            // Its name is made from its target.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io("create", &link)(error)),
        }
    }

    /// Reads all roots.
    ///
    /// # Errors
    /// A root that is there but cannot be read: what it refers to is not known, so nothing may be removed.
    pub fn references(&self) -> crate::base::error::Result<References> {
        let mut references = References::default();
        for entry in list(&self.root.join("roots"))? {
            let link = entry.path();
            let target = fs::read_link(&link).map_err(Error::io("read", &link))?;
            let found = match target.file_name() == Some(OsStr::new(FILE_NAME)) {
                true => references.add_tree(&target)?,
                false => references.add_lock(&target)?,
            };
            if !found {
                references.dead.push(link);
            }
        }
        references.objects.values_mut().for_each(|names| names.sort());
        Ok(references)
    }
}

impl References {
    /// Who refers to an object.
    pub fn of(&self, sha256: &Sha256) -> &[Reference] {
        self.objects.get(sha256).map_or(&[], Vec::as_slice)
    }

    fn add_lock(&mut self, path: &Path) -> crate::base::error::Result<bool> {
        let Some(lock) = Lock::load(path)? else { return Ok(false) };
        for (name, object) in lock.objects() {
            let reference = Reference { root: path.to_owned(), name: name.to_owned() };
            self.objects.entry(object.sha256).or_default().push(reference);
        }
        Ok(true)
    }

    fn add_tree(&mut self, path: &Path) -> crate::base::error::Result<bool> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(false);
            }
            Err(error) => return Err(Error::io("read", path)(error).into()),
        };
        let manifest = Manifest::parse(&path.display().to_string(), &bytes)?;
        let tree = path.parent().unwrap_or(path);
        for (name, file) in manifest.files {
            self.steps.extend(file.step);
            let reference = Reference { root: tree.to_owned(), name };
            self.objects.entry(file.sha256).or_default().push(reference);
        }
        Ok(true)
    }
}
