//! An image that can be asked: the parts of it that tell.
//!
//! Owns the parts that are kept of a packed image, which comes by once: tables, the beginning of each partition, OEM
//! whole, others whole if they are asked for. Any other image is read where it lies. Leaves the meaning to
//! [`super::layout`] and [`super::oem`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::disk::Error;
use crate::disk::content::{Content, file_of_usr};
use crate::disk::edit::{self, Scratch};
use crate::disk::input::{Form, Input, needs_its_end};
use crate::disk::layout::{self, Flatcar, PROBED};
use crate::disk::root::Root;
use crate::format::disk::archived::Member;
use crate::format::disk::{Container, detect, vhd};
use crate::format::fat;
use crate::format::gpt::{HEAD, Partition, ReadAt, Table};
use crate::format::sparse::Sink;
use crate::format::unpack::{self, Packing};

/// Bytes at the end of an image that hold the copy of a table.
const TAIL: u64 = HEAD as u64;

/// Programs that firmware starts, and the architecture that each is for.
const PROGRAMS: [(&str, &str); 2] = [("EFI/BOOT/BOOTX64.EFI", "amd64"), ("EFI/BOOT/BOOTAA64.EFI", "arm64")];

/// The partition of the system that a published image boots.
const USR_A: &str = "USR-A";

/// The file on USR-A that says which release it is.
const OS_RELEASE: &str = "lib/os-release";

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

/// Partitions that are asked for besides OEM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The EFI system partition.
    pub esp: bool,
    /// ROOT.
    pub root: bool,
}

impl Asked {
    fn has(self, partition: &Partition) -> bool {
        partition.name == layout::OEM
            || self.esp && partition.kind == layout::EFI
            || self.root && (partition.name == layout::ROOT || partition.kind == layout::RESIZE)
    }
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
    pub fn look(input: Input, asked: Asked, scratch: &Path, threads: usize) -> Result<Self, Error> {
        let (form, packing) = input.words();
        let Input { subject, form: held } = input;
        match held {
            Form::Stream(packed, reader) => {
                let parts = Parts::new(asked, scratch, &subject);
                Self::of_stream(packed, reader, parts, threads, packing)
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
        mut parts: Parts<'_>,
        threads: usize,
        packing: Option<&'static str>,
    ) -> Result<Self, Error> {
        let subject = parts.subject;
        let mut member = Member::new(&mut parts, subject);
        unpack::unpack(packed, reader, threads, &mut member, subject)
            .map_err(|error| Error::of_unpack(error, "a scratch file"))?;
        let is_archive = member.finish().map_err(|error| Error::of_sink(error, "read", subject))?;
        if parts.head.len() < HEAD && parts.spool.is_none() {
            parts.begin().map_err(|error| Error::of_sink(error, "read", subject))?;
        }
        let footer = parts.footer();
        if let Some(spool) = parts.spool {
            spool.set_len(parts.at).map_err(Error::io("write", "a scratch file"))?;
            let input = Input::of_file(spool, subject)?;
            let (form, _) = input.words();
            return Self::of_form(input.form, subject.to_owned(), form, packing);
        }
        let (form, length) = match footer {
            Some(length) => ("vhd", length),
            None if is_archive => ("gce", parts.at),
            None => ("raw", parts.at),
        };
        let kept = parts.kept;
        let table = edit::table_of(length, &|at, bytes: &mut [u8]| kept.read(at, bytes), subject)?;
        let held = Held::Parts(kept);
        Ok(Image { subject: subject.to_owned(), form, packing, length, table, held })
    }

    /// Reads bytes at an offset: tables, the beginning of each partition, all of OEM and of those that were asked for; of
    /// a packed image nothing else is known.
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

impl Image {
    /// ROOT, spooled, so that files can be copied out of it. It must have been asked for.
    ///
    /// # Errors
    /// There is none, or it is no plain ext4.
    pub fn root(&self, scratch: &Path) -> Result<Root, Error> {
        let flatcar = self.flatcar()?;
        let none = || Error::Root { subject: self.subject.clone(), is: "missing" };
        let root = flatcar.root.ok_or_else(none)?;
        let read = |at: u64, bytes: &mut [u8]| self.read(root.start.saturating_add(at), bytes);
        Root::spool(&root, &read, scratch, &self.subject)
    }

    /// The architecture of the machines that it boots, as Flatcar's boards name it, by the EFI program that is there;
    /// the EFI system partition must have been asked for. `None` if nothing tells.
    ///
    /// # Errors
    /// Those of [`Image::esp_has`].
    pub fn arch(&self) -> Result<Option<&'static str>, Error> {
        for (path, arch) in PROGRAMS {
            if self.esp_has(path)? == Some(true) {
                return Ok(Some(arch));
            }
        }
        Ok(None)
    }

    /// `VERSION` of os-release on USR-A, where the image is read at any place and USR-A is a btrfs that can be read.
    pub fn release(&self) -> Option<String> {
        let Held::Form(_) = &self.held else { return None };
        let usr = self.table.named(USR_A)?;
        if self.content(usr).ok()? != layout::Content::Btrfs {
            return None;
        }
        let read = |at: u64, bytes: &mut [u8]| self.read(usr.start.saturating_add(at), bytes);
        let text = file_of_usr(usr.length, &read, OS_RELEASE)?;
        let line = text.lines().find_map(|line| line.strip_prefix("VERSION="))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned()).filter(|version| !version.is_empty())
    }

    /// Whether a file is in the EFI system partition, which must have been asked for; `None` if there is no partition
    /// of that type with a FAT.
    ///
    /// # Errors
    /// The image cannot be read, or the FAT is damaged.
    pub fn esp_has(&self, path: &str) -> Result<Option<bool>, Error> {
        let Some(esp) = self.table.of_kind(layout::EFI).next() else { return Ok(None) };
        if self.content(esp)? != layout::Content::Fat {
            return Ok(None);
        }
        let read = |at: u64, bytes: &mut [u8]| self.read(esp.start.saturating_add(at), bytes);
        let subject = format!("{} of {}", esp.name, self.subject);
        let fat = fat::Filesystem::open(esp.length, &read, &subject)?;
        Ok(Some(fat.find(path)?.is_some()))
    }
}

/// A sink that keeps the parts of an image that tell, at their offsets.
struct Parts<'s> {
    asked: Asked,
    at: u64,
    /// The first bytes, until the table is known.
    head: Vec<u8>,
    /// Ranges that are kept, in ascending order.
    wanted: Vec<Range<u64>>,
    kept: Scratch,
    ending: vhd::Ending,
    /// All that came, if it is a container, or an image whose table is not at its beginning.
    spool: Option<File>,
    scratch: &'s Path,
    subject: &'s str,
}

impl<'s> Parts<'s> {
    fn new(asked: Asked, scratch: &'s Path, subject: &'s str) -> Self {
        Parts {
            asked,
            at: 0,
            head: Vec::new(),
            wanted: Vec::new(),
            kept: Scratch::new(scratch),
            ending: vhd::Ending::default(),
            spool: None,
            scratch,
            subject,
        }
    }

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
            spool.write_all_at(bytes, self.at)?;
        } else {
            for range in &self.wanted {
                let (from, to) = (range.start.max(self.at), range.end.min(end));
                if from < to {
                    let piece = &bytes[(from - self.at) as usize..(to - self.at) as usize];
                    self.kept.write(from, piece)?;
                }
            }
        }
        self.ending.data(bytes);
        self.at = end;
        Ok(())
    }

    /// Decides about what is kept, once the beginning is there.
    fn begin(&mut self) -> io::Result<()> {
        self.kept.write(0, &self.head)?;
        let is_container = detect(&self.head, &[]) != Container::Raw;
        let table = match Table::of_head(&self.head) {
            Ok(Some(table)) if !is_container => table,
            found if is_container || needs_its_end(&self.head, &found) => {
                let spool = tempfile::tempfile_in(self.scratch)?;
                spool.write_all_at(&self.head, 0)?;
                self.spool = Some(spool);
                return Ok(());
            }
            _ => {
                let why = edit::beginning(&self.head);
                return Err(Error::NoTable { subject: self.subject.into(), why }.into());
            }
        };
        for partition in &table.partitions {
            let most = if self.asked.has(partition) { partition.length } else { PROBED as u64 };
            self.wanted.push(partition.start..partition.start + most.min(partition.length));
        }
        self.wanted.push(table.length.saturating_sub(TAIL)..table.length);
        self.wanted.sort_by_key(|range| range.start);
        Ok(())
    }

    /// The disk's length by the footer of a VHD, if the last bytes are one.
    fn footer(&self) -> Option<u64> {
        self.ending.disk(self.at)
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
        self.ending.zeros(length - first);
        self.at = self.at.saturating_add(length - first);
        Ok(())
    }
}
