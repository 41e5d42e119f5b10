//! prebake turns a recipe into prebaked Flatcar Container Linux artifacts.
//!
//! ```text
//! recipe ─parse─▶ Recipe ─resolve─▶ Lock ──plan──▶ Plan ──run──▶ artifacts ─publish─▶ Manifest ─▶ serve
//!                  pure            network          pure        disk, CPU            rename
//! ```
//! Twenty roofs, each standing on those below it: `base`; `format`, `trust`, `registry`, `ignition`, `machine`; `flatcar`, `store`;
//! `source`; `sysext`; `initrd` and `disk`; `addon`, `capi`, `proxmox` and `tree`; `bake` and `serve`; `cluster`; `cli`.
//! `docs/architecture.md` has the drawing, `docs/decisions` the
//! reasons.

// Its reader is the next engineer: `cargo doc --document-private-items`. The member `ignition` has a public API.
#![allow(rustdoc::private_intra_doc_links)]
// std's macros panic when the output is closed; those of `cli::say` do not.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod addon;
pub mod bake;
pub mod base;
pub mod capi;
pub mod cli;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod disk;
pub mod flatcar;
pub mod format;
pub mod initrd;
pub mod machine;
pub mod proxmox;
pub mod registry;
pub mod serve;
pub mod source;
pub mod store;
pub mod sysext;
pub mod tree;
pub mod trust;

pub use prebake_ignition as ignition;
