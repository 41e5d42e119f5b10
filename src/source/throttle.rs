//! A rate limit shared by all bodies.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Limits bytes per second, if there is a limit.
pub(crate) struct Throttle {
    rate: Option<u64>,
    /// The time when the bytes taken so far are within the rate.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    /// A limit of `rate` bytes per second.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Throttle { rate, paid: Mutex::default() }
    }

    /// Waits until `bytes` more are within the rate.
    pub(crate) async fn take(&self, bytes: u64) {
        if let Some(due) = self.due(Instant::now(), bytes) {
            tokio::time::sleep_until(due).await;
        }
    }

    fn due(&self, now: Instant, bytes: u64) -> Option<Instant> {
        let rate = self.rate?;
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        // Idle time earns no credit: a burst after a pause would exceed the rate.
        let from = paid.map_or(now, |paid| paid.max(now));
        let due = from + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *paid = Some(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_for_one_after_the_other_and_a_pause_earns_nothing() {
        let throttle = Throttle::new(Some(1000));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(throttle.due(start, 1000), Some(start + second));
        assert_eq!(throttle.due(start, 500), Some(start + second * 3 / 2));
        assert_eq!(throttle.due(start + 60 * second, 1000), Some(start + 61 * second));
        assert_eq!(Throttle::new(None).due(start, u64::MAX), None);
    }
}
