//! `prebake initrd remove`

use std::path::PathBuf;

use clap::Args;

use super::OutputArgs;
use crate::error::Result;
use crate::initrd::inject::{Target, remove};

/// Give back what an initrd was before the injection, byte for byte
#[derive(Args)]
pub(super) struct RemoveArgs {
    /// The injected initrd
    initrd: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl RemoveArgs {
    pub(super) fn run(self) -> Result<()> {
        let target = Target::from(self.output);
        let seal = remove(&self.initrd, &target)?;
        println!("{}: {} bytes, sha256 {}", target.path.display(), seal.base_length, seal.base_sha256);
        Ok(())
    }
}
