//! One transfer to one client, without a socket or a clock: what to send next, and how long to wait.
//!
//! A duplicate ACK triggers nothing; only an overdue answer makes the server repeat a packet. So duplicates never breed
//! duplicates (the Sorcerer's Apprentice of RFC 1123, 4.2.3.1).

use std::ops::Range;
use std::time::{Duration, Instant};

use super::options::Grant;

/// How long to wait for the first answer, before a round trip was measured.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Bounds of the wait once the round trip is known; the wait is four times that.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The longest wait before a packet is repeated.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How often a packet is sent to a client that never answered, and how long to wait each time, whatever timeout it
/// asked for: its address may be forged, with nobody there.
const UNHEARD_TRIES: u32 = 3;
const UNHEARD_WAIT: Duration = Duration::from_secs(2);
/// How long a client that has answered before may be silent, provided that it was sent this many packets in that time.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENT_TRIES: u32 = 4;

/// The next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Acknowledge the granted options to the client.
    Oack,
    /// Send these blocks, in order. A file's first block is 1.
    Blocks(Range<u64>),
    /// Wait until the deadline.
    Wait,
    /// Everything has arrived.
    Done,
    /// The client is gone.
    GiveUp,
}

/// The state of a transfer.
#[derive(Debug)]
pub struct Transfer {
    grant: Grant,
    /// Number of blocks; the last one is shorter than the others, or empty.
    blocks: u64,
    /// Length of the file in bytes.
    size: u64,
    /// Whether the OACK is still unanswered.
    offering: bool,
    /// The first block that the client has not acknowledged.
    next: u64,
    /// The block after the last one that was sent.
    sent: u64,
    /// Whether the client has ever answered.
    heard: bool,
    /// How often the current packets were sent.
    tries: u32,
    /// Time of the last sending.
    sent_at: Instant,
    /// When the client last acknowledged something new.
    gained_at: Instant,
    /// Smoothed time between a window and its acknowledgement.
    round_trip: Option<Duration>,
}

impl Transfer {
    /// A transfer of `size` bytes, beginning with an OACK if `tells` is set.
    pub fn new(size: u64, grant: Grant, tells: bool, now: Instant) -> Transfer {
        let blocks = size / u64::from(grant.block) + 1;
        Transfer {
            grant,
            blocks,
            size,
            offering: tells,
            next: 1,
            sent: 1,
            heard: false,
            tries: 0,
            sent_at: now,
            gained_at: now,
            round_trip: None,
        }
    }

    /// The first packet, or the next one when an answer is overdue.
    pub fn send(&mut self, now: Instant) -> Step {
        let is_over = match self.heard {
            true => self.tries >= PATIENT_TRIES && now.saturating_duration_since(self.gained_at) >= PATIENCE,
            false => self.tries == UNHEARD_TRIES,
        };
        if is_over {
            return Step::GiveUp;
        }
        self.tries += 1;
        self.sent_at = now;
        if self.offering {
            return Step::Oack;
        }
        self.sent = self.blocks.min(self.next + u64::from(self.grant.window) - 1) + 1;
        Step::Blocks(self.next..self.sent)
    }

    /// The client has everything up to this block, modulo 2^16.
    pub fn acknowledged(&mut self, block: u16, now: Instant) -> Step {
        if self.offering {
            if block != 0 {
                return Step::Wait;
            }
            self.offering = false;
        } else {
            // How many of the blocks in flight it has. An old ACK yields a number larger than all of them.
            let gained = u64::from(block.wrapping_sub((self.next - 1) as u16));
            if gained == 0 || gained > self.sent - self.next {
                return Step::Wait;
            }
            self.next += gained;
        }
        self.heard = true;
        self.gained_at = now;
        // Karn's rule: the answer to a repeated packet measures nothing.
        if self.tries == 1 {
            let took = now.saturating_duration_since(self.sent_at);
            self.round_trip = Some(self.round_trip.map_or(took, |known| (known * 7 + took) / 8));
        }
        self.tries = 0;
        if self.next > self.blocks { Step::Done } else { self.send(now) }
    }

    /// Whether the OACK is still unanswered, so that nothing of the file has left.
    pub(crate) fn is_offering(&self) -> bool {
        self.offering
    }

    /// The time at which an answer is overdue.
    pub(crate) fn deadline(&self) -> Instant {
        let measured = || self.round_trip.map_or(FIRST_WAIT, |trip| (trip * 4).clamp(WAITS.0, WAITS.1));
        let wait = self.grant.timeout.unwrap_or_else(measured);
        // The wait doubles each time, unless the client set the timeout.
        let doubled = || (wait * 2u32.pow(self.tries.saturating_sub(1).min(8))).min(LONGEST_WAIT);
        let wait = if self.grant.timeout.is_some() { wait } else { doubled() };
        self.sent_at + if self.heard { wait } else { wait.min(UNHEARD_WAIT) }
    }

    /// The range of bytes in a block.
    pub fn bytes(&self, block: u64) -> Range<u64> {
        let length = u64::from(self.grant.block);
        let start = (block - 1) * length;
        start..(start + length).min(self.size)
    }

    /// Bytes that the client has acknowledged.
    pub(crate) fn arrived(&self) -> u64 {
        self.size.min((self.next - 1) * u64::from(self.grant.block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(size: u64, window: u16, tells: bool) -> (Transfer, Instant) {
        let now = Instant::now();
        (Transfer::new(size, Grant { block: 512, window, timeout: None }, tells, now), now)
    }

    #[test]
    fn a_file_of_whole_blocks_ends_with_an_empty_one() {
        let (mut transfer, now) = transfer(1024, 1, false);
        assert_eq!(transfer.send(now), Step::Blocks(1..2));
        assert_eq!(transfer.acknowledged(1, now), Step::Blocks(2..3));
        assert_eq!(transfer.acknowledged(2, now), Step::Blocks(3..4));
        assert_eq!(transfer.bytes(3), 1024..1024);
        assert_eq!(transfer.acknowledged(3, now), Step::Done);
        assert_eq!(transfer.arrived(), 1024);
    }

    #[test]
    fn nothing_of_the_file_leaves_before_the_options_are_answered() {
        let (mut transfer, now) = transfer(5000, 4, true);
        assert_eq!(transfer.send(now), Step::Oack);
        assert_eq!(transfer.acknowledged(1, now), Step::Wait);
        assert_eq!(transfer.acknowledged(0, now), Step::Blocks(1..5));
        assert_eq!(transfer.acknowledged(4, now), Step::Blocks(5..9));
        assert_eq!(transfer.acknowledged(8, now), Step::Blocks(9..11));
        assert_eq!(transfer.acknowledged(10, now), Step::Done);
    }

    #[test]
    fn a_duplicate_acknowledgement_sends_nothing() {
        let (mut transfer, now) = transfer(5000, 1, false);
        transfer.send(now);
        assert_eq!(transfer.acknowledged(1, now), Step::Blocks(2..3));
        for stale in [1, 0, 3, 40_000, 65_535] {
            assert_eq!(transfer.acknowledged(stale, now), Step::Wait, "{stale}");
        }
        assert_eq!(transfer.acknowledged(2, now), Step::Blocks(3..4));
    }

    #[test]
    fn an_answer_out_of_the_middle_of_a_window_starts_the_next_one_there() {
        let (mut transfer, now) = transfer(50_000, 8, true);
        transfer.send(now);
        assert_eq!(transfer.acknowledged(0, now), Step::Blocks(1..9));
        assert_eq!(transfer.acknowledged(3, now), Step::Blocks(4..12));
    }

    #[test]
    fn block_numbers_go_round() {
        let blocks = 70_000u64;
        let (mut transfer, now) = transfer(blocks * 512, 1, false);
        let mut step = transfer.send(now);
        for block in 1..=blocks + 1 {
            assert_eq!(step, Step::Blocks(block..block + 1));
            step = transfer.acknowledged(block as u16, now);
        }
        assert_eq!(step, Step::Done);
    }

    #[test]
    fn who_was_never_heard_of_gets_three_small_packets_at_most() {
        for tells in [true, false] {
            let (mut transfer, now) = transfer(50_000, 1, tells);
            let first = transfer.send(now);
            assert!(matches!(first, Step::Oack) || first == Step::Blocks(1..2));
            assert_eq!(transfer.send(now), first);
            assert_eq!(transfer.send(now), first);
            assert_eq!(transfer.send(now), Step::GiveUp);
        }
    }

    #[test]
    fn a_client_that_falls_silent_is_waited_for_longer_each_time_and_then_given_up() {
        let (mut transfer, mut now) = transfer(50_000, 4, true);
        transfer.send(now);
        transfer.acknowledged(0, now);
        let (mut waited, began) = (Vec::new(), now);
        loop {
            let wait = transfer.deadline() - now;
            now += wait;
            match transfer.send(now) {
                Step::GiveUp => break,
                step => assert_eq!(step, Step::Blocks(1..5), "the same window again"),
            }
            waited.push(wait);
        }
        assert!(now - began >= PATIENCE && now - began < PATIENCE * 2, "{:?}", now - began);
        assert!(waited.is_sorted() && waited[1] == waited[0] * 2, "{waited:?}");
    }

    #[test]
    fn the_wait_is_what_the_client_chose_or_follows_the_way() {
        let now = Instant::now();
        let chosen = Grant { block: 512, window: 1, timeout: Some(Duration::from_secs(7)) };
        let mut transfer = Transfer::new(9000, chosen, true, now);
        transfer.send(now);
        assert_eq!(transfer.deadline() - now, UNHEARD_WAIT, "whoever it is did not answer yet");
        transfer.acknowledged(0, now);
        assert_eq!(transfer.deadline() - now, Duration::from_secs(7));
        let (mut measured, now) = self::transfer(9000, 1, true);
        measured.send(now);
        let later = now + Duration::from_millis(200);
        measured.acknowledged(0, later);
        assert_eq!(measured.deadline() - later, Duration::from_millis(800));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_answered_the_file_is_sent_in_order_and_to_its_end(
            size in 0u64..20_000, window in 1u16..9, tells: bool, noise in proptest::collection::vec(0u16..40, 0..200),
        ) {
            let (mut transfer, now) = transfer(size, window, tells);
            let mut step = transfer.send(now);
            let mut noise = noise.into_iter();
            while step != Step::Done {
                let before = transfer.arrived();
                step = match noise.next() {
                    Some(block) => match transfer.acknowledged(block, now) {
                        Step::Wait => { transfer.tries = 0; transfer.send(now) }
                        step => step,
                    },
                    None => match step {
                        Step::Oack => transfer.acknowledged(0, now),
                        Step::Blocks(blocks) => transfer.acknowledged((blocks.end - 1) as u16, now),
                        other => panic!("{other:?}"),
                    },
                };
                assert!(transfer.arrived() >= before);
                if let Step::Blocks(blocks) = &step {
                    assert!(!blocks.is_empty() && blocks.end - blocks.start <= u64::from(window));
                    assert!(blocks.end - 1 <= transfer.blocks);
                }
            }
            assert_eq!(transfer.arrived(), size);
        }
    }
}
