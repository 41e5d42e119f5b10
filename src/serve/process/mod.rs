//! The server as a process: its privileges, and its communication with a service manager.

pub(crate) mod confine;
pub(crate) mod service;
