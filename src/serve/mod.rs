//! The boot server: answers machines from a published tree over HTTP, as Matchbox does.
//!
//! ```text
//! TCP ─server─▶ http1 ──head──▶ exchange ─routes─▶ boot · config · assets ─▶ Answer ─segments─▶ Reply ─▶ http1: sendfile(2)
//!       └─tls─▶ connection ───────┘  │                                                  │      └▶ connection: chunks
//!              (hyper)        Content ─▶ Site (manifest, groups, profiles; immutable)    └─ tally ─▶ Notices: log, timeline
//! ```
//! `site` is what is served and `endpoint` what is answered from it, both without sockets; `http` has the connections and
//! says who may have how much of the server; `lan` is what firmware asks before HTTP; `machines` is what was seen of
//! machines, by the `notice`s of all the others; `process` is what the server may still do once it listens.
//!
//! What differs from Matchbox, on purpose: every file that the manifest names is served and no other, `/ipxe` and `/grub`
//! add `prebake.url=` and `prebake.mac=` so that a node knows who booted it over which card, an installer is given no other
//! machine's config (`endpoint::identity`), a machine that nothing matches gets a text that says so, configs
//! are served as they are or not at all, and methods beside GET, HEAD and POST are refused.
//! `tests/it/judges/matchbox.rs` holds everything else equal.

pub mod address;
pub mod answer;
pub mod endpoint;
pub mod files;
pub mod http;
pub mod lan;
pub mod loaders;
pub mod machines;
pub mod notice;
pub mod process;
pub mod site;
