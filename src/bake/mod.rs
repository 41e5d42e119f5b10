//! From a recipe to a published tree.
//!
//! ```text
//!   recipe, outputs ─▶ project ─▶ resolve ─▶ lock ─▶ compile ─▶ plan ─▶ run ─▶ judge ─▶ artifacts ─▶ outputs' rows ─▶ tree::publish
//!     the wish       what is at    network           configs    keys   steps   boots,
//!                    hand                                               built   leaks
//! ```
//! Owns the order of these stages ([`build`]), what a recipe may say ([`recipe`], [`outputs`]), which inputs, steps and files
//! follow from it ([`resolve`], [`plan`], [`blueprint`]), and the verdict over the whole before it is public ([`judge`]).
//! [`alone`] builds sysexts without a recipe, [`rebuild`] everything a second time.
//!
//! Leaves bytes to the roofs below: fetching to `source`, images to `sysext`, overlays to `initrd`, publishing to `tree`.
//! Prints nothing: events and findings go to the caller.

pub mod alone;
pub mod artifacts;
pub mod blueprint;
pub mod boot;
pub mod build;
pub mod compile;
pub mod delivery;
pub mod early;
pub mod extensions;
pub mod images;
pub mod judge;
pub mod kubernetes;
pub mod lock_ids;
pub mod outputs;
pub mod plan;
pub mod project;
pub mod provenance;
pub mod rebuild;
pub mod recipe;
pub mod resolve;
pub mod run;
pub mod sbom;
pub mod steps;
