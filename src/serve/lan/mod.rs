//! The steps before HTTP: DHCP, proxyDHCP and TFTP for firmware, and the iPXE binaries that they deliver.

pub mod dhcp;
pub(crate) mod interface;
pub(crate) mod inventory;
pub mod near;
pub(crate) mod netboot;
pub(crate) mod ports;
pub mod tftp;
