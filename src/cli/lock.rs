//! `prebake lock`

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::progress::Progress;
use super::project::{FetchArgs, ProjectArgs, block_on};
use super::table::Table;
use crate::bake::project::{Inputs, Limits, Project};
use crate::bake::settle::Taken;
use crate::base::count::counted;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Result;
use crate::flatcar::version::VersionWish;
use crate::tree::lock::{Error, Lock, Trust};
use crate::tree::sides::Origin;
use crate::trust::openpgp::Fingerprint;

/// Write the lock of a recipe: the exact, verified inputs that builds use
///
/// Every input is fetched and verified before it is locked. Inputs that are locked and still fit the recipe stay, unless
/// --update asks for them anew. Of a lock with merge conflicts it keeps what either side locked, as far as the recipe wants it. Signed inputs are judged by the recipe's pin again, and the lock remembers the keys that the
/// recipe trusts. Moves are printed, old → new.
#[derive(Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Resolve the recipe's wishes anew, for all inputs or for the named ones
    #[arg(long)]
    update: bool,
    /// Update only these: `flatcar`, a sysext's name, `github:USER`, or an input's id; all others stay as they are
    /// locked
    #[arg(value_name = "NAME", requires = "update")]
    names: Vec<String>,
    /// Take a version that is older than the locked one, if the channel names that as current
    #[arg(long, requires = "update")]
    allow_older: bool,
    #[command(flatten)]
    fetch: FetchArgs,
    /// Print what moved as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// An input that differs between the old lock and the new one.
struct Move<'l> {
    id: &'l str,
    old: Option<Object>,
    new: Option<Object>,
}

impl LockArgs {
    /// Writes the lock and prints the changes.
    pub(crate) fn run(self) -> Result<()> {
        let (mut project, settled) = Project::load_settled(&self.project.recipe)?;
        if let Some(taken) = &settled {
            tell_source(&project.lock_path, taken.origin);
        }
        let store = self.project.store.open()?;
        let store = self.fetch.trusting(store);
        let old = project.lock.clone();
        if self.update && self.names.is_empty() {
            project.lock = None;
        }
        for name in &self.names {
            let missing =
                |known| Error::Unknown { path: project.lock_path.clone(), name: name.clone(), known };
            let lock = project.lock.as_mut().ok_or_else(|| missing(Vec::new()))?;
            if !lock.forget(name) {
                return Err(missing(old.as_ref().map_or(Vec::new(), Lock::names)).into());
            }
        }
        let limits = Limits { http: self.fetch.options(), ..Limits::default() };
        let progress = Progress::new();
        let Inputs { lock, fetched, .. } =
            block_on(project.inputs(&store, limits, &progress, |_, _, _| Ok(())))?;
        let asks = matches!(project.recipe.release.version, VersionWish::Latest) && !self.allow_older;
        if let Some(old) = old.as_ref().filter(|_| asks) {
            old.must_not_be_newer_than(&lock, &project.lock_path)?;
        }
        project.save(&lock, &store)?;
        tell_cached(&lock, &fetched);
        if let Some(taken) = &settled {
            tell_sysexts(&project.lock_path, taken, &lock);
        }
        match (self.json, settled) {
            (true, settled) => {
                let mut told = as_json(&project.lock_path, old.as_ref(), &lock);
                if let Some(Taken { ours, theirs, origin, .. }) = settled {
                    let source = match origin {
                        Origin::Index => "index",
                        Origin::Marks | Origin::Edited => "marks",
                    };
                    told["moved"] = true.into();
                    told["settled"] = json!({"ours": ours, "theirs": theirs, "source": source});
                }
                say!("{told:#}");
            }
            (false, Some(Taken { ours, theirs, .. })) => {
                let path = project.lock_path.display();
                say!(
                    "{path}: merge conflict settled: of the inputs that differ, {ours} of ours, {theirs} of theirs"
                );
                if old.as_ref() != Some(&lock) {
                    print(&project.lock_path, old.as_ref(), &lock);
                }
            }
            (false, None) => print(&project.lock_path, old.as_ref(), &lock),
        }
        Ok(())
    }
}

/// Tells the source of the sides before an entry of two halves fails its verification.
fn tell_source(path: &Path, origin: Origin) {
    let path = path.display();
    match origin {
        Origin::Index => tell!("{path}: both sides are as git's index has them"),
        Origin::Marks => {
            tell!(
                "warning: {path}: git's index has no sides of it: they are as the text between the marks has them"
            );
        }
        Origin::Edited => tell!(
            "warning: {path}: its text outside the marks is not as git merged it: both sides are as the text has them, not as git's index has them"
        ),
    }
}

/// Tells where this prebake's sysexts are of neither side.
fn tell_sysexts(path: &Path, taken: &Taken, lock: &Lock) {
    let path = path.display();
    for (name, sha256) in &lock.sysexts {
        if taken.sysexts.get(name).is_some_and(|locked| !locked.contains(sha256)) {
            tell!(
                "warning: {path}: the sysext `{name}` of this prebake is not the one that either side locked"
            );
        }
    }
}

/// Tells with --verbose which inputs of a lock the store already had.
pub(super) fn tell_cached(lock: &Lock, fetched: &[String]) {
    for (id, Object { size, sha256 }) in lock.objects().filter(|(id, _)| !fetched.iter().any(|it| it == id)) {
        detail!("cached   {id}: {}, the store has it as {sha256}", HumanBytes(size));
    }
}

/// Every input that is new, removed or changed, sorted by id.
fn moves<'l>(old: Option<&'l Lock>, new: &'l Lock) -> Vec<Move<'l>> {
    let ids: BTreeSet<&str> =
        old.into_iter().chain([new]).flat_map(|lock| lock.inputs.keys().map(String::as_str)).collect();
    let of = |lock: &Lock, id: &str| lock.inputs.get(id).map(|entry| entry.object());
    let all = ids.into_iter().map(|id| Move { id, old: old.and_then(|lock| of(lock, id)), new: of(new, id) });
    all.filter(|moved| moved.old != moved.new).collect()
}

/// GitHub users whose keys are new, removed or changed, with the number of keys before and after.
fn moved_keys<'l>(old: Option<&'l Lock>, new: &'l Lock) -> Vec<(&'l str, Option<usize>, Option<usize>)> {
    let users: BTreeSet<&str> =
        old.into_iter().chain([new]).flat_map(|lock| lock.ssh_keys.keys().map(String::as_str)).collect();
    let moved = users.into_iter().filter_map(|user| {
        let was = old.and_then(|lock| lock.ssh_keys.get(user));
        let is = new.ssh_keys.get(user);
        (was != is).then(|| (user, was.map(Vec::len), is.map(Vec::len)))
    });
    moved.collect()
}

/// Sysexts of prebake whose folders are new, removed or changed.
fn moved_sysexts<'l>(
    old: Option<&'l Lock>,
    new: &'l Lock,
) -> impl Iterator<Item = (&'l str, Option<Sha256>, Option<Sha256>)> {
    let names: BTreeSet<&str> =
        old.into_iter().chain([new]).flat_map(|lock| lock.sysexts.keys().map(String::as_str)).collect();
    let of = |lock: &Lock, name: &str| lock.sysexts.get(name).copied();
    let all = names.into_iter().map(move |name| (name, old.and_then(|lock| of(lock, name)), of(new, name)));
    all.filter(|(_, old, new)| old != new)
}

/// Changes of the recipe's trust: each one's name, with the old and the new value.
fn moved_trust(old: Option<&Lock>, new: &Lock) -> Vec<(&'static str, Option<String>, Option<String>)> {
    /// A lock's value of one of them.
    type Says = fn(&Lock) -> Option<String>;
    fn trust(lock: &Lock) -> Option<&Trust> {
        lock.trust.as_ref()
    }
    let rows: [(&str, Says); 5] = [
        ("schema", |lock| Some(lock.schema.to_string())),
        ("pinned key", |lock| Some(trust(lock)?.primary_fingerprint.to_string())),
        ("sysext certificate", |lock| Some(trust(lock)?.sysext_certificate?.to_string())),
        ("authorities", |lock| {
            let all: Vec<String> = trust(lock)?.authorities.iter().map(Sha256::to_string).collect();
            (!all.is_empty()).then(|| all.join(" "))
        }),
        ("revoked keys", |lock| {
            let all: Vec<String> = trust(lock)?.revoked.keys().map(Fingerprint::to_string).collect();
            (!all.is_empty()).then(|| all.join(" "))
        }),
    ];
    // For a first lock nothing is listed, because the recipe states its trust.
    let Some(old) = old else { return Vec::new() };
    let all = rows.into_iter().map(|(name, says)| (name, says(old), says(new)));
    all.filter(|(_, old, new)| old != new).collect()
}

fn print(path: &Path, old: Option<&Lock>, new: &Lock) {
    let mut table = Table::new(["INPUT", ">SIZE", "OLD", "", ">SIZE", "NEW"]);
    // Each side is a size (may be empty) and a value.
    let mut row = |name: String, old: Option<(String, String)>, new: Option<(String, String)>| {
        let or = |side: Option<(String, String)>| side.unwrap_or_else(|| (String::new(), "-".into()));
        let ((old_size, old), (new_size, new)) = (or(old), or(new));
        table.row([name, old_size, old, "→".into(), new_size, new]);
    };
    let release = |lock: &Lock| (String::new(), format!("{} {}", lock.release.channel, lock.release.version));
    if old.map(release) != Some(release(new)) {
        row("release".into(), old.map(release), Some(release(new)));
    }
    for (name, was, is) in moved_trust(old, new) {
        let side = |text: Option<String>| text.map(|text| (String::new(), text));
        row(name.into(), side(was), side(is));
    }
    for (name, was, is) in moved_sysexts(old, new) {
        let side = |sha256: Option<Sha256>| {
            sha256.map(|sha256| (String::new(), sha256.to_string()[..12].to_owned()))
        };
        row(format!("sysext {name}"), side(was), side(is));
    }
    for (user, was, is) in moved_keys(old, new) {
        let keys = |count: usize| (String::new(), counted(count, "SSH key"));
        row(format!("github:{user}"), was.map(keys), is.map(keys));
    }
    for Move { id, old, new } in moves(old, new) {
        let object = |o: Object| (HumanBytes(o.size).to_string(), o.sha256.to_string()[..12].to_owned());
        row(id.into(), old.map(object), new.map(object));
    }
    match old == Some(new) {
        true => say!("{} is up to date", path.display()),
        false => say_part!("{}:\n{table}", path.display()),
    }
}

fn as_json(path: &Path, old: Option<&Lock>, new: &Lock) -> Value {
    let moves: Vec<Value> =
        moves(old, new).iter().map(|m| json!({"id": m.id, "old": m.old, "new": m.new})).collect();
    let keys: Vec<Value> = moved_keys(old, new)
        .iter()
        .map(|(user, old, new)| json!({"user": user, "old": old, "new": new}))
        .collect();
    let sysexts: Vec<Value> = moved_sysexts(old, new)
        .map(|(name, old, new)| json!({"name": name, "old": old, "new": new}))
        .collect();
    json!({
        "lock": path,
        "moved": old != Some(new),
        "release": {"old": old.map(|lock| &lock.release), "new": new.release},
        "inputs": moves,
        "ssh_keys": keys,
        "sysexts": sysexts,
        "schema": {"old": old.map(|lock| lock.schema), "new": new.schema},
        "trust": {"old": old.and_then(|lock| lock.trust.as_ref()), "new": new.trust},
    })
}
