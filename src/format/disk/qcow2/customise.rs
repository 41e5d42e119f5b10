//! Writes an image anew with some ranges of the disk replaced. Compressed clusters that keep their contents are
//! copied as they are.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::read::{Entry, Image};
use super::write::Writer;
use super::{COPIED, Options, packed_entry};
use crate::format::disk::pieces::{Disk, InPieces};
use crate::format::disk::{Error, Format};
use crate::format::sparse::Sink;

/// Bytes that are copied at once where the system cannot copy by itself.
const COPY: usize = 1 << 20;

/// A function that pours the bytes of a range into a sink.
pub type Pour<'a> = Box<dyn FnOnce(&mut dyn Sink) -> io::Result<()> + 'a>;

/// A range of the disk that is replaced.
pub struct Patch<'a> {
    /// Offset of the range, in bytes.
    pub start: u64,
    /// Length of the range, in bytes.
    pub length: u64,
    /// Pours exactly that many bytes.
    pub pour: Pour<'a>,
}

impl Patch<'_> {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// A stretch of the image's file that is copied.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: u64,
    end: u64,
    /// Number of the cluster on the disk.
    number: u64,
    is_packed: bool,
}

/// Writes an image of a disk of `length` bytes to `out`: as the given one, with patches applied. Patches may come in
/// any order, but not overlap. The disk may become longer; then what no patch covers is zeros.
///
/// # Errors
/// Patches overlap or exceed the disk, or pour another length than theirs; the disk would become shorter; a file cannot
/// be read or written; a cluster at a patch's edge is damaged.
pub fn customise(
    image: &Arc<Image>,
    length: u64,
    mut patches: Vec<Patch<'_>>,
    out: File,
    threads: NonZeroUsize,
) -> io::Result<()> {
    patches.retain(|patch| patch.length > 0);
    patches.sort_by_key(|patch| patch.start);
    let overlap = patches.windows(2).any(|pair| pair[0].end() > pair[1].start);
    if length < image.length || overlap || patches.last().is_some_and(|patch| patch.end() > length) {
        let why = "the replaced ranges overlap or exceed the disk".to_owned();
        return Err(Error::Unfit { format: Format::Qcow2, why }.into());
    }
    patches.extend(tail(image, length, &patches));
    patches.sort_by_key(|patch| patch.start);
    let mut writer =
        Writer::new(out, length, Options { packing: image.packing(), bits: image.bits }, threads)?;
    copy(image, &kept(image, &patches), &mut writer)?;
    let disk = InPieces::new(image.clone());
    let cluster = image.cluster();
    let mut sink = Counted { inner: &mut writer, at: 0 };
    let mut patches = patches.into_iter().peekable();
    // Clusters that patches touch are written: with their old bytes around the patch. Bytes that are skipped were copied.
    while let Some(patch) = patches.next() {
        let aligned = patch.start / cluster * cluster;
        if sink.at < aligned {
            sink.zeros(aligned - sink.at)?;
        }
        old(&disk, patch.start, threads, &mut sink)?;
        let end = patch.end();
        (patch.pour)(&mut sink)?;
        if sink.at != end {
            let why =
                format!("the range before offset {end} was replaced by another length, up to {}", sink.at);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let rounded = end.next_multiple_of(cluster).min(length);
        let next = patches.peek().map_or(rounded, |next| next.start.min(rounded));
        old(&disk, next, threads, &mut sink)?;
    }
    sink.zeros(length - sink.at)?;
    writer.finish()
}

/// The patch that a longer disk needs: zeros in the rest of the image's last cluster, where its file may hold anything.
fn tail<'a>(image: &Image, length: u64, patches: &[Patch<'_>]) -> Vec<Patch<'a>> {
    let end = image.length.next_multiple_of(image.cluster()).min(length);
    let (mut at, mut zeros) = (image.length, Vec::new());
    let starts =
        patches.iter().filter(|patch| patch.end() > image.length).map(|patch| (patch.start, patch.end()));
    for (start, next) in starts.chain([(end, end)]) {
        let length = start.min(end).saturating_sub(at);
        if length > 0 {
            zeros.push(Patch { start: at, length, pour: Box::new(move |sink| sink.zeros(length)) });
        }
        at = at.max(next);
    }
    zeros
}

/// Pours the image's own bytes up to offset `end`, and zeros where it is shorter.
fn old(disk: &InPieces<Image>, end: u64, threads: NonZeroUsize, sink: &mut Counted<'_>) -> io::Result<()> {
    let at = sink.at;
    if at < end.min(disk.length()) {
        disk.pour(at..end.min(disk.length()), threads, sink)?;
    }
    sink.zeros(end - sink.at)
}

/// The parts of the file that patches leave, by offset. A compressed cluster ends where the next thing begins, or with its
/// sector.
fn kept(image: &Image, patches: &[Patch<'_>]) -> Vec<Kept> {
    let (cluster, per_table) = (image.cluster(), image.cluster() / 8);
    let mut stored = Vec::new();
    for (number, table) in image.tables.iter().enumerate() {
        let first = number as u64 * per_table;
        for number in first..first + table.as_ref().map_or(0, |table| table.len() as u64) {
            match image.entry(number) {
                Entry::Zeros => {}
                Entry::Plain(at) => {
                    let end = (at + cluster).min(image.file_length);
                    stored.push(Kept { at, end, number, is_packed: false });
                }
                Entry::Packed { at, end } => stored.push(Kept { at, end, number, is_packed: true }),
            }
        }
    }
    stored.sort_unstable_by_key(|kept| kept.at);
    for next in (1..stored.len()).rev() {
        let limit = stored[next].at;
        let kept = &mut stored[next - 1];
        kept.end = kept.end.min(limit);
    }
    stored.retain(|kept| {
        let start = kept.number * cluster;
        let after = patches.partition_point(|patch| patch.end() <= start);
        patches.get(after).is_none_or(|patch| patch.start >= start + cluster)
    });
    stored
}

/// Copies what is kept, neighbours at once, and enters it into the new tables.
fn copy(image: &Image, kept: &[Kept], writer: &mut Writer) -> io::Result<()> {
    let layout = &mut writer.layout;
    for run in kept.chunk_by(|one, next| one.end == next.at) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        // A cluster at the file's end may be short there, but is a whole one for those who come after it.
        let end = if last.is_packed { last.end } else { last.at + image.cluster() };
        let new = layout.reserve_alike(first.at, end - first.at);
        copy_range(&image.file, first.at, layout.file(), new, last.end - first.at)?;
        for kept in run {
            let at = kept.at - first.at + new;
            let entry = match kept.is_packed {
                true => packed_entry(at, kept.end - kept.at, image.bits),
                false => Some(COPIED | at),
            };
            let entry = entry.ok_or_else(|| {
                let why = format!("offset {at} is too large for a compressed cluster");
                Error::Unfit { format: Format::Qcow2, why }
            })?;
            layout.set(kept.number, entry);
        }
    }
    Ok(())
}

/// Copies within the kernel where it can: file systems with shared extents then copy nothing.
fn copy_range(from: &File, mut at: u64, to: &File, mut new: u64, mut length: u64) -> io::Result<()> {
    while length > 0 {
        match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut new), length as usize) {
            // Offsets have moved on.
            Ok(copied) if copied > 0 => length -= copied as u64,
            _ => break,
        }
    }
    let mut buffer = Vec::new();
    while length > 0 {
        buffer.resize(length.min(COPY as u64) as usize, 0);
        from.read_exact_at(&mut buffer, at)?;
        to.write_all_at(&buffer, new)?;
        let copied = buffer.len() as u64;
        (at, new, length) = (at + copied, new + copied, length - copied);
    }
    Ok(())
}

/// A sink that knows its offset.
struct Counted<'a> {
    inner: &'a mut Writer,
    at: u64,
}

impl Sink for Counted<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.inner.data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.at = self.at.saturating_add(length);
        self.inner.zeros(length)
    }
}
