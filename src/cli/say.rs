//! Standard output and standard error, whose failures must never stop the work.
//!
//! Owns the macros with which all verbs print, and the queue between a server and its log. `say!` writes data to
//! standard output; the first failure is kept and becomes the verb's own ([`verdict`]). `tell!`, `insist!` and `detail!` write
//! messages to standard error; a failure there is ignored, because it cannot be reported anywhere. std's own macros panic in these
//! cases, so a full disk under a log, or a `tee` that ended, would end a server's tasks one by one; a lint forbids them
//! in this crate.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::paint::painted;
use super::terminal;
use crate::base::count::counted;
use crate::base::error::Advice;
use crate::base::finding::is_unseen;
pub(crate) use crate::base::words::escaped as printable;

/// Writes a line of data to standard output.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::to_stdout(format_args!("{}\n", format_args!($($words)*))) };
}

/// Writes a part of a line, or text with its own line ends, to standard output.
macro_rules! say_part {
    ($($words:tt)*) => { $crate::cli::say::to_stdout(format_args!($($words)*)) };
}

/// Writes one or more lines of messages to standard error, unless --quiet is given; a final line end is optional.
macro_rules! tell {
    ($($words:tt)*) => {
        if !$crate::cli::terminal::is_quiet() {
            $crate::cli::say::to_stderr(format_args!($($words)*))
        }
    };
}

/// Writes an error, or a result that belongs to standard error, even if --quiet is given.
macro_rules! insist {
    ($($words:tt)*) => { $crate::cli::say::to_stderr(format_args!($($words)*)) };
}

/// Writes a detail to standard error if --verbose is given.
macro_rules! detail {
    ($($words:tt)*) => {
        if $crate::cli::terminal::is_verbose() {
            $crate::cli::say::to_stderr(format_args!($($words)*))
        }
    };
}

/// Writes findings to standard output, with their colours where it has some.
macro_rules! say_findings {
    ($($words:tt)*) => { $crate::cli::say::findings_to_stdout(format_args!($($words)*)) };
}

/// Most lines that wait for standard error. Each is cut to [`LONGEST`] characters, so they take at most 4 MiB; an object of a
/// log that programs read has a few KiB at most.
const WAITING: usize = 1024;
/// Most characters in a line of a server's log. Machines identify themselves in a few hundred.
const LONGEST: usize = 1024;
/// Longest wait for unwritten lines when the process ends. It is used up only if nobody reads them, or on an almost
/// stuck machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The error after which standard output accepts nothing more, if there was one.
static REFUSED: Mutex<Option<io::Error>> = Mutex::new(None);
/// Whether standard output was given anything.
static SAID: AtomicBool = AtomicBool::new(false);
static QUEUE: OnceLock<Queue> = OnceLock::new();
/// Makes another form of each line, for a log that programs read.
static FORM: OnceLock<fn(&str) -> String> = OnceLock::new();

/// Messages that wait until the first lines of a server are out; `None` if none has to wait.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

struct Queue {
    lines: SyncSender<String>,
    /// Number of lines in the queue so far; below it, number of lines written.
    accepted: AtomicU64,
    written: AtomicU64,
    /// Number of lines for which there was no room.
    dropped: AtomicU64,
}

/// Writes to standard output; after the first failure does nothing.
pub(crate) fn to_stdout(words: fmt::Arguments<'_>) {
    SAID.store(true, Ordering::Relaxed);
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.is_none() {
        let mut out = io::stdout().lock();
        *refused = out.write_fmt(words).and_then(|()| out.flush()).err();
    }
}

/// Writes errors and findings to standard output.
pub(crate) fn findings_to_stdout(words: fmt::Arguments<'_>) {
    match terminal::colours_stdout() {
        true => to_stdout(format_args!("{}", painted(&words.to_string()))),
        false => to_stdout(words),
    }
}

/// Whether standard output was given anything, be it accepted or not.
pub(crate) fn has_said() -> bool {
    SAID.load(Ordering::Relaxed)
}

/// Whether standard output has failed, so that further output is pointless.
pub(crate) fn is_refused() -> bool {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Whether standard output accepted everything. A reader that stops early, such as `head`, is no failure.
///
/// # Errors
/// The kernel's error, only once.
pub(crate) fn verdict() -> Result<(), Refused> {
    match REFUSED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(Refused(error)),
        _ => Ok(()),
    }
}

/// Standard output failed; all other work was done.
#[derive(Debug, thiserror::Error)]
#[error("cannot write standard output")]
pub(crate) struct Refused(#[source] io::Error);

impl Advice for Refused {}

/// Writes a line to standard error, or to its queue.
pub(crate) fn to_stderr(words: fmt::Arguments<'_>) {
    let mut line = seen(&words.to_string());
    if line.is_empty() {
        return;
    }
    if line.ends_with('\n') {
        line.pop();
    }
    if let Some(held) = &mut *HELD.lock().unwrap_or_else(PoisonError::into_inner) {
        held.push(line);
        return;
    }
    write_or_queue(line);
}

/// A message in which names of files, and words of servers and machines, cannot move the cursor or change the direction
/// of text. Its own line ends and tabs stay; colours come later.
pub(crate) fn seen(message: &str) -> String {
    let is_harmful = |letter: char| is_unseen(letter) && !matches!(letter, '\n' | '\t');
    if !message.contains(is_harmful) {
        return message.to_owned();
    }
    let mut plain = String::with_capacity(message.len() + 16);
    for letter in message.chars() {
        match is_harmful(letter) {
            true => plain.extend(letter.escape_default()),
            false => plain.push(letter),
        }
    }
    plain
}

fn write_or_queue(line: String) {
    match FORM.get() {
        // Advice is on a line of its own, and a line is an object.
        Some(form) => line.lines().for_each(|line| log(form(line))),
        None if QUEUE.get().is_some() => log(cut(line)),
        None => log(line),
    }
}

/// Writes a line as it is to standard error, or to its queue.
pub(crate) fn log(line: String) {
    match QUEUE.get() {
        Some(queue) => queue.push(line),
        None if terminal::colours_stderr() => write_line(&painted(&line)),
        None => write_line(&line),
    }
}

/// From now on messages wait for [`release`]: a server says first where it is found, then all else.
pub(crate) fn hold() {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// Writes these lines, then those that waited.
pub(crate) fn release(first: &[String]) {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    first.iter().cloned().chain(held.into_iter().flatten()).for_each(write_or_queue);
}

/// From now on every line for standard error gets another form.
pub(crate) fn take_form(form: fn(&str) -> String) {
    let _ = FORM.set(form);
}

/// From now on lines for standard error are queued and written by one thread, so that callers never wait for a disk, or
/// for a pipe that nobody reads. Lines that do not fit are dropped and counted.
pub(crate) fn queue() {
    let (lines, waiting) = sync_channel(WAITING);
    let queue =
        Queue { lines, accepted: AtomicU64::new(0), written: AtomicU64::new(0), dropped: AtomicU64::new(0) };
    // The queue is used only if its thread runs; otherwise every line would be dropped.
    let writer = thread::Builder::new().name("log".into()).spawn(move || write_all(&waiting));
    if writer.is_ok() && QUEUE.set(queue).is_ok() {
        // std's own hook writes to standard error itself, and would block if nobody reads it.
        std::panic::set_hook(Box::new(|panic| tell!("internal error, please report it: {panic}")));
    }
}

/// Waits until the queued lines are written, but at most [`PATIENCE`]. Must be the last call before the process ends.
pub(crate) fn flush() {
    release(&[]);
    let Some(queue) = QUEUE.get() else { return };
    let (last, started) = (queue.accepted.load(Ordering::Acquire), Instant::now());
    while queue.written.load(Ordering::Acquire) < last && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(2));
    }
}

impl Queue {
    fn push(&self, line: String) {
        match self.lines.try_send(line) {
            Ok(()) => self.accepted.fetch_add(1, Ordering::Release),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Body of the writing thread. It never gives up, because standard error may recover.
fn write_all(waiting: &Receiver<String>) {
    while let Ok(line) = waiting.recv() {
        write_line(&line);
        let Some(queue) = QUEUE.get() else { continue };
        let dropped = queue.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let lines = counted(dropped, "log line");
            let told = format!("{lines} dropped: more came than could be written");
            write_line(&FORM.get().map_or(told.clone(), |form| form(&told)));
        }
        queue.written.fetch_add(1, Ordering::Release);
    }
}

/// One system call per line, so that lines of several processes do not mix.
fn write_line(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Cuts a line that is too long, and says so at its end.
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

    /// Review of issue 17, 8: names of files and words of a server reached the terminal raw.
    #[test]
    fn a_message_keeps_its_lines_and_loses_what_moves_the_cursor() {
        assert_eq!(
            seen("é e\u{301}\t😀\nb\u{1b}[2J\u{9b}31m\u{202e}\r\u{7f}"),
            "é e\u{301}\t😀\nb\\u{1b}[2J\\u{9b}31m\\u{202e}\\r\\u{7f}"
        );
    }

    #[test]
    fn a_long_line_is_cut_at_a_character_and_says_so() {
        let long = "ü".repeat(LONGEST + 7);
        let short = cut(long.clone());
        assert_eq!(short.chars().filter(|c| *c == 'ü').count(), LONGEST);
        assert!(short.ends_with("… (7 more characters)"), "{short}");
        assert_eq!(cut("ü".repeat(LONGEST)), "ü".repeat(LONGEST));
    }
}
