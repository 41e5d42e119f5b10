//! The work of a build once the lock is settled: a function of recipe and lock alone, so it can be built more than
//! once.

use std::collections::BTreeMap;

use super::project::Project;
use crate::bake::artifacts::{Artifacts, Boot};
use crate::bake::boot::BootWish;
use crate::bake::load::{self, Load};
use crate::bake::outputs::{self, Built};
use crate::bake::plan::Plan;
use crate::bake::run::{self, Outcome};
use crate::bake::{early, sbom};
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Result;
use crate::base::event::Observer;
use crate::base::finding::Finding;
use crate::flatcar::version::Version;
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
    /// The load of each boot, with the memory that a machine needs for it.
    pub loads: Vec<Load>,
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
        let needs = project.needs_by(Some(lock))?;
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
        let loads = load::loads(&built, |boot| self.extensions(boot, made));
        let warnings = too_small(&built, &loads);
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
        Ok(Assembled { draft, loads, warnings })
    }

    /// The extensions that the step of a boot takes, each with its length where it is built.
    fn extensions(&self, boot: &Boot, made: &[Option<Object>]) -> Vec<(String, u64)> {
        let steps = || self.plan.steps.iter().zip(made);
        let size = |key: &Sha256| Some(steps().find(|(step, _)| step.key == *key)?.1.as_ref()?.size);
        let own = steps().find(|(step, _)| step.key == boot.step);
        let needs = own.iter().flat_map(|(step, _)| &step.needs);
        needs.filter_map(|(name, key)| Some((name.clone(), size(key)?))).collect()
    }

    /// The nodes that boot this.
    pub(crate) fn machines_of(&self, boot: &BootWish) -> Vec<&Node> {
        let has_own =
            |node: &Node| self.boots.iter().any(|boot| boot.node.as_ref() == Some(&node.name.value));
        let is_of = |node: &&Node| match &boot.node {
            Some(name) => *name == node.name.value,
            None => node.profile.value == boot.profile && node.arch == boot.arch && !has_own(node),
        };
        self.project.recipe.nodes.iter().filter(is_of).collect()
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

/// Warnings about nodes that have less memory than their boot needs.
fn too_small(built: &Built<'_>, loads: &[Load]) -> Vec<Finding> {
    let warn = |node: &Node| {
        let has = node.memory.as_ref()?;
        let boot = built.boot_of(node)?;
        let needed = loads.iter().find(|load| load.boot == boot.id)?.needed;
        let text =
            format!("node `{}` has {} of memory, and its boot needs {needed}", node.name.value, has.value);
        let hint = "the boot silently cuts off what does not fit: use fewer sysexts, images as assets, or more memory";
        (has.value < needed).then(|| Finding::warning(text).at(has.place.clone()).hint(hint))
    };
    built.recipe.nodes.iter().filter_map(warn).collect()
}
