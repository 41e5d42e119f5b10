//! How sysexts become image files: `packaging:` of a recipe.
//!
//! Owns the choice of file system and of what it is made with. The bytes are `format`'s.

use std::fs::File;

use serde_json::{Value, json};

use crate::format::squashfs::{self, BlockSize, Compression, Level};
use crate::format::tree::Tree;
use crate::memory::Bytes;
use crate::report::{Finding, nearest};
use crate::yaml::Node as Yaml;
use crate::yaml::decode::{Decoder, Fields};

/// What an image is made with. All of it is in the bytes, so all of it belongs into a step key.
#[derive(Clone, Debug, Default)]
pub struct Packaging {
    /// The file system with the files.
    pub filesystem: Filesystem,
}

/// The file system of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// Squashfs, which every release reads.
    Squashfs(squashfs::Options),
}

impl Default for Filesystem {
    fn default() -> Self {
        Filesystem::Squashfs(squashfs::Options::default())
    }
}

impl From<squashfs::Options> for Packaging {
    fn from(options: squashfs::Options) -> Self {
        Packaging { filesystem: Filesystem::Squashfs(options) }
    }
}

impl Packaging {
    /// What step keys hold of it.
    pub fn key(&self) -> Value {
        match self.filesystem {
            Filesystem::Squashfs(squashfs::Options { block, compression }) => json!({
                "format": "squashfs", "revision": squashfs::REVISION, "compression": compression.algorithm().name(),
                "level": compression.level(), "block": block.bytes(),
            }),
        }
    }

    /// The same with the least effort at compression, for what is compressed already.
    pub fn least(&self) -> Self {
        let filesystem = match self.filesystem {
            Filesystem::Squashfs(options) => {
                let compression = options.compression.least();
                Filesystem::Squashfs(squashfs::Options { compression, ..options })
            }
        };
        Packaging { filesystem }
    }

    /// Writes a tree as an image over `out`, which is truncated, and returns its length in bytes.
    pub fn write(&self, tree: &Tree, epoch: u64, out: &mut File) -> Result<u64, squashfs::Error> {
        match self.filesystem {
            Filesystem::Squashfs(options) => squashfs::write(tree, epoch, options, out),
        }
    }

    /// Reads the value of the key `packaging` of a recipe.
    pub fn decode(decoder: &Decoder, node: &Yaml) -> Self {
        let fields = decoder.fields(node, "`packaging`");
        let formats = ["squashfs"];
        if let Some(format) = fields.get("format") {
            one_of(decoder, format, "format", &formats);
        }
        Packaging { filesystem: Filesystem::Squashfs(squashfs_options(decoder, &fields)) }
    }
}

fn squashfs_options(decoder: &Decoder, fields: &Fields<'_>) -> squashfs::Options {
    let known = ["zstd", "gzip", "xz"];
    let wanted = fields.get("compression").and_then(|node| one_of(decoder, node, "compression", &known));
    let level = fields.get("level");
    let compression = match wanted {
        None | Some(0) => {
            let level = level_of(decoder, level, "the levels of zstd are 1 to 22");
            Compression::Zstd(level.unwrap_or(Compression::DEFAULT_ZSTD))
        }
        Some(1) => {
            let level = level_of(decoder, level, "the levels of gzip are 1 to 9");
            Compression::Gzip(level.unwrap_or(Level::MAX))
        }
        Some(_) => {
            if let Some(node) = level {
                decoder.error(node, "xz has no levels");
            }
            Compression::Xz
        }
    };
    let block = fields.get("block").and_then(|node| {
        let Bytes(wanted) = decoder.parsed(node)?;
        let block = BlockSize::ALL.into_iter().find(|size| u64::from(size.bytes()) == wanted);
        if block.is_none() {
            decoder.error(node, "a block of squashfs has 128KiB, 256KiB, 512KiB or 1MiB");
        }
        block
    });
    squashfs::Options { block: block.unwrap_or_default(), compression }
}

fn level_of<const MAX: u8>(decoder: &Decoder, node: Option<&Yaml>, fault: &str) -> Option<Level<MAX>> {
    let node = node?;
    let level = decoder.parsed(node).and_then(Level::new);
    if level.is_none() {
        decoder.error(node, fault);
    }
    level
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
