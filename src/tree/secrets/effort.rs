//! How much one scan may do: as much as grows with its text, and so much for what unfolds out of it. A scan that has no more
//! left goes on without what costs more, and says so.

use std::cell::Cell;

/// Steps for each byte of a text: some hundred names a line and a few encodings around each other need less.
const STEPS: u64 = 48;
/// Steps that every text has, however short.
const FREE: u64 = 1 << 20;
/// Most bytes that the compressed streams in one text may unfold to, all together.
pub(super) const MAX_INSIDE: u64 = 16 << 20;

/// What a scan has left.
#[derive(Debug)]
pub(super) struct Effort {
    steps: Cell<u64>,
    unfolded: Cell<u64>,
    spent: Cell<u64>,
    ran_out: Cell<bool>,
}

impl Effort {
    pub(super) fn new() -> Self {
        Effort {
            steps: Cell::new(FREE),
            unfolded: Cell::new(MAX_INSIDE),
            spent: Cell::new(0),
            ran_out: Cell::new(false),
        }
    }

    /// So many more bytes were read.
    pub(super) fn earn(&self, bytes: usize) {
        self.steps.set(self.steps.get().saturating_add(bytes as u64 * STEPS));
    }

    /// Takes so many steps; `false` if they are not there.
    pub(super) fn spend(&self, steps: usize) -> bool {
        self.spent.set(self.spent.get().saturating_add(steps as u64));
        let left = self.steps.get().checked_sub(steps as u64);
        match left {
            Some(left) => self.steps.set(left),
            None => self.run_out(),
        }
        left.is_some()
    }

    /// Most bytes that a stream may still unfold to.
    pub(super) fn room(&self) -> u64 {
        self.unfolded.get()
    }

    /// So many bytes were unfolded: they are read as any others.
    pub(super) fn unfold(&self, bytes: usize) {
        self.unfolded.set(self.unfolded.get().saturating_sub(bytes as u64));
        self.earn(bytes);
    }

    /// Something is left that nobody looks at.
    pub(super) fn run_out(&self) {
        self.ran_out.set(true);
    }

    pub(super) fn ran_out(&self) -> bool {
        self.ran_out.get()
    }

    /// Steps so far.
    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.spent.get()
    }
}
