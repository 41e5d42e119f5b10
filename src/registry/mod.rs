//! Names and documents of OCI registries; nothing that connects.

pub mod document;
pub mod endpoint;
pub mod reference;
