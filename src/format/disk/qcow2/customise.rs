//! Writes an image anew with some ranges of the disk replaced. Compressed clusters that keep their contents are
//! copied as they are.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::read::{Entry, Image};
use super::write::Writer;
use super::{COPIED, Options, packed_entry};
use crate::format::disk::pieces::{Disk, InPieces, Pieces as _};
use crate::format::disk::{Error, Format};
use crate::format::sparse::{Sink, copy_range};

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
    copy(image, &kept(image, &patches)?, &mut writer)?;
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
    writer.finish().map(drop)
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

/// The parts of the file that patches leave, by offset.
///
/// The length of a compressed cluster is known by sectors only, so that the beginning of the next one mostly lies in its
/// last sector. It keeps its sectors: clusters may share bytes, and nothing in an image says so. Only where the next one
/// is replaced does it end before that, if it can be decompressed without it: what was replaced is no part of the new
/// image.
fn kept(image: &Image, patches: &[Patch<'_>]) -> io::Result<Vec<Kept>> {
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
    let stays = |kept: &Kept| {
        let start = kept.number * cluster;
        let after = patches.partition_point(|patch| patch.end() <= start);
        patches.get(after).is_none_or(|patch| patch.start >= start + cluster)
    };
    let mut decoder = image.decoder()?;
    let nexts = stored.iter().skip(1).map(Some).chain([None]);
    let mut ends = Vec::with_capacity(stored.len());
    for (kept, next) in stored.iter().zip(nexts) {
        let cut = next.filter(|next| next.at < kept.end && kept.is_packed && stays(kept) && !stays(next));
        ends.push(match cut {
            Some(next) if image.unpacks(kept.at..next.at, &mut decoder)? => next.at,
            _ => kept.end,
        });
    }
    stored.iter_mut().zip(ends).for_each(|(kept, end)| kept.end = end);
    stored.retain(stays);
    Ok(stored)
}

/// Stretches of the file whose parts follow each other or overlap.
fn runs(kept: &[Kept]) -> Vec<&[Kept]> {
    let mut end = 0;
    kept.chunk_by(|one, next| {
        end = one.end.max(end);
        end >= next.at
    })
    .collect()
}

/// Copies what is kept, neighbours at once, and enters it into the new tables.
fn copy(image: &Image, kept: &[Kept], writer: &mut Writer) -> io::Result<()> {
    let layout = &mut writer.layout;
    for run in runs(kept) {
        let Some(first) = run.first() else { continue };
        let copied = run.iter().map(|kept| kept.end).max().unwrap_or(first.at);
        // A cluster at the file's end may be short there, but is a whole one for those who come after it.
        let whole = |kept: &Kept| if kept.is_packed { kept.end } else { kept.at + image.cluster() };
        let end = run.iter().map(whole).max().unwrap_or(copied);
        let new = layout.reserve_alike(first.at, end - first.at);
        let (file, start) = image.file.place();
        copy_range(file, start + first.at, layout.file(), new, copied - first.at)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use flate2::{Compress, Compression, FlushCompress};

    use super::*;
    use crate::format::disk::qcow2::{PACKED, sectors_shift};

    const CLUSTER: usize = 1 << 16;

    /// A disk of two clusters, and an image of it: the second one, compressed, is a part of the first one's data, which
    /// is stored within deflate.
    fn overlapping() -> (Vec<u8>, Vec<u8>) {
        let mut text: Vec<u8> = b"B cluster ".iter().copied().cycle().take(CLUSTER).collect();
        let mut inner = Vec::with_capacity(CLUSTER);
        let mut deflate = Compress::new_with_window_bits(Compression::best(), false, 12);
        deflate.compress_vec(&text, &mut inner, FlushCompress::Finish).unwrap();
        let mut seed = 1_u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        let mut disk: Vec<u8> = (0..CLUSTER).map(|_| noise()).collect();
        disk[1000..1000 + inner.len()].copy_from_slice(&inner);
        let mut outer = vec![0, 0xff, 0xff, 0, 0];
        outer.extend(&disk[..0xffff]);
        outer.extend([1, 1, 0, 0xfe, 0xff]);
        outer.extend(&disk[0xffff..]);
        let entry = |at: usize, length: usize| {
            let sectors = (at + length - 1) / 512 - at / 512;
            PACKED | (sectors as u64) << sectors_shift(16) | at as u64
        };
        let mut image = vec![0; 7 * CLUSTER];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"QFI\xfb\0\0\0\x02");
        put(20, &16_u32.to_be_bytes());
        put(24, &(2 * CLUSTER as u64).to_be_bytes());
        put(36, &1_u32.to_be_bytes());
        put(40, &(CLUSTER as u64).to_be_bytes());
        put(48, &(3 * CLUSTER as u64).to_be_bytes());
        put(56, &1_u32.to_be_bytes());
        put(CLUSTER, &(COPIED | (2 * CLUSTER as u64)).to_be_bytes());
        put(2 * CLUSTER, &entry(5 * CLUSTER, outer.len()).to_be_bytes());
        put(2 * CLUSTER + 8, &entry(5 * CLUSTER + 1005, inner.len()).to_be_bytes());
        put(5 * CLUSTER, &outer);
        disk.append(&mut text);
        (disk, image)
    }

    fn read(file: File) -> Vec<u8> {
        let image = Image::open(Arc::new(file), "x.qcow2").unwrap();
        let (mut decoder, mut disk, mut bytes) = (image.decoder().unwrap(), Vec::new(), Vec::new());
        for start in [0, CLUSTER as u64] {
            image.decode(start, &mut decoder, &mut bytes).unwrap();
            disk.extend(&bytes);
        }
        disk
    }

    /// Every program reads it, and `qemu-img check` finds nothing wrong with it.
    #[test]
    fn clusters_that_share_bytes_keep_them() {
        let (disk, bytes) = overlapping();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        assert!(read(file.try_clone().unwrap()) == disk);
        let image = Arc::new(Image::open(Arc::new(file), "x.qcow2").unwrap());
        let made = |patches: Vec<Patch<'_>>| {
            let out = tempfile::tempfile().unwrap();
            let twin = out.try_clone().unwrap();
            customise(&image, disk.len() as u64, patches, twin, NonZeroUsize::MIN).unwrap();
            read(out)
        };
        assert!(made(Vec::new()) == disk);
        for number in [0, 1] {
            let start = number * CLUSTER;
            let pour: Pour<'_> = Box::new(|sink| sink.data(&[7; CLUSTER]));
            let patch = Patch { start: start as u64, length: CLUSTER as u64, pour };
            let mut expected = disk.clone();
            expected[start..start + CLUSTER].fill(7);
            assert!(made(vec![patch]) == expected, "{number}");
        }
    }
}
