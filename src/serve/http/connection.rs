//! Connections that hyper serves: HTTPS, HTTP/2, and what of HTTP/1 has a body. Files are read in chunks here.

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
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::answer::{Answer, TEXT};
use super::exchange::{Exchange, Outgoing, Reply, Via};
use super::limits::MAX_HEADERS;
use super::linger::Lingering;
use super::patience::Patient;
use super::pulse::Pulse;
use super::segments::Segment;
use super::server::stopped;
use super::shares::SHORT;
use super::tally::Tally;
use crate::clock;
use crate::serve::endpoint::routes;
use crate::serve::machines::report::MAX_BODY;
use crate::serve::machines::watchers::Events;

/// How much of a file is in memory for one transfer at a time, three times: read, waiting, leaving.
const CHUNK: usize = 128 << 10;
/// The same for a transfer that shares its connection with others, and may be made to wait by its client alone.
const STREAM_CHUNK: usize = 32 << 10;
/// What hyper may hold of one such, in bytes.
const STREAM_BUFFER: usize = 64 << 10;
/// Requests at a time on one HTTP/2 connection. Machines load a few files at a time, browsers fewer.
const MAX_STREAMS: u32 = 8;

/// Answers on a connection until it ends; why, if it broke off.
pub async fn serve<S>(
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
    let mut http = auto::Builder::new(TokioExecutor::new());
    // A server whose clock cannot be right says no time (RFC 9110, 6.6.1), and hyper panics at years that HTTP has no form for.
    let is_dated = clock::has_form(SystemTime::now());
    http.http1()
        .auto_date_header(is_dated)
        .timer(TokioTimer::new())
        // As `field` has it for what does not come from hyper; HTTP/2 knows lower case only.
        .title_case_headers(true)
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head)
        .max_headers(MAX_HEADERS);
    http.http2()
        .auto_date_header(is_dated)
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle / 2)
        .keep_alive_timeout(limits.head_time)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(STREAM_BUFFER)
        .max_header_list_size(limits.head as u32);
    let service = hyper::service::service_fn({
        let exchange = exchange.clone();
        move |request| {
            let (exchange, pulse) = (exchange.clone(), pulse.clone());
            async move { Ok::<_, Infallible>(answer(&exchange, via, pulse, request).await) }
        }
    });
    // An answer may leave before all of its request came: a report that is too long, a body that nobody asked for.
    let stream = Lingering::new(Patient::new(stream, limits), limits.head_time, stop.clone());
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(cause)
}

/// What went wrong below hyper, if it was not hyper that found fault.
fn cause(error: Box<dyn Error + Send + Sync>) -> io::Error {
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
    exchange: &Exchange,
    via: Via,
    pulse: Pulse,
    request: HttpRequest<Incoming>,
) -> Response<Transfer> {
    pulse.beat();
    let (mut head, body) = request.into_parts();
    // HTTP/2 says the host in its own way.
    if let Some(host) = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        head.headers.entry(HOST).or_insert(host);
    }
    let body = match routes::takes_body(&head.method, head.uri.path()) {
        true => read_body(body, exchange).await,
        false => Ok(String::new()),
    };
    let chunk = if head.version == Version::HTTP_2 { STREAM_CHUNK } else { CHUNK };
    let Reply { status, headers, length, body, tally } = exchange.answer(via, head, body).await;
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    if let Some(length) = length {
        response = response.header("content-length", length);
    }
    let source = match body {
        Outgoing::Stream(events) => Source::Stream(events),
        Outgoing::Segments(segments) => match segments.as_slice() {
            [] => Source::Bytes(Bytes::new()),
            [Segment::Bytes(bytes)] => Source::Bytes(bytes.clone()),
            _ => Source::Files(feed(segments, via, chunk, exchange, pulse)),
        },
    };
    response.body(Transfer { source, tally }).unwrap_or_else(|_| unreachable!("answers have plain headers"))
}

/// The body of a report, or why it is not taken.
async fn read_body(body: Incoming, exchange: &Exchange) -> Result<String, Answer> {
    let refused = |status, why: &str| Err(Answer::new(status, TEXT, format!("{why}\n")));
    match tokio::time::timeout(exchange.limits.head_time, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            refused(413, &format!("a report has at most {MAX_BODY} bytes"))
        }
        Ok(Err(_)) => refused(400, "the report broke off"),
        Err(_) => refused(408, "the report took too long"),
    }
}

/// Reads segments a few chunks ahead of the socket, as the client's share and room allow. Where an answer stands still for long,
/// its connection ends, even if that moves for others.
fn feed(
    segments: Vec<Segment>,
    via: Via,
    chunk: usize,
    exchange: &Exchange,
    pulse: Pulse,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(1);
    let (shares, room, window) =
        (exchange.shares.clone(), exchange.rooms.of(via.peer.ip()), exchange.limits.window);
    tokio::spawn(async move {
        let length: u64 = segments.iter().map(Segment::length).sum();
        let mut share = (length > SHORT).then(|| shares.join(via.peer.ip()));
        for mut segment in segments {
            while segment.length() > 0 {
                let most = match &mut share {
                    Some(share) => share.turn().await.min(chunk as u64) as usize,
                    None => chunk,
                };
                let most = most.min(segment.length() as usize);
                let room = room.take(most).await;
                let read =
                    tokio::task::spawn_blocking(move || segment.read(most).map(|chunk| (chunk, segment)));
                let chunk = match read.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok((chunk, rest)) => {
                        segment = rest;
                        Bytes::from_owner(Read { chunk, _room: room })
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                };
                if let Some(share) = &mut share {
                    share.sent(chunk.len() as u64);
                }
                match tokio::time::timeout(window, sender.reserve()).await {
                    Ok(Ok(place)) => {
                        place.send(Ok(chunk));
                        pulse.beat();
                    }
                    Ok(Err(_)) => return,
                    // hyper asks for nothing while a stream's window is shut, so that only the end of the connection ends it.
                    Err(_) => return pulse.is_stuck(),
                }
            }
        }
    });
    receiver
}

/// What was read of a file, and the room that it takes.
struct Read {
    chunk: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

/// A body on its way.
struct Transfer {
    source: Source,
    tally: Tally,
}

enum Source {
    Bytes(Bytes),
    Files(mpsc::Receiver<io::Result<Bytes>>),
    Stream(Events),
}

impl HttpBody for Transfer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match &mut self.source {
            Source::Bytes(bytes) if bytes.is_empty() => None,
            Source::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Files(chunks) => std::task::ready!(chunks.poll_recv(context)),
            Source::Stream(events) => std::task::ready!(events.poll_next(context)).map(Ok),
        };
        if let Some(Ok(bytes)) = &next {
            self.tally.leaves(bytes.len() as u64);
            self.tally.sent(bytes.len() as u64);
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
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
