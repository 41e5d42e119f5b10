//! Words that know nothing of this program: digests, errors and exit codes, findings with places, YAML with places, canonical bytes.

pub mod arch;
pub mod canonical;
pub mod clock;
pub mod digest;
pub mod disk;
pub mod error;
pub mod event;
pub mod finding;
pub mod parallel;
pub mod size;
pub mod unfinished;
pub mod url;
pub mod words;
pub mod yaml;
