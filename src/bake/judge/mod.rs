//! Judges of the built artifacts, before they are published.

pub(crate) mod boots;
pub(crate) mod documents;
pub(crate) mod leaks;
pub(crate) mod logins;
pub(crate) mod secrets;
pub(crate) mod unheard;
