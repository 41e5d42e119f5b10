//! The DHCP sockets: ports 67 and 4011 of one network interface.

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

/// Longest request, in bytes: the payload of an Ethernet frame.
const MAX_REQUEST: usize = 1472;

/// A DHCP server on bound sockets.
pub(crate) struct Server {
    /// Port 67.
    pub server: UdpSocket,
    /// Port 4011.
    pub pxe: UdpSocket,
    /// Decides on the answers.
    pub responder: Responder,
    /// Returns the current tree, for its nodes.
    pub site: Arc<dyn Fn() -> Arc<Site> + Send + Sync>,
    /// Gets a notice of every answer, and of machines that get none.
    pub notices: Notices,
}

impl Server {
    /// Answers until `stop` resolves.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
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
                // An ICMP error caused by an earlier answer, or a short lack of memory.
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
        // A bug triggered by one datagram, which anybody may send, must not silence the server for everybody. The panic
        // hook reports the panic itself.
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
        // If sending fails, the client asks again.
        if sent.is_ok() {
            (self.notices)(&Notice::Dhcp(&answer.told));
        }
    }
}
