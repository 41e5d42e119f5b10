//! Removing what nobody refers to any more.
//!
//! Never beside a build: a [`Store`] in use shares the lock that [`Alone`] holds. What is young is kept all the same,
//! because a build that was interrupted has fetched inputs that no lock names yet.

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::roots::References;
use super::verify::list;
use super::{Error, Object, Store, is_older};
use crate::digest::Sha256;

/// How long notes stay. They are small, and whoever misses one finds it out again.
const NOTES: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A store that no other process works with.
pub struct Alone(Store);

/// What would be removed.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Objects, with the bytes that the disk gets back: none where a published tree still holds the file.
    pub objects: Vec<(Object, u64)>,
    /// Records of steps.
    pub steps: Vec<Sha256>,
    /// Links to locks and trees that are gone.
    pub roots: Vec<PathBuf>,
    /// Corrupt objects and what crashes left, with their bytes.
    pub leftovers: Vec<(PathBuf, u64)>,
    /// What stays.
    pub kept: Kept,
}

/// What a store holds after `gc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    /// Objects.
    pub objects: usize,
    /// Their length in bytes.
    pub bytes: u64,
    /// Objects among them that nobody refers to, but that are young.
    pub young: usize,
}

impl Alone {
    /// Opens a store for this process alone. `None` where another one works with it, unless this shall `wait`.
    pub fn open(root: &Path, wait: bool) -> Result<Option<Alone>, Error> {
        let mut busy = false;
        let opened = Store::open_with(root, |lock| match wait {
            true => lock.lock(),
            false => match lock.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    busy = true;
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Err(TryLockError::Error(error)) => Err(error),
                Ok(()) => Ok(()),
            },
        });
        match opened {
            Ok(store) => Ok(Some(Alone(store))),
            Err(_) if busy => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0
    }

    /// Removes what was found: first what names objects, then the objects.
    pub fn remove(&self, garbage: &Garbage) -> Result<(), Error> {
        let store = &self.0;
        for path in &garbage.roots {
            remove(path)?;
        }
        for key in &garbage.steps {
            remove(&store.step_path(key))?;
        }
        for (object, _) in &garbage.objects {
            let path = store.path(&object.sha256);
            remove(&path)?;
            // Only an empty shelf goes.
            let _ = path.parent().map(fs::remove_dir);
        }
        for (path, _) in &garbage.leftovers {
            remove(path)?;
        }
        let mut old = Vec::new();
        store.walk("notes", |key, meta| {
            if meta.modified().is_ok_and(|noted| noted.elapsed().is_ok_and(|age| age > NOTES)) {
                old.push(key);
            }
        })?;
        old.iter().try_for_each(|key| remove(&store.note_path(key)))
    }
}

impl Garbage {
    /// Finds what no living root refers to and is older than `grace`.
    pub fn find(store: &Store, grace: Duration) -> crate::error::Result<Garbage> {
        let now = SystemTime::now();
        let is_old = |meta: &fs::Metadata| {
            let modified = meta.modified().unwrap_or(now);
            now.duration_since(modified).is_ok_and(|age| age >= grace)
        };
        let References { objects, steps, dead } = store.references()?;
        let mut garbage = Garbage { roots: dead, ..Garbage::default() };
        let mut kept_steps = Vec::new();
        store.walk("steps", |key, meta| match steps.contains(&key) || !is_old(&meta) {
            true => kept_steps.push(key),
            false => garbage.steps.push(key),
        })?;
        // A step that stays keeps what it made.
        let made = kept_steps.iter().filter_map(|key| store.step(key)).flat_map(|made| made.into_values());
        let made: BTreeSet<Sha256> = made.map(|object| object.sha256).collect();
        let Garbage { objects: removed, kept, .. } = &mut garbage;
        store.walk("objects", |sha256, meta| {
            let is_named = objects.contains_key(&sha256);
            if is_named || made.contains(&sha256) || !is_old(&meta) {
                kept.objects += 1;
                kept.bytes += meta.len();
                kept.young += usize::from(!is_named);
                return;
            }
            let freed = if meta.nlink() == 1 { meta.len() } else { 0 };
            removed.push((Object { sha256, size: meta.len() }, freed));
        })?;
        garbage.objects.sort_by_key(|(object, _)| object.sha256);
        garbage.steps.sort();
        // What was found corrupt has no use; what is in the making belongs to a process that is gone.
        for (directory, grace) in [("corrupt", Duration::ZERO), ("tmp", grace), ("partial", grace)] {
            let entries = list(&store.root.join(directory))?;
            let old = entries.iter().map(|entry| entry.path()).filter(|path| is_older(path, grace));
            garbage.leftovers.extend(old.map(|path| (path.clone(), size(&path))));
        }
        garbage.leftovers.sort();
        Ok(garbage)
    }

    /// Bytes that the disk gets back.
    pub fn freed(&self) -> u64 {
        let objects = self.objects.iter().map(|(_, freed)| freed);
        objects.chain(self.leftovers.iter().map(|(_, size)| size)).sum()
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        let Garbage { objects, steps, roots, leftovers, kept: _ } = self;
        objects.is_empty() && steps.is_empty() && roots.is_empty() && leftovers.is_empty()
    }
}

/// Bytes on the disk below a path.
fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    match meta.is_dir() {
        true => list(path).map_or(0, |entries| entries.iter().map(|entry| size(&entry.path())).sum()),
        // A partial body is sparse.
        false => (meta.blocks() * 512).min(meta.len()),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn gc_and_builds_keep_each_other_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let (one, two) = (Store::open(&root).unwrap(), Store::open(&root).unwrap());
        drop(one);
        assert!(Alone::open(&root, false).unwrap().is_none());
        drop(two);
        let alone = Alone::open(&root, false).unwrap().unwrap();
        assert!(Alone::open(&root, false).unwrap().is_none());
        let (sender, opened) = mpsc::channel();
        let build = thread::spawn(move || sender.send(Store::open(&root).map(drop)));
        assert!(opened.recv_timeout(Duration::from_millis(50)).is_err(), "a build waits for gc");
        drop(alone);
        opened.recv().unwrap().unwrap();
        build.join().unwrap().unwrap();
    }

    #[test]
    fn what_crashes_left_goes_when_it_is_old() {
        let directory = tempfile::tempdir().unwrap();
        let alone = Alone::open(directory.path(), false).unwrap().unwrap();
        let store = alone.store();
        fs::write(directory.path().join("tmp/torn"), "123").unwrap();
        let partial = directory.path().join("partial/x");
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("data"), "1234").unwrap();
        assert!(Garbage::find(store, Duration::from_secs(3600)).unwrap().is_empty());
        let garbage = Garbage::find(store, Duration::ZERO).unwrap();
        assert_eq!(garbage.leftovers.len(), 2);
        alone.remove(&garbage).unwrap();
        assert!(!partial.exists() && Garbage::find(store, Duration::ZERO).unwrap().is_empty());
    }
}
