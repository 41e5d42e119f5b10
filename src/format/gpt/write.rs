//! The bytes of a table, for both ends of a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::entry::ENTRY;
use super::{HEADER, Table, crc};

impl Table {
    /// The bytes at the beginning of the disk: MBR, header, entries. 17,408 of them for 128 entries and sectors of 512
    /// bytes. Entries that do not follow the header directly stay where they are, with what lies between.
    pub fn head(&self) -> Vec<u8> {
        let entries = self.encoded();
        let last = (self.length / self.sector).saturating_sub(1);
        let mut bytes = self.mbr.clone();
        bytes.extend(self.header(1, last, 2 + self.gap.len() as u64 / self.sector, &entries));
        bytes.extend(&self.gap);
        bytes.extend(&entries);
        bytes.resize(bytes.len().next_multiple_of(self.sector as usize), 0);
        bytes
    }

    /// The bytes at the end of the disk, from [`Table::tail_start`] on: entries and header. 16,896 of them for 128
    /// entries and sectors of 512 bytes.
    pub fn tail(&self) -> Vec<u8> {
        let mut bytes = self.encoded();
        let last = (self.length / self.sector).saturating_sub(1);
        let header = self.header(last, 1, last.saturating_sub(self.entry_sectors()), &bytes);
        bytes.resize(bytes.len().next_multiple_of(self.sector as usize), 0);
        bytes.extend(header);
        bytes
    }

    /// Writes the table to both ends of an image, whose length is the table's.
    pub fn write(&self, out: &File) -> io::Result<()> {
        out.write_all_at(&self.head(), 0)?;
        out.write_all_at(&self.tail(), self.tail_start())
    }

    /// All entries: those that were read, with what has changed since.
    fn encoded(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        for (index, entry) in entries.chunks_mut(ENTRY).enumerate() {
            let Some(partition) = self.partitions.iter().find(|one| one.number as usize == index + 1) else {
                // An entry whose partition was taken out of the list; one that was never used keeps its bytes.
                if entry[..16] != [0; 16] {
                    entry.fill(0);
                }
                continue;
            };
            partition.write(entry, self.sector);
        }
        entries
    }

    /// A header's sector.
    fn header(&self, own: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let last_usable = (self.tail_start() / self.sector).saturating_sub(1);
        let mut header = Vec::with_capacity(self.sector as usize);
        header.extend(b"EFI PART");
        header.extend(0x0001_0000_u32.to_le_bytes());
        header.extend((HEADER as u32).to_le_bytes());
        header.extend([0; 8]);
        for sector in [own, other, self.first_usable, last_usable] {
            header.extend(sector.to_le_bytes());
        }
        header.extend(self.disk.swapped());
        header.extend(entries_at.to_le_bytes());
        header.extend(((entries.len() / ENTRY) as u32).to_le_bytes());
        header.extend((ENTRY as u32).to_le_bytes());
        header.extend(crc(entries).to_le_bytes());
        let checksum = crc(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(self.sector as usize, 0);
        header
    }
}
