//! `prebake initrd extract`

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::must_be_file;
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::initrd;
use crate::initrd::extract::{Options, extract};
use crate::initrd::seal::Seal;
use crate::initrd::segments::Limits;

/// Unpack an initrd below a directory, as the kernel unpacks it into its root
///
/// Nothing is written outside of the directory, wherever names and links lead. Owners and times are not set.
#[derive(Args)]
pub(super) struct ExtractArgs {
    /// The initrd
    initrd: PathBuf,
    /// An empty directory, made if it is missing
    #[arg(short, long, alias = "directory", short_alias = 'C', value_name = "DIR")]
    output: PathBuf,
    /// Only what prebake injected; the base is not unpacked
    #[arg(long)]
    injected: bool,
    /// Make devices, pipes and sockets, too (devices need root)
    #[arg(long)]
    devices: bool,
    /// Stop when compressed archives unpack to more than this
    #[arg(long, value_name = "SIZE", default_value = "16GiB")]
    limit: Bytes,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ExtractArgs {
    pub(super) fn run(self) -> Result<()> {
        must_be_file(&self.initrd)?;
        let limits = Limits { bytes: self.limit.0, ..Limits::default() };
        let only = if self.injected { Some(self.overlay()?) } else { None };
        let done = extract(&self.initrd, &self.output, Options { limits, devices: self.devices, only })?;
        if self.json {
            let (directory, members) = (&self.output, done.written);
            say!(
                "{:#}",
                json!({"directory": directory, "members": members, "skipped": done.special, "orphans": done.orphans})
            );
            return Ok(());
        }
        say!("{}: {}", self.output.display(), counted(done.written, "member"));
        for path in &done.special {
            tell!("skipped: {} is a device, pipe or socket (--devices makes them)", path.escape_debug());
        }
        for path in &done.orphans {
            tell!("skipped, as by the kernel: the directory of {} does not exist", path.escape_debug());
        }
        Ok(())
    }

    /// Offset of the injected archive.
    fn overlay(&self) -> Result<u64, initrd::Error> {
        let path = &self.initrd;
        let mut file = File::open(path).map_err(disk::Error::io("read", path))?;
        let size = file.metadata().map_err(disk::Error::io("read", path))?.len();
        let seal = Seal::read(path, &mut file, size)?;
        Ok(seal.ok_or_else(|| initrd::Error::NoInjection { path: path.clone() })?.overlay_offset())
    }
}
