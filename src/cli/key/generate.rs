//! `prebake key generate`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::with_suffix;
use crate::cli::signing::PassphraseArgs;
use crate::error::{Advice, Exit, Result};
use crate::minisign::SecretKey;
use crate::store::{write_atomic, write_secret};
use crate::unfinished::together;

/// Make a key that signs trees and bundles: NAME.key, which only you may read, and NAME.pub, for everybody
///
/// The secret key is sealed with a passphrase, as minisign does. Keep it off the machines that it signs for, and keep a copy: a
/// lost key cannot be replaced by a rotation.
#[derive(Args)]
pub struct GenerateArgs {
    /// Where both files lie, without their endings
    #[arg(short, long, value_name = "NAME", default_value = "site")]
    output: PathBuf,
    /// Do not seal the secret key: whoever reads the file can sign
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// There is a key already.
#[derive(Debug, thiserror::Error)]
#[error("{} is there already, and what it signed would not be believed with another", .0.display())]
struct Exists(PathBuf);

impl Advice for Exists {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(
            "name other files with -o; `prebake key rotate` hands over from the old key to the new one"
                .into(),
        )
    }
}

impl GenerateArgs {
    pub fn run(self) -> Result<()> {
        let [secret, public] = [".key", ".pub"].map(|suffix| with_suffix(&self.output, suffix));
        let is_there = |path: &&PathBuf| Path::symlink_metadata(path).is_ok();
        if let Some(there) = [&secret, &public].into_iter().find(is_there) {
            return Err(Exists(there.clone()).into());
        }
        let passphrase = match self.no_passphrase {
            true => None,
            false => Some(self.passphrase.new_one(&secret.display().to_string())?),
        };
        let key = SecretKey::generate()?;
        let text = key.to_file(passphrase.as_ref().map(|passphrase| passphrase.as_str()))?;
        let key = key.public();
        // Neither without the other: a key that nobody can judge by, or that nobody has.
        together(|| {
            write_secret(&secret, text.as_bytes())?;
            let written = write_atomic(&public, key.to_file().as_bytes());
            written.inspect_err(|_| drop(std::fs::remove_file(&secret)))
        })?;
        if self.json {
            let report = json!({"id": key.id(), "key": key, "secret": secret, "public": public});
            say!("{report:#}");
            return Ok(());
        }
        say!("secret key  {}", secret.display());
        say!("public key  {}", public.display());
        say!("id          {}", key.id());
        say!("to trust    {key}");
        Ok(())
    }
}
