//! Addresses to listen on, as people write them.
//!
//! As in Go's `net.Listen`, which Matchbox uses, an empty host, `0.0.0.0` and `[::]` stand for all IPv4 and IPv6
//! addresses. A port alone is accepted, too.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, ToSocketAddrs, UdpSocket};
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Connections that the kernel queues until they are accepted. Its own limit may be lower (listen(2)).
const BACKLOG: i32 = 4096;
/// Ports that can be given by name.
const SERVICES: [(&str, u16); 3] = [("http", 80), ("https", 443), ("tftp", 69)];

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// All IPv4 and IPv6 addresses, in the spelling that was given.
    Every(&'static str),
    /// An address, or a name that may have several.
    Named(String),
}

/// Why a text is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has a host only.
    #[error("it has no port; write {0}:8080, for example")]
    NoPort(String),
    /// The port is not a number below 65536.
    #[error("`{0}` is not a port")]
    Port(String),
    /// It has several colons, such as an IPv6 address or a URL.
    #[error("there are too many colons: write an IPv6 address in brackets, as in [::1]:8080")]
    Colons,
    /// It is a URL.
    #[error("it is a URL; leave out all but host and port")]
    Url,
}

impl FromStr for Address {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Address, Malformed> {
        if text.contains("://") {
            return Err(Malformed::Url);
        }
        let (host, port) = match text.rsplit_once(':') {
            _ if text.ends_with(']') => return Err(Malformed::NoPort(text.into())),
            Some((host, port)) => (host, port),
            None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => ("", text),
            None => return Err(Malformed::NoPort(text.into())),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host,
            None if host.contains(':') => return Err(Malformed::Colons),
            None => host,
        };
        let service = SERVICES.iter().find(|(name, _)| *name == port).map(|(_, port)| *port);
        let number = || port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = service.or_else(number).ok_or_else(|| Malformed::Port(port.into()))?;
        let host = match host {
            "" | "::" => Host::Every("[::]"),
            "0.0.0.0" => Host::Every("0.0.0.0"),
            host => Host::Named(host.into()),
        };
        Ok(Address { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Every(host) => write!(f, "{host}:{port}"),
            Host::Named(host) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Host::Named(host) => write!(f, "{host}:{port}"),
        }
    }
}

impl Address {
    /// The port; 0 for any free one.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it stands for all addresses of the machine.
    pub(crate) fn is_every(&self) -> bool {
        matches!(self.host, Host::Every(_))
    }

    /// The address with the port that was bound, in a form that people can type.
    pub(crate) fn bound_at(&self, bound: SocketAddr) -> String {
        match &self.host {
            Host::Every(host) => format!("{host}:{}", bound.port()),
            Host::Named(_) => bound.to_string(),
        }
    }

    /// A TCP socket that listens on this address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn tcp(&self) -> io::Result<TcpListener> {
        if let Host::Named(host) = &self.host {
            return long_queue(TcpListener::bind((host.as_str(), self.port))?);
        }
        self.every(|address| {
            let socket = dual(SocketType::STREAM)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &address)?;
            listen(&socket, BACKLOG)?;
            Ok(TcpListener::from(socket))
        })
        .unwrap_or_else(|| long_queue(TcpListener::bind(self.ipv4())?))
    }

    /// A UDP socket that is bound to this address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn udp(&self) -> io::Result<UdpSocket> {
        if let Host::Named(host) = &self.host {
            return UdpSocket::bind((host.as_str(), self.port));
        }
        self.every(|address| {
            let socket = dual(SocketType::DGRAM)?;
            bind(&socket, &address)?;
            Ok(UdpSocket::from(socket))
        })
        .unwrap_or_else(|| UdpSocket::bind(self.ipv4()))
    }

    /// A socket for both protocols. `None` if the kernel has no IPv6.
    fn every<S>(&self, bind: impl Fn(SocketAddrV6) -> io::Result<S>) -> Option<io::Result<S>> {
        use io::ErrorKind::{AddrNotAvailable, Unsupported};
        match bind(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, self.port, 0, 0)) {
            Err(error) if [AddrNotAvailable, Unsupported].contains(&error.kind()) => None,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => None,
            bound => Some(bound),
        }
    }

    fn ipv4(&self) -> impl ToSocketAddrs + use<> {
        SocketAddr::from(([0, 0, 0, 0], self.port))
    }
}

/// Lengthens the queue of the standard library, which is full after 128 connections.
fn long_queue(socket: TcpListener) -> io::Result<TcpListener> {
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// An IPv6 socket that accepts IPv4, too.
fn dual(kind: SocketType) -> io::Result<rustix::fd::OwnedFd> {
    let socket = socket_with(AddressFamily::INET6, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them_and_a_port_alone_is_one() {
        for (text, shown, every) in [
            (":8080", "[::]:8080", true),
            ("8080", "[::]:8080", true),
            ("0.0.0.0:8080", "0.0.0.0:8080", true),
            ("[::]:8080", "[::]:8080", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[::1]:80", "[::1]:80", false),
            ("localhost:http", "localhost:80", false),
            ("boot.example:https", "boot.example:443", false),
        ] {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((address.to_string().as_str(), address.is_every()), (shown, every), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("nonsense", Malformed::NoPort("nonsense".into())),
            ("", Malformed::NoPort(String::new())),
            ("[::1]", Malformed::NoPort("[::1]".into())),
            ("::1", Malformed::Colons),
            ("fe80::1:8080", Malformed::Colons),
            ("http://10.0.0.1:8080", Malformed::Url),
            ("10.0.0.1:", Malformed::Port(String::new())),
            ("10.0.0.1:+80", Malformed::Port("+80".into())),
            (":65536", Malformed::Port("65536".into())),
        ] {
            assert_eq!(text.parse::<Address>(), Err(why), "{text}");
        }
    }

    /// A flood of 4,000 connections made a queue of 128 drop 9,746 of them; each dropped client tried again after 1, 3
    /// or 7 s.
    #[test]
    fn wherever_it_listens_the_kernel_holds_as_many_connections_as_it_may() {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let most: usize = most.trim().parse().unwrap();
        for text in ["127.0.0.1:0", "[::1]:0", "localhost:0", ":0"] {
            let listener = text.parse::<Address>().unwrap().tcp().unwrap();
            let bound = listener.local_addr().unwrap();
            let there = match bound.ip().is_unspecified() {
                true => SocketAddr::from(([127, 0, 0, 1], bound.port())),
                false => bound,
            };
            for number in 0..most.min(200) {
                // None is accepted, so each stays in the queue.
                TcpStream::connect_timeout(&there, Duration::from_secs(30))
                    .unwrap_or_else(|error| panic!("{text}, connection {number}: {error}"));
            }
        }
    }

    // poseidon/matchbox: `-address 0.0.0.0:8080` answers http://[::1]:8080, too.
    #[test]
    fn every_address_is_of_both_protocols() {
        for text in [":0", "0.0.0.0:0", "[::]:0"] {
            let address: Address = text.parse().unwrap();
            let bound = address.tcp().unwrap().local_addr().unwrap();
            let listener = Address { port: 0, ..address.clone() }.tcp().unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_ne!(port, 0);
            for host in ["127.0.0.1", "[::1]"] {
                TcpStream::connect(format!("{host}:{port}"))
                    .unwrap_or_else(|error| panic!("{text} {host}: {error}"));
            }
            let udp = address.udp().unwrap();
            let port = udp.local_addr().unwrap().port();
            for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]")] {
                let client = UdpSocket::bind(from).unwrap();
                client.send_to(b"x", format!("{to}:{port}")).unwrap();
                let (_, peer) = udp.recv_from(&mut [0; 8]).unwrap();
                assert_eq!(peer.ip().to_canonical(), client.local_addr().unwrap().ip());
            }
            assert!(address.bound_at(bound).ends_with(&format!(":{}", bound.port())));
        }
    }
}
