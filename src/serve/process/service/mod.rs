//! Communication with a service manager: status messages and inherited sockets, as in sd_notify(3) and
//! sd_listen_fds(3), without its library.

mod inherit;

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{SocketType, getsockname};

use crate::base::error::{Advice, Exit};

/// The first inherited descriptor; those below are standard input, output and error.
const FIRST: u32 = 3;
/// The most descriptors that are accepted; no unit of ours passes more.
const MOST: u32 = 16;

/// Why the inherited descriptors cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A socket has a name that is unknown here.
    #[error("the service manager hands over a socket `{0}`, and only `http` and `https` are known")]
    Name(String),
    /// A descriptor is not a listening TCP socket.
    #[error("the descriptor `{name}` of the service manager is not a listening TCP socket")]
    Kind {
        /// The descriptor's name.
        name: String,
        /// The error of the kernel.
        source: Option<io::Error>,
    },
    /// There is a socket for HTTPS, but no certificate.
    #[error("the service manager passes a socket for HTTPS, but no certificate is given")]
    NoCertificate,
    /// `LISTEN_FDS` is not a valid number.
    #[error("LISTEN_FDS={0} is not a valid number of sockets")]
    Count(String),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoCertificate => "add --tls-address and --tls-cert or --tls-generate to ExecStart=".into(),
            Error::Name(_) | Error::Kind { .. } | Error::Count(_) => {
                "in the socket unit: ListenStream=, and FileDescriptorName=http or https".into()
            }
        })
    }
}

/// The protocol of an inherited socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// `FileDescriptorName=http`, or a single socket without its own name.
    Http,
    /// `FileDescriptorName=https`.
    Https,
}

/// The sockets that a service manager bound for this process. A second call returns none, as they have an owner by
/// then.
pub(crate) fn sockets(get: impl Fn(&str) -> Option<String>) -> Result<Vec<(Spoken, TcpListener)>, Error> {
    let names = names(get)?;
    let descriptors = inherit::take(FIRST..FIRST + names.len() as u32);
    names.into_iter().zip(descriptors).map(|(name, descriptor)| listener(name, descriptor)).collect()
}

/// The names of the inherited descriptors, in order.
fn names(get: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, Error> {
    // Descriptors for a parent process are not ours.
    if get("LISTEN_PID") != Some(process::id().to_string()) {
        return Ok(Vec::new());
    }
    let count = get("LISTEN_FDS").unwrap_or_default();
    let number = count.parse::<u32>().ok().filter(|number| *number <= MOST);
    let number = number.ok_or(Error::Count(count))? as usize;
    let names = get("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    Ok(names.take(number).collect())
}

fn listener(name: String, descriptor: io::Result<OwnedFd>) -> Result<(Spoken, TcpListener), Error> {
    let spoken = match name.as_str() {
        // systemd names a socket after its unit if the unit sets no name.
        "http" | "" | "unknown" => Spoken::Http,
        "https" => Spoken::Https,
        unit if unit.ends_with(".socket") => Spoken::Http,
        _ => return Err(Error::Name(name)),
    };
    let listens = |descriptor: &OwnedFd| {
        let stream = socket_type(descriptor)? == SocketType::STREAM && socket_acceptconn(descriptor)?;
        Ok::<_, io::Error>(stream && std::net::SocketAddr::try_from(getsockname(descriptor)?).is_ok())
    };
    match descriptor.and_then(|descriptor| Ok((listens(&descriptor)?, descriptor))) {
        Ok((true, descriptor)) => Ok((spoken, TcpListener::from(descriptor))),
        Ok((false, _)) => Err(Error::Kind { name, source: None }),
        Err(source) => Err(Error::Kind { name, source: Some(source) }),
    }
}

/// The service manager, if one wants to be informed.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager from the environment: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` for this process. An unreachable manager
    /// counts as none, as in sd_notify(3). The socket is connected now, because a confined process cannot connect
    /// later.
    pub(crate) fn from_env(get: impl Fn(&str) -> Option<OsString>) -> Manager {
        let address = get("NOTIFY_SOCKET").and_then(|name| match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(&name).ok(),
            _ => None,
        });
        let connect = |address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            Ok::<_, io::Error>(socket)
        };
        let number = |key| get(key)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        Manager {
            socket: address.and_then(|address| connect(address).ok()),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// Reports that the server is answering from now on.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// Reports that the server accepts no more connections.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=waiting for open transfers to finish");
    }

    /// Sends keep-alive messages for ever, twice as often as required, from the threads that also answer; if these are
    /// stuck, the manager notices.
    pub(crate) async fn stay_alive(&self) {
        let Some(interval) = self.watchdog.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        loop {
            self.tell("WATCHDOG=1");
            tokio::time::sleep(interval / 2).await;
        }
    }

    /// If the manager is no longer listening, the message is lost.
    fn tell(&self, words: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(words.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(pid: u32, count: &str, names: &str) -> Result<Vec<String>, Error> {
        super::names(|key| match key {
            "LISTEN_PID" => Some(pid.to_string()),
            "LISTEN_FDS" => Some(count.to_owned()),
            "LISTEN_FDNAMES" => Some(names.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn what_was_handed_to_another_process_is_not_taken() {
        let us = process::id();
        assert_eq!(handed(us, "2", "http:https").unwrap(), ["http", "https"]);
        assert_eq!(handed(us, "2", "http").unwrap(), ["http", ""]);
        assert_eq!(handed(us + 1, "2", "http:https").unwrap(), [""; 0]);
        for count in ["", "-1", "x", "17", "4294967296"] {
            assert!(matches!(handed(us, count, ""), Err(Error::Count(_))), "{count}");
        }
    }

    #[test]
    fn only_a_tcp_socket_that_listens_is_taken() {
        let listening = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        for (name, spoken) in
            [("http", Spoken::Http), ("prebake-serve.socket", Spoken::Http), ("https", Spoken::Https)]
        {
            assert_eq!(listener(name.into(), Ok(listening())).unwrap().0, spoken, "{name}");
        }
        assert!(matches!(listener("tftp".into(), Ok(listening())), Err(Error::Name(_))));
        let others = [
            OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()),
            OwnedFd::from(UnixDatagram::unbound().unwrap()),
            OwnedFd::from(std::fs::File::open("/dev/null").unwrap()),
        ];
        for other in others {
            assert!(matches!(listener("http".into(), Ok(other)), Err(Error::Kind { .. })));
        }
    }

    #[test]
    fn the_manager_is_told_over_a_path_or_an_abstract_name_and_its_absence_hurts_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("prebake-{}", process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, said) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            let manager = Manager::from_env(|key| (key == "NOTIFY_SOCKET").then(|| said.clone()));
            manager.ready("serving");
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=serving");
            drop(socket);
            manager.stopping();
        }
        for none in ["", "relative", "vsock:2:1234", "/no/such/socket"] {
            let manager = Manager::from_env(|key| (key == "NOTIFY_SOCKET").then(|| none.into()));
            assert!(manager.socket.is_none(), "{none}");
            manager.ready("serving");
        }
    }

    #[test]
    fn the_watchdog_is_ours_only() {
        let watchdog = |pid: Option<u32>| {
            let manager = Manager::from_env(|key| match key {
                "WATCHDOG_USEC" => Some("3000000".into()),
                "WATCHDOG_PID" => pid.map(|pid| pid.to_string().into()),
                _ => None,
            });
            manager.watchdog
        };
        assert_eq!(watchdog(Some(process::id())), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(None), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(Some(process::id() + 1)), None);
    }
}
