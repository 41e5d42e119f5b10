//! From a recipe to a published tree.

pub mod alone;
pub mod blueprint;
pub mod boot;
pub mod build;
pub mod compile;
pub mod delivery;
pub mod early;
pub mod extensions;
pub mod gather;
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
