//! `prebake disk`: looks into disk images of Flatcar, changes them, and writes them to disks.

mod contents;
mod convert;
mod extract;
mod inject;
mod inspect;
mod remove;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::base::disk as base;
use crate::base::error::{Advice, Exit, Result};
use crate::base::unfinished::Unfinished;
use crate::disk::Error;
use crate::disk::make::{Input, Made, Wish, make};
use crate::disk::payload;
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
    #[error("{} is a file, and is not overwritten unasked", path.display())]
    IsFile { path: PathBuf },
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

/// The new image.
#[derive(Args)]
struct OutputArgs {
    /// The new file; it appears whole or not at all
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists (the input, too: it is read to its end first)
    #[arg(long)]
    force: bool,
    /// Form of the new file: raw, raw.gz, raw.zst, raw.bz2, qcow2, vmdk, vhd, ova, gce; else by its name, else as it was
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,
}

impl OutputArgs {
    /// The form of the output.
    fn form(&self, input: &Input) -> Format {
        let name = self.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let by_name = || {
            let rows = Format::ALL.iter().filter(|row| name.ends_with(&format!(".{}", row.2)));
            rows.max_by_key(|row| row.2.len()).map(|row| row.0)
        };
        let as_input = if input.is_qcow2() { Format::Qcow2 } else { Format::Raw };
        self.format.map(|format| format.0).or_else(by_name).unwrap_or(as_input)
    }

    /// Makes the image, and gives it its name.
    fn make(&self, input: Input, wish: Wish<'_>) -> Result<Made> {
        let path = &self.output;
        let exists = || Misuse::Exists { path: path.clone() };
        if !self.force && fs::symlink_metadata(path).is_ok() {
            return Err(exists().into());
        }
        let directory = base::directory_of(path);
        let file = Unfinished::in_directory(directory, 0o644)
            .map_err(base::Error::io("create a file in", directory))?;
        let (target, scratch) = (path.display().to_string(), payload::scratch(path));
        let stem = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wish = Wish {
            format: self.form(&input),
            name: stem.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or("disk"),
            target: &target,
            scratch: &scratch,
            threads: threads(),
            ..wish
        };
        let made = make(input, &wish, file.as_file())?;
        made.findings.iter().for_each(|finding| tell!("{finding}"));
        made.advice.iter().for_each(|advice| tell!("{advice}"));
        match self.force {
            true => base::finish(file, path)?,
            false => match file.appear(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists().into()),
                done => done.map_err(base::Error::io("write", path))?,
            },
        }
        Ok(made)
    }
}

/// Threads that pack and unpack.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Opens an image.
fn input(path: &Path) -> Result<Input, Error> {
    Input::open(path)
}

/// Whether a directory is missing or empty.
fn is_free(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
