//! What DHCP servers share, ours and those that we write configs for: the network, and the nodes that have an address in it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::base::finding::nearest;
use crate::machine::base_url::BaseUrl;
use crate::machine::network::{AddressRange, Cidr, Network};
use crate::machine::node::Mac;

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
