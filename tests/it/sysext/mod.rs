//! Tests of system extensions: descriptions, images, rules, folders that ship, and nodes that update; systemd is the judge.

mod binary;
mod disks;
mod flaws;
pub(crate) mod folders;
mod lint;
pub(crate) mod packaging;
mod settings;
mod shipped;
mod updates;
