//! Removes objects that nothing refers to any more.
//!
//! It never runs beside a build: a [`Store`] in use shares the lock that [`Alone`] holds. Even so, young objects are
//! kept, because an interrupted build has fetched inputs that no lock names yet. Unfinished files are removed at any
//! age: no process is left to finish them, and a CI job that is cancelled again and again would fill its cache with
//! them.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{io, iter};

use super::Store;
use super::roots::{ReadRoot, References};
use super::verify::list;
use crate::base::digest::{Object, Sha256};
use crate::base::disk::Error;
use crate::base::unfinished;

/// How long notes are kept. They are small, and a missing one can be found out again.
const NOTES: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A store that no other process is using.
pub(crate) struct Alone(Store);

/// The files to remove.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    /// Objects, with the disk space that removing each one frees: none if a published tree still has the file.
    pub objects: Vec<(Object, u64)>,
    /// Keys of step records.
    pub steps: Vec<Sha256>,
    /// Links to locks and trees that no longer exist.
    pub roots: Vec<PathBuf>,
    /// Corrupt objects and leftovers of killed runs, with their sizes in bytes.
    pub leftovers: Vec<(PathBuf, u64)>,
    /// The objects that stay.
    pub kept: Kept,
}

/// The content of a store after `gc`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Number of objects.
    pub objects: usize,
    /// Total length of these objects, in bytes.
    pub bytes: u64,
    /// Number of unreferenced objects among them that are kept because they are young.
    pub young: usize,
}

impl Alone {
    /// Opens a store exclusively. `None` if another process is using it, unless `wait` is set.
    pub(crate) fn open(root: &Path, wait: bool) -> Result<Option<Alone>, Error> {
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

    /// The opened store.
    pub(crate) fn store(&self) -> &Store {
        &self.0
    }

    /// Removes the garbage: first everything that names objects, then the objects.
    pub(crate) fn remove(&self, garbage: &Garbage) -> Result<(), Error> {
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
            // This removes only empty directories.
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
    /// Finds everything that no living root refers to and that is older than `grace`.
    pub(crate) fn find(
        store: &Store,
        grace: Duration,
        read: ReadRoot,
    ) -> crate::base::error::Result<Garbage> {
        let now = SystemTime::now();
        let is_old = |meta: &fs::Metadata| {
            let modified = meta.modified().unwrap_or(now);
            now.duration_since(modified).is_ok_and(|age| age >= grace)
        };
        let References { objects, steps, dead } = store.references(read)?;
        let mut garbage = Garbage { roots: dead, ..Garbage::default() };
        let mut kept_steps = Vec::new();
        store.walk("steps", |key, meta| match steps.contains(&key) || !is_old(&meta) {
            true => kept_steps.push(key),
            false => garbage.steps.push(key),
        })?;
        // A step record that stays keeps the outputs of the step.
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
        garbage.leftovers =
            leftovers(&store.root)?.into_iter().map(|path| (path.clone(), size(&path))).collect();
        Ok(garbage)
    }

    /// Disk space that is freed, in bytes.
    pub(crate) fn freed(&self) -> u64 {
        let objects = self.objects.iter().map(|(_, freed)| freed);
        objects.chain(self.leftovers.iter().map(|(_, size)| size)).sum()
    }
}

/// Corrupt objects, which are useless, and unfinished files that no process holds. A process that uses the store shares
/// its lock; the files' own locks are checked as well, since the store's lock file may have been removed.
fn leftovers(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found: Vec<PathBuf> = list(&root.join("corrupt"))?.iter().map(DirEntry::path).collect();
    let tmp = list(&root.join("tmp"))?.into_iter().map(|entry| entry.path());
    found.extend(tmp.filter(|path| !unfinished::is_held(path)));
    let partial = list(&root.join("partial"))?.into_iter().map(|entry| entry.path());
    found.extend(partial.filter(|path| !unfinished::is_held(&path.join("data"))));
    // Small files are written next to their targets: STEPS/ab/.prebake-…
    for room in list(root)?.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if ["corrupt", "tmp", "partial"].iter().any(|name| room.file_name() == *name) {
            continue;
        }
        let shelves = list(&room.path())?;
        let shelves = shelves.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for directory in iter::once(room).chain(shelves) {
            let names = list(&directory.path())?;
            let names = names.iter().filter(|entry| {
                entry.file_name().as_encoded_bytes().starts_with(unfinished::PREFIX.as_bytes())
            });
            found.extend(names.map(DirEntry::path).filter(|path| !unfinished::is_held(path)));
        }
    }
    found.sort();
    Ok(found)
}

/// Disk usage below a path, in bytes.
fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    match meta.is_dir() {
        true => list(path).map_or(0, |entries| entries.iter().map(|entry| size(&entry.path())).sum()),
        // A partial download is sparse.
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

    /// attacks.md, C-M8: 56 kills of `build` left 968 MB in STORE/tmp, and `gc` said "0 leftovers".
    #[test]
    fn what_killed_runs_left_goes_whatever_its_age_and_what_somebody_holds_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let alone = Alone::open(root, false).unwrap().unwrap();
        let store = alone.store();
        fs::write(root.join("tmp/torn"), "123").unwrap();
        fs::create_dir_all(root.join("tmp/spool/usr")).unwrap();
        fs::write(root.join("tmp/spool/usr/file"), "12345").unwrap();
        fs::create_dir_all(root.join("steps/ab")).unwrap();
        fs::write(root.join("steps/ab/.prebake-0000-x"), "1").unwrap();
        fs::create_dir_all(root.join("bundles")).unwrap();
        fs::write(root.join("bundles/.prebake-0000-x"), "1").unwrap();
        fs::write(root.join("bundles/site.json"), "{}").unwrap();
        let partial = root.join("partial/x");
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("data"), "1234").unwrap();
        // As if STORE/.lock had been removed during a build.
        let (scratch, spool) = (store.scratch().unwrap(), store.spool().unwrap());
        let arriving = store.partial("http://mirror/file").unwrap().unwrap();
        let garbage = Garbage::find(store, Duration::from_secs(3600), |_| Ok(None)).unwrap();
        assert_eq!((garbage.leftovers.len(), garbage.freed()), (5, 3 + 5 + 1 + 1 + 4));
        alone.remove(&garbage).unwrap();
        assert!(!partial.exists());
        let Garbage { objects, steps, roots, leftovers, .. } =
            Garbage::find(store, Duration::ZERO, |_| Ok(None)).unwrap();
        assert!(objects.is_empty() && steps.is_empty() && roots.is_empty() && leftovers.is_empty());
        assert!(scratch.path().exists() && spool.path().exists() && root.join("bundles/site.json").exists());
        drop((scratch, spool, arriving));
        assert_eq!(Garbage::find(store, Duration::from_secs(3600), |_| Ok(None)).unwrap().leftovers.len(), 1);
    }
}
