//! Machines and where they stand: nodes, MAC addresses, networks, firmware, what a DHCP server is told.

pub mod base_url;
pub mod dhcp;
pub mod firmware;
pub mod network;
pub mod node;
