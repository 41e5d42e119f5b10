//! Addresses as recipes write them: with the prefix length of their network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// An address in its network: `10.0.0.11/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address, without its prefix length.
    pub address: IpAddr,
    /// Number of leading bits that identify the network.
    pub prefix: u8,
}

impl Cidr {
    /// The network that it is in, if it is an IPv4 address.
    pub(crate) fn network(&self) -> Option<Network> {
        match self.address {
            IpAddr::V4(address) => {
                let base = Ipv4Addr::from_bits(address.to_bits() & mask(self.prefix));
                Some(Network { base, prefix: self.prefix })
            }
            IpAddr::V6(_) => None,
        }
    }

    /// Whether it stands for one address without a network: a host route.
    pub(crate) fn is_alone(&self) -> bool {
        self.prefix == self.width()
    }

    /// The network that it is in.
    pub(crate) fn network_key(&self) -> NetworkKey {
        self.key_at(self.prefix)
    }

    /// The network that it would be in with this prefix length.
    pub(crate) fn key_at(&self, prefix: u8) -> NetworkKey {
        NetworkKey { width: self.width(), prefix, bits: self.leading(prefix) }
    }

    /// Whether both are in one network, but would put its end at different places.
    pub(crate) fn disagrees(&self, other: &Cidr) -> bool {
        let shorter = self.prefix.min(other.prefix);
        let apart = self.prefix != other.prefix && !self.is_alone() && !other.is_alone();
        apart && self.key_at(shorter) == other.key_at(shorter)
    }

    fn width(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// The first bits of the address, as a number.
    fn leading(&self, bits: u8) -> u128 {
        let all = match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        all.checked_shr(u32::from(self.width().saturating_sub(bits))).unwrap_or(0)
    }
}

impl Cidr {
    /// Why no machine can have this address in its network; `None` if one can.
    pub(crate) fn nobodys(&self) -> Option<String> {
        let of_a_kind = match self.address {
            address if address.is_unspecified() => Some("it means that the address is not known"),
            address if address.is_loopback() => Some("every machine uses it for itself"),
            address if address.is_multicast() => Some("it is a multicast address"),
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some("it is the broadcast address"),
            _ => None,
        };
        if of_a_kind.is_some() || self.prefix == 0 {
            return of_a_kind.or(Some("with a prefix length of 0 there is no network")).map(str::to_owned);
        }
        // A network of one or two addresses has neither a network nor a broadcast address (RFC 3021).
        let network = self.network().filter(|_| self.prefix < 31)?;
        match self.address {
            address if address == network.base => {
                Some(format!("it is the address of the network {network} itself"))
            }
            address if address == network.broadcast() => {
                Some(format!("it is the broadcast address of the network {network}"))
            }
            _ => None,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = Some(prefix).filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
            (prefix <= longest).then_some(Cidr { address, prefix })
        };
        parse()
            .ok_or_else(|| format!("`{text}` is not an address with its prefix length such as 10.0.0.11/24"))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A network of either family, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NetworkKey {
    /// Number of bits of an address.
    width: u8,
    /// Number of leading bits that identify the network.
    pub prefix: u8,
    /// Those bits, as a number.
    bits: u128,
}

/// An IPv4 network: `10.0.0.0/24`, or any address in it with the prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's first address.
    pub base: Ipv4Addr,
    /// Number of leading bits that identify it.
    prefix: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse().ok().and_then(|cidr: Cidr| cidr.network());
        network.ok_or_else(|| format!("`{text}` is not an IPv4 network such as 10.0.0.0/24"))
    }
}

impl Network {
    /// Its netmask, such as 255.255.255.0.
    pub(crate) fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }

    /// Its last address, on which all its machines listen.
    pub(crate) fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() | !mask(self.prefix))
    }

    /// An address in it.
    pub(crate) fn at(&self, address: Ipv4Addr) -> Cidr {
        Cidr { address: address.into(), prefix: self.prefix }
    }

    /// Whether it has one or two addresses, none of which has a meaning of its own (RFC 3021).
    pub(crate) fn is_tiny(&self) -> bool {
        self.prefix >= 31
    }

    /// Whether it contains an address.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.base.to_bits()
    }

    /// Number of leading bits that identify it.
    pub(crate) fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address is in both.
    pub(crate) fn overlaps(&self, other: &Network) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// The network with this prefix length that has its first address.
    pub(crate) fn resized(&self, prefix: u8) -> Network {
        Network { base: Ipv4Addr::from_bits(self.base.to_bits() & mask(prefix)), prefix }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// A mask with this many leading bits set.
fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// A range of IPv4 addresses, both ends included: `10.0.0.100-10.0.0.200`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// First address of the range.
    pub first: Ipv4Addr,
    /// Last address of the range; not before the first.
    pub last: Ipv4Addr,
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').map(|(first, last)| (first.trim().parse(), last.trim().parse()));
        match ends {
            Some((Ok(first), Ok(last))) if first <= last => Ok(AddressRange { first, last }),
            _ => Err(format!("`{text}` is not a range of addresses such as 10.0.0.100-10.0.0.200")),
        }
    }
}

impl AddressRange {
    /// Whether the range contains an address.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_their_prefix_length() {
        assert_eq!("10.0.0.11/24".parse::<Cidr>().unwrap().to_string(), "10.0.0.11/24");
        assert_eq!("fd00::1/64".parse::<Cidr>().unwrap().prefix, 64);
        for bad in ["10.0.0.11", "10.0.0.11/33", "10.0.0/24", "10.0.0.11/+24", "10.0.0.11/", "x/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_knows_its_addresses() {
        let network: Network = "10.1.2.3/20".parse().unwrap();
        assert_eq!(
            (network.to_string(), network.netmask()),
            ("10.1.0.0/20".into(), [255, 255, 240, 0].into())
        );
        assert!(network.contains([10, 1, 15, 255].into()) && !network.contains([10, 1, 16, 0].into()));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains([8, 8, 8, 8].into()));
        assert_eq!("10.0.0.1/32".parse::<Network>().unwrap().netmask(), Ipv4Addr::BROADCAST);
    }

    #[test]
    fn a_range_runs_upwards() {
        assert!("10.0.0.1-10.0.0.9".parse::<AddressRange>().is_ok());
        for bad in ["10.0.0.9-10.0.0.1", "10.0.0.1", "10.0.0.1-9"] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }
}
