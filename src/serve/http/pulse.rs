//! Which connections move, so that in a full house the one that moves least makes room for a machine that comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::limits::client_of;

/// Why a connection is closed for another.
const CROWDED: &str = "it moves least, and others wait to be let in";

/// A connection that moved within this time is not closed for another. Loaders pause for less between two files.
const REST: Duration = Duration::from_secs(5);
/// A client with more connections than this, all of which move, gives one up for a client that has far fewer. A machine has a few.
const FEW: usize = 32;

/// All connections.
#[derive(Clone, Default)]
pub struct Pulses(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    next: u64,
    pulses: HashMap<u64, Pulse>,
}

/// Whose connection it is, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    client: IpAddr,
    is_secure: bool,
}

impl Kind {
    /// A connection of an address, over TLS or not.
    pub fn new(address: IpAddr, is_secure: bool) -> Kind {
        Kind { client: client_of(address), is_secure }
    }
}

/// When one connection last moved.
#[derive(Clone)]
pub struct Pulse(Arc<Beats>);

struct Beats {
    kind: Kind,
    began: Instant,
    /// Milliseconds from then to the last move.
    last: AtomicU64,
    is_closing: AtomicBool,
    close: Notify,
}

/// A connection that is known as long as this lives.
pub struct Counted {
    pulses: Pulses,
    number: u64,
    /// Its pulse.
    pub pulse: Pulse,
}

impl Pulse {
    /// Of a connection that moved when it began.
    pub fn new(kind: Kind) -> Pulse {
        Pulse::since(kind, Instant::now())
    }

    fn since(kind: Kind, began: Instant) -> Pulse {
        let (last, is_closing) = (AtomicU64::new(0), AtomicBool::new(false));
        Pulse(Arc::new(Beats { kind, began, last, is_closing, close: Notify::new() }))
    }

    /// A request came, or something of an answer left. What a protocol says to keep itself alive is neither.
    pub fn beat(&self) {
        self.0.last.store(self.0.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Waits until the connection is to be closed for another; why.
    pub async fn closed(&self) -> &'static str {
        self.0.close.notified().await;
        CROWDED
    }

    fn close(&self) {
        self.0.is_closing.store(true, Ordering::Relaxed);
        self.0.close.notify_one();
    }

    /// How long it has not moved.
    pub fn rests(&self) -> Duration {
        self.0.began.elapsed().saturating_sub(Duration::from_millis(self.0.last.load(Ordering::Relaxed)))
    }
}

impl Pulses {
    /// One more connection.
    pub fn enter(&self, kind: Kind) -> Counted {
        let mut known = self.known();
        known.next += 1;
        let (number, pulse) = (known.next, Pulse::new(kind));
        known.pulses.insert(number, pulse.clone());
        Counted { pulses: self.clone(), number, pulse }
    }

    /// Has the connection closed that moved least lately. While all of them move, it is one of the client that has most, if whoever
    /// comes has far fewer. What comes over TLS is made room for by what is there over TLS, if `secure_only` is so.
    pub fn close_idlest(&self, newcomer: Kind, secure_only: bool) {
        let known = self.known();
        let open = || {
            let open = known.pulses.values().filter(|pulse| !pulse.0.is_closing.load(Ordering::Relaxed));
            open.filter(|pulse| !secure_only || pulse.0.kind.is_secure)
        };
        let idlest = open().max_by_key(|pulse| pulse.rests());
        if let Some(pulse) = idlest.filter(|pulse| pulse.rests() >= REST) {
            return pulse.close();
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for pulse in open() {
            *counts.entry(pulse.0.kind.client).or_default() += 1;
        }
        let own = counts.get(&newcomer.client).copied().unwrap_or_default();
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        if let Some((greediest, _)) = most.filter(|(_, count)| *count > FEW && own <= count / 4) {
            let idlest =
                open().filter(|pulse| pulse.0.kind.client == greediest).max_by_key(|pulse| pulse.rests());
            idlest.into_iter().for_each(Pulse::close);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.pulses.known().pulses.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_closed(pulse: &Pulse) -> bool {
        tokio::time::timeout(Duration::from_millis(1), pulse.closed()).await.is_ok()
    }

    fn of(client: u8) -> Kind {
        Kind::new([192, 0, 2, client].into(), false)
    }

    #[tokio::test]
    async fn the_connection_that_rests_longest_is_closed_and_none_that_moves() {
        let pulses = Pulses::default();
        let old = |seconds| Pulse::since(of(1), Instant::now() - Duration::from_secs(seconds));
        let (moving, resting, still) = (old(60), old(30), old(40));
        moving.beat();
        for (number, pulse) in [&moving, &resting, &still].into_iter().enumerate() {
            pulses.known().pulses.insert(1000 + number as u64, pulse.clone());
        }
        pulses.close_idlest(of(2), false);
        assert!(is_closed(&still).await && !is_closed(&resting).await && !is_closed(&moving).await);
        // One that is closed already is not closed for two.
        pulses.close_idlest(of(2), false);
        assert!(is_closed(&resting).await);
        pulses.close_idlest(of(2), false);
        assert!(!is_closed(&moving).await);
        for number in 1000..1003 {
            pulses.known().pulses.remove(&number);
        }
        let counted = pulses.enter(of(1));
        assert_eq!(pulses.known().pulses.len(), 1);
        drop(counted);
        assert_eq!(pulses.known().pulses.len(), 0);
    }

    #[tokio::test]
    async fn while_all_move_the_client_with_most_connections_makes_room_for_one_with_few() {
        let pulses = Pulses::default();
        let secure = |client| Kind { is_secure: true, ..of(client) };
        let few: Vec<_> = (0..FEW).map(|_| pulses.enter(of(1))).collect();
        pulses.close_idlest(of(3), false);
        let many: Vec<_> = (0..=FEW).map(|_| pulses.enter(of(2))).collect();
        pulses.close_idlest(of(3), true);
        let own: Vec<_> = (0..=FEW / 4).map(|_| pulses.enter(secure(4))).collect();
        pulses.close_idlest(of(4), false);
        for counted in few.iter().chain(&many).chain(&own) {
            assert!(!counted.pulse.0.is_closing.load(Ordering::Relaxed));
        }
        pulses.close_idlest(of(3), false);
        let is_closing = |counted: &&Counted| counted.pulse.0.is_closing.load(Ordering::Relaxed);
        assert_eq!(many.iter().filter(is_closing).count(), 1);
        assert_eq!(few.iter().chain(&own).filter(is_closing).count(), 0);
    }
}
