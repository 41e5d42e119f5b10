//! The container images that Kubernetes and its network need, for nodes that must have them without a registry.
//!
//! A version's list comes from the table of the sysext `kubernetes`; for a version that is not in the table, kubeadm's
//! source is read once, and the lock remembers the result. Nothing that was fetched is run. Leaves references and
//! archives to `images`, and the node's part to `sysext/prebake-images`.

pub mod kubeadm;

use std::collections::BTreeMap;

use crate::bake::extensions::{PauseFrom, Selected};
use crate::bake::images::{self, Carried, Needs};
use crate::bake::recipe::{Carriage, Profile, Recipe, Role, Sysext, name_of};
use crate::base::arch::Arch;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, Place};
use crate::base::yaml::decode::Spanned;
use crate::registry::reference::ImageRef;
use crate::source::http::Http;
use crate::sysext::known::{CONTROL_PLANE, NODE, SYSEXT};
use crate::tree::lock::{self, Lock};

const KUBE_VIP: &str = "kube-vip";

/// Images that a recipe needs, as far as its sysexts and its lock know.
///
/// # Errors
/// Findings at the recipe's `kubernetes:` where a list is missing or wrong.
pub fn needs(recipe: &Recipe, sysexts: &[Selected], lock: Option<&Lock>) -> Result<Needs> {
    // No image list depends on the architecture.
    let Some(sysext) = booted(sysexts).next() else { return Ok(Needs::default()) };
    let lists = match recipe.kubernetes.as_ref().and_then(|k| Some((k, k.images.as_ref()?))) {
        Some((kubernetes, images)) => {
            let lists = sysext.description.images(&sysext.variables)?;
            Some((kubernetes, Lists { place: &images.carriage.place, lists }))
        }
        None => None,
    };
    let is_unlisted = lists.as_ref().is_some_and(|(_, lists)| !is_complete(&lists.lists));
    let mut kubeadm = None;
    if is_unlisted || sysexts.iter().any(|sysext| sysext.pause != PauseFrom::Written) {
        let said = lock.and_then(|lock| lock.kubeadm.as_ref());
        let Some(said) = said.filter(|said| said.version == sysext.version()) else {
            return Ok(Needs { open: true, ..Needs::default() });
        };
        kubeadm = Some(said.clone());
    }
    let Some((kubernetes, lists)) = lists else { return Ok(Needs { kubeadm, ..Needs::default() }) };
    let (mut node, mut control_plane) = match kubeadm.as_ref().filter(|_| is_unlisted) {
        Some(said) => kubeadm::lists(&said.images).map_err(|why| lists.wrong(why))?,
        None => (lists.get(NODE)?, lists.get(CONTROL_PLANE)?),
    };
    if let Some(cni) = kubernetes.cni {
        node.extend(lists.need(cni.as_str())?);
    }
    if kubernetes.kube_vip {
        control_plane.extend(lists.need(KUBE_VIP)?);
    }
    for list in [&mut node, &mut control_plane] {
        list.sort_by_key(ToString::to_string);
        list.dedup();
    }
    control_plane.retain(|image| !node.contains(image));
    let needs = Needs { node, control_plane, kubeadm, ..Needs::default() };
    let (needs, _) = Findings::settle(collisions(recipe, &needs), needs)?;
    Ok(needs)
}

/// Images of the recipe whose archives would have the file names of images that Kubernetes needs.
fn collisions(recipe: &Recipe, needs: &Needs) -> Vec<Finding> {
    // Any architecture will do: each name ends in it.
    let file = |image: &ImageRef| image.file_name(Arch::Amd64);
    let collision = |own: &Spanned<ImageRef>| {
        let other = needs.of(None).find(|need| **need != own.value && file(need) == file(&own.value))?;
        let text =
            format!("`{}` and Kubernetes' own `{other}` would have archives of the same name", own.value);
        let hint = "leave it out, or name it by digest, without a tag";
        Some(Finding::error(text).at(own.place.clone()).hint(hint))
    };
    recipe.images.iter().filter_map(collision).collect()
}

/// Reads in kubeadm's source which images the Kubernetes of these sysexts needs; returns the lock with the list.
///
/// # Errors
/// [`kubeadm::Error`].
pub(crate) async fn look_up(sysexts: &[Selected], mut lock: Lock, http: &Http<'_>) -> Result<Lock> {
    let Some(sysext) = booted(sysexts).next() else { return Ok(lock) };
    let version = sysext.version().to_owned();
    kubeadm::minor(&version)?;
    let unread = |source| kubeadm::Error::Unread { version: version.clone(), source };
    let (constants, asked) = http.text(&kubeadm::url(&version)).await.map_err(unread)?;
    let images = kubeadm::images(&String::from_utf8_lossy(&constants), &version, &asked)?;
    lock.kubeadm = Some(lock::Kubeadm { version, images });
    Ok(lock)
}

/// Whether the lists of a sysext name the images of control planes and of all nodes.
pub(crate) fn is_complete(lists: &BTreeMap<String, Vec<String>>) -> bool {
    [CONTROL_PLANE, NODE].iter().all(|list| lists.get(*list).is_some_and(|images| !images.is_empty()))
}

/// The sysext `kubernetes` as nodes boot it, for each architecture.
fn booted(sysexts: &[Selected]) -> impl Iterator<Item = &Selected> {
    sysexts.iter().filter(|sysext| sysext.booted && sysext.description.name == SYSEXT)
}

/// The image lists of a sysext, and the place where the recipe asks for them.
struct Lists<'r> {
    place: &'r Place,
    lists: BTreeMap<String, Vec<String>>,
}

impl Lists<'_> {
    /// A list by name; empty where the sysext has none of that name.
    fn get(&self, name: &str) -> Result<Vec<ImageRef>, Findings> {
        let images = self.lists.get(name).into_iter().flatten();
        images.map(|image| image.parse()).collect::<Result<_, String>>().map_err(|why| self.wrong(why))
    }

    fn need(&self, name: &str) -> Result<Vec<ImageRef>, Findings> {
        let list = self.get(name)?;
        if list.is_empty() {
            let known: Vec<&str> = self.lists.keys().map(String::as_str).collect();
            let why = format!("it has no list `{name}`, only {}", known.join(", "));
            return Err(self.wrong(why));
        }
        Ok(list)
    }

    fn wrong(&self, why: String) -> Findings {
        let finding = Finding::error(format!("the image lists of sysext `{SYSEXT}`: {why}"));
        finding.at(self.place.clone()).hint("correct `images:` in its sysext.yaml").into()
    }
}

/// Name of the sysext with the images of a profile's nodes, if they carry any. Control planes may run everything that
/// workers do, so there are two sets.
pub(crate) fn sysext_of(recipe: &Recipe, profile: &Profile) -> Option<&'static str> {
    recipe.images_of(profile)?;
    Some(match profile.role {
        Some(Role::Worker) => "kubernetes-images-worker",
        Some(Role::ControlPlane) | None => "kubernetes-images",
    })
}

/// The sysexts of images for nodes: one for each set that a profile uses, for each architecture.
pub(crate) fn carried(recipe: &Recipe, needs: &Needs) -> Vec<Carried> {
    let Some(kubernetes) = &recipe.kubernetes else { return Vec::new() };
    let mut sets = BTreeMap::new();
    for profile in recipe.profiles.values() {
        if let (Some(name), Some(images)) = (sysext_of(recipe, profile), recipe.images_of(profile)) {
            sets.insert(name, (profile.role, images.carriage.value));
        }
    }
    let of_arch = |name: &str, role, carriage, arch| Carried {
        name: name.to_owned(),
        version: kubernetes.version.value.clone(),
        arch,
        carriage,
        images: images::with_own(recipe, needs.of(role)).cloned().collect(),
    };
    let archs = recipe.release.archs.iter();
    let of_set =
        |(name, (role, carriage))| archs.clone().map(move |arch| of_arch(name, role, carriage, *arch));
    sets.into_iter().flat_map(of_set).collect()
}

/// Whether an image's archive is a file of the tree: the recipe's own images are, and those that nodes fetch.
pub(crate) fn is_published(recipe: &Recipe, reference: &ImageRef) -> bool {
    let images = recipe.kubernetes.as_ref().and_then(|kubernetes| kubernetes.images.as_ref());
    images.is_some_and(|images| images.carriage.value == Carriage::Asset)
        || recipe.images.iter().any(|image| image.value == *reference)
}

/// Warning about profiles whose containerd would ask a registry for its own sandbox image, which no list names.
pub(crate) fn sandbox_warning(recipe: &Recipe) -> Option<Finding> {
    let images = recipe.kubernetes.as_ref()?.images.as_ref()?;
    let lacking = recipe.profiles.iter().filter(|(_, profile)| {
        let configured = |sysext: &&Sysext| name_of(&sysext.name) == "containerd-config";
        recipe.images_of(profile).is_some() && !recipe.sysexts_of(profile).iter().any(configured)
    });
    let lacking: Vec<&str> = lacking.map(|(name, _)| name.as_str()).collect();
    if lacking.is_empty() {
        return None;
    }
    let text = format!(
        "nodes of {} carry images, but their containerd starts every pod with its default sandbox image, which it \
         would pull from a registry",
        lacking.join(", ")
    );
    let hint = "add the sysext `containerd-config`, which sets the sandbox image that kubeadm wants";
    Some(Finding::warning(text).at(images.carriage.place.clone()).hint(hint))
}
