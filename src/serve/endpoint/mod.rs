//! The endpoints, one file each. Pure, or nearly: a site and a request in, an answer out.

pub(crate) mod assets;
pub(crate) mod boot;
pub(crate) mod config;
pub mod escape;
pub(crate) mod explain;
pub mod guard;
pub(crate) mod identity;
pub(crate) mod listing;
pub(crate) mod logs;
pub(crate) mod matchbox;
pub(crate) mod page;
pub(crate) mod request;
pub(crate) mod routes;
pub(crate) mod served;
pub(crate) mod sign;
pub mod sniff;
pub(crate) mod turn;
