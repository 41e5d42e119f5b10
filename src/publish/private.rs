//! The private part of a tree: configs with secrets, for their owner's eyes.
//!
//! The manifest does not name them, not even by digest: who knows most of a config could guess a short secret by it. So the
//! BUILD-ID does not depend on them either, and they are replaced in a tree that is there already.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::store;
use crate::unfinished::Unfinished;

/// The directory in a tree that only its owner may enter.
pub const DIRECTORY: &str = "private";
/// Where the configs lie in it, by the names of the public ones that they are merged over.
const CONFIGS: &str = "ignition";

/// Where the private part of a tree lies: in it, or outside of all that is copied and served, below a directory for all trees.
pub fn directory(tree: &Path, outside: Option<&Path>, name: &str) -> PathBuf {
    outside.map_or_else(|| tree.join(DIRECTORY), |outside| outside.join(name))
}

/// The file of a config in a private part.
pub fn config(top: &Path, id: &str) -> PathBuf {
    top.join(CONFIGS).join(id)
}

/// Something private that others than its owner may enter, read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Where it is.
    pub path: PathBuf,
    /// Its permissions, of 0o777.
    pub mode: u32,
    is_directory: bool,
}

impl Exposed {
    fn of(path: &Path) -> Option<Exposed> {
        let metadata = fs::symlink_metadata(path).ok().filter(|metadata| !metadata.is_symlink())?;
        let mode = metadata.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then(|| Exposed { path: path.to_owned(), mode, is_directory: metadata.is_dir() })
    }

    fn close(&self) -> Result<(), store::Error> {
        let mode = if self.is_directory { 0o700 } else { 0o600 };
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
            .map_err(store::Error::io("close to others", &self.path))
    }
}

/// What of a private part others may read, by its permissions.
pub fn exposed(top: &Path) -> Vec<Exposed> {
    let directory = top.join(CONFIGS);
    let mut found: Vec<_> = [top, &directory].into_iter().filter_map(Exposed::of).collect();
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    found.extend(entries.filter_map(|entry| Exposed::of(&entry.path())));
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Makes a private part these files and no others. What others could read of what lay there is closed to them, and told.
pub fn place(top: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Exposed>, store::Error> {
    let directory = top.join(CONFIGS);
    if files.is_empty() {
        return match fs::remove_dir_all(top) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(store::Error::io("remove", top)(error))
            }
            _ => Ok(Vec::new()),
        };
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(store::Error::io("create", &directory))?;
    // Before anything new is written there.
    let exposed = exposed(top);
    exposed.iter().try_for_each(Exposed::close)?;
    for (name, bytes) in files {
        let path = directory.join(name);
        if fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        // Temporary files are their owner's only.
        let write = || {
            let mut file = Unfinished::in_directory(&directory, 0o600)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.replace(&path)
        };
        write().map_err(store::Error::io("write", &path))?;
    }
    let list = || fs::read_dir(&directory)?.collect::<io::Result<Vec<_>>>();
    for entry in list().map_err(store::Error::io("list", &directory))? {
        if !files.contains_key(&*entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(store::Error::io("remove", &entry.path()))?;
        }
    }
    store::sync_directory(&directory)?;
    store::sync_directory(top)?;
    store::sync_directory(store::directory_of(top))?;
    Ok(exposed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_reads_what_is_private_and_what_is_no_longer_wanted_is_gone() {
        let tree = tempfile::tempdir().unwrap();
        let files = |list: &[(&str, &str)]| {
            list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        let top = tree.path().join(DIRECTORY);
        place(&top, &files(&[("a.ign", "1"), ("b.ign", "2")])).unwrap();
        place(&top, &files(&[("b.ign", "3")])).unwrap();
        let directory = top.join(CONFIGS);
        let names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["b.ign"]);
        assert_eq!(fs::read(directory.join("b.ign")).unwrap(), b"3");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&tree.path().join(DIRECTORY)), 0o700);
        assert_eq!((mode(&directory), mode(&directory.join("b.ign"))), (0o700, 0o600));
        for (path, wrong) in [(top.clone(), 0o755), (directory.join("b.ign"), 0o644)] {
            fs::set_permissions(&path, Permissions::from_mode(wrong)).unwrap();
            assert_eq!(exposed(&top).len(), 1);
            let told = place(&top, &files(&[("b.ign", "3")])).unwrap();
            assert_eq!((&told[0].path, told[0].mode, told.len()), (&path, wrong, 1));
            assert_eq!(exposed(&top), []);
        }
        place(&top, &BTreeMap::new()).unwrap();
        assert!(!tree.path().join(DIRECTORY).exists());
    }
}
