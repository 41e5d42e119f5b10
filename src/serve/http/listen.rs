//! Sockets that listen, before anything is answered on them.

use std::io;
use std::net;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::tls::Tls;
use crate::base::error::{Advice, Exit};
use crate::serve::address::{Address, Malformed};

/// Why nobody can listen there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no address.
    #[error("cannot listen on {address}: {why}")]
    Address {
        /// As it was written.
        address: String,
        /// What is wrong with it.
        why: Malformed,
    },
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
            Error::Address { .. } | Error::Listen { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Address { .. } => Some(
                "give HOST:PORT, such as 10.0.0.1:8080, or :8080 for every address of this machine".into(),
            ),
            Error::Listen { source, .. } => Some(match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "the port is in use already; choose another with --address".into()
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
    /// What it was bound to; none where somebody else bound it.
    address: Option<Address>,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Binds an [`Address`].
    ///
    /// # Errors
    /// It is none, or it cannot be had.
    pub fn bind(text: &str) -> Result<Listener, Error> {
        let address: Address = text.parse().map_err(|why| Error::Address { address: text.into(), why })?;
        let listener = address.tcp().and_then(Listener::of);
        let listener = listener.map_err(|source| Error::Listen { address: text.into(), source })?;
        Ok(Listener { address: Some(address), ..listener })
    }

    /// Takes a socket that somebody bound.
    pub fn of(socket: net::TcpListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, address: None, tls: None })
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
        let bound = self.address()?;
        let shown =
            self.address.as_ref().map_or_else(|| bound.to_string(), |address| address.bound_at(bound));
        Ok(format!("{scheme}://{shown}"))
    }

    /// For the server's loop. Must be called within a tokio runtime.
    pub(super) fn into_tokio(self) -> io::Result<(TcpListener, Option<Arc<Tls>>)> {
        Ok((TcpListener::from_std(self.socket)?, self.tls))
    }
}
