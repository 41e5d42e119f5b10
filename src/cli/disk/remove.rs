//! `prebake disk remove`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::OutputArgs;
use super::source::Source;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::disk::make::{Input, Wish};
use crate::format::disk::Format;

/// Give a disk image the OEM content back that it had before the injection
///
/// Files, modes and texts are as before. The length of the disk stays.
#[derive(Args)]
pub(super) struct RemoveArgs {
    /// The injected image
    image: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    /// Seconds since 1970 that texts carry which are given back
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    epoch: u64,
    /// Print JSON, with the file's SHA-256
    #[arg(long)]
    json: bool,
}

impl RemoveArgs {
    pub(super) fn run(self) -> Result<()> {
        let wish =
            Wish { remove: true, epoch: self.epoch, digest: self.json, ..Wish::of_format(Format::Raw) };
        let (made, format, _) = self.output.make(Source::unsigned(Input::open(&self.image)?), wish)?;
        let path = self.output.output.display();
        match self.json {
            true => say!(
                "{:#}",
                json!({
                    "file": path.to_string(), "bytes": made.bytes, "sha256": made.sha256, "format": format.name(),
                    "removed": made.removed,
                    "findings": made.findings,
                })
            ),
            false => {
                let as_before = if made.findings.is_empty() { "; OEM is as before" } else { "" };
                say!(
                    "{path}: {}, took out {}{as_before}",
                    format.name(),
                    counted(made.removed.len() as u64, "file")
                );
            }
        }
        Ok(())
    }
}
