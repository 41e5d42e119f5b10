//! The data of an image: files are cut into blocks, compressed by several threads and written in order.
//!
//! One thread reads, some compress, and the caller's thread writes. They pass around a fixed number of buffers, so
//! memory does not depend on the files; and every block is compressed by itself and numbered, so the bytes do not
//! depend on the threads.
//!
//! Files shorter than a block share fragment blocks. The end of a longer file, which mksquashfs stores as a short block
//! unless it is told `-always-use-fragments`, goes into a fragment too: that saves space, and costs one more block to
//! decompress for readers of the file's end alone.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Options;
use super::codec::Encoder;
use super::layout::STORED;
use crate::format::sparse::is_zero;
use crate::format::tree::Contents;

/// Buffers per compressing thread: one that it works on, and others that wait before and after it.
const BUFFERS: usize = 4;

/// Location of a stored file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// Position of its first block.
    pub start: u64,
    /// Stored sizes of its blocks, four bytes each.
    pub sizes: Vec<u8>,
    /// Number of zero bytes that are not stored.
    pub sparse: u64,
    /// Index of the fragment block with the file's end, and the offset in it.
    pub fragment: Option<(u32, u32)>,
}

/// All data of an image.
#[derive(Default)]
pub(crate) struct Packed {
    /// In the order given.
    pub files: Vec<Stored>,
    /// Position and stored size of each fragment block.
    pub fragments: Vec<(u64, u32)>,
    /// Position after the last block.
    pub end: u64,
}

/// The owner of a block.
#[derive(Clone, Copy)]
enum Part {
    File(usize),
    Fragment,
}

/// A block on its way between threads, with its buffers.
#[derive(Default)]
struct Block {
    number: u64,
    part: Option<Part>,
    raw: Vec<u8>,
    packed: Vec<u8>,
    /// Stored size with flags, as in the format.
    size: u32,
}

/// Compresses files and writes them to `out`, whose next byte is at `at` in the image.
pub(crate) fn pack(
    files: &[&Contents],
    options: Options,
    threads: NonZeroUsize,
    at: u64,
    out: &mut impl Write,
) -> io::Result<Packed> {
    let (free, buffers) = mpsc::channel();
    let (raw, work) = mpsc::channel();
    let (done, blocks) = mpsc::channel();
    for _ in 0..threads.get() * BUFFERS {
        // Cannot fail, because the receiver exists.
        let _ = free.send(Block::default());
    }
    let work = &Mutex::new(work);
    let encoders = (0..threads.get()).map(|_| Encoder::new(options)).collect::<io::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        for encoder in encoders {
            let done = done.clone();
            scope.spawn(move || pack_blocks(encoder, work, &done));
        }
        drop(done);
        let block = options.block.bytes() as usize;
        let mut cutter = Cutter { block, buffers, raw, next: 0, fragment: Vec::new(), fragments: 0 };
        let reading = scope.spawn(move || cutter.cut_all(files));
        let written = write_blocks(files.len(), at, block, blocks, free, out);
        let ends = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut packed = written?;
        for (file, fragment) in packed.files.iter_mut().zip(ends?) {
            file.fragment = fragment;
        }
        Ok(packed)
    })
}

/// State of the reading thread.
struct Cutter {
    block: usize,
    buffers: Receiver<Block>,
    raw: Sender<Block>,
    next: u64,
    fragment: Vec<u8>,
    fragments: u32,
}

/// The fragment of each file's end, if it has one.
type Ends = Vec<Option<(u32, u32)>>;

impl Cutter {
    fn cut_all(&mut self, files: &[&Contents]) -> io::Result<Ends> {
        let mut ends = Vec::with_capacity(files.len());
        for (index, contents) in files.iter().enumerate() {
            match self.cut(index, contents)? {
                Some(end) => ends.push(end),
                None => return Ok(Vec::new()),
            }
        }
        self.send_fragment();
        Ok(ends)
    }

    /// Cuts one file. Returns `None` if the writer has given up.
    fn cut(&mut self, index: usize, contents: &Contents) -> io::Result<Option<Option<(u32, u32)>>> {
        let mut reader = contents.reader();
        let mut left = contents.size();
        while left >= self.block as u64 {
            let Ok(mut block) = self.buffers.recv() else { return Ok(None) };
            block.raw.resize(self.block, 0);
            reader.read_exact(&mut block.raw)?;
            left -= self.block as u64;
            self.send(block, Part::File(index));
        }
        let end = left as usize;
        if self.fragment.len() + end > self.block && !self.send_fragment() {
            return Ok(None);
        }
        let start = self.fragment.len();
        self.fragment.resize(start + end, 0);
        reader.read_exact(&mut self.fragment[start..])?;
        // Nothing is left, but this fails if the file has become longer.
        io::copy(&mut reader, &mut io::sink())?;
        Ok(Some((end > 0).then_some((self.fragments, start as u32))))
    }

    /// Sends the fragment block. Returns whether the writer still accepts blocks.
    fn send_fragment(&mut self) -> bool {
        if self.fragment.is_empty() {
            return true;
        }
        let Ok(mut block) = self.buffers.recv() else { return false };
        std::mem::swap(&mut block.raw, &mut self.fragment);
        self.fragment.clear();
        self.fragments += 1;
        self.send(block, Part::Fragment);
        true
    }

    fn send(&mut self, mut block: Block, part: Part) {
        block.number = self.next;
        block.part = Some(part);
        self.next += 1;
        // If there is no receiver, the next buffer will not arrive either.
        let _ = self.raw.send(block);
    }
}

/// Body of a compressing thread.
fn pack_blocks(mut encoder: Encoder, work: &Mutex<Receiver<Block>>, done: &Sender<io::Result<Block>>) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut block) = next else { return };
        let result = pack_block(&mut encoder, &mut block).map(|()| block);
        if done.send(result).is_err() {
            return;
        }
    }
}

fn pack_block(encoder: &mut Encoder, block: &mut Block) -> io::Result<()> {
    block.size = match block.part {
        Some(Part::File(_)) if !block.raw.is_empty() && is_zero(&block.raw) => 0,
        _ if encoder.encode(&block.raw, &mut block.packed)? => block.packed.len() as u32,
        _ => block.raw.len() as u32 | STORED,
    };
    Ok(())
}

/// Body of the writing thread.
fn write_blocks(
    files: usize,
    at: u64,
    full: usize,
    blocks: Receiver<io::Result<Block>>,
    free: Sender<Block>,
    out: &mut impl Write,
) -> io::Result<Packed> {
    let mut packed = Packed { files: vec![Stored::default(); files], fragments: Vec::new(), end: at };
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for block in blocks {
        let block = block?;
        waiting.insert(block.number, block);
        while let Some(block) = waiting.remove(&next) {
            next += 1;
            let bytes = match block.size {
                0 => &[][..],
                size if size & STORED != 0 => &block.raw,
                _ => &block.packed,
            };
            out.write_all(bytes)?;
            match block.part {
                Some(Part::File(index)) => {
                    let file = &mut packed.files[index];
                    if file.sizes.is_empty() {
                        file.start = packed.end;
                    }
                    file.sizes.extend(block.size.to_le_bytes());
                    if block.size == 0 {
                        file.sparse += full as u64;
                    }
                }
                Some(Part::Fragment) => packed.fragments.push((packed.end, block.size)),
                None => {}
            }
            packed.end += bytes.len() as u64;
            // The receiver is gone once everything is read.
            let _ = free.send(block);
        }
    }
    Ok(packed)
}
