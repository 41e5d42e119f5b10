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
use crate::machine::entry::Entry;
use crate::serve::site::Site;
use crate::tree::names::profile_of;
use crate::tree::records::Group;

/// The most nodes that documents list as missing. More machines are not remembered either.
const MOST: usize = 10_000;

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
    /// Their MAC addresses, UUIDs and serial numbers, in lower case.
    ids: HashSet<String>,
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
    /// The nodes that no machine is, sorted by name.
    pub missing: Vec<Missing>,
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
        roll.nodes.sort_by(|one, other| one.name.cmp(&other.name));
        roll.names = roll.nodes.iter().map(|node| node.name.clone()).collect();
        roll.ids = known.into_keys().map(|(_, id)| id).collect();
        roll.ids.extend(site.nodes.iter().map(|host| host.mac.to_string()));
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

    /// Calls the roll: finds the nodes that no machine of the timeline is.
    pub(crate) fn call(self: &Arc<Self>, timeline: &Timeline) -> Call {
        let missing = self.missing(timeline);
        let mut profiles = missing.iter().filter_map(|node| node.profile.as_deref()).map(profile_of);
        let first = profiles.next();
        let common = first.filter(|first| profiles.all(|other| other == *first)).map(str::to_owned);
        Call { roll: self.clone(), missing, profile: common.or_else(|| self.only_profile.clone()) }
    }

    fn missing(&self, timeline: &Timeline) -> Vec<Missing> {
        let groups: HashSet<&str> =
            timeline.machines().filter_map(|machine| machine.group.as_deref()).collect();
        let came = |node: &&Missing| {
            timeline.has_seen(node.mac.as_deref(), node.uuid.as_deref())
                || node.group.as_deref().is_some_and(|group| groups.contains(group))
        };
        self.nodes.iter().filter(|node| !came(node)).take(MOST).cloned().collect()
    }
}

impl Call {
    /// The line below `nodes:` that makes a machine a node; `None` if it is one, or did not boot, or is known by its
    /// address alone, or if the nodes are not those of a recipe.
    pub(crate) fn entry(&self, machine: &Machine) -> Option<String> {
        let Roll { names, ids, archs, is_of_recipe, .. } = &*self.roll;
        let Machine { mac, uuid, hostname, .. } = machine;
        let is_node = machine.is_named || [mac, uuid].into_iter().flatten().any(|id| ids.contains(id));
        let has_id = mac.is_some() || uuid.is_some();
        if !is_of_recipe || is_node || !has_id || machine.boot.stage().is_none() {
            return None;
        }
        let mac = mac.as_deref().and_then(|mac| mac.parse().ok());
        let mut entry =
            Entry::of_stranger(hostname.as_deref(), mac, uuid.as_deref(), |name| names.contains(name));
        let given = machine.profile.as_deref().map(profile_of).map(str::to_owned);
        entry.profile = given.or_else(|| self.profile.clone());
        let said = machine.arch.as_deref();
        let arch = Arch::ALL.into_iter().find(|arch| said.is_some_and(|said| arch.is_buildarch(said)));
        entry.arch = arch.filter(|_| archs.len() > 1);
        Some(entry.to_string())
    }
}

impl Missing {
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
