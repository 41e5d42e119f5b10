//! Connections of gRPC clients: who is let in, how long, and how many.
//!
//! Owns the way from an accepted socket to calls. A connection counts for nothing until its certificate is known to be
//! good: strangers push out only one another, and no client that has one. [`places`](super::places) shares out those of
//! clients. Leaves certificates to `http::tls` and calls
//! to [`services`](super::services).

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::server::TlsStream;
use tonic::Status;
use tonic::body::Body;

use super::bounded::{Held, Part};
use super::flood::Flood;
use super::places::{CONNECTIONS, Call, Place, Places};
use super::services::{Caller, Services};
use super::tls::{digest_of, name_of};
use crate::base::count::counted;
use crate::serve::http::connection::{IDLE, cause, overdue};
use crate::serve::http::debts::{Debt, Debts};
use crate::serve::http::limits::{Limits, client_of};
use crate::serve::http::patience::Patient;
use crate::serve::http::pulse::{Kind, Pulse};
use crate::serve::http::server::{canonical, is_gone};
use crate::serve::http::stop::stopped;
use crate::serve::http::tls::Tls;
use crate::serve::notice::{Cut, Notice, Notices};

/// Connections whose handshake is not over; one more pushes out another.
const STRANGERS: usize = 256;
/// Calls at a time on one connection; further ones wait at the client, as HTTP/2 says.
const STREAMS: u32 = 128;
/// Bytes of calls that arrive on one connection and are not read yet, and on each of its streams.
const WINDOW: (u32, u32) = (1 << 20, 256 << 10);
/// Bytes that hyper buffers for one answer.
const ANSWER: usize = 64 << 10;
/// A connection without calls is closed after this time; grpc-go makes another for the next call.
const QUIET: Duration = Duration::from_secs(300);
/// How often a client that says nothing is asked whether it is still there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));
/// How long calls may go on after the end was told: to one connection, or to all.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// Why a connection with calls ends.
const CROWDED: &str = "this client has most connections, and others came";
/// Pause after a connection could not be accepted, as where there are no file descriptors left.
const AFTER_A_FAULT: Duration = Duration::from_millis(50);

/// A bound server that does not answer yet.
pub(crate) struct Server {
    socket: TcpListener,
    door: Door,
}

/// Lets in clients.
#[derive(Clone)]
struct Door {
    tls: Arc<Tls>,
    services: Arc<Services>,
    places: Places,
    lobby: Lobby,
    cuts: Flood<Cut>,
}

impl Server {
    /// A server on a socket that does not block. Must be called within a tokio runtime.
    pub(crate) fn new(
        socket: std::net::TcpListener,
        tls: Tls,
        services: Services,
        notices: Notices,
    ) -> io::Result<Server> {
        let door = Door {
            tls: Arc::new(tls),
            services: Arc::new(services),
            places: Places::default(),
            lobby: Lobby::default(),
            cuts: Flood::new(
                "other connection",
                move |cut| (notices)(&Notice::Cut(cut)),
                |cut, more| cut.why.push_str(more),
            ),
        };
        Ok(Server { socket: TcpListener::from_std(socket)?, door })
    }

    /// Answers until `stop` resolves, then gives calls some time to end.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let Server { socket, door } = self;
        tokio::select! {
            () = door.let_in(&socket, &stopped) => {}
            () = door.cuts.settle() => {}
            () = door.services.settle() => {}
            () = stop => {}
        }
        drop((socket, stopped));
        // Each connection holds a receiver until it ends.
        let _ = stopping.send(true);
        let _ = tokio::time::timeout(GRACE, stopping.closed()).await;
    }
}

impl Door {
    /// Accepts connections for ever, and waits for none of them.
    async fn let_in(&self, socket: &TcpListener, stop: &watch::Receiver<bool>) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    let seat = self.lobby.enter(client_of(peer.ip()));
                    tokio::spawn(self.clone().host(stream, canonical(peer), seat, stop.clone()));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => tokio::time::sleep(AFTER_A_FAULT).await,
            }
        }
    }

    /// Serves one connection until it ends, and tells why it was cut off if it was.
    async fn host(self, stream: TcpStream, peer: SocketAddr, seat: Seat, mut stop: watch::Receiver<bool>) {
        let _ = stream.set_nodelay(true);
        let shaken = tokio::select! {
            shaken = Box::pin(self.tls.accept(stream)) => shaken,
            () = seat.lost() => Err(io::Error::other("it had not shown a certificate, and others came")),
            () = stopped(&mut stop) => return,
        };
        drop(seat);
        let served = match shaken {
            Ok(stream) => {
                let chain = stream.get_ref().1.peer_certificates();
                let (certificate, name) = (digest_of(chain), name_of(chain).into());
                let caller = Caller { peer, name, share: self.services.share(certificate) };
                match self.places.enter(certificate) {
                    Some(place) => self.serve(stream, caller, &place, stop).await,
                    None => Err(io::Error::other(format!(
                        "there are {} already, and all of them work",
                        counted(CONNECTIONS, "connection")
                    ))),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = served
            && !is_gone(&error)
        {
            self.cuts.tell(Cut { peer, status: None, why: format!("gRPC: {error}") });
        }
    }

    /// Answers calls of a client whose certificate is good.
    async fn serve(
        &self,
        stream: TlsStream<TcpStream>,
        caller: Caller,
        place: &Place,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let peer = caller.peer;
        let limits = Limits { idle: QUIET, ..Limits::default() };
        let (debts, pulse) = (Debts::default(), Pulse::new(Kind::new(peer.ip(), true)));
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            pulse.beat();
            let (debt, caller, services) = (debts.begin(), caller.clone(), self.services.clone());
            let call = place.activity.begin();
            async move {
                let mut response = services.answer(caller, request).await;
                debt.is_theirs();
                let held = response.extensions_mut().remove::<Arc<Held>>();
                Ok::<_, Infallible>(response.map(|body| Owed { body, debt, held, _call: call }))
            }
        });
        let (every, within) = PING;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(every)
            .keep_alive_timeout(within)
            .initial_connection_window_size(WINDOW.0)
            .initial_stream_window_size(WINDOW.1)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(limits.head as u32)
            .max_send_buf_size(ANSWER);
        let mut connection =
            pin!(http.serve_connection(TokioIo::new(Patient::new(stream, &limits)), service));
        let why = tokio::select! {
            served = connection.as_mut() => return served.map_err(|error| cause(error.into())),
            why = overdue(&limits, &debts, &pulse) => Some(why).filter(|why| *why != IDLE),
            () = place.lost() => Some(CROWDED).filter(|_| !place.activity.is_quiet()),
            () = stopped(&mut stop) => None,
        };
        if let Some(why) = why {
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        // The client is told before, so that it sends no call into a connection that is about to close.
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(GRACE, connection).await;
        Ok(())
    }
}

/// The body of an answer, which its client owes the taking of.
struct Owed {
    body: Body,
    debt: Debt,
    /// Its share in the memory of answers.
    held: Option<Arc<Held>>,
    _call: Call,
}

impl HttpBody for Owed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let (debt, held) = (&self.debt, &self.held);
        let kept = |bytes: Bytes| match held.clone() {
            Some(_held) => Bytes::from_owner(Part { bytes, _held }),
            None => bytes,
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| debt.give(kept(bytes))))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Connections whose handshake is not over, by the order in which they came.
#[derive(Clone, Default)]
struct Lobby(Arc<Mutex<Guests>>);

#[derive(Default)]
struct Guests {
    next: u64,
    seated: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
}

/// A place in the lobby until this is dropped.
struct Seat {
    lobby: Lobby,
    number: u64,
    leave: Arc<Notify>,
}

impl Lobby {
    /// Takes a place. If there is none, the oldest connection of the client that has most loses its own.
    fn enter(&self, client: IpAddr) -> Seat {
        let mut guests = self.guests();
        if guests.seated.len() >= STRANGERS {
            let mut counts: HashMap<IpAddr, usize> = HashMap::new();
            for (other, _) in guests.seated.values() {
                *counts.entry(*other).or_default() += 1;
            }
            let most = counts.values().copied().max().unwrap_or_default();
            let oldest = guests.seated.iter().find(|(_, (other, _))| counts.get(other) == Some(&most));
            if let Some((_, leave)) =
                oldest.map(|(number, _)| *number).and_then(|number| guests.seated.remove(&number))
            {
                leave.notify_one();
            }
        }
        guests.next += 1;
        let (number, leave) = (guests.next, Arc::new(Notify::new()));
        guests.seated.insert(number, (client, leave.clone()));
        Seat { lobby: self.clone(), number, leave }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits until another connection has taken the place.
    async fn lost(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lobby.guests().seated.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    async fn has_lost(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::from_millis(1), seat.lost()).await.is_ok()
    }

    #[tokio::test]
    async fn strangers_push_out_the_oldest_of_those_who_are_most() {
        let lobby = Lobby::default();
        let honest = lobby.enter(client(1));
        let mut flood: Vec<Seat> = (1..STRANGERS).map(|_| lobby.enter(client(2))).collect();
        assert!(!has_lost(&flood[0]).await);
        flood.push(lobby.enter(client(2)));
        assert!(has_lost(&flood[0]).await && !has_lost(&flood[1]).await && !has_lost(&honest).await);
        let other = lobby.enter(client(3));
        assert!(has_lost(&flood[1]).await && !has_lost(&other).await);
        drop(flood);
        assert_eq!(lobby.guests().seated.len(), 2, "places are given back");
    }
}
