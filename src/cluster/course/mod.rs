//! The course from a description to a cluster that is ready: steps as data, and the record of them.

pub mod record;
pub mod step;
