//! Standard output and standard error, which must never stop what works.
//!
//! Owns the macros that all verbs print with, and the queue between a server and its log. `say!` writes data to standard output;
//! the first failure is kept and becomes the verb's own ([`verdict`]). `tell!` writes the story to standard error, where
//! a failure has nobody left to hear of it. std's own macros panic there, so a full disk under a log, or a `tee` that ended,
//! would end tasks of a server one by one; a lint forbids them in this crate.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::count::counted;
use crate::base::error::Advice;

/// Writes a line of data to standard output.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::to_stdout(format_args!("{}\n", format_args!($($words)*))) };
}

/// Writes a part of a line, or text that has its own line ends, to standard output.
macro_rules! say_part {
    ($($words:tt)*) => { $crate::cli::say::to_stdout(format_args!($($words)*)) };
}

/// Writes a line of the story, or several, to standard error; a line end at the end is not needed and does no harm.
macro_rules! tell {
    ($($words:tt)*) => { $crate::cli::say::to_stderr(format_args!($($words)*)) };
}

/// Lines that may wait for standard error. Each is cut to [`LONGEST`] characters, so they take 4 MiB at most.
const WAITING: usize = 1024;
/// Characters of a line of a server's log. Machines say who they are in a few hundred.
const LONGEST: usize = 1024;
/// How long the end of the process waits for lines that are still to be written; only where nobody reads them, or the machine
/// hardly runs, it waits at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why standard output took no more, if it did not.
static REFUSED: Mutex<Option<io::Error>> = Mutex::new(None);
static QUEUE: OnceLock<Queue> = OnceLock::new();

struct Queue {
    lines: SyncSender<String>,
    /// Lines that were handed over, and lines that are written.
    accepted: AtomicU64,
    written: AtomicU64,
    /// Lines for which there was no room.
    dropped: AtomicU64,
}

/// Writes to standard output; nothing more once it took no more.
pub fn to_stdout(words: fmt::Arguments<'_>) {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.is_none() {
        let mut out = io::stdout().lock();
        *refused = out.write_fmt(words).and_then(|()| out.flush()).err();
    }
}

/// Whether nobody reads standard output any more, so that showing goes on for nobody.
pub fn is_refused() -> bool {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Whether standard output took all that was written to it. A reader that has seen enough, as `head` has, is no failure.
///
/// # Errors
/// What the kernel said, once.
pub fn verdict() -> Result<(), Refused> {
    match REFUSED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(Refused(error)),
        _ => Ok(()),
    }
}

/// Standard output took no more; all else was done.
#[derive(Debug, thiserror::Error)]
#[error("cannot write standard output")]
pub struct Refused(#[source] io::Error);

impl Advice for Refused {}

/// Writes a line to standard error, or to the queue before it.
pub fn to_stderr(words: fmt::Arguments<'_>) {
    let mut line = words.to_string();
    if line.is_empty() {
        return;
    }
    if line.ends_with('\n') {
        line.pop();
    }
    match QUEUE.get() {
        Some(queue) => queue.push(line),
        None => write_line(&line),
    }
}

/// From now on lines for standard error are queued and one thread writes them, so that whoever tells something never waits: not
/// for a disk, nor for a pipe that nobody reads. What does not fit is dropped and counted.
pub fn queue() {
    let (lines, waiting) = sync_channel(WAITING);
    let queue =
        Queue { lines, accepted: AtomicU64::new(0), written: AtomicU64::new(0), dropped: AtomicU64::new(0) };
    // Without its thread every line would be dropped.
    let writer = thread::Builder::new().name("log".into()).spawn(move || write_all(&waiting));
    if writer.is_ok() && QUEUE.set(queue).is_ok() {
        // std's own hook writes to standard error itself, and would wait where nobody reads.
        std::panic::set_hook(Box::new(|panic| tell!("internal error, please report it: {panic}")));
    }
}

/// Waits until what was queued is written, for [`PATIENCE`] at most: the last call before the process ends.
pub fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (last, started) = (queue.accepted.load(Ordering::Acquire), Instant::now());
    while queue.written.load(Ordering::Acquire) < last && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(2));
    }
}

impl Queue {
    fn push(&self, line: String) {
        match self.lines.try_send(cut(line)) {
            Ok(()) => self.accepted.fetch_add(1, Ordering::Release),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// The thread that writes. Standard error that fails today may take lines tomorrow, so it never gives up.
fn write_all(waiting: &Receiver<String>) {
    while let Ok(line) = waiting.recv() {
        write_line(&line);
        let Some(queue) = QUEUE.get() else { continue };
        let dropped = queue.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let lines = counted(dropped, "log line");
            write_line(&format!("{lines} dropped: more came than could be written"));
        }
        queue.written.fetch_add(1, Ordering::Release);
    }
}

/// What a machine said of itself, so that it moves no terminal, forges no second line and turns no text around: control and
/// format characters, separators and what has no sign are escaped as Rust does it. Quotes stay.
pub fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => plain.push(letter),
            _ => plain.extend(letter.escape_debug()),
        }
    }
    plain
}

/// One system call a line, so that lines of several processes do not mix.
fn write_line(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// A line that is too long, cut; its end says so.
fn cut(mut line: String) -> String {
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        let more = line[end..].chars().count();
        line.truncate(end);
        line += &format!("… ({})", counted(more, "more character"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_at_a_character_and_says_so() {
        let long = "ü".repeat(LONGEST + 7);
        let short = cut(long.clone());
        assert_eq!(short.chars().filter(|c| *c == 'ü').count(), LONGEST);
        assert!(short.ends_with("… (7 more characters)"), "{short}");
        assert_eq!(cut("ü".repeat(LONGEST)), "ü".repeat(LONGEST));
    }
}
