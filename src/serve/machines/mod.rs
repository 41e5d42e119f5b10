//! What was seen of machines, and where they are: the timeline, what is wrong, and the documents that tell it.

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
