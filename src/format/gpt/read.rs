//! Tables out of images: which of the two counts, and what is wrong with the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::entry::{ENTRY, Guid, Partition};
use super::{Error, Finding, HEADER, MAX_ENTRIES, MOST_GAP, ReadAt, SECTOR, SECTORS, Table, crc, mbr};
use crate::format::fields;

impl Table {
    /// Whether a disk with these first bytes has an MBR with a protective partition, though its table may be missing.
    pub fn is_protected(head: &[u8]) -> bool {
        mbr::is_protective(head)
    }

    /// Reads the table at the beginning of an image; `None` if there is none. If several sector sizes fit, the first
    /// whose table is intact counts. The copy at the end is not looked at, because a sysext's image is refused if it
    /// has but that one.
    pub fn read(file: &File) -> Result<Option<Table>, Error> {
        let length = file.metadata()?.len();
        primary(length, &|at, bytes| file.read_exact_at(bytes, at))
    }

    /// Reads the table of a disk image of `length` bytes; `None` if there is none at either end. If the one at the
    /// beginning is damaged, the copy at the end counts. [`Table::findings`] tells that and other departures.
    ///
    /// # Errors
    /// The image cannot be read; neither end has an intact table; partitions overlap, or lie outside of the image or
    /// over the table.
    pub fn open(length: u64, read: &ReadAt<'_>) -> Result<Option<Table>, Error> {
        let why = match primary(length, read) {
            Ok(Some(mut table)) => {
                table.judge_partitions()?;
                table.judge_backup(length, read)?;
                table.judge_mbr();
                return Ok(Some(table));
            }
            Ok(None) => "it is missing",
            Err(Error::Damaged(why)) => why,
            Err(error) => return Err(error),
        };
        let is_missing = why == "it is missing";
        for sector in SECTORS {
            let last = (length / sector).saturating_sub(1);
            if let Ok(Some(mut table)) = read_with(length, sector, last, read) {
                table.findings.push(Finding::Primary(why));
                table.judge_partitions()?;
                // The MBR may have been hit together with the table: without it, tools see an empty disk.
                if table.judge_mbr() == Some(Finding::Unprotected) {
                    mbr::protect(&mut table.mbr, last);
                }
                return Ok(Some(table));
            }
        }
        if is_missing { Ok(None) } else { Err(Error::Damaged(why)) }
    }

    /// Reads the table at the beginning of an image that may end before the disk does; `None` if there is none. The
    /// length is what it states, and nothing else of the image is looked at.
    ///
    /// # Errors
    /// Those of [`Table::of_head`].
    pub fn stated(read: &ReadAt<'_>) -> Result<Option<Table>, Error> {
        let table = primary(u64::MAX, read)?;
        table.as_ref().map_or(Ok(()), Table::judge_partitions)?;
        Ok(table)
    }

    /// Reads the table out of the first [`HEAD`](super::HEAD) bytes of an image that comes front to back; `None` if there
    /// is none. The copy at the end is not there yet: [`Table::tail`] tells what it must be.
    ///
    /// # Errors
    /// The table is damaged, or larger than that.
    pub fn of_head(head: &[u8]) -> Result<Option<Table>, Error> {
        let missing = |at: u64, bytes: &mut [u8]| {
            let from = usize::try_from(at).ok().and_then(|at| head.get(at..)?.get(..bytes.len()));
            bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        // Partitions are judged by the length that the header states, as there is no other yet.
        match read_with(u64::MAX, SECTOR, 1, &missing) {
            Ok(Some(mut table)) => {
                table.judge_partitions()?;
                table.judge_mbr();
                Ok(Some(table))
            }
            Ok(None) => {
                let other =
                    |at: &u64| head.get(*at as usize..).is_some_and(|rest| rest.starts_with(b"EFI PART"));
                match SECTORS[1..].iter().any(other) {
                    true => Err(Error::Damaged("its sectors are longer than 512 bytes")),
                    false => Ok(None),
                }
            }
            Err(Error::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::Damaged("it is longer than 34 sectors"))
            }
            Err(error) => Err(error),
        }
    }

    /// Partitions must not overlap each other or the table, nor that its copy.
    fn judge_partitions(&self) -> Result<(), Error> {
        let mut sorted: Vec<_> = self.partitions.iter().collect();
        sorted.sort_by_key(|partition| partition.start);
        let head = (2 + self.entry_sectors()) * self.sector + self.gap.len() as u64;
        let tail = self.tail_start();
        if tail < head {
            return Err(Error::Damaged("its copy would lie over it"));
        }
        if sorted.first().is_some_and(|first| first.start < head) {
            return Err(Error::Damaged("a partition lies over the table"));
        }
        // The header's place for the copy may be anywhere, also where partitions are.
        if sorted.iter().any(|partition| partition.end() > tail) {
            return Err(Error::Damaged("a partition lies outside of the disk, or over the table's copy"));
        }
        match sorted.windows(2).any(|pair| pair[0].end() > pair[1].start) {
            true => Err(Error::Damaged("two partitions overlap")),
            false => Ok(()),
        }
    }

    /// Looks at the copy at the end.
    fn judge_backup(&mut self, image: u64, read: &ReadAt<'_>) -> Result<(), Error> {
        if self.length > image {
            self.findings.push(Finding::Backup("the image ends before it"));
            return Ok(());
        }
        match read_with(image, self.sector, self.length / self.sector - 1, read) {
            Ok(Some(copy)) if copy.partitions == self.partitions && copy.disk == self.disk => {}
            Ok(Some(_)) => self.findings.push(Finding::Backup("it lists other partitions")),
            Ok(None) => self.findings.push(Finding::Backup("it is missing")),
            Err(Error::Read(error)) => return Err(Error::Read(error)),
            Err(Error::Damaged(why)) => self.findings.push(Finding::Backup(why)),
            Err(_) => {}
        }
        if image / self.sector > self.length / self.sector {
            self.findings.push(Finding::Inside { length: self.length, image });
        }
        Ok(())
    }

    /// Looks at the MBR, and returns what was found.
    fn judge_mbr(&mut self) -> Option<Finding> {
        let found = mbr::judge(&self.mbr);
        self.findings.extend(found.clone());
        found
    }
}

/// The table at the beginning, with the first sector size for which it is intact.
fn primary(length: u64, read: &ReadAt<'_>) -> Result<Option<Table>, Error> {
    let mut damaged = None;
    for sector in SECTORS {
        match read_with(length, sector, 1, read) {
            Ok(Some(table)) => return Ok(Some(table)),
            Ok(None) => {}
            Err(Error::Read(error)) => return Err(Error::Read(error)),
            Err(error) => drop(damaged.get_or_insert(error)),
        }
    }
    damaged.map_or(Ok(None), Err)
}

/// The table whose header is in sector `own`, which is 1 for the one at the beginning.
fn read_with(length: u64, sector: u64, own: u64, read: &ReadAt<'_>) -> Result<Option<Table>, Error> {
    if length < 3 * sector || own == 0 {
        return Ok(None);
    }
    let mut header = vec![0; sector as usize];
    read(own * sector, &mut header)?;
    if !header.starts_with(b"EFI PART") {
        return Ok(None);
    }
    let (u32_at, u64_at) = (|at| fields::u32_at(&header, at), |at| fields::u64_at(&header, at));
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
    if u64_at(24) != own {
        return Err(Error::Damaged("its header belongs into another sector"));
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
    read(at, &mut entries)?;
    if crc(&entries) != u32_at(88) {
        return Err(Error::Damaged("the checksum of its entries is wrong"));
    }
    let used = entries.chunks(ENTRY).zip(1..).filter(|(entry, _)| entry[..16] != [0; 16]);
    let partitions = used
        .map(|(entry, number)| Partition::parse(entry, number, sector, length))
        .collect::<Result<_, _>>()?;
    let end = if own == 1 { u64_at(32) } else { own };
    let disk_length = end.checked_add(1).and_then(|end| end.checked_mul(sector));
    let disk_length =
        disk_length.filter(|_| end > 1).ok_or(Error::Damaged("its copy would lie outside of any disk"))?;
    // Where the entries of the copy lie tells nothing of those at the beginning.
    let gap = if own == 1 { u64_at(72).checked_sub(2) } else { Some(0) };
    let gap = gap.ok_or(Error::Damaged("its entries lie over its header"))?.saturating_mul(sector);
    if gap > MOST_GAP {
        return Err(Error::Damaged("its entries lie far behind its header"));
    }
    let mut gap = vec![0; gap as usize];
    read(2 * sector, &mut gap)?;
    let mut mbr = vec![0; sector as usize];
    read(0, &mut mbr)?;
    Ok(Some(Table {
        disk: Guid::read(&header[56..72]),
        sector,
        partitions,
        length: disk_length,
        findings: Vec::new(),
        mbr,
        gap,
        entries,
        first_usable: u64_at(40),
    }))
}
