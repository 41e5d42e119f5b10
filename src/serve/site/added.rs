//! Machines that a site adds to a tree (`serve --nodes`): the tree is built and signed elsewhere, but only the site
//! knows its machines.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Site;
use super::select::Groups;
use crate::base::finding::{Finding, Findings, nearest};
use crate::machine::network::Cidr;
use crate::machine::node::{Node, metadata as node_metadata, selector as node_selector};
use crate::tree::names::{GENERATION, INSTALLED, ROLE, boot_id, installed_id};
use crate::tree::records::Group;

impl Site {
    /// The site with these machines added. A machine whose name the tree knows is replaced, since a new network card
    /// has another address.
    ///
    /// # Errors
    /// A node has a profile that the tree lacks, or the same MAC address, UUID or IP address as another node of the
    /// tree.
    pub(crate) fn with_nodes(self, nodes: &[Node]) -> Result<Site, Findings> {
        let is_replaced = |group: &Group| {
            nodes.iter().any(|node| {
                let name = &node.name.value;
                group.id == *name || group.id == installed_id(name)
            })
        };
        let mut groups: BTreeMap<String, Arc<Group>> = BTreeMap::new();
        for group in self.groups.iter().filter(|group| !is_replaced(group)) {
            groups.insert(group.id.clone(), Arc::new(group.clone()));
        }
        let mut findings = Vec::new();
        let mut added = Vec::new();
        for node in nodes {
            findings.extend(groups.values().find_map(|group| known_by_the_same(node, group)));
            findings.extend(groups.values().find_map(|group| other_prefix(node, group)));
            match self.groups_of(node) {
                Ok(groups) => added.extend(groups),
                Err(finding) => findings.push(finding),
            }
        }
        if !findings.is_empty() {
            return Err(Findings(findings));
        }
        groups.extend(added.into_iter().map(|group| (group.id.clone(), Arc::new(group))));
        Ok(Site { groups: Arc::new(Groups::new(groups.into_values().collect())), ..self })
    }

    /// The group of a node, and the group of its installed system if its profile installs one.
    fn groups_of(&self, node: &Node) -> Result<Vec<Group>, Finding> {
        let archs = self.manifest.releases.iter().map(|release| release.arch);
        let several = archs.clone().any(|arch| Some(arch) != archs.clone().next());
        let id = |name| boot_id(&node.profile.value, several.then_some(node.arch), name);
        let ids = [id(Some(&node.name.value)), id(None)];
        let profile = ids.into_iter().find(|id| self.profiles.contains_key(id));
        let profile = profile.ok_or_else(|| self.unknown_profile(node))?;
        let selector = node_selector(node);
        let metadata = node_metadata(node);
        let name = String::new();
        let mut group = Group { id: node.name.value.clone(), name, profile, selector, metadata };
        let boot = group.profile.clone();
        // As the first group of the same boot says it.
        let said = |key: &str| {
            let same = self.groups.iter().filter(|known| known.profile == boot);
            same.filter_map(|known| known.metadata.get(key)).next().cloned()
        };
        group.metadata.extend(said(ROLE).map(|role| (ROLE.to_owned(), role)));
        let installed = installed_id(&boot);
        if !self.profiles.contains_key(&installed) {
            return Ok(vec![group]);
        }
        let mut after = Group { id: installed_id(&group.id), profile: installed, ..group.clone() };
        after.selector.extend([INSTALLED.map(str::to_owned).into()]);
        let generation = said(GENERATION).ok_or_else(|| {
            let text = format!("the tree does not say which generation `{}` installs", node.profile.value);
            let finding = Finding::error(text).at(node.profile.place.clone());
            finding.hint("make it the recipe's default_profile, or give it a node there, and build again")
        })?;
        group.metadata.insert(GENERATION.into(), generation);
        Ok(vec![group, after])
    }

    fn unknown_profile(&self, node: &Node) -> Finding {
        let wanted = &node.profile;
        let text = format!("the tree has no profile `{}` for {}", wanted.value, node.arch);
        let finding = Finding::error(text).at(wanted.place.clone());
        let known = self.profiles.keys().map(String::as_str);
        if self.profiles.is_empty() {
            return finding.hint("the tree has no profiles at all: add the output `matchbox` to the recipe");
        }
        finding.hint(match nearest(&wanted.value, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("profiles: {}", known.collect::<Vec<_>>().join(", ")),
        })
    }
}

/// The finding if a node has the MAC address, UUID or IP address of a group in the tree. With two groups for one
/// machine, their order would decide.
fn known_by_the_same(node: &Node, group: &Group) -> Option<Finding> {
    let mac = node.mac.as_ref().map(|mac| ("mac", mac.value.to_string(), &mac.place));
    let uuid = node.uuid.as_ref().map(|uuid| ("uuid", uuid.value.clone(), &uuid.place));
    let selected =
        [mac, uuid].into_iter().flatten().find(|(key, value, _)| group.selector.get(*key) == Some(value));
    let theirs = address(group).map(|ip| ip.address);
    let addressed = node.ip.as_ref().filter(|ip| theirs == Some(ip.value.address));
    let addressed = addressed.map(|ip| ("address", ip.value.address.to_string(), &ip.place));
    let (key, value, place) = selected.or(addressed)?;
    let text = format!("node `{}` has the same {key} as node `{}` of the tree", node.name.value, group.id);
    let finding = Finding::error(text).at(place.clone());
    Some(
        finding
            .hint(format!("{value} can belong to only one machine: give the node that name to replace it")),
    )
}

/// The finding if a node's address is in the network of a group in the tree, with another prefix length.
fn other_prefix(node: &Node, group: &Group) -> Option<Finding> {
    let ip = node.ip.as_ref()?;
    let theirs =
        address(group).filter(|theirs| ip.value.disagrees(theirs) && ip.value.address != theirs.address)?;
    let text = format!(
        "{} of node `{}` and {theirs} of node `{}` of the tree are in one network, but have different prefix lengths",
        ip.value, node.name.value, group.id
    );
    let finding = Finding::error(text).at(ip.place.clone());
    Some(finding.hint("give all machines of one network the same prefix length"))
}

/// The address that a group gives its machine, as the recipe wrote it.
fn address(group: &Group) -> Option<Cidr> {
    group.metadata.get("ip").and_then(Value::as_str)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::arch::Arch;
    use crate::base::finding::Source;
    use crate::machine::node::parse_inventory;
    use crate::serve::site::labels::Labels;
    use crate::tree::manifest::Manifest;
    use crate::tree::open::Place;

    /// A tree with the profiles `worker`, `worker+n1` and `db`, which installs to disk, and the nodes n1 and d1.
    fn site() -> Site {
        let manifest = Manifest::new("x", BTreeMap::new());
        let group = |id: &str, profile: &str, mac: &str, metadata: Value| {
            let selector = BTreeMap::from([("mac".to_owned(), mac.to_owned())]);
            let metadata = metadata.as_object().cloned().unwrap_or_default();
            let (id, profile) = (id.into(), profile.into());
            Arc::new(Group { id, profile, selector, metadata, ..Group::default() })
        };
        let groups = vec![
            group("n1", "worker+n1", "52:54:00:00:00:01", json!({"ip": "10.0.0.1/24"})),
            group("d1", "db", "52:54:00:00:00:0d", json!({GENERATION: "3"})),
        ];
        let profiles = ["worker", "worker+n1", "db", "db.installed", "odd", "odd.installed"];
        let profiles = profiles.map(|id| (id.to_owned(), Arc::default()));
        let (groups, profiles) = (Arc::new(Groups::new(groups)), Arc::new(profiles.into()));
        Site::new(Place::Directory("/tree".into()), manifest, groups, profiles)
    }

    fn with(nodes: &str) -> Result<Site, Vec<String>> {
        let source = Source::new("nodes.yaml", format!("schema: 1\nnodes: [{nodes}]\n"));
        let nodes = parse_inventory(&source, &[Arch::Amd64]).unwrap();
        let said =
            |Findings(findings)| findings.into_iter().map(|finding: Finding| finding.message).collect();
        site().with_nodes(&nodes).map_err(said)
    }

    fn profile(site: &Site, query: &str) -> Option<String> {
        site.groups.select(&Labels::parse(query)).map(|group| group.profile.clone())
    }

    #[test]
    fn a_machine_that_nobody_knew_boots_the_profile_that_the_site_gives_it() {
        let site = with("{name: w7, mac: '52:54:00:00:00:07', profile: worker, ip: 10.0.0.7/24}").unwrap();
        assert_eq!(profile(&site, "mac=52-54-00-00-00-07").as_deref(), Some("worker"));
        assert_eq!(
            profile(&site, "mac=52-54-00-00-00-01").as_deref(),
            Some("worker+n1"),
            "the tree's own stay"
        );
        let group = site.groups.select(&Labels::parse("mac=52:54:00:00:00:07")).unwrap();
        assert_eq!(group.metadata["ip"], "10.0.0.7/24");
    }

    #[test]
    fn a_node_of_the_tree_with_another_card_keeps_the_boot_of_its_own() {
        let site = with("{name: n1, mac: '52:54:00:00:00:aa', profile: worker}").unwrap();
        assert_eq!(profile(&site, "mac=52-54-00-00-00-aa").as_deref(), Some("worker+n1"));
        assert_eq!(profile(&site, "mac=52-54-00-00-00-01"), None);
    }

    #[test]
    fn a_machine_that_installs_itself_is_two_groups_of_the_tree_s_generation() {
        let site = with("{name: d2, mac: '52:54:00:00:00:0e', profile: db}").unwrap();
        assert_eq!(profile(&site, "mac=52-54-00-00-00-0e&os=installed").as_deref(), Some("db.installed"));
        let group = site.groups.select(&Labels::parse("mac=52-54-00-00-00-0e")).unwrap();
        assert_eq!((group.profile.as_str(), &group.metadata[GENERATION]), ("db", &json!("3")));
    }

    #[test]
    fn what_the_tree_cannot_give_or_gives_to_another_is_refused_all_at_once() {
        let nodes = "{name: a, mac: '52:54:00:00:00:0a', profile: wroker},
            {name: b, mac: '52:54:00:00:00:01', profile: worker},
            {name: c, mac: '52:54:00:00:00:0c', profile: odd},
            {name: e, mac: '52:54:00:00:00:0f', profile: worker, ip: 10.0.0.1/16},
            {name: f, mac: '52:54:00:00:00:10', profile: worker, ip: 10.0.0.7/16}";
        assert_eq!(
            with(nodes).err().unwrap(),
            [
                "the tree has no profile `wroker` for amd64",
                "node `b` has the same mac as node `n1` of the tree",
                "the tree does not say which generation `odd` installs",
                "node `e` has the same address as node `n1` of the tree",
                "10.0.0.7/16 of node `f` and 10.0.0.1/24 of node `n1` of the tree are in one network, but have \
                 different prefix lengths",
            ]
        );
    }
}
