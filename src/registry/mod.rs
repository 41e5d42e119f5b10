//! Names and documents of container registries; nothing that connects.
//!
//! Owns references as people write them ([`reference`](mod@reference)), the URLs that follow from one ([`endpoint`]), and the
//! documents behind those ([`document`]): bytes in, judged values out, SHA-256 only. Leaves requests, logins and mirrors to
//! `source`.

pub mod document;
pub(crate) mod endpoint;
pub mod reference;
