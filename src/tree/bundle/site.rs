//! What a site remembers of the bundles that it imported: `STORE/bundles/NAME.json`.
//!
//! The first import says whom to believe; from then on the site knows, keys that followed by rotation included, and refuses
//! what is older than it has seen. Nothing is learnt from a bundle that was taken without a trusted signature.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::index::name_flaw;
use super::open::Bundle;
use crate::base::canonical::canonical_json;
use crate::base::disk;
use crate::store::Store;
use crate::trust::minisign::PublicKey;
use crate::trust::signers::Trust;

/// Version of the file.
const SCHEMA: u32 = 1;
const DIRECTORY: &str = "bundles";

/// What is known of the bundles of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    schema: u32,
    /// The highest sequence number that was seen.
    pub sequence: u64,
    /// Whose signatures count.
    pub keys: Vec<PublicKey>,
    /// How many of them must have signed.
    pub threshold: usize,
}

/// Where a store keeps what it knows of bundles.
pub fn directory(store: &Path) -> PathBuf {
    store.join(DIRECTORY)
}

impl Site {
    /// Where a store keeps what it knows of bundles of this name.
    pub fn path(store: &Path, name: &str) -> PathBuf {
        store.join(DIRECTORY).join(format!("{name}.json"))
    }

    /// What is known of bundles of this name; nothing if none was imported.
    ///
    /// # Errors
    /// A file that cannot be read: whom the site believes is then not known, which is not the same as nobody.
    pub fn load(store: &Path, name: &str) -> Result<Option<Site>, Error> {
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
        let site: Site = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        match site.schema {
            SCHEMA => Ok(Some(site)),
            found => Err(bad(format!("it has schema {found}, this prebake reads {SCHEMA}"))),
        }
    }

    /// Who must have signed.
    pub fn trust(&self) -> Result<Trust, Error> {
        Ok(Trust::new(self.keys.iter().cloned(), self.threshold)?)
    }

    /// Refuses a bundle that is older than what was seen.
    pub fn refuse_older(&self, bundle: &Bundle) -> Result<(), Error> {
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

    /// Remembers a bundle whose signers are trusted, and the keys that are to be trusted from now on.
    pub fn remember(
        store: &Store,
        bundle: &Bundle,
        threshold: usize,
    ) -> Result<(), crate::base::error::Error> {
        let Some(proof) = bundle.proof() else { return Ok(()) };
        let (name, sequence) = (&bundle.index().name, bundle.index().sequence);
        let directory = store.root().join(DIRECTORY);
        disk::create_directories(&directory)?;
        // Two imports at once must not take a higher number back.
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
