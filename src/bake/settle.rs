//! Settles a lock that git could not merge: both sides were made by `prebake lock`, so nothing has to be resolved anew.
//!
//! One side leads: the one that has the recipe's release; of two, the newer release, then the newer signature, then ours. Of
//! the other side comes each input that fits the recipe where the leading side's does not. Inputs that no side has as the recipe
//! wants them are left to the verb, which fetches them. Releases never move to those of today.

use std::collections::{BTreeMap, BTreeSet};

use crate::bake::recipe::Recipe;
use crate::bake::resolve;
use crate::base::digest::Sha256;
use crate::flatcar::version::VersionWish;
use crate::source::fetch::Want;
use crate::tree::lock::{Lock, Trust};
use crate::tree::sides::{Origin, Unmerged};

/// How much was taken from each side, where the sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Number of inputs from the branch that is checked out.
    pub ours: usize,
    /// Number of inputs from the branch that is merged.
    pub theirs: usize,
    /// The source of the sides.
    pub origin: Origin,
    /// Sysext → the digests that a side locked for the folder that came with its prebake.
    pub sysexts: BTreeMap<String, BTreeSet<Sha256>>,
}

/// The sides of a lock, the leading one first.
pub(crate) struct Sides {
    first: Lock,
    second: Lock,
    ours_lead: bool,
    origin: Origin,
}

impl Sides {
    /// Orders the sides of a conflict.
    pub(crate) fn new(recipe: &Recipe, unmerged: Unmerged) -> Sides {
        let Unmerged { sides: [ours, theirs], origin } = unmerged;
        let release = &recipe.release;
        let rank = |lock: &Lock| {
            let fits = lock.release.channel == release.channel.value
                && match release.version {
                    VersionWish::Exactly(version) => lock.version() == Some(version),
                    VersionWish::Latest => true,
                };
            let signed = lock.inputs.values().filter_map(|entry| entry.signed).max();
            (fits, lock.version().filter(|_| fits), signed)
        };
        match rank(&theirs) > rank(&ours) {
            true => Sides { first: theirs, second: ours, ours_lead: false, origin },
            false => Sides { first: ours, second: theirs, ours_lead: true, origin },
        }
    }

    /// All that both sides locked, without judgement on inputs that they have differently: enough to learn what the recipe
    /// wants.
    pub(crate) fn union(&self, recipe: &Recipe) -> Lock {
        let Sides { first, second, .. } = self;
        let mut lock = first.clone();
        lock.schema = first.schema.min(second.schema);
        lock.trust = trust(recipe, first, second);
        if lock.kubeadm.is_none() {
            lock.kubeadm = second.kubeadm.clone();
        }
        for (user, keys) in &second.ssh_keys {
            lock.ssh_keys.entry(user.clone()).or_insert_with(|| keys.clone());
        }
        for (name, sha256) in &second.sysexts {
            lock.sysexts.entry(name.clone()).or_insert(*sha256);
        }
        for (id, entry) in &second.inputs {
            lock.inputs.entry(id.clone()).or_insert_with(|| entry.clone());
        }
        lock
    }

    /// The union, with the second side's inputs where only those are what the recipe wants.
    pub(crate) fn settle(&self, mut union: Lock, wants: &[Want]) -> (Lock, Taken) {
        let Sides { first, second, ours_lead, origin } = self;
        let mut from = BTreeSet::new();
        for want in wants {
            let fits = |lock: &Lock| resolve::misfits(want, &lock.inputs).is_none();
            if !fits(first) && fits(second) {
                for id in [want.id.clone(), want.signature_id()] {
                    match second.inputs.get(&id) {
                        Some(entry) => union.inputs.insert(id.clone(), entry.clone()),
                        None => union.inputs.remove(&id),
                    };
                    from.insert(id);
                }
            }
        }
        let differ = union.inputs.keys().filter(|id| first.inputs.get(*id) != second.inputs.get(*id));
        let (mut leading, mut other) = (0, 0);
        for id in differ {
            match from.contains(id) || !first.inputs.contains_key(id) {
                true => other += 1,
                false => leading += 1,
            }
        }
        let (ours, theirs) = if *ours_lead { (leading, other) } else { (other, leading) };
        let mut sysexts: BTreeMap<String, BTreeSet<Sha256>> = BTreeMap::new();
        for (name, sha256) in [first, second].into_iter().flat_map(|side| &side.sysexts) {
            sysexts.entry(name.clone()).or_default().insert(*sha256);
        }
        (union, Taken { ours, theirs, origin: *origin, sysexts })
    }
}

/// The keys that the recipe trusts, with all revocations that a side remembers of the pinned one.
fn trust(recipe: &Recipe, first: &Lock, second: &Lock) -> Option<Trust> {
    let pinned = |lock: &&Lock| {
        lock.trust.as_ref().is_some_and(|trust| trust.primary_fingerprint == recipe.trust.primary)
    };
    let mut known = [first, second].into_iter().filter(pinned).filter_map(|lock| lock.trust.clone());
    match known.next() {
        Some(trust) => Some(trust.remembering(known.next().as_ref())),
        None => first.trust.clone().or_else(|| second.trust.clone()),
    }
}
