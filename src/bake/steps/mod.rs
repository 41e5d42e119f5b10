//! The kinds of steps: each is one file here, which holds all that a build does with a step of its kind.
//!
//! ```text
//!   recipe, lock, sysexts, boots        an output's options
//!             │ plan.rs                         │ OutputFormat::steps
//!             └───────────────┬─────────────────┘
//!                 Step { id, key, needs, work }         key = SHA-256 of kind, revision, params, needs
//!                             │ dyn Work
//!      ┌────────────┬─────────┼──────────┬─────────────┐
//!    build         add      parts     foreign        merges
//!    run.rs   blueprint.rs  sbom.rs  judge/leaks.rs  judge/boots.rs
//! ```
//! The files in the lower row know [`Work`] and no kind, so a new kind leaves them alone (`tests/it/house/layers.rs` holds that). A
//! step knows no output; an output may know the steps that it brings, and the plan knows those that every build has.
//!
//! # To add a step
//! 1. One file here: a type with all that the bytes follow from, its `impl` of [`Work`], and a function that makes a
//!    [`Step`] of it. [`Work::params`] must name all that the bytes depend on, beside needs and revision. The `REVISION`
//!    stands beside the code that makes the bytes, and is raised when they change for the same params.
//! 2. One line `pub(crate) mod …` below.
//! 3. Where every build has the step: a line in [`crate::bake::plan::Plan::new`], after those that it needs.
//!
//! # To add an output that builds
//! 1. The step as above, without the third point. Its file has a function `id` of the boot, or of whatever the step is for.
//! 2. One file in `bake/outputs/`: its `steps` plans the steps, its `emit` looks their artifacts up by id (`Built::made`)
//!    and gives each a path in the tree.
//! 3. One line `mod …` and one of the table `FORMATS` in `bake/outputs/mod.rs`.
//!
//! Judges, SBOM, rebuild, plan and store know nothing of it and treat it as any other. [`uki`] is the example.

pub(crate) mod carried;
pub(crate) mod config;
pub(crate) mod disk_image;
pub(crate) mod image;
pub(crate) mod overlay;
pub(crate) mod sysext;
pub(crate) mod uki;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::bake::artifacts::{Artifact, Artifacts};
use crate::bake::boot::BootWish;
use crate::bake::extensions::Selected;
use crate::bake::recipe::Recipe;
use crate::bake::steps::sysext::Booted;
use crate::base::arch::Arch;
use crate::base::canonical::canonical_json;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::Finding;
use crate::registry::reference::ImageRef;
use crate::source::input::Entry;
use crate::store::{self, Incoming, Store};
use crate::tree::lock::Lock;

/// Name of the one output that each step has so far.
const OUTPUT: &str = "out";

/// One thing to build.
#[derive(Debug)]
pub(crate) struct Step<'p> {
    /// Such as `sysext/kubernetes/amd64` or `overlay/worker`.
    pub id: String,
    /// SHA-256 of everything that its bytes depend on.
    pub key: Sha256,
    /// Keys of the steps whose outputs it takes, by name.
    pub needs: BTreeMap<String, Sha256>,
    /// The work itself.
    pub work: Box<dyn Work + 'p>,
}

/// The work of a step of one kind, and all that plan, outputs, SBOM and judges ask of it.
pub(crate) trait Work: fmt::Debug + Send + Sync {
    /// The step's id, such as `overlay/worker`: plans show it, outputs look its artifact up by it, and no other step has it.
    fn id(&self) -> String;

    /// Its kind, and the revision of what makes its bytes: the number is raised when they change for the same params.
    fn kind(&self) -> (&'static str, u32);

    /// Everything that its bytes depend on, beside kind, revision and needs. No secret: it enters the key.
    fn params(&self) -> Value;

    /// Makes the artifact, from inputs in the store and the artifacts of the needed steps.
    ///
    /// # Errors
    /// An input or the artifact of a needed step is gone from the store or cannot be used, or the disk refuses.
    fn build(&self, bench: &Bench<'_>) -> Result<Object>;

    /// The artifact's length in bytes as the lengths in the lock let expect it, before anything is fetched: a guess
    /// that rather falls short. `needs` has the lengths of needed artifacts, as far as they are known, by name.
    fn expected(&self, needs: &Lengths) -> Option<u64> {
        let _ = needs;
        None
    }

    /// Judges by lengths alone, before anything is fetched, whether what it needs will fit.
    ///
    /// # Errors
    /// It will not, and all lengths are those of artifacts that are built.
    fn foresee(&self, needs: &Lengths) -> Result<Option<Finding>> {
        let _ = needs;
        Ok(None)
    }

    /// Adds the artifact to those that outputs speak of. By default an output looks it up by the step's id.
    ///
    /// # Errors
    /// The artifact cannot be read.
    fn add(&self, done: &Done<'_>, artifacts: &mut Artifacts) -> Result<()> {
        artifacts.others.insert(self.id(), done.artifact);
        Ok(())
    }

    /// Parts that the SBOM names, beside the steps that it needs.
    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }

    /// Whether the artifact contains those of the needed steps; otherwise machines fetch these, and the SBOM says that it
    /// depends on them.
    fn holds_needs(&self) -> bool {
        true
    }

    /// Contents that others wrote: they are searched for secrets.
    fn foreign(&self) -> Option<Foreign<'_>> {
        None
    }

    /// The boot, and the config of its system, on which the sysexts are merged that it needs: they are judged together.
    fn merges(&self) -> Option<(&BootWish, &[u8])> {
        None
    }
}

/// The length of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    /// In bytes.
    pub bytes: u64,
    /// Whether the artifact is built; else it is [`Work::expected`].
    pub is_built: bool,
}

/// Lengths of needed artifacts by name.
pub(crate) type Lengths = BTreeMap<String, Length>;

/// A part of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'w> {
    /// The operating system.
    System(Arch),
    /// The input with this id of the lock, which the artifact is made from.
    Input(String),
    /// A container image. A step that needs this one takes the image, whether its archive is published or not.
    Image(&'w ImageRef, Arch),
}

/// Contents of an artifact that others wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Foreign<'w> {
    /// Files that components of a sysext brought to its image.
    Components(&'w Selected),
    /// The config of a container image, as the lock has it.
    Config(&'w ImageRef, &'w Entry),
}

/// The plan so far, which outputs plan steps of their own from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned<'s, 'p> {
    /// The recipe, parsed and checked.
    pub recipe: &'p Recipe,
    /// The lock with the inputs.
    pub lock: &'p Lock,
    /// The boots, compiled.
    pub boots: &'p [BootWish],
    /// The steps that every build of the recipe has.
    pub steps: &'s [Step<'p>],
    /// Those of them that build the sysexts of boots.
    pub booted: &'s Booted,
}

impl Planned<'_, '_> {
    /// The key of a step, as one that needs it names it.
    pub(crate) fn key(&self, id: &str) -> Option<Sha256> {
        self.steps.iter().find(|step| step.id == id).map(|step| step.key)
    }
}

/// The place where a step is built, and where its artifact is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bench<'b> {
    /// The inputs, and the artifacts of earlier steps.
    pub store: &'b Store,
    /// The steps that this one needs, by name.
    pub needs: &'b BTreeMap<String, Sha256>,
}

/// A step that is done, or one that a plan only foresees: then its artifact has no bytes, and the step's key for a digest.
#[derive(Debug)]
pub(crate) struct Done<'d> {
    /// Its artifact.
    pub artifact: Artifact,
    /// Whether it is built.
    pub is_built: bool,
    /// The place where it is looked at.
    pub bench: Bench<'d>,
}

impl<'p> Step<'p> {
    /// The step of a work that takes the artifacts of these steps.
    pub(crate) fn new(work: impl Work + 'p, needs: BTreeMap<String, Sha256>) -> Self {
        Step { id: work.id(), key: key(&work, &needs), needs, work: Box::new(work) }
    }

    /// The place where it is built.
    pub(crate) fn bench<'b>(&'b self, store: &'b Store) -> Bench<'b> {
        Bench { store, needs: &self.needs }
    }

    /// The step with its artifact.
    pub(crate) fn done<'d>(&'d self, made: Option<Object>, store: &'d Store) -> Done<'d> {
        let object = made.unwrap_or(Object { sha256: self.key, size: 0 });
        let artifact = Artifact { object, step: self.key };
        Done { artifact, is_built: made.is_some(), bench: self.bench(store) }
    }

    /// Its artifact, if the store has it.
    pub(crate) fn made(&self, store: &Store) -> Option<Object> {
        made(store, &self.key)
    }

    /// Has the store remember its artifact.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn record(&self, store: &Store, object: Object) -> Result<(), disk::Error> {
        store.record_step(&self.key, &BTreeMap::from([(OUTPUT.to_owned(), object)]))
    }
}

/// The artifact of the step with this key, if the store has it.
pub(crate) fn made(store: &Store, key: &Sha256) -> Option<Object> {
    store.step(key)?.get(OUTPUT).copied()
}

impl Bench<'_> {
    /// The artifact of a needed step.
    ///
    /// # Errors
    /// It is gone from the store.
    pub(crate) fn needed(&self, name: &str) -> Result<Object, disk::Error> {
        self.take(&self.needs[name])
    }

    /// The artifacts of all needed steps, by name.
    ///
    /// # Errors
    /// One is gone from the store.
    pub(crate) fn all_needed(&self) -> Result<BTreeMap<String, Object>, disk::Error> {
        self.needs.iter().map(|(name, key)| Ok((name.clone(), self.take(key)?))).collect()
    }

    fn take(&self, key: &Sha256) -> Result<Object, disk::Error> {
        made(self.store, key).ok_or_else(|| gone(self.store.path(key)))
    }

    /// Opens an object.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(&self, object: Object) -> Result<File, disk::Error> {
        let path = self.store.path(&object.sha256);
        File::open(&path).map_err(disk::Error::io("open", &path))
    }

    /// Reads a small object.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(&self, object: Object) -> Result<Vec<u8>, disk::Error> {
        let path = self.store.path(&object.sha256);
        fs::read(&path).map_err(disk::Error::io("read", &path))
    }

    /// Stores bytes that were written from front to back.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn admit(&self, incoming: Incoming) -> Result<Object, disk::Error> {
        self.store.admit(incoming.finish()?.made_here())
    }

    /// Stores a file that a format wrote, seeking in it.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn admit_file(&self, scratch: NamedTempFile) -> Result<Object, disk::Error> {
        self.store.admit(store::Unverified::of_file(scratch)?.made_here())
    }
}

/// The error for an object that was removed from the store during a build.
fn gone(path: PathBuf) -> disk::Error {
    disk::Error::Io { action: "find again", path, source: io::ErrorKind::NotFound.into() }
}

/// The key of the step of a work that takes the artifacts of these steps.
fn key(work: &dyn Work, needs: &BTreeMap<String, Sha256>) -> Sha256 {
    #[derive(Serialize)]
    struct Key<'k> {
        kind: &'k str,
        revision: u32,
        params: &'k Value,
        needs: &'k BTreeMap<String, Sha256>,
    }
    let (kind, revision) = work.kind();
    Sha256::of(&canonical_json(&Key { kind, revision, params: &work.params(), needs }))
}
