//! Containers of disk images: what hypervisors and clouds take, written front to back and read at any place.
//!
//! Owns the table of formats, their detection, and the containers' bytes. Writers are [`Sink`]s: they take a disk
//! while it is decoded, several at once if need be, and give the same bytes for the same disk, whatever the number of
//! threads. Readers take bytes of strangers: they have limits, and check lengths before they allocate. Leaves
//! partitions and their contents to others, and so compressed streams, but for zstd with a table of frames.
//!
//! ```text
//!                       ┌─▶ sparse::Sparse   raw
//!   decoder ─▶ Sink ────┼─▶ Writer ─▶ qcow2 · vmdk · vhd · ova · gce · seekable · vagrant
//!   open() ─▶ Disk ─────┘
//! ```

pub mod archived;
pub(crate) mod cutter;
pub mod gce;
pub(crate) mod noise;
pub(crate) mod ordered;
pub mod ova;
pub mod ovf;
pub mod pieces;
pub mod qcow2;
pub mod seekable;
pub mod vagrant;
pub mod vhd;
pub mod vmdk;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::base::error::{Advice, Exit};
use crate::format::sparse::{Sink, Sparse};
pub use pieces::Disk;
use pieces::{InPieces, Raw};

/// A format in which disk images are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// The disk itself, with holes.
    Raw,
    /// gzip, which some clouds unpack.
    RawGz,
    /// zstd in frames of 1 MiB that can be read by themselves.
    RawZst,
    /// bzip2, as Flatcar publishes images.
    RawBz2,
    /// QEMU's.
    Qcow2,
    /// VMware's, as a stream.
    Vmdk,
    /// Azure's and Hyper-V's, of fixed length.
    Vhd,
    /// VMware's with a description of the machine.
    Ova,
    /// Google's.
    GceTar,
    /// Vagrant's, for its provider libvirt.
    Box,
}

impl Format {
    /// All of them, with the name that people give and the extension of files.
    pub const ALL: [(Format, &'static str, &'static str); 10] = [
        (Format::Raw, "raw", "bin"),
        (Format::RawGz, "raw.gz", "bin.gz"),
        (Format::RawZst, "raw.zst", "bin.zst"),
        (Format::RawBz2, "raw.bz2", "bin.bz2"),
        (Format::Qcow2, "qcow2", "qcow2"),
        (Format::Vmdk, "vmdk", "vmdk"),
        (Format::Vhd, "vhd", "vhd"),
        (Format::Ova, "ova", "ova"),
        (Format::GceTar, "gce", "tar.gz"),
        (Format::Box, "box", "box"),
    ];

    /// The name that people give.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The extension of its files, without a leading dot.
    pub fn extension(self) -> &'static str {
        self.row().2
    }

    /// The format of a name.
    pub fn named(name: &str) -> Option<Format> {
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Part of step keys: changes when the bytes for the same disk do. Raw images have no form of ours; bzip2 has its
    /// own.
    pub fn revision(self) -> u32 {
        match self {
            Format::Raw | Format::RawBz2 => 0,
            Format::RawZst => seekable::REVISION,
            Format::Qcow2 => qcow2::REVISION,
            Format::Vmdk => vmdk::REVISION,
            Format::Vhd => vhd::REVISION,
            Format::Ova => ova::REVISION << 16 | vmdk::REVISION,
            Format::GceTar | Format::RawGz => gce::REVISION,
            Format::Box => vagrant::REVISION << 16 | qcow2::REVISION,
        }
    }

    fn row(self) -> (Format, &'static str, &'static str) {
        Self::ALL.into_iter().find(|row| row.0 == self).unwrap_or(Self::ALL[0])
    }
}

/// The kind of a file by its first and last bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Nothing that is known: the disk itself, or anything else.
    Raw,
    /// A qcow2 image.
    Qcow2,
    /// A VMDK with its data.
    Vmdk,
    /// A VMDK's description, whose data are in other files.
    VmdkText,
    /// A fixed VHD: the disk and a footer.
    Vhd,
    /// A dynamic or differencing VHD.
    DynamicVhd,
    /// A VHDX.
    Vhdx,
    /// A VirtualBox image.
    Vdi,
    /// A QED, QEMU's format before qcow2's third version.
    Qed,
    /// An image of Parallels.
    Parallels,
    /// An encrypted volume.
    Luks,
    /// zstd with a table of frames at its end.
    SeekableZst,
    /// Any other zstd.
    Zst,
    /// bzip2.
    Bz2,
    /// gzip, with Google's tar in it perhaps.
    Gz,
    /// xz.
    Xz,
    /// A tar archive, such as an OVA.
    Tar,
}

/// Bytes at the beginning and end of a file that [`detect`] looks at.
pub const PROBE: usize = 1024;

/// Tells what a file is by at most [`PROBE`] bytes from its beginning and from its end.
pub fn detect(head: &[u8], tail: &[u8]) -> Container {
    let heads: [(usize, &[u8], Container); 16] = [
        (0, &qcow2::MAGIC, Container::Qcow2),
        (0, b"KDMV", Container::Vmdk),
        (0, b"COWD", Container::Vmdk),
        (0, b"# Disk Descriptor", Container::VmdkText),
        (0, b"vhdxfile", Container::Vhdx),
        (0x40, &[0x7f, 0x10, 0xda, 0xbe], Container::Vdi),
        (0, b"conectix", Container::DynamicVhd),
        (0, b"QED\0", Container::Qed),
        // QEMU's block/parallels.c has both.
        (0, b"WithoutFreeSpace", Container::Parallels),
        (0, b"WithouFreSpacExt", Container::Parallels),
        (0, b"LUKS\xba\xbe", Container::Luks),
        (0, &[0x28, 0xb5, 0x2f, 0xfd], Container::Zst),
        (0, b"BZh", Container::Bz2),
        (0, &[0x1f, 0x8b], Container::Gz),
        (0, b"\xfd7zXZ\0", Container::Xz),
        (257, b"ustar", Container::Tar),
    ];
    let found =
        heads.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|head| head.starts_with(magic)));
    // The table of frames is a frame that decoders skip, and may be the only one.
    let is_skipped = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    match found.map(|(_, _, container)| *container).or(is_skipped.then_some(Container::Zst)) {
        Some(Container::Zst) if tail.ends_with(&seekable::MAGIC) => Container::SeekableZst,
        None if tail.len().checked_sub(512).is_some_and(|at| tail[at..].starts_with(b"conectix")) => {
            Container::Vhd
        }
        found => found.unwrap_or(Container::Raw),
    }
}

/// Shape of a written image. It determines the bytes, so all of it belongs into step keys.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Name of the image without extension, for the descriptions in VMDK and OVA.
    pub name: &'a str,
    /// From what the identifiers of VMDK and VHD are made: the same for the same disk.
    pub identity: [u8; 16],
    /// Of qcow2.
    pub qcow2: qcow2::Options,
    /// Level of zlib from 0 to 9, for VMDK, OVA, gzip and Google's archive.
    pub zlib: u32,
    /// Level of zstd from 1 to 22.
    pub zstd: i32,
    /// The machine in an OVA.
    pub machine: ovf::Machine<'a>,
}

impl Default for Options<'_> {
    /// A disk named `disk`, with the levels that the formats' own tools use.
    fn default() -> Self {
        Options {
            name: "disk",
            identity: [0; 16],
            qcow2: qcow2::Options::default(),
            zlib: 6,
            zstd: zstd::DEFAULT_COMPRESSION_LEVEL,
            machine: ovf::Machine::default(),
        }
    }
}

/// Reasons why an image cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be used.
    #[error("cannot read {subject}")]
    Read {
        /// Path of the image, for the message.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// The image could not be written.
    #[error("cannot write the {} image", .format.name())]
    Write {
        /// The format that was being written.
        format: Format,
        /// The system's error.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{subject} is not an intact disk image: {why}")]
    Damaged {
        /// Path of the image, for the message.
        subject: String,
        /// The problem, in words.
        why: String,
    },
    /// An image that prebake cannot read, though others may.
    #[error("{subject} is {what}, which prebake does not read")]
    Feature {
        /// Path of the image, for the message.
        subject: String,
        /// The feature, in words.
        what: String,
    },
    /// A limit was exceeded.
    #[error("{subject}: {what} exceeds the limit of {limit}")]
    Limit {
        /// Path of the image, for the message.
        subject: String,
        /// The limited quantity, in words.
        what: String,
        /// The limit's value.
        limit: u64,
    },
    /// The disk does not fit into the format.
    #[error("the disk does not fit into the format {}: {why}", .format.name())]
    Unfit {
        /// The format.
        format: Format,
        /// The problem, in words.
        why: String,
    },
}

impl Error {
    /// The error of a file that could not be read: our own one, if it is one in disguise.
    pub(crate) fn read(subject: &str, source: io::Error) -> Self {
        source
            .downcast::<Error>()
            .unwrap_or_else(|source| Error::Read { subject: subject.to_owned(), source })
    }

    /// The same for a file that could not be written.
    pub(crate) fn write(format: Format, source: io::Error) -> Self {
        source.downcast::<Error>().unwrap_or_else(|source| Error::Write { format, source })
    }
}

impl From<Error> for io::Error {
    /// Sinks and disks pass errors of the system; [`Error::read`] and [`Error::write`] take ours out again.
    fn from(error: Error) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Damaged { .. } | Error::Limit { .. } => Exit::Integrity,
            Error::Unfit { .. } => Exit::Config,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Feature { .. } => {
                Some("`qemu-img convert -O raw` may make an image that prebake reads".to_owned())
            }
            _ => None,
        }
    }
}

/// Length of a file or block device, in bytes.
pub(crate) fn length_of(file: &File) -> io::Result<u64> {
    let mut file: &File = file;
    file.seek(SeekFrom::End(0))
}

/// Opens the image `name`, whatever it is in.
///
/// # Errors
/// The file cannot be read, is damaged, exceeds a limit, or is in a container that prebake does not read at any
/// place, such as a plain compressed stream.
pub fn open(file: File, name: &str) -> Result<Box<dyn Disk>, Error> {
    let file = Arc::new(file);
    let (length, container) = probe(&file).map_err(|error| Error::read(name, error))?;
    let feature = |what: &str| Err(Error::Feature { subject: name.to_owned(), what: what.to_owned() });
    Ok(match container {
        Container::Raw => Box::new(Raw::new(file, length)),
        Container::Qcow2 => Box::new(InPieces::new(Arc::new(qcow2::Image::open(file, name)?))),
        Container::Vmdk => Box::new(InPieces::new(Arc::new(vmdk::Image::open(file, name)?))),
        Container::SeekableZst => Box::new(InPieces::new(Arc::new(seekable::Image::open(file, name)?))),
        Container::Vhd => Box::new(Raw::new(file.clone(), vhd::length(&file, length, name)?)),
        Container::VmdkText => return feature("a VMDK whose data are in other files"),
        Container::DynamicVhd => return feature("a VHD of dynamic length"),
        Container::Vhdx => return feature("a VHDX"),
        Container::Vdi => return feature("a VirtualBox disk"),
        Container::Qed => return feature("a QED"),
        Container::Parallels => return feature("a disk of Parallels"),
        Container::Luks => return feature("an encrypted volume (LUKS)"),
        Container::Zst => return feature("a zstd stream without a table of frames"),
        Container::Bz2 => return feature("a bzip2 stream"),
        Container::Gz => return feature("a gzip stream"),
        Container::Xz => return feature("an xz stream"),
        Container::Tar => {
            // A second handle: nobody else has this one.
            let file = file.try_clone().map_err(|error| Error::read(name, error))?;
            archived::open(file, name)?.1
        }
    })
}

/// A file's length and container.
fn probe(file: &File) -> io::Result<(u64, Container)> {
    let length = length_of(file)?;
    let most = length.min(PROBE as u64);
    let (mut head, mut tail) = (vec![0; most as usize], vec![0; most as usize]);
    file.read_exact_at(&mut head, 0)?;
    file.read_exact_at(&mut tail, length - most)?;
    Ok((length, detect(&head, &tail)))
}

/// A file that is written front to back, and its digest on the way if that is wanted.
#[derive(Debug)]
pub struct Out {
    file: File,
    digest: Option<Sha256>,
}

impl Out {
    /// A file whose digest is wanted.
    pub fn hashed(file: File) -> Self {
        Out { file, digest: Some(Sha256::new()) }
    }

    /// The digest of all that was written.
    pub fn finish(self) -> Option<[u8; 32]> {
        self.digest.map(|digest| digest.finalize().into())
    }
}

impl From<File> for Out {
    fn from(file: File) -> Self {
        Out { file, digest: None }
    }
}

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes.get(..written).unwrap_or_default());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The writer of any format but raw and bzip2.
enum Kind {
    Qcow2(qcow2::Writer),
    Vmdk(vmdk::Writer<Out>),
    Vhd(vhd::Writer),
    Ova(Box<ova::Writer>),
    Box(Box<vagrant::Writer>),
    GceTar(gce::Writer<Out>),
    RawGz(gce::Writer<Out>),
    RawZst(seekable::Writer<Out>),
}

/// Writes a disk image in any format but raw, for which there is [`Sparse`], and bzip2.
pub struct Writer(Kind, Format);

impl Writer {
    /// Begins an image of a disk of `length` bytes in an empty file.
    ///
    /// # Errors
    /// The format cannot hold the disk, the file cannot be written, or prebake has no such writer.
    pub fn new(
        format: Format,
        out: impl Into<Out>,
        length: u64,
        options: &Options<'_>,
        threads: NonZeroUsize,
    ) -> Result<Self, Error> {
        let out: Out = out.into();
        let kind = match format {
            Format::Raw | Format::RawBz2 => {
                return Err(Error::Unfit { format, why: "its writer is another one".to_owned() });
            }
            Format::Qcow2 => qcow2::Writer::new(out.file, length, options.qcow2, threads).map(Kind::Qcow2),
            Format::Vmdk => {
                vmdk::Writer::new(out, length, options.name, &options.identity, options.zlib, threads)
                    .map(Kind::Vmdk)
            }
            Format::Vhd => vhd::Writer::new(out.file, length, options.identity).map(Kind::Vhd),
            Format::Ova => {
                ova::Writer::new(out.file, length, options, threads).map(|writer| Kind::Ova(Box::new(writer)))
            }
            Format::Box => vagrant::Writer::new(out.file, length, options.qcow2, threads)
                .map(|writer| Kind::Box(Box::new(writer))),
            Format::GceTar => gce::Writer::new(out, length, options.zlib, threads).map(Kind::GceTar),
            Format::RawGz => gce::Writer::gzip(out, length, options.zlib, threads).map(Kind::RawGz),
            Format::RawZst => seekable::Writer::new(out, length, options.zstd, threads).map(Kind::RawZst),
        };
        kind.map(|kind| Writer(kind, format)).map_err(|error| Error::write(format, error))
    }

    /// Ends the image. The disk must be complete. Returns the file's SHA-256 if it was wanted and the file was written
    /// front to back: qcow2, VHD, OVA and boxes are not.
    ///
    /// # Errors
    /// The disk is shorter than announced, or the file cannot be written.
    pub fn finish(self) -> Result<Option<[u8; 32]>, Error> {
        let result = match self.0 {
            Kind::Qcow2(writer) => writer.finish().map(|_| None),
            Kind::Box(writer) => writer.finish().map(|()| None),
            Kind::Vhd(writer) => writer.finish().map(|()| None),
            Kind::Ova(writer) => writer.finish().map(|()| None),
            Kind::Vmdk(writer) => writer.finish().map(Out::finish),
            Kind::GceTar(writer) | Kind::RawGz(writer) => writer.finish().map(Out::finish),
            Kind::RawZst(writer) => writer.finish().map(Out::finish),
        };
        result.map_err(|error| Error::write(self.1, error))
    }

    fn sink(&mut self) -> &mut dyn Sink {
        match &mut self.0 {
            Kind::Qcow2(writer) => writer,
            Kind::Vmdk(writer) => writer,
            Kind::Vhd(writer) => writer,
            Kind::Box(writer) => &mut **writer,
            Kind::Ova(writer) => &mut **writer,
            Kind::GceTar(writer) | Kind::RawGz(writer) => writer,
            Kind::RawZst(writer) => writer,
        }
    }
}

impl Sink for Writer {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink().data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.sink().zeros(length)
    }
}

/// Writes a disk to an empty file, in any format but bzip2.
///
/// # Errors
/// Those of [`Disk::pour`] and of [`Writer`].
pub fn convert(
    disk: &dyn Disk,
    format: Format,
    out: File,
    options: &Options<'_>,
    threads: NonZeroUsize,
) -> Result<(), Error> {
    let length = disk.length();
    if format == Format::Raw {
        let write = || {
            let mut sink = Sparse::create(&out)?;
            disk.pour(0..length, threads, &mut sink)?;
            sink.finish()
        };
        return write().map(drop).map_err(|error| Error::write(format, error));
    }
    let mut writer = Writer::new(format, out, length, options, threads)?;
    disk.pour(0..length, threads, &mut writer).map_err(|error| Error::write(format, error))?;
    writer.finish().map(drop)
}

/// Refuses a disk that is shorter or longer than announced.
fn check_end(length: u64, announced: u64) -> io::Result<()> {
    if length == announced {
        return Ok(());
    }
    let why = format!("the disk ends at offset {length}, though {announced} bytes were announced");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
