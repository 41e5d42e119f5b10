//! The server's sockets: listening, admitting clients, and stopping.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::boots::Boots;
use super::exchange::{Exchange, Via};
use super::limits::{Clients, Counted, Limits};
use super::listen::Listener;
use super::places::Places;
use super::pulse::{Kind, Pulse, Pulses};
use super::room::Rooms;
use super::shares::Shares;
use super::tls::Tls;
use super::{connection, http1};
use crate::base::count::counted;
use crate::serve::endpoint::guard::{self, Guard};
use crate::serve::files::proofs::Proofs;
use crate::serve::http::stop::stopped;
use crate::serve::loaders::Loaders;
use crate::serve::machines::monitor::Monitor;
use crate::serve::notice::Notices;
use crate::serve::site::Site;
use crate::serve::site::content::Content;

/// TLS gets the number of connections divided by this: a TLS connection may take 90 KB, ten times a plain one, and
/// loaders use plain HTTP.
const SECURE: usize = 3;

/// A bound server that does not answer yet.
pub struct Server {
    listeners: Vec<(TcpListener, Option<Arc<Tls>>)>,
    exchange: Exchange,
}

impl Server {
    /// A server on listening sockets. Must be called within a tokio runtime.
    pub fn new(
        listeners: Vec<Listener>,
        content: Arc<Content>,
        monitor: Arc<Monitor>,
        notices: Notices,
    ) -> io::Result<Server> {
        monitor.serves(&content.site());
        let exchange = Exchange {
            content,
            loaders: Loaders::default(),
            monitor,
            notices,
            limits: Limits::default(),
            shares: Shares::new(None),
            boots: None,
            proofs: None,
            guard: None,
            rooms: Rooms::default(),
            root: Mutex::default(),
        };
        let listeners = listeners.into_iter().map(Listener::into_tokio).collect::<io::Result<_>>()?;
        Ok(Server { listeners, exchange })
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Server {
        self.exchange.limits = limits;
        self
    }

    /// Caps the bandwidth, in bytes per second. Short answers are not counted.
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Server {
        self.exchange.shares = Shares::new(Some(bytes_per_second));
        self
    }

    /// Limits the number of machines that load at a time; further ones wait in iPXE.
    pub(crate) fn max_boots(mut self, most: usize) -> Server {
        self.exchange.boots = Some(Boots::new(most));
        self
    }

    /// Verifies every file against the manifest before it is sent, if there are proofs.
    pub(crate) fn rehash(mut self, proofs: Option<Arc<Proofs>>) -> Server {
        self.exchange.proofs = proofs;
        self
    }

    /// Serves the private configs of the tree to clients that have a token.
    pub(crate) fn guard(mut self, guard: Guard) -> Server {
        let guard = Arc::new(guard);
        let (notices, burns) = (self.exchange.notices, guard.clone());
        self.exchange.notices = Arc::new(move |notice| {
            guard::answer::heard(&burns, notice);
            notices(notice);
        });
        self.exchange.guard = Some(guard);
        self
    }

    /// Serves iPXE binaries, for firmware that loads them over HTTP.
    pub(crate) fn loaders(mut self, loaders: Loaders) -> Server {
        self.exchange.loaders = loaders;
        self
    }

    /// The content that it serves now.
    pub(crate) fn site(&self) -> Arc<Site> {
        self.exchange.content.site()
    }

    /// Answers until `stop` resolves, then gives open transfers some time to finish.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let grace = self.exchange.limits.grace;
        let most = self.exchange.limits.connections;
        let door = Arc::new(Door {
            places: Places::new(most, false),
            secure: Places::new(most.div_ceil(SECURE), true),
            seats: Arc::new(Semaphore::new(self.exchange.limits.seats())),
            clients: Clients::default(),
            pulses: Pulses::default(),
            exchange: Arc::new(self.exchange),
            stopped,
        });
        tokio::select! {
            _ = join_all(self.listeners.iter().map(|(socket, tls)| door.let_in(socket, tls))) => {}
            () = door.places.make_room(&door.pulses) => {}
            () = door.secure.make_room(&door.pulses) => {}
            () = stop => {}
        }
        // Status watchers never hang up, so a graceful stop would wait for them.
        door.exchange.monitor.close();
        drop((self.listeners, door));
        // Each connection holds a receiver until it ends.
        let _ = stopping.send(true);
        let _ = tokio::time::timeout(grace, stopping.closed()).await;
    }
}

/// Admits clients.
struct Door {
    places: Places,
    /// The part of `places` that TLS may have.
    secure: Places,
    /// For connections that wait for a place.
    seats: Arc<Semaphore>,
    clients: Clients,
    pulses: Pulses,
    exchange: Arc<Exchange>,
    stopped: watch::Receiver<bool>,
}

/// An accepted connection.
struct Newcomer {
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    peer: SocketAddr,
    counted: Counted,
}

/// A place, and for TLS also one of the TLS places.
type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Door {
    /// Accepts connections for ever. Waits for nothing else, neither for a place nor for a client.
    async fn let_in(self: &Arc<Door>, socket: &TcpListener, tls: &Option<Arc<Tls>>) {
        loop {
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                // That client is gone already, and the next one may be there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                // Running out of file descriptors must not end the server.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let peer = canonical(peer);
            let most = self.exchange.limits.per_client;
            let Some(counted) = self.clients.enter(peer.ip(), most) else {
                let why = format!("it has {} already", counted(most, "connection"));
                turn_away(&self.exchange, &stream, tls.is_some(), peer, why);
                continue;
            };
            let newcomer = Newcomer { stream, tls: tls.clone(), peer, counted };
            let others = newcomer.counted.others;
            if let Some(permits) = self.places_now(&newcomer) {
                tokio::spawn(self.host(newcomer, permits));
            } else if others < self.seats.available_permits()
                && let Ok(seat) = self.seats.clone().try_acquire_owned()
            {
                let door = self.clone();
                tokio::spawn(async move {
                    let permits = door.places_later(&newcomer).await;
                    drop(seat);
                    match permits {
                        Some(permits) => drop(tokio::spawn(door.host(newcomer, permits))),
                        None => door.is_full_for(newcomer),
                    }
                });
            } else {
                self.is_full_for(newcomer);
            }
        }
    }

    fn places_now(&self, newcomer: &Newcomer) -> Option<Permits> {
        let others = newcomer.counted.others;
        let secure = match newcomer.tls {
            Some(_) => Some(self.secure.take(others)?),
            None => None,
        };
        Some((self.places.take(others)?, secure))
    }

    /// Waits for places. `None` if that takes too long, or if the server stops.
    async fn places_later(&self, newcomer: &Newcomer) -> Option<Permits> {
        let others = newcomer.counted.others;
        let both = async {
            let secure = match newcomer.tls {
                Some(_) => Some(self.secure.wait(others).await?),
                None => None,
            };
            Some((self.places.wait(others).await?, secure))
        };
        let mut stop = self.stopped.clone();
        tokio::select! {
            permits = tokio::time::timeout(self.exchange.limits.idle, both) => permits.ok()?,
            () = stopped(&mut stop) => None,
        }
    }

    fn is_full_for(&self, newcomer: Newcomer) {
        let Newcomer { stream, tls, peer, counted } = newcomer;
        let why = format!("all connections are in use, {} of them by this client", counted.others);
        turn_away(&self.exchange, &stream, tls.is_some(), peer, why);
    }

    /// Answers requests on a connection that has its places, until it ends.
    fn host(&self, newcomer: Newcomer, permits: Permits) -> impl Future<Output = ()> + use<> {
        let Newcomer { stream, tls, peer, counted } = newcomer;
        let connected = self.pulses.enter(Kind::new(peer.ip(), tls.is_some()));
        let (exchange, stopped) = (self.exchange.clone(), self.stopped.clone());
        async move {
            let _ = stream.set_nodelay(true);
            let pulse = connected.pulse.clone();
            let ended = tokio::select! {
                ended = converse(stream, tls, peer, exchange.clone(), pulse.clone(), stopped) => ended,
                why = pulse.closed() => Err(io::Error::other(why)),
            };
            if let Err(error) = ended {
                tell(&exchange, peer, &error);
            }
            drop((permits, counted, connected));
        }
    }
}

/// Answers requests on one connection until it ends. The error says why it was aborted.
async fn converse(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    peer: SocketAddr,
    exchange: Arc<Exchange>,
    pulse: Pulse,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    match tls {
        None => http1::serve(stream, Via { peer, scheme: "http" }, exchange, pulse, stopped).await,
        Some(tls) => {
            let stream = Box::pin(tls.accept(stream)).await?;
            // Boxed, so that connections without TLS need less memory.
            Box::pin(connection::serve(stream, Via { peer, scheme: "https" }, exchange, pulse, stopped)).await
        }
    }
}

/// A client's address. A dual-stack socket shows an IPv4 client in IPv6 form; this undoes that, so that the log, TFTP
/// and the shares see the same client.
pub(crate) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Tells a client that there is no place for its connection. A new socket takes such a short text at once. A client
/// that speaks TLS could be told only after a handshake, which is the very cost to avoid; its connection is just
/// closed.
fn turn_away(exchange: &Exchange, stream: &TcpStream, is_secure: bool, peer: SocketAddr, why: String) {
    if is_secure {
        return exchange.cut(peer, None, why);
    }
    exchange.cut(peer, Some(503), why);
    let text = http1::format_head(503, &[("retry-after", "1".to_owned())], Some(0), "close");
    // Uses the system calls, because tokio does not write to a socket before it has been reported as writable.
    let _ = send(stream, text.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = shutdown(stream, Shutdown::Write);
    // An unread request would make the kernel send a reset, which clients may notice before the answer.
    let _ = recv(stream, &mut [0; 16384][..], RecvFlags::DONTWAIT);
}

/// Reports why a connection was aborted, unless the client just went away; the answer's own line says that.
fn tell(exchange: &Exchange, peer: SocketAddr, error: &io::Error) {
    if !is_gone(error) {
        exchange.cut(peer, None, error.to_string());
    }
}

/// Whether an error only says that the client went away.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof].contains(&error.kind())
}
