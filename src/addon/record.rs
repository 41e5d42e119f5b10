//! `addon.lock`: what a vendored directory held when it was fetched, and from where.
//!
//! A manifest that was changed since is refused, so that what is applied is what was looked at. A site that wants its own changes
//! removes the record: from then on the files are its own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::digest::Sha256;
use crate::base::finding::{Finding, MAX_TEXT, Place};

/// File name of the record.
pub const NAME: &str = "addon.lock";

/// The record of one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name of the add-on.
    pub name: String,
    /// Its version, without a `v`; empty if nobody named one.
    pub version: String,
    /// Where its manifests come from.
    pub from: From,
    /// Namespace of objects that name none, as of a chart's release.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// Images that no `image:` names.
    #[serde(default)]
    pub images: Vec<String>,
    /// SHA-256 of each file.
    pub files: BTreeMap<String, Sha256>,
}

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// These URLs.
    Urls(Vec<String>),
    /// A chart that `helm` rendered.
    Chart {
        /// URL of the repository, or a reference that helm knows.
        repository: String,
        /// Name of the chart.
        chart: String,
        /// Version of helm.
        helm: String,
        /// Settings of its values (`--set`).
        settings: Vec<String>,
        /// SHA-256 of each file of values.
        values: BTreeMap<String, Sha256>,
    },
}

impl Record {
    /// The record of a directory, if it has one.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn of(directory: &Path) -> Result<Option<Record>, Finding> {
        let path = directory.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Finding::error(format!("cannot read {}: {error}", path.display()))),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Finding::error(format!("{} is no record of an add-on: {error}", path.display()))
                .hint("vendor the add-on anew, or remove the record")
        })
    }

    /// The record as it is written.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Files that are otherwise than the record says. Files that it does not name are a site's own additions. `way_out` says how such a
    /// directory is fetched.
    pub fn changed(&self, directory: &Path, place: &Place, way_out: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, digest) in &self.files {
            let path = directory.join(name);
            let why = match crate::base::disk::read_at_most(&path, MAX_TEXT) {
                Ok(bytes) if Sha256::of(&bytes) == *digest => continue,
                Ok(_) => "was changed since it was vendored".to_owned(),
                Err(error) => format!("was vendored, and cannot be read: {error}"),
            };
            let finding = Finding::error(format!("{} {why}", path.display())).at(place.clone());
            findings.push(finding.hint(format!(
                "to have it anew: {way_out}; to keep changes of your own, remove {}",
                directory.join(NAME).display()
            )));
        }
        findings
    }
}
