//! Making a bundle: the layout is settled first, so each byte is written once, in its place.
//!
//! The kernel copies; a second thread reads the copy back and checks it against the index meanwhile, so a file that
//! differs from its manifest is found before the bundle gets its name. The digests are of the bytes in the bundle, not
//! of the bytes that were in the tree a moment earlier.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::SystemTime;

use rustix::io::Errno;
use sha2::Digest as _;

use super::index::{self, Index, Member};
use super::layout::{Layout, Place};
use super::open::Bundle;
use super::signatures::Signatures;
use super::verify::tree_flaw;
use super::{Error, INDEX};
use crate::base::arch::Arch;
use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::unfinished::Unfinished;
use crate::format::tar::END;
use crate::tree::manifest::Manifest;
use crate::tree::names::CHECKSUMS;
use crate::tree::{names, open};

/// Bytes that the kernel is asked to copy in one call: large enough for few calls, small enough for the reader not to
/// wait long.
const COPIED: usize = 4 << 20;
/// Bytes between two syncs to the disk: the writer waits for the digest anyway, and little is left to sync at the end.
const SYNCED: u64 = 64 << 20;
/// Pieces that the copying may be ahead of the digest: enough to keep the digest busy while the disk writes.
const AHEAD: usize = SYNCED as usize / COPIED;
/// Bytes that are read back in one call.
const CHUNK: usize = 256 << 10;

/// The members of a bundle to be, and where their bytes are.
#[derive(Default)]
pub struct Contents {
    members: BTreeMap<String, (Member, Source)>,
    epoch: u64,
    /// Keep the trees there until the bundle is written.
    holds: Vec<open::Hold>,
}

/// Where a member's bytes are now.
enum Source {
    Here(Vec<u8>),
    File(PathBuf),
    /// In another bundle, from this byte on.
    Bundle(PathBuf, u64),
}

/// A bundle that is complete except for the signatures over [`Draft::index`].
pub struct Draft {
    index: Index,
    sources: BTreeMap<String, Source>,
    _holds: Vec<open::Hold>,
}

impl Contents {
    /// Adds a published tree, whole except for its private files, and returns its manifest.
    ///
    /// # Errors
    /// A directory that is no tree, or a second tree of the same name.
    pub(crate) fn tree(&mut self, path: &Path) -> Result<Manifest> {
        let (manifest, directory, hold) = open::of_directory(path)?;
        self.holds.push(hold);
        let file = directory.join(names::MANIFEST);
        if let Some(flaw) = index::name_flaw(&manifest.name) {
            return Err(Error::Made {
                path: file,
                reason: format!("its name cannot be used in a bundle: {flaw}"),
            }
            .into());
        }
        let place = |name: &str| format!("{}{name}", index::directory(&manifest.name));
        if self.members.contains_key(&place(names::MANIFEST)) {
            return Err(Error::Twice { tree: manifest.name }.into());
        }
        for name in [names::MANIFEST].into_iter().chain(names::BESIDE) {
            let path = directory.join(name);
            match fs::read(&path) {
                Ok(bytes) => self.here(place(name), bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(disk::Error::io("read", &path)(error).into()),
            }
        }
        for (name, file) in &manifest.files {
            let member = Member { size: file.size, sha256: file.sha256, executable: false };
            self.members.insert(place(name), (member, Source::File(directory.join(name))));
        }
        self.epoch = self.epoch.max(manifest.epoch);
        Ok(manifest)
    }

    /// Adds a binary of prebake.
    pub(crate) fn binary(&mut self, arch: Arch, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(disk::Error::io("open", path))?;
        let (sha256, size) = Sha256::of_reader(file).map_err(disk::Error::io("read", path))?;
        let member = Member { size, sha256, executable: true };
        let name = format!("{}/prebake-{arch}", index::BINARIES);
        self.members.insert(name, (member, Source::File(path.to_owned())));
        Ok(())
    }

    /// Adds a public key under this file name; it may be anybody's.
    pub fn key(&mut self, name: &str, bytes: Vec<u8>) {
        self.here(format!("{}/{name}", index::KEYS), bytes);
    }

    fn here(&mut self, path: String, bytes: Vec<u8>) {
        self.members.insert(path, (Member::of(&bytes), Source::Here(bytes)));
    }

    /// Finishes the list of members: adds a README for people and the list of digests.
    ///
    /// # Errors
    /// A member that no bundle may hold.
    pub fn finish(mut self, name: &str, sequence: u64, expires: Option<SystemTime>) -> Result<Draft, Error> {
        let members = |contents: &Contents| {
            contents.members.iter().map(|(path, (member, _))| (path.clone(), *member)).collect()
        };
        let mut index = Index {
            schema: index::SCHEMA,
            name: name.into(),
            sequence,
            epoch: self.epoch,
            expires,
            members: members(&self),
        };
        self.here(index::README.into(), readme(&index).into_bytes());
        index.members = members(&self);
        let checksums = index.checksums();
        self.here(CHECKSUMS.into(), checksums);
        index.members = members(&self);
        let index = Index::parse(name, &index.to_bytes())?;
        let sources = self.members.into_iter().map(|(path, (_, source))| (path, source)).collect();
        Ok(Draft { index, sources, _holds: self.holds })
    }
}

/// The README: all that a person needs who has only this file.
fn readme(index: &Index) -> String {
    let trees: String =
        index.trees().map(|tree| format!("    {} {}\n", tree.name, tree.build_id())).collect();
    let name = &index.name;
    format!(
        "\
The bundle `{name}`, number {sequence}: Flatcar boot artifacts for a site without a network.

It holds these trees, by name and BUILD-ID:
{trees}
With prebake (its binaries may lie below bin/):

    prebake bundle import FILE --trust KEY.pub --output DIR

Without it, this is a plain tar archive. KEY.pub is the public key that you were given in another way
than with this file; a key out of the file proves nothing.

    tar xf FILE
    minisign -Vm bundle.json -x signatures/KEYID.minisig -p KEY.pub
    grep -A 1 '\"{CHECKSUMS}\": {{' bundle.json | grep $(sha256sum < {CHECKSUMS} | cut -c -64)
    sha256sum -c --quiet {CHECKSUMS}

Each of the four must succeed: the signature covers bundle.json, bundle.json has the digest of
{CHECKSUMS}, and {CHECKSUMS} that of everything else. Then any web server and TFTP server can serve
the directories below trees/.
",
        sequence = index.sequence,
    )
}

impl Draft {
    /// The same bundle again, to be signed anew.
    pub(crate) fn of(bundle: &Bundle) -> Draft {
        let source = |path: &String| {
            let start = bundle.extent(path).map_or(0, |extent| extent.start);
            (path.clone(), Source::Bundle(bundle.path().to_owned(), start))
        };
        let sources = bundle.index().members.keys().map(source).collect();
        Draft { index: bundle.index().clone(), sources, _holds: Vec::new() }
    }

    /// The index that is to be signed.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Writes the bundle with its signatures and returns its length in bytes. It gets its name only when it is complete
    /// and on the disk.
    ///
    /// # Errors
    /// A file that differs from its manifest; a file that was at `target` before is still there.
    pub fn write(&self, signatures: &Signatures, target: &Path) -> Result<u64> {
        let files = signatures.to_files();
        let sizes: Vec<(&str, u64)> =
            files.iter().map(|(path, bytes)| (path.as_str(), bytes.len() as u64)).collect();
        let layout = Layout::new(&sizes, &self.index).ok_or_else(|| Error::Index {
            subject: target.display().to_string(),
            reason: "its members together exceed the largest possible file".into(),
        })?;
        self.check_trees()?;
        let directory = disk::directory_of(target);
        let mut temporary = Unfinished::in_directory(directory, 0o644)
            .map_err(disk::Error::io("create a file in", directory))?;
        let index = self.index.to_bytes();
        for (place, bytes) in layout.front().iter().zip(files.iter().map(|(_, bytes)| bytes).chain([&index]))
        {
            let mut write = || {
                temporary.write_all(&layout.header(place))?;
                temporary.write_all(bytes)?;
                temporary.write_all(&vec![0; (place.end() - place.data - place.size) as usize])
            };
            write().map_err(disk::Error::io("write", target))?;
        }
        let file = temporary.as_file();
        thread::scope(|scope| {
            let (written, behind) = sync_channel(AHEAD);
            let check = scope.spawn(|| self.check(&layout, file, target, behind));
            let copied = self.copy(&layout, file, target, written);
            let checked = check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A wrong file ends the copying as well, so report the wrong file.
            checked.and(copied)
        })?;
        disk::finish(temporary, target)?;
        Ok(layout.length())
    }

    fn check_trees(&self) -> Result<(), Error> {
        for tree in self.index.trees() {
            let path = format!("{}{}", index::directory(tree.name), names::MANIFEST);
            let Some(Source::Here(bytes)) = self.sources.get(&path) else { continue };
            let flaw = Manifest::parse(&path, bytes).map_or_else(
                |error| Some(error.to_string()),
                |m| tree_flaw(&self.index, tree.name, &m, bytes),
            );
            if let Some(reason) = flaw {
                return Err(Error::Made { path: path.into(), reason });
            }
        }
        Ok(())
    }

    /// Writes members in the order of the file, and reports progress: the number of a member and how many more of its
    /// bytes are written.
    fn copy(&self, layout: &Layout, mut out: &File, target: &Path, written: SyncSender<Piece>) -> Result<()> {
        let write =
            |mut out: &File, bytes: &[u8]| out.write_all(bytes).map_err(disk::Error::io("write", target));
        let mut unsynced = 0;
        for (number, place) in layout.members().iter().enumerate() {
            write(out, &layout.header(place))?;
            if place.same_as.is_some() {
                continue;
            }
            match &self.sources[&place.path] {
                Source::Here(bytes) => write(out, bytes)?,
                source => {
                    let (path, start) = match source {
                        Source::Bundle(path, start) => (path, *start),
                        Source::File(path) => (path, 0),
                        Source::Here(_) => continue,
                    };
                    let from = File::open(path).map_err(disk::Error::io("open", path))?;
                    let found = from.metadata().map_err(disk::Error::io("read", path))?.len();
                    if matches!(source, Source::File(_)) && found != place.size {
                        let reason = format!("it has {} instead of {}", counted(found, "byte"), place.size);
                        return Err(Error::Made { path: path.clone(), reason }.into());
                    }
                    let mut copier = Copier { from, start, path, target, by_hand: Vec::new() };
                    let mut done = 0;
                    // An empty file is a piece, too, since it has a digest.
                    loop {
                        let length = match place.size - done {
                            0 => 0,
                            left => copier.piece(out, done, left.min(COPIED as u64))?,
                        };
                        done += length;
                        if written.send(Piece { number, length }).is_err() {
                            return Ok(());
                        }
                        unsynced += length;
                        if unsynced >= SYNCED {
                            out.sync_data().map_err(disk::Error::io("write", target))?;
                            unsynced = 0;
                        }
                        if done == place.size {
                            break;
                        }
                    }
                }
            }
            write(out, &vec![0; (place.end() - place.data - place.size) as usize])?;
        }
        write(out, &[0; END as usize])?;
        out.flush().map_err(disk::Error::io("write", target))?;
        Ok(())
    }

    /// Reads the written bytes back, behind the writer, and checks their digests.
    fn check(&self, layout: &Layout, file: &File, target: &Path, behind: Receiver<Piece>) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        let mut hasher = sha2::Sha256::new();
        let mut done = 0;
        for Piece { number, length } in behind {
            let place = &layout.members()[number];
            let end = done + length;
            while done < end {
                let piece = &mut buffer[..CHUNK.min((end - done) as usize)];
                file.read_exact_at(piece, place.data + done).map_err(disk::Error::io("read", target))?;
                hasher.update(&piece);
                done += piece.len() as u64;
            }
            if done == place.size {
                let found = Sha256::from(<[u8; 32]>::from(hasher.finalize_reset()));
                if found != self.index.members[&place.path].sha256 {
                    return Err(self.wrong(place).into());
                }
                done = 0;
            }
        }
        Ok(())
    }

    fn wrong(&self, place: &Place) -> Error {
        match &self.sources[&place.path] {
            Source::Bundle(path, start) => Error::Damaged {
                subject: path.display().to_string(),
                flaw: super::verify::Flaw::data(&place.path, *start, place.size),
            },
            Source::File(path) => Error::Made { path: path.clone(), reason: "its content differs".into() },
            Source::Here(_) => Error::Made { path: INDEX.into(), reason: "its content differs".into() },
        }
    }
}

/// Progress of the writer: a member's number, and how many more of its bytes are written.
struct Piece {
    number: usize,
    length: u64,
}

/// Copies from one file to the end of another, in the kernel where it can.
struct Copier<'a> {
    from: File,
    start: u64,
    path: &'a Path,
    target: &'a Path,
    /// Copy buffer, allocated once the kernel has refused to copy.
    by_hand: Vec<u8>,
}

impl Copier<'_> {
    /// Copies at most `most` bytes from the position `done` bytes after the start; returns how many.
    fn piece(&mut self, mut out: &File, done: u64, most: u64) -> Result<u64> {
        let mut position = self.start + done;
        if self.by_hand.is_empty() {
            match rustix::fs::copy_file_range(&self.from, Some(&mut position), out, None, most as usize) {
                Ok(0) => return Err(self.ended()),
                Ok(length) => return Ok(length as u64),
                // Other file systems, old kernels and special files: fall back to reading and writing, where a real
                // error shows again.
                Err(
                    Errno::INTR | Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM,
                ) => {
                    self.by_hand = vec![0; CHUNK];
                }
                Err(error) => return Err(disk::Error::io("write", self.target)(error.into()).into()),
            }
        }
        let piece = &mut self.by_hand[..CHUNK.min(most as usize)];
        self.from.seek(SeekFrom::Start(position)).map_err(disk::Error::io("read", self.path))?;
        let length = self.from.read(piece).map_err(disk::Error::io("read", self.path))?;
        if length == 0 {
            return Err(self.ended());
        }
        out.write_all(&piece[..length]).map_err(disk::Error::io("write", self.target))?;
        Ok(length as u64)
    }

    fn ended(&self) -> crate::base::error::Error {
        Error::Made { path: self.path.to_owned(), reason: "it ends too early".into() }.into()
    }
}
