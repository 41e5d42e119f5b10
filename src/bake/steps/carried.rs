//! The sysext that brings container images to a node: a list, and the archives beside it, unless the node fetches them.
//!
//! ```text
//! /usr/share/prebake/images/NAME.list    one archive per line: SHA256 SIZE PLACE REFERENCE MANIFEST NAME…
//! /usr/share/prebake/images/*.tar        the archive at PLACE, if PLACE begins with a slash
//! ```
//! Any other PLACE is a path of the published tree, below the `prebake.url=` that the machine booted from. The archive
//! is imported as REFERENCE and tagged with each NAME. Read by `sysext/prebake-images`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Bench, Done, Lengths, Step, Work, image, sysext};
use crate::bake::artifacts::Artifacts;
use crate::bake::images::{self, Carried, published_path};
use crate::bake::recipe::Carriage;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Result;
use crate::format::tree::{Contents, Entry, PLAIN, Tree};
use crate::registry::reference::ImageRef;
use crate::sysext::description::Os;
use crate::sysext::image::{Assembled, Error};
use crate::sysext::packaging::Packaging;
use crate::tree::lock::Lock;
use crate::tree::names::{IMAGE_LISTS, image_list};

/// Part of step keys; raised when the tree changes for the same images.
pub(crate) const REVISION: u32 = 2;

/// Such a sysext to be.
#[derive(Debug)]
struct Carrying<'p> {
    carried: Carried,
    lock: &'p Lock,
    packaging: &'p Packaging,
}

/// The step that builds the sysext; it needs the archives of its images.
pub(crate) fn step<'p>(carried: Carried, lock: &'p Lock, packaging: &'p Packaging) -> Step<'p> {
    let archive = |reference: &ImageRef| (reference.to_string(), image::key(reference, carried.arch, lock));
    let needs = carried.images.iter().map(archive).collect();
    Step::new(Carrying { carried, lock, packaging }, needs)
}

/// An image whose archive was made.
struct Packed<'i> {
    /// Reference under which it is imported.
    reference: &'i ImageRef,
    /// Digest of the manifest that containerd must have under that name.
    manifest: Sha256,
    /// The index that lists the manifest, if the image is for several platforms.
    index: Option<Sha256>,
    /// Digest and length of the archive.
    archive: Object,
    /// File with the archive's bytes.
    file: PathBuf,
}

impl Packed<'_> {
    /// Names besides the reference: by the digests of manifest and index, as containerd names an image that it pulled.
    /// Its CRI finds images only by their exact names, and charts may state both the tag and the digest of an index.
    fn names(&self) -> impl Iterator<Item = String> {
        let digests = [Some(self.manifest), self.index].into_iter().flatten();
        let own = self.reference.digest().copied();
        let name = self.reference.name();
        digests
            .filter(move |digest| Some(*digest) != own)
            .map(move |digest| format!("{name}@sha256:{digest}"))
    }
}

impl Carrying<'_> {
    /// Assembles the sysext's tree.
    fn assemble(&self, packed: &[Packed<'_>]) -> Result<Assembled, Error> {
        let Carried { name, arch, carriage, .. } = &self.carried;
        let in_tree = |source| Error::Tree { name: name.clone(), source };
        let mut tree = Tree::new();
        let mut list = String::new();
        for image @ Packed { reference, manifest, archive, file, .. } in packed {
            let place = match carriage {
                Carriage::Asset => published_path(reference, *arch),
                Carriage::Sysext => {
                    let path = format!("{IMAGE_LISTS}/{}", reference.file_name(*arch));
                    let contents = Contents::on_disk(file).map_err(in_tree)?;
                    tree.insert(&path, Entry::file(PLAIN, contents, format!("image {reference}")))
                        .map_err(in_tree)?;
                    format!("/{path}")
                }
            };
            let Object { sha256, size } = archive;
            list += &format!("{sha256} {size} {place} {reference} sha256:{manifest}");
            image.names().for_each(|name| list += &format!(" {name}"));
            list.push('\n');
        }
        let path = image_list(name);
        let list = Entry::file(PLAIN, Contents::Bytes(list.into_bytes()), "the list of images");
        tree.insert(&path, list).map_err(in_tree)?;
        Assembled::new(name, tree, Os::Any, *arch, false)
    }
}

impl Work for Carrying<'_> {
    fn id(&self) -> String {
        format!("sysext/{}/{}", self.carried.name, self.carried.arch)
    }

    fn kind(&self) -> (&'static str, u32) {
        ("carried", REVISION)
    }

    fn params(&self) -> Value {
        let Carried { name, version, arch, carriage, images } = &self.carried;
        // Indexes are names of the images; the manifests are in the archives' own keys.
        let indexes: Vec<_> = images
            .iter()
            .map(|image| images::index(self.lock, image, *arch).map(|entry| entry.sha256))
            .collect();
        json!({
            "name": name, "version": version, "arch": arch, "archives_inside": *carriage == Carriage::Sysext,
            "epoch": self.lock.epoch(), "packaging": self.packaging.least().key(), "indexes": indexes,
        })
    }

    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let Carried { name, arch, images, .. } = &self.carried;
        let mut packed = Vec::new();
        for reference in images {
            let archive = bench.needed(&reference.to_string())?;
            let manifest = images::pinned_manifest(self.lock, reference, *arch)?;
            let file = bench.store.path(&archive.sha256);
            let index = images::index(self.lock, reference, *arch).map(|entry| entry.sha256);
            packed.push(Packed { reference, manifest, index, archive, file });
        }
        let assembled = self.assemble(&packed)?;
        let mut scratch = bench.store.scratch()?;
        // Layers are already compressed, so the lowest compression level is enough.
        assembled.write(name, self.lock.epoch(), &self.packaging.least(), scratch.as_file_mut())?;
        Ok(bench.admit_file(scratch)?)
    }

    /// Layers are compressed already.
    fn expected(&self, needs: &Lengths) -> Option<u64> {
        Some(match self.carried.carriage {
            Carriage::Sysext => needs.values().fold(0, |sum, need| need.bytes.saturating_add(sum)),
            Carriage::Asset => 0,
        })
    }

    fn add(&self, done: &Done<'_>, artifacts: &mut Artifacts) -> Result<()> {
        let Carried { name, version, arch, .. } = &self.carried;
        artifacts.sysexts.push(sysext::built(name, version, *arch, self.packaging, done)?);
        Ok(())
    }

    /// Archives that nodes fetch are not in it.
    fn holds_needs(&self) -> bool {
        self.carried.carriage == Carriage::Sysext
    }
}
