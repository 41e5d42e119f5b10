//! Bytes that the server sent in each of the last seconds.

use std::collections::VecDeque;

use super::stamp::Stamp;

/// Seconds that are remembered.
pub(crate) const SECONDS: usize = 300;

/// Bytes by second.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    /// The newest is last.
    bytes: VecDeque<u64>,
    /// The second that the newest entry counts.
    second: u64,
    total: u64,
}

impl Throughput {
    /// Counts bytes that left now.
    pub(crate) fn add(&mut self, bytes: u64, now: Stamp) {
        self.total = self.total.saturating_add(bytes);
        self.advance(now.second());
        if let Some(newest) = self.bytes.back_mut() {
            *newest = newest.saturating_add(bytes);
        }
    }

    /// All bytes since the start.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of up to `seconds` complete seconds before now, and the number of the last of them.
    pub(crate) fn last(&mut self, seconds: usize, now: Stamp) -> (Vec<u64>, u64) {
        self.advance(now.second());
        let over = self.bytes.len().saturating_sub(1);
        let first = over.saturating_sub(seconds);
        (self.bytes.range(first..over).copied().collect(), self.second.saturating_sub(1))
    }

    /// Seconds without traffic are zero. After a clock was set back, counting continues in the newest second.
    fn advance(&mut self, second: u64) {
        if self.bytes.is_empty() {
            self.second = second;
            self.bytes.push_back(0);
        }
        let missing = second.saturating_sub(self.second);
        let zeros = usize::try_from(missing).unwrap_or(usize::MAX).min(SECONDS + 1);
        self.bytes.extend(std::iter::repeat_n(0, zeros));
        self.second = self.second.max(second);
        let excess = self.bytes.len().saturating_sub(SECONDS + 1);
        self.bytes.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn at(second: u64) -> Stamp {
        (SystemTime::UNIX_EPOCH + Duration::from_secs(second)).into()
    }

    #[test]
    fn the_second_that_runs_is_not_shown_and_empty_ones_are_zeros() {
        let mut throughput = Throughput::default();
        throughput.add(5, at(100));
        throughput.add(5, at(100));
        throughput.add(7, at(103));
        assert_eq!(throughput.last(9, at(103)), (vec![10, 0, 0], 102));
        assert_eq!(throughput.last(2, at(104)), (vec![0, 7], 103));
        throughput.add(1, at(50));
        assert_eq!(throughput.last(2, at(105)), (vec![7, 1], 104), "a clock that was set back");
        assert_eq!(throughput.last(999, at(u64::MAX / 2_000)).0, vec![0; SECONDS]);
    }
}
