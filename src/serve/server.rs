//! The sockets: connections, limits, bodies from files, and the log line when an answer has left.

use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{self, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::{Method, Request as HttpRequest, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use super::answer::{Answer, Body, Piece, TEXT};
use super::content::Content;
use super::labels::Labels;
use super::notice::{Notice, Notices, Record};
use super::report::{MAX_BODY, Reports};
use super::routes::{self, Request, World};
use super::site::Site;
use crate::error::{Advice, Exit};

/// Connections at a time; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// A client that has not sent a whole head by then, or the body of a report, is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// How much of a file is in memory for one transfer at a time, twice.
const CHUNK: usize = 256 << 10;
/// How long open transfers may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// `HOST:PORT`.
        address: String,
        /// Why.
        source: io::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Listen { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Listen { source, .. } => Some(match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "something listens there already; choose another port with --address".into()
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need root or CAP_NET_BIND_SERVICE".into()
                }
                _ => "give an address of this machine as HOST:PORT".into(),
            }),
        }
    }
}

/// A server on a tree, bound but not yet answering.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    content: Arc<Content>,
    reports: Reports,
    notices: Notices,
}

/// Binds `HOST:PORT`; port 0 takes a free one. Apart from [`Server::new`], since privileges are dropped in between.
pub fn listen(address: &str) -> Result<net::TcpListener, Error> {
    let listener = net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| Error::Listen { address: address.into(), source })
}

impl Server {
    /// A server on a socket that listens. Must be called within a tokio runtime.
    pub fn new(listener: net::TcpListener, content: Arc<Content>, notices: Notices) -> io::Result<Server> {
        let shared = Shared { content, reports: Reports::default(), notices };
        Ok(Server { listener: TcpListener::from_std(listener)?, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it serves now.
    pub fn site(&self) -> Arc<Site> {
        self.shared.content.site()
    }

    /// Answers until `stop` is done, then lets open transfers finish for a while.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
        let mut stop = std::pin::pin!(stop);
        loop {
            let accept = async {
                let permit = permits.clone().acquire_owned().await;
                self.listener.accept().await.map(|accepted| (permit, accepted))
            };
            let (permit, (stream, peer)) = tokio::select! {
                accepted = accept => match accepted {
                    Ok(accepted) => accepted,
                    // Out of file descriptors, or the client is gone already: neither is the server's end.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut stop => break,
            };
            let _ = stream.set_nodelay(true);
            let shared = self.shared.clone();
            let service = hyper::service::service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(shared.answer(request, peer).await) }
            });
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // An error here is a client that went away or broke the protocol; hyper has answered what it could.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(self.listener);
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }
}

impl Shared {
    async fn answer(self: Arc<Self>, request: HttpRequest<Incoming>, peer: SocketAddr) -> Response<Transfer> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let site = self.content.site();
        let body = match routes::takes_body(&head.method, head.uri.path()) {
            true => read_body(body).await,
            false => Ok(String::new()),
        };
        let (answer, labels) = match body {
            Ok(body) => {
                let request = Request {
                    method: &head.method,
                    path: head.uri.path(),
                    query: head.uri.query().unwrap_or_default(),
                    scheme: "http",
                    headers: &head.headers,
                    body: &body,
                    now: SystemTime::now(),
                };
                routes::answer(&World { site: &site, reports: &self.reports }, &request)
            }
            Err(answer) => (answer, Labels::default()),
        };
        let (answer, file) = open(answer, site.root.clone()).await;
        let Answer { status, headers, body, group, profile } = answer;
        let length = body.length();
        let record = Record {
            peer,
            path: head.uri.path().to_owned(),
            labels,
            status,
            sent: 0,
            length: length.filter(|_| head.method != Method::HEAD).unwrap_or_default(),
            method: head.method,
            took: Duration::ZERO,
            group,
            profile,
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        if let Some(length) = length.filter(|_| !matches!(status, 204 | 304)) {
            response = response.header("content-length", length);
        }
        let source = match (record.length, body, file) {
            (_, Body::Stream(events), _) if record.method != Method::HEAD => Source::Stream(events),
            (0, ..) => Source::Bytes(Bytes::new()),
            (_, Body::Bytes(bytes), _) => Source::Bytes(bytes.into()),
            (_, _, None) => Source::Bytes(Bytes::new()),
            (_, body, Some(file)) => Source::File(read_file(file, body)),
        };
        let transfer = Transfer { source, shared: self, record, started };
        response.body(transfer).unwrap_or_else(|_| unreachable!("answers have plain headers"))
    }
}

/// The body of a report, or why it is not taken.
async fn read_body(body: Incoming) -> Result<String, Answer> {
    let refused = |status, why: &str| Err(Answer::new(status, TEXT, format!("{why}\n")));
    match tokio::time::timeout(HEAD_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            refused(413, &format!("a report has at most {MAX_BODY} bytes"))
        }
        Ok(Err(_)) => refused(400, "the report broke off"),
        Err(_) => refused(408, "the report took too long"),
    }
}

/// Opens the file of an answer before anything is promised: what cannot be sent is an error of its own, and what is
/// open stays whole when its build is swapped and removed.
async fn open(answer: Answer, root: PathBuf) -> (Answer, Option<Pieces>) {
    let (pieces, end) = match &answer.body {
        Body::Bytes(_) | Body::Stream(_) => return (answer, None),
        Body::File { pieces, range } => (pieces.clone(), range.end),
        Body::Parts { pieces, parts, .. } => {
            (pieces.clone(), parts.iter().map(|(_, range)| range.end).max().unwrap_or_default())
        }
    };
    let opened = tokio::task::spawn_blocking(move || {
        let mut opened = Vec::new();
        let mut start = 0;
        for piece in pieces {
            let needed = end.saturating_sub(start);
            let (path, size) = match piece {
                Piece::File { path, size } => (path, size),
                Piece::Zeros(size) => {
                    opened.push((None, size));
                    start += size;
                    continue;
                }
            };
            start += size;
            // A link inside a tree may lead to another place of it, and nowhere else.
            if !path.canonicalize()?.starts_with(&root) {
                return Ok(None);
            }
            let file = File::open(&path)?;
            if file.metadata()?.len() < size.min(needed) {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            opened.push((Some(file), size));
        }
        Ok(Some(Pieces(opened)))
    });
    let instead = match opened.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(Some(file)) => return (answer, Some(file)),
        Ok(None) => Answer::missing("it is a link that leaves the tree"),
        Err(error) => Answer::new(500, TEXT, format!("the tree is damaged, build it again: {error}\n")),
    };
    (Answer { group: answer.group, profile: answer.profile, ..instead }, None)
}

/// The open pieces of a file and their lengths; zeros have no file.
struct Pieces(Vec<(Option<File>, u64)>);

impl Pieces {
    /// Fills a buffer with the bytes from `at` on.
    fn read_exact_at(&self, mut buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut start = 0;
        for (file, size) in &self.0 {
            let end = start + size;
            // What a piece leaves of the buffer begins where the next one does.
            let from = at.max(start);
            let take = buffer.len().min(end.saturating_sub(from) as usize);
            let (part, rest) = buffer.split_at_mut(take);
            match file {
                Some(file) => file.read_exact_at(part, from - start)?,
                None => part.fill(0),
            }
            buffer = rest;
            start = end;
        }
        match buffer.is_empty() {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

/// Reads the parts of a file on a thread of its own, a few chunks ahead of the socket.
fn read_file(file: Pieces, body: Body) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let (parts, end) = match body {
            Body::File { range, .. } => (vec![(String::new(), range)], String::new()),
            Body::Parts { parts, end, .. } => (parts, end),
            Body::Bytes(_) | Body::Stream(_) => return,
        };
        let send = |bytes: io::Result<Bytes>| sender.blocking_send(bytes).is_ok();
        for (head, range) in parts {
            if !head.is_empty() && !send(Ok(head.into())) {
                return;
            }
            let mut at = range.start;
            while at < range.end {
                let mut chunk = vec![0; CHUNK.min((range.end - at) as usize)];
                let read = file.read_exact_at(&mut chunk, at).map(|()| chunk.into());
                at += CHUNK as u64;
                if !send(read) {
                    return;
                }
            }
        }
        if !end.is_empty() {
            send(Ok(end.into()));
        }
    });
    receiver
}

/// A body on its way; when it is dropped, the answer has left or broke off, and is logged.
struct Transfer {
    source: Source,
    shared: Arc<Shared>,
    record: Record,
    started: Instant,
}

enum Source {
    Bytes(Bytes),
    File(mpsc::Receiver<io::Result<Bytes>>),
    Stream(mpsc::Receiver<Bytes>),
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
            Source::File(receiver) => std::task::ready!(receiver.poll_recv(context)),
            Source::Stream(events) => std::task::ready!(events.poll_recv(context)).map(Ok),
        };
        if let Some(Ok(bytes)) = &next {
            self.record.sent += bytes.len() as u64;
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.source, Source::Stream(_)) && self.record.sent == self.record.length
    }

    fn size_hint(&self) -> SizeHint {
        match self.source {
            Source::Stream(_) => SizeHint::default(),
            _ => SizeHint::with_exact(self.record.length - self.record.sent),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.record.took = self.started.elapsed();
        (self.shared.notices)(&Notice::Answered(&self.record));
    }
}
