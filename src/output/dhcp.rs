//! What the configs of DHCP servers share: the network, and the nodes that have an address in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{BaseUrl, Options};
use crate::recipe::{AddressRange, Mac, Network, Node, Recipe};
use crate::report::Finding;
use crate::yaml::Node as Yaml;

/// How long an address from the range is lent unless the recipe says otherwise.
const LEASE: Duration = Duration::from_secs(12 * 3600);
/// Shorter ones are taken for a slip; dnsmasq refuses less than two minutes.
const SHORTEST_LEASE: Duration = Duration::from_secs(120);

/// The network that a DHCP server serves.
#[derive(Debug)]
pub(super) struct Dhcp {
    /// Where machines find the root of the tree.
    pub base_url: BaseUrl,
    pub subnet: Network,
    /// The network card that is listened on.
    pub interface: Option<String>,
    /// Addresses for machines that no node names.
    pub range: Option<AddressRange>,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    pub lease: Duration,
}

/// A node that a DHCP server can know: by its MAC address.
pub(super) struct Host<'r> {
    pub node: &'r Node,
    pub mac: Mac,
    pub address: Option<Ipv4Addr>,
}

impl Dhcp {
    /// Reads the keys that all DHCP servers have; nothing where one that is needed is missing.
    pub fn read(options: &Options<'_>) -> Option<Self> {
        let decoder = options.decoder;
        let base_url = options.base_url();
        let subnet: Option<Network> = options.need("subnet").and_then(|node| decoder.parsed(node));
        let inside = |node: &Yaml, address: Ipv4Addr| match subnet {
            Some(subnet) if !subnet.contains(address) => {
                decoder.error(node, format!("{address} is not in the subnet {subnet}"));
            }
            _ => {}
        };
        let range = options.get("range").and_then(|node| {
            let range: AddressRange = decoder.parsed(node)?;
            inside(node, range.first);
            inside(node, range.last);
            Some(range)
        });
        let gateway = options.get("gateway").and_then(|node| {
            let gateway = address(options, node)?;
            inside(node, gateway);
            Some(gateway)
        });
        let dns = options.get("dns").map(|node| decoder.items(node, "`dns`")).unwrap_or_default();
        let dns = dns.iter().filter_map(|node| address(options, node)).collect();
        let domain = options.get("domain").and_then(|node| {
            let domain = decoder.string(node)?;
            if !domain.split('.').all(is_label) {
                decoder.error(node, format!("`{domain}` is not a domain such as lab.example"));
            }
            Some(domain)
        });
        let interface = options.get("interface").and_then(|node| {
            let interface = decoder.string(node)?;
            // IFNAMSIZ with its zero.
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ',' | '#' | ':' | '"' | '*');
            if interface.is_empty() || interface.len() > 15 || !interface.chars().all(plain) {
                decoder.error(node, format!("`{interface}` is not the name of a network interface"));
            }
            Some(interface)
        });
        let lease = options.get("lease").and_then(|node| {
            let lease = decoder.parsed::<humantime::Duration>(node)?;
            if *lease < SHORTEST_LEASE {
                decoder.error(node, "a lease must last two minutes at least");
            }
            Some(*lease)
        });
        Some(Dhcp {
            range,
            gateway,
            dns,
            domain,
            interface,
            lease: lease.unwrap_or(LEASE),
            base_url: base_url?,
            subnet: subnet?,
        })
    }

    /// Nodes that cannot be told apart, found in the subnet or called by their name.
    pub fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut addresses: BTreeMap<IpAddr, &Node> = BTreeMap::new();
        for node in &recipe.nodes {
            let name = &node.name;
            if !name.value.split('.').all(is_label) {
                let text = format!("`{}` is not a host name, and DHCP tells nodes theirs", name.value);
                let hint = "letters, digits and `-`, which must not be first or last";
                findings.push(Finding::error(text).at(name.place.clone()).hint(hint));
            }
            let Some(ip) = &node.ip else { continue };
            let at = |text: String| Finding::error(text).at(ip.place.clone());
            match ip.value.address {
                IpAddr::V4(address) if self.subnet.contains(address) => {}
                address => findings.push(at(format!("{address} is not in the subnet {}", self.subnet))),
            }
            if node.mac.is_none() {
                findings.push(
                    at(format!("node `{}` has an address but no `mac` to lend it to", name.value))
                        .hint("DHCP servers know machines by their MAC address"),
                );
            }
            if let Some(first) = addresses.insert(ip.value.address, node) {
                let text = format!("nodes `{}` and `{}` have the same address", first.name.value, name.value);
                findings.push(at(text).related(first.name.place.clone(), "the other node"));
            }
        }
        findings
    }

    /// The nodes that are known by a MAC address, in the recipe's order.
    pub fn hosts<'r>(&self, recipe: &'r Recipe) -> Vec<Host<'r>> {
        let host = |node: &'r Node| {
            let address = match node.ip.as_ref().map(|ip| ip.value.address) {
                Some(IpAddr::V4(address)) => Some(address),
                _ => None,
            };
            Some(Host { node, mac: node.mac.as_ref()?.value, address })
        };
        recipe.nodes.iter().filter_map(host).collect()
    }
}

fn address(options: &Options<'_>, node: &Yaml) -> Option<Ipv4Addr> {
    let text = options.decoder.string(node)?;
    let address = text.parse().ok();
    if address.is_none() {
        options.decoder.error(node, format!("`{text}` is not an IPv4 address"));
    }
    address
}

/// One part of a host name, by RFC 1123.
fn is_label(label: &str) -> bool {
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}
