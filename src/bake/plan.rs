//! The plan: which steps a build takes, each with a key over everything that its bytes depend on.
//!
//! A pure value. All keys are known before a byte moves, so that a step whose key is in the store is skipped, and so
//! that `prebake plan` can say what a build would do without doing it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bake::boot::{BootWish, Delivery};
use crate::bake::delivery::{self, Completion};
use crate::bake::extensions::Selected;
use crate::bake::images::carried::{self, Carried};
use crate::bake::images::{self, Needs};
use crate::bake::kubernetes;
use crate::bake::lock_ids::{component_id, stock_id};
use crate::bake::outputs::{self, uki};
use crate::bake::recipe::{Carriage, INSTALL_SYSEXTS, Layout, Recipe};
use crate::base::arch::Arch;
use crate::base::canonical::canonical_json;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::Result;
use crate::flatcar::board::INITRD;
use crate::format::{cpio, oci_archive, pe};
use crate::machine::base_url::BaseUrl;
use crate::registry::reference::ImageRef;
use crate::sysext::image;
use crate::sysext::packaging::Packaging;
use crate::tree::lock::Lock;
use crate::tree::names;

/// Steps in an order in which each comes after what it needs.
#[derive(Debug)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One thing to build.
#[derive(Debug)]
pub struct Step {
    /// Such as `sysext/kubernetes/amd64` or `overlay/worker`.
    pub id: String,
    /// SHA-256 of everything that its bytes depend on.
    pub key: Sha256,
    /// Keys of the steps whose outputs it takes, by name.
    pub needs: BTreeMap<String, Sha256>,
    /// What is done.
    pub work: Work,
}

/// What a unified kernel image calls the step that it needs.
pub const OVERLAY: &str = "overlay";

/// The kinds of steps.
#[derive(Debug)]
pub enum Work {
    /// Builds the image of the selected sysext at this index.
    Sysext(usize),
    /// Builds the overlay of the boot at this index from its config and the sysexts it needs, joined to its base or
    /// sealed for it where the layout asks for that.
    Overlay(usize, Layout),
    /// Completes a boot's config with where its sysexts are fetched.
    Config(Completion),
    /// Packs a container image.
    Image(ImageRef, Arch),
    /// Builds the sysext that carries container images.
    Carried(Carried),
    /// Puts the boot at this index into one UEFI program.
    Uki(usize, Box<uki::Wish>),
}

impl Plan {
    /// Computes all steps and keys.
    ///
    /// # Errors
    /// A file of a sysext's folder, a stub or an early initrd that cannot be read.
    pub fn new(
        lock: &Lock,
        recipe: &Recipe,
        sysexts: &[Selected],
        packaging: &Packaging,
        needs: &Needs,
        boots: &[BootWish],
    ) -> Result<Plan> {
        let epoch = lock.epoch();
        let mut steps = sysext_steps(lock, sysexts, packaging)?;
        let booted = sysexts.iter().zip(&steps).filter(|(sysext, _)| sysext.booted);
        let mut booted: Booted = booted
            .map(|(sysext, step)| {
                let path = names::sysext_path(&sysext.description.name, sysext.version(), sysext.arch);
                ((sysext.description.name.clone(), sysext.arch), (step.key, path))
            })
            .collect();
        for (reference, arch) in images::wanted(recipe, needs) {
            let key = image_key(lock, reference, arch);
            let id = format!("image/{reference}/{arch}");
            let work = Work::Image(reference.clone(), arch);
            steps.push(Step { id, key, needs: BTreeMap::new(), work });
        }
        for carried in kubernetes::carried(recipe, needs) {
            let Carried { name, version, arch, carriage, images } = &carried;
            let archives = images.iter().map(|image| (image.to_string(), image_key(lock, image, *arch)));
            let archives = archives.collect();
            let in_it = *carriage == Carriage::Sysext;
            // They are names of the images; the manifests are in the archives' own keys.
            let indexes: Vec<_> = images
                .iter()
                .map(|image| images::index(lock, image, *arch).map(|entry| entry.sha256))
                .collect();
            let params = json!({
                "name": name, "version": version, "arch": arch, "archives_inside": in_it, "epoch": epoch,
                "packaging": packaging.least().key(), "indexes": indexes,
            });
            let key = step_key("carried", carried::REVISION, &params, &archives);
            let path = names::sysext_path(name, version, *arch);
            booted.insert((name.clone(), *arch), (key, path));
            let id = format!("sysext/{name}/{arch}");
            steps.push(Step { id, key, needs: archives, work: Work::Carried(carried) });
        }
        let mut overlays = Vec::new();
        for (index, boot) in boots.iter().enumerate() {
            match &boot.delivery {
                Delivery::Initrd(layout) => {
                    let step = overlay_step(lock, index, boot, *layout, &booted);
                    overlays.push(Some(step.key));
                    steps.push(step);
                }
                Delivery::Fetched(base_url) => {
                    overlays.push(None);
                    steps.extend(config_steps(index, boots, base_url, &booted));
                }
            }
        }
        if let Some(uki) = outputs::uki(recipe) {
            for (index, (boot, overlay)) in boots.iter().zip(overlays).enumerate() {
                let wish = uki.wish(recipe, lock, boot)?;
                let needs = overlay.map(|overlay| (OVERLAY.to_owned(), overlay)).into_iter().collect();
                let key = step_key("uki", pe::REVISION, &wish.params(), &needs);
                steps.push(Step {
                    id: format!("uki/{}", boot.id),
                    key,
                    needs,
                    work: Work::Uki(index, Box::new(wish)),
                });
            }
        }
        Ok(Plan { steps })
    }
}

/// The key of the step that builds each sysext that is booted, and where the tree has the image.
type Booted = BTreeMap<(String, Arch), (Sha256, String)>;

/// The step that makes a boot's overlay.
fn overlay_step(lock: &Lock, index: usize, boot: &BootWish, layout: Layout, booted: &Booted) -> Step {
    let key_of = |name: &String| booted[&(name.clone(), boot.arch)].0;
    let needs: BTreeMap<String, Sha256> =
        boot.sysexts.iter().map(|name| (name.clone(), key_of(name))).collect();
    let mut params = json!({"ignition": Sha256::of(&boot.ignition), "epoch": lock.epoch()});
    let mut kind = "overlay";
    if layout != Layout::Overlay {
        kind = "initrd";
        let base = lock.inputs.get(&stock_id(boot.arch, INITRD)).map(|entry| entry.sha256);
        params["base"] = json!({"sha256": base, "joined": layout == Layout::Single});
    }
    let key = step_key(kind, cpio::REVISION, &params, &needs);
    Step { id: format!("{kind}/{}", boot.id), key, needs, work: Work::Overlay(index, layout) }
}

/// The steps that complete a boot's config, and that of the system which it installs: they need the sysexts, as the configs
/// hold their digests.
fn config_steps(index: usize, boots: &[BootWish], base_url: &BaseUrl, booted: &Booted) -> Vec<Step> {
    let boot = &boots[index];
    let step = |installed: bool| {
        // A machine that installs itself needs no more for that than what does it.
        let wanted = |name: &&String| {
            boot.installed.is_none() || INSTALL_SYSEXTS.contains(&name.as_str()) != installed
        };
        let (mut needs, mut paths) = (BTreeMap::new(), BTreeMap::new());
        for name in boot.sysexts.iter().filter(wanted) {
            let (key, path) = &booted[&(name.clone(), boot.arch)];
            needs.insert(name.clone(), *key);
            paths.insert(name.clone(), path.clone());
        }
        let completion = Completion { boot: index, installed, base_url: base_url.clone(), paths };
        let mut params = completion.params();
        params["ignition"] = json!(Sha256::of(completion.config(boots)));
        let key = step_key("config", delivery::REVISION, &params, &needs);
        let id = if installed { names::installed_id(&boot.id) } else { boot.id.clone() };
        Step { id: format!("config/{id}"), key, needs, work: Work::Config(completion) }
    };
    std::iter::once(step(false)).chain(boot.installed.as_ref().map(|_| step(true))).collect()
}

/// The steps that build these sysexts from what a lock says of their components, in the same order.
///
/// # Errors
/// A file of a sysext's folder that cannot be read.
pub fn sysext_steps(lock: &Lock, sysexts: &[Selected], packaging: &Packaging) -> Result<Vec<Step>> {
    let epoch = lock.epoch();
    let mut steps = Vec::new();
    for (index, sysext) in sysexts.iter().enumerate() {
        let (name, arch) = (&sysext.description.name, sysext.arch);
        let components: BTreeMap<&str, Option<Sha256>> = sysext
            .components
            .iter()
            .map(|component| {
                let entry = lock.inputs.get(&component_id(sysext, &component.name));
                (component.name.as_str(), entry.map(|entry| entry.sha256))
            })
            .collect();
        let folder = sysext.description.digest().map_err(disk::Error::io("read", name.as_ref()))?;
        let variables: BTreeMap<&str, &str> = sysext.variables.iter().collect();
        let params = json!({
            "name": name, "arch": arch, "folder": folder, "variables": variables,
            "components": components, "epoch": epoch, "packaging": packaging.key(),
        });
        let key = step_key("sysext", image::REVISION, &params, &BTreeMap::new());
        steps.push(Step {
            id: format!("sysext/{}/{arch}", sysext.id()),
            key,
            needs: BTreeMap::new(),
            work: Work::Sysext(index),
        });
    }
    Ok(steps)
}

/// The manifest's digest covers config and layers.
fn image_key(lock: &Lock, reference: &ImageRef, arch: Arch) -> Sha256 {
    let manifest = images::manifest(lock, reference, arch).map(|entry| entry.sha256);
    let params = json!({"name": reference.to_string(), "tag": reference.tag(), "manifest": manifest});
    step_key("image", oci_archive::REVISION, &params, &BTreeMap::new())
}

/// `revision` is raised beside a builder when its bytes change for the same inputs.
fn step_key(kind: &str, revision: u32, params: &Value, needs: &BTreeMap<String, Sha256>) -> Sha256 {
    #[derive(Serialize)]
    struct Key<'k> {
        kind: &'k str,
        revision: u32,
        params: &'k Value,
        needs: &'k BTreeMap<String, Sha256>,
    }
    Sha256::of(&canonical_json(&Key { kind, revision, params, needs }))
}
