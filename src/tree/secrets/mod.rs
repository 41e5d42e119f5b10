//! Secrets that would be published: a public file can be read by everybody who reaches the server.
//!
//! Owns the patterns of secrets and the sources of a tree's public part: configs, kernel arguments, templates, the
//! folders of sysexts, their fetched components, and the configs of container images. Each finding names the file and
//! line that a person wrote and shows nothing of the secret. Leaves the calls to `compile` and `build`, and the storage
//! of secrets to `publish::private`.

mod assign;
mod document;
mod effort;
mod encoded;
pub(crate) mod kind;
mod lines;
pub(crate) mod place;
pub mod scan;
mod token;
mod triggers;
mod value;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::base::finding::{Finding, Place, Source};
use crate::format::tree::{Content, Tree};
pub(crate) use kind::Kind;
pub(crate) use place::{masked_place, masked_text};
pub use scan::{Hit, scan};

/// Scans the files that are put into an initrd or a disk image, which everybody who gets it can read; `noun` says which of
/// them, and `hint` what helps. Findings are warnings, since a private one may stay on its owner's disk.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn injected(overlay: &Tree, noun: &str, hint: &str) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, entry) in overlay.iter() {
        let Content::File(contents) = &entry.content else { continue };
        for hit in scan(&format!("/{path}"), contents.reader())? {
            let text = match hit.kind {
                Kind::Unread => format!("`/{path}` was not scanned completely for secrets"),
                kind => format!("{kind} is in `/{path}`: everybody who gets this {noun} can read it"),
            };
            let mut finding = Finding::warning(text).hint(hint);
            finding.place = contents.path().map(|file| in_file(file, hit));
            findings.push(finding);
        }
    }
    Ok(findings)
}

/// The place of a secret in a file on disk.
pub(crate) fn in_file(path: &Path, hit: Hit) -> Place {
    let text: Arc<Source> = Source::new("", std::fs::read(path).map(lossy).unwrap_or_default());
    place::of_source(&path.display().to_string(), text.line(hit.line).unwrap_or_default(), hit)
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn is_login(header: &str) -> bool {
    assign::is_login(header.trim_start_matches("header "))
}

#[cfg(test)]
mod tests;
