//! Connections that hyper serves: HTTPS, HTTP/2, and HTTP/1 requests with a body. Files are read in chunks here.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request as HttpRequest, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::debts::{Debt, Debts};
use super::exchange::{Exchange, Outgoing, Reply, Via};
use super::limits::{Limits, MAX_HEADERS};
use super::linger::Lingering;
use super::patience::Patient;
use super::pulse::Pulse;
use super::shares::{SHORT, Share};
use super::stop::stopped;
use super::tally::Tally;
use crate::base::clock;
use crate::serve::answer::{Answer, TEXT};
use crate::serve::endpoint::routes;
use crate::serve::files::segments::Segment;
use crate::serve::machines::report::{MAX_BODY, MAX_FORM, is_too_long};
use crate::serve::machines::watchers::Events;

/// Bytes of a file in memory for one transfer. There are two such chunks: one waiting, one leaving.
const CHUNK: usize = 128 << 10;
/// The same for a transfer that shares its connection with others; its client can stall it without stalling the rest.
const STREAM_CHUNK: usize = 32 << 10;
/// The first read of a file. Each further read is twice as long, as the client has shown that it takes the bytes.
const FIRST_CHUNK: usize = 8 << 10;
/// Bytes that hyper may buffer for one such transfer.
const STREAM_BUFFER: usize = 64 << 10;
/// Why a connection is closed when one of its answers is stuck, even if its other bytes move.
const STUCK: &str = "it has stopped reading an answer";
/// Why a connection is closed that only keeps itself alive.
pub(crate) const IDLE: &str = "it was idle for too long";
/// Concurrent requests on one HTTP/2 connection. Machines load a few files at a time, browsers fewer.
const MAX_STREAMS: u32 = 8;

/// Answers requests on a connection until it ends. The error says why it was aborted.
pub(crate) async fn serve<S>(
    stream: S,
    via: Via,
    exchange: Arc<Exchange>,
    pulse: Pulse,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &exchange.limits;
    let debts = Debts::default();
    let mut http = auto::Builder::new(TokioExecutor::new());
    // Answers have their date already; hyper panics at years that HTTP cannot express.
    http.http1()
        .auto_date_header(false)
        .timer(TokioTimer::new())
        // The same case as `field` gives to heads that hyper does not write. HTTP/2 knows lower case only.
        .title_case_headers(true)
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head)
        .max_headers(MAX_HEADERS);
    http.http2()
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle / 2)
        .keep_alive_timeout(limits.head_time)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(STREAM_BUFFER)
        .max_header_list_size(limits.head as u32);
    let service = hyper::service::service_fn({
        let (exchange, debts, pulse) = (exchange.clone(), debts.clone(), pulse.clone());
        move |request| {
            let (exchange, debt, pulse) = (exchange.clone(), debts.begin(), pulse.clone());
            // Boxed, so that the memory is freed once the answer is there: a connection whose client takes nothing then
            // holds little else.
            let answered = Box::pin(async move { answer(exchange, via, pulse, debt, request).await });
            async move { Ok::<_, Infallible>(answered.await) }
        }
    });
    // An answer may leave before its whole request arrived: the report is too long, or the body is unwanted.
    let stream = Lingering::new(Patient::new(stream, limits), limits.head_time, stop.clone());
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut overdue = std::pin::pin!(overdue(limits, &debts, &pulse));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            served = connection.as_mut() => return served.map_err(cause),
            why = &mut overdue => return Err(io::Error::new(io::ErrorKind::TimedOut, why)),
            () = stopped(&mut stop), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Waits until a client has taken nothing of an answer, or has asked for nothing, for too long; returns which of the
/// two. hyper detects neither where streams share a connection: it polls nothing for a stream whose window is shut, and
/// pings keep a connection alive for ever.
pub(crate) async fn overdue(limits: &Limits, debts: &Debts, pulse: &Pulse) -> &'static str {
    let mut looks = tokio::time::interval(limits.window.min(limits.idle) / 8);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if debts.is_overdue(limits.window) {
            return STUCK;
        }
        if debts.is_ours() {
            pulse.beat();
        }
        if debts.is_none() && pulse.rests() >= limits.idle {
            return IDLE;
        }
    }
}

/// The I/O error below hyper, unless hyper itself found the fault.
pub(crate) fn cause(error: Box<dyn Error + Send + Sync>) -> io::Error {
    let mut source: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return io::Error::new(cause.kind(), cause.to_string());
        }
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return io::Error::from(io::ErrorKind::UnexpectedEof);
        }
        source = cause.source();
    }
    io::Error::other(error)
}

async fn answer(
    exchange: Arc<Exchange>,
    via: Via,
    pulse: Pulse,
    debt: Debt,
    request: HttpRequest<Incoming>,
) -> Response<Transfer> {
    pulse.beat();
    let (mut head, body) = request.into_parts();
    // HTTP/2 has the host in `:authority`.
    if let Some(host) = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        head.headers.entry(HOST).or_insert(host);
    }
    let body = match routes::takes_body(&head.method, head.uri.path()) {
        true => read_body(body, &exchange).await,
        false => Ok(String::new()),
    };
    let chunk = if head.version == Version::HTTP_2 { STREAM_CHUNK } else { CHUNK };
    let Reply { status, headers, length, body, tally } = exchange.answer(via, head, body).await;
    let date = clock::http_date(SystemTime::now());
    let mut response = Response::builder().status(status).header("date", date);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    if let Some(length) = length {
        response = response.header("content-length", length);
    }
    let source = match body {
        Outgoing::Stream(events) => {
            debt.has_no_end();
            Source::Stream(events)
        }
        Outgoing::Segments(segments) => match segments.as_slice() {
            [] => Source::Bytes(Bytes::new()),
            [Segment::Bytes(bytes)] => Source::Bytes(bytes.clone()),
            _ => Source::Files(Files::Unasked(segments)),
        },
    };
    debt.is_theirs();
    let transfer = Transfer { source, tally, exchange, via, chunk, pulse, debt };
    response.body(transfer).unwrap_or_else(|_| unreachable!("answers have plain headers"))
}

/// The body of a report, or the reason for its refusal.
async fn read_body(body: Incoming, exchange: &Exchange) -> Result<String, Answer> {
    let refused = |status, why: &str| Err(Answer::new(status, TEXT, format!("{why}\n")));
    let too_long = || refused(413, &format!("a report has at most {MAX_FORM} bytes, and as many in its log"));
    match tokio::time::timeout(exchange.limits.head_time, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => match String::from_utf8_lossy(&body.to_bytes()).into_owned() {
            body if is_too_long(&body) => too_long(),
            body => Ok(body),
        },
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_long(),
        Ok(Err(_)) => refused(400, "the report ended early"),
        Err(_) => refused(408, "the report took too long"),
    }
}

/// Reads segments one chunk ahead of the socket, as the client's share and room allow.
async fn feed(
    segments: Vec<Segment>,
    via: Via,
    longest: usize,
    exchange: Arc<Exchange>,
    debt: Debt,
    sender: mpsc::Sender<io::Result<Bytes>>,
) {
    let room = exchange.rooms.of(via.peer.ip());
    let length: u64 = segments.iter().map(Segment::length).sum();
    let mut share = (length > SHORT).then(|| exchange.shares.join(via.peer.ip()));
    let mut most = FIRST_CHUNK;
    for mut segment in segments {
        while segment.length() > 0 {
            // Waits here before it takes a turn or room: while this client takes nothing, other transfers can have
            // both.
            let place = loop {
                tokio::select! {
                    biased;
                    place = sender.reserve() => break place,
                    () = pass_on(&mut share) => {}
                }
            };
            let Ok(place) = place else { return };
            let turn = match &mut share {
                Some(share) => share.turn().await.min(most as u64) as usize,
                None => most,
            };
            let room = room.take(turn.min(segment.length() as usize)).await;
            let bytes = room.bytes();
            let read = tokio::task::spawn_blocking(move || segment.read(bytes).map(|chunk| (chunk, segment)));
            let chunk = match read.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok((chunk, rest)) => {
                    segment = rest;
                    chunk
                }
                Err(error) => return place.send(Err(error)),
            };
            if let Some(share) = &mut share {
                share.sent(chunk.len() as u64);
            }
            most = (most * 2).min(longest);
            debt.is_theirs();
            place.send(Ok(room.keep(chunk)));
        }
    }
}

/// Passes the turn to others when it is over.
async fn pass_on(share: &mut Option<Share>) {
    match share {
        Some(share) => share.pass_on().await,
        None => std::future::pending().await,
    }
}

/// A body on its way.
struct Transfer {
    source: Source,
    tally: Tally,
    exchange: Arc<Exchange>,
    via: Via,
    chunk: usize,
    pulse: Pulse,
    debt: Debt,
}

enum Source {
    Bytes(Bytes),
    Files(Files),
    Stream(Events),
}

enum Files {
    /// Nothing is read until the body is polled.
    Unasked(Vec<Segment>),
    Read(mpsc::Receiver<io::Result<Bytes>>),
}

impl Transfer {
    fn poll_files(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Source::Files(files) = &mut self.source else { return Poll::Ready(None) };
        let chunks = match files {
            Files::Read(chunks) => chunks,
            Files::Unasked(segments) => {
                let (sender, receiver) = mpsc::channel(1);
                let (segments, exchange, debt) =
                    (std::mem::take(segments), self.exchange.clone(), self.debt.clone());
                tokio::spawn(feed(segments, self.via, self.chunk, exchange, debt, sender));
                *files = Files::Read(receiver);
                return self.poll_files(context);
            }
        };
        chunks.poll_recv(context)
    }
}

impl HttpBody for Transfer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        // A poll means that the client has taken everything so far. Say so before looking for the next chunk, which may
        // arrive at this moment.
        self.debt.is_ours();
        let chunk = self.chunk;
        let next = match &mut self.source {
            Source::Bytes(bytes) if bytes.is_empty() => None,
            Source::Bytes(bytes) => Some(Ok(bytes.split_to(chunk.min(bytes.len())))),
            Source::Files(_) => std::task::ready!(self.poll_files(context)),
            Source::Stream(events) => std::task::ready!(events.poll_next(context)).map(Ok),
        };
        let Some(Ok(bytes)) = next else { return Poll::Ready(next.map(|failed| failed.map(Frame::data))) };
        self.pulse.beat();
        self.tally.leaves(bytes.len() as u64);
        self.tally.sent(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(self.debt.give(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        let record = self.tally.record();
        !matches!(self.source, Source::Stream(_)) && record.sent == record.length
    }

    fn size_hint(&self) -> SizeHint {
        let record = self.tally.record();
        match self.source {
            Source::Stream(_) => SizeHint::default(),
            _ => SizeHint::with_exact(record.length - record.sent),
        }
    }
}
