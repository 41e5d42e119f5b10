//! Directories in the directory table: runs of entries whose inodes are close to each other, and an index of the runs,
//! so that a kernel need not decompress the whole of a large directory.

use std::io;
use std::ops::Range;

use super::Fault;
use super::fields::Fields;
use super::inode::Dir;
use super::layout::{METADATA, Position};
use super::metadata::{Table, Writer};

/// Most entries in a run.
const RUN: usize = 256;
/// Bytes of an entry before its name.
const ENTRY: usize = 8;
/// Longest name.
const MAX_NAME: usize = 256;

/// An entry to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'n> {
    /// The name in the directory, without a slash.
    pub name: &'n [u8],
    /// Position of its inode.
    pub inode: Position,
    /// Number of the inode.
    pub number: u32,
    /// The basic form of the inode (`inode::form`).
    pub form: u16,
}

/// Location of a written directory.
pub(crate) struct Written {
    /// Position of its first byte.
    pub at: Position,
    /// Length in bytes.
    pub length: u32,
    /// Its index, encoded.
    pub index: Vec<u8>,
    /// Number of entries in the index.
    pub indexed: u16,
}

/// Writes the entries of one directory, which are sorted by name.
pub fn write(mut entries: &[Entry<'_>], table: &mut Writer<'_>) -> io::Result<Written> {
    let mut written = Written { at: table.position(), length: 0, index: Vec::new(), indexed: 0 };
    let mut last_indexed = written.at.block;
    while let Some(first) = entries.first() {
        let at = table.position();
        let length = run_length(entries, at);
        let (run, rest) = entries.split_at(length);
        if at.block != last_indexed && written.indexed < u16::MAX {
            for number in [written.length, at.block, first.name.len() as u32 - 1] {
                written.index.extend(number.to_le_bytes());
            }
            written.index.extend(first.name);
            written.indexed += 1;
            last_indexed = at.block;
        }
        let mut bytes = Vec::with_capacity(length * 32);
        for number in [length as u32 - 1, first.inode.block, first.number] {
            bytes.extend(number.to_le_bytes());
        }
        for entry in run {
            let difference = entry.number.wrapping_sub(first.number) as u16;
            for number in [entry.inode.offset, difference, entry.form, entry.name.len() as u16 - 1] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(entry.name);
        }
        table.write(&bytes)?;
        written.length += bytes.len() as u32;
        entries = rest;
    }
    Ok(written)
}

/// The number of entries that fit into one run: their inodes in one metadata block, numbers within 16 bits, and
/// starting within one metadata block, so that the index can name each block.
fn run_length(entries: &[Entry<'_>], at: Position) -> usize {
    let first = &entries[0];
    let mut end = usize::from(at.offset) + 3 * 4;
    let fits = |entry: &Entry<'_>| {
        let difference = i64::from(entry.number) - i64::from(first.number);
        let near = entry.inode.block == first.inode.block && i16::try_from(difference).is_ok();
        let here = end < METADATA;
        end += ENTRY + entry.name.len();
        near && here
    };
    entries[1..].iter().take(RUN - 1).map(fits).take_while(|fits| *fits).count() + 1
}

/// An entry that was read.
pub(crate) struct Found {
    /// Range of its name in the table.
    pub name: Range<usize>,
    /// Position of its inode.
    pub inode: Position,
    /// The basic form of the inode (`inode::form`).
    pub form: u16,
}

/// Reads the entries of a directory, at most `most`. They must be sorted, as the kernel's lookup requires, which also
/// means that no name occurs twice; each name must be valid in a directory.
pub(crate) fn read(table: &Table, dir: &Dir<'_>, most: usize) -> Result<Vec<Found>, Fault> {
    let mut entries: Vec<Found> = Vec::new();
    if dir.length == 0 {
        return Ok(entries);
    }
    let start = table.find(dir.at)?;
    let end = start + Fields(&table.bytes[start..]).bytes(dir.length as usize)?.len();
    let mut fields = Fields(&table.bytes[start..end]);
    while !fields.0.is_empty() {
        let [count, block, _] = [fields.u32()?, fields.u32()?, fields.u32()?];
        if count as usize >= RUN {
            return Err(Fault::Damaged("a directory has a run of too many entries"));
        }
        for _ in 0..=count {
            let [offset, _, form] = [fields.u16()?, fields.u16()?, fields.u16()?];
            let length = usize::from(fields.u16()?) + 1;
            let start = end - fields.0.len();
            let name = fields.bytes(length)?;
            if length > MAX_NAME || matches!(name, b"." | b"..") || name.contains(&b'/') || name.contains(&0)
            {
                return Err(Fault::Damaged("it has an invalid file name"));
            }
            if entries.last().is_some_and(|last| &table.bytes[last.name.clone()] >= name) {
                return Err(Fault::Damaged("a directory is not sorted"));
            }
            if entries.len() == most {
                return Err(Fault::Limit { what: "the number of its entries".into(), limit: most as u64 });
            }
            entries.push(Found { name: start..start + length, inode: Position { block, offset }, form });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::squashfs::Options;
    use crate::format::squashfs::codec::Encoder;
    use crate::format::squashfs::inode::form;

    #[test]
    fn runs_end_where_the_format_wants_them_to() {
        let at = Position { block: 0, offset: 0 };
        let entry =
            |block, number| Entry { name: b"n", inode: Position { block, offset: 0 }, number, form: 1 };
        let many = vec![entry(0, 1); 300];
        assert_eq!(run_length(&many, at), RUN);
        assert_eq!(run_length(&[entry(0, 1), entry(9, 1)], at), 1, "another block of inodes");
        assert_eq!(run_length(&[entry(0, 1), entry(0, 32768), entry(0, 32769)], at), 2, "too far away");
        assert_eq!(run_length(&[entry(0, 40000), entry(0, 7232), entry(0, 7231)], at), 2, "too far back");
        let near_the_end = Position { block: 0, offset: (METADATA - 22) as u16 };
        assert_eq!(run_length(&many, near_the_end), 3, "the next block of the table");
    }

    #[test]
    fn a_large_directory_has_an_index_entry_for_each_block_it_reaches() {
        let names: Vec<String> = (0..2000).map(|number| format!("a-name-{number:05}")).collect();
        let inode = Position::default();
        let entries: Vec<Entry<'_>> = names
            .iter()
            .map(|name| Entry { name: name.as_bytes(), inode, number: 1, form: form::FILE })
            .collect();
        let mut encoder = Encoder::new(Options::default()).unwrap();
        let mut table = Writer::new(&mut encoder);
        let written = write(&entries, &mut table).unwrap();
        assert_eq!(usize::from(written.indexed), written.length as usize / METADATA);
        let first = u32::from_le_bytes(written.index[..4].try_into().unwrap()) as usize;
        assert!((METADATA..METADATA + 64).contains(&first), "{first}");
        assert_eq!(written.index[12..][..7], *b"a-name-");
    }
}
