//! Facts about Flatcar releases: versions, boards, file names, quirks, memory.
//!
//! The only roof that knows what a version brings. Others ask it a question ("does this release lose an injected config?") and get an
//! answer with the release that mends it. Every boundary is a row of a table in [`quirks`] with its source. Leaves fetching to
//! `source` and the specs themselves to `ignition`.

pub mod board;
pub(crate) mod memory;
pub mod quirks;
pub(crate) mod target;
pub mod version;
