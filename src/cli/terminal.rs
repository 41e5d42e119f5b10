//! The terminal: its width, and whether to colour.

use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

/// Width of texts that go elsewhere than to a terminal, and the most of one: longer lines are hard to read.
pub(crate) const WIDEST: usize = 100;

/// Columns of the terminal behind standard output; `None` if it is none.
pub(crate) fn columns_of_stdout() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| columns(tcgetwinsize(&stdout).ok()?.ws_col)).flatten()
}

/// A terminal that was never told its size says 0.
fn columns(said: u16) -> Option<usize> {
    Some(usize::from(said)).filter(|columns| *columns > 0)
}
