//! Limits how many machines are remembered, and chooses those to forget.
//!
//! Anybody can make up machines by the thousand, so machines that no group names have a budget of their own; they never
//! displace a machine of the inventory. Within that budget, an address displaces its own rows, and machines that only
//! sent something are forgotten before those that got a script.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::Key;
use super::machine::Machine;

/// Machines that groups name by MAC address, UUID or serial number. A site has fewer.
const NAMED: usize = 10_000;
/// Machines that no group names: those of a hall that boots by its default profile, or made up by a sender. With their
/// longest values they take less than 12 MiB.
pub(super) const STRANGERS: usize = 2_048;
/// How many rows are removed at a time, so that a flood does not cause a search for each newcomer.
pub(super) const ROOM: usize = STRANGERS / 16;

/// The number of machines of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    named: usize,
    strangers: usize,
}

impl Count {
    /// Counts a machine of its kind.
    pub(crate) fn add(&mut self, machine: &Machine) {
        *self.of(machine.is_named) += 1;
    }

    /// Uncounts a machine of its kind.
    pub(crate) fn remove(&mut self, machine: &Machine) {
        *self.of(machine.is_named) -= 1;
    }

    /// Recounts a machine that changed its kind.
    pub(crate) fn renamed(&mut self, is_named: bool) {
        *self.of(is_named) += 1;
        *self.of(!is_named) -= 1;
    }

    /// Whether there is room for one more of this kind.
    pub(crate) fn has_room(mut self, is_named: bool) -> bool {
        *self.of(is_named) < if is_named { NAMED } else { STRANGERS }
    }

    fn of(&mut self, is_named: bool) -> &mut usize {
        match is_named {
            true => &mut self.named,
            false => &mut self.strangers,
        }
    }
}

/// Machines to forget, to make room for others of the same kind.
pub(super) fn leaving(machines: &BTreeMap<Key, Arc<Machine>>, is_named: bool) -> Vec<Key> {
    let mut kind: Vec<(&Key, &Machine)> =
        machines.iter().map(|(key, m)| (key, &**m)).filter(|(_, m)| m.is_named == is_named).collect();
    if !is_named {
        // If there are many machines that got nothing to load, only these are forgotten. In any case, only those of the
        // greediest sender are.
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
