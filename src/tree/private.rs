//! The private part of a tree: configs with secrets, for their owner's eyes, by the names of the public ones that they are
//! merged over.
//!
//! The manifest does not name them, not even by digest: who knows most of a config could guess a short secret by it. So the
//! BUILD-ID does not depend on them either, and they are replaced in a tree that is there already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::base::unfinished::Unfinished;
use crate::tree::names::{CONFIG_END, IGNITION, PRIVATE};

/// Directory of a tree's private part: in the tree, or below a directory for all trees, outside of everything that is
/// copied and served.
pub(crate) fn directory(tree: &Path, outside: Option<&Path>, name: &str) -> PathBuf {
    outside.map_or_else(|| tree.join(PRIVATE), |outside| outside.join(name))
}

/// Path of a config in a private part.
pub(crate) fn config(top: &Path, id: &str) -> PathBuf {
    top.join(IGNITION).join(id)
}

/// The ids of the configs in a private part; `None` if this process may not list them.
pub(crate) fn configs(top: &Path) -> Option<BTreeSet<String>> {
    let entries = match fs::read_dir(top.join(IGNITION)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(BTreeSet::new()),
        entries => entries.ok()?,
    };
    entries.map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
}

/// A private file or directory that others than its owner may enter, read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Path of the file or directory.
    pub path: PathBuf,
    /// Permission bits, as in 0o777.
    pub mode: u32,
    is_directory: bool,
}

impl Exposed {
    fn of(path: &Path) -> Option<Exposed> {
        let metadata = fs::symlink_metadata(path).ok().filter(|metadata| !metadata.is_symlink())?;
        let mode = metadata.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then(|| Exposed { path: path.to_owned(), mode, is_directory: metadata.is_dir() })
    }

    fn close(&self) -> Result<(), disk::Error> {
        let mode = if self.is_directory { 0o700 } else { 0o600 };
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
            .map_err(disk::Error::io("close to others", &self.path))
    }
}

/// Files and directories of a private part that others may read, by their permissions.
pub(crate) fn exposed(top: &Path) -> Vec<Exposed> {
    let directory = top.join(IGNITION);
    let mut found: Vec<_> = [top, &directory].into_iter().filter_map(Exposed::of).collect();
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    found.extend(entries.filter_map(|entry| Exposed::of(&entry.path())));
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Writes a private part with exactly these files. Existing files that others could read are closed to them, and
/// returned.
pub(crate) fn place(top: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Exposed>, disk::Error> {
    let directory = top.join(IGNITION);
    is_no_link(top)?;
    is_no_link(&directory)?;
    if files.is_empty() {
        return remove(top, &directory).map(|()| Vec::new());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(disk::Error::io("create", &directory))?;
    // Before anything new is written there.
    let exposed = exposed(top);
    exposed.iter().try_for_each(Exposed::close)?;
    for (name, bytes) in files {
        let path = directory.join(name);
        if fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        // Temporary files have mode 0600.
        let write = || {
            let mut file = Unfinished::in_directory(&directory, 0o600)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.replace(&path)
        };
        write().map_err(disk::Error::io("write", &path))?;
    }
    let list = || fs::read_dir(&directory)?.collect::<io::Result<Vec<_>>>();
    for entry in list().map_err(disk::Error::io("list", &directory))? {
        if is_config(&entry.path()) && !files.contains_key(&*entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(disk::Error::io("remove", &entry.path()))?;
        }
    }
    disk::sync_directory(&directory)?;
    disk::sync_directory(top)?;
    disk::sync_directory(disk::directory_of(top))?;
    Ok(exposed)
}

fn is_no_link(path: &Path) -> Result<(), disk::Error> {
    match path.is_symlink() {
        true => Err(disk::Error::io("keep secrets in", path)(io::Error::other(
            "it is a link; secrets are written only to the given directory",
        ))),
        false => Ok(()),
    }
}

/// Whether a file has a name that this room gives.
fn is_config(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == &CONFIG_END[1..])
}

/// Removes the files of a private part, and its directories if nothing else is in them.
fn remove(top: &Path, directory: &Path) -> Result<(), disk::Error> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if is_config(&entry.path()) {
            fs::remove_file(entry.path()).map_err(disk::Error::io("remove", &entry.path()))?;
        }
    }
    for directory in [directory, top] {
        match fs::remove_dir(directory) {
            Err(error)
                if ![io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty].contains(&error.kind()) =>
            {
                return Err(disk::Error::io("remove", directory)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// File that names the tree to which an outside directory's secrets belong.
const OWNER: &str = "tree";

/// Claims a directory outside of the trees for one name of one output, before anything is written or removed there.
///
/// # Errors
/// The directory is among published trees, or contains other files, or the secrets of another tree of this name.
pub(crate) fn claim(top: &Path, output: &Path) -> Result<(), disk::Error> {
    let refused = |why: String| disk::Error::io("keep secrets in", top)(io::Error::other(why));
    is_no_link(top)?;
    let output = fs::canonicalize(output).map_err(disk::Error::io("find", output))?;
    let all = disk::directory_of(&output);
    let whole = std::path::absolute(top).map_err(disk::Error::io("find", top))?;
    let there = whole.ancestors().find_map(|path| Some((path, fs::canonicalize(path).ok()?)));
    let whole = there.map_or(whole.clone(), |(path, real)| match whole.strip_prefix(path) {
        Ok(rest) => real.join(rest),
        Err(_) => real,
    });
    // No tree's name begins with a dot: a cluster keeps what is its own in such a directory.
    let first = whole.strip_prefix(all).ok().and_then(|rest| rest.components().next());
    let is_hidden = first.is_some_and(|first| first.as_os_str().as_encoded_bytes().starts_with(b"."));
    if (whole.starts_with(all) && !is_hidden) || all.starts_with(&whole) {
        return Err(refused(format!("trees are published in {}: choose another DIR", all.display())));
    }
    let (owner, own) = (top.join(OWNER), owner_line(&output));
    match fs::read_to_string(&owner) {
        Ok(there) if there == own => Ok(()),
        Ok(there) => Err(refused(format!(
            "it has those of {}: choose another DIR, or remove {} if that tree is gone",
            there.trim(),
            owner.display()
        ))),
        Err(_) if fs::read_dir(top).is_ok_and(|mut entries| entries.next().is_some()) => {
            Err(refused("it holds other files: choose another DIR".into()))
        }
        Err(_) => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(top)
                .map_err(disk::Error::io("create", top))?;
            disk::write_atomic(&owner, own.as_bytes())
        }
    }
}

/// Content of the file [`OWNER`].
fn owner_line(output: &Path) -> String {
    format!("{}\n", output.display())
}

/// Releases a directory that [`claim`] claimed, if it has no more secrets.
pub(crate) fn release(top: &Path, output: &Path) -> Result<(), disk::Error> {
    let owner = top.join(OWNER);
    let Ok(there) = fs::read_to_string(&owner) else { return Ok(()) };
    if fs::canonicalize(output).is_ok_and(|output| there == owner_line(&output)) {
        remove(top, &top.join(IGNITION))?;
        fs::remove_file(&owner).map_err(disk::Error::io("remove", &owner))?;
        let _ = fs::remove_dir(top);
    }
    Ok(())
}

/// A directory of `--private` without the secrets of the tree.
#[derive(Debug, thiserror::Error)]
#[error("there are no secrets of `{name}` in {}", directory.display())]
pub struct Absent {
    /// The directory that was given.
    pub directory: PathBuf,
    /// The tree's name.
    pub name: String,
}

impl Advice for Absent {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(
            "name the DIR of `prebake build --private DIR`; leave --private out if the tree has no secrets"
                .into(),
        )
    }
}

/// Checks that a directory that a person gave has the private part of this tree.
///
/// # Errors
/// [`Absent`].
pub(crate) fn named(outside: Option<&Path>, name: &str) -> Result<(), Absent> {
    match outside {
        Some(directory) if !directory.join(name).join(IGNITION).is_dir() => {
            Err(Absent { directory: directory.to_owned(), name: name.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Secrets that no server gives to machines.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// They are not in the directory that a person gave.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// Other users of this host may read them.
    #[error("{} is open to others than its owner (mode {:04o}), which --guard must prevent", exposed.path.display(), exposed.mode)]
    Exposed {
        /// Directory of the private part.
        top: PathBuf,
        /// The first open file or directory.
        exposed: Exposed,
    },
}

impl Advice for Unfit {
    fn exit(&self) -> Exit {
        match self {
            Unfit::Absent(error) => error.exit(),
            Unfit::Exposed { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Unfit::Absent(error) => error.hint(),
            Unfit::Exposed { top, .. } => Some(format!(
                "`chmod -R go= {}`; others may have read it: replace the secrets in it",
                top.display()
            )),
        }
    }
}

/// Whether a tree has a private part to serve to machines.
///
/// # Errors
/// It is not in the given directory, or others may read it.
pub(crate) fn judge(tree: &Path, outside: Option<&Path>, name: &str) -> Result<bool, Unfit> {
    named(outside, name)?;
    let top = directory(tree, outside, name);
    match exposed(&top).into_iter().next() {
        Some(exposed) => Err(Unfit::Exposed { top, exposed }),
        None => Ok(top.exists()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_beside_trees_only_in_a_directory_that_no_tree_can_have() {
        let output = tempfile::tempdir().unwrap();
        let tree = output.path().join("edge");
        fs::create_dir(&tree).unwrap();
        assert!(claim(&output.path().join(".edge/private/edge"), &tree).is_ok());
        for refused in ["other/private", "edge", "."] {
            assert!(claim(&output.path().join(refused), &tree).is_err(), "{refused}");
        }
    }

    #[test]
    fn only_the_owner_reads_what_is_private_and_what_is_no_longer_wanted_is_gone() {
        let tree = tempfile::tempdir().unwrap();
        let files = |list: &[(&str, &str)]| {
            list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        let top = tree.path().join(PRIVATE);
        place(&top, &files(&[("a.ign", "1"), ("b.ign", "2")])).unwrap();
        place(&top, &files(&[("b.ign", "3")])).unwrap();
        let directory = top.join(IGNITION);
        let names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["b.ign"]);
        assert_eq!(fs::read(directory.join("b.ign")).unwrap(), b"3");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&tree.path().join(PRIVATE)), 0o700);
        assert_eq!((mode(&directory), mode(&directory.join("b.ign"))), (0o700, 0o600));
        for (path, wrong) in [(top.clone(), 0o755), (directory.join("b.ign"), 0o644)] {
            fs::set_permissions(&path, Permissions::from_mode(wrong)).unwrap();
            assert_eq!(exposed(&top).len(), 1);
            let told = place(&top, &files(&[("b.ign", "3")])).unwrap();
            assert_eq!((&told[0].path, told[0].mode, told.len()), (&path, wrong, 1));
            assert_eq!(exposed(&top), []);
        }
        place(&top, &BTreeMap::new()).unwrap();
        assert!(!tree.path().join(PRIVATE).exists());
    }
}
