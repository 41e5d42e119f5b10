//! The nodes of the served tree, as a DHCP server knows them: groups that select a MAC address, with the name and
//! address that the recipe wrote into their metadata, and the nodes that a tree without groups lists.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::machine::dhcp::{Host, is_domain};
use crate::machine::network::Network;
use crate::machine::node::Mac;
use crate::serve::site::Site;
use crate::tree::records::Group;

/// The nodes, with each MAC and each address only once, and descriptions of the nodes that are wrong.
pub(crate) fn hosts(site: &Site) -> (Vec<Host>, Vec<String>) {
    let (mut hosts, mut wrong) = from_groups(site.groups.iter());
    let unnamed: Vec<Host> =
        site.nodes.iter().filter(|node| hosts.iter().all(|host| host.mac != node.mac)).cloned().collect();
    hosts.extend(unnamed);
    let is_named = site.manifest.files.values().any(|file| file.node.is_some());
    if hosts.is_empty() && is_named {
        wrong.push(
            "the tree does not list the machines that its nodes are: build it again to get their names and `ip:`"
                .into(),
        );
    }
    (hosts, wrong)
}

/// Describes the node addresses that a server cannot lend to machines that it hears without a relay.
pub(crate) fn outside(hosts: &[Host], here: Network) -> Vec<String> {
    let told = |host: &Host| match (host.address(), host.ip) {
        (Some(address), _) if !here.contains(address) => {
            let name = &host.name;
            Some(format!(
                "node {name}: {address} is not in {here}; it gets this address only behind a relay of its network"
            ))
        }
        (None, Some(ip)) => {
            let name = &host.name;
            Some(format!("node {name}: {} is not an IPv4 address, so it gets one of the range", ip.address))
        }
        _ => None,
    };
    hosts.iter().filter_map(told).collect()
}

fn from_groups<'g>(groups: impl Iterator<Item = &'g Group>) -> (Vec<Host>, Vec<String>) {
    let (mut hosts, mut wrong) = (BTreeMap::<Mac, Host>::new(), Vec::new());
    let mut addresses = BTreeMap::new();
    for group in groups {
        let Some(mac) = group.selector.get("mac").and_then(|mac| mac.parse().ok()) else { continue };
        let text = |key: &str| group.metadata.get(key).and_then(Value::as_str);
        // A machine that installs itself has two groups with one MAC and the same metadata.
        if hosts.contains_key(&mac) {
            continue;
        }
        let name = text("name").filter(|name| is_domain(name)).unwrap_or(&group.id).to_owned();
        let ip = match text("ip").map(|ip| (ip, ip.parse())) {
            None => None,
            Some((_, Ok(ip))) => Some(ip),
            Some((ip, Err(_))) => {
                wrong.push(format!("group {}: `{ip}` is not an address such as 10.0.0.11/24", group.id));
                None
            }
        };
        let host = Host { name, mac, ip };
        if let Some(address) = host.address() {
            if let Some(other) = addresses.get(&address) {
                wrong.push(format!("nodes {other} and {} have the same address {address}", host.name));
                continue;
            }
            addresses.insert(address, host.name.clone());
        }
        hosts.insert(mac, host);
    }
    (hosts.into_values().collect(), wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(id: &str, mac: &str, metadata: Value) -> Group {
        let selector = BTreeMap::from([("mac".to_owned(), mac.to_owned())]);
        let Value::Object(metadata) = metadata else { panic!("no object") };
        let (id, profile) = (id.into(), "worker".into());
        Group { id, profile, selector, metadata, ..Group::default() }
    }

    #[test]
    fn an_address_that_is_not_of_this_network_is_told() {
        let host = |name: &str, ip: &str| Host {
            name: name.into(),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            ip: Some(ip.parse().unwrap()),
        };
        let hosts = [host("n1", "10.0.0.11/24"), host("far", "10.9.0.4/16"), host("six", "fd00::1/64")];
        assert_eq!(
            outside(&hosts, "10.0.0.0/24".parse().unwrap()),
            [
                "node far: 10.9.0.4 is not in 10.0.0.0/24; it gets this address only behind a relay of its network",
                "node six: fd00::1 is not an IPv4 address, so it gets one of the range",
            ]
        );
    }

    #[test]
    fn groups_with_a_mac_are_nodes_and_their_metadata_says_the_rest() {
        let mut nobody = group("default", "", json!({}));
        nobody.selector.clear();
        let groups = [
            nobody,
            group("n1", "52:54:00:00:00:01", json!({"name": "one", "ip": "10.0.0.11/24"})),
            group("n1-installed", "52:54:00:00:00:01", json!({"name": "one", "ip": "10.0.0.11/24"})),
            group("n2", "52:54:00:00:00:02", json!({})),
            group("n3", "52:54:00:00:00:03", json!({"name": "a b", "ip": "dhcp"})),
            group("n4", "52:54:00:00:00:04", json!({"ip": "10.0.0.11/16"})),
        ];
        let (hosts, wrong) = from_groups(groups.iter());
        let seen: Vec<_> =
            hosts.iter().map(|host| (host.name.as_str(), host.ip.map(|ip| ip.to_string()))).collect();
        assert_eq!(seen, [("one", Some("10.0.0.11/24".to_owned())), ("n2", None), ("n3", None)]);
        assert_eq!(
            wrong,
            [
                "group n3: `dhcp` is not an address such as 10.0.0.11/24",
                "nodes one and n4 have the same address 10.0.0.11"
            ]
        );
    }
}
