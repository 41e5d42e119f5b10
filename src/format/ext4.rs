//! Files put into an ext4 file system that lies in an image, without mounting it.
//!
//! Owns the dealings with `debugfs` of e2fsprogs, whose output repeats bit for bit if it is told the time
//! (`E2FSPROGS_FAKE_TIME`, in the child's environment only). `debugfs` leaves with 0 when a command fails, so its words
//! are read, and what was written is read back and compared. The blocks of a file that goes become zeros: otherwise an
//! image would carry what nobody sees any more. Leaves the choice of files to `disk`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use crate::base::disk::read_full;
use crate::base::error::{Advice, Exit};
use crate::format::sparse::{Sink, Sparse};

/// Part of step keys; raised when the bytes for the same files change. The version of `debugfs` does not enter them.
pub const REVISION: u32 = 1;

const DEBUGFS: &str = "debugfs";
/// Directories of programs for administrators, which are not in everybody's `PATH`.
const SBIN: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Offset of the superblock in a file system, in bytes (kernel, Documentation/filesystems/ext4/super.rst).
const SUPERBLOCK: u64 = 1024;
/// `s_feature_incompat`: the journal holds changes that are not in their places yet.
const NEEDS_RECOVERY: u32 = 0x4;
/// `s_state`: unmounted cleanly; errors were seen.
const CLEAN: u16 = 1;
const ERRORS: u16 = 2;
/// `s_feature_incompat`: numbers of blocks have 64 bits.
const WIDE: u32 = 0x80;
/// Bytes of a superblock that are read.
const SUPER: usize = 1024;
/// Length of the pieces in which written files are compared, in bytes.
const PIECE: usize = 128 << 10;

/// A change to the file system. Paths are absolute in it, such as `/opt/extensions/x.raw`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A regular file, of 0:0, in the place of a file that is there. Its directory is made with mode 755 if it is
    /// missing.
    File {
        /// Its path in the file system.
        path: String,
        /// The file on this machine whose bytes it gets.
        from: PathBuf,
        /// Permission bits.
        mode: u16,
    },
    /// A symlink, in the place of a link that is there.
    Link {
        /// Its path in the file system.
        path: String,
        /// Its target.
        target: String,
    },
    /// A file or link that shall not be there any more.
    Gone {
        /// Its path in the file system.
        path: String,
    },
    /// A directory that shall not be there any more, if nothing is left in it. It is looked at after all else is done.
    Empty {
        /// Its path in the file system.
        path: String,
    },
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Change::File { path, .. }
            | Change::Link { path, .. }
            | Change::Gone { path }
            | Change::Empty { path } => path,
        }
    }
}

/// Reasons why a file system is not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `debugfs` is not there.
    #[error("`debugfs` is missing, which puts files into the ext4 of {subject}")]
    NoTool {
        /// Name of the image.
        subject: String,
    },
    /// Reading or running failed.
    #[error("cannot {action} {subject}")]
    Io {
        /// The refused action, as a verb.
        action: &'static str,
        /// Name of the file.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another file system, or none.
    #[error("{subject}: there is no ext4 at byte {offset}")]
    Foreign {
        /// Name of the image.
        subject: String,
        /// Where it was expected, in bytes.
        offset: u64,
    },
    /// A file system that must be repaired by its own kernel first.
    #[error("{subject}: the ext4 at byte {offset} {why}")]
    Unclean {
        /// Name of the image.
        subject: String,
        /// Its offset in bytes.
        offset: u64,
        /// The reason, in words.
        why: &'static str,
    },
    /// A path or target that `debugfs` would read as something else.
    #[error("`{path}` cannot be put into an ext4: {why}")]
    Path {
        /// The path as given.
        path: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// `debugfs` refused a command.
    #[error("{subject}: debugfs says: {said}")]
    Refused {
        /// Name of the image.
        subject: String,
        /// Its words.
        said: String,
    },
    /// A written file that does not come back as it went in.
    #[error("{subject}: `{path}` differs from what was written, from byte {at} on")]
    Differs {
        /// Name of the image.
        subject: String,
        /// Path in the file system.
        path: String,
        /// Offset of the first difference, in bytes.
        at: u64,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Foreign { .. } | Error::Unclean { .. } | Error::Differs { .. } => Exit::Integrity,
            Error::Path { .. } => Exit::Config,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoTool { .. } => {
                "install the package e2fsprogs, or leave --on-root out, which keeps the files on OEM".into()
            }
            Error::Unclean { .. } => {
                "take the image as it was published: this one has been booted or mounted".into()
            }
            Error::Refused { said, .. }
                if said.contains("No free space") || said.contains("Could not allocate") =>
            {
                "the file system is full: put fewer or smaller files on ROOT".into()
            }
            _ => return None,
        })
    }
}

/// The room in a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Length of the file system.
    pub length: u64,
    /// Bytes that nothing has.
    pub free: u64,
    /// Bytes of these that ext4 keeps for root, so that a full disk still works.
    pub reserve: u64,
    /// Length of a block.
    pub block: u64,
}

impl Room {
    /// Bytes that a file of `size` bytes takes, estimated from above: its blocks, and those of its tree of extents.
    pub fn cost(&self, size: u64) -> u64 {
        let blocks = size.div_ceil(self.block);
        blocks.saturating_add(blocks / 1024 + 1).saturating_mul(self.block)
    }
}

/// Whether `debugfs` can be run; asked before a long image is read.
///
/// # Errors
/// It is missing.
pub fn must_have_tool(subject: &str) -> Result<(), Error> {
    program().map(drop).ok_or_else(|| Error::NoTool { subject: subject.into() })
}

/// The path of `debugfs`: by `PATH`, else where administrators' programs are.
fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    found(env::split_paths(&path).chain(SBIN.map(PathBuf::from)))
}

fn found(mut directories: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    directories.find_map(|directory| {
        let path = directory.join(DEBUGFS);
        let is_program = |meta: fs::Metadata| {
            meta.is_file() && std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 != 0
        };
        fs::metadata(&path).is_ok_and(is_program).then_some(path)
    })
}

/// Makes the changes in the ext4 that begins at byte `offset` of an image, with `time` (seconds since 1970) for all
/// times, and compares each written file.
///
/// # Errors
/// See [`Error`]. The image may be half changed then: it must be one that has no name yet.
pub fn change(image: &Path, offset: u64, changes: &[Change], time: u64, subject: &str) -> Result<(), Error> {
    let room = judge(image, offset, subject)?;
    changes.iter().try_for_each(judge_names)?;
    let work = work(subject)?;
    // Names of this machine may hold what debugfs reads as a quote or a blank: it gets numbered links to them.
    let session = Session { image, offset, time, work: work.path(), subject };
    let there = session.existing(changes.iter().map(Change::path))?;
    let (mut removals, mut script) = (String::new(), String::new());
    let (mut made, mut freed) = (BTreeSet::new(), Vec::new());
    for (index, change) in changes.iter().enumerate() {
        let path = change.path();
        if matches!(change, Change::Empty { .. }) {
            continue;
        }
        if there.contains(path) {
            freed.extend(session.blocks(path)?);
            removals.push_str(&format!("rm {path}\n"));
        }
        if !matches!(change, Change::Gone { .. }) {
            for parent in parents(path).filter(|parent| !there.contains(*parent)) {
                if made.insert(parent) {
                    script.push_str(&format!("mkdir {parent}\nset_inode_field {parent} mode 040755\n"));
                }
            }
        }
        match change {
            Change::File { from, mode, .. } => {
                let from = from.canonicalize().map_err(io_error("read", &from.display().to_string()))?;
                let link = work.path().join(index.to_string());
                std::os::unix::fs::symlink(from, link).map_err(io_error("make a link for", subject))?;
                let (directory, name) = split(path);
                script.push_str(&format!("cd {directory}\nwrite {index} {name}\ncd /\n"));
                script.push_str(&format!("set_inode_field {path} mode 0100{mode:03o}\n"));
                for field in ["uid", "gid"] {
                    script.push_str(&format!("set_inode_field {path} {field} 0\n"));
                }
            }
            Change::Link { target, .. } => script.push_str(&format!("symlink {path} {target}\n")),
            Change::Gone { .. } | Change::Empty { .. } => {}
        }
    }
    // The blocks of files that go become zeros before others get them.
    session.write(&removals)?;
    session.clear(freed, room)?;
    session.write(&script)?;
    for change in changes {
        match change {
            Change::File { path, from, .. } => session.compare(path, from)?,
            Change::Empty { path } if there.contains(path.as_str()) && session.is_empty(path)? => {
                let freed = session.blocks(path)?;
                session.write(&format!("rmdir {path}\n"))?;
                session.clear(freed, room)?;
            }
            _ => {}
        }
    }
    let lasting = || changes.iter().filter(|change| !matches!(change, Change::Empty { .. }));
    let left = session.existing(lasting().map(Change::path))?;
    match lasting().find(|change| left.contains(change.path()) == matches!(change, Change::Gone { .. })) {
        Some(change) => {
            Err(Error::Differs { subject: subject.into(), path: change.path().to_owned(), at: 0 })
        }
        None => Ok(()),
    }
}

/// Those of the paths that are in the ext4 that begins at byte `offset` of an image.
///
/// # Errors
/// See [`Error`].
pub fn existing<'p>(
    image: &Path,
    offset: u64,
    paths: impl IntoIterator<Item = &'p str>,
    subject: &str,
) -> Result<BTreeSet<String>, Error> {
    judge(image, offset, subject)?;
    let work = work(subject)?;
    let paths: Vec<&str> = paths.into_iter().collect();
    paths.iter().try_for_each(|path| judge_names(&Change::Gone { path: (*path).to_owned() }))?;
    let session = Session { image, offset, time: 0, work: work.path(), subject };
    let mut there = session.existing(paths.iter().copied())?;
    there.retain(|path| paths.contains(&path.as_str()));
    Ok(there)
}

/// Copies a regular file out of the ext4 that begins at byte `offset` of an image, up to one byte more than `most`; returns
/// how many were copied.
///
/// # Errors
/// See [`Error`]; there is no such file.
pub fn copy_out(
    image: &Path,
    offset: u64,
    path: &str,
    most: u64,
    to: &mut File,
    subject: &str,
) -> Result<u64, Error> {
    judge(image, offset, subject)?;
    judge_names(&Change::Gone { path: path.to_owned() })?;
    let work = work(subject)?;
    let session = Session { image, offset, time: 0, work: work.path(), subject };
    if !session.existing([path])?.contains(path) {
        let said = format!("there is no {path}");
        return Err(Error::Refused { subject: subject.into(), said });
    }
    session.cat(path, |found| io::copy(&mut found.take(most.saturating_add(1)), to))
}

/// A directory for links and commands.
fn work(subject: &str) -> Result<tempfile::TempDir, Error> {
    tempfile::tempdir().map_err(io_error("make a directory for", subject))
}

/// Refuses what is no ext4, and one whose journal or state asks for its kernel. Returns the room in it.
///
/// # Errors
/// See [`Error`].
pub fn judge(image: &Path, offset: u64, subject: &str) -> Result<Room, Error> {
    let file = File::open(image).map_err(io_error("read", subject))?;
    let mut block = [0; SUPER];
    let foreign = || Error::Foreign { subject: subject.into(), offset };
    let at = offset.checked_add(SUPERBLOCK).ok_or_else(foreign)?;
    match file.read_exact_at(&mut block, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(foreign()),
        done => done.map_err(io_error("read", subject))?,
    }
    let u16_at = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let incompat = u32_at(0x60);
    let log = u32_at(0x18);
    // The kernel knows blocks of up to 64 KiB.
    if u16_at(0x38) != 0xef53 || log > 6 {
        return Err(foreign());
    }
    let unclean = |why| Err(Error::Unclean { subject: subject.into(), offset, why });
    match u16_at(0x3a) {
        _ if incompat & NEEDS_RECOVERY != 0 => {
            return unclean("has changes in its journal (needs_recovery)");
        }
        state if state & ERRORS != 0 => return unclean("is marked as having errors"),
        state if state & CLEAN == 0 => return unclean("was not unmounted cleanly"),
        _ => {}
    }
    let block = 1024_u64 << log;
    let wide = |low: usize, high: usize| {
        let high = if incompat & WIDE == 0 { 0 } else { u32_at(high) };
        (u64::from(high) << 32 | u64::from(u32_at(low))).saturating_mul(block)
    };
    Ok(Room { length: wide(0x4, 0x150), reserve: wide(0x8, 0x154), free: wide(0xc, 0x158), block })
}

struct Session<'s> {
    image: &'s Path,
    offset: u64,
    time: u64,
    work: &'s Path,
    subject: &'s str,
}

impl Session<'_> {
    fn command(&self) -> Result<Command, Error> {
        // A link below /proc that leads to a file without a name must stay what it is.
        let image = std::path::absolute(self.image).map_err(io_error("read", self.subject))?;
        let link = self.work.join("image");
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(image, link).map_err(io_error("make a link for", self.subject))?;
        }
        let program = program().ok_or_else(|| Error::NoTool { subject: self.subject.into() })?;
        let mut command = Command::new(program);
        command.current_dir(self.work).stdin(Stdio::null()).env("LC_ALL", "C").env_remove("DEBUGFS_PAGER");
        command.env("PAGER", "cat").env("E2FSPROGS_FAKE_TIME", self.time.max(1).to_string());
        Ok(command)
    }

    /// The name under which the child opens the file system.
    fn address(&self) -> String {
        format!("image?offset={}", self.offset)
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::NoTool { subject: self.subject.into() },
            _ => Error::Io { action: "run debugfs for", subject: self.subject.into(), source: error },
        }
    }

    /// Runs commands, one a line.
    fn run(&self, script: &str, writes: bool) -> Result<Output, Error> {
        std::fs::write(self.work.join("script"), script)
            .map_err(io_error("write commands for", self.subject))?;
        let mut command = self.command()?;
        if writes {
            command.arg("-w");
        }
        let done = command
            .args(["-f", "script"])
            .arg(self.address())
            .output()
            .map_err(|error| self.failed(error))?;
        match done.status.success() {
            true => Ok(done),
            false => {
                let said = complaints(&done).next().unwrap_or("nothing, and it stopped").to_owned();
                Err(Error::Refused { subject: self.subject.into(), said })
            }
        }
    }

    /// Runs commands that change the file system; a complaint is an error.
    fn write(&self, script: &str) -> Result<(), Error> {
        if script.is_empty() {
            return Ok(());
        }
        let said = self.run(script, true)?;
        match complaints(&said).next() {
            Some(line) => Err(Error::Refused { subject: self.subject.into(), said: line.to_owned() }),
            None => Ok(()),
        }
    }

    /// Those of the paths, and of the directories above them, that are there.
    fn existing<'p>(&self, paths: impl IntoIterator<Item = &'p str>) -> Result<BTreeSet<String>, Error> {
        let paths: BTreeSet<&str> = paths.into_iter().flat_map(|path| parents(path).chain([path])).collect();
        let mut there = BTreeSet::new();
        for path in paths {
            // One run for each: what the runs say cannot be told apart otherwise, as the two streams are not in step.
            let said = self.run(&format!("stat {path}\n"), false)?;
            let complaint = complaints(&said).next();
            match complaint {
                None => drop(there.insert(path.to_owned())),
                Some(line) if line.contains("File not found") => {}
                Some(line) => {
                    return Err(Error::Refused { subject: self.subject.into(), said: line.to_owned() });
                }
            }
        }
        Ok(there)
    }

    /// Numbers of the blocks that a file, link or directory has, of its contents and of its own tables.
    fn blocks(&self, path: &str) -> Result<Vec<u64>, Error> {
        // A link whose target is in its inode has none, and debugfs complains.
        let said = self.run(&format!("blocks {path}\n"), false)?;
        let text = String::from_utf8_lossy(&said.stdout);
        let lines = text.lines().filter(|line| !line.starts_with("debugfs:"));
        Ok(lines.flat_map(str::split_whitespace).filter_map(|word| word.parse().ok()).collect())
    }

    /// Whether a directory has nothing in it.
    fn is_empty(&self, path: &str) -> Result<bool, Error> {
        let said = self.run(&format!("ls -p {path}\n"), false)?;
        let text = String::from_utf8_lossy(&said.stdout);
        // `/INODE/MODE/UID/GID/NAME/LENGTH/`
        let names = text.lines().filter_map(|line| line.strip_prefix('/')?.split('/').nth(4));
        Ok(complaints(&said).next().is_none()
            && names.filter(|name| ![".", ".."].contains(name)).count() == 0)
    }

    /// Makes zeros of blocks.
    fn clear(&self, mut blocks: Vec<u64>, room: Room) -> Result<(), Error> {
        blocks.sort_unstable();
        blocks.dedup();
        blocks.retain(|number| number.checked_mul(room.block).is_some_and(|at| at < room.length));
        if blocks.is_empty() {
            return Ok(());
        }
        let failed = io_error("clear blocks of", self.subject);
        let clear = || {
            let file = File::options().read(true).write(true).open(self.image)?;
            for run in blocks.chunk_by(|one, next| one + 1 == *next) {
                let first = run.first().copied().unwrap_or_default();
                let mut zeros = Sparse::over(&file, self.offset.saturating_add(first * room.block))?;
                zeros.zeros(run.len() as u64 * room.block)?;
            }
            Ok(())
        };
        clear().map_err(failed)
    }

    /// Compares a file in the file system with the one that it was made of.
    fn compare(&self, path: &str, from: &Path) -> Result<(), Error> {
        let source = File::open(from).map_err(io_error("read", &from.display().to_string()))?;
        match self.cat(path, |found| difference(found, source))? {
            Some(at) => Err(Error::Differs { subject: self.subject.into(), path: path.into(), at }),
            None => Ok(()),
        }
    }

    /// Shows the bytes of a file in the file system to `seen`.
    fn cat<T>(&self, path: &str, seen: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> Result<T, Error> {
        let mut command = self.command()?;
        command.arg("-R").arg(format!("cat {path}")).arg(self.address());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| self.failed(error))?;
        let found = match child.stdout.take() {
            Some(mut found) => seen(&mut found),
            None => seen(&mut io::empty()),
        };
        // Otherwise a child whose output is not read to its end would wait for ever.
        let ended = child.kill().and_then(|()| child.wait());
        found.and_then(|found| ended.map(|_| found)).map_err(io_error("read back from", self.subject))
    }
}

/// Offset of the first byte in which two streams differ; `None` if they are equal.
fn difference(one: impl Read, other: impl Read) -> io::Result<Option<u64>> {
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    loop {
        let (read, expected) = (read_full(&mut one, &mut left)?, read_full(&mut other, &mut right)?);
        let same = left[..read].iter().zip(&right[..expected]).take_while(|(a, b)| a == b).count();
        if same < read.max(expected) {
            return Ok(Some(at + same as u64));
        }
        if read == 0 {
            return Ok(None);
        }
        at += read as u64;
    }
}

/// The complaints of debugfs: all that it writes to the other stream but its banner.
fn complaints(output: &Output) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(&output.stderr).unwrap_or("words that are not UTF-8");
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("debugfs 1."))
}

/// The directories above a path, from the outermost one on, without the root.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|parent| !parent.is_empty())
}

/// A path's directory and name.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("/", path),
    }
}

/// Names that reach the file system as they are: debugfs splits its lines at blanks and knows quotes, and takes a name
/// in angle brackets for an inode.
fn judge_names(change: &Change) -> Result<(), Error> {
    let refused = |path: &str, why| Err(Error::Path { path: path.escape_debug().to_string(), why });
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+@/:".contains(&b));
    let path = change.path();
    let is_inside = |path: &str| {
        path.strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|name| !["", ".", ".."].contains(&name)))
    };
    match change {
        _ if !is_plain(path) => refused(path, "it has other characters than letters, digits and -_.+@:"),
        _ if !is_inside(path) => refused(path, "it is not an absolute path without `.` and `..`"),
        Change::Link { target, .. } if target.is_empty() || !is_plain(target) => {
            refused(target, "a link's target has other characters than letters, digits and -_.+@:/")
        }
        _ => Ok(()),
    }
}

fn io_error(action: &'static str, subject: &str) -> impl FnOnce(io::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Io { action, subject, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_debugfs_reads_otherwise_are_refused() {
        for path in ["/a b", "/a\"", "/a\nquit", "/<2>", "a", "/", "//a", "/a/../b", "/a/", ""] {
            assert!(judge_names(&Change::Gone { path: path.into() }).is_err(), "{path:?}");
        }
        assert!(judge_names(&Change::Gone { path: "/opt/extensions/a-1.2+b.raw".into() }).is_ok());
        let link = |target: &str| Change::Link { path: "/a".into(), target: target.into() };
        assert!(judge_names(&link("/oem/sysext/a.raw")).is_ok());
        assert!(judge_names(&link("a;b c")).is_err());
    }

    #[test]
    fn the_program_is_found_where_it_is_and_a_missing_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert_eq!(found([empty.clone()].into_iter()), None);
        let program = directory.path().join(DEBUGFS);
        fs::write(&program, "").unwrap();
        assert_eq!(found([empty.clone(), directory.path().to_owned()].into_iter()), None, "no program");
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(found([empty, directory.path().to_owned()].into_iter()), Some(program));
        let error = Error::NoTool { subject: "x.bin".into() };
        assert_eq!(error.to_string(), "`debugfs` is missing, which puts files into the ext4 of x.bin");
        assert!(error.hint().unwrap().contains("e2fsprogs"));
    }

    #[test]
    fn the_first_difference_has_an_offset() {
        let long = vec![1; PIECE + 5];
        let mut other = long.clone();
        other[PIECE + 3] = 2;
        assert_eq!(difference(&long[..], &long[..]).unwrap(), None);
        assert_eq!(difference(&long[..], &other[..]).unwrap(), Some(PIECE as u64 + 3));
        assert_eq!(difference(&long[..], &long[..PIECE]).unwrap(), Some(PIECE as u64));
        assert_eq!(difference(&long[..0], &long[..]).unwrap(), Some(0));
    }

    #[test]
    fn an_ext4_that_needs_its_kernel_is_refused() {
        let image = |state: u16, incompat: u8| {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut bytes = vec![0; 4096];
            bytes[512 + 1024 + 0x38..][..4].copy_from_slice(&[0x53, 0xef, state as u8, 0]);
            bytes[512 + 1024 + 0x60] = incompat;
            std::fs::write(file.path(), bytes).unwrap();
            file
        };
        let told = |file: tempfile::NamedTempFile| {
            judge(file.path(), 512, "disk.bin").err().map(|error| error.to_string())
        };
        assert_eq!(told(image(1, 0x40)), None);
        let says = |why: &str| Some(format!("disk.bin: the ext4 at byte 512 {why}"));
        assert_eq!(told(image(1, 4)), says("has changes in its journal (needs_recovery)"));
        assert_eq!(told(image(0, 0)), says("was not unmounted cleanly"));
        assert_eq!(told(image(3, 0)), says("is marked as having errors"));
        let empty = image(1, 0);
        let error = judge(empty.path(), 0, "disk.bin").unwrap_err();
        assert_eq!(error.to_string(), "disk.bin: there is no ext4 at byte 0");
    }
}
