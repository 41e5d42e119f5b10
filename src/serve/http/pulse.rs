//! Which connections move, so that in a full house the one that moves least makes room for a machine that comes.

use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::limits::client_of;

/// Why a connection is closed for another.
const CROWDED: &str = "it is the least active connection, and others are waiting for a place";

/// A connection that moved within this time is not closed for another. Loaders pause for less between two files.
const REST: Duration = Duration::from_secs(5);
/// While all have moved within that, one is closed that did not within this time, of a client that has more of those than so many,
/// for one that has far fewer connections. A machine has a few.
const PAUSE: Duration = Duration::from_secs(1);
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
    /// Whether its client waits for this server.
    is_ours: AtomicBool,
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
        let (last, is_ours, is_closing) = Default::default();
        Pulse(Arc::new(Beats { kind, began, last, is_ours, is_closing, close: Notify::new() }))
    }

    /// A request came, or something of an answer left. What a protocol says to keep itself alive is neither.
    pub fn beat(&self) {
        self.0.last.store(self.0.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether its client has taken all that there is, and waits for its turn: that is no rest of the client's.
    pub fn waits_for_us(&self, is_ours: bool) {
        self.beat();
        self.0.is_ours.store(is_ours, Ordering::Relaxed);
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
        if self.0.is_ours.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
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

    /// Has a connection closed for each of some that come, of which it is known how many others its client has: one that rests, of
    /// the client that has most of those, the one that moved least lately. While there is none, it is one that pauses, of a client
    /// that has many, if whoever comes has far fewer. What comes over TLS is made room for by what is there over TLS, if
    /// `secure_only` is so.
    pub fn close_idlest(&self, mut newcomers: Vec<usize>, secure_only: bool) {
        let known = self.known();
        let open = known.pulses.values().filter(|pulse| !pulse.0.is_closing.load(Ordering::Relaxed));
        let open = open.filter(|pulse| !secure_only || pulse.0.kind.is_secure);
        let (mut resting, mut pausing) = (Vec::new(), Vec::new());
        for pulse in open {
            let rests = pulse.rests();
            if rests >= REST {
                resting.push((rests, pulse));
            } else if rests >= PAUSE {
                pausing.push((rests, pulse));
            }
        }
        let (mut resting, mut pausing) = (Idle::new(resting), Idle::new(pausing));
        newcomers.sort_unstable();
        for others in newcomers {
            let idlest = resting.of_greediest(|_| true);
            let idlest = idlest.or_else(|| pausing.of_greediest(|count| count > FEW && others <= count / 4));
            // Whoever follows has more connections, and moves nobody either.
            let Some(idlest) = idlest else { return };
            idlest.close();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections that do not move, by client.
struct Idle<'p> {
    /// Of each client, the one that moved least at the end.
    by_client: HashMap<IpAddr, Vec<(Duration, &'p Pulse)>>,
    /// How many each has, and how long that one rests.
    greediest: BinaryHeap<(usize, Duration, IpAddr)>,
}

impl<'p> Idle<'p> {
    fn new(mut idle: Vec<(Duration, &'p Pulse)>) -> Idle<'p> {
        idle.sort_unstable_by_key(|(rests, _)| *rests);
        let mut by_client: HashMap<IpAddr, Vec<_>> = HashMap::new();
        for (rests, pulse) in idle {
            by_client.entry(pulse.0.kind.client).or_default().push((rests, pulse));
        }
        let ranks = by_client.iter().filter_map(|(client, idle)| rank(*client, idle));
        Idle { greediest: ranks.collect(), by_client }
    }

    /// The one that moved least of the client that has most, if those are enough.
    fn of_greediest(&mut self, is_enough: impl Fn(usize) -> bool) -> Option<&'p Pulse> {
        let (_, _, client) = *self.greediest.peek().filter(|(count, ..)| is_enough(*count))?;
        self.greediest.pop();
        let idle = self.by_client.get_mut(&client)?;
        let (_, idlest) = idle.pop()?;
        self.greediest.extend(rank(client, idle));
        Some(idlest)
    }
}

/// Where a client stands among others.
fn rank(client: IpAddr, idle: &[(Duration, &Pulse)]) -> Option<(usize, Duration, IpAddr)> {
    idle.last().map(|(longest, _)| (idle.len(), *longest, client))
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
        pulses.close_idlest(vec![0], false);
        assert!(is_closed(&still).await && !is_closed(&resting).await && !is_closed(&moving).await);
        // One that is closed already is not closed for two.
        pulses.close_idlest(vec![0], false);
        assert!(is_closed(&resting).await);
        pulses.close_idlest(vec![0], false);
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
    async fn the_client_with_most_resting_connections_makes_room_before_one_with_few() {
        let pulses = Pulses::default();
        let resting = |client, seconds: u64, number| {
            let pulse = Pulse::since(of(client), Instant::now() - Duration::from_secs(seconds));
            pulses.known().pulses.insert(number, pulse.clone());
            pulse
        };
        let (rack, waiting) = (resting(1, 90, 1), resting(3, 90, 2));
        waiting.waits_for_us(true);
        let strangers = [resting(2, 30, 3), resting(2, 40, 4)];
        pulses.close_idlest(vec![0], false);
        assert!(is_closed(&strangers[1]).await && !is_closed(&strangers[0]).await);
        pulses.close_idlest(vec![0], false);
        pulses.close_idlest(vec![0], false);
        pulses.close_idlest(vec![0], false);
        assert!(is_closed(&rack).await && is_closed(&strangers[0]).await);
        assert!(!is_closed(&waiting).await, "it waits for this server, and not the reverse");
        waiting.waits_for_us(false);
        assert!(waiting.rests() < REST);
    }

    #[tokio::test]
    async fn while_none_rests_a_client_with_many_that_pause_makes_room_for_one_with_few() {
        let pulses = Pulses::default();
        let old = |client, is_secure, number| {
            let kind = Kind { is_secure, ..of(client) };
            let pulse = Pulse::since(kind, Instant::now() - 2 * PAUSE);
            pulses.known().pulses.insert(number, pulse.clone());
            pulse
        };
        let few: Vec<_> = (0..FEW as u64).map(|number| old(1, false, number)).collect();
        pulses.close_idlest(vec![0], false);
        let many: Vec<_> = (0..=FEW as u64).map(|number| old(2, false, 100 + number)).collect();
        pulses.close_idlest(vec![0], true);
        let own: Vec<_> = (0..=FEW as u64 / 4).map(|number| old(4, true, 200 + number)).collect();
        pulses.close_idlest(vec![own.len()], false);
        let closing =
            |all: &[Pulse]| all.iter().filter(|pulse| pulse.0.is_closing.load(Ordering::Relaxed)).count();
        assert_eq!([closing(&few), closing(&many), closing(&own)], [0; 3]);
        pulses.close_idlest(vec![0], false);
        assert_eq!([closing(&few), closing(&many), closing(&own)], [0, 1, 0]);
    }
}
