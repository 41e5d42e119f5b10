//! Finds files of a tree with the same bytes, so that each content is stored once.
//!
//! Files are equal if their lengths and SHA-256 are. Only files that share their length with another one are read for
//! it.

use std::collections::HashMap;
use std::io;

use crate::base::digest::Sha256;
use crate::format::tree::{Content, Contents, Entry, Tree};

/// The distinct contents of a tree, in the order in which they are stored.
pub(crate) struct Unique<'t> {
    /// The first file with each content.
    pub contents: Vec<&'t Contents>,
    /// For each entry of the tree, in its order, the index of its content; `None` for other entries than files.
    pub of: Vec<Option<usize>>,
}

impl<'t> Unique<'t> {
    /// Finds the distinct contents.
    pub(crate) fn of(tree: &'t Tree) -> io::Result<Self> {
        let mut lengths: HashMap<u64, u32> = HashMap::new();
        for (_, entry) in tree.iter().filter(|(_, entry)| entry.link.is_none()) {
            if let Content::File(contents) = &entry.content {
                *lengths.entry(contents.size()).or_default() += 1;
            }
        }
        let mut unique = Unique { contents: Vec::new(), of: Vec::new() };
        let mut digests: HashMap<(u64, Sha256), usize> = HashMap::new();
        let mut links: HashMap<&str, usize> = HashMap::new();
        for (path, entry) in tree.iter() {
            let Content::File(contents) = &entry.content else {
                unique.of.push(None);
                continue;
            };
            let name = first_name(tree, path, entry);
            let known = links.get(name).copied();
            let next = unique.contents.len();
            let index = match known {
                Some(index) => index,
                None if lengths.get(&contents.size()).is_some_and(|count| *count > 1) => {
                    *digests.entry((contents.size(), contents.sha256()?)).or_insert(next)
                }
                None => next,
            };
            if index == next {
                unique.contents.push(contents);
            }
            links.insert(name, index);
            unique.of.push(Some(index));
        }
        Ok(unique)
    }
}

/// The first name of an entry's inode, which all its names share. A hard link whose target is not a file of the tree is
/// a file of its own.
pub(crate) fn first_name<'t>(tree: &Tree, path: &'t str, entry: &'t Entry) -> &'t str {
    let first = entry.link.as_deref().unwrap_or(path);
    match tree.get(first) {
        Some(Entry { content: Content::File(_), link: None, .. }) => first,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_files_and_hard_links_share_a_content_and_lost_links_have_their_own() {
        let mut tree = Tree::new();
        let file = |text: &str| Entry::file(0o644, Contents::Bytes(text.into()), "test");
        for (path, text) in [("a", "same"), ("b", "diff"), ("c", "same"), ("d", "alone")] {
            tree.insert(path, file(text)).unwrap();
        }
        tree.link("e", "b", "test").unwrap();
        tree.insert("f", Entry { link: Some("gone".into()), ..file("lost") }).unwrap();
        tree.insert("g", Entry::dir("test")).unwrap();
        let unique = Unique::of(&tree).unwrap();
        assert_eq!(unique.of, [Some(0), Some(1), Some(0), Some(2), Some(1), Some(3), None]);
        assert_eq!(unique.contents.len(), 4);
        let lost = tree.get("f").unwrap();
        assert_eq!(first_name(&tree, "f", lost), "f");
    }
}
