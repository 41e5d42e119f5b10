//! The machines that were seen, and how far they are: the timeline, their troubles, and the documents that show both.

pub mod client;
pub mod installed;
pub mod metrics;
pub mod monitor;
pub mod picture;
pub mod report;
pub mod stamp;
pub mod state;
pub mod status;
pub mod throughput;
pub mod timeline;
pub mod watchers;
