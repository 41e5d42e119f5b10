//! Runs a plan: builds what is not in the store yet.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Instant;

use crate::bake::boot::BootWish;
use crate::bake::delivery::Completion;
use crate::bake::extensions::Selected;
use crate::bake::images;
use crate::bake::images::carried::{Carried, Packed};
use crate::bake::lock_ids::{component_id, stock_id};
use crate::bake::outputs::uki;
use crate::bake::plan::{OVERLAY, Plan, Step, Work};
use crate::bake::recipe::Layout;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::Result;
use crate::base::event::{Event, Observer};
use crate::flatcar::board::INITRD;
use crate::format::{cpio, pe};
use crate::initrd::inject;
use crate::initrd::overlay::Overlay;
use crate::registry::reference::ImageRef;
use crate::source::input::Entry;
use crate::store::{self, Store};
use crate::sysext::image;
use crate::sysext::packaging::Packaging;
use crate::tree::lock::Lock;

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
                self.observer.notice(Event::StepCached { id: &step.id, size: object.size });
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
            Work::Overlay(index, layout) => self.overlay(&self.boots[*index], *layout, step),
            Work::Config(completion) => self.config(completion, step),
            Work::Image(reference, arch) => self.image(reference, *arch),
            Work::Carried(carried) => self.carried(carried, step),
            Work::Uki(_, wish) => self.uki(wish, step),
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
            let index = images::index(self.lock, reference, carried.arch).map(|entry| entry.sha256);
            packed.push(Packed { reference, manifest, index, archive, file });
        }
        let assembled = carried.assemble(&packed)?;
        let mut scratch = self.store.scratch()?;
        // Layers are compressed already: more than the least effort gains nothing.
        assembled.write(&carried.name, self.lock.epoch(), &self.packaging.least(), scratch.as_file_mut())?;
        Ok(self.store.admit(store::Unverified::of_file(scratch)?.made_here())?)
    }

    /// The sections that systemd-stub(7) looks for; the kernel comes last, where it has room to unpack itself.
    fn uki(&self, wish: &uki::Wish, step: &Step) -> Result<Object> {
        let open = |object: Object| {
            let path = self.store.path(&object.sha256);
            File::open(&path).map(|file| (object, file)).map_err(disk::Error::io("open", &path))
        };
        let missing = || gone(self.store.root().to_owned());
        let made = |key| self.made(key).ok_or_else(missing);
        let overlay = step.needs.get(OVERLAY).map(made).transpose()?;
        let (kernel, vmlinuz) = open(wish.kernel.ok_or_else(missing)?)?;
        let initrds = wish.initrds.iter().copied().chain(overlay).map(open).collect::<Result<_, _>>()?;
        let (size, initrd) = joined(initrds);
        let text = |name, text: &'_ str| {
            let bytes = text.as_bytes().to_vec();
            pe::Section { name, size: bytes.len() as u64, bytes: Box::new(io::Cursor::new(bytes)) }
        };
        let sections = vec![
            text(".osrel", &wish.os_release),
            text(".cmdline", &wish.cmdline),
            pe::Section { name: ".initrd", size, bytes: initrd },
            pe::Section { name: ".linux", size: kernel.size, bytes: Box::new(vmlinuz) },
        ];
        let stub = pe::Image::parse(&wish.stub.display().to_string(), wish.stub_bytes()?, wish.arch)?;
        let mut incoming = self.store.incoming()?;
        stub.append(sections, &mut incoming).map_err(disk::Error::io("write to", self.store.root()))?;
        Ok(self.store.admit(incoming.finish()?.made_here())?)
    }

    /// The images are found through the links that the config makes (`compile`).
    fn overlay(&self, boot: &BootWish, layout: Layout, step: &Step) -> Result<Object> {
        let mut overlay = Overlay::default();
        overlay.config(boot.ignition.clone())?;
        for (name, key) in &step.needs {
            let object = self.made(key).ok_or_else(|| gone(self.store.path(key)))?;
            overlay.sysext(name, self.store.path(&object.sha256))?;
        }
        let (tree, epoch) = (overlay.into_tree(), self.lock.epoch());
        if layout == Layout::Single {
            let base = self.base(boot.arch)?.sha256;
            let mut scratch = self.store.scratch()?;
            inject::join(&self.store.path(&base), base, &tree, epoch, &mut scratch)?;
            return Ok(self.store.admit(store::Unverified::of_file(scratch)?.made_here())?);
        }
        let mut incoming = self.store.incoming()?;
        match layout {
            Layout::Virtual => inject::sealed_overlay(self.base(boot.arch)?, &tree, epoch, &mut incoming)?,
            Layout::Overlay | Layout::Single => drop(cpio::write(&tree, epoch, &mut incoming)?),
        }
        Ok(self.store.admit(incoming.finish()?.made_here())?)
    }

    fn config(&self, completion: &Completion, step: &Step) -> Result<Object> {
        let mut images = BTreeMap::new();
        for (name, key) in &step.needs {
            images.insert(name.clone(), self.made(key).ok_or_else(|| gone(self.store.path(key)))?);
        }
        let config = completion.complete(completion.config(self.boots), &images)?;
        Ok(self.store.put(&config)?)
    }

    /// The release's initrd; `compile` has seen to it that a recipe which joins it has it.
    fn base(&self, arch: Arch) -> Result<Object> {
        let id = stock_id(arch, INITRD);
        let entry = self.lock.inputs.get(&id);
        Ok(entry.map(Entry::object).ok_or_else(|| gone(id.into()))?)
    }
}

/// What each step made, when all are through.
pub fn objects(outcomes: &[Outcome]) -> Vec<Option<Object>> {
    outcomes.iter().map(|outcome| Some(outcome.object)).collect()
}

/// What a step made, if the store has it.
pub fn made(store: &Store, key: &Sha256) -> Option<Object> {
    store.step(key)?.get(OUTPUT).copied()
}

/// Initrds one after the other, each filled up with zeros to a multiple of four, where a cpio must begin.
fn joined<'f>(initrds: Vec<(Object, File)>) -> (u64, Box<dyn Read + 'f>) {
    let mut whole: Box<dyn Read> = Box::new(io::empty());
    let mut size = 0;
    for (object, file) in initrds {
        let padded = object.size.next_multiple_of(4);
        whole = Box::new(whole.chain(file).chain(io::repeat(0).take(padded - object.size)));
        size += padded;
    }
    (size, whole)
}

/// Someone emptied the store under a running build.
fn gone(path: PathBuf) -> disk::Error {
    disk::Error::Io { action: "find again", path, source: io::ErrorKind::NotFound.into() }
}
