//! Squashfs 4.0 images with zstd, which every Flatcar kernel since the LTS 4081 mounts.
//!
//! Owns the bytes of the image: block size, level, order, owners, times. Leaves the contents to `sysext`. Writing and
//! reading stand on `backhand`, which keeps the blocks of a file and the tables of all files in memory, nothing else.
//! Compression is single-threaded.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek};
use std::path::Path;

use backhand::compression::{CompressionOptions, Compressor, Zstd};
use backhand::{
    BackhandError, FilesystemCompressor, FilesystemReader, FilesystemWriter, InnerNode, NodeHeader,
};

use crate::error::{Advice, Exit};
use crate::format::tree::{Content, EXECUTABLE, Tree};

/// Enters step keys; raised when the bytes for the same tree change.
pub const REVISION: u32 = 1;

/// Why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Squashfs has 32 bits for a time.
    #[error("the time {0} does not fit into a squashfs image, which ends in 2106")]
    Epoch(u64),
    /// A file could not be read or the image not be written.
    #[error("cannot write the squashfs image")]
    Write(#[source] io::Error),
    /// The image file could not be used.
    #[error("cannot read {subject}")]
    Read {
        /// The image.
        subject: String,
        /// What the system says.
        source: io::Error,
    },
    /// Not a squashfs image, a damaged one, or one with a compression that is not built in.
    #[error("{subject} is not an intact squashfs image")]
    Damaged {
        /// The image.
        subject: String,
        /// What is wrong.
        source: io::Error,
    },
    /// Not a squashfs image at all, or its superblock promises what cannot be.
    #[error("{subject} is not a squashfs image: {why}")]
    Foreign {
        /// The image.
        subject: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A limit of [`Limits`].
    #[error("{subject}: {what} exceeds the limit of {limit}")]
    Limit {
        /// The image.
        subject: String,
        /// What is too much.
        what: String,
        /// How much is allowed.
        limit: u64,
    },
    /// No regular file of that name.
    #[error("{subject} has no file `{path}`")]
    NoFile {
        /// The image.
        subject: String,
        /// Inside the image.
        path: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Damaged { .. } | Error::Foreign { .. } | Error::Limit { .. } => Exit::Integrity,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Error::Epoch(_)).then(|| "check SOURCE_DATE_EPOCH".into())
    }
}

/// The reason in words. The crate's own texts are a feature that would bring a tracing framework along.
fn reason(error: BackhandError) -> io::Error {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    match error {
        BackhandError::StdIo(error) => error,
        BackhandError::UnsupportedCompression(_) => {
            invalid("it is compressed with neither zstd, gzip nor xz".into())
        }
        BackhandError::UnsupportedSquashfsVersion(major, minor) => {
            invalid(format!("it has version {major}.{minor} of the format; 4.0 is read"))
        }
        BackhandError::Deku(error) => invalid(error.to_string()),
        _ => invalid("its tables do not fit together".into()),
    }
}

/// Bytes of uncompressed data that are compressed as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockSize {
    /// 128 KiB, the default of mksquashfs.
    #[default]
    Kib128,
    /// 256 KiB.
    Kib256,
    /// 512 KiB, as Flatcar's own sysexts.
    Kib512,
    /// 1 MiB, the most that squashfs allows.
    Mib1,
}

impl BlockSize {
    /// In bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            BlockSize::Kib128 => 128 << 10,
            BlockSize::Kib256 => 256 << 10,
            BlockSize::Kib512 => 512 << 10,
            BlockSize::Mib1 => 1 << 20,
        }
    }
}

/// A zstd level from 1 to 22.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// 1, for what hardly compresses.
    pub const LEAST: Level = Level(1);

    /// A level, unless zstd has no such.
    pub const fn new(level: u8) -> Option<Self> {
        if matches!(level, 1..=22) { Some(Level(level)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Level {
    /// 15, the default of mksquashfs.
    fn default() -> Self {
        Level(15)
    }
}

/// What an image is made with. All of it is in the bytes, so all of it belongs into a step key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Block size.
    pub block: BlockSize,
    /// Compression level.
    pub level: Level,
}

/// Writes a tree as an image over `out`, which is truncated, and returns its length, a multiple of 4096.
///
/// Entries are in path order; owner 0:0; no xattrs; every time, the file system's own too, is `epoch` (seconds since
/// 1970), but the root directory's, which the crate leaves at 0; its mode is 0755. Files are streamed; equal files of
/// a block and more are stored once.
pub fn write(tree: &Tree, epoch: u64, options: Options, out: &mut File) -> Result<u64, Error> {
    let mtime = u32::try_from(epoch).map_err(|_| Error::Epoch(epoch))?;
    let level = Zstd { compression_level: options.level.0.into() };
    let compressor = FilesystemCompressor::new(Compressor::Zstd, Some(CompressionOptions::Zstd(level)));
    let failed = |error| Error::Write(reason(error));
    let mut image = FilesystemWriter::default();
    image.set_compressor(compressor.map_err(failed)?);
    image.set_block_size(options.block.bytes());
    image.set_time(mtime);
    image.set_only_root_id();
    image.set_root_mode(EXECUTABLE);
    for (path, entry) in tree.iter() {
        let header = NodeHeader::new(entry.mode, 0, 0, mtime);
        match &entry.content {
            Content::Dir => image.push_dir(path, header),
            Content::File(contents) => image.push_file(contents.reader(), path, header),
            Content::Symlink(target) => image.push_symlink(target, path, header),
        }
        .map_err(failed)?;
    }
    out.set_len(0).and_then(|()| out.rewind()).map_err(Error::Write)?;
    let (_, length) = image.write(BufWriter::with_capacity(1 << 20, &*out)).map_err(failed)?;
    // A duplicate is written, recognised and written over: the last one may have left a tail behind.
    out.set_len(length).map_err(Error::Write)?;
    Ok(length)
}

/// How much of a foreign image is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most inodes.
    pub inodes: u32,
    /// Longest file that [`Image::read`] gives, in bytes.
    pub file: u64,
}

impl Default for Limits {
    /// A million inodes, 16 MiB for a file that is read as a whole.
    fn default() -> Self {
        Limits { inodes: 1_000_000, file: 16 << 20 }
    }
}

/// What a listed entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file of so many bytes.
    File(u64),
    /// A symlink and its target.
    Symlink(String),
    /// Device, socket or pipe, none of which prebake ever writes.
    Special,
}

/// One entry of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Without a leading slash. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Permission bits.
    pub mode: u16,
    /// Owner's user number.
    pub uid: u32,
    /// Owner's group number.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// What it is.
    pub kind: Kind,
}

/// An image that is read.
pub struct Image {
    subject: String,
    limits: Limits,
    reader: FilesystemReader<'static>,
}

impl Image {
    /// Opens an image and reads its tables.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, Error> {
        let subject = path.display().to_string();
        let failed = |source| Error::Read { subject: subject.clone(), source };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut superblock = Vec::new();
        (&mut file).take(SUPERBLOCK).read_to_end(&mut superblock).map_err(failed)?;
        file.rewind().map_err(failed)?;
        check_superblock(&subject, &superblock, length, limits)?;
        let reader = FilesystemReader::from_reader(BufReader::new(file))
            .map_err(|error| Error::Damaged { subject: subject.clone(), source: reason(error) })?;
        Ok(Image { subject, limits, reader })
    }

    /// Seconds since 1970 at which the image says it was made.
    pub fn time(&self) -> u32 {
        self.reader.mod_time
    }

    /// All entries but the root, sorted by path.
    pub fn list(&self) -> impl Iterator<Item = Listed> {
        self.reader.files().skip(1).map(|node| Listed {
            path: inside(&node.fullpath),
            mode: node.header.permissions & 0o7777,
            uid: node.header.uid,
            gid: node.header.gid,
            mtime: node.header.mtime,
            kind: match &node.inner {
                InnerNode::Dir(_) => Kind::Dir,
                InnerNode::File(file) => Kind::File(file.file_len() as u64),
                InnerNode::Symlink(link) => Kind::Symlink(link.link.to_string_lossy().into_owned()),
                _ => Kind::Special,
            },
        })
    }

    /// The bytes of one file, named without a leading slash.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let file = self.reader.files().find_map(|node| match &node.inner {
            InnerNode::File(file) if inside(&node.fullpath) == path => Some(file),
            _ => None,
        });
        let Some(file) = file else {
            return Err(Error::NoFile { subject: self.subject.clone(), path: path.into() });
        };
        let limit = self.limits.file;
        if file.file_len() as u64 > limit {
            return Err(Error::Limit {
                subject: self.subject.clone(),
                what: format!("the length of `{path}`"),
                limit,
            });
        }
        let damaged = |source| Error::Damaged { subject: self.subject.clone(), source };
        let mut bytes = Vec::new();
        let reader = self.reader.file(file).reader_checked().map_err(|error| damaged(reason(error)))?;
        reader.take(limit).read_to_end(&mut bytes).map_err(damaged)?;
        Ok(bytes)
    }
}

fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// Bytes of the superblock.
const SUPERBLOCK: u64 = 96;

/// Looks at the promises of a superblock before anything is allocated by them.
fn check_superblock(subject: &str, bytes: &[u8], length: u64, limits: Limits) -> Result<(), Error> {
    let foreign = |why| Error::Foreign { subject: subject.into(), why };
    if (bytes.len() as u64) < SUPERBLOCK || !bytes.starts_with(b"hsqs") {
        return Err(foreign("its first bytes are others"));
    }
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let inodes = u32_at(4);
    let used = u64::from(u32_at(40)) | u64::from(u32_at(44)) << 32;
    if used > length {
        return Err(foreign("it is cut off"));
    }
    if inodes > limits.inodes {
        let limit = limits.inodes.into();
        return Err(Error::Limit {
            subject: subject.into(),
            what: format!("the number of {inodes} inodes"),
            limit,
        });
    }
    Ok(())
}
