//! Files that a verb writes beside its result: none may be a file that it reads, part of a tree or of the store, or another
//! such file. Judged before any work.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::disk::directory_of;
use crate::base::error::{Advice, Exit};
use crate::tree::names::{CHECKSUMS, MANIFEST};

/// Why a file must not be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// It is one that the verb reads.
    #[error("`{option}` would overwrite {}, which this command reads", path.display())]
    Input {
        /// The option that names it.
        option: &'static str,
        /// The file that would be written.
        path: PathBuf,
    },
    /// It is in a place that only prebake writes to.
    #[error("`{option}` would write into {}, where {} is kept", place.display(), what)]
    Inside {
        /// The option that names it.
        option: &'static str,
        /// The directory.
        place: PathBuf,
        /// The use of the directory, in words.
        what: &'static str,
    },
    /// It is a directory.
    #[error("`{option}` names a directory: {}", path.display())]
    Directory {
        /// The option that names it.
        option: &'static str,
        /// The directory.
        path: PathBuf,
    },
    /// Another option names the same file.
    #[error("`{one}` and `{other}` both write to {}", path.display())]
    Twice {
        /// The first option.
        one: &'static str,
        /// The second option.
        other: &'static str,
        /// The file that would be written.
        path: PathBuf,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("name another file".into())
    }
}

/// The files that a verb reads, and the directories where only prebake writes.
#[derive(Default)]
pub(crate) struct Kept<'k> {
    /// The files.
    pub inputs: Vec<&'k Path>,
    /// The directories beside trees, and what each is.
    pub places: Vec<(&'k Path, &'static str)>,
}

/// A file by all that tells it from others.
struct Spot {
    /// The name itself, which a link may have, and the file behind it; absolute and without links.
    paths: Vec<PathBuf>,
    /// Device and inode, if it exists: a hard link is the same file.
    node: Option<(u64, u64)>,
    is_directory: bool,
}

impl Spot {
    /// `None` for terminals, pipes and devices, which keep nothing and may be written to twice.
    fn of(path: &Path) -> Option<Spot> {
        let meta = fs::metadata(path).ok();
        if meta.as_ref().is_some_and(|meta| !meta.is_file() && !meta.is_dir()) {
            return None;
        }
        let name = path.file_name().map(|name| settled(directory_of(path)).join(name));
        let paths = name.into_iter().chain(path.canonicalize()).collect();
        let is_directory = meta.as_ref().is_some_and(fs::Metadata::is_dir);
        let node = meta.filter(fs::Metadata::is_file).map(|meta| (meta.dev(), meta.ino()));
        Some(Spot { paths, node, is_directory })
    }

    fn is(&self, other: &Spot) -> bool {
        let is_same_node = self.node.is_some() && self.node == other.node;
        is_same_node || self.paths.iter().any(|path| other.paths.contains(path))
    }
}

/// A directory without links, also one that does not exist yet.
fn settled(directory: &Path) -> PathBuf {
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let known = directory.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let Some((there, real)) = known else { return directory };
    directory.strip_prefix(there).map_or_else(|_| real.clone(), |rest| real.join(rest))
}

/// Judges the files that options name. A published tree is found by its lists, wherever it is.
pub(crate) fn judge(outputs: &[(&'static str, &Path)], kept: &Kept<'_>) -> Result<(), Error> {
    let inputs: Vec<Spot> = kept.inputs.iter().filter_map(|path| Spot::of(path)).collect();
    let places: Vec<_> = kept.places.iter().map(|(path, what)| (settled(path), *what)).collect();
    let mut before: Vec<(&'static str, Spot)> = Vec::new();
    for &(option, path) in outputs {
        let Some(spot) = Spot::of(path) else { continue };
        let whole = || path.to_owned();
        if inputs.iter().any(|input| input.is(&spot)) {
            return Err(Error::Input { option, path: whole() });
        }
        let above = || spot.paths.iter().flat_map(|path| path.ancestors());
        if let Some((place, what)) = places.iter().find(|(place, _)| above().any(|above| above == place)) {
            return Err(Error::Inside { option, place: place.clone(), what });
        }
        let is_tree = |above: &&Path| above.join(MANIFEST).is_file() && above.join(CHECKSUMS).is_file();
        if let Some(tree) = above().find(is_tree) {
            return Err(Error::Inside { option, place: tree.to_owned(), what: "a published tree" });
        }
        if spot.is_directory {
            return Err(Error::Directory { option, path: whole() });
        }
        if let Some((one, _)) = before.iter().find(|(_, other)| other.is(&spot)) {
            return Err(Error::Twice { one, other: option, path: whole() });
        }
        before.push((option, spot));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Found by a newcomer, 2026-11-29: `build --report` overwrote the recipe, its lock and files of a published tree, and
    /// `--report A --summary A` mixed two formats in one file.
    #[test]
    fn no_output_is_an_input_or_in_a_tree_or_the_store_or_named_twice() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("out/edge/b1/assets")).unwrap();
        for name in ["r.yaml", "out/edge/b1/manifest.json", "out/edge/b1/SHA256SUMS", "old.html"] {
            fs::write(root.join(name), "x").unwrap();
        }
        symlink("b1", root.join("out/edge/current")).unwrap();
        symlink("r.yaml", root.join("link.yaml")).unwrap();
        fs::hard_link(root.join("r.yaml"), root.join("hard.yaml")).unwrap();
        let (recipe, lock, store) = (root.join("r.yaml"), root.join("r.lock"), root.join("store"));
        let kept = Kept {
            inputs: vec![recipe.as_path(), lock.as_path()],
            places: vec![(store.as_path(), "the store")],
        };
        let judged = |names: &[&str]| {
            let options = ["--report", "--summary"];
            let paths: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
            let outputs: Vec<_> = options.into_iter().zip(paths.iter().map(PathBuf::as_path)).collect();
            judge(&outputs, &kept)
        };
        for input in ["r.yaml", "r.lock", "link.yaml", "hard.yaml", "out/../r.yaml"] {
            assert!(matches!(judged(&[input]), Err(Error::Input { .. })), "{input}");
        }
        for inside in
            ["out/edge/b1/x", "out/edge/current/assets/x", "out/edge/current", "store/x", "store/no/x"]
        {
            assert!(matches!(judged(&[inside]), Err(Error::Inside { .. })), "{inside}");
        }
        assert!(matches!(judged(&["out/edge"]), Err(Error::Directory { .. })));
        for twice in [["new", "new"], ["old.html", "out/../old.html"]] {
            assert!(matches!(judged(&twice), Err(Error::Twice { .. })), "{twice:?}");
        }
        assert_eq!(judged(&["old.html", "out/edge/report.md"]), Ok(()));
        assert_eq!(judged(&["/dev/null", "/dev/null"]), Ok(()));
    }
}
