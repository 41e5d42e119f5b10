//! Initrds as the kernel takes them: cpio archives one after the other, each plain or compressed, with zeros between.
//!
//! ```text
//! base, as released      4–7 zeros   overlay            seal
//! ├──────────────────────┼───────────┼──────────────────┤
//! gzip, xz, zstd, plain …            plain cpio         plain cpio with one record: length and SHA-256 of the base
//! ```
//! Owns how archives are joined and found again, and the places in an overlay where Flatcar looks. A base is never changed, and
//! none of its unpacked files is kept. The order is the kernel's rule: a later file wins (`init/initramfs.c`,
//! `unpack_to_rootfs`).
//!
//! Leaves the bytes of one archive to `format::cpio`, and initrds inside of published trees to `tree::inject`.

pub mod extract;
mod foreign;
pub mod inject;
pub(crate) mod overlay;
pub mod seal;
pub mod segments;
pub mod show;

use std::io;
use std::path::PathBuf;

use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::base::finding::Findings;
use crate::format::cpio::{self, Compression};
use crate::format::tree;
use crate::sysext::extension;

/// Reasons why an initrd cannot be read, made or taken apart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is not an initrd at all.
    #[error("{subject} is not an initrd: {why}")]
    Foreign {
        /// Path of the file.
        subject: String,
        /// The kind of file that its beginning shows.
        why: String,
        /// The way out, where known.
        way_out: Option<&'static str>,
    },
    /// Bytes at which the kernel stops: it continues to boot without the rest of the file.
    #[error("{subject}: the kernel ignores everything from byte {offset} on: {why}")]
    Lost {
        /// Path of the file.
        subject: String,
        /// Offset in the file.
        offset: u64,
        /// The rule that is broken.
        why: String,
        /// The way out, where known.
        way_out: Option<&'static str>,
    },
    /// A base after which the kernel would not find an overlay.
    #[error("anything injected into {subject} would be lost: the kernel stops before it")]
    Unreached {
        /// Path of the base.
        subject: String,
        /// Why the kernel stops.
        source: Box<Error>,
    },
    /// A compressed archive that does not unpack.
    #[error("{subject}: the {} archive at byte {offset} is damaged", compression.name())]
    Damaged {
        /// Path of the file.
        subject: String,
        /// Offset in the file.
        offset: u64,
        /// Compression of the archive.
        compression: Compression,
        /// The decompressor's error.
        source: io::Error,
    },
    /// A compression that prebake can name but not unpack.
    #[error("{subject}: the archive at byte {offset} is compressed with {}, which prebake cannot unpack", compression.name())]
    Unreadable {
        /// Path of the file.
        subject: String,
        /// Offset in the file.
        offset: u64,
        /// Compression of the archive.
        compression: Compression,
    },
    /// One archive is damaged, or its names exceed a limit.
    #[error(transparent)]
    Cpio(#[from] cpio::Error),
    /// A file without an injection by prebake.
    #[error("{} does not end with an injection of prebake", path.display())]
    NoInjection {
        /// Path of the file.
        path: PathBuf,
    },
    /// An injected file to which something was appended.
    #[error("{}: {} {} appended after the injection, which ends at byte {end}", path.display(), counted(*after, "byte"), if *after == 1 { "was" } else { "were" })]
    Buried {
        /// Path of the file.
        path: PathBuf,
        /// Offset of the injection's end.
        end: u64,
        /// Bytes after that.
        after: u64,
    },
    /// The seal records another base than the file begins with.
    #[error("{}: the base was changed after the injection: it has SHA-256 {found} instead of {recorded}", path.display())]
    BaseChanged {
        /// Path of the file.
        path: PathBuf,
        /// Digest of the base as it is.
        found: Sha256,
        /// Digest of the base that the seal records.
        recorded: Sha256,
    },
    /// The lengths in the seal do not add up to the file's length.
    #[error("{}: the file has {size} bytes, but its record states {recorded}", path.display())]
    Lengths {
        /// Path of the file.
        path: PathBuf,
        /// Length by the seal, in bytes.
        recorded: u64,
        /// Length of the file, in bytes.
        size: u64,
    },
    /// A directory that is no published tree.
    #[error("{} is a directory, and neither an initrd nor a published tree", path.display())]
    Directory {
        /// Path of the directory.
        path: PathBuf,
    },
    /// A file that is not a published tree, though a profile was given.
    #[error("{} is not a published tree, and only those have profiles", path.display())]
    NoTree {
        /// Path of the file.
        path: PathBuf,
    },
    /// A tree that does not have the boot to inject into.
    #[error("{} has no {boot} that carries an overlay", tree.display())]
    NoBoot {
        /// Path of the tree.
        tree: PathBuf,
        /// The boot that was asked for.
        boot: String,
        /// Whether its machines fetch their config instead.
        is_fetched: bool,
        /// The profiles that have overlays.
        known: Vec<String>,
    },
    /// A boot whose overlay, or what is in it, is also in another file.
    #[error("{}: the overlay of the profile `{profile}` is also in {file}", tree.display())]
    Unified {
        /// Path of the tree.
        tree: PathBuf,
        /// Id of the profile.
        profile: String,
        /// The kind of that file, in words.
        file: &'static str,
    },
    /// A tree that was moved away from where it was published.
    #[error("{} is not in a directory where a build publishes", path.display())]
    Elsewhere {
        /// Path of the tree.
        path: PathBuf,
    },
    /// The output exists already.
    #[error("{} exists", path.display())]
    Exists {
        /// Path of the output.
        path: PathBuf,
    },
    /// A member that must not be written to a disk.
    #[error("{subject} has the member `{member}`: {why}")]
    Unsafe {
        /// Path of the file.
        subject: String,
        /// Name of the member.
        member: String,
        /// Why it must not be written.
        why: &'static str,
    },
    /// A file that cannot go into an overlay.
    #[error("{}: {why}", path.display())]
    Unfit {
        /// Path of the file.
        path: PathBuf,
        /// Why it cannot.
        why: String,
    },
    /// A file that should be a sysext and is not.
    #[error(transparent)]
    Sysext(#[from] extension::Error),
    /// Two files for one path in the overlay.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// An Ignition layer is invalid.
    #[error(transparent)]
    Findings(#[from] Findings),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] disk::Error),
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Cpio(error) => Some(error),
            Error::Tree(error) => Some(error),
            Error::Sysext(error) => Some(error),
            Error::Io(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Cpio(_) | Error::Tree(_) | Error::Sysext(_) | Error::Io(_) => self.inner_exit(),
            Error::Findings(_) | Error::Unfit { .. } => Exit::Config,
            Error::NoInjection { .. } | Error::Exists { .. } | Error::Unified { .. } => Exit::Failed,
            Error::Directory { .. }
            | Error::NoTree { .. }
            | Error::NoBoot { .. }
            | Error::Elsewhere { .. } => Exit::Usage,
            _ => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Cpio(_) | Error::Tree(_) | Error::Sysext(_) | Error::Io(_) => return self.inner_hint(),
            Error::Findings(_) | Error::Unfit { .. } => return None,
            Error::NoTree { .. } => "leave --profile out, or name a tree such as output/NAME/current".into(),
            Error::Unreached { source, .. } => match source.hint() {
                Some(hint) => format!("{hint}; then inject"),
                None => "fetch or make the base again, and inject into that".into(),
            }
            Error::Foreign { way_out: Some(way_out), .. } | Error::Lost { way_out: Some(way_out), .. } => {
                (*way_out).into()
            }
            Error::Foreign { .. } => {
                "name Flatcar's flatcar_production_pxe_image.cpio.gz, or another newc archive".into()
            }
            Error::Lost { .. } => {
                "pad each archive with zeros to a multiple of four bytes, and compress with `xz --check=crc32`"
                    .into()
            }
            Error::Damaged { .. } | Error::BaseChanged { .. } | Error::Lengths { .. } => {
                "fetch the base again and inject into that".into()
            }
            Error::Unreadable { .. } => "unpack it with its own tool first".into(),
            Error::NoInjection { .. } => "`prebake initrd show` lists the content of the file".into(),
            Error::Buried { path, end, .. } => {
                format!("`head -c {end} {}` gives the file as prebake made it", path.display())
            }
            Error::Directory { .. } => {
                "name an initrd, or a tree such as output/NAME/current with --profile".into()
            }
            Error::NoBoot { is_fetched: true, .. } => {
                "its machines fetch config and sysexts: `prebake build RECIPE --layer FILE` changes those".into()
            }
            Error::NoBoot { known, .. } => format!("profiles that have one: {}", known.join(", ")),
            Error::Unified { .. } => "`prebake build RECIPE --layer FILE` builds both again".into(),
            Error::Elsewhere { .. } => {
                "give the directory of the published trees with -o, such as `output`: the new one becomes NAME/BUILD-ID there".into()
            }
            Error::Exists { .. } => "choose another name, or replace it with --force".into(),
            Error::Unsafe { .. } => "nothing of it was extracted; look at the file with `prebake initrd show --contents`".into(),
        })
    }
}
