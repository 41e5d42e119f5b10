//! The parts of what a boot loads, and the memory that they need: the kernel, Flatcar's initrd, and what lies in the
//! overlay beside it.
//!
//! Of an overlay only the headers are read, wherever its bytes are.

use serde::{Deserialize, Serialize};

use super::manifest::{File, Joined, Manifest, Role};
use super::open::Place;
use crate::base::size::Bytes;
use crate::flatcar::memory;
use crate::format::cpio::{Limits, Reader, Seekable};
use crate::initrd::overlay::{self, image_at};
use crate::sysext::place::IMAGE_END;

/// The most members of an overlay that are looked at. A machine has some ten sysexts.
const MEMBERS: usize = 10_000;

/// A part of what a boot loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its purpose.
    pub kind: Kind,
    /// The name of a sysext or container image, or else of the file.
    pub name: String,
    /// The version of a sysext, if the tree publishes its image, too.
    pub version: Option<String>,
    /// Length in bytes.
    pub size: u64,
}

/// The purpose of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The kernel.
    Kernel,
    /// Flatcar's initrd.
    Base,
    /// An initrd before Flatcar's.
    Early,
    /// The image of a sysext in the overlay.
    Sysext,
    /// A container image in the overlay.
    Image,
    /// The rest of an overlay: its config, links and headers.
    Overlay,
    /// Another file.
    Other,
}

/// The parts of a published file, or of two joined ones; `None` if the manifest has no such file.
pub(crate) fn of_file(manifest: &Manifest, place: &Place, path: &str) -> Option<Vec<Part>> {
    if let Some(Joined { parts, .. }) = manifest.joined.get(path) {
        let parts = parts.iter().filter_map(|path| of_file(manifest, place, path));
        return Some(parts.flatten().collect());
    }
    let file = manifest.files.get(path)?;
    let kind = match file.role {
        Role::Kernel => Kind::Kernel,
        Role::BaseInitrd => Kind::Base,
        Role::EarlyInitrd => Kind::Early,
        Role::Overlay => return Some(of_overlay(manifest, place, path, file)),
        _ => Kind::Other,
    };
    Some(vec![Part { kind, name: base_name(path).to_owned(), version: None, size: file.size }])
}

/// The memory that a machine needs at least to boot into RAM from these parts.
pub(crate) fn memory(parts: &[Part]) -> Bytes {
    memory::needed(parts.iter().filter(|part| part.kind != Kind::Kernel).map(|part| part.size), 0)
}

/// The images in an overlay, and the rest of it. An overlay that cannot be read is one part.
fn of_overlay(manifest: &Manifest, place: &Place, path: &str, file: &File) -> Vec<Part> {
    let mut parts = images(manifest, place, path, file).unwrap_or_default();
    let rest = parts.iter().fold(file.size, |rest, part| rest.saturating_sub(part.size));
    parts.push(Part { kind: Kind::Overlay, name: base_name(path).to_owned(), version: None, size: rest });
    parts
}

fn images(manifest: &Manifest, place: &Place, path: &str, file: &File) -> Option<Vec<Part>> {
    let limits = Limits { members: MEMBERS, ..Limits::default() };
    let mut archive = Reader::new(path, Seekable(place.open(path, file).ok()?), limits);
    let mut parts = Vec::new();
    while let Some(member) = archive.next_member().ok()? {
        let Some(image) = image_at(&member.path).filter(|_| member.is_file()) else { continue };
        let size = u64::from(member.size);
        let (kind, name, version) = match image {
            overlay::Image::Sysext(name) => (Kind::Sysext, name, version_of(manifest, name, size)),
            overlay::Image::Container(name) => (Kind::Image, name, None),
        };
        parts.push(Part { kind, name: name.to_owned(), version, size });
    }
    Some(parts)
}

/// The version of the sysext image with this name and length, if only one is published.
fn version_of(manifest: &Manifest, name: &str, size: u64) -> Option<String> {
    let mut found = sysexts(manifest).filter(|(image, file)| image.name == name && file.size == size);
    let (image, _) = found.next()?;
    found.all(|(other, _)| other.version == image.version).then(|| image.version.to_owned())
}

/// The name, version and architecture in the file name of a published sysext image.
pub(crate) struct Image<'p> {
    /// The sysext's name.
    pub name: &'p str,
    /// Its version.
    pub version: &'p str,
    /// The architecture as systemd writes it.
    pub arch: &'p str,
}

/// The published sysext images.
pub(crate) fn sysexts(manifest: &Manifest) -> impl Iterator<Item = (Image<'_>, &File)> {
    let files = manifest.files.iter().filter(|(_, file)| file.role == Role::Sysext);
    files.filter_map(|(path, file)| {
        let (folder, file_name) = path.rsplit_once('/')?;
        let name = base_name(folder);
        // The inverse of `names::sysext_file`: an architecture of systemd contains hyphens, and versions may, too.
        let rest = file_name.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(IMAGE_END)?;
        let arch = crate::base::arch::Arch::ALL.into_iter().find_map(|arch| {
            let version = rest.strip_suffix(arch.systemd())?.strip_suffix('-')?;
            Some((version, arch.systemd()))
        });
        let (version, arch) = arch?;
        Some((Image { name, version, arch }, file))
    })
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
