//! Listening sockets, before any request is answered on them.

use std::io;
use std::net;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::tls::Tls;
use crate::base::error::{Advice, Exit};
use crate::serve::address::{Address, Malformed};

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not an address.
    #[error("cannot listen on {address}: {why}")]
    Address {
        /// As the user wrote it.
        address: String,
        /// The flaw in the text.
        why: Malformed,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// `HOST:PORT`.
        address: String,
        /// The error of `bind`.
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

/// Schemes whose URLs people give where they are to give an address.
const SCHEMES: [&str; 2] = ["http://", "https://"];

/// `HOST:PORT` of a URL that has nothing else: `http://10.0.0.1:8080/`.
pub(crate) fn host_of(text: &str) -> Option<&str> {
    let rest = SCHEMES.into_iter().find_map(|scheme| text.strip_prefix(scheme))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    (!host.contains(['/', '?', '#', '@'])).then_some(host)
}

/// A listening socket and its protocol. Privileges may be dropped between binding and answering.
pub struct Listener {
    socket: net::TcpListener,
    /// The address it was bound to. `None` if another process bound it.
    address: Option<Address>,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Binds an [`Address`], which may be written as the beginning of a URL.
    ///
    /// # Errors
    /// The text is not an address, or the address cannot be bound.
    pub fn bind(text: &str) -> Result<Listener, Error> {
        let host = host_of(text).unwrap_or(text);
        let address: Address = host.parse().map_err(|why| Error::Address { address: text.into(), why })?;
        let listener = address.tcp().and_then(Listener::of);
        let listener = listener.map_err(|source| Error::Listen { address: text.into(), source })?;
        Ok(Listener { address: Some(address), ..listener })
    }

    /// Wraps a socket that another process bound.
    pub(crate) fn of(socket: net::TcpListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, address: None, tls: None })
    }

    /// Speaks HTTPS on it, and HTTP/2 with clients that support it.
    pub fn secured(self, tls: Arc<Tls>) -> Listener {
        Listener { tls: Some(tls), ..self }
    }

    /// The address it listens on.
    pub fn address(&self) -> io::Result<net::SocketAddr> {
        self.socket.local_addr()
    }

    /// The address it listens on, as the beginning of a URL.
    pub(crate) fn url(&self) -> io::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let bound = self.address()?;
        let shown =
            self.address.as_ref().map_or_else(|| bound.to_string(), |address| address.bound_at(bound));
        Ok(format!("{scheme}://{shown}"))
    }

    /// Hands the socket to the server's loop. Must be called within a tokio runtime.
    pub(super) fn into_tokio(self) -> io::Result<(TcpListener, Option<Arc<Tls>>)> {
        Ok((TcpListener::from_std(self.socket)?, self.tls))
    }
}
