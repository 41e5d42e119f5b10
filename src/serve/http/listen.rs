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
    /// A URL of another scheme than is spoken at the address.
    #[error("cannot listen on {address}: {} is spoken there", spoken.to_uppercase())]
    Scheme {
        /// As the user wrote it.
        address: String,
        /// `http` or `https`.
        spoken: &'static str,
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
            Error::Scheme { .. } => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Address { .. } => Some(
                "give HOST:PORT, such as 10.0.0.1:8080, or :8080 for every address of this machine".into(),
            ),
            Error::Scheme { spoken: "http", .. } => Some(
                "give the address to --tls-address for HTTPS beside HTTP, or add --tls-only for HTTPS alone"
                    .into(),
            ),
            Error::Scheme { .. } => Some("give HOST:PORT or https://HOST:PORT".into()),
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

/// `HOST:PORT` of an address that people may write as a URL with nothing else, such as `http://10.0.0.1:8080/`, where
/// `spoken` is the scheme that is spoken there.
///
/// # Errors
/// The URL has the other scheme, which would be served as something else than it says.
pub(crate) fn host_of<'t>(text: &'t str, spoken: &'static str) -> Result<&'t str, Error> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(text) };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    match (is("http") || is("https"), is(spoken)) {
        (true, false) => Err(Error::Scheme { address: text.into(), spoken }),
        (true, true) if !host.contains(['/', '?', '#', '@']) => Ok(host),
        // The address's own parser says that it is a URL.
        _ => Ok(text),
    }
}

/// A listening socket and its protocol. Privileges may be dropped between binding and answering.
pub struct Listener {
    socket: net::TcpListener,
    /// The address it was bound to. `None` if another process bound it.
    address: Option<Address>,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Binds an [`Address`].
    ///
    /// # Errors
    /// The text is not an address, or the address cannot be bound.
    pub fn bind(text: &str) -> Result<Listener, Error> {
        let address: Address = text.parse().map_err(|why| Error::Address { address: text.into(), why })?;
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

    /// Notes for people once this process has given up its rights: files of its certificate that it can read no more.
    pub(crate) fn unreadable(&self) -> Vec<String> {
        self.tls.as_ref().map(|tls| tls.unreadable()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Review of issue 17, 4: `--address https://…` was served as plain HTTP.
    #[test]
    fn a_url_names_an_address_only_where_its_own_scheme_is_spoken() {
        for (text, spoken, host) in [
            ("http://10.0.0.1:8080/", "http", Some("10.0.0.1:8080")),
            ("HTTP://[::1]:80", "http", Some("[::1]:80")),
            ("https://0.0.0.0:8443", "https", Some("0.0.0.0:8443")),
            (":8080", "https", Some(":8080")),
            ("https://10.0.0.1:8080", "http", None),
            ("http://10.0.0.1:8080", "https", None),
            ("http://h:1/path", "http", Some("http://h:1/path")),
            ("ftp://h:1", "http", Some("ftp://h:1")),
        ] {
            assert_eq!(host_of(text, spoken).ok(), host, "{text} for {spoken}");
        }
        let error = host_of("https://h:1", "http").unwrap_err();
        assert!(error.hint().unwrap().contains("--tls-address"), "{error}");
    }
}
