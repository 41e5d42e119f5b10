//! The plan: which steps a build takes, each with a key over everything that its bytes depend on.
//!
//! A pure value. All keys are known before a byte moves, so that a step whose key is in the store is skipped, and so
//! that `prebake plan` can say what a build would do without doing it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::error::Result;
use crate::format::{cpio, oci_archive, pe};
use crate::images;
use crate::images::carried::{self, Carried};
use crate::kubernetes::{self, Needs};
use crate::lock::Lock;
use crate::output::{self, uki};
use crate::recipe::{Carriage, Layout, Recipe};
use crate::repro::canonical_json;
use crate::resolve::{component_id, stock_id};
use crate::source::flatcar::INITRD;
use crate::source::oci::ImageRef;
use crate::store;
use crate::sysext::image;
use crate::sysext::packaging::Packaging;
use crate::sysexts::Selected;

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
    Overlay(usize),
    /// Packs a container image.
    Image(ImageRef, Arch),
    /// Builds the sysext that carries container images.
    Carried(Carried),
    /// Puts a boot into one UEFI program.
    Uki(Box<uki::Wish>),
}

/// What one class of machines, or one machine, shall boot: the input of an overlay.
#[derive(Debug)]
pub struct BootWish {
    /// [`Recipe::boot_id`].
    pub id: String,
    /// For which machines.
    pub arch: Arch,
    /// The profile.
    pub profile: String,
    /// The node, if the boot is its own.
    pub node: Option<String>,
    /// How it comes to the machine.
    pub layout: Layout,
    /// Kernel arguments of the recipe.
    pub kernel_args: Vec<String>,
    /// The compiled Ignition config.
    pub ignition: Vec<u8>,
    /// The config of the system that this boot installs, if it does.
    pub installed: Option<Vec<u8>>,
    /// The config with the secrets of its machines, if they have any. No key and no manifest depends on it.
    pub private: Option<Vec<u8>>,
    /// Names of its sysexts.
    pub sysexts: Vec<String>,
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
        let mut keys: BTreeMap<(String, Arch), Sha256> =
            booted.map(|(sysext, step)| ((sysext.description.name.clone(), sysext.arch), step.key)).collect();
        let mut overlays = Vec::new();
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
            let params = json!({
                "name": name, "version": version, "arch": arch, "archives_inside": in_it, "epoch": epoch,
                "packaging": packaging.least().key(),
            });
            let key = step_key("carried", carried::REVISION, &params, &archives);
            keys.insert((name.clone(), *arch), key);
            let id = format!("sysext/{name}/{arch}");
            steps.push(Step { id, key, needs: archives, work: Work::Carried(carried) });
        }
        for (index, boot) in boots.iter().enumerate() {
            let needs: BTreeMap<String, Sha256> =
                boot.sysexts.iter().map(|name| (name.clone(), keys[&(name.clone(), boot.arch)])).collect();
            let mut params = json!({"ignition": Sha256::of(&boot.ignition), "epoch": epoch});
            let mut kind = "overlay";
            if boot.layout != Layout::Overlay {
                kind = "initrd";
                let base = lock.inputs.get(&stock_id(boot.arch, INITRD)).map(|entry| entry.sha256);
                params["base"] = json!({"sha256": base, "joined": boot.layout == Layout::Single});
            }
            let key = step_key(kind, cpio::REVISION, &params, &needs);
            steps.push(Step { id: format!("{kind}/{}", boot.id), key, needs, work: Work::Overlay(index) });
            overlays.push(key);
        }
        if let Some(uki) = output::uki(recipe) {
            for (boot, overlay) in boots.iter().zip(overlays) {
                let wish = uki.wish(recipe, lock, boot)?;
                let needs = BTreeMap::from([(OVERLAY.to_owned(), overlay)]);
                let key = step_key("uki", pe::REVISION, &wish.params(), &needs);
                steps.push(Step {
                    id: format!("uki/{}", boot.id),
                    key,
                    needs,
                    work: Work::Uki(Box::new(wish)),
                });
            }
        }
        Ok(Plan { steps })
    }
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
        let folder = sysext.description.digest().map_err(store::Error::io("read", name.as_ref()))?;
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
