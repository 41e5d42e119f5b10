//! `prebake sysext ls`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::print_json;
use crate::base::error::{Advice, Result};
use crate::cli::table::Table;
use crate::sysext::description::{self, Description};

/// List the sysexts that can be built here
#[derive(Args)]
pub(crate) struct LsArgs {
    /// Directory with a folder for each sysext
    #[arg(long, default_value = "sysext", value_name = "DIR")]
    dir: PathBuf,
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

impl LsArgs {
    /// Prints one line per sysext.
    pub(crate) fn run(self) -> Result<()> {
        let found = folders(&self.dir).map_err(|source| Unlistable { path: self.dir.clone(), source })?;
        let sysexts = found.iter().map(|dir| Description::load(dir)).collect::<Result<Vec<_>, _>>()?;
        if self.json {
            let row =
                |s: &Description| json!({"name": s.name, "version": s.version, "description": s.description});
            print_json(&sysexts.iter().map(row).collect::<Vec<_>>());
            return Ok(());
        }
        let mut table = Table::new(["NAME", "VERSION", "WHAT"]);
        sysexts.into_iter().for_each(|s| table.row([s.name, s.version, s.description]));
        say_part!("{table}");
        Ok(())
    }
}

/// Folders with a description, sorted by name.
fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let paths =
        fs::read_dir(dir)?.map(|item| item.map(|item| item.path())).collect::<io::Result<Vec<_>>>()?;
    let mut folders: Vec<_> =
        paths.into_iter().filter(|p| p.join(description::FILE_NAME).is_file()).collect();
    folders.sort();
    Ok(folders)
}
