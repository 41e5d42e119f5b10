//! Large downloads in progress: bytes arrive in any order, and those that have arrived survive a crash.
//!
//! ```text
//! ROOT/partial/KEY/data       the bytes so far, sparse; locked by the process that writes
//! ROOT/partial/KEY/map        one byte a block: 1 once the block is there
//! ROOT/partial/KEY/identity   what the bytes are: URL, size, validator
//! ```
//! A block is marked after it was written, without a sync: a killed process loses nothing, but a power cut may leave
//! marks without bytes. So a resumed download is trusted no more than a new one, and is fetched again if its digest is
//! wrong.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use super::{Store, Unverified};
use crate::base::digest::{Object, Sha256};
use crate::base::disk::{Error, write_atomic};
use crate::trust::openpgp::Verifier;

/// The size of a block, the unit in which progress is remembered, in bytes.
pub(crate) const BLOCK: u64 = 64 << 10;
/// Longest download that is remembered, in bytes. If an earlier prebake noted a greater length, a server lied; yet a
/// file of that length may exist, since XFS, btrfs and tmpfs support sparse files of 8 EiB.
pub(crate) const LONGEST: u64 = 1 << 40;

/// Identifies the bytes. Bytes with different identities are never combined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The URL of the request, without user and password.
    pub url: String,
    /// Length of the whole body, in bytes.
    pub size: u64,
    /// The server's `ETag` or `Last-Modified`. Without one, a later process does not resume the download.
    pub validator: Option<String>,
}

/// The bytes of one download that are here so far.
pub(crate) struct Partial {
    directory: PathBuf,
    data: File,
    map: File,
    identity: Option<Identity>,
    done: Vec<bool>,
    /// Number of complete blocks at the start.
    leading: usize,
    resumed: bool,
}

impl Store {
    /// The partial download of a canonical URL. `None` if another download of it is running.
    pub(crate) fn partial(&self, url: &str) -> Result<Option<Partial>, Error> {
        let directory = self.partial_of(url);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let data = open(&directory.join("data"))?;
        match data.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &directory)(error)),
        }
        // The previous holder of the lock may have finished, and removed the file that was opened here.
        let inode = |meta: io::Result<fs::Metadata>| meta.map(|meta| meta.ino()).ok();
        if inode(data.metadata()) != inode(fs::metadata(directory.join("data"))) {
            return Ok(None);
        }
        let map = open(&directory.join("map"))?;
        let mut partial =
            Partial { directory, data, map, identity: None, done: Vec::new(), leading: 0, resumed: false };
        partial.recall();
        Ok(Some(partial))
    }

    /// Whether a part of a canonical URL's download may be here, or in progress.
    pub(crate) fn has_partial(&self, url: &str) -> bool {
        self.partial_of(url).exists()
    }

    fn partial_of(&self, url: &str) -> PathBuf {
        self.partials().join(Sha256::of(url.as_bytes()).to_string())
    }

    /// The directory of partial downloads.
    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }
}

impl Partial {
    /// Reads the state that an earlier process left. An inconsistent state is ignored.
    fn recall(&mut self) {
        let Ok(text) = fs::read(self.directory.join("identity")) else { return };
        let Ok(identity) = serde_json::from_slice::<Identity>(&text) else { return };
        let length = |file: &File| file.metadata().map_or(0, |meta| meta.len());
        let fits = length(&self.data) == identity.size && length(&self.map) == blocks(identity.size) as u64;
        if identity.size > LONGEST || !fits {
            return;
        }
        let mut marks = vec![0; blocks(identity.size)];
        if self.map.read_exact_at(&mut marks, 0).is_err() {
            return;
        }
        self.done = marks.into_iter().map(|mark| mark == 1).collect();
        self.resumed = self.done.contains(&true);
        self.identity = Some(identity);
        self.advance();
    }

    /// The identity of the bytes, if there are any.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref().filter(|_| self.done.contains(&true))
    }

    /// Whether some of the bytes came from an earlier process.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Discards everything and begins a download anew. The identity is written last, when the space is known to
    /// suffice.
    pub(crate) fn begin(&mut self, identity: Identity) -> Result<(), Error> {
        if identity.size > LONGEST {
            let why = io::Error::from(io::ErrorKind::FileTooLarge);
            return Err(Error::io("keep a body of more than 1 TiB in", &self.directory)(why));
        }
        let path = self.directory.join("identity");
        let forget = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        forget
            .and_then(|()| self.map.set_len(0))
            .and_then(|()| self.map.set_len(blocks(identity.size) as u64))
            .and_then(|()| self.data.set_len(0))
            .and_then(|()| self.data.set_len(identity.size))
            .map_err(Error::io("write", &self.directory))?;
        self.done = vec![false; blocks(identity.size)];
        self.leading = 0;
        self.resumed = false;
        if identity.validator.is_some() {
            write_atomic(&path, &crate::base::canonical::canonical_json(&identity))?;
        }
        self.identity = Some(identity);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.identity.as_ref().map_or(0, |identity| identity.size)
    }

    /// Number of bytes that are here.
    pub(crate) fn have(&self) -> u64 {
        let full = self.done.iter().filter(|done| **done).count() as u64 * BLOCK;
        // The last block is usually shorter than the others.
        let short = (self.done.len() as u64 * BLOCK).saturating_sub(self.size());
        full - if self.done.last() == Some(&true) { short } else { 0 }
    }

    /// Number of bytes from the start without a gap.
    pub(crate) fn frontier(&self) -> u64 {
        (self.leading as u64 * BLOCK).min(self.size())
    }

    /// The missing ranges in order, in pieces of at most `piece` bytes. Each begins at a block boundary.
    pub(crate) fn missing(&self, piece: u64) -> Vec<Range<u64>> {
        let mut pieces: Vec<Range<u64>> = Vec::new();
        for (index, _) in self.done.iter().enumerate().filter(|(_, done)| !**done) {
            let start = index as u64 * BLOCK;
            let end = (start + BLOCK).min(self.size());
            match pieces.last_mut() {
                Some(last) if last.end == start && end - last.start <= piece => last.end = end,
                _ => pieces.push(start..end),
            }
        }
        pieces
    }

    /// Writes bytes of a piece. The bytes of a piece must come in order, from its first one on; a block is complete if
    /// its end is within `bytes`.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let io = |error| Error::io("write to the store", &self.directory)(error);
        self.data.write_all_at(bytes, offset).map_err(io)?;
        let end = offset + bytes.len() as u64;
        let completed = if end == self.size() { self.done.len() } else { (end / BLOCK) as usize };
        let first = (offset / BLOCK) as usize;
        if first < completed {
            self.map.write_all_at(&vec![1; completed - first], first as u64).map_err(io)?;
            self.done[first..completed].fill(true);
            self.advance();
        }
        Ok(())
    }

    fn advance(&mut self) {
        let more = self.done[self.leading..].iter().take_while(|done| **done).count();
        self.leading += more;
    }

    /// The data, for reading up to the frontier.
    pub(crate) fn reader(&self) -> Result<File, Error> {
        self.data.try_clone().map_err(Error::io("read", &self.directory))
    }

    /// The body is complete, and this was read back of it, by the verifier too, if it is to be judged by a signature.
    pub(crate) fn finish(self, object: Object, verifier: Option<Verifier>) -> Result<Unverified, Error> {
        let path = self.directory.join("data");
        let path = TempPath::try_from_path(path).map_err(Error::io("read", &self.directory))?;
        let file = NamedTempFile::from_parts(self.data, path);
        Ok(Unverified { file, object, verifier, left: Some(Leftover(self.directory)) })
    }

    /// Removes the download.
    pub(crate) fn discard(self) {
        drop(Leftover(self.directory));
    }
}

/// The directory of a download that was completed or abandoned; removed when this is dropped.
pub(super) struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        // If something cannot be removed now, a later sweep does it. The identity goes first, so that the rest is not
        // resumed.
        let _ = fs::remove_file(self.0.join("identity"));
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn blocks(size: u64) -> usize {
    size.div_ceil(BLOCK) as usize
}

fn open(path: &Path) -> Result<File, Error> {
    let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
    options.map_err(Error::io("open", path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URL: &str = "https://example.com/large";

    fn identity(size: u64) -> Identity {
        Identity { url: URL.into(), size, validator: Some("\"v1\"".into()) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_in_any_order_over_several_processes_make_the_body(
            size in 1..12 * BLOCK,
            piece in BLOCK..4 * BLOCK,
            order in proptest::collection::vec((any::<prop::sample::Index>(), 0.0..1.2_f64, any::<bool>()), 1..40),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path()).unwrap();
            let body: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
            let mut partial = store.partial(URL).unwrap().unwrap();
            partial.begin(identity(size)).unwrap();
            for (which, share, killed) in order {
                let missing = partial.missing(piece);
                let Some(range) = missing.get(which.index(missing.len().max(1))) else { break };
                let end = (range.start + ((range.end - range.start) as f64 * share) as u64).min(range.end);
                let mut at = range.start;
                for chunk in body[at as usize..end as usize].chunks(50_000) {
                    partial.write(at, chunk).unwrap();
                    at += chunk.len() as u64;
                }
                let had = partial.have();
                if killed {
                    drop(partial);
                    partial = store.partial(URL).unwrap().unwrap();
                    prop_assert_eq!(partial.have(), had);
                    if had == 0 {
                        partial.begin(identity(size)).unwrap();
                    }
                }
            }
            for range in partial.missing(piece) {
                partial.write(range.start, &body[range.start as usize..range.end as usize]).unwrap();
            }
            prop_assert_eq!((partial.have(), partial.frontier()), (size, size));
            let object = Object { sha256: Sha256::of(&body), size };
            let verified = partial.finish(object, None).unwrap().is(URL, &object).unwrap();
            store.admit(verified).unwrap();
            prop_assert_eq!(fs::read(store.path(&object.sha256)).unwrap(), body);
            prop_assert!(!store.has_partial(URL));
        }
    }

    #[test]
    fn a_body_is_written_by_one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let first = store.partial(URL).unwrap().unwrap();
        assert!(store.partial(URL).unwrap().is_none());
        drop(first);
        assert!(store.partial(URL).unwrap().is_some());
    }

    /// An earlier prebake may have recorded a false `Content-Range`, on a file system that supports sparse files of any
    /// length.
    #[test]
    fn an_identity_that_cannot_be_true_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut partial = store.partial(URL).unwrap().unwrap();
        assert!(partial.begin(identity(1 << 60)).is_err());
        partial.begin(identity(3 * BLOCK)).unwrap();
        partial.write(0, &[1; BLOCK as usize]).unwrap();
        let path = partial.directory.join("identity");
        drop(partial);
        assert!(store.partial(URL).unwrap().unwrap().identity().is_some());
        for size in [u64::MAX, 1 << 60, LONGEST + 1, 4 * BLOCK, 0] {
            fs::write(&path, crate::base::canonical::canonical_json(&identity(size))).unwrap();
            // If the file system supports it, the file has the noted length.
            let data = fs::File::options().write(true).open(path.with_file_name("data")).unwrap();
            let _ = data.set_len(size.min(i64::MAX as u64));
            let mut partial = store.partial(URL).unwrap().unwrap();
            assert!(partial.identity().is_none(), "{size}");
            partial.begin(identity(3 * BLOCK)).unwrap();
        }
    }

    #[test]
    fn bytes_without_a_validator_are_not_resumed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut partial = store.partial(URL).unwrap().unwrap();
        partial.begin(Identity { validator: None, ..identity(3 * BLOCK) }).unwrap();
        partial.write(0, &[1; BLOCK as usize]).unwrap();
        assert_eq!(partial.have(), BLOCK);
        drop(partial);
        assert!(store.partial(URL).unwrap().unwrap().identity().is_none());
    }
}
