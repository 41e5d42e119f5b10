//! The sockets: where the server listens, whom it lets in, and how it ends.

use std::future::Future;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::content::Content;
use super::exchange::{Exchange, Via};
use super::http1;
use super::limits::{Clients, Limits};
use super::notice::Notices;
use super::report::Reports;
use super::shares::Shares;
use super::site::Site;
use crate::error::{Advice, Exit};

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

/// A server, bound but not yet answering.
pub struct Server {
    listener: TcpListener,
    exchange: Exchange,
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
    pub fn new(listener: net::TcpListener, content: Content, notices: Notices) -> io::Result<Server> {
        let exchange = Exchange {
            content,
            reports: Reports::default(),
            notices,
            limits: Limits::default(),
            shares: Shares::new(None),
            root: Mutex::default(),
        };
        Ok(Server { listener: TcpListener::from_std(listener)?, exchange })
    }

    /// With other limits.
    pub fn limits(mut self, limits: Limits) -> Server {
        self.exchange.limits = limits;
        self
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it serves now.
    pub fn site(&self) -> Arc<Site> {
        self.exchange.content.site()
    }

    /// Answers until `stop` is done, then lets open transfers finish for a while.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let exchange = Arc::new(self.exchange);
        let limits = exchange.limits.clone();
        let permits = Arc::new(Semaphore::new(limits.connections));
        let clients = Clients::default();
        let (stopping, stopped) = watch::channel(false);
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
            let Some(counted) = clients.enter(peer.ip(), limits.per_client) else {
                turn_away(&exchange, &stream, peer);
                continue;
            };
            let _ = stream.set_nodelay(true);
            let (exchange, stopped) = (exchange.clone(), stopped.clone());
            tokio::spawn(async move {
                let via = Via { peer, scheme: "http" };
                if let Err(error) = http1::serve(stream, via, exchange.clone(), stopped).await {
                    tell(&exchange, peer, &error);
                }
                drop((permit, counted));
            });
        }
        drop((self.listener, stopped));
        // Every connection holds a receiver until it ends.
        let _ = stopping.send(true);
        let _ = tokio::time::timeout(limits.grace, stopping.closed()).await;
    }
}

/// Waits until the server stops.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Says to a client that it has too many connections; a socket that is new takes so short a text at once.
fn turn_away(exchange: &Exchange, stream: &TcpStream, peer: SocketAddr) {
    let why = format!("it has {} connections already", exchange.limits.per_client);
    exchange.cut(peer, Some(503), why);
    let text = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = stream.try_write(text.as_bytes());
}

/// Tells why a connection broke off, unless the client just went away: its answer's own line says that.
fn tell(exchange: &Exchange, peer: SocketAddr, error: &io::Error) {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    if !matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected) {
        exchange.cut(peer, None, error.to_string());
    }
}
