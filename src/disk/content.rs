//! OEM's file system and its content as a value, one made of the other.
//!
//! Owns the way between `format::btrfs` and [`Oem`]: a file that stays is known by its path, and its bytes are streamed
//! from the old file system into the new one. Leaves the rules for the files to [`super::oem`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use crate::base::digest::Sha256;
use crate::disk::Error;
use crate::disk::oem::{Entry, Node, Oem, Source};
use crate::format::btrfs::{self, Body, File, Filesystem, Layout, Options, Property};
use crate::format::gpt::ReadAt;
use crate::format::image::{Kind, Limits};
use crate::format::sparse::Sink;
use crate::format::tree::Contents;

/// Part of step keys; raised when the same files are written in another way.
pub const REVISION: u32 = 1;

/// The partition that is read.
pub struct Old<'r> {
    read: &'r ReadAt<'r>,
    length: u64,
}

impl btrfs::Source for Old<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.length => (self.read)(offset, buffer),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// OEM of an image, as it lies there: the file system, and its content with files by their paths.
pub struct Content<'r> {
    /// The file system.
    pub filesystem: Filesystem<Old<'r>>,
    /// The content.
    pub oem: Oem<String>,
}

impl<'r> Content<'r> {
    /// Reads the partition of `length` bytes that `read` reads; `subject` is the image's name, for messages.
    ///
    /// # Errors
    /// The file system is no btrfs, is damaged, or was not unmounted.
    pub fn open(length: u64, read: &'r ReadAt<'r>, subject: &str) -> Result<Self, Error> {
        let filesystem =
            Filesystem::open(Old { read, length }, &format!("OEM of {subject}"), Limits::default())?;
        let node = |kind: &Kind, path: &str| match kind {
            Kind::Dir => Some(Node::Dir),
            Kind::Symlink(target) => Some(Node::Link(target.clone())),
            Kind::File(size) => Some(Node::File(*size, Source::Kept(path.to_owned()))),
            // Writing refuses them by name.
            Kind::Whiteout | Kind::Special => None,
        };
        let entries = filesystem
            .list()
            .filter_map(|file| Some((file.path.clone(), file.mode, node(&file.kind, &file.path)?)));
        let entries: Vec<_> = entries.collect();
        let mut kept = |path: &String| filesystem.read(path).map_err(io::Error::other);
        let oem = Oem::new(subject, length, entries, &mut kept)?;
        Ok(Content { filesystem, oem })
    }

    /// Writes a file system of the same length whose content is `new`. Files that are the same keep owner, time and
    /// attributes; all others are root's and of `epoch`, in seconds since 1970.
    ///
    /// # Errors
    /// A file cannot be kept or read; there is no room; the sink fails.
    pub fn write(&self, new: &Oem<String>, epoch: u64, out: &mut dyn Sink) -> Result<(), Error> {
        let before: BTreeMap<&str, &Entry<String>> = self.oem.iter().collect();
        let after: BTreeMap<&str, &Entry<String>> = new.iter().collect();
        let mut files = self.filesystem.files()?;
        for path in before.keys().filter(|path| !after.contains_key(*path)) {
            files.remove(path);
        }
        for (path, entry) in &after {
            if before.get(path) == Some(entry) {
                continue;
            }
            let body = match &entry.node {
                Node::Dir => Body::Dir,
                Node::Link(target) => Body::Symlink(target.clone()),
                Node::File(_, Source::Bytes(bytes)) => Body::File(Box::new(Contents::Bytes(bytes.clone()))),
                Node::File(size, Source::OnDisk(path)) => {
                    Body::File(Box::new(Contents::OnDisk { path: path.clone(), size: *size }))
                }
                // A kept file is where it was.
                Node::File(_, Source::Kept(_)) => continue,
            };
            files.insert(path, File::new(entry.mode, body))?;
        }
        let (label, seed) = (self.filesystem.label(), seed(new));
        let options = Options {
            length: new.room().length,
            label: &label,
            epoch,
            seed: &seed,
            compression: Some(Property::Zlib),
        };
        Ok(Layout::new(&files, &options)?.write(out)?)
    }
}

/// From what the UUIDs of the new file system are made: the same ones for the same content.
fn seed(oem: &Oem<String>) -> String {
    let mut text = String::new();
    for (path, entry) in oem.iter() {
        let node = match &entry.node {
            Node::Dir => "directory".to_owned(),
            Node::Link(target) => target.clone(),
            Node::File(_, Source::Bytes(bytes)) => Sha256::of(bytes).to_string(),
            Node::File(size, _) => size.to_string(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{path}\0{:o}\0{node}", entry.mode);
    }
    Sha256::of(text.as_bytes()).to_string()
}
