//! A recipe with all that is known before anything is fetched: its lock, boards, sysexts and limits.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bake::extensions::{self, Selected};
use crate::bake::images::{self, Needs};
use crate::bake::kubernetes;
use crate::bake::outputs::{self, Outputs};
use crate::bake::recipe::Recipe;
use crate::bake::resolve::{self, Pins, Stock};
use crate::bake::settle::{Sides, Taken};
use crate::base::error::{Advice, Exit, Result};
use crate::base::event::{Event, Observer};
use crate::base::finding::Finding;
use crate::flatcar::board::{self, Board};
use crate::flatcar::version::Version;
use crate::source::fetch::{self, Fetcher, Judged, Want};
use crate::source::http::{self, Http};
use crate::source::pull::Resolver;
use crate::source::{Mirrors, key};
use crate::store::Store;
use crate::tree::lock::{self, Lock};
use crate::tree::sides;

/// Limits of a build, from the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Fail instead of changing the lock.
    pub locked: bool,
    /// Use only what is in the store.
    pub offline: bool,
    /// Build everything twice, and publish it only if both builds are the same.
    pub rebuild: bool,
    /// Settings for fetching inputs.
    pub http: http::Options,
}

/// Reasons to stop a build that belong to no other room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Inputs that the store lacks, with `--offline`.
    #[error("--offline, but the store lacks {} of the recipe's inputs:\n  {}", missing.len(), missing.join("\n  "))]
    Offline {
        /// Their ids or URLs.
        missing: Vec<String>,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Network
    }

    fn hint(&self) -> Option<String> {
        Some("run the build once with a network, or copy the store of a machine that did".into())
    }
}

/// A recipe with its lock and its sysexts as they are on disk: where every verb starts.
pub struct Project {
    /// The recipe, parsed and checked.
    pub recipe: Recipe,
    /// Its outputs.
    pub outputs: Outputs,
    /// Path of its lock, which may not exist yet.
    pub lock_path: PathBuf,
    /// Its lock, if there is one.
    pub lock: Option<Lock>,
    /// The release's boards, at least one.
    pub boards: Vec<Board>,
    /// The sysexts that the recipe uses.
    pub sysexts: Vec<Selected>,
    /// The facts about the pinned key that the lock on the disk remembers, kept even if everything else is locked anew.
    remembered: Option<lock::Trust>,
    /// Whether the file still has the conflicts that the lock was settled from.
    is_settled: bool,
}

/// Inputs of a build: all are in the store, and their signatures are judged.
pub(crate) struct Inputs<T> {
    /// The lock that the recipe needs.
    pub lock: Lock,
    /// Ids of the inputs that this run fetched.
    pub fetched: Vec<String>,
    /// The signed inputs, as they were checked against the recipe's pin.
    pub judged: Vec<Judged>,
    /// Result of the caller's check.
    pub checked: T,
}

impl Project {
    /// Reads the recipe, its lock and its sysexts.
    pub fn load(recipe: &Path) -> Result<Project> {
        Project::with_lock(recipe, |_, path| Lock::load(path))
    }

    /// The same by a lock that is at hand, wherever it came from.
    pub(crate) fn by(recipe: &Path, lock: Lock) -> Result<Project> {
        Project::with_lock(recipe, |_, _| Ok(Some(lock)))
    }

    /// The same with a lock that lies elsewhere: it is read from one path, and written to another if it moves.
    pub(crate) fn load_elsewhere(recipe: &Path, read: &Path, written: &Path) -> Result<Project> {
        let mut project = Project::with_lock(recipe, |_, _| Lock::load(read))?;
        project.lock_path = written.to_owned();
        Ok(project)
    }

    /// The same, with a lock that git could not merge settled, and how many inputs came from each side. The file is not
    /// written yet.
    pub(crate) fn load_settled(recipe: &Path) -> Result<(Project, Option<Taken>)> {
        let mut settled = None;
        let mut project = Project::with_lock(recipe, |recipe, path| match sides::read(path)? {
            Some(unmerged) => {
                let both = settled.insert(Sides::new(recipe, unmerged));
                Ok(Some(both.union(recipe)))
            }
            None => Lock::load(path),
        })?;
        let Some(sides) = settled else { return Ok((project, None)) };
        let wants = project.wants(&project.needs()?).1;
        let (lock, taken) = sides.settle(project.lock.take().unwrap_or_else(Lock::empty), &wants);
        (project.lock, project.is_settled) = (Some(lock), true);
        Ok((project, Some(taken)))
    }

    fn with_lock(
        recipe: &Path,
        read: impl FnOnce(&Recipe, &Path) -> Result<Option<Lock>>,
    ) -> Result<Project> {
        let lock_path = Lock::path_of(recipe);
        let (recipe, outputs) = Recipe::load(recipe, outputs::read)?;
        outputs.gather(&recipe)?;
        let boards = resolve::boards(&recipe)?;
        // Load errors of the lock are kept back, so that the recipe's own faults are reported first.
        let lock = read(&recipe, &lock_path);
        let locked = lock.as_ref().ok().and_then(Option::as_ref);
        let kubeadm = locked.and_then(|lock| lock.kubeadm.as_ref());
        let sysexts = extensions::load(&recipe, &outputs.sysext_versions(), kubeadm)?;
        let lock = lock?;
        let remembered = lock.as_ref().and_then(|lock| lock.trust.clone());
        Ok(Project { recipe, outputs, lock_path, lock, boards, sysexts, remembered, is_settled: false })
    }

    /// The keys that the recipe trusts, with what its lock remembers of the pinned key.
    fn trust(&self) -> Result<lock::Trust> {
        Ok(resolve::trust(&self.recipe)?.remembering(self.remembered.as_ref()))
    }

    /// The container images that Kubernetes needs, as far as they are known without a network.
    pub(crate) fn needs(&self) -> Result<Needs> {
        self.needs_by(self.lock.as_ref())
    }

    /// The same by a lock that knows more.
    pub(crate) fn needs_by(&self, lock: Option<&Lock>) -> Result<Needs> {
        let needs = kubernetes::needs(&self.recipe, &self.sysexts, lock)?;
        Ok(needs.with(self.outputs.images(), &self.recipe))
    }

    /// The version and every input, as far as they are known without a network.
    pub(crate) fn wants(&self, needs: &Needs) -> (Option<Version>, Vec<Want>) {
        let version = resolve::locked_version(&self.recipe, self.lock.as_ref());
        let directory = version.map_or(board::CURRENT.into(), |version| version.to_string());
        let (images, _) = images::split(&self.recipe, needs, self.lock.as_ref());
        (version, resolve::wants(&self.outputs, &self.boards, &directory, &self.sysexts, &images))
    }

    /// Checks the lock's claims about signers against the recipe's pin and against the signatures in the store; a
    /// warning where no key file is at hand.
    ///
    /// # Errors
    /// A signer whose key is not certified by the pin, or is no longer trusted.
    pub(crate) fn judge_claims(&self, store: &Store) -> Result<Option<Finding>> {
        let Some(lock) = &self.lock else { return Ok(None) };
        let (_, wants) = self.wants(&self.needs()?);
        let signed: Vec<&Want> = wants.iter().filter(|want| want.is_signed()).collect();
        if signed.is_empty() {
            return Ok(None);
        }
        let Some(key) = key::at_hand(&self.recipe.trust, store)? else {
            let text = format!(
                "no key file with the primary key {} is available: the signers in {} are checked during the build only",
                self.recipe.trust.primary,
                self.lock_path.display()
            );
            return Ok(Some(Finding::warning(text).hint("`prebake key update` fetches it")));
        };
        key.must_revoke(&self.trust()?.revoked, &self.lock_path.display().to_string())?;
        let now = SystemTime::now();
        for want in signed {
            fetch::judge_claim(&key, want, &lock.inputs, store, now)?;
        }
        Ok(None)
    }

    /// Returns the lock that the recipe needs, with all its inputs in the store: the present lock if it fits.
    ///
    /// `check` is called as soon as the version, the sysexts' variables and the SSH keys are known, before anything
    /// large is fetched.
    pub(crate) async fn inputs<T>(
        &mut self,
        store: &Store,
        limits: Limits,
        observer: &dyn Observer,
        check: impl FnOnce(&Project, Version, &lock::SshKeys) -> Result<T>,
    ) -> Result<Inputs<T>> {
        let mut needs = self.needs()?;
        let trust = self.trust()?;
        let drifted = |drift| lock::Error::Drift { path: self.lock_path.clone(), drift };
        if limits.locked {
            let wants = self.wants(&needs).1;
            let pins = Pins::of(&self.sysexts, self.lock.as_ref())?;
            let drift = resolve::drift(self.lock.as_ref(), &self.recipe, &trust, &needs, &wants, &pins);
            if !drift.is_empty() {
                return Err(drifted(drift).into());
            }
        }
        let http = Http::new(Mirrors::new(&self.recipe.mirrors)?, limits.http).observed(observer);
        let version = match resolve::locked_version(&self.recipe, self.lock.as_ref()) {
            Some(version) => version,
            None if limits.offline => {
                let missing =
                    self.boards.iter().map(|board| board.url(board::CURRENT, board::VERSION_TXT)).collect();
                return Err(Error::Offline { missing }.into());
            }
            None => resolve::version(&self.recipe, &self.boards, &http).await?,
        };
        if limits.offline {
            let users = resolve::unlocked_users(&self.recipe, self.lock.as_ref());
            let (_, images) = images::split(&self.recipe, &needs, self.lock.as_ref());
            let missing: Vec<String> = users
                .map(|user| format!("github:{user}"))
                .chain(needs.open.then(|| "kubeadm's list of images".into()))
                .chain(images.iter().map(|(image, arch)| format!("image/{image}/{arch}")))
                .collect();
            if !missing.is_empty() {
                return Err(Error::Offline { missing }.into());
            }
        }
        let mut locked = self.lock.clone();
        if needs.open {
            let lock = locked.unwrap_or_else(Lock::empty);
            let lock = kubernetes::look_up(&self.sysexts, lock, &http).await?;
            // From now on the name of kubeadm's pause image is known to the sysexts that use it.
            let published = self.outputs.sysext_versions();
            self.sysexts = extensions::load(&self.recipe, &published, lock.kubeadm.as_ref())?;
            needs = self.needs_by(Some(&lock))?;
            locked = Some(lock);
        }
        let project = &*self;
        let fetcher = Fetcher::new(&http, store, observer, &project.recipe.trust)
            .offline(limits.offline)
            .remembering(trust.revoked.clone(), &project.lock_path);
        let ssh_keys = resolve::ssh_keys(&project.recipe, project.lock.as_ref(), &http).await?;
        let checked = check(project, version, &ssh_keys)?;
        let resolver = Resolver { http: &http, store, observer };
        let Self { recipe, outputs, boards, .. } = project;
        let images = images::pin(recipe, &needs, locked.as_ref(), &resolver).await?;
        let wants = resolve::wants(outputs, boards, &version.to_string(), &project.sysexts, &images);
        let locked = locked.map(|lock| resolve::renewed(&lock, &wants));
        let locked = locked.as_ref();
        let mut stock = Stock::take(&wants, locked, store);
        stock.recall(locked, &fetcher).await;
        let missing = stock.missing();
        for corrupt in store.take_corrupt() {
            let id =
                locked.and_then(|lock| lock.objects().find(|(_, object)| object.sha256 == corrupt.sha256));
            let sha256 = corrupt.sha256.to_string();
            let id = id.map_or(sha256.as_str(), |(id, _)| id);
            observer.notice(Event::Corrupt { id, why: &corrupt.why });
        }
        if limits.offline && !missing.is_empty() {
            return Err(Error::Offline { missing }.into());
        }
        let promises = (trust, ssh_keys);
        let (mut lock, judged) =
            resolve::update(recipe, boards, version, stock, promises, locked, &fetcher).await?;
        lock.kubeadm = needs.kubeadm;
        lock.sysexts = Pins::of(&project.sysexts, locked)?.to_lock(locked);
        // With `--locked`, too, a newer key file is accepted.
        if let (false, Some(trust)) = (limits.locked, &mut lock.trust) {
            trust.revoked.extend(fetcher.revoked());
        }
        if limits.locked && project.lock.as_ref() != Some(&lock) {
            // `--locked` refuses every change of the lock, for whatever reason.
            return Err(drifted(vec!["the inputs found differ from the locked ones".into()]).into());
        }
        Ok(Inputs { lock, fetched: missing, judged, checked })
    }

    /// Writes the lock if it changed or has conflicts, and has the store keep the inputs it names.
    pub(crate) fn save(&self, lock: &Lock, store: &Store) -> Result<bool> {
        let moved = self.lock.as_ref() != Some(lock);
        if moved || self.is_settled {
            lock.save(&self.lock_path)?;
        }
        store.keep(&self.lock_path)?;
        Ok(moved)
    }
}
