//! The roll of a site: the nodes that it names for one machine alone, and those of them that never came.
//!
//! Nodes are groups that select a MAC address, UUID or serial number (of a tree, of an inventory, of a data directory), and
//! the nodes that a tree without groups lists. A machine that was seen by any of a node's identities is that node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::report::plain;
use super::timeline::{Machine, Timeline};
use crate::base::arch::Arch;
use crate::machine::entry::{Entry, host_name};
use crate::machine::node::Mac;
use crate::serve::site::Site;
use crate::tree::names::profile_of;
use crate::tree::records::{Group, normal_mac};

/// The most nodes that documents list as missing. More machines are not remembered either.
const MOST: usize = 10_000;
/// Missing nodes times strangers: beyond that none is guessed to be another.
const MOST_COMPARED: usize = 100_000;
/// Octets of a MAC address that its maker was given (IEEE's MA-L).
const MAKER: usize = 3;
/// Ports of one card have addresses in a row; few cards have more ports.
const PORTS: u8 = 3;

/// A node that no machine has come for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    /// Its name: the id of its group, or the name that the tree lists.
    pub name: String,
    /// The MAC address that selects it.
    pub mac: Option<String>,
    /// The SMBIOS UUID that selects it, lower case.
    pub uuid: Option<String>,
    /// The serial number that selects it.
    pub serial: Option<String>,
    /// The group that is for it alone.
    pub group: Option<String>,
    /// The profile that it would get.
    pub profile: Option<String>,
}

/// The nodes of a site.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    nodes: Vec<Missing>,
    names: HashSet<String>,
    /// The same as host names, which no other machine is called.
    hosts: HashSet<String>,
    /// Their names by their MAC addresses, UUIDs and serial numbers in lower case.
    ids: HashMap<String, String>,
    /// Whether these are the nodes of a recipe, so that a line below `nodes:` adds one.
    is_of_recipe: bool,
    archs: Vec<Arch>,
    /// The profile of a recipe with only one.
    only_profile: Option<String>,
}

/// The roll at a moment.
#[derive(Debug, Default)]
pub(crate) struct Call {
    roll: Arc<Roll>,
    /// The places in the roll of nodes that no machine is. The roll is called under the monitor's lock, so it copies none.
    missing: Vec<usize>,
    /// The cards of machines that no group matched.
    strangers: Vec<Mac>,
    /// The profile that a stranger most likely should have.
    profile: Option<String>,
}

impl Roll {
    /// The roll of a site.
    pub(crate) fn of(site: &Site) -> Roll {
        let mut roll = Roll { is_of_recipe: site.live.is_none(), ..Roll::default() };
        let mut known: HashMap<(&str, String), usize> = HashMap::new();
        // The least specific group comes last and is the machine's own: another one is for the system on its disk.
        for group in site.groups.iter().filter(|group| group.is_of_one_machine()) {
            let node = Missing::of(group);
            let ids = [("mac", &node.mac), ("uuid", &node.uuid), ("serial", &node.serial)];
            let ids: Vec<(&str, String)> =
                ids.into_iter().filter_map(|(key, id)| Some((key, id.clone()?.to_lowercase()))).collect();
            if ids.is_empty() {
                continue;
            }
            let place = ids.iter().find_map(|id| known.get(id).copied()).unwrap_or(roll.nodes.len());
            known.extend(ids.into_iter().map(|id| (id, place)));
            match roll.nodes.get_mut(place) {
                None => roll.nodes.push(node),
                Some(same) => {
                    let Missing { mac, uuid, serial, .. } = std::mem::replace(same, node);
                    same.mac = same.mac.take().or(mac);
                    same.uuid = same.uuid.take().or(uuid);
                    same.serial = same.serial.take().or(serial);
                }
            }
        }
        for host in site.nodes.iter() {
            let mac = host.mac.to_string();
            if !known.contains_key(&("mac", mac.clone())) {
                roll.nodes.push(Missing { name: plain(&host.name), mac: Some(mac), ..Missing::default() });
            }
        }
        roll.ids = known.into_iter().map(|((_, id), place)| (id, roll.nodes[place].name.clone())).collect();
        let listed = site.nodes.iter().map(|host| (host.mac.to_string(), plain(&host.name)));
        for (mac, name) in listed {
            roll.ids.entry(mac).or_insert(name);
        }
        roll.nodes.sort_by(|one, other| one.name.cmp(&other.name));
        roll.names = roll.nodes.iter().map(|node| node.name.clone()).collect();
        roll.hosts = roll.ids.values().chain(&roll.names).map(|name| host_name(name)).collect();
        roll.archs = site.manifest.releases.iter().map(|release| release.arch).collect();
        let profiles: HashSet<&str> = site.profiles.keys().map(|boot| profile_of(boot)).collect();
        roll.only_profile = match profiles.into_iter().collect::<Vec<_>>().as_slice() {
            [only] => Some((*only).to_owned()),
            _ => None,
        };
        roll
    }

    /// All nodes, sorted by name.
    pub(crate) fn nodes(&self) -> &[Missing] {
        &self.nodes
    }

    /// The name of the node with this MAC address or UUID.
    pub(crate) fn name_of(&self, mac: Option<&str>, uuid: Option<&str>) -> Option<&str> {
        [mac, uuid].into_iter().flatten().find_map(|id| self.ids.get(id)).map(String::as_str)
    }

    /// A machine's name: that of its node, else the host name that it gave itself, unless a node has that. Hosts get their
    /// names from DHCP servers and anybody may send one, so it must neither hide a node nor pass for one.
    pub(crate) fn name_for(&self, machine: &Machine) -> Option<String> {
        let of_group = || machine.group.as_deref().filter(|_| machine.is_named);
        let of_node = self.name_of(machine.mac.as_deref(), machine.uuid.as_deref()).or_else(of_group);
        let own = || machine.hostname.as_deref().filter(|own| !self.hosts.contains(&host_name(own)));
        of_node.or_else(own).map(str::to_owned)
    }

    /// Whether a machine is this node.
    pub(crate) fn is(&self, machine: &Machine, node: &Missing) -> bool {
        let name = self.name_of(machine.mac.as_deref(), machine.uuid.as_deref());
        let by_group = || machine.is_named && machine.group == node.group;
        name.map_or_else(by_group, |name| name == node.name)
    }

    /// The node that a person names.
    pub(crate) fn find(&self, text: &str) -> Option<&Missing> {
        self.nodes.iter().find(|node| node.is_called(text))
    }

    /// Calls the roll: finds the nodes that no machine of the timeline is.
    pub(crate) fn call(self: &Arc<Self>, timeline: &Timeline) -> Call {
        let missing = self.missing(timeline);
        let nodes = missing.iter().filter_map(|place| self.nodes.get(*place));
        let mut profiles = nodes.filter_map(|node| node.profile.as_deref()).map(profile_of);
        let first = profiles.next();
        let common = first.filter(|first| profiles.all(|other| other == *first)).map(str::to_owned);
        let strangers = timeline.machines().filter(|machine| machine.is_stranger);
        let strangers = strangers.filter_map(|machine| machine.mac.as_ref()?.parse().ok()).collect();
        Call { roll: self.clone(), missing, strangers, profile: common.or_else(|| self.only_profile.clone()) }
    }

    fn missing(&self, timeline: &Timeline) -> Vec<usize> {
        let groups: HashSet<&str> =
            timeline.machines().filter_map(|machine| machine.group.as_deref()).collect();
        let came = |node: &Missing| {
            timeline.has_seen(node.mac.as_deref(), node.uuid.as_deref())
                || node.group.as_deref().is_some_and(|group| groups.contains(group))
        };
        let missing = self.nodes.iter().enumerate().filter(|(_, node)| !came(node));
        missing.map(|(place, _)| place).take(MOST).collect()
    }
}

impl Call {
    /// The nodes that no machine is, sorted by name.
    pub(crate) fn missing(&self) -> impl ExactSizeIterator<Item = &Missing> {
        self.missing.iter().map(|place| &self.roll.nodes[*place])
    }

    /// Whether the same nodes are missing in another call.
    pub(crate) fn misses_the_same(&self, other: &Call) -> bool {
        let is_same_roll = Arc::ptr_eq(&self.roll, &other.roll);
        is_same_roll && self.missing == other.missing || !is_same_roll && self.missing().eq(other.missing())
    }

    /// A machine's name; see [`Roll::name_for`].
    pub(crate) fn name_of(&self, machine: &Machine) -> Option<String> {
        self.roll.name_for(machine)
    }

    /// Whether a machine is a node.
    pub(crate) fn is_node(&self, machine: &Machine) -> bool {
        machine.is_named || self.roll.name_of(machine.mac.as_deref(), machine.uuid.as_deref()).is_some()
    }

    /// Advice for a machine that no group matched: the node that it may be, and the line that makes it another one.
    pub(crate) fn advice(&self, machine: &Machine) -> Option<String> {
        if !machine.is_stranger || machine.is_odd {
            return None;
        }
        let entry = self.entry(machine).map(|entry| format!("add below `nodes:` {entry}"));
        let perhaps = self.missing_as(machine).map(|(node, why)| {
            let name = &node.name;
            format!("{name} was never seen, {why}: if this is {name}, give it this card's address there")
        });
        match (perhaps, entry) {
            (Some(perhaps), Some(entry)) => Some(format!("{perhaps}; if not, {entry}")),
            (perhaps, entry) => perhaps.or(entry),
        }
    }

    /// The missing node that a stranger may be, and the evidence for it.
    fn missing_as(&self, stranger: &Machine) -> Option<(&Missing, &'static str)> {
        if self.missing.len().saturating_mul(self.strangers.len()) > MOST_COMPARED {
            return None;
        }
        let name = stranger.hostname.as_deref().map(host_name).filter(|name| !name.is_empty());
        if let Some(node) = name.and_then(|name| self.missing().find(|node| host_name(&node.name) == name)) {
            return Some((node, "and it says this name"));
        }
        let mac: Mac = stranger.mac.as_ref()?.parse().ok()?;
        let cards =
            || self.missing().filter_map(|node| Some((node, node.mac.as_ref()?.parse::<Mac>().ok()?)));
        let mut near = cards().filter(|(_, other)| is_port_beside(mac, *other));
        if let (Some((node, _)), None) = (near.next(), near.next()) {
            return Some((node, "and its address differs little: another port of its card"));
        }
        if let ([place], [_]) = (self.missing.as_slice(), self.strangers.as_slice()) {
            return Some((&self.roll.nodes[*place], "as the only node"));
        }
        let is_alike = |other: &Mac| other.octets()[..MAKER] == mac.octets()[..MAKER];
        let mut alike = cards().filter(|(_, other)| is_alike(other));
        let is_only = self.strangers.iter().filter(|other| is_alike(other)).count() == 1;
        match (alike.next(), alike.next()) {
            (Some((node, _)), None) if is_only => Some((node, "and its card is of the same maker")),
            _ => None,
        }
    }

    /// The line below `nodes:` that makes a machine a node; `None` if it is one, or did not boot, or is known by its
    /// address alone, or if the nodes are not those of a recipe.
    pub(crate) fn entry(&self, machine: &Machine) -> Option<String> {
        let Roll { names, archs, is_of_recipe, .. } = &*self.roll;
        let Machine { mac, uuid, hostname, .. } = machine;
        let has_id = mac.is_some() || uuid.is_some();
        if !is_of_recipe || self.is_node(machine) || !has_id || machine.boot.stage().is_none() {
            return None;
        }
        let mac = mac.as_deref().and_then(|mac| mac.parse().ok());
        let mut entry =
            Entry::of_stranger(hostname.as_deref(), mac, uuid.as_deref(), |name| names.contains(name));
        let given = machine.profile.as_deref().map(profile_of);
        let perhaps =
            || self.missing_as(machine).and_then(|(node, _)| node.profile.as_deref()).map(profile_of);
        entry.profile = given.or_else(perhaps).or(self.profile.as_deref()).map(str::to_owned);
        let said = machine.arch.as_deref();
        let arch = Arch::ALL.into_iter().find(|arch| said.is_some_and(|said| arch.is_buildarch(said)));
        entry.arch = arch.filter(|_| archs.len() > 1);
        Some(entry.to_string())
    }
}

/// Whether two addresses may be those of ports of one card.
fn is_port_beside(one: Mac, other: Mac) -> bool {
    let ([begin @ .., one], [other_begin @ .., other]) = (one.octets(), other.octets());
    begin == other_begin && (1..=PORTS).contains(&one.abs_diff(other))
}

impl Missing {
    /// Whether a person may mean it: by its name, or by an identity in any case.
    pub(crate) fn is_called(&self, text: &str) -> bool {
        let ids = [&self.mac, &self.uuid, &self.serial];
        let mac = normal_mac(text);
        self.name == text
            || ids.into_iter().flatten().any(|id| id.eq_ignore_ascii_case(text) || mac.as_ref() == Some(id))
    }

    /// The node of a group.
    fn of(group: &Group) -> Missing {
        let identity = |key: &str| group.selector.get(key).filter(|id| !id.is_empty()).map(|id| plain(id));
        Missing {
            name: plain(&group.id),
            mac: identity("mac"),
            uuid: identity("uuid").map(|uuid| uuid.to_lowercase()),
            serial: identity("serial"),
            group: Some(plain(&group.id)),
            profile: Some(plain(&group.profile)),
        }
    }
}
