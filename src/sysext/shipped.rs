//! The folders of `sysext/` that are in the binary, so that it needs no files beside it.
//!
//! `build.rs` lists them. Their bytes, executable bits and links are those of the repository, so an image has the same bytes
//! whether its folder is on the disk or in here.

use std::fmt;

use crate::format::tree::{Contents, EXECUTABLE, Entry, Error, PLAIN, Tree};

/// A folder in the binary.
pub struct Shipped {
    /// Its name, which is the sysext's.
    pub name: &'static str,
    entries: &'static [(&'static str, Item)],
}

/// A file or link, by its path below the folder.
enum Item {
    File { executable: bool, bytes: &'static [u8] },
    Link(&'static str),
}

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

impl Shipped {
    /// All of them, sorted by name.
    pub fn all() -> &'static [Shipped] {
        FOLDERS
    }

    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Shipped> {
        FOLDERS.iter().find(|shipped| shipped.name == name)
    }

    /// The version of the program that they come with.
    pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// The text of a file; `None` where there is none.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.entries.iter().find_map(|(known, item)| match item {
            Item::File { bytes, .. } if *known == path => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    }

    /// The name of a file in messages: it is on no disk.
    pub(super) fn source_name(&self, path: &str) -> String {
        format!("sysext/{}/{path} of {self}", self.name)
    }

    /// Everything below a path that ends in a slash, or the whole folder.
    pub(crate) fn tree(&self, below: &str, origin: &str) -> Result<Tree, Error> {
        let mut tree = Tree::new();
        for (path, item) in self.entries {
            let Some(inside) = path.strip_prefix(below) else { continue };
            let entry = match item {
                Item::Link(target) => Entry::symlink(*target, origin),
                Item::File { executable, bytes } => {
                    let mode = if *executable { EXECUTABLE } else { PLAIN };
                    Entry::file(mode, Contents::Bytes(bytes.to_vec()), origin)
                }
            };
            tree.insert(inside, entry)?;
        }
        Ok(tree)
    }
}

impl PartialEq for Shipped {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Shipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shipped").field(&self.name).finish()
    }
}

/// Names where it comes from, as `/usr` would be named.
impl fmt::Display for Shipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prebake {}", Self::VERSION)
    }
}
