//! The published tree: its names and files, and how it appears, is read, proved, packed, compared and walked.
//!
//! ```text
//!   OUTPUT/NAME/current ─▶ BUILD-ID/        SHA-256 of manifest.json
//!       manifest.json                       every file below: size, digest, role, origin
//!       manifest.json.minisig, provenance.json      beside it, in no digest
//!       groups/ profiles/ ignition/ …       Matchbox's records: records, notes
//!       boot/                               scripts and menus of loaders
//!       assets/                             kernel, initrds, sysexts, images
//!       private/                            configs with secrets: private, in no manifest and no bundle
//!
//!   rows ─publish─▶ tree ─open─▶ verify · diff · closure · bundle ─import─▶ tree
//!                     └─ inject ─▶ another tree beside it
//! ```
//! The contract between `bake` and `serve`, which do not know each other: [`names`] has each path, file name and endpoint once, and
//! [`records`] each record's form. Owns the lock's format, because the lock is published in every tree, and the search for secrets,
//! because a tree is public.
//!
//! Leaves to `bake` which files a tree gets, to `serve` how they reach a machine, and to `trust` who must have signed.

pub(crate) mod beneath;
pub mod bundle;
pub(crate) mod closure;
pub(crate) mod diff;
pub(crate) mod inject;
pub(crate) mod kept;
pub mod lock;
pub mod lock_keys;
pub mod manifest;
pub(crate) mod meant;
pub mod names;
pub mod nodes;
pub(crate) mod notes;
pub mod open;
pub(crate) mod parts;
pub(crate) mod private;
pub mod provenance;
pub(crate) mod prune;
pub(crate) mod publish;
pub mod records;
pub(crate) mod reporting;
pub(crate) mod row;
pub mod sbom;
pub mod secrets;
pub(crate) mod sides;
pub(crate) mod verify;
