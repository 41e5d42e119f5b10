//! Tests of everything fetched: mirrors, proxies, broken connections, registries, and releases that are looked up.

mod downloads;
mod memory;
mod mirrors;
mod networks;
mod oci;
mod releases;
