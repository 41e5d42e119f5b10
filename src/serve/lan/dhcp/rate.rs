//! Limits how often one machine is answered, so that a storm from one card does not become a storm of ours.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::machine::node::Mac;

/// Answers in a row, and the time until one more is allowed. A boot needs about six: two each for firmware, iPXE and
/// the system.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_millis(500);
/// Machines that are remembered. One more clears the table, which costs an attacker 4096 packets for 20 answers.
const REMEMBERED: usize = 4096;

/// A token bucket for each machine.
#[derive(Debug, Default)]
pub(crate) struct Rates(BTreeMap<Mac, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled: Instant,
}

impl Rates {
    /// Whether a machine may be answered once more.
    pub(crate) fn take(&mut self, mac: Mac, now: Instant) -> bool {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&mac) {
            self.0.clear();
        }
        let bucket = self.0.entry(mac).or_insert(Bucket { left: BURST, filled: now });
        let back = now.saturating_duration_since(bucket.filled).as_millis() / REFILL.as_millis();
        if back > 0 {
            bucket.left = BURST.min(bucket.left.saturating_add(back.try_into().unwrap_or(BURST)));
            bucket.filled = now;
        }
        let taken = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        taken
    }
}

/// How often silence towards one machine is reported.
const TOLD: Duration = Duration::from_secs(60);

/// When silence towards each machine was last reported.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<Mac, Instant>);

impl Told {
    /// Whether to report a machine now.
    pub(crate) fn take(&mut self, mac: Mac, now: Instant) -> bool {
        if self.0.get(&mac).is_some_and(|told| now.saturating_duration_since(*told) < TOLD) {
            return false;
        }
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(mac, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_asks_without_end_is_answered_now_and_then_and_others_as_ever() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let [busy, other] = [1, 2].map(|last| Mac::from([0x52, 0x54, 0, 0, 0, last]));
        let answered = (0..1000).filter(|_| rates.take(busy, now)).count();
        assert_eq!(answered, BURST as usize);
        assert!(rates.take(other, now));
        assert!(!rates.take(busy, now + REFILL / 2));
        assert!(rates.take(busy, now + REFILL));
        assert!(!rates.take(busy, now + REFILL));
    }

    #[test]
    fn it_is_told_once_a_minute_of_each_machine() {
        let (mut told, now) = (Told::default(), Instant::now());
        let [one, other] = [1, 2].map(|last| Mac::from([0x52, 0x54, 0, 0, 0, last]));
        assert!(told.take(one, now) && told.take(other, now));
        assert!(!told.take(one, now + TOLD / 2));
        assert!(told.take(one, now + TOLD));
    }

    #[test]
    fn memory_is_bounded_however_many_machines_there_are() {
        let (mut rates, mut told, now) = (Rates::default(), Told::default(), Instant::now());
        for number in 0..20_000u32 {
            let [a, b, c, d] = number.to_be_bytes();
            assert!(rates.take(Mac::from([2, 0, a, b, c, d]), now));
            assert!(told.take(Mac::from([2, 0, a, b, c, d]), now));
            assert!(rates.0.len() <= REMEMBERED && told.0.len() <= REMEMBERED);
        }
    }
}
