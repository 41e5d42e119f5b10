//! Holding a published tree against its manifest: every file is read, and everything that is wrong is named.
//!
//! That the manifest is the one that was published shows by its name (the BUILD-ID is its digest) or its signature, of which
//! the second is [`trust`](crate::trust::signers)'s to judge.

use std::convert::Infallible;
use std::path::Path;
use std::{fs, io};

use serde::Serialize;

use super::beneath::Refused;
use super::open::{Error, Tree};
use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::parallel;
use crate::tree::{manifest, names, private};

/// Result of [`verify`].
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Number of files that the manifest names.
    pub files: usize,
    /// Their total length in bytes.
    pub bytes: u64,
    /// All differences, by path.
    pub flaws: Vec<Flaw>,
}

/// A difference from the published tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Flaw {
    /// Path in the tree.
    pub path: String,
    /// Kind of the difference.
    #[serde(flatten)]
    pub kind: Kind,
}

/// Kinds of differences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "flaw", rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A file of the manifest that does not exist.
    #[error("is missing")]
    Missing,
    /// A file that is too short or too long.
    #[error("has {} instead of the {recorded} in the manifest", counted(*found, "byte"))]
    Length {
        /// Length in the manifest, in bytes.
        recorded: u64,
        /// Length of the file, in bytes.
        found: u64,
    },
    /// A file of the right length with other bytes.
    #[error("does not have the digest in the manifest")]
    Changed,
    /// A file that the manifest does not name.
    #[error("is not in the manifest")]
    Superfluous,
    /// A link, as the file or a directory above it, that leads out of the tree.
    #[error("is a link that leaves the tree")]
    Outside,
    /// Not a regular file, or one that cannot be read.
    #[error("cannot be read: {why}")]
    Unreadable {
        /// The system's error.
        why: String,
    },
    /// A manifest that was edited, even if only its blanks.
    #[error("is not in prebake's canonical form")]
    Rewritten,
    /// A secret that others than its owner may read, by the permissions of the file or a directory above it.
    #[error("is open to others (mode {mode:04o}): chmod go= {place}")]
    Exposed {
        /// Permission bits of the file or directory.
        mode: u32,
        /// Path of the file or directory.
        place: String,
    },
    /// A directory that has the name of another build.
    #[error("belongs to the build {build}, not to this one")]
    Misplaced {
        /// The BUILD-ID of the manifest.
        build: String,
    },
}

/// Reads every file of a tree, on all CPUs. In a bundle, only the tree's files are read; [`bundle`](crate::tree::bundle)
/// reads the rest of the bundle.
///
/// Private files, which no manifest names, are only checked for their permissions; they are in the tree or below
/// `outside`.
pub(crate) fn verify(tree: &Tree, outside: Option<&Path>) -> Report {
    let files = &tree.manifest().files;
    // The longest first, so that no CPU begins with it when the others are done.
    let mut order: Vec<(&String, &manifest::File)> = files.iter().collect();
    order.sort_by_key(|(_, file)| std::cmp::Reverse(file.size));
    let Ok(found) = parallel::map(
        &order,
        || (),
        |(), (path, file)| {
            Ok::<_, Infallible>(flaw(tree, path, file).map(|kind| Flaw { path: (*path).clone(), kind }))
        },
    );
    let mut flaws: Vec<Flaw> = found.into_iter().flatten().collect();
    if let Some(directory) = tree.place.directory() {
        flaws.extend(manifest_flaw(tree, directory));
        flaws.extend(superfluous(tree, directory));
        let inside = private::exposed(&directory.join(names::PRIVATE));
        let outside = outside.map(|outside| outside.join(&tree.manifest().name));
        let exposed = inside.into_iter().chain(outside.iter().flat_map(|top| private::exposed(top)));
        flaws.extend(exposed.map(|found| {
            let place = found.path.display().to_string();
            let path = found.path.strip_prefix(directory).unwrap_or(&found.path);
            Flaw { path: path.display().to_string(), kind: Kind::Exposed { mode: found.mode, place } }
        }));
    }
    flaws.sort();
    Report { files: files.len(), bytes: files.values().map(|file| file.size).sum(), flaws }
}

fn flaw(tree: &Tree, path: &str, file: &manifest::File) -> Option<Kind> {
    let unreadable = |error: io::Error| Kind::Unreadable { why: error.to_string() };
    match tree.open(path) {
        Ok(part) => match Sha256::of_reader(part) {
            Ok((sha256, _)) => (sha256 != file.sha256).then_some(Kind::Changed),
            Err(error) => Some(unreadable(error)),
        },
        Err(Error::Size { recorded, found, .. }) => Some(Kind::Length { recorded, found }),
        Err(Error::Unreadable { source: Refused::Outside, .. }) => Some(Kind::Outside),
        Err(Error::Unreadable { source: Refused::Damaged(error), .. }) => Some(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Kind::Missing,
            _ => unreadable(error),
        }),
        Err(error) => Some(Kind::Unreadable { why: error.to_string() }),
    }
}

fn manifest_flaw(tree: &Tree, directory: &Path) -> Option<Flaw> {
    let kind = match fs::read(directory.join(names::MANIFEST)) {
        Err(error) => Kind::Unreadable { why: error.to_string() },
        Ok(bytes) if bytes != tree.manifest().to_bytes() => Kind::Rewritten,
        Ok(_) => {
            let build = tree.manifest().build_id();
            let name = directory.file_name()?.to_str()?;
            // Copies of trees may have any name.
            let is_build = name.len() == build.len() && name.bytes().all(|digit| digit.is_ascii_hexdigit());
            (is_build && name != build).then_some(Kind::Misplaced { build })?
        }
    };
    Some(Flaw { path: names::MANIFEST.into(), kind })
}

/// Files in a tree that are not published, and directories without a published file.
fn superfluous(tree: &Tree, root: &Path) -> Vec<Flaw> {
    let files = &tree.manifest().files;
    let mut flaws = Vec::new();
    let mut rest = vec![String::new()];
    while let Some(directory) = rest.pop() {
        let unreadable = |error: io::Error| Flaw {
            path: if directory.is_empty() { ".".into() } else { directory.clone() },
            kind: Kind::Unreadable { why: error.to_string() },
        };
        let entries = match fs::read_dir(root.join(&directory)) {
            Ok(entries) => entries,
            Err(error) => {
                flaws.push(unreadable(error));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    flaws.push(unreadable(error));
                    break;
                }
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            // Links are not followed: if a published file is a link, the check of that file decides.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let is_beside = || path == names::MANIFEST || names::BESIDE.contains(&path.as_str());
            let has_files = || {
                let below = format!("{path}/");
                files.range(below.clone()..).next().is_some_and(|(file, _)| file.starts_with(&below))
            };
            match is_directory {
                true if path == names::PRIVATE => {}
                true if has_files() => rest.push(path),
                false if files.contains_key(&path) || is_beside() => {}
                // A directory that is a link, with published files in it.
                false if has_files() => {}
                _ => flaws.push(Flaw { path, kind: Kind::Superfluous }),
            }
        }
    }
    flaws
}
