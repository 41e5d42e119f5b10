//! `manifest.json`: every published file of a tree with its size, digest, role and origin.
//!
//! Written last by a build, read by `serve`, `verify` and `bundle`. Owns the file's schema and its canonical form;
//! leaves to `output` which files are published, and where.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::arch::Arch;
use crate::base::canonical;
use crate::base::digest::Sha256;
use crate::base::error::{Advice, Exit};
use crate::format::cpio::padding::padding;
use crate::source::input::Entry;
use crate::sysext::ddi::Protection;
use crate::tree::names::{below, build_id, sysext_directory};

/// Version of the schema; raised when the meaning of a field changes.
pub const SCHEMA: u32 = 1;
/// The files of a tree. Rows are sorted by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the schema: [`SCHEMA`].
    pub schema: u32,
    /// The recipe's name.
    pub name: String,
    /// Timestamp inside all artifacts, in seconds since 1970.
    pub epoch: u64,
    /// The Flatcar releases inside.
    pub releases: Vec<Release>,
    /// Path inside the tree (no leading slash, `/` between) → file.
    pub files: BTreeMap<String, File>,
    /// Virtual files, which a server joins from two others. They have no digest of their own, so that the first part,
    /// which many share, need not be read for each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joined: BTreeMap<String, Joined>,
}

/// Two published files in one: the first, [`padding`], the second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// Its purpose.
    pub role: Role,
    /// Length in bytes, zeros included.
    pub size: u64,
    /// Paths of the two in [`Manifest::files`].
    pub parts: [String; 2],
    /// The profile that it belongs to, if only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The node that it belongs to, if only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The architecture that it is for, if only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
}

/// A Flatcar release: channel, version and board.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// `stable`, `beta`, `alpha`, `lts`.
    pub channel: String,
    /// Such as `4593.2.5`.
    pub version: String,
    /// Architecture of the board.
    pub arch: Arch,
}

/// One published file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its purpose.
    pub role: Role,
    /// Length of the file, in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// The profile that it belongs to, if only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The node that it belongs to, if only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The architecture that it is for, if only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Origin of a fetched file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Key of the step that built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Sha256>,
    /// dm-verity root hash and certificate digest of a sysext image, if it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity: Option<Protection>,
}

impl File {
    /// A file without any of the optional fields.
    pub fn new(role: Role, size: u64, sha256: Sha256) -> Self {
        File {
            role,
            size,
            sha256,
            profile: None,
            node: None,
            arch: None,
            origin: None,
            step: None,
            verity: None,
        }
    }
}

/// Origin of a fetched file: canonical URL (never a mirror's) and signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Canonical URL, never a mirror's.
    pub url: String,
    /// Fingerprint of the signing (sub)key, upper-case hex, if a signature was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

impl From<&Entry> for Origin {
    fn from(entry: &Entry) -> Self {
        Origin { url: entry.url.clone(), signer: entry.signer.clone() }
    }
}

/// Purpose of a published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The stock PXE kernel.
    Kernel,
    /// The stock PXE initrd, untouched.
    BaseInitrd,
    /// The stock disk image, compressed as released.
    DiskImage,
    /// A disk image for a platform, with a boot's config and sysexts.
    PlatformImage,
    /// A detached signature of a stock file.
    Signature,
    /// `version.txt` of a release.
    Version,
    /// The cpio that carries Ignition and sysexts.
    Overlay,
    /// Base and overlay in one.
    Initrd,
    /// The user's own initrd, which the kernel unpacks before Flatcar's.
    EarlyInitrd,
    /// Kernel, initrds and arguments in one UEFI program.
    UnifiedKernel,
    /// A system extension image.
    Sysext,
    /// A transfer definition for systemd-sysupdate.
    Transfer,
    /// A container image, as an OCI archive.
    ContainerImage,
    /// A compiled Ignition config.
    Ignition,
    /// A Go template, filled in for each machine that asks.
    Template,
    /// A Matchbox profile.
    Profile,
    /// A Matchbox group.
    Group,
    /// A script or config of a boot loader.
    Boot,
    /// A file of a repository for clusterctl, or the record of what is in it.
    ClusterApi,
    /// A list of digests.
    Checksums,
    /// The lock that the tree was built from.
    Lock,
    /// The software bill of materials.
    Sbom,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Reasons why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is not JSON of this schema.
    #[error("{subject} is not a manifest")]
    Syntax {
        /// Name of the manifest, for messages.
        subject: String,
        /// serde's error.
        source: serde_json::Error,
    },
    /// Another version of the format.
    #[error("{subject} has schema {found}; this prebake reads {SCHEMA}")]
    Schema {
        /// Name of the manifest, for messages.
        subject: String,
        /// Schema number that it states.
        found: u32,
    },
    /// A path that leaves the tree.
    #[error("{subject} names `{path}`, which is not a path inside the tree")]
    Path {
        /// Name of the manifest, for messages.
        subject: String,
        /// The offending row.
        path: String,
    },
    /// A joined file whose parts do not have its length.
    #[error("{subject} joins `{path}` from files that do not add up to {size} bytes")]
    Joined {
        /// Name of the manifest, for messages.
        subject: String,
        /// The offending row.
        path: String,
        /// Length that the row states, in bytes.
        size: u64,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Integrity
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Schema { .. } => Some("build the tree again with this version of prebake".into()),
            Error::Syntax { .. } | Error::Path { .. } | Error::Joined { .. } => {
                Some("the tree was damaged or not made by prebake; build it again".into())
            }
        }
    }
}

impl Manifest {
    /// A manifest of these files, without releases and at the epoch 0.
    pub(crate) fn new(name: impl Into<String>, files: BTreeMap<String, File>) -> Self {
        let (releases, joined) = Default::default();
        Manifest { schema: SCHEMA, name: name.into(), epoch: 0, releases, files, joined }
    }

    /// Whether the tree has images of a sysext.
    pub(crate) fn has_sysext(&self, name: &str) -> bool {
        let directory = sysext_directory(name);
        let mut files = self.files.range(format!("{directory}/")..);
        files.next().is_some_and(|(path, _)| below(path, &directory).is_some())
    }

    /// Reads a manifest; `subject` names the file in errors.
    pub fn parse(subject: &str, bytes: &[u8]) -> Result<Self, Error> {
        let syntax = |source| Error::Syntax { subject: subject.into(), source };
        let found = canonical::schema_of(bytes).map_err(syntax)?;
        if found != SCHEMA {
            return Err(Error::Schema { subject: subject.into(), found });
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(syntax)?;
        let mut paths = manifest.files.keys().chain(manifest.joined.keys());
        if let Some(path) = paths.find(|path| !canonical::is_contained_in_url(path)) {
            return Err(Error::Path { subject: subject.into(), path: path.clone() });
        }
        let fits = |path: &str, row: &Joined| {
            !manifest.files.contains_key(path) && manifest.joined_size(&row.parts) == Some(row.size)
        };
        match manifest.joined.iter().find(|(path, row)| !fits(path, row)) {
            Some((path, row)) => {
                Err(Error::Joined { subject: subject.into(), path: path.clone(), size: row.size })
            }
            None => Ok(manifest),
        }
    }

    /// Length of two files with the zeros between them; `None` if one is not in the tree.
    pub(crate) fn joined_size(&self, parts: &[String; 2]) -> Option<u64> {
        let [first, second] = parts.each_ref().map(|part| self.files.get(part).map(|file| file.size));
        let first = first?;
        first.checked_add(padding(first))?.checked_add(second?)
    }

    /// The canonical bytes: sorted keys, an indent of two blanks, a final newline. The BUILD-ID is taken over these.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::canonical_json(self)
    }

    /// First 16 hex digits of the SHA-256 of [`Manifest::to_bytes`]: the same build gets the same id.
    pub fn build_id(&self) -> String {
        build_id(&Sha256::of(&self.to_bytes()))
    }
}
