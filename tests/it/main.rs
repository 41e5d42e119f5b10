//! The one integration test crate. Each module is a layer of `docs/architecture.md`.

// Helpers outside of `#[test]` functions are tests too.
#![allow(clippy::unwrap_used)]

#[path = "../lab/mod.rs"]
mod lab;

mod airgap;
mod archives;
mod archs;
mod boot_flaws;
mod boots;
mod browser;
mod build;
mod bundle;
mod carried;
mod cli;
mod closure;
mod confine;
mod connections;
mod containerd;
mod damage;
mod delivery;
mod dhcp;
mod downloads;
mod flaws;
mod generic;
mod golden;
mod gotemplate;
mod guard;
mod harness;
mod http;
mod https;
mod ignition_flaws;
mod images;
mod initrd;
mod install;
mod installations;
mod judges;
mod key;
mod key_vendor;
mod kubernetes;
mod lint;
mod locks;
mod matchbox;
mod netboot;
mod node;
mod oci;
mod outputs;
mod packaging;
mod published;
mod recipes;
mod registry;
mod releases;
mod sbom;
mod secrets;
mod serve;
mod service;
mod shipped;
mod squashfs;
mod status;
mod store;
mod storms;
mod sysext_flaws;
mod sysext_settings;
mod sysexts;
mod tftp;
mod tree;
mod unpack;
mod updates;
mod vectors;
mod verify;
mod world;
