//! Settings that DHCP servers share, ours and those that we write configs for: the network, and the nodes that have an
//! address in it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::base::finding::nearest;
use crate::machine::base_url::BaseUrl;
use crate::machine::network::{AddressRange, Cidr, Network};
use crate::machine::node::Mac;

/// Lease of an address from the range, unless the recipe states another.
pub(crate) const LEASE: Duration = Duration::from_secs(12 * 3600);
/// A shorter lease is probably a slip; dnsmasq refuses less than two minutes.
pub(crate) const SHORTEST_LEASE: Duration = Duration::from_secs(120);

/// The network that a DHCP server serves.
#[derive(Clone, Debug)]
pub struct Dhcp {
    /// URL of the root of the tree.
    pub base_url: BaseUrl,
    /// Network of the machines that are not behind a relay.
    pub subnet: Network,
    /// The network card that the server listens on.
    pub interface: Option<String>,
    /// Addresses for machines that are not nodes.
    pub range: Option<AddressRange>,
    /// Router that the server announces.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers that the server announces.
    pub dns: Vec<Ipv4Addr>,
    /// Domain that the server announces.
    pub domain: Option<String>,
    /// Duration of a lease.
    pub lease: Duration,
}

/// Whether a DHCP server gives addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Another server gives them.
    Proxy,
    /// This server gives them.
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

/// A node that a DHCP server can recognise, by its MAC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its host name.
    pub name: String,
    /// MAC address that identifies it.
    pub mac: Mac,
    /// The address that it always gets, with its network.
    pub ip: Option<Cidr>,
}

impl Host {
    /// The address that it always gets, if it is an IPv4 address.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self.ip?.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

/// Whether this is a host name or a domain, by RFC 1123.
pub(crate) fn is_domain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// Whether this is the name of a network interface that a config can state; at most 15 bytes (IFNAMSIZ counts the final
/// zero).
pub(crate) fn is_interface(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ',' | '#' | ':' | '"' | '*');
    (1..=15).contains(&text.len()) && text.chars().all(plain)
}

/// Whether this is one part of a host name, by RFC 1123.
pub(crate) fn is_label(label: &str) -> bool {
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}
