//! An entry of a table: a partition and its GUIDs.
//!
//! Owns the bytes of an entry (UEFI specification 2.10, table 5-6). Leaves the list of them to the table.

use std::fmt;

use super::Error;
use crate::format::fields::{u16_at, u64_at};

/// Bytes of an entry.
pub(super) const ENTRY: usize = 128;

/// A GUID, in the order in which it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID that stands in hexadecimal digits as `0fc63daf84834772…`: 16 bytes as one number.
    pub const fn of(number: u128) -> Self {
        Guid(number.to_be_bytes())
    }

    /// The GUID in 16 bytes of a disk.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut guid = [0; 16];
        guid.copy_from_slice(bytes);
        // Swapping is its own inverse.
        Guid(Guid(guid).swapped())
    }

    /// The byte order on disk: the first three groups are little-endian.
    pub(super) fn swapped(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let mut bytes = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[8..].copy_from_slice(&rest);
        bytes
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number: that of its entry, from 1 on. Linux numbers devices by it, so gaps between numbers are kept.
    pub number: u32,
    /// The partition type's GUID.
    pub kind: Guid,
    /// The partition's own, unique GUID.
    pub id: Guid,
    /// A label for people: at most 36 UTF-16 units.
    pub name: String,
    /// Attribute bits.
    pub flags: u64,
    /// Offset in bytes.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Partition {
    /// Offset of the first byte after it. Those of a [`Table`](super::Table) are within its disk, so nothing overflows.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// The partition in an entry that is in use, of an image of `length` bytes.
    pub(super) fn parse(entry: &[u8], number: u32, sector: u64, length: u64) -> Result<Self, Error> {
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        let end = last.checked_add(1).and_then(|end| end.checked_mul(sector));
        let end = end.filter(|end| first <= last && *end <= length);
        let end = end.ok_or(Error::Damaged("a partition lies outside of the image"))?;
        Ok(Partition {
            number,
            kind: Guid::read(&entry[..16]),
            id: Guid::read(&entry[16..32]),
            name: name(entry),
            flags: u64_at(entry, 48),
            start: first * sector,
            length: end - first * sector,
        })
    }

    /// Writes it into its entry. A name that is there already keeps what lies behind its end.
    pub(super) fn write(&self, entry: &mut [u8], sector: u64) {
        let (first, last) = (self.start / sector, (self.end() / sector).saturating_sub(1));
        entry[..16].copy_from_slice(&self.kind.swapped());
        entry[16..32].copy_from_slice(&self.id.swapped());
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        entry[48..56].copy_from_slice(&self.flags.to_le_bytes());
        if name(entry) != self.name {
            entry[56..].fill(0);
            for (at, unit) in self.name.encode_utf16().take(36).enumerate() {
                entry[56 + 2 * at..][..2].copy_from_slice(&unit.to_le_bytes());
            }
        }
    }
}

/// The name in an entry.
fn name(entry: &[u8]) -> String {
    let units: Vec<u16> =
        entry[56..].chunks(2).map(|unit| u16_at(unit, 0)).take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
