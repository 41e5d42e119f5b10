//! The boot server: answers machines from a published tree over HTTP, as Matchbox does, and over TFTP and DHCP before that.
//!
//! ```text
//! TCP ─server─▶ http1 ──head──▶ exchange ─routes─▶ boot · config · assets ─▶ Answer ─segments─▶ Reply ─▶ http1: sendfile(2)
//!       └─tls─▶ connection ───────┘  │                                                  │      └▶ connection: chunks
//!              (hyper)        Content ─▶ Site (manifest, groups, profiles; immutable)    └─ tally ─▶ Notices: log, timeline
//! ```
//! Owns everything between a tree and a machine. [`site`] is the tree or data directory that is served, and [`endpoint`] the
//! answers from it, both without sockets; [`answer`] and [`files`] are an answer's form and bytes; [`http`] has the connections
//! and shares the server among clients; [`lan`] is for firmware before HTTP; [`machines`] collects the `notice`s of all others
//! about machines; [`process`] limits the rights of the process; a [`rehearsal`] plays one machine of a tree. [`rpc`] is another
//! process, which writes a data directory for clients of Matchbox's gRPC API.
//!
//! It differs from Matchbox on purpose in these points: every file that the manifest names is served and no other, `/ipxe` and
//! `/grub` add `prebake.url=` and `prebake.mac=` so that a node knows its server and card, an installer is given no other
//! machine's config (`endpoint::identity`), a machine that nothing matches gets a text that says so, configs are served as they
//! are or not at all, and methods beside GET, HEAD and POST are refused. `tests/it/judges/matchbox.rs` holds everything else
//! equal.
//!
//! Leaves building to `bake` and reading a tree to `tree`; it uses neither `bake` nor `source` nor `store`.

pub mod address;
pub mod answer;
pub mod endpoint;
pub(crate) mod files;
pub mod http;
pub mod lan;
pub(crate) mod line;
pub(crate) mod loaders;
pub mod machines;
pub mod notice;
pub(crate) mod process;
pub(crate) mod rehearsal;
pub mod rpc;
pub mod site;
