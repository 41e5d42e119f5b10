//! How sysexts become image files: `packaging:` of a recipe.
//!
//! Owns the choice of file system and of what it is made with. The bytes are `format`'s.

use std::fs::File;

use serde_json::{Value, json};

use crate::error::{Advice, Exit};
use crate::format::erofs;
use crate::format::squashfs::{self, BlockSize, Level};
use crate::format::tree::Tree;
use crate::memory::Bytes;
use crate::quirks;
use crate::recipe::Version;
use crate::report::{Finding, Place, nearest};
use crate::yaml::Node as Yaml;
use crate::yaml::decode::{Decoder, Fields};

/// What an image is made with. All of it is in the bytes, so all of it belongs into a step key.
#[derive(Clone, Debug, Default)]
pub struct Packaging {
    /// The file system with the files.
    pub filesystem: Filesystem,
    /// Where a recipe asks for it.
    pub place: Option<Place>,
}

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The squashfs image.
    #[error(transparent)]
    Squashfs(#[from] squashfs::Error),
    /// The erofs image.
    #[error(transparent)]
    Erofs(#[from] erofs::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Squashfs(error) => error.exit(),
            Error::Erofs(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Squashfs(error) => error.hint(),
            Error::Erofs(error) => error.hint(),
        }
    }
}

/// The file system of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// Squashfs, which every release reads.
    Squashfs(squashfs::Options),
    /// EROFS, which newer releases read.
    Erofs(erofs::Options),
}

impl Default for Filesystem {
    fn default() -> Self {
        Filesystem::Squashfs(squashfs::Options::default())
    }
}

impl From<squashfs::Options> for Packaging {
    fn from(options: squashfs::Options) -> Self {
        Packaging { filesystem: Filesystem::Squashfs(options), place: None }
    }
}

impl Packaging {
    /// What step keys hold of it.
    pub fn key(&self) -> Value {
        match self.filesystem {
            Filesystem::Squashfs(squashfs::Options { block, level }) => json!({
                "format": "squashfs", "revision": squashfs::REVISION, "compression": "zstd",
                "level": level.get(), "block": block.bytes(),
            }),
            Filesystem::Erofs(erofs::Options::Plain) => {
                json!({"format": "erofs", "revision": erofs::REVISION, "compression": "none"})
            }
        }
    }

    /// The same for data that is compressed already, where more than the least effort gains nothing.
    pub fn least_effort(&self) -> Packaging {
        let filesystem = match self.filesystem {
            Filesystem::Squashfs(options) => {
                Filesystem::Squashfs(squashfs::Options { level: Level::LEAST, ..options })
            }
            erofs => erofs,
        };
        Packaging { filesystem, ..self.clone() }
    }

    /// Writes a tree as an image over `out`, which is truncated, and returns its length in bytes.
    pub fn write(&self, tree: &Tree, epoch: u64, out: &mut File) -> Result<u64, Error> {
        match self.filesystem {
            Filesystem::Squashfs(options) => Ok(squashfs::write(tree, epoch, options, out)?),
            Filesystem::Erofs(options) => Ok(erofs::write(tree, epoch, options, out)?),
        }
    }

    /// What a release would not mount.
    pub fn findings(&self, version: Version) -> Vec<Finding> {
        let mut findings = Vec::new();
        if matches!(self.filesystem, Filesystem::Erofs(_)) && !quirks::mounts_erofs(version) {
            let finding =
                Finding::error(format!("the kernel of Flatcar {version} cannot mount erofs images"));
            let finding = finding.hint("leave `format` out: every release mounts squashfs");
            findings.push(match &self.place {
                Some(place) => finding.at(place.clone()),
                None => finding,
            });
        }
        findings
    }

    /// Reads the value of the key `packaging` of a recipe.
    pub fn decode(decoder: &Decoder, node: &Yaml) -> Self {
        let fields = decoder.fields(node, "`packaging`");
        let format = fields.get("format");
        let filesystem = match format.and_then(|node| one_of(decoder, node, "format", &["squashfs", "erofs"]))
        {
            Some(1) => {
                for (key, node) in ["compression", "level", "block"].map(|key| (key, fields.get(key))) {
                    if let Some(node) = node {
                        let what =
                            format!("`{key}` is squashfs's; files in erofs images are stored as they are");
                        decoder.push(
                            Finding::error(what).at(decoder.spanned(node, ()).place).hint("leave it out"),
                        );
                    }
                }
                Filesystem::Erofs(erofs::Options::Plain)
            }
            _ => Filesystem::Squashfs(squashfs_options(decoder, &fields)),
        };
        Packaging { filesystem, place: format.map(|node| decoder.spanned(node, ()).place) }
    }
}

fn squashfs_options(decoder: &Decoder, fields: &Fields<'_>) -> squashfs::Options {
    if let Some(compression) = fields.get("compression") {
        one_of(decoder, compression, "compression", &["zstd"]);
    }
    let level = fields.get("level").and_then(|node| {
        let level = decoder.parsed(node).and_then(Level::new);
        if level.is_none() {
            decoder.error(node, "the levels of zstd are 1 to 22");
        }
        level
    });
    let block = fields.get("block").and_then(|node| {
        let sizes = [BlockSize::Kib128, BlockSize::Kib256, BlockSize::Kib512, BlockSize::Mib1];
        let Bytes(wanted) = decoder.parsed(node)?;
        let block = sizes.into_iter().find(|size| u64::from(size.bytes()) == wanted);
        if block.is_none() {
            decoder.error(node, "a block of squashfs has 128KiB, 256KiB, 512KiB or 1MiB");
        }
        block
    });
    squashfs::Options { block: block.unwrap_or_default(), level: level.unwrap_or_default() }
}

/// The index of a word among those that may stand there.
fn one_of(decoder: &Decoder, node: &Yaml, what: &str, known: &[&str]) -> Option<usize> {
    let word = decoder.string(node)?;
    let index = known.iter().position(|known| *known == word);
    if index.is_none() {
        let finding = Finding::error(format!("unknown {what} `{word}`")).at(decoder.spanned(node, ()).place);
        decoder.push(match nearest(&word, known.iter().copied()) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint(format!("known: {}", known.join(", "))),
        });
    }
    index
}
