//! PE32+ images (Microsoft's "PE Format", as UEFI uses it): appends sections, as when a unified kernel image is made of
//! a stub, a kernel and initrds.
//!
//! Owns headers and layout. Leaves the meaning of the sections to `output::uki`. Sections are streamed: an initrd of
//! hundreds of megabytes is never held in memory.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::base::arch::Arch;
use crate::base::error::{Advice, Exit};

/// Raised when the bytes change for the same input.
pub(crate) const REVISION: u32 = 1;

/// Largest image to which sections are appended, in bytes; a stub has about 100 KiB.
pub(crate) const MAX_IMAGE: usize = 16 << 20;
/// The Windows loader's limit.
const MAX_SECTIONS: usize = 96;
/// All headers of an image must end within this many bytes.
const MAX_HEADERS: u64 = 64 << 10;
/// Firmware allocates memory in pages of this size.
const PAGE: u64 = 4096;

/// Offsets from the signature `PE\0\0`: the COFF header has 20 bytes, and the optional header follows it.
mod offset {
    pub(crate) const MACHINE: usize = 4;
    pub(crate) const SECTION_COUNT: usize = 6;
    /// Position and length of the symbol table.
    pub(crate) const SYMBOLS: usize = 12;
    pub(crate) const OPTIONAL_SIZE: usize = 20;
    pub(crate) const OPTIONAL: usize = 24;
    pub(crate) const INITIALIZED_DATA: usize = OPTIONAL + 8;
    pub(crate) const SECTION_ALIGNMENT: usize = OPTIONAL + 32;
    pub(crate) const FILE_ALIGNMENT: usize = OPTIONAL + 36;
    pub(crate) const IMAGE_SIZE: usize = OPTIONAL + 56;
    pub(crate) const HEADERS_SIZE: usize = OPTIONAL + 60;
    pub(crate) const CHECKSUM: usize = OPTIONAL + 64;
    pub(crate) const SUBSYSTEM: usize = OPTIONAL + 68;
    pub(crate) const DIRECTORY_COUNT: usize = OPTIONAL + 108;
    /// The data directory's fifth entry: the position of a signature.
    pub(crate) const CERTIFICATES: usize = OPTIONAL + 112 + 4 * 8;
}
/// Shortest allowed optional header: up to the end of the entry for a signature.
const OPTIONAL_SIZE: usize = offset::CERTIFICATES + 8 - offset::OPTIONAL;
const OPTIONAL_MAGIC: u16 = 0x20b;
const EFI_APPLICATION: u16 = 10;
const SECTION_HEADER: usize = 40;
/// Initialised data, readable.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// Reasons why sections cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not an image to which sections can be appended.
    #[error("{subject} is not a UEFI program that sections can be added to: {why}")]
    Malformed {
        /// Path or name of the file, for the message.
        subject: String,
        /// The problem, in words.
        why: &'static str,
    },
    /// The image is for another architecture.
    #[error("{subject} is a UEFI program for another architecture than {arch}")]
    Machine {
        /// Path or name of the file, for the message.
        subject: String,
        /// The expected architecture.
        arch: Arch,
    },
    /// The result would be too large for 32-bit addresses.
    #[error("{subject} with its sections would be larger than 4 GiB")]
    TooLarge {
        /// Path or name of the file, for the message.
        subject: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Malformed { .. } | Error::Machine { .. } => {
                Some("systemd's stub is linuxx64.efi.stub or linuxaa64.efi.stub, in Debian's package systemd-boot-efi".into())
            }
            Error::TooLarge { .. } => Some("serve large sysexts and container images as assets".into()),
        }
    }
}

/// A section to append.
pub struct Section<'s> {
    /// At most eight bytes, such as `.linux`.
    pub name: &'static str,
    /// Length in bytes; not zero.
    pub size: u64,
    /// A reader of exactly `size` bytes.
    pub bytes: Box<dyn Read + 's>,
}

/// A UEFI program.
pub struct Image {
    subject: String,
    /// Headers and sections, without any data after them.
    bytes: Vec<u8>,
    /// Offset of `PE\0\0`.
    start: usize,
    /// Offset for the next section header.
    headers_end: usize,
    /// The first address after all sections.
    address: u64,
}

impl Image {
    /// Reads an image; `subject` names the file in errors.
    pub fn parse(subject: &str, bytes: Vec<u8>, arch: Arch) -> Result<Self, Error> {
        let malformed = |why| Error::Malformed { subject: subject.into(), why };
        let short = || malformed("it is cut off");
        if bytes.get(..2) != Some(b"MZ") {
            return Err(malformed("it does not begin with MZ"));
        }
        let start = u32_at(&bytes, 0x3c).ok_or_else(short)? as usize;
        let field = |at: usize| start.checked_add(at).ok_or_else(short);
        if bytes.get(start..field(4)?) != Some(b"PE\0\0") {
            return Err(malformed("it has no PE header"));
        }
        let short_at = |at| field(at).and_then(|at| u16_at(&bytes, at).ok_or_else(short));
        let long_at = |at| field(at).and_then(|at| u32_at(&bytes, at).ok_or_else(short));
        if short_at(offset::OPTIONAL)? != OPTIONAL_MAGIC || short_at(offset::SUBSYSTEM)? != EFI_APPLICATION {
            return Err(malformed("it is not a 64-bit UEFI application"));
        }
        if short_at(offset::MACHINE)? != machine(arch) {
            return Err(Error::Machine { subject: subject.into(), arch });
        }
        let optional = usize::from(short_at(offset::OPTIONAL_SIZE)?);
        if long_at(offset::DIRECTORY_COUNT)? < 5 || optional < OPTIONAL_SIZE {
            return Err(malformed("it has no place for a signature"));
        }
        for alignment in [offset::SECTION_ALIGNMENT, offset::FILE_ALIGNMENT] {
            let alignment = long_at(alignment)?;
            if !alignment.is_power_of_two() || u64::from(alignment) > 16 * PAGE {
                return Err(malformed("its alignment makes no sense"));
            }
        }
        let count = usize::from(short_at(offset::SECTION_COUNT)?);
        let table = field(offset::OPTIONAL + optional)?;
        let headers_end = table + count * SECTION_HEADER;
        if count == 0 || count > MAX_SECTIONS {
            return Err(malformed("it has no sections, or too many"));
        }
        let (mut file_end, mut address) = (long_at(offset::HEADERS_SIZE)? as usize, 0);
        for header in (table..headers_end).step_by(SECTION_HEADER) {
            let name = bytes.get(header..header + 8).ok_or_else(short)?;
            if name == b".linux\0\0" {
                return Err(malformed("it already contains a kernel"));
            }
            let long = |at: usize| u32_at(&bytes, header + at).ok_or_else(short);
            address = address.max(u64::from(long(12)?) + u64::from(long(8)?));
            file_end = file_end.max(long(20)?.saturating_add(long(16)?) as usize);
        }
        let mut bytes = bytes;
        if file_end > bytes.len() {
            return Err(short());
        }
        // A signature would follow, and would not be valid for the new image.
        bytes.truncate(file_end);
        Ok(Image { subject: subject.into(), bytes, start, headers_end, address })
    }

    /// Writes the image with these sections after its own, in this order.
    ///
    /// # Errors
    /// Errors of reading and writing; [`Error`] inside an [`io::Error`] for sections that do not fit.
    pub fn append(mut self, sections: Vec<Section<'_>>, out: &mut impl Write) -> io::Result<()> {
        let long = |bytes: &[u8], at| u64::from(u32_at(bytes, at).unwrap_or_default());
        let at = |field| self.start + field;
        let file_alignment = long(&self.bytes, at(offset::FILE_ALIGNMENT));
        let alignment = long(&self.bytes, at(offset::SECTION_ALIGNMENT)).max(PAGE);
        let end = long(&self.bytes, at(offset::HEADERS_SIZE)) as usize;
        if self.headers_end + sections.len() * SECTION_HEADER > end {
            let why = "its headers have no room for more sections";
            return Err(io::Error::other(Error::Malformed { subject: self.subject, why }));
        }
        let mut place = (self.bytes.len() as u64).next_multiple_of(file_alignment);
        self.bytes.resize(place as usize, 0);
        let mut data = 0;
        for (index, section) in sections.iter().enumerate() {
            let (address, raw) =
                (self.address.next_multiple_of(alignment), section.size.next_multiple_of(file_alignment));
            self.address = address + section.size;
            let too_large = || io::Error::other(Error::TooLarge { subject: self.subject.clone() });
            let word = |value: u64| u32::try_from(value).map(u32::to_le_bytes).map_err(|_| too_large());
            word(place + raw)?;
            let mut header = [0; SECTION_HEADER];
            let name = section.name.as_bytes();
            header[..name.len()].copy_from_slice(name);
            for (at, value) in [(8, section.size), (12, address), (16, raw), (20, place)] {
                header[at..at + 4].copy_from_slice(&word(value)?);
            }
            header[36..].copy_from_slice(&CHARACTERISTICS.to_le_bytes());
            let at = self.headers_end + index * SECTION_HEADER;
            self.bytes[at..at + SECTION_HEADER].copy_from_slice(&header);
            place += raw;
            data += raw;
        }
        let size = self.address.next_multiple_of(alignment);
        let data = data + long(&self.bytes, self.start + offset::INITIALIZED_DATA);
        let count = u16_at(&self.bytes, self.start + offset::SECTION_COUNT).unwrap_or_default();
        let count = count + sections.len() as u16;
        self.put(offset::SECTION_COUNT, &count.to_le_bytes());
        self.put(offset::INITIALIZED_DATA, &(data as u32).to_le_bytes());
        self.put(offset::IMAGE_SIZE, &(size as u32).to_le_bytes());
        // The debugger's symbol table was at the offset of the first new section.
        self.put(offset::SYMBOLS, &[0; 8]);
        // UEFI ignores the checksum, and zero means that there is none.
        self.put(offset::CHECKSUM, &[0; 4]);
        self.put(offset::CERTIFICATES, &[0; 8]);
        out.write_all(&self.bytes)?;
        for mut section in sections {
            let copied = io::copy(&mut section.bytes.by_ref().take(section.size), out)?;
            if copied != section.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let padding = section.size.next_multiple_of(file_alignment) - section.size;
            io::copy(&mut io::repeat(0).take(padding), out)?;
        }
        Ok(())
    }

    fn put(&mut self, field: usize, value: &[u8]) {
        let at = self.start + field;
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }
}

/// The content of a section, at most this many bytes; `None` if the file has no such section, or is not an image.
///
/// # Errors
/// Errors of reading.
pub fn section(image: &mut (impl Read + Seek), name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    image.seek(SeekFrom::Start(0))?;
    image.by_ref().take(MAX_HEADERS).read_to_end(&mut head)?;
    let found = || {
        let start = u32_at(&head, 0x3c)? as usize;
        (head.get(start..start.checked_add(4)?)? == b"PE\0\0").then_some(())?;
        let count = usize::from(u16_at(&head, start + offset::SECTION_COUNT)?).min(MAX_SECTIONS);
        let table = start + offset::OPTIONAL + usize::from(u16_at(&head, start + offset::OPTIONAL_SIZE)?);
        let headers = head.get(table..)?.chunks_exact(SECTION_HEADER).take(count);
        let is_meant = |header: &&[u8]| header[..8].iter().copied().take_while(|b| *b != 0).eq(name.bytes());
        let header = { headers }.find(is_meant)?;
        // A section's content may be shorter than its room in the file.
        let length = u32_at(header, 8)?.min(u32_at(header, 16)?);
        Some((u64::from(u32_at(header, 20)?), u64::from(length)))
    };
    let Some((at, length)) = found() else { return Ok(None) };
    let mut bytes = Vec::new();
    image.seek(SeekFrom::Start(at))?;
    image.take(length.min(most)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn machine(arch: Arch) -> u16 {
    match arch {
        Arch::Amd64 => 0x8664,
        Arch::Arm64 => 0xaa64,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one section of 16 bytes and room for more.
    pub(crate) fn program() -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x3c, &0x40u32.to_le_bytes());
        put(0x40, b"PE\0\0");
        put(0x40 + offset::MACHINE, &0x8664u16.to_le_bytes());
        put(0x40 + offset::SECTION_COUNT, &1u16.to_le_bytes());
        put(0x40 + offset::OPTIONAL_SIZE, &240u16.to_le_bytes());
        put(0x40 + offset::OPTIONAL, &OPTIONAL_MAGIC.to_le_bytes());
        put(0x40 + offset::SUBSYSTEM, &EFI_APPLICATION.to_le_bytes());
        put(0x40 + offset::SECTION_ALIGNMENT, &0x200u32.to_le_bytes());
        put(0x40 + offset::FILE_ALIGNMENT, &0x200u32.to_le_bytes());
        put(0x40 + offset::HEADERS_SIZE, &0x400u32.to_le_bytes());
        put(0x40 + offset::DIRECTORY_COUNT, &16u32.to_le_bytes());
        let header = 0x40 + offset::OPTIONAL + 240;
        put(header, b".text");
        for (at, value) in [(8, 16u32), (12, 0x1000), (16, 0x200), (20, 0x400)] {
            put(header + at, &value.to_le_bytes());
        }
        bytes
    }

    fn section(name: &'static str, bytes: &'static [u8]) -> Section<'static> {
        Section { name, size: bytes.len() as u64, bytes: Box::new(bytes) }
    }

    #[test]
    fn sections_lie_behind_each_other_in_file_and_memory() {
        let image = Image::parse("stub", program(), Arch::Amd64).unwrap();
        let mut out = Vec::new();
        image.append(vec![section(".cmdline", b"quiet"), section(".linux", &[7; 600])], &mut out).unwrap();
        assert_eq!(out.len(), 0x600 + 0x200 + 0x400);
        assert_eq!((&out[0x600..0x605], &out[0x800..0x803]), (&b"quiet"[..], &[7; 3][..]));
        let header = 0x40 + offset::OPTIONAL + 240 + 2 * SECTION_HEADER;
        let fields = [8, 12, 16, 20].map(|at| u32_at(&out, header + at).unwrap());
        assert_eq!(fields, [600, 0x3000, 0x400, 0x800]);
        assert_eq!(u32_at(&out, 0x40 + offset::IMAGE_SIZE), Some(0x4000));
        // The result is an image again, and one that already has a kernel.
        let again = Image::parse("uki", out, Arch::Amd64).err().unwrap().to_string();
        assert!(again.ends_with("it already contains a kernel"), "{again}");
    }

    #[test]
    fn a_section_that_ends_early_is_an_error() {
        let image = Image::parse("stub", program(), Arch::Amd64).unwrap();
        let short = Section { name: ".linux", size: 10, bytes: Box::new(&b"abc"[..]) };
        assert!(image.append(vec![short], &mut Vec::new()).is_err());
    }

    #[test]
    fn no_more_sections_than_the_headers_hold_and_none_beyond_four_gib() {
        let append = |sections| {
            Image::parse("stub", program(), Arch::Amd64).unwrap().append(sections, &mut io::sink())
        };
        let many = (0..40).map(|_| section(".a", b"x")).collect();
        assert!(append(many).unwrap_err().to_string().contains("no room"));
        let huge = Section { name: ".linux", size: 5 << 30, bytes: Box::new(io::repeat(0)) };
        assert!(append(vec![huge]).unwrap_err().to_string().contains("larger than 4 GiB"));
    }

    /// Found by the fuzz target `program`: fields were written beyond the end of a program with a short optional
    /// header.
    #[test]
    fn a_program_whose_optional_header_has_no_room_for_its_fields_is_refused() {
        for size in [0u16, 112, OPTIONAL_SIZE as u16 - 1] {
            let mut bytes = program();
            bytes.copy_within(0x40 + offset::OPTIONAL + 240.., 0x40 + offset::OPTIONAL + usize::from(size));
            let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
            put(0x40 + offset::OPTIONAL_SIZE, &size.to_le_bytes());
            put(0x40 + offset::OPTIONAL, &OPTIONAL_MAGIC.to_le_bytes());
            put(0x40 + offset::SUBSYSTEM, &EFI_APPLICATION.to_le_bytes());
            put(0x40 + offset::DIRECTORY_COUNT, &16u32.to_le_bytes());
            let refused = Image::parse("stub", bytes, Arch::Amd64).err().map(|error| error.to_string());
            assert!(refused.is_some_and(|why| why.contains("no place for a signature")), "{size}");
        }
    }

    #[test]
    fn a_program_for_other_machines_is_refused() {
        assert!(matches!(Image::parse("stub", program(), Arch::Arm64), Err(Error::Machine { .. })));
    }

    proptest::proptest! {
        #[test]
        fn damaged_programs_are_refused_or_stay_programs(
            changes in proptest::collection::vec((0..0x600usize, proptest::prelude::any::<u8>()), 1..20),
            length in 0..0x600usize,
        ) {
            let mut bytes = program();
            for (at, value) in changes {
                bytes[at] = value;
            }
            bytes.truncate(0x600 - length);
            if let Ok(image) = Image::parse("stub", bytes, Arch::Amd64) {
                let _ = image.append(vec![section(".cmdline", b"quiet")], &mut io::sink());
            }
        }
    }
}
