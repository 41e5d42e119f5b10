//! In what two published trees differ: releases and versions, files, what machines boot, and the lines of their configs.
//!
//! Owns the comparison, as a value. Leaves to [`crate::tree::open`] where trees lie, and to `cli` how differences are shown. Both
//! trees are taken for what their manifests say: files with equal digests are not opened.

mod boots;
mod images;
mod lines;
mod versions;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use self::boots::{Boot, Machines};
pub(crate) use self::images::Entry;
pub(crate) use self::lines::Lines;
pub(crate) use self::versions::Version;
use crate::base::digest::Sha256;
use crate::base::error::Result;
use crate::tree::manifest::{Manifest, Role};
use crate::tree::open::Tree;

/// All differences of two trees; a list without differences is empty.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    /// The old tree.
    pub from: Side,
    /// The new tree.
    pub to: Side,
    /// Flatcar releases by architecture.
    pub releases: Vec<Change<String>>,
    /// Sysexts, their components and container images.
    pub versions: Vec<Change<Vec<Version>>>,
    /// Files that boots load, and their kernel arguments.
    pub boots: Vec<Change<Boot>>,
    /// Which machines get which profile, by the id of their group.
    pub machines: Vec<Change<Machines>>,
    /// Lines of configs, scripts and templates.
    pub lines: Vec<Lines>,
    /// Contents of sysext images, by image and path; compared only on request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Contents>,
    /// Published files by path.
    pub files: Vec<Change<Published>>,
}

/// One of the two trees.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    /// Its path or URL.
    pub place: String,
    /// The recipe's name.
    pub name: String,
    /// Its BUILD-ID.
    pub build_id: String,
    /// Number of published files.
    pub files: usize,
    /// Total length of the published files, in bytes.
    pub bytes: u64,
}

/// Something that is not in both trees, or differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change<T> {
    /// Its name, or its path.
    pub name: String,
    /// Its old state; `None` where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<T>,
    /// Its new state; `None` where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<T>,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Published {
    /// Its purpose.
    pub role: Role,
    /// Length of the file, in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
}

/// Changes inside a sysext.
#[derive(Debug, Serialize)]
pub(crate) struct Contents {
    /// Its name and architecture.
    pub image: String,
    /// Why an image cannot be examined, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
    /// Changed entries by path.
    pub entries: Vec<Change<Entry>>,
}

/// Compares two trees; `deep` compares the contents of sysext images, too, which reads every changed image.
///
/// # Errors
/// A file that a tree names and does not have, or that does not match its manifest.
pub(crate) fn compare(from: &Tree, to: &Tree, deep: bool) -> Result<Difference> {
    let (old, new) = (from.manifest(), to.manifest());
    Ok(Difference {
        from: side(from),
        to: side(to),
        releases: changes(releases(old), releases(new)),
        versions: changes(versions::versions(from)?, versions::versions(to)?),
        boots: changes(boots::boots(from)?, boots::boots(to)?),
        machines: changes(boots::machines(from)?, boots::machines(to)?),
        lines: lines::lines(from, to)?,
        contents: if deep { images::contents(from, to)? } else { Vec::new() },
        files: changes(files(old), files(new)),
    })
}

impl Difference {
    /// Whether the trees are the same: every published byte, and the manifest.
    pub(crate) fn is_empty(&self) -> bool {
        self.from.build_id == self.to.build_id
    }
}

fn side(tree: &Tree) -> Side {
    let manifest = tree.manifest();
    Side {
        place: tree.place(),
        name: manifest.name.clone(),
        build_id: manifest.build_id(),
        files: manifest.files.len(),
        bytes: manifest.files.values().map(|file| file.size).sum(),
    }
}

/// Differences of two maps, sorted by name.
fn changes<T: PartialEq>(before: BTreeMap<String, T>, mut after: BTreeMap<String, T>) -> Vec<Change<T>> {
    let mut changes = Vec::new();
    for (name, before) in before {
        let after = after.remove(&name);
        if after.as_ref() != Some(&before) {
            changes.push(Change { name, before: Some(before), after });
        }
    }
    changes.extend(after.into_iter().map(|(name, after)| Change { name, before: None, after: Some(after) }));
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}

fn releases(manifest: &Manifest) -> BTreeMap<String, String> {
    let of = |release: &crate::tree::manifest::Release| {
        (release.arch.to_string(), format!("{} {}", release.channel, release.version))
    };
    manifest.releases.iter().map(of).collect()
}

fn files(manifest: &Manifest) -> BTreeMap<String, Published> {
    let files = manifest.files.iter();
    files
        .map(|(path, file)| {
            (path.clone(), Published { role: file.role, size: file.size, sha256: file.sha256 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_what_is_new_gone_or_another_and_nothing_else() {
        let map = |pairs: &[(&str, u8)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let found = changes(
            map(&[("gone", 1), ("other", 2), ("same", 3)]),
            map(&[("new", 1), ("other", 9), ("same", 3)]),
        );
        let change = |name: &str, before, after| Change { name: name.to_owned(), before, after };
        let expected =
            [change("gone", Some(1), None), change("new", None, Some(1)), change("other", Some(2), Some(9))];
        assert_eq!(found, expected);
    }
}
