//! Which VM has which card, and which address Cluster API gave it: seed of DHCP reservations.
//!
//! Owns the MAC address in `net0`, the list of `IPAddress` objects as `kubectl` prints it, and the forms for dnsmasq and for `nodes:`
//! of prebake. Addresses are the machine's whose claim is named after it: CAPMOX names claims `MACHINE-net0-00-inet`
//! (`pkg/kubernetes/ipam`, `IPAddressFormat`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use serde_json::Value;

use super::Error;
use super::call::part;
use super::document;
use super::vm::Ids;
use super::wire::Wire;
use crate::base::finding::nearest;
use crate::base::words;
use crate::machine::entry::Entry;
use crate::machine::network::Cidr;
use crate::machine::node::Mac;

/// Longest list of addresses, in bytes.
pub(crate) const LONGEST: usize = 16 << 20;
/// Most VMs of which the card is asked for.
const MOST: usize = 5000;

/// A VM and its card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub id: u32,
    pub name: String,
    pub node: String,
    pub mac: Option<Mac>,
    pub ip: Option<Cidr>,
}

/// The VMs to list.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    /// All that are no templates.
    All,
    /// Machines of a cluster of Cluster API, which are named after it.
    Cluster(String),
    /// Ids.
    Ids(Ids),
}

impl Which {
    fn has(&self, id: u32, name: &str) -> bool {
        match self {
            Which::All => true,
            Which::Cluster(cluster) => {
                name.strip_prefix(cluster.as_str()).is_some_and(|rest| rest.starts_with('-'))
            }
            Which::Ids(ids) => ids.contains(id),
        }
    }
}

/// Most names of VMs in a hint.
const SHOWN: usize = 5;

/// The fault that no VM is one of those that were asked for, with the nearest of the clusters that the VMs' names begin with.
fn none(which: &Which, names: &[String]) -> Option<Error> {
    let cluster = match which {
        Which::All => return None,
        Which::Ids(ids) => {
            let hint = "see which there are with `prebake proxmox macs` alone".into();
            return Some(Error::NoVm { wanted: format!("has {ids}"), hint });
        }
        Which::Cluster(cluster) => cluster,
    };
    // A cluster's name may have hyphens itself, so that each beginning may be one.
    let beginnings: BTreeSet<&str> =
        names.iter().flat_map(|name| name.match_indices('-').filter_map(|(at, _)| name.get(..at))).collect();
    let hint = match nearest(cluster, beginnings) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the token sees no VM at all: VM.Audit lets it see them".into(),
        None => {
            let more = if names.len() > SHOWN { ", …" } else { "" };
            let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
            format!("VMs are: {}{more}", shown.join(", "))
        }
    };
    Some(Error::NoVm { wanted: format!("begins with {cluster}-"), hint })
}

/// The rows of VMs, by id.
///
/// # Errors
/// Those of [`Wire::get`]; [`Error::NoVm`] if there is none of those that were asked for.
pub(crate) async fn list(wire: &Wire, which: &Which, addresses: &Addresses) -> Result<Vec<Row>, Error> {
    let data = wire.get("/cluster/resources".into(), vec![("type", "vm".into())], "list VMs").await?;
    let guests = document::guests(&data, None).into_iter().filter(|guest| guest.is_vm && !guest.is_template);
    let (mut rows, mut names, mut late) = (Vec::new(), Vec::new(), Vec::new());
    let guests = guests.filter(|guest| {
        let is_wanted = guest.name.is_empty() || which.has(guest.id, &guest.name);
        if !is_wanted {
            names.push(guest.name.clone());
        }
        is_wanted
    });
    for guest in guests.take(MOST) {
        let path = format!("/nodes/{}/qemu/{}/config", part(&guest.node), guest.id);
        let action = format!("show the config of VM {}", guest.id);
        let config = match wire.get(path, Vec::new(), &action).await {
            Ok(data) => document::config(&data),
            Err(Error::Refused { words, .. }) if words.contains("does not exist") => continue,
            Err(error) => return Err(error),
        };
        // The list of a cluster has the name of a new VM some seconds late.
        let name = config.get("name").map_or(guest.name, str::to_owned);
        if config.is_template() || !which.has(guest.id, &name) {
            late.push(name);
            continue;
        }
        let mac = config.get("net0").and_then(mac);
        let ip = addresses.of(&name);
        rows.push(Row { id: guest.id, name, node: guest.node, mac, ip });
    }
    names.extend(late);
    match none(which, &names).filter(|_| rows.is_empty()) {
        Some(error) => Err(error),
        None => Ok(rows),
    }
}

/// The MAC address of a card: `virtio=BC:24:11:00:00:01,bridge=vmbr0`, or `model=virtio,macaddr=…`.
pub(crate) fn mac(card: &str) -> Option<Mac> {
    card.split(',').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let is_bridge = matches!(key, "bridge" | "tag" | "trunks" | "rate" | "mtu" | "queues" | "model");
        if is_bridge { None } else { value.parse().ok() }
    })
}

/// Addresses by the name of their claim.
#[derive(Debug, Default)]
pub(crate) struct Addresses(BTreeMap<String, Cidr>);

impl Addresses {
    /// Reads what `kubectl get ipaddresses -o json` prints: a list, or one object. Rows that are no `IPAddress` are left out.
    ///
    /// # Errors
    /// [`Error::Addresses`]; `place` is its name.
    pub fn read(bytes: &[u8], place: &str) -> Result<Addresses, Error> {
        let wrong = |why: String| Error::Addresses { place: place.into(), why };
        let value: Value = serde_json::from_slice(bytes).map_err(|error| wrong(words::of_serde(&error)))?;
        let one = [value.clone()];
        let items: &[Value] = match (value["items"].as_array(), value["kind"].as_str()) {
            (Some(items), _) => items,
            (None, Some("IPAddress")) => &one,
            _ => return Err(wrong("it has neither `items` nor the kind IPAddress".into())),
        };
        let row = |item: &Value| {
            let spec = &item["spec"];
            let address: IpAddr = spec["address"].as_str()?.parse().ok()?;
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let prefix = spec["prefix"].as_u64().filter(|prefix| *prefix <= whole).unwrap_or(whole);
            let claim = spec["claimRef"]["name"].as_str()?;
            Some((claim.to_owned(), Cidr { address, prefix: u8::try_from(prefix).ok()? }))
        };
        let found: BTreeMap<_, _> = items.iter().filter_map(row).collect();
        match found.is_empty() && !items.is_empty() {
            true => Err(wrong("none of its objects has `spec.address` and `spec.claimRef.name`".into())),
            false => Ok(Addresses(found)),
        }
    }

    /// The address of a machine's first card, of IPv4 where it has both.
    fn of(&self, machine: &str) -> Option<Cidr> {
        let beginning = format!("{machine}-net0-");
        let of_card = self.0.iter().filter(|(claim, _)| claim.starts_with(&beginning) || *claim == machine);
        of_card.map(|(_, address)| *address).min_by_key(|cidr| cidr.address.is_ipv6())
    }
}

/// Reservations for dnsmasq: a line for each VM with a card and an address.
pub(crate) fn dnsmasq(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        if let (Some(mac), Some(ip)) = (row.mac, row.ip) {
            let address = match ip.address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let _ = writeln!(text, "dhcp-host={mac},{address},{}", row.name);
        }
    }
    text
}

/// The same as nodes of prebake's own.
pub(crate) fn nodes(rows: &[Row]) -> String {
    let mut text = String::from("nodes:\n");
    for row in rows.iter().filter(|row| row.mac.is_some()) {
        let entry = Entry {
            name: row.name.clone(),
            mac: row.mac,
            uuid: None,
            profile: None,
            arch: None,
            memory: None,
            ip: row.ip,
            from: None,
        };
        let _ = writeln!(text, "  {entry}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Advice;

    const LIST: &[u8] = br#"{"kind": "List", "items": [
        {"kind": "IPAddress", "metadata": {"name": "edge-cp-x-net0-00-inet"},
         "spec": {"address": "192.168.1.11", "prefix": 24, "gateway": "192.168.1.1", "claimRef": {"name": "edge-cp-x-net0-00-inet"}}},
        {"kind": "IPAddress", "spec": {"address": "fd00::b", "prefix": 64, "claimRef": {"name": "edge-cp-x-net0-00-inet6"}}},
        {"kind": "IPAddress", "spec": {"address": "192.168.1.12", "claimRef": {"name": "edge-cp-xy-net0-00-inet"}}}, {"kind": "Pod"}]}"#;

    #[test]
    fn an_address_is_the_machines_after_which_its_claim_is_named() {
        let addresses = Addresses::read(LIST, "-").unwrap();
        assert_eq!(addresses.of("edge-cp-x").unwrap().address.to_string(), "192.168.1.11");
        assert_eq!(addresses.of("edge-cp-xy").unwrap().prefix, 32);
        assert_eq!(addresses.of("edge-cp"), None);
        assert!(Addresses::read(br#"{"items": []}"#, "-").unwrap().of("x").is_none());
        for other in [&b"{}"[..], b"[]", b"", b"{\"items\": [{}]}"] {
            assert!(Addresses::read(other, "-").is_err());
        }
    }

    #[test]
    fn a_cluster_without_machines_is_told_with_the_nearest_name() {
        let names: Vec<String> = ["edge-cp-x", "my-site-md-0-xyz", "db"].map(String::from).into();
        let told = |cluster: &str, names: &[String]| {
            let error = none(&Which::Cluster(cluster.into()), names).unwrap();
            format!("{error}: {}", error.hint().unwrap())
        };
        assert_eq!(told("edgy", &names), "no VM begins with edgy-: did you mean `edge`?");
        assert_eq!(told("my-site2", &names), "no VM begins with my-site2-: did you mean `my-site`?");
        assert_eq!(told("prod", &names), "no VM begins with prod-: VMs are: edge-cp-x, my-site-md-0-xyz, db");
        assert!(told("prod", &[]).contains("VM.Audit"));
        let ids = Which::Ids(Ids { first: 300, last: 310 });
        assert_eq!(none(&ids, &names).unwrap().to_string(), "no VM has an id from 300 to 310");
        assert!(none(&Which::All, &[]).is_none());
    }

    #[test]
    fn a_card_has_its_address_behind_its_model() {
        let known = "bc:24:11:00:00:01";
        for card in [
            "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5",
            "bridge=vmbr0,e1000=BC:24:11:00:00:01",
            "model=virtio,macaddr=BC:24:11:00:00:01",
        ] {
            assert_eq!(mac(card).unwrap().to_string(), known, "{card}");
        }
        assert_eq!(mac("virtio,bridge=vmbr0"), None);
    }

    #[test]
    fn reservations_have_card_address_and_name() {
        let addresses = Addresses::read(LIST, "-").unwrap();
        let row = |name: &str, mac: &str| Row {
            id: 1,
            name: name.into(),
            node: "pve".into(),
            mac: mac.parse().ok(),
            ip: addresses.of(name),
        };
        let rows = [
            row("edge-cp-x", "bc:24:11:00:00:01"),
            row("edge-md-z", "bc:24:11:00:00:02"),
            row("edge-cp-xy", ""),
        ];
        assert_eq!(dnsmasq(&rows), "dhcp-host=bc:24:11:00:00:01,192.168.1.11,edge-cp-x\n");
        assert!(
            nodes(&rows).lines().count() == 3 && nodes(&rows).contains("name: edge-md-z"),
            "{}",
            nodes(&rows)
        );
        assert!(
            Which::Cluster("edge".into()).has(1, "edge-cp-x")
                && !Which::Cluster("edge".into()).has(1, "edge2-x")
        );
    }
}
