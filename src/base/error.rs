//! The error type that `main` reports, and the exit codes.
//!
//! Each room has its own error enum (`thiserror`, the subject in every variant). Advice is kept apart from the message:
//! a room implements [`Advice`], and `main` prints the cause chain, then the hint, once.

use std::fmt;

use crate::base::finding::Findings;
use crate::base::words;

/// Exit codes of the process. Scripts rely on these numbers; they are part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Anything without a code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A recipe, sysext description or Ignition layer is invalid.
    Config = 3,
    /// Bytes do not have the expected digest, or a tree lacks files that it refers to.
    Integrity = 4,
    /// A signature or key is not trusted.
    Trust = 5,
    /// The network failed in a way that may be temporary.
    Network = 6,
    /// The release server knows no such channel, version or board, or the registry no such image.
    UnknownRelease = 7,
    /// A wait reached its time limit.
    TimedOut = 8,
    /// The lock does not fit the recipe, and `--locked` forbids changing it.
    Drift = 9,
    /// Something would change, and the caller asked for this code: `plan --exit-code`, `diff --exit-code`.
    Pending = 10,
}

impl Exit {
    /// All codes, in the order of their numbers.
    pub const ALL: [Exit; 10] = [
        Exit::Failed,
        Exit::Usage,
        Exit::Config,
        Exit::Integrity,
        Exit::Trust,
        Exit::Network,
        Exit::UnknownRelease,
        Exit::TimedOut,
        Exit::Drift,
        Exit::Pending,
    ];

    /// Its meaning in a few words, for tables.
    pub const fn words(self) -> &'static str {
        match self {
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Config => "config invalid",
            Exit::Integrity => "integrity or closure",
            Exit::Trust => "signature or trust",
            Exit::Network => "network",
            Exit::UnknownRelease => "unknown release",
            Exit::TimedOut => "timed out",
            Exit::Drift => "lock drift",
            Exit::Pending => "changes pending",
        }
    }
}

/// An error of a room: its exit code for scripts, and its hint for people.
pub trait Advice: std::error::Error + Send + Sync + 'static {
    /// The error that this one only hands on, and whose advice is therefore its own.
    fn inner(&self) -> Option<&dyn Advice> {
        None
    }

    /// The exit code that this failure leads to.
    fn exit(&self) -> Exit {
        self.inner_exit()
    }

    /// One sentence that names the way out, if there is one.
    fn hint(&self) -> Option<String> {
        self.inner_hint()
    }

    /// The exit code of [`Advice::inner`]: for the arm of those variants that hand on.
    fn inner_exit(&self) -> Exit {
        self.inner().map_or(Exit::Failed, Advice::exit)
    }

    /// The hint of [`Advice::inner`].
    fn inner_hint(&self) -> Option<String> {
        self.inner().and_then(Advice::hint)
    }
}

impl Advice for Findings {
    fn exit(&self) -> Exit {
        Exit::Config
    }
}

/// Any room's error, on its way to `main`.
pub struct Error(Box<dyn Advice>);

/// Result of functions that may fail with any room's error.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The exit code that the room chose.
    pub fn exit(&self) -> Exit {
        self.0.exit()
    }

    /// The room's hint; without one, for a full disk, the options that choose another disk.
    pub fn hint(&self) -> Option<String> {
        const FULL: &str = "the disk is full: make room, or choose another with TMPDIR, or another store with --store, or another place with --output";
        let mut causes = std::iter::successors(std::error::Error::source(&*self.0), |cause| cause.source());
        let is_full = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().is_some_and(crate::base::unfinished::is_full)
        };
        self.0.hint().or_else(|| causes.any(is_full).then(|| FULL.to_owned()))
    }

    /// The findings that it reports, if it does.
    pub(crate) fn findings(&self) -> Option<&Findings> {
        let handed_on = std::iter::successors(Some(&*self.0), |advice| advice.inner());
        let causes = handed_on.flat_map(|advice| {
            let error: &(dyn std::error::Error + 'static) = advice;
            std::iter::successors(Some(error), |cause| cause.source())
        });
        causes.filter_map(|cause| cause.downcast_ref()).next()
    }

    /// See [`chain`].
    pub(crate) fn chain(&self) -> Vec<String> {
        chain(&*self.0)
    }
}

/// An error's message and its causes, outermost first, without repeating a cause that the message before contains already.
pub(crate) fn chain<E: std::error::Error + ?Sized>(error: &E) -> Vec<String> {
    let mut lines = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = said(cause);
        if !lines.last().is_some_and(|last| last.contains(&text)) {
            lines.push(text);
        }
        source = cause.source();
    }
    lines
}

/// A cause in words for people.
fn said(cause: &(dyn std::error::Error + 'static)) -> String {
    let json = cause.downcast_ref::<serde_json::Error>().map(words::of_serde);
    let yaml = || cause.downcast_ref::<serde_yaml::Error>().map(words::of_serde);
    json.or_else(yaml).unwrap_or_else(|| cause.to_string())
}

impl<E: Advice> From<E> for Error {
    fn from(error: E) -> Self {
        Error(Box::new(error))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain().join(": "))
    }
}
