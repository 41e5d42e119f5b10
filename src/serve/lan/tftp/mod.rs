//! TFTP for firmware that supports nothing better: read requests of RFC 1350 in `octet` mode, with the options of RFC
//! 2347, 2348, 2349 and 7440.
//!
//! ```text
//! datagram ─packet─▶ Request ─options─▶ Grant ─┐
//!                        └──files─▶ Content ──▶ transfer (pure: what to send, and until when to wait) ─server─▶ datagrams
//! ```
//! Only `server` has sockets. The files are a closed list: loaders, scripts and what the tree publishes for them.

pub(crate) mod files;
pub(crate) mod name;
pub mod options;
pub mod packet;
pub(crate) mod server;
pub mod transfer;
