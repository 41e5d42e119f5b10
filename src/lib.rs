//! prebake turns a recipe into prebaked Flatcar Container Linux artifacts.
//!
//! ```text
//! recipe ─parse─▶ Recipe ─resolve─▶ Lock ──plan──▶ Plan ──run──▶ artifacts ─publish─▶ Manifest ─▶ serve
//!                  pure            network          pure        disk, CPU            rename
//! ```
//! `docs/architecture.md` has the drawing of the rooms and the decisions.

pub mod arch;
pub mod cli;
pub mod digest;
pub mod error;
pub mod format;
pub mod ignition;
pub mod manifest;
pub mod report;
pub mod repro;
pub mod serve;
pub mod sysext;
pub mod yaml;
