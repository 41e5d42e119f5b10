//! `prebake bundle sign`

use std::path::PathBuf;

use clap::Args;

use super::{as_json, read_rotation, signed_by};
use crate::base::disk;
use crate::base::error::Result;
use crate::cli::signing::{SignArgs, read_public};
use crate::tree::bundle::create::Draft;
use crate::tree::bundle::{Bundle, Demand};
use crate::trust::minisign::Signature;

/// Add a signature, or the statement that a key follows another
///
/// The file is written anew and replaced when it is complete; each of its bytes is held against the index meanwhile, for a
/// signature vouches for all of them. The signature is of the member bundle.json: a key that never leaves its place can sign
/// that with minisign alone.
#[derive(Args)]
pub(crate) struct SignBundleArgs {
    /// The bundle
    file: PathBuf,
    /// Add this signature over bundle.json, which minisign made elsewhere
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "Signing")]
    attach: Option<PathBuf>,
    /// The public key that the attached signature is by
    #[arg(
        long = "attach-key",
        alias = "key",
        value_name = "FILE",
        requires = "attach",
        help_heading = "Signing"
    )]
    key: Option<PathBuf>,
    /// Add this statement, as `prebake key rotate` makes it; once for each
    #[arg(long = "rotation", value_name = "FILE", help_heading = "Signing")]
    rotations: Vec<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl SignBundleArgs {
    /// Signs the bundle.
    pub(crate) fn run(self) -> Result<()> {
        // Nothing is demanded of the bundle: by signing, the signer vouches for it.
        let bundle = Bundle::open(&self.file, &Demand::anything())?;
        let (draft, mut signatures) = (Draft::of(&bundle), bundle.signatures().clone());
        let index = draft.index().to_bytes();
        let keys = self.sign.keys()?;
        if keys.is_empty() && self.attach.is_none() && self.rotations.is_empty() {
            return Err(super::Error::Unsigned.into());
        }
        for key in &keys {
            signatures.sign(key, &index, draft.index().epoch);
        }
        if let (Some(path), Some(key)) = (&self.attach, &self.key) {
            let bytes = std::fs::read(path).map_err(disk::Error::io("read", path))?;
            let signature = Signature::parse_commented(&path.display().to_string(), &bytes)?;
            signatures.add(read_public(key)?, signature, &index)?;
        }
        for rotation in &self.rotations {
            signatures.rotate(read_rotation(rotation)?);
        }
        draft.write(&signatures, &self.file)?;
        match self.json {
            true => {
                let metadata = std::fs::metadata(&self.file);
                let length = metadata.map_err(disk::Error::io("read", &self.file))?.len();
                say!("{:#}", as_json(&self.file, length, draft.index(), &signatures));
            }
            false => say!("{}: {}", self.file.display(), signed_by(&signatures)),
        }
        Ok(())
    }
}
