//! `prebake disk write`

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::source::{Source, SourceArgs, as_json};
use super::{Misuse, threads};
use crate::base::disk as base;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::base::unfinished::Unfinished;
use crate::cli::progress::Passing;
use crate::disk::Error;
use crate::disk::layout::judge_growth;
use crate::disk::look::{Asked, Image};
use crate::disk::make::{Begin, Wish, pour};
use crate::disk::write::{System, Target, Writing, judge, judge_source};
use crate::format::disk::Format;
use crate::format::gpt::SECTOR;

/// Write a disk image to a disk or stick, and read it back
///
/// Refuses disks that are mounted, swapped to, part of a RAID or LVM, read-only, too small, of other sectors than the
/// image's table counts, or that this machine runs from. Asks before it writes to a disk; the answer is the disk's name. A
/// packed image is unpacked twice: once to see that it is whole, before anything is overwritten, but for standard input,
/// whose end decides.
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
    #[command(flatten)]
    source: SourceArgs,
}

impl WriteArgs {
    pub(super) fn run(self) -> Result<()> {
        let scratch = std::env::temp_dir();
        let system = System::here()?;
        // A wrong target is refused before a long image is read.
        let target = judge(&self.target, 0, &system)?;
        self.judge_file(&target, &system)?;
        let is_stream = self.image == Path::new("-");
        self.judge_source(&target, &system)?;
        let mut sector = SECTOR;
        if !is_stream {
            let Source { input, seal, .. } = self.source.open(&self.image)?;
            let image = Image::look(input, Asked::default(), &scratch, threads())?;
            seal.judge()?;
            if let Some(root) = image.flatcar().ok().and_then(|flatcar| flatcar.root).filter(|_| self.grow) {
                judge_growth(image.content(&root)?, &self.image.display().to_string())?;
            }
            sector = image.table.sector;
            judge(&self.target, image.length, &system)?;
        }
        target.must_count(sector)?;
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
        let shown = Passing::new(format!("writing {name}"), None);
        let told = |at, length| shown.at(at, Some(length));
        wish.told = &told;
        // A file appears whole or not at all, even if it is the image itself.
        let unfinished = match target.name {
            Some(_) => None,
            None => {
                let directory = base::directory_of(&self.target);
                let file = Unfinished::in_directory(directory, 0o644);
                Some(file.map_err(base::Error::io("create a file in", directory))?)
            }
        };
        let new = unfinished.as_ref().map(|file| file.as_file().try_clone()).transpose();
        let new = new.map_err(base::Error::io("write", &self.target))?;
        let (path, mut writing) = (self.target.clone(), None::<Writing>);
        let slot = &mut writing;
        let begin: Begin<'_> = Box::new(move |length| {
            let target = judge(&path, length, &system)?;
            let writing = match new {
                Some(file) => Writing::of_file(file, &target),
                None => Writing::open(&target)?,
            };
            Ok(Box::new(slot.insert(writing)))
        });
        // It may have been replaced meanwhile.
        let Source { input, seal, .. } = self.source.open(&self.image)?;
        let made = pour(input, &wish, begin)?;
        let signed = seal.judge()?;
        made.findings.iter().for_each(|finding| tell!("{finding}"));
        let Some(writing) = writing else {
            let subject = self.image.display().to_string();
            return Err(Error::NoTable { subject, why: "it is empty".into() }.into());
        };
        let written = writing.finish().map_err(Error::from)?;
        if !self.no_verify {
            written.verify(&mut |_| {}).map_err(Error::from)?;
        }
        if let Some(file) = unfinished {
            base::finish(file, &self.target)?;
        }
        match self.source.common.json {
            true => {
                say!(
                    "{:#}",
                    json!({"target": name, "bytes": written.length(), "verified": !self.no_verify, "signature": as_json(signed.as_ref())})
                )
            }
            false => {
                let verified = if self.no_verify { "written" } else { "written and read back" };
                say!("{name}: {} bytes {verified}", written.length());
            }
        }
        Ok(())
    }

    /// Refuses a disk that has the image which is read.
    fn judge_source(&self, target: &Target, system: &System) -> Result<()> {
        let source = match self.image == Path::new("-") {
            true => io::stdin().as_fd().try_clone_to_owned().and_then(|stdin| File::from(stdin).metadata()),
            // A missing one is told when it is opened.
            false => fs::metadata(&self.image),
        };
        match source {
            Ok(source) => Ok(judge_source(target, &source, system).map_err(Error::from)?),
            Err(_) => Ok(()),
        }
    }

    /// Refuses a file where a disk is meant.
    fn judge_file(&self, target: &Target, system: &System) -> Result<(), Misuse> {
        if target.name.is_some() {
            return Ok(());
        }
        let path = || self.target.clone();
        let disk = system.dev.join(&self.target);
        let is_bare = self.target.components().count() == 1 && !self.target.exists();
        if is_bare && fs::metadata(&disk).is_ok_and(|meta| meta.file_type().is_block_device()) {
            return Err(Misuse::NearDisk { path: path(), disk: disk.display().to_string() });
        }
        if self.grow { Err(Misuse::GrowFile { path: path() }) } else { Ok(()) }
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
                // Virtual disks have no maker.
                let model = if target.model.is_empty() { "a disk" } else { target.model.as_str() };
                insist!(
                    "{}: {model}, {}{removable}{parts}. All of it will be lost. Type {name} to go on:",
                    target.path.display(),
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
