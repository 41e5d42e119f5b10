//! The chain of blocks: each begins where the one before ended, and that alone makes a mark a real one.
//!
//! Owns the order: streams with their headers and checksums, and what may follow the last one. Blocks are decoded elsewhere and
//! ahead of time, each up to the next mark, as if every mark were real. A mark inside of a block (one in 2⁴⁸ places by chance, and
//! as many as somebody wants on purpose) is seen by that block not ending there; it is decoded again with what follows.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use super::bits::{MARK, Mark};
use super::block::{Block, Decoder, Fault, LEVEL, Reason};
use super::pieces::{self, Front, Piece};
use super::runs::{self, Part, Parts};
use super::{Decoded, Error, Place, Worked};
use crate::format::holes::Holes;

/// Most marks inside of one block that are none.
const FALSE_MARKS: usize = 1000;
/// Bits of a stream's header: `BZh` and its level as a digit.
const HEADER: u64 = 32;
/// Bits of a checksum.
const CHECKSUM: u64 = 32;

/// A piece, and the work on it, if it looks like a block.
pub(super) struct Link {
    pub piece: Piece,
    /// A worker's answer, when it comes; the worker has the piece's bytes.
    pub work: Option<Receiver<Worked>>,
}

/// Reasons why the chain ends early.
pub(super) enum End {
    /// The input is at fault, or the sink.
    Error(Error),
    /// The thread that reads ended without a last piece, or a worker without an answer. They know why.
    Abandoned,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Error(error)
    }
}

/// The streams of an input, in the making.
pub(super) struct Chain<'c> {
    links: Receiver<Link>,
    /// Links that were received and not yet judged.
    ahead: VecDeque<Link>,
    holes: Holes<'c>,
    subject: &'c str,
    decoded: Decoded,
    /// Most bytes of this stream's blocks, shortened.
    largest: usize,
    /// The checksums of this stream's blocks, combined.
    checksum: u32,
    /// For blocks with marks inside.
    decoder: Option<Box<Decoder>>,
}

impl<'c> Chain<'c> {
    pub(super) fn new(links: Receiver<Link>, holes: Holes<'c>, subject: &'c str) -> Self {
        Chain {
            links,
            ahead: VecDeque::new(),
            holes,
            subject,
            decoded: Decoded::default(),
            largest: 0,
            checksum: 0,
            decoder: None,
        }
    }

    /// Writes the contents of all blocks, each after its checksum was found to be right.
    pub(super) fn run(mut self) -> Result<Decoded, End> {
        let input = self.next()?.piece;
        self.open(&input.bytes, input.start, input.end, input.is_last)?;
        loop {
            let link = self.next()?;
            let is_end = match link.piece.front {
                Front::Mark(Mark::Block) => self.block(link).map(|()| false)?,
                Front::Mark(Mark::End) => self.end(link.piece)?,
                Front::Input | Front::Cut => return Err(self.damaged(link.piece.start, NO_MARK).into()),
            };
            if is_end {
                break;
            }
        }
        self.decoded.output = self.holes.written();
        let (subject, decoded) = (self.subject.to_owned(), self.decoded);
        self.holes.finish().map_err(|source| Error::Write { subject, source })?;
        Ok(decoded)
    }

    /// The next link. A block's bytes may be with a worker.
    fn next(&mut self) -> Result<Link, End> {
        match self.ahead.pop_front() {
            Some(link) => Ok(link),
            None => self.links.recv().map_err(|_| End::Abandoned),
        }
    }

    /// Whether the next piece begins with a mark.
    fn is_mark_next(&mut self) -> Result<bool, End> {
        let next = self.next()?;
        let is_mark = matches!(next.piece.front, Front::Mark(_));
        self.ahead.push_front(next);
        Ok(is_mark)
    }

    /// Begins a stream, whose header is from bit `start` to bit `end`.
    fn open(&mut self, header: &[u8], start: u64, end: u64, is_last: bool) -> Result<(), End> {
        let level = match *header {
            [b'B', b'Z', b'h', level @ b'1'..=b'9', ..] => usize::from(level - b'0'),
            ref short if is_last && !short.is_empty() && short.len() < 4 && b"BZh".starts_with(short) => {
                return Err(self.truncated(end).into());
            }
            _ => return Err(Error::Foreign { subject: self.subject.to_owned() }.into()),
        };
        if end != start + HEADER || is_last || !self.is_mark_next()? {
            let is_short = is_last && end < start + HEADER + MARK;
            return Err(
                if is_short { self.truncated(end) } else { self.damaged(start + HEADER, NO_MARK) }.into()
            );
        }
        (self.largest, self.checksum) = (level * LEVEL, 0);
        self.decoded.streams += 1;
        Ok(())
    }

    fn block(&mut self, link: Link) -> Result<(), End> {
        self.decoded.blocks += 1;
        let (mut piece, outcome) = settled(link)?;
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => self.decode(&piece),
        };
        let block = match outcome {
            Err(Fault { reason: Reason::RanOut, .. }) if piece.is_last => {
                return Err(self.truncated(piece.end).into());
            }
            Err(Fault { reason: Reason::RanOut, .. }) => self.longer(&mut piece)?,
            outcome => outcome.map_err(|fault| self.fault(&piece, fault))?,
        };
        let end = piece.start - piece.shift() + block.end;
        if end != piece.end || piece.is_last || !self.is_mark_next()? {
            let is_short = piece.is_last && end + MARK > piece.end;
            return Err(if is_short { self.truncated(piece.end) } else { self.damaged(end, NO_MARK) }.into());
        }
        if block.shortened.len() > self.largest {
            return Err(self.damaged(piece.start, "it has more bytes than its stream's level allows").into());
        }
        self.checksum = self.checksum.rotate_left(1) ^ block.checksum;
        self.write(&block.shortened)
    }

    /// A block that does not end with its piece: it is decoded with more and more of what follows, twice as much each time, so
    /// that marks which are none cost little. `piece` becomes that block.
    fn longer(&mut self, piece: &mut Piece) -> Result<Block, End> {
        const PASSES_MARK: &str = "it does not end where the next mark is";
        let first = piece.end;
        // The pieces that follow, without their bytes: those are in `whole`.
        let mut passed = VecDeque::new();
        let (mut whole, mut is_last) = (std::mem::take(&mut piece.bytes), piece.is_last);
        let outcome = loop {
            let wanted = 2 * whole.len();
            while whole.len() < wanted && !is_last {
                let (next, _) = settled(self.next()?)?;
                whole.truncate((next.start / 8 - piece.start / 8) as usize);
                whole.extend_from_slice(&next.bytes);
                (piece.end, is_last) = (next.end, next.is_last);
                passed.push_back((next.start, next.front));
            }
            let limit = piece.limit();
            let decoder = self.decoder.get_or_insert_with(|| Box::new(Decoder::new()));
            match decoder.decode(&whole, piece.shift(), limit) {
                Err(Fault { reason: Reason::RanOut, .. }) => {
                    if passed.len() > FALSE_MARKS {
                        return Err(self
                            .damaged(first, "there are more than 1000 marks inside of it")
                            .into());
                    }
                    if is_last || whole.len() > pieces::LARGEST {
                        return Err(self.damaged(first, PASSES_MARK).into());
                    }
                }
                outcome => break outcome.map_err(|fault| self.fault(piece, fault))?,
            }
        };
        // The rest goes back as it came, to be decoded here: the workers' results were let go of, for they may be large.
        let behind = piece.start - piece.shift() + outcome.end;
        passed.retain(|(start, _)| *start >= behind);
        let mut end = piece.end;
        while let Some((start, front)) = passed.pop_back() {
            let from = (start / 8 - piece.start / 8) as usize;
            let to = (end.div_ceil(8) - piece.start / 8) as usize;
            let bytes = whole[from..to].to_vec();
            let rest = Piece { start, end, front, bytes, is_last };
            self.ahead.push_front(Link { piece: rest, work: None });
            (end, is_last) = (start, false);
        }
        (piece.end, piece.is_last, piece.bytes) = (end, is_last, whole);
        Ok(outcome)
    }

    fn decode(&mut self, piece: &Piece) -> Result<Block, Fault> {
        let decoder = self.decoder.get_or_insert_with(|| Box::new(Decoder::new()));
        decoder.decode(&piece.bytes, piece.shift(), piece.limit())
    }

    /// Writes a block's contents.
    fn write(&mut self, shortened: &[u8]) -> Result<(), End> {
        for part in Parts::new(shortened) {
            let written = match part {
                Ok(Part::Bytes(bytes)) => self.holes.data(bytes),
                Ok(Part::Run(0, length)) => {
                    self.holes.zeros(length as u64);
                    Ok(())
                }
                Ok(Part::Run(byte, length)) => self.holes.data(&[byte; runs::LONGEST][..length]),
                // A worker looked at all of them for the checksum.
                Err(runs::Unfinished) => return Err(self.damaged(0, "its last run has no length").into()),
            };
            written.map_err(|source| Error::Write { subject: self.subject.to_owned(), source })?;
        }
        Ok(())
    }

    /// The end of a stream, and the header of the next one. Returns whether the input ends there.
    fn end(&mut self, mut piece: Piece) -> Result<bool, End> {
        let behind = (piece.start + MARK + CHECKSUM).next_multiple_of(8);
        // A checksum may be part of what looks like a mark.
        while piece.end < behind && !piece.is_last {
            let (next, _) = settled(self.next()?)?;
            piece.bytes.truncate((next.start / 8 - piece.start / 8) as usize);
            piece.bytes.extend_from_slice(&next.bytes);
            (piece.end, piece.is_last) = (next.end, next.is_last);
        }
        if piece.end < behind {
            return Err(self.truncated(piece.end).into());
        }
        let stated = super::bits::Bits::new(&piece.bytes, piece.shift() + MARK, piece.limit()).number(32);
        if stated != self.checksum {
            let found = self.checksum;
            let (subject, place) = (self.subject.to_owned(), self.place(piece.start));
            return Err(Error::StreamChecksum {
                subject,
                stream: self.decoded.streams,
                place,
                stated,
                found,
            }
            .into());
        }
        let rest = piece.bytes.get((behind / 8 - piece.start / 8) as usize..).unwrap_or_default();
        if rest.starts_with(b"BZh") {
            self.open(rest, behind, piece.end, piece.is_last)?;
            return Ok(false);
        }
        if piece.is_last && !rest.is_empty() && b"BZh".starts_with(rest) {
            return Err(self.truncated(piece.end).into());
        }
        self.zeros_to_the_end(rest, behind)?;
        while !piece.is_last {
            (piece, _) = settled(self.next()?)?;
            self.zeros_to_the_end(&piece.bytes, piece.start / 8 * 8)?;
        }
        self.decoded.input = piece.end / 8;
        Ok(true)
    }

    /// Judges bytes behind the last stream, from bit `start` on: media that are read in blocks end with zeros, all else may be a
    /// part of what somebody wanted.
    fn zeros_to_the_end(&self, bytes: &[u8], start: u64) -> Result<(), End> {
        match bytes.iter().position(|byte| *byte != 0) {
            Some(at) => {
                let (subject, offset) = (self.subject.to_owned(), start / 8 + at as u64);
                Err(Error::Trailing { subject, offset }.into())
            }
            None => Ok(()),
        }
    }

    /// A place in the input, with what has been written by then.
    fn place(&self, bit: u64) -> Place {
        Place { block: self.decoded.blocks, bit, output: self.holes.written() }
    }

    fn truncated(&self, end: u64) -> Error {
        Error::Truncated { subject: self.subject.to_owned(), place: self.place(end) }
    }

    fn damaged(&self, bit: u64, why: &'static str) -> Error {
        Error::Damaged { subject: self.subject.to_owned(), place: self.place(bit), why }
    }

    fn fault(&self, piece: &Piece, fault: Fault) -> Error {
        match fault.reason {
            Reason::Checksum { stated, found } => {
                let (subject, place) = (self.subject.to_owned(), self.place(piece.start));
                Error::BlockChecksum { subject, place, stated, found }
            }
            Reason::Damaged(why) => self.damaged(piece.start - piece.shift() + fault.bit, why),
            Reason::RanOut => self.truncated(piece.end),
        }
    }
}

const NO_MARK: &str = "neither a block nor the end of the stream follows";

/// A piece with its bytes, and what became of the block that it looks like, if a worker had it.
fn settled(link: Link) -> Result<(Piece, Option<Result<Block, Fault>>), End> {
    match link.work {
        Some(work) => {
            let Worked { bytes, outcome } = work.recv().map_err(|_| End::Abandoned)?;
            Ok((Piece { bytes, ..link.piece }, Some(outcome)))
        }
        None => Ok((link.piece, None)),
    }
}
