//! The seal: a small plain archive at the end of a joined initrd that identifies its base.
//!
//! Its length is fixed, so the last bytes of a file tell at once whether it was injected into, where the base ends and
//! which digest it has; nothing is unpacked. To the kernel it is one more archive with one small file, outside the
//! directory that Flatcar reads (`usr/share/oem`), and it goes away with the initramfs.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::Error;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::format::cpio;
use crate::format::cpio::padding::padding;
use crate::format::tree::{Contents, Entry, PLAIN, Tree};

/// Path of the record in the initramfs.
const PATH: &str = "usr/share/prebake/injection";
/// First line of a record; its number changes with the meaning.
const TITLE: &str = "prebake injection 1\n";

/// Content of a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Length of the base in bytes.
    pub base_length: u64,
    /// SHA-256 of the base.
    pub base_sha256: Sha256,
    /// Length of the overlay in bytes, a multiple of four.
    pub overlay_length: u64,
}

impl Seal {
    /// Offset of the overlay: after the base and its padding.
    pub fn overlay_offset(&self) -> u64 {
        self.base_length + padding(self.base_length)
    }

    /// Length of the whole file, in bytes.
    pub fn file_length(&self) -> u64 {
        self.overlay_offset() + self.overlay_length + length()
    }

    /// The bytes of the seal's archive.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Cannot fail: the name and the file are short, the time is early, and the target is memory.
        let _ = cpio::write(&tree(self.record()), 0, &mut bytes);
        bytes
    }

    /// Numbers have a fixed width, so that the seal has a fixed length.
    fn record(&self) -> String {
        let Seal { base_length, base_sha256, overlay_length } = self;
        format!(
            "{TITLE}base_length {base_length:020}\nbase_sha256 {base_sha256}\noverlay_length {overlay_length:020}\n"
        )
    }

    fn parse(record: &str) -> Option<Seal> {
        let mut lines = record.strip_prefix(TITLE)?.lines();
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        Some(Seal {
            base_length: value("base_length")?.parse().ok()?,
            base_sha256: value("base_sha256")?.parse().ok()?,
            overlay_length: value("overlay_length")?.parse().ok()?,
        })
    }

    /// Reads a seal from its bytes; `None` if they are not exactly one.
    fn of_bytes(bytes: &[u8]) -> Option<Seal> {
        let start = bytes.windows(TITLE.len()).position(|window| window == TITLE.as_bytes())?;
        let end = start + nothing().record().len();
        let seal = Seal::parse(std::str::from_utf8(bytes.get(start..end)?).ok()?)?;
        (seal.to_bytes() == bytes).then_some(seal)
    }

    /// The seal at the end of a file of `size` bytes, regardless of the bytes before it.
    pub(crate) fn at_end(file: &mut (impl Read + Seek), size: u64) -> io::Result<Option<Seal>> {
        let Some(start) = size.checked_sub(length()) else { return Ok(None) };
        let mut bytes = vec![0; length() as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        Ok(Seal::of_bytes(&bytes))
    }

    /// Reads the seal at the end of a file of `size` bytes: [`length()`] bytes and no more. `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Lengths`] if the file is longer or shorter than its seal says.
    pub(crate) fn read(path: &Path, file: &mut (impl Read + Seek), size: u64) -> Result<Option<Seal>, Error> {
        let seal = Seal::at_end(file, size).map_err(disk::Error::io("read", path))?;
        let Some(seal) = seal else { return Ok(None) };
        match seal.file_length() {
            length if length == size => Ok(Some(seal)),
            recorded => Err(Error::Lengths { path: path.into(), recorded, size }),
        }
    }
}

fn nothing() -> Seal {
    Seal { base_length: 0, base_sha256: Sha256::from([0; 32]), overlay_length: 0 }
}

fn tree(record: String) -> Tree {
    let mut tree = Tree::new();
    let entry = Entry::file(PLAIN, Contents::Bytes(record.into_bytes()), "prebake");
    // The path is a constant, and the tree is empty.
    let _ = tree.insert(PATH, entry);
    tree
}

/// Length of every seal in bytes.
pub(crate) fn length() -> u64 {
    cpio::length(&tree(nothing().record())).unwrap_or_default()
}

/// Searches for a seal in the bytes written to it, wherever it is in the file.
pub(crate) struct Search {
    /// The bytes that every seal begins with, up to the first number.
    prefix: Vec<u8>,
    finder: memchr::memmem::Finder<'static>,
    /// The end of the previous bytes, shorter than the prefix.
    tail: Vec<u8>,
    /// Number of bytes so far.
    seen: u64,
    /// Offset of the last seal found.
    found: Option<u64>,
}

impl Default for Search {
    fn default() -> Self {
        let bytes = nothing().to_bytes();
        let end = bytes.windows(TITLE.len()).position(|window| window == TITLE.as_bytes());
        let prefix = bytes[..end.map_or(0, |end| end + TITLE.len())].to_vec();
        let finder = memchr::memmem::Finder::new(&prefix).into_owned();
        Search { prefix, finder, tail: Vec::new(), seen: 0, found: None }
    }
}

impl Search {
    /// End of the last seal, if there is one.
    pub(crate) fn end(&self) -> Option<u64> {
        self.found.map(|start| start + length())
    }

    fn note(&mut self, at: Option<usize>, start: u64) {
        if let Some(at) = at {
            self.found = Some(start + at as u64);
        }
    }
}

impl Write for Search {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let overlap = self.prefix.len() - 1;
        // Search across the boundary first: the last seal found is the one that counts.
        let mut seam = std::mem::take(&mut self.tail);
        let seam_start = self.seen - seam.len() as u64;
        seam.extend_from_slice(&buffer[..buffer.len().min(overlap)]);
        self.note(self.finder.find(&seam), seam_start);
        self.note(self.finder.find_iter(buffer).last(), self.seen);
        self.tail = match buffer.len() >= overlap {
            true => buffer[buffer.len() - overlap..].to_vec(),
            false => seam[seam.len().saturating_sub(overlap)..].to_vec(),
        };
        self.seen += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn seal() -> Seal {
        Seal { base_length: 7, base_sha256: Sha256::of(b"base"), overlay_length: 124 }
    }

    #[test]
    fn a_seal_is_read_off_the_end_of_a_file_and_nothing_else_is_read() {
        let seal = seal();
        let mut file = vec![0; seal.overlay_offset() as usize + 124];
        file.extend(seal.to_bytes());
        assert_eq!(file.len() as u64, seal.file_length());
        let read = |bytes: &[u8]| Seal::read("x".as_ref(), &mut Cursor::new(bytes), bytes.len() as u64);
        assert_eq!(read(&file).unwrap(), Some(seal));
        assert_eq!(read(&file[..file.len() - 4]).unwrap(), None);
        assert_eq!(read(b"short").unwrap(), None);
        let Err(Error::Lengths { recorded, size, .. }) = read(&file[4..]) else { panic!() };
        assert_eq!((recorded, size), (seal.file_length(), seal.file_length() - 4));
    }

    #[test]
    fn a_seal_is_found_wherever_the_pieces_of_a_file_are_cut() {
        let mut file = b"something before".to_vec();
        file.extend(seal().to_bytes());
        let end = file.len() as u64;
        file.extend(b"something behind");
        for piece in [1, 3, 100, 500, 4096] {
            let mut search = Search::default();
            file.chunks(piece).for_each(|chunk| search.write_all(chunk).unwrap());
            assert_eq!(search.end(), Some(end), "{piece}");
        }
        let mut search = Search::default();
        search.write_all(&file[end as usize..]).unwrap();
        assert_eq!(search.end(), None);
    }

    proptest::proptest! {
        #[test]
        fn a_seal_with_another_byte_is_none_or_another(at in 0usize..700, byte: u8) {
            let mut bytes = seal().to_bytes();
            let at = at % bytes.len();
            let before = std::mem::replace(&mut bytes[at], byte);
            let read = Seal::of_bytes(&bytes);
            assert_eq!(read == Some(seal()), byte == before, "{read:?}");
        }
    }
}
