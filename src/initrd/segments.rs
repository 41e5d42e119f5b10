//! The archives of an initrd, one after another, found by the kernel's own rules.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use serde::Serialize;

use super::Error;
use super::foreign::{self, Foreign};
use crate::base::disk;
use crate::format::cpio::{self, Compression, Member, Seekable, Skip, Streamed};
use crate::format::limited::Limited;

/// Bytes of unpacked data that are read at a time.
const CHUNK: usize = 256 << 10;
/// Number of first bytes that identify an archive.
const START: usize = 8;
/// Length of a plain archive's magic, in bytes.
const MAGIC: u64 = 6;

/// Upper limits for reading an initrd from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limits for each archive.
    pub archive: cpio::Limits,
    /// Upper limit for the unpacked bytes of all compressed archives together.
    pub bytes: u64,
}

impl Default for Limits {
    /// 16 GiB: usually more than the memory of a machine that boots from memory.
    fn default() -> Self {
        Limits { archive: cpio::Limits::default(), bytes: 16 << 30 }
    }
}

/// Start of an archive of an initrd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Start {
    /// Offset in the file.
    pub offset: u64,
    /// Its compression; `None` for a plain archive.
    pub compression: Option<Compression>,
}

/// An archive of an initrd, or several archives in one compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Segment {
    /// Start of the archive.
    #[serde(flatten)]
    pub start: Start,
    /// Its length in the file in bytes, without padding after it.
    pub length: u64,
    /// Its unpacked length, in bytes.
    pub unpacked: u64,
    /// Number of files, directories and other members.
    pub members: usize,
}

/// Position of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Start of its segment.
    pub start: Start,
    /// Index of the archive in its stream, from 0. Hard links do not cross archives.
    pub archive: usize,
}

/// Called for each member; its body need not be read.
pub(crate) type Visit<'v> = dyn FnMut(&Place, &Member, &mut dyn Read) -> Result<(), Error> + 'v;

/// Reads an initrd, segment by segment.
pub(crate) struct Segments<'s, F> {
    subject: &'s str,
    file: F,
    limits: Limits,
    /// Offset of the first byte that was not read yet.
    at: u64,
    /// Whether the last segment was a plain archive.
    after_plain: bool,
}

impl<'s, F: Read + Seek> Segments<'s, F> {
    /// Begins at the start of a file; `subject` names it in errors.
    pub(crate) fn new(subject: &'s str, file: F, limits: Limits) -> Self {
        Segments { subject, file, limits, at: 0, after_plain: false }
    }

    /// Begins at this offset, where an archive must start.
    pub(crate) fn starting_at(self, at: u64) -> Self {
        Segments { at, ..self }
    }

    /// Checks that the file begins as an initrd does: with an archive, or with a compressed one. Unpacks only its first
    /// bytes.
    pub(crate) fn probe(&mut self) -> Result<(), Error> {
        let subject = self.subject;
        let foreign = |why: String, way_out| Error::Foreign { subject: subject.into(), why, way_out };
        let start = match self.peek() {
            Ok(Some(start)) => start,
            Ok(None) => return Err(foreign("it is empty, or contains only zeros".into(), None)),
            Err(Error::Lost { offset: 0, why, way_out, .. }) => return Err(foreign(why, way_out)),
            Err(error) => return Err(error),
        };
        let Some(compression) = start.compression else { return Ok(()) };
        self.seek()?;
        let mut input = BufReader::new(&mut self.file);
        let mut first = Vec::new();
        let read = compression.decoder(&mut input).and_then(|decoder| match decoder {
            Some(mut decoder) => {
                // Enough in most cases; the rest is read only if this is not an archive.
                decoder.by_ref().take(MAGIC).read_to_end(&mut first)?;
                let is_one = cpio::MAGICS.contains(&first.as_slice());
                if !is_one {
                    decoder.take(foreign::HEAD as u64 - MAGIC).read_to_end(&mut first)?;
                }
                Ok(is_one)
            }
            None => Ok(true),
        });
        match read {
            Ok(true) => Ok(()),
            Ok(false) => Err(match foreign::what(&first) {
                Some(Foreign { what, way_out }) => {
                    foreign(format!("the compressed content is {what}"), Some(way_out))
                }
                None => foreign("the compressed content is not a cpio archive in newc format".into(), None),
            }),
            Err(source) => Err(Error::Damaged {
                subject: self.subject.into(),
                offset: start.offset,
                compression,
                source,
            }),
        }
    }

    /// Start of the next archive, after zeros; `None` at the end. Reads a few bytes.
    pub(crate) fn peek(&mut self) -> Result<Option<Start>, Error> {
        let Some(first) = self.pass_zeros()? else { return Ok(None) };
        let offset = self.at;
        let subject = self.subject;
        let lost = |why: String, way_out| Err(Error::Lost { subject: subject.into(), offset, why, way_out });
        let compression = Compression::of(&first);
        let is_plain = first[0] == b'0';
        match compression {
            _ if self.after_plain && !offset.is_multiple_of(4) => {
                lost("after a plain archive the next one must begin at a multiple of four".into(), None)
            }
            None if is_plain && !offset.is_multiple_of(4) => {
                lost("a plain archive must begin at a multiple of four".into(), None)
            }
            None if !cpio::MAGICS.iter().any(|magic| first.starts_with(magic)) => {
                match foreign::what(&self.head()?) {
                    Some(Foreign { what, way_out }) => lost(format!("it is {what}"), Some(way_out)),
                    None if is_plain => lost("no archive begins there".into(), None),
                    None => lost("neither an archive nor compressed data begins there".into(), None),
                }
            }
            Some(Compression::Xz) => match cpio::xz_check(&first) {
                Some(check) => {
                    let way_out = "compress with `xz --check=crc32`";
                    lost(format!("it is xz with {check}, but the kernel supports only CRC-32"), Some(way_out))
                }
                None => Ok(Some(Start { offset, compression })),
            },
            _ => Ok(Some(Start { offset, compression })),
        }
    }

    /// Bytes from the current offset, enough to recognise any kind of file.
    fn head(&mut self) -> Result<Vec<u8>, Error> {
        self.seek()?;
        let mut head = Vec::new();
        let read = (&mut self.file).take(foreign::HEAD as u64).read_to_end(&mut head);
        read.map_err(self.unreadable())?;
        Ok(head)
    }

    /// The next archive, read to its end; `None` at the end of the file.
    pub(crate) fn next(&mut self, visit: &mut Visit<'_>) -> Result<Option<Segment>, Error> {
        let Some(start) = self.peek()? else { return Ok(None) };
        let segment = match start.compression {
            None => self.plain(start, visit)?,
            Some(compression) => self.compressed(start, compression, visit)?,
        };
        self.at = start.offset + segment.length;
        self.after_plain = start.compression.is_none();
        Ok(Some(segment))
    }

    fn plain(&mut self, start: Start, visit: &mut Visit<'_>) -> Result<Segment, Error> {
        self.seek()?;
        let subject = format!("{}, archive at byte {}", self.subject, start.offset);
        let mut reader = cpio::Reader::new(&subject, Seekable(&mut self.file), self.limits.archive);
        let members = members(Place { start, archive: 0 }, &mut reader, visit)?;
        let length = reader.length();
        Ok(Segment { start, length, unpacked: length, members })
    }

    fn compressed(
        &mut self,
        start: Start,
        compression: Compression,
        visit: &mut Visit<'_>,
    ) -> Result<Segment, Error> {
        self.seek()?;
        let name = self.subject;
        let damaged =
            |source| Error::Damaged { subject: name.into(), offset: start.offset, compression, source };
        let mut input = Counted { inner: BufReader::with_capacity(CHUNK, &mut self.file), count: 0 };
        let decoder = match compression.decoder(&mut input).map_err(damaged)? {
            Some(decoder) => decoder,
            None => {
                return Err(Error::Unreadable { subject: name.into(), offset: start.offset, compression });
            }
        };
        let limited = Limited::new(decoder, self.limits.bytes);
        let mut unpacked = BufReader::with_capacity(CHUNK, limited);
        let subject = format!("{name}, {} archive at byte {}", compression.name(), start.offset);
        let mut count = 0;
        let mut length = 0;
        for archive in 0.. {
            // Inside a stream, too, the kernel skips zeros and takes what follows for one more archive.
            let next = loop {
                let buffer = unpacked.fill_buf().map_err(damaged)?;
                let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
                let next = buffer.get(zeros).copied();
                let end = buffer.is_empty();
                unpacked.consume(zeros);
                length += zeros as u64;
                if end || next.is_some() {
                    break next;
                }
            };
            if next.is_none() {
                break;
            }
            let mut reader = cpio::Reader::new(&subject, Streamed(&mut unpacked), self.limits.archive);
            count += members(Place { start, archive }, &mut reader, visit)?;
            length += reader.length();
        }
        self.limits.bytes = unpacked.get_ref().left();
        drop(unpacked);
        Ok(Segment { start, length: input.count, unpacked: length, members: count })
    }

    /// The first bytes after zeros, as many as there are.
    fn pass_zeros(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.seek()?;
        let mut chunk = [0; 512];
        loop {
            let read = self.file.read(&mut chunk).map_err(self.unreadable())?;
            if read == 0 {
                return Ok(None);
            }
            match chunk[..read].iter().position(|byte| *byte != 0) {
                Some(zeros) => {
                    self.at += zeros as u64;
                    self.seek()?;
                    let mut first = Vec::with_capacity(START);
                    let take = (&mut self.file).take(START as u64).read_to_end(&mut first);
                    take.map_err(self.unreadable())?;
                    return Ok(Some(first));
                }
                None => self.at += read as u64,
            }
        }
    }

    fn seek(&mut self) -> Result<(), Error> {
        let failed = self.unreadable();
        self.file.seek(SeekFrom::Start(self.at)).map(drop).map_err(failed).map_err(Error::Io)
    }

    fn unreadable(&self) -> impl FnOnce(io::Error) -> disk::Error + use<'s, F> {
        disk::Error::io("read", self.subject.as_ref())
    }
}

fn members<R: Skip>(
    place: Place,
    reader: &mut cpio::Reader<'_, R>,
    visit: &mut Visit<'_>,
) -> Result<usize, Error> {
    let mut count = 0;
    while let Some(member) = reader.next_member()? {
        count += 1;
        visit(&place, &member, &mut reader.body())?;
    }
    Ok(count)
}

/// Counts the bytes read from a file.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count += count as u64;
        self.inner.consume(count);
    }
}
