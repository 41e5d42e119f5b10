//! HTTP/1 on plain TCP, where files leave by sendfile(2): without a copy, and without a thread of their own.
//!
//! A request with a body to read goes to hyper, preceded by the bytes that were read already, and the rest of its
//! connection goes with it ([`super::connection`]).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::{StatusCode, Version};
use rustix::net::SendFlags;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::exchange::{Exchange, Outgoing, Reply, Via};
use super::head::{self, Head, Refusal};
use super::patience::Patience;
use super::pulse::Pulse;
use super::shares::{SHORT, Share};
use super::stop::stopped;
use super::tally::Tally;
use super::{connection, field, linger};
use crate::serve::files::segments::Segment;
use crate::serve::http::exchange::SMALL;
use crate::serve::machines::watchers::Events;

/// Bytes to read at a time. Twice the size of a usual request.
const READ: usize = 4 << 10;
/// The send buffer, in bytes, of a transfer that takes turns with its client's others; the kernel doubles it
/// (socket(7)). That is enough for 1 Gb/s at a round trip of 2 ms.
const NARROW: usize = 128 << 10;

/// Answers requests on a connection until it ends. The error says why it was aborted.
pub(crate) async fn serve(
    stream: TcpStream,
    via: Via,
    exchange: Arc<Exchange>,
    pulse: Pulse,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut connection =
        Connection { stream, via, exchange, pulse, stop, input: Vec::new(), is_narrow: false };
    for left in (0..connection.exchange.limits.requests).rev() {
        let head = match connection.read_head().await? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(refusal) => return connection.refuse(refusal).await,
        };
        if head.has_body {
            let Connection { stream, via, exchange, pulse, stop, input, .. } = connection;
            let (read, write) = stream.into_split();
            let stream = tokio::io::join(io::Cursor::new(input).chain(read), write);
            // Boxed, since few connections need the memory of hyper's state.
            return Box::pin(connection::serve(stream, via, exchange, pulse, stop)).await;
        }
        connection.input.drain(..head.length);
        let keep_alive = head.keep_alive && left > 0 && !*connection.stop.borrow();
        let version = head.parts.version;
        let reply = connection.exchange.answer(via, head.parts, Ok(String::new())).await;
        if !connection.send(reply, version, keep_alive).await? {
            return connection.close().await;
        }
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    via: Via,
    exchange: Arc<Exchange>,
    pulse: Pulse,
    stop: watch::Receiver<bool>,
    /// Bytes read, but not yet answered.
    input: Vec<u8>,
    /// Whether the send buffer has been made small.
    is_narrow: bool,
}

impl Connection {
    /// The next head. `None` if the client is gone or has been silent for long, or if the server stops.
    async fn read_head(&mut self) -> io::Result<Result<Option<Head>, Refusal>> {
        let mut began = (!self.input.is_empty()).then(Instant::now);
        loop {
            match began {
                Some(_) => match head::parse(&self.input, &self.exchange.limits) {
                    Ok(None) => {}
                    parsed => return Ok(parsed),
                },
                None => {
                    // An idle connection keeps no input buffer.
                    self.input = Vec::new();
                    let idle = tokio::time::timeout(self.exchange.limits.idle, self.stream.readable());
                    tokio::select! {
                        ready = idle => match ready {
                            Ok(ready) => ready?,
                            Err(_) => return Ok(Ok(None)),
                        },
                        () = stopped(&mut self.stop) => return Ok(Ok(None)),
                    }
                }
            }
            self.input.reserve(READ);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Ok(Ok(None)),
                Ok(_) => {
                    began.get_or_insert_with(Instant::now);
                    self.pulse.beat();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A wake-up without a byte does not begin a head.
                    let Some(began) = began else { continue };
                    let end = began + self.exchange.limits.head_time;
                    match tokio::time::timeout_at(end.into(), self.stream.readable()).await {
                        Ok(ready) => ready?,
                        Err(_) => return Ok(Err(head::TOO_SLOW)),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says why a request is refused, and closes.
    async fn refuse(self, Refusal { status, why }: Refusal) -> io::Result<()> {
        self.exchange.cut(self.via.peer, Some(status), why);
        let headers = [("content-type", crate::serve::answer::TEXT.to_owned())];
        let mut text = format_head(status, &headers, Some(why.len() as u64 + 1), "close");
        text += &format!("{why}\n");
        self.write(
            &mut Patience::new(&self.exchange.limits, Some(&self.pulse)),
            text.as_bytes(),
            SendFlags::empty(),
        )
        .await?;
        self.close().await
    }

    /// Closes once the client has its answer, even if it still sends.
    async fn close(self) -> io::Result<()> {
        linger::close(self.stream, self.exchange.limits.head_time, self.stop).await
    }

    /// Sends an answer. Returns whether the connection stays open.
    async fn send(&mut self, reply: Reply, version: Version, keep_alive: bool) -> io::Result<bool> {
        let Reply { status, headers, length, body, mut tally } = reply;
        let streams = matches!(body, Outgoing::Stream(_));
        let stays = keep_alive && !streams;
        let connection = match (stays, version) {
            (false, _) => "close",
            (true, Version::HTTP_10) => "keep-alive",
            (true, _) => "",
        };
        let mut head = format_head(status, &headers, length, connection).into_bytes();
        let mut patience = Patience::new(&self.exchange.limits, Some(&self.pulse));
        let mut segments = match body {
            Outgoing::Segments(segments) => segments,
            Outgoing::Stream(events) => {
                self.narrow();
                self.write(&mut patience, &head, SendFlags::empty()).await?;
                self.stream_events(events, &mut patience, &mut tally).await?;
                return Ok(false);
            }
        };
        let length: u64 = segments.iter().map(Segment::length).sum();
        if length <= SMALL as u64 {
            for segment in &mut segments {
                head.extend_from_slice(&segment.read(SMALL)?);
            }
            tally.leaves(length);
            self.write(&mut patience, &head, SendFlags::empty()).await?;
            tally.sent(length);
            return Ok(stays);
        }
        if segments.iter().any(|segment| matches!(segment, Segment::Bytes(bytes) if bytes.len() > NARROW)) {
            self.narrow();
        }
        self.write(&mut patience, &head, SendFlags::MORE).await?;
        drop(head);
        let mut share = (length > SHORT).then(|| self.exchange.shares.join(self.via.peer.ip()));
        let last = segments.len() - 1;
        for (index, segment) in segments.into_iter().enumerate() {
            match segment {
                Segment::Bytes(bytes) => {
                    let more = if index < last { SendFlags::MORE } else { SendFlags::empty() };
                    tally.leaves(bytes.len() as u64);
                    self.write(&mut patience, &bytes, more).await?;
                    tally.sent(bytes.len() as u64);
                }
                Segment::File(file, range) => {
                    self.send_file(&file, range, &mut patience, share.as_mut(), &mut tally).await?;
                }
            }
        }
        Ok(stays)
    }

    /// Sends a part of a file, straight from the page cache.
    async fn send_file(
        &mut self,
        file: &File,
        range: Range<u64>,
        patience: &mut Patience,
        mut share: Option<&mut Share>,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let mut most = range.end - at;
            let mut turn_ends = None;
            if let Some(share) = &mut share {
                let stream = &self.stream;
                most = most.min(patience.pause(share.turn(), || stream.writable()).await?);
                turn_ends = share.turn_ends();
                if turn_ends.is_some() {
                    // The kernel still sends its buffer during another transfer's turn.
                    self.narrow();
                }
            }
            tally.leaves(most);
            let send = || Ok(rustix::fs::sendfile(&self.stream, file, Some(&mut at), most as usize)?);
            match self.stream.try_io(Interest::WRITABLE, send) {
                // The promised length cannot be kept.
                Ok(0) => {
                    let path = &tally.record().path;
                    return Err(io::Error::other(format!("{path} was truncated while it was being sent")));
                }
                Ok(sent) => {
                    let sent = sent as u64;
                    patience.took(sent);
                    tally.sent(sent);
                    if let Some(share) = &mut share {
                        share.sent(sent);
                    }
                    // Yields, so that a client that takes everything at once does not keep this thread from the others.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    patience.wait(self.stream.writable(), turn_ends).await?;
                }
                // Sockets never fail with this error, so it is the disk.
                Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::IO) => {
                    let why = format!("cannot read {}: {error}", tally.record().path);
                    return Err(io::Error::new(error.kind(), why));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the kernel's send buffer small. Memory held there for clients that do not read is counted for nobody, and
    /// a long text would otherwise take megabytes. If that fails, the buffer stays large.
    fn narrow(&mut self) {
        if !self.is_narrow {
            self.is_narrow = set_socket_send_buffer_size(&self.stream, NARROW).is_ok();
        }
    }

    /// Sends bytes from memory.
    async fn write(&self, patience: &mut Patience, mut bytes: &[u8], flags: SendFlags) -> io::Result<()> {
        let flags = flags | SendFlags::NOSIGNAL;
        while !bytes.is_empty() {
            let send = || Ok(rustix::net::send(&self.stream, bytes, flags)?);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(sent) => {
                    patience.took(sent as u64);
                    bytes = &bytes[sent..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    patience.wait(self.stream.writable(), None).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends events as they come, until they end, the client is gone, or the server stops.
    async fn stream_events(
        &mut self,
        mut events: Events,
        patience: &mut Patience,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut ignored = [0; 64];
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                read = self.stream.read(&mut ignored) => match read? {
                    0 => None,
                    _ => continue,
                },
                () = stopped(&mut self.stop) => None,
            };
            let Some(event) = event else { return Ok(()) };
            self.write(patience, &event, SendFlags::empty()).await?;
            tally.sent(event.len() as u64);
        }
    }
}

/// Formats a head, including its empty line. All heads of answers that hyper does not write are made here.
pub(super) fn format_head(
    status: u16,
    headers: &[(&str, String)],
    length: Option<u64>,
    connection: &str,
) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut head = String::with_capacity(512);
    head += &format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or_default());
    for (name, value) in headers {
        field::title_case(name, &mut head);
        head.extend([": ", value, "\r\n"]);
    }
    if let Some(length) = length {
        head += &format!("Content-Length: {length}\r\n");
    }
    if !connection.is_empty() {
        head.extend(["Connection: ", connection, "\r\n"]);
    }
    head.extend(["Date: ", &crate::base::clock::http_date(SystemTime::now()), "\r\n\r\n"]);
    head
}
