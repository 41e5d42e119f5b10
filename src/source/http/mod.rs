//! HTTP for fetching: which failures are temporary, how much is read and how fast. Leaves connections and redirects to
//! `client`.
//!
//! `file:` URLs are answered from the disk, so that a mirror may be a directory. Proxies and extra CA files come from
//! the environment: `proxy` reads `https_proxy`, `no_proxy` and so on, `tls` reads `SSL_CERT_FILE`.

mod asked;
mod client;
pub mod encoding;
pub(crate) mod error;
mod proxy;

use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, Take};
use tokio::sync::OnceCell;
use url::Url;

use self::encoding::{Coding, Unpacker};
use super::Mirrors;
use super::login::Logins;
use super::throttle::Throttle;
use crate::base::event::{Event, Observer};
use crate::base::url::masked;
use crate::registry::endpoint::Endpoint;

pub(crate) use crate::base::words;

pub(crate) use self::asked::Asked;
pub(super) use self::client::{Client, Request, basic, transport};
pub(super) use self::encoding::GZIP;
pub(crate) use self::error::{By, Error, MayPass};

/// Largest body of the small texts (`version.txt`, signatures, digest files, keys), in bytes.
pub(crate) const SMALL: u64 = 1 << 20;
/// Attempts per URL for temporary failures.
const ATTEMPTS: u32 = 3;
/// A server that sends fewer bytes per second than this over [`Options::stall`] is given up.
const SLOWEST: u64 = 100;
/// The longest `Retry-After` that is obeyed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pauses of this length or more are reported, with their length.
const TOLD_PAUSE: Duration = Duration::from_secs(5);
/// Most bytes of a refusal's body that are read, and the timeout for it.
const MAX_WORDS: usize = 64 << 10;
const WORDS_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a local file that are read at a time.
const CHUNK: usize = 256 << 10;

/// Settings for fetching bodies.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes per second over all bodies; `None` for no limit.
    pub limit_rate: Option<u64>,
    /// A server that sends nothing, or next to nothing, for this long is given up.
    pub stall: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { limit_rate: None, stall: Duration::from_secs(30) }
    }
}

/// A client that knows the mirrors. It is set up by the first request.
pub(crate) struct Http<'o> {
    client: OnceCell<Client>,
    mirrors: Mirrors,
    options: Options,
    throttle: Throttle,
    logins: Logins,
    observer: Option<&'o dyn Observer>,
}

/// A requested range of a body, and the identity of the bytes that are already here.
#[derive(Clone, Debug)]
pub struct Part {
    /// First byte, and the end (exclusive).
    pub range: Range<u64>,
    /// Validator of the bytes that are already here; if the body has changed, the server sends all of it.
    pub validator: Option<String>,
}

impl<'o> Http<'o> {
    /// A client for these mirrors.
    pub(crate) fn new(mirrors: Mirrors, options: Options) -> Self {
        let throttle = Throttle::new(options.limit_rate);
        Http {
            client: OnceCell::new(),
            mirrors,
            options,
            throttle,
            logins: Logins::default(),
            observer: None,
        }
    }

    /// The same client, reporting long pauses to an observer.
    pub(crate) fn observed(self, observer: &'o dyn Observer) -> Self {
        Http { observer: Some(observer), ..self }
    }

    /// The URLs that are asked for a canonical URL.
    pub(crate) fn candidates(&self, url: &str) -> Vec<String> {
        self.mirrors.candidates(url)
    }

    /// Fetches a small text.
    pub(crate) async fn small(&self, url: &str) -> Result<Vec<u8>, Error> {
        Ok(self.text(url).await?.0)
    }

    /// Like [`Http::small`], and returns the URL that answered too. An HTML page is an error, because none of these
    /// texts is one.
    pub(crate) async fn text(&self, url: &str) -> Result<(Vec<u8>, Asked), Error> {
        self.each(url, &self.tells(url), async |url: &str, _: &mut Patience| {
            let mut body = self.get(url, Some(SMALL)).await?;
            let bytes = body.bytes().await?;
            match words::page(&bytes) {
                Some(title) => Err(Error::Page { url: body.url, title }),
                None => Ok((bytes, body.url)),
            }
        })
        .await
    }

    /// Returns a callback that reports the pause before a text is retried. Texts are fetched one after another; pauses
    /// too short to notice are not reported.
    pub(crate) fn tells(&self, url: &str) -> impl Fn(&str, Duration) {
        move |reason, pause| {
            if pause >= TOLD_PAUSE
                && let Some(observer) = self.observer
            {
                observer.notice(Event::FetchRetry { id: &masked(url), reason });
            }
        }
    }

    /// Whether prebake itself limits the rate.
    pub(crate) fn is_throttled(&self) -> bool {
        self.options.limit_rate.is_some()
    }

    /// Whether this many bytes in this time count as a stall.
    pub(crate) fn is_stalled(&self, bytes: u64, waited: Duration) -> bool {
        waited >= self.options.stall && bytes < SLOWEST * waited.as_secs()
    }

    /// Runs `attempt` on each candidate URL, with retries after temporary failures, until one succeeds. The reported
    /// error is the first candidate's, because the user chose that one first.
    #[expect(
        clippy::expect_used,
        reason = "mirrors without a base stand in for nothing, so that there is a candidate"
    )]
    pub(crate) async fn each<T, E: From<Error> + MayPass>(
        &self,
        url: &str,
        retrying: &dyn Fn(&str, Duration),
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
                let pause = patience.next_pause(pause);
                match pause >= TOLD_PAUSE {
                    true => retrying(&format!("{reason}; retry in {} s", pause.as_secs()), pause),
                    false => retrying(&reason, pause),
                }
                tokio::time::sleep(pause).await;
            }
        }
        Err(first.expect("there is at least one candidate"))
    }

    /// Requests a whole body of at most `limit` bytes, to be read with [`Body::chunk`].
    pub(crate) async fn get(&self, url: &str, limit: Option<u64>) -> Result<Body<'_>, Error> {
        self.ask(url, limit, None).await
    }

    /// Requests a part of a body. The answer may be the whole body; [`Body::part`] tells.
    pub(crate) async fn get_part(
        &self,
        url: &str,
        limit: Option<u64>,
        part: Part,
    ) -> Result<Body<'_>, Error> {
        self.ask(url, limit, Some(part)).await
    }

    async fn ask(&self, url: &str, limit: Option<u64>, mut part: Option<Part>) -> Result<Body<'_>, Error> {
        if url.starts_with("file:") {
            let bad = || io::Error::other("a file: URL names an absolute path of this machine");
            let path = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
            let path: PathBuf = path.ok_or_else(|| Error::File { url: url.into(), source: bad() })?;
            return self.open(url, path, limit, part).await;
        }
        loop {
            let (response, asked) = self.request(url, part.as_ref()).await?;
            let headers = response.headers();
            let coding = Coding::of(headers, response.url().as_str());
            if let Coding::Other(coding) = coding {
                return Err(Error::Coded { url: asked, coding });
            }
            // A server that compresses on the fly has no ranges of the result, so a range of a .gz belongs to the file
            // itself.
            let coding = match coding {
                Coding::Twice if response.status() == 206 => Coding::Identity,
                coding => coding,
            };
            let is_packed = coding != Coding::Identity;
            let content_length = response.content_length().filter(|_| !is_packed);
            let (range, length) = match (response.status().as_u16(), &part) {
                // 203 means that a proxy changed something; the digest or signature tells whether it matters.
                (200 | 203, _) => (None, content_length),
                // The request was for all, and the answer does not claim to be a part.
                (206, None) if is_whole(headers) => (None, content_length),
                (206, Some(asked_for)) => match content_range(headers, asked_for) {
                    // Ranges of a compressed body are not ranges of the file.
                    _ if is_packed => {
                        part = None;
                        continue;
                    }
                    Ranged::Part(range, length) => (Some(range), Some(length)),
                    Ranged::Whole(length) => (None, Some(length)),
                    Ranged::Unclear => {
                        part = None;
                        continue;
                    }
                    Ranged::Other(answer) => {
                        return Err(Error::Range { url: asked, asked: asked_for.range.clone(), answer });
                    }
                },
                _ => return Err(self.refused(asked, response).await),
            };
            let validator = validator(headers);
            let at = range.as_ref().map_or(0, |range| range.start);
            let unpacker = Unpacker::of(&coding);
            let body = self.body(asked, Stream::Remote(response), length, limit)?;
            return Ok(Body { part: range, validator, at, unpacker, ..body });
        }
    }

    pub(super) async fn client(&self) -> Result<&Client, Error> {
        self.client.get_or_try_init(async || Client::new(self.options.stall)).await
    }

    async fn request(&self, url: &str, part: Option<&Part>) -> Result<(reqwest::Response, Asked), Error> {
        let client = self.client().await?;
        let mut request = Request::get(url);
        if let Some(Part { range, validator }) = part {
            let value = |text: &str| HeaderValue::try_from(text).ok();
            let range = value(&format!("bytes={}-{}", range.start, range.end - 1));
            let headers = [(header::RANGE, range), (header::IF_RANGE, validator.as_deref().and_then(value))];
            request.headers.extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
        }
        match Endpoint::parse(url) {
            Some(endpoint) => self.logins.ask(client, &endpoint, request).await,
            None => client.send(request).await,
        }
    }

    /// The error for an answer without content.
    async fn refused(&self, url: Asked, response: reqwest::Response) -> Error {
        let status = response.status().as_u16();
        let by = match self.client().await {
            Ok(client) => client.proxy_of(&response),
            Err(_) => None,
        };
        let own = ["proxy-status", "x-squid-error"].iter().any(|name| response.headers().contains_key(*name));
        let by = by.map(|proxy| By { name: proxy.name(), is_own: own || status == 407 });
        let pause = pause(response.headers());
        let words = refusal(response).await;
        Error::Status { url, status, words, by, pause }
    }

    /// A file, or a part of it. As for a server, a part is of the file that the validator means, or the answer is the whole.
    async fn open(
        &self,
        url: &str,
        path: PathBuf,
        limit: Option<u64>,
        part: Option<Part>,
    ) -> Result<Body<'_>, Error> {
        let cannot = |source| Error::File { url: url.into(), source };
        let mut file = File::open(&path).await.map_err(cannot)?;
        let meta = file.metadata().await.map_err(cannot)?;
        if !meta.is_file() {
            return Err(cannot(io::Error::other("it is not a regular file")));
        }
        let length = meta.len();
        let validator = format!("{}.{:09}-{}-{length}", meta.mtime(), meta.mtime_nsec(), meta.ino());
        let is_meant = |part: &Part| part.validator.as_ref().is_none_or(|meant| *meant == validator);
        let part = part.filter(is_meant).map(|part| part.range.start..part.range.end.min(length));
        let part = part.filter(|part| part.start < part.end);
        let range = part.clone().unwrap_or(0..length);
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(cannot)?;
        let body =
            self.body(url.into(), Stream::Local(file.take(range.end - range.start)), Some(length), limit)?;
        Ok(Body { part, validator: Some(validator), at: range.start, ..body })
    }

    /// Starts a whole body, unless its announced length exceeds the limit.
    fn body(
        &self,
        url: Asked,
        stream: Stream,
        length: Option<u64>,
        limit: Option<u64>,
    ) -> Result<Body<'_>, Error> {
        let body = Body {
            http: self,
            url,
            stream,
            unpacker: None,
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

/// Remaining attempts for a URL. Failures of a download that makes progress do not use them up.
pub(crate) struct Patience {
    left: u32,
    /// The most bytes that were ever kept.
    best: u64,
    since: Instant,
}

impl Patience {
    fn new() -> Self {
        Patience { left: ATTEMPTS, best: 0, since: Instant::now() }
    }

    /// Restores the attempts if `have` bytes are now kept, more than ever before, and enough for the time that passed.
    /// Bytes that were thrown away, and a byte now and then, restore nothing.
    pub(crate) fn renew(&mut self, have: u64) {
        let worth = SLOWEST * self.since.elapsed().as_secs();
        if have > self.best && have - self.best >= worth {
            *self = Patience { left: ATTEMPTS, best: have, since: Instant::now() };
        }
    }

    /// Restores the attempts for another way of downloading, not counting the failure that is being reported.
    pub(crate) fn begin_anew(&mut self) {
        self.left = ATTEMPTS + 1;
    }

    /// The pause before the next attempt: 0.2 s at first, then four times longer each time, or as long as the server
    /// asks for.
    fn next_pause(&mut self, asked: Option<Duration>) -> Duration {
        let backoff = Duration::from_millis(200) * 4u32.pow(ATTEMPTS.saturating_sub(self.left));
        self.left -= 1;
        asked.map_or(backoff, |asked| asked.clamp(backoff, LONGEST_PAUSE))
    }
}

/// The body of an answer while it arrives.
pub(crate) struct Body<'h> {
    http: &'h Http<'h>,
    url: Asked,
    stream: Stream,
    unpacker: Option<Unpacker>,
    part: Option<Range<u64>>,
    length: Option<u64>,
    validator: Option<String>,
    limit: Option<u64>,
    at: u64,
    pace: Pace,
}

enum Stream {
    Remote(reqwest::Response),
    Local(Take<File>),
}

/// The speed of arrival, over the time spent waiting for bytes.
#[derive(Default)]
struct Pace {
    bytes: u64,
    waited: Duration,
}

impl Body<'_> {
    /// The URL that answered.
    pub(crate) fn url(&self) -> &Asked {
        &self.url
    }

    /// Length in bytes of the whole body, if the server states it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The range of the body that this is; `None` if it is all of it.
    pub(crate) fn part(&self) -> Option<&Range<u64>> {
        self.part.as_ref()
    }

    /// The server's identifier for these bytes: a strong `ETag`, else `Last-Modified` (RFC 9110 §13.1.5).
    pub(crate) fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match &self.stream {
            Stream::Remote(response) => response.headers().get(name)?.to_str().ok(),
            Stream::Local(_) => None,
        }
    }

    /// Reads the rest of the body, which should be small.
    pub(crate) async fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The next bytes, or `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
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
        let sent = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let Some(chunk) = self.unpacked(chunk)? else { return Ok(None) };
        self.at += chunk.len() as u64;
        match &self.part {
            Some(part) if self.at > part.end => return Err(self.outside(part)),
            _ => self.within(self.at)?,
        }
        self.keep_pace(sent, asked.elapsed())?;
        self.http.throttle.take(sent).await;
        Ok(Some(chunk))
    }

    /// Decodes a content coding that was not requested.
    fn unpacked(&mut self, chunk: Option<Bytes>) -> Result<Option<Bytes>, Error> {
        let Some(unpacker) = &mut self.unpacker else { return Ok(chunk) };
        let is_end = chunk.is_none();
        let bytes = match chunk {
            Some(chunk) => unpacker.push(chunk),
            None => unpacker.finish(),
        };
        if is_end {
            self.unpacker = None;
        }
        match bytes {
            Ok(bytes) => Ok((!is_end || !bytes.is_empty()).then_some(bytes)),
            Err(_) => Err(Error::Coded { url: self.url.clone(), coding: "broken gzip".into() }),
        }
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

/// Reads the whole body of an answer, which should be small.
pub(super) async fn whole(
    mut response: reqwest::Response,
    url: &Asked,
    limit: u64,
) -> Result<Vec<u8>, Error> {
    let unpacker = match Coding::of(response.headers(), url.as_str()) {
        Coding::Other(coding) => return Err(Error::Coded { url: url.clone(), coding }),
        coding => Unpacker::of(&coding),
    };
    let broken = |_| Error::Coded { url: url.clone(), coding: "broken gzip".into() };
    let (mut unpacker, mut bytes) = (unpacker, Vec::new());
    loop {
        let chunk = response.chunk().await.map_err(|source| transport(url, source))?;
        let is_end = chunk.is_none();
        match (&mut unpacker, chunk) {
            (None, chunk) => bytes.extend_from_slice(&chunk.unwrap_or_default()),
            (Some(unpacker), Some(chunk)) => bytes.extend_from_slice(&unpacker.push(chunk).map_err(broken)?),
            (Some(unpacker), None) => bytes.extend_from_slice(&unpacker.finish().map_err(broken)?),
        }
        if bytes.len() as u64 > limit {
            return Err(Error::TooLong { url: url.clone(), limit });
        }
        if is_end {
            return Ok(bytes);
        }
    }
}

/// The pause that an answer asks for with `Retry-After`.
pub(super) fn pause(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER)?.trim();
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok())
}

/// The explanation in a refusal's body. It is optional, so reading it has a short timeout.
pub(super) async fn refusal(mut response: reqwest::Response) -> Option<String> {
    let read = async {
        let mut body = Vec::new();
        while body.len() < MAX_WORDS {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        body
    };
    let body = tokio::time::timeout(WORDS_TIMEOUT, read).await.ok()?;
    words::of_refusal(&body)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The identifier of an answer's bytes. A weak `ETag` promises only equivalent bytes, and servers must ignore it in
/// `If-Range`.
fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = text(headers, header::ETAG).filter(|etag| !etag.starts_with("W/"));
    strong.or_else(|| text(headers, header::LAST_MODIFIED)).map(str::to_owned)
}

/// Content of a 206 answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Ranged {
    /// The requested range, or the beginning of it, and the length of the whole body.
    Part(Range<u64>, u64),
    /// The whole body, of this length.
    Whole(u64),
    /// Unknown: no length, no `Content-Range`, or several parts.
    Unclear,
    /// Another range than the requested one, as `Content-Range` states it.
    Other(String),
}

/// Whether a 206 answer to a request without a range may be the whole body.
fn is_whole(headers: &HeaderMap) -> bool {
    let nothing = Part { range: 0..0, validator: None };
    !is_multipart(headers) && matches!(content_range(headers, &nothing), Ranged::Whole(_) | Ranged::Unclear)
}

fn is_multipart(headers: &HeaderMap) -> bool {
    text(headers, header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/"))
}

/// Reads which range of the body a server claims to send (RFC 9110 §14.4).
pub fn content_range(headers: &HeaderMap, part: &Part) -> Ranged {
    let answer = text(headers, header::CONTENT_RANGE).filter(|_| !is_multipart(headers));
    let Some(answer) = answer else { return Ranged::Unclear };
    let parsed = answer.trim().split_at_checked(6).filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes "));
    let parsed = parsed.and_then(|(_, rest)| {
        let (range, length) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = first.trim().parse().ok()?..last.trim().parse::<u64>().ok()?.checked_add(1)?;
        Some((range, length.trim().parse::<u64>().ok()?))
    });
    match parsed {
        None => Ranged::Unclear,
        Some((range, length)) if range == (0..length) && range.end > part.range.end => Ranged::Whole(length),
        Some((range, length))
            if range.start == part.range.start
                && range.start < range.end
                && range.end <= part.range.end.min(length) =>
        {
            Ranged::Part(range, length)
        }
        Some(_) => Ranged::Other(words::printable(answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_believed_where_they_are_clear() {
        let cases = [
            ("bytes 10-19/100", "", Ranged::Part(10..20, 100)),
            ("Bytes 10-19/100", "", Ranged::Part(10..20, 100)),
            ("bytes 10-14/100", "", Ranged::Part(10..15, 100)),
            ("bytes 0-99/100", "", Ranged::Whole(100)),
            ("bytes 10-19/*", "", Ranged::Unclear),
            ("bytes 10-19", "", Ranged::Unclear),
            ("bytes */100", "", Ranged::Unclear),
            ("items 1-2/3", "", Ranged::Unclear),
            ("", "", Ranged::Unclear),
            ("bytes 10-19/100", "multipart/byteranges; boundary=X", Ranged::Unclear),
            ("bytes 11-20/100", "", Ranged::Other("bytes 11-20/100".into())),
            ("bytes 10-29/100", "", Ranged::Other("bytes 10-29/100".into())),
            ("bytes 10-9/100", "", Ranged::Other("bytes 10-9/100".into())),
            ("bytes 10-19/15", "", Ranged::Other("bytes 10-19/15".into())),
            ("bytes 10-18446744073709551615/20", "", Ranged::Unclear),
        ];
        for (answer, kind, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, answer.parse().unwrap());
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            let part = Part { range: 10..20, validator: None };
            assert_eq!(content_range(&headers, &part), expected, "{answer} {kind}");
        }
        assert_eq!(content_range(&HeaderMap::new(), &Part { range: 0..1, validator: None }), Ranged::Unclear);
        let headers = |answer: &str, kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, answer.parse().unwrap());
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            headers
        };
        assert!(is_whole(&HeaderMap::new()) && is_whole(&headers("bytes 0-9/10", "")));
        assert!(!is_whole(&headers("bytes 0-9/11", "")) && !is_whole(&headers("", "multipart/byteranges")));
    }

    #[test]
    fn only_more_bytes_than_ever_before_renew_patience_and_only_if_they_are_worth_the_time() {
        let mut patience = Patience::new();
        patience.left = 1;
        patience.renew(0);
        assert_eq!(patience.left, 1);
        patience.renew(10);
        assert_eq!(patience.left, ATTEMPTS);
        patience.left = 1;
        patience.renew(10);
        assert_eq!(patience.left, 1, "nothing was gained");
        patience.since -= Duration::from_secs(60);
        patience.renew(60 * SLOWEST);
        assert_eq!(patience.left, 1, "too little for a minute");
        patience.renew(60 * SLOWEST + 10);
        assert_eq!(patience.left, ATTEMPTS);
    }
}
