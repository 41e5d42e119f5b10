//! Parts that tests are set up with: a small world with a mirror and a recipe, a registry, an HTTP client, hand-made trees, killed
//! runs, and JSON schemas.
//!
//! Benches take single files of this folder, so that a file here uses `crate::lab` and its neighbours at most.

mod fixture;
pub(crate) mod http;
pub(crate) mod kills;
pub(crate) mod registry;
pub(crate) mod schema;
pub(crate) mod tree;

pub(crate) use fixture::*;
