//! Attributes requests of a running system to machines: a machine has several cards, and only the one that it booted
//! over is known here.

use std::net::IpAddr;
use std::time::Duration;

use super::machine::Machine;
use super::stage::Stage;
use super::{Key, Timeline, Who};
use crate::serve::machines::stamp::Stamp;
use crate::serve::site::labels::Labels;
use crate::tree::records::normal_mac;

/// How long after a machine was last seen a request from its address is attributed to it. An installation is seen every
/// few seconds, and any other machine that boots at that address is seen at once.
const AT_ADDRESS: Duration = Duration::from_secs(3600);
/// The label with the addresses of a machine's other cards, separated by commas.
const CARDS: &str = "cards";
/// More cards than any machine has.
const MOST_CARDS: usize = 64;

/// The machine that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The machine that booted over the card in the request.
    Its,
    /// No machine that was seen here.
    Nobodys,
    /// A machine that is known by another card.
    Another {
        /// The address of that card.
        mac: String,
        /// The machine's UUID, if known.
        uuid: Option<String>,
    },
    /// One of several machines, listed by their cards.
    Unclear(Vec<String>),
}

/// A machine's other cards by its label, normalized.
pub(crate) fn cards(labels: &Labels) -> Vec<String> {
    labels.get(CARDS).split(',').filter_map(normal_mac).take(MOST_CARDS).collect()
}

impl Timeline {
    /// Finds the machine of a request with a MAC address. If a machine got a script by this address, that is the one.
    /// Otherwise nobody booted over this card, and the machine is the one that booted over another of its cards, or has
    /// the same UUID, or is the only one at its address. `is_named` tells for which machines the inventory has a name.
    pub(crate) fn whose(
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
            // Different UUIDs mean different machines, such as behind a NAT.
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
