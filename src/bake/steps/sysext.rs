//! The image of a sysext, built of its folder and its components.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bench, Done, Foreign, Lengths, Part, Step, Work};
use crate::bake::artifacts::{Artifact, Artifacts, SysextImage};
use crate::bake::extensions::Selected;
use crate::bake::lock_ids::component_id;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::Result;
use crate::source::input::Entry;
use crate::sysext::ddi;
use crate::sysext::description::Placement;
use crate::sysext::image;
use crate::sysext::packaging::Packaging;
use crate::tree::lock::Lock;
use crate::tree::names;

/// A program of Go, and zstd makes it a quarter to a third of its length (kubelet 1.33: 26 %).
const PROGRAM: u64 = 4;

/// An image to be.
#[derive(Debug)]
struct Sysext<'p> {
    sysext: &'p Selected,
    /// Of its folder's files.
    folder: Sha256,
    lock: &'p Lock,
    packaging: &'p Packaging,
}

/// The steps that build these sysexts from their components in the lock, in the same order.
///
/// # Errors
/// A file of a sysext's folder that cannot be read.
pub(crate) fn steps<'p>(
    lock: &'p Lock,
    sysexts: &'p [Selected],
    packaging: &'p Packaging,
) -> Result<Vec<Step<'p>>> {
    let step = |sysext: &'p Selected| {
        let name = &sysext.description.name;
        let folder = sysext.description.digest().map_err(disk::Error::io("read", name.as_ref()))?;
        Ok(Step::new(Sysext { sysext, folder, lock, packaging }, BTreeMap::new()))
    };
    sysexts.iter().map(step).collect()
}

/// The sysexts that profiles boot, by name: whoever takes one of them needs its step.
#[derive(Debug, Default)]
pub(crate) struct Booted(BTreeMap<(String, Arch), BootedSysext>);

/// A sysext that profiles boot.
#[derive(Debug)]
pub(crate) struct BootedSysext {
    /// The key of the step that builds it.
    pub key: Sha256,
    /// Where the tree has its image.
    pub path: String,
}

impl Booted {
    /// Adds one.
    pub(crate) fn insert(&mut self, name: &str, version: &str, arch: Arch, key: Sha256) {
        let path = names::sysext_path(name, version, arch);
        self.0.insert((name.to_owned(), arch), BootedSysext { key, path });
    }

    /// One of those that a boot names: `compile` took the names from the same recipe.
    pub(crate) fn of(&self, name: &str, arch: Arch) -> &BootedSysext {
        &self.0[&(name.to_owned(), arch)]
    }
}

/// The image of a sysext with what protects it, if it is signed.
pub(super) fn built(
    name: &str,
    version: &str,
    arch: Arch,
    packaging: &Packaging,
    done: &Done<'_>,
) -> Result<SysextImage> {
    let Artifact { object, step } = done.artifact;
    let image = done.bench.store.path(&object.sha256);
    let is_signed = packaging.verity.is_some() && image.exists();
    let verity = if is_signed { ddi::protection(&image)? } else { None };
    Ok(SysextImage { arch, name: name.to_owned(), version: version.to_owned(), object, step, verity })
}

impl Sysext<'_> {
    /// Names and inputs of its components, as far as the lock has them.
    fn components(&self) -> impl Iterator<Item = (&str, Option<&Entry>)> {
        self.sysext.components.iter().map(|component| {
            let entry = self.lock.inputs.get(&component_id(self.sysext, &component.name));
            (component.name.as_str(), entry)
        })
    }
}

impl Work for Sysext<'_> {
    fn id(&self) -> String {
        format!("sysext/{}/{}", self.sysext.id(), self.sysext.arch)
    }

    fn kind(&self) -> (&'static str, u32) {
        ("sysext", image::REVISION)
    }

    fn params(&self) -> Value {
        let Selected { arch, description, variables, .. } = self.sysext;
        let variables: BTreeMap<&str, &str> = variables.iter().collect();
        let components: BTreeMap<&str, Option<Sha256>> =
            self.components().map(|(name, entry)| (name, entry.map(|entry| entry.sha256))).collect();
        json!({
            "name": description.name, "arch": arch, "folder": self.folder, "variables": variables,
            "components": components, "epoch": self.lock.epoch(), "packaging": self.packaging.key(),
        })
    }

    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let Selected { arch, description, variables, .. } = self.sysext;
        let path =
            |(name, entry): (&str, Option<&Entry>)| Some((name.to_owned(), bench.store.path(&entry?.sha256)));
        let fetched = self.components().filter_map(path).collect();
        let spool = bench.store.spool()?;
        let assembled = image::assemble(description, *arch, variables, &fetched, spool.path())?;
        let mut scratch = bench.store.scratch()?;
        assembled.write(&description.name, self.lock.epoch(), self.packaging, scratch.as_file_mut())?;
        Ok(bench.admit_file(scratch)?)
    }

    fn expected(&self, _: &Lengths) -> Option<u64> {
        let lengths = self.sysext.components.iter().zip(self.components()).map(|(component, (_, entry))| {
            let size = entry.map_or(0, |entry| entry.size);
            match component.placement {
                Placement::File { gzip: false, .. } => size / PROGRAM,
                Placement::File { .. } | Placement::Members { .. } => size,
            }
        });
        Some(lengths.fold(0, u64::saturating_add))
    }

    fn add(&self, done: &Done<'_>, artifacts: &mut Artifacts) -> Result<()> {
        let (name, version) = (&self.sysext.description.name, self.sysext.version());
        artifacts.sysexts.push(built(name, version, self.sysext.arch, self.packaging, done)?);
        Ok(())
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let locked = self.components().filter(|(_, entry)| entry.is_some());
        locked.map(|(name, _)| Part::Input(component_id(self.sysext, name))).collect()
    }

    fn foreign(&self) -> Option<Foreign<'_>> {
        Some(Foreign::Components(self.sysext))
    }
}
