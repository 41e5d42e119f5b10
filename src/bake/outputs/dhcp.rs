//! The network of outputs that serve DHCP, read from their options and held against the recipe's nodes.

use std::net::{IpAddr, Ipv4Addr};

use super::Options;
use crate::bake::recipe::Recipe;
use crate::base::finding::Finding;
use crate::base::yaml::Node as Yaml;
use crate::machine::dhcp::{Dhcp, Host, LEASE, SHORTEST_LEASE, is_domain, is_interface};
use crate::machine::network::{AddressRange, Network};
use crate::machine::node::Node;

impl Dhcp {
    /// Reads the keys that all DHCP servers have; `None` where a required one is missing.
    pub(crate) fn read(options: &Options<'_>) -> Option<Self> {
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
            if !is_domain(&domain) {
                decoder.error(node, format!("`{domain}` is not a domain such as lab.example"));
            }
            Some(domain)
        });
        let interface = options.get("interface").and_then(|node| {
            let interface = decoder.string(node)?;
            if !is_interface(&interface) {
                decoder.error(node, format!("`{interface}` is not the name of a network interface"));
            }
            Some(interface)
        });
        let lease = options.get("lease").and_then(|node| {
            let lease = decoder.parsed::<humantime::Duration>(node)?;
            if *lease < SHORTEST_LEASE {
                decoder.error(node, "a lease must last at least two minutes");
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

    /// Nodes whose address is not in the subnet, or can be assigned to no machine.
    pub(crate) fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let mut findings = Vec::new();
        for node in &recipe.nodes {
            let name = &node.name;
            let Some(ip) = &node.ip else { continue };
            let at = |text: String| Finding::error(text).at(ip.place.clone());
            match ip.value.address {
                IpAddr::V4(address) if self.subnet.contains(address) => {}
                address => findings.push(at(format!("{address} is not in the subnet {}", self.subnet))),
            }
            if node.mac.is_none() {
                findings.push(
                    at(format!("node `{}` has an address but no `mac` to assign it to", name.value))
                        .hint("DHCP servers know machines by their MAC address"),
                );
            }
        }
        findings
    }

    /// The nodes with a MAC address, in the recipe's order.
    pub(crate) fn hosts(recipe: &Recipe) -> Vec<Host> {
        let host = |node: &Node| {
            let ip = node.ip.as_ref().map(|ip| ip.value);
            Some(Host { name: node.name.value.clone(), mac: node.mac.as_ref()?.value, ip })
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
