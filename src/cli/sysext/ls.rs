//! `prebake sysext ls`

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::print_json;
use crate::base::error::{Advice, Result};
use crate::cli::table::Table;
use crate::sysext::description::Description;
use crate::sysext::folder::{self, Folder};
use crate::sysext::shipped::Shipped;

/// List the sysexts that can be built here, and where each comes from
///
/// A folder in sysext/, here or in a directory above, wins over one of the same name further above and over the one that
/// comes with prebake. Recipes look for theirs from their own directory.
#[derive(Args)]
pub(crate) struct LsArgs {
    /// List the folders of this directory alone
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The directory of sysexts cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {}", path.display())]
struct Unlistable {
    path: PathBuf,
    source: io::Error,
}

impl Advice for Unlistable {
    fn hint(&self) -> Option<String> {
        Some("name the directory that holds the sysexts' folders with --dir".into())
    }
}

/// A sysext that can be built.
struct Row {
    description: Description,
    folder: Folder,
    /// Folders of the same name that it hides, the nearest first.
    hides: Vec<Folder>,
}

impl LsArgs {
    /// Prints one line per sysext.
    pub(crate) fn run(self) -> Result<()> {
        let rows = match &self.dir {
            Some(dir) => of_directory(dir)?,
            None => all(&folder::shelves(Path::new("")))?,
        };
        if self.json {
            print_json(&rows.iter().map(as_json).collect::<Vec<_>>());
            return Ok(());
        }
        let mut table = Table::new(["NAME", "VERSION", "FROM", "WHAT"]);
        for Row { description, folder, hides } in rows {
            let hides: String = hides.iter().map(|hidden| format!(", hides {}", shown(hidden))).collect();
            let from = format!("{}{hides}", shown(&folder));
            table.row([description.name, description.version, from, description.description]);
        }
        say_part!("{table}");
        Ok(())
    }
}

fn of_directory(dir: &Path) -> Result<Vec<Row>> {
    let found = folder::of_shelf(dir).map_err(|source| Unlistable { path: dir.to_owned(), source })?;
    let row = |path| {
        let folder = Folder::Disk(path);
        Ok(Row { description: folder.load()?, folder, hides: Vec::new() })
    };
    found.into_iter().map(row).collect()
}

fn all(shelves: &[PathBuf]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in Folder::names(shelves) {
        let Some(folder) = Folder::find(&name, shelves) else { continue };
        let on_disk = shelves.iter().map(|shelf| shelf.join(&name)).filter(|path| folder::is_sysext(path));
        let others = on_disk.map(Folder::Disk).chain(Shipped::find(&name).map(Folder::Shipped));
        let hides = others.filter(|other| *other != folder).collect();
        rows.push(Row { description: folder.load()?, folder, hides });
    }
    Ok(rows)
}

/// A folder as people know it: below the working directory without the way there.
fn shown(folder: &Folder) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match folder {
        Folder::Disk(path) => path.strip_prefix(here).unwrap_or(path).display().to_string(),
        Folder::Shipped(shipped) => shipped.to_string(),
    }
}

fn as_json(row: &Row) -> Value {
    let Row { description, folder, hides } = row;
    let mut json = place(folder);
    json["name"] = description.name.as_str().into();
    json["version"] = description.version.as_str().into();
    json["description"] = description.description.as_str().into();
    json["hides"] = hides.iter().map(place).collect();
    json
}

/// A folder's path, or the version of the prebake that it comes with.
fn place(folder: &Folder) -> Value {
    match folder {
        Folder::Disk(path) => json!({"from": "folder", "folder": path, "prebake": null}),
        Folder::Shipped(_) => json!({"from": "prebake", "folder": null, "prebake": Shipped::VERSION}),
    }
}
