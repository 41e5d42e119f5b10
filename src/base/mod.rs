//! Words that know nothing of this program: digests, errors and exit codes, findings with places, events, YAML with places,
//! canonical bytes, and files that are written whole or not at all.
//!
//! Owns what every roof needs and no roof decides. A value here has no opinion on Flatcar, trees or machines. Leaves codecs to
//! `format`, signatures to `trust`, and printing to `cli`.
//!
//! Three files carry rules for the whole house: [`error`] (a subject in each message, advice apart from it), [`finding`] (all
//! mistakes of a text at once, with file, line and column), and [`disk`] with [`unfinished`] (a name is given last, to synced
//! bytes).

pub mod arch;
pub mod canonical;
pub(crate) mod clock;
pub mod digest;
pub mod disk;
pub mod error;
pub mod event;
pub(crate) mod forms;
pub(crate) mod kind;
pub(crate) mod parallel;
pub(crate) mod reader;
pub mod size;
pub(crate) mod unfinished;
pub(crate) mod url;
pub mod words;

// A member of the workspace: `ignition` needs no more of this roof.
pub use prebake_text::{conflict, count, finding, json, path, yaml};
