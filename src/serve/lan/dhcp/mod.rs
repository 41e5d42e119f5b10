//! DHCP for machines that boot: next to another server (as a proxy, in the terms of PXE 2.1), or as the server that
//! lends addresses.
//!
//! ```text
//! datagram ─packet─▶ Request ─client─▶ Client ─boot─▶ what it loads ─┐
//!                       └────────────leases─▶ its address ───────────┴─responder─▶ Reply ─server─▶ datagram
//! ```
//! Everything but `server` is pure: a packet and the time in, a packet or nothing out. Packets are dhcproto's. Requests
//! are parsed with its lazy form only, because the eager one trusts lengths.
//!
//! Not implemented: probing an address before it is lent, leases on disk (they are in memory; after a restart, a client
//! that asks for its old address gets it if it is free), DHCPv6 and BOOTP.

pub mod boot;
pub(crate) mod client;
pub mod leases;
pub(crate) mod packet;
pub(crate) mod rate;
pub mod responder;
pub(crate) mod server;
