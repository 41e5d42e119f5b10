//! Tests of the way from a recipe to a published tree, and of machines that boot from it.

mod archs;
mod boot_flaws;
pub(crate) mod boots;
mod build;
mod delivery;
mod disks;
mod flaws;
mod generic;
mod golden;
pub(crate) mod install;
mod installations;
pub(crate) mod kubernetes;
mod locks;
mod logins;
pub(crate) mod node;
pub(crate) mod node_image;
mod outputs;
mod plans;
mod promises;
mod rebuild;
pub(crate) mod recipes;
mod secrets;
mod typhoon;
