//! The server as a process: its privileges, and its communication with a service manager.

pub mod confine;
pub mod service;
