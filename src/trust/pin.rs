//! The pin of the vendor's key: which key file, and which primary key in it.

use std::path::PathBuf;

use crate::trust::openpgp::{FLATCAR_PRIMARY, Fingerprint};

/// Which key must have signed the release.
#[derive(Debug)]
pub struct Trust {
    /// Fingerprint of the pinned primary key.
    pub primary: Fingerprint,
    /// A local key file; without it Flatcar's public one is fetched and checked against the pin.
    pub key: Option<PathBuf>,
}

impl Default for Trust {
    fn default() -> Self {
        Trust { primary: FLATCAR_PRIMARY, key: None }
    }
}
