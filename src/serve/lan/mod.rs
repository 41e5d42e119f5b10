//! The steps before HTTP: DHCP, proxyDHCP and TFTP for firmware, and the iPXE binaries that they deliver.

pub mod dhcp;
pub mod interface;
pub mod inventory;
pub mod near;
pub mod netboot;
pub mod tftp;
