//! Parts of a disk image replaced: the plan, and its execution on a stream or on files.
//!
//! ```text
//! old   head │ EFI … USR-B │ OEM │ OEM-CONFIG, ROOT │ tail
//! new   head │ as it is    │ new │ as it is         │ zeros …            │ tail
//! ```
//! Owns which ranges of an image change ([`Plan`]), and a [`Sink`] that changes them while the image comes by, front to
//! back ([`Edit`]). Partitions stay where they are; the last one may grow. A partition that is written anew is written
//! whole, zeros too: old bytes between new ones would be read as part of the new file system (kernels refuse a btrfs
//! for them).
//!
//! Leaves the content of partitions to the [`Change`] that it is given, and the form of an image to `format`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::kind;
use crate::disk::Error;
use crate::disk::layout::PROBED;
use crate::format::disk::{Disk, vhd};
use crate::format::gpt::{self, Finding, HEAD, Partition, ReadAt, SECTOR, Table};
use crate::format::sparse::{Sink, copy_range, is_zero, next_data};

/// Part of step keys; raised when the bytes for the same change differ.
pub const REVISION: u32 = 1;

/// Bytes of a block of a [`Scratch`], which is stored or a hole.
const BLOCK: u64 = 4096;

/// A change of a disk image.
pub trait Change {
    /// Judges the table and lets it grow, before a byte is written. Returns the numbers of the partitions that
    /// [`Change::rewrite`] writes anew.
    fn plan(&mut self, table: &mut Table) -> Result<Vec<u32>, Error>;

    /// Looks at the old image where it can be read at any place, before [`Change::is_due`] is asked.
    ///
    /// # Errors
    /// A partition that decides about another one cannot be read.
    fn foresee(&mut self, _old: &ReadAt<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// The partition that the plan lets grow, as it is. Its first bytes are shown to [`Change::judge_grown`] when they
    /// come by, unless it is written anew.
    fn grown(&self) -> Option<Partition> {
        None
    }

    /// Judges the first [`PROBED`] bytes of the partition that grows.
    ///
    /// # Errors
    /// Its content cannot grow.
    fn judge_grown(&self, _head: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    /// Whether a partition of the plan is written anew after all. Asked when its turn comes: those before it have been
    /// written by then, or foreseen.
    fn is_due(&self, _partition: &Partition) -> bool {
        true
    }

    /// Writes the new content of a partition, all of its old length. Its old content is read by `old` at offsets in the
    /// partition. An [`Error`] goes through `?` into an I/O error, and comes out as itself.
    fn rewrite(&mut self, partition: &Partition, old: &ReadAt<'_>, out: &mut dyn Sink) -> io::Result<()>;
}

impl<C: Change + ?Sized> Change for &mut C {
    fn plan(&mut self, table: &mut Table) -> Result<Vec<u32>, Error> {
        (**self).plan(table)
    }

    fn foresee(&mut self, old: &ReadAt<'_>) -> Result<(), Error> {
        (**self).foresee(old)
    }

    fn grown(&self) -> Option<Partition> {
        (**self).grown()
    }

    fn judge_grown(&self, head: &[u8]) -> Result<(), Error> {
        (**self).judge_grown(head)
    }

    fn is_due(&self, partition: &Partition) -> bool {
        (**self).is_due(partition)
    }

    fn rewrite(&mut self, partition: &Partition, old: &ReadAt<'_>, out: &mut dyn Sink) -> io::Result<()> {
        (**self).rewrite(partition, old, out)
    }
}

/// The content of a range that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// MBR, header and entries.
    Head,
    /// The partition of this number, as long as it was: one that grows gets zeros behind that.
    Partition(u32),
    /// Zeros, where the old copy of the table was.
    Zeros,
    /// The copy of the table.
    Tail,
}

/// A range of the new image whose bytes are not those of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in bytes.
    pub at: u64,
    /// Length in bytes.
    pub length: u64,
    /// Its content.
    pub what: What,
}

/// The change of an image, planned: everything outside of the pieces is as before, and zeros behind the old image's
/// end.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The table as it is.
    pub old: Table,
    /// The table as it will be.
    pub new: Table,
    /// The ranges that change, in ascending order and without overlaps.
    pub pieces: Vec<Piece>,
    subject: String,
}

impl Plan {
    /// The plan for an image with this table; `subject` is its name, for messages.
    ///
    /// # Errors
    /// Those of [`Change::plan`]; a partition that moved or shrank.
    pub fn of(old: Table, change: &mut dyn Change, subject: &str) -> Result<Self, Error> {
        let mut new = old.clone();
        let damaged = |why| Error::gpt(subject)(gpt::Error::Damaged(why));
        let rewritten = change.plan(&mut new)?;
        if new.sector != old.sector || new.head().len() != old.head().len() || new.length < old.length {
            return Err(damaged("its new form has another size"));
        }
        let mut pieces = vec![Piece { at: 0, length: new.head().len() as u64, what: What::Head }];
        for partition in &new.partitions {
            let before = old.partitions.iter().find(|before| before.number == partition.number);
            let is_rewritten = rewritten.contains(&partition.number);
            match before {
                Some(before) if before.start != partition.start => {
                    return Err(damaged("a partition would move"));
                }
                Some(before) if before.length > partition.length => {
                    return Err(damaged("a partition would shrink"));
                }
                _ => {}
            }
            if is_rewritten {
                let what = What::Partition(partition.number);
                let length = before.map_or(partition.length, |before| before.length);
                pieces.push(Piece { at: partition.start, length, what });
            }
        }
        let (old_tail, new_tail) = (old.tail_start(), new.tail_start());
        if let Some(length @ 1..) = new_tail.min(old.length).checked_sub(old_tail) {
            pieces.push(Piece { at: old_tail, length, what: What::Zeros });
        }
        pieces.push(Piece { at: new_tail, length: new.length - new_tail, what: What::Tail });
        pieces.sort_by_key(|piece| piece.at);
        Ok(Plan { old, new, pieces, subject: subject.into() })
    }

    /// Leaves the partitions out that stay as they are after all. `old` reads the old image, at offsets in it.
    ///
    /// # Errors
    /// Those of [`Change::foresee`].
    pub fn settle(&mut self, change: &mut dyn Change, old: &ReadAt<'_>) -> Result<(), Error> {
        change.foresee(old)?;
        let due = |piece: &Piece| self.partition(piece).is_none_or(|partition| change.is_due(&partition));
        let pieces = self.pieces.iter().filter(|piece| due(piece)).copied().collect();
        self.pieces = pieces;
        Ok(())
    }

    /// The partition of a piece, as long as the piece.
    fn partition(&self, piece: &Piece) -> Option<Partition> {
        let What::Partition(number) = piece.what else { return None };
        let partition = self.new.partitions.iter().find(|partition| partition.number == number)?;
        Some(Partition { length: piece.length, ..partition.clone() })
    }

    /// Writes the new bytes of a piece. `old` reads the old image, at offsets in it.
    pub fn render(
        &self,
        piece: &Piece,
        change: &mut dyn Change,
        old: &ReadAt<'_>,
        out: &mut dyn Sink,
    ) -> Result<(), Error> {
        let mut out = Exactly { out, written: 0 };
        let wrote =
            |result: io::Result<()>| result.map_err(|error| Error::of_sink(error, "write", &self.subject));
        match piece.what {
            What::Head => wrote(out.data(&self.new.head()))?,
            What::Tail => wrote(out.data(&self.new.tail()))?,
            What::Zeros => wrote(out.zeros(piece.length))?,
            What::Partition(_) => {
                if let Some(partition) = self.partition(piece) {
                    let start = partition.start;
                    wrote(change.rewrite(&partition, &|at, bytes| old(start + at, bytes), &mut out))?;
                    if out.written != piece.length {
                        return Err(Error::Length {
                            subject: self.subject.clone(),
                            name: partition.name,
                            written: out.written,
                            length: piece.length,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// A sink that counts.
struct Exactly<'o> {
    out: &'o mut dyn Sink,
    written: u64,
}

impl Sink for Exactly<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.written = self.written.saturating_add(length);
        self.out.zeros(length)
    }
}

/// The outcome of a change.
#[derive(Debug)]
pub struct Done {
    /// The new table.
    pub table: Table,
    /// Departures of the old one from an intact table.
    pub findings: Vec<Finding>,
}

/// A sink that changes an image on its way to another sink. The image's first 34 sectors tell the plan; partitions that
/// are written anew are kept until their end, without holes. An error of the [`Change`] comes back inside of an I/O
/// error, out of which [`Error::of_sink`] takes it.
pub struct Edit<S, C> {
    out: S,
    change: C,
    subject: String,
    scratch: PathBuf,
    /// Bytes of the old image that came.
    at: u64,
    state: State,
}

enum State {
    /// The beginning is not complete.
    Head(Vec<u8>),
    Body(Box<Body>),
    /// An error was returned; nothing more can be done.
    Failed,
}

struct Body {
    plan: Plan,
    /// Index of the next piece.
    next: usize,
    /// Old content of the partition of that piece.
    kept: Scratch,
    /// Bytes of the old image's tail.
    tail: Vec<u8>,
    /// The bytes behind it.
    trailer: Trailer,
    /// A partition that grows, and its first bytes so far, until they were judged.
    watched: Option<(Partition, Vec<u8>)>,
}

/// The bytes behind the end of a disk by its table: zeros, which other programs add to round a length up, and the footer
/// of a VHD perhaps.
#[derive(Debug)]
pub struct Trailer {
    /// Length of the disk by its table, in bytes.
    disk: u64,
    at: u64,
    /// The first byte that is not zero.
    other: Option<u64>,
    ending: vhd::Ending,
}

impl Trailer {
    /// Nothing yet, behind a disk of that length in bytes.
    pub fn new(disk: u64) -> Self {
        Trailer { disk, at: disk, other: None, ending: vhd::Ending::default() }
    }

    fn beyond(&self, subject: &str) -> Error {
        Error::Beyond { subject: subject.into(), at: self.disk }
    }

    /// Takes bytes; `subject` is the image's name, for messages.
    ///
    /// # Errors
    /// They are too many to be a footer, and not zeros.
    pub fn data(&mut self, bytes: &[u8], subject: &str) -> Result<(), Error> {
        if self.other.is_none() {
            let other = bytes.iter().position(|byte| *byte != 0);
            self.other = other.map(|first| self.at.saturating_add(first as u64));
        }
        self.ending.data(bytes);
        self.pass(bytes.len() as u64, subject)
    }

    fn pass(&mut self, length: u64, subject: &str) -> Result<(), Error> {
        self.at = self.at.saturating_add(length);
        match self.other {
            Some(other) if self.at - other > vhd::FOOTER => Err(self.beyond(subject)),
            _ => Ok(()),
        }
    }

    /// The same for zeros.
    ///
    /// # Errors
    /// Those of [`Trailer::data`].
    pub fn zeros(&mut self, length: u64, subject: &str) -> Result<(), Error> {
        self.ending.zeros(length);
        self.pass(length, subject)
    }

    /// Judges them at their end, and returns where the image ended, without a footer.
    ///
    /// # Errors
    /// They are neither zeros nor a footer; they end inside of a sector.
    pub fn finish(&self, subject: &str) -> Result<u64, Error> {
        let footed = self.ending.disk(self.at);
        match self.other {
            Some(other) if footed.is_none_or(|disk| other < disk) => Err(self.beyond(subject)),
            _ => must_be_sectors(self.at, subject).map(|()| footed.unwrap_or(self.at)),
        }
    }
}

/// Refuses a length that no disk has: something is missing at its end.
fn must_be_sectors(length: u64, subject: &str) -> Result<(), Error> {
    match length.is_multiple_of(SECTOR) {
        true => Ok(()),
        false => Err(Error::Ragged { subject: subject.into(), length }),
    }
}

/// Judges what an image that is read at any place has behind the end by its table.
///
/// # Errors
/// Those of [`Trailer::finish`]; the image cannot be read.
pub fn judge_behind(disk: &dyn Disk, end: u64, subject: &str) -> Result<(), Error> {
    let length = disk.length();
    must_be_sectors(length, subject)?;
    let mut behind = Behind { trailer: Trailer::new(end), subject };
    if end < length {
        let read = disk.pour(end..length, std::num::NonZeroUsize::MIN, &mut behind);
        read.map_err(|error| Error::of_sink(error, "read", subject))?;
    }
    behind.trailer.finish(subject).map(drop)
}

/// A sink of bytes behind a disk.
struct Behind<'s> {
    trailer: Trailer,
    subject: &'s str,
}

impl Sink for Behind<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        Ok(self.trailer.data(bytes, self.subject)?)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        Ok(self.trailer.zeros(length, self.subject)?)
    }
}

/// Bytes on their way.
#[derive(Clone, Copy)]
enum Run<'r> {
    Data(&'r [u8]),
    Zeros(u64),
}

impl<'r> Run<'r> {
    fn length(self) -> u64 {
        match self {
            Run::Data(bytes) => bytes.len() as u64,
            Run::Zeros(length) => length,
        }
    }

    /// The first `at` bytes, of which there are as many, and the others.
    fn split(self, at: u64) -> (Run<'r>, Run<'r>) {
        match self {
            Run::Data(bytes) => {
                let (first, rest) =
                    bytes.split_at(usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len()));
                (Run::Data(first), Run::Data(rest))
            }
            Run::Zeros(length) => (Run::Zeros(at.min(length)), Run::Zeros(length.saturating_sub(at))),
        }
    }

    fn push(self, out: &mut dyn Sink) -> io::Result<()> {
        match self {
            Run::Data(bytes) => out.data(bytes),
            Run::Zeros(length) => out.zeros(length),
        }
    }

    /// Appends it to a buffer, whose room the caller has judged.
    fn append(self, buffer: &mut Vec<u8>) {
        match self {
            Run::Data(bytes) => buffer.extend(bytes),
            Run::Zeros(length) => buffer.resize(buffer.len() + length as usize, 0),
        }
    }
}

impl<S: Sink, C: Change> Edit<S, C> {
    /// Changes an image on its way into `out`. `subject` is its name, for messages. Old content that is large goes
    /// into a file without a name in the directory `scratch`.
    pub fn new(out: S, change: C, subject: &str, scratch: &Path) -> Self {
        let state = State::Head(Vec::with_capacity(HEAD));
        Edit { out, change, subject: subject.into(), scratch: scratch.into(), at: 0, state }
    }

    fn take(&mut self, mut run: Run<'_>) -> io::Result<()> {
        while run.length() > 0 {
            // A failure below leaves this state behind.
            match std::mem::replace(&mut self.state, State::Failed) {
                State::Failed => return Err(io::Error::other("the change of this image has failed before")),
                State::Head(mut head) => {
                    let (first, rest) = run.split((HEAD - head.len()) as u64);
                    first.append(&mut head);
                    self.at += first.length();
                    run = rest;
                    self.state = match head.len() == HEAD {
                        true => State::Body(Box::new(self.begin(&head)?)),
                        false => State::Head(head),
                    };
                }
                State::Body(mut body) => {
                    run = self.body(&mut body, run)?;
                    self.state = State::Body(body);
                }
            }
        }
        Ok(())
    }

    /// Makes the plan, and writes the new beginning.
    fn begin(&mut self, head: &[u8]) -> Result<Body, Error> {
        let table = Table::of_head(head).map_err(Error::gpt(&self.subject))?;
        let no_table = || Error::NoTable { subject: self.subject.clone(), why: beginning(head) };
        let plan = Plan::of(table.ok_or_else(no_table)?, &mut self.change, &self.subject)?;
        let new = plan.new.head();
        let rest = head.get(new.len()..).unwrap_or_default();
        let written = self.out.data(&new).and_then(|()| self.out.data(rest));
        written.map_err(|error| Error::of_sink(error, "write", &self.subject))?;
        let kept = Scratch::new(&self.scratch);
        let trailer = Trailer::new(plan.old.length);
        let watched = self.change.grown().map(|partition| (partition, Vec::new()));
        Ok(Body { plan, next: 1, kept, tail: Vec::new(), trailer, watched })
    }

    /// Keeps the first bytes of a partition that grows, and has them judged when all are there.
    fn watch(&self, body: &mut Body, run: Run<'_>) -> Result<(), Error> {
        let Some((partition, mut seen)) = body.watched.take() else { return Ok(()) };
        let next = partition.start + seen.len() as u64;
        let end = partition.start + partition.length.min(PROBED as u64);
        // Bytes of a partition that is written anew do not come here.
        if self.at <= next && next < self.at + run.length() {
            let (_, run) = run.split(next - self.at);
            let (run, _) = run.split(end - next);
            run.append(&mut seen);
        }
        if partition.start + seen.len() as u64 == end {
            return self.change.judge_grown(&seen);
        }
        body.watched = Some((partition, seen));
        Ok(())
    }

    /// Takes the first bytes of a run, and returns the others.
    fn body<'r>(&mut self, body: &mut Body, run: Run<'r>) -> io::Result<Run<'r>> {
        let (tail_start, length) = (body.plan.old.tail_start(), body.plan.old.length);
        if self.at >= length {
            match run {
                Run::Data(bytes) => body.trailer.data(bytes, &self.subject)?,
                Run::Zeros(length) => body.trailer.zeros(length, &self.subject)?,
            }
            return Ok(Run::Zeros(0));
        }
        if self.at >= tail_start {
            let (first, rest) = run.split(length - self.at);
            first.append(&mut body.tail);
            self.at += first.length();
            return Ok(rest);
        }
        let piece = body.plan.pieces.get(body.next).filter(|piece| matches!(piece.what, What::Partition(_)));
        let Some(piece) = piece.copied().filter(|piece| piece.at <= self.at) else {
            let end = piece.map_or(tail_start, |piece| piece.at.min(tail_start));
            let (first, rest) = run.split(end - self.at);
            self.watch(body, first)?;
            first.push(&mut self.out)?;
            self.at += first.length();
            return Ok(rest);
        };
        if self.at == piece.at
            && body.plan.partition(&piece).is_some_and(|partition| !self.change.is_due(&partition))
        {
            body.next += 1;
            return Ok(run);
        }
        let end = piece.at + piece.length;
        let (first, rest) = run.split(end - self.at);
        match first {
            Run::Data(bytes) => body.kept.write(self.at - piece.at, bytes)?,
            Run::Zeros(_) => {}
        }
        self.at += first.length();
        if self.at == end {
            let kept = &body.kept;
            let old = |at: u64, bytes: &mut [u8]| kept.read(at - piece.at, bytes);
            body.plan.render(&piece, &mut self.change, &old, &mut self.out)?;
            body.kept = Scratch::new(&self.scratch);
            body.next += 1;
        }
        Ok(rest)
    }

    /// Ends the image, and returns the sink and what was done.
    ///
    /// # Errors
    /// The image ended too early; the sink fails.
    pub fn finish(mut self) -> Result<(S, Done), Error> {
        let subject = self.subject;
        let mut body = match self.state {
            State::Body(body) => body,
            State::Head(head) => {
                let why = if head.is_empty() { "it is empty" } else { "it is shorter than a table" };
                return Err(Error::NoTable { subject, why: why.into() });
            }
            State::Failed => {
                let source = io::Error::other("the change of this image has failed before");
                return Err(Error::Io { action: "write", subject, source });
            }
        };
        let Plan { old, new, .. } = &body.plan;
        if self.at < old.tail_start() {
            return Err(Error::Truncated { subject, end: self.at, length: old.length });
        }
        must_be_sectors(self.at, &subject)?;
        let image = body.trailer.finish(&subject)?;
        let mut write = || {
            self.out.zeros(new.tail_start() - old.tail_start())?;
            self.out.data(&new.tail())
        };
        write().map_err(|error| Error::of_sink(error, "write", &subject))?;
        let mut findings = std::mem::take(&mut body.plan.old.findings);
        if image > body.plan.old.length {
            findings.push(Finding::Inside { length: body.plan.old.length, image });
        }
        if body.tail != body.plan.old.tail() {
            let is_cut = self.at < body.plan.old.length;
            findings.push(Finding::Backup(if is_cut { "the image ends before it" } else { "it differs" }));
        }
        Ok((self.out, Done { table: body.plan.new, findings }))
    }
}

impl<S: Sink, C: Change> Sink for Edit<S, C> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.take(Run::Data(bytes))
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.take(Run::Zeros(length))
    }
}

/// The kind of a file without a partition table, by its first bytes.
pub fn beginning(head: &[u8]) -> String {
    type Row = (usize, &'static [u8], &'static str);
    /// Kinds that have other words here than [`kind`] has for them, or none there.
    const OWN: &[Row] = &[
        (0, b"KDMV", "it is a VMDK"),
        (0, b"conectix", "it is a dynamic VHD"),
        (0, b"vhdxfile", "it is a VHDX"),
        (0, &[0x1f, 0x8b], "it is a gzip file"),
        (257, b"ustar", "it is a tar archive"),
        (1080, &[0x53, 0xef], "it is an ext4 without partitions"),
        (0, b"<", "it is a web page, most likely a server's error in place of the download"),
    ];
    const MBR: &[Row] = &[
        (0, b"\xeb\x63\x90", "it has an MBR with GRUB, and no GPT"),
        (510, &[0x55, 0xaa], "it has an MBR, and no GPT"),
    ];
    let by = |rows: &[Row]| {
        let fits = |(at, magic, _): &&Row| head.get(*at..).is_some_and(|rest| rest.starts_with(magic));
        rows.iter().find(fits).map(|(_, _, what)| (*what).to_owned())
    };
    match () {
        () if is_zero(head) => "it begins with zeros".to_owned(),
        () => by(OWN)
            .or_else(|| kind::of(head).map(|known| format!("it is {}", known.what)))
            .or_else(|| by(MBR))
            .unwrap_or_else(|| "it begins with neither header".to_owned()),
    }
}

/// Changes a raw image: reads `input`, which stays as it is, and writes `output`, a new and empty file. Holes stay
/// holes. Data that does not change is copied inside of the kernel, where file systems share it if they can.
///
/// # Errors
/// Those of the table and the change. `output` may be incomplete then: it must be a file without a name yet.
pub fn change_file(
    input: &File,
    output: &File,
    change: &mut dyn Change,
    subject: &str,
) -> Result<Done, Error> {
    let image = crate::format::disk::length_of(input).map_err(Error::io("read", subject))?;
    let old = |at: u64, bytes: &mut [u8]| input.read_exact_at(bytes, at);
    let table = table_of(image, &old, subject)?;
    let mut plan = Plan::of(table, change, subject)?;
    plan.settle(change, &old)?;
    output.set_len(plan.new.length).map_err(Error::io("write", subject))?;
    let mut end = 0;
    for piece in &plan.pieces {
        copy(input, output, end..piece.at.min(plan.old.tail_start()).max(end))
            .map_err(Error::io("copy", subject))?;
        let mut out = At { file: output, at: piece.at };
        plan.render(piece, change, &old, &mut out)?;
        end = piece.at + piece.length;
    }
    Ok(Done { findings: plan.old.findings.clone(), table: plan.new })
}

/// The table of an image of `length` bytes that is read at any place.
///
/// # Errors
/// There is none, or it is damaged; the image ends before its last partition does.
pub fn table_of(length: u64, old: &ReadAt<'_>, subject: &str) -> Result<Table, Error> {
    let opened = Table::open(length, old);
    // A partition outside of the image is one that the image has lost.
    if let (Err(_), Ok(Some(stated))) = (&opened, Table::stated(old))
        && length < stated.tail_start()
    {
        return Err(Error::Truncated { subject: subject.into(), end: length, length: stated.length });
    }
    let Some(table) = opened.map_err(Error::gpt(subject))? else {
        let mut head = vec![0; HEAD.min(usize::try_from(length).unwrap_or(HEAD))];
        old(0, &mut head).map_err(|error| Error::of_sink(error, "read", subject))?;
        let why = if head.is_empty() { "it is empty".to_owned() } else { beginning(&head) };
        return Err(Error::NoTable { subject: subject.into(), why });
    };
    if length < table.tail_start() {
        return Err(Error::Truncated { subject: subject.into(), end: length, length: table.length });
    }
    Ok(table)
}

/// Copies the data of a range, without its holes.
fn copy(input: &File, output: &File, range: std::ops::Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let data = next_data(input, at..range.end)?;
        copy_range(input, data.start, output, data.start, data.end - data.start)?;
        at = data.end;
    }
    Ok(())
}

/// A range of a file whose holes are there already.
struct At<'f> {
    file: &'f File,
    at: u64,
}

impl Sink for At<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.at += length;
        Ok(())
    }
}

/// A sparse buffer: blocks of zeros are not stored. Up to 16 MiB are in memory; more is in a file without a name.
pub struct Scratch {
    directory: PathBuf,
    /// Blocks by their number.
    blocks: BTreeMap<u64, Box<[u8]>>,
    file: Option<File>,
    /// Offset behind the last byte in the file.
    end: u64,
}

/// Most bytes that a [`Scratch`] keeps in memory.
const MEMORY: u64 = 16 << 20;

impl Scratch {
    /// An empty one, whose file will be in this directory.
    pub fn new(directory: &Path) -> Self {
        Scratch { directory: directory.into(), blocks: BTreeMap::new(), file: None, end: 0 }
    }

    /// Stores bytes at an offset where nothing but zeros was stored before.
    pub fn write(&mut self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let inside = (at % BLOCK) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK as usize - inside));
            if !is_zero(now) {
                self.block(at / BLOCK, inside, now)?;
            }
            at += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn block(&mut self, number: u64, inside: usize, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() && (self.blocks.len() as u64 + 1) * BLOCK > MEMORY {
            let file = tempfile::tempfile_in(&self.directory)?;
            for (number, block) in std::mem::take(&mut self.blocks) {
                file.write_all_at(&block, number * BLOCK)?;
                self.end = (number + 1) * BLOCK;
            }
            self.file = Some(file);
        }
        match &self.file {
            Some(file) => {
                let at = number * BLOCK + inside as u64;
                self.end = self.end.max(at + bytes.len() as u64);
                file.write_all_at(bytes, at)
            }
            None => {
                let block = self.blocks.entry(number).or_insert_with(|| vec![0; BLOCK as usize].into());
                block[inside..][..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Fills a buffer with the bytes at an offset; zeros where nothing was stored.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.fill(0);
        if let Some(file) = &self.file {
            let there = self.end.saturating_sub(at).min(bytes.len() as u64) as usize;
            return file.read_exact_at(&mut bytes[..there], at);
        }
        let end = at.saturating_add(bytes.len() as u64);
        for (number, block) in self.blocks.range(at / BLOCK..end.div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let from = at.saturating_sub(start) as usize;
            let to = start.saturating_sub(at) as usize;
            let length = (BLOCK as usize - from).min(bytes.len() - to);
            bytes[to..][..length].copy_from_slice(&block[from..][..length]);
        }
        Ok(())
    }
}

/// Writes all of an old partition as it is: for changes that keep one.
pub fn replay(old: &ReadAt<'_>, length: u64, out: &mut dyn Sink) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let piece = &mut buffer[..(1 << 20).min(length - at) as usize];
        old(at, piece)?;
        match is_zero(piece) {
            true => out.zeros(piece.len() as u64)?,
            false => out.data(piece)?,
        }
        at += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::layout::{self, Growth, LAYOUTS, Variant};
    use crate::format::gpt::Guid;

    /// An image as a list of its data, so that real sizes cost nothing.
    #[derive(Default)]
    struct Extents {
        at: u64,
        data: BTreeMap<u64, Vec<u8>>,
    }

    impl Sink for Extents {
        fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
            if !is_zero(bytes) {
                self.data.insert(self.at, bytes.to_vec());
            }
            self.at += bytes.len() as u64;
            Ok(())
        }

        fn zeros(&mut self, length: u64) -> io::Result<()> {
            self.at += length;
            Ok(())
        }
    }

    #[derive(Default)]
    struct Whole(Vec<u8>);

    impl Sink for Whole {
        fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.extend(bytes);
            Ok(())
        }

        fn zeros(&mut self, length: u64) -> io::Result<()> {
            self.0.resize(self.0.len() + length as usize, 0);
            Ok(())
        }
    }

    /// Puts a word before the old content of OEM, and lets ROOT grow.
    struct Words {
        growth: Growth,
        short: u64,
    }

    impl Change for Words {
        fn plan(&mut self, table: &mut Table) -> Result<Vec<u32>, Error> {
            let oem = layout::Flatcar::recognise(table, "x.bin")?.oem.number;
            layout::grow(table, self.growth, "x.bin")?;
            Ok(vec![oem])
        }

        fn rewrite(&mut self, partition: &Partition, old: &ReadAt<'_>, out: &mut dyn Sink) -> io::Result<()> {
            let mut first = vec![0; 8];
            old(0, &mut first)?;
            out.data(b"new: ")?;
            out.data(&first)?;
            out.zeros(partition.length - 13 - self.short)
        }
    }

    fn words(growth: Growth) -> Words {
        Words { growth, short: 0 }
    }

    /// A small image with Flatcar's partitions, and a byte at the beginning and end of each.
    fn small() -> (Table, Vec<u8>) {
        let mut table = LAYOUTS[1].table(Variant::Base);
        for (partition, start) in table.partitions.iter_mut().zip(2_u64..) {
            (partition.start, partition.length) = (start << 15, 1 << 15);
        }
        let mut table = Table::new(table.disk, table.partitions, (9 << 15) + 33 * 512 + 1024);
        table.disk = Guid::of(9);
        let mut bytes = table.head();
        bytes.resize(table.tail_start() as usize, 0);
        for partition in &table.partitions {
            bytes[partition.start as usize] = partition.number as u8;
            bytes[partition.end() as usize - 1] = partition.number as u8;
        }
        bytes.extend(table.tail());
        (table, bytes)
    }

    fn pushed(bytes: &[u8], pieces: &[usize], change: Words) -> Result<(Vec<u8>, Done), Error> {
        let directory = std::env::temp_dir();
        let mut edit = Edit::new(Whole::default(), change, "x.bin", &directory);
        let mut rest = bytes;
        let mut sizes = pieces.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            let done = if is_zero(now) { edit.zeros(now.len() as u64) } else { edit.data(now) };
            done.map_err(|error| Error::of_sink(error, "write", "x.bin"))?;
            rest = later;
        }
        edit.finish().map(|(whole, done)| (whole.0, done))
    }

    #[test]
    fn a_partition_is_replaced_and_all_else_stays() {
        let (table, bytes) = small();
        let (new, done) = pushed(&bytes, &[1000], words(Growth::default())).unwrap();
        assert_eq!(done.findings, []);
        let mut expected = bytes.clone();
        let oem = table.named("OEM").unwrap();
        let range = oem.start as usize..oem.end() as usize;
        let mut content = b"new: \x06\0\0\0\0\0\0\0".to_vec();
        content.resize(range.len(), 0);
        expected[range].copy_from_slice(&content);
        assert!(new == expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn pieces_of_any_size_give_what_a_file_gives(
            pieces in proptest::collection::vec(1_usize..60_000, 1..6),
            more in prop_oneof![Just(None), (1_u64..5000).prop_map(Some)],
        ) {
            let (table, bytes) = small();
            let growth = Growth { length: more.map(|more| table.length + more * 512), root: None };
            let (streamed, done) = pushed(&bytes, &pieces, words(growth)).unwrap();
            let (input, output) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            input.write_all_at(&bytes, 0).unwrap();
            let of_file = change_file(&input, &output, &mut words(growth), "x.bin").unwrap();
            let mut written = vec![0; output.metadata().unwrap().len() as usize];
            output.read_exact_at(&mut written, 0).unwrap();
            prop_assert!(streamed == written);
            prop_assert_eq!(&done.table, &of_file.table);
            let found = Table::open(written.len() as u64, &|at, into| output.read_exact_at(into, at)).unwrap().unwrap();
            prop_assert_eq!(&found.findings, &vec![]);
            // The copy at the end of the old image is gone from the new ROOT.
            let old_tail = table.tail_start() as usize..(table.length.min(found.tail_start()) as usize);
            prop_assert!(old_tail.is_empty() || is_zero(&written[old_tail]));
        }
    }

    #[test]
    fn the_real_layouts_are_changed_on_their_way() {
        for layout in &LAYOUTS {
            let table = layout.table(Variant::Base);
            let oem = table.named("OEM").unwrap();
            let growth = Growth { root: Some(layout.root(Variant::Vm)), length: None };
            let mut edit = Edit::new(Extents::default(), words(growth), "x.bin", Path::new("/nowhere"));
            edit.data(&table.head()).unwrap();
            edit.zeros(oem.start - HEAD as u64).unwrap();
            edit.data(b"old OEM!").unwrap();
            edit.zeros(table.tail_start() - oem.start - 8).unwrap();
            edit.data(&table.tail()).unwrap();
            let (out, done) = edit.finish().unwrap();
            let stock = layout.table(Variant::Vm);
            assert_eq!((out.at, done.table.length), (stock.length, stock.length));
            assert_eq!(out.data[&0], stock.head());
            assert_eq!(out.data[&stock.tail_start()], stock.tail());
            assert_eq!(out.data[&oem.start], b"new: ");
            assert_eq!(out.data[&(oem.start + 5)], b"old OEM!");
            assert_eq!((out.data.len(), done.findings.len()), (4, 0));
        }
    }

    #[test]
    fn images_that_end_early_or_late_are_told() {
        let (table, bytes) = small();
        let told = |bytes: &[u8]| {
            pushed(bytes, &[4096], words(Growth::default())).map(|_| ()).unwrap_err().to_string()
        };
        let length = table.length;
        assert_eq!(
            told(&bytes[..100_000]),
            format!(
                "x.bin is truncated: it ends at byte 100000, {} bytes before its end at byte {length}",
                length - 100_000
            )
        );
        assert_eq!(told(&bytes[..1000]), "x.bin has no partition table: it is shorter than a table");
        assert_eq!(told(&[]), "x.bin has no partition table: it is empty");
        let mut qcow = bytes.clone();
        qcow[..17_408].fill(0);
        qcow[..4].copy_from_slice(b"QFI\xfb");
        assert_eq!(told(&qcow), "x.bin has no partition table: it is a qcow2 image");
        let mut beyond = bytes.clone();
        beyond.extend([0; 512]);
        assert!(pushed(&beyond, &[999], words(Growth::default())).is_ok());
        beyond.push(1);
        assert_eq!(
            told(&beyond),
            format!("x.bin goes on at byte {length}, though the disk ends there by its partition table")
        );
        let mut other = bytes.clone();
        other[length as usize - 500] ^= 1;
        let (_, done) = pushed(&other, &[5000], words(Growth::default())).unwrap();
        assert_eq!(done.findings, [Finding::Backup("it differs")]);
        let short =
            pushed(&bytes, &[5000], Words { growth: Growth::default(), short: 1 }).map(|_| ()).unwrap_err();
        assert_eq!(
            short.to_string(),
            "x.bin: the new content of `OEM` has 32767 bytes, and the partition 32768"
        );
    }

    #[test]
    fn a_scratch_gives_back_what_went_in_and_moves_to_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(directory.path());
        let byte = |at: u64| if at % 10_000 < 5_000 { (at / 7 % 251) as u8 } else { 0 };
        let bytes: Vec<u8> = (0..(20 << 20)).map(byte).collect();
        let mut at = 0;
        for piece in bytes.chunks(99_991) {
            scratch.write(at, piece).unwrap();
            at += piece.len() as u64;
            if at % 3 == 0 {
                let mut back = vec![1; 30_000];
                scratch.read(at - 30_000, &mut back).unwrap();
                assert!(back == bytes[at as usize - 30_000..at as usize]);
            }
        }
        assert!(scratch.file.is_some() && scratch.blocks.is_empty());
        let mut back = vec![1; bytes.len() + 9000];
        scratch.read(0, &mut back).unwrap();
        assert!(back[..bytes.len()] == bytes && is_zero(&back[bytes.len()..]));
    }
}
