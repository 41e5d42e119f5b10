//! The TFTP sockets: one for requests, and one with its own port for each transfer, as RFC 1350 requires.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

use super::files::{Files, Reader};
use super::options::{Negotiated, negotiate};
use super::packet::{self, Code, MAX_REQUEST, Refusal, Reply, Request, Unanswered};
use super::transfer::{Step, Transfer};
use crate::serve::http::server::canonical;
use crate::serve::lan::near::Near;
use crate::serve::notice::{Notice, Notices, Tftp};

/// Concurrent transfers. Further requests are ignored; the clients ask again, which evens out a storm.
const MAX_TRANSFERS: usize = 256;
/// Concurrent transfers to one address. Firmware has one, its iPXE another.
const MAX_TRANSFERS_OF_ONE: usize = 8;
/// How long running transfers may continue after the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// A client that answered within this time is in the middle of its transfer, so the same request again is a late
/// duplicate. A client that starts anew has been silent for longer, or will ask again.
const LIVELY: Duration = Duration::from_secs(5);

/// A TFTP server on a bound socket.
pub(crate) struct Server {
    socket: UdpSocket,
    files: Arc<Files>,
    near: Near,
    notices: Notices,
    /// Running transfers, by client.
    running: BTreeMap<SocketAddr, Running>,
    tasks: JoinSet<SocketAddr>,
}

/// A running transfer.
struct Running {
    request: Request,
    heard: Arc<Heard>,
    task: AbortHandle,
}

/// When the client of a transfer last answered.
struct Heard {
    began: Instant,
    /// Milliseconds from `began` to the last answer, plus 1; 0 if there was none.
    last: AtomicU64,
}

impl Heard {
    fn never() -> Heard {
        Heard { began: Instant::now(), last: AtomicU64::new(0) }
    }

    fn note(&self) {
        self.last.store(self.began.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    /// Time since the client's last answer. `None` if it never answered.
    fn silence(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed).checked_sub(1)?);
        Some(self.began.elapsed().saturating_sub(last))
    }
}

impl Server {
    /// A server that answers the clients that `near` allows. Must be called within a tokio runtime.
    pub(crate) fn new(socket: UdpSocket, files: Files, near: Near, notices: Notices) -> Server {
        Server {
            socket,
            files: Arc::new(files),
            near,
            notices,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Answers until `stop` resolves, then gives running transfers some time to finish.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        // Larger than a request may be: some clients pad with zeros, and a request that is too long must be recognized.
        let mut buffer = [0; 2 * MAX_REQUEST];
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, peer)) => self.request(&buffer[..length], peer).await,
                    // An ICMP error caused by an earlier answer, or a short lack of memory.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = &mut stop => break,
            }
        }
        let _ = tokio::time::timeout(GRACE, async { while self.tasks.join_next().await.is_some() {} }).await;
    }

    /// Forgets a transfer, unless its client has begun another one since.
    fn ended(&mut self, ended: Result<(tokio::task::Id, SocketAddr), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        self.running.retain(|_, running| running.task.id() != id);
    }

    async fn request(&mut self, packet: &[u8], peer: SocketAddr) {
        if !self.near.is(peer.ip()) {
            return;
        }
        let request = match Request::parse(packet) {
            Ok(request) => request,
            Err(Unanswered::Ignored) => return,
            Err(Unanswered::Refused(refusal)) => {
                let file = packet::asked(packet).unwrap_or_else(|| "?".into());
                return self.refuse(peer, file, refusal).await;
            }
        };
        if let Some(running) = self.running.get(&peer) {
            // A duplicate of the request, sent before the first answer arrived. The transfer repeats that answer by
            // itself.
            let is_copy = running.request == request
                && !running.task.is_finished()
                && running.heard.silence().is_none_or(|silence| silence < LIVELY);
            if is_copy {
                return;
            }
            // The port is the same, so it is the same client, and it has given up the old transfer.
            running.task.abort();
            self.running.remove(&peer);
        }
        if self.running.keys().filter(|other| other.ip() == peer.ip()).count() >= MAX_TRANSFERS_OF_ONE {
            let refusal = Refusal { code: Code::Undefined, why: "too many transfers to this address" };
            return self.refuse(peer, request.name.shown(), refusal).await;
        }
        if self.running.len() >= MAX_TRANSFERS && !self.end_unheard() {
            return;
        }
        let heard = Arc::new(Heard::never());
        let client = Client {
            peer,
            listener: self.socket.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |own| own.ip()),
            files: self.files.clone(),
            notices: self.notices.clone(),
            heard: heard.clone(),
        };
        let asked = request.clone();
        let task = self.tasks.spawn(async move {
            client.serve(asked).await;
            peer
        });
        self.running.insert(peer, Running { request, heard, task });
    }

    /// Ends the oldest transfer to a client that never answered, as its address may be forged. Returns whether there
    /// was one.
    fn end_unheard(&mut self) -> bool {
        let unheard = self.running.iter().filter(|(_, running)| running.heard.silence().is_none());
        let Some(peer) = unheard.min_by_key(|(_, running)| running.heard.began).map(|(peer, _)| *peer) else {
            return false;
        };
        if let Some(running) = self.running.remove(&peer) {
            running.task.abort();
        }
        true
    }

    async fn refuse(&self, peer: SocketAddr, file: String, refusal: Refusal) {
        let _ = self.socket.send_to(&packet::error(refusal), peer).await;
        let told = Tftp {
            peer: canonical(peer),
            file,
            sent: 0,
            length: 0,
            took: Duration::ZERO,
            failed: Some(refusal.to_string()),
        };
        (self.notices)(&Notice::Tftp(&told));
    }
}

/// One client's transfer.
struct Client {
    peer: SocketAddr,
    /// The local address of its request; possibly the unspecified one.
    listener: IpAddr,
    files: Arc<Files>,
    notices: Notices,
    heard: Arc<Heard>,
}

impl Client {
    async fn serve(self, request: Request) {
        let started = Instant::now();
        let mut told = Tftp {
            peer: canonical(self.peer),
            file: request.name.shown(),
            sent: 0,
            length: 0,
            took: Duration::ZERO,
            failed: None,
        };
        told.failed = self.transfer(&request, &mut told).await.err();
        told.took = started.elapsed();
        (self.notices)(&Notice::Tftp(&told));
    }

    /// Sends the file, and notes in `told` what arrived. The error is a message for people.
    async fn transfer(&self, request: &Request, told: &mut Tftp) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let any: IpAddr = match self.peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let from = if self.listener.is_unspecified() { any } else { self.listener };
        let socket = UdpSocket::bind((from, 0)).await.map_err(text)?;
        // From now on the kernel drops packets of other senders to this port.
        socket.connect(self.peer).await.map_err(text)?;
        let refuse = async |refusal: Refusal| {
            let _ = socket.send(&packet::error(refusal)).await;
            Err(refusal.to_string())
        };
        let here = socket.local_addr().map_err(text)?.ip().to_canonical();
        let (files, name) = (self.files.clone(), request.name.clone());
        let opened = tokio::task::spawn_blocking(move || files.open(&name, here)).await;
        let content = match opened.map_err(|error| error.to_string())? {
            Ok(Some(content)) => content,
            Ok(None) => return refuse(Refusal { code: Code::NotFound, why: "no such file" }).await,
            Err(_) => return refuse(Refusal { code: Code::Undefined, why: "the file cannot be read" }).await,
        };
        if self.files.prove(&content, &self.notices).await.is_err() {
            return refuse(Refusal { code: Code::Undefined, why: "the file is damaged" }).await;
        }
        let mut reader = Reader::new(content);
        told.length = reader.size();
        let negotiated = match negotiate(&request.options, reader.size()) {
            Ok(negotiated) => negotiated,
            Err(refusal) => return refuse(refusal).await,
        };
        let Negotiated { grant, told: options } = negotiated;
        let mut transfer = Transfer::new(reader.size(), grant, !options.is_empty(), Instant::now());
        let mut step = transfer.send(Instant::now());
        loop {
            match step {
                Step::Oack => send(&socket, &packet::oack(&options)).await,
                Step::Blocks(blocks) => {
                    for block in blocks {
                        let bytes = match reader.read(transfer.bytes(block)).await {
                            Ok(bytes) => bytes,
                            Err(error) => {
                                let why = "the file cannot be read";
                                let _ = refuse(Refusal { code: Code::Undefined, why }).await;
                                return Err(error.to_string());
                            }
                        };
                        send(&socket, &packet::data(block, &bytes)).await;
                    }
                }
                Step::Wait => {}
                Step::Done => return Ok(()),
                Step::GiveUp => return Err("the client stopped answering".into()),
            }
            step = match self.reply(&socket, transfer.deadline()).await {
                Some(Reply::Ack(block)) => transfer.acknowledged(block, Instant::now()),
                // Some firmware first asks for the size only, and then ends the transfer.
                Some(Reply::Error) if transfer.is_offering() => return Ok(()),
                Some(Reply::Error) => return Err("the client gave up".into()),
                None => transfer.send(Instant::now()),
            };
            told.sent = transfer.arrived();
        }
    }

    /// The client's answer. `None` if it is overdue.
    async fn reply(&self, socket: &UdpSocket, deadline: Instant) -> Option<Reply> {
        // The text of an ERROR packet is cut off; it is not used.
        let mut buffer = [0; 64];
        loop {
            let received = tokio::time::timeout_at(deadline.into(), socket.recv(&mut buffer)).await.ok()?;
            match received {
                Ok(length) => {
                    if let Some(reply) = Reply::parse(&buffer[..length]) {
                        self.heard.note();
                        return Some(reply);
                    }
                }
                // The client's port is closed (ICMP), either for good or while its stack restarts; the deadline
                // decides.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// Sends a packet. A packet that the kernel refuses counts as lost on the way: it is sent again if there is no answer.
async fn send(socket: &UdpSocket, packet: &[u8]) {
    let _ = socket.send(packet).await;
}
