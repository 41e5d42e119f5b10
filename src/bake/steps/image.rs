//! The archive of a container image, packed of the blobs that the lock pins.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bench, Done, Foreign, Lengths, Part, Step, Work};
use crate::bake::artifacts::{Artifacts, ImageArchive};
use crate::bake::images;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Result;
use crate::format::oci_archive;
use crate::registry::reference::ImageRef;
use crate::tree::lock::Lock;

/// An archive to be.
#[derive(Debug)]
struct Image<'p> {
    reference: ImageRef,
    arch: Arch,
    lock: &'p Lock,
    is_published: bool,
}

/// The step that packs an image; `is_published` says whether the archive is a file of the tree.
pub(crate) fn step<'p>(reference: &ImageRef, arch: Arch, lock: &'p Lock, is_published: bool) -> Step<'p> {
    Step::new(Image { reference: reference.clone(), arch, lock, is_published }, BTreeMap::new())
}

/// The key of the step that packs an image.
pub(super) fn key(reference: &ImageRef, arch: Arch, lock: &Lock) -> Sha256 {
    step(reference, arch, lock, false).key
}

impl Work for Image<'_> {
    fn id(&self) -> String {
        format!("image/{}/{}", self.reference, self.arch)
    }

    fn kind(&self) -> (&'static str, u32) {
        ("image", oci_archive::REVISION)
    }

    /// Key of an image's step; the manifest's digest covers config and layers.
    fn params(&self) -> Value {
        let manifest = images::manifest(self.lock, &self.reference, self.arch).map(|entry| entry.sha256);
        json!({"name": self.reference.to_string(), "tag": self.reference.tag(), "manifest": manifest})
    }

    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let archive = images::archive(&self.reference, self.arch, self.lock, bench.store)?;
        let mut incoming = bench.store.incoming()?;
        archive.write(&mut incoming)?;
        Ok(bench.admit(incoming)?)
    }

    fn expected(&self, _: &Lengths) -> Option<u64> {
        images::length(self.lock, &self.reference, self.arch)
    }

    fn add(&self, done: &Done<'_>, artifacts: &mut Artifacts) -> Result<()> {
        if self.is_published {
            let (reference, arch) = (self.reference.clone(), self.arch);
            let archive =
                ImageArchive { reference, arch, object: done.artifact.object, step: done.artifact.step };
            artifacts.images.push(archive);
        }
        Ok(())
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part::Image(&self.reference, self.arch)]
    }

    fn foreign(&self) -> Option<Foreign<'_>> {
        let config = images::config(self.lock, &self.reference, self.arch)?;
        Some(Foreign::Config(&self.reference, config))
    }
}
