//! An image that can be asked: the parts of it that tell.
//!
//! Owns the parts that are kept of a packed image, which comes by once: tables, the beginning of each partition, OEM
//! whole. Any other image is read where it lies. Leaves the meaning to [`super::layout`] and [`super::oem`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::disk::Error;
use crate::disk::content::Content;
use crate::disk::edit::{self, Scratch};
use crate::disk::input::{Form, Input};
use crate::disk::layout::{self, Flatcar, PROBED};
use crate::format::disk::{Container, detect};
use crate::format::gpt::{HEAD, Partition, ReadAt, Table};
use crate::format::sparse::Sink;
use crate::format::unpack::{self, Packing};

/// Bytes at the end of an image that hold the copy of a table.
const TAIL: u64 = HEAD as u64;

/// An image that can be asked.
pub struct Image {
    subject: String,
    /// The name of its container.
    pub form: &'static str,
    /// The name of its packing, if it has one.
    pub packing: Option<&'static str>,
    /// Length of the disk in bytes.
    pub length: u64,
    /// The partition table.
    pub table: Table,
    held: Held,
}

enum Held {
    Form(Box<Form>),
    Parts(Scratch),
}

impl Image {
    /// Looks into an image. A packed one is unpacked to its end, and so checked.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or has no partition table.
    pub fn look(input: Input, scratch: &Path, threads: usize) -> Result<Self, Error> {
        let (form, packing) = input.words();
        let Input { subject, form: held } = input;
        match held {
            Form::Stream(packed, reader) => {
                Self::of_stream(packed, reader, &subject, scratch, threads, packing)
            }
            held => Self::of_form(held, subject, form, packing),
        }
    }

    fn of_form(
        held: Form,
        subject: String,
        form: &'static str,
        packing: Option<&'static str>,
    ) -> Result<Self, Error> {
        let Some(disk) = held.disk() else {
            return Err(Error::NoTable { subject, why: "it is packed twice".into() });
        };
        let length = disk.length();
        let table = edit::table_of(length, &|at, bytes: &mut [u8]| disk.read_at(bytes, at), &subject)?;
        Ok(Image { subject, form, packing, length, table, held: Held::Form(Box::new(held)) })
    }

    fn of_stream(
        packed: Packing,
        reader: Box<dyn io::Read + Send>,
        subject: &str,
        scratch: &Path,
        threads: usize,
        packing: Option<&'static str>,
    ) -> Result<Self, Error> {
        let mut parts = Parts {
            at: 0,
            head: Vec::new(),
            wanted: Vec::new(),
            kept: Scratch::new(scratch),
            spool: None,
            scratch,
            subject,
        };
        unpack::unpack(packed, reader, threads, &mut parts, subject)
            .map_err(|error| Error::of_unpack(error, "a scratch file"))?;
        if let Some(spool) = parts.spool {
            spool.set_len(parts.at).map_err(Error::io("write", "a scratch file"))?;
            let input = Input::of_file(spool, subject)?;
            let (form, _) = input.words();
            return Self::of_form(input.form, subject.to_owned(), form, packing);
        }
        let length = parts.at;
        let kept = parts.kept;
        let table = edit::table_of(length, &|at, bytes: &mut [u8]| kept.read(at, bytes), subject)?;
        let held = Held::Parts(kept);
        Ok(Image { subject: subject.to_owned(), form: "raw", packing, length, table, held })
    }

    /// Reads bytes at an offset: tables, the beginning of each partition and all of OEM; of a packed image nothing else
    /// is known.
    ///
    /// # Errors
    /// The image cannot be read or is damaged there.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &self.held {
            Held::Parts(kept) => kept.read(at, bytes),
            Held::Form(form) => match form.disk() {
                Some(disk) => disk.read_at(bytes, at),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    /// The content of a partition, by its first bytes.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn content(&self, partition: &Partition) -> Result<layout::Content, Error> {
        let mut head = vec![0; PROBED.min(usize::try_from(partition.length).unwrap_or(PROBED))];
        let read = self.read(partition.start, &mut head);
        read.map_err(|error| Error::of_sink(error, "read", &self.subject))?;
        Ok(layout::Content::of(&head))
    }

    /// Flatcar's partitions.
    ///
    /// # Errors
    /// It is somebody else's image.
    pub fn flatcar(&self) -> Result<Flatcar, Error> {
        Flatcar::recognise(&self.table, &self.subject)
    }

    /// Reads OEM, and shows it to `seen`.
    ///
    /// # Errors
    /// It is somebody else's image; OEM is no intact btrfs; those of `seen`.
    pub fn with_oem<T>(&self, seen: impl FnOnce(&Content<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let oem = self.flatcar()?.oem;
        let read = |at: u64, bytes: &mut [u8]| self.read(oem.start + at, bytes);
        let read: &ReadAt<'_> = &read;
        seen(&Content::open(oem.length, read, &self.subject)?)
    }
}

/// A sink that keeps the parts of an image that tell, at their offsets.
struct Parts<'s> {
    at: u64,
    /// The first bytes, until the table is known.
    head: Vec<u8>,
    /// Ranges that are kept, in ascending order.
    wanted: Vec<Range<u64>>,
    kept: Scratch,
    /// All that came, if it is a container.
    spool: Option<File>,
    scratch: &'s Path,
    subject: &'s str,
}

impl Parts<'_> {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.at + bytes.len() as u64;
        if self.head.len() < HEAD {
            let most = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..most]);
            if self.head.len() == HEAD {
                self.begin()?;
            }
        }
        if let Some(spool) = &self.spool {
            std::os::unix::fs::FileExt::write_all_at(spool, bytes, self.at)?;
        } else {
            for range in &self.wanted {
                let (from, to) = (range.start.max(self.at), range.end.min(end));
                if from < to {
                    let piece = &bytes[(from - self.at) as usize..(to - self.at) as usize];
                    self.kept.write(from, piece)?;
                }
            }
        }
        self.at = end;
        Ok(())
    }

    /// Decides about what is kept, once the beginning is there.
    fn begin(&mut self) -> io::Result<()> {
        self.kept.write(0, &self.head)?;
        if detect(&self.head, &[]) != Container::Raw {
            let spool = tempfile::tempfile_in(self.scratch)?;
            std::os::unix::fs::FileExt::write_all_at(&spool, &self.head, 0)?;
            self.spool = Some(spool);
            return Ok(());
        }
        let table = Table::of_head(&self.head).map_err(Error::gpt(self.subject))?;
        let Some(table) = table else {
            let why = edit::beginning(&self.head).to_owned();
            return Err(Error::NoTable { subject: self.subject.into(), why }.into());
        };
        for partition in &table.partitions {
            let most = if partition.name == layout::OEM { partition.length } else { PROBED as u64 };
            self.wanted.push(partition.start..partition.start + most.min(partition.length));
        }
        self.wanted.push(table.length.saturating_sub(TAIL)..table.length);
        self.wanted.sort_by_key(|range| range.start);
        Ok(())
    }
}

impl Sink for Parts<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.take(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        let first = length.min((HEAD - self.head.len()) as u64);
        if first > 0 {
            self.take(&vec![0; first as usize])?;
        }
        self.at += length - first;
        Ok(())
    }
}
