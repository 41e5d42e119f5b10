//! The parts of what a boot loads, and the memory that they need: the kernel, Flatcar's initrd, and what lies in the
//! overlay beside it.
//!
//! Of an overlay only the headers are read, wherever its bytes are.

use std::io::{Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use super::inject::overlay_offset;
use super::manifest::{File, Joined, Manifest, Role};
use super::names::config_path;
use super::open::Place;
use crate::base::size::Bytes;
use crate::flatcar::memory;
use crate::format::cpio::{Limits, Reader, Seekable};
use crate::initrd::overlay::{self, image_at};
use crate::initrd::seal::Seal;
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
        Role::Overlay => return Some(of_overlay(manifest, place, path, file, 0)),
        Role::Initrd => {
            let base = base_length(place, path, file);
            let part = Part { kind: Kind::Base, name: base_name(path).to_owned(), version: None, size: base };
            let overlay = (base < file.size).then(|| of_overlay(manifest, place, path, file, base));
            return Some([vec![part], overlay.unwrap_or_default()].concat());
        }
        _ => Kind::Other,
    };
    Some(vec![Part { kind, name: base_name(path).to_owned(), version: None, size: file.size }])
}

/// The memory that a machine needs at least to boot into RAM from these parts, and then to fetch so many bytes.
pub(crate) fn memory(parts: &[Part], fetched: u64) -> Bytes {
    memory::needed(parts.iter().filter(|part| part.kind != Kind::Kernel).map(|part| part.size), fetched)
}

/// Length in bytes of the sysexts that the config of a boot fetches; 0 for a boot whose overlay brings them.
pub(crate) fn fetched(manifest: &Manifest, place: &Place, boot: &str) -> u64 {
    let path = config_path(boot);
    let config = manifest.files.get(&path).and_then(|file| place.read(&path, file).ok());
    let Some(config) = config.and_then(|bytes| String::from_utf8(bytes).ok()) else { return 0 };
    let is_named = |path: &str| config.contains(&format!("/{path}\""));
    let sysexts = manifest.files.iter().filter(|(path, file)| file.role == Role::Sysext && is_named(path));
    sysexts.map(|(_, file)| file.size).sum()
}

/// Length in bytes of Flatcar's initrd, and its padding, in a file that has the overlay behind it. Without a seal that is
/// the whole file.
fn base_length(place: &Place, path: &str, file: &File) -> u64 {
    let seal = place.open(path, file).ok().and_then(|mut part| Seal::at_end(&mut part, file.size).ok()?);
    match overlay_offset(seal, file.size) {
        0 => file.size,
        offset => offset,
    }
}

/// The images in an overlay that starts at an offset of a file, and the rest of it. An overlay that cannot be read is one
/// part.
fn of_overlay(manifest: &Manifest, place: &Place, path: &str, file: &File, start: u64) -> Vec<Part> {
    let mut parts = images(manifest, place, path, file, start).unwrap_or_default();
    let rest = parts.iter().fold(file.size - start, |rest, part| rest.saturating_sub(part.size));
    parts.push(Part { kind: Kind::Overlay, name: base_name(path).to_owned(), version: None, size: rest });
    parts
}

fn images(manifest: &Manifest, place: &Place, path: &str, file: &File, start: u64) -> Option<Vec<Part>> {
    let limits = Limits { members: MEMBERS, ..Limits::default() };
    let mut opened = place.open(path, file).ok()?;
    opened.seek(SeekFrom::Start(start)).ok()?;
    let mut archive = Reader::new(path, Seekable(opened), limits);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::digest::Sha256;

    /// Issue 17: `/served` and `build` named different amounts for a boot that fetches its sysexts.
    #[test]
    fn sysexts_that_a_config_fetches_count_for_the_memory_as_in_a_build() {
        const GIB: u64 = 1 << 30;
        let tree = tempfile::tempdir().unwrap();
        let sysext = |name: &str| format!("assets/sysext/{name}/{name}-1-x86-64.raw");
        let config = format!(
            r#"{{"storage":{{"files":[{{"contents":{{"source":"http://10.0.0.1:8080/edge/{}"}}}}]}}}}"#,
            sysext("large")
        );
        let path = config_path("worker");
        std::fs::create_dir_all(tree.path().join(&path).parent().unwrap()).unwrap();
        std::fs::write(tree.path().join(&path), &config).unwrap();
        let row = |role, size| File::new(role, size, Sha256::of(config.as_bytes()));
        let files = BTreeMap::from([
            (path, row(Role::Ignition, config.len() as u64)),
            (sysext("large"), row(Role::Sysext, 3 * GIB)),
            (sysext("another"), row(Role::Sysext, 5 * GIB)),
        ]);
        let manifest = Manifest::new("x", files);
        let place = Place::Directory(tree.path().to_owned());
        let base = [Part { kind: Kind::Base, name: "base".into(), version: None, size: GIB }];
        let memory_of = |boot: &str| memory(&base, fetched(&manifest, &place, boot));
        assert_eq!(memory_of("worker"), Bytes(6 * GIB));
        assert_eq!(memory_of("other"), Bytes(3 * GIB), "its overlay brings all");
    }
}
