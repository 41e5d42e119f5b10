//! The boot server: answers machines from a published tree over HTTP, as Matchbox does.
//!
//! ```text
//! bytes ─server─▶ Request ─routes─▶ boot · config · assets ─▶ Answer ─server─▶ bytes, a Notice
//!                            │
//!                 Content ─▶ Site (manifest, groups, profiles; immutable, replaced whole when `current` swaps)
//! ```
//! Routing and selection are pure; `server` alone has sockets and open files. What differs from Matchbox, on purpose:
//! every file that the manifest names is served and no other, `/ipxe` and `/grub` add `prebake.url=` so that a node knows
//! who booted it, a machine that nothing matches gets a text that says so, configs are served as they are or not at all,
//! and methods beside GET, HEAD and POST are refused. `tests/it/judges/matchbox.rs` holds everything else equal.

pub mod answer;
pub mod assets;
pub mod boot;
pub mod config;
pub mod content;
pub mod dhcp;
pub mod interface;
pub mod inventory;
pub mod labels;
pub mod near;
pub mod netboot;
pub mod notice;
pub mod report;
pub mod routes;
pub mod select;
pub mod server;
pub mod site;
pub mod tftp;
