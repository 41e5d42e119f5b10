//! Sockets that listen, before anything is answered on them.

use std::io;
use std::net;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::tls::Tls;
use crate::error::{Advice, Exit};

/// Why nobody can listen there.
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

/// A socket that listens, and what is spoken on it. Privileges may be dropped between binding it and answering on it.
pub struct Listener {
    socket: net::TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Binds `HOST:PORT`; port 0 takes a free one.
    pub fn bind(address: &str) -> Result<Listener, Error> {
        let listener = net::TcpListener::bind(address).and_then(Listener::of);
        listener.map_err(|source| Error::Listen { address: address.into(), source })
    }

    /// Takes a socket that somebody bound.
    pub fn of(socket: net::TcpListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, tls: None })
    }

    /// Speaks HTTPS there, and HTTP/2 with those who can.
    pub fn secured(self, tls: Arc<Tls>) -> Listener {
        Listener { tls: Some(tls), ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<net::SocketAddr> {
        self.socket.local_addr()
    }

    /// Where it listens, as the beginning of a URL.
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.address()?))
    }

    /// For the server's loop. Must be called within a tokio runtime.
    pub(super) fn into_tokio(self) -> io::Result<(TcpListener, Option<Arc<Tls>>)> {
        Ok((TcpListener::from_std(self.socket)?, self.tls))
    }
}
