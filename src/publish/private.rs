//! The private part of a tree: configs with secrets, for their owner's eyes.
//!
//! The manifest does not name them, not even by digest: who knows most of a config could guess a short secret by it. So the
//! BUILD-ID does not depend on them either, and they are replaced in a tree that is there already.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::store;
use crate::unfinished::Unfinished;

/// The directory in a tree that only its owner may enter.
pub const DIRECTORY: &str = "private";
/// Where the configs lie in a tree, by the names of the public ones that they are merged over.
pub const CONFIGS: &str = "private/ignition";

/// Makes the private part of a tree these files and no others.
pub fn place(tree: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), store::Error> {
    let (top, directory) = (tree.join(DIRECTORY), tree.join(CONFIGS));
    if files.is_empty() {
        return match fs::remove_dir_all(&top) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(store::Error::io("remove", &top)(error))
            }
            _ => Ok(()),
        };
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(store::Error::io("create", &directory))?;
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
    store::sync_directory(&top)?;
    store::sync_directory(tree)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_reads_what_is_private_and_what_is_no_longer_wanted_is_gone() {
        let tree = tempfile::tempdir().unwrap();
        let files = |list: &[(&str, &str)]| {
            list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        place(tree.path(), &files(&[("a.ign", "1"), ("b.ign", "2")])).unwrap();
        place(tree.path(), &files(&[("b.ign", "3")])).unwrap();
        let directory = tree.path().join(CONFIGS);
        let names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["b.ign"]);
        assert_eq!(fs::read(directory.join("b.ign")).unwrap(), b"3");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&tree.path().join(DIRECTORY)), 0o700);
        assert_eq!((mode(&directory), mode(&directory.join("b.ign"))), (0o700, 0o600));
        place(tree.path(), &BTreeMap::new()).unwrap();
        assert!(!tree.path().join(DIRECTORY).exists());
    }
}
