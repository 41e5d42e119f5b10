//! One image in, one image out: the pipeline that `prebake disk` and recipes share.
//!
//! ```text
//! packed, or a pipe:  decoder ─▶ Edit ─▶ writer of the format        one pass; nothing but OEM's old content is kept
//! raw → raw:          copied inside of the kernel, but for the pieces of the plan
//! qcow2 → qcow2:      clusters copied as they are, but for those
//! other containers:   read where they lie ─▶ writer of the format
//! ```
//! Owns the choice of the way, and what an image is changed to ([`Wish`]): the same bytes come out, whichever way was
//! taken. An output is published by the caller, and only after success. Leaves the change of a stream to [`edit`], and
//! bytes of containers to `format::disk`.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufWriter};
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::digest::Sha256;
use crate::disk::Error;
use crate::disk::content::Content;
use crate::disk::edit::{self, Change, Edit, Plan};
pub use crate::disk::input::Input;
use crate::disk::input::{Form, Sorted, Sorter, Way};
use crate::disk::layout::{self, Flatcar, Growth, LAYOUTS};
use crate::disk::oem::{self, Injection, Room};
use crate::disk::platform::Platform;
use crate::format::bz2;
use crate::format::disk::{self, Disk, Format, Options, qcow2};
use crate::format::gpt::{HEAD, Partition, ReadAt, Table};
use crate::format::sparse::{Sink, Sparse};
use crate::format::unpack::{self, Packing};

/// Bytes of a bzip2 output that are written at once.
const BUFFER: usize = 256 << 10;

/// Part of step keys: changes when the bytes for the same wish do.
pub fn revision(format: Format) -> String {
    let bz2 = if format == Format::RawBz2 { bz2::REVISION } else { 0 };
    format!(
        "{}.{}.{}.{}.{}.{bz2}",
        edit::REVISION,
        oem::REVISION,
        super::content::REVISION,
        crate::format::btrfs::REVISION,
        format.revision()
    )
}

/// The change and form of an image. They determine the bytes together with the image, but for `target`, `scratch` and
/// `threads`.
#[derive(Clone)]
pub struct Wish<'a> {
    /// Files that are put on OEM.
    pub injection: Option<&'a Injection>,
    /// Whether an earlier injection is taken out.
    pub remove: bool,
    /// The platform whose rules for the length hold.
    pub platform: Option<&'static Platform>,
    /// The asked length of the disk in bytes. Without one it is the platform's stock one, or stays.
    pub length: Option<u64>,
    /// The form of the output.
    pub format: Format,
    /// The name of the image without extension, for the descriptions in VMDK and OVA.
    pub name: &'a str,
    /// Name of the output, for messages.
    pub target: &'a str,
    /// Directory for files without names.
    pub scratch: &'a Path,
    /// Number of threads that pack and unpack.
    pub threads: usize,
    /// Time of new files, in seconds since 1970.
    pub epoch: u64,
}

impl Wish<'_> {
    /// A wish for the same disk in another form.
    pub fn of_format(format: Format) -> Wish<'static> {
        Wish {
            injection: None,
            remove: false,
            platform: None,
            length: None,
            format,
            name: "disk",
            target: "the image",
            scratch: Path::new("/var/tmp"),
            threads: 1,
            epoch: 0,
        }
    }

    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.threads).unwrap_or(NonZeroUsize::MIN)
    }

    /// Whether the disk's own bytes change.
    fn changes(&self) -> bool {
        self.injection.is_some() || self.remove || self.platform.is_some() || self.length.is_some()
    }
}

/// An image that was made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Length of the output in bytes, without regard to holes.
    pub bytes: u64,
    /// Length of the disk in bytes.
    pub disk_bytes: u64,
    /// The platform, in the words of OEM's own files; only known if OEM was read.
    pub platform: Option<String>,
    /// Paths on OEM that were injected.
    pub injected: Vec<String>,
    /// Paths on OEM of an earlier injection that was replaced or taken out.
    pub removed: Vec<String>,
    /// The room on OEM afterwards.
    pub room: Option<Room>,
    /// Flaws of the image, at which nothing stopped.
    pub findings: Vec<String>,
    /// Advice of the platform.
    pub advice: Vec<String>,
}

/// Opens the sink for a disk whose length in bytes is known now.
pub type Begin<'b> = Box<dyn FnOnce(u64) -> Result<Box<dyn Sink + 'b>, Error> + 'b>;

/// Writes an image to an empty file that nobody sees yet. It is complete after success only.
///
/// # Errors
/// The image is damaged, is no image of Flatcar though something of it is to change, has no room, or cannot be read;
/// the file cannot be written.
pub fn make(input: Input, wish: &Wish<'_>, out: &File) -> Result<Made, Error> {
    let mut run = Run::new(&input.subject, wish);
    let mut output = Output { wish, out: Out::File(out), length: run.length.clone(), writer: None };
    run.all(input, &mut output)?;
    output.finish()?;
    run.made.bytes = out.metadata().map_err(Error::io("look at", wish.target))?.len();
    Ok(run.made)
}

/// Pours the disk of an image into a sink, which `begin` opens as soon as the disk's length is known. The form of the
/// wish does not count.
///
/// # Errors
/// Those of [`make`], and those of `begin`.
pub fn pour<'b>(input: Input, wish: &Wish<'_>, begin: Begin<'b>) -> Result<Made, Error> {
    let mut run = Run::new(&input.subject, wish);
    let mut output = Output { wish, out: Out::Begin(Some(begin)), length: run.length.clone(), writer: None };
    run.all(input, &mut output)?;
    output.finish()?;
    run.made.bytes = run.made.disk_bytes;
    Ok(run.made)
}

/// Where a disk goes to.
enum Out<'f> {
    File(&'f File),
    /// Until it begins.
    Begin(Option<Begin<'f>>),
}

/// The writer of a form.
enum Writer<'f> {
    Raw(Sparse<'f>),
    Bz2(Box<bz2::Encoder<BufWriter<File>>>),
    Other(Box<disk::Writer>),
    Sink(Box<dyn Sink + 'f>),
}

impl Writer<'_> {
    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Writer::Raw(sink) => sink,
            Writer::Bz2(sink) => &mut **sink,
            Writer::Other(sink) => &mut **sink,
            Writer::Sink(sink) => &mut **sink,
        }
    }
}

/// An output that begins with its first byte: by then the length is known.
struct Output<'f, 'w> {
    wish: &'w Wish<'w>,
    out: Out<'f>,
    length: Rc<Cell<u64>>,
    writer: Option<Writer<'f>>,
}

impl<'f> Output<'f, '_> {
    fn writer(&mut self) -> io::Result<&mut dyn Sink> {
        if self.writer.is_none() {
            self.writer = Some(self.open()?);
        }
        match &mut self.writer {
            Some(writer) => Ok(writer.sink()),
            None => Err(io::Error::other("no output was opened")),
        }
    }

    fn open(&mut self) -> io::Result<Writer<'f>> {
        let (wish, length) = (self.wish, self.length.get());
        let file = match &mut self.out {
            Out::File(file) => *file,
            Out::Begin(begin) => {
                let begin = begin.take().ok_or_else(|| io::Error::other("the output has failed before"))?;
                return Ok(Writer::Sink(begin(length)?));
            }
        };
        Ok(match wish.format {
            Format::Raw => Writer::Raw(Sparse::create(file)?),
            Format::RawBz2 => {
                let out = BufWriter::with_capacity(BUFFER, file.try_clone()?);
                Writer::Bz2(Box::new(bz2::Encoder::new(out, wish.threads)?))
            }
            format => {
                let options =
                    Options { name: wish.name, identity: identity(wish, length), ..Options::default() };
                let writer = disk::Writer::new(format, file.try_clone()?, length, &options, wish.threads())?;
                Writer::Other(Box::new(writer))
            }
        })
    }

    /// Ends the output; a way that wrote the file itself has opened none.
    fn finish(self) -> Result<(), Error> {
        let failed = |error| Error::of_sink(error, "write", self.wish.target);
        match self.writer {
            None | Some(Writer::Sink(_)) => Ok(()),
            Some(Writer::Raw(sink)) => sink.finish().map(drop).map_err(failed),
            Some(Writer::Bz2(sink)) => sink.finish().map(drop).map_err(failed),
            Some(Writer::Other(sink)) => Ok(sink.finish()?),
        }
    }
}

impl Sink for Output<'_, '_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer()?.data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.writer()?.zeros(length)
    }
}

/// From what identifiers in VMDK and VHD are made.
fn identity(wish: &Wish<'_>, length: u64) -> [u8; 16] {
    let mut identity = [0; 16];
    let digest = Sha256::of(format!("prebake disk {} {length}", wish.name).as_bytes());
    identity.copy_from_slice(&digest.bytes()[..16]);
    identity
}

/// A disk that goes by unchanged, and must end where its table says.
struct Straight<'o> {
    out: &'o mut dyn Sink,
    subject: String,
    at: Rc<Cell<u64>>,
    length: u64,
}

impl Straight<'_> {
    /// How many of the next bytes belong to the disk; those behind it must be zeros.
    fn inside(&mut self, length: u64, is_zero: impl Fn(u64) -> bool) -> io::Result<u64> {
        let inside = length.min(self.length - self.at.get());
        if inside < length && !is_zero(inside) {
            return Err(Error::Beyond { subject: self.subject.clone(), at: self.length }.into());
        }
        self.at.set(self.at.get() + inside);
        Ok(inside)
    }
}

impl Sink for Straight<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_zero =
            |from: u64| crate::format::sparse::is_zero(bytes.get(from as usize..).unwrap_or_default());
        let inside = self.inside(bytes.len() as u64, is_zero)?;
        self.out.data(bytes.get(..inside as usize).unwrap_or_default())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        let inside = self.inside(length, |_| true)?;
        self.out.zeros(inside)
    }
}

/// An image on its way.
struct Run<'w> {
    wish: &'w Wish<'w>,
    subject: String,
    /// The new length of the disk, once it is known.
    length: Rc<Cell<u64>>,
    made: Made,
}

impl<'w> Run<'w> {
    fn new(subject: &str, wish: &'w Wish<'w>) -> Self {
        Run { wish, subject: subject.into(), length: Rc::default(), made: Made::default() }
    }

    fn all(&mut self, input: Input, output: &mut Output<'_, '_>) -> Result<(), Error> {
        match input.form {
            Form::Stream(packing, reader) => self.stream(packing, reader, output)?,
            form => self.disk(&form, output)?,
        }
        self.made.disk_bytes = self.length.get();
        Ok(())
    }

    /// An image that is read where it lies.
    fn disk(&mut self, form: &Form, output: &mut Output<'_, '_>) -> Result<(), Error> {
        let Some(disk) = form.disk() else { return Ok(()) };
        let (subject, target, wish) = (self.subject.clone(), self.wish.target, self.wish);
        let threads = wish.threads();
        let failed = |error| Error::of_sink(error, "write", target);
        if !wish.changes() {
            self.length.set(disk.length());
            if let (Form::Qcow2(image, _), Format::Qcow2, Out::File(out)) = (form, wish.format, &output.out) {
                let out = out.try_clone().map_err(failed)?;
                return qcow2::customise(image, disk.length(), Vec::new(), out, threads).map_err(failed);
            }
            let done = match disk.length() {
                0 => output.writer().map(drop),
                length => disk.pour(0..length, threads, output),
            };
            return done.map_err(failed);
        }
        if let (Form::Raw(file, _), Format::Raw, Out::File(out)) = (form, wish.format, &output.out) {
            let out = *out;
            let done = edit::change_file(file, out, self, &subject)?;
            self.tell(&done.findings);
            return Ok(());
        }
        let old = |at: u64, bytes: &mut [u8]| disk.read_at(bytes, at);
        let table = edit::table_of(disk.length(), &old, &subject)?;
        let plan = Plan::of(table, self, &subject)?;
        let findings = plan.old.findings.clone();
        match (form, wish.format, &output.out) {
            (Form::Qcow2(image, _), Format::Qcow2, Out::File(out)) => {
                let out = out.try_clone().map_err(failed)?;
                self.clusters(image, &plan, &old, out, threads)?;
            }
            _ => {
                let tail = plan.old.tail_start();
                let mut at = 0;
                for piece in &plan.pieces {
                    let end = piece.at.min(tail).max(at);
                    if at < end {
                        disk.pour(at..end, threads, output).map_err(failed)?;
                    }
                    if end < piece.at {
                        output.zeros(piece.at - end).map_err(failed)?;
                    }
                    plan.render(piece, self, &old, output)?;
                    at = piece.at + piece.length;
                }
            }
        }
        self.tell(&findings);
        Ok(())
    }

    /// A qcow2 of which only the pieces of a plan are written anew.
    fn clusters(
        &mut self,
        image: &Arc<qcow2::Image>,
        plan: &Plan,
        old: &ReadAt<'_>,
        out: File,
        threads: NonZeroUsize,
    ) -> Result<(), Error> {
        let target = self.wish.target;
        let length = plan.new.length.max(Disk::length(&disk::pieces::InPieces::new(image.clone())));
        let change = RefCell::new(&mut *self);
        let patch = |piece: &edit::Piece| {
            let (piece, change) = (*piece, &change);
            qcow2::Patch {
                start: piece.at,
                length: piece.length,
                pour: Box::new(move |sink: &mut dyn Sink| {
                    let mut change = change.borrow_mut();
                    Ok(plan.render(&piece, &mut **change, old, sink)?)
                }),
            }
        };
        let patches = plan.pieces.iter().map(patch).collect();
        qcow2::customise(image, length, patches, out, threads)
            .map_err(|error| Error::of_sink(error, "write", target))
    }

    /// An image that comes once, front to back.
    fn stream(
        &mut self,
        packing: Packing,
        reader: Box<dyn io::Read + Send>,
        output: &mut Output<'_, '_>,
    ) -> Result<(), Error> {
        let (wish, subject) = (self.wish, self.subject.clone());
        let at: Rc<Cell<u64>> = Rc::default();
        let length = self.length.clone();
        let edited = RefCell::new(None);
        let sorted = {
            let (run, out, behind, name) = (&mut *self, &mut *output, &edited, subject.as_str());
            let (passed, known) = (at.clone(), length.clone());
            let choose = move |head: &[u8]| {
                if wish.changes() {
                    let edit = Edit::new(out, run, name, wish.scratch);
                    return Ok(Way::On(Box::new(Shared::new(edit, behind))));
                }
                // A damaged table is nothing that a mere copy has to judge.
                let Ok(Some(table)) = Table::of_head(head) else { return Ok(Way::Spool) };
                known.set(table.length);
                let sink = Straight { out, subject: name.to_owned(), at: passed, length: table.length };
                Ok(Way::On(Box::new(sink)))
            };
            let mut sorter = Sorter::new(HEAD, wish.scratch, choose);
            unpack::unpack(packing, reader, wish.threads, &mut sorter, &subject)
                .map_err(|error| Error::of_unpack(error, wish.target))?;
            sorter.finish().map_err(|error| Error::of_sink(error, "write", wish.target))?
        };
        if let Some(edit) = edited.into_inner() {
            let (_, done) = Edit::finish(edit)?;
            self.tell(&done.findings);
            return Ok(());
        }
        match sorted {
            Sorted::On if at.get() < length.get() => {
                Err(Error::Truncated { subject, end: at.get(), length: length.get() })
            }
            Sorted::On => Ok(()),
            Sorted::Spooled(file) => match Input::of_file(file, &subject)?.form {
                // One layer is enough.
                Form::Stream(packing, _) => Err(Error::Packed { subject, packing: packing.name() }),
                form => self.disk(&form, output),
            },
        }
    }

    fn tell(&mut self, findings: &[crate::format::gpt::Finding]) {
        let told = findings.iter().map(|finding| format!("{}: {finding}", self.subject));
        self.made.findings.extend(told);
    }
}

impl Change for Run<'_> {
    fn plan(&mut self, table: &mut Table) -> Result<Vec<u32>, Error> {
        let (wish, subject) = (self.wish, &self.subject);
        let flatcar = Flatcar::recognise(table, subject)?;
        let layout = flatcar.layout.unwrap_or(&LAYOUTS[0]);
        let mut asked = wish.length;
        if let Some(platform) = wish.platform {
            let length = match flatcar.layout {
                Some(layout) => platform.length(layout, asked)?,
                None => asked.unwrap_or(table.length),
            };
            let length = if asked.is_none() { length.max(table.length) } else { length };
            self.made.advice = platform.judge(length, layout)?;
            asked = Some(length);
        }
        if let Some(length) = asked.filter(|length| *length != table.length) {
            if length < table.length {
                return Err(Error::Small { subject: subject.clone(), asked: length, needed: table.length });
            }
            layout::grow(table, Growth { length: Some(length), root: None }, subject)?;
        }
        self.length.set(table.length);
        Ok(if wish.injection.is_some() || wish.remove { vec![flatcar.oem.number] } else { Vec::new() })
    }

    fn rewrite(&mut self, partition: &Partition, old: &ReadAt<'_>, out: &mut dyn Sink) -> io::Result<()> {
        let content = Content::open(partition.length, old, &self.subject)?;
        let (new, findings) = match self.wish.injection {
            Some(injection) => content.oem.inject(injection)?,
            None => content.oem.remove()?,
        };
        let made = &mut self.made;
        made.removed = content.oem.injected()?;
        made.injected = new.injected()?;
        made.platform = new.platform();
        made.room = Some(new.room());
        made.findings.extend(findings.into_iter().map(|finding| format!("{}: {finding}", self.subject)));
        content.write(&new, self.wish.epoch, out)?;
        Ok(())
    }
}

/// A sink that leaves itself behind when it is dropped.
struct Shared<'s, S: Sink> {
    sink: Option<S>,
    behind: &'s RefCell<Option<S>>,
}

impl<'s, S: Sink> Shared<'s, S> {
    fn new(sink: S, behind: &'s RefCell<Option<S>>) -> Self {
        Shared { sink: Some(sink), behind }
    }

    fn sink(&mut self) -> io::Result<&mut S> {
        self.sink.as_mut().ok_or_else(|| io::Error::other("the sink is gone"))
    }
}

impl<S: Sink> Drop for Shared<'_, S> {
    fn drop(&mut self) {
        *self.behind.borrow_mut() = self.sink.take();
    }
}

impl<S: Sink> Sink for Shared<'_, S> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink()?.data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.sink()?.zeros(length)
    }
}
