//! `prebake key generate`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::with_suffix;
use crate::base::disk::{write_atomic, write_secret};
use crate::base::error::{Advice, Exit, Result};
use crate::base::unfinished::together;
use crate::cli::signing::{PassphraseArgs, read_secret, secret_in};
use crate::trust::minisign::{PublicKey, Secret, SecretKey};

/// Make a key that signs trees and bundles: NAME.key, which only you may read, and NAME.pub, for everybody
///
/// The secret key is sealed with a passphrase, as minisign does. Keep it off the machines that it signs for, and keep a copy: a
/// lost key cannot be replaced by a rotation. Where an interrupted run left NAME.key alone, NAME.pub is made from it.
#[derive(Args)]
pub(crate) struct GenerateArgs {
    /// Path of both files, without their suffixes
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

/// The given name has no last part to which a suffix can be appended.
#[derive(Debug, thiserror::Error)]
#[error("{:?} is not a key's path: it has no file name", .0.display().to_string())]
struct Nameless(PathBuf);

impl Advice for Nameless {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("give the files' path without their suffixes: `-o site` makes site.key and site.pub".into())
    }
}

/// A key file already exists.
#[derive(Debug, thiserror::Error)]
#[error("{} already exists, and its signatures would not verify with another key", .0.display())]
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
    pub(crate) fn run(self) -> Result<()> {
        let ends_in_a_name = self.output.file_name().is_some_and(|name| {
            self.output.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes())
        });
        if !ends_in_a_name {
            return Err(Nameless(self.output).into());
        }
        let [secret, public] = [".key", ".pub"].map(|suffix| with_suffix(&self.output, suffix));
        let left = self.left_behind(&secret, &public)?;
        let is_there = |path: &&PathBuf| Path::symlink_metadata(path).is_ok();
        let key = match left {
            Some(key) => {
                let public = public.display();
                tell!("{} was left by an interrupted run: {public} is made from it", secret.display());
                write_atomic(&with_suffix(&self.output, ".pub"), key.to_file().as_bytes())?;
                key
            }
            None => {
                if let Some(there) = [&secret, &public].into_iter().find(is_there) {
                    return Err(Exists(there.clone()).into());
                }
                self.make(&secret, &public)?
            }
        };
        if self.json {
            let report = json!({"id": key.id(), "key": key, "secret": secret, "public": public});
            say!("{report:#}");
            return Ok(());
        }
        say!("secret key  {}", secret.display());
        say!("public key  {}", public.display());
        say!("id          {}", key.id());
        say!("trust with  {key}");
        Ok(())
    }

    fn make(&self, secret: &Path, public: &Path) -> Result<PublicKey> {
        let passphrase = match self.no_passphrase {
            true => None,
            false => Some(self.passphrase.new_one(&secret.display().to_string())?),
        };
        let key = SecretKey::generate()?;
        let text = key.to_file(passphrase.as_ref().map(|passphrase| passphrase.as_str()))?;
        let key = key.public();
        // Written together, because a secret key without its public key cannot be used for judging, and vice versa
        // nobody could sign.
        together(|| {
            write_secret(secret, text.as_bytes())?;
            let written = write_atomic(public, key.to_file().as_bytes());
            // Its name may be there though the directory could not be synced; alone, it is no key.
            written.inspect_err(|_| {
                let is_own = std::fs::read(public).is_ok_and(|found| found == key.to_file().as_bytes());
                let _ = std::fs::remove_file(secret)
                    .and_then(|()| if is_own { std::fs::remove_file(public) } else { Ok(()) });
            })
        })?;
        Ok(key)
    }

    /// The key of a run that was killed between writing its two files, if it is of the requested kind (sealed or not).
    /// Its file is complete, and the public key is derived from it.
    fn left_behind(&self, secret: &Path, public: &Path) -> Result<Option<PublicKey>> {
        // `is_file`, because reading a pipe in the key's place would block.
        if Path::symlink_metadata(public).is_ok() || !secret.is_file() {
            return Ok(None);
        }
        Ok(match secret_in(secret) {
            Some(Secret::Open(key)) if self.no_passphrase => Some(key.public()),
            Some(Secret::Locked(_)) if !self.no_passphrase => {
                Some(read_secret(secret, &self.passphrase)?.public())
            }
            _ => None,
        })
    }
}
