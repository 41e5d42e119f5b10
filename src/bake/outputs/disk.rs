//! Disk: the stock disk image with its signature, where the stock `flatcar-install -b` finds and verifies it.

use super::{Built, OutputFormat};
use crate::flatcar::board::{DISK, VERSION_TXT};
use crate::tree::manifest::Role;
use crate::tree::row::Row;

/// The output `disk`.
#[derive(Debug)]
pub(crate) struct Disk;

impl OutputFormat for Disk {
    fn stock_files(&self) -> &'static [(&'static str, Role)] {
        &[(DISK, Role::DiskImage), (VERSION_TXT, Role::Version)]
    }

    fn emit(&self, _: &Built<'_>) -> Vec<Row> {
        Vec::new()
    }
}
