//! The sockets: where the server listens, whom it lets in, and how it ends.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::boots::Boots;
use super::connection;
use super::exchange::{Exchange, Via};
use super::http1;
use super::limits::{Clients, Limits};
use super::listen::Listener;
use super::proofs::Proofs;
use super::pulse::{Kind, Pulse, Pulses};
use super::room::Rooms;
use super::shares::Shares;
use super::tls::Tls;
use crate::serve::endpoint::guard::{self, Guard};
use crate::serve::lan::loaders::Loaders;
use crate::serve::machines::monitor::Monitor;
use crate::serve::notice::Notices;
use crate::serve::site::Site;
use crate::serve::site::content::Content;

/// How long a client that comes into a full house waits before another is closed for it.
const CROWDED: Duration = Duration::from_millis(50);

/// TLS has this part of all connections: each may take 90 KB, ten times what one without does, and loaders come without.
const SECURE: usize = 3;
/// This part of all places is kept free while there are connections that rest, so that whoever comes need not wait.
const SPARE: usize = 32;

/// A server, bound but not yet answering.
pub struct Server {
    listeners: Vec<(TcpListener, Option<Arc<Tls>>)>,
    exchange: Exchange,
}

impl Server {
    /// A server on sockets that listen. Must be called within a tokio runtime.
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

    /// With other limits.
    pub fn limits(mut self, limits: Limits) -> Server {
        self.exchange.limits = limits;
        self
    }

    /// With a cap on what leaves, in bytes a second; short answers go beside it.
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Server {
        self.exchange.shares = Shares::new(Some(bytes_per_second));
        self
    }

    /// With so many machines that load at a time; further ones wait in iPXE.
    pub fn max_boots(mut self, most: usize) -> Server {
        self.exchange.boots = Some(Boots::new(most));
        self
    }

    /// With every file of the manifest proven to be what it says before it is sent, if there are proofs.
    pub fn rehash(mut self, proofs: Option<Arc<Proofs>>) -> Server {
        self.exchange.proofs = proofs;
        self
    }

    /// With the private configs of the tree for those who have a token.
    pub fn guard(mut self, guard: Guard) -> Server {
        let guard = Arc::new(guard);
        let (notices, burns) = (self.exchange.notices, guard.clone());
        self.exchange.notices = Arc::new(move |notice| {
            guard::answer::heard(&burns, notice);
            notices(notice);
        });
        self.exchange.guard = Some(guard);
        self
    }

    /// With iPXE binaries for firmware that loads them over HTTP.
    pub fn loaders(mut self, loaders: Loaders) -> Server {
        self.exchange.loaders = loaders;
        self
    }

    /// What it serves now.
    pub fn site(&self) -> Arc<Site> {
        self.exchange.content.site()
    }

    /// Answers until `stop` is done, then lets open transfers finish for a while.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let grace = self.exchange.limits.grace;
        let most = self.exchange.limits.connections;
        let door = Door {
            permits: Arc::new(Semaphore::new(most)),
            secure: Arc::new(Semaphore::new(most.div_ceil(SECURE))),
            spare: most / SPARE,
            clients: Clients::default(),
            pulses: Pulses::default(),
            exchange: Arc::new(self.exchange),
            stopped,
        };
        tokio::select! {
            _ = join_all(self.listeners.iter().map(|(socket, tls)| door.let_in(socket, tls))) => {}
            () = stop => {}
        }
        // Who watches would be waited for.
        door.exchange.monitor.close();
        drop((self.listeners, door));
        // Every connection holds a receiver until it ends.
        let _ = stopping.send(true);
        let _ = tokio::time::timeout(grace, stopping.closed()).await;
    }
}

/// Where clients come in.
struct Door {
    permits: Arc<Semaphore>,
    /// Of these, what TLS may have.
    secure: Arc<Semaphore>,
    /// How many are kept free.
    spare: usize,
    clients: Clients,
    pulses: Pulses,
    exchange: Arc<Exchange>,
    stopped: watch::Receiver<bool>,
}

impl Door {
    /// Accepts connections for ever.
    async fn let_in(&self, socket: &TcpListener, tls: &Option<Arc<Tls>>) {
        loop {
            // Out of file descriptors, or the client is gone already: neither is the server's end.
            let Ok((stream, peer)) = socket.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let peer = canonical(peer);
            let exchange = self.exchange.clone();
            let Some(counted) = self.clients.enter(peer.ip(), exchange.limits.per_client) else {
                turn_away(&exchange, &stream, tls.is_some(), peer);
                continue;
            };
            let kind = Kind::new(peer.ip(), tls.is_some());
            let permits = (
                self.permit(&self.permits, kind, false).await,
                match tls {
                    Some(_) => self.permit(&self.secure, kind, true).await,
                    None => None,
                },
            );
            let connected = self.pulses.enter(kind);
            let _ = stream.set_nodelay(true);
            let (tls, stopped) = (tls.clone(), self.stopped.clone());
            tokio::spawn(async move {
                let pulse = connected.pulse.clone();
                let ended = tokio::select! {
                    ended = converse(stream, tls, peer, exchange.clone(), pulse.clone(), stopped) => ended,
                    why = pulse.closed() => Err(io::Error::other(why)),
                };
                if let Err(error) = ended {
                    tell(&exchange, peer, &error);
                }
                drop((permits, counted, connected));
            });
        }
    }

    /// Room for one more connection, of some. While there is none, the one that moves least makes it.
    async fn permit(
        &self,
        permits: &Arc<Semaphore>,
        kind: Kind,
        secure_only: bool,
    ) -> Option<OwnedSemaphorePermit> {
        if permits.available_permits() <= self.spare {
            self.pulses.close_idlest(kind, secure_only);
        }
        loop {
            match tokio::time::timeout(CROWDED, permits.clone().acquire_owned()).await {
                Ok(permit) => return permit.ok(),
                Err(_) => self.pulses.close_idlest(kind, secure_only),
            }
        }
    }
}

/// Answers on one connection until it ends; why, if it broke off.
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
            // In a box, so that connections without TLS are not as large.
            Box::pin(connection::serve(stream, Via { peer, scheme: "https" }, exchange, pulse, stopped)).await
        }
    }
}

/// A client's address without the IPv6 form in which a socket for both protocols tells of one of IPv4: it is the same client
/// to the log, to TFTP and to who shares what with whom.
pub fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Waits until the server stops.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Says to a client that it has too many connections; a socket that is new takes so short a text at once. To one that begins to
/// speak TLS nothing can be said before a handshake, which is what it shall not cost: its connection ends.
fn turn_away(exchange: &Exchange, stream: &TcpStream, is_secure: bool, peer: SocketAddr) {
    let why = format!("it has {} connections already", exchange.limits.per_client);
    if is_secure {
        return exchange.cut(peer, None, why);
    }
    exchange.cut(peer, Some(503), why);
    let text = http1::format_head(503, &[("retry-after", "1".to_owned())], Some(0), "close");
    let _ = stream.try_write(text.as_bytes());
}

/// Tells why a connection broke off, unless the client just went away: its answer's own line says that.
fn tell(exchange: &Exchange, peer: SocketAddr, error: &io::Error) {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof];
    if !gone.contains(&error.kind()) {
        exchange.cut(peer, None, error.to_string());
    }
}
