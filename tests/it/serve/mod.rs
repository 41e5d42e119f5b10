//! Tests of the boot server, through its sockets: HTTP, HTTPS, TFTP and DHCP, status, limits, and Matchbox's data directories.

mod carried;
mod confine;
pub(crate) mod connections;
mod dhcp;
mod floods;
mod guard;
pub(crate) mod https;
mod loaders;
mod logs;
mod matchbox;
mod netboot;
mod opening;
mod page;
mod rpc;
mod service;
mod socket;
mod status;
mod storms;
pub(crate) mod streams;
pub(crate) mod tftp;
