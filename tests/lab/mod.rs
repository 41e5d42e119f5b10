//! The lab's parts: a release server's tree, a server for it, and machines that boot from it. `README.md` has the tour.
//!
//! Used by `demo.rs` and by the integration tests, each of which needs only some of it.
#![allow(dead_code)]

pub mod cluster;
pub mod machine;
pub mod mirror;
pub mod release;
pub mod upstream;
