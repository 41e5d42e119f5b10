//! The MBR before a table: boot code, and a partition over the whole disk, so that old tools leave it alone.
//!
//! Owns its four entries (UEFI specification 2.10, 5.2). An MBR is the bytes of the first sector, at least 512 of them.

use super::Finding;
use crate::format::fields::u32_at;

/// Offset of the four entries of 16 bytes, before which is boot code.
pub(super) const ENTRIES: usize = 446;
/// The partition type for a disk with a GUID partition table (UEFI 2.10, table 5-4).
const PROTECTIVE: u8 = 0xee;
/// The last bytes.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// One without boot code, for a disk whose last sector is `last`.
pub(super) fn fresh(sector: u64, last: u64) -> Vec<u8> {
    let mut mbr = vec![0; sector as usize];
    protect(&mut mbr, last);
    mbr
}

/// Writes its entries anew, so that it protects a disk whose last sector is `last`.
pub(super) fn protect(mbr: &mut [u8], last: u64) {
    let size = u32::try_from(last).unwrap_or(u32::MAX);
    mbr[ENTRIES..510].fill(0);
    mbr[446..458].copy_from_slice(&[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    mbr[458..462].copy_from_slice(&size.to_le_bytes());
    mbr[510..512].copy_from_slice(&SIGNATURE);
}

/// Lets the protective partition span a disk of another length, both in sectors. One that spans less than the disk, as
/// in a hybrid MBR, stays.
pub(super) fn span(mbr: &mut [u8], old: u64, new: u64) {
    let size = |sectors: u64| u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    for entry in mbr[ENTRIES..510].chunks_mut(16) {
        if entry[4] == PROTECTIVE && (u32_at(entry, 12) == size(old) || entry[12..] == [0xff; 4]) {
            entry[12..].copy_from_slice(&size(new).to_le_bytes());
        }
    }
}

/// Whether a disk with these first bytes has an MBR with a protective partition, though its table may be missing.
pub(super) fn is_protective(head: &[u8]) -> bool {
    let entries = head.get(ENTRIES..510).unwrap_or_default();
    head.get(510..512).is_some_and(|end| end == SIGNATURE)
        && entries.chunks_exact(16).any(|entry| entry[4] == PROTECTIVE)
}

/// The departure from a protective MBR, if there is one.
pub(super) fn judge(mbr: &[u8]) -> Option<Finding> {
    let kinds: Vec<u8> = mbr[ENTRIES..510].chunks(16).map(|entry| entry[4]).collect();
    match () {
        _ if mbr[510..512] != SIGNATURE || !kinds.contains(&PROTECTIVE) => Some(Finding::Unprotected),
        _ if kinds.iter().any(|kind| ![0, PROTECTIVE].contains(kind)) => Some(Finding::Hybrid),
        _ => None,
    }
}
