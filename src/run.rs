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
use crate::format::tree::{Contents, Entry, PLAIN, Tree};
use crate::images;
use crate::images::carried::{Carried, Packed};
use crate::lock::Lock;
use crate::plan::{BootWish, Plan, Step, Work};
use crate::resolve::component_id;
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

    fn made(&self, key: &Sha256) -> Option<Object> {
        made(self.store, key)
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

    /// Flatcar copies `usr/share/oem` of the initramfs to `/oem`, takes `config.ign` there as the user's Ignition, and
    /// finds the images through the links that the config makes (`compile`).
    fn overlay(&self, boot: &BootWish, step: &Step) -> Result<Object> {
        let mut tree = Tree::new();
        let config = Contents::Bytes(boot.ignition.clone());
        tree.insert("usr/share/oem/config.ign", Entry::file(PLAIN, config, "the compiled Ignition config"))?;
        for (name, key) in &step.needs {
            let object = self.made(key).ok_or_else(|| gone(self.store.path(key)))?;
            let image = Contents::on_disk(self.store.path(&object.sha256))?;
            tree.insert(
                &format!("usr/share/oem/sysext/{name}.raw"),
                Entry::file(PLAIN, image, format!("sysext {name}")),
            )?;
        }
        let mut incoming = self.store.incoming()?;
        cpio::write(&tree, self.lock.epoch(), &mut incoming)?;
        Ok(self.store.admit(incoming.finish()?.made_here())?)
    }
}

/// What a step made, if the store has it.
pub fn made(store: &Store, key: &Sha256) -> Option<Object> {
    store.step(key)?.get(OUTPUT).copied()
}

/// Someone emptied the store under a running build.
fn gone(path: PathBuf) -> store::Error {
    store::Error::Io { action: "find again", path, source: io::ErrorKind::NotFound.into() }
}
