//! `prebake sysext extract`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::print_json;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::sysext::extension::Extension;

/// Extract an image into a new directory
///
/// Needs no root. Modes, times and hard links are kept; owners, setuid bits and extended attributes are not. An image that
/// would leave the directory, or fill the disk, is refused.
#[derive(Args)]
pub(crate) struct ExtractArgs {
    /// The image
    image: PathBuf,
    /// The directory, which must not exist yet
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ExtractArgs {
    /// Extracts the image, or leaves nothing behind.
    pub(crate) fn run(self) -> Result<()> {
        let extension = Extension::open(&self.image)?;
        extension.extract(&self.directory)?;
        let count = extension.entries.len();
        match self.json {
            true => print_json(&json!({"directory": self.directory, "entries": count})),
            false => say!("{}: {}", self.directory.display(), counted(count, "entry")),
        }
        Ok(())
    }
}
