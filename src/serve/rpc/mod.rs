//! Matchbox's gRPC API: groups, profiles and configs of a data directory, written over mutual TLS.
//!
//! ```text
//! serve ─process─▶ serve-rpc: TCP ─listen─▶ TLS ─▶ HTTP/2 ─bounded─▶ services ─▶ store ─▶ files
//! ```
//! Owns the process beside the server that may write, from its socket to the files. [`process`] starts and ends it,
//! [`listen`] lets in clients that have a certificate, `bounded` reads one message, [`services`] finds its call, and the
//! [`store`] does it, once `judge` has found no fault in what is put. Leaves reading a data directory for machines to
//! `site`, which sees each edit by itself.

mod bounded;
mod flood;
mod judge;
pub(crate) mod listen;
pub mod messages;
mod places;
pub(crate) mod process;
pub(crate) mod services;
mod shares;
pub mod store;
mod tls;
