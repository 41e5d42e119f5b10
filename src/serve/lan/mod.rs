//! Before HTTP: DHCP, proxyDHCP and TFTP for firmware, and the iPXE binaries they bring.

pub mod dhcp;
pub mod interface;
pub mod inventory;
pub mod near;
pub mod netboot;
pub mod tftp;
