//! OEM's file system and its content as a value, one made of the other.
//!
//! Owns the way between `format::btrfs` and [`Oem`]: a file that stays is known by its path, and its bytes are streamed
//! from the old file system into the new one. Leaves the rules for the files to [`super::oem`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::ops::Range;

use crate::base::digest::Sha256;
use crate::disk::Error;
use crate::disk::oem::{self, Entry, Node, Oem, Source};
use crate::format::btrfs::{self, Body, File, Files, Filesystem, Layout, Options, Property};
use crate::format::gpt::ReadAt;
use crate::format::image::{Kind, Limits};
use crate::format::sparse::Sink;
use crate::format::tree::Contents;

/// Part of step keys; raised when the same files are written in another way.
pub const REVISION: u32 = 2;

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
        let mut oem = Oem::new(subject, length, entries, &mut kept)?;
        let kept = |stored: btrfs::Stored| oem::Kept { bytes: stored.bytes, packed: stored.packed };
        oem.count(filesystem.stored().map(|(path, stored)| (path.to_owned(), kept(stored))).collect());
        Ok(Content { filesystem, oem })
    }

    /// Reads the files that the record of an injection names, so that those which others have changed since are told from
    /// it.
    ///
    /// # Errors
    /// The record cannot be used; a file cannot be read.
    pub fn learn(&mut self) -> Result<(), Error> {
        let filesystem = &self.filesystem;
        self.oem
            .learn(&mut |path| Ok(Sha256::of_reader(filesystem.stream(path).map_err(io::Error::other)?)?.0))
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
                Node::File(size, Source::OnDisk(path, _)) => {
                    Body::File(Box::new(Contents::OnDisk { path: path.clone(), size: *size }))
                }
                // A kept file is where it was.
                Node::File(_, Source::Kept(_)) => continue,
            };
            files.insert(path, File::new(entry.mode, body))?;
        }
        let (label, seed) = (self.filesystem.label(), seed(&files, new)?);
        let options = Options {
            length: new.room().length,
            label: &label,
            epoch,
            seed: &seed,
            compression: Some(Property::Zlib),
        };
        let laid_out = Layout::new(&files, &options).map_err(|error| match (error, new.unpacked()) {
            (btrfs::Error::TooSmall { needed, there }, Some(why)) => {
                Error::Unpacked { subject: new.subject().to_owned(), needed, there, why }
            }
            (error, _) => error.into(),
        });
        Ok(laid_out?.write(out)?)
    }
}

/// A text of the file system in a partition of `length` bytes; `None` if it cannot be read.
pub(super) fn file_of_usr(length: u64, read: &ReadAt<'_>, path: &str) -> Option<String> {
    let filesystem = Filesystem::open(Old { read, length }, "USR-A", Limits::default()).ok()?;
    String::from_utf8(filesystem.read(path).ok()?).ok()
}

/// The words for data in a seed: those of a file of this machine are the same as when it is read back.
fn of_data(parts: &[Range<u64>], length: u64, digest: &Sha256) -> String {
    format!("{parts:?} {length} {digest}")
}

/// The parts of a file without holes.
fn whole(size: u64) -> Vec<Range<u64>> {
    std::iter::once(0..size).filter(|part| !part.is_empty()).collect()
}

/// From what the UUIDs of the new file system are made: the same ones for the same content, others for any other. Two
/// file systems with the same ones cannot be mounted at a time. Files are read for it, those of this machine by their
/// digests; holes are not.
fn seed(files: &Files<'_>, oem: &Oem<String>) -> Result<String, Error> {
    let mut text = String::new();
    for (path, file) in files.iter() {
        let known = match oem.get(path).map(|entry| &entry.node) {
            Some(Node::File(size, Source::OnDisk(_, sha256))) => Some(of_data(&whole(*size), *size, sha256)),
            _ => None,
        };
        let node = match (&file.body, known) {
            (Body::Dir, _) => "directory".to_owned(),
            (Body::Symlink(target), _) => format!("symlink to {target}"),
            (Body::Link(target), _) => format!("link to {target}"),
            (Body::File(_), Some(known)) => known,
            (Body::File(data), None) => {
                let unread = |source| btrfs::Error::Content { path: path.into(), source };
                let digest = data.read().and_then(Sha256::of_reader).map_err(unread)?.0;
                let parts: Vec<_> = data.parts().into_iter().filter(|part| !part.is_empty()).collect();
                of_data(&parts, data.length(), &digest)
            }
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{path}\0{:o}\0{node}", file.mode);
    }
    Ok(Sha256::of(text.as_bytes()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::oem::{Add, Injection};
    use crate::format::btrfs::Data;

    const LENGTH: u64 = 32 << 20;

    /// Keeps a whole file system.
    #[derive(Default)]
    struct Whole(Vec<u8>);

    impl Sink for Whole {
        fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn zeros(&mut self, length: u64) -> io::Result<()> {
            self.0.resize(self.0.len() + length as usize, 0);
            Ok(())
        }
    }

    /// A file of 200 MB, of which the first sector is data.
    struct Sparse;

    impl Data for Sparse {
        fn length(&self) -> u64 {
            200_000_000
        }

        fn parts(&self) -> Vec<Range<u64>> {
            std::iter::once(0..4096).collect()
        }

        fn read(&self) -> io::Result<Box<dyn io::Read + '_>> {
            Ok(Box::new(io::Read::take(io::repeat(7), 4096)))
        }
    }

    fn filesystem(files: &Files<'_>) -> Vec<u8> {
        let options = Options { length: LENGTH, label: "OEM", epoch: 0, seed: "stock", compression: None };
        let mut out = Whole::default();
        Layout::new(files, &options).unwrap().write(&mut out).unwrap();
        out.0
    }

    fn of_texts(texts: &[(&str, &str)]) -> Vec<u8> {
        let mut files = Files::new();
        for (path, text) in texts {
            let body = Body::File(Box::new(Contents::Bytes((*text).into())));
            files.insert(path, File::new(0o644, body)).unwrap();
        }
        filesystem(&files)
    }

    /// Shows the content of a file system.
    fn with<T>(bytes: &[u8], seen: impl FnOnce(&mut Content<'_>) -> T) -> T {
        let read = |at: u64, buffer: &mut [u8]| btrfs::Source::read_at(bytes, buffer, at);
        seen(&mut Content::open(LENGTH, &read, "x.bin").unwrap())
    }

    /// The file system with an injection, or without its own.
    fn changed(bytes: &[u8], injection: Option<&Injection>) -> Vec<u8> {
        with(bytes, |content| {
            content.learn().unwrap();
            let changed = match injection {
                Some(injection) => content.oem.inject(injection),
                None => content.oem.remove(),
            };
            let (new, findings) = changed.unwrap();
            assert_eq!(findings, Vec::<String>::new());
            let mut out = Whole::default();
            content.write(&new, 0, &mut out).unwrap();
            out.0
        })
    }

    fn fsid(bytes: &[u8]) -> [u8; 16] {
        with(bytes, |content| content.filesystem.fsid())
    }

    fn injection(directory: &std::path::Path, text: &str) -> Injection {
        let from = directory.join(text);
        std::fs::write(&from, text).unwrap();
        let (size, sha256) = (text.len() as u64, Sha256::of(text.as_bytes()));
        let add = Add { path: "opt/x".into(), mode: 0o644, from, size, sha256 };
        Injection { files: vec![add], ..Injection::default() }
    }

    #[test]
    fn other_content_of_the_same_lengths_has_other_uuids_and_the_same_has_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "two"].map(|text| injection(directory.path(), text));
        let stocks = ["aaaa", "bbbb"].map(|text| of_texts(&[("tool", text)]));
        let made = changed(&stocks[0], Some(&one));
        assert_ne!(fsid(&made), fsid(&changed(&stocks[0], Some(&other))));
        assert_ne!(fsid(&made), fsid(&changed(&stocks[1], Some(&one))));
        // Files of this machine and those of the image count alike.
        assert!(changed(&made, Some(&one)) == made);
        let back = changed(&made, None);
        assert!(changed(&back, Some(&one)) == made);
        let text = with(&back, |content| content.filesystem.read("tool").unwrap());
        assert_eq!(text, b"aaaa");
    }

    #[test]
    fn holes_and_further_names_of_a_file_take_no_room() {
        let mut files = Files::new();
        for path in ["a", "b", "c"] {
            files.insert(path, File::new(0o644, Body::File(Box::new(Sparse)))).unwrap();
        }
        let body = Body::File(Box::new(Contents::Bytes(vec![7; 1 << 20])));
        files.insert("linked", File::new(0o644, body)).unwrap();
        for number in 0..600 {
            let link = Body::Link("linked".into());
            files.insert(&format!("links/{number}"), File::new(0o644, link)).unwrap();
        }
        let stock = filesystem(&files);
        let directory = tempfile::tempdir().unwrap();
        let made = changed(&stock, Some(&injection(directory.path(), "text")));
        let back = changed(&made, None);
        for bytes in [&stock, &made, &back] {
            let room = with(bytes, |content| content.oem.room());
            assert!(room.there < 8 << 20, "{room:?}");
        }
        with(&back, |content| {
            assert_eq!(content.filesystem.list().count(), 3 + 1 + 1 + 600);
        });
    }

    #[test]
    fn a_text_of_usr_is_found_or_nothing() {
        let bytes = of_texts(&[("lib/os-release", "VERSION=4593.2.5\n")]);
        let read = |at: u64, buffer: &mut [u8]| btrfs::Source::read_at(&bytes[..], buffer, at);
        assert_eq!(file_of_usr(LENGTH, &read, "lib/os-release").as_deref(), Some("VERSION=4593.2.5\n"));
        assert_eq!(file_of_usr(LENGTH, &read, "etc/os-release"), None);
    }
}
