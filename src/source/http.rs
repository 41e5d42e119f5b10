//! HTTP for fetching: which failures may pass, how much is read and how fast. How a connection is made, and which
//! redirects are followed, is the business of `client`.
//!
//! `file:` URLs are answered from the disk, so that a mirror may be a directory. Proxies and extra CA files are taken
//! from the environment as reqwest and rustls-native-certs read them (`https_proxy`, `no_proxy`, `SSL_CERT_FILE`, …).

mod client;
mod error;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use url::Url;

use self::client::Client;
pub(super) use self::error::transport;
pub use self::error::{Error, MayPass};
use super::Mirrors;
use super::oci::{Endpoint, Logins};
use super::throttle::Throttle;

/// Largest body of the small texts (`version.txt`, signatures, digest files, keys), in bytes.
pub const SMALL: u64 = 1 << 20;
/// Attempts per URL for failures that may pass.
const ATTEMPTS: u32 = 3;
/// A server that sends fewer bytes a second than this over [`Options::stall`] is given up.
const SLOWEST: u64 = 100;
/// The longest `Retry-After` that is obeyed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How much of a local file is read at a time, in bytes.
const CHUNK: usize = 256 << 10;

/// How bodies are fetched.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes per second of all bodies together; no limit without.
    pub limit_rate: Option<u64>,
    /// A server that is silent, or next to it, for this long is given up.
    pub stall: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { limit_rate: None, stall: Duration::from_secs(30) }
    }
}

/// A client that knows the mirrors. Nothing is set up before the first request.
pub struct Http {
    client: OnceCell<Client>,
    mirrors: Mirrors,
    options: Options,
    throttle: Throttle,
    logins: Logins,
}

/// A range of a body, and what the rest of it was.
#[derive(Clone, Debug)]
pub struct Part {
    /// Bytes from and before.
    pub range: Range<u64>,
    /// The validator of the bytes that are here; the server sends everything anew if it has changed.
    pub validator: Option<String>,
}

impl Http {
    /// A client for these mirrors.
    pub fn new(mirrors: Mirrors, options: Options) -> Self {
        let throttle = Throttle::new(options.limit_rate);
        Http { client: OnceCell::new(), mirrors, options, throttle, logins: Logins::default() }
    }

    /// A small text, whole.
    pub async fn small(&self, url: &str) -> Result<Vec<u8>, Error> {
        self.each(url, &|_| {}, async |url: &str, _: &mut Patience| {
            self.get(url, Some(SMALL)).await?.bytes().await
        })
        .await
    }

    /// Runs `attempt` on each candidate URL, again where the failure may pass, until one succeeds. The error of the
    /// first candidate is what is reported: it is the one the user chose first.
    pub async fn each<T, E: From<Error> + MayPass>(
        &self,
        url: &str,
        retrying: &dyn Fn(&str),
        mut attempt: impl AsyncFnMut(&str, &mut Patience) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut first = None;
        for candidate in self.mirrors.candidates(url) {
            let mut patience = Patience::new();
            loop {
                let error = match attempt(&candidate, &mut patience).await {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                let Some((reason, pause)) = error.may_pass().filter(|_| patience.left > 1) else {
                    if !error.next_mirror_may_help() {
                        return Err(error);
                    }
                    first.get_or_insert(error);
                    break;
                };
                retrying(&reason);
                patience.pause(pause).await;
            }
        }
        Err(first.expect("there is at least one candidate"))
    }

    /// Asks for a whole body; it is read with [`Body::chunk`] and may have `limit` bytes at most.
    pub async fn get(&self, url: &str, limit: Option<u64>) -> Result<Body<'_>, Error> {
        self.ask(url, limit, None).await
    }

    /// Asks for a part of a body. The answer may be the whole one: [`Body::part`] tells.
    pub async fn get_part(&self, url: &str, limit: Option<u64>, part: Part) -> Result<Body<'_>, Error> {
        self.ask(url, limit, Some(part)).await
    }

    async fn ask(&self, url: &str, limit: Option<u64>, part: Option<Part>) -> Result<Body<'_>, Error> {
        let response = match Url::parse(url) {
            Ok(parsed) if parsed.scheme() == "file" => {
                let bad = || io::Error::other("a file: URL names an absolute path of this machine");
                let path: PathBuf =
                    parsed.to_file_path().map_err(|()| Error::File { url: url.into(), source: bad() })?;
                return self.open(url, path, limit).await;
            }
            _ => self.request(url, part.as_ref()).await?,
        };
        let status = response.status().as_u16();
        let headers = response.headers();
        let content_length = response.content_length();
        let (range, length) = match (status, &part) {
            (200, _) => (None, content_length),
            (206, Some(part)) => {
                let (range, length) = content_range(headers, url, part)?;
                (Some(range), Some(length))
            }
            _ => return Err(refused(url, &response)),
        };
        let validator = validator(headers);
        let at = range.as_ref().map_or(0, |range| range.start);
        let body = self.body(url, Stream::Remote(response), length, limit)?;
        Ok(Body { part: range, validator, at, ..body })
    }

    async fn request(&self, url: &str, part: Option<&Part>) -> Result<reqwest::Response, Error> {
        let client =
            self.client.get_or_try_init(async || Client::new(self.options.stall)).await?.to_ask(url)?;
        let request = || {
            let mut request = client.get(url);
            if let Some(Part { range, validator }) = part {
                request = request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
                if let Some(validator) = validator {
                    request = request.header(header::IF_RANGE, validator);
                }
            }
            request
        };
        match Endpoint::parse(url) {
            Some(endpoint) => self.logins.ask(client, url, &endpoint, request).await,
            None => request().send().await.map_err(|source| transport(url, source)),
        }
    }

    async fn open(&self, url: &str, path: PathBuf, limit: Option<u64>) -> Result<Body<'_>, Error> {
        let cannot = |source| Error::File { url: url.into(), source };
        let file = File::open(&path).await.map_err(cannot)?;
        let meta = file.metadata().await.map_err(cannot)?;
        if !meta.is_file() {
            return Err(cannot(io::Error::other("it is not a regular file")));
        }
        self.body(url, Stream::Local(file), Some(meta.len()), limit)
    }

    /// A whole body that begins, unless its announced length is beyond the limit.
    fn body(
        &self,
        url: &str,
        stream: Stream,
        length: Option<u64>,
        limit: Option<u64>,
    ) -> Result<Body<'_>, Error> {
        let body = Body {
            http: self,
            url: url.into(),
            stream,
            part: None,
            length,
            validator: None,
            limit,
            at: 0,
            pace: Pace::default(),
        };
        body.within(length.unwrap_or(0))?;
        Ok(body)
    }
}

/// How often a URL is asked again. What brings bytes may fail as often as it likes.
pub struct Patience {
    left: u32,
}

impl Patience {
    fn new() -> Self {
        Patience { left: ATTEMPTS }
    }

    /// Bytes arrived since the last failure, and were kept.
    pub fn renew(&mut self) {
        self.left = ATTEMPTS;
    }

    /// Waits before the next attempt: 0.2 s, then four times longer each time, or what the server asks for.
    async fn pause(&mut self, asked: Option<Duration>) {
        let backoff = Duration::from_millis(200) * 4u32.pow(ATTEMPTS - self.left);
        self.left -= 1;
        tokio::time::sleep(asked.map_or(backoff, |asked| asked.clamp(backoff, LONGEST_PAUSE))).await;
    }
}

/// The body of an answer while it arrives.
pub struct Body<'h> {
    http: &'h Http,
    url: String,
    stream: Stream,
    part: Option<Range<u64>>,
    length: Option<u64>,
    validator: Option<String>,
    limit: Option<u64>,
    at: u64,
    pace: Pace,
}

enum Stream {
    Remote(reqwest::Response),
    Local(File),
}

/// How fast bytes come, over the time that was spent waiting for them.
#[derive(Default)]
struct Pace {
    bytes: u64,
    waited: Duration,
}

impl Body<'_> {
    /// Length in bytes of the whole body, if the server said.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Which part of the body this is; nothing if it is all of it.
    pub fn part(&self) -> Option<&Range<u64>> {
        self.part.as_ref()
    }

    /// What the server knows these bytes by: a strong `ETag`, else `Last-Modified` (RFC 9110 §13.1.5).
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        match &self.stream {
            Stream::Remote(response) => response.headers().get(name)?.to_str().ok(),
            Stream::Local(_) => None,
        }
    }

    /// The rest of the body, which should be small.
    pub async fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The next bytes, or nothing at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let asked = Instant::now();
        let chunk = match &mut self.stream {
            Stream::Remote(response) => match response.chunk().await {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.broken(error)),
            },
            Stream::Local(file) => {
                let mut buffer = Vec::with_capacity(CHUNK);
                let read = file.take(CHUNK as u64).read_to_end(&mut buffer).await;
                read.map_err(|source| Error::File { url: self.url.clone(), source })?;
                (!buffer.is_empty()).then(|| Bytes::from(buffer))
            }
        };
        let Some(chunk) = chunk else { return Ok(None) };
        let length = chunk.len() as u64;
        self.at += length;
        match &self.part {
            Some(part) if self.at > part.end => return Err(self.outside(part)),
            _ => self.within(self.at)?,
        }
        self.keep_pace(length, asked.elapsed())?;
        self.http.throttle.take(length).await;
        Ok(Some(chunk))
    }

    fn broken(&self, error: reqwest::Error) -> Error {
        match self.length {
            Some(expected) if !error.is_timeout() => Error::Truncated {
                url: self.url.clone(),
                found: self.at,
                expected,
                source: error.without_url(),
            },
            _ if error.is_timeout() => {
                let waited = self.http.options.stall;
                Error::Stalled { url: self.url.clone(), found: 0, waited }
            }
            _ => transport(&self.url, error),
        }
    }

    fn outside(&self, part: &Range<u64>) -> Error {
        let answer = "with more bytes than its Content-Range".into();
        Error::Range { url: self.url.clone(), asked: part.clone(), answer }
    }

    fn keep_pace(&mut self, bytes: u64, waited: Duration) -> Result<(), Error> {
        self.pace.bytes += bytes;
        self.pace.waited += waited;
        let Pace { bytes: found, waited } = self.pace;
        if waited < self.http.options.stall {
            return Ok(());
        }
        self.pace = Pace::default();
        match found < SLOWEST * waited.as_secs() {
            true => Err(Error::Stalled { url: self.url.clone(), found, waited }),
            false => Ok(()),
        }
    }

    fn within(&self, length: u64) -> Result<(), Error> {
        match self.limit {
            Some(limit) if length > limit => Err(Error::TooLong { url: self.url.clone(), limit }),
            _ => Ok(()),
        }
    }
}

/// The error of an answer that brings nothing.
pub(super) fn refused(url: &str, response: &reqwest::Response) -> Error {
    let seconds = text(response.headers(), header::RETRY_AFTER).and_then(|value| value.parse().ok());
    let pause = seconds.map(Duration::from_secs);
    Error::Status { url: url.into(), status: response.status().as_u16(), pause }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A weak `ETag` promises like bytes, not equal ones, and servers must ignore it in `If-Range`.
fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = text(headers, header::ETAG).filter(|etag| !etag.starts_with("W/"));
    strong.or_else(|| text(headers, header::LAST_MODIFIED)).map(str::to_owned)
}

/// The range that the server says it answers, and the length of the whole. It must begin where it was asked to.
fn content_range(headers: &HeaderMap, url: &str, part: &Part) -> Result<(Range<u64>, u64), Error> {
    let answer = text(headers, header::CONTENT_RANGE).unwrap_or("no Content-Range");
    let parsed = answer.strip_prefix("bytes ").and_then(|rest| {
        let (range, length) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?;
        Some((range, length.parse::<u64>().ok()?))
    });
    let fits = |(range, length): &(Range<u64>, u64)| {
        range.start == part.range.start && range.start < range.end && range.end <= part.range.end.min(*length)
    };
    parsed.filter(fits).ok_or_else(|| Error::Range {
        url: url.into(),
        asked: part.range.clone(),
        answer: answer.into(),
    })
}
