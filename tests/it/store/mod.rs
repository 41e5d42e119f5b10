//! Tests of the store: parallel builds, `gc`, rotten bytes, full disks.

pub(crate) mod trials;
