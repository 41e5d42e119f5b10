//! The image that a verb reads: opened, held against its signature, and shown while it is read.
//!
//! Owns when a signature counts: before anything appears under a name. Leaves its judgement to `trust`.

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use serde_json::{Value, json};

use crate::base::disk as base;
use crate::base::error::Result;
use crate::cli::key::{expect, read_into, with_suffix};
use crate::cli::progress::Passing;
use crate::cli::project::PinArgs;
use crate::disk::make::Input;
use crate::flatcar::board::SIGNATURE;
use crate::trust::openpgp::{Signed, Verifier};

/// The signature of the image, and the form of the answer.
#[derive(Args)]
pub(in crate::cli) struct SourceArgs {
    /// OpenPGP signature of the image as it was published; IMAGE.sig, if that lies beside it
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Take the image without a look at the signature beside it
    #[arg(long, conflicts_with = "signature")]
    no_signature: bool,
    /// OpenPGP: the key file; the copy in the store if absent
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    pub common: PinArgs,
}

/// An opened image.
pub(in crate::cli) struct Source {
    /// The image.
    pub input: Input,
    /// The judgement of its signature, if it has one.
    pub seal: Seal,
    /// The opened file, other than for a pipe.
    pub file: Option<File>,
}

impl Source {
    /// An image that nobody publishes.
    pub(super) fn unsigned(input: Input) -> Self {
        Source { input, seal: Seal { verifier: None, name: String::new() }, file: None }
    }
}

/// The judgement of a signature, which ends when all of the image was read.
pub(in crate::cli) struct Seal {
    verifier: Option<Arc<Mutex<Option<Verifier>>>>,
    name: String,
}

impl Seal {
    /// Ends the judgement, after all of the image was read.
    ///
    /// # Errors
    /// The signature is not that of these bytes.
    pub(in crate::cli) fn judge(self) -> Result<Option<Signed>> {
        let Some(verifier) = self.verifier else { return Ok(None) };
        let verifier = verifier.lock().unwrap_or_else(PoisonError::into_inner).take();
        let signed = verifier.map(Verifier::finish).transpose()?;
        if let Some(signed) = &signed {
            tell!("{} is signed by {}", self.name, signed.signer);
        }
        Ok(signed)
    }
}

/// The signature in JSON.
pub(in crate::cli) fn as_json(signed: Option<&Signed>) -> Value {
    json!(signed.map(|signed| json!({
        "signer": signed.signer, "signed": crate::base::clock::date(signed.created),
    })))
}

impl SourceArgs {
    /// Opens an image. One that is read at any place is held against its signature here, any other on its way.
    ///
    /// # Errors
    /// It cannot be read; no key at hand may have made its signature.
    pub(in crate::cli) fn open(&self, image: &Path) -> Result<Source> {
        let name = image.display().to_string();
        let is_pipe = image == Path::new("-");
        let beside = || Some(with_suffix(image, SIGNATURE)).filter(|path| !is_pipe && path.exists());
        let signature = self.signature.clone().or_else(beside).filter(|_| !self.no_signature);
        let verifier = signature.map(|path| expect(&path, self.key.as_deref(), &self.common)).transpose()?;
        let (input, file) = match is_pipe {
            true => (Input::open(image)?, None),
            false => {
                let file = File::open(image).map_err(base::Error::io("open", image))?;
                let twin = file.try_clone().map_err(base::Error::io("open", image))?;
                (Input::of_file(file, &name)?, Some(twin))
            }
        };
        let Some(mut verifier) = verifier else {
            return Ok(Source { input, seal: Seal { verifier: None, name }, file });
        };
        if let Some(file) = file.as_ref().filter(|_| !input.comes_once()) {
            verify(&mut verifier, file, image)?;
        }
        let verifier = Arc::new(Mutex::new(Some(verifier)));
        let seal = Seal { verifier: Some(verifier.clone()), name };
        let input = input.tapped(move |bytes| {
            if let Some(verifier) = &mut *verifier.lock().unwrap_or_else(PoisonError::into_inner) {
                verifier.update(bytes);
            }
        });
        Ok(Source { input, seal, file })
    }
}

impl SourceArgs {
    /// Holds another published file, such as a platform's extension, against the signature beside it, if there is one.
    ///
    /// # Errors
    /// The signature is not that of these bytes, or no key at hand may have made it.
    pub(super) fn judge(&self, file: &Path) -> Result<()> {
        let signature = with_suffix(file, SIGNATURE);
        if self.no_signature || !signature.exists() {
            return Ok(());
        }
        let mut verifier = expect(&signature, self.key.as_deref(), &self.common)?;
        let opened = File::open(file).map_err(base::Error::io("open", file))?;
        verify(&mut verifier, &opened, file)?;
        verifier.finish()?;
        Ok(())
    }
}

/// Has a verifier see all of a file, and shows how far it is.
fn verify(verifier: &mut Verifier, mut file: &File, path: &Path) -> Result<()> {
    let failed = || base::Error::io("read", path);
    let length = file.metadata().map_err(failed())?.len();
    // An image that is read at any place does not care where this ends.
    file.rewind().map_err(failed())?;
    let shown = Passing::new(format!("verifying {}", path.display()), Some(length));
    Ok(read_into(verifier, file, |at| shown.at(at, None)).map_err(failed())?)
}
