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
pub mod overlay;
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

/// Why an initrd cannot be read, made or taken apart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an initrd at all.
    #[error("{subject} is not an initrd: {why}")]
    Foreign {
        /// The file.
        subject: String,
        /// What it begins with.
        why: String,
        /// What to do, where that is known.
        way_out: Option<&'static str>,
    },
    /// Bytes that the kernel stops at: it boots on without what follows.
    #[error("{subject}: the kernel ignores everything from byte {offset} on: {why}")]
    Lost {
        /// The file.
        subject: String,
        /// From the start of the file.
        offset: u64,
        /// The rule that is broken.
        why: String,
        /// What to do, where that is known.
        way_out: Option<&'static str>,
    },
    /// A base behind which the kernel would not find what is injected.
    #[error("anything injected into {subject} would be lost: the kernel stops before it")]
    Unreached {
        /// The base.
        subject: String,
        /// Why the kernel stops.
        source: Box<Error>,
    },
    /// A compressed archive that does not unpack.
    #[error("{subject}: the {} archive at byte {offset} is damaged", compression.name())]
    Damaged {
        /// The file.
        subject: String,
        /// From the start of the file.
        offset: u64,
        /// How it is compressed.
        compression: Compression,
        /// What is wrong.
        source: io::Error,
    },
    /// A compression that prebake knows by name only.
    #[error("{subject}: the archive at byte {offset} is compressed with {}, which prebake cannot unpack", compression.name())]
    Unreadable {
        /// The file.
        subject: String,
        /// From the start of the file.
        offset: u64,
        /// How it is compressed.
        compression: Compression,
    },
    /// One archive is damaged, or its names exceed a limit.
    #[error(transparent)]
    Cpio(#[from] cpio::Error),
    /// Nothing was injected, or not by prebake.
    #[error("{} does not end with an injection of prebake", path.display())]
    NoInjection {
        /// The file.
        path: PathBuf,
    },
    /// Something was appended to an injected file.
    #[error("{}: {} {} appended after the injection, which ends at byte {end}", path.display(), counted(*after, "byte"), if *after == 1 { "was" } else { "were" })]
    Buried {
        /// The file.
        path: PathBuf,
        /// Where the injection ends.
        end: u64,
        /// How much follows.
        after: u64,
    },
    /// The file's end says something else of its beginning than is there.
    #[error("{}: the base was changed after the injection: it has SHA-256 {found} instead of {recorded}", path.display())]
    BaseChanged {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: Sha256,
        /// What it had.
        recorded: Sha256,
    },
    /// The lengths in the record do not add up to the file.
    #[error("{}: the file has {size} bytes, but its record states {recorded}", path.display())]
    Lengths {
        /// The file.
        path: PathBuf,
        /// By the record.
        recorded: u64,
        /// Of the file.
        size: u64,
    },
    /// A directory that is no published tree.
    #[error("{} is a directory, and neither an initrd nor a published tree", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// Something else than a published tree where a profile was named.
    #[error("{} is not a published tree, and only those have profiles", path.display())]
    NoTree {
        /// What was named.
        path: PathBuf,
    },
    /// A tree that has no such boot to inject into.
    #[error("{} has no {boot} that carries an overlay", tree.display())]
    NoBoot {
        /// The tree.
        tree: PathBuf,
        /// What was asked for.
        boot: String,
        /// Whether its machines fetch their config instead.
        is_fetched: bool,
        /// The profiles that have overlays.
        known: Vec<String>,
    },
    /// A boot whose overlay lies in a program, too.
    #[error("{}: the overlay of the profile `{profile}` is also in a unified kernel image", tree.display())]
    Unified {
        /// The tree.
        tree: PathBuf,
        /// The profile.
        profile: String,
    },
    /// A tree that was moved from where it was published.
    #[error("{} is not in a directory where a build publishes", path.display())]
    Elsewhere {
        /// The tree.
        path: PathBuf,
    },
    /// The output is there already.
    #[error("{} exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A member that must not be written to a disk.
    #[error("{subject} has the member `{member}`: {why}")]
    Unsafe {
        /// The file.
        subject: String,
        /// Its name.
        member: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something that shall go into an overlay cannot.
    #[error("{}: {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// What shall be a sysext is none.
    #[error(transparent)]
    Sysext(#[from] extension::Error),
    /// Two things want one path in the overlay.
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
