//! The sockets: ports 67 and 4011 of one network interface.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::responder::{Port, Responder, Silence};
use crate::serve::lan::inventory;
use crate::serve::notice::{Notice, Notices};
use crate::serve::site::Site;

/// Longest request that is read, in bytes: what an Ethernet frame carries.
const MAX_REQUEST: usize = 1472;

/// A DHCP server on bound sockets.
pub struct Server {
    /// Port 67.
    pub server: UdpSocket,
    /// Port 4011.
    pub pxe: UdpSocket,
    /// What is answered.
    pub responder: Responder,
    /// The tree as it is now, for its nodes.
    pub site: Arc<dyn Fn() -> Arc<Site> + Send + Sync>,
    /// Told of every answer, and of machines that get none.
    pub notices: Notices,
}

impl Server {
    /// Answers until `stop` is done.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut known: Option<Arc<Site>> = None;
        let (mut first, mut second) = ([0; MAX_REQUEST], [0; MAX_REQUEST]);
        loop {
            let (port, received) = tokio::select! {
                received = self.server.recv_from(&mut first) => (Port::Server, received),
                received = self.pxe.recv_from(&mut second) => (Port::Pxe, received),
                () = &mut stop => return,
            };
            let (length, from) = match received {
                Ok((length, SocketAddr::V4(from))) => (length, from),
                // An ICMP error of an earlier answer, or no memory for a moment.
                _ => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let site = (self.site)();
            if !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &site)) {
                if let Some(leases) = self.responder.leases() {
                    leases.set_hosts(inventory::hosts(&site).0);
                }
                known = Some(site);
            }
            let datagram = match port {
                Port::Server => &first[..length],
                Port::Pxe => &second[..length],
            };
            self.answer(datagram, from, port).await;
        }
    }

    async fn answer(&mut self, datagram: &[u8], from: SocketAddrV4, port: Port) {
        let now = Instant::now();
        let answer = || self.responder.answer(datagram, from, port, now);
        // A fault of ours over one datagram, which anybody may send, must not silence the server for all. The panic itself is
        // told by its hook.
        let answer = match panic::catch_unwind(AssertUnwindSafe(answer)) {
            Ok(Ok(answer)) => answer,
            Ok(Err(Silence::Told(told))) => return (self.notices)(&Notice::DhcpSilent(&told)),
            Ok(Err(Silence::Due)) | Err(_) => return,
        };
        let socket = match port {
            Port::Server => &self.server,
            Port::Pxe => &self.pxe,
        };
        let sent: io::Result<usize> = socket.send_to(&answer.bytes, answer.to).await;
        // What did not leave is asked for again.
        if sent.is_ok() {
            (self.notices)(&Notice::Dhcp(&answer.told));
        }
    }
}
