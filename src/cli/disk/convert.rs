//! `prebake disk convert`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::PlatformArg;
use super::output::OutputArgs;
use super::source::{SourceArgs, as_json};
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::disk::make::Wish;
use crate::format::disk::Format;

/// Write a disk image in another form, or for a platform's rules
///
/// Any image converts, not only Flatcar's. --size and --platform need Flatcar's partitions: ROOT grows.
#[derive(Args)]
pub(super) struct ConvertArgs {
    /// The image, or - for standard input
    image: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    /// The platform whose rules for length hold; nothing is put on OEM (`inject --platform` does that)
    #[arg(long, value_name = "ID")]
    platform: Option<PlatformArg>,
    /// Length of the disk; ROOT gets all that this adds, at its first boot
    #[arg(long, value_name = "SIZE")]
    size: Option<Bytes>,
    #[command(flatten)]
    source: SourceArgs,
}

impl ConvertArgs {
    pub(super) fn run(self) -> Result<()> {
        let source = self.source.open(&self.image)?;

        let wish = Wish {
            platform: self.platform.map(|platform| platform.0),
            length: self.size.map(|size| size.0),
            digest: self.source.common.json,
            ..Wish::of_format(Format::Raw)
        };
        let (made, format, signed) = self.output.make(source, wish)?;
        let path = self.output.output.display();
        match self.source.common.json {
            true => say!(
                "{:#}",
                json!({
                    "file": path.to_string(), "format": format.name(), "bytes": made.bytes,
                    "sha256": made.sha256, "disk_bytes": made.disk_bytes, "advice": made.advice,
                    "findings": made.findings,
                    "signature": as_json(signed.as_ref()),
                })
            ),
            false => say!(
                "{path}: {}, {} bytes for a disk of {} ({})",
                format.name(),
                made.bytes,
                made.disk_bytes,
                Bytes(made.disk_bytes)
            ),
        }
        Ok(())
    }
}
