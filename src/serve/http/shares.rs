//! Fair shares: which client may send when clients load more than one long answer, or when the bandwidth has a cap.
//!
//! A share belongs to a client, not to a connection. While other clients load as well, a client's long transfers take
//! turns, one at a time, so sixteen connections get no more than one. Without other clients, all of them send at once.
//! Under a cap, clients are served in the order in which they ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::client_of;

/// Answers shorter than this, in bytes, need no turn: a script or config never waits behind an image.
pub(crate) const SHORT: u64 = 256 << 10;
/// How long one transfer keeps its client's turn.
const SLICE: Duration = Duration::from_millis(500);
/// Most bytes to send in one run without a cap.
const STRETCH: u64 = 2 << 20;
/// Bytes granted at a time under a cap: 64 clients have each had some after 4 MiB.
const GRANT: u64 = 64 << 10;
/// How much lost time may be caught up after a pause. Timers on a busy machine are not more precise than this.
const BURST: Duration = Duration::from_millis(50);

/// The clients that share the bandwidth.
pub(crate) struct Shares {
    clients: Mutex<HashMap<IpAddr, Arc<Client>>>,
    /// Number of clients with long transfers.
    active: AtomicUsize,
    bucket: Option<Bucket>,
}

struct Client {
    transfers: AtomicUsize,
    /// The client's single turn; waiting transfers get it in order.
    turn: Arc<Semaphore>,
}

/// The cap: when the next bytes may leave. The lock is fair, and each client waits for it at most once at a time.
struct Bucket {
    bytes_per_second: u64,
    next: tokio::sync::Mutex<Instant>,
}

impl Bucket {
    /// Waits until this many more bytes may leave.
    async fn take(&self, bytes: u64) {
        let mut next = self.next.lock().await;
        let now = Instant::now();
        let from = (*next).max(now.checked_sub(BURST).unwrap_or(now));
        if from > now {
            tokio::time::sleep_until(from.into()).await;
        }
        *next = from + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
    }
}

impl Shares {
    /// Without a cap, or with one in bytes per second.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Arc<Shares> {
        let bucket = bytes_per_second.map(|bytes_per_second| Bucket {
            bytes_per_second,
            next: tokio::sync::Mutex::new(Instant::now()),
        });
        Arc::new(Shares { clients: Mutex::default(), active: AtomicUsize::new(0), bucket })
    }

    /// Joins when a long transfer begins.
    pub(crate) fn join(self: &Arc<Self>, address: IpAddr) -> Share {
        let address = client_of(address);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.entry(address).or_insert_with(|| {
            self.active.fetch_add(1, Ordering::Relaxed);
            Arc::new(Client { transfers: AtomicUsize::new(0), turn: Arc::new(Semaphore::new(1)) })
        });
        client.transfers.fetch_add(1, Ordering::Relaxed);
        Share { shares: self.clone(), address, client: client.clone(), turn: None, granted: 0 }
    }
}

/// One transfer's part in its client's share.
pub(crate) struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
    client: Arc<Client>,
    turn: Option<(OwnedSemaphorePermit, Instant)>,
    /// Bytes granted under a cap, but not yet sent.
    granted: u64,
}

impl Share {
    /// Waits for this transfer's turn. Returns how many bytes it may send now, at least 1.
    pub(crate) async fn turn(&mut self) -> u64 {
        let others = self.shares.bucket.is_some() || self.shares.active.load(Ordering::Relaxed) > 1;
        let alone = self.client.transfers.load(Ordering::Relaxed) == 1;
        if alone || !others {
            self.turn = None;
        } else if self.turn.as_ref().is_none_or(|(_, end)| *end <= Instant::now()) {
            // The turn is returned before it is requested again, so that the client's other transfers come first.
            self.turn = None;
            let turn = self.client.turn.clone().acquire_owned().await;
            self.turn = turn.ok().map(|turn| (turn, Instant::now() + SLICE));
        }
        let Some(bucket) = &self.shares.bucket else { return STRETCH };
        if self.granted == 0 {
            bucket.take(GRANT).await;
            self.granted = GRANT;
        }
        self.granted
    }

    /// Waits until the turn is over, if this transfer has one, and passes it to the client's other transfers.
    pub(crate) async fn pass_on(&mut self) {
        match self.turn_ends() {
            Some(end) => tokio::time::sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
        self.turn = None;
    }

    /// When the turn ends, if other transfers wait for it.
    pub(crate) fn turn_ends(&self) -> Option<Instant> {
        self.turn.as_ref().map(|(_, end)| *end)
    }

    /// Called when this many of the granted bytes have left.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.granted = self.granted.saturating_sub(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut clients = self.shares.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if self.client.transfers.fetch_sub(1, Ordering::Relaxed) == 1 {
            clients.remove(&self.address);
            self.shares.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// Whether a transfer may send now.
    async fn may(share: &mut Share) -> bool {
        tokio::time::timeout(Duration::from_millis(50), share.turn()).await.is_ok()
    }

    #[tokio::test]
    async fn a_clients_transfers_take_turns_only_while_others_send_too() {
        let shares = Shares::new(None);
        let (mut first, mut second) = (shares.join(ONE), shares.join(ONE));
        assert!(may(&mut first).await && may(&mut second).await, "there is nobody to share with");
        let mut other = shares.join(OTHER);
        assert!(may(&mut first).await && may(&mut other).await);
        assert!(!may(&mut second).await, "it is the first one's turn");
        assert!(may(&mut first).await, "still");
        drop(other);
        assert!(may(&mut second).await, "the other client is gone");
    }

    #[tokio::test]
    async fn a_turn_goes_on_when_its_time_is_over_and_when_its_transfer_ends() {
        let shares = Shares::new(None);
        let (mut first, mut second, mut third) = (shares.join(ONE), shares.join(ONE), shares.join(ONE));
        let _other = shares.join(OTHER);
        first.turn().await;
        assert!(!may(&mut second).await);
        tokio::time::sleep_until(first.turn_ends().unwrap().into()).await;
        let (_, waited) = tokio::join!(second.turn(), may(&mut first));
        assert!(!waited, "the second had asked before");
        assert!(!may(&mut third).await);
        drop(second);
        assert!(may(&mut third).await);
        let fourth = &mut shares.join(ONE);
        assert!(!may(fourth).await);
        let ((), ()) = tokio::join!(third.pass_on(), async {
            fourth.turn().await;
        });
    }

    #[tokio::test]
    async fn under_a_cap_clients_are_served_in_turn_however_many_transfers_they_have() {
        let shares = Shares::new(Some(16 << 20));
        let sent = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let send = |mut share: Share, client: usize| {
            let sent = sent.clone();
            tokio::spawn(async move {
                loop {
                    let granted = share.turn().await;
                    sent[client].fetch_add(granted as usize, Ordering::Relaxed);
                    share.sent(granted);
                }
            })
        };
        let mut tasks = vec![send(shares.join(OTHER), 1)];
        tasks.extend((0..16).map(|_| send(shares.join(ONE), 0)));
        while sent[1].load(Ordering::Relaxed) < 2 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // At any time of the test.
        let [greedy, other] = [0, 1].map(|client| sent[client].load(Ordering::Relaxed));
        tasks.iter().for_each(|task| task.abort());
        assert!((other / 2..other * 3 / 2).contains(&greedy), "{greedy} and {other}");
    }
}
