//! Disk images of Flatcar: what is in them, and what of it changes for a platform, a config, sysexts and kernel
//! arguments.
//!
//! ```text
//! image, front to back ──▶ Edit ──▶ head with the new table │ … │ OEM, written anew │ … │ ROOT, grown │ tail
//!                            │ plan                                  ▲
//!                          layout (is it Flatcar?)  platform (sizes, grub.cfg)  oem (its content as a value)
//! ```
//! Owns the knowledge of Flatcar's partitions ([`layout`]), of the platforms that are made of the generic image
//! ([`platform`]), of the files on OEM and how they are taken out again ([`oem`]), of those on ROOT, the plan and the
//! stream that replace parts of an image ([`edit`]), and the judgement of a disk that shall be overwritten ([`mod@write`]).
//! Nothing is mounted, and no root is needed.
//!
//! Leaves bytes of tables, file systems and image formats to `format`, sysexts to `sysext`, configs to `ignition`, and
//! questions to people to `cli`.

pub mod content;
pub mod edit;
mod input;
pub mod layout;
pub mod look;
pub mod make;
pub mod oem;
pub mod payload;
pub mod platform;
mod root;
pub mod write;

use std::io;
use std::path::PathBuf;

use crate::base::count::counted;
use crate::base::error::{Advice, Exit};
use crate::base::finding::Findings;
use crate::base::size::Bytes;
use crate::format::{btrfs, bz2, disk, ext4, fat, gpt, tree, unpack};
use crate::sysext::extension;

/// Reasons why a disk image is not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read or written.
    #[error("cannot {action} {subject}")]
    Io {
        /// The refused action, as a verb.
        action: &'static str,
        /// Name of the image.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// The partition table is damaged, or does not take the change.
    #[error("the partition table of {subject} cannot be used")]
    Gpt {
        /// Name of the image.
        subject: String,
        /// The table's error.
        source: gpt::Error,
    },
    /// There is no partition table.
    #[error("{subject} has no partition table: {why}")]
    NoTable {
        /// Name of the image.
        subject: String,
        /// The file's kind, in words.
        why: String,
    },
    /// Somebody else's distribution.
    #[error("{subject} is not a Flatcar image: it has no USR-A; {has}")]
    NotFlatcar {
        /// Name of the image.
        subject: String,
        /// Its partitions, in words.
        has: String,
    },
    /// A Flatcar image without the partition that everything goes to.
    #[error("{subject} has no partition `OEM`; it has {has}")]
    NoOem {
        /// Name of the image.
        subject: String,
        /// Names of its partitions.
        has: String,
    },
    /// A root that is not the ext4 of a stock image.
    #[error("{subject}: ROOT is {is}, and prebake changes a plain ext4 only")]
    Root {
        /// Name of the image.
        subject: String,
        /// Its content, in words.
        is: &'static str,
    },
    /// A root that holds no file system by itself.
    #[error("{subject}: ROOT is {is}, and would not grow at boot")]
    RootGrowth {
        /// Name of the image.
        subject: String,
        /// Its content, in words.
        is: &'static str,
    },
    /// A length that no disk has.
    #[error("{subject} has {length} bytes, which is no multiple of a sector's 512")]
    Ragged {
        /// Name of the image.
        subject: String,
        /// Its length in bytes.
        length: u64,
    },
    /// ROOT cannot grow, as Flatcar's own growing at boot could not.
    #[error("{subject}: ROOT cannot grow, because the partition `{last}` lies behind it")]
    NotLast {
        /// Name of the image.
        subject: String,
        /// Name of the last partition.
        last: String,
    },
    /// A disk that has no room for the partitions.
    #[error("{subject}: a disk of {asked} bytes ({}) is too small: the layout needs {needed} ({})", Bytes(*asked), Bytes(*needed))]
    Small {
        /// Name of the image or platform.
        subject: String,
        /// The asked length in bytes.
        asked: u64,
        /// The least length in bytes.
        needed: u64,
    },
    /// A length that a platform refuses.
    #[error("{platform} takes {rule}, and the image has {length} bytes ({})", Bytes(*length))]
    Size {
        /// Id of the platform.
        platform: &'static str,
        /// Its rule, in words and numbers.
        rule: String,
        /// The image's length in bytes.
        length: u64,
        /// The way out, where there is one.
        way_out: Option<String>,
    },
    /// The content does not fit on OEM. All numbers in bytes.
    #[error("{subject}: OEM ({} bytes, {}) has no room: {} there{}, {} asked ({largest}), {} must stay free{}; {} too many", length, Bytes(*length), there, there_why, asked, reserve, reserve_why, missing)]
    Room {
        /// Name of the image.
        subject: String,
        /// Length of the partition.
        length: u64,
        /// Content that stays, with the file system's own tables.
        there: u64,
        /// The reason for so much, in words, with a blank before it.
        there_why: String,
        /// Content that is to be added.
        asked: u64,
        /// The largest asked files, in words.
        largest: String,
        /// Room that must stay free.
        reserve: u64,
        /// The reason for that, in words, with a blank before it.
        reserve_why: String,
        /// Bytes by which it is too much.
        missing: u64,
    },
    /// Files that were compressed do not fit on OEM unpacked. All numbers in bytes.
    #[error("{subject}: OEM would need {needed} bytes ({}) and has {there}: {why}", Bytes(*needed))]
    Unpacked {
        /// Name of the image.
        subject: String,
        /// Least length of the partition.
        needed: u64,
        /// Length of the partition.
        there: u64,
        /// The reason, in words.
        why: String,
    },
    /// The content does not fit into ROOT's file system. All numbers in bytes.
    #[error("{subject}: ROOT's file system ({length} bytes, {}) has no room: {free} free, {asked} asked ({largest}), {reserve} must stay free for root; {missing} too many", Bytes(*length))]
    RootRoom {
        /// Name of the image.
        subject: String,
        /// Length of the file system, which grows at the first boot only.
        length: u64,
        /// Bytes that nothing has.
        free: u64,
        /// Bytes that are to be added.
        asked: u64,
        /// The largest asked files, in words.
        largest: String,
        /// Bytes that ext4 keeps for root.
        reserve: u64,
        /// Bytes by which it is too much.
        missing: u64,
    },
    /// A file that is there and is not prebake's.
    #[error("{subject}: {partition} has a `{path}` that prebake did not put there")]
    Taken {
        /// Name of the image.
        subject: String,
        /// OEM or ROOT.
        partition: &'static str,
        /// Path on it.
        path: String,
    },
    /// A file that is there, and cannot be changed by some lines.
    #[error("{subject}: `{path}` on OEM cannot be changed: {why}")]
    Fixed {
        /// Name of the image.
        subject: String,
        /// Path on OEM.
        path: String,
        /// The reason, in words.
        why: &'static str,
    },
    /// An image of another platform.
    #[error("{subject} is an image for {has}, and cannot become one for {asked}")]
    OtherPlatform {
        /// Name of the image.
        subject: String,
        /// The OEM id that it has.
        has: String,
        /// The asked one.
        asked: String,
    },
    /// An injection in the place of one that made a generic image one of a platform.
    #[error("{subject} became an image for {has} by its earlier injection, which this one replaces")]
    LosesPlatform {
        /// Name of the image.
        subject: String,
        /// The platform's id.
        has: String,
    },
    /// Files for machines of different architectures.
    #[error("{} is for {is}, and {} for {other_is}", path.display(), other.display())]
    Arch {
        /// Path of a sysext.
        path: PathBuf,
        /// Its architecture, as systemd spells it.
        is: String,
        /// Path of another one.
        other: PathBuf,
        /// Its architecture.
        other_is: String,
    },
    /// An OEM extension whose next version no update server has.
    #[error("`active-oem-{id}` would let every update fail: no update server has an oem-{id}.gz")]
    NoPayload {
        /// The OEM id.
        id: String,
    },
    /// An image without an injection.
    #[error("{subject} holds nothing that prebake put there")]
    NotInjected {
        /// Name of the image.
        subject: String,
    },
    /// The record of the injection is damaged, or of a newer prebake.
    #[error("{subject}: {} on OEM, the record of the injection, cannot be used: {why}", oem::RECORD)]
    Record {
        /// Name of the image.
        subject: String,
        /// The problem, in words.
        why: String,
    },
    /// A kernel argument that GRUB would pass on changed.
    #[error("the kernel argument `{argument}` cannot go through OEM's grub.cfg: {why}")]
    Argument {
        /// The argument.
        argument: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// A kernel argument that GRUB makes of OEM's own files.
    #[error("the kernel argument `{argument}` would contradict OEM, whose grub.cfg names the platform")]
    NamesPlatform {
        /// The argument.
        argument: String,
    },
    /// A file that is given as an archive of container images, and is none.
    #[error("{} is no archive of container images: it is neither tar nor gzip nor zstd", path.display())]
    NoArchive {
        /// Path of the file.
        path: PathBuf,
    },
    /// A path that cannot be on OEM.
    #[error("`{path}` is not a path on OEM: {why}")]
    Path {
        /// Path on OEM.
        path: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The image ends before its last partition does.
    #[error("{subject} is truncated: it ends at byte {end}, {} before its end at byte {length}", counted(length - end, "byte"))]
    Truncated {
        /// Name of the image.
        subject: String,
        /// Bytes that came.
        end: u64,
        /// The length by its table.
        length: u64,
    },
    /// There are bytes where the disk ended by its table.
    #[error("{subject} goes on at byte {at}, though the disk ends there by its partition table")]
    Beyond {
        /// Name of the image.
        subject: String,
        /// The end by the table.
        at: u64,
    },
    /// The new content of a partition has another length than the partition.
    #[error("{subject}: the new content of `{name}` has {written} bytes, and the partition {length}")]
    Length {
        /// Name of the image.
        subject: String,
        /// The partition's name.
        name: String,
        /// Bytes written.
        written: u64,
        /// Length of the partition.
        length: u64,
    },
    /// A directory.
    #[error("{subject} is a directory, and no disk image")]
    Directory {
        /// Name of the image.
        subject: String,
    },
    /// Files that are longer than allowed.
    #[error("{subject}: the files to be copied have {total} bytes ({}), more than the limit of {limit}", Bytes(*total))]
    Long {
        /// Name of the image.
        subject: String,
        /// Their length in bytes.
        total: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Packed more than once.
    #[error("{subject} unpacks to a {packing} file, and prebake unpacks once")]
    Packed {
        /// Name of the image.
        subject: String,
        /// The inner packing.
        packing: &'static str,
    },
    /// An OEM extension of another platform.
    #[error("{} is the extension `{name}`, and `{expected}` is needed", path.display())]
    Extension {
        /// Path of the extension.
        path: PathBuf,
        /// Its name, by its release file.
        name: String,
        /// The needed name.
        expected: String,
    },
    /// A sysext that shall be put on OEM.
    #[error(transparent)]
    Sysext(#[from] extension::Error),
    /// Files that shall be put on OEM.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// An invalid layer of Ignition.
    #[error(transparent)]
    Findings(#[from] Findings),
    /// The image's container, or that of the output.
    #[error(transparent)]
    Form(#[from] disk::Error),
    /// The image's packing.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// OEM's file system.
    #[error(transparent)]
    Oem(btrfs::Error),
    /// ROOT's file system.
    #[error(transparent)]
    Ext4(#[from] ext4::Error),
    /// The file system of the EFI system partition.
    #[error(transparent)]
    Fat(#[from] fat::Error),
    /// The disk that shall be overwritten.
    #[error(transparent)]
    Target(#[from] write::Error),
}

impl Error {
    /// Wraps an I/O error; for `map_err`.
    pub(crate) fn io(action: &'static str, subject: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let subject = subject.to_owned();
        move |source| Error::Io { action, subject, source }
    }

    /// Wraps a table's error; for `map_err`.
    pub(crate) fn gpt(subject: &str) -> impl FnOnce(gpt::Error) -> Self + use<> {
        let subject = subject.to_owned();
        move |source| match source {
            gpt::Error::Short { asked, needed, .. } => Error::Small { subject, asked, needed },
            gpt::Error::Read(source) => Error::Io { action: "read", subject, source },
            source => Error::Gpt { subject, source },
        }
    }

    /// The error inside of an I/O error that a sink returned; any other stays what it is.
    pub fn of_sink(error: io::Error, action: &'static str, subject: &str) -> Self {
        let io = |source| Error::Io { action, subject: subject.to_owned(), source };
        let error = match error.downcast::<Error>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        match error.downcast::<disk::Error>() {
            Ok(error) => Error::Form(error),
            Err(error) => error.downcast::<btrfs::Error>().map_or_else(io, Error::Oem),
        }
    }

    /// The error of an unpacking, or that of its sink, whose name is `target`.
    pub(crate) fn of_unpack(error: unpack::Error, target: &str) -> Self {
        match error {
            unpack::Error::Write { source, .. } | unpack::Error::Bzip2(bz2::Error::Write { source, .. }) => {
                Error::of_sink(source, "write", target)
            }
            error => Error::Unpack(error),
        }
    }
}

impl From<btrfs::Error> for Error {
    /// An error that its sink returned comes out as itself.
    fn from(error: btrfs::Error) -> Self {
        match error {
            btrfs::Error::Write(source) => match source.downcast::<Error>() {
                Ok(error) => error,
                Err(source) => Error::Oem(btrfs::Error::Write(source)),
            },
            error => Error::Oem(error),
        }
    }
}

impl From<Error> for io::Error {
    /// On its way through a sink; [`Error::of_sink`] takes it out again.
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Sysext(error) => Some(error),
            Error::Tree(error) => Some(error),
            Error::Findings(error) => Some(error),
            Error::Form(error) => Some(error),
            Error::Unpack(error) => Some(error),
            Error::Oem(error) => Some(error),
            Error::Ext4(error) => Some(error),
            Error::Target(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            _ if self.inner().is_some() => self.inner_exit(),
            Error::Directory { .. } => Exit::Usage,
            Error::Io { .. } | Error::NotInjected { .. } => Exit::Failed,
            Error::Size { .. }
            | Error::Small { .. }
            | Error::Room { .. }
            | Error::Unpacked { .. }
            | Error::RootRoom { .. }
            | Error::Argument { .. }
            | Error::NamesPlatform { .. }
            | Error::NoArchive { .. }
            | Error::Extension { .. }
            | Error::Path { .. }
            | Error::NoPayload { .. }
            | Error::OtherPlatform { .. }
            | Error::Fixed { .. }
            | Error::LosesPlatform { .. }
            | Error::Arch { .. }
            | Error::Taken { .. } => Exit::Config,
            _ => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            _ if self.inner().is_some() => return self.inner_hint(),
            Error::Extension { expected, .. } => {
                format!("fetch {expected}.raw, as published beside the image")
            }
            Error::Directory { .. } => "name a disk image in it".into(),
            Error::Long { .. } => "raise it with --limit, if the image is trusted".into(),
            Error::Packed { .. } => "unpack it once by hand".into(),
            Error::NoTable { .. } | Error::NotFlatcar { .. } | Error::NoOem { .. } => {
                "name a disk image of Flatcar, such as flatcar_production_image.bin.bz2".into()
            }
            Error::Gpt { .. } | Error::Truncated { .. } | Error::Ragged { .. } | Error::Beyond { .. } => {
                "fetch the image again; `sgdisk -v` tells more of an unpacked one".into()
            }
            Error::Small { needed, .. } => format!("ask for {needed} bytes or more, or leave the size out"),
            Error::Size { way_out, .. } => return way_out.clone(),
            Error::Room { .. } => {
                "put sysexts and images on ROOT with --on-root (on_root: true in a recipe), leave some out, or let Ignition \
                 fetch them"
                    .into()
            }
            Error::Unpacked { .. } => {
                "take compressed files out of OEM on a machine, or begin with the published image".into()
            }
            Error::RootRoom { .. } => {
                "leave sysexts or images out, or let Ignition fetch them: ROOT grows at the first boot only".into()
            }
            Error::Argument { why, .. } if why.contains("blank") => {
                "give --kernel-arg twice, once for each argument".into()
            }
            Error::NamesPlatform { .. } => {
                "make a generic image one for a platform with --platform ID and --extension oem-ID.raw".into()
            }
            Error::NoArchive { .. } => "write one with `podman save` or `skopeo copy`; --file takes any file".into(),
            Error::Path { path, why } if why.contains("absolute") => {
                format!("write {path} with an Ignition config, or name a path on OEM, such as {}", path.trim_start_matches('/'))
            }
            Error::Taken { path, .. } => format!("choose another name than {path}, or take the file out first"),
            Error::Fixed { path, .. } => format!("write {path} anew, or begin with the published image"),
            Error::OtherPlatform { .. } => "begin with the generic image, flatcar_production_image.bin.bz2".into(),
            Error::LosesPlatform { has, .. } => {
                format!("name it again, --platform {has}, or take the earlier injection out first: `prebake disk remove`")
            }
            Error::Arch { .. } => "take all of them for the architecture of the image".into(),
            Error::NoPayload { .. } => "add it as an ordinary sysext, which updates leave alone".into(),
            Error::NotInjected { .. } => "`prebake disk inspect` lists what is there".into(),
            Error::Record { .. } => "begin with the published image again".into(),
            Error::Root { .. } => "begin with the published image: its ROOT is a plain ext4".into(),
            Error::NotLast { .. } | Error::RootGrowth { .. } => "leave the size out, or begin with the published image".into(),
            _ => return None,
        })
    }
}
