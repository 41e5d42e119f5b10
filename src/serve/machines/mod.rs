//! The machines that were seen, and how far they are: the timeline, their troubles, and the documents that show both.

pub(crate) mod client;
pub mod formation;
pub(crate) mod installed;
pub(crate) mod logbook;
pub(crate) mod metrics;
pub mod monitor;
pub(crate) mod picture;
pub mod report;
pub(crate) mod roll;
pub(crate) mod stamp;
pub mod state;
pub(crate) mod status;
pub(crate) mod throughput;
pub mod timeline;
pub(crate) mod watchers;
