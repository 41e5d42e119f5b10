//! The lab's parts: a release server's tree, a server for it, and machines that boot from it. `README.md` has the tour.
//!
//! Used by `demo.rs` and by the integration tests, each of which needs only some of it.
#![allow(dead_code)]

pub mod cluster;
pub mod formation;
pub mod images;
pub mod machine;
pub mod management;
pub mod merge;
pub mod mirror;
pub mod network;
pub mod ports;
pub mod release;
pub mod upstream;
pub mod user_data;

use std::time::{SystemTime, UNIX_EPOCH};

use prebake::base::digest::Sha256;

/// A run's own value, that no earlier run's tree can carry.
pub fn nonce() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let digest = Sha256::of(format!("{}-{}", now.as_nanos(), std::process::id()).as_bytes());
    digest.to_string()[..16].to_owned()
}
