//! DHCP for machines that boot: beside another server (a proxy, as PXE 2.1 calls it), or as the one that lends addresses.
//!
//! ```text
//! datagram ─packet─▶ Request ─client─▶ Client ─boot─▶ what it loads ─┐
//!                       └────────────leases─▶ its address ───────────┴─responder─▶ Reply ─server─▶ datagram
//! ```
//! Everything but `server` is pure: a packet and the time in, a packet or nothing out. Packets are dhcproto's; of requests only
//! its lazy form is used, because the eager one takes lengths for granted.
//!
//! Left out: probing an address before it is lent, leases on disk (they are in memory; after a restart, a client that asks for
//! the address it had gets it when it is free), DHCPv6 and BOOTP.

pub mod boot;
pub mod client;
pub mod leases;
pub mod packet;
pub mod rate;
pub mod responder;
pub mod server;
