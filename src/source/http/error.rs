//! What can go wrong with a fetch, whether it may pass, and what a person can do about it.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::client;
use crate::error::{Advice, Exit};
use crate::source::oci::{self, Endpoint};

/// A fetch that failed, with the URL that was really asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be set up (CA files, proxies).
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
    /// HTTPS on a system that trusts nobody, as in an empty container.
    #[error("cannot fetch {url}: this system has no CA certificates to judge the server by")]
    NoRoots {
        /// URL.
        url: String,
    },
    /// HTTPS with a server whose certificate none of the CA certificates vouches for, or that is another's or too old.
    #[error("cannot fetch {url}: the server's certificate is not to be believed")]
    Impostor {
        /// URL.
        url: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// No answer, or it broke off.
    #[error("cannot fetch {url}: {what}")]
    Transport {
        /// URL.
        url: String,
        /// In a few words.
        what: &'static str,
        /// The cause.
        source: reqwest::Error,
    },
    /// Another status than 200.
    #[error("cannot fetch {url}: the server answered {status}")]
    Status {
        /// URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the server asks for with `Retry-After`.
        pause: Option<Duration>,
    },
    /// More bytes than there may be.
    #[error("{url} is longer than the {limit} bytes it should have at most")]
    TooLong {
        /// URL.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The body is shorter than announced.
    #[error("{url} broke off after {found} of {expected} bytes")]
    Truncated {
        /// URL.
        url: String,
        /// Bytes that came.
        found: u64,
        /// Bytes that were announced.
        expected: u64,
        /// The cause.
        source: reqwest::Error,
    },
    /// Nothing or next to nothing came for too long.
    #[error("{url} stalled: {found} bytes in {}", humantime::format_duration(Duration::from_millis(waited.as_millis() as u64)))]
    Stalled {
        /// URL.
        url: String,
        /// Bytes that came.
        found: u64,
        /// How long was waited for them.
        waited: Duration,
    },
    /// An answer to another range than was asked for.
    #[error("{url}: asked for bytes {}–{}, the server answered {answer}", asked.start, asked.end.saturating_sub(1))]
    Range {
        /// URL.
        url: String,
        /// What was asked for.
        asked: Range<u64>,
        /// The server's `Content-Range`.
        answer: String,
    },
    /// The server has other bytes under this URL than a moment ago.
    #[error("{url} changed while it was fetched")]
    Changed {
        /// URL.
        url: String,
    },
    /// An answer without a body where there must be one.
    #[error("{url}: the server answered with no bytes")]
    Empty {
        /// URL.
        url: String,
    },
    /// A registry wants a login that cannot be had.
    #[error("cannot log in for {url}: {why}")]
    Login {
        /// URL.
        url: String,
        /// Why not. Holds no secret.
        why: String,
    },
    /// A `file:` URL that cannot be read.
    #[error("cannot read {url}")]
    File {
        /// URL.
        url: String,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// Whether the server is well and just does not have the file.
    pub fn is_missing(&self) -> bool {
        match self {
            Error::Status { status, .. } => matches!(status, 404 | 410),
            Error::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether asking again may help.
    fn may_pass(&self) -> bool {
        match self {
            Error::Transport { source, .. } => !source.is_redirect() && !source.is_builder(),
            Error::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            Error::Truncated { .. } | Error::Stalled { .. } | Error::Changed { .. } | Error::Empty { .. } => {
                true
            }
            Error::Client(_)
            | Error::NoRoots { .. }
            | Error::Impostor { .. }
            | Error::TooLong { .. }
            | Error::Range { .. }
            | Error::Login { .. }
            | Error::File { .. } => false,
        }
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::TooLong { .. } => Exit::Integrity,
            Error::NoRoots { .. } | Error::Impostor { .. } => Exit::Trust,
            _ => Exit::Network,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Transport { source, .. } if source.is_redirect() => {
                Some("ask the site for its final address, or name another mirror".into())
            }
            Error::NoRoots { .. } => Some(
                "install them (the package ca-certificates), or name a PEM file with SSL_CERT_FILE; mirrors may also be http: or file:".into(),
            ),
            Error::Impostor { .. } => Some(
                "if a site's own authority has issued it, name that authority's PEM file with SSL_CERT_FILE".into(),
            ),
            Error::Truncated { .. } | Error::Stalled { .. } => {
                Some("what has arrived of a large file is kept: run the same command again to go on".into())
            }
            Error::Transport { .. } => Some(
                "check the network, the proxy variables, or name a mirror (`mirrors:` in the recipe, PREBAKE_MIRROR_… in the environment)".into(),
            ),
            Error::Status { status: 404, .. } => Some("the mirror may be incomplete".into()),
            Error::Status { status: 401 | 403, url, .. } => {
                Endpoint::parse(url).map(|_| oci::LOGIN_HINT.into())
            }
            Error::Login { .. } => Some(oci::LOGIN_HINT.into()),
            Error::Range { .. } => Some("a proxy or mirror in between mixes ranges up; use another one".into()),
            _ => None,
        }
    }
}

/// What [`Http::each`] must know of an attempt's error.
pub trait MayPass {
    /// Why it may pass, if it may, and how long the server asks to wait.
    fn may_pass(&self) -> Option<(String, Option<Duration>)>;
    /// Whether another mirror may do better. Wrong bytes are final.
    fn next_mirror_may_help(&self) -> bool;
}

impl MayPass for Error {
    fn may_pass(&self) -> Option<(String, Option<Duration>)> {
        let pause = match self {
            Error::Status { pause, .. } => *pause,
            _ => None,
        };
        Error::may_pass(self).then(|| (self.to_string(), pause))
    }

    fn next_mirror_may_help(&self) -> bool {
        !matches!(self, Error::Client(_) | Error::TooLong { .. })
    }
}

pub fn transport(url: &str, source: reqwest::Error) -> Error {
    if client::is_distrust(&source) {
        return Error::Impostor { url: url.into(), source: source.without_url() };
    }
    let what = match () {
        _ if source.is_timeout() => "it did not answer in time",
        _ if source.is_connect() => "no connection",
        _ if source.is_redirect() => "too many redirects, or one from https to http",
        _ if source.is_builder() => "this is not a URL that can be asked",
        _ => "the connection broke",
    };
    Error::Transport { url: url.into(), what, source: source.without_url() }
}
