//! Judges of the built artifacts, before they are published.

pub mod boots;
pub mod documents;
pub mod leaks;
pub mod secrets;
