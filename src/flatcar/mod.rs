//! Flatcar releases: versions, boards, quirks, memory; the only room that compares versions.

pub mod board;
pub mod memory;
pub mod quirks;
pub mod target;
pub mod version;
