//! GUID partition tables: written with sectors of 512 bytes, read with any sector size that disks have.
//!
//! Owns the tables at both ends of a disk image (UEFI specification, 5.2 and 5.3): the protective MBR, the header and
//! entries at the beginning, their copy at the end. Leaves the partitions' contents to others.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::Crc;

/// Bytes of a sector, when writing.
pub(crate) const SECTOR: u64 = 512;
/// Sector sizes that are tried when reading, in bytes: nothing in an image states the size, so systemd tries these too
/// (`probe_sector_size` of dissect-image.c, since 253).
const SECTORS: [u64; 4] = [512, 1024, 2048, 4096];
/// Number of entries in a written table: the fewest that the specification allows.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Number of sectors for the entries.
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
const HEADER: usize = 92;
/// Most entries that are read.
const MAX_ENTRIES: u32 = 1024;

/// A GUID, in the order in which it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The byte order on disk: the first three groups are little-endian.
    fn swapped(self) -> [u8; 16] {
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

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The disk's GUID.
    pub disk: Guid,
    /// Bytes of a sector.
    pub sector: u64,
    /// The partitions, in the order of their entries.
    pub partitions: Vec<Partition>,
}

/// Reasons why an image's table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read.
    #[error("cannot read the partition table")]
    Read(#[from] io::Error),
    /// The table is damaged.
    #[error("the partition table is damaged: {0}")]
    Damaged(&'static str),
}

impl Table {
    /// First offset where a partition may begin, in bytes: a multiple of 4096 after the table.
    pub(crate) const FIRST: u64 = ((2 + ENTRY_SECTORS) * SECTOR).next_multiple_of(4096);

    /// The length of a disk image in bytes whose last partition ends at `end`.
    pub(crate) fn disk_length(end: u64) -> u64 {
        (end.next_multiple_of(SECTOR) + (ENTRY_SECTORS + 1) * SECTOR).next_multiple_of(4096)
    }

    /// Offsets of the headers that [`Table::read`] tries.
    pub(crate) fn headers() -> impl Iterator<Item = usize> {
        SECTORS.into_iter().map(|sector| sector as usize)
    }

    /// Writes the table to both ends of an image of `length` bytes, with sectors of 512 bytes. There may be at most 128
    /// partitions; they must begin and end at sector boundaries, after [`Table::FIRST`] and before the room that
    /// [`Table::disk_length`] reserves at the end.
    pub(crate) fn write(&self, out: &File, length: u64) -> io::Result<()> {
        let mut entries = vec![0; ENTRIES * ENTRY];
        for (entry, partition) in entries.chunks_mut(ENTRY).zip(&self.partitions) {
            let last = (partition.start + partition.length) / SECTOR - 1;
            entry[..16].copy_from_slice(&partition.kind.swapped());
            entry[16..32].copy_from_slice(&partition.id.swapped());
            entry[32..40].copy_from_slice(&(partition.start / SECTOR).to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[48..56].copy_from_slice(&partition.flags.to_le_bytes());
            for (at, unit) in partition.name.encode_utf16().take(36).enumerate() {
                entry[56 + 2 * at..][..2].copy_from_slice(&unit.to_le_bytes());
            }
        }
        let last = length / SECTOR - 1;
        let mut front = protective_mbr(last);
        front.extend(self.header(1, last, 2, last, &entries));
        front.extend(&entries);
        let mut back = entries.clone();
        back.extend(self.header(last, 1, last - ENTRY_SECTORS, last, &entries));
        out.write_all_at(&front, 0)?;
        out.write_all_at(&back, (last - ENTRY_SECTORS) * SECTOR)
    }

    /// A header's sector.
    fn header(&self, own: u64, other: u64, entries_at: u64, last: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(SECTOR as usize);
        header.extend(b"EFI PART");
        header.extend(0x0001_0000_u32.to_le_bytes());
        header.extend((HEADER as u32).to_le_bytes());
        header.extend([0; 8]);
        for sector in [own, other, 2 + ENTRY_SECTORS, last - ENTRY_SECTORS - 1] {
            header.extend(sector.to_le_bytes());
        }
        header.extend(self.disk.swapped());
        header.extend(entries_at.to_le_bytes());
        header.extend((ENTRIES as u32).to_le_bytes());
        header.extend((ENTRY as u32).to_le_bytes());
        header.extend(crc(entries).to_le_bytes());
        let checksum = crc(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(SECTOR as usize, 0);
        header
    }

    /// Reads the table at the beginning of an image; `None` if there is none. If several sector sizes fit, the first
    /// whose table is intact counts.
    pub fn read(file: &File) -> Result<Option<Table>, Error> {
        let mut damaged = None;
        for sector in SECTORS {
            match Table::read_with(file, sector) {
                Ok(Some(table)) => return Ok(Some(table)),
                Ok(None) => {}
                Err(Error::Read(error)) => return Err(Error::Read(error)),
                Err(error) => drop(damaged.get_or_insert(error)),
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    fn read_with(file: &File, sector: u64) -> Result<Option<Table>, Error> {
        let length = file.metadata()?.len();
        if length < 3 * sector {
            return Ok(None);
        }
        let mut header = vec![0; sector as usize];
        file.read_exact_at(&mut header, sector)?;
        if !header.starts_with(b"EFI PART") {
            return Ok(None);
        }
        let (u32_at, u64_at) = (|at| le(&header, at, 4) as u32, |at| le(&header, at, 8));
        // A header may be longer than the specification's present fields (UEFI 2.10, table 5-5).
        let size = u32_at(12) as usize;
        let zeroed = header.get(..size).filter(|_| size >= HEADER).map(|header| {
            let mut zeroed = header.to_vec();
            zeroed[16..20].fill(0);
            zeroed
        });
        if zeroed.is_none_or(|zeroed| crc(&zeroed) != u32_at(16)) {
            return Err(Error::Damaged("the checksum of its header is wrong"));
        }
        let (count, size) = (u32_at(80), u32_at(84));
        if count > MAX_ENTRIES || size as usize != ENTRY {
            return Err(Error::Damaged(
                "it has more than 1024 entries, or entries of another size than 128 bytes",
            ));
        }
        let mut entries = vec![0; count as usize * ENTRY];
        let at = u64_at(72).checked_mul(sector);
        let at = at.filter(|at| at.checked_add(entries.len() as u64).is_some_and(|end| end <= length));
        let at = at.ok_or(Error::Damaged("its entries lie outside of the image"))?;
        file.read_exact_at(&mut entries, at)?;
        if crc(&entries) != u32_at(88) {
            return Err(Error::Damaged("the checksum of its entries is wrong"));
        }
        let used = entries.chunks(ENTRY).filter(|entry| entry[..16] != [0; 16]);
        let partitions = used.map(|entry| partition(entry, sector, length)).collect::<Result<_, _>>()?;
        Ok(Some(Table { disk: guid(&header[56..72]), sector, partitions }))
    }
}

fn partition(entry: &[u8], sector: u64, length: u64) -> Result<Partition, Error> {
    let (first, last) = (le(entry, 32, 8), le(entry, 40, 8));
    let end = last.checked_add(1).and_then(|end| end.checked_mul(sector));
    let end = end.filter(|end| first <= last && *end <= length);
    let end = end.ok_or(Error::Damaged("a partition lies outside of the image"))?;
    let units: Vec<u16> =
        entry[56..].chunks(2).map(|unit| le(unit, 0, 2) as u16).take_while(|unit| *unit != 0).collect();
    Ok(Partition {
        kind: guid(&entry[..16]),
        id: guid(&entry[16..32]),
        name: String::from_utf16_lossy(&units),
        flags: le(entry, 48, 8),
        start: first * sector,
        length: end - first * sector,
    })
}

/// A partition of type `ee` over the whole disk, so that old tools leave it alone.
fn protective_mbr(last: u64) -> Vec<u8> {
    let mut sector = vec![0; SECTOR as usize];
    let size = u32::try_from(last).unwrap_or(u32::MAX);
    sector[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    sector[458..462].copy_from_slice(&size.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A little-endian number of this many bytes.
fn le(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn guid(bytes: &[u8]) -> Guid {
    let mut guid = [0; 16];
    guid.copy_from_slice(bytes);
    // Swapping is its own inverse.
    Guid(Guid(guid).swapped())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_flipped_byte_is_told() {
        let end = Table::FIRST + 8192;
        let table = Table {
            disk: Guid([7; 16]),
            sector: SECTOR,
            partitions: vec![Partition {
                kind: Guid(*b"0123456789abcdef"),
                id: Guid([9; 16]),
                name: "root-x86-64".into(),
                flags: 1 << 60,
                start: Table::FIRST,
                length: 8192,
            }],
        };
        let file = tempfile::tempfile().unwrap();
        let length = Table::disk_length(end);
        file.set_len(length).unwrap();
        assert_eq!(Table::read(&file).unwrap(), None);
        table.write(&file, length).unwrap();
        assert_eq!(Table::read(&file).unwrap(), Some(table));
        for at in [600, 1024 + 40] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
            assert!(Table::read(&file).is_err(), "{at}");
            file.write_all_at(&byte, at).unwrap();
        }
    }

    #[test]
    fn guids_are_printed_as_uefi_spells_them() {
        let guid = Guid([
            0x4f, 0x68, 0xbc, 0xe3, 0xe8, 0xcd, 0x4d, 0xb1, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 9,
        ]);
        assert_eq!(guid.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    }
}
