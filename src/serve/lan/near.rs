//! Decides who is answered over UDP. A sender's address is only a claim there: an answer to a forged address is traffic
//! for its real owner, so strangers get none.

use std::net::{IpAddr, Ipv4Addr};

use crate::machine::network::Network;

/// The clients that a server answers: private addresses, and the networks that it is in.
#[derive(Clone, Debug, Default)]
pub struct Near {
    /// Our own networks, even those with public addresses.
    pub networks: Vec<Network>,
}

impl Near {
    /// Whether a client with this address is answered.
    pub fn is(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                is_private(address) || self.networks.iter().any(|net| net.contains(address))
            }
            IpAddr::V6(address) => {
                address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
            }
        }
    }
}

/// RFC 1918, 3927 (link-local) and 6598 (shared, behind a carrier's NAT), and loopback.
fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    address.is_private() || address.is_loopback() || address.is_link_local() || shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_not_near_but_in_our_own_networks() {
        let near = |near: &Near, text: &str| near.is(text.parse().unwrap());
        let private = Near::default();
        for address in
            ["10.1.2.3", "192.168.0.9", "172.16.0.1", "127.0.0.1", "100.64.0.1", "fe80::1", "fd00::1", "::1"]
        {
            assert!(near(&private, address), "{address}");
        }
        for address in
            ["8.8.8.8", "198.51.100.7", "172.32.0.1", "100.128.0.1", "2001:db8::1", "::ffff:8.8.8.8"]
        {
            assert!(!near(&private, address), "{address}");
        }
        let ours = Near { networks: vec!["198.51.100.0/24".parse().unwrap()] };
        assert!(near(&ours, "198.51.100.7") && near(&ours, "::ffff:198.51.100.7"));
        assert!(!near(&ours, "198.51.101.7"));
    }
}
