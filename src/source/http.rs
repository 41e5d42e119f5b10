//! HTTP for fetching: which failures may pass, which redirects are followed, how much is read.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::Mirrors;
use crate::error::{Advice, Exit};

/// Largest body of the small texts (`version.txt`, signatures, digest files, keys), in bytes.
pub const SMALL: u64 = 1 << 20;
/// Attempts per URL for failures that may pass.
const ATTEMPTS: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that sends nothing for this long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;

/// A fetch that failed, with the URL that was really asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be set up (CA files, proxies).
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
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
}

impl Error {
    /// Whether the server is well and just does not have the file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::Status { status: 404 | 410, .. })
    }

    /// Whether asking again may help.
    fn may_pass(&self) -> bool {
        match self {
            Error::Transport { source, .. } => !source.is_redirect() && !source.is_builder(),
            Error::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            Error::Truncated { .. } => true,
            Error::Client(_) | Error::TooLong { .. } => false,
        }
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::TooLong { .. } => Exit::Integrity,
            _ => Exit::Network,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Transport { .. } | Error::Truncated { .. } => Some(
                "check the network, the proxy variables, or name a mirror (`mirrors:` in the recipe, PREBAKE_MIRROR_… in the environment)".into(),
            ),
            Error::Status { status: 404, .. } => Some("the mirror may be incomplete".into()),
            _ => None,
        }
    }
}

/// A client that knows the mirrors. Nothing is set up before the first request.
pub struct Http {
    client: OnceCell<reqwest::Client>,
    mirrors: Mirrors,
}

impl Http {
    /// A client for these mirrors.
    pub fn new(mirrors: Mirrors) -> Self {
        Http { client: OnceCell::new(), mirrors }
    }

    /// A small text, whole.
    pub async fn small(&self, url: &str) -> Result<Vec<u8>, Error> {
        self.each(url, &|_| {}, async |url: String| {
            let mut body = self.get(&url, Some(SMALL)).await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = body.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        })
        .await
    }

    /// Runs `attempt` on each candidate URL, again where the failure may pass, until one succeeds. The error of the
    /// first candidate is what is reported: it is the one the user chose first.
    pub async fn each<T, E: From<Error> + MayPass>(
        &self,
        url: &str,
        retrying: &dyn Fn(&str),
        mut attempt: impl AsyncFnMut(String) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut first = None;
        for candidate in self.mirrors.candidates(url) {
            for round in 1..=ATTEMPTS {
                let error = match attempt(candidate.clone()).await {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                let Some(reason) = error.may_pass().filter(|_| round < ATTEMPTS) else {
                    if !error.next_mirror_may_help() {
                        return Err(error);
                    }
                    first.get_or_insert(error);
                    break;
                };
                retrying(&reason);
                tokio::time::sleep(Duration::from_millis(200) * 4u32.pow(round - 1)).await;
            }
        }
        Err(first.expect("there is at least one candidate"))
    }

    /// One request; the body is read with [`Body::chunk`] and may have `limit` bytes at most.
    pub async fn get(&self, url: &str, limit: Option<u64>) -> Result<Body, Error> {
        let client = self.client.get_or_try_init(async || client()).await?;
        let response = client.get(url).send().await.map_err(|source| transport(url, source))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Error::Status { url: url.into(), status });
        }
        let announced = response.content_length();
        let body = Body { url: url.into(), response, announced, limit, found: 0 };
        body.within(announced.unwrap_or(0))?;
        Ok(body)
    }
}

/// The body of an answer while it arrives.
pub struct Body {
    url: String,
    response: reqwest::Response,
    announced: Option<u64>,
    limit: Option<u64>,
    found: u64,
}

impl Body {
    /// Length in bytes, if the server said.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// The next bytes, or nothing at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match (self.response.chunk().await, self.announced) {
            (Ok(Some(chunk)), _) => {
                self.found += chunk.len() as u64;
                self.within(self.found)?;
                Ok(Some(chunk))
            }
            (Ok(None), _) => Ok(None),
            (Err(error), Some(expected)) if !error.is_timeout() => Err(Error::Truncated {
                url: self.url.clone(),
                found: self.found,
                expected,
                source: error.without_url(),
            }),
            (Err(error), _) => Err(transport(&self.url, error)),
        }
    }

    fn within(&self, length: u64) -> Result<(), Error> {
        match self.limit {
            Some(limit) if length > limit => Err(Error::TooLong { url: self.url.clone(), limit }),
            _ => Ok(()),
        }
    }
}

fn transport(url: &str, source: reqwest::Error) -> Error {
    let what = match () {
        _ if source.is_timeout() => "it did not answer in time",
        _ if source.is_connect() => "no connection",
        _ if source.is_redirect() => "too many redirects, or one from https to http",
        _ if source.is_builder() => "this is not a URL that can be asked",
        _ => "the connection broke",
    };
    Error::Transport { url: url.into(), what, source: source.without_url() }
}

/// What [`Http::each`] must know of an attempt's error.
pub trait MayPass {
    /// Why it may pass, if it may.
    fn may_pass(&self) -> Option<String>;
    /// Whether another mirror may do better. Wrong bytes are final.
    fn next_mirror_may_help(&self) -> bool;
}

impl MayPass for Error {
    fn may_pass(&self) -> Option<String> {
        Error::may_pass(self).then(|| self.to_string())
    }

    fn next_mirror_may_help(&self) -> bool {
        !matches!(self, Error::Client(_) | Error::TooLong { .. })
    }
}

fn client() -> Result<reqwest::Client, Error> {
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
        match () {
            _ if attempt.previous().len() > MAX_REDIRECTS => attempt.error("too many redirects"),
            _ if secure && attempt.url().scheme() != "https" => attempt.error("redirect from https to http"),
            _ => attempt.follow(),
        }
    });
    reqwest::Client::builder()
        .user_agent(concat!("prebake/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(STALL_TIMEOUT)
        .redirect(redirects)
        .build()
        .map_err(Error::Client)
}
