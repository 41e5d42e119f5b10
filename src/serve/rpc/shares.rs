//! One certificate's share of the server, however many connections it has.
//!
//! Owns the counts of its memory, and its turn among those who want the turn of all: a client whose certificate was stolen, or that
//! puts a thousand long templates, holds up itself. Leaves connections to [`places`](super::places), and limits to
//! [`bounded`](super::bounded).

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

use crate::base::digest::Sha256;

/// The shares of all certificates that have connections.
#[derive(Default)]
pub(crate) struct Shares(Mutex<BTreeMap<Sha256, Weak<Share>>>);

/// The share of one.
#[derive(Debug)]
pub(crate) struct Share {
    /// Bytes of messages whose calls are not over.
    pub messages: Arc<AtomicUsize>,
    /// Bytes of answers that are not sent yet.
    pub answers: Arc<AtomicUsize>,
    /// The turn to wait for the turn of long calls.
    pub long: Arc<Semaphore>,
}

impl Shares {
    /// The share of a certificate, by its digest.
    pub(crate) fn of(&self, certificate: Sha256) -> Arc<Share> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, share| share.strong_count() > 0);
        let there = known.get(&certificate).and_then(Weak::upgrade);
        there.unwrap_or_else(|| {
            let (messages, answers) = Default::default();
            let share = Arc::new(Share { messages, answers, long: Arc::new(Semaphore::new(1)) });
            known.insert(certificate, Arc::downgrade(&share));
            share
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_with_one_certificate_have_one_share_as_long_as_there_are_any() {
        let shares = Shares::default();
        let [one, other] = ["one", "other"].map(|name| Sha256::of(name.as_bytes()));
        let share = shares.of(one);
        assert!(Arc::ptr_eq(&share, &shares.of(one)) && !Arc::ptr_eq(&share, &shares.of(other)));
        drop(share);
        shares.of(other);
        assert_eq!(shares.0.lock().unwrap().len(), 1);
    }
}
