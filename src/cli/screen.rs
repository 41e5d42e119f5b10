//! The rows of progress at the bottom of a terminal, which may be resized at any time.
//!
//! indicatif fills each row to the terminal's right edge and counts on finding it there again. A terminal that becomes narrower
//! wraps these rows anew, so that indicatif clears too few of them. Here rows end where their text ends, and the number of rows
//! to clear follows from their lengths and the width at that moment.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

use super::terminal;

/// Width and height if the terminal does not tell them.
const USUAL: (usize, u16) = (80, 24);

/// The terminal behind standard error.
#[derive(Debug, Default)]
pub(super) struct Screen(Mutex<Frame>);

/// The rows on the screen, and the output that changes them.
#[derive(Debug, Default)]
struct Frame {
    /// Lengths of the rows on the screen, in characters. The cursor is at the end of the last one.
    rows: Vec<usize>,
    /// Output that is not written yet.
    pending: String,
}

impl Frame {
    /// Removes all rows from a terminal of this width.
    fn erase(&mut self, width: usize) {
        let rows: usize = self.rows.iter().map(|length| length.div_ceil(width.max(1)).max(1)).sum();
        for index in 0..rows {
            // Row by row: tmux keeps what is erased to the end of the screen in its history.
            self.pending += if index == 0 { "\r\x1b[2K" } else { "\x1b[A\x1b[2K" };
        }
        self.rows.clear();
    }

    /// Adds a row. Blanks alone are what indicatif fills rows with.
    fn row(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        if !self.rows.is_empty() {
            self.pending += "\r\n";
        }
        self.pending += text;
        self.rows.push(text.chars().count());
    }
}

impl Screen {
    fn frame<T>(&self, work: impl FnOnce(&mut Frame) -> T) -> io::Result<T> {
        Ok(work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        columns().try_into().unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        terminal::rows_of_stderr().unwrap_or(USUAL.1)
    }

    // indicatif moves the cursor only to clear rows one by one; all are cleared at once.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.frame(|frame| frame.erase(columns()))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.frame(|frame| frame.row(text))
    }

    fn flush(&self) -> io::Result<()> {
        let pending = self.frame(|frame| std::mem::take(&mut frame.pending))?;
        io::stderr().lock().write_all(pending.as_bytes())
    }
}

fn columns() -> usize {
    terminal::columns_of_stderr().unwrap_or(USUAL.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_a_narrower_terminal_has_wrapped_are_cleared_with_the_others() {
        let mut frame = Frame::default();
        frame.row(&"a".repeat(100));
        frame.row("                    ");
        frame.row(&"b".repeat(50));
        assert_eq!(std::mem::take(&mut frame.pending), format!("{}\r\n{}", "a".repeat(100), "b".repeat(50)));
        frame.erase(60);
        assert_eq!(
            std::mem::take(&mut frame.pending),
            "\r\x1b[2K\x1b[A\x1b[2K\x1b[A\x1b[2K",
            "100 characters take two rows of 60"
        );
        frame.erase(60);
        assert_eq!(frame.pending, "", "nothing is left to clear");
    }
}
