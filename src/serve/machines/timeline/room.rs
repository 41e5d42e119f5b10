//! How many machines are remembered, and which are forgotten for others.
//!
//! Anybody can make up machines by the thousand, so those that no group names have a budget of their own: however many come,
//! none that the inventory names is forgotten for them. Within the budget an address pays for its own rows, and what only said
//! something goes before what was given a script.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::Key;
use super::machine::Machine;

/// Machines that groups name by MAC address, UUID or serial number; a site has fewer.
const NAMED: usize = 10_000;
/// Machines that no group names: a hall that boots by its default profile, or made up by one sender. With what each may say
/// they take less than 12 MiB.
pub(super) const STRANGERS: usize = 2_048;
/// How many make room at a time, so that a flood does not search all for each.
pub(super) const ROOM: usize = STRANGERS / 16;

/// How many machines of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    named: usize,
    strangers: usize,
}

impl Count {
    /// One more of its kind.
    pub fn add(&mut self, machine: &Machine) {
        *self.of(machine.is_named) += 1;
    }

    /// One fewer.
    pub fn remove(&mut self, machine: &Machine) {
        *self.of(machine.is_named) -= 1;
    }

    /// A stranger became one that a group names, or the reverse.
    pub fn renamed(&mut self, is_named: bool) {
        *self.of(is_named) += 1;
        *self.of(!is_named) -= 1;
    }

    /// Whether there is room for one more.
    pub fn has_room(mut self, is_named: bool) -> bool {
        *self.of(is_named) < if is_named { NAMED } else { STRANGERS }
    }

    fn of(&mut self, is_named: bool) -> &mut usize {
        match is_named {
            true => &mut self.named,
            false => &mut self.strangers,
        }
    }
}

/// Machines to forget so that there is room for more of a kind.
pub(super) fn leaving(machines: &BTreeMap<Key, Arc<Machine>>, is_named: bool) -> Vec<Key> {
    let mut kind: Vec<(&Key, &Machine)> =
        machines.iter().map(|(key, m)| (key, &**m)).filter(|(_, m)| m.is_named == is_named).collect();
    if !is_named {
        // As long as they are many, only those go that were given nothing to load, and of these the greediest sender's.
        let idle = |machine: &Machine| machine.profile.is_none();
        if kind.iter().filter(|(_, machine)| idle(machine)).count() >= STRANGERS / 4 {
            kind.retain(|(_, machine)| idle(machine));
        }
        let mut rows: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for (_, machine) in &kind {
            *rows.entry(machine.from).or_default() += 1;
        }
        if let Some((&greediest, _)) = rows.iter().max_by_key(|(address, count)| (**count, **address)) {
            kind.retain(|(_, machine)| machine.from == greediest);
        }
    }
    kind.sort_by_key(|(_, machine)| machine.last_seen);
    kind.into_iter().take(ROOM).map(|(key, _)| key.clone()).collect()
}
