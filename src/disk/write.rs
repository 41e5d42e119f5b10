//! A disk on the bench that shall be overwritten: whether it may be, the writing, and the reading back.
//!
//! Owns the judgement by the kernel's own lists (`/proc/self/mountinfo`, `/proc/swaps`, `/sys`), and a [`Sink`] that
//! writes a device or a file and can tell afterwards whether the disk has what was written. Leaves the question "is it
//! this one?" to `cli`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice as Access, FallocateFlags, OFlags};
use sha2::{Digest as _, Sha256 as Hasher};

use crate::base::error::{Advice, Exit};
use crate::base::size::Bytes;
use crate::format::sparse::{Sink, is_zero};

/// Bytes that are read back, or zeroed, at a time; a multiple of every sector.
const PIECE: usize = 1 << 20;
/// Alignment of memory for reads past the page cache: the largest sector that disks have.
const ALIGNMENT: usize = 4096;
/// Unit of the sizes in `/sys`, in bytes, whatever the disk's sector.
const SYS_SECTOR: u64 = 512;

/// Reasons why a disk is not written, or does not have what was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {target}")]
    Io {
        /// The refused action, as a verb.
        action: &'static str,
        /// The device or file.
        target: String,
        /// The system's error.
        source: io::Error,
    },
    /// Neither a disk nor a file.
    #[error("{target} is {kind}, and neither a disk nor a file")]
    Kind {
        /// Path of the device or file.
        target: String,
        /// Its kind, in words.
        kind: &'static str,
    },
    /// A part of a disk.
    #[error("{target} is a partition of {disk}")]
    Partition {
        /// Path of the device or file.
        target: String,
        /// The disk's path.
        disk: String,
    },
    /// The disk from which this machine runs.
    #[error("{target} is the disk that this machine runs from: {part} is mounted on {mount}")]
    System {
        /// Path of the device or file.
        target: String,
        /// The disk or partition.
        part: String,
        /// The mount point.
        mount: String,
    },
    /// A disk in use.
    #[error("{target} is in use: {part} {how}")]
    Busy {
        /// Path of the device or file.
        target: String,
        /// The disk or partition.
        part: String,
        /// The use, in words.
        how: String,
    },
    /// A disk that takes no writes.
    #[error("{target} is read-only")]
    ReadOnly {
        /// Path of the device or file.
        target: String,
    },
    /// A disk that is too small.
    #[error("{target} has {there} bytes ({}), and the image {needed} ({})", Bytes(*there), Bytes(*needed))]
    Small {
        /// Path of the device or file.
        target: String,
        /// Its length in bytes.
        there: u64,
        /// The image's length in bytes.
        needed: u64,
    },
    /// A disk whose sectors are not those of the image's partition table.
    #[error(
        "{target} has sectors of {has} bytes, and the image's partition table counts {counts}: no partition would be found"
    )]
    Sectors {
        /// Path of the device or file.
        target: String,
        /// Bytes of the disk's sectors.
        has: u64,
        /// Bytes of a sector by the table.
        counts: u64,
    },
    /// A disk that gives back other bytes than were written.
    #[error("{target} does not have what was written: {what} of the {length} bytes")]
    Differs {
        /// Path of the device or file.
        target: String,
        /// The difference, in words.
        what: String,
        /// Length of the image in bytes.
        length: u64,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Kind { .. } | Error::Partition { .. } => Exit::Usage,
            Error::Differs { .. } => Exit::Integrity,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Partition { disk, .. } => format!("name the whole disk, {disk}"),
            Error::System { .. } => "`lsblk` lists the disks; name another one".into(),
            Error::Kind { .. } => "`lsblk` lists the disks".into(),
            Error::Busy { part, how, .. } if how.starts_with("is mounted") => {
                format!("`umount {part}`, if it is the right disk")
            }
            Error::Busy { part, how, .. } if how.starts_with("is swap") => {
                format!("`swapoff {part}`, if it is the right disk")
            }
            Error::Busy { .. } => {
                "release it first, if it is the right disk; `lsblk` shows what stands on it".into()
            }
            Error::ReadOnly { .. } => "look for a switch on the card or the stick".into(),
            Error::Small { .. } => "take a larger disk".into(),
            Error::Sectors { counts, .. } => {
                format!(
                    "take a disk with sectors of {counts} bytes; some disks can be switched (`nvme format`, `hdparm`)"
                )
            }
            Error::Differs { .. } => "the disk, its cable or the reader is broken; take another one".into(),
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "whole disks need root, or membership of the group `disk`".into()
            }
            _ => return None,
        })
    }
}

/// The kernel's lists of disks and their uses.
#[derive(Clone, Debug)]
pub struct System {
    /// `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    pub mountinfo: String,
    /// `/proc/swaps`.
    pub swaps: String,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl System {
    /// Those of this machine.
    pub fn here() -> Result<Self, Error> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| Error::Io {
                action: "read",
                target: path.into(),
                source,
            })
        };
        Ok(System {
            mountinfo: read("/proc/self/mountinfo")?,
            // A kernel without swap has no such file.
            swaps: read("/proc/swaps").unwrap_or_default(),
            sys: "/sys".into(),
            dev: "/dev".into(),
        })
    }
}

/// A target that may be overwritten, in the words of which people are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path as given.
    pub path: PathBuf,
    /// Length in bytes; 0 for a file, which gets that of the image.
    pub length: u64,
    /// A disk's name in the kernel, such as `sdb`; `None` for a file.
    pub name: Option<String>,
    /// Bytes of its sectors; 0 for a file.
    pub sector: u64,
    /// A disk's maker and model.
    pub model: String,
    /// Whether its medium can be taken out.
    pub is_removable: bool,
    /// Names of its partitions.
    pub partitions: Vec<String>,
}

impl Target {
    /// Fails if a partition table that counts sectors of that many bytes means other places on this disk.
    ///
    /// # Errors
    /// The disk has other sectors.
    pub fn must_count(&self, counts: u64) -> Result<(), Error> {
        match self.sector {
            0 => Ok(()),
            has if has == counts => Ok(()),
            has => Err(Error::Sectors { target: self.path.display().to_string(), has, counts }),
        }
    }
}

/// A disk or partition of `/sys`.
struct Part {
    name: String,
    /// `major:minor`.
    number: String,
    directory: PathBuf,
}

/// Judges a path as the target of an image of `needed` bytes, before anything is written.
///
/// # Errors
/// It is no disk or file, or is a partition, mounted, swapped to, part of something, read-only or too small.
pub fn judge(path: &Path, needed: u64, system: &System) -> Result<Target, Error> {
    let target = || path.display().to_string();
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        meta => Some(meta.map_err(|source| Error::Io { action: "look at", target: target(), source })?),
    };
    let Some(meta) = meta else {
        // A new file below /dev is a mistyped name of a disk, and would fill memory.
        return match path.starts_with(&system.dev) {
            true => Err(Error::Kind { target: target(), kind: "not there" }),
            false => Ok(file(path)),
        };
    };
    let kind = meta.file_type();
    match () {
        _ if kind.is_block_device() => {
            let number = format!("{}:{}", rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
            judge_device(path, &number, needed, system)
        }
        _ if kind.is_file() => judge_file(path, &meta, system),
        _ => {
            let kind = match () {
                _ if kind.is_dir() => "a directory",
                _ if kind.is_char_device() => "a character device",
                _ => "a pipe or socket",
            };
            Err(Error::Kind { target: target(), kind })
        }
    }
}

fn file(path: &Path) -> Target {
    Target {
        path: path.into(),
        length: 0,
        sector: 0,
        name: None,
        model: String::new(),
        is_removable: false,
        partitions: Vec::new(),
    }
}

/// The loop devices: their names, and what they show. They are nobody's holders (`/sys/block/*/holders`).
fn loops(system: &System) -> Vec<(String, PathBuf)> {
    let devices = fs::read_dir(system.sys.join("block")).into_iter().flatten().flatten();
    let mut found: Vec<_> = devices
        .filter_map(|device| {
            let backing = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
            Some((device.file_name().display().to_string(), PathBuf::from(backing.trim_end_matches('\n'))))
        })
        .collect();
    found.sort();
    found
}

/// Whether a path leads to this file.
fn is_file(path: &Path, meta: &fs::Metadata) -> bool {
    fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (meta.dev(), meta.ino()))
}

/// A file must not be the disk of a loop device.
fn judge_file(path: &Path, meta: &fs::Metadata, system: &System) -> Result<Target, Error> {
    match loops(system).into_iter().find(|(_, backing)| is_file(backing, meta)) {
        Some((name, _)) => {
            let target = path.display().to_string();
            let how = format!("is what the device {name} shows");
            Err(Error::Busy { part: target.clone(), target, how })
        }
        None => Ok(file(path)),
    }
}

/// A device must not be the image that is read, nor show it or a part of it; `source` is the opened image's.
///
/// # Errors
/// It is.
pub fn judge_source(target: &Target, source: &fs::Metadata, system: &System) -> Result<(), Error> {
    let Some(name) = &target.name else { return Ok(()) };
    let is_shown = || {
        let shown = loops(system).into_iter().find(|(device, _)| device == name);
        shown.is_some_and(|(_, backing)| is_file(&backing, source))
    };
    let is_same = match source.file_type().is_block_device() {
        true => {
            let (major, minor) = (rustix::fs::major(source.rdev()), rustix::fs::minor(source.rdev()));
            is_of_disk(&format!("{major}:{minor}"), name, system)
        }
        false => is_shown(),
    };
    match is_same {
        true => {
            let target = target.path.display().to_string();
            Err(Error::Busy { part: target.clone(), target, how: "has the image that is read".into() })
        }
        false => Ok(()),
    }
}

/// Whether a device, by its number, is this disk or a partition of it.
fn is_of_disk(number: &str, disk: &str, system: &System) -> bool {
    let directory = system.sys.join("dev/block").join(number).canonicalize();
    directory.is_ok_and(|directory| {
        let is_disk = |path: &Path| path.file_name().is_some_and(|name| name == disk);
        is_disk(&directory) || directory.join("partition").exists() && directory.parent().is_some_and(is_disk)
    })
}

/// Judges a block device by its number, `major:minor`.
pub fn judge_device(path: &Path, number: &str, needed: u64, system: &System) -> Result<Target, Error> {
    let target = || path.display().to_string();
    let link = system.sys.join("dev/block").join(number);
    let directory = link.canonicalize().map_err(|source| Error::Io {
        action: "find in /sys",
        target: target(),
        source,
    })?;
    let of = |directory: &Path| Part {
        name: directory.file_name().unwrap_or_default().display().to_string(),
        number: value(directory, "dev"),
        directory: directory.to_owned(),
    };
    let device = of(&directory);
    let node = |name: &str| system.dev.join(name).display().to_string();
    if directory.join("partition").exists() {
        let disk = directory.parent().map(of).map_or_else(String::new, |disk| node(&disk.name));
        return Err(Error::Partition { target: target(), disk });
    }
    let inside = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut partitions: Vec<Part> =
        inside.filter(|path| path.join("partition").exists()).map(|path| of(&path)).collect();
    partitions.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    let loops = loops(system);
    for part in std::iter::once(&device).chain(&partitions) {
        judge_use(part, &loops, &target(), system)?;
    }
    // A loop device is no use of its file that the kernel would tell another one of.
    let own = loops.iter().find(|(name, _)| *name == device.name);
    if let Some((_, backing)) = own {
        let meta = fs::metadata(backing).ok();
        let is_same =
            |other: &Path| other == backing || meta.as_ref().is_some_and(|meta| is_file(other, meta));
        let twin = loops.iter().find(|(name, other)| *name != device.name && is_same(other));
        if let Some((twin, _)) = twin {
            let how = format!("is what {} shows, and so does the device {twin}", device.name);
            return Err(Error::Busy { target: target(), part: backing.display().to_string(), how });
        }
    }
    if value(&directory, "ro") == "1" {
        return Err(Error::ReadOnly { target: target() });
    }
    let there = value(&directory, "size").parse::<u64>().unwrap_or(0).saturating_mul(SYS_SECTOR);
    if there < needed {
        return Err(Error::Small { target: target(), there, needed });
    }
    let words = ["device/vendor", "device/model"].map(|file| value(&directory, file));
    Ok(Target {
        path: path.into(),
        length: there,
        // The kernel states it for every disk.
        sector: value(&directory, "queue/logical_block_size").parse().unwrap_or(SYS_SECTOR),
        model: words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "),
        is_removable: value(&directory, "removable") == "1",
        partitions: partitions.into_iter().map(|part| part.name).collect(),
        name: Some(device.name),
    })
}

/// A file of one line in `/sys`; empty if it is missing.
fn value(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_default().trim().to_owned()
}

/// Mount points at which the running system has what it runs from.
const OWN: [&str; 7] = ["/", "/usr", "/boot", "/boot/efi", "/efi", "/oem", "/sysroot"];

/// Refuses a disk or partition that something uses.
fn judge_use(part: &Part, loops: &[(String, PathBuf)], target: &str, system: &System) -> Result<(), Error> {
    let node = system.dev.join(&part.name).display().to_string();
    let busy = |how: String| Err(Error::Busy { target: target.into(), part: node.clone(), how });
    let mounts = mounts(&system.mountinfo, part, &node);
    if let Some(mount) = mounts.iter().find(|mount| OWN.contains(&mount.as_str())) {
        return Err(Error::System { target: target.into(), part: node, mount: mount.clone() });
    }
    if let Some(mount) = mounts.first() {
        return busy(format!("is mounted on {}", mount.escape_debug()));
    }
    // The first line is a heading; a name is escaped as in mountinfo.
    let mut swaps = system.swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    if swaps.any(|swap| is_node(&unescaped(swap), part, &node)) {
        return busy("is swap space".into());
    }
    if let Some((name, _)) =
        loops.iter().find(|(_, backing)| is_node(&backing.to_string_lossy(), part, &node))
    {
        return busy(format!("is what the device {name} shows"));
    }
    let holders = fs::read_dir(part.directory.join("holders")).into_iter().flatten().flatten();
    let mut holders: Vec<String> = holders
        .map(|holder| {
            let name = holder.file_name().display().to_string();
            let label = value(&holder.path(), "dm/name");
            if label.is_empty() { name } else { label }
        })
        .collect();
    holders.sort();
    match holders.is_empty() {
        true => Ok(()),
        false => busy(format!("is a part of {} (LVM, RAID or encryption)", holders.join(", "))),
    }
}

/// Where a disk or partition is mounted: by its number, or by its name for file systems that have numbers of their own,
/// such as btrfs.
fn mounts(mountinfo: &str, part: &Part, node: &str) -> Vec<String> {
    let of = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let (number, mount) = (fields.nth(2)?, fields.nth(1)?);
        let source = unescaped(after.split(' ').nth(1)?);
        (number == part.number || is_node(&source, part, node)).then(|| unescaped(mount))
    };
    mountinfo.lines().filter_map(of).collect()
}

/// Whether a path leads to the device, links such as `/dev/disk/by-label/ROOT` included.
fn is_node(path: &str, part: &Part, node: &str) -> bool {
    let leads = || Path::new(path).canonicalize().is_ok_and(|path| path == Path::new(node));
    path == node || (path.starts_with('/') && (path == format!("/dev/{}", part.name) || leads()))
}

/// A field of mountinfo or swaps: blanks are written as octal numbers.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// A disk or file that is being written, front to back.
pub struct Writing {
    file: File,
    target: String,
    is_device: bool,
    /// Whether the device zeroes ranges by itself, as far as is known.
    zeroes: bool,
    at: u64,
    /// Ranges of data, merged; everything between is zeros.
    data: Vec<(u64, u64)>,
    hasher: Hasher,
}

impl Writing {
    /// Opens a judged device, exclusively: the kernel refuses if it has been mounted since.
    pub fn open(target: &Target) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::EXCL.bits() as i32);
        let name = target.path.display().to_string();
        let file = options.open(&target.path).map_err(|source| match source.raw_os_error() {
            Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
                Error::Busy { target: name.clone(), part: name.clone(), how: "is held by something".into() }
            }
            _ => Error::Io { action: "open", target: name.clone(), source },
        })?;
        Ok(Writing::of(file, name, true))
    }

    /// Takes a new and empty file, which gets the target's name when all is written.
    pub fn of_file(file: File, target: &Target) -> Self {
        Writing::of(file, target.path.display().to_string(), false)
    }

    fn of(file: File, target: String, is_device: bool) -> Self {
        Writing { file, target, is_device, zeroes: true, at: 0, data: Vec::new(), hasher: Hasher::new() }
    }

    /// Ends the writing: all bytes are on the disk then.
    pub fn finish(self) -> Result<Written, Error> {
        let io = |source| Error::Io { action: "write", target: self.target.clone(), source };
        if !self.is_device {
            self.file.set_len(self.at).map_err(io)?;
        }
        self.file.sync_all().map_err(io)?;
        Ok(Written {
            file: self.file,
            target: self.target,
            is_device: self.is_device,
            length: self.at,
            data: self.data,
            sha256: self.hasher.finalize().into(),
        })
    }
}

impl Sink for Writing {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(bytes, self.at)?;
        self.hasher.update(bytes);
        let end = self.at + bytes.len() as u64;
        match self.data.last_mut() {
            Some(last) if last.1 == self.at => last.1 = end,
            _ => self.data.push((self.at, end)),
        }
        self.at = end;
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        let end = self.at.checked_add(length).ok_or(io::ErrorKind::FileTooLarge)?;
        // A new file has holes there; a disk has what it had.
        if self.is_device && length > 0 {
            let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
            self.zeroes = self.zeroes && rustix::fs::fallocate(&self.file, flags, self.at, length).is_ok();
            if !self.zeroes {
                let zeros = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
                let mut at = self.at;
                while at < end {
                    let piece = &zeros[..zeros.len().min(usize::try_from(end - at).unwrap_or(PIECE))];
                    self.file.write_all_at(piece, at)?;
                    at += piece.len() as u64;
                }
            }
        }
        self.at = end;
        Ok(())
    }
}

/// A written image, and how to find it again.
#[derive(Debug)]
pub struct Written {
    file: File,
    target: String,
    is_device: bool,
    length: u64,
    data: Vec<(u64, u64)>,
    /// Digest of the data, without the zeros between.
    sha256: [u8; 32],
}

impl Written {
    /// Length of the image in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads the whole image back, past the page cache where the kernel allows it, and compares: data by its digest,
    /// zeros byte for byte. `tick` is told the bytes that were read each time.
    pub fn verify(&self, tick: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let io = |source| Error::Io { action: "read back", target: self.target.clone(), source };
        let differs =
            |what: String| Error::Differs { target: self.target.clone(), what, length: self.length };
        let file = self.reopened().map_err(io)?;
        let mut buffer = vec![0; PIECE + ALIGNMENT];
        let skip = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let buffer = &mut buffer[skip..skip + PIECE];
        let mut hasher = Hasher::new();
        let (mut at, mut ranges) = (0, self.data.iter().copied().peekable());
        while at < self.length {
            let read = read_some(&file, buffer, at).map_err(io)?;
            let read = read.min(usize::try_from(self.length - at).unwrap_or(usize::MAX));
            if read == 0 {
                return Err(differs(format!("it ends at byte {at}")));
            }
            let end = at + read as u64;
            let mut from = at;
            while from < end {
                let next = ranges.peek().copied().unwrap_or((self.length, self.length));
                let (is_data, to) =
                    if from < next.0 { (false, next.0.min(end)) } else { (true, next.1.min(end)) };
                let piece = &buffer[(from - at) as usize..(to - at) as usize];
                match is_data {
                    true => hasher.update(piece),
                    false if is_zero(piece) => {}
                    false => {
                        let first = piece.iter().take_while(|byte| **byte == 0).count() as u64;
                        return Err(differs(format!("byte {} should be zero", from + first)));
                    }
                }
                from = to;
                if is_data && from == next.1 {
                    ranges.next();
                }
            }
            at = end;
            tick(read as u64);
        }
        match self.sha256 == <[u8; 32]>::from(hasher.finalize()) {
            true => Ok(()),
            false => Err(differs("its data has another digest, in some".into())),
        }
    }

    /// The target once more, so that reads reach the medium: with `O_DIRECT`, else with an emptied page cache.
    fn reopened(&self) -> io::Result<File> {
        // Pages that are in use stay, and are what was written.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Access::DontNeed);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        if self.is_device {
            let direct = OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(&path);
            if let Ok(file) = direct {
                return Ok(file);
            }
        }
        File::open(path)
    }
}

/// Reads up to a whole buffer; less at the end only.
fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with the disks sda (system), sdb (a stick with two partitions) and sdc (part of a RAID).
    fn machine() -> (tempfile::TempDir, System) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (disk, number, sectors) in [("sda", 0, 1000), ("sdb", 16, 2_000_000), ("sdc", 32, 9)] {
            put(&format!("sys/block/{disk}/dev"), &format!("8:{number}\n"));
            put(&format!("sys/block/{disk}/size"), &format!("{sectors}\n"));
            put(&format!("sys/block/{disk}/ro"), "0\n");
            for part in [1, 2] {
                put(&format!("sys/block/{disk}/{disk}{part}/partition"), "1\n");
                put(&format!("sys/block/{disk}/{disk}{part}/dev"), &format!("8:{}\n", number + part));
            }
        }
        put("sys/block/sdb/device/model", "Stick 3000  \n");
        put("sys/block/sdb/removable", "1\n");
        put("sys/block/sdc/sdc1/holders/md0/dev", "9:0\n");
        fs::create_dir_all(root.join("sys/dev/block")).unwrap();
        for (number, path) in
            [("8:0", "sda"), ("8:1", "sda/sda1"), ("8:16", "sdb"), ("8:17", "sdb/sdb1"), ("8:32", "sdc")]
        {
            let link = root.join("sys/dev/block").join(number);
            std::os::unix::fs::symlink(root.join("sys/block").join(path), link).unwrap();
        }
        let system = System {
            mountinfo:
                "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n23 22 0:5 / /proc rw - proc proc rw\n"
                    .into(),
            swaps: "Filename\tType\tSize\tUsed\tPriority\n".into(),
            sys: root.join("sys"),
            dev: "/dev".into(),
        };
        (directory, system)
    }

    fn told(system: &System, path: &str, number: &str, needed: u64) -> String {
        judge_device(Path::new(path), number, needed, system)
            .map(|_| String::new())
            .unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn a_free_disk_is_described() {
        let (_directory, system) = machine();
        let target = judge_device(Path::new("/dev/sdb"), "8:16", 1_024_000_000, &system).unwrap();
        assert_eq!(
            target,
            Target {
                path: "/dev/sdb".into(),
                length: 1_024_000_000,
                sector: 512,
                name: Some("sdb".into()),
                model: "Stick 3000".into(),
                is_removable: true,
                partitions: vec!["sdb1".into(), "sdb2".into()],
            }
        );
        assert_eq!(
            told(&system, "/dev/sdb", "8:16", 1_024_000_001),
            "/dev/sdb has 1024000000 bytes (976.56 MiB), and the image 1024000001 (976.56 MiB)"
        );
        assert_eq!(told(&system, "/dev/sdb1", "8:17", 1), "/dev/sdb1 is a partition of /dev/sdb");
        assert!(target.must_count(512).is_ok());
        fs::create_dir(system.sys.join("block/sdb/queue")).unwrap();
        fs::write(system.sys.join("block/sdb/queue/logical_block_size"), "4096\n").unwrap();
        let target = judge_device(Path::new("/dev/sdb"), "8:16", 1, &system).unwrap();
        assert!(target.must_count(4096).is_ok());
        assert_eq!(
            target.must_count(512).unwrap_err().to_string(),
            "/dev/sdb has sectors of 4096 bytes, and the image's partition table counts 512: no partition would be found"
        );
    }

    #[test]
    fn a_disk_in_use_is_refused() {
        let (_directory, mut system) = machine();
        assert_eq!(
            told(&system, "/dev/sda", "8:0", 1),
            "/dev/sda is the disk that this machine runs from: /dev/sda2 is mounted on /"
        );
        assert_eq!(
            told(&system, "/dev/sdc", "8:32", 1),
            "/dev/sdc is in use: /dev/sdc1 is a part of md0 (LVM, RAID or encryption)"
        );
        // A btrfs, whose number is its own.
        system.mountinfo += "30 22 0:44 / /media/a\\040b rw - btrfs /dev/sdb2 rw\n";
        assert_eq!(
            told(&system, "/dev/sdb", "8:16", 1),
            "/dev/sdb is in use: /dev/sdb2 is mounted on /media/a b"
        );
        system.mountinfo = "30 22 8:17 /x /m rw - ext4 /dev/disk/by-label/x rw\n".into();
        assert_eq!(told(&system, "/dev/sdb", "8:16", 1), "/dev/sdb is in use: /dev/sdb1 is mounted on /m");
        system.mountinfo.clear();
        system.swaps += "/dev/sdb1 partition 1 0 -2\n";
        assert_eq!(told(&system, "/dev/sdb", "8:16", 1), "/dev/sdb is in use: /dev/sdb1 is swap space");
        system.swaps.clear();
        fs::write(system.sys.join("block/sdb/ro"), "1\n").unwrap();
        assert_eq!(told(&system, "/dev/sdb", "8:16", 1), "/dev/sdb is read-only");
    }

    #[test]
    fn a_disk_that_a_loop_device_shows_is_refused() {
        let (directory, system) = machine();
        let loops = |name: &str, backing: &str| {
            let at = system.sys.join("block").join(name);
            fs::create_dir_all(at.join("loop")).unwrap();
            fs::write(at.join("loop/backing_file"), format!("{backing}\n")).unwrap();
            fs::write(at.join("size"), "1000\n").unwrap();
            let number = format!("7:{}", &name[4..]);
            fs::write(at.join("dev"), format!("{number}\n")).unwrap();
            let link = system.sys.join("dev/block").join(&number);
            let _ = std::os::unix::fs::symlink(at, link);
        };
        let of = |device: &str, number: &str| told(&system, device, number, 1);
        assert_eq!(of("/dev/sdb", "8:16"), "");
        loops("loop3", "/dev/sdb");
        assert_eq!(of("/dev/sdb", "8:16"), "/dev/sdb is in use: /dev/sdb is what the device loop3 shows");
        loops("loop3", "/dev/sdb2");
        assert_eq!(of("/dev/sdb", "8:16"), "/dev/sdb is in use: /dev/sdb2 is what the device loop3 shows");
        // Two loop devices of one file, one of them by another name.
        let (image, link) = (directory.path().join("disk.bin"), directory.path().join("link.bin"));
        fs::write(&image, "").unwrap();
        fs::hard_link(&image, &link).unwrap();
        loops("loop3", &image.display().to_string());
        assert_eq!(of("/dev/loop3", "7:3"), "");
        loops("loop4", &link.display().to_string());
        assert!(of("/dev/loop3", "7:3").ends_with("shows, and so does the device loop4"));
        assert!(of("/dev/loop4", "7:4").ends_with("shows, and so does the device loop3"));
        loops("loop4", "/dev/loop3");
        assert!(of("/dev/loop3", "7:3").ends_with("/dev/loop3 is what the device loop4 shows"));
    }

    #[test]
    fn a_device_that_has_the_image_is_refused() {
        let (directory, system) = machine();
        let [image, other] = ["disk.bin", "other.bin"].map(|name| directory.path().join(name));
        for path in [&image, &other] {
            fs::write(path, "").unwrap();
        }
        fs::create_dir_all(system.sys.join("block/loop3/loop")).unwrap();
        fs::write(system.sys.join("block/loop3/loop/backing_file"), format!("{}\n", image.display()))
            .unwrap();
        let target = Target { name: Some("loop3".into()), ..file(Path::new("/dev/loop3")) };
        let judged = |path: &Path| judge_source(&target, &fs::metadata(path).unwrap(), &system);
        let told = judged(&image).unwrap_err().to_string();
        assert_eq!(told, "/dev/loop3 is in use: /dev/loop3 has the image that is read");
        assert!(judged(&other).is_ok());
        assert!(judge_source(&file(&image), &fs::metadata(&image).unwrap(), &system).is_ok());
        assert!(is_of_disk("8:16", "sdb", &system) && is_of_disk("8:17", "sdb", &system));
        assert!(!is_of_disk("8:1", "sdb", &system) && !is_of_disk("9:9", "sdb", &system));
    }

    #[test]
    fn other_things_than_disks_and_files_are_refused() {
        let (directory, system) = machine();
        let told = |path: &str| {
            judge(Path::new(path), 1, &system).map(|_| String::new()).unwrap_or_else(|e| e.to_string())
        };
        assert_eq!(told("/"), "/ is a directory, and neither a disk nor a file");
        assert_eq!(told("/dev/null"), "/dev/null is a character device, and neither a disk nor a file");
        assert_eq!(told("/dev/sdz"), "/dev/sdz is not there, and neither a disk nor a file");
        let image = directory.path().join("disk.bin");
        fs::write(&image, "").unwrap();
        assert_eq!(told(&image.display().to_string()), "");
        fs::create_dir_all(system.sys.join("block/loop0/loop")).unwrap();
        fs::write(system.sys.join("block/loop0/loop/backing_file"), format!("{}\n", image.display()))
            .unwrap();
        assert!(told(&image.display().to_string()).ends_with("is what the device loop0 shows"));
    }

    fn written(path: &Path, is_device: bool) -> Written {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(!is_device).open(path).unwrap();
        let mut writing = Writing::of(file, "disk".into(), is_device);
        for round in 0..3_u8 {
            writing.data(&[7; 1000]).unwrap();
            writing.data(&vec![round; (1 << 20) + 5]).unwrap();
            writing.zeros(2 << 20).unwrap();
        }
        writing.data(b"end").unwrap();
        writing.zeros(4096).unwrap();
        writing.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_back_and_every_difference_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        // As a device, it has old bytes everywhere.
        fs::write(&path, vec![0xee; 12 << 20]).unwrap();
        for is_device in [true, false] {
            let written = written(&path, is_device);
            let mut read = 0;
            written.verify(&mut |bytes| read += bytes).unwrap();
            assert_eq!(read, written.length());
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let zero = 1000 + (1 << 20) + 5 + 77;
            for (at, told) in
                [(500, "digest"), (zero, "should be zero"), (written.length() - 1, "should be zero")]
            {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 1], at).unwrap();
                let error = written.verify(&mut |_| {}).unwrap_err().to_string();
                assert!(error.contains(told), "{at}: {error}");
                file.write_all_at(&byte, at).unwrap();
            }
            file.set_len(5000).unwrap();
            assert!(written.verify(&mut |_| {}).unwrap_err().to_string().contains("it ends at byte 5000"));
        }
    }
}
