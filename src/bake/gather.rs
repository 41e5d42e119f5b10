//! Gathers what the steps of a build made into what outputs speak of.

use std::collections::BTreeMap;
use std::fs;

use crate::bake::boot::{BootWish, Delivery};
use crate::bake::extensions::Selected;
use crate::bake::outputs::{Boot, ImageArchive, SysextImage};
use crate::bake::plan::{Step, Work};
use crate::bake::recipe::Recipe;
use crate::bake::{early, kubernetes, run};
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::Result;
use crate::store::Store;
use crate::sysext::ddi;

/// What was made, in the order of the steps.
#[derive(Default)]
pub(crate) struct Gathered {
    pub boots: Vec<Boot>,
    pub sysexts: Vec<SysextImage>,
    pub images: Vec<ImageArchive>,
}

/// What the steps of a build were planned from.
pub(crate) struct Gatherer<'g> {
    pub recipe: &'g Recipe,
    pub sysexts: &'g [Selected],
    pub boots: &'g [BootWish],
    /// Early initrds, by file name.
    pub early: &'g BTreeMap<String, Object>,
    /// Whether the images of sysexts are signed.
    pub signed: bool,
    pub store: &'g Store,
}

impl Gatherer<'_> {
    /// Takes in each step and what it made, in the plan's order: a boot comes before what is made of it. What is not made
    /// yet has no bytes, and a config that waits for it is as it was compiled.
    pub fn gather<'s>(&self, steps: impl Iterator<Item = (&'s Step, Option<Object>)>) -> Result<Gathered> {
        let mut gathered = Gathered::default();
        for (step, made) in steps {
            let object = made.unwrap_or(Object { sha256: step.key, size: 0 });
            match &step.work {
                Work::Sysext(index) => {
                    let sysext = &self.sysexts[*index];
                    let (name, version) = (&sysext.description.name, sysext.version());
                    gathered.sysexts.push(self.sysext(name, version, sysext.arch, object, step.key)?);
                }
                Work::Carried(carried) => {
                    let (name, version) = (&carried.name, &carried.version);
                    gathered.sysexts.push(self.sysext(name, version, carried.arch, object, step.key)?);
                }
                Work::Image(reference, arch) if kubernetes::is_published(self.recipe, reference) => {
                    let reference = reference.clone();
                    gathered.images.push(ImageArchive { reference, arch: *arch, object, step: step.key });
                }
                Work::Image(..) => {}
                Work::Overlay(index, _) => gathered.boots.push(self.boot(&self.boots[*index], object, step)),
                Work::Config(completion) => {
                    let config = match made {
                        Some(object) => self.read(object)?,
                        None => completion.config(self.boots).to_vec(),
                    };
                    match completion.installed {
                        true => gathered.boots[completion.boot].installed = Some(config),
                        false => {
                            let boot = self.boot(&self.boots[completion.boot], object, step);
                            gathered.boots.push(Boot { ignition: config, ..boot });
                        }
                    }
                }
                Work::Uki(index, _) => gathered.boots[*index].uki = Some((object, step.key)),
            }
        }
        Ok(gathered)
    }

    fn sysext(
        &self,
        name: &str,
        version: &str,
        arch: crate::base::arch::Arch,
        object: Object,
        step: Sha256,
    ) -> Result<SysextImage> {
        let image = self.store.path(&object.sha256);
        let verity = if self.signed && image.exists() { ddi::protection(&image)? } else { None };
        Ok(SysextImage { arch, name: name.to_owned(), version: version.to_owned(), object, step, verity })
    }

    fn boot(&self, wish: &BootWish, made: Object, step: &Step) -> Boot {
        let fetched = match wish.delivery {
            Delivery::Initrd(_) => 0,
            Delivery::Fetched(_) => {
                let images = step.needs.values().filter_map(|key| run::made(self.store, key));
                images.map(|image| image.size).sum()
            }
        };
        let early = self.recipe.profiles[&wish.profile].early_initrds.iter().map(early::file_name);
        Boot {
            id: wish.id.clone(),
            arch: wish.arch,
            profile: wish.profile.clone(),
            node: wish.node.clone(),
            kernel_args: wish.kernel_args.clone(),
            ignition: wish.ignition.clone(),
            installed: wish.installed.clone(),
            generic: wish.generic.clone(),
            delivery: wish.delivery.clone(),
            made,
            step: step.key,
            fetched,
            early: early.filter_map(|name| self.early.get(&name).map(|object| (name, *object))).collect(),
            uki: None,
        }
    }

    fn read(&self, object: Object) -> Result<Vec<u8>, disk::Error> {
        let path = self.store.path(&object.sha256);
        fs::read(&path).map_err(disk::Error::io("read", &path))
    }
}
