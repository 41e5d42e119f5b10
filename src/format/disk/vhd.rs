//! Fixed VHDs, which Azure and Hyper-V take: the disk itself and a footer.
//!
//! Owns the footer, after Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0. Leaves the disk's
//! length to the caller: Azure takes whole MiB only, see [`rounded`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Error, Format, check_end};
use crate::format::sparse::{Sink, Sparse};

/// Part of step keys; raised when the bytes for the same disk change.
pub(crate) const REVISION: u32 = 1;

/// Length of the footer, and of a sector, in bytes.
pub(crate) const FOOTER: u64 = 512;
/// The unit of the length of Azure's disks, in bytes.
const AZURE: u64 = 1 << 20;
/// The program that made the image. QEMU believes a footer's length instead of its geometry, which is shorter than the
/// disk, only from certain programs, of which this is itself (`block/vpc.c`).
const CREATOR: [u8; 4] = *b"qem2";

/// The next length that Azure takes, in bytes.
pub fn rounded(length: u64) -> u64 {
    length.next_multiple_of(AZURE)
}

/// Writes an image of a disk that is handed to it front to back.
#[derive(Debug)]
pub struct Writer {
    out: File,
    at: u64,
    length: u64,
    identity: [u8; 16],
}

impl Writer {
    /// Begins an image of `length` bytes, a multiple of 512. The file is emptied. `identity` becomes the disk's UUID.
    ///
    /// # Errors
    /// The length is no multiple of 512, or the file cannot be written.
    pub fn new(out: File, length: u64, identity: [u8; 16]) -> io::Result<Self> {
        if !length.is_multiple_of(FOOTER) {
            let why = format!("its length of {length} bytes is no multiple of {FOOTER}");
            return Err(Error::Unfit { format: Format::Vhd, why }.into());
        }
        out.set_len(0)?;
        Ok(Writer { out, at: 0, length, identity })
    }

    /// Ends the image. The disk must be complete.
    ///
    /// # Errors
    /// The disk is shorter than announced, or the file cannot be written.
    pub fn finish(self) -> io::Result<()> {
        check_end(self.at, self.length)?;
        self.out.write_all_at(&footer(self.length, self.identity), self.length)
    }

    /// The file at the present place.
    fn sink(&self) -> io::Result<Sparse<'_>> {
        Sparse::over(&self.out, self.at)
    }
}

impl Sink for Writer {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink()?.data(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.at = self.at.saturating_add(length);
        Ok(())
    }
}

/// The footer. Its time is 0, the beginning of 2000, so that it repeats.
fn footer(length: u64, identity: [u8; 16]) -> Vec<u8> {
    let (cylinders, heads, sectors) = geometry(length);
    let mut footer = Vec::with_capacity(FOOTER as usize);
    footer.extend(b"conectix");
    footer.extend(2_u32.to_be_bytes()); // reserved, always set
    footer.extend(0x0001_0000_u32.to_be_bytes());
    footer.extend(u64::MAX.to_be_bytes()); // no dynamic header
    footer.extend([0; 4]);
    footer.extend(CREATOR);
    footer.extend(0x0001_0000_u32.to_be_bytes());
    footer.extend(b"Wi2k");
    footer.extend(length.to_be_bytes());
    footer.extend(length.to_be_bytes());
    footer.extend(cylinders.to_be_bytes());
    footer.extend([heads, sectors]);
    footer.extend(2_u32.to_be_bytes()); // fixed
    footer.extend([0; 4]);
    footer.extend(identity);
    footer.resize(FOOTER as usize, 0);
    let sum = checksum(&footer);
    footer[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    footer
}

/// Place of the checksum in a footer.
const CHECKSUM: std::ops::Range<usize> = 64..68;

/// The complement of the sum of all bytes but the checksum's.
fn checksum(footer: &[u8]) -> u32 {
    let (before, after) = (&footer[..CHECKSUM.start], &footer[CHECKSUM.end..]);
    !before.iter().chain(after).map(|byte| u32::from(*byte)).sum::<u32>()
}

/// Cylinders, heads and sectors by the specification's appendix. They describe at most the disk, and 127 GiB.
fn geometry(length: u64) -> (u16, u8, u8) {
    let total = (length / FOOTER).min(65535 * 16 * 255);
    let (mut heads, mut sectors, mut tracks) = (16, 255, total / 255);
    if total < 65535 * 16 * 63 {
        (sectors, tracks) = (17, total / 17);
        heads = tracks.div_ceil(1024).max(4);
        if tracks >= heads * 1024 || heads > 16 {
            (heads, sectors, tracks) = (16, 31, total / 31);
        }
        if tracks >= heads * 1024 {
            (sectors, tracks) = (63, total / 63);
        }
    }
    ((tracks / heads) as u16, heads as u8, sectors as u8)
}

/// Length of the disk in the fixed VHD `name`, which has `file_length` bytes.
///
/// # Errors
/// The file cannot be read, or its footer is not that of an intact fixed VHD.
pub fn length(file: &File, file_length: u64, name: &str) -> Result<u64, Error> {
    let mut bytes = [0; FOOTER as usize];
    let disk = file_length.checked_sub(FOOTER);
    if let Some(at) = disk {
        file.read_exact_at(&mut bytes, at).map_err(|error| Error::read(name, error))?;
    }
    let why = match parse(&bytes) {
        Ok(length) if disk.is_some_and(|disk| length <= disk) => return Ok(length),
        Ok(length) => format!("its footer tells of {length} bytes, which the file has not"),
        Err(why) => why.to_owned(),
    };
    Err(Error::Damaged { subject: name.to_owned(), why })
}

/// The last bytes of an image that comes as a stream, which may be a footer.
#[derive(Debug, Default)]
pub(crate) struct Ending(Vec<u8>);

impl Ending {
    /// Looks at bytes that come by.
    pub(crate) fn data(&mut self, bytes: &[u8]) {
        let footer = FOOTER as usize;
        self.0.extend_from_slice(bytes.get(bytes.len().saturating_sub(footer)..).unwrap_or_default());
        self.0.drain(..self.0.len().saturating_sub(footer));
    }

    /// Looks at zeros that come by.
    pub(crate) fn zeros(&mut self, length: u64) {
        self.data(&[0; FOOTER as usize][..length.min(FOOTER) as usize]);
    }

    /// Length of the disk in a fixed VHD of `length` bytes that ends so; `None` if this is no footer of such a disk.
    pub(crate) fn disk(&self, length: u64) -> Option<u64> {
        let footer: &[u8; FOOTER as usize] = self.0.as_slice().try_into().ok()?;
        let disk = parse(footer).ok()?;
        (length.checked_sub(FOOTER)? == disk).then_some(disk)
    }
}

/// Reads a footer: the disk's length in bytes, or the problem in words.
fn parse(footer: &[u8; FOOTER as usize]) -> Result<u64, &'static str> {
    let number = |range: std::ops::Range<usize>| {
        footer[range].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
    };
    if !footer.starts_with(b"conectix") {
        return Err("it has no VHD footer");
    }
    if number(CHECKSUM) != u64::from(checksum(footer)) {
        return Err("the checksum of its footer is wrong");
    }
    if number(60..64) != 2 {
        return Err("it is a VHD of dynamic length");
    }
    Ok(number(48..56))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_of_a_footer_does_not_pass_its_checksum() {
        let footer: [u8; 512] = footer(3 << 20, [7; 16]).try_into().unwrap();
        assert_eq!(parse(&footer), Ok(3 << 20));
        for at in 0..footer.len() {
            let mut changed = footer;
            changed[at] ^= 1;
            assert!(parse(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn geometries_are_those_of_the_specification() {
        // Of 1 and 128 MiB, 8 and 200 GiB: computed by QEMU 7.2, `calculate_geometry`.
        for (length, expected) in [
            (1 << 20, (30, 4, 17)),
            (128 << 20, (963, 16, 17)),
            (8 << 30, (16644, 16, 63)),
            (200 << 30, (65535, 16, 255)),
        ] {
            assert_eq!(geometry(length), expected, "{length} bytes");
        }
    }
}
