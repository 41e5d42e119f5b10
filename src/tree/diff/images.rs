//! Contents of sysext images.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::versions::sysext;
use super::{Contents, changes};
use crate::base::digest::Sha256;
use crate::base::error::Result;
use crate::base::{disk, unfinished};
use crate::format::image::Kind;
use crate::sysext::extension::{Extension, Fault};
use crate::tree::manifest::Role;
use crate::tree::open::Tree;

/// One entry of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// `dir`, `file`, `link` or `special`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u16,
    /// Length of a file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Target of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Changed contents of the sysexts that both trees have. Where a tree has several versions of one, the last by name
/// counts.
pub(crate) fn contents(from: &Tree, to: &Tree) -> Result<Vec<Contents>> {
    let (before, after) = (images(from), images(to));
    let mut contents = Vec::new();
    for (image, (path, digest)) in &before {
        let Some((other, _)) = after.get(image).filter(|(_, other)| other != digest) else { continue };
        let (old, new) = (entries(from, path)?, entries(to, other)?);
        let (opaque, entries) = match (old, new) {
            (Ok(old), Ok(new)) => (None, changes(old, new)),
            (Err(why), _) | (_, Err(why)) => (Some(why), Vec::new()),
        };
        contents.push(Contents { image: image.clone(), opaque, entries });
    }
    Ok(contents)
}

/// Path and digest of each sysext, by its name and architecture.
fn images(tree: &Tree) -> BTreeMap<String, (String, Sha256)> {
    let files = tree.manifest().files.iter().filter(|(_, file)| file.role == Role::Sysext);
    let named = files.filter_map(|(path, file)| {
        let (name, _, arch) = sysext(path, file.arch)?;
        Some((format!("{name} ({arch})"), (path.clone(), file.sha256)))
    });
    named.collect()
}

/// The entries of an image by path, or the reason why it cannot be examined.
fn entries(tree: &Tree, path: &str) -> Result<Result<BTreeMap<String, Entry>, String>> {
    // Readers of images need a file of its own, and a member of a bundle is not one.
    let scratch = PathBuf::from("a temporary file");
    let mut file = unfinished::scratch("").map_err(disk::Error::io("create", &scratch))?;
    io::copy(&mut tree.open(path)?, &mut file).map_err(disk::Error::io("copy an image to", file.path()))?;
    let image = Extension::open(file.path())?;
    match &image.fault {
        Some(Fault::Broken(why)) => return Ok(Err(format!("{path} is broken: {why}"))),
        Some(Fault::Opaque(what)) => {
            return Ok(Err(format!("{path} is {what}, which prebake cannot read")));
        }
        None => {}
    }
    let mut entries = BTreeMap::new();
    for (name, seen) in &image.entries {
        let mut entry = Entry { kind: "special", mode: seen.mode, size: None, sha256: None, target: None };
        match &seen.kind {
            Kind::Dir => entry.kind = "dir",
            Kind::File(size) => {
                entry = Entry { kind: "file", size: Some(*size), ..entry };
                entry.sha256 = Some(Sha256::of(&image.read(name)?));
            }
            Kind::Symlink(target) => entry = Entry { kind: "link", target: Some(target.clone()), ..entry },
            Kind::Whiteout | Kind::Special => {}
        }
        entries.insert(name.clone(), entry);
    }
    Ok(Ok(entries))
}
