//! From a recipe to a published tree.
//!
//! ```text
//!   recipe, outputs ─▶ project ─▶ resolve ─▶ lock ─▶ compile ─▶ plan ─▶ run ─▶ judge ─▶ artifacts ─▶ outputs' rows ─▶ tree::publish
//!     the wish       what is at    network           configs    keys   steps   boots,
//!                    hand                                               built   leaks
//! ```
//! Owns the order of these stages ([`build`]), what a recipe may say ([`recipe`], [`outputs`]), which inputs, steps and files
//! follow from it ([`resolve`], [`plan`], [`blueprint`]), and the verdict over the whole before it is public ([`judge`]).
//! [`alone`] builds sysexts without a recipe, [`rebuild`] everything a second time; [`mirror`] fills a directory from locks,
//! [`scaffold`] writes a first recipe, and [`roster`] brings machines that other programs list into `nodes:`.
//!
//! Leaves bytes to the roofs below: fetching to `source`, images to `sysext`, overlays to `initrd`, publishing to `tree`.
//! Prints nothing: events and findings go to the caller.

pub(crate) mod alone;
pub(crate) mod artifacts;
pub(crate) mod blueprint;
pub(crate) mod boot;
pub mod build;
pub(crate) mod compile;
pub mod delivery;
pub(crate) mod early;
pub mod extensions;
pub(crate) mod graph;
pub mod images;
pub(crate) mod judge;
pub mod kubernetes;
pub mod load;
pub(crate) mod lock_ids;
pub(crate) mod mirror;
pub mod outputs;
pub(crate) mod plan;
pub mod project;
pub(crate) mod provenance;
pub(crate) mod rebuild;
pub mod recipe;
pub(crate) mod resolve;
pub mod roster;
pub(crate) mod run;
pub(crate) mod sbom;
pub(crate) mod scaffold;
pub(crate) mod settle;
pub(crate) mod steps;
