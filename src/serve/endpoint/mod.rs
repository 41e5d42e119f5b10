//! The endpoints, one file each. Pure, or nearly: a site and a request in, an answer out.

pub mod assets;
pub mod boot;
pub mod config;
pub mod escape;
pub mod explain;
pub mod guard;
pub mod identity;
pub mod listing;
pub mod matchbox;
pub mod page;
pub mod request;
pub mod routes;
pub mod sign;
pub mod sniff;
