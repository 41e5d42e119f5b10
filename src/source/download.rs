//! Downloads one body from its URL into the store, unverified: hashes it, and passes it to the signature's verifier,
//! while it arrives.
//!
//! A large body is downloaded in pieces over several connections, in about the order of its bytes, so that the digest
//! follows closely and is ready when the last byte is. [`Partial`] keeps the bytes that arrived, and the next attempt,
//! of this process or a later one, requests only the rest. A small body, and one from a server without ranges, comes in
//! one stream and starts over when it breaks. The same applies to a body whose pieces come from different versions:
//! backends behind one name often have an `ETag` or a time each (781flyingdutchman/background_downloader#541), and one
//! stream comes from one backend. Whether these are the right bytes is left to the signature or the digest.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc as channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::fetch::Error;
use super::http::{self, Asked, Body, Http, Part, Patience};
use crate::base::digest::{Hashing, Object};
use crate::base::event::{Event, Observer};
use crate::base::{disk, url};
use crate::store::partial::{Identity, Partial};
use crate::store::{Store, Unverified};
use crate::trust::openpgp::Verifier;

/// Connections for one body.
const CONNECTIONS: usize = 4;
/// Bytes per range request: large compared with the cost of a request, small compared with the loss when one breaks.
const PIECE: u64 = 4 << 20;
/// Bodies up to this length come in one stream, in bytes.
const SMALL_BODY: u64 = 1 << 20;
/// Capacity of the queue from network to disk, in chunks.
const QUEUE: usize = 16;
/// Bytes that are read back at a time for the digest: fits into one core's own cache.
const READ_BACK: usize = 128 << 10;
/// Bytes that may be written before a sync, so that the last sync is short.
const UNSYNCED: u64 = 64 << 20;
/// Most answers per piece. If a server answers ranges with less than a block at a time, the whole body is requested at
/// once.
const MOST_ANSWERS: usize = (PIECE / crate::store::partial::BLOCK) as usize;
/// Interval, in bytes, between checks for free disk space while the body's length is unknown.
const ROOM: u64 = 64 << 20;
/// Interval between checks whether another process has finished with the same body.
const POLL: Duration = Duration::from_millis(100);

/// Result of a download.
pub(super) enum Received {
    /// The complete bytes.
    Bytes {
        /// Not yet judged by anyone; the signature's verifier, if there is one, has seen all of them.
        bytes: Unverified,
        /// Whether some bytes came from an earlier process, so that a power cut may have damaged them.
        resumed: bool,
        /// The URL that sent them.
        asked: Asked,
    },
    /// Another process has meanwhile stored the expected object.
    Here,
}

/// The download of one body, over all attempts.
pub(super) struct Download<'a> {
    pub(super) http: &'a Http<'a>,
    pub(super) store: &'a Store,
    pub(super) observer: &'a dyn Observer,
    /// The input's id.
    pub(super) id: &'a str,
    /// Canonical URL, never a mirror's.
    pub(super) url: &'a str,
    /// The object that the lock or the image's descriptor promises, if any.
    pub(super) expected: Option<Object>,
    /// Most bytes that a body of this kind may have.
    pub(super) most: u64,
    pub(super) state: State,
}

/// State that one attempt leaves to the next.
#[derive(Default)]
pub(super) struct State {
    partial: Option<Partial>,
    followers: Option<Followers>,
    /// Whether the body had changed once when it was to be resumed.
    has_changed: bool,
    /// The URL whose body is requested in one stream, because its pieces changed or came in crumbs.
    whole: Option<String>,
}

impl<'a> Download<'a> {
    /// Requests the missing bytes from one URL. After a temporary failure, another call resumes where this one ended.
    pub(super) async fn attempt(
        &mut self,
        url: &str,
        verifier: &impl Fn() -> Result<Option<Verifier>, Error>,
        patience: &mut Patience,
    ) -> Result<Received, Error> {
        if self.state.whole.as_deref() == Some(url) {
            self.forget();
            let body = self.http.get(url, Some(self.limit())).await?;
            return self.stream(body, verifier()?).await;
        }
        if self.state.partial.is_none() && self.store.has_partial(self.url) && self.acquire().await? {
            return Ok(Received::Here);
        }
        let mut body = self.first(url).await?;
        let small = body.length() <= Some(SMALL_BODY);
        if body
            .part()
            .is_none_or(|part| small && Some(part) == body.length().map(|length| 0..length).as_ref())
        {
            self.forget();
            return self.stream(body, verifier()?).await;
        }
        if self.state.partial.is_none() {
            if self.acquire().await? {
                return Ok(Received::Here);
            }
            if self.state.partial.as_ref().is_some_and(|partial| partial.identity().is_some()) {
                // Another process has left a partial body since the request was sent.
                body = self.first(url).await?;
            }
        }
        self.parts(body, url, verifier, patience).await
    }

    /// Acquires the body's partial file, waiting while another process holds it. Returns true if the object was stored
    /// meanwhile.
    async fn acquire(&mut self) -> Result<bool, Error> {
        let mut waited = false;
        loop {
            if let Some(partial) = self.store.partial(self.url)? {
                let here = self.expected.is_some_and(|object| self.store.has(&object));
                match here {
                    true => partial.discard(),
                    false => self.state.partial = Some(partial),
                }
                return Ok(here);
            }
            if !waited {
                waited = true;
                self.observer.notice(Event::FetchWaiting { id: self.id });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The first answer: to a request for the first missing piece, or for the beginning.
    async fn first(&self, url: &str) -> Result<Body<'a>, Error> {
        let limit = Some(self.limit());
        let rest = self.state.partial.as_ref().and_then(|partial| {
            let identity = partial.identity().filter(|identity| identity.url == url::masked(url))?;
            // If all bytes are here already, request the last one, to learn whether it is still the same body.
            let last = identity.size - 1..identity.size;
            let range = partial.missing(PIECE).into_iter().next().unwrap_or(last);
            Some(Part { range, validator: identity.validator.clone() })
        });
        let part = rest.unwrap_or(Part { range: 0..PIECE, validator: None });
        match self.http.get_part(url, limit, part).await {
            // An empty body has no range.
            Err(http::Error::Status { status: 416, .. }) => Ok(self.http.get(url, limit).await?),
            answer => Ok(answer?),
        }
    }

    fn limit(&self) -> u64 {
        self.expected.map_or(self.most, |object| object.size.min(self.most))
    }

    /// Switches a URL to one stream from now on, and grants it a new set of attempts, once.
    fn ask_for_all(&mut self, url: &str, patience: &mut Patience) {
        if self.state.whole.as_deref() != Some(url) {
            self.state.whole = Some(url.to_owned());
            patience.begin_anew();
        }
    }

    /// Discards the bytes kept so far.
    fn forget(&mut self) {
        self.state.followers = None;
        if let Some(partial) = self.state.partial.take() {
            partial.discard();
        }
    }

    /// Receives a body in one stream.
    async fn stream(&self, mut body: Body<'_>, verifier: Option<Verifier>) -> Result<Received, Error> {
        let size = body.length().or(self.expected.map(|object| object.size));
        self.store.must_have_room(size.unwrap_or_default())?;
        let (asked, store) = (body.url().clone(), self.store.clone());
        self.observer.notice(Event::FetchStarted { id: self.id, size, have: 0, url: &asked.to_string() });
        let mut incoming = self.store.incoming_for(verifier)?;
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        let root = self.store.root().to_owned();
        let writer = tokio::task::spawn_blocking(move || {
            let mut unlooked = 0;
            while let Some(chunk) = receiver.blocking_recv() {
                unlooked += chunk.len() as u64;
                if size.is_none() && unlooked >= ROOM {
                    unlooked = 0;
                    store.must_have_room(ROOM)?;
                }
                incoming.write_all(&chunk).map_err(disk::Error::io("write to the store", &root))?;
            }
            Ok::<_, Error>(incoming.finish()?)
        });
        let mut bytes = 0;
        while let Some(chunk) = body.chunk().await? {
            bytes += chunk.len() as u64;
            if sender.send(chunk).await.is_err() {
                break; // the writer failed; its error follows
            }
            self.observer.notice(Event::FetchProgress { id: self.id, bytes });
        }
        drop(sender);
        let bytes = joined(writer.await)?;
        Ok(Received::Bytes { bytes, resumed: false, asked })
    }

    /// Fetches the missing pieces of a large body over several connections. `first` is the answer for the first missing
    /// piece.
    async fn parts(
        &mut self,
        first: Body<'a>,
        url: &str,
        verifier: &impl Fn() -> Result<Option<Verifier>, Error>,
        patience: &mut Patience,
    ) -> Result<Received, Error> {
        let Some(mut partial) = self.state.partial.take() else { unreachable!("the caller acquired it") };
        let size = first.length().unwrap_or_default();
        let asked = first.url().clone();
        let identity =
            Identity { url: url::masked(url), size, validator: first.validator().map(str::to_owned) };
        let is_other = partial.identity() != Some(&identity);
        self.store.must_have_room(size - if is_other { 0 } else { partial.have() })?;
        if is_other {
            self.state.followers = None;
            partial.begin(identity.clone())?;
            if first.part().is_some_and(|part| part.start > 0) {
                // Once is normal, because a body may be published anew. Backends that differ change it again and again.
                if std::mem::replace(&mut self.state.has_changed, true) {
                    self.ask_for_all(url, patience);
                }
                return Err(http::Error::Changed { url: asked }.into());
            }
        }
        let followers = match self.state.followers.take() {
            Some(followers) => followers,
            None => Followers::start(&partial, verifier()?)?,
        };
        let resumed = partial.is_resumed();
        let had = partial.have();
        self.observer.notice(Event::FetchStarted {
            id: self.id,
            size: Some(size),
            have: had,
            url: &asked.to_string(),
        });
        let (sender, receiver) = mpsc::channel(QUEUE);
        let pieces = Pieces {
            download: self,
            url,
            identity,
            started: Instant::now(),
            had,
            queue: Mutex::new(partial.missing(PIECE).into()),
            arrived: AtomicU64::new(had),
            sender,
        };
        let writer = tokio::task::spawn_blocking(move || write(partial, followers, receiver));
        let mut first = Some(first);
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| pieces.fetch(first.take())).collect();
        let failed = join_all(workers).await.into_iter().find_map(Result::err);
        drop(pieces);
        let (partial, followers) = joined(writer.await)?;
        if let Some(error) = failed {
            patience.renew(partial.have());
            // A body that changed during the download starts over.
            match matches!(error, Error::Http(http::Error::Changed { .. } | http::Error::Crumbs { .. })) {
                true => {
                    partial.discard();
                    self.ask_for_all(url, patience);
                }
                false => {
                    self.state.partial = Some(partial);
                    self.state.followers = Some(followers);
                }
            }
            return Err(error);
        }
        let (object, verifier) = followers.finish().await?;
        Ok(Received::Bytes { bytes: partial.finish(object, verifier)?, resumed, asked })
    }
}

/// The missing pieces of one body, while several connections fetch them.
struct Pieces<'d> {
    download: &'d Download<'d>,
    /// The requested URL, with its password; the URL in `identity` is masked.
    url: &'d str,
    identity: Identity,
    started: Instant,
    /// Bytes that were kept from before.
    had: u64,
    queue: Mutex<VecDeque<Range<u64>>>,
    arrived: AtomicU64,
    sender: mpsc::Sender<(u64, Bytes)>,
}

impl Pieces<'_> {
    /// Fetches one piece after another, until none is left or one fails.
    async fn fetch(&self, mut first: Option<Body<'_>>) -> Result<(), Error> {
        let next = || self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        while let Some(piece) = next() {
            let mut at = piece.start;
            let mut answers = 0;
            while at < piece.end {
                answers += 1;
                self.must_get_on(answers)?;
                let mut body = match first.take() {
                    Some(body) => body,
                    None => self.ask(at..piece.end).await?,
                };
                let from = at;
                loop {
                    let chunk = match body.chunk().await {
                        Ok(Some(chunk)) => chunk,
                        Ok(None) => break,
                        // The bytes so far are kept and the rest is requested, so that a link which breaks in the
                        // middle of a block, again and again, still makes progress.
                        Err(error @ (http::Error::Truncated { .. } | http::Error::Transport { .. }))
                            if at > from =>
                        {
                            let (id, reason) = (self.download.id, &error.to_string());
                            self.download.observer.notice(Event::FetchRetry { id, reason });
                            break;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    let length = chunk.len() as u64;
                    if self.sender.send((at, chunk)).await.is_err() {
                        return Ok(()); // the writer failed; its error follows
                    }
                    at += length;
                    let bytes = self.arrived.fetch_add(length, Ordering::Relaxed) + length;
                    self.download.observer.notice(Event::FetchProgress { id: self.download.id, bytes });
                }
                if at == from {
                    return Err(http::Error::Empty { url: self.url.into() }.into());
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, range: Range<u64>) -> Result<Body<'_>, Error> {
        let Identity { size, validator, .. } = &self.identity;
        let part = Part { range, validator: validator.clone() };
        let body = self.download.http.get_part(self.url, Some(self.download.limit()), part).await?;
        match body.part().is_some() && body.length() == Some(*size) {
            true => Ok(body),
            false => Err(http::Error::Changed { url: body.url().clone() }.into()),
        }
    }

    /// Gives up if all answers together bring too little, even if each brings a few bytes in time.
    fn must_get_on(&self, answers: usize) -> Result<(), Error> {
        if answers > MOST_ANSWERS {
            return Err(http::Error::Crumbs { url: self.url.into() }.into());
        }
        let http = self.download.http;
        let (found, waited) =
            (self.arrived.load(Ordering::Relaxed).saturating_sub(self.had), self.started.elapsed());
        match !http.is_throttled() && http.is_stalled(found, waited) {
            true => Err(http::Error::Stalled { url: self.url.into(), found, waited }.into()),
            false => Ok(()),
        }
    }
}

/// Writes the chunks that the connections receive, and tells the followers how far they may read.
fn write(
    mut partial: Partial,
    followers: Followers,
    mut receiver: mpsc::Receiver<(u64, Bytes)>,
) -> Result<(Partial, Followers), Error> {
    followers.may_read(partial.frontier());
    while let Some((offset, bytes)) = receiver.blocking_recv() {
        if let Err(error) = partial.write(offset, &bytes) {
            // Free the space again, so that the disk is not left full.
            if matches!(&error, disk::Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
            {
                partial.discard();
            }
            return Err(error.into());
        }
        followers.may_read(partial.frontier());
    }
    Ok((partial, followers))
}

/// Readers that follow the writer through a growing body: the digest, and the signature's verifier on a thread of its
/// own, because SHA-512 alone is slower than a fast network.
struct Followers {
    digest: Follower<Hashing<io::Sink>>,
    verifier: Option<Follower<Verifier>>,
}

impl Followers {
    fn start(partial: &Partial, verifier: Option<Verifier>) -> Result<Self, Error> {
        let verify = |verifier: &mut Verifier, bytes: &[u8]| {
            verifier.update(bytes);
            Ok(())
        };
        let verifier = match verifier {
            Some(verifier) => Some(Follower::start(partial.reader()?, verifier, verify)),
            None => None,
        };
        let disk = partial.reader()?;
        let mut unsynced = 0;
        // The SHA-256 follower is the faster one, so it has time to sync.
        let hash = move |hashing: &mut Hashing<_>, bytes: &[u8]| {
            hashing.update(bytes);
            unsynced += bytes.len() as u64;
            if unsynced < UNSYNCED {
                return Ok(());
            }
            unsynced = 0;
            disk.sync_data()
        };
        Ok(Followers { digest: Follower::start(partial.reader()?, Hashing::new(io::sink()), hash), verifier })
    }

    /// Lets the followers read everything before `frontier`, which has been written.
    fn may_read(&self, frontier: u64) {
        self.digest.may_read(frontier);
        if let Some(verifier) = &self.verifier {
            verifier.may_read(frontier);
        }
    }

    async fn finish(self) -> Result<(Object, Option<Verifier>), Error> {
        let verifier = match self.verifier {
            Some(verifier) => Some(verifier.finish().await?),
            None => None,
        };
        let (_, sha256, size) = self.digest.finish().await?.finish();
        Ok((Object { sha256, size }, verifier))
    }
}

/// Reads a growing file once from its start and passes it to one taker.
struct Follower<T> {
    frontier: channel::Sender<u64>,
    reader: JoinHandle<Result<T, Error>>,
}

impl<T: Send + 'static> Follower<T> {
    fn start(
        file: File,
        mut taker: T,
        mut take: impl FnMut(&mut T, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let (frontier, frontiers) = channel::channel::<u64>();
        let reader = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; READ_BACK];
            let mut at = 0_u64;
            for frontier in frontiers {
                while at < frontier {
                    let bytes = &mut buffer[..(frontier - at).min(READ_BACK as u64) as usize];
                    let taken = file.read_exact_at(bytes, at).and_then(|()| take(&mut taker, bytes));
                    taken.map_err(disk::Error::io("keep", "the download".as_ref()))?;
                    at += bytes.len() as u64;
                }
            }
            Ok(taker)
        });
        Follower { frontier, reader }
    }

    fn may_read(&self, frontier: u64) {
        // Sending fails only after the reader ended with an error, which `finish` returns.
        let _ = self.frontier.send(frontier);
    }

    async fn finish(self) -> Result<T, Error> {
        drop(self.frontier);
        joined(self.reader.await)
    }
}

/// Returns a blocking task's result, or resumes its panic.
pub(super) fn joined<T>(result: Result<T, JoinError>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
