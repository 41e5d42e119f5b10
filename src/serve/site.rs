//! What is served: an immutable index of a published tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::answer::Piece;
use super::select::{Group, Groups};
use crate::error::{Advice, Exit};
use crate::initrd::padding;
use crate::manifest::{self, Joined, Manifest, Role};

/// A tree, ready to answer.
#[derive(Debug)]
pub struct Site {
    /// The directory of the build itself, not of the link to it.
    pub root: PathBuf,
    /// What the tree holds.
    pub manifest: Manifest,
    /// Which group answers whom.
    pub groups: Groups,
    /// What profiles boot, by id.
    pub profiles: BTreeMap<String, Profile>,
}

/// What is sent for a path.
#[derive(Debug)]
pub struct Asset {
    /// Changes with every byte: the digest, or those of its parts.
    pub etag: String,
    /// Length in bytes.
    pub size: u64,
    /// What it is made of.
    pub pieces: Vec<Piece>,
}

/// A Matchbox profile, as far as a tree has them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Profile {
    /// What the loader loads.
    pub boot: Boot,
    /// The config below `ignition/`.
    #[serde(default)]
    pub ignition_id: String,
}

/// What a loader loads.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Boot {
    /// URL.
    pub kernel: String,
    /// URLs, in order.
    #[serde(default)]
    pub initrd: Vec<String>,
    /// Kernel arguments.
    #[serde(default)]
    pub args: Vec<String>,
}

/// Why a tree cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a tree.
    #[error("{} is not a tree that prebake built: it has no {}", path.display(), manifest::FILE_NAME)]
    NoTree {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A group or profile that cannot be used.
    #[error("{} cannot be used: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::NoTree { .. } => Exit::Failed,
            Error::Manifest(_) | Error::Malformed { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoTree { .. } => {
                Some("name a build, such as output/NAME/current; `prebake build RECIPE` makes one".into())
            }
            Error::Manifest(error) => error.hint(),
            Error::Malformed { .. } => Some("the tree was damaged; build it again".into()),
        }
    }
}

/// A Matchbox group file.
#[derive(Deserialize)]
struct GroupFile {
    profile: String,
    #[serde(default)]
    selector: BTreeMap<String, String>,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

impl Site {
    /// Reads a tree. Unlike Matchbox, which skips what it cannot read, a tree with a bad group is refused: its machines
    /// would silently boot the default.
    pub fn load(tree: &Path) -> Result<Site, Error> {
        let missing = |source| Error::NoTree { path: tree.into(), source };
        let root = tree.canonicalize().map_err(missing)?;
        let path = root.join(manifest::FILE_NAME);
        let manifest = Manifest::parse(&path.display().to_string(), &fs::read(&path).map_err(missing)?)?;
        let mut groups = Vec::new();
        let mut profiles = BTreeMap::new();
        for (name, file) in &manifest.files {
            let id = || stem(name).to_owned();
            match file.role {
                Role::Group => groups.push(group(&root.join(name), id())?),
                Role::Profile => {
                    profiles.insert(id(), parse::<Profile>(&root.join(name))?);
                }
                _ => {}
            }
        }
        if let Some(group) = groups.iter().find(|group| !profiles.contains_key(&group.profile)) {
            let path = root.join(format!("groups/{}.json", group.id));
            let why = format!("there is no profile `{}`", group.profile);
            return Err(Error::Malformed { path, why });
        }
        Ok(Site { root, manifest, groups: Groups::new(groups), profiles })
    }

    /// A published file, if the manifest names it, or two that it joins.
    pub fn asset(&self, path: &str) -> Option<Asset> {
        let file = |path: &str| {
            let file = self.manifest.files.get(path)?;
            Some((
                file,
                Piece::File { path: self.root.join(path), size: file.size, sha256: Some(file.sha256) },
            ))
        };
        if let Some((file, piece)) = file(path) {
            return Some(Asset { etag: file.sha256.to_string(), size: file.size, pieces: vec![piece] });
        }
        let Joined { parts: [first, second], size, .. } = self.manifest.joined.get(path)?;
        let ((first, base), (second, overlay)) = (file(first)?, file(second)?);
        let zeros = Piece::Zeros(padding(first.size));
        let etag = format!("{}+{}", first.sha256, second.sha256);
        Some(Asset { etag, size: *size, pieces: vec![base, zeros, overlay] })
    }

    /// When all files of the tree were "modified": their epoch.
    pub fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.manifest.epoch)
    }
}

/// `groups/n1.json` → `n1`
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".json").unwrap_or(name)
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let malformed = |why: String| Error::Malformed { path: path.into(), why };
    let bytes = fs::read(path).map_err(|error| malformed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))
}

fn group(path: &Path, id: String) -> Result<Group, Error> {
    let GroupFile { profile, selector, metadata } = parse(path)?;
    let mut group = Group { id, profile, selector, metadata };
    group.normalise().map_err(|why| Error::Malformed { path: path.into(), why })?;
    Ok(group)
}
