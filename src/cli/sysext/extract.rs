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
    #[arg(short, long, value_name = "DIR", required_unless_present = "directory")]
    output: Option<PathBuf>,
    /// The same, as it was given before there was --output
    #[arg(hide = true, conflicts_with = "output")]
    directory: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ExtractArgs {
    /// Extracts the image, or leaves nothing behind.
    pub(crate) fn run(self) -> Result<()> {
        let extension = Extension::open(&self.image)?;
        let directory = self.output.or(self.directory).unwrap_or_default();
        extension.extract(&directory)?;
        let count = extension.entries.len();
        match self.json {
            true => print_json(&json!({"directory": directory, "entries": count})),
            false => say!("{}: {}", directory.display(), counted(count, "entry")),
        }
        Ok(())
    }
}
