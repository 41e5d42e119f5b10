//! What DHCP servers share, ours and those that we write configs for: the network, and the nodes that have an address in it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::bake::outputs::{BaseUrl, Options};
use crate::bake::recipe::Recipe;
use crate::base::finding::{Finding, nearest};
use crate::base::yaml::Node as Yaml;
use crate::machine::network::{AddressRange, Cidr, Network};
use crate::machine::node::{Mac, Node};

/// How long an address from the range is lent unless the recipe says otherwise.
pub const LEASE: Duration = Duration::from_secs(12 * 3600);
/// Shorter ones are taken for a slip; dnsmasq refuses less than two minutes.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(120);

/// The network that a DHCP server serves.
#[derive(Clone, Debug)]
pub struct Dhcp {
    /// Where machines find the root of the tree.
    pub base_url: BaseUrl,
    /// Where the machines are that are not behind a relay.
    pub subnet: Network,
    /// The network card that is listened on.
    pub interface: Option<String>,
    /// Addresses for machines that no node names.
    pub range: Option<AddressRange>,
    /// The router that machines are told.
    pub gateway: Option<Ipv4Addr>,
    /// The name servers that machines are told.
    pub dns: Vec<Ipv4Addr>,
    /// The domain that machines are told.
    pub domain: Option<String>,
    /// How long an address is lent.
    pub lease: Duration,
}

/// What a DHCP server does about addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leaves them to another server.
    Proxy,
    /// Lends them.
    Full,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "proxy" => Ok(Mode::Proxy),
            "full" => Ok(Mode::Full),
            _ => {
                let near = nearest(text, ["proxy", "full"]).map(|near| format!(": did you mean `{near}`?"));
                Err(format!("`{text}` is neither `proxy` nor `full`{}", near.unwrap_or_default()))
            }
        }
    }
}

/// A node that a DHCP server can know: by its MAC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its host name.
    pub name: String,
    /// What it is known by.
    pub mac: Mac,
    /// The address that it always gets, and the network that is in.
    pub ip: Option<Cidr>,
}

impl Host {
    /// The address that it always gets, if that is one of IPv4.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self.ip?.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
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

    /// Nodes that cannot be found in the subnet or called by their name.
    pub fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let mut findings = Vec::new();
        for node in &recipe.nodes {
            let name = &node.name;
            if !is_domain(&name.value) {
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
        }
        findings
    }

    /// The nodes that are known by a MAC address, in the recipe's order.
    pub fn hosts(recipe: &Recipe) -> Vec<Host> {
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

/// A host name or a domain, by RFC 1123.
pub fn is_domain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// The name of a network interface that a config can hold; its longest has 15 bytes (IFNAMSIZ with its zero).
pub fn is_interface(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ',' | '#' | ':' | '"' | '*');
    (1..=15).contains(&text.len()) && text.chars().all(plain)
}

/// One part of a host name, by RFC 1123.
fn is_label(label: &str) -> bool {
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}
