//! GUID partition tables: read from either end of a disk, edited, and written for both ends.
//!
//! Owns the tables (UEFI specification 2.10, chapter 5): the protective MBR with the boot code before it, the header
//! and entries at the beginning, their copy at the end. Entries, attributes, boot code and the MBR's other partitions
//! are kept bit for bit where nothing asks for a change. Leaves the partitions' contents to others, and the choice of
//! partitions to `disk` and `sysext`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::Crc;

/// Part of step keys; raised when the bytes for the same table change.
pub const REVISION: u32 = 1;

/// Bytes of a sector, when a table is made anew.
pub const SECTOR: u64 = 512;
/// Sector sizes that are tried when reading, in bytes: nothing in an image states the size, so systemd tries these too
/// (`probe_sector_size` of dissect-image.c, since 253).
const SECTORS: [u64; 4] = [512, 1024, 2048, 4096];
/// Number of entries in a new table: the fewest that the specification allows.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Number of sectors for the entries of a new table.
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
const HEADER: usize = 92;
/// Most entries that are read.
const MAX_ENTRIES: u32 = 1024;
/// Bytes at the beginning of a disk that hold a table of 128 entries with sectors of 512 bytes: 34 sectors.
pub const HEAD: usize = (2 + ENTRY_SECTORS as usize) * SECTOR as usize;
/// Offset of the MBR's four entries of 16 bytes, before which is boot code.
const MBR_ENTRIES: usize = 446;
/// The MBR's partition type for a disk with a GUID partition table (UEFI 2.10, table 5-4).
const PROTECTIVE: u8 = 0xee;

/// A GUID, in the order in which it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID that stands in hexadecimal digits as `0fc63daf84834772…`: 16 bytes as one number.
    pub const fn of(number: u128) -> Self {
        Guid(number.to_be_bytes())
    }

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
    /// Offset of the first byte after it. Those of a [`Table`] are within its disk, so nothing overflows.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// A departure from an intact table with a protective MBR, at which nothing needs to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The table at the beginning could not be used; the one at the end was.
    Primary(&'static str),
    /// The copy at the end is missing or differs.
    Backup(&'static str),
    /// The copy is not at the end of the image: something made the image longer. Both in bytes.
    Inside {
        /// The length of the disk by the table.
        length: u64,
        /// The length of the image.
        image: u64,
    },
    /// The MBR lists partitions beside the protective one, for firmware and tools that know no GPT.
    Hybrid,
    /// The MBR has no protective partition.
    Unprotected,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Primary(why) => {
                write!(
                    f,
                    "the partition table at the beginning is damaged ({why}); its copy at the end is used"
                )
            }
            Finding::Backup(why) => write!(f, "the copy of the partition table at the end is damaged: {why}"),
            Finding::Inside { length, image } => write!(
                f,
                "the copy of the partition table ends at byte {length}, and the image at byte {image}"
            ),
            Finding::Hybrid => {
                f.write_str("the MBR lists partitions of its own beside the partition table (hybrid)")
            }
            Finding::Unprotected => f.write_str("the MBR has no protective partition"),
        }
    }
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
    /// Length of the disk in bytes: the copy of the header is in its last sector.
    pub length: u64,
    /// Departures that were seen while reading.
    pub findings: Vec<Finding>,
    /// The first sector, with boot code.
    mbr: Vec<u8>,
    /// All entries as they were read.
    entries: Vec<u8>,
    /// The first sector that partitions may use.
    first_usable: u64,
}

/// Reasons why a table cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read.
    #[error("cannot read the partition table")]
    Read(#[from] io::Error),
    /// The table is damaged.
    #[error("the partition table is damaged: {0}")]
    Damaged(&'static str),
    /// The partitions reach beyond a new length of the disk.
    #[error(
        "a disk of {asked} bytes is too short: the partition `{name}` and the table after it end at byte {needed}"
    )]
    Short {
        /// The asked length in bytes.
        asked: u64,
        /// The name of the last partition.
        name: String,
        /// The least length, in bytes.
        needed: u64,
    },
    /// A partition that cannot grow where it is.
    #[error("the partition `{name}` cannot grow to {asked} bytes: {why}")]
    Fixed {
        /// The partition's name.
        name: String,
        /// The asked length in bytes.
        asked: u64,
        /// The reason, in words.
        why: String,
    },
}

/// Reads bytes at an offset; all of the buffer or an error.
pub type ReadAt<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + 'a;

impl Table {
    /// First offset where a partition may begin in a new table, in bytes: a multiple of 4096 after the table.
    pub const FIRST: u64 = ((2 + ENTRY_SECTORS) * SECTOR).next_multiple_of(4096);

    /// A new table of 128 entries, for a disk of `length` bytes, a multiple of 512. There may be at most 128
    /// partitions, numbered 1 to 128; they must begin and end at sector boundaries, after [`HEAD`] and before the room
    /// that [`Table::disk_length`] reserves at the end.
    pub fn new(disk: Guid, partitions: Vec<Partition>, length: u64) -> Self {
        Table {
            disk,
            sector: SECTOR,
            partitions,
            length,
            findings: Vec::new(),
            mbr: protective_mbr(SECTOR, length / SECTOR - 1),
            entries: vec![0; ENTRIES * ENTRY],
            first_usable: 2 + ENTRY_SECTORS,
        }
    }

    /// The length of a disk image in bytes whose last partition ends at `end`.
    pub fn disk_length(end: u64) -> u64 {
        (end.next_multiple_of(SECTOR) + (ENTRY_SECTORS + 1) * SECTOR).next_multiple_of(4096)
    }

    /// Offsets of the headers that [`Table::read`] tries.
    pub fn headers() -> impl Iterator<Item = usize> {
        SECTORS.into_iter().map(|sector| sector as usize)
    }

    /// The partition of this name; the first, if there are several.
    pub fn named(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// The partitions of this type.
    pub fn of_kind(&self, kind: Guid) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(move |partition| partition.kind == kind)
    }

    /// The partition that lies last on the disk.
    pub fn last(&self) -> Option<&Partition> {
        self.partitions.iter().max_by_key(|partition| partition.start)
    }

    /// Whether the table at the beginning was damaged, and the copy at the end is used.
    pub fn from_backup(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Primary(_)))
    }

    /// Sectors of the entries.
    fn entry_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.sector)
    }

    /// Offset in bytes of the copy at the end, which is where the room for partitions ends.
    pub fn tail_start(&self) -> u64 {
        self.length.saturating_sub((self.entry_sectors() + 1) * self.sector)
    }

    /// Sets the length of the disk, in bytes, so that the copy moves to its new end.
    ///
    /// # Errors
    /// A length that is no multiple of the sector, or in which the partitions have no room.
    pub fn set_length(&mut self, length: u64) -> Result<(), Error> {
        if !length.is_multiple_of(self.sector) {
            return Err(Error::Damaged("the disk would not end at the end of a sector"));
        }
        let (end, name) = self.last().map_or((0, String::new()), |last| (last.end(), last.name.clone()));
        let room = (self.entry_sectors() + 1) * self.sector;
        let needed = end.max(self.first_usable.saturating_mul(self.sector)).saturating_add(room);
        if length < needed {
            return Err(Error::Short { asked: length, name, needed });
        }
        self.protect(length);
        self.length = length;
        Ok(())
    }

    /// Gives the partition of this number a new length, in bytes, which is not less than its present one.
    ///
    /// # Errors
    /// There is no such partition; it would shrink; another one or the copy of the table lies in the way.
    pub fn grow(&mut self, number: u32, length: u64) -> Result<(), Error> {
        let (sector, room) = (self.sector, self.tail_start());
        let Some(partition) = self.partitions.iter().find(|partition| partition.number == number) else {
            return Err(Error::Damaged("it lacks the partition that shall grow"));
        };
        let fixed = |why: String| Error::Fixed { name: partition.name.clone(), asked: length, why };
        let next = self.partitions.iter().filter(|other| other.start > partition.start);
        let next = next.min_by_key(|other| other.start);
        let end = partition.start.checked_add(length);
        match end {
            _ if length < partition.length => {
                return Err(fixed(format!("it has {} bytes already", partition.length)));
            }
            _ if !length.is_multiple_of(sector) => {
                return Err(fixed(format!("that is no multiple of the sector's {sector} bytes")));
            }
            Some(end) if next.is_none_or(|next| end <= next.start) && end <= room => {}
            _ => {
                let (what, at) = next.map_or(("the end of the disk".into(), room), |next| {
                    (format!("the partition `{}`", next.name), next.start)
                });
                let most = at.saturating_sub(partition.start);
                return Err(fixed(format!("{what} leaves it {most}")));
            }
        }
        self.partitions.iter_mut().filter(|other| other.number == number).for_each(|one| one.length = length);
        Ok(())
    }

    /// Lets the protective partition of the MBR span a disk of another length. One that spans less than the disk, as
    /// in a hybrid MBR, stays.
    fn protect(&mut self, length: u64) {
        let size = |length: u64| u32::try_from((length / self.sector).saturating_sub(1)).unwrap_or(u32::MAX);
        let (old, new) = (size(self.length), size(length));
        for entry in self.mbr[MBR_ENTRIES..MBR_ENTRIES + 64].chunks_mut(16) {
            if entry[4] == PROTECTIVE && (le(entry, 12, 4) as u32 == old || entry[12..] == [0xff; 4]) {
                entry[12..].copy_from_slice(&new.to_le_bytes());
            }
        }
    }

    /// The bytes at the beginning of the disk: MBR, header, entries. 17,408 of them for 128 entries and sectors of 512
    /// bytes. If the entries do not follow the header directly, what lies between is zeros.
    pub fn head(&self) -> Vec<u8> {
        let entries = self.encoded();
        let last = (self.length / self.sector).saturating_sub(1);
        let mut bytes = self.mbr.clone();
        bytes.extend(self.header(1, last, 2, &entries));
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
            let (first, last) =
                (partition.start / self.sector, (partition.end() / self.sector).saturating_sub(1));
            entry[..16].copy_from_slice(&partition.kind.swapped());
            entry[16..32].copy_from_slice(&partition.id.swapped());
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[48..56].copy_from_slice(&partition.flags.to_le_bytes());
            if name(entry) != partition.name {
                entry[56..].fill(0);
                for (at, unit) in partition.name.encode_utf16().take(36).enumerate() {
                    entry[56 + 2 * at..][..2].copy_from_slice(&unit.to_le_bytes());
                }
            }
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
                    let fresh = protective_mbr(table.sector, last);
                    table.mbr[MBR_ENTRIES..512].copy_from_slice(&fresh[MBR_ENTRIES..512]);
                }
                return Ok(Some(table));
            }
        }
        if is_missing { Ok(None) } else { Err(Error::Damaged(why)) }
    }

    /// Reads the table out of the first [`HEAD`] bytes of an image that comes front to back; `None` if there is none.
    /// The copy at the end is not there yet: [`Table::tail`] tells what it must be.
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
                if table.partitions.iter().any(|partition| partition.end() > table.tail_start()) {
                    return Err(Error::Damaged("a partition lies outside of the disk"));
                }
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

    /// Partitions must not overlap each other or the table.
    fn judge_partitions(&self) -> Result<(), Error> {
        let mut sorted: Vec<_> = self.partitions.iter().collect();
        sorted.sort_by_key(|partition| partition.start);
        if sorted.first().is_some_and(|first| first.start < (2 + self.entry_sectors()) * self.sector) {
            return Err(Error::Damaged("a partition lies over the table"));
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
        let is_signed = self.mbr[510..512] == [0x55, 0xaa];
        let kinds: Vec<u8> = self.mbr[MBR_ENTRIES..510].chunks(16).map(|entry| entry[4]).collect();
        let found = match () {
            _ if !is_signed || !kinds.contains(&PROTECTIVE) => Finding::Unprotected,
            _ if kinds.iter().any(|kind| ![0, PROTECTIVE].contains(kind)) => Finding::Hybrid,
            _ => return None,
        };
        self.findings.push(found.clone());
        Some(found)
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
    let partitions =
        used.map(|(entry, number)| partition(entry, number, sector, length)).collect::<Result<_, _>>()?;
    let end = if own == 1 { u64_at(32) } else { own };
    let disk_length = end.checked_add(1).and_then(|end| end.checked_mul(sector));
    let disk_length =
        disk_length.filter(|_| end > 1).ok_or(Error::Damaged("its copy would lie outside of any disk"))?;
    let mut mbr = vec![0; sector as usize];
    read(0, &mut mbr)?;
    Ok(Some(Table {
        disk: guid(&header[56..72]),
        sector,
        partitions,
        length: disk_length,
        findings: Vec::new(),
        mbr,
        entries,
        first_usable: u64_at(40),
    }))
}

fn partition(entry: &[u8], number: u32, sector: u64, length: u64) -> Result<Partition, Error> {
    let (first, last) = (le(entry, 32, 8), le(entry, 40, 8));
    let end = last.checked_add(1).and_then(|end| end.checked_mul(sector));
    let end = end.filter(|end| first <= last && *end <= length);
    let end = end.ok_or(Error::Damaged("a partition lies outside of the image"))?;
    Ok(Partition {
        number,
        kind: guid(&entry[..16]),
        id: guid(&entry[16..32]),
        name: name(entry),
        flags: le(entry, 48, 8),
        start: first * sector,
        length: end - first * sector,
    })
}

/// The name in an entry.
fn name(entry: &[u8]) -> String {
    let units: Vec<u16> =
        entry[56..].chunks(2).map(|unit| le(unit, 0, 2) as u16).take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

/// A partition of type `ee` over the whole disk, so that old tools leave it alone.
fn protective_mbr(sector: u64, last: u64) -> Vec<u8> {
    let mut mbr = vec![0; sector as usize];
    let size = u32::try_from(last).unwrap_or(u32::MAX);
    mbr[446..462].copy_from_slice(&[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    mbr[458..462].copy_from_slice(&size.to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    mbr
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
    use proptest::prelude::*;

    use super::*;

    fn table(partitions: u32) -> Table {
        let one = |number| Partition {
            number: 2 * number + 1,
            kind: Guid(*b"0123456789abcdef"),
            id: Guid([9; 16]),
            name: format!("root-x86-64-{number}"),
            flags: 1 << 60,
            start: Table::FIRST + u64::from(number) * 8192,
            length: 8192,
        };
        let length = Table::disk_length(Table::FIRST + u64::from(partitions) * 8192);
        Table::new(Guid([7; 16]), (0..partitions).map(one).collect(), length)
    }

    fn image(table: &Table) -> Vec<u8> {
        let mut bytes = table.head();
        bytes.resize(table.tail_start() as usize, 0);
        bytes.extend(table.tail());
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Option<Table>, Error> {
        Table::open(bytes.len() as u64, &|at, into| {
            into.copy_from_slice(&bytes[at as usize..][..into.len()]);
            Ok(())
        })
    }

    #[test]
    fn what_is_written_is_read_and_a_flipped_byte_is_told() {
        let table = table(1);
        let file = tempfile::tempfile().unwrap();
        file.set_len(table.length).unwrap();
        assert_eq!(Table::read(&file).unwrap(), None);
        table.write(&file).unwrap();
        let mut found = Table::read(&file).unwrap().unwrap();
        assert_eq!(found.head(), table.head());
        found.entries.clone_from(&table.entries);
        assert_eq!(found, table);
        for at in [600, 1024 + 40] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
            assert!(Table::read(&file).is_err(), "{at}");
            file.write_all_at(&byte, at).unwrap();
        }
    }

    #[test]
    fn the_copy_stands_in_for_a_damaged_table_and_is_told() {
        let table = table(3);
        let intact = image(&table);
        assert_eq!(open(&intact).unwrap().unwrap().findings, []);
        for range in [512..513, 600..601, 1024 + 40..1024 + 41, 0..17_408] {
            let mut bytes = intact.clone();
            bytes[range.clone()].iter_mut().for_each(|byte| *byte = !*byte);
            let found = open(&bytes).unwrap().unwrap();
            assert!(found.from_backup(), "{range:?}");
            assert_eq!(found.partitions, table.partitions);
            assert_eq!(found.head()[MBR_ENTRIES..], table.head()[MBR_ENTRIES..], "{range:?}");
            assert_eq!(found.tail(), table.tail());
        }
        for at in [table.length - 500, table.tail_start() + 40] {
            let mut bytes = intact.clone();
            bytes[at as usize] ^= 1;
            let found = open(&bytes).unwrap().unwrap();
            assert!(matches!(found.findings[..], [Finding::Backup(_)]), "{at}: {:?}", found.findings);
            assert_eq!(image(&found), intact);
        }
        let mut both = intact.clone();
        both[600] ^= 1;
        both[table.length as usize - 500] ^= 1;
        assert!(matches!(open(&both), Err(Error::Damaged("the checksum of its header is wrong"))));
        assert!(open(&vec![0; 1 << 20]).unwrap().is_none());
    }

    #[test]
    fn growing_moves_the_copy_and_keeps_all_else() {
        let old = table(2);
        let mut bytes = image(&old);
        bytes[..440].fill(0x90);
        let mut grown = open(&bytes).unwrap().unwrap();
        grown.set_length(1 << 20).unwrap();
        grown.grow(3, 100 << 10).unwrap();
        let bytes = image(&grown);
        assert_eq!(bytes.len(), 1 << 20);
        let found = open(&bytes).unwrap().unwrap();
        assert_eq!(found.findings, []);
        assert_eq!(found.partitions[1].length, 100 << 10);
        assert_eq!(found.partitions[1].flags, 1 << 60);
        assert_eq!(bytes[..440], [0x90; 440]);
        assert_eq!(le(&bytes, 458, 4), 2047);
        let told = |error: Error| error.to_string();
        assert_eq!(
            told(grown.grow(1, 9 << 10).unwrap_err()),
            "the partition `root-x86-64-0` cannot grow to 9216 bytes: the partition `root-x86-64-1` leaves it 8192"
        );
        assert_eq!(
            told(grown.grow(3, 2 << 20).unwrap_err()),
            "the partition `root-x86-64-1` cannot grow to 2097152 bytes: the end of the disk leaves it 1003008"
        );
        assert!(told(grown.grow(3, 8192).unwrap_err()).ends_with("it has 102400 bytes already"));
        assert_eq!(
            told(grown.set_length(64 << 10).unwrap_err()),
            "a disk of 65536 bytes is too short: the partition `root-x86-64-1` and the table after it end at byte 147968"
        );
    }

    #[test]
    fn an_image_that_was_made_longer_and_a_hybrid_mbr_are_told() {
        let table = table(1);
        let mut bytes = image(&table);
        bytes[446 + 16 + 4] = 0x0c;
        bytes.resize(bytes.len() + 4096, 0);
        let found = open(&bytes).unwrap().unwrap();
        let length = table.length;
        assert_eq!(found.findings, [Finding::Inside { length, image: length + 4096 }, Finding::Hybrid]);
        assert_eq!(found.head()[..512], bytes[..512]);
    }

    #[test]
    fn the_beginning_is_enough_for_a_table() {
        let table = table(2);
        let found = Table::of_head(&image(&table)[..HEAD]).unwrap().unwrap();
        assert_eq!(found.length, table.length);
        assert_eq!(image(&found), image(&table));
        assert!(Table::of_head(&[0; HEAD]).unwrap().is_none());
        let mut long = vec![0; HEAD];
        long[4096..][..8].copy_from_slice(b"EFI PART");
        assert!(matches!(
            Table::of_head(&long),
            Err(Error::Damaged("its sectors are longer than 512 bytes"))
        ));
    }

    #[test]
    fn partitions_that_overlap_are_refused() {
        let mut two = table(2);
        two.partitions[1].start -= 512;
        assert!(matches!(open(&image(&two)), Err(Error::Damaged("two partitions overlap"))));
        let mut early = table(1);
        early.partitions[0].start = 1024;
        assert!(matches!(open(&image(&early)), Err(Error::Damaged("a partition lies over the table"))));
    }

    /// The image with header fields that their checksums confirm, whatever they are.
    fn confirmed(mut bytes: Vec<u8>, changes: &[(usize, u64)]) -> Vec<u8> {
        for (at, value) in changes {
            bytes[512 + 24 + at % 700..][..8].copy_from_slice(&value.to_le_bytes());
        }
        let count = (le(&bytes, 512 + 80, 4) as usize).min(128);
        let entries = crc(&bytes[1024..1024 + count * ENTRY]);
        bytes[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
        bytes[512 + 16..512 + 20].fill(0);
        let checksum = crc(&bytes[512..512 + HEADER]);
        bytes[512 + 16..512 + 20].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_field_of_a_header_leads_astray(
            changes in proptest::collection::vec((0_usize..700, prop_oneof![any::<u64>(), 0_u64..300, Just(u64::MAX)]), 0..4),
            length in any::<u64>(),
        ) {
            let bytes = confirmed(image(&table(2)), &changes);
            let tables = [Table::of_head(&bytes[..HEAD]).ok().flatten(), open(&bytes).ok().flatten()];
            prop_assert!(!changes.is_empty() || tables.iter().all(Option::is_some));
            for mut table in tables.into_iter().flatten() {
                let ends: Vec<u64> = table.partitions.iter().map(Partition::end).collect();
                let _ = table.grow(1, length);
                let _ = table.set_length(length / 512 * 512);
                prop_assert_eq!(table.head().len() % 512, 0);
                prop_assert!(table.tail().len() as u64 <= 17_408);
                prop_assert!(ends.iter().all(|end| *end <= table.tail_start()));
            }
        }
    }

    #[test]
    fn guids_are_printed_as_uefi_spells_them() {
        let guid = Guid::of(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709);
        assert_eq!(guid.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    }
}
