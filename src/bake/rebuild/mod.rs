//! Building twice, to check that the result follows from recipe and lock alone.
//!
//! The second build compiles and plans again, and builds every step in a store of its own, which has the inputs as
//! links. It runs in a changed environment, as far as a process can change its own: directory, umask, and the number of
//! CPUs. Time zone and locale stay: nothing here reads them, and a process cannot change them without touching its
//! other threads' memory. [`difference`] finds where two files differ.

pub(crate) mod difference;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;

use rustix::fs::Mode;
use rustix::process::umask;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use self::difference::Difference;
use crate::bake::blueprint::Blueprint;
use crate::bake::project::Project;
use crate::bake::run::{self, Outcome};
use crate::bake::{compile, early};
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::event::{Event, Observer};
use crate::store::Store;
use crate::tree::manifest::{self, Manifest};
use crate::tree::names::{self, CHECKSUMS, PRIVATE};
use crate::tree::publish::{self, Draft};
use crate::tree::row::Contents;

/// Reasons why a second build does not confirm the first.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The two builds have different bytes.
    #[error("{subject} differs between two builds: {difference}; BUILD-ID {first}, then {second}{}", rest(*others))]
    Differs {
        /// The file of the tree, or the step that made it if it is not in a tree.
        subject: String,
        /// Position of the difference in the file.
        difference: Difference,
        /// BUILD-ID of the first build.
        first: String,
        /// BUILD-ID of the second.
        second: String,
        /// Number of other files of the tree that differ.
        others: usize,
        /// Paths of both files in the store.
        kept: [PathBuf; 2],
    },
    /// The two builds have different steps, or a different set of files.
    #[error("{subject} was planned differently the second time")]
    Planned {
        /// The first step or file that is only in one of them.
        subject: String,
    },
}

fn rest(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => "; 1 other file differs, too".into(),
        _ => format!("; {others} other files differ, too"),
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Integrity
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Differs { kept: [first, second], .. } => format!(
                "nothing was published; compare {} with {}. If the first was in the store already, another version of prebake may have built it",
                first.display(),
                second.display()
            ),
            Error::Planned { .. } => "if the recipe's files were edited meanwhile, build again".into(),
        })
    }
}

/// Result of one of the two builds.
#[derive(Clone, Copy)]
pub(crate) struct Made<'m> {
    /// Outcome of each step, in the blueprint's order.
    pub outcomes: &'m [Outcome],
    /// The tree as it would be published.
    pub draft: &'m Draft,
    /// The store with its objects.
    pub store: &'m Store,
}

/// Builds everything of a blueprint again and compares the result with the first build, `made`. Files that differ stay
/// in the first store for inspection, until `gc` removes them.
///
/// # Errors
/// [`Error`] if the two differ, and any error of a build.
pub(crate) fn verify(
    blueprint: &Blueprint<'_>,
    layers: &[PathBuf],
    made: Made<'_>,
    observer: &dyn Observer,
) -> Result<()> {
    observer.notice(Event::RebuildStarted { steps: blueprint.plan.steps.len() });
    let spool = made.store.spool()?;
    let store = Store::open(&spool.path().join("store"))?;
    let (outcomes, draft) = elsewhere(|| again(blueprint, layers, made.store, &store, observer))?;
    compare(blueprint, made, Made { outcomes: &outcomes, draft: &draft, store: &store })?;
    observer.notice(Event::RebuildDone { build_id: &draft.manifest().build_id() });
    Ok(())
}

/// Runs `work` in a changed environment: with one CPU less, if there are several, and with a umask that gives others no
/// permissions. The umask applies to the whole process; published files get their modes explicitly.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let mask = umask(Mode::RWXG | Mode::RWXO);
    let done = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            fewer_processors();
            work()
        });
        worker.join()
    });
    umask(mask);
    match done {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs with one CPU less, to show that the bytes do not depend on it: applies to this thread and the threads that it
/// will start. Best effort; some systems forbid it.
fn fewer_processors() {
    let Ok(mut processors) = sched_getaffinity(None) else { return };
    let last = (0..CpuSet::MAX_CPU).rev().find(|number| processors.is_set(*number));
    if let (Some(last), 2..) = (last, processors.count()) {
        processors.unset(last);
        let _ = sched_setaffinity(None, &processors);
    }
}

/// The whole build again, into an empty store.
fn again(
    first: &Blueprint<'_>,
    layers: &[PathBuf],
    inputs: &Store,
    store: &Store,
    observer: &dyn Observer,
) -> Result<(Vec<Outcome>, Draft)> {
    let Blueprint { project, lock, version, packaging, .. } = *first;
    let Project { recipe, outputs, sysexts, .. } = project;
    let compiled = compile::compile(recipe, outputs, version, sysexts, packaging, &lock.ssh_keys, layers)?;
    let blueprint = Blueprint::new(project, lock, version, packaging, &compiled.boots)?;
    same_plan(first, &blueprint)?;
    for (_, object) in lock.objects() {
        lend(inputs, &object, store)?;
    }
    let early = early::admit(recipe, store)?;
    let outcomes = blueprint.run(store, &Retold(observer))?;
    let draft = blueprint.assemble(&run::objects(&outcomes), &early, store)?.draft;
    Ok((outcomes, draft))
}

fn same_plan(first: &Blueprint<'_>, second: &Blueprint<'_>) -> Result<(), Error> {
    let keys = |blueprint: &Blueprint<'_>| -> BTreeSet<(String, Sha256)> {
        blueprint.plan.steps.iter().map(|step| (step.id.clone(), step.key)).collect()
    };
    // No step's key covers the secrets, so compare them here.
    let secrets = |blueprint: &Blueprint<'_>| -> BTreeSet<(String, Option<Sha256>)> {
        let secret = |bytes: &Vec<u8>| Sha256::of(bytes);
        let boots = blueprint.boots.iter();
        boots.map(|boot| (format!("{PRIVATE}/{}", boot.id), boot.private.as_ref().map(secret))).collect()
    };
    let subject =
        keys(first).symmetric_difference(&keys(second)).map(|(id, _)| id.clone()).next().or_else(|| {
            secrets(first).symmetric_difference(&secrets(second)).map(|(id, _)| id.clone()).next()
        });
    match subject {
        Some(subject) => Err(Error::Planned { subject }),
        None => Ok(()),
    }
}

/// Puts an object of another store into a store, as a link where the disk allows it.
fn lend(from: &Store, object: &Object, to: &Store) -> Result<(), disk::Error> {
    let target = to.path(&object.sha256);
    if to.has(object) {
        return Ok(());
    }
    let directory = disk::directory_of(&target);
    disk::create_directories(directory)?;
    publish::place(&from.path(&object.sha256), &target)
}

/// Reports finished steps as steps that were built again.
struct Retold<'o>(&'o dyn Observer);

impl Observer for Retold<'_> {
    fn notice(&self, event: Event<'_>) {
        if let Event::StepDone { id, size, took } = event {
            self.0.notice(Event::StepRebuilt { id, size, took });
        }
    }
}

/// Finds the first step with a different result. If all results are equal, compares the trees, which have more files.
fn compare(blueprint: &Blueprint<'_>, first: Made<'_>, second: Made<'_>) -> Result<()> {
    let [before, after] = [first, second].map(|made| made.draft.manifest());
    let differing = differing_files(before, after)?;
    let pairs = first.outcomes.iter().zip(second.outcomes);
    let mut steps = blueprint.plan.steps.iter().zip(pairs);
    if let Some((step, (a, b))) = steps.find(|(_, (a, b))| a.object != b.object) {
        let file = before.files.iter().find(|(_, file)| file.step == Some(step.key));
        let subject = file.map_or(&step.id, |(path, _)| path);
        let kept = [
            keep(first, first, &Contents::Stored(a.object)),
            keep(first, second, &Contents::Stored(b.object)),
        ];
        return Err(told(subject, kept, first, second, &differing)?.into());
    }
    // A list of digests differs whenever any file does, so report another file first.
    let file = differing.iter().find(|path| *path != CHECKSUMS).or(differing.first());
    if let Some(path) = file {
        let kept = [first, second].map(|made| match made.draft.contents(path) {
            Some(contents) => keep(first, made, contents),
            None => Err(Error::Planned { subject: path.clone() }.into()),
        });
        return Err(told(path, kept, first, second, &differing)?.into());
    }
    if before != after {
        let kept = [before, after].map(|manifest| keep(first, first, &Contents::Text(manifest.to_bytes())));
        return Err(told(names::MANIFEST, kept, first, second, &differing)?.into());
    }
    Ok(())
}

/// The paths of files whose bytes differ, sorted.
fn differing_files(before: &Manifest, after: &Manifest) -> Result<Vec<String>, Error> {
    let names = |manifest: &Manifest| -> BTreeSet<String> {
        manifest.files.keys().chain(manifest.joined.keys()).cloned().collect()
    };
    if let Some(path) = names(before).symmetric_difference(&names(after)).next() {
        return Err(Error::Planned { subject: path.clone() });
    }
    let differs = |(path, file): &(&String, &manifest::File)| after.files[*path].sha256 != file.sha256;
    Ok(before.files.iter().filter(differs).map(|(path, _)| path.clone()).collect())
}

/// Puts a built file into the first store, where it outlives the rebuild.
fn keep(first: Made<'_>, made: Made<'_>, contents: &Contents) -> Result<PathBuf> {
    let object = match contents {
        Contents::Stored(object) => {
            lend(made.store, object, first.store)?;
            *object
        }
        Contents::Text(bytes) => first.store.put(bytes)?,
        Contents::Published(path, _) => return Ok(path.clone()),
        Contents::Joined(parts) => return Err(Error::Planned { subject: parts.join(" + ") }.into()),
    };
    Ok(first.store.path(&object.sha256))
}

fn told(
    subject: &str,
    kept: [Result<PathBuf>; 2],
    first: Made<'_>,
    second: Made<'_>,
    differing: &[String],
) -> Result<Error> {
    let [a, b] = kept;
    let kept = [a?, b?];
    let difference = difference::between(&kept[0], &kept[1]).map_err(disk::Error::io("read", &kept[1]))?;
    let [before, after] = [first, second].map(|made| made.draft.manifest().build_id());
    let others = differing.iter().filter(|path| *path != subject).count();
    Ok(Error::Differs { subject: subject.into(), difference, first: before, second: after, others, kept })
}
