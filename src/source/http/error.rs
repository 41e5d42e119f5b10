//! What can go wrong with a fetch, whether it may pass, and what a person can do about it.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::asked::Asked;
use super::proxy::Bad;
use crate::base::error::{Advice, Exit};
use crate::registry::endpoint::Endpoint;
use crate::trust::tls::Distrust;
/// A fetch that failed, with the URL that was really asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be set up (CA files, proxies).
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] tokio_rustls::rustls::Error),
    /// What is no URL.
    #[error("cannot fetch {url}: it is not a URL ({why})")]
    Url {
        /// What it is.
        url: Asked,
        /// Why not.
        why: String,
    },
    /// A variable names a proxy that cannot be asked.
    #[error("cannot fetch {url}: {}={} is not a usable proxy: {}", bad.variable, bad.value, bad.why)]
    Proxy {
        /// URL.
        url: Asked,
        /// The variable.
        bad: Bad,
    },
    /// HTTPS on a system that trusts nobody, as in an empty container.
    #[error(
        "cannot fetch {url}: this system has no CA certificates to verify the server{}",
        behind(troubles)
    )]
    NoRoots {
        /// URL.
        url: Asked,
        /// What could not be read, if something was named.
        troubles: String,
    },
    /// HTTPS with a server whose certificate none of the CA certificates vouches for, or that is another's or too old.
    #[error("cannot fetch {url}: the server's certificate is not trusted: {}", distrust.why)]
    Impostor {
        /// URL.
        url: Asked,
        /// What is wrong with it.
        distrust: Distrust,
        /// The cause.
        source: reqwest::Error,
    },
    /// No answer, or it broke off.
    #[error("cannot fetch {url}: {what}")]
    Transport {
        /// URL.
        url: Asked,
        /// In a few words.
        what: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// A redirect that is not followed.
    #[error("cannot fetch {url}: {why}")]
    Redirect {
        /// URL.
        url: Asked,
        /// Why not.
        why: String,
    },
    /// Another status than 200.
    #[error("cannot fetch {url}: {}{}", answerer(*status, by.as_ref()), behind(words.as_deref().unwrap_or_default()))]
    Status {
        /// URL.
        url: Asked,
        /// HTTP status.
        status: u16,
        /// The server's own words.
        words: Option<String>,
        /// The proxy that was asked.
        by: Option<By>,
        /// What the server asks for with `Retry-After`.
        pause: Option<Duration>,
    },
    /// More bytes than there may be.
    #[error("{url} is longer than the limit of {limit} bytes")]
    TooLong {
        /// URL.
        url: Asked,
        /// The limit.
        limit: u64,
    },
    /// The body is shorter than announced.
    #[error("{url}: download aborted after {found} of {expected} bytes")]
    Truncated {
        /// URL.
        url: Asked,
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
        url: Asked,
        /// Bytes that came.
        found: u64,
        /// How long was waited for them.
        waited: Duration,
    },
    /// An answer to another range than was asked for.
    #[error("{url}: requested bytes {}–{}, the server answered {answer}", asked.start, asked.end.saturating_sub(1))]
    Range {
        /// URL.
        url: Asked,
        /// What was asked for.
        asked: Range<u64>,
        /// The server's `Content-Range`.
        answer: String,
    },
    /// The server has other bytes under this URL than a moment ago.
    #[error("{url} changed while it was fetched")]
    Changed {
        /// URL.
        url: Asked,
    },
    /// An answer without a body where there must be one.
    #[error("{url}: the server sent an empty answer")]
    Empty {
        /// URL.
        url: Asked,
    },
    /// A page for people where a file should be.
    #[error("{url}: the answer is an HTML page{}, not the file", titled(title))]
    Page {
        /// URL.
        url: Asked,
        /// The page's title, if it has one.
        title: String,
    },
    /// A content coding that nobody asked for, and that cannot be undone.
    #[error(
        "{url}: the answer is compressed (Content-Encoding: {coding}), although it was requested uncompressed"
    )]
    Coded {
        /// URL.
        url: Asked,
        /// The coding.
        coding: String,
    },
    /// A server that answers ranges in crumbs.
    #[error("{url}: the server sends only a few bytes per range request")]
    Crumbs {
        /// URL.
        url: Asked,
    },
    /// A registry wants a login that cannot be had.
    #[error("cannot log in for {url}: {why}")]
    Login {
        /// URL.
        url: Asked,
        /// Why not. Holds no secret.
        why: String,
        /// The way out.
        hint: &'static str,
    },
    /// A registry's token service answers with something else than a token.
    #[error("cannot log in for {url}: its token service {service} answered {status}{}", behind(words.as_deref().unwrap_or_default()))]
    Token {
        /// URL.
        url: Asked,
        /// The token service's.
        service: Asked,
        /// HTTP status.
        status: u16,
        /// Its own words.
        words: Option<String>,
        /// What it asks for with `Retry-After`.
        pause: Option<Duration>,
    },
    /// A `file:` URL that cannot be read.
    #[error("cannot read {url}")]
    File {
        /// URL.
        url: Asked,
        /// Why not.
        source: io::Error,
    },
}

/// A proxy on the way to a server.
#[derive(Clone, Debug)]
pub struct By {
    /// The proxy and its variable.
    pub name: String,
    /// Whether the answer is the proxy's own for certain.
    pub is_own: bool,
}

fn answerer(status: u16, by: Option<&By>) -> String {
    match by {
        Some(By { name, is_own: true }) => format!("the proxy {name} answered {status}"),
        Some(By { name, .. }) => format!("the answer through the proxy {name} was {status}"),
        None => format!("the server answered {status}"),
    }
}

/// Words behind a colon, if there are any.
fn behind(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

fn titled(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!(" (\u{201c}{title}\u{201d})") }
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

    /// The name of the file that the server does not have.
    pub fn missing_file(&self) -> Option<&str> {
        let url = match self {
            Error::Status { url, .. } | Error::File { url, .. } if self.is_missing() => url.as_str(),
            _ => return None,
        };
        url.split('?').next()?.rsplit('/').next()
    }

    /// Whether asking again may help.
    fn may_pass(&self) -> bool {
        match self {
            Error::Transport { source, .. } => !source.is_builder(),
            Error::Status { status, .. } | Error::Token { status, .. } => matches!(status, 408 | 429 | 500..),
            Error::Truncated { .. }
            | Error::Stalled { .. }
            | Error::Changed { .. }
            | Error::Crumbs { .. }
            | Error::Empty { .. } => true,
            Error::Client(_)
            | Error::Tls(_)
            | Error::Url { .. }
            | Error::Proxy { .. }
            | Error::Redirect { .. }
            | Error::Page { .. }
            | Error::Coded { .. }
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
            Error::Redirect { .. } => Some("ask the site for its final address, or name another mirror".into()),
            Error::NoRoots { .. } => Some(
                "install them (the package ca-certificates), or name a PEM file with SSL_CERT_FILE; mirrors may also be http: or file:".into(),
            ),
            Error::Impostor { distrust, .. } => Some(distrust.hint.clone()),
            Error::Proxy { bad, .. } => {
                Some(format!("correct {}, or list hosts that need no proxy in no_proxy", bad.variable))
            }
            Error::Truncated { .. } | Error::Stalled { .. } => {
                Some("the received part of a large file is kept: run the same command again to resume".into())
            }
            Error::Transport { what, .. } if what.contains("the proxy") => Some(PROXY_HINT.into()),
            Error::Transport { .. } => Some(
                "check the network, the proxy variables, or name a mirror (`mirrors:` in the recipe, PREBAKE_MIRROR_… in the environment)".into(),
            ),
            Error::Status { status: 407 | 403 | 502..=504 | 511, by: Some(_), .. } => Some(PROXY_HINT.into()),
            Error::Status { status: 407 | 511, .. } => {
                Some("a proxy or captive portal on the way requires a login".into())
            }
            Error::Status { status: 404, .. } => Some("the mirror may be incomplete".into()),
            Error::Status { status, url, .. } => Endpoint::parse(url.as_str()).and_then(|_| registry_hint(*status)),
            Error::Token { status, .. } => registry_hint(*status).or_else(|| Some(
                "the registry itself names that service when it asks for a login: its operator must correct that address; or use a mirror (PREBAKE_MIRROR_OCI)".into(),
            )),
            Error::Login { hint, .. } => Some((*hint).into()),
            Error::Page { .. } => Some(
                "a captive portal, a proxy's error page or a login page was sent instead of the file: open the address in a browser, or name another mirror".into(),
            ),
            Error::Coded { .. } => Some("turn compression off in the server or proxy that answers, or use another mirror".into()),
            Error::Range { .. } => Some("a proxy or mirror on the way mixes up ranges; use another one".into()),
            Error::TooLong { .. } => Some("no file of this kind is so large: the server is damaged or lies; use another mirror".into()),
            _ => None,
        }
    }
}

/// What a person can do about a proxy that refuses.
const PROXY_HINT: &str = "a proxy's login goes into its variable (http://USER:PASSWORD@HOST:PORT); hosts that need no proxy \
    go into no_proxy; for all others, the proxy's operator must allow them";

/// What a person can do about a registry that refuses with this status.
fn registry_hint(status: u16) -> Option<String> {
    match status {
        401 | 403 => Some(HINT.into()),
        429 => Some(
            "the registry limits how much is pulled: log in (`docker login HOST`), wait, or use a mirror (PREBAKE_MIRROR_OCI)".into(),
        ),
        _ => None,
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
            Error::Status { pause, .. } | Error::Token { pause, .. } => *pause,
            _ => None,
        };
        Error::may_pass(self).then(|| (self.to_string(), pause))
    }

    fn next_mirror_may_help(&self) -> bool {
        !matches!(self, Error::Client(_) | Error::TooLong { .. })
    }
}

/// What a person can do about a registry that lets nobody in.
pub const HINT: &str = "prebake logs in to registries with what `docker login HOST` keeps in ~/.docker/config.json (or \
    $DOCKER_CONFIG), or `podman login HOST` in its auth.json; many registries also answer like this for an image that does not exist";
