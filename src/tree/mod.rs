//! The published tree: its names and files; how it appears, is read, proved, packed, compared and walked.

pub mod beneath;
pub mod bundle;
pub mod closure;
pub mod diff;
pub mod inject;
pub mod kept;
pub mod lock;
pub mod manifest;
pub mod names;
pub mod nodes;
pub mod notes;
pub mod open;
pub mod private;
pub mod provenance;
pub mod publish;
pub mod records;
pub mod row;
pub mod sbom;
pub mod secrets;
pub mod verify;
