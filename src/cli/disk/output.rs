//! The new image of a verb: its form, and its name, which it gets when it is whole.
//!
//! Owns what a file's name says of its form. Leaves making the image to [`crate::disk::make`].

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;

use super::source::Source;
use super::{FormatArg, Misuse, threads};
use crate::base::disk as base;
use crate::base::error::Result;
use crate::base::unfinished::{Unfinished, special};
use crate::cli::progress::Passing;
use crate::disk::make::{Input, Made, Wish, make};
use crate::disk::payload;
use crate::format::disk::Format;
use crate::trust::openpgp::Signed;

/// The new image.
#[derive(Args)]
pub(super) struct OutputArgs {
    /// The new file; it appears whole or not at all
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file if it exists (the input, too: it is read to its end first)
    #[arg(long)]
    force: bool,
    /// Form of the new file: raw, raw.gz, raw.zst, raw.bz2, qcow2, vmdk, vhd, ova, gce, box; else by its name (.bin, .raw, .bin.gz,
    /// .raw.zst, .img.bz2, .qcow2, .vmdk, .vhd, .ova, .tar.gz, .box); else, as for .img, qcow2 if the image is one, else raw
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,
}

/// Ends of names, and the forms that they stand for.
const ENDS: [(&str, Format); 17] = [
    (".bin", Format::Raw),
    (".raw", Format::Raw),
    (".bin.gz", Format::RawGz),
    (".raw.gz", Format::RawGz),
    (".img.gz", Format::RawGz),
    (".bin.zst", Format::RawZst),
    (".raw.zst", Format::RawZst),
    (".img.zst", Format::RawZst),
    (".bin.bz2", Format::RawBz2),
    (".raw.bz2", Format::RawBz2),
    (".img.bz2", Format::RawBz2),
    (".qcow2", Format::Qcow2),
    (".vmdk", Format::Vmdk),
    (".vhd", Format::Vhd),
    (".ova", Format::Ova),
    (".tar.gz", Format::GceTar),
    (".box", Format::Box),
];

/// The form that a name stands for; nothing where it says none. Flatcar publishes qcow2 images as `.img`, others raw ones.
fn by_name(name: &str) -> Result<Option<Format>, ()> {
    let name = name.to_ascii_lowercase();
    match ENDS.iter().find(|(end, _)| name.ends_with(end)) {
        Some((_, format)) => Ok(Some(*format)),
        None if name.ends_with(".img") || !name.trim_start_matches('.').contains('.') => Ok(None),
        None => Err(()),
    }
}

impl OutputArgs {
    /// The form of the output.
    ///
    /// # Errors
    /// The file's name ends as that of no form.
    pub(super) fn form(&self, input: &Input) -> Result<Format, Misuse> {
        let name = self.output.file_name().unwrap_or_default().to_string_lossy();
        match (&self.format, by_name(&name)) {
            (Some(FormatArg(format)), Ok(Some(named))) if *format != named => {
                let path = self.output.display();
                tell!("{path} will be {}, though it is called like {}", format.name(), named.name());
                Ok(*format)
            }
            (Some(FormatArg(format)), _) => Ok(*format),
            (None, Ok(Some(format))) => Ok(format),
            (None, Ok(None)) if input.is_qcow2() => Ok(Format::Qcow2),
            (None, Ok(None)) => Ok(Format::Raw),
            (None, Err(())) => Err(Misuse::NoForm { path: self.output.clone() }),
        }
    }

    /// Refuses an output that cannot be one, before anything is read.
    fn judge(&self) -> Result<(), Misuse> {
        let path = || self.output.clone();
        if self.output.as_os_str() == "-" {
            return Err(Misuse::ToPipe);
        }
        let Ok(meta) = fs::symlink_metadata(&self.output) else { return Ok(()) };
        match special(meta.file_type()) {
            Some(kind) => Err(Misuse::Special { path: path(), kind }),
            None if self.force => Ok(()),
            None => Err(Misuse::Exists { path: path() }),
        }
    }

    /// Makes the image, and gives it its name once the signature of the old one was found to be right.
    pub(super) fn make(
        &self,
        Source { input, seal, .. }: Source,
        wish: Wish<'_>,
    ) -> Result<(Made, Format, Option<Signed>)> {
        self.judge()?;
        let (path, format) = (&self.output, self.form(&input)?);
        let directory = base::directory_of(path);
        let file = Unfinished::in_directory(directory, 0o644)
            .map_err(base::Error::io("create a file in", directory))?;
        let (target, scratch) = (path.display().to_string(), payload::scratch(path));
        let stem = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shown = Passing::new(format!("writing {target}"), None);
        let wish = Wish {
            format,
            name: stem.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or("disk"),
            target: &target,
            scratch: &scratch,
            threads: threads(),
            told: &|at, length| shown.at(at, Some(length)),
            ..wish
        };
        let made = make(input, &wish, file.as_file())?;
        let signed = seal.judge()?;
        drop(shown);
        made.findings.iter().for_each(|finding| tell!("{finding}"));
        made.advice.iter().for_each(|advice| tell!("{advice}"));
        match self.force {
            true => base::finish(file, path)?,
            false => match file.appear(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Misuse::Exists { path: path.clone() }.into());
                }
                done => done.map_err(base::Error::io("write", path))?,
            },
        }
        Ok((made, format, signed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_form_or_nothing_and_a_foreign_end_is_no_form() {
        for (_, name, extension) in Format::ALL {
            assert!(by_name(&format!("x.{extension}")).unwrap().is_some(), "{name}: {extension}");
        }
        assert_eq!(by_name("a.RAW"), Ok(Some(Format::Raw)));
        assert_eq!(by_name("node.img.zst"), Ok(Some(Format::RawZst)));
        for name in ["disk", "flatcar.img", ".hidden"] {
            assert_eq!(by_name(name), Ok(None), "{name}");
        }
        for name in ["a.vmdk.gz", "a.qcow2.zst", "a.xz", "a.vhdx", "a.vdi", "a.zst", "a.iso", "node-1.2"] {
            assert_eq!(by_name(name), Err(()), "{name}");
        }
    }
}
