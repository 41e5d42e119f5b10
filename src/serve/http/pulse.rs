//! Tracks which connections are active, so that the least active one makes room for a newcomer when all places are
//! taken.

use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::limits::client_of;

/// Why a connection is closed in favour of another.
const CROWDED: &str = "it is the least active connection, and others are waiting for a place";

/// A connection that was active within this time is not closed. Loaders pause for less between two files.
const REST: Duration = Duration::from_secs(5);
/// If all connections were active within `REST`, one that was inactive for `PAUSE` is closed, provided that its client
/// has more than `FEW` such connections and the newcomer's client has far fewer. A machine has a few.
const PAUSE: Duration = Duration::from_secs(1);
const FEW: usize = 32;

/// All connections.
#[derive(Clone, Default)]
pub(crate) struct Pulses(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    next: u64,
    pulses: HashMap<u64, Pulse>,
}

/// The client of a connection, and whether it is over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    client: IpAddr,
    is_secure: bool,
}

impl Kind {
    /// The kind of a connection from this address, over TLS or not.
    pub(crate) fn new(address: IpAddr, is_secure: bool) -> Kind {
        Kind { client: client_of(address), is_secure }
    }
}

/// When one connection was last active.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<Beats>);

struct Beats {
    kind: Kind,
    began: Instant,
    /// Milliseconds from `began` to the last activity.
    last: AtomicU64,
    /// Whether the client waits for this server.
    is_ours: AtomicBool,
    is_closing: AtomicBool,
    close: Notify,
}

/// A connection that is registered as long as this lives.
pub(crate) struct Counted {
    pulses: Pulses,
    number: u64,
    /// When this connection was last active.
    pub pulse: Pulse,
}

impl Pulse {
    /// A connection counts as active at its start.
    pub(crate) fn new(kind: Kind) -> Pulse {
        Pulse::since(kind, Instant::now())
    }

    fn since(kind: Kind, began: Instant) -> Pulse {
        let (last, is_ours, is_closing) = Default::default();
        Pulse(Arc::new(Beats { kind, began, last, is_ours, is_closing, close: Notify::new() }))
    }

    /// Called when a request arrived, or some of an answer left. Keep-alive traffic of a protocol counts as neither.
    pub(crate) fn beat(&self) {
        self.0.last.store(self.0.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether the client has taken everything so far and waits for its turn. That does not count as the client's
    /// inactivity.
    pub(crate) fn waits_for_us(&self, is_ours: bool) {
        self.beat();
        self.0.is_ours.store(is_ours, Ordering::Relaxed);
    }

    /// Waits until the connection is to be closed in favour of another; returns the reason.
    pub(crate) async fn closed(&self) -> &'static str {
        self.0.close.notified().await;
        CROWDED
    }

    fn close(&self) {
        self.0.is_closing.store(true, Ordering::Relaxed);
        self.0.close.notify_one();
    }

    /// How long it has been inactive.
    pub(crate) fn rests(&self) -> Duration {
        if self.0.is_ours.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.0.began.elapsed().saturating_sub(Duration::from_millis(self.0.last.load(Ordering::Relaxed)))
    }
}

impl Pulses {
    /// Registers a connection.
    pub(crate) fn enter(&self, kind: Kind) -> Counted {
        let mut known = self.known();
        known.next += 1;
        let (number, pulse) = (known.next, Pulse::new(kind));
        known.pulses.insert(number, pulse.clone());
        Counted { pulses: self.clone(), number, pulse }
    }

    /// Closes one connection for each newcomer; `newcomers` holds the number of other connections that each newcomer's
    /// client has. Of the client with the most idle connections, the one that has been idle longest is closed. If none
    /// is idle, a pausing connection of a client that has many is closed, provided that the newcomer's client has far
    /// fewer. With `secure_only`, only connections over TLS are considered.
    pub(crate) fn close_idlest(&self, mut newcomers: Vec<usize>, secure_only: bool) {
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
            // Later newcomers have more connections, so nothing would be closed for them either.
            let Some(idlest) = idlest else { return };
            idlest.close();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Inactive connections, by client.
struct Idle<'p> {
    /// For each client, sorted so that the one that was inactive longest is last.
    by_client: HashMap<IpAddr, Vec<(Duration, &'p Pulse)>>,
    /// For each client, the number of its connections and the inactive time of the last one.
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

    /// The longest inactive connection of the client that has most, if that count is enough.
    fn of_greediest(&mut self, is_enough: impl Fn(usize) -> bool) -> Option<&'p Pulse> {
        let (_, _, client) = *self.greediest.peek().filter(|(count, ..)| is_enough(*count))?;
        self.greediest.pop();
        let idle = self.by_client.get_mut(&client)?;
        let (_, idlest) = idle.pop()?;
        self.greediest.extend(rank(client, idle));
        Some(idlest)
    }
}

/// A client's rank among the others.
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
        // A connection that is being closed is not chosen again.
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
