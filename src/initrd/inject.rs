//! Joining a base and an overlay into one file, and taking them apart again.
//!
//! A base is shared with the new file where the file system can do that (a reflink), else copied by the kernel, while a
//! second thread computes its digest. A third thread reads the base as the kernel will, to check that the kernel would
//! reach its end; nothing that it unpacks is kept.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::NamedTempFile;

use super::Error;
use super::seal::{Seal, Search};
use super::segments::{Limits, Segments};
use crate::base::digest::Object;
use crate::base::digest::{Hashing, Sha256};
use crate::base::disk;
use crate::base::finding::Finding;
use crate::base::unfinished::Unfinished;
use crate::format::cpio;
use crate::format::cpio::padding::padding;
use crate::format::tree::Tree;

/// Bytes of a base that are hashed at a time: few enough to stay in the CPU's cache for the second pass.
const CHUNK: usize = 256 << 10;

/// Destination of a new file.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its path. The file appears complete or not at all.
    pub path: PathBuf,
    /// Whether it may replace an existing file.
    pub force: bool,
}

/// Result of an injection.
#[derive(Clone, Debug)]
pub struct Injected {
    /// The seal of the new file.
    pub seal: Seal,
    /// Whether an earlier injection was replaced.
    pub replaced: bool,
    /// Warnings about the base.
    pub warnings: Vec<Finding>,
}

/// Writes `base` with `overlay` after it to `target`. An earlier injection is replaced.
///
/// # Errors
/// A base that does not begin like an initrd, or whose end the kernel would not reach; an earlier injection that
/// something was appended to; a base that does not match its own seal.
pub fn inject(base: &Path, overlay: &Tree, epoch: u64, target: &Target) -> Result<Injected, Error> {
    let (mut file, size) = open(base)?;
    let earlier = Seal::read(base, &mut file, size)?;
    Segments::new(&base.display().to_string(), &mut file, Limits::default()).probe()?;
    let base_length = earlier.map_or(size, |seal| seal.base_length);
    let mut out = target.begin()?;
    let mut warnings = Vec::new();
    let written = thread::scope(|scope| {
        let digest = scope.spawn(|| digest(base, base_length));
        // The base of an earlier injection was checked then, and its digest shows that it is unchanged.
        let walk = earlier.is_none().then(|| scope.spawn(|| passed(base)));
        copy_base(&file, base_length, out.as_file_mut()).map_err(disk::Error::io("write", &target.path))?;
        let overlay_length = append_overlay(out.as_file_mut(), base_length, overlay, epoch, &target.path)?;
        let digested = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (base_sha256, buried) = digested.map_err(disk::Error::io("read", base))?;
        if let Some(end) = buried {
            return Err(Error::Buried { path: base.into(), end, after: base_length - end });
        }
        if let Some(recorded) = earlier.map(|seal| seal.base_sha256).filter(|sha256| *sha256 != base_sha256) {
            return Err(Error::BaseChanged { path: base.into(), found: base_sha256, recorded });
        }
        let walked = walk.map(|walk| walk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        warnings.extend(walked.transpose()?.flatten());
        Ok(Seal { base_length, base_sha256, overlay_length })
    });
    let seal = written?;
    out.write_all(&seal.to_bytes()).map_err(disk::Error::io("write", &target.path))?;
    target.finish(out)?;
    Ok(Injected { seal, replaced: earlier.is_some(), warnings })
}

/// Reads a base as the kernel does, which must reach its end to find the overlay after it.
///
/// # Errors
/// Where the kernel would stop. An archive that prebake cannot unpack is returned as a warning.
fn passed(base: &Path) -> Result<Option<Finding>, Error> {
    let subject = base.display().to_string();
    let file = File::open(base).map_err(disk::Error::io("read", base))?;
    match walk(&subject, file) {
        Ok(()) => Ok(None),
        Err(error @ (Error::Unreadable { .. } | Error::Cpio(cpio::Error::Limit { .. }))) => {
            let text = format!("cannot tell whether the kernel would find the injection: {error}");
            let hint = "if the base is damaged or truncated, the kernel ignores everything after it";
            Ok(Some(Finding::warning(text).hint(hint)))
        }
        Err(error @ Error::Io(_)) => Err(error),
        Err(source) => Err(Error::Unreached { subject, source: Box::new(source) }),
    }
}

/// Reads all archives of an initrd.
///
/// # Errors
/// The first one at which the kernel stops, or that prebake cannot unpack.
pub(crate) fn walk(subject: &str, file: impl Read + Seek) -> Result<(), Error> {
    let mut segments = Segments::new(subject, file, Limits::default());
    segments.probe()?;
    while segments.next(&mut |_, _, _| Ok(()))?.is_some() {}
    Ok(())
}

/// Writes the base of an injected file, byte for byte, to `target`, and returns the seal.
pub(crate) fn remove(path: &Path, target: &Target) -> Result<Seal, Error> {
    let (mut file, size) = open(path)?;
    let Some(seal) = Seal::read(path, &mut file, size)? else {
        // Search the whole file: the hint depends on whether there is a buried seal.
        let (_, buried) = digest(path, size).map_err(disk::Error::io("read", path))?;
        return Err(match buried {
            Some(end) => Error::Buried { path: path.into(), end, after: size - end },
            None => Error::NoInjection { path: path.into() },
        });
    };
    let mut out = target.begin()?;
    thread::scope(|scope| {
        let digest = scope.spawn(|| digest(path, seal.base_length));
        copy_base(&file, seal.base_length, out.as_file_mut())
            .map_err(disk::Error::io("write", &target.path))?;
        let digested = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (found, _) = digested.map_err(disk::Error::io("read", path))?;
        match found == seal.base_sha256 {
            true => Ok(()),
            false => Err(Error::BaseChanged { path: path.into(), found, recorded: seal.base_sha256 }),
        }
    })?;
    target.finish(out)?;
    Ok(seal)
}

/// Writes an overlay alone, and returns its length in bytes.
pub(crate) fn write_overlay(overlay: &Tree, epoch: u64, target: &Target) -> Result<u64, Error> {
    let mut out = BufWriter::with_capacity(CHUNK, target.begin()?);
    let length = cpio::write(overlay, epoch, &mut out)?;
    let out = out.into_inner().map_err(|error| disk::Error::io("write", &target.path)(error.into_error()))?;
    target.finish(out)?;
    Ok(length)
}

/// Writes a base, `overlay` and the seal to an empty file, as [`inject`] does, for a base whose digest is known.
pub(crate) fn join(
    base: &Path,
    base_sha256: Sha256,
    overlay: &Tree,
    epoch: u64,
    out: &mut NamedTempFile,
) -> Result<(), Error> {
    let (file, base_length) = open(base)?;
    let path = out.path().to_owned();
    copy_base(&file, base_length, out.as_file_mut()).map_err(disk::Error::io("write", &path))?;
    let overlay_length = append_overlay(out.as_file_mut(), base_length, overlay, epoch, &path)?;
    let seal = Seal { base_length, base_sha256, overlay_length };
    Ok(out.write_all(&seal.to_bytes()).map_err(disk::Error::io("write", &path))?)
}

/// Writes `overlay` and the seal, for a base that somebody else puts before them, with its padding.
pub(crate) fn sealed_overlay(
    base: Object,
    overlay: &Tree,
    epoch: u64,
    out: &mut impl Write,
) -> Result<(), cpio::Error> {
    let overlay_length = cpio::write(overlay, epoch, out)?;
    let seal = Seal { base_length: base.size, base_sha256: base.sha256, overlay_length };
    out.write_all(&seal.to_bytes()).map_err(|source| cpio::Error::Write { path: "the seal".into(), source })
}

impl Target {
    /// A temporary file beside the target; it is removed unless it is finished.
    fn begin(&self) -> Result<Unfinished, Error> {
        if !self.force && fs::symlink_metadata(&self.path).is_ok() {
            return Err(Error::Exists { path: self.path.clone() });
        }
        let directory = self.directory();
        Ok(Unfinished::in_directory(directory, 0o644)
            .map_err(disk::Error::io("create a file in", directory))?)
    }

    /// Renames the file to its target. A file that replaces another is synced to the disk first; a new file need not
    /// be.
    fn finish(&self, mut file: Unfinished) -> Result<(), Error> {
        file.flush().map_err(disk::Error::io("write", &self.path))?;
        if !self.force {
            return match file.appear(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Err(Error::Exists { path: self.path.clone() })
                }
                done => Ok(done.map_err(disk::Error::io("write", &self.path))?),
            };
        }
        Ok(disk::finish(file, &self.path)?)
    }

    fn directory(&self) -> &Path {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new("."))
    }
}

fn open(path: &Path) -> Result<(File, u64), Error> {
    if path.is_dir() {
        return Err(Error::Directory { path: path.into() });
    }
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok((file, metadata.len())),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        }
    };
    Ok(open().map_err(disk::Error::io("read", path))?)
}

/// Copies the first `length` bytes of `base` to `out`, and leaves the position of `out` after them.
pub(crate) fn copy_base(base: &File, length: u64, out: &mut File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(&*out, base).is_ok() {
        out.set_len(length)?;
        return out.seek(SeekFrom::End(0)).map(drop);
    }
    let mut base = base;
    base.rewind()?;
    // std lets the kernel copy between files (copy_file_range).
    match io::copy(&mut base.take(length), out)? {
        copied if copied == length => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the base became shorter while it was read")),
    }
}

/// Digest of the beginning of a file, and the end of the last seal in it.
fn digest(path: &Path, length: u64) -> io::Result<(Sha256, Option<u64>)> {
    let mut file = File::open(path)?.take(length);
    let mut hashing = Hashing::new(Search::default());
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => hashing.write_all(&chunk[..read])?,
        }
    }
    let (search, sha256, _) = hashing.finish();
    Ok((sha256, search.end()))
}

fn append_overlay(
    out: &mut File,
    base_length: u64,
    overlay: &Tree,
    epoch: u64,
    path: &Path,
) -> Result<u64, Error> {
    let mut out = BufWriter::with_capacity(CHUNK, out);
    let zeros = vec![0; padding(base_length) as usize];
    out.write_all(&zeros).map_err(disk::Error::io("write", path))?;
    let length = cpio::write(overlay, epoch, &mut out)?;
    out.flush().map_err(disk::Error::io("write", path))?;
    Ok(length)
}
