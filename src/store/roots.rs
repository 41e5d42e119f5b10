//! References to objects: locks and published trees, each known to the store by a link in `ROOT/roots`.
//!
//! A root is a symbolic link to a lock or to a tree's `current/manifest.json`. Its references are read from the
//! *current* content of the target: a lock that changed or a tree that was deleted keeps nothing. A link without a
//! target is dead.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::Store;
use super::verify::list;
use crate::base::digest::Sha256;
use crate::base::disk::{Error, sync_directory};

/// A place that refers to an object, and its name for the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    /// The path of the lock or published tree.
    pub root: PathBuf,
    /// An input's id in the lock, or a path in the tree.
    pub name: String,
}

/// All references of living roots.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// The references to each object.
    pub objects: BTreeMap<Sha256, Vec<Reference>>,
    /// Steps whose outputs are in a tree.
    pub steps: BTreeSet<Sha256>,
    /// Links without a target.
    pub dead: Vec<PathBuf>,
}

/// The references of one root.
#[derive(Debug)]
pub(crate) struct Named {
    /// The path of the lock or published tree.
    pub root: PathBuf,
    /// Objects, each with what the root calls it.
    pub objects: Vec<(String, Sha256)>,
    /// Steps whose outputs are in it.
    pub steps: Vec<Sha256>,
}

/// Reads what a root refers to; nothing where it is gone. The store knows neither locks nor trees.
pub(crate) type ReadRoot = fn(&Path) -> crate::base::error::Result<Option<Named>>;

impl Store {
    /// Keeps what a file refers to, for as long as it lies there.
    ///
    /// # Errors
    /// The link cannot be made.
    pub(crate) fn keep(&self, target: &Path) -> Result<(), Error> {
        let target = std::path::absolute(target).map_err(Error::io("find", target))?;
        let name = Sha256::of(target.as_os_str().as_bytes()).to_string();
        let link = self.root.join("roots").join(name);
        match symlink(&target, &link) {
            Ok(()) => sync_directory(&self.root.join("roots")),
            // The link's name is derived from its target.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io("create", &link)(error)),
        }
    }

    /// Reads all roots, each by the reader that knows what stands there.
    ///
    /// # Errors
    /// A root that is there but cannot be read: what it refers to is not known, so nothing may be removed.
    pub(crate) fn references(&self, read: ReadRoot) -> crate::base::error::Result<References> {
        let mut references = References::default();
        for entry in list(&self.root.join("roots"))? {
            let link = entry.path();
            let target = fs::read_link(&link).map_err(Error::io("read", &link))?;
            let Some(named) = read(&target)? else {
                references.dead.push(link);
                continue;
            };
            references.steps.extend(named.steps);
            for (name, sha256) in named.objects {
                let reference = Reference { root: named.root.clone(), name };
                references.objects.entry(sha256).or_default().push(reference);
            }
        }
        references.objects.values_mut().for_each(|names| names.sort());
        Ok(references)
    }
}

impl References {
    /// The references to an object.
    pub(crate) fn of(&self, sha256: &Sha256) -> &[Reference] {
        self.objects.get(sha256).map_or(&[], Vec::as_slice)
    }
}
