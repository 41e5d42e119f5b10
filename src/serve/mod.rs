//! The boot server: answers machines from a published tree over HTTP, as Matchbox does.
//!
//! ```text
//! bytes ─server─▶ Request ─routes─▶ Answer ─server─▶ bytes, one log line
//!                            │
//!                          Site (manifest, groups, profiles; immutable, replaced whole when `current` swaps)
//! ```
//! Routing and selection are pure; `server` alone has sockets. What differs from Matchbox, on purpose: only files that
//! the manifest names are served, `/ipxe` adds `prebake.url=` so that a node knows who booted it, a machine that nothing
//! matches gets a text that says so, and configs are served as they are or not at all.

pub mod answer;
pub mod assets;
pub mod labels;
pub mod report;
pub mod routes;
pub mod select;
pub mod server;
pub mod site;
