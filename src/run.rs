//! Runs a plan: builds what is not in the store yet.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::error::Result;
use crate::event::{Event, Observer};
use crate::format::cpio;
use crate::images;
use crate::images::carried::{Carried, Packed};
use crate::initrd::inject;
use crate::initrd::overlay::Overlay;
use crate::lock::{Entry, Lock};
use crate::plan::{BootWish, Plan, Step, Work};
use crate::recipe::Layout;
use crate::resolve::{component_id, stock_id};
use crate::source::flatcar::INITRD;
use crate::source::oci::ImageRef;
use crate::store::{self, Object, Store};
use crate::sysext::image;
use crate::sysext::packaging::Packaging;
use crate::sysexts::Selected;

/// The one output that each step has so far.
const OUTPUT: &str = "out";

/// What a plan is run on.
pub struct Runner<'r> {
    /// Where objects and step records lie.
    pub store: &'r Store,
    /// The inputs.
    pub lock: &'r Lock,
    /// The sysexts, in the plan's order.
    pub sysexts: &'r [Selected],
    /// What the sysexts' images are made with.
    pub packaging: &'r Packaging,
    /// The boots, in the plan's order.
    pub boots: &'r [BootWish],
    /// Who listens.
    pub observer: &'r dyn Observer,
}

/// What came of a step.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What it made.
    pub object: Object,
    /// Whether it was in the store already.
    pub cached: bool,
}

impl Runner<'_> {
    /// Runs every step that the store has not seen; outcomes are in the plan's order.
    pub fn run(&self, plan: &Plan) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for step in &plan.steps {
            if let Some(object) = self.made(&step.key) {
                outcomes.push(Outcome { object, cached: true });
                continue;
            }
            for corrupt in self.store.take_corrupt() {
                self.observer.notice(Event::Corrupt { id: &step.id, why: &corrupt.why });
            }
            self.observer.notice(Event::StepStarted { id: &step.id });
            let started = Instant::now();
            let object = self.build(step)?;
            self.store.record_step(&step.key, &BTreeMap::from([(OUTPUT.to_owned(), object)]))?;
            let took = started.elapsed();
            self.observer.notice(Event::StepDone { id: &step.id, size: object.size, took });
            outcomes.push(Outcome { object, cached: false });
        }
        Ok(outcomes)
    }

    /// What a step made, if the store has it.
    fn made(&self, key: &Sha256) -> Option<Object> {
        self.store.step(key)?.get(OUTPUT).copied()
    }

    fn build(&self, step: &Step) -> Result<Object> {
        match &step.work {
            Work::Sysext(index) => self.sysext(&self.sysexts[*index]),
            Work::Overlay(index) => self.overlay(&self.boots[*index], step),
            Work::Image(reference, arch) => self.image(reference, *arch),
            Work::Carried(carried) => self.carried(carried, step),
        }
    }

    fn sysext(&self, sysext: &Selected) -> Result<Object> {
        let description = &sysext.description;
        let mut fetched = BTreeMap::new();
        for component in &sysext.components {
            let id = component_id(sysext, &component.name);
            if let Some(entry) = self.lock.inputs.get(&id) {
                fetched.insert(component.name.clone(), self.store.path(&entry.sha256));
            }
        }
        let spool = self.store.spool()?;
        let assembled = image::assemble(description, sysext.arch, &sysext.variables, &fetched, spool.path())?;
        let mut scratch = self.store.scratch()?;
        assembled.write(&description.name, self.lock.epoch(), self.packaging, scratch.as_file_mut())?;
        Ok(self.store.admit(store::Unverified::of_file(scratch)?.made_here())?)
    }

    fn image(&self, reference: &ImageRef, arch: Arch) -> Result<Object> {
        let archive = images::archive(reference, arch, self.lock, self.store)?;
        let mut incoming = self.store.incoming()?;
        archive.write(&mut incoming)?;
        Ok(self.store.admit(incoming.finish()?.made_here())?)
    }

    fn carried(&self, carried: &Carried, step: &Step) -> Result<Object> {
        let mut packed = Vec::new();
        for reference in &carried.images {
            let key = &step.needs[&reference.to_string()];
            let archive = self.made(key).ok_or_else(|| gone(self.store.path(key)))?;
            let manifest = images::pinned_manifest(self.lock, reference, carried.arch)?;
            let file = self.store.path(&archive.sha256);
            packed.push(Packed { reference, manifest, archive, file });
        }
        let assembled = carried.assemble(&packed)?;
        let mut scratch = self.store.scratch()?;
        // Layers are compressed already: more than the least effort gains nothing.
        assembled.write(&carried.name, self.lock.epoch(), &self.packaging.least(), scratch.as_file_mut())?;
        Ok(self.store.admit(store::Unverified::of_file(scratch)?.made_here())?)
    }

    /// The images are found through the links that the config makes (`compile`).
    fn overlay(&self, boot: &BootWish, step: &Step) -> Result<Object> {
        let mut overlay = Overlay::default();
        overlay.config(boot.ignition.clone())?;
        for (name, key) in &step.needs {
            let object = self.made(key).ok_or_else(|| gone(self.store.path(key)))?;
            overlay.sysext(name, self.store.path(&object.sha256))?;
        }
        let (tree, epoch) = (overlay.into_tree(), self.lock.epoch());
        if boot.layout == Layout::Single {
            let base = self.base(boot.arch)?.sha256;
            let mut scratch = self.store.scratch()?;
            inject::join(&self.store.path(&base), base, &tree, epoch, &mut scratch)?;
            return Ok(self.store.admit(store::Unverified::of_file(scratch)?.made_here())?);
        }
        let mut incoming = self.store.incoming()?;
        match boot.layout {
            Layout::Virtual => inject::sealed_overlay(self.base(boot.arch)?, &tree, epoch, &mut incoming)?,
            Layout::Overlay | Layout::Single => drop(cpio::write(&tree, epoch, &mut incoming)?),
        }
        Ok(self.store.admit(incoming.finish()?.made_here())?)
    }

    /// The release's initrd; `compile` has seen to it that a recipe which joins it has it.
    fn base(&self, arch: Arch) -> Result<Object> {
        let id = stock_id(arch, INITRD);
        let entry = self.lock.inputs.get(&id);
        Ok(entry.map(Entry::object).ok_or_else(|| gone(id.into()))?)
    }
}

/// Someone emptied the store under a running build.
fn gone(path: PathBuf) -> store::Error {
    store::Error::Io { action: "find again", path, source: io::ErrorKind::NotFound.into() }
}
