//! The nodes of the served tree, as a DHCP server knows them: groups that select a MAC address, with the name and
//! address that the recipe wrote into their metadata, and the nodes that a tree without groups lists.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

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

/// The network that a DHCP server answers in, and the addresses in it that are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    /// The interface's network.
    pub network: Network,
    /// Our own address.
    pub own: Ipv4Addr,
    /// MAC address of our own card, if the interface has one: a boot server may be a node, too.
    pub card: Option<Mac>,
    /// The router's address.
    pub gateway: Option<Ipv4Addr>,
}

/// Node addresses that a server cannot lend: those that no machine can use, and doubts about others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Misplaced {
    /// Addresses that no machine can have here.
    pub unusable: Vec<String>,
    /// Addresses that some machines get, but not those on this interface.
    pub doubtful: Vec<String>,
}

/// Judges the addresses of nodes by the interface's network; `lends` is whether we give them.
pub(crate) fn misplaced(hosts: &[Host], here: Here, lends: bool) -> Misplaced {
    let network = here.network;
    let mut misplaced = Misplaced::default();
    for host in hosts {
        let (name, Some(ip)) = (&host.name, host.ip) else { continue };
        let Some(address) = host.address() else {
            if lends {
                let text = format!(
                    "node {name}: {} is not an IPv4 address, so it gets one of the range",
                    ip.address
                );
                misplaced.doubtful.push(text);
            }
            continue;
        };
        let taken = [
            (Some(network.base), "the address of the network itself"),
            (Some(network.broadcast()), "the broadcast address"),
            (Some(here.own).filter(|_| here.card != Some(host.mac)), "the address of this server"),
            (here.gateway, "the address of the router"),
        ];
        // A network of one or two addresses has neither a network nor a broadcast address (RFC 3021).
        let taken = &taken[if network.is_tiny() { 2 } else { 0 }..];
        let whose = taken.iter().find(|(taken, _)| *taken == Some(address)).map(|(_, whose)| *whose);
        let why = whose.map(|whose| format!("it is {whose} in {network}"));
        if let Some(why) = why.or_else(|| ip.nobodys()) {
            misplaced.unusable.push(format!("node {name}: no machine can have {address}: {why}"));
        } else if !network.contains(address) {
            let outcome = match lends {
                true => "; it gets this address only behind a relay of its network",
                false => "",
            };
            misplaced.doubtful.push(format!("node {name}: {address} is not in {network}{outcome}"));
        } else if ip.network() != Some(network) {
            let outcome = if lends { ", which it gets" } else { "" };
            misplaced
                .doubtful
                .push(format!("node {name}: {ip} has another prefix length than {network}{outcome}"));
        }
    }
    misplaced
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

    /// ux 1.9: `serve` said nothing about addresses outside of the interface's network.
    #[test]
    fn an_address_that_is_not_of_this_network_is_told() {
        let host = |name: &str, ip: &str| Host {
            name: name.into(),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            ip: Some(ip.parse().unwrap()),
        };
        let hosts = [
            host("n1", "10.0.0.11/24"),
            host("far", "10.9.0.4/16"),
            host("six", "fd00::1/64"),
            host("own", "10.0.0.1/24"),
            host("gw", "10.0.0.254/24"),
            host("last", "10.0.0.255/16"),
            host("loop", "127.0.0.1/8"),
            host("wide", "10.0.0.12/16"),
        ];
        let network = "10.0.0.0/24".parse().unwrap();
        let here =
            Here { network, own: [10, 0, 0, 1].into(), card: None, gateway: Some([10, 0, 0, 254].into()) };
        assert_eq!(
            misplaced(&hosts, here, true),
            Misplaced {
                unusable: [
                    "node own: no machine can have 10.0.0.1: it is the address of this server in 10.0.0.0/24",
                    "node gw: no machine can have 10.0.0.254: it is the address of the router in 10.0.0.0/24",
                    "node last: no machine can have 10.0.0.255: it is the broadcast address in 10.0.0.0/24",
                    "node loop: no machine can have 127.0.0.1: every machine uses it for itself",
                ]
                .map(str::to_owned)
                .into(),
                doubtful: [
                    "node far: 10.9.0.4 is not in 10.0.0.0/24; it gets this address only behind a relay of its network",
                    "node six: fd00::1 is not an IPv4 address, so it gets one of the range",
                    "node wide: 10.0.0.12/16 has another prefix length than 10.0.0.0/24, which it gets",
                ]
                .map(str::to_owned)
                .into(),
            }
        );
        let itself = Here { card: Some(hosts[0].mac), ..here };
        assert_eq!(
            misplaced(&hosts[3..4], itself, true),
            Misplaced::default(),
            "the server is a node itself"
        );
        assert_eq!(
            misplaced(&hosts, here, false).doubtful,
            [
                "node far: 10.9.0.4 is not in 10.0.0.0/24",
                "node wide: 10.0.0.12/16 has another prefix length than 10.0.0.0/24",
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
