//! One image in, one image out: the pipeline that `prebake disk` and recipes share.
//!
//! ```text
//! packed, or a pipe:  decoder ─▶ Edit ─▶ writer of the format        one pass; nothing but the old content of OEM is kept,
//!                                                                    and that of ROOT if it may change
//! raw → raw:          copied inside of the kernel, but for the pieces of the plan
//! qcow2 → qcow2:      clusters copied as they are, but for those
//! other containers:   read where they lie ─▶ writer of the format
//! ```
//! Owns the choice of the way, and what an image is changed to ([`Wish`]): the same bytes come out, whichever way was
//! taken. That is why an image that is longer than its table says (`qemu-img resize`, Google's whole GiB) has one rule
//! for all ways. Nothing of it changes: it keeps every byte, and its length. Something changes: the disk ends where its
//! table says, or at the asked length; zeros behind that are left out, and told; anything else there is refused. A stream
//! has written its beginning, where the length stands, long before it knows what is behind. An output is published by the
//! caller, and only after success. Leaves the change of a stream to [`edit`], and bytes of containers to
//! `format::disk`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Seek};
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::digest::Sha256;
use crate::disk::Error;
use crate::disk::content::Content;
use crate::disk::edit::{self, Change, Edit, Plan, Scratch};
pub use crate::disk::input::Input;
use crate::disk::input::{Form, Sorted, Sorter, Way, needs_its_end};
use crate::disk::layout::{self, Flatcar, Growth, LAYOUTS, PROBED};
use crate::disk::oem::{self, Add, Injection, Room};
use crate::disk::platform::Platform;
use crate::disk::root::{self, Root};
use crate::format::bz2;
use crate::format::disk::archived::Member;
use crate::format::disk::pieces::Raw;
use crate::format::disk::{self, Format, Options, qcow2, vhd};
use crate::format::ext4;
use crate::format::gpt::{self, HEAD, Partition, ReadAt, SECTOR, Table};
use crate::format::sparse::{self, Hashed, Nothing, Sink, Sparse};
use crate::format::unpack::{self, Packing};

/// Bytes of a bzip2 output that are written at once.
const BUFFER: usize = 256 << 10;

/// Part of step keys, for images with files on ROOT: changes when their bytes do. The version of `debugfs` does not enter
/// it, because a plan runs nothing.
pub fn root_revision() -> String {
    format!("{}.{}", root::REVISION, ext4::REVISION)
}

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

/// The change and form of an image. They determine the bytes together with the image, but for `target`, `scratch`,
/// `threads` and `digest`.
#[derive(Clone)]
pub struct Wish<'a> {
    /// Files that are put on OEM, and on ROOT.
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
    /// Whether the output's SHA-256 is wanted.
    pub digest: bool,
    /// Hears how many bytes of the disk were written, of how many, where all of it is.
    pub told: &'a dyn Fn(u64, u64),
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
            digest: false,
            told: &|_, _| (),
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
    /// SHA-256 of the output, if it was wanted.
    pub sha256: Option<Sha256>,
    /// Length of the disk in bytes.
    pub disk_bytes: u64,
    /// The platform, in the words of OEM's own files; only known if OEM was read.
    pub platform: Option<String>,
    /// Paths on OEM that were injected.
    pub injected: Vec<String>,
    /// Paths on ROOT that were injected, without a slash before them.
    pub on_root: Vec<String>,
    /// Paths on OEM, and on ROOT with a slash before them, of an earlier injection that was replaced or taken out.
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
    let mut output = Output::new(wish, Out::File(out), run.length.clone());
    run.all(input, &mut output)?;
    let digest = output.finish()?;
    run.made.bytes = out.metadata().map_err(Error::io("look at", wish.target))?.len();
    // A file that is written front to back is hashed on the way. Others are read again, without their holes.
    run.made.sha256 = match (wish.digest, digest) {
        (false, _) => None,
        (true, Some(digest)) => Some(digest),
        (true, None) => {
            let mut hashed = Hashed::new(Nothing);
            let read = sparse::pour(out, 0..run.made.bytes, &mut hashed);
            read.map_err(Error::io("read back", wish.target))?;
            Some(hashed.finish().1.into())
        }
    };
    Ok(run.made)
}

/// Pours the disk of an image into a sink, which `begin` opens as soon as the disk's length is known. The form of the
/// wish does not count.
///
/// # Errors
/// Those of [`make`], and those of `begin`.
pub fn pour<'b>(input: Input, wish: &Wish<'_>, begin: Begin<'b>) -> Result<Made, Error> {
    let mut run = Run::new(&input.subject, wish);
    let mut output = Output::new(wish, Out::Begin(Some(begin)), run.length.clone());
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
    Bz2(Box<bz2::Encoder<BufWriter<disk::Out>>>),
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
    /// Bytes of the disk so far.
    at: u64,
}

impl<'f, 'w> Output<'f, 'w> {
    fn new(wish: &'w Wish<'w>, out: Out<'f>, length: Rc<Cell<u64>>) -> Self {
        Output { wish, out, length, writer: None, at: 0 }
    }

    fn pass(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes);
        (self.wish.told)(self.at, self.length.get());
    }

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
        let whole = |file: File| if wish.digest { disk::Out::hashed(file) } else { file.into() };
        Ok(match wish.format {
            Format::Raw => Writer::Raw(Sparse::create(file)?),
            Format::RawBz2 => {
                let out = BufWriter::with_capacity(BUFFER, whole(file.try_clone()?));
                Writer::Bz2(Box::new(bz2::Encoder::new(out, wish.threads)?))
            }
            format => {
                let options =
                    Options { name: wish.name, identity: identity(wish, length), ..Options::default() };
                let out = whole(file.try_clone()?);
                let writer = disk::Writer::new(format, out, length, &options, wish.threads())?;
                Writer::Other(Box::new(writer))
            }
        })
    }

    /// Ends the output; a way that wrote the file itself has opened none. Returns the digest, if it was had on the way.
    fn finish(&mut self) -> Result<Option<Sha256>, Error> {
        let failed = |error| Error::of_sink(error, "write", self.wish.target);
        match self.writer.take() {
            None | Some(Writer::Sink(_)) => Ok(None),
            Some(Writer::Raw(sink)) => sink.finish().map(|_| None).map_err(failed),
            Some(Writer::Bz2(sink)) => {
                let out = sink.finish().map_err(failed)?;
                let out = out.into_inner().map_err(|error| failed(error.into_error()))?;
                Ok(out.finish().map(Sha256::from))
            }
            Some(Writer::Other(sink)) => Ok(sink.finish()?.map(Sha256::from)),
        }
    }
}

impl Sink for Output<'_, '_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer()?.data(bytes)?;
        self.pass(bytes.len() as u64);
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.writer()?.zeros(length)?;
        self.pass(length);
        Ok(())
    }
}

/// From what identifiers in VMDK and VHD are made.
fn identity(wish: &Wish<'_>, length: u64) -> [u8; 16] {
    let mut identity = [0; 16];
    let digest = Sha256::of(format!("prebake disk {} {length}", wish.name).as_bytes());
    identity.copy_from_slice(&digest.bytes()[..16]);
    identity
}

/// A disk that goes by unchanged. Bytes behind its end by the table are kept aside.
struct Straight<'o> {
    out: &'o mut dyn Sink,
    at: Rc<Cell<u64>>,
    length: u64,
    behind: Rc<RefCell<Tail>>,
}

impl Straight<'_> {
    /// How many of the next bytes belong to the disk.
    fn inside(&mut self, length: u64) -> u64 {
        let inside = length.min(self.length.saturating_sub(self.at.get()));
        self.at.set(self.at.get() + inside);
        inside
    }
}

impl Sink for Straight<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (disk, rest) = bytes.split_at(self.inside(bytes.len() as u64) as usize);
        if !disk.is_empty() {
            self.out.data(disk)?;
        }
        match rest.is_empty() {
            true => Ok(()),
            false => self.behind.borrow_mut().data(rest),
        }
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        let inside = self.inside(length);
        if inside > 0 {
            self.out.zeros(inside)?;
        }
        match length - inside {
            0 => Ok(()),
            rest => self.behind.borrow_mut().zeros(rest),
        }
    }
}

/// The bytes behind the end of a disk by its table.
struct Tail {
    kept: Scratch,
    length: u64,
    ending: vhd::Ending,
}

impl Tail {
    fn new(scratch: &Path) -> Self {
        Tail { kept: Scratch::new(scratch), length: 0, ending: vhd::Ending::default() }
    }

    /// Takes a footer off that ends a disk which is `before` bytes long without the tail.
    fn strip(&mut self, before: u64) {
        let disk = self.ending.disk(before.saturating_add(self.length));
        if let Some(tail) = disk.and_then(|disk| disk.checked_sub(before)) {
            self.length = tail;
        }
    }

    fn pour(&self, out: &mut dyn Sink) -> io::Result<()> {
        edit::replay(&|at, bytes: &mut [u8]| self.kept.read(at, bytes), self.length, out)
    }
}

impl Sink for Tail {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.kept.write(self.length, bytes)?;
        self.ending.data(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.ending.zeros(length);
        self.length = self.length.saturating_add(length);
        Ok(())
    }
}

/// An image on its way.
struct Run<'w> {
    wish: &'w Wish<'w>,
    subject: String,
    /// The new length of the disk, once it is known.
    length: Rc<Cell<u64>>,
    /// The partition OEM, by the plan.
    oem: Option<Partition>,
    /// OEM where it stays as it is, and is looked at for the platform that was asked for.
    judged: Option<Partition>,
    /// Number of the partition ROOT, by the plan.
    root: Option<u32>,
    /// ROOT as it was, if it grows.
    grown: Option<Partition>,
    /// Paths of an earlier injection on ROOT, once OEM was read.
    gone: BTreeSet<String>,
    made: Made,
}

impl<'w> Run<'w> {
    fn new(subject: &str, wish: &'w Wish<'w>) -> Self {
        Run {
            wish,
            subject: subject.into(),
            length: Rc::default(),
            oem: None,
            judged: None,
            root: None,
            grown: None,
            gone: BTreeSet::new(),
            made: Made::default(),
        }
    }

    /// Files that are put on ROOT.
    fn adds(&self) -> &'w [Add] {
        self.wish.injection.map(|injection| injection.root.as_slice()).unwrap_or_default()
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
        let old = |at: u64, bytes: &mut [u8]| disk.read_at(bytes, at);
        // An image without a table is copied as it is; a damaged table at the beginning is written anew.
        if !wish.changes() && !self.judge_copy(disk.length(), &old)? {
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
        let table = edit::table_of(disk.length(), &old, &subject)?;
        if wish.changes() {
            edit::judge_behind(disk, table.length, &subject)?;
        }
        if let (Form::Raw(file, _), Format::Raw, Out::File(out)) = (form, wish.format, &output.out) {
            let out = *out;
            let done = edit::change_file(file, out, self, &subject)?;
            self.tell(&done.findings);
            return Ok(());
        }
        let mut plan = Plan::of(table, self, &subject)?;
        plan.settle(self, &old)?;
        let findings = plan.old.findings.clone();
        match (form, wish.format, &output.out) {
            // Clusters behind the end of a shorter disk have no place.
            (Form::Qcow2(image, _), Format::Qcow2, Out::File(out)) if plan.new.length >= disk.length() => {
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

    /// Judges an image that is to be copied as it is; `length` is that of the disk. Returns whether its table has to be
    /// written anew.
    ///
    /// # Errors
    /// It is no image at all, or ends before its disk does.
    fn judge_copy(&mut self, length: u64, old: &ReadAt<'_>) -> Result<bool, Error> {
        let subject = self.subject.clone();
        let mut head = vec![0; HEAD.min(usize::try_from(length).unwrap_or(HEAD))];
        old(0, &mut head).map_err(|error| Error::of_sink(error, "read", &subject))?;
        let why = match () {
            () if head.is_empty() => Some("it is empty".to_owned()),
            () if head.starts_with(b"<") => Some(edit::beginning(&head)),
            () if length < SECTOR => Some("it is shorter than a sector".to_owned()),
            () => None,
        };
        if let Some(why) = why {
            return Err(Error::NoTable { subject, why });
        }
        if let Ok(Some(stated)) = Table::stated(old)
            && length < stated.length
        {
            return Err(Error::Truncated { subject, end: length, length: stated.length });
        }
        if !length.is_multiple_of(SECTOR) {
            self.made.findings.push(Error::Ragged { subject: subject.clone(), length }.to_string());
        }
        match Table::open(length, old) {
            Ok(Some(table)) => return Ok(table.from_backup()),
            // Disks of the time before have their partitions in the MBR.
            Ok(None) if head.get(510..512) == Some(&[0x55, 0xaa]) => {}
            Ok(None) => {
                let why = edit::beginning(&head);
                self.made.findings.push(Error::NoTable { subject, why }.to_string());
            }
            Err(gpt::Error::Read(error)) => return Err(Error::of_sink(error, "read", &subject)),
            Err(error) => {
                self.made.findings.push(format!("{subject}: {error}; the image is copied as it is"));
            }
        }
        Ok(false)
    }

    /// Adds what a stream had behind the end of its disk by the table: all of an image is kept. Forms that have the
    /// length at their beginning are made once more, out of what was written.
    fn append(&mut self, mut tail: Tail, output: &mut Output<'_, '_>) -> Result<(), Error> {
        let (wish, before) = (self.wish, self.length.get());
        tail.strip(before);
        if tail.length == 0 {
            return Ok(());
        }
        let length = before.saturating_add(tail.length);
        self.length.set(length);
        let failed = |error| Error::of_sink(error, "write", wish.target);
        let file = match &output.out {
            Out::File(file) if !matches!(wish.format, Format::Raw | Format::RawBz2) => *file,
            _ => {
                if !length.is_multiple_of(SECTOR) {
                    let ragged = Error::Ragged { subject: self.subject.clone(), length };
                    self.made.findings.push(ragged.to_string());
                }
                return tail.pour(output).map_err(failed);
            }
        };
        output.finish()?;
        let spool = tempfile::tempfile_in(wish.scratch).map_err(failed)?;
        let mut sink = Sparse::create(&spool).map_err(failed)?;
        // The packing of a file is told from where it stands.
        let mut written: &File = file;
        written.rewind().map_err(failed)?;
        match Input::of_file(file.try_clone().map_err(failed)?, wish.target)?.form {
            Form::Stream(packing, reader) => {
                let mut member = Member::new(&mut sink, wish.target);
                unpack::unpack(packing, reader, wish.threads, &mut member, wish.target)
                    .map_err(|error| Error::of_unpack(error, wish.target))?;
                member.finish().map(drop).map_err(failed)?;
            }
            form => {
                if let Some(disk) = form.disk() {
                    disk.pour(0..disk.length(), wish.threads(), &mut sink).map_err(failed)?;
                }
            }
        }
        sink.finish().map_err(failed)?;
        // Some forms round the length up.
        spool.set_len(before).map_err(failed)?;
        let mut sink = Sparse::over(&spool, before).map_err(failed)?;
        tail.pour(&mut sink).map_err(failed)?;
        sink.finish().map_err(failed)?;
        file.set_len(0).and_then(|()| written.rewind()).map_err(failed)?;
        output.at = 0;
        let spool = Arc::new(spool);
        self.disk(&Form::Raw(spool.clone(), Raw::new(spool, length)), output)
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
        let length = plan.new.length;
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
        let tail = Rc::new(RefCell::new(Tail::new(wish.scratch)));
        let edited = RefCell::new(None);
        let sorted = {
            let (run, out, behind, name) = (&mut *self, &mut *output, &edited, subject.as_str());
            let (passed, known) = (at.clone(), length.clone());
            let behind_disk = tail.clone();
            let choose = move |head: &[u8]| {
                let table = Table::of_head(head);
                // The table at the end is as good, and is not there yet.
                if needs_its_end(head, &table) {
                    return Ok(Way::Spool);
                }
                if wish.changes() {
                    let edit = Edit::new(out, run, name, wish.scratch);
                    return Ok(Way::On(Box::new(Shared::new(edit, behind))));
                }
                // Without a table its length is not known.
                let Ok(Some(table)) = table else { return Ok(Way::Spool) };
                known.set(table.length);
                let sink = Straight { out, at: passed, length: table.length, behind: behind_disk };
                Ok(Way::On(Box::new(sink)))
            };
            let mut sorter = Sorter::new(HEAD, wish.scratch, choose);
            let written = |error| Error::of_sink(error, "write", wish.target);
            let mut member = Member::new(&mut sorter, &subject);
            unpack::unpack(packing, reader, wish.threads, &mut member, &subject)
                .map_err(|error| Error::of_unpack(error, wish.target))?;
            member.finish().map_err(written)?;
            sorter.finish().map_err(written)?
        };
        if let Some(edit) = edited.into_inner() {
            let (_, done) = Edit::finish(edit)?;
            self.tell(&done.findings);
            if let (Some(_), Some(platform)) = (self.judged.take(), wish.platform) {
                self.made.advice.push(format!(
                    "OEM stays as it is, and was not looked at: if it is generic, `prebake disk inject --platform {}` makes \
                     the image",
                    platform.id
                ));
            }
            return Ok(());
        }
        match sorted {
            Sorted::On if at.get() < length.get() => {
                Err(Error::Truncated { subject, end: at.get(), length: length.get() })
            }
            Sorted::On => self.append(tail.replace(Tail::new(wish.scratch)), output),
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
        if !wish.changes() {
            self.length.set(table.length);
            return Ok(Vec::new());
        }
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
            self.grown = flatcar.root.clone();
        }
        self.length.set(table.length);
        if wish.injection.is_none() && !wish.remove {
            self.judged = Some(flatcar.oem)
                .filter(|_| wish.platform.is_some_and(|platform| !platform.oem_id.is_empty()));
            return Ok(Vec::new());
        }
        let mut rewritten = vec![flatcar.oem.number];
        // OEM tells, when it was read, which files are on ROOT.
        let root = flatcar.root.filter(|root| root.start > flatcar.oem.start);
        if !self.adds().is_empty() {
            ext4::must_have_tool(subject)?;
            if root.is_none() {
                return Err(Error::Root { subject: subject.clone(), is: "not behind OEM" });
            }
        }
        self.root = root.map(|root| root.number);
        rewritten.extend(self.root);
        self.oem = Some(flatcar.oem);
        Ok(rewritten)
    }

    fn grown(&self) -> Option<Partition> {
        self.grown.clone()
    }

    fn judge_grown(&self, head: &[u8]) -> Result<(), Error> {
        layout::judge_growth(layout::Content::of(head), &self.subject)
    }

    fn foresee(&mut self, old: &ReadAt<'_>) -> Result<(), Error> {
        if let (Some(oem), Some(platform)) = (self.judged.take(), self.wish.platform) {
            let read = |at: u64, bytes: &mut [u8]| old(oem.start.saturating_add(at), bytes);
            let is = Content::open(oem.length, &read, &self.subject)?.oem.platform();
            self.made.advice.extend(stays(platform, is.as_deref()));
        }
        if let Some(root) = &self.grown {
            let mut head = vec![0; PROBED.min(usize::try_from(root.length).unwrap_or(PROBED))];
            let read = old(root.start, &mut head);
            read.map_err(|error| Error::of_sink(error, "read", &self.subject))?;
            self.judge_grown(&head)?;
        }
        if let Some(oem) = self.oem.clone() {
            let read = |at: u64, bytes: &mut [u8]| old(oem.start.saturating_add(at), bytes);
            self.gone = Content::open(oem.length, &read, &self.subject)?.oem.on_root()?.into_keys().collect();
        }
        Ok(())
    }

    fn is_due(&self, partition: &Partition) -> bool {
        Some(partition.number) != self.root || !self.gone.is_empty() || !self.adds().is_empty()
    }

    fn rewrite(&mut self, partition: &Partition, old: &ReadAt<'_>, out: &mut dyn Sink) -> io::Result<()> {
        if Some(partition.number) == self.root {
            let root = Root::spool(partition, old, self.wish.scratch, &self.subject)?;
            root.change(&self.gone, self.adds(), self.wish.epoch)?;
            self.made.on_root = self.adds().iter().map(|add| add.path.clone()).collect();
            self.made.removed.extend(self.gone.iter().map(|path| format!("/{path}")));
            if !self.adds().is_empty() {
                self.made.advice.push(root::warning(&self.subject));
            }
            return root.pour(out);
        }
        let mut content = Content::open(partition.length, old, &self.subject)?;
        content.learn()?;
        self.gone = content.oem.on_root()?.into_keys().collect();
        let (new, findings) = match self.wish.injection {
            Some(injection) => content.oem.inject(injection)?,
            None => content.oem.remove()?,
        };
        let made = &mut self.made;
        made.injected = new.injected()?;
        // Files that others have changed since have stayed.
        let stayed =
            |path: &String| content.oem.get(path).is_some() && content.oem.get(path) == new.get(path);
        let removed = content.oem.injected()?.into_iter();
        made.removed = removed.filter(|path| made.injected.contains(path) || !stayed(path)).collect();
        made.platform = new.platform();
        made.room = Some(new.room());
        made.findings.extend(findings.into_iter().map(|finding| format!("{}: {finding}", self.subject)));
        made.findings.extend(new.unpacked().map(|note| format!("{}: {note}", self.subject)));
        content.write(&new, self.wish.epoch, out)?;
        Ok(())
    }
}

/// Advice about an OEM that stays though an image for a platform was asked for.
fn stays(platform: &Platform, is: Option<&str>) -> Option<String> {
    let id = platform.id;
    match is {
        None => {
            Some(format!("OEM stays generic: `prebake disk inject --platform {id}` makes an image for {id}"))
        }
        Some(is) if is != id && is != platform.oem_id => {
            Some(format!("OEM stays that of {is}, and not of {id}"))
        }
        Some(_) => None,
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
