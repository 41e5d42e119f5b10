//! `prebake key rotate`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::with_suffix;
use crate::base::disk::write_atomic;
use crate::base::error::Result;
use crate::base::unfinished::together;
use crate::cli::signing::{PassphraseArgs, read_public, read_secret};
use crate::trust::minisign::SUFFIX;
use crate::trust::rotation::Rotation;

/// Let an old key name its successor
///
/// Clients that trust the old key will trust the new one instead as soon as the statement reaches them, in a bundle or by `key
/// verify --rotation`. Do it while the old key is still yours alone: a stolen key can be rotated by its thief.
#[derive(Args)]
pub(crate) struct RotateArgs {
    /// The secret key that is trusted now
    #[arg(long, value_name = "FILE")]
    old: PathBuf,
    /// The public key that follows it
    #[arg(long, value_name = "FILE")]
    new: PathBuf,
    /// The statement; its signature lies beside it [default: OLD-NEW.rotation.json, by the ids of the keys]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RotateArgs {
    pub(crate) fn run(self) -> Result<()> {
        let new = read_public(&self.new)?;
        let rotation = Rotation::sign(&read_secret(&self.old, &self.passphrase)?, &new)?;
        let statement = self.output.unwrap_or_else(|| rotation.file_name().into());
        let signature = with_suffix(&statement, SUFFIX);
        together(|| {
            write_atomic(&statement, &rotation.statement())?;
            write_atomic(&signature, &rotation.signature().to_bytes())
        })?;
        if self.json {
            let (old, new) = (rotation.old_key(), rotation.new_key());
            let report = json!({"statement": statement, "signature": signature, "old": old, "new": new});
            say!("{report:#}");
            return Ok(());
        }
        say!("statement  {}", statement.display());
        say!("signature  {}", signature.display());
        say!("old        {}", rotation.old_key().id());
        say!("new        {}", rotation.new_key().id());
        Ok(())
    }
}
