//! Trees that a path may mean which leads to none: the output directory above, a file inside, a slip in a name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::finding::nearest;
use crate::tree::names::{CURRENT, MANIFEST};

/// Trees to name at most.
const MOST: usize = 3;

/// A question or list that names the trees that this path may mean, if there are any.
pub(crate) fn instead_of(path: &Path) -> Option<String> {
    let found = trees(path);
    let shown: Vec<String> = found.iter().take(MOST).map(|tree| tree.display().to_string()).collect();
    let more = if found.len() > MOST { " and others" } else { "" };
    match &shown[..] {
        [] => None,
        [only] => Some(format!("did you mean {only}?")),
        _ => Some(format!("name a tree; there are {}{more}", shown.join(", "))),
    }
}

fn trees(path: &Path) -> Vec<PathBuf> {
    if let Some(tree) = path.ancestors().skip(1).find(|above| is_tree(above)) {
        return vec![tree.to_owned()];
    }
    if path.exists() {
        return below(path);
    }
    let above = path.ancestors().skip(1).find(|above| or_here(above).is_dir());
    let Some((above, rest)) = above.and_then(|above| Some((above, path.strip_prefix(above).ok()?))) else {
        return Vec::new();
    };
    let mut rest = rest.components();
    let wanted = rest.next().map(|name| name.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    let names = names(above);
    // A BUILD-ID may be shortened, as in git.
    let begins = || names.iter().find(|name| wanted.len() >= 4 && name.starts_with(&wanted));
    let near = nearest(&wanted, names.iter().map(String::as_str)).map(str::to_owned);
    let near = near.or_else(|| begins().cloned()).map(|name| above.join(name));
    let meant = near.map(|near| {
        let whole = rest.clone().fold(near.clone(), |path, part| path.join(part));
        if is_tree(&whole) { vec![whole] } else { below(&near) }
    });
    meant.filter(|found| !found.is_empty()).unwrap_or_else(|| below(above))
}

/// The trees that `current` leads to, in a recipe's output directory or in one of several.
fn below(path: &Path) -> Vec<PathBuf> {
    if is_tree(path) {
        return vec![path.to_owned()];
    }
    let current = path.join(CURRENT);
    if is_tree(&current) {
        return vec![current];
    }
    names(path).iter().map(|name| path.join(name).join(CURRENT)).filter(|current| is_tree(current)).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(or_here(directory)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn is_tree(path: &Path) -> bool {
    path.join(MANIFEST).is_file()
}

/// The directory above a bare name.
fn or_here(path: &Path) -> &Path {
    if path == Path::new("") { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ux.md 1.19, 2026-11-28: `serve output/a` refused with a general hint, although `output/a/current` was there.
    #[test]
    fn a_path_beside_a_tree_leads_to_it() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        for build in ["output/a/0123456789abcdef", "output/b/fedcba9876543210"] {
            fs::create_dir_all(at(build).join("assets")).unwrap();
            fs::write(at(build).join(MANIFEST), "{}").unwrap();
            let current = at(build).with_file_name(CURRENT);
            std::os::unix::fs::symlink(at(build), current).unwrap();
        }
        let cases: [(&str, &[&str]); 8] = [
            ("output/a", &["output/a/current"]),
            ("output", &["output/a/current", "output/b/current"]),
            ("outptu/a", &["output/a/current", "output/b/current"]),
            ("output/c/current", &["output/a/current"]),
            ("output/a/curent", &["output/a/current"]),
            ("output/a/01234", &["output/a/0123456789abcdef"]),
            ("output/a/current/manifest.json", &["output/a/current"]),
            ("output/a/current/assets", &["output/a/current"]),
        ];
        for (path, meant) in cases {
            let expected: Vec<PathBuf> = meant.iter().map(|tree| at(tree)).collect();
            assert_eq!(trees(&at(path)), expected, "{path}");
        }
        assert_eq!(instead_of(&at("else/where")), None);
    }
}
