//! prebake turns a recipe into prebaked Flatcar Container Linux artifacts.
//!
//! ```text
//! recipe ─parse─▶ Recipe ─resolve─▶ Lock ──plan──▶ Plan ──run──▶ artifacts ─publish─▶ Manifest ─▶ serve
//!                  pure            network          pure        disk, CPU            rename
//! ```
//! `docs/architecture.md` has the drawing of the rooms and the decisions.

// std's macros panic when nobody reads; `cli::say` has those that do not.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod arch;
pub mod build;
pub mod bundle;
pub mod check;
pub mod cli;
pub mod clock;
pub mod closure;
pub mod compile;
pub mod delivery;
pub mod diff;
pub mod digest;
pub mod early;
pub mod error;
pub mod event;
pub mod factory;
pub mod firmware;
pub mod format;
pub mod ignition;
pub mod images;
pub mod initrd;
pub mod kubernetes;
pub mod lock;
pub mod manifest;
pub mod memory;
pub mod minisign;
pub mod openpgp;
pub mod output;
pub mod parallel;
pub mod plan;
pub mod provenance;
pub mod publish;
pub mod quirks;
pub mod rebuild;
pub mod recipe;
pub mod report;
pub mod repro;
pub mod resolve;
pub mod run;
pub mod sbom;
pub mod secrets;
pub mod serve;
pub mod source;
pub mod store;
pub mod sysext;
pub mod sysexts;
pub mod tree;
pub mod trust;
pub mod unfinished;
pub mod yaml;
