//! Turns sysexts into image files: `packaging:` of a recipe.
//!
//! Owns the choice of file system and its settings. Leaves the bytes to `format`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::ddi;
use super::keys::{PACKAGING, VERITY};
use super::signing::Signer;
use crate::base::arch::Arch;
use crate::base::error::Advice;
use crate::base::finding::{Finding, Findings, Place, nearest};
use crate::base::size::Bytes;
use crate::base::yaml::Node as Yaml;
use crate::base::yaml::decode::{Decoder, Fields, Spanned};
use crate::flatcar::quirks::{self, Packing};
use crate::flatcar::version::Version;
use crate::format::erofs;
use crate::format::squashfs::{self, BlockSize, Compression, Level};
use crate::format::tree::Tree;

/// Settings for making an image. They determine the bytes, so all of them belong into step keys.
#[derive(Clone, Debug, Default)]
pub struct Packaging {
    /// The file system for the files.
    pub filesystem: Filesystem,
    /// Signs the image, which becomes a disk image with dm-verity; `None` for a plain file system.
    pub verity: Option<Signer>,
}

/// Reasons why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Error of the squashfs image.
    #[error(transparent)]
    Squashfs(#[from] squashfs::Error),
    /// Error of the erofs image.
    #[error(transparent)]
    Erofs(#[from] erofs::Error),
    /// Error of the disk image around the file system.
    #[error(transparent)]
    Ddi(#[from] ddi::Error),
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Squashfs(error) => Some(error),
            Error::Erofs(error) => Some(error),
            Error::Ddi(error) => Some(error),
        }
    }
}

/// The file system of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// Squashfs, which every release supports.
    Squashfs(squashfs::Options),
    /// EROFS, which newer releases support.
    Erofs(erofs::Options),
}

impl Filesystem {
    /// The compression, for asking whether a release can mount it.
    fn packing(&self) -> Packing {
        match self {
            Filesystem::Squashfs(options) => match options.compression {
                Compression::Zstd(_) => Packing::SquashfsZstd,
                Compression::Gzip(_) => Packing::SquashfsGzip,
                Compression::Xz => Packing::SquashfsXz,
            },
            Filesystem::Erofs(erofs::Options::Plain) => Packing::Erofs,
        }
    }
}

impl Default for Filesystem {
    fn default() -> Self {
        Filesystem::Squashfs(squashfs::Options::default())
    }
}

impl From<squashfs::Options> for Packaging {
    fn from(options: squashfs::Options) -> Self {
        Packaging { filesystem: Filesystem::Squashfs(options), verity: None }
    }
}

impl Packaging {
    /// Its part in step keys.
    pub(crate) fn key(&self) -> Value {
        let mut key = match self.filesystem {
            Filesystem::Squashfs(squashfs::Options { block, compression }) => json!({
                "format": "squashfs", "revision": squashfs::REVISION, "compression": compression.algorithm().name(),
                "level": compression.level(), "block": block.bytes(),
            }),
            Filesystem::Erofs(erofs::Options::Plain) => {
                json!({"format": "erofs", "revision": erofs::REVISION, "compression": "none"})
            }
        };
        if let Some(signer) = &self.verity {
            key["verity"] = json!({"revision": ddi::REVISION, "certificate": signer.fingerprint()});
        }
        key
    }

    /// The same file system with the least compression effort, for data that is already compressed.
    pub(crate) fn least(&self) -> Self {
        let filesystem = match self.filesystem {
            Filesystem::Squashfs(options) => {
                let compression = options.compression.least();
                Filesystem::Squashfs(squashfs::Options { compression, ..options })
            }
            erofs => erofs,
        };
        Packaging { filesystem, ..self.clone() }
    }

    /// Writes a tree as an image for machines of `arch` over `out`, which must be readable and is truncated, and
    /// returns its length in bytes.
    pub fn write(&self, tree: &Tree, arch: Arch, epoch: u64, out: &mut File) -> Result<u64, Error> {
        let length = match self.filesystem {
            Filesystem::Squashfs(options) => squashfs::write(tree, epoch, options, out)?,
            Filesystem::Erofs(options) => erofs::write(tree, epoch, options, out)?,
        };
        match &self.verity {
            Some(signer) => Ok(ddi::protect(out, length, arch, signer)?),
            None => Ok(length),
        }
    }
}

/// The `packaging` of a recipe, before key and certificate are read.
#[derive(Debug, Default)]
pub struct Wish {
    /// The file system for the files.
    pub filesystem: Filesystem,
    /// Place of `format` or `compression` in the recipe.
    chosen: Option<Place>,
    /// The signer.
    pub verity: Option<VerityWish>,
}

/// Names the signer of the images.
#[derive(Debug)]
pub struct VerityWish {
    /// The private key file.
    pub key: Spanned<PathBuf>,
    /// The certificate file.
    pub certificate: Spanned<PathBuf>,
}

impl Wish {
    /// Reads the value of the key `packaging` of a recipe, whose paths are relative to `directory`.
    pub(crate) fn decode(decoder: &Decoder, node: &Yaml, directory: &Path) -> Self {
        let fields = decoder.fields(node, &PACKAGING);
        let format = fields.get("format");
        let filesystem = match format.and_then(|node| one_of(decoder, node, "format", &["squashfs", "erofs"]))
        {
            Some(1) => {
                for key in ["compression", "level", "block"] {
                    let Some(node) = fields.get(key) else { continue };
                    let what =
                        format!("`{key}` is for squashfs; files in erofs images are stored uncompressed");
                    let finding = Finding::error(what).at(decoder.spanned(node, ()).place);
                    decoder.push(finding.hint("leave it out"));
                }
                Filesystem::Erofs(erofs::Options::Plain)
            }
            _ => Filesystem::Squashfs(squashfs_options(decoder, &fields)),
        };
        let verity = fields.get("verity").and_then(|node| {
            let fields = decoder.fields(node, &VERITY);
            let file = |key| {
                let node = fields.need(key)?;
                Some(decoder.spanned(node, directory.join(decoder.string(node)?)))
            };
            // Both are requested first, so that both are reported if missing.
            let (key, certificate) = (file("key"), file("certificate"));
            Some(VerityWish { key: key?, certificate: certificate? })
        });
        let chosen = fields.get("compression").or(format).map(|node| decoder.spanned(node, ()).place);
        Wish { filesystem, chosen, verity }
    }

    /// Reads key and certificate.
    ///
    /// # Errors
    /// Their defects, at the places in the recipe that name them.
    pub fn load(&self, now: SystemTime) -> Result<Packaging, Findings> {
        let mut packaging = Packaging { filesystem: self.filesystem, verity: None };
        if let Some(VerityWish { key, certificate }) = &self.verity {
            let signer = Signer::load(key, certificate, now).map_err(|findings| {
                let [of_key, of_certificate] = *findings;
                let of_key = of_key.map(|finding| finding.at(key.place.clone()));
                let of_certificate = of_certificate.map(|finding| finding.at(certificate.place.clone()));
                Findings(of_key.into_iter().chain(of_certificate).collect())
            })?;
            packaging.verity = Some(signer);
        }
        Ok(packaging)
    }

    /// Findings about settings that a release does not support. They point at `release`, the place that asks for the
    /// release, if the recipe has no packaging settings.
    pub fn findings(&self, version: Version, release: &Place) -> Vec<Finding> {
        let mut findings = Vec::new();
        let packing = self.filesystem.packing();
        if !packing.is_mounted_by(version) {
            let text = format!("the kernel of Flatcar {version} cannot mount {} images", packing.name());
            let hint = match self.filesystem {
                Filesystem::Erofs(_) => "leave `format` out: every release mounts squashfs",
                Filesystem::Squashfs(_) => {
                    "write `packaging: {compression: gzip}`: every release mounts that"
                }
            };
            findings
                .push(Finding::error(text).hint(hint).at(self.chosen.as_ref().unwrap_or(release).clone()));
        }
        if let Some(verity) = &self.verity
            && let Some(why) = quirks::refuses_signed_sysexts(version)
        {
            let finding = Finding::error(format!("Flatcar {version} would not merge any sysext: {why}"));
            let finding = finding.hint("leave `verity` out: the images are plain file systems then");
            findings.push(finding.at(verity.certificate.place.clone()));
        }
        findings
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
            decoder.error(node, "a squashfs block has 128KiB, 256KiB, 512KiB or 1MiB");
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

/// The index of a word among the allowed ones.
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
