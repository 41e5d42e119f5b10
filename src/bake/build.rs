//! A build from end to end: recipe → lock → inputs → plan → artifacts → tree.
//!
//! Owns the order of the stages; leaves each stage to a room of its own. Every mistake that a person can make in
//! writing is found before the first large download.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bake::blueprint::{Assembled, Blueprint};
use crate::bake::compile::{self, Compiled};
use crate::bake::early;
use crate::bake::judge::{self, boots};
use crate::bake::load::Load;
pub(crate) use crate::bake::project::{Inputs, Limits, Project};
use crate::bake::provenance::{self, Signing};
use crate::bake::rebuild::{self, Made};
use crate::bake::run::{self, Outcome};
use crate::bake::steps::Step;
use crate::base::digest::Sha256;
use crate::base::error::Result;
use crate::base::event::Observer;
use crate::base::finding::Finding;
use crate::flatcar::version::Version;
use crate::source::fetch::Judged;
use crate::store::Store;
use crate::tree::kept;
use crate::tree::lock::Lock;
use crate::tree::publish::{Output, Published};
use crate::trust::minisign::{KeyId, SecretKey};

/// Where a tree is published.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'p> {
    /// Directory of the public trees, `NAME/BUILD-ID`.
    pub output: &'p Path,
    /// Directory of the private files, by name; `None` keeps them in the tree.
    pub private: Option<&'p Path>,
}

impl<'p> From<&'p PathBuf> for Destination<'p> {
    fn from(output: &'p PathBuf) -> Self {
        Destination { output, private: None }
    }
}

/// A step of a build that is through.
#[derive(Debug)]
pub struct Ran {
    /// The step's id.
    pub id: String,
    /// Its key.
    pub key: Sha256,
    /// Its result.
    pub outcome: Outcome,
}

/// Result of a build.
pub struct Report {
    /// The published tree.
    pub published: Published,
    /// The version that was built.
    pub version: Version,
    /// The lock that the tree was built from.
    pub lock: Lock,
    /// Whether the lock was rewritten.
    pub lock_moved: bool,
    /// Ids of the inputs that this run fetched; all others were in the store.
    pub fetched: Vec<String>,
    /// The signed inputs, as they were checked against the recipe's pin.
    pub judged: Vec<Judged>,
    /// Each step and its outcome.
    pub steps: Vec<Ran>,
    /// The load of each boot, with the memory that a machine needs for it.
    pub loads: Vec<Load>,
    /// Keys that signed the tree in this run.
    pub signers: Vec<KeyId>,
    /// Warnings about the layers, and about machines that are too small.
    pub warnings: Vec<Finding>,
}

/// Builds a recipe into `OUTPUT/NAME/BUILD-ID`. With signing keys, the tree is signed before it appears.
pub async fn build(
    project: &mut Project,
    store: &Store,
    destination: impl Into<Destination<'_>>,
    layers: &[PathBuf],
    limits: Limits,
    signing: Option<&Signing>,
    observer: &dyn Observer,
) -> Result<Report> {
    let destination = destination.into();
    let output = Output::acquire(destination.output, &project.recipe.name)?;
    let packaging = project.recipe.packaging.load(SystemTime::now())?;
    let compile = |project: &Project, version, keys: &_| {
        let Project { recipe, outputs, sysexts, .. } = project;
        let compiled = compile::compile(recipe, outputs, version, sysexts, &packaging, keys, layers)?;
        // By lengths that an earlier lock has for this release, nothing is fetched that cannot be used.
        let same = |lock: &&Lock| lock.release.version == version.to_string();
        if let Some(lock) = project.lock.as_ref().filter(same) {
            Blueprint::new(project, lock, version, &packaging, &compiled.boots)?.plan.foresee(store)?;
        }
        Ok((version, compiled))
    };
    let Inputs { lock, fetched, judged, checked: (version, compiled) } =
        project.inputs(store, limits, observer, compile).await?;
    let project = &*project;
    let recipe = &project.recipe;
    let lock_moved = project.save(&lock, store)?;
    let Compiled { boots, mut warnings, mut public } = compiled;
    let blueprint = Blueprint::new(project, &lock, version, &packaging, &boots)?;
    warnings.extend(blueprint.plan.foresee(store)?);
    let early = early::admit(recipe, store)?;
    let outcomes = blueprint.run(store, observer)?;
    warnings.extend(boots::boots(store, version, &blueprint.plan)?);
    warnings.extend(judge::leaks::built(store, &blueprint.plan, &outcomes, &mut public)?);
    let Assembled { mut draft, loads, warnings: of_memory } =
        blueprint.assemble(&run::objects(&outcomes), &early, store)?;
    warnings.extend(of_memory);
    if limits.rebuild {
        let made = Made { outcomes: &outcomes, draft: &draft, store };
        rebuild::verify(&blueprint, layers, made, observer)?;
    }
    draft = draft.with_private_outside(destination.private.map(Path::to_owned));
    if let Some(signing) = signing {
        let request = provenance::Request { recipe, layers, lock: &lock };
        let proofs = provenance::sign(draft.manifest(), &request, signing)?;
        draft = draft.with_beside(proofs);
    }
    warnings.extend(judge::documents::documents(&draft, project, &lock, public)?);
    let published = output.publish(&draft, store)?;
    warnings.extend(published.exposed.iter().map(|exposed| {
        let text = format!("{} was open to others (mode {:04o})", exposed.path.display(), exposed.mode);
        let hint = "it is closed now, but others may have read it: replace the secrets in it";
        Finding::warning(text).hint(hint)
    }));
    kept::keep_tree(store, &output.current())?;
    let ran = |(step, outcome): (&Step<'_>, Outcome)| Ran { id: step.id.clone(), key: step.key, outcome };
    let steps = blueprint.plan.steps.iter().zip(outcomes).map(ran).collect();
    // Its steps hold on to the lock, which the report takes along.
    drop(blueprint);
    let signers = signing.map_or(Vec::new(), |signing| signing.keys.iter().map(SecretKey::id).collect());
    Ok(Report { signers, published, version, lock, lock_moved, fetched, judged, steps, loads, warnings })
}
