//! A network interface: its address, its network, and sockets that are limited to it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::machine::network::Network;
use crate::machine::node::Mac;

/// The kernel's routes: one per line, with numbers in hex in memory order.
const ROUTES: &str = "/proc/net/route";

/// An interface with an IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Such as `eth0`.
    pub name: String,
    /// The interface's first address.
    pub address: Ipv4Addr,
    /// The network of this address.
    pub network: Network,
}

/// The addresses at which other machines most likely reach this one: that of the interface with the default route, else
/// every private one.
pub(crate) fn addresses() -> Vec<Ipv4Addr> {
    // Nothing is sent: connecting makes the kernel choose its source address (TEST-NET-1, RFC 5737).
    let outside = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9);
    let own = socket_on(None, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(outside).and_then(|()| socket.local_addr()));
    if let Ok(SocketAddr::V4(own)) = own
        && !own.ip().is_unspecified()
        && !own.ip().is_loopback()
    {
        return vec![*own.ip()];
    }
    let routes = fs::read_to_string(ROUTES).unwrap_or_default();
    let names: BTreeSet<&str> =
        routes.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next()).collect();
    let all = names.into_iter().filter_map(|name| Interface::find(name).ok());
    all.map(|interface| interface.address).filter(Ipv4Addr::is_private).collect()
}

impl Interface {
    /// Asks the kernel for an interface.
    ///
    /// # Errors
    /// No interface has this name, or it has no IPv4 address.
    pub(crate) fn find(name: &str) -> io::Result<Interface> {
        let none = |what: &str| io::Error::new(io::ErrorKind::NotFound, what);
        let socket = socket_on(Some(name), SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        // Nothing is sent: connecting makes the kernel choose its source address.
        socket.connect(SocketAddrV4::new(Ipv4Addr::BROADCAST, 9))?;
        let address = match socket.local_addr()? {
            SocketAddr::V4(own) if !own.ip().is_unspecified() => *own.ip(),
            _ => return Err(none("it has no IPv4 address")),
        };
        let routes = fs::read_to_string(ROUTES)?;
        let network =
            network_of(&routes, name, address).ok_or_else(|| none("no route leads to its own network"))?;
        Ok(Interface { name: name.into(), address, network })
    }

    /// The MAC address of its card; `None` where it has none, such as a tunnel.
    pub(crate) fn mac(&self) -> Option<Mac> {
        let text = fs::read_to_string(format!("/sys/class/net/{}/address", self.name)).ok()?;
        text.trim().parse().ok()
    }

    /// A socket that receives packets of this interface only, broadcasts included, and sends its broadcasts there.
    ///
    /// # Errors
    /// The port is taken, or it is below 1024 and needs privileges.
    pub(crate) fn socket(&self, port: u16) -> io::Result<UdpSocket> {
        socket_on(Some(&self.name), SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
    }
}

/// A UDP socket that may broadcast, bound to an interface if one is named. Several sockets may share a port, so that
/// another DHCP server on this machine can keep its own.
fn socket_on(interface: Option<&str>, address: SocketAddrV4) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    sockopt::set_socket_broadcast(&socket, true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let mut socket = UdpSocket::from(socket);
    if let Some(interface) = interface {
        // SO_BINDTODEVICE comes before the socket has an address that packets of other interfaces could reach. rustix
        // lacks this call; tokio has it, but only within a runtime.
        // One may be there already, within which none may be made and dropped.
        let runtime = match Handle::try_current() {
            Ok(_) => None,
            Err(_) => Some(Builder::new_current_thread().enable_io().build()?),
        };
        let _within = runtime.as_ref().map(Runtime::enter);
        let bound = tokio::net::UdpSocket::from_std(socket)?;
        bound.bind_device(Some(interface.as_bytes()))?;
        socket = bound.into_std()?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// The network of an interface that contains an address: the narrowest among the routes without a gateway.
fn network_of(routes: &str, interface: &str, address: Ipv4Addr) -> Option<Network> {
    let network = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, base, gateway, _, _, _, _, mask, ..] = fields[..] else { return None };
        let number = |text| u32::from_str_radix(text, 16).ok().map(u32::from_be);
        let (base, mask) = (number(base)?, number(mask)?);
        let direct = name == interface && number(gateway) == Some(0) && mask != 0;
        let text = format!("{}/{}", Ipv4Addr::from_bits(base), mask.leading_ones());
        text.parse().ok().filter(|network: &Network| direct && network.contains(address))
    };
    routes.lines().filter_map(network).max_by_key(|network| network.netmask())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t000000FF\t0\t0\t0
eth0\t0001000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth1\t0000A8C0\t00000000\t0001\t0\t0\t101\t00FFFFFF\t0\t0\t0
";

    #[test]
    fn the_narrowest_network_of_the_interface_counts() {
        let of = |name, address: [u8; 4]| {
            network_of(TABLE, name, address.into()).map(|network| network.to_string())
        };
        if cfg!(target_endian = "little") {
            assert_eq!(of("eth0", [10, 0, 1, 7]).as_deref(), Some("10.0.1.0/24"));
            assert_eq!(of("eth0", [10, 9, 1, 7]).as_deref(), Some("10.0.0.0/8"));
            assert_eq!(of("eth1", [192, 168, 0, 1]).as_deref(), Some("192.168.0.0/24"));
            assert_eq!(of("eth1", [10, 0, 1, 7]), None);
            assert_eq!(of("eth0", [172, 16, 0, 1]), None, "the way out is no network of its own");
        }
    }

    #[test]
    fn the_kernel_knows_its_loopback_and_nothing_that_is_not_there() {
        assert!(Interface::find("no-such-if").is_err());
        let socket = socket_on(Some("lo"), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(socket.local_addr().unwrap().ip().is_loopback());
    }
}
