//! `prebake initrd remove`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::must_be_file;
use crate::base::error::Result;
use crate::initrd::inject::{Target, remove};

/// Restore an initrd as it was before the injection, byte for byte
#[derive(Args)]
pub(super) struct RemoveArgs {
    /// The injected initrd
    initrd: PathBuf,
    /// The new file; it appears whole or not at all
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists (the input, too: it is read to its end first)
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RemoveArgs {
    pub(super) fn run(self) -> Result<()> {
        must_be_file(&self.initrd)?;
        let target = Target { path: self.output, force: self.force };
        let seal = remove(&self.initrd, &target)?;
        let path = target.path.display();
        match self.json {
            true => {
                let (bytes, sha256) = (seal.base_length, seal.base_sha256);
                say!("{:#}", json!({"file": path.to_string(), "bytes": bytes, "sha256": sha256}));
            }
            false => say!("{path}: {} bytes, sha256 {}", seal.base_length, seal.base_sha256),
        }
        Ok(())
    }
}
