//! Limits for a client: connections, bytes of a head, time. They are enough for any loader, and nothing is unlimited.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::count::counted;

/// Headers in one head. Loaders send five, browsers twenty.
pub(crate) const MAX_HEADERS: usize = 64;

/// When all connections are taken, further ones may wait: the number of connections divided by this.
const SEATS: usize = 4;
/// At least this many may wait.
const FEWEST_SEATS: usize = 8;

/// Descriptors that do not belong to connections: listening sockets, TFTP, watches, the log.
const OTHER_FILES: u64 = 64;

/// The limits of a server's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections. Some further ones wait ([`Limits::seats`]); the rest get an answer that says so, and are
    /// closed.
    pub connections: usize,
    /// Concurrent connections from one address (for IPv6, one /64). Further ones get an answer that says so, and are
    /// closed.
    pub per_client: usize,
    /// Requests on one connection, which is closed after the last one.
    pub requests: u32,
    /// Longest head, in bytes.
    pub head: usize,
    /// Longest target within it, in bytes.
    pub target: usize,
    /// Time to complete a head, or the body of a report, once it has begun.
    pub head_time: Duration,
    /// Time after which a connection without a request is closed.
    pub idle: Duration,
    /// A client that takes fewer than [`Limits::window_bytes`] of an answer while the server has waited for it this
    /// long is cut off.
    pub window: Duration,
    /// Bytes that a client must take in each `window`.
    pub window_bytes: u64,
    /// How long open transfers may take after the server is told to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4096,
            per_client: 256,
            requests: 10_000,
            head: 16 << 10,
            target: 8 << 10,
            head_time: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            // Half a KiB a second: a modem is faster, and a machine that hangs is slower.
            window: Duration::from_secs(30),
            window_bytes: 16 << 10,
            grace: Duration::from_secs(10),
        }
    }
}

/// Raises this process's limit of open files to the maximum: each connection takes one, and its file another. Shells
/// and systemd set 1024 for the sake of programs that use select(2).
pub fn allow_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the limit cannot be raised, fewer connections are let in.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

impl Limits {
    /// How many connections may wait while all are taken.
    pub(crate) fn seats(&self) -> usize {
        (self.connections / SEATS).max(FEWEST_SEATS)
    }

    /// Reduces the number of connections so that all of them can have their files open: each needs two descriptors, a
    /// waiting one needs one. Returns a warning if there are fewer than asked for.
    pub(crate) fn within_open_files(mut self) -> (Limits, Option<String>) {
        let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(current.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
        // In quarters of a connection, to include the seats.
        let most = (files / (2 * SEATS + 1)).saturating_mul(SEATS).max(1);
        if most >= self.connections {
            return (self, None);
        }
        let told = format!(
            "only {} at a time instead of {}: the limit of open files is {current} (LimitNOFILE=, `ulimit -n`)",
            counted(most, "connection"),
            self.connections
        );
        self.connections = most;
        (self, Some(told))
    }
}

/// The number of connections of each client.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a client, counted until this is dropped.
pub(crate) struct Counted {
    clients: Clients,
    client: IpAddr,
    /// How many other connections its client had when it came.
    pub others: usize,
}

impl Clients {
    /// Counts a connection. `None` if the client has `most` already.
    pub(crate) fn enter(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let client = client_of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= most {
            return None;
        }
        let others = *count;
        *count += 1;
        Some(Counted { clients: self.clone(), client, others })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// The part of an address that identifies a client: an IPv4 address, or the /64 in which an IPv6 host can choose its
/// addresses (RFC 4291, 2.5.4).
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_connections_and_a_closed_one_makes_room() {
        let clients = Clients::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let first = clients.enter(one, 2).unwrap();
        let _second = clients.enter("::ffff:192.0.2.1".parse().unwrap(), 2).unwrap();
        assert!(clients.enter(one, 2).is_none());
        assert!(clients.enter("192.0.2.2".parse().unwrap(), 2).is_some(), "another client");
        drop(first);
        assert!(clients.enter(one, 2).is_some());
    }

    #[test]
    fn an_ipv6_client_does_not_become_another_by_another_address_of_its_network() {
        let clients = Clients::default();
        let _one = clients.enter("2001:db8::1".parse().unwrap(), 1).unwrap();
        assert!(clients.enter("2001:db8::2".parse().unwrap(), 1).is_none());
        assert!(clients.enter("2001:db8:0:1::1".parse().unwrap(), 1).is_some());
    }
}
