//! ROOT of an image, with an injection's files in it, for images whose OEM is too small.
//!
//! ```text
//! old ROOT ──▶ a file without a name ──▶ debugfs ──▶ new ROOT       /opt/extensions/NAME.raw  /opt/images/FILE
//! ```
//! Owns the order of the change: what an earlier injection put there goes first, then the room is judged, then the new
//! files come. ROOT stays the file system that it was, with its UUID, features and size, so that it grows at the first
//! boot as a stock one does. Leaves the file system to `format::ext4`, and the note of the files to [`super::oem`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::disk::Error;
use crate::disk::edit::replay;
use crate::disk::layout::{self, PROBED};
use crate::disk::oem::{Add, ON_ROOT};
use crate::format::ext4::{self, Change};
use crate::format::gpt::{Partition, ReadAt};
use crate::format::sparse::{self, Sink, Sparse};

/// Part of step keys; raised when the same files are written in another way.
pub const REVISION: u32 = 1;

/// ROOT of an image, spooled into a file without a name, which programs open by its number in this process.
pub struct Root {
    file: File,
    path: PathBuf,
    length: u64,
    subject: String,
}

impl Root {
    /// Spools the partition that `old` reads into the directory `scratch`.
    ///
    /// # Errors
    /// It is no ext4, cannot be read, or there is no room for what it holds.
    pub fn spool(
        partition: &Partition,
        old: &ReadAt<'_>,
        scratch: &Path,
        subject: &str,
    ) -> Result<Self, Error> {
        let read = |error| Error::of_sink(error, "read", subject);
        let mut head = vec![0; PROBED.min(usize::try_from(partition.length).unwrap_or(PROBED))];
        old(0, &mut head).map_err(read)?;
        layout::judge_root(partition, &head, subject)?;
        let file = tempfile::tempfile_in(scratch).map_err(Error::io("make a scratch file for", subject))?;
        let spool = || {
            let mut sink = Sparse::create(&file)?;
            replay(old, partition.length, &mut sink)?;
            sink.finish()
        };
        let length = spool().map_err(read)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(Root { file, path: path.into(), length, subject: subject.to_owned() })
    }

    /// Takes the files `gone` out and puts those of `adds` in, with `epoch` (seconds since 1970) for all times.
    ///
    /// # Errors
    /// A name is taken by a file that is not in `gone`; there is no room, in numbers; those of `debugfs`.
    pub fn change(&self, gone: &BTreeSet<String>, adds: &[Add], epoch: u64) -> Result<(), Error> {
        let absolute = |path: &str| format!("/{path}");
        let paths: Vec<String> = gone.iter().map(|path| absolute(path)).collect();
        let mut changes: Vec<Change> = paths.into_iter().map(|path| Change::Gone { path }).collect();
        // Directories that get files again are not worth a change.
        let is_used = |directory: &str| adds.iter().any(|add| add.path.starts_with(directory));
        let unused = ON_ROOT.into_iter().filter(|directory| !is_used(directory));
        changes.extend(unused.map(|directory| Change::Empty { path: absolute(directory) }));
        let change = |changes: &[Change]| ext4::change(&self.path, 0, changes, epoch, &self.subject);
        if !gone.is_empty() {
            change(&changes)?;
        }
        let wanted: Vec<String> = adds.iter().map(|add| absolute(&add.path)).collect();
        let taken = ext4::existing(&self.path, 0, wanted.iter().map(String::as_str), &self.subject)?;
        if let Some(path) = taken.into_iter().next() {
            return Err(Error::Taken { subject: self.subject.clone(), partition: "ROOT", path });
        }
        self.must_fit(adds)?;
        let files = adds.iter().zip(wanted);
        let files: Vec<Change> =
            files.map(|(add, path)| Change::File { path, from: add.from.clone(), mode: add.mode }).collect();
        change(&files)?;
        Ok(())
    }

    fn must_fit(&self, adds: &[Add]) -> Result<(), Error> {
        let room = ext4::judge(&self.path, 0, &self.subject)?;
        let asked = adds.iter().fold(0_u64, |sum, add| sum.saturating_add(room.cost(add.size)));
        let needed = asked.saturating_add(room.reserve);
        if adds.is_empty() || needed <= room.free {
            return Ok(());
        }
        let mut sorted: Vec<&Add> = adds.iter().collect();
        sorted.sort_by_key(|add| std::cmp::Reverse(add.size));
        let largest: Vec<_> = sorted.iter().take(3).map(|add| format!("{} {}", add.path, add.size)).collect();
        Err(Error::RootRoom {
            subject: self.subject.clone(),
            length: room.length,
            free: room.free,
            asked,
            largest: largest.join(", "),
            reserve: room.reserve,
            missing: needed - room.free,
        })
    }

    /// Copies a file on it, by its path without a slash before it; returns the bytes that are left of `limit`.
    ///
    /// # Errors
    /// There is none; it is longer than the limit; those of `debugfs`.
    pub fn copy_out(&self, path: &str, limit: u64, to: &mut File) -> Result<u64, Error> {
        let copied = ext4::copy_out(&self.path, 0, &format!("/{path}"), limit, to, &self.subject)?;
        match copied > limit {
            true => Err(Error::Long { subject: self.subject.clone(), total: copied, limit }),
            false => Ok(limit - copied),
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn pour(&self, out: &mut dyn Sink) -> io::Result<()> {
        sparse::pour(&self.file, 0..self.length, out)
    }
}

/// The warning about files on ROOT.
pub fn warning(subject: &str) -> String {
    let [extensions, images] = ON_ROOT;
    format!(
        "{subject}: `flatcar-reset` removes what is in /{extensions} and /{images}, unless it is told \
         --keep-paths '/{extensions}/.*' '/{images}/.*'; the links to it come back and lead nowhere then"
    )
}
