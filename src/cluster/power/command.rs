//! The power of a machine by a command of the site's own, which gets one of four words as its last: `on`, `off`, `status`, `pxe`.
//!
//! Owns its process: a time limit, what it says, and the end of it and of all that it started. Exit code 0 is success. `status` says on
//! standard output whether the power is on or off, with `on` or `off` as its last such word, as `ipmitool … chassis power status` does.
//! The words of the description are not shown, for there may be a password among them.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Boot, Done, Error, Limits, State};
use crate::base::words;
use crate::cluster::group::{Group, is_over};

/// Most that is kept of what a command says, in bytes; the rest is read and dropped.
const KEPT: usize = 16 << 10;
/// Most of it that is shown, in bytes.
const SHOWN: usize = 400;
/// How often a command is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a command that is told to end may take.
const GRACE: Duration = Duration::from_secs(2);
/// How long what it said is waited for after its end: something that it started may hold the pipe for ever.
const TAIL: Duration = Duration::from_millis(500);
/// Options behind which a password or key stands, of the programs that switch power.
const SECRET_OPTIONS: &[&str] = &[
    "-P",
    "-p",
    "-k",
    "-y",
    "--password",
    "--passwd",
    "--pass",
    "--token",
    "--key",
    "--secret",
    "--user-pass",
];

/// A command.
pub struct Hook {
    words: Vec<String>,
    directory: PathBuf,
    limits: Limits,
}

/// Of its words, the program alone.
impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("program", &self.words.first()).finish_non_exhaustive()
    }
}

/// The end of a command, with its output.
struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    errors: Vec<u8>,
}

/// Ends the command of a future that is dropped.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Hook {
    /// A program with a slash in its name is relative to `directory`, in which it runs; others are in `PATH`.
    pub(super) fn new(words: &[String], directory: &Path, limits: Limits) -> Result<Hook, Error> {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Hook { words: words.to_vec(), directory, limits }),
            _ => Err(Error::NoCommand),
        }
    }

    /// The program, for people.
    fn program(&self) -> String {
        let program = self.words.first().map(String::as_str).unwrap_or_default();
        words::printable(program)
    }

    pub(super) async fn state(&self) -> Result<State, Error> {
        let ended = self.call("status").await?;
        let text = String::from_utf8_lossy(&ended.output).to_lowercase();
        let mut words = text.split(|letter: char| !letter.is_alphanumeric());
        Ok(match words.rfind(|word| matches!(*word, "on" | "off")) {
            Some("on") => State::On,
            Some(_) => State::Off,
            None => State::Unknown,
        })
    }

    pub(super) async fn on(&self) -> Result<Done, Error> {
        if self.state().await? == State::On {
            return Ok(Done { state: State::On, changed: false, boot: None });
        }
        self.call("on").await?;
        Ok(Done { state: self.follow(State::On).await?, changed: true, boot: None })
    }

    pub(super) async fn off(&self) -> Result<Done, Error> {
        if self.state().await? == State::Off {
            return Ok(Done { state: State::Off, changed: false, boot: None });
        }
        self.call("off").await?;
        Ok(Done { state: self.follow(State::Off).await?, changed: true, boot: None })
    }

    pub(super) async fn cycle(&self) -> Result<Done, Error> {
        self.off().await?;
        self.on().await.map(|done| Done { changed: true, ..done })
    }

    /// A command that does not know `pxe` says so by its exit code.
    pub(super) async fn boot_once(&self) -> Result<Done, Error> {
        self.off().await?;
        let boot = match self.call("pxe").await {
            Ok(_) => Boot::Pxe { once: true },
            Err(error @ (Error::Failed { .. } | Error::CommandTimedOut { .. })) => {
                Boot::Hand { why: error.to_string() }
            }
            Err(error) => return Err(error),
        };
        let done = self.on().await?;
        Ok(Done { boot: Some(boot), changed: true, ..done })
    }

    async fn follow(&self, wanted: State) -> Result<State, Error> {
        let begun = Instant::now();
        loop {
            let state = self.state().await?;
            // A command that cannot tell is believed.
            if state == wanted || state == State::Unknown {
                return Ok(state);
            }
            if begun.elapsed() >= self.limits.follow {
                return Err(Error::Stuck {
                    subject: self.program(),
                    wanted,
                    state,
                    patience: self.limits.follow,
                });
            }
            tokio::time::sleep(self.limits.poll).await;
        }
    }

    async fn call(&self, word: &'static str) -> Result<Ended, Error> {
        let (words, directory, patience) = (self.words.clone(), self.directory.clone(), self.limits.command);
        let stopped = Arc::new(AtomicBool::new(false));
        let _cancel = Cancel(stopped.clone());
        let not_run = |source| Error::NotRun { program: self.program(), word, source };
        let ran =
            tokio::task::spawn_blocking(move || run(&words, &directory, word, patience, &stopped)).await;
        let ran = ran.map_err(|error| not_run(std::io::Error::other(error)))?.map_err(not_run)?;
        match ran {
            (ended, false) if ended.status.success() => Ok(ended),
            (ended, true) => {
                let output = self.told(&ended);
                Err(Error::CommandTimedOut { program: self.program(), word, patience, output })
            }
            (ended, false) => {
                let output = self.told(&ended);
                let how = match (ended.status.code(), ended.status.signal()) {
                    (Some(code), _) => format!("exit code {code}"),
                    (None, Some(signal)) => format!("ended by signal {signal}"),
                    (None, None) => "ended".into(),
                };
                Err(Error::Failed { program: self.program(), word, ended: how, output })
            }
        }
    }

    /// The end of what it said, without its own secret words.
    fn told(&self, ended: &Ended) -> Option<String> {
        let bytes =
            if ended.errors.iter().all(u8::is_ascii_whitespace) { &ended.output } else { &ended.errors };
        let mut text = String::from_utf8_lossy(bytes).trim().to_owned();
        for secret in self.secrets() {
            text = text.replace(secret, "***");
        }
        let from = text.len().saturating_sub(SHOWN);
        let start = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let text = text[start..]
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        (!text.is_empty()).then(|| words::printable(&text))
    }

    /// Words that stand behind an option for passwords, or in one.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let behind = self.words.windows(2).filter_map(|pair| match pair {
            [option, value] if SECRET_OPTIONS.contains(&option.as_str()) => Some(value.as_str()),
            _ => None,
        });
        let inside = self.words.iter().filter_map(|word| {
            let (option, value) = word.split_once('=')?;
            SECRET_OPTIONS.contains(&option).then_some(value)
        });
        behind.chain(inside).filter(|secret| secret.len() > 2)
    }
}

/// Runs a command to its end, or to that of its time; `true` if it was ended.
fn run(
    words: &[String],
    directory: &Path,
    word: &str,
    patience: Duration,
    stopped: &AtomicBool,
) -> std::io::Result<(Ended, bool)> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let mut command = match program.contains('/') {
        true => Command::new(directory.join(program)),
        false => Command::new(program),
    };
    command.args(words.get(1..).unwrap_or_default()).arg(word).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, group) = Group::start(&mut command)?;
    let output = kept(child.stdout.take());
    let errors = kept(child.stderr.take());
    let begun = Instant::now();
    let mut was_ended = false;
    while !is_over(&child)? {
        let is_late = begun.elapsed() >= patience;
        if (is_late || stopped.load(Ordering::Relaxed)) && !was_ended {
            was_ended = true;
            group.signal(Signal::TERM);
        }
        if was_ended && begun.elapsed() >= patience + GRACE {
            group.signal(Signal::KILL);
        }
        thread::sleep(POLL);
    }
    // All that it left behind in its group goes with it; the child itself is not waited for yet, so that the number is still its own.
    group.signal(Signal::KILL);
    let status = group.reap(&mut child)?;
    let said = |from: Receiver<Vec<u8>>| {
        let (begun, mut bytes) = (Instant::now(), Vec::new());
        while let Ok(more) = from.recv_timeout(TAIL.saturating_sub(begun.elapsed())) {
            bytes.extend(more);
        }
        bytes
    };
    Ok((Ended { status, output: said(output), errors: said(errors) }, was_ended))
}

/// Reads a pipe to its end on a thread, and hands over the first bytes of it.
fn kept(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (hand, take) = channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let (mut buffer, mut room) = ([0; 4096], KEPT);
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                let kept = length.min(room);
                room -= kept;
                // Nobody may listen by now; a pipe that is not read would stop the command.
                let _ = hand.send(buffer.get(..kept).unwrap_or_default().to_vec());
            }
        });
    }
    take
}
