//! Ports of this host: whether one is free, and else whose it is.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// A port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its number.
    pub number: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        write!(f, "{protocol} {}", self.number)
    }
}

impl Port {
    /// The process that has it, as far as this one may see that; `None` if it is free.
    ///
    /// # Errors
    /// It cannot be bound for another reason.
    pub(crate) fn taken(self) -> io::Result<Option<String>> {
        let place = (Ipv4Addr::UNSPECIFIED, self.number);
        // Without SO_REUSEADDR: a DHCP server shares its port with others that allow it, and both would answer.
        let bound = match self.protocol {
            Protocol::Tcp => TcpListener::bind(place).map(drop),
            Protocol::Udp => UdpSocket::bind(place).map(drop),
        };
        match bound {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Ok(Some(self.owner().unwrap_or_else(|| "another process".into())))
            }
            Err(error) => Err(error),
        }
    }

    /// The process that has it, as far as this one may see that: `NAME (process 4711)`.
    pub(crate) fn owner(self) -> Option<String> {
        let tables: &[&str] = match self.protocol {
            Protocol::Tcp => &["/proc/net/tcp", "/proc/net/tcp6"],
            Protocol::Udp => &["/proc/net/udp", "/proc/net/udp6"],
        };
        let tables = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
        let inodes: Vec<String> = tables.flat_map(|table| self.inodes(&table)).collect();
        let owners: HashMap<String, String> = owners();
        inodes.iter().find_map(|inode| owners.get(inode).cloned())
    }

    /// The sockets with this port, of a table such as `/proc/net/tcp` (proc_net(5)): columns are number, local address, remote
    /// address, state, queues, timer, retransmissions, user, timeout, inode.
    fn inodes(self, table: &str) -> Vec<String> {
        let listens = |state: &str| self.protocol == Protocol::Udp || state == "0A";
        let row = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
            let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
            (port == self.number && listens(state)).then(|| inode.to_owned())
        };
        table.lines().skip(1).filter_map(row).collect()
    }
}

/// The process of each socket, by inode. Other users' are seen by root only.
fn owners() -> HashMap<String, String> {
    let mut owners = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|digit| digit.is_ascii_digit()) {
            continue;
        }
        for open in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(open.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                owners.insert(inode.to_owned(), format!("{} (process {pid})", name.trim()));
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_in_use_says_by_whom() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = socket.local_addr().unwrap().port();
        let whose = Port { number, protocol: Protocol::Udp }.taken().unwrap().unwrap();
        assert!(whose.contains(&format!("process {}", std::process::id())), "{whose}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        let port = Port { number, protocol: Protocol::Tcp };
        assert!(port.taken().unwrap().unwrap().contains("process"));
        drop(listener);
        assert_eq!(port.taken().unwrap(), None);
    }
}
