//! `prebake disk`: looks into disk images of Flatcar, changes them, and writes them to disks.

mod contents;
mod convert;
mod extract;
mod inject;
mod inspect;
mod output;
mod remove;
pub(super) mod source;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::base::error::{Advice, Exit, Result};
use crate::disk::platform::{PLATFORMS, Platform};
use crate::format::disk::Format;

/// Look into disk images of Flatcar, put Ignition, sysexts and files into them, and write them to disks
#[derive(Args)]
pub(super) struct DiskArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Inspect(inspect::InspectArgs),
    Inject(Box<inject::InjectArgs>),
    Extract(extract::ExtractArgs),
    Remove(remove::RemoveArgs),
    Convert(convert::ConvertArgs),
    Write(write::WriteArgs),
}

impl DiskArgs {
    pub(super) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Inspect(args) => args.run(),
            Verb::Inject(args) => args.run(),
            Verb::Extract(args) => args.run(),
            Verb::Remove(args) => args.run(),
            Verb::Convert(args) => args.run(),
            Verb::Write(args) => args.run(),
        }
    }
}

/// Reasons why one of these verbs does not begin.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error("{} exists", path.display())]
    Exists { path: PathBuf },
    #[error("{} is {kind}, and no file for an image", path.display())]
    Special { path: PathBuf, kind: &'static str },
    #[error("an image is written to a file, and not to standard output")]
    ToPipe,
    #[error("the name {} does not say in which form the image shall be", path.display())]
    NoForm { path: PathBuf },
    #[error("{} is a file, and is not overwritten unasked", path.display())]
    IsFile { path: PathBuf },
    #[error("{} would be a file in this directory, and {disk} is a disk", path.display())]
    NearDisk { path: PathBuf, disk: String },
    #[error("{} is a file, and has no length that ROOT could take", path.display())]
    GrowFile { path: PathBuf },
    #[error("{target} is not overwritten unasked, and there is no terminal to ask at")]
    NotAsked { target: String, name: String },
    #[error("`{typed}` is not the name of {target}: nothing was written")]
    Unconfirmed { typed: String, target: String, name: String },
    #[error("the platform {} needs its extension", .0.id)]
    NoExtension(&'static Platform),
    #[error("nothing was named that is to be put into the image")]
    Nothing,
    #[error("{} is not an empty directory", path.display())]
    NotEmpty { path: PathBuf },
}

impl Advice for Misuse {
    fn exit(&self) -> Exit {
        match self {
            Misuse::NotEmpty { .. } => Exit::Failed,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Misuse::Exists { .. } | Misuse::IsFile { .. } => {
                "replace it with --force, or name another".into()
            }
            Misuse::Special { kind, .. } if kind.contains("disk") => {
                "`prebake disk write` overwrites disks".into()
            }
            Misuse::Special { .. } | Misuse::ToPipe => "name a file".into(),
            Misuse::NoForm { .. } => {
                "name the form with --format, or end the name with .bin, .raw.zst, .qcow2, .vmdk, .vhd, .ova or .box".into()
            }
            Misuse::NearDisk { path, disk } => {
                format!("name the disk, {disk}, or the file, ./{}", path.display())
            }
            Misuse::GrowFile { .. } => {
                "`prebake disk convert --size` makes a longer image".into()
            }
            Misuse::NotAsked { name, .. } => format!("add --confirm {name}, if it is the right one"),
            Misuse::Unconfirmed { name, .. } => format!("its name is {name}"),
            Misuse::NoExtension(platform) => {
                format!("name it with --extension oem-{}.raw, as published beside the image", platform.id)
            }
            Misuse::Nothing => {
                "name it with --ignition, --sysext, --image, --file, --kernel-arg or --platform".into()
            }
            Misuse::NotEmpty { .. } => "name a new directory".into(),
        })
    }
}

/// A platform, by its id.
#[derive(Clone, Copy, Debug)]
struct PlatformArg(&'static Platform);

impl FromStr for PlatformArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ids = || PLATFORMS.iter().map(|platform| platform.id).collect::<Vec<_>>().join(", ");
        let platform = Platform::of(text).ok_or_else(|| format!("it is none of {}", ids()))?;
        Ok(PlatformArg(platform))
    }
}

/// A form, by its name.
#[derive(Clone, Copy, Debug)]
struct FormatArg(Format);

impl FromStr for FormatArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Format::ALL.iter().map(|row| row.1).collect::<Vec<_>>().join(", ");
        Ok(FormatArg(Format::named(text).ok_or_else(|| format!("it is none of {}", names()))?))
    }
}

/// Threads that pack and unpack.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether a directory is missing or empty.
fn is_free(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
