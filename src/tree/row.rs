//! A file of a tree that is about to be published: its path, its role, and where its bytes come from.

use std::path::PathBuf;

use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::sysext::ddi::Protection;
use crate::tree::manifest::{self, Origin, Role};

/// A file of the tree to be.
#[derive(Debug)]
pub(crate) struct Row {
    /// Path inside the tree.
    pub path: String,
    /// Source of its bytes.
    pub contents: Contents,
    /// Its purpose.
    pub role: Role,
    /// The profile that it belongs to, if only one.
    pub profile: Option<String>,
    /// The node that it belongs to, if only one.
    pub node: Option<String>,
    /// The architecture that it is for, if only one.
    pub arch: Option<Arch>,
    /// Origin of a fetched file.
    pub origin: Option<Origin>,
    /// Key of the step that built it.
    pub step: Option<Sha256>,
    /// dm-verity root hash and certificate digest, if it is a signed sysext.
    pub verity: Option<Protection>,
}

/// Source of a published file's bytes.
#[derive(Debug)]
pub(crate) enum Contents {
    /// An object in the store: published as a link, never copied.
    Stored(Object),
    /// A file of another tree, published as a link as well.
    Published(PathBuf, Object),
    /// Bytes in memory.
    Text(Vec<u8>),
    /// A virtual file: a server joins two files of the tree, with [`crate::format::cpio::padding::padding`] between them.
    Joined([String; 2]),
}

impl Row {
    /// A file whose bytes are in the store.
    pub(crate) fn stored(path: String, role: Role, object: Object) -> Self {
        Row::new(path, role, Contents::Stored(object))
    }

    /// A small generated file.
    pub(crate) fn text(path: String, role: Role, bytes: impl Into<Vec<u8>>) -> Self {
        Row::new(path, role, Contents::Text(bytes.into()))
    }

    /// A file without any of the optional fields.
    pub(crate) fn new(path: String, role: Role, contents: Contents) -> Self {
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

    /// The file's row in the manifest; `None` for a joined file.
    pub(crate) fn file(&self) -> Option<manifest::File> {
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
    pub(crate) fn belonging_to(mut self, profile: &str, node: Option<&str>) -> Self {
        self.profile = Some(profile.to_owned());
        self.node = node.map(str::to_owned);
        self
    }
}
