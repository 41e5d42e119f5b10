//! Images as they come: what they are packed with, what container they are in, and what can be read of them where.
//!
//! Owns the recognition, by the first and last bytes and never by a name, and [`Sorter`], a sink that finds out what
//! comes out of a packed file. Leaves the containers to `format::disk`, and what is packed to `format::unpack`.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;

use crate::base::disk::read_full;
use crate::disk::Error;
use crate::format::disk::pieces::{InPieces, Raw};
use crate::format::disk::{self, Container, Disk, PROBE, archived, qcow2};
use crate::format::gpt::{self, Table};
use crate::format::sparse::{Sink, is_zero};
use crate::format::unpack::{self, Packing};

/// An image to be read.
pub struct Input {
    /// Its name, for messages.
    pub(super) subject: String,
    pub(super) form: Form,
}

/// The ways in which an image can be read.
pub(super) enum Form {
    /// A file that is the disk itself.
    Raw(Arc<File>, Raw),
    /// A qcow2, whose clusters can be copied as they are.
    Qcow2(Arc<qcow2::Image>, InPieces<qcow2::Image>),
    /// Another container that is read at any place, with its name.
    Disk(&'static str, Box<dyn Disk>),
    /// Bytes that come once, front to back.
    Stream(Packing, Box<dyn Read + Send>),
}

impl Input {
    /// Opens a file or device, or standard input for `-`.
    ///
    /// # Errors
    /// It cannot be read, or is a container that prebake does not read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Input::of_stream(io::stdin(), "standard input");
        }
        let subject = path.display().to_string();
        let file = File::open(path).map_err(Error::io("open", &subject))?;
        Input::of_file(file, &subject)
    }

    /// An opened file or device; `subject` is its name, for messages.
    ///
    /// # Errors
    /// Those of [`Input::open`].
    pub fn of_file(mut file: File, subject: &str) -> Result<Self, Error> {
        let kind = file.metadata().map_err(Error::io("read", subject))?.file_type();
        if kind.is_dir() {
            return Err(Error::Directory { subject: subject.into() });
        }
        if !kind.is_file() && !kind.is_block_device() {
            return Input::of_stream(file, subject);
        }
        let mut head = [0; unpack::HEAD];
        let read = read_full(&mut file, &mut head).and_then(|count| file.rewind().map(|()| count));
        let count = read.map_err(Error::io("read", subject))?;
        let packing = Packing::of(&head[..count]);
        let form = match (packing, container(&file).map_err(Error::io("read", subject))?) {
            (Packing::None, _) | (_, Container::SeekableZst) => Form::of(file, subject)?,
            (packing, _) => Form::Stream(packing, Box::new(file)),
        };
        Ok(Input { subject: subject.into(), form })
    }

    /// Bytes that come once; `subject` is their name, for messages.
    ///
    /// # Errors
    /// The first bytes cannot be read.
    pub fn of_stream(mut reader: impl Read + Send + 'static, subject: &str) -> Result<Self, Error> {
        let mut head = vec![0; unpack::HEAD];
        let count = read_full(&mut reader, &mut head).map_err(Error::io("read", subject))?;
        head.truncate(count);
        let packing = Packing::of(&head);
        let form = Form::Stream(packing, Box::new(Cursor::new(head).chain(reader)));
        Ok(Input { subject: subject.into(), form })
    }

    /// The name of its container, and that of its packing, if it has one.
    pub fn words(&self) -> (&'static str, Option<&'static str>) {
        match &self.form {
            Form::Raw(..) => ("raw", None),
            Form::Qcow2(..) => ("qcow2", None),
            Form::Disk(name, _) => (*name, None),
            Form::Stream(Packing::None, _) => ("raw", None),
            Form::Stream(packing, _) => ("raw", Some(packing.name())),
        }
    }

    /// Whether its bytes come once, front to back.
    pub fn comes_once(&self) -> bool {
        matches!(self.form, Form::Stream(..))
    }

    /// Has `tap` see all bytes of an input that comes once, as they are read.
    pub fn tapped(self, tap: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let form = match self.form {
            Form::Stream(packing, reader) => Form::Stream(packing, Box::new(Tapped { reader, tap })),
            form => form,
        };
        Input { form, ..self }
    }

    /// Whether it is a qcow2 that can be read at any place.
    pub fn is_qcow2(&self) -> bool {
        matches!(self.form, Form::Qcow2(..))
    }
}

/// A reader whose bytes somebody else sees, too.
struct Tapped<T> {
    reader: Box<dyn Read + Send>,
    tap: T,
}

impl<T: FnMut(&[u8])> Read for Tapped<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        (self.tap)(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The name of a container for people.
fn name(container: Container) -> &'static str {
    match container {
        Container::Vmdk => "vmdk",
        Container::Vhd => "vhd",
        Container::SeekableZst => "raw.zst",
        _ => "raw",
    }
}

/// Whether an image with these first bytes may have a table at its end alone, so that all of it is needed: its table at
/// the beginning is damaged, or overwritten beside the MBR's protective partition, or with it.
pub(super) fn needs_its_end(head: &[u8], table: &Result<Option<Table>, gpt::Error>) -> bool {
    match table {
        Ok(Some(_)) => false,
        Err(_) => true,
        Ok(None) => Table::is_protected(head) || head.len() == gpt::HEAD && is_zero(head),
    }
}

impl Form {
    /// The form of a file that is not packed as a whole.
    fn of(file: File, subject: &str) -> Result<Self, Error> {
        let container = container(&file).map_err(Error::io("read", subject))?;
        Ok(match container {
            Container::Raw => {
                let length = disk::length_of(&file).map_err(Error::io("read", subject))?;
                let file = Arc::new(file);
                Form::Raw(file.clone(), Raw::new(file, length))
            }
            Container::Qcow2 => {
                let image = Arc::new(qcow2::Image::open(Arc::new(file), subject)?);
                Form::Qcow2(image.clone(), InPieces::new(image))
            }
            Container::Tar => {
                let (name, disk) = archived::open(file, subject)?;
                Form::Disk(name, disk)
            }
            container => Form::Disk(name(container), disk::open(file, subject)?),
        })
    }

    /// The disk, if it can be read at any place.
    pub(super) fn disk(&self) -> Option<&dyn Disk> {
        match self {
            Form::Raw(_, disk) => Some(disk),
            Form::Qcow2(_, disk) => Some(disk),
            Form::Disk(_, disk) => Some(&**disk),
            Form::Stream(..) => None,
        }
    }
}

fn container(file: &File) -> io::Result<Container> {
    let length = disk::length_of(file)?;
    let most = length.min(PROBE as u64);
    let (mut head, mut tail) = (vec![0; most as usize], vec![0; most as usize]);
    file.read_exact_at(&mut head, 0)?;
    file.read_exact_at(&mut tail, length - most)?;
    // A look at the length moves the offset.
    let mut file: &File = file;
    file.rewind()?;
    Ok(disk::detect(&head, &tail))
}

/// The way of a stream once its beginning is known.
pub(super) enum Way<'w> {
    /// A disk that goes on into this sink.
    On(Box<dyn Sink + 'w>),
    /// A container or something without a table: all of it has to be there first.
    Spool,
}

/// The end of a [`Sorter`].
pub(super) enum Sorted {
    /// All went into the chosen sink.
    On,
    /// A file without a name that holds what came.
    Spooled(File),
}

/// A sink that looks at the beginning of what comes, and lets `choose` choose the way of it.
pub(super) struct Sorter<'w, C> {
    choose: Option<C>,
    scratch: &'w Path,
    /// The first bytes, as long as no way was chosen.
    head: Vec<u8>,
    way: Option<Box<dyn Sink + 'w>>,
    spool: Option<(File, u64)>,
    need: usize,
}

impl<'w, C: FnOnce(&[u8]) -> Result<Way<'w>, Error>> Sorter<'w, C> {
    /// Looks at `need` bytes. A file without a name is made in the directory `scratch`, if it is needed.
    pub(super) fn new(need: usize, scratch: &'w Path, choose: C) -> Self {
        Sorter { choose: Some(choose), scratch, head: Vec::new(), way: None, spool: None, need }
    }

    fn decide(&mut self) -> io::Result<()> {
        let Some(choose) = self.choose.take() else {
            return Err(io::Error::other("this image has failed before"));
        };
        let is_container = disk::detect(&self.head, &[]) != Container::Raw;
        let way = if is_container { Way::Spool } else { choose(&self.head)? };
        match way {
            Way::On(sink) => self.way = Some(sink),
            Way::Spool => self.spool = Some((tempfile::tempfile_in(self.scratch)?, 0)),
        }
        let head = std::mem::take(&mut self.head);
        self.hand_on(&head)
    }

    fn hand_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        match (&mut self.way, &mut self.spool) {
            (Some(way), _) => way.data(bytes),
            (None, Some((file, at))) => {
                file.write_all_at(bytes, *at)?;
                *at += bytes.len() as u64;
                Ok(())
            }
            (None, None) => Err(io::Error::other("this image has failed before")),
        }
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// Its beginning was its end, and is none of an image.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        if self.choose.is_some() {
            self.decide()?;
        }
        match self.spool {
            Some((file, at)) => {
                file.set_len(at)?;
                Ok(Sorted::Spooled(file))
            }
            None => Ok(Sorted::On),
        }
    }
}

impl<'w, C: FnOnce(&[u8]) -> Result<Way<'w>, Error>> Sink for Sorter<'w, C> {
    fn data(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.choose.is_some() {
            let (first, rest) = bytes.split_at((self.need - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(first);
            bytes = rest;
            if self.head.len() < self.need {
                return Ok(());
            }
            self.decide()?;
        }
        if bytes.is_empty() { Ok(()) } else { self.hand_on(bytes) }
    }

    fn zeros(&mut self, mut length: u64) -> io::Result<()> {
        if self.choose.is_some() {
            let first = length.min((self.need - self.head.len()) as u64);
            self.data(&vec![0; first as usize])?;
            length -= first;
            if self.choose.is_some() || length == 0 {
                return Ok(());
            }
        }
        match (&mut self.way, &mut self.spool) {
            (Some(way), _) => way.zeros(length),
            (None, Some((_, at))) => {
                *at = at.saturating_add(length);
                Ok(())
            }
            (None, None) => Err(io::Error::other("this image has failed before")),
        }
    }
}
