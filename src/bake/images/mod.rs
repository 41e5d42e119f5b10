//! The container images that a recipe names: their inputs in the lock, and their archives in the tree.
//!
//! An image is locked as inputs whose ids begin with `image/REFERENCE/ARCH/`: `index` (where there is one), `manifest`,
//! `config`, `layer-1`, `layer-2` …. Leaves the resolution of references to `source::oci`, and the form of archives to
//! `format::oci_archive`.

use std::collections::BTreeMap;

use crate::bake::recipe::{Carriage, Recipe, Role};
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::format::oci_archive::Archive;
use crate::registry::document::{self, Document};
use crate::registry::reference::ImageRef;
use crate::source::fetch::{Check, Want};
use crate::source::input::Entry;
use crate::source::pull::{Image, Resolver};
use crate::store::Store;
use crate::tree::lock::{self, Lock};
use crate::tree::names;

/// An image whose reference is resolved to digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// Architecture of the machines it is for.
    pub arch: Arch,
    /// Reference, as the recipe states it.
    pub reference: ImageRef,
    /// Digests and sizes of its parts.
    pub image: Image,
}

/// Reasons why a locked image cannot be packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The lock was edited, or written by another version of prebake.
    #[error("the lock's entries for the image {image} are incomplete: {why}")]
    Incomplete {
        /// Reference of the image.
        image: ImageRef,
        /// The missing part.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Integrity
    }

    fn hint(&self) -> Option<String> {
        Some("remove its lines `image/…` from the lock and run `prebake lock`".into())
    }
}

fn prefix(reference: &ImageRef, arch: Arch) -> String {
    format!("image/{reference}/{arch}/")
}

/// The lock's entry for an image, if it has one.
fn locked(reference: &ImageRef, arch: Arch, inputs: &BTreeMap<String, Entry>) -> Option<Image> {
    let prefix = prefix(reference, arch);
    let of = |name: &str| inputs.get(&format!("{prefix}{name}")).map(Entry::object);
    let image = Image {
        index: of("index"),
        manifest: of("manifest")?,
        config: of("config")?,
        layers: (1..).map_while(|n| of(&format!("layer-{n}"))).collect(),
    };
    // A reference by digest must agree with the locked digest.
    let top = image.index.unwrap_or(image.manifest).sha256;
    reference.digest().is_none_or(|digest| *digest == top).then_some(image)
}

/// Every image of a recipe, its own and those that Kubernetes needs, once per architecture.
pub(crate) fn wanted<'r>(recipe: &'r Recipe, needs: &'r Needs) -> impl Iterator<Item = (&'r ImageRef, Arch)> {
    let archs = &recipe.release.archs;
    let all = with_own(recipe, needs.of(None)).chain(&needs.published);
    all.flat_map(move |image| archs.iter().map(move |arch| (image, *arch)))
}

/// A recipe's own images, and `needed` ones besides.
pub(crate) fn with_own<'r>(
    recipe: &'r Recipe,
    needed: impl Iterator<Item = &'r ImageRef>,
) -> impl Iterator<Item = &'r ImageRef> {
    let is_own = |need: &ImageRef| recipe.images.iter().any(|image| image.value == *need);
    recipe.images.iter().map(|image| &image.value).chain(needed.filter(move |need| !is_own(need)))
}

/// The images of a recipe that the lock pins, and those that it does not.
pub(crate) fn split(
    recipe: &Recipe,
    needs: &Needs,
    lock: Option<&Lock>,
) -> (Vec<Pinned>, Vec<(ImageRef, Arch)>) {
    let none = BTreeMap::new();
    let inputs = lock.map_or(&none, |lock| &lock.inputs);
    let (mut pinned, mut open) = (Vec::new(), Vec::new());
    for (reference, arch) in wanted(recipe, needs) {
        match locked(reference, arch, inputs) {
            Some(image) => pinned.push(Pinned { arch, reference: reference.clone(), image }),
            None => open.push((reference.clone(), arch)),
        }
    }
    (pinned, open)
}

/// Pins every image of a recipe: by the lock if it has it, else as its registry resolves it now.
pub(crate) async fn pin(
    recipe: &Recipe,
    needs: &Needs,
    lock: Option<&Lock>,
    resolver: &Resolver<'_>,
) -> Result<Vec<Pinned>> {
    let (mut pinned, open) = split(recipe, needs, lock);
    for (reference, arch) in open {
        let image = resolver.resolve(&reference, arch).await?;
        pinned.push(Pinned { arch, reference, image });
    }
    Ok(pinned)
}

/// The inputs of an image.
pub(crate) fn wants(pinned: &Pinned) -> Vec<Want> {
    let Pinned { arch, reference, image } = pinned;
    let prefix = prefix(reference, *arch);
    let want = move |name: &str, url, object| Want {
        id: format!("{prefix}{name}"),
        url,
        check: Check::Described(object),
    };
    let document = |name, object: Object| {
        want(name, reference.manifest_url(&format!("sha256:{}", object.sha256)), object)
    };
    let blob = |name: &str, object: Object| want(name, reference.blob_url(&object.sha256), object);
    let mut wants: Vec<Want> = image.index.map(|object| document("index", object)).into_iter().collect();
    wants.extend([document("manifest", image.manifest), blob("config", image.config)]);
    wants.extend((1..).zip(&image.layers).map(|(n, layer)| blob(&format!("layer-{n}"), *layer)));
    wants
}

/// Bytes of all parts of a locked image that its archive has.
pub(crate) fn length(lock: &Lock, reference: &ImageRef, arch: Arch) -> Option<u64> {
    let image = locked(reference, arch, &lock.inputs)?;
    let parts = [image.manifest, image.config].into_iter().chain(image.layers);
    Some(parts.fold(0, |sum, part| part.size.saturating_add(sum)))
}

/// The manifest of a locked image.
pub(crate) fn manifest<'l>(lock: &'l Lock, reference: &ImageRef, arch: Arch) -> Option<&'l Entry> {
    lock.inputs.get(&format!("{}manifest", prefix(reference, arch)))
}

/// The index of a locked image, if it is for several platforms.
pub(crate) fn index<'l>(lock: &'l Lock, reference: &ImageRef, arch: Arch) -> Option<&'l Entry> {
    lock.inputs.get(&format!("{}index", prefix(reference, arch)))
}

/// The config of a locked image.
pub(crate) fn config<'l>(lock: &'l Lock, reference: &ImageRef, arch: Arch) -> Option<&'l Entry> {
    lock.inputs.get(&format!("{}config", prefix(reference, arch)))
}

/// The manifest digest by which containerd knows a locked image.
pub(crate) fn pinned_manifest(lock: &Lock, reference: &ImageRef, arch: Arch) -> Result<Sha256, Error> {
    let why = || Error::Incomplete { image: reference.clone(), why: "it names no manifest".into() };
    Ok(manifest(lock, reference, arch).ok_or_else(why)?.sha256)
}

/// Assembles a locked image from the store. Every blob that the manifest names must be in the lock, so nothing unpinned
/// is packed.
pub(crate) fn archive<'i>(
    reference: &'i ImageRef,
    arch: Arch,
    lock: &lock::Lock,
    store: &Store,
) -> Result<Archive<'i>> {
    let incomplete = |why: String| Error::Incomplete { image: reference.clone(), why };
    let image = locked(reference, arch, &lock.inputs);
    let image = image.ok_or_else(|| incomplete("it names no manifest and config".into()))?;
    let path = store.path(&image.manifest.sha256);
    let bytes = std::fs::read(&path).map_err(disk::Error::io("read", &path))?;
    let manifest = match document::parse(&bytes).map_err(incomplete)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => return Err(incomplete("its manifest is an index".into()).into()),
    };
    let mut needed = vec![manifest.config];
    needed.extend(manifest.distinct_layers());
    let pinned = |object: &&Object| **object == image.config || image.layers.contains(object);
    if let Some(object) = needed.iter().find(|object| !pinned(object)) {
        return Err(incomplete(format!("its manifest needs sha256:{}", object.sha256)).into());
    }
    let on_disk = |object: Object| (object, store.path(&object.sha256));
    Ok(Archive {
        name: reference.to_string(),
        tag: reference.tag(),
        arch,
        media_type: manifest.media_type,
        manifest: image.manifest,
        blobs: [image.manifest].into_iter().chain(needed).map(on_disk).collect(),
    })
}

/// The images that the nodes of a recipe need. No image is in both lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// On every node: kube-proxy, CoreDNS (wherever it is scheduled), the sandbox image, and the network plugin's.
    pub node: Vec<ImageRef>,
    /// On control planes, in addition.
    pub control_plane: Vec<ImageRef>,
    /// On no node of the recipe: published for others, such as a management cluster. None of the recipe's own.
    pub published: Vec<ImageRef>,
    /// List from kubeadm's source for the lock to remember, if that was read.
    pub kubeadm: Option<lock::Kubeadm>,
    /// Whether kubeadm's source has to be read first; the lists are then empty.
    pub open: bool,
}

/// Images that outputs bring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// For all nodes, where they carry images.
    pub nodes: Vec<ImageRef>,
    /// For others.
    pub published: Vec<ImageRef>,
}

impl Needs {
    /// The same with the images that outputs bring.
    pub(crate) fn with(mut self, more: More, recipe: &Recipe) -> Needs {
        let is_carried = recipe.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.images.is_some());
        let (nodes, others) = if is_carried { (more.nodes, Vec::new()) } else { (Vec::new(), more.nodes) };
        // As long as kubeadm's source was not read, the lists are empty.
        if self.open {
            return self;
        }
        self.node.extend(nodes);
        self.node.sort_by_key(ToString::to_string);
        self.node.dedup();
        self.control_plane.retain(|image| !self.node.contains(image));
        let mut published: Vec<ImageRef> = more.published.into_iter().chain(others).collect();
        published.sort_by_key(ToString::to_string);
        published.dedup();
        published.retain(|image| with_own(recipe, self.of(None)).all(|other| other != image));
        self.published = published;
        self
    }

    /// The images for nodes of a role; without a role, all images.
    pub(crate) fn of(&self, role: Option<Role>) -> impl Iterator<Item = &ImageRef> {
        let control_plane = match role {
            Some(Role::Worker) => &[][..],
            Some(Role::ControlPlane) | None => &self.control_plane,
        };
        self.node.iter().chain(control_plane)
    }
}

/// The image of a repository that a lock has, such as `ghcr.io/kube-vip/kube-vip`, as it is written in manifests.
pub(crate) fn locked_of(lock: &Lock, repository: &str) -> Option<String> {
    let prefix = format!("image/{repository}:");
    let id = lock.inputs.keys().find(|id| id.starts_with(&prefix))?;
    let tag = id[prefix.len()..].split('/').next()?;
    Some(format!("{repository}:{tag}"))
}

/// A sysext of container images, before it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    /// The sysext's name.
    pub name: String,
    /// Its version, that of Kubernetes.
    pub version: String,
    /// Architecture of the machines it is for.
    pub arch: Arch,
    /// Whether the archives are in the sysext or in the tree.
    pub carriage: Carriage,
    /// The images, each once.
    pub images: Vec<ImageRef>,
}

/// Path of an image's archive in a published tree.
pub(crate) fn published_path(reference: &ImageRef, arch: Arch) -> String {
    names::image(&reference.file_name(arch))
}
