//! Which connections move, so that in a full house the one that moves least makes room for a machine that comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Why the connection that moves least is closed.
const CROWDED: &str = "it moves least, and others wait to be let in";
/// Why one is closed of which an answer stands still, though its other bytes move.
const STUCK: &str = "it takes hardly anything of an answer";

/// A connection that moved within this time is not closed for another. Loaders pause for less between two files.
const REST: Duration = Duration::from_secs(5);

/// All connections.
#[derive(Clone, Default)]
pub struct Pulses(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    next: u64,
    pulses: HashMap<u64, Pulse>,
}

/// When one connection last moved.
#[derive(Clone)]
pub struct Pulse(Arc<Beats>);

struct Beats {
    began: Instant,
    /// Milliseconds from then to the last move.
    last: AtomicU64,
    is_stuck: AtomicBool,
    close: Notify,
}

/// A connection that is known as long as this lives.
pub struct Counted {
    pulses: Pulses,
    number: u64,
    /// Its pulse.
    pub pulse: Pulse,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse(Arc::new(Beats {
            began: Instant::now(),
            last: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
            close: Notify::new(),
        }))
    }
}

impl Pulse {
    /// A request came, or something of an answer left. What a protocol says to keep itself alive is neither.
    pub fn beat(&self) {
        self.0.last.store(self.0.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Has the connection closed, since an answer on it stands still.
    pub fn is_stuck(&self) {
        self.0.is_stuck.store(true, Ordering::Relaxed);
        self.0.close.notify_one();
    }

    /// Waits until the connection is to be closed; why.
    pub async fn closed(&self) -> &'static str {
        self.0.close.notified().await;
        if self.0.is_stuck.load(Ordering::Relaxed) { STUCK } else { CROWDED }
    }

    fn rests(&self) -> Duration {
        self.0.began.elapsed().saturating_sub(Duration::from_millis(self.0.last.load(Ordering::Relaxed)))
    }
}

impl Pulses {
    /// One more connection.
    pub fn enter(&self) -> Counted {
        let mut known = self.known();
        known.next += 1;
        let (number, pulse) = (known.next, Pulse::default());
        known.pulses.insert(number, pulse.clone());
        Counted { pulses: self.clone(), number, pulse }
    }

    /// Has the connection closed that moved least lately, unless all of them move.
    pub fn close_idlest(&self) {
        let known = self.known();
        let idlest = known.pulses.values().max_by_key(|pulse| pulse.rests());
        if let Some(pulse) = idlest.filter(|pulse| pulse.rests() >= REST) {
            pulse.0.close.notify_one();
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

    #[tokio::test]
    async fn the_connection_that_rests_longest_is_closed_and_none_that_moves() {
        let pulses = Pulses::default();
        let old = |seconds| {
            Pulse(Arc::new(Beats {
                began: Instant::now() - Duration::from_secs(seconds),
                last: AtomicU64::new(0),
                is_stuck: AtomicBool::new(false),
                close: Notify::new(),
            }))
        };
        let (moving, resting, still) = (old(60), old(30), old(40));
        moving.beat();
        for (number, pulse) in [&moving, &resting, &still].into_iter().enumerate() {
            pulses.known().pulses.insert(1000 + number as u64, pulse.clone());
        }
        pulses.close_idlest();
        assert!(is_closed(&still).await && !is_closed(&resting).await && !is_closed(&moving).await);
        pulses.known().pulses.remove(&1002);
        pulses.close_idlest();
        assert!(is_closed(&resting).await);
        pulses.known().pulses.remove(&1001);
        pulses.close_idlest();
        assert!(!is_closed(&moving).await);
        let counted = pulses.enter();
        assert_eq!(pulses.known().pulses.len(), 2);
        drop(counted);
        assert_eq!(pulses.known().pulses.len(), 1);
    }
}
