//! DHCP and TFTP together: their options, their sockets, and the servers on them.
//!
//! Sockets are bound before privileges are dropped and before a runtime exists, hence the three steps [`Wish::bind`],
//! [`Bound::start`] and [`Netboot::run`].

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::sync::watch;

use super::dhcp::boot::Sources;
use super::dhcp::leases::Leases;
use super::dhcp::responder::{PXE_PORT, Responder};
use super::interface::Interface;
use super::inventory::Here;
use super::near::Near;
use super::tftp::files::Files;
use super::{dhcp, tftp};
use crate::base::error::{Advice, Exit};
use crate::machine::base_url::BaseUrl;
use crate::machine::dhcp::{Dhcp, Mode};
use crate::machine::firmware::PLATFORMS;
use crate::machine::network::AddressRange;
use crate::serve::address::Address;
use crate::serve::files::proofs::Proofs;
use crate::serve::loaders::Loaders;
use crate::serve::notice::Notices;
use crate::serve::site::Site;

/// Size of the receive buffer, in bytes. The kernel counts some 800 for a short packet (socket(7)).
const BURST: usize = 1 << 20;

/// The servers that the user wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The interface whose machines are answered. Required for DHCP.
    pub interface: Option<String>,
    /// DHCP, and whether it lends addresses.
    pub dhcp: Option<Mode>,
    /// The address on which TFTP listens.
    pub tftp: Option<Address>,
    /// The directory of the loaders.
    pub ipxe_dir: PathBuf,
    /// Our address as machines reach it, if it is not the interface's.
    pub advertise: Option<Ipv4Addr>,
    /// How machines reach our HTTP server.
    pub http: Http,
    /// The network settings for machines, if we lend addresses.
    pub network: NetworkWish,
}

/// Scheme and port of our HTTP server. Its host differs by client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http {
    /// `https` if there is no plain HTTP; iPXE must be built with support for it.
    pub scheme: &'static str,
    /// The TCP port.
    pub port: u16,
}

impl Http {
    /// Its root URL, without a slash at the end.
    pub(crate) fn at(self, host: IpAddr) -> String {
        format!("{}://{}", self.scheme, SocketAddr::new(host, self.port))
    }
}

/// The settings of a network before its interface is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkWish {
    /// Addresses for machines that are not nodes.
    pub range: Option<AddressRange>,
    /// The router's address.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses of name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain name.
    pub domain: Option<String>,
    /// The lease time of an address.
    pub lease: Duration,
}

/// Why machines cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// DHCP was requested without an interface.
    #[error("DHCP needs a network interface")]
    NoInterface,
    /// The interface does not exist, is down, or has no address.
    #[error("the network interface {name} cannot be used")]
    Interface {
        /// The interface's name.
        name: String,
        /// The error of the kernel.
        source: io::Error,
    },
    /// A port cannot be bound.
    #[error("cannot listen on {what}")]
    Listen {
        /// Protocol and port.
        what: String,
        /// The error of `bind`.
        source: io::Error,
    },
    /// A loader cannot be read.
    #[error("cannot read {}", path.display())]
    Loader {
        /// The loader's path.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The directory has no loaders.
    #[error("there are no iPXE binaries in {}: neither {} nor {}", directory.display(), PLATFORMS[0].loader, PLATFORMS[1].loader)]
    NoLoaders {
        /// The directory that was searched.
        directory: PathBuf,
    },
    /// Nodes have addresses that no machine can use in the interface's network.
    #[error("{}", .0.join("\n"))]
    Unusable(Vec<String>),
    /// An address is outside of the interface's network.
    #[error("{address} is not in {network}, the network of {interface}")]
    Outside {
        /// The address as the user gave it.
        address: Ipv4Addr,
        /// The interface's network.
        network: String,
        /// The interface's name.
        interface: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::NoInterface | Error::Outside { .. } => Exit::Usage,
            Error::Unusable(_) => Exit::Config,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoInterface => Some("name one, such as --interface eth0".into()),
            Error::Interface { .. } => {
                Some("`ip -4 address` lists the interfaces and their addresses".into())
            }
            Error::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    Some("the port is in use already; `ss -lunp` shows by which process".into())
                }
                io::ErrorKind::PermissionDenied => {
                    Some("ports below 1024 need root or CAP_NET_BIND_SERVICE".into())
                }
                _ => None,
            },
            Error::NoLoaders { .. } => Some(
                "install Debian's package `ipxe`, or give a directory of iPXE binaries with --ipxe-dir"
                    .into(),
            ),
            Error::Unusable(_) => {
                Some("give these nodes another `ip:`, or serve on another --interface".into())
            }
            Error::Loader { .. } | Error::Outside { .. } => None,
        }
    }
}

impl Wish {
    /// Whether no server is wanted.
    pub(crate) fn is_nothing(&self) -> bool {
        self.dhcp.is_none() && self.tftp.is_none()
    }

    /// Binds the sockets and reads the loaders.
    ///
    /// # Errors
    /// The first thing that is unavailable; all of them are required.
    pub(crate) fn bind(self) -> Result<Bound, Error> {
        let interface = self.interface.as_deref().map(find).transpose()?;
        let gateway = self.network.gateway;
        let here = |interface: &Interface| Here {
            network: interface.network,
            own: interface.address,
            card: interface.mac(),
            gateway,
        };
        let here = interface.as_ref().map(here);
        let near = Near { networks: interface.iter().map(|interface| interface.network).collect() };
        let tftp = self.tftp.as_ref().map(|address| bind_tftp(address, interface.as_ref())).transpose()?;
        let loaders = match (self.dhcp, &self.tftp) {
            (None, None) => Loaders::default(),
            _ => read_loaders(self.ipxe_dir)?,
        };
        let dhcp = match (self.dhcp, interface) {
            (None, _) => None,
            (Some(_), None) => return Err(Error::NoInterface),
            (Some(mode), Some(interface)) => {
                let listen = |port| {
                    let failed = |source| {
                        let what = format!("port {port} of {} for DHCP", interface.name);
                        Error::Listen { what, source }
                    };
                    interface.socket(port).inspect(hold_a_burst).map_err(failed)
                };
                let sockets = [listen(dhcproto::v4::SERVER_PORT)?, listen(PXE_PORT)?];
                let address = self.advertise.unwrap_or(interface.address);
                let base_url = base_url(self.http, address);
                let sources = Sources {
                    address,
                    base_url: base_url.to_string(),
                    loaders: loaders.names().collect(),
                    tftp: tftp.is_some(),
                };
                let leases = match mode {
                    Mode::Proxy => None,
                    Mode::Full => {
                        Some(Leases::new(self.network.on(&interface, base_url)?, interface.address))
                    }
                };
                Some(BoundDhcp { sockets, responder: Responder::new(sources, leases, near.clone()) })
            }
        };
        Ok(Bound { dhcp, tftp, loaders, near, here, http: self.http, advertise: self.advertise })
    }
}

impl NetworkWish {
    /// The network of an interface.
    ///
    /// # Errors
    /// An address is not in that network.
    pub(crate) fn on(&self, interface: &Interface, base_url: BaseUrl) -> Result<Dhcp, Error> {
        let ends = self.range.iter().flat_map(|range| [range.first, range.last]);
        if let Some(address) = ends.chain(self.gateway).find(|address| !interface.network.contains(*address))
        {
            let (network, interface) = (interface.network.to_string(), interface.name.clone());
            return Err(Error::Outside { address, network, interface });
        }
        Ok(Dhcp {
            base_url,
            subnet: interface.network,
            interface: Some(interface.name.clone()),
            range: self.range,
            gateway: self.gateway,
            dns: self.dns.clone(),
            domain: self.domain.clone(),
            lease: self.lease,
        })
    }
}

/// Asks the kernel for an interface.
///
/// # Errors
/// [`Error::Interface`].
pub(crate) fn find(name: &str) -> Result<Interface, Error> {
    Interface::find(name).map_err(|source| Error::Interface { name: name.into(), source })
}

/// The URL at which machines find our HTTP server.
pub(crate) fn base_url(http: Http, address: Ipv4Addr) -> BaseUrl {
    http.at(address.into()).parse().unwrap_or_else(|_| unreachable!("an address and a port are a URL"))
}

fn bind_tftp(address: &Address, interface: Option<&Interface>) -> Result<UdpSocket, Error> {
    let bound = match interface {
        Some(interface) if address.is_every() => interface.socket(address.port()),
        _ => address.udp().and_then(|socket| socket.set_nonblocking(true).map(|()| socket)),
    };
    bound
        .inspect(hold_a_burst)
        .map_err(|source| Error::Listen { what: format!("{address} for TFTP"), source })
}

/// Enlarges the receive buffer beyond the default of some 250 packets: a hall that is switched on asks all at once, and
/// each dropped packet costs its machine seconds. If that fails, the buffer stays as it was.
fn hold_a_burst(socket: &UdpSocket) {
    // Exceeding net.core.rmem_max takes the privilege to administer the network.
    if sockopt::set_socket_recv_buffer_size_force(socket, BURST).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, BURST);
    }
}

fn read_loaders(directory: PathBuf) -> Result<Loaders, Error> {
    let loaders = Loaders::read(&directory).map_err(|(path, source)| Error::Loader { path, source })?;
    match PLATFORMS[..2].iter().any(|platform| loaders.get(platform.loader).is_some()) {
        true => Ok(loaders),
        false => Err(Error::NoLoaders { directory }),
    }
}

/// Bound sockets, and everything that their servers need.
pub(crate) struct Bound {
    dhcp: Option<BoundDhcp>,
    tftp: Option<UdpSocket>,
    loaders: Loaders,
    near: Near,
    here: Option<Here>,
    http: Http,
    advertise: Option<Ipv4Addr>,
}

struct BoundDhcp {
    /// Ports 67 and 4011.
    sockets: [UdpSocket; 2],
    responder: Responder,
}

impl Bound {
    /// The address on which TFTP listens.
    pub(crate) fn tftp_address(&self) -> Option<SocketAddr> {
        self.tftp.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    /// The network of the interface, if one was named, and what is taken in it.
    pub(crate) fn here(&self) -> Option<Here> {
        self.here
    }

    /// The available loaders.
    pub(crate) fn loaders(&self) -> &Loaders {
        &self.loaders
    }

    /// Creates the servers on these sockets. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The runtime refuses a socket.
    pub(crate) fn start(
        self,
        site: Arc<dyn Fn() -> Arc<Site> + Send + Sync>,
        notices: Notices,
        proofs: Option<Arc<Proofs>>,
    ) -> io::Result<Netboot> {
        let tftp = match self.tftp {
            None => None,
            Some(socket) => {
                let files = Files {
                    loaders: self.loaders,
                    advertise: self.advertise,
                    http: self.http,
                    site: site.clone(),
                    proofs,
                };
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                Some(tftp::server::Server::new(socket, files, self.near, notices.clone()))
            }
        };
        let dhcp = match self.dhcp {
            None => None,
            Some(BoundDhcp { sockets: [server, pxe], responder }) => {
                let (server, pxe) =
                    (tokio::net::UdpSocket::from_std(server)?, tokio::net::UdpSocket::from_std(pxe)?);
                Some(dhcp::server::Server { server, pxe, responder, site, notices })
            }
        };
        Ok(Netboot { dhcp, tftp })
    }
}

/// Running servers.
pub(crate) struct Netboot {
    dhcp: Option<dhcp::server::Server>,
    tftp: Option<tftp::server::Server>,
}

impl Netboot {
    /// Answers until `stop` is true.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        let stopped = |mut stop: watch::Receiver<bool>| async move {
            // An error means that nobody is left to stop it.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let (first, second) = (stopped(stop.clone()), stopped(stop));
        tokio::join!(
            maybe(self.dhcp.map(|server| server.run(first))),
            maybe(self.tftp.map(|server| server.run(second)))
        );
    }
}

async fn maybe(future: Option<impl Future<Output = ()>>) {
    if let Some(future) = future {
        future.await;
    }
}
