//! `prebake disk write`

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Misuse, input, threads};
use crate::base::disk as base;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::disk::Error;
use crate::disk::look::Image;
use crate::disk::make::{Begin, Wish, pour};
use crate::disk::write::{System, Target, Writing, judge};
use crate::format::disk::Format;

/// Write a disk image to a disk or stick, and read it back
///
/// Refuses disks that are mounted, swapped to, part of a RAID or LVM, read-only, too small, or that this machine runs
/// from. Asks before it writes to a disk; the answer is the disk's name. A packed image is unpacked twice: once to see that
/// it is whole, before anything is overwritten, but for standard input, whose end decides.
#[derive(Args)]
pub(super) struct WriteArgs {
    /// The image, or - for standard input
    image: PathBuf,
    /// The disk, such as /dev/sdb, or a file
    target: PathBuf,
    /// The disk's name in the kernel, such as sdb, instead of the question
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Overwrite a file
    #[arg(long)]
    force: bool,
    /// Do not read it back
    #[arg(long)]
    no_verify: bool,
    /// Let ROOT take all of the disk at once
    #[arg(long)]
    grow: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl WriteArgs {
    pub(super) fn run(self) -> Result<()> {
        let scratch = std::env::temp_dir();
        let system = System::here()?;
        // A wrong target is refused before a long image is read.
        let target = judge(&self.target, 0, &system)?;
        let is_stream = self.image == Path::new("-");
        let length = match is_stream {
            true => None,
            false => Some(Image::look(input(&self.image)?, &scratch, threads())?.length),
        };
        if let Some(length) = length {
            judge(&self.target, length, &system)?;
        }
        if is_stream && self.confirm.is_none() && target.name.is_some() {
            return Err(self.not_asked(&target).into());
        }
        self.ask(&target)?;
        let mut wish = Wish { threads: threads(), scratch: &scratch, ..Wish::of_format(Format::Raw) };
        let name = self.target.display().to_string();
        wish.target = &name;
        if self.grow && target.length > 0 {
            wish.length = Some(target.length / 512 * 512);
        }
        let (path, mut writing) = (self.target.clone(), None::<Writing>);
        let slot = &mut writing;
        let begin: Begin<'_> = Box::new(move |length| {
            let target = judge(&path, length, &system)?;
            Ok(Box::new(slot.insert(Writing::open(&target)?)))
        });
        let made = pour(input(&self.image)?, &wish, begin)?;
        made.findings.iter().for_each(|finding| tell!("{finding}"));
        let Some(writing) = writing else {
            let subject = self.image.display().to_string();
            return Err(Error::NoTable { subject, why: "it is empty".into() }.into());
        };
        let written = writing.finish().map_err(Error::from)?;
        if !self.no_verify {
            written.verify(&mut |_| {}).map_err(Error::from)?;
        }
        match self.json {
            true => {
                say!("{:#}", json!({"target": name, "bytes": written.length(), "verified": !self.no_verify}))
            }
            false => {
                let verified = if self.no_verify { "written" } else { "written and read back" };
                say!("{name}: {} bytes {verified}", written.length());
            }
        }
        Ok(())
    }

    fn not_asked(&self, target: &Target) -> Misuse {
        let name = target.name.clone().unwrap_or_default();
        Misuse::NotAsked { target: target.path.display().to_string(), name }
    }

    /// Asks whether it is the right disk, unless that was said.
    fn ask(&self, target: &Target) -> Result<()> {
        let Some(name) = &target.name else {
            return match self.force || !target.path.exists() {
                true => Ok(()),
                false => Err(Misuse::IsFile { path: target.path.clone() }.into()),
            };
        };
        let typed = match &self.confirm {
            Some(typed) => typed.clone(),
            None if !io::stdin().is_terminal() => return Err(self.not_asked(target).into()),
            None => {
                let removable = if target.is_removable { ", removable" } else { "" };
                let parts = match target.partitions.as_slice() {
                    [] => String::new(),
                    parts => format!(", with {}", parts.join(", ")),
                };
                insist!(
                    "{}: {}, {}{removable}{parts}. All of it will be lost. Type {name} to go on:",
                    target.path.display(),
                    target.model,
                    Bytes(target.length)
                );
                let mut line = String::new();
                let read = io::stdin().lock().read_line(&mut line);
                read.map_err(base::Error::io("read", Path::new("stdin")))?;
                line.trim().to_owned()
            }
        };
        match typed == *name {
            true => Ok(()),
            false => {
                let target = target.path.display().to_string();
                Err(Misuse::Unconfirmed { typed, target, name: name.clone() }.into())
            }
        }
    }
}
