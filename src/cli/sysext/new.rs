//! `prebake sysext new`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::print_json;
use crate::bake::scaffold;
use crate::base::error::Result;

/// Begin a sysext of your own: a folder in sysext/, made of a template
///
/// A recipe beside sysext/ or below finds it by its name. With --copy it is a copy of the sysext of that name that comes with
/// prebake, and takes its place. No file is overwritten.
#[derive(Args)]
pub(crate) struct NewArgs {
    /// Its name: letters, digits, `-`, `_` and `.`
    name: String,
    /// Directory in which its folder is made
    #[arg(long, value_name = "DIR", default_value = "sysext")]
    dir: PathBuf,
    /// Copy the sysext of this name that comes with prebake, to change it
    #[arg(long)]
    copy: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl NewArgs {
    /// Writes the folder, and prints its files and the next commands.
    pub(crate) fn run(self) -> Result<()> {
        let name = &self.name;
        let made = if self.copy { scaffold::sysext::copy(name)? } else { scaffold::sysext::new(name)? };
        let files = made.write(&self.dir)?;
        if self.json {
            print_json(&json!({"name": name, "files": files}));
            return Ok(());
        }
        for file in &files {
            say!("wrote  {}", file.display());
        }
        let folder = self.dir.join(name);
        say!("next   prebake sysext lint {}", folder.display());
        say!("       prebake sysext build {}", folder.display());
        say!("       and `sysexts: [{name}]` in a recipe");
        Ok(())
    }
}
