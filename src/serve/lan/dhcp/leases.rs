//! Owns the leases: nodes always have their own address, other machines one of a range for a while.
//!
//! A machine is identified by its MAC address, not by its client identifier (option 61): firmware, iPXE and the system
//! each send a different one, and would get three addresses in one boot. ISC's server calls that `ignore-client-uids`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::packet::Request;
use crate::machine::dhcp::{Dhcp, Host};
use crate::machine::network::Network;
use crate::machine::node::Mac;

/// How long an offered address is kept for its client.
const OFFER: Duration = Duration::from_secs(60);
/// Most leases of a range, however long it is: each takes memory, and anybody who makes up MAC addresses gets one.
const MOST: usize = 1 << 16;
/// How long an address is not lent after a client found it in use.
const DECLINED: Duration = Duration::from_secs(600);

/// An address, and the network in which the client uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The address that the client gets.
    pub address: Ipv4Addr,
    /// The network, for its mask and broadcast address.
    pub network: Network,
    /// The host name, if the machine is a node.
    pub name: Option<String>,
}

/// Why a machine gets no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoLease {
    /// A node in another network than its address.
    #[error("node {name} has the address {address}, which is not in {here}")]
    Elsewhere {
        /// The node's name.
        name: String,
        /// The node's address.
        address: Ipv4Addr,
        /// The network that it asked from, in words.
        here: String,
    },
    /// A node whose address belongs to something that is not a machine to boot, such as the gateway.
    #[error("node {name} has the address {address}, which is {whose}")]
    Taken {
        /// The node's name.
        name: String,
        /// The node's address.
        address: Ipv4Addr,
        /// The owner of the address, in words.
        whose: &'static str,
    },
    /// A machine that is no node with an address, behind a relay of another network.
    #[error("it asks through the relay {0}, where only nodes with an `ip:` get an address")]
    Relay(Ipv4Addr),
    /// A machine that is no node with an address, and there is no range.
    #[error("no node with an `ip:` has its MAC address, and there is no --dhcp-range")]
    NoRange,
    /// All addresses of the range are taken.
    #[error("the range {0}-{1} has no free address")]
    Exhausted(Ipv4Addr, Ipv4Addr),
}

/// The addresses that are lent, and those that may be.
#[derive(Debug)]
pub struct Leases {
    dhcp: Dhcp,
    /// Our own address, which is never lent.
    own: Ipv4Addr,
    hosts: BTreeMap<Mac, Host>,
    /// The addresses of nodes.
    reserved: BTreeSet<Ipv4Addr>,
    /// Addresses of the range that are lent or offered, and those that were found in use.
    held: BTreeMap<Ipv4Addr, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// The machine that has it. `None` if a client found it in use.
    by: Option<Mac>,
    until: Instant,
}

impl Leases {
    /// Starts without any lease.
    pub fn new(dhcp: Dhcp, own: Ipv4Addr) -> Leases {
        Leases { dhcp, own, hosts: BTreeMap::new(), reserved: BTreeSet::new(), held: BTreeMap::new() }
    }

    /// Replaces the nodes. Leases of other machines stay.
    pub(crate) fn set_hosts(&mut self, hosts: Vec<Host>) {
        self.reserved = hosts.iter().filter_map(Host::address).collect();
        self.hosts = hosts.into_iter().map(|host| (host.mac, host)).collect();
    }

    /// The network settings for machines, apart from their address.
    pub(crate) fn dhcp(&self) -> &Dhcp {
        &self.dhcp
    }

    /// The address that a client would get: a node's own; otherwise the one it has, the one it asks for, or a free one.
    ///
    /// # Errors
    /// Why it would get none.
    pub(crate) fn find(
        &self,
        request: &Request,
        wish: Option<Ipv4Addr>,
        now: Instant,
    ) -> Result<Lease, NoLease> {
        let host = self.hosts.get(&request.mac);
        let name = host.map(|host| host.name.clone());
        let fixed = host.and_then(|host| Some((host.address()?, host.ip?.network()?)));
        if let Some((address, network)) = fixed {
            // A node that was moved to another network cannot use its address there.
            let (is_here, here) = match request.relay() {
                None => (self.dhcp.subnet.contains(address), self.dhcp.subnet.to_string()),
                Some(relay) => (network.contains(relay), format!("the network of the relay {relay}")),
            };
            let network = if self.dhcp.subnet.contains(address) { self.dhcp.subnet } else { network };
            let whose = [(Some(self.own), "this server's own"), (self.dhcp.gateway, "the gateway's")];
            let whose =
                whose.into_iter().find_map(|(taken, whose)| (taken == Some(address)).then_some(whose));
            if let Some(whose) = whose {
                return Err(NoLease::Taken { name: name.unwrap_or_default(), address, whose });
            }
            return match is_here {
                true => Ok(Lease { address, network, name }),
                false => Err(NoLease::Elsewhere { name: name.unwrap_or_default(), address, here }),
            };
        }
        let subnet = self.dhcp.subnet;
        if let Some(relay) = request.relay().filter(|relay| !subnet.contains(*relay)) {
            return Err(NoLease::Relay(relay));
        }
        let range = self.dhcp.range.ok_or(NoLease::NoRange)?;
        let addresses = || (range.first.to_bits()..=range.last.to_bits()).take(MOST).map(Ipv4Addr::from_bits);
        let known =
            self.held.iter().find(|(_, held)| held.by == Some(request.mac)).map(|(address, _)| *address);
        let free = |address: &Ipv4Addr| self.is_free(*address, now);
        let wish = wish.filter(|wish| range.contains(*wish));
        let address = known.or(wish.filter(free)).or_else(|| addresses().find(free));
        let address = address.ok_or(NoLease::Exhausted(range.first, range.last))?;
        Ok(Lease { address, network: subnet, name })
    }

    /// Whether a client has an address from us: it is a node with an address, or has a lease.
    pub(crate) fn knows(&self, mac: Mac) -> bool {
        let node = self.hosts.get(&mac).is_some_and(|host| host.address().is_some());
        node || self.held.values().any(|held| held.by == Some(mac))
    }

    /// Whether an address of the range may be lent to a new machine.
    fn is_free(&self, address: Ipv4Addr, now: Instant) -> bool {
        let subnet = self.dhcp.subnet;
        let taken = [Some(self.own), self.dhcp.gateway, Some(subnet.base), Some(subnet.broadcast())];
        !taken.contains(&Some(address))
            && !self.reserved.contains(&address)
            && self.held.get(&address).is_none_or(|held| held.until <= now)
    }

    /// Keeps an address for a client until it accepts the offer.
    pub(crate) fn offer(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) {
        let until = now + OFFER;
        // An offer does not shorten a lease.
        let until = self
            .held
            .get(&address)
            .filter(|held| held.by == Some(mac))
            .map_or(until, |held| held.until.max(until));
        self.hold(address, Held { by: Some(mac), until });
    }

    /// Lends an address to a client.
    pub(crate) fn lend(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) {
        self.hold(address, Held { by: Some(mac), until: now + self.dhcp.lease });
    }

    /// Ends the lease of a client that is done with it.
    pub(crate) fn release(&mut self, mac: Mac, address: Ipv4Addr) {
        if self.held.get(&address).is_some_and(|held| held.by == Some(mac)) {
            self.held.remove(&address);
        }
    }

    /// Sets an address aside that its client found in use. This works for a client's own lease only; otherwise anybody
    /// could set the whole range aside.
    pub(crate) fn decline(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) {
        if self.held.get(&address).is_some_and(|held| held.by == Some(mac)) {
            self.hold(address, Held { by: None, until: now + DECLINED });
        }
    }

    /// Only addresses of the range are held; those of nodes are reserved anyway.
    fn hold(&mut self, address: Ipv4Addr, held: Held) {
        if self.dhcp.range.is_some_and(|range| range.contains(address)) {
            // A client that moves within the range gives up its old address.
            self.held.retain(|_, other| held.by.is_none() || other.by != held.by);
            self.held.insert(address, held);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::packet::tests::datagram;
    use super::*;

    pub(crate) const LEASE: Duration = Duration::from_secs(600);

    /// 10.0.0.0/24 with a range of four addresses, of which the second is ours and the fourth a node's.
    pub(crate) fn leases() -> Leases {
        let dhcp = Dhcp {
            base_url: "http://10.0.0.101:8080".parse().unwrap(),
            subnet: "10.0.0.0/24".parse().unwrap(),
            interface: None,
            range: Some("10.0.0.100-10.0.0.103".parse().unwrap()),
            gateway: Some([10, 0, 0, 254].into()),
            dns: vec![[10, 0, 0, 53].into()],
            domain: Some("lab.example".into()),
            lease: LEASE,
        };
        let host = |name: &str, last, ip: Option<&str>| Host {
            name: name.into(),
            mac: mac(last),
            ip: ip.map(|ip| ip.parse().unwrap()),
        };
        let mut leases = Leases::new(dhcp, [10, 0, 0, 101].into());
        leases.set_hosts(vec![
            host("n1", 1, Some("10.0.0.11/24")),
            host("n2", 2, Some("10.0.0.103/24")),
            host("n3", 3, None),
            host("far", 4, Some("10.9.0.4/16")),
        ]);
        leases
    }

    pub(crate) fn mac(last: u8) -> Mac {
        Mac::from([0x52, 0x54, 0, 0, 0, last])
    }

    /// A DISCOVER from a machine, optionally through a relay.
    fn from(last: u8, relay: [u8; 4]) -> Request {
        let mut bytes = datagram(&[(53, &[1])]);
        bytes[33] = last;
        bytes[24..28].copy_from_slice(&relay);
        Request::parse(&bytes).unwrap()
    }

    fn direct(last: u8) -> Request {
        from(last, [0; 4])
    }

    fn find(leases: &Leases, request: &Request, now: Instant) -> Option<u8> {
        leases.find(request, None, now).ok().map(|lease| lease.address.octets()[3])
    }

    #[test]
    fn a_node_gets_its_own_address_and_name_always() {
        let (leases, now) = (leases(), Instant::now());
        let lease = leases.find(&direct(1), Some([10, 0, 0, 100].into()), now).unwrap();
        assert_eq!((lease.address.octets()[3], lease.name.as_deref()), (11, Some("n1")));
    }

    #[test]
    fn a_node_without_an_address_gets_one_of_the_range_and_its_name() {
        let lease = leases().find(&direct(3), None, Instant::now()).unwrap();
        assert_eq!((lease.address.octets()[3], lease.name.as_deref()), (100, Some("n3")));
    }

    #[test]
    fn a_range_spares_what_others_have_and_ends() {
        let (mut leases, now) = (leases(), Instant::now());
        for (machine, expected) in [(50, Some(100)), (51, Some(102)), (52, None)] {
            let found = find(&leases, &direct(machine), now);
            assert_eq!(found, expected, "{machine}");
            if let Some(last) = found {
                leases.lend(mac(machine), [10, 0, 0, last].into(), now);
            }
        }
        assert_eq!(find(&leases, &direct(50), now), Some(100), "the same again");
        assert_eq!(find(&leases, &direct(52), now + LEASE), Some(100), "when a lease has ended");
        leases.release(mac(51), [10, 0, 0, 102].into());
        assert_eq!(find(&leases, &direct(52), now), Some(102));
    }

    #[test]
    fn an_offer_is_kept_for_a_minute_and_a_wish_is_granted_when_it_is_free() {
        let (mut leases, now) = (leases(), Instant::now());
        let wish = |leases: &Leases, machine, last, now| {
            let lease = leases.find(&direct(machine), Some([10, 0, 0, last].into()), now);
            lease.ok().map(|lease| lease.address.octets()[3])
        };
        assert_eq!(wish(&leases, 50, 102, now), Some(102));
        leases.offer(mac(50), [10, 0, 0, 102].into(), now);
        assert_eq!(wish(&leases, 51, 102, now), Some(100), "kept for another");
        assert_eq!(wish(&leases, 51, 102, now + OFFER), Some(102));
        assert_eq!(wish(&leases, 51, 101, now), Some(100), "our own");
        assert_eq!(wish(&leases, 51, 200, now), Some(100), "outside of the range");
    }

    #[test]
    fn what_is_declined_is_set_aside_but_only_by_who_has_it() {
        let (mut leases, now) = (leases(), Instant::now());
        leases.lend(mac(50), [10, 0, 0, 100].into(), now);
        leases.decline(mac(66), [10, 0, 0, 100].into(), now);
        leases.decline(mac(66), [10, 0, 0, 102].into(), now);
        leases.release(mac(66), [10, 0, 0, 100].into());
        assert_eq!(find(&leases, &direct(50), now), Some(100));
        leases.decline(mac(50), [10, 0, 0, 100].into(), now);
        assert_eq!(find(&leases, &direct(50), now), Some(102));
        assert_eq!(find(&leases, &direct(51), now + DECLINED), Some(100));
    }

    #[test]
    fn behind_a_relay_a_node_gets_its_address_and_a_stranger_nothing() {
        let (leases, now) = (leases(), Instant::now());
        let lease = leases.find(&from(4, [10, 9, 0, 1]), None, now).unwrap();
        assert_eq!((lease.address, lease.network.netmask()), ([10, 9, 0, 4].into(), [255, 255, 0, 0].into()));
        let why = |request: &Request| leases.find(request, None, now).unwrap_err().to_string();
        assert_eq!(why(&direct(4)), "node far has the address 10.9.0.4, which is not in 10.0.0.0/24");
        let behind = "node n1 has the address 10.0.0.11, which is not in the network of the relay 10.9.0.1";
        assert_eq!(why(&from(1, [10, 9, 0, 1])), behind);
        assert_eq!(find(&leases, &from(1, [10, 9, 0, 1]), now), None);
        assert_eq!(find(&leases, &from(50, [10, 9, 0, 1]), now), None);
        assert_eq!(find(&leases, &from(50, [10, 0, 0, 254]), now), Some(100), "a relay of our own network");
    }
}
