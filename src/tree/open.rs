//! A published tree: its manifest, and the bytes of every file that the manifest names.
//!
//! [`publish::Draft`](crate::tree::publish::Draft) is a tree to be published, a [`Tree`] is a published one. Code that reads
//! a tree need not know whether it is in a directory or in a bundle. Nothing outside of the manifest is read: no other
//! files in the directory, and no target of a link that leads out of the tree.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::error::{Advice, Exit};
use crate::base::kind;
use crate::tree::beneath::{Refused, Root};
use crate::tree::bundle::{self, Bundle, Extent};
use crate::tree::manifest::{self, Manifest};
use crate::tree::{meant, names, provenance};
use crate::trust::signers::Trust;

/// Upper limit for a file that is read into memory, in bytes. Configs, scripts and lists are far shorter.
const MOST_IN_MEMORY: u64 = 64 << 20;

/// A published tree.
#[derive(Clone, Debug)]
pub struct Tree {
    manifest: Manifest,
    pub(crate) place: Place,
    hold: Hold,
}

/// A shared lock on the directory of a tree, by which `prebake prune` knows that somebody reads it. Nothing for a bundle, and
/// where directories cannot be opened or locked.
pub type Hold = Option<Arc<File>>;

/// Location of a tree.
#[derive(Clone, Debug)]
pub enum Place {
    /// The directory of the build itself, not the link to it.
    Directory(PathBuf),
    /// In a bundle, of which nothing is unpacked.
    Bundle {
        /// The bundle, whose signatures are judged.
        bundle: Arc<Bundle>,
        /// The open bundle file.
        file: Arc<File>,
        /// Name of the tree in the bundle.
        tree: String,
    },
}

/// One published file, open: exactly the bytes that the manifest counts.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    file: Arc<File>,
    start: u64,
    size: u64,
    position: u64,
}

/// Reasons why a tree, or a file of one, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory without a manifest.
    #[error("{} is not a tree that prebake built: {}", path.display(), why)]
    NoTree {
        /// Path of the directory, or of what is there instead.
        path: PathBuf,
        /// The reason, in words.
        why: String,
        /// The tree that was likely meant, or how to get one.
        hint: String,
        /// The I/O error.
        source: io::Error,
    },
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A bundle that cannot be used.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// A tree without the signatures that must be there.
    #[error(transparent)]
    Unsigned(#[from] provenance::Error),
    /// A name that is not a tree of the bundle.
    #[error("{subject} does not contain the tree `{tree}`, only {known}")]
    NotInBundle {
        /// Path of the bundle.
        subject: String,
        /// The name that was given.
        tree: String,
        /// The trees of the bundle, in words.
        known: String,
    },
    /// A bundle of several trees, where no name was given.
    #[error("{subject} contains {known}: choose one")]
    Several {
        /// Path of the bundle.
        subject: String,
        /// The trees of the bundle, in words.
        known: String,
    },
    /// A path that the manifest does not name.
    #[error("the manifest of {place} names no `{path}`")]
    Unnamed {
        /// Location of the tree, in words.
        place: String,
        /// Path inside the tree.
        path: String,
    },
    /// A file that is gone, not a regular file, or a link that leads out of the tree.
    #[error("{path} of {place} cannot be read")]
    Unreadable {
        /// Location of the tree, in words.
        place: String,
        /// Path inside the tree.
        path: String,
        /// Why it was not opened.
        source: Refused,
    },
    /// A file that is shorter or longer than the published one.
    #[error("{path} of {place} has {} instead of the {recorded} in the manifest", counted(*found, "byte"))]
    Size {
        /// Location of the tree, in words.
        place: String,
        /// Path inside the tree.
        path: String,
        /// Length in the manifest, in bytes.
        recorded: u64,
        /// Length of the file, in bytes.
        found: u64,
    },
    /// A file whose bytes differ from the published ones.
    #[error("{path} of {place} does not match the manifest")]
    Changed {
        /// Location of the tree, in words.
        place: String,
        /// Path inside the tree.
        path: String,
    },
    /// A file that is too long to be held in memory.
    #[error("{path} of {place} has {size} bytes, too many for a text")]
    TooLong {
        /// Location of the tree, in words.
        place: String,
        /// Path inside the tree.
        path: String,
        /// Length in the manifest, in bytes.
        size: u64,
    },
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Manifest(error) => Some(error),
            Error::Bundle(error) => Some(error),
            Error::Unsigned(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::NoTree { .. } | Error::Unnamed { .. } => Exit::Failed,
            Error::NotInBundle { .. } | Error::Several { .. } => Exit::Usage,
            Error::Manifest(_) | Error::Bundle(_) | Error::Unsigned(_) => self.inner_exit(),
            Error::Unreadable { .. } | Error::Size { .. } | Error::Changed { .. } | Error::TooLong { .. } => {
                Exit::Integrity
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoTree { hint, .. } => Some(hint.clone()),
            Error::Manifest(_) | Error::Bundle(_) | Error::Unsigned(_) => self.inner_hint(),
            Error::NotInBundle { .. } | Error::Several { .. } => Some("name one of them with --tree".into()),
            Error::Unnamed { .. } | Error::TooLong { .. } => None,
            Error::Unreadable { .. } | Error::Size { .. } | Error::Changed { .. } => {
                Some("the tree was damaged; build it again".into())
            }
        }
    }
}

/// The error about a path that is no tree. It looks at what is there: for a file of a known kind it says which one, and
/// trees nearby may have been meant.
fn no_tree(path: &Path, source: io::Error) -> Error {
    let known = kind::of_file(path);
    let why = match &known {
        Some(kind::Known { what, .. }) => format!("it is {what}"),
        None if path.is_file() => "it is a file".into(),
        None => format!("it has no {}", names::MANIFEST),
    };
    let hint = meant::instead_of(path).unwrap_or_else(|| match known {
        Some(kind::Known { advice, .. }) => advice.into(),
        None => "name a build, such as output/NAME/current; `prebake build RECIPE` makes one".into(),
    });
    Error::NoTree { path: path.into(), why, hint, source }
}

/// Keeps `prebake prune` from removing a build.
pub(crate) fn hold(directory: &Path) -> Hold {
    File::open(directory).ok().filter(|file| file.lock_shared().is_ok()).map(Arc::new)
}

/// The manifest and the directory of a build; `path` may also be the link `current`.
pub(crate) fn of_directory(path: &Path) -> Result<(Manifest, PathBuf, Hold), Error> {
    let missing = |source| no_tree(path, source);
    let directory = path.canonicalize().map_err(missing)?;
    // Before anything is read: a tree that is removed right now is found whole or not at all.
    let hold = hold(&directory);
    let file = directory.join(names::MANIFEST);
    let bytes = fs::read(&file).map_err(missing)?;
    let manifest = Manifest::parse(&file.display().to_string(), &bytes)?;
    Ok((manifest, directory, hold))
}

impl Tree {
    /// Opens a build, or the link `current`.
    pub fn directory(path: &Path) -> Result<Tree, Error> {
        let (manifest, directory, hold) = of_directory(path)?;
        Ok(Tree { manifest, place: Place::Directory(directory), hold })
    }

    /// The same; with `trust`, only if enough of its keys signed the files that [`provenance::judge_directory`] judges.
    pub(crate) fn believed(path: &Path, trust: Option<&Trust>) -> Result<Tree, Error> {
        let tree = Tree::directory(path)?;
        if let (Some(trust), Some(directory)) = (trust, tree.place.directory()) {
            provenance::judge_directory(directory, &tree.manifest, trust)?;
        }
        Ok(tree)
    }

    /// Opens a tree in a bundle.
    pub(crate) fn bundled(bundle: Arc<Bundle>, tree: &str) -> Result<Tree, Error> {
        if !bundle.trees().any(|known| known == tree) {
            return Err(Error::NotInBundle {
                subject: bundle.subject().into(),
                tree: tree.into(),
                known: known(&bundle),
            });
        }
        let manifest = bundle.manifest(tree)?;
        let unreadable = |error: io::Error| Error::Unreadable {
            place: bundle.subject().into(),
            path: names::MANIFEST.into(),
            source: error.into(),
        };
        let file = Arc::new(bundle.file().try_clone().map_err(unreadable)?);
        Ok(Tree { manifest, place: Place::Bundle { bundle, file, tree: tree.into() }, hold: None })
    }

    /// The tree of that name; without a name, the only one.
    ///
    /// # Errors
    /// [`Error::Several`] where a name is needed.
    pub(crate) fn chosen(bundle: Arc<Bundle>, name: Option<&str>) -> Result<Tree, Error> {
        let mut trees = bundle.trees();
        let name = match (name, trees.next(), trees.next()) {
            (Some(name), ..) => name.to_owned(),
            (None, Some(only), None) => only.to_owned(),
            (None, ..) => {
                return Err(Error::Several { subject: bundle.subject().into(), known: known(&bundle) });
            }
        };
        drop(trees);
        Tree::bundled(bundle, &name)
    }

    /// Its manifest.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its location, for messages.
    pub(crate) fn place(&self) -> String {
        self.place.to_string()
    }

    /// The manifest, the location of the files, and what keeps them there.
    pub fn into_parts(self) -> (Manifest, Place, Hold) {
        (self.manifest, self.place, self.hold)
    }

    /// Opens a published file. Its length is checked against the manifest, its bytes are not.
    pub(crate) fn open(&self, path: &str) -> Result<Part, Error> {
        self.place.open(path, self.row(path)?)
    }

    /// Reads a published file, a text or another short one, and checks its bytes against the manifest.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.place.read(path, self.row(path)?)
    }

    /// Path of the file on disk with exactly these bytes; `None` in a bundle.
    pub(crate) fn path(&self, path: &str) -> Option<PathBuf> {
        match &self.place {
            Place::Directory(directory) => Some(directory.join(path)),
            Place::Bundle { .. } => None,
        }
    }

    fn row(&self, path: &str) -> Result<&manifest::File, Error> {
        let unnamed = || Error::Unnamed { place: self.place(), path: path.into() };
        self.manifest.files.get(path).ok_or_else(unnamed)
    }
}

/// The trees of a bundle in words: `the tree a`, `the trees a, b`.
fn known(bundle: &Bundle) -> String {
    let names: Vec<&str> = bundle.trees().collect();
    match names.as_slice() {
        [] => "no tree at all".into(),
        [name] => format!("the tree {name}"),
        names => format!("the trees {}", names.join(", ")),
    }
}

impl Place {
    /// The directory of the tree; `None` in a bundle.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Place::Directory(path) => Some(path),
            Place::Bundle { .. } => None,
        }
    }

    /// Name of the build: the name of its directory, or its BUILD-ID in a bundle.
    pub(crate) fn build(&self) -> String {
        match self {
            Place::Directory(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Place::Bundle { bundle, tree, .. } => {
                let found = bundle.index().trees().find(|known| known.name == tree);
                found.map(|tree| tree.build_id()).unwrap_or_default()
            }
        }
    }

    /// Like [`Tree::open`], if you have the file's row already.
    pub(crate) fn open(&self, path: &str, row: &manifest::File) -> Result<Part, Error> {
        let (file, start, found) = self.file(path).map_err(self.unreadable(path))?;
        match found == row.size {
            true => Ok(Part::new(file, start, row.size)),
            false => {
                let (place, path, recorded) = (self.to_string(), path.to_owned(), row.size);
                Err(Error::Size { place, path, recorded, found })
            }
        }
    }

    /// Like [`Tree::read`], if you have the file's row already.
    pub(crate) fn read(&self, path: &str, row: &manifest::File) -> Result<Vec<u8>, Error> {
        if row.size > MOST_IN_MEMORY {
            return Err(Error::TooLong { place: self.to_string(), path: path.into(), size: row.size });
        }
        let mut bytes = Vec::new();
        let read = self.open(path, row)?.read_to_end(&mut bytes);
        read.map_err(|error| self.unreadable(path)(error.into()))?;
        match Sha256::of(&bytes) == row.sha256 {
            true => Ok(bytes),
            false => Err(Error::Changed { place: self.to_string(), path: path.into() }),
        }
    }

    /// The file on disk that contains a file of the tree, with its offset and its length there.
    fn file(&self, path: &str) -> Result<(Arc<File>, u64, u64), Refused> {
        match self {
            Place::Directory(directory) => {
                let file = Root::open(directory)?.file(&directory.join(path))?;
                let length = file.metadata()?.len();
                Ok((Arc::new(file), 0, length))
            }
            Place::Bundle { file, .. } => {
                let Extent { start, size, .. } =
                    self.extent(path).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
                Ok((file.clone(), start, size))
            }
        }
    }

    /// Position of a file of the tree in the bundle; `None` in a directory.
    pub(crate) fn extent(&self, path: &str) -> Option<Extent> {
        match self {
            Place::Directory(_) => None,
            Place::Bundle { bundle, tree, .. } => {
                bundle.extent(&format!("{}{path}", bundle::index::directory(tree)))
            }
        }
    }

    fn unreadable(&self, path: &str) -> impl Fn(Refused) -> Error {
        move |source| Error::Unreadable { place: self.to_string(), path: path.into(), source }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Directory(path) => path.display().fmt(f),
            Place::Bundle { bundle, tree, .. } => write!(f, "the tree {tree} in {}", bundle.subject()),
        }
    }
}

impl Part {
    /// `size` bytes of a file, from `start` on.
    pub(crate) fn new(file: Arc<File>, start: u64, size: u64) -> Part {
        Part { file, start, size, position: 0 }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.start + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::tree::manifest::Role;

    /// A tree of one file, `ignition/a.ign`.
    /// Review of issue 17, 26: showing the error opened files and listed directories, which may have changed meanwhile.
    #[test]
    fn an_error_says_what_was_there_when_it_was_made() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("output");
        fs::write(&path, "x").unwrap();
        let error = Tree::directory(&path).unwrap_err();
        let said = (error.to_string(), error.hint());
        assert!(said.0.ends_with("it is a file"), "{said:?}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join(names::MANIFEST), "{}").unwrap();
        assert_eq!((error.to_string(), error.hint()), said);
    }

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("ignition")).unwrap();
        fs::write(directory.path().join("ignition/a.ign"), "0123456789").unwrap();
        let file = manifest::File::new(Role::Ignition, 10, Sha256::of(b"0123456789"));
        let manifest = Manifest::new("x", BTreeMap::from([("ignition/a.ign".to_owned(), file)]));
        fs::write(directory.path().join(names::MANIFEST), manifest.to_bytes()).unwrap();
        let tree = Tree::directory(directory.path()).unwrap();
        (directory, tree)
    }

    #[test]
    fn a_part_reads_and_seeks_as_a_file_does() {
        let (_directory, tree) = tree();
        let mut part = tree.open("ignition/a.ign").unwrap();
        let mut two = [0; 2];
        for (to, position, bytes) in
            [(SeekFrom::Start(3), 3, b"34"), (SeekFrom::Current(-4), 1, b"12"), (SeekFrom::End(-2), 8, b"89")]
        {
            assert_eq!(part.seek(to).unwrap(), position);
            part.read_exact(&mut two).unwrap();
            assert_eq!(&two, bytes);
        }
        assert_eq!(part.read(&mut two).unwrap(), 0, "there is nothing behind the end");
        assert_eq!(part.seek(SeekFrom::Start(100)).unwrap(), 100);
        assert_eq!(part.read(&mut two).unwrap(), 0, "nor further behind it");
        assert!(part.seek(SeekFrom::Current(-101)).is_err());
    }

    #[test]
    fn what_is_read_is_what_was_published() {
        let (directory, tree) = tree();
        let path = directory.path().join("ignition/a.ign");
        assert_eq!(tree.read("ignition/a.ign").unwrap(), b"0123456789");
        fs::write(&path, "0123456780").unwrap();
        assert!(matches!(tree.read("ignition/a.ign"), Err(Error::Changed { .. })));
        fs::write(&path, "012345678").unwrap();
        assert!(matches!(tree.open("ignition/a.ign"), Err(Error::Size { recorded: 10, found: 9, .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(tree.open("ignition/a.ign"), Err(Error::Unreadable { .. })));
        assert!(matches!(tree.open("manifest.json"), Err(Error::Unnamed { .. })));
    }
}
