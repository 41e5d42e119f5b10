//! The work of a build once the lock is settled: a function of recipe and lock alone, so it can be built more than
//! once.

use std::collections::BTreeMap;

use super::project::Project;
use crate::bake::artifacts::{Artifacts, Boot};
use crate::bake::boot::{BootWish, Delivery};
use crate::bake::outputs::{self, Built};
use crate::bake::plan::Plan;
use crate::bake::recipe::Layout;
use crate::bake::run::{self, Outcome};
use crate::bake::{early, kubernetes, lock_ids, sbom};
use crate::base::arch::Arch;
use crate::base::digest::Object;
use crate::base::error::Result;
use crate::base::event::Observer;
use crate::base::finding::Finding;
use crate::base::size::Bytes;
use crate::flatcar::version::Version;
use crate::flatcar::{board, memory};
use crate::machine::node::Node;
use crate::store::Store;
use crate::sysext::packaging::Packaging;
use crate::tree::lock::{self, Lock};
use crate::tree::manifest::{self, Manifest, Role};
use crate::tree::names;
use crate::tree::publish::Draft;
use crate::tree::row::Row;

/// Everything that determines a build's steps and its tree.
pub(crate) struct Blueprint<'p> {
    /// The recipe and its sysexts.
    pub project: &'p Project,
    /// The lock with the inputs.
    pub lock: &'p Lock,
    /// The Flatcar version.
    pub version: Version,
    /// Settings for making the sysexts' images.
    pub packaging: &'p Packaging,
    /// The boots, compiled.
    pub boots: &'p [BootWish],
    /// Build steps, in the order of their starts.
    pub plan: Plan<'p>,
}

/// Result of a build before it is published.
pub(crate) struct Assembled {
    /// The tree as it will be published.
    pub draft: Draft,
    /// Each boot's id, and the memory that a machine needs for it.
    pub memory: Vec<(String, Bytes)>,
    /// Warnings about machines that are too small.
    pub warnings: Vec<Finding>,
}

impl<'p> Blueprint<'p> {
    /// Plans the steps.
    ///
    /// # Errors
    /// A file of a sysext's folder, a stub or an early initrd that cannot be read.
    pub(crate) fn new(
        project: &'p Project,
        lock: &'p Lock,
        version: Version,
        packaging: &'p Packaging,
        boots: &'p [BootWish],
    ) -> Result<Self> {
        let Project { recipe, outputs, sysexts, .. } = project;
        let needs = kubernetes::needs(recipe, sysexts, Some(lock))?;
        let plan = Plan::new(lock, recipe, outputs, sysexts, packaging, &needs, boots)?;
        Ok(Blueprint { project, lock, version, packaging, boots, plan })
    }

    /// Builds the steps that the store lacks; outcomes are in the order of the steps.
    pub(crate) fn run(&self, store: &Store, observer: &dyn Observer) -> Result<Vec<Outcome>> {
        run::run(&self.plan, store, observer)
    }

    /// The store's object for each step, in their order; `None` if it is not built.
    pub(crate) fn made(&self, store: &Store) -> Vec<Option<Object>> {
        self.plan.steps.iter().map(|step| step.made(store)).collect()
    }

    /// Lays out the tree. `made` has the object of each step; where one is missing, paths are final, but some sizes and
    /// digests are not. `early` are the recipe's early initrds, by file name.
    pub(crate) fn assemble(
        &self,
        made: &[Option<Object>],
        early: &BTreeMap<String, Object>,
        store: &Store,
    ) -> Result<Assembled> {
        let Project { recipe, outputs, sysexts, .. } = self.project;
        let artifacts = self.artifacts(made, early, store)?;
        let built = Built { recipe, outputs, lock: self.lock, version: self.version, artifacts };
        let memory = memory_of(&built);
        let warnings = too_small(&built, &memory);
        let lock::Release { channel, version } = &self.lock.release;
        let release = |arch: &Arch| manifest::Release {
            channel: channel.clone(),
            version: version.clone(),
            arch: *arch,
        };
        let head = Manifest {
            schema: manifest::SCHEMA,
            name: recipe.name.clone(),
            epoch: self.lock.epoch(),
            releases: recipe.release.archs.iter().map(release).collect(),
            files: Default::default(),
            joined: Default::default(),
        };
        let of_boot = |boot: &BootWish| Some((names::config_id(&boot.id), boot.private.clone()?));
        let private = self.boots.iter().filter_map(of_boot).collect();
        let mut rows = outputs::rows(&built);
        rows.push(Row::text(names::lock(&recipe.name), Role::Lock, self.lock.to_text()));
        let sbom = sbom::Build { built: &built, sysexts, steps: &self.plan.steps, rows: &rows }.document();
        rows.push(Row::text(names::SBOM.into(), Role::Sbom, sbom));
        let draft = Draft::new(head, rows)?.with_private(private);
        Ok(Assembled { draft, memory, warnings })
    }

    /// Gathers the results of the steps in the plan's order: a boot's own step comes before those that need it.
    fn artifacts(
        &self,
        made: &[Option<Object>],
        early: &BTreeMap<String, Object>,
        store: &Store,
    ) -> Result<Artifacts> {
        let mut artifacts = Artifacts::default();
        for (step, made) in self.plan.steps.iter().zip(made) {
            step.work.add(&step.done(*made, store), &mut artifacts)?;
        }
        for boot in &mut artifacts.boots {
            let names =
                self.project.recipe.profiles[&boot.profile].early_initrds.iter().map(early::file_name);
            boot.early = names.filter_map(|name| Some((name.clone(), *early.get(&name)?))).collect();
        }
        Ok(artifacts)
    }
}

/// Memory that each boot needs; empty without the stock initrd, which is then not booted.
fn memory_of(built: &Built<'_>) -> Vec<(String, Bytes)> {
    let base = |arch| Some(built.lock.inputs.get(&lock_ids::stock_id(arch, board::INITRD))?.size);
    let needed = |boot: &Boot| {
        let own = match boot.delivery {
            Delivery::Initrd(Layout::Single) => boot.made.size,
            Delivery::Initrd(_) => base(boot.arch)? + boot.made.size,
            Delivery::Fetched(_) => base(boot.arch)?,
        };
        let early = boot.early.iter().map(|(_, initrd)| initrd.size);
        Some((boot.id.clone(), memory::needed(early.chain([own]), boot.fetched)))
    };
    built.artifacts.boots.iter().filter_map(needed).collect()
}

/// Warnings about nodes that have less memory than their boot needs.
fn too_small(built: &Built<'_>, needed: &[(String, Bytes)]) -> Vec<Finding> {
    let warn = |node: &Node| {
        let has = node.memory.as_ref()?;
        let boot = built.boot_of(node)?;
        let (_, needed) = needed.iter().find(|(id, _)| *id == boot.id)?;
        let text =
            format!("node `{}` has {} of memory, and its boot needs {needed}", node.name.value, has.value);
        let hint = "the boot silently cuts off what does not fit: use fewer sysexts, images as assets, or more memory";
        (has.value < *needed).then(|| Finding::warning(text).at(has.place.clone()).hint(hint))
    };
    built.recipe.nodes.iter().filter_map(warn).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::bake::boot::Delivery;
    use crate::bake::recipe::{Layout, Recipe};
    use crate::base::arch::Arch;
    use crate::base::digest::{Object, Sha256};
    use crate::base::finding::Source;
    use crate::source::input::Entry;
    use crate::tree::lock::Lock;

    const MIB: u64 = 1 << 20;

    /// Memory that a boot needs with a base of 1000 MiB, an early initrd of 64 MiB and 2000 MiB built for it.
    fn needed(delivery: &Delivery, fetched_mib: u64) -> Bytes {
        let text = "schema: 1\nname: x\nrelease: {channel: stable}\nprofiles: {w: {}}\n";
        let source = Source::new("r.yaml", text);
        let (recipe, outputs) = Recipe::parse(&source, PathBuf::new(), outputs::read).unwrap();
        let object = |size| Object { sha256: Sha256::of(b""), size };
        let mut lock = Lock::empty();
        let base = lock_ids::stock_id(Arch::Amd64, board::INITRD);
        lock.inputs = BTreeMap::from([(base, Entry::plain("http://h.invalid", object(1000 * MIB)))]);
        let boot = Boot {
            id: "w".into(),
            arch: Arch::Amd64,
            profile: "w".into(),
            node: None,
            kernel_args: Vec::new(),
            ignition: Vec::new(),
            installed: None,
            generic: None,
            delivery: delivery.clone(),
            made: object(2000 * MIB),
            step: Sha256::of(b""),
            fetched: fetched_mib * MIB,
            early: vec![("ucode.cpio".into(), object(64 * MIB))],
        };
        let (recipe, outputs, lock, version) = (&recipe, &outputs, &lock, Version([4593, 2, 5]));
        let artifacts = Artifacts { boots: vec![boot], ..Artifacts::default() };
        memory_of(&Built { recipe, outputs, lock, version, artifacts })[0].1
    }

    #[test]
    fn a_boot_needs_twice_of_all_that_is_loaded_early_initrds_included() {
        for (delivery, loaded) in [
            (Delivery::Initrd(Layout::Overlay), 64 + 1000 + 2000),
            (Delivery::Initrd(Layout::Virtual), 64 + 1000 + 2000),
            (Delivery::Initrd(Layout::Single), 64 + 2000),
        ] {
            assert_eq!(needed(&delivery, 0), Bytes(2 * loaded * MIB), "{delivery:?}");
        }
        let fetched = Delivery::Fetched("http://h.invalid".parse().unwrap());
        assert_eq!(needed(&fetched, 1700), Bytes(2 * 1700 * MIB), "the base takes less");
    }
}
