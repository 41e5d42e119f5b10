//! The options for files that are put on OEM and ROOT.

use std::path::PathBuf;

use clap::Args;

use crate::base::disk as base;
use crate::base::error::Result;
use crate::cli::file_arg::FileArg;
use crate::disk::Error;
use crate::disk::oem::Injection;
use crate::disk::payload::{self, Payload};
use crate::tree::secrets;

/// Heading of what is put in.
const CONTENTS: &str = "Contents";

#[derive(Args)]
pub(super) struct ContentArgs {
    /// Ignition or Butane; several are merged, the last wins
    #[arg(help_heading = CONTENTS, long, value_name = "FILE")]
    ignition: Vec<PathBuf>,
    /// Sysext image, linked under the name in its extension-release file
    #[arg(help_heading = CONTENTS, long, value_name = "IMAGE")]
    sysext: Vec<PathBuf>,
    /// Container image archive, for a unit that imports it from /oem/images
    #[arg(help_heading = CONTENTS, long, value_name = "ARCHIVE")]
    image: Vec<PathBuf>,
    /// Put sysexts and images on ROOT, into /opt/extensions and /opt/images; OEM has 128 MiB before release 4487
    #[arg(help_heading = CONTENTS, long)]
    on_root: bool,
    /// Certificates (PEM) to trust, while Ignition fetches and in the booted system
    #[arg(help_heading = CONTENTS, long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Any file, with the mode 644 unless another is given
    #[arg(help_heading = CONTENTS, long, value_name = "PATH=SOURCE[:MODE]")]
    file: Vec<FileArg>,
    /// Kernel argument, after the platform's own, from the first boot on
    #[arg(help_heading = CONTENTS, long, value_name = "ARG", allow_hyphen_values = true)]
    kernel_arg: Vec<String>,
}

impl ContentArgs {
    /// Whether nothing was named.
    pub(super) fn is_empty(&self) -> bool {
        let ContentArgs { ignition, sysext, image, on_root: _, ca, file, kernel_arg } = self;
        let paths = [ignition, sysext, image, ca];
        paths.iter().all(|paths| paths.is_empty()) && file.is_empty() && kernel_arg.is_empty()
    }

    /// Adds what was named.
    pub(super) fn add(&self, payload: &mut Payload) -> Result<(), Error> {
        let ContentArgs { ignition, sysext, image, on_root, ca, file, kernel_arg } = self;
        if *on_root {
            payload.on_root();
        }
        ca.iter().try_for_each(|path| payload.authority(path))?;
        ignition.iter().try_for_each(|path| payload.layer(path))?;
        sysext.iter().try_for_each(|path| payload.sysext(path))?;
        image.iter().try_for_each(|path| payload.image(path))?;
        file.iter().try_for_each(|file| payload.file(&file.path, &file.from, file.mode))?;
        payload.arguments(kernel_arg.iter().cloned())
    }
}

/// Ends the judgement of what is put in, tells its findings, and returns their messages: secrets, too, because everyone
/// who gets the image can read them.
pub(super) fn judged(payload: Payload) -> Result<(Injection, Vec<String>)> {
    let (injection, mut findings) = payload.finish()?;
    let tree = payload::files(&injection)?;
    let hint =
        "have a unit fetch it at the first boot, or keep the image closed: who gets it gets the secret";
    let secrets = secrets::injected(&tree, "image", hint);
    findings.extend(secrets.map_err(base::Error::io("read what goes into", "the image".as_ref()))?);
    findings.iter().for_each(|finding| tell!("{finding}"));
    Ok((injection, findings.into_iter().map(|finding| finding.message).collect()))
}
