//! The parts of a tree as package URLs and SPDX.

pub mod purl;
pub mod spdx;
