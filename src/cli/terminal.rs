//! The terminal: its width, whether to colour, and how much to tell.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU8, Ordering};

use anstream::AutoStream;
use clap::{Args, ColorChoice};
use rustix::fd::AsFd;
use rustix::termios::{Winsize, tcgetwinsize};

use super::GLOBAL;

/// Width of texts that go elsewhere than to a terminal, and the most of one: longer lines are hard to read.
pub(crate) const WIDEST: usize = 100;

/// The options that every verb has.
#[derive(Args)]
pub(crate) struct TerminalArgs {
    /// Whether to colour messages, tables and help
    ///
    /// `auto` colours on a terminal, unless NO_COLOR is set and not empty, or TERM is `dumb`; CLICOLOR_FORCE=1 colours files and pipes, too.
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    #[arg(help_heading = GLOBAL, display_order = 900)]
    color: ColorChoice,
    /// Print only errors and results: no progress and no warnings; a server keeps its log
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    #[arg(help_heading = GLOBAL, display_order = 901)]
    quiet: bool,
    /// Also print where each input comes from, why each step runs, and what the store already had
    #[arg(short, long, global = true)]
    #[arg(help_heading = GLOBAL, display_order = 902)]
    verbose: bool,
}

impl TerminalArgs {
    /// Sets how much this process tells. Colours were set by [`set_colours`], because parsing may already print.
    pub(crate) fn apply(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => Level::Quiet,
            (false, true) => Level::Verbose,
            (false, false) => Level::Usual,
        };
        LEVEL.store(level as u8, Ordering::Relaxed);
    }
}

/// How much standard error gets to hear.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Quiet,
    Usual,
    Verbose,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Usual as u8);

/// Whether only errors are told.
pub(crate) fn is_quiet() -> bool {
    LEVEL.load(Ordering::Relaxed) == Level::Quiet as u8
}

/// Whether sources and reasons are told, too.
pub(crate) fn is_verbose() -> bool {
    LEVEL.load(Ordering::Relaxed) == Level::Verbose as u8
}

/// Obeys the last `--color` of a command line that is not parsed yet, because its errors are coloured, too.
pub(crate) fn set_colours(arguments: &[OsString]) {
    let mut words = arguments.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let mut choice = anstream::ColorChoice::Auto;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--color") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        choice = match value {
            Some("always") => anstream::ColorChoice::Always,
            Some("never") => anstream::ColorChoice::Never,
            Some("auto") => anstream::ColorChoice::Auto,
            _ => choice,
        };
    }
    choice.write_global();
}

/// Whether standard output is coloured.
pub(crate) fn colours_stdout() -> bool {
    AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Whether standard error is coloured.
pub(crate) fn colours_stderr() -> bool {
    AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Columns of the terminal behind standard output; `None` if it is none.
pub(crate) fn columns_of_stdout() -> Option<usize> {
    columns(io::stdout())
}

/// Columns of the terminal behind standard error; `None` if it is none.
pub(crate) fn columns_of_stderr() -> Option<usize> {
    columns(io::stderr())
}

/// Rows of the terminal behind standard error; `None` if it is none.
pub(crate) fn rows_of_stderr() -> Option<u16> {
    size(io::stderr()).map(|size| size.ws_row).filter(|rows| *rows > 0)
}

fn columns(stream: impl IsTerminal + AsFd) -> Option<usize> {
    size(stream).map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The size of a terminal. One that was never told its size says 0.
fn size(stream: impl IsTerminal + AsFd) -> Option<Winsize> {
    stream.is_terminal().then(|| tcgetwinsize(&stream).ok()).flatten()
}
