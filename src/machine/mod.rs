//! Machines and where they stand: name, MAC address, network, firmware, and the facts that a DHCP server is told.
//!
//! Plain data that a recipe and a site's inventory have in common, so that `bake` and `serve` need not know each other: a
//! [`node`] and how it is selected, its [`entry`] as a line to paste, its [`network`], the kinds of [`firmware`] with their
//! numbers in DHCP, a disk by its [`device`], the [`dhcp`] ranges and hosts, the [`base_url`] at which machines find a tree, a [`vm`] that QEMU makes for a
//! trial, the manifest of an address that several machines share ([`vip`]), and such manifests as text ([`yaml`]). Leaves profiles and boots to `bake`, and what a machine did to `serve::machines`.

pub(crate) mod base_url;
pub(crate) mod device;
pub mod dhcp;
pub mod entry;
pub(crate) mod firmware;
pub mod keys;
pub mod network;
pub mod node;
pub(crate) mod vip;
pub(crate) mod vm;
pub(crate) mod yaml;
