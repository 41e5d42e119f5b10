//! `prebake initrd inject`

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::OutputArgs;
use crate::error::Result;
use crate::format::tree::PLAIN;
use crate::initrd::inject::{Target, inject, write_overlay};
use crate::initrd::overlay::Overlay;

/// Put Ignition, sysexts and files behind an initrd, without unpacking it
///
/// What an earlier run injected is replaced. Flatcar finds all of it below /oem: config.ign is its Ignition config, sysexts
/// are linked to /etc/extensions by a layer below yours, images lie in /oem/images. `remove` gives the initrd back byte for
/// byte.
#[derive(Args)]
pub(super) struct InjectArgs {
    /// The initrd, such as flatcar_production_pxe_image.cpio.gz
    #[arg(required_unless_present = "overlay_only", conflicts_with = "overlay_only")]
    initrd: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    /// Write the overlay alone, for loaders that take two initrds
    #[arg(long)]
    overlay_only: bool,
    #[command(flatten)]
    contents: ContentArgs,
    /// Seconds since 1970 that all files carry
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    epoch: u64,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct ContentArgs {
    /// Ignition or Butane; several are merged, the last wins
    #[arg(long, value_name = "FILE")]
    ignition: Vec<PathBuf>,
    /// Sysext image, linked under the name that it says itself
    #[arg(long, value_name = "IMAGE")]
    sysext: Vec<PathBuf>,
    /// Container image archive, for a unit that imports it from /oem/images
    #[arg(long, value_name = "ARCHIVE")]
    image: Vec<PathBuf>,
    /// Certificates (PEM) to trust, while Ignition fetches and in the booted system
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Any file, with the mode 644 unless another is given
    #[arg(long, value_name = "PATH=SOURCE[:MODE]")]
    file: Vec<FileArg>,
}

/// `usr/share/oem/x=here/x:0755`
#[derive(Clone)]
struct FileArg {
    path: String,
    from: PathBuf,
    mode: u16,
}

impl FromStr for FileArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, from) = text.split_once('=').ok_or("PATH=SOURCE was expected")?;
        let mode = from.rsplit_once(':').and_then(|(from, digits)| {
            let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
            Some((from, u16::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777)?))
        });
        let (from, mode) = mode.unwrap_or((from, PLAIN));
        Ok(FileArg { path: path.trim_start_matches('/').to_owned(), from: from.into(), mode })
    }
}

impl InjectArgs {
    pub(super) fn run(self) -> Result<()> {
        let mut overlay = Overlay::default();
        let ContentArgs { ignition, sysext, image, ca, file } = &self.contents;
        ca.iter().try_for_each(|path| overlay.authority(path))?;
        ignition.iter().try_for_each(|path| overlay.layer(path))?;
        sysext.iter().try_for_each(|path| overlay.foreign_sysext(path))?;
        image.iter().try_for_each(|path| overlay.image(path))?;
        file.iter().try_for_each(|file| overlay.file(&file.path, &file.from, file.mode))?;
        let (tree, findings) = overlay.finish()?;
        for finding in findings {
            eprint!("{finding}");
        }
        let target = Target::from(self.output);
        let path = target.path.display().to_string();
        match &self.initrd {
            Some(base) => {
                let done = inject(base, &tree, self.epoch, &target)?;
                let replaced = if done.replaced { ", in place of an earlier injection" } else { "" };
                println!(
                    "{path}: {} bytes behind a base of {}{replaced}",
                    done.seal.overlay_length, done.seal.base_length
                );
            }
            None => println!("{path}: {} bytes", write_overlay(&tree, self.epoch, &target)?),
        }
        Ok(())
    }
}
