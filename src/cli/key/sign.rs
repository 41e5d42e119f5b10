//! `prebake key sign`

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{read, with_suffix};
use crate::base::disk::{self, write_atomic};
use crate::base::error::{Advice, Exit, Result};
use crate::cli::signing::SignArgs;
use crate::trust::minisign::{KeyId, Prehash, SUFFIX, Signature, trusted_comment};

/// Sign files: FILE.minisig beside each
///
/// With several keys, or where another key's signature has that name, it is FILE.KEYID.minisig. `prebake key verify` and
/// `minisign -V` judge them. The same key and file give the same signature each time: no time of day is in it.
#[derive(Args)]
pub(crate) struct SignFilesArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Trusted comment of the signatures [default: the file's name, and the epoch where one is set]
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The file's time in the signatures, in seconds since 1970, unless --comment is given
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    epoch: Option<u64>,
    #[command(flatten)]
    signing: SignArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The user named no key.
#[derive(Debug, thiserror::Error)]
#[error("there is no key to sign with")]
struct NoKey;

impl Advice for NoKey {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("name one with --sign-key; `prebake key generate` makes it".into())
    }
}

impl SignFilesArgs {
    pub(crate) fn run(self) -> Result<()> {
        let keys = self.signing.keys()?;
        if keys.is_empty() {
            return Err(NoKey.into());
        }
        let mut rows: Vec<Value> = Vec::new();
        for file in &self.files {
            let open = File::open(file).map_err(disk::Error::io("open", file))?;
            let prehash = Prehash::of_reader(open).map_err(disk::Error::io("read", file))?;
            let comment = self.comment_on(file);
            for key in &keys {
                let id = key.public().id();
                let mut path = with_suffix(file, SUFFIX);
                if keys.len() > 1 || is_anothers(&path, id) {
                    path = with_suffix(file, &format!(".{id}{SUFFIX}"));
                }
                write_atomic(&path, &key.sign_prehash(&prehash, &comment).to_bytes())?;
                if !self.json {
                    say!("{}: signed by {id}", path.display());
                }
                rows.push(json!({"file": file, "signature": path, "signer": id}));
            }
        }
        if self.json {
            say!("{:#}", Value::from(rows));
        }
        Ok(())
    }

    fn comment_on(&self, file: &Path) -> String {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match (&self.comment, self.epoch) {
            (Some(comment), _) => comment.clone(),
            (None, Some(epoch)) => trusted_comment(epoch, &name),
            (None, None) => format!("file:{name}\thashed"),
        }
    }
}

/// Whether the file exists and is not a signature by this key: one signer must not overwrite another's signature.
fn is_anothers(path: &Path, id: KeyId) -> bool {
    let Ok(bytes) = read(path) else { return path.exists() };
    Signature::parse_commented("the existing signature", &bytes).map_or(true, |there| there.key_id() != id)
}
