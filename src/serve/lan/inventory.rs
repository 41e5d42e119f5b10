//! The nodes of what is served, as a DHCP server knows them: groups that select a MAC address, with the name and the address
//! that a recipe wrote into their metadata.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::output::dhcp::{Host, is_domain};
use crate::recipe::Mac;
use crate::serve::site::Site;
use crate::serve::site::select::Group;

/// The nodes, each MAC and each address once, and what is wrong with the others, in words.
pub fn hosts(site: &Site) -> (Vec<Host>, Vec<String>) {
    from_groups(site.groups.iter())
}

fn from_groups<'g>(groups: impl Iterator<Item = &'g Group>) -> (Vec<Host>, Vec<String>) {
    let (mut hosts, mut wrong) = (BTreeMap::<Mac, Host>::new(), Vec::new());
    let mut addresses = BTreeMap::new();
    for group in groups {
        let Some(mac) = group.selector.get("mac").and_then(|mac| mac.parse().ok()) else { continue };
        let text = |key: &str| group.metadata.get(key).and_then(Value::as_str);
        // A machine that installs itself has two groups of one MAC, which say the same.
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
        Group { id: id.into(), profile: "worker".into(), selector, metadata }
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
