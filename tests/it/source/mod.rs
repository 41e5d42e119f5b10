//! Tests of everything fetched: mirrors, proxies, broken connections, registries, and releases that are looked up.

mod downloads;
mod networks;
mod oci;
mod releases;
