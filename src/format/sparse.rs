//! Disk images as streams of data and zeros.
//!
//! Owns the interface [`Sink`] by which decoders hand an image to those who write it, and what needs no knowledge of
//! any container: a file with holes, written or read; a copy to several sinks; a digest on the way. Leaves the
//! containers to `disk`, and compressed streams to their decoders.
//!
//! Most of a disk image is zeros. They travel as numbers, so that neither a decoder, nor an encoder, nor a file system
//! has to touch them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Shortest run of zeros that [`runs`] tells from data, in bytes: the block of most file systems.
pub(crate) const RUN: usize = 4096;
/// Zeros for those who need them as bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Bytes that are read from a file at once: enough to make a system call cheap, and little memory.
const READ: usize = 1 << 20;
/// Most bytes that the kernel is asked to copy at once.
const KERNEL: usize = 1 << 30;

/// A disk image that is written front to back.
pub trait Sink {
    /// The next bytes.
    fn data(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// The next `length` bytes, which are zeros.
    fn zeros(&mut self, length: u64) -> std::io::Result<()>;
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        (**self).zeros(length)
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        (**self).zeros(length)
    }
}

/// Zeros as slices of at most 64 KiB, `length` bytes in all.
pub(crate) fn zero_slices(length: u64) -> impl Iterator<Item = &'static [u8]> {
    let full = std::iter::repeat_n(&ZEROS[..], (length / ZEROS.len() as u64) as usize);
    let rest = (length % ZEROS.len() as u64) as usize;
    full.chain((rest > 0).then(|| &ZEROS[..rest]))
}

/// Whether all bytes are zeros; no bytes are. The first is, and each other equals the one before: one `memcmp`, which
/// stops at the first difference and is fast without optimisation, too.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && *rest == bytes[..bytes.len() - 1],
    }
}

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run<'a> {
    /// Bytes, some of which may be zeros.
    Data(&'a [u8]),
    /// That many zeros.
    Zeros(usize),
}

/// Splits the bytes at offset `at` of a stream into data and zeros. Zeros are whole blocks of [`RUN`] bytes on the grid
/// of the stream, as file systems lay out their holes; neighbours of one kind are one run.
pub(crate) fn runs(mut at: u64, bytes: &[u8]) -> impl Iterator<Item = Run<'_>> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let (zero, mut length) = block(at, left)?;
        while let Some((_, more)) =
            block(at + length as u64, &left[length..]).filter(|(same, _)| *same == zero)
        {
            length += more;
        }
        let (run, rest) = left.split_at(length);
        (left, at) = (rest, at + length as u64);
        Some(if zero { Run::Zeros(length) } else { Run::Data(run) })
    })
}

/// The first block of the bytes at offset `at`, up to the grid's next line: whether it is a whole one of zeros, and its
/// length. `None` if there are no bytes.
fn block(at: u64, bytes: &[u8]) -> Option<(bool, usize)> {
    let length = (RUN - (at % RUN as u64) as usize).min(bytes.len());
    (length > 0).then(|| (length == RUN && is_zero(&bytes[..length]), length))
}

/// How a [`Sparse`] makes zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zeroing {
    /// By leaving them out: there was nothing before.
    Skip,
    /// By deallocating what was there, as a hole in a file or a discard of a device that reads as zeros (fallocate(2)).
    Punch,
    /// By writing them.
    Write,
}

/// Writes an image into a file or device, zeros as holes.
#[derive(Debug)]
pub struct Sparse<'a> {
    file: &'a File,
    at: u64,
    /// Where what was there before ends: zeros beyond need not be made.
    old: u64,
    zeroing: Zeroing,
    is_device: bool,
}

impl<'a> Sparse<'a> {
    /// Writes all of a file, or a block device from its beginning. A file is emptied first.
    ///
    /// # Errors
    /// The file cannot be emptied.
    pub fn create(file: &'a File) -> io::Result<Self> {
        let is_device = file.metadata()?.file_type().is_block_device();
        if !is_device {
            file.set_len(0)?;
        }
        Self::over(file, 0)
    }

    /// Overwrites what a file or block device holds from offset `start` on, and leaves what lies before and after.
    ///
    /// # Errors
    /// The file's length is unknown.
    pub fn over(file: &'a File, start: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let is_device = metadata.file_type().is_block_device();
        // The length of a device in its metadata is 0.
        let old = if is_device { u64::MAX } else { metadata.len() };
        let zeroing = if old == 0 { Zeroing::Skip } else { Zeroing::Punch };
        Ok(Sparse { file, at: start, old, zeroing, is_device })
    }

    /// Ends the image: a file is at least as long as what was written, zeros at its end included. Returns the offset
    /// where the image ends.
    ///
    /// # Errors
    /// The file cannot be made longer.
    pub fn finish(self) -> io::Result<u64> {
        if !self.is_device && self.file.metadata()?.len() < self.at {
            self.file.set_len(self.at)?;
        }
        Ok(self.at)
    }

    /// Makes `length` zeros at the present offset, where something else may be.
    fn clear(&mut self, length: u64) -> io::Result<()> {
        if self.zeroing == Zeroing::Punch {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(self.file, flags, self.at, length) {
                Ok(()) => return Ok(()),
                // A device refuses a range that does not consist of sectors.
                Err(Errno::INVAL) => {}
                // The file system or the device cannot.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => self.zeroing = Zeroing::Write,
                Err(error) => return Err(error.into()),
            }
        }
        let mut at = self.at;
        for zeros in zero_slices(length) {
            self.file.write_all_at(zeros, at)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }
}

impl Sink for Sparse<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        for run in runs(self.at, bytes) {
            match run {
                Run::Data(bytes) => {
                    self.file.write_all_at(bytes, self.at)?;
                    self.at += bytes.len() as u64;
                }
                Run::Zeros(length) => self.zeros(length as u64)?,
            }
        }
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        let end = self.at.checked_add(length).ok_or_else(too_long)?;
        let covered = end.min(self.old).saturating_sub(self.at);
        if self.zeroing != Zeroing::Skip && covered > 0 {
            self.clear(covered)?;
        }
        self.at = end;
        Ok(())
    }
}

/// The error for an image whose end is beyond 2^64.
fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the image is longer than offsets of 64 bits reach")
}

/// Pours a range of a file into a sink; its holes are not read. A file that ends before the range does is an error.
///
/// # Errors
/// The file cannot be read, is too short, or the sink fails.
pub fn pour(file: &File, range: Range<u64>, sink: &mut dyn Sink) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let data = next_data(file, at..range.end)?;
        if data.start > at {
            sink.zeros(data.start - at)?;
        }
        at = data.start;
        while at < data.end {
            buffer.resize((data.end - at).min(READ as u64) as usize, 0);
            file.read_exact_at(&mut buffer, at)?;
            sink.data(&buffer)?;
            at += buffer.len() as u64;
        }
    }
    Ok(())
}

/// The first data in a range of a file, between holes; an empty range at its end if there is none.
///
/// # Errors
/// The file's length is unknown.
pub(crate) fn next_data(file: &File, range: Range<u64>) -> io::Result<Range<u64>> {
    let Range { start: at, end } = range;
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.clamp(at, end),
        // Nothing but a hole follows, or the file ends here.
        Err(Errno::NXIO) if file.metadata()?.len() >= end => end,
        // A device or file system without holes: all is data.
        Err(_) => at,
    };
    let hole = rustix::fs::seek(file, SeekFrom::Hole(data)).unwrap_or(end).clamp(data, end);
    // A hole that begins here can only be the file's end, or a file that changes meanwhile: reading tells.
    Ok(data..if hole > data { hole } else { end })
}

/// Copies `length` bytes between files, each at its offset, inside of the kernel where that is possible: file systems with
/// shared extents then copy nothing.
///
/// # Errors
/// The one cannot be read or is too short, or the other not be written.
pub(crate) fn copy_range(
    from: &File,
    mut at: u64,
    to: &File,
    mut new: u64,
    mut length: u64,
) -> io::Result<()> {
    while length > 0 {
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(KERNEL);
        match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut new), most) {
            // Offsets have moved on.
            Ok(copied) if copied > 0 => length -= copied as u64,
            // Another file system, an old kernel, or a device.
            _ => break,
        }
    }
    let mut buffer = Vec::new();
    while length > 0 {
        buffer.resize(length.min(READ as u64) as usize, 0);
        from.read_exact_at(&mut buffer, at)?;
        to.write_all_at(&buffer, new)?;
        let copied = buffer.len() as u64;
        (at, new, length) = (at + copied, new + copied, length - copied);
    }
    Ok(())
}

/// Hands an image on to several sinks, one after the other.
pub struct Tee<'a>(pub Vec<&'a mut dyn Sink>);

impl Sink for Tee<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.data(bytes))
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.zeros(length))
    }
}

/// Computes the SHA-256 digest of an image on its way to another sink, zeros included.
pub struct Hashed<S> {
    inner: S,
    digest: Sha256,
    length: u64,
}

impl<S: Sink> Hashed<S> {
    /// Begins with an empty image.
    pub fn new(inner: S) -> Self {
        Hashed { inner, digest: Sha256::new(), length: 0 }
    }

    /// Returns the sink, the digest and the length in bytes.
    pub fn finish(self) -> (S, [u8; 32], u64) {
        (self.inner, self.digest.finalize().into(), self.length)
    }
}

impl<S: Sink> Sink for Hashed<S> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        self.inner.data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        zero_slices(length).for_each(|zeros| self.digest.update(zeros));
        self.length += length;
        self.inner.zeros(length)
    }
}

/// Takes an image and keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Sink for Nothing {
    fn data(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn zeros(&mut self, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Vec<u8> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| too_long())?;
        self.try_reserve(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.resize(self.len() + length, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that a sink was told.
    fn poured(file: &File, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        pour(file, range, &mut bytes).unwrap();
        bytes
    }

    fn allocated(file: &File) -> u64 {
        use std::os::unix::fs::MetadataExt;
        file.metadata().unwrap().blocks() * 512
    }

    /// Pieces of data and of zeros.
    fn pieces() -> impl Strategy<Value = Vec<(u8, usize)>> {
        prop::collection::vec((prop_oneof![Just(0), Just(0), any::<u8>()], 0..20_000_usize), 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn runs_are_the_bytes_and_zeros_are_whole_blocks(pieces in pieces(), at in 0..10_000_u64) {
            let bytes: Vec<u8> = pieces.iter().flat_map(|(byte, length)| vec![*byte; *length]).collect();
            let (mut seen, mut place) = (Vec::new(), at);
            for run in runs(at, &bytes) {
                let length = match run {
                    Run::Data(data) => {
                        for block in data.chunks(RUN).skip(1).filter(|_| place % RUN as u64 == 0) {
                            prop_assert!(block.len() < RUN || !is_zero(block));
                        }
                        seen.extend_from_slice(data);
                        data.len()
                    }
                    Run::Zeros(length) => {
                        prop_assert!(place % RUN as u64 == 0 && length % RUN == 0);
                        seen.resize(seen.len() + length, 0);
                        length
                    }
                };
                prop_assert!(length > 0);
                place += length as u64;
            }
            prop_assert_eq!(seen, bytes);
        }

        #[test]
        fn whatever_was_there_before_a_file_holds_what_was_written(
            pieces in pieces(),
            start in 0..9000_usize,
            before in prop_oneof![Just(0), 1..60_000_usize],
        ) {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&vec![7; before], 0).unwrap();
            let mut expected = vec![7; before];
            let mut sink = Sparse::over(&file, start as u64).unwrap();
            let mut at = start;
            for (byte, length) in pieces {
                if byte == 0 { sink.zeros(length as u64).unwrap() } else { sink.data(&vec![byte; length]).unwrap() }
                expected.resize(expected.len().max(at + length), 0);
                expected[at..at + length].fill(byte);
                at += length;
            }
            expected.resize(expected.len().max(at), 0);
            prop_assert_eq!(sink.finish().unwrap(), at as u64);
            prop_assert_eq!(poured(&file, 0..file.metadata().unwrap().len()), expected);
        }
    }

    #[test]
    fn zeros_are_told_from_data_by_any_one_byte() {
        assert!(is_zero(&[]));
        let mut bytes = [0; 4097];
        assert!(is_zero(&bytes));
        for at in [0, 1, 4095, 4096] {
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "byte {at}");
            bytes[at] = 0;
        }
    }

    #[test]
    fn a_new_file_has_holes_and_the_right_length() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"old", 0).unwrap();
        let mut sink = Sparse::create(&file).unwrap();
        sink.zeros(5 << 30).unwrap();
        sink.data(&[1; 10]).unwrap();
        sink.data(&vec![0; 8 << 20]).unwrap();
        sink.zeros(7).unwrap();
        let length = sink.finish().unwrap();
        assert_eq!((length, file.metadata().unwrap().len()), ((5 << 30) + (8 << 20) + 17, length));
        assert!(allocated(&file) <= 64 << 10, "{} bytes are allocated", allocated(&file));
        assert_eq!(poured(&file, (5 << 30) - 2..(5 << 30) + 3), [0, 0, 1, 1, 1]);
    }

    #[test]
    fn zeros_over_an_old_file_are_holes_too() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; 1 << 20], 0).unwrap();
        let mut sink = Sparse::over(&file, 4096).unwrap();
        sink.zeros(512 << 10).unwrap();
        sink.finish().unwrap();
        assert!(allocated(&file) <= 600 << 10, "{} bytes are allocated", allocated(&file));
        assert_eq!(poured(&file, 4095..4098), [7, 0, 0]);
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10_000).unwrap();
        file.write_all_at(b"x", 9_999).unwrap();
        for end in [10_001, 1 << 40] {
            assert!(pour(&file, 0..end, &mut Nothing).is_err());
        }
    }

    #[test]
    fn a_digest_counts_zeros_and_a_copy_reaches_all() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let mut sink = Hashed::new(Tee(vec![&mut one, &mut two]));
        sink.data(b"ab").unwrap();
        sink.zeros(100_000).unwrap();
        let (_, digest, length) = sink.finish();
        assert_eq!((length, one.len()), (100_002, 100_002));
        assert_eq!(digest[..], Sha256::digest(&one)[..]);
        assert_eq!(one, two);
    }
}
