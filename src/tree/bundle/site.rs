//! A site's memory of the bundles that it imported: `STORE/bundles/NAME.json`.
//!
//! The first import states the trusted keys; from then on the site knows them, keys that replaced them by rotation
//! included, and refuses a bundle older than one it has seen. A bundle that was accepted without a trusted signature
//! changes nothing here.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::index::name_flaw;
use super::open::Bundle;
use crate::base::canonical::canonical_json;
use crate::base::disk;
use crate::base::words;
use crate::store::Store;
use crate::trust::minisign::PublicKey;
use crate::trust::signers::Trust;

/// Schema of the file.
const SCHEMA: u32 = 1;
const DIRECTORY: &str = "bundles";

/// The site's knowledge of the bundles of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    schema: u32,
    /// The highest sequence number seen.
    pub sequence: u64,
    /// The trusted keys.
    pub keys: Vec<PublicKey>,
    /// Number of these keys that must have signed.
    pub threshold: usize,
}

/// Directory of the memory of bundles in a store.
pub(crate) fn directory(store: &Path) -> PathBuf {
    store.join(DIRECTORY)
}

impl Site {
    /// File in a store about the bundles of this name.
    pub(crate) fn path(store: &Path, name: &str) -> PathBuf {
        store.join(DIRECTORY).join(format!("{name}.json"))
    }

    /// Loads the memory of bundles of this name; `None` if none was imported.
    ///
    /// # Errors
    /// A file that cannot be read: the trusted keys are then unknown, which is not the same as there being none.
    pub(crate) fn load(store: &Path, name: &str) -> Result<Option<Site>, Error> {
        if name_flaw(name).is_some() {
            return Ok(None);
        }
        let path = Site::path(store, name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk::Error::io("read", &path)(error).into()),
        };
        let bad = |reason: String| Error::Memory { path: path.clone(), reason };
        let site: Site = serde_json::from_slice(&bytes).map_err(|error| bad(words::of_serde(&error)))?;
        match site.schema {
            SCHEMA => Ok(Some(site)),
            found => Err(bad(format!("it has schema {found}, this prebake reads {SCHEMA}"))),
        }
    }

    /// The keys that must have signed, with their threshold.
    pub(crate) fn trust(&self) -> Result<Trust, Error> {
        Ok(Trust::new(self.keys.iter().cloned(), self.threshold)?)
    }

    /// Refuses a bundle older than one that was seen.
    pub(crate) fn refuse_older(&self, bundle: &Bundle) -> Result<(), Error> {
        match bundle.index().sequence < self.sequence {
            false => Ok(()),
            true => Err(Error::Older {
                subject: bundle.subject().into(),
                name: bundle.index().name.clone(),
                found: bundle.index().sequence,
                seen: self.sequence,
            }),
        }
    }

    /// Remembers a bundle whose signers are trusted, and the keys to trust from now on.
    pub(crate) fn remember(
        store: &Store,
        bundle: &Bundle,
        threshold: usize,
    ) -> Result<(), crate::base::error::Error> {
        let Some(proof) = bundle.proof() else { return Ok(()) };
        let (name, sequence) = (&bundle.index().name, bundle.index().sequence);
        let directory = store.root().join(DIRECTORY);
        disk::create_directories(&directory)?;
        // Two concurrent imports must not lower the number.
        let path = directory.join(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(disk::Error::io("open", &path))?;
        lock.lock().map_err(disk::Error::io("lock", &path))?;
        let before = Site::load(store.root(), name)?;
        let seen = before.as_ref().map_or(0, |site| site.sequence);
        let site = Site { schema: SCHEMA, sequence: sequence.max(seen), keys: proof.keys.clone(), threshold };
        if before.as_ref() != Some(&site) {
            disk::write_atomic(&Site::path(store.root(), name), &canonical_json(&site))?;
        }
        Ok(())
    }
}
