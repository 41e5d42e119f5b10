//! Texts with places: what prebake and its reader of Ignition configs read, and what they say of it.
//!
//! A member of the workspace, so that `prebake-ignition` brings nothing else of prebake along. [`finding`] is what is said of a
//! text; [`yaml`] and [`json`] are its readers, [`path`] and [`digest`] what is found in it. `prebake::base` hands all of them on.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod digest;
pub mod finding;
pub mod json;
pub mod path;
pub mod yaml;
