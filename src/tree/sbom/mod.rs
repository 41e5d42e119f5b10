//! The parts of a tree as package URLs and SPDX.

pub(crate) mod purl;
pub(crate) mod spdx;

use std::collections::BTreeMap;

use crate::base::error::{Advice, Exit};
use crate::tree::manifest::File;
use crate::tree::sbom::spdx::{Checksum, Document, Package};

/// Prefix of the ids of published files.
pub(crate) const FILE: &str = "File";

/// Reasons why an SBOM cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is not SPDX 2.3 as prebake writes it.
    #[error("{subject} is not an SPDX document of prebake")]
    Syntax {
        /// Name of the file, for messages.
        subject: String,
        /// serde's error.
        source: serde_json::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Integrity
    }

    fn hint(&self) -> Option<String> {
        Some("the tree was damaged or not made by prebake; build it again".into())
    }
}

/// Reads an SBOM; `subject` names the file in errors.
pub fn parse(subject: &str, bytes: &[u8]) -> Result<Document, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Syntax { subject: subject.into(), source })
}

/// The SBOM of a tree of which some files were replaced after the build.
pub(crate) fn refreshed(mut document: Document, files: &BTreeMap<String, File>) -> Vec<u8> {
    for package in document.packages.iter_mut().filter(|package| is_published(package)) {
        let file = package.package_file_name.as_ref().and_then(|path| files.get(path));
        let Some(file) = file.filter(|file| package.sha256() != Some(file.sha256)) else { continue };
        package.checksums = vec![Checksum::sha256(&file.sha256)];
        package.source_info = Some("changed after the build by `prebake initrd inject`".into());
    }
    document.into_bytes()
}

/// Whether a package is a published file of the tree.
pub(crate) fn is_published(package: &Package) -> bool {
    package.id.strip_prefix("SPDXRef-").is_some_and(|id| id.starts_with(FILE))
}

pub(crate) fn file_id(path: &str) -> String {
    spdx::id(FILE, path)
}
