//! The folder of a sysext: on the disk, or in the binary.
//!
//! Owns the search along `sysext/` folders, of which each wins whole over the one in the binary. Leaves reading to
//! [`Description`], and the names that a recipe spells to `bake::extensions`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::description::{Description, Error, FILE_NAME};
use super::shipped::Shipped;
use crate::base::digest::Sha256;
use crate::base::finding::{Findings, Source};
use crate::format::tree::Tree;
use crate::ignition::{self, Checked, Transpile};

/// Name of the directory that holds folders of sysexts.
const SHELF: &str = "sysext";

/// Where a sysext is described.
#[derive(Clone, Debug, PartialEq)]
pub enum Folder {
    /// In a folder on the disk.
    Disk(PathBuf),
    /// In the binary.
    Shipped(&'static Shipped),
}

/// `node.bu` of a folder: a Butane layer for the node.
#[derive(Clone, Debug)]
pub enum Layer {
    /// On the disk.
    Disk(PathBuf),
    /// In the binary; it can name no `local` files.
    Shipped(Arc<Source>),
}

impl Folder {
    /// The folder of this name in the first of the shelves that has one, else the one in the binary.
    ///
    /// A directory of a shipped sysext's name without a description is taken too, and then refused when it is read: somebody
    /// means to replace that sysext.
    pub(crate) fn find(name: &str, shelves: &[PathBuf]) -> Option<Folder> {
        let at =
            |is_it: fn(&Path) -> bool| shelves.iter().map(|shelf| shelf.join(name)).find(|path| is_it(path));
        if let Some(path) = at(is_sysext) {
            return Some(Folder::Disk(path));
        }
        let shipped = Shipped::find(name)?;
        Some(at(Path::is_dir).map_or(Folder::Shipped(shipped), Folder::Disk))
    }

    /// Every name in the shelves and in the binary, sorted, each once.
    pub(crate) fn names(shelves: &[PathBuf]) -> Vec<String> {
        let entries = shelves.iter().filter_map(|shelf| shelf.read_dir().ok()).flatten().flatten();
        let folders = entries.filter(|entry| is_sysext(&entry.path()));
        let mut names: Vec<String> =
            folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.extend(Shipped::all().iter().map(|shipped| shipped.name.to_owned()));
        names.sort();
        names.dedup();
        names
    }

    /// Reads the description.
    pub fn load(&self) -> Result<Description, Error> {
        match self {
            Folder::Disk(path) => Description::load(path),
            Folder::Shipped(shipped) => Description::shipped(shipped),
        }
    }

    /// Digest of everything in it: equal for a folder on the disk and its copy in the binary. Reads every file.
    pub(crate) fn digest(&self) -> Result<Sha256, Error> {
        let named = |name: &str| {
            let name = name.to_owned();
            move |source| Error::Files { name, source }
        };
        let (name, tree) = match self {
            Folder::Disk(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name.clone(), Tree::of_directory(path, "").map_err(named(&name))?)
            }
            Folder::Shipped(shipped) => {
                (shipped.name.to_owned(), shipped.tree("", "").map_err(named(shipped.name))?)
            }
        };
        tree.digest().map_err(|source| Error::Read { path: name.into(), source })
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Folder::Disk(path) => path.display().fmt(f),
            Folder::Shipped(shipped) => shipped.fmt(f),
        }
    }
}

impl Layer {
    /// Translates the layer.
    pub(crate) fn load(&self, options: &Transpile) -> Result<Checked, Findings> {
        match self {
            Layer::Disk(path) => ignition::load(path, options),
            Layer::Shipped(source) => ignition::transpile(source, options),
        }
    }
}

/// Whether a folder has a description.
pub(crate) fn is_sysext(path: &Path) -> bool {
    path.join(FILE_NAME).is_file()
}

/// `sysext/` in a directory and in every one above it, the nearest first.
pub(crate) fn shelves(directory: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(directory.join(".")).unwrap_or_else(|_| directory.to_owned());
    absolute.ancestors().map(|above| above.join(SHELF)).filter(|shelf| shelf.is_dir()).collect()
}

/// The folders of one shelf, sorted by name.
///
/// # Errors
/// A directory that cannot be listed.
pub(crate) fn of_shelf(shelf: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = shelf.read_dir()?.map(|item| item.map(|item| item.path())).collect::<io::Result<Vec<_>>>()?;
    let mut folders: Vec<_> = paths.into_iter().filter(|path| is_sysext(path)).collect();
    folders.sort();
    Ok(folders)
}
