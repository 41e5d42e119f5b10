//! What was built, looked at before it is published.

pub mod boots;
pub mod documents;
pub mod leaks;
pub mod secrets;
