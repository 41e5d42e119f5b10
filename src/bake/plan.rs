//! The plan: which steps a build takes, each with a key over everything that its bytes depend on.
//!
//! A pure value. All keys are known before a byte moves, so that a step whose key is in the store is skipped, and so
//! that `prebake plan` can say what a build would do without doing it. [`crate::bake::steps`] defines the kinds of steps.

use std::collections::BTreeMap;

use crate::bake::boot::{BootWish, Delivery};
use crate::bake::extensions::Selected;
use crate::bake::images::{self, Needs};
use crate::bake::kubernetes;
use crate::bake::outputs::Outputs;
use crate::bake::recipe::Recipe;
use crate::bake::steps::sysext::Booted;
use crate::bake::steps::{Length, Planned, Step, carried, config, image, overlay, sysext};
use crate::base::digest::Sha256;
use crate::base::error::Result;
use crate::base::finding::Finding;
use crate::store::Store;
use crate::sysext::packaging::Packaging;
use crate::tree::lock::Lock;

/// The steps of a build, each after the steps that it needs.
#[derive(Debug)]
pub(crate) struct Plan<'p> {
    /// The steps, in order.
    pub steps: Vec<Step<'p>>,
}

impl<'p> Plan<'p> {
    /// Computes all steps and keys.
    ///
    /// # Errors
    /// A file of a sysext's folder, a stub or an early initrd that cannot be read.
    pub(crate) fn new(
        lock: &'p Lock,
        recipe: &'p Recipe,
        outputs: &Outputs,
        sysexts: &'p [Selected],
        packaging: &'p Packaging,
        needs: &Needs,
        boots: &'p [BootWish],
    ) -> Result<Plan<'p>> {
        let mut steps = sysext::steps(lock, sysexts, packaging)?;
        let mut booted = Booted::default();
        for (sysext, step) in sysexts.iter().zip(&steps).filter(|(sysext, _)| sysext.booted) {
            booted.insert(&sysext.description.name, sysext.version(), sysext.arch, step.key);
        }
        for (reference, arch) in images::wanted(recipe, needs) {
            let is_published =
                kubernetes::is_published(recipe, reference) || needs.published.contains(reference);
            steps.push(image::step(reference, arch, lock, is_published));
        }
        for carried in kubernetes::carried(recipe, needs) {
            let (name, version, arch) = (carried.name.clone(), carried.version.clone(), carried.arch);
            let step = carried::step(carried, lock, packaging);
            booted.insert(&name, &version, arch, step.key);
            steps.push(step);
        }
        for boot in boots {
            match &boot.delivery {
                Delivery::Initrd(layout) => steps.push(overlay::step(boot, *layout, lock, &booted)),
                Delivery::Fetched(base_url) => steps.extend(config::steps(boot, base_url, &booted)),
            }
        }
        let own = outputs.steps(&Planned { recipe, lock, boots, steps: &steps, booted: &booted })?;
        steps.extend(own);
        Ok(Plan { steps })
    }

    /// Judges what the lengths in the lock and in the store tell before anything is fetched or built.
    ///
    /// # Errors
    /// Artifacts that are built already cannot make what the recipe asks for.
    pub(crate) fn foresee(&self, store: &Store) -> Result<Vec<Finding>> {
        // Bytes are read where they are used.
        let store = &store.unread();
        let mut lengths: BTreeMap<Sha256, Length> = BTreeMap::new();
        let mut findings = Vec::new();
        for step in &self.steps {
            let needs = step.needs.iter();
            let needs = needs.filter_map(|(name, key)| Some((name.clone(), *lengths.get(key)?))).collect();
            let built = step.made(store).map(|object| Length { bytes: object.size, is_built: true });
            if built.is_none() {
                findings.extend(step.work.foresee(&needs)?);
            }
            let expected = || Some(Length { bytes: step.work.expected(&needs)?, is_built: false });
            lengths.extend(built.or_else(expected).map(|length| (step.key, length)));
        }
        Ok(findings)
    }
}
