//! The process: what it may still do, and the service manager that watches it.

pub mod confine;
pub mod service;
