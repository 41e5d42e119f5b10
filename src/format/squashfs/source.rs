//! The bytes of an image to be read: a whole file, or a part of one such as a partition of a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Fault;

/// A window of a file.
pub(crate) struct Source {
    file: File,
    offset: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Source {
    /// A part of a file; an error if the file is shorter.
    pub(crate) fn new(file: File, offset: u64, length: u64) -> Result<Self, Fault> {
        let end = file.metadata().map_err(Fault::Io)?.len();
        match offset.checked_add(length) {
            Some(needed) if needed <= end => Ok(Source { file, offset, length }),
            _ => Err(Fault::Foreign("it is cut off")),
        }
    }

    /// Reads bytes at a position in the image. The caller limits the length.
    pub(crate) fn read(&self, at: u64, length: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(Fault::Damaged("a block lies outside of it"));
        }
        into.resize(length, 0);
        self.file.read_exact_at(into, self.offset + at).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Damaged("it became shorter"),
            _ => Fault::Io(source),
        })
    }
}
