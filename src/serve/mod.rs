//! The boot server: answers machines from a published tree over HTTP, as Matchbox does.
//!
//! ```text
//! TCP ─server─▶ http1 ──head──▶ exchange ─routes─▶ boot · config · assets ─▶ Answer ─segments─▶ Reply ─▶ http1: sendfile(2)
//!       └─tls─▶ connection ───────┘  │                                                  │      └▶ connection: chunks
//!              (hyper)        Content ─▶ Site (manifest, groups, profiles; immutable)    └─ tally ─▶ Notices: log, timeline
//! ```
//! Routing and selection are pure; `server`, `http1` and `connection` have the sockets, `segments` opens files. `limits`,
//! `patience`, `shares` and `boots` say who may have how much of the server, `proofs` what may leave at all.
//!
//! What differs from Matchbox, on purpose: every file that the manifest names is served and no other, `/ipxe` and `/grub`
//! add `prebake.url=` so that a node knows who booted it, a machine that nothing matches gets a text that says so, configs
//! are served as they are or not at all, and methods beside GET, HEAD and POST are refused.
//! `tests/it/judges/matchbox.rs` holds everything else equal.

pub mod answer;
pub mod assets;
pub mod boot;
pub mod boots;
pub mod client;
pub mod conditions;
pub mod config;
pub mod confine;
pub mod connection;
pub mod content;
pub mod datadir;
pub mod dhcp;
pub mod escape;
pub mod exchange;
pub mod explain;
pub mod guard;
pub mod head;
pub mod http1;
pub mod interface;
pub mod inventory;
pub mod labels;
pub mod limits;
pub mod listen;
pub mod listing;
pub mod loaders;
pub mod matchbox;
pub mod metrics;
pub mod monitor;
pub mod near;
pub mod netboot;
pub mod notice;
pub mod page;
pub mod patience;
pub mod proofs;
pub mod ranges;
pub mod records;
pub mod report;
pub mod routes;
pub mod segments;
pub mod select;
pub mod server;
pub mod service;
pub mod shares;
pub mod sign;
pub mod site;
pub mod sniff;
pub mod stamp;
pub mod state;
pub mod status;
pub mod tally;
pub mod tftp;
pub mod throughput;
pub mod timeline;
pub mod tls;
pub mod watch;
