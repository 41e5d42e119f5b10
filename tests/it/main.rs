//! The one integration test crate. Its folders are the roofs of `src/`: a test stands under the topmost roof that it needs.
//!
//! Three folders are none: `world` sets tests up, `judges` runs the real programs, `house` holds rules for the whole. The lab
//! (`tests/lab`) is shared with `make demo` and the benches.

// Helpers outside of `#[test]` functions are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../lab/mod.rs"]
mod lab;

mod bake;
mod base;
mod capi;
mod cli;
#[cfg(feature = "cluster")]
mod cluster;
mod disk;
mod format;
mod house;
mod ignition;
mod initrd;
mod judges;
mod machine;
mod proxmox;
mod serve;
mod source;
mod store;
mod sysext;
mod tree;
mod trust;
mod world;
