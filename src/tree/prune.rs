//! Removes old trees: of each recipe stay `current` and the newest, what they were made from, and what somebody reads now.
//!
//! A tree goes by a rename first, so that no reader finds half of it under its name. Its files leave the disk when the store
//! has none of them either: that is `gc`'s part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::tree::manifest::{Manifest, Role};
use crate::tree::names::{self, CURRENT, MANIFEST};
use crate::tree::publish::{self, Lock, Output};

/// A tree, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    /// The recipe's name.
    pub name: String,
    /// The BUILD-ID.
    pub build_id: String,
    /// Path of the tree.
    pub path: PathBuf,
    /// Length of its files, in bytes.
    pub bytes: u64,
    /// Why it stays; `None` for one to remove.
    pub kept: Option<Kept>,
}

/// Why a tree stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    /// `current` leads to it.
    Current,
    /// It is among the newest.
    Newest,
    /// A tree that stays was made from it by an injection.
    Origin,
    /// A server or another verb has it open.
    Used,
}

/// An output directory in which a build is in progress, so that nothing was removed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Busy {
    /// The recipe's name.
    pub name: String,
    /// The build's process, as it wrote in the lock.
    pub holder: String,
}

/// All trees of an output directory.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The trees, by recipe, newest first.
    pub trees: Vec<Judged>,
    /// Recipes that were left alone.
    pub busy: Vec<Busy>,
    /// Disk space that is free now, in bytes: files that no store and no other tree has.
    pub freed: u64,
}

impl Report {
    /// The trees that are removed, or would be.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &Judged> {
        self.trees.iter().filter(|tree| tree.kept.is_none())
    }
}

/// There are no trees.
#[derive(Debug, thiserror::Error)]
#[error("{} has no trees that prebake published", .0.display())]
pub(crate) struct Nothing(PathBuf);

impl Advice for Nothing {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("name the directory of `prebake build --output`".into())
    }
}

/// A tree on the disk.
struct Found {
    build_id: String,
    path: PathBuf,
    manifest: Manifest,
    /// When it was published.
    published: SystemTime,
}

/// Removes the trees of all recipes below an output directory, or of the one recipe whose directory it is, but for
/// `current` and the `keep` newest. A dry run only says which.
///
/// # Errors
/// No trees there, or a tree that cannot be removed.
pub(crate) fn prune(output: &Path, keep: usize, dry_run: bool) -> Result<Report> {
    let directories = directories(output)?;
    let mut report = Report::default();
    let mut links = BTreeMap::new();
    for directory in directories {
        let (lock, holder) = match dry_run {
            true => (None, publish::holder(&directory)),
            false => match Output::lock(&directory)? {
                Lock::Taken(output) => (Some(output), None),
                Lock::Held(holder) => (None, Some(holder)),
            },
        };
        if let Some(holder) = holder {
            report.busy.push(Busy { name: name_of(&directory), holder });
            continue;
        }
        for (found, kept) in judge(&directory, keep)? {
            let (bytes, inodes) = files(&found.path).map_err(disk::Error::io("list", &found.path))?;
            // Held from here to its end, so that nobody opens it meanwhile.
            let held = if kept.is_none() { open_alone(&found.path)? } else { None };
            let kept = kept.or_else(|| held.is_none().then_some(Kept::Used));
            if kept.is_none() {
                for (inode, (size, nlink)) in inodes {
                    let (removed, ..) = links.entry(inode).or_insert((0, nlink, size));
                    *removed += 1;
                }
                if !dry_run {
                    publish::remove(&directory, &found.path)?;
                }
            }
            let Found { build_id, path, manifest, .. } = found;
            report.trees.push(Judged { name: manifest.name, build_id, path, bytes, kept });
        }
        // Until now no build could begin there.
        drop(lock);
    }
    report.freed = links.values().filter(|(removed, nlink, _)| removed >= nlink).map(|(.., size)| size).sum();
    Ok(report)
}

fn name_of(directory: &Path) -> String {
    directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The output directories of recipes: this one, or those in it.
fn directories(output: &Path) -> Result<Vec<PathBuf>> {
    let has_trees =
        |path: &Path| path.join(CURRENT).is_symlink() || trees(path).is_ok_and(|trees| !trees.is_empty());
    if has_trees(output) {
        return Ok(vec![output.to_owned()]);
    }
    let entries = fs::read_dir(output).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = match entries {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Nothing(output.to_owned()).into());
        }
        entries => entries.map_err(disk::Error::io("list", output))?,
    };
    let mut found: Vec<PathBuf> = entries
        .into_iter()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| has_trees(path))
        .collect();
    found.sort();
    match found.is_empty() {
        true => Err(Nothing(output.to_owned()).into()),
        false => Ok(found),
    }
}

/// The trees in a recipe's output directory, newest first. A directory with another name than its manifest gives it was put
/// there by somebody else, and is left out.
fn trees(directory: &Path) -> Result<Vec<Found>, disk::Error> {
    let list = || fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>();
    let mut found = Vec::new();
    for entry in list().map_err(disk::Error::io("list", directory))? {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = path.join(MANIFEST);
        let Ok(bytes) = fs::read(&file) else { continue };
        let is_ours =
            entry.file_type().is_ok_and(|kind| kind.is_dir()) && names::build_id(&Sha256::of(&bytes)) == name;
        let Some(manifest) = Manifest::parse(&name, &bytes).ok().filter(|_| is_ours) else { continue };
        let published = fs::metadata(&file).and_then(|meta| meta.modified());
        let published = published.map_err(disk::Error::io("read", &file))?;
        found.push(Found { build_id: name, path, manifest, published });
    }
    found.sort_by(|a, b| (b.published, &b.build_id).cmp(&(a.published, &a.build_id)));
    Ok(found)
}

/// The trees of a recipe with the reasons why they stay.
fn judge(directory: &Path, keep: usize) -> Result<Vec<(Found, Option<Kept>)>, disk::Error> {
    let found = trees(directory)?;
    let current = fs::read_link(directory.join(CURRENT)).unwrap_or_default();
    let mut kept: Vec<Option<Kept>> = found
        .iter()
        .enumerate()
        .map(|(at, tree)| match current == Path::new(&tree.build_id) {
            true => Some(Kept::Current),
            false => (at < keep).then_some(Kept::Newest),
        })
        .collect();
    let origins: BTreeSet<usize> = found
        .iter()
        .zip(&kept)
        .filter(|(tree, kept)| kept.is_some() && is_injected(&tree.manifest))
        .filter_map(|(tree, _)| found.iter().position(|other| is_origin(&other.manifest, &tree.manifest)))
        .collect();
    for at in origins {
        kept[at].get_or_insert(Kept::Origin);
    }
    Ok(found.into_iter().zip(kept).collect())
}

fn is_overlay(role: Role) -> bool {
    matches!(role, Role::Overlay | Role::Initrd)
}

/// Whether files were injected into a tree: what a build makes is the result of a step.
fn is_injected(manifest: &Manifest) -> bool {
    manifest.files.values().any(|file| is_overlay(file.role) && file.step.is_none())
}

/// Whether a tree is the build that another one was injected into: all that steps made is the same.
fn is_origin(manifest: &Manifest, injected: &Manifest) -> bool {
    !is_injected(manifest)
        && (manifest.epoch, &manifest.releases) == (injected.epoch, &injected.releases)
        && manifest.files.keys().eq(injected.files.keys())
        && injected
            .files
            .iter()
            .filter(|(_, file)| file.step.is_some() || file.origin.is_some())
            .all(|(path, file)| manifest.files.get(path) == Some(file))
}

/// A tree that nobody has open, see [`open`](crate::tree::open); `None` for others.
fn open_alone(tree: &Path) -> Result<Option<File>, disk::Error> {
    let file = File::open(tree).map_err(disk::Error::io("open", tree))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(disk::Error::io("lock", tree)(error)),
    }
}

/// Inode → length in bytes and number of names.
type Inodes = BTreeMap<(u64, u64), (u64, u64)>;

/// Length of all files below a directory, in bytes, and their inodes.
fn files(directory: &Path) -> io::Result<(u64, Inodes)> {
    let (mut bytes, mut inodes) = (0, Inodes::new());
    let mut rest = vec![directory.to_owned()];
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                rest.push(entry.path());
            } else {
                bytes += meta.len();
                inodes.insert((meta.dev(), meta.ino()), (meta.len(), meta.nlink()));
            }
        }
    }
    Ok((bytes, inodes))
}
