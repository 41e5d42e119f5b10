//! Publishing: a tree appears whole under `OUTPUT/NAME/BUILD-ID`, or not at all, and `current` swaps to it.
//!
//! ```text
//! OUTPUT/NAME/.lock         held while someone builds; says who
//! OUTPUT/NAME/.tmp-…        a tree that is not complete; swept by the next build
//! OUTPUT/NAME/BUILD-ID/     read-only files, links into the store where the disk allows it; [`private`] beside them
//! OUTPUT/NAME/current       symbolic link to the newest BUILD-ID
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::unfinished::{self, Claim, Claimed};
use crate::store::Store;
use crate::tree::manifest::{self, Manifest, Role};
use crate::tree::names::{self, CHECKSUMS, CURRENT};
use crate::tree::row::{Contents, Row};

const TEMPORARY: &str = ".tmp-";

/// Why a tree cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another build works in the same output directory.
    #[error("{} is in use by another build: {holder}", directory.display())]
    InUse {
        /// The output directory of the recipe.
        directory: PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// The place of the `current` link is taken by something else.
    #[error("{} is not a symbolic link that prebake made", path.display())]
    Foreign {
        /// What is in the way.
        path: PathBuf,
    },
    /// Two outputs want to write one file.
    #[error("two outputs both write `{path}`")]
    Collision {
        /// Path inside the tree.
        path: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Collision { .. } => Exit::Config,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::InUse { .. } => Some("wait for it, or build into another place with --output".into()),
            Error::Foreign { .. } => Some("move it away, or build into another place with --output".into()),
            Error::Collision { .. } => None,
        }
    }
}

/// The output directory of one recipe, held by this process alone until dropped.
pub struct Output {
    directory: PathBuf,
    /// Unlocked when closed, whatever way the process ends.
    _lock: File,
}

/// A tree that is published.
#[derive(Debug)]
pub struct Published {
    /// `OUTPUT/NAME/BUILD-ID`.
    pub path: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// Whether it was there before.
    pub unchanged: bool,
    /// What of its private part others could read until now.
    pub exposed: Vec<crate::tree::private::Exposed>,
}

/// What a tree will hold: the manifest and, by path, where the bytes are.
pub struct Draft {
    manifest: Manifest,
    contents: BTreeMap<String, Contents>,
    /// By file name: what is said about the manifest, and so cannot be in it.
    beside: BTreeMap<String, Vec<u8>>,
    /// By file name: configs with secrets. They are beside what is public, and no part of the manifest or the BUILD-ID. Nothing
    /// where those that a tree may have shall stay.
    private: Option<BTreeMap<String, Vec<u8>>>,
    /// Where they lie, if not in the tree.
    private_outside: Option<PathBuf>,
}

impl Draft {
    /// Turns the rows of all outputs into a manifest with its checksums file. `head` has no files yet.
    pub fn new(mut head: Manifest, rows: Vec<Row>) -> Result<Self, Error> {
        let mut contents = BTreeMap::new();
        let mut joined = Vec::new();
        for row in rows {
            let Some(file) = row.file() else {
                joined.push(row);
                continue;
            };
            let Row { path, contents: bytes, .. } = row;
            if head.files.insert(path.clone(), file).is_some() {
                return Err(Error::Collision { path });
            }
            contents.insert(path, bytes);
        }
        for Row { path, contents, role, profile, node, arch, .. } in joined {
            let Contents::Joined(parts) = contents else { continue };
            let size = head.joined_size(&parts).unwrap_or_default();
            let row = manifest::Joined { role, size, parts, profile, node, arch };
            if head.files.contains_key(&path) || head.joined.insert(path.clone(), row).is_some() {
                return Err(Error::Collision { path });
            }
        }
        let lines: Vec<String> =
            head.files.iter().map(|(path, file)| format!("{}  {path}\n", file.sha256)).collect();
        let sums = lines.concat().into_bytes();
        let file = manifest::File::new(Role::Checksums, sums.len() as u64, Sha256::of(&sums));
        head.files.insert(CHECKSUMS.into(), file);
        contents.insert(CHECKSUMS.into(), Contents::Text(sums));
        Ok(Draft {
            manifest: head,
            contents,
            beside: BTreeMap::new(),
            private: Some(BTreeMap::new()),
            private_outside: None,
        })
    }

    /// A tree that was published elsewhere, and all of whose files are in the store.
    pub fn of(manifest: Manifest) -> Self {
        let stored =
            |file: &manifest::File| Contents::Stored(Object { sha256: file.sha256, size: file.size });
        let contents = manifest.files.iter().map(|(path, file)| (path.clone(), stored(file))).collect();
        Draft { manifest, contents, beside: BTreeMap::new(), private: None, private_outside: None }
    }

    /// With files beside the manifest, by name: its signature, say.
    pub fn with_beside(self, beside: BTreeMap<String, Vec<u8>>) -> Self {
        Draft { beside, ..self }
    }

    /// What the tree will hold.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the bytes of a file are.
    pub fn contents(&self, path: &str) -> Option<&Contents> {
        self.contents.get(path)
    }

    /// With configs that hold secrets, by file name.
    pub fn with_private(self, private: BTreeMap<String, Vec<u8>>) -> Self {
        Draft { private: Some(private), ..self }
    }

    /// With those configs below this directory, instead of in the tree.
    pub fn with_private_outside(self, outside: Option<PathBuf>) -> Self {
        Draft { private_outside: outside, ..self }
    }

    /// What is said about the manifest, by file name.
    pub fn beside(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.beside
    }

    /// Writes what the manifest does not name: what of it others could read before.
    fn place_unnamed(&self, tree: &Path) -> Result<Vec<crate::tree::private::Exposed>, disk::Error> {
        for (name, bytes) in &self.beside {
            let path = tree.join(name);
            if !fs::read(&path).is_ok_and(|there| there == *bytes) {
                disk::write_atomic(&path, bytes)?;
            }
        }
        let Some(files) = &self.private else { return Ok(Vec::new()) };
        let top = crate::tree::private::directory(tree, self.private_outside.as_deref(), &self.manifest.name);
        if self.private_outside.is_none() {
            return crate::tree::private::place(&top, files);
        }
        // OUTPUT/NAME
        let output = disk::directory_of(tree);
        let exposed = match files.is_empty() {
            true => crate::tree::private::release(&top, output).map(|()| Vec::new())?,
            false => {
                crate::tree::private::claim(&top, output)?;
                crate::tree::private::place(&top, files)?
            }
        };
        // Last, so that a failure loses none.
        crate::tree::private::place(&tree.join(names::PRIVATE), &BTreeMap::new())?;
        Ok(exposed)
    }
}

impl Output {
    /// Takes the output directory of a recipe and sweeps what crashed builds left in it.
    pub fn acquire(output: &Path, name: &str) -> Result<Self> {
        let directory = output.join(name);
        disk::create_directories(&directory)?;
        let path = directory.join(".lock");
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut lock = lock.map_err(disk::Error::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = io::read_to_string(&lock).unwrap_or_default().trim().to_owned();
                return Err(Error::InUse { directory, holder }.into());
            }
            Err(TryLockError::Error(error)) => return Err(disk::Error::io("lock", &path)(error).into()),
        }
        let who = format!(
            "process {} since {}\n",
            std::process::id(),
            crate::base::clock::date(std::time::SystemTime::now())
        );
        lock.set_len(0)
            .and_then(|()| lock.write_all(who.as_bytes()))
            .map_err(disk::Error::io("write", &path))?;
        let output = Output { directory, _lock: lock };
        output.sweep()?;
        Ok(output)
    }

    fn sweep(&self) -> Result<(), disk::Error> {
        let list = || fs::read_dir(&self.directory)?.collect::<io::Result<Vec<_>>>();
        for entry in list().map_err(disk::Error::io("list", &self.directory))? {
            if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                continue;
            }
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(disk::Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// The link to the newest build.
    pub fn current(&self) -> PathBuf {
        self.directory.join(CURRENT)
    }

    /// Publishes a tree and points `current` at it. A tree that is there already, whole, is left as it is: that costs
    /// one `stat` a file; a paranoid store has every byte read.
    pub fn publish(&self, draft: &Draft, store: &Store) -> Result<Published> {
        let current = self.current();
        if fs::symlink_metadata(&current).is_ok_and(|meta| !meta.is_symlink()) {
            return Err(Error::Foreign { path: current }.into());
        }
        let build_id = draft.manifest.build_id();
        let path = self.directory.join(&build_id);
        let unchanged = is_whole(&path, &draft.manifest, store);
        let exposed = match unchanged {
            true => unfinished::together(|| draft.place_unnamed(&path))?,
            false => self.stage(draft, store, &build_id, &path)?,
        };
        if fs::read_link(&current).ok().as_deref() != Some(Path::new(&build_id)) {
            let link = self.directory.join(format!("{TEMPORARY}{CURRENT}"));
            let _link = Claim::new(&link, Claimed::Whole);
            symlink(&build_id, &link).map_err(disk::Error::io("create", &link))?;
            fs::rename(&link, &current).map_err(disk::Error::io("swap", &current))?;
            disk::sync_directory(&self.directory)?;
        }
        Ok(Published { path, manifest: draft.manifest.clone(), unchanged, exposed })
    }

    /// Builds the tree aside and renames it into place, the manifest last.
    fn stage(
        &self,
        draft: &Draft,
        store: &Store,
        build_id: &str,
        path: &Path,
    ) -> Result<Vec<crate::tree::private::Exposed>, disk::Error> {
        let stage = self.directory.join(format!("{TEMPORARY}{build_id}"));
        // A full disk and Ctrl-C leave no half of a tree: what was staged goes with this.
        let _stage = Claim::new(&stage, Claimed::Whole);
        create_directory(&stage)?;
        let mut made = std::collections::BTreeSet::new();
        for (name, contents) in &draft.contents {
            let target = stage.join(name);
            for parent in Path::new(name).ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
                if parent != Path::new("") && made.insert(parent.to_owned()) {
                    create_directory(&stage.join(parent))?;
                }
            }
            match contents {
                Contents::Stored(object) => place(&store.path(&object.sha256), &target)?,
                Contents::Published(path, _) => place(path, &target)?,
                Contents::Text(bytes) => write_read_only(&target, bytes)?,
                Contents::Joined(_) => {}
            }
        }
        let exposed = draft.place_unnamed(&stage)?;
        write_read_only(&stage.join(names::MANIFEST), &draft.manifest.to_bytes())?;
        for directory in &made {
            disk::sync_directory(&stage.join(directory))?;
        }
        disk::sync_directory(&stage)?;
        if path.exists() {
            // Same BUILD-ID, but someone damaged it: move it aside, where a crash leaves it to be swept.
            let aside = self.directory.join(format!("{TEMPORARY}damaged-{build_id}"));
            fs::rename(path, &aside).map_err(disk::Error::io("move aside", path))?;
        }
        unfinished::together(|| fs::rename(&stage, path)).map_err(disk::Error::io("publish", path))?;
        disk::sync_directory(&self.directory)?;
        self.sweep()?;
        Ok(exposed)
    }
}

/// Whether a tree is what `current` below this output directory points at, and whole.
pub fn is_current(output: &Path, draft: &Draft, store: &Store) -> bool {
    let directory = output.join(&draft.manifest.name);
    let build_id = draft.manifest.build_id();
    fs::read_link(directory.join(CURRENT)).is_ok_and(|current| current == Path::new(&build_id))
        && is_whole(&directory.join(build_id), &draft.manifest, store)
}

/// Whether a published tree has this manifest and every file of it at its size; a paranoid store reads the files, too.
fn is_whole(path: &Path, manifest: &Manifest, store: &Store) -> bool {
    let intact = |(name, file): (&String, &manifest::File)| {
        let path = path.join(name);
        let object = Object { sha256: file.sha256, size: file.size };
        fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == file.size)
            && (!store.is_paranoid() || store.is_copy(&path, &object))
    };
    fs::read(path.join(names::MANIFEST)).is_ok_and(|bytes| bytes == manifest.to_bytes())
        && manifest.files.iter().all(intact)
}

/// Links an object to where it is published; where the disk cannot (another file system, too many links), copies it, which the
/// kernel does as a reflink where it can.
pub(crate) fn place(object: &Path, target: &Path) -> Result<(), disk::Error> {
    match fs::hard_link(object, target) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(disk::Error::io("find", object)(error)),
        // The store is elsewhere. A name that outlives a power cut must have its bytes; those of a linked file are on the disk.
        Err(_) => fs::copy(object, target)
            .and_then(|_| File::open(target)?.sync_all())
            .map_err(disk::Error::io("write", target)),
    }
}

/// Modes are set, not left to the umask: a tree is read by servers that run as somebody else.
fn create_directory(path: &Path) -> Result<(), disk::Error> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(disk::Error::io("create", path))
}

fn write_read_only(path: &Path, bytes: &[u8]) -> Result<(), disk::Error> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
        file.sync_all()
    };
    write().map_err(disk::Error::io("write", path))
}
