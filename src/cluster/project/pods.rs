//! The addresses of each node's pods, where no program gives them out: for the network plugin `routes`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::cluster::description::{Cluster, Cni, Node};
use crate::machine::network::Network;

/// The most leading bits of a node's part: 14 addresses of pods.
const LONGEST: u8 = 28;
/// The fewest: Kubernetes gives a node a /24 by default.
const SHORTEST: u8 = 24;

/// Each node's part of the pods' addresses, by name. A node's part follows from its own address, so that it stays the same when
/// others come and go; where addresses of pods do not suffice for that, from its position.
pub(super) fn of(cluster: &Cluster) -> BTreeMap<&str, String> {
    if !matches!(cluster.cni, Cni::Routes) {
        return BTreeMap::new();
    }
    let bits = |network: &Network| network.netmask().to_bits().count_ones() as u8;
    let pods = &cluster.pods.value;
    let hosts = 32 - bits(&cluster.network);
    let by_address = (bits(pods) + hosts).max(SHORTEST);
    let count = cluster.nodes.len() as u32;
    // The least power of two that all nodes have room in, and the first part for none.
    let by_position = (bits(pods) + (u32::BITS - count.leading_zeros()) as u8).max(SHORTEST);
    let is_by_address = by_address <= LONGEST && bits(pods) + hosts <= by_address;
    let length = if is_by_address { by_address } else { by_position.min(30) };
    let part = |(position, node): (usize, &Node)| {
        let number = match is_by_address {
            true => node.ip.value.to_bits() - cluster.network.base.to_bits(),
            false => position as u32 + 1,
        };
        let base = pods.base.to_bits().wrapping_add(number << (32 - u32::from(length)));
        format!("{}/{length}", Ipv4Addr::from_bits(base))
    };
    let mut parts = BTreeMap::new();
    for (position, node) in cluster.nodes.iter().enumerate() {
        parts.insert(node.name.value.as_str(), part((position, node)));
    }
    parts
}
