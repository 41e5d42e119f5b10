//! Publishing: a tree appears complete under `OUTPUT/NAME/BUILD-ID`, or not at all, and `current` is swapped to it.
//!
//! ```text
//! OUTPUT/NAME/.lock         held during a build; names its process
//! OUTPUT/NAME/.tmp-…        an incomplete tree; the next build removes it
//! OUTPUT/NAME/BUILD-ID/     read-only files, links into the store where the disk allows it; [`private`] beside them
//! OUTPUT/NAME/current       symbolic link to the newest BUILD-ID
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::unfinished::{self, Claim};
use crate::store::Store;
use crate::tree::manifest::{self, Manifest, Role};
use crate::tree::names::{self, CHECKSUMS, CURRENT};
use crate::tree::private;
use crate::tree::row::{Contents, Row};

const TEMPORARY: &str = ".tmp-";
/// Name of the lock file.
const LOCK: &str = ".lock";
/// How long a process may take from taking the lock to writing its name into it.
const NAMING: Duration = Duration::from_millis(500);

/// Reasons why a tree cannot be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another build works in the same output directory.
    #[error("{} is in use by another build{}", directory.display(), named(holder))]
    InUse {
        /// The output directory of the recipe.
        directory: PathBuf,
        /// The holder's process, as it wrote in the lock.
        holder: String,
    },
    /// Something that is not prebake's link has the name `current`.
    #[error("{} is not a symbolic link that prebake made", path.display())]
    Foreign {
        /// Path of that.
        path: PathBuf,
    },
    /// Two outputs write one file.
    #[error("two outputs both write `{path}`")]
    Collision {
        /// Path inside the tree.
        path: String,
    },
}

/// The holder of a lock. It is unknown for a moment: a process takes the lock, then writes its name into it.
fn named(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(": {holder}") }
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

/// The output directory of one recipe, which this process holds exclusively until this is dropped.
pub(crate) struct Output {
    directory: PathBuf,
    /// Unlocked when closed, however the process ends.
    _lock: File,
}

/// The lock of an output directory.
pub(crate) enum Lock {
    /// It is ours.
    Taken(Output),
    /// Another process has it: this one, as it wrote there.
    Held(String),
}

/// A tree that is published.
#[derive(Debug)]
pub struct Published {
    /// `OUTPUT/NAME/BUILD-ID`.
    pub path: PathBuf,
    /// Manifest of the tree.
    pub manifest: Manifest,
    /// Whether the same tree was already published.
    pub unchanged: bool,
    /// Files of its private part that others could read until now.
    pub exposed: Vec<private::Exposed>,
    /// BUILD-ID that `current` led to before, if it was another one.
    pub left: Option<String>,
}

/// A tree to be published: the manifest and, by path, the source of the bytes.
pub(crate) struct Draft {
    manifest: Manifest,
    contents: BTreeMap<String, Contents>,
    /// Files about the manifest, which cannot be in it, by name.
    beside: BTreeMap<String, Vec<u8>>,
    /// Configs with secrets, by file name. They are beside the public files, and not part of the manifest or the
    /// BUILD-ID. `None` leaves existing ones alone.
    private: Option<BTreeMap<String, Vec<u8>>>,
    /// Directory of the private part, if it is outside the tree.
    private_outside: Option<PathBuf>,
}

impl Draft {
    /// Turns the rows of all outputs into a manifest with its checksums file. `head` has no files yet.
    pub(crate) fn new(mut head: Manifest, rows: Vec<Row>) -> Result<Self, Error> {
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

    /// A tree that was published elsewhere, whose files are all in the store.
    pub(crate) fn of(manifest: Manifest) -> Self {
        let stored =
            |file: &manifest::File| Contents::Stored(Object { sha256: file.sha256, size: file.size });
        let contents = manifest.files.iter().map(|(path, file)| (path.clone(), stored(file))).collect();
        Draft { manifest, contents, beside: BTreeMap::new(), private: None, private_outside: None }
    }

    /// Adds files beside the manifest, by name, such as its signature.
    pub(crate) fn with_beside(self, beside: BTreeMap<String, Vec<u8>>) -> Self {
        Draft { beside, ..self }
    }

    /// The manifest of the tree to be.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Source of a file's bytes.
    pub(crate) fn contents(&self, path: &str) -> Option<&Contents> {
        self.contents.get(path)
    }

    /// Adds configs that contain secrets, by file name.
    pub(crate) fn with_private(self, private: BTreeMap<String, Vec<u8>>) -> Self {
        Draft { private: Some(private), ..self }
    }

    /// Puts those configs below this directory instead of into the tree.
    pub(crate) fn with_private_outside(self, outside: Option<PathBuf>) -> Self {
        Draft { private_outside: outside, ..self }
    }

    /// Files about the manifest, by name.
    pub(crate) fn beside(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.beside
    }

    /// Writes the files that the manifest does not name; returns the private files that others could read before.
    fn place_unnamed(&self, tree: &Path) -> Result<Vec<private::Exposed>, disk::Error> {
        for (name, bytes) in &self.beside {
            let path = tree.join(name);
            if !fs::read(&path).is_ok_and(|there| there == *bytes) {
                disk::write_atomic(&path, bytes)?;
            }
        }
        let Some(files) = &self.private else { return Ok(Vec::new()) };
        let top = private::directory(tree, self.private_outside.as_deref(), &self.manifest.name);
        if self.private_outside.is_none() {
            return private::place(&top, files);
        }
        // The directory OUTPUT/NAME.
        let output = disk::directory_of(tree);
        let exposed = match files.is_empty() {
            true => private::release(&top, output).map(|()| Vec::new())?,
            false => {
                private::claim(&top, output)?;
                private::place(&top, files)?
            }
        };
        // Last, so that a failure loses no secrets.
        private::place(&tree.join(names::PRIVATE), &BTreeMap::new())?;
        Ok(exposed)
    }
}

impl Output {
    /// Locks the output directory of a recipe, and removes the leftovers of crashed builds.
    pub(crate) fn acquire(output: &Path, name: &str) -> Result<Self> {
        let directory = output.join(name);
        disk::create_directories(&directory)?;
        match Output::lock(&directory)? {
            Lock::Taken(output) => Ok(output),
            Lock::Held(holder) => Err(Error::InUse { directory, holder }.into()),
        }
    }

    /// The same for a directory that is there, and may be in use.
    pub(crate) fn lock(directory: &Path) -> Result<Lock, disk::Error> {
        let directory = directory.to_owned();
        let path = directory.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut lock = lock.map_err(disk::Error::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(Lock::Held(holder_of(&path)));
            }
            Err(TryLockError::Error(error)) => return Err(disk::Error::io("lock", &path)(error)),
        }
        let who = format!(
            "process {} since {}\n",
            std::process::id(),
            crate::base::clock::date(std::time::SystemTime::now())
        );
        // Written before the rest goes, so that the file names somebody at every moment.
        lock.write_all(who.as_bytes())
            .and_then(|()| lock.set_len(who.len() as u64))
            .map_err(disk::Error::io("write", &path))?;
        let output = Output { directory, _lock: lock };
        output.sweep()?;
        Ok(Lock::Taken(output))
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

    /// Path of the link to the newest build.
    pub(crate) fn current(&self) -> PathBuf {
        self.directory.join(CURRENT)
    }

    /// Publishes a tree and points `current` at it. A tree that is already there and complete is left as it is, which
    /// costs one `stat` per file; with a paranoid store every byte is read.
    pub(crate) fn publish(&self, draft: &Draft, store: &Store) -> Result<Published> {
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
        let before = fs::read_link(&current).ok();
        let left = before.as_deref().filter(|left| *left != Path::new(&build_id));
        let left = left.map(|left| left.display().to_string());
        if before.is_none() || left.is_some() {
            let link = self.directory.join(format!("{TEMPORARY}{CURRENT}"));
            let _link = Claim::new(&link);
            symlink(&build_id, &link).map_err(disk::Error::io("create", &link))?;
            fs::rename(&link, &current).map_err(disk::Error::io("swap", &current))?;
            disk::sync_directory(&self.directory)?;
        }
        Ok(Published { path, manifest: draft.manifest.clone(), unchanged, exposed, left })
    }

    /// Builds the tree in a temporary directory and renames it into place; the manifest is written last.
    fn stage(
        &self,
        draft: &Draft,
        store: &Store,
        build_id: &str,
        path: &Path,
    ) -> Result<Vec<private::Exposed>, disk::Error> {
        let stage = self.directory.join(format!("{TEMPORARY}{build_id}"));
        // After a full disk or Ctrl-C, dropping this removes the staged tree.
        let _stage = Claim::new(&stage);
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
            // The same BUILD-ID, but damaged: move it aside, where the next build removes it if this one crashes.
            let aside = self.directory.join(format!("{TEMPORARY}damaged-{build_id}"));
            fs::rename(path, &aside).map_err(disk::Error::io("move aside", path))?;
        }
        unfinished::together(|| fs::rename(&stage, path)).map_err(disk::Error::io("publish", path))?;
        disk::sync_directory(&self.directory)?;
        self.sweep()?;
        Ok(exposed)
    }
}

/// The process that holds a lock, as it wrote there. A lock is taken before its file is written, so an empty file or the name of
/// a process that is gone is waited out.
fn holder_of(lock: &Path) -> String {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(lock).unwrap_or_default();
        let holder = text.lines().next().filter(|_| text.contains('\n')).unwrap_or_default();
        let lives = |id: &str| Path::new("/proc").join(id).exists();
        // In another namespace its number says nothing.
        if started.elapsed() > NAMING || holder.split(' ').nth(1).is_some_and(lives) {
            return holder.to_owned();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The process that builds in an output directory now, if there is one. Nothing is locked or written.
pub(crate) fn holder(directory: &Path) -> Option<String> {
    let lock = directory.join(LOCK);
    unfinished::is_held(&lock).then(|| holder_of(&lock))
}

/// Removes a tree whose output directory is locked: by a rename, then file by file, so that no half of it is ever found.
pub(crate) fn remove(directory: &Path, tree: &Path) -> Result<(), disk::Error> {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.join(format!("{TEMPORARY}pruned-{name}"));
    // After an interrupt, dropping this removes the rest; after a kill, the next build or prune.
    let _aside = Claim::new(&aside);
    unfinished::together(|| fs::rename(tree, &aside)).map_err(disk::Error::io("move aside", tree))?;
    disk::sync_directory(directory)?;
    fs::remove_dir_all(&aside).map_err(disk::Error::io("remove", &aside))
}

/// Whether `current` below this output directory points at the tree, and the tree is complete.
pub(crate) fn is_current(output: &Path, draft: &Draft, store: &Store) -> bool {
    let directory = output.join(&draft.manifest.name);
    let build_id = draft.manifest.build_id();
    fs::read_link(directory.join(CURRENT)).is_ok_and(|current| current == Path::new(&build_id))
        && is_whole(&directory.join(build_id), &draft.manifest, store)
}

/// Whether a published tree has this manifest and every file of it with its size; a paranoid store reads the files,
/// too.
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

/// Links an object to its published path; where the disk cannot (another file system, too many links), copies it, as a
/// reflink where the kernel can do that.
pub(crate) fn place(object: &Path, target: &Path) -> Result<(), disk::Error> {
    match fs::hard_link(object, target) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(disk::Error::io("find", object)(error)),
        // The store is on another file system. Sync, since a name that survives a power cut must have its bytes; those
        // of a linked file are already on the disk.
        Err(_) => fs::copy(object, target)
            .and_then(|_| File::open(target)?.sync_all())
            .map_err(disk::Error::io("write", target)),
    }
}

/// Modes are set explicitly, regardless of the umask: the servers that read a tree run as other users.
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
