//! The budget of one scan: steps that grow with the text, and a fixed number of bytes to unpack. A scan that has used
//! it up continues without the expensive checks, and reports that.

use std::cell::Cell;

/// Steps per byte of a text: some hundred names a line and a few nested encodings need less.
const STEPS: u64 = 48;
/// Steps for every text, however short.
const FREE: u64 = 1 << 20;
/// Upper limit for the unpacked bytes of all compressed streams in one text together.
pub(super) const MAX_INSIDE: u64 = 16 << 20;

/// The remaining budget of a scan.
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

    /// Adds the steps for this many more bytes.
    pub(super) fn earn(&self, bytes: usize) {
        self.steps.set(self.steps.get().saturating_add(bytes as u64 * STEPS));
    }

    /// Spends this many steps; `false` if fewer are left.
    pub(super) fn spend(&self, steps: usize) -> bool {
        self.spent.set(self.spent.get().saturating_add(steps as u64));
        let left = self.steps.get().checked_sub(steps as u64);
        match left {
            Some(left) => self.steps.set(left),
            None => self.run_out(),
        }
        left.is_some()
    }

    /// Number of bytes that streams may still unpack to.
    pub(super) fn room(&self) -> u64 {
        self.unfolded.get()
    }

    /// Counts unpacked bytes, which earn steps like any others.
    pub(super) fn unfold(&self, bytes: usize) {
        self.unfolded.set(self.unfolded.get().saturating_sub(bytes as u64));
        self.earn(bytes);
    }

    /// Records that something was left unscanned.
    pub(super) fn run_out(&self) {
        self.ran_out.set(true);
    }

    pub(super) fn ran_out(&self) -> bool {
        self.ran_out.get()
    }

    /// Steps spent so far.
    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.spent.get()
    }
}
