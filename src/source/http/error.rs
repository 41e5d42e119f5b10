//! Errors of a fetch, whether they may be temporary, and hints for the user.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::asked::Asked;
use super::proxy::Bad;
use crate::base::count::counted;
use crate::base::error::{Advice, Exit};
use crate::registry::endpoint::Endpoint;
use crate::trust::tls::Distrust;
/// A failed fetch, with the URL that was really requested.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be set up (CA files, proxies).
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] tokio_rustls::rustls::Error),
    /// The text is not a URL.
    #[error("cannot fetch {url}: it is not a URL ({why})")]
    Url {
        /// The text, without a password.
        url: Asked,
        /// The problem, in words.
        why: String,
    },
    /// A variable names an unusable proxy.
    #[error("cannot fetch {url}: {}={} is not a usable proxy: {}", bad.variable, bad.value, bad.why)]
    Proxy {
        /// The requested URL.
        url: Asked,
        /// The variable and its problem.
        bad: Bad,
    },
    /// HTTPS on a system without CA certificates, as in an empty container.
    #[error(
        "cannot fetch {url}: this system has no CA certificates to verify the server{}",
        behind(troubles)
    )]
    NoRoots {
        /// The requested URL.
        url: Asked,
        /// Certificate files that were named and could not be read; empty if none.
        troubles: String,
    },
    /// HTTPS with a server whose certificate is not vouched for by any CA certificate, is for another name, or is not
    /// valid now.
    #[error("cannot fetch {url}: the server's certificate is not trusted: {}", distrust.why)]
    Impostor {
        /// The requested URL.
        url: Asked,
        /// The certificate's problem.
        distrust: Distrust,
        /// The underlying error.
        source: reqwest::Error,
    },
    /// No answer, or a connection that broke.
    #[error("cannot fetch {url}: {what}")]
    Transport {
        /// The requested URL.
        url: Asked,
        /// The problem, in a few words.
        what: String,
        /// The underlying error.
        source: reqwest::Error,
    },
    /// A redirect that is not followed.
    #[error("cannot fetch {url}: {why}")]
    Redirect {
        /// The requested URL.
        url: Asked,
        /// The problem, in words.
        why: String,
    },
    /// The answer has another status than 200.
    #[error("cannot fetch {url}: {}{}", answerer(*status, by.as_ref()), behind(words.as_deref().unwrap_or_default()))]
    Status {
        /// The requested URL.
        url: Asked,
        /// HTTP status code.
        status: u16,
        /// The server's explanation.
        words: Option<String>,
        /// The proxy through which the request went.
        by: Option<By>,
        /// The pause that the server asks for with `Retry-After`.
        pause: Option<Duration>,
    },
    /// The body is longer than allowed.
    #[error("{url} is longer than the limit of {limit} bytes")]
    TooLong {
        /// The requested URL.
        url: Asked,
        /// The limit in bytes.
        limit: u64,
    },
    /// The body is shorter than announced.
    #[error("{url}: download aborted after {found} of {expected} bytes")]
    Truncated {
        /// The requested URL.
        url: Asked,
        /// Bytes received.
        found: u64,
        /// Bytes announced.
        expected: u64,
        /// The underlying error.
        source: reqwest::Error,
    },
    /// The server sent nothing, or next to nothing, for too long.
    #[error("{url} stalled: {} in {}", counted(*found, "byte"), humantime::format_duration(Duration::from_millis(waited.as_millis() as u64)))]
    Stalled {
        /// The requested URL.
        url: Asked,
        /// Bytes received.
        found: u64,
        /// The time spent waiting for them.
        waited: Duration,
    },
    /// The answer has another range than requested.
    #[error("{url}: requested bytes {}–{}, the server answered {answer}", asked.start, asked.end.saturating_sub(1))]
    Range {
        /// The requested URL.
        url: Asked,
        /// The requested range.
        asked: Range<u64>,
        /// The server's `Content-Range`.
        answer: String,
    },
    /// The server's bytes under this URL have changed since the previous answer.
    #[error("{url} changed while it was fetched")]
    Changed {
        /// The requested URL.
        url: Asked,
    },
    /// The answer has no body, but must have one.
    #[error("{url}: the server sent an empty answer")]
    Empty {
        /// The requested URL.
        url: Asked,
    },
    /// An HTML page instead of the file.
    #[error("{url}: the answer is an HTML page{}, not the file", titled(title))]
    Page {
        /// The requested URL.
        url: Asked,
        /// The page's title; empty if it has none.
        title: String,
    },
    /// A content coding that was not requested and cannot be decoded.
    #[error(
        "{url}: the answer is compressed (Content-Encoding: {coding}), although it was requested uncompressed"
    )]
    Coded {
        /// The requested URL.
        url: Asked,
        /// The coding's name.
        coding: String,
    },
    /// A server that answers ranges with too few bytes at a time.
    #[error("{url}: the server sends only a few bytes per range request")]
    Crumbs {
        /// The requested URL.
        url: Asked,
    },
    /// The registry requires a login that is not available.
    #[error("cannot log in for {url}: {why}")]
    Login {
        /// The requested URL.
        url: Asked,
        /// The problem, without any secret.
        why: String,
        /// The way out.
        hint: &'static str,
    },
    /// A registry's token service answered without a token.
    #[error("cannot log in for {url}: its token service {service} answered {status}{}", behind(words.as_deref().unwrap_or_default()))]
    Token {
        /// The requested URL.
        url: Asked,
        /// URL of the token service.
        service: Asked,
        /// HTTP status code.
        status: u16,
        /// The token service's explanation.
        words: Option<String>,
        /// The pause that it asks for with `Retry-After`.
        pause: Option<Duration>,
    },
    /// A `file:` URL that cannot be read.
    #[error("cannot read {url}")]
    File {
        /// The requested URL.
        url: Asked,
        /// The system's error.
        source: io::Error,
    },
}

/// A proxy between prebake and a server.
#[derive(Clone, Debug)]
pub struct By {
    /// The proxy and the variable that names it.
    pub name: String,
    /// Whether the answer certainly came from the proxy itself.
    pub is_own: bool,
}

fn answerer(status: u16, by: Option<&By>) -> String {
    match by {
        Some(By { name, is_own: true }) => format!("the proxy {name} answered {status}"),
        Some(By { name, .. }) => format!("the answer through the proxy {name} was {status}"),
        None => format!("the server answered {status}"),
    }
}

/// The words after a colon, if there are any.
fn behind(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

fn titled(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!(" (\u{201c}{title}\u{201d})") }
}

impl Error {
    /// Whether the server works but does not have the file.
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Error::Status { status, .. } => matches!(status, 404 | 410),
            Error::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The name of the file that the server does not have.
    pub(crate) fn missing_file(&self) -> Option<&str> {
        let url = match self {
            Error::Status { url, .. } | Error::File { url, .. } if self.is_missing() => url.as_str(),
            _ => return None,
        };
        url.split('?').next()?.rsplit('/').next()
    }

    /// Whether the failure may be temporary, so that a retry can help.
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

/// Hint for a proxy that refuses.
const PROXY_HINT: &str = "a proxy's login goes into its variable (http://USER:PASSWORD@HOST:PORT); hosts that need no proxy \
    go into no_proxy; for all others, the proxy's operator must allow them";

/// Hint for a registry that refuses with this status.
fn registry_hint(status: u16) -> Option<String> {
    match status {
        401 | 403 => Some(HINT.into()),
        429 => Some(
            "the registry limits how much is pulled: log in (`docker login HOST`), wait, or use a mirror (PREBAKE_MIRROR_OCI)".into(),
        ),
        _ => None,
    }
}

/// The questions of `Http::each` about an attempt's error.
pub(crate) trait MayPass {
    /// The reason for a retry, and the pause that the server asks for; `None` if a retry is pointless.
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

/// Hint for a registry that refuses access.
pub(crate) const HINT: &str = "prebake logs in to registries with what `docker login HOST` keeps in ~/.docker/config.json (or \
    $DOCKER_CONFIG), or `podman login HOST` in its auth.json; many registries also answer like this for an image that does not exist";
