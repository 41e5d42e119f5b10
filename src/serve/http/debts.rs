//! Answers that clients could take, but do not.
//!
//! A socket only shows that its client takes bytes. With HTTP/2 that says nothing of an answer: pings go back and forth
//! while the window of each stream is shut (RFC 9113, 5.2). hyper polls no body then, so no body could find that out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// A stream of occasional events is closed after this time without an event.
const SILENCE: Duration = Duration::from_secs(60);

/// The answers of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Debts(Arc<Mutex<Vec<Weak<Mutex<State>>>>>);

/// One answer: from its request until the answer and all its pieces are gone.
#[derive(Clone, Debug)]
pub(crate) struct Debt(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// When the client last took something, or was last given something to take.
    moved: Instant,
    /// Pieces that were handed to the connection and have not left.
    pieces: usize,
    /// Whether the client waits for this server, not the reverse.
    is_ours: bool,
    /// Whether it is a stream of occasional events, without an end.
    has_no_end: bool,
}

/// A piece of an answer. It has left when this is dropped.
struct Piece {
    bytes: Bytes,
    debt: Debt,
}

impl Debts {
    /// Called when a request arrives.
    pub(crate) fn begin(&self) -> Debt {
        let state = State { moved: Instant::now(), pieces: 0, is_ours: true, has_no_end: false };
        let debt = Debt(Arc::new(Mutex::new(state)));
        let mut known = lock(&self.0);
        known.retain(|debt| debt.strong_count() > 0);
        known.push(Arc::downgrade(&debt.0));
        debt
    }

    /// Whether no answer is on its way.
    pub(crate) fn is_none(&self) -> bool {
        lock(&self.0).iter().all(|debt| debt.strong_count() == 0)
    }

    /// Whether the client waits for something that this server still has to send.
    pub(crate) fn is_ours(&self) -> bool {
        let known = lock(&self.0);
        let mut answers = known.iter().filter_map(Weak::upgrade);
        answers.any(|debt| lock(&debt).is_to_be_given())
    }

    /// Whether the client has taken nothing of an answer for this long.
    pub(crate) fn is_overdue(&self, window: Duration) -> bool {
        lock(&self.0).iter().filter_map(Weak::upgrade).any(|debt| lock(&debt).is_overdue(window))
    }
}

impl State {
    /// Whether the client waits for something that this server still has to send.
    fn is_to_be_given(&self) -> bool {
        matches!(self, State { is_ours: true, pieces: 0, has_no_end: false, .. })
    }

    fn is_overdue(&self, window: Duration) -> bool {
        let window = match self {
            _ if self.is_to_be_given() => return false,
            State { is_ours: true, pieces: 0, .. } => window.max(SILENCE),
            _ => window,
        };
        self.moved.elapsed() >= window
    }
}

impl Debt {
    /// Called when there is something to take, should the client ask for it.
    pub(crate) fn is_theirs(&self) {
        self.turn(false);
    }

    /// Called when the client has taken everything so far and waits for more.
    pub(crate) fn is_ours(&self) {
        self.turn(true);
    }

    fn turn(&self, is_ours: bool) {
        let mut state = lock(&self.0);
        if state.is_ours != is_ours || is_ours {
            state.moved = Instant::now();
        }
        state.is_ours = is_ours;
    }

    /// Marks this as a stream of occasional events, without an end.
    pub(crate) fn has_no_end(&self) {
        lock(&self.0).has_no_end = true;
    }

    /// Counts bytes that are handed to the client now.
    pub(crate) fn give(&self, bytes: Bytes) -> Bytes {
        let mut state = lock(&self.0);
        (state.moved, state.is_ours) = (Instant::now(), false);
        state.pieces += 1;
        drop(state);
        Bytes::from_owner(Piece { bytes, debt: self.clone() })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut state = lock(&self.debt.0);
        state.moved = Instant::now();
        state.pieces -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_owes_what_it_might_take_and_nothing_while_it_waits_for_the_server() {
        let (debts, now) = (Debts::default(), Duration::ZERO);
        assert!(debts.is_none());
        let debt = debts.begin();
        assert!(!debts.is_none() && !debts.is_overdue(now), "it is looked for");
        debt.is_theirs();
        assert!(debts.is_overdue(now) && !debts.is_overdue(Duration::from_secs(60)), "nobody asks for it");
        let piece = debt.give(Bytes::from_static(b"piece"));
        debt.is_ours();
        assert!(debts.is_overdue(now), "a piece of it has not left");
        let rest = piece.slice(1..);
        drop(piece);
        assert!(debts.is_overdue(now), "nor has its end");
        drop(rest);
        assert!(!debts.is_overdue(now) && debts.is_ours(), "it waits for more");
        debt.has_no_end();
        assert!(!debts.is_overdue(now) && !debts.is_ours(), "what is told now and then may take its time");
        let last = debt.give(Bytes::from_static(b"last"));
        drop(debt);
        assert!(debts.is_overdue(now), "an answer is not over before it has left");
        drop(last);
        assert!(debts.is_none() && !debts.is_overdue(now));
    }
}
