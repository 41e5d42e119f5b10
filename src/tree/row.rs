//! A file of a tree that is about to be published: its path, its role, and where its bytes come from.

use std::path::PathBuf;

use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::sysext::ddi::Protection;
use crate::tree::manifest::{self, Origin, Role};

/// A file of the tree to be.
#[derive(Debug)]
pub struct Row {
    /// Path inside the tree.
    pub path: String,
    /// Its bytes.
    pub contents: Contents,
    /// What it is for.
    pub role: Role,
    /// The profile it belongs to.
    pub profile: Option<String>,
    /// The node it belongs to.
    pub node: Option<String>,
    /// The architecture it is for.
    pub arch: Option<Arch>,
    /// Where it was fetched from.
    pub origin: Option<Origin>,
    /// The step that built it.
    pub step: Option<Sha256>,
    /// What protects it, if it is a signed sysext.
    pub verity: Option<Protection>,
}

/// Where a published file's bytes are.
#[derive(Debug)]
pub enum Contents {
    /// In the store: published as a link, never copied.
    Stored(Object),
    /// In a file of another tree: the same.
    Published(PathBuf, Object),
    /// Here.
    Text(Vec<u8>),
    /// Nowhere: a server joins two files of the tree, with [`crate::format::cpio::padding::padding`] between them.
    Joined([String; 2]),
}

impl Row {
    /// A file whose bytes are in the store.
    pub fn stored(path: String, role: Role, object: Object) -> Self {
        Row::new(path, role, Contents::Stored(object))
    }

    /// A small generated file.
    pub fn text(path: String, role: Role, bytes: impl Into<Vec<u8>>) -> Self {
        Row::new(path, role, Contents::Text(bytes.into()))
    }

    /// A file of which nothing more is said.
    pub fn new(path: String, role: Role, contents: Contents) -> Self {
        Row {
            path,
            contents,
            role,
            profile: None,
            node: None,
            arch: None,
            origin: None,
            step: None,
            verity: None,
        }
    }

    /// What the manifest says of it; nothing where it is joined of other files.
    pub fn file(&self) -> Option<manifest::File> {
        let Object { sha256, size } = match &self.contents {
            Contents::Stored(object) | Contents::Published(_, object) => *object,
            Contents::Text(bytes) => Object { sha256: Sha256::of(bytes), size: bytes.len() as u64 },
            Contents::Joined(_) => return None,
        };
        let Row { role, profile, node, arch, origin, step, verity, .. } = self;
        let (role, arch, step, verity) = (*role, *arch, *step, *verity);
        let (profile, node, origin) = (profile.clone(), node.clone(), origin.clone());
        Some(manifest::File { role, size, sha256, profile, node, arch, origin, step, verity })
    }

    /// Says which profile the file belongs to, and which node if it is one's own.
    pub fn belonging_to(mut self, profile: &str, node: Option<&str>) -> Self {
        self.profile = Some(profile.to_owned());
        self.node = node.map(str::to_owned);
        self
    }
}
