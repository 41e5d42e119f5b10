//! Texts with places, and findings that point into them.
//!
//! A member of the workspace, so that `prebake-ignition` brings nothing else of prebake along. [`yaml`] and [`json`] read texts,
//! [`finding`] says what is wrong in them; [`path`] and [`digest`] are values that stand in them. `prebake::base` hands all of them on.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod conflict;
pub mod count;
pub mod digest;
pub mod finding;
pub mod json;
pub mod path;
pub mod yaml;
