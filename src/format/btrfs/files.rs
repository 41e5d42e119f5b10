//! The files that a new filesystem shall have: from a tree, from an existing filesystem, or both.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;

use super::Error;
use super::time::Time;
use crate::base::canonical;
use crate::format::image::Xattrs;
use crate::format::tree::{self, Content, Contents, MAX_NAME, MAX_PATH, Tree};

/// The data of a file: its length is known at once, its bytes are read when the image is written.
pub trait Data {
    /// Length of the file, in bytes.
    fn length(&self) -> u64;

    /// The parts of the file that have data, ascending and apart; everything else is zeros, and is not stored. Parts
    /// begin and end at multiples of 4096 bytes, but for the file's end.
    #[expect(clippy::single_range_in_vec_init, reason = "a file without holes has one part")]
    fn parts(&self) -> Vec<Range<u64>> {
        vec![0..self.length()]
    }

    /// The bytes of all parts, one after the other.
    fn read(&self) -> io::Result<Box<dyn Read + '_>>;
}

impl Data for Contents {
    fn length(&self) -> u64 {
        self.size()
    }

    fn read(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.reader()))
    }
}

impl<D: Data + ?Sized> Data for &D {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn parts(&self) -> Vec<Range<u64>> {
        (**self).parts()
    }

    fn read(&self) -> io::Result<Box<dyn Read + '_>> {
        (**self).read()
    }
}

/// Kind of a file, with its data.
pub enum Body<'d> {
    /// A directory.
    Dir,
    /// A symlink with its target.
    Symlink(String),
    /// A hard link to a file of the same set, whose other fields it has.
    Link(String),
    /// A regular file.
    File(Box<dyn Data + 'd>),
}

/// A file, directory or link.
pub struct File<'d> {
    /// Permission bits, at most `0o7777`.
    pub mode: u16,
    /// User id and group id.
    pub owner: (u32, u32),
    /// Time of the last modification; without one, that of the new filesystem.
    pub time: Option<Time>,
    /// Extended attributes by their full names.
    pub xattrs: Xattrs,
    /// Kind and data.
    pub body: Body<'d>,
}

impl<'d> File<'d> {
    /// One of root's, without attributes.
    pub fn new(mode: u16, body: Body<'d>) -> Self {
        File { mode, owner: (0, 0), time: None, xattrs: Xattrs::new(), body }
    }

    fn dir() -> Self {
        File::new(tree::EXECUTABLE, Body::Dir)
    }
}

/// Files by path, sorted bytewise; parents are always present. The root's path is empty.
pub struct Files<'d> {
    entries: BTreeMap<String, File<'d>>,
}

impl Default for Files<'_> {
    fn default() -> Self {
        Files::new()
    }
}

impl<'d> Files<'d> {
    /// An empty root directory with mode 0755.
    pub fn new() -> Self {
        Files { entries: BTreeMap::from([(String::new(), File::dir())]) }
    }

    /// Those of a tree.
    pub fn of_tree(tree: &'d Tree) -> Result<Self, Error> {
        let mut files = Files::new();
        files.add(tree)?;
        Ok(files)
    }

    /// Adds those of a tree. They replace others of the same paths, except that directories stay as they are; a
    /// directory is replaced with all that is in it.
    pub fn add(&mut self, tree: &'d Tree) -> Result<(), Error> {
        for (path, entry) in tree.iter() {
            let body = match (&entry.content, &entry.link) {
                // A link whose file is not in the tree is a file of its own.
                (_, Some(link)) if tree.get(link).is_some_and(|file| file.link.is_none()) => {
                    Body::Link(link.clone())
                }
                (Content::Dir, _) => Body::Dir,
                (Content::Symlink(target), _) => Body::Symlink(target.clone()),
                (Content::File(contents), _) => Body::File(Box::new(contents)),
            };
            let xattrs = entry.xattrs.clone();
            self.insert(path, File { xattrs, ..File::new(entry.mode, body) })?;
        }
        Ok(())
    }

    /// Adds a file and its missing parents (0755). It replaces another one of the same path; a directory that is there
    /// already stays as it is if a directory is added.
    ///
    /// # Errors
    /// The path leaves the filesystem, or Linux could not create it, or a parent is not a directory.
    pub fn insert(&mut self, path: &str, file: File<'d>) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::File { path: path.into(), why: why.into() });
        if !canonical::is_contained(path) {
            return refuse("its path must be relative, without `..`, `.`, empty parts or NUL");
        }
        if path.len() > MAX_PATH || path.split('/').any(|name| name.len() > MAX_NAME) {
            return refuse("Linux allows 255 bytes for a name and 4095 for a path");
        }
        let parents = || path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        if parents().any(|parent| self.get(parent).is_some_and(|file| !matches!(file.body, Body::Dir))) {
            return refuse("one of its parents is not a directory");
        }
        for parent in parents() {
            self.entries.entry(parent.to_owned()).or_insert_with(File::dir);
        }
        let is_dir = |file: &File<'_>| matches!(file.body, Body::Dir);
        match self.get(path) {
            Some(old) if is_dir(old) && is_dir(&file) => return Ok(()),
            // Other names of the old file keep it.
            Some(_) => {
                self.remove(path);
            }
            None => {}
        }
        self.entries.insert(path.to_owned(), file);
        Ok(())
    }

    /// Removes a file, or a directory with all that is in it. Other names of a removed file keep it: the first of them
    /// becomes the file. Returns whether it was there.
    pub fn remove(&mut self, path: &str) -> bool {
        let below = format!("{path}/");
        let is_in = |other: &str| other == path || other.starts_with(&below);
        let gone: Vec<String> = self.entries.keys().filter(|other| is_in(other)).cloned().collect();
        let gone: Vec<(String, File<'d>)> =
            gone.into_iter().filter_map(|path| self.entries.remove_entry(&path)).collect();
        let found = !gone.is_empty();
        for (path, file) in gone {
            let linked = |other: &File<'_>| matches!(&other.body, Body::Link(to) if *to == path);
            let mut names = self.entries.iter_mut().filter(|(_, other)| linked(other));
            if let Some((name, first)) = names.next() {
                let name = name.clone();
                names.for_each(|(_, other)| other.body = Body::Link(name.clone()));
                *first = file;
            }
        }
        found
    }

    /// Replaces mode, owner, time and attributes of the root directory.
    pub fn set_root(&mut self, root: File<'d>) {
        self.entries.insert(String::new(), File { body: Body::Dir, ..root });
    }

    /// The file at a path.
    pub fn get(&self, path: &str) -> Option<&File<'d>> {
        self.entries.get(path)
    }

    /// All of them, sorted bytewise by path, from the root on.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &File<'d>)> {
        self.entries.iter().map(|(path, file)| (path.as_str(), file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tree::Entry;

    fn file(files: &mut Files<'_>, path: &str, body: Body<'static>) -> Result<(), Error> {
        files.insert(path, File::new(0o644, body))
    }

    fn link(to: &str) -> Body<'static> {
        Body::Link(to.into())
    }

    fn data() -> Body<'static> {
        Body::File(Box::new(Contents::Bytes(b"data".into())))
    }

    #[test]
    fn a_removed_file_lives_on_under_its_next_name() {
        let mut files = Files::new();
        for (path, body) in [("a/x", data()), ("b", link("a/x")), ("c", link("a/x"))] {
            file(&mut files, path, body).unwrap();
        }
        assert!(files.remove("a") && !files.remove("a"));
        assert!(matches!(files.get("b").unwrap().body, Body::File(_)));
        assert!(matches!(&files.get("c").unwrap().body, Body::Link(to) if to == "b"));
        assert_eq!(files.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["", "b", "c"]);
        file(&mut files, "b", Body::Symlink("new".into())).unwrap();
        assert!(matches!(files.get("c").unwrap().body, Body::File(_)));
    }

    #[test]
    fn a_tree_replaces_files_and_what_is_in_a_directory_that_becomes_one() {
        let mut tree = Tree::new();
        for path in ["dir", "plain", "dir.d/three"] {
            tree.insert(path, Entry::symlink("target", "test")).unwrap();
        }
        let mut files = Files::new();
        for path in ["dir/one", "dir.d/two", "plain"] {
            file(&mut files, path, data()).unwrap();
        }
        files.entries.get_mut("dir.d").unwrap().mode = 0o700;
        files.add(&tree).unwrap();
        let paths: Vec<_> = files.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["", "dir", "dir.d", "dir.d/three", "dir.d/two", "plain"]);
        assert_eq!(files.get("dir.d").unwrap().mode, 0o700);
        assert!(matches!(files.get("dir").unwrap().body, Body::Symlink(_)));
    }

    #[test]
    fn paths_that_linux_could_not_create_are_refused() {
        let mut files = Files::new();
        file(&mut files, "plain", data()).unwrap();
        for path in ["", "/a", "a/../b", "plain/below", &"n".repeat(256), &"n/".repeat(2048)] {
            assert!(file(&mut files, path, data()).is_err(), "{path}");
        }
    }
}
