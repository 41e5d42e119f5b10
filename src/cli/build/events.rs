//! Writes a build's events as JSON Lines while they happen: docs/formats/events.md.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::base::error::{Advice, Exit};
use crate::base::event::{Event, Observer};

/// Shortest interval between two progress events of a fetch.
const INTERVAL: Duration = Duration::from_secs(1);

/// Destination of the events.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// `-`
    Stdout,
    /// `fd:N`
    Descriptor(String),
    /// A file, which is overwritten, or a named pipe.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text, text.strip_prefix("fd:")) {
            ("-", _) => Target::Stdout,
            (_, Some(number)) => Target::Descriptor(number.into()),
            _ => Target::File(text.into()),
        })
    }
}

/// Reasons why events cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The target cannot be opened.
    #[error("cannot write events to {target}")]
    Open {
        /// The target as given.
        target: String,
        /// The system's error.
        source: io::Error,
    },
    /// The events and `--json` both want stdout.
    #[error("`--events -` and `--json` both write to stdout")]
    TwoOnStdout,
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Open { target, .. } if target.starts_with("fd:") => {
                Some("the descriptor must be an open file or pipe, as with `3>events.jsonl`".into())
            }
            Error::Open { .. } => None,
            Error::TwoOnStdout => {
                Some("write the events to a file; the last of them says the BUILD-ID, too".into())
            }
        }
    }
}

/// An observer that writes a line for each event.
pub(crate) struct EventLog {
    out: Mutex<Out>,
}

struct Out {
    /// `None` after the reader is gone or the last event is written: fetches continue while an interrupt ends the
    /// process.
    writer: Option<Box<dyn Write + Send>>,
    /// Time of each running fetch's last progress event.
    told: BTreeMap<String, Instant>,
}

#[derive(Serialize)]
struct Line<'e> {
    time: String,
    #[serde(flatten)]
    event: &'e Event<'e>,
}

impl EventLog {
    /// Opens the target of the events.
    pub(crate) fn open(target: &Target) -> Result<Self, Error> {
        let writer: Box<dyn Write + Send> = match target {
            Target::Stdout => Box::new(io::stdout()),
            Target::Descriptor(number) => {
                // The kernel's name of the descriptor. Opening it for append keeps existing content.
                let opened = File::options().append(true).open(format!("/dev/fd/{number}"));
                Box::new(opened.map_err(|source| Error::Open { target: format!("fd:{number}"), source })?)
            }
            Target::File(path) => {
                let target = path.display().to_string();
                Box::new(File::create(path).map_err(|source| Error::Open { target, source })?)
            }
        };
        Ok(EventLog::to(writer))
    }

    fn to(writer: Box<dyn Write + Send>) -> Self {
        EventLog { out: Mutex::new(Out { writer: Some(writer), told: BTreeMap::new() }) }
    }
}

impl Out {
    /// Whether to drop an event because it follows the previous one too soon.
    fn is_noise(&mut self, event: &Event<'_>) -> bool {
        let Event::FetchProgress { id, .. } = event else { return false };
        let now = Instant::now();
        match self.told.get_mut(*id) {
            Some(last) if now.duration_since(*last) < INTERVAL => true,
            Some(last) => {
                *last = now;
                false
            }
            None => {
                self.told.insert((*id).to_owned(), now);
                false
            }
        }
    }
}

impl Observer for EventLog {
    fn notice(&self, event: Event<'_>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.is_noise(&event) {
            return;
        }
        let Some(writer) = &mut out.writer else { return };
        let time = crate::base::clock::date_to_the_millisecond(SystemTime::now());
        let Ok(mut line) = serde_json::to_vec(&Line { time, event: &event }) else { return };
        line.push(b'\n');
        if let Err(error) = writer.write_all(&line).and_then(|()| writer.flush()) {
            // A failing event log must not end the build.
            out.writer = None;
            tell!("events: {error}; no further events are written, the build continues");
        } else if matches!(event, Event::BuildDone { .. } | Event::BuildFailed { .. }) {
            out.writer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formerly, a fetch that ran until an interrupted process ended wrote its progress after the interrupt's event.
    #[test]
    fn nothing_is_told_after_the_end() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let log = EventLog::open(&Target::File(path.to_path_buf())).unwrap();
        log.notice(Event::BuildFailed { exit: 130, error: &["interrupted".into()], hint: None });
        log.notice(Event::FetchWaiting { id: "late" });
        let told = std::fs::read_to_string(&path).unwrap();
        assert!(told.ends_with('\n') && told.lines().count() == 1 && !told.contains("late"), "{told}");
    }
}
