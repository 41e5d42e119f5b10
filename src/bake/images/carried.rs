//! The sysext that brings container images to a node: a list, and beside it the archives unless the node fetches them.
//!
//! ```text
//! /usr/share/prebake/images/NAME.list    one line an archive: SHA256 SIZE PLACE REFERENCE MANIFEST NAME…
//! /usr/share/prebake/images/*.tar        what PLACE names, if it begins with a slash
//! ```
//! Any other PLACE is a path of the published tree, below the `prebake.url=` that the machine booted from. The archive is
//! imported as REFERENCE and tagged with each NAME. Read by `sysext/prebake-images`.

use std::path::PathBuf;

use crate::bake::recipe::Carriage;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::format::tree::{Contents, Entry, PLAIN, Tree};
use crate::registry::reference::ImageRef;
use crate::sysext::description::Os;
use crate::sysext::image::{Assembled, Error};

/// Enters step keys; raised when the tree changes for the same images.
pub const REVISION: u32 = 2;

/// Where lists and archives lie, inside the image.
const DIRECTORY: &str = "usr/share/prebake/images";

/// A sysext of container images, before it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The sysext's name.
    pub name: String,
    /// Its version, that of Kubernetes.
    pub version: String,
    /// For which machines.
    pub arch: Arch,
    /// Where the archives lie.
    pub carriage: Carriage,
    /// The images, each once.
    pub images: Vec<ImageRef>,
}

/// An image whose archive was made.
#[derive(Clone, Debug)]
pub struct Packed<'i> {
    /// What it is imported as.
    pub reference: &'i ImageRef,
    /// What containerd must have under that name.
    pub manifest: Sha256,
    /// The index that the manifest was chosen from, if the image is for several platforms.
    pub index: Option<Sha256>,
    /// The archive.
    pub archive: Object,
    /// The file that holds it.
    pub file: PathBuf,
}

/// The path of an image's archive in a published tree.
pub fn published_path(reference: &ImageRef, arch: Arch) -> String {
    format!("assets/images/{}", reference.file_name(arch))
}

impl Packed<'_> {
    /// Names beside the reference, of manifest and index by digest: those under which containerd has an image that it
    /// pulled. Its CRI finds images by their very names, and charts name tag and digest of an index at once.
    fn names(&self) -> impl Iterator<Item = String> {
        let digests = [Some(self.manifest), self.index].into_iter().flatten();
        let own = self.reference.digest().copied();
        let name = self.reference.name();
        digests
            .filter(move |digest| Some(*digest) != own)
            .map(move |digest| format!("{name}@sha256:{digest}"))
    }
}

impl Carried {
    /// Puts the sysext's tree together.
    pub fn assemble(&self, packed: &[Packed<'_>]) -> Result<Assembled, Error> {
        let in_tree = |source| Error::Tree { name: self.name.clone(), source };
        let mut tree = Tree::new();
        let mut list = String::new();
        for image @ Packed { reference, manifest, archive, file, .. } in packed {
            let place = match self.carriage {
                Carriage::Asset => published_path(reference, self.arch),
                Carriage::Sysext => {
                    let path = format!("{DIRECTORY}/{}", reference.file_name(self.arch));
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
        let path = format!("{DIRECTORY}/{}.list", self.name);
        let list = Entry::file(PLAIN, Contents::Bytes(list.into_bytes()), "the list of images");
        tree.insert(&path, list).map_err(in_tree)?;
        Assembled::new(&self.name, tree, Os::Any, self.arch, false)
    }
}
