//! A path that leads to no recipe, and the recipes that may be meant.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::error::{Advice, Exit};
use crate::base::finding::{Source, nearest};
use crate::base::yaml;
use crate::base::yaml::kinds::{self, Kind};

/// The directory that recipes are in by convention.
const USUAL: &str = "recipes";
/// Recipes to name at most.
const MOST: usize = 6;
/// Files to look into at most, and bytes of each: a directory may have thousands of manifests.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 1 << 20;

/// A path without a recipe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Absent {
    /// There is no such file.
    #[error("cannot read the recipe {}: there is no such file", .0.display())]
    Missing(PathBuf),
    /// It is a directory.
    #[error("{} is a directory, not a recipe", .0.display())]
    Directory(PathBuf),
}

impl Advice for Absent {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        let (path, directories) = match self {
            Absent::Missing(path) => {
                let above = path.parent().unwrap_or(Path::new(""));
                (path, vec![above.to_owned(), above.join(USUAL), PathBuf::new(), PathBuf::from(USUAL)])
            }
            Absent::Directory(path) => (path, vec![path.clone(), path.join(USUAL)]),
        };
        let mut found: Vec<String> = directories.iter().flat_map(|directory| recipes(directory)).collect();
        found.sort();
        found.dedup();
        let wanted = path.display().to_string();
        let names = || found.iter().map(String::as_str);
        let file = |path: &str| Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
        let near = nearest(&wanted, names()).map(str::to_owned);
        // The right name in the wrong directory.
        let near = near.or_else(|| names().find(|name| file(name) == file(&wanted)).map(str::to_owned));
        let more = found.len().saturating_sub(MOST);
        let listed = || found.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
        Some(match (near, &found[..]) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, []) => "a recipe is a YAML file with `release` and `profiles`, as in README.md".into(),
            (None, _) if more > 0 => format!("recipes here: {} and {more} more", listed()),
            (None, _) => format!("recipes here: {}", listed()),
        })
    }
}

/// The recipes in a directory.
fn recipes(directory: &Path) -> Vec<String> {
    let here = if directory == Path::new("") { Path::new(".") } else { directory };
    let entries = fs::read_dir(here).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let paths = entries.map(|name| directory.join(name));
    let texts = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
    let recipes = texts.take(MOST_FILES).filter(|path| is_recipe(path));
    recipes.map(|path| path.display().to_string()).collect()
}

fn is_recipe(path: &Path) -> bool {
    let is_short = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MOST_BYTES);
    let Some(text) = is_short.then(|| fs::read_to_string(path).ok()).flatten() else { return false };
    let root = yaml::parse(&Source::new("", text.as_str()));
    root.is_ok_and(|root| kinds::of(&root, &text) == Some(Kind::Recipe))
}
