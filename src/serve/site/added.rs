//! Machines that a site adds to a tree (`serve --nodes`): the tree is what was built and signed, which machines there are is
//! known where they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Site;
use super::select::{Group, Groups};
use crate::compile::installed_id;
use crate::output::{GENERATION, node_metadata, node_selector};
use crate::recipe::{Node, boot_id};
use crate::report::{Finding, Findings, nearest};

impl Site {
    /// The site with these machines, too. One that the tree knows by the same name is replaced: a new network card has
    /// another address.
    ///
    /// # Errors
    /// Nodes whose profile the tree has not, or that are known by the same as another node of the tree.
    pub fn with_nodes(self, nodes: &[Node]) -> Result<Site, Findings> {
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

    /// The group of a node, and that of its installed system where its profile installs one.
    fn groups_of(&self, node: &Node) -> Result<Vec<Group>, Finding> {
        let archs = self.manifest.releases.iter().map(|release| release.arch);
        let several = archs.clone().any(|arch| Some(arch) != archs.clone().next());
        let id = |name| boot_id(&node.profile.value, several.then_some(node.arch), name);
        let ids = [id(Some(&node.name.value)), id(None)];
        let profile = ids.into_iter().find(|id| self.profiles.contains_key(id));
        let profile = profile.ok_or_else(|| self.unknown_profile(node))?;
        let selector = texts(node_selector(node));
        let metadata = node_metadata(node);
        let mut group = Group { id: node.name.value.clone(), profile, selector, metadata };
        let installed = installed_id(&group.profile);
        if !self.profiles.contains_key(&installed) {
            return Ok(vec![group]);
        }
        let mut after = Group { id: installed_id(&group.id), profile: installed, ..group.clone() };
        after.selector.insert("os".into(), "installed".into());
        let generation = self.groups.iter().filter(|known| known.profile == group.profile);
        let generation = generation.filter_map(|known| known.metadata.get(GENERATION)).next().cloned();
        let generation = generation.ok_or_else(|| {
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
        finding.hint(match nearest(&wanted.value, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("profiles: {}", known.collect::<Vec<_>>().join(", ")),
        })
    }
}

/// Two groups for one machine would be a matter of their order.
fn known_by_the_same(node: &Node, group: &Group) -> Option<Finding> {
    let mac = node.mac.as_ref().map(|mac| ("mac", mac.value.to_string(), &mac.place));
    let uuid = node.uuid.as_ref().map(|uuid| ("uuid", uuid.value.clone(), &uuid.place));
    let (key, _, place) =
        [mac, uuid].into_iter().flatten().find(|(key, value, _)| group.selector.get(*key) == Some(value))?;
    let text = format!("node `{}` has the {key} of the tree's own node `{}`", node.name.value, group.id);
    Some(Finding::error(text).at(place.clone()).hint("give it that name to replace it"))
}

fn texts(map: serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    map.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect()
}
