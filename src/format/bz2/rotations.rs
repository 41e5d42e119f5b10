//! The rotations of a block in their sorted order, which Burrows and Wheeler (1994) turn into a block that packs well, and back.
//!
//! Owns the way back: of the sorted rotations a file has the last column and the place of the block itself.

/// Walks at a time.
const WALKS: usize = 8;
/// Rotations where walks begin, beside the origin. There are many, so that no walk is left alone for long.
const STARTS: usize = 256;
/// Rotations that [`Rotations::later`] has room for: a power of two, so that a number of so many bits is one of them.
const ROOM: usize = 1 << 20;
/// A rotation that no block has. A walk that is over stays there.
const NOWHERE: usize = ROOM - 1;
/// Marks the step to a rotation where a walk begins.
const ENTERS: u32 = 1 << 31;

/// The rotations where walks begin: number 0 is the origin, the others are at equal distances.
#[derive(Clone, Copy)]
struct Starts {
    origin: usize,
    step: usize,
}

impl Starts {
    /// The number of a start by its rotation.
    fn number(self, row: usize) -> usize {
        if row == self.origin { 0 } else { 1 + row / self.step }
    }

    /// Number and rotation of each start.
    fn rows(self, length: usize) -> impl Iterator<Item = (usize, usize)> {
        let others = (0..length).step_by(self.step).filter(move |row| *row != self.origin);
        std::iter::once(self.origin).chain(others).map(move |row| (self.number(row), row))
    }
}

/// A walk from one start to the next.
#[derive(Clone, Copy, Default)]
struct Stretch {
    walk: usize,
    /// Its first round.
    from: usize,
    /// The round behind its last one.
    to: usize,
    /// Number of the start where it ended.
    next: usize,
}

/// Works on one block after the other.
pub(super) struct Rotations {
    /// For each rotation the one that begins a byte later, in the low 8 bits its own first byte, and [`ENTERS`].
    later: Vec<u32>,
    /// The bytes that the walks came by, a byte of each.
    rounds: Vec<[u8; WALKS]>,
}

impl Rotations {
    pub(super) fn new() -> Self {
        Rotations { later: vec![0; ROOM], rounds: Vec::new() }
    }

    /// The bytes of the block that is rotation `origin`; `column` has the byte before each rotation, in the rotations' order, and
    /// `counts` says how often each byte occurs in it.
    pub(super) fn walk(&mut self, column: &[u8], origin: usize, counts: &[u32; 256]) -> Vec<u8> {
        let mut next = 0;
        let first = counts.map(|count| {
            let first = next;
            next += count as usize;
            first
        });
        let mut places = first;
        let starts = Starts { origin, step: column.len().div_ceil(STARTS) };
        for (number, part) in column.chunks(starts.step).enumerate() {
            let mut enters = ENTERS;
            for (row, byte) in (number * starts.step..).zip(part) {
                let place = &mut places[usize::from(*byte)];
                self.later[*place % ROOM] = enters | (row as u32) << 8 | u32::from(*byte);
                *place += 1;
                enters = 0;
            }
        }
        let byte = column[origin];
        let before = column[..origin].iter().filter(|other| **other == byte).count();
        self.later[(first[usize::from(byte)] + before) % ROOM] |= ENTERS;
        self.walked(column.len(), starts)
    }

    /// Walks from each rotation to the one that begins a byte later, from `origin` on, and collects their first bytes.
    ///
    /// A walk waits for memory at each step. Hence there are several at a time, each from one start to the next that it comes to.
    fn walked(&mut self, length: usize, starts: Starts) -> Vec<u8> {
        let (later, rounds) = (&mut self.later, &mut self.rounds);
        rounds.clear();
        later[NOWHERE] = (NOWHERE as u32) << 8;
        let mut stretches = [Stretch::default(); STARTS + 1];
        let mut waiting = starts.rows(length);
        let (mut rows, mut walks, mut count) = ([NOWHERE; WALKS], [(0, 0); WALKS], 0);
        for ((row, walk), (start, at)) in rows.iter_mut().zip(&mut walks).zip(waiting.by_ref()) {
            (*row, *walk) = (at, (start, 0));
            count += 1;
        }
        while count > 0 {
            let (mut steps, mut bytes, mut all) = ([0; WALKS], [0; WALKS], 0);
            for ((row, step), byte) in rows.iter_mut().zip(&mut steps).zip(&mut bytes) {
                *step = later[*row];
                *byte = *step as u8;
                *row = (*step >> 8) as usize % ROOM;
                all |= *step;
            }
            rounds.push(bytes);
            if all & ENTERS == 0 {
                continue;
            }
            let now = rounds.len();
            for (walk, step) in steps.iter().enumerate().filter(|(_, step)| **step & ENTERS != 0) {
                let (start, from) = walks[walk];
                let next = starts.number((step >> 8) as usize % ROOM);
                stretches[start] = Stretch { walk, from, to: now, next };
                let (start, row) = waiting.next().unwrap_or_else(|| {
                    count -= 1;
                    (0, NOWHERE)
                });
                (rows[walk], walks[walk]) = (row, (start, now));
            }
        }
        let mut bytes = Vec::with_capacity(length);
        let mut start = 0;
        loop {
            let Stretch { walk, from, to, next } = stretches[start];
            bytes.extend(rounds[from..to].iter().map(|round| round[walk % WALKS]));
            start = next;
            if start == 0 {
                break;
            }
        }
        // Rotations of a block that repeats itself come in circles, and in those of a block that somebody made up, bzip2 turns, too.
        while bytes.len() < length {
            bytes.extend_from_within(..bytes.len().min(length - bytes.len()));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks step by step.
    fn plainly(column: &[u8], origin: usize) -> Vec<u8> {
        let mut later: Vec<usize> = (0..column.len()).collect();
        later.sort_by_key(|row| column[*row]);
        let mut row = origin;
        let step = |_| {
            row = later[row];
            column[row]
        };
        (0..column.len()).map(step).collect()
    }

    #[test]
    fn walks_of_all_columns_are_as_if_there_were_one() {
        let mut rotations = Rotations::new();
        for length in [1_usize, 2, 3, 10, 255, 256, 257, 258, 5000, 40_000] {
            for alphabet in [1, 2, 3, 200] {
                let column: Vec<u8> =
                    (0..length).map(|k| (k.wrapping_mul(k) / 7 % 251 % alphabet) as u8).collect();
                let mut counts = [0; 256];
                column.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
                for origin in [0, length / 3, length / 2, length - 1] {
                    assert!(rotations.walk(&column, origin, &counts) == plainly(&column, origin));
                }
            }
        }
    }
}
