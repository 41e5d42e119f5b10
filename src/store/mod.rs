//! The content-addressed store: every verified input and every built artifact, once, named by its SHA-256.
//!
//! ```text
//! ROOT/objects/ab/cdef…   read-only files, complete and verified by the time they have this name
//! ROOT/steps/ab/cdef…     the objects that a build step made, by step key
//! ROOT/notes/ab/cdef…     results of slow checks, by a key over all that they depend on; `gc` drops old ones
//! ROOT/partial/           large bodies that are still arriving, resumed after a crash
//! ROOT/tmp/               other unfinished files; leftovers of a crash are swept by the next run
//! ROOT/keys/              the vendor's key file, as it was last fetched (`source::key`)
//! ROOT/roots/             links to the locks and trees that refer to objects: the roots of `gc`
//! ROOT/corrupt/           objects whose bytes were found wrong: kept for a look, never served, swept by `gc`
//! ROOT/.lock              shared by all users of the store, held alone by `gc`
//! ```
//! Owns the life of an object: incoming, unverified, verified, kept or swept. It knows no format and no recipe: the reader of
//! locks and manifests is handed in (`tree::kept`). Leaves to `source` where bytes come from, and to `bake::plan` the meaning
//! of a key.

pub(crate) mod gc;
pub(crate) mod partial;
pub(crate) mod roots;
pub(crate) mod verify;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use crate::base::digest::{Hashing, Object, Sha256};
use crate::base::disk::{Error, create_directories, persist, write_atomic};
use crate::base::unfinished;
use crate::trust::openpgp::{self, Signed, Verifier};

/// Leftovers of a crash are swept at this age, which is longer than any build is expected to take, and than a weekend.
const STALE: Duration = Duration::from_secs(4 * 24 * 3600);

/// How many unverified bytes are examined to identify their type.
const START: usize = 4096;

/// A directory of objects. `gc` does not run in it as long as one of these exists.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    vigilance: Option<Arc<verify::Vigilance>>,
    /// The lock is released when the last clone is closed, however the process ends.
    _in_use: Arc<File>,
}

/// Untrusted bytes on their way into the store. Dropping this leaves nothing behind.
pub(crate) struct Incoming {
    file: Hashing<NamedTempFile>,
    verifier: Option<Verifier>,
}

/// Complete bytes that are not verified yet.
pub(crate) struct Unverified {
    file: NamedTempFile,
    object: Object,
    /// The verifier of a signature, if there is one; it has read each of the bytes.
    verifier: Option<Verifier>,
    /// Further files to remove when the bytes are stored or refused.
    left: Option<partial::Leftover>,
}

/// Bytes that passed a check or were made here; only these get an object's name.
pub(crate) struct Verified(Unverified);

impl Store {
    /// Opens a store: creates its directories and sweeps leftovers of crashes. Waits for a running `gc`.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Store::open_with(root, |lock| lock.lock_shared())
    }

    /// Fails if the disk does not have space for this many more bytes.
    pub(crate) fn must_have_room(&self, needed: u64) -> Result<(), Error> {
        let disk = rustix::fs::statvfs(&self.root)
            .map_err(|error| Error::io("look at", &self.root)(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        match needed > free {
            true => {
                let source = rustix::io::Errno::NOSPC.into();
                Err(Error::Room { path: self.root.clone(), free, needed, source })
            }
            false => Ok(()),
        }
    }

    fn open_with(root: &Path, take: impl FnOnce(&File) -> io::Result<()>) -> Result<Self, Error> {
        for directory in ["objects", "steps", "notes", "partial", "tmp", "roots", "corrupt"] {
            let path = root.join(directory);
            create_directories(&path)?;
        }
        let path = root.join(".lock");
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(Error::io("open", &path))?;
        take(&lock).map_err(Error::io("lock", &path))?;
        let store = Store { root: root.to_owned(), vigilance: None, _in_use: Arc::new(lock) };
        store.sweep();
        Ok(store)
    }

    /// The same store, but each object's bytes are verified before this process first uses them. A corrupt object is
    /// set aside and counts as missing, so that it is fetched or built again.
    pub(crate) fn paranoid(mut self) -> Self {
        self.vigilance = Some(Arc::default());
        self
    }

    /// The same store for those who ask for lengths alone: it believes in names and sizes, even if it is paranoid.
    pub(crate) fn unread(&self) -> Self {
        Store { root: self.root.clone(), vigilance: None, _in_use: self._in_use.clone() }
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Best effort: the next run tries again to remove what could not be removed.
    fn sweep(&self) {
        for directory in [self.root.join("tmp"), self.partials()] {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_older(path, STALE)) {
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }

    /// The path of an object, whether it exists or not.
    pub(crate) fn path(&self, sha256: &Sha256) -> PathBuf {
        self.root.join("objects").join(fan_out(sha256))
    }

    /// Whether an object with this digest and size is here. This is one `stat`; only a [`Store::paranoid`] store reads
    /// the bytes.
    pub(crate) fn has(&self, object: &Object) -> bool {
        let is_here = fs::metadata(self.path(&object.sha256)).is_ok_and(|meta| meta.len() == object.size);
        is_here && self.vigilance.as_ref().is_none_or(|vigilance| vigilance.vouches(self, object))
    }

    /// Begins to receive bytes.
    pub(crate) fn incoming(&self) -> Result<Incoming, Error> {
        self.incoming_for(None)
    }

    /// Starts to take bytes that a signature is to be judged over; see [`Unverified::signed`].
    pub(crate) fn incoming_for(&self, verifier: Option<Verifier>) -> Result<Incoming, Error> {
        Ok(Incoming { file: Hashing::new(self.scratch()?), verifier })
    }

    /// A file to build in, for formats that need to seek.
    pub(crate) fn scratch(&self) -> Result<NamedTempFile, Error> {
        let tmp = self.root.join("tmp");
        unfinished::named_in(&tmp, "").map_err(Error::io("create a file in", &tmp))
    }

    /// A directory to unpack into while one step builds.
    pub(crate) fn spool(&self) -> Result<unfinished::Directory, Error> {
        let tmp = self.root.join("tmp");
        unfinished::Directory::in_directory(&tmp).map_err(Error::io("create a directory in", &tmp))
    }

    /// Gives verified bytes their name: sync, rename, sync the directory. Storing the same bytes twice gives one
    /// object.
    pub(crate) fn admit(
        &self,
        Verified(Unverified { file, object, left, .. }): Verified,
    ) -> Result<Object, Error> {
        let path = self.path(&object.sha256);
        let read_only = fs::Permissions::from_mode(0o444);
        file.as_file().set_permissions(read_only).map_err(Error::io("make read-only", file.path()))?;
        persist(file, &path)?;
        drop(left);
        Ok(object)
    }

    /// Stores bytes made here.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Object, Error> {
        let object = Object::of(bytes);
        if self.has(&object) {
            return Ok(object);
        }
        let mut incoming = self.incoming()?;
        incoming.write_all(bytes).map_err(Error::io("write", &self.root))?;
        self.admit(incoming.finish()?.made_here())
    }

    /// The outputs of a step, if they are recorded and all of them are still here.
    pub(crate) fn step(&self, key: &Sha256) -> Option<BTreeMap<String, Object>> {
        let bytes = fs::read(self.step_path(key)).ok()?;
        let outputs: BTreeMap<String, Object> = serde_json::from_slice(&bytes).ok()?;
        outputs.values().all(|object| self.has(object)).then_some(outputs)
    }

    /// Records the outputs of a step.
    pub(crate) fn record_step(&self, key: &Sha256, outputs: &BTreeMap<String, Object>) -> Result<(), Error> {
        write_atomic(&self.step_path(key), &crate::base::canonical::canonical_json(outputs))
    }

    /// The note under a key. A note is not an object: it is never published, and it can be found out again.
    pub(crate) fn note(&self, key: &Sha256) -> Option<Vec<u8>> {
        fs::read(self.note_path(key)).ok()
    }

    /// Saves a note under a key.
    pub(crate) fn keep_note(&self, key: &Sha256, bytes: &[u8]) -> Result<(), Error> {
        write_atomic(&self.note_path(key), bytes)
    }

    fn note_path(&self, key: &Sha256) -> PathBuf {
        self.root.join("notes").join(fan_out(key))
    }

    fn step_path(&self, key: &Sha256) -> PathBuf {
        self.root.join("steps").join(fan_out(key))
    }
}

impl Write for Incoming {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&buffer[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Incoming {
    /// Ends receiving; all bytes are here.
    pub(crate) fn finish(self) -> Result<Unverified, Error> {
        let (mut file, sha256, size) = self.file.finish();
        let path = file.path().to_owned();
        file.flush().map_err(Error::io("write", &path))?;
        Ok(Unverified { file, object: Object { sha256, size }, verifier: self.verifier, left: None })
    }
}

impl Unverified {
    /// The first bytes, at most `START`.
    pub(crate) fn start(&self) -> Vec<u8> {
        let mut start = vec![0; START];
        let read = self.file.as_file().read_at(&mut start, 0).unwrap_or_default();
        start.truncate(read);
        start
    }

    /// A complete scratch file, read once for its digest.
    pub(crate) fn of_file(mut file: NamedTempFile) -> Result<Self, Error> {
        let path = file.path().to_owned();
        let digest = file.rewind().and_then(|()| Sha256::of_reader(file.as_file_mut()));
        let (sha256, size) = digest.map_err(Error::io("read", &path))?;
        Ok(Unverified { file, object: Object { sha256, size }, verifier: None, left: None })
    }

    /// Digest and size of the bytes.
    pub(crate) fn object(&self) -> Object {
        self.object
    }

    /// Accepts the bytes if they are the expected ones.
    pub(crate) fn is(self, subject: &str, expected: &Object) -> Result<Verified, Error> {
        self.object.must_be(subject, expected)?;
        Ok(Verified(self))
    }

    /// Accepts the bytes if their signature is good. The verifier came with them from where they were written, so that no
    /// proof over other bytes can be taken for theirs. Gives them back where they have none.
    pub(crate) fn signed(mut self) -> Result<Result<(Verified, Signed), openpgp::Error>, Self> {
        match self.verifier.take() {
            Some(verifier) => Ok(verifier.finish().map(|signed| (Verified(self), signed))),
            None => Err(self),
        }
    }

    /// Accepts bytes that this process computed itself.
    pub(crate) fn made_here(self) -> Verified {
        Verified(self)
    }
}

/// Whether nothing was written here for this long. A partial download's directory is as old as its data.
fn is_older(path: &Path, age: Duration) -> bool {
    let meta = fs::metadata(path.join("data")).or_else(|_| fs::metadata(path));
    let modified = meta.and_then(|meta| meta.modified()).unwrap_or_else(|_| SystemTime::now());
    modified.elapsed().is_ok_and(|elapsed| elapsed >= age)
}

fn fan_out(digest: &Sha256) -> String {
    let hex = digest.to_string();
    format!("{}/{}", &hex[..2], &hex[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    #[test]
    fn equal_bytes_are_one_read_only_object() {
        let (_directory, store) = store();
        let object = store.put(b"bytes").unwrap();
        assert_eq!(store.put(b"bytes").unwrap(), object);
        assert!(store.has(&object));
        let mode = fs::metadata(store.path(&object.sha256)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
    }

    #[test]
    fn bytes_other_than_promised_leave_no_trace() {
        let (_directory, store) = store();
        let mut incoming = store.incoming().unwrap();
        incoming.write_all(b"forged").unwrap();
        let expected = Object { sha256: Sha256::of(b"honest"), size: 6 };
        assert!(matches!(
            incoming.finish().unwrap().is("x", &expected),
            Err(Error::Differs { what: "sha256", .. })
        ));
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
        assert!(!store.has(&expected));
    }

    #[test]
    fn a_step_whose_object_is_gone_is_not_done() {
        let (_directory, store) = store();
        let key = Sha256::of(b"step");
        let object = store.put(b"artifact").unwrap();
        store.record_step(&key, &BTreeMap::from([("image".into(), object)])).unwrap();
        assert!(store.step(&key).is_some());
        fs::remove_file(store.path(&object.sha256)).unwrap();
        assert!(store.step(&key).is_none());
    }
}
