//! Whose request it is that a system sends once it is up: a machine has several cards, and only the one that it booted over
//! is known here.

use std::net::IpAddr;
use std::time::Duration;

use super::machine::Machine;
use super::stage::Stage;
use super::{Key, Timeline, Who};
use crate::serve::machines::stamp::Stamp;
use crate::serve::site::labels::Labels;
use crate::tree::records::normal_mac;

/// How long after a machine was last seen what comes from its address is taken for its own. An installation is seen every
/// few seconds, and whoever boots at that address then is seen at once.
const AT_ADDRESS: Duration = Duration::from_secs(3600);
/// What a machine says its other cards are, by their own addresses, with commas between them.
const CARDS: &str = "cards";
/// More cards than a machine has.
const MOST_CARDS: usize = 64;

/// Whose request it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// That of the machine that it says, which booted over that card.
    Its,
    /// That of nobody who was seen here.
    Nobodys,
    /// That of a machine which is known by another card.
    Another {
        /// That card.
        mac: String,
        /// The machine's UUID, where it is known.
        uuid: Option<String>,
    },
    /// That of one of several machines, by their cards.
    Unclear(Vec<String>),
}

/// The cards that a machine says it has, normalised.
pub fn cards(labels: &Labels) -> Vec<String> {
    labels.get(CARDS).split(',').filter_map(normal_mac).take(MOST_CARDS).collect()
}

impl Timeline {
    /// Whose request it is that says a MAC address. Machines that got a script by it are meant. Else it is a card that
    /// nobody booted over, and the machine is the one that booted over another of its cards, or has the same UUID, or
    /// else the only one that is at its address. `is_named` says of which machines the inventory has a name.
    pub fn whose(
        &self,
        labels: &Labels,
        peer: IpAddr,
        is_named: impl Fn(&Machine) -> bool,
        now: Stamp,
    ) -> Whose {
        let said = Who::saying(labels, Some(peer));
        let Some(mac) = &said.mac else { return Whose::Nobodys };
        let own = self.machines.get(&Key::Mac(mac.clone()));
        if own.is_some_and(|machine| machine.boot.marks.keys().any(|stage| *stage >= Stage::Script)) {
            return Whose::Its; // It got a script, or has reported.
        }
        let others = || {
            self.machines
                .values()
                .map(|machine| &**machine)
                .filter(|other| other.mac.as_ref().is_some_and(|it| it != mac))
        };
        let booted = |other: &&Machine| !other.boot.marks.is_empty() || is_named(other);
        let cards = cards(labels);
        let by_card: Vec<&Machine> = others()
            .filter(|other| other.mac.as_ref().is_some_and(|mac| cards.contains(mac)))
            .filter(booted)
            .collect();
        let by_uuid =
            || others().filter(|other| said.uuid.is_some() && other.uuid == said.uuid).filter(booted);
        let by_address = || {
            let here = others()
                .filter(|other| other.address.map(|it| it.to_canonical()) == Some(peer.to_canonical()));
            let here = here.filter(|other| now.since(other.last_seen) < AT_ADDRESS);
            // Two UUIDs are two machines, as behind a NAT.
            here.filter(|other| said.uuid.is_none() || other.uuid.is_none() || other.uuid == said.uuid)
                .filter(booted)
        };
        let found = match by_card.is_empty() {
            false => by_card,
            true => match by_uuid().collect::<Vec<_>>() {
                found if found.is_empty() => by_address().collect(),
                found => found,
            },
        };
        let card = |machine: &&Machine| machine.mac.clone();
        match found.as_slice() {
            [] => Whose::Nobodys,
            [one] => Whose::Another { mac: card(one).unwrap_or_default(), uuid: one.uuid.clone() },
            several => Whose::Unclear(several.iter().filter_map(card).collect()),
        }
    }
}
