//! Places for connections, and which clients get them when they are scarce.
//!
//! A new connection gets a place, a seat to wait, or a refusal at once. Waiting in the accept loop would hold up all
//! connections behind it in the kernel's queue, which drops those that do not fit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::pulse::Pulses;

/// All connections are searched at most this often for those that move least, so the cost does not depend on the number
/// of newcomers.
const LOOK: Duration = Duration::from_millis(50);
/// How often a waiting connection asks for a place again, since no connection may have been idle before.
const REMINDER: Duration = Duration::from_millis(250);

/// The number of places divided by this is kept free while there are idle connections, so that newcomers need not wait.
const SPARE: usize = 32;

/// Places of one kind: all, or those for TLS.
pub(crate) struct Places {
    /// First come, first served.
    open: Arc<Semaphore>,
    /// Half of the places that are kept free, for clients that have fewer connections than there are places left here. A
    /// client that takes all others with active connections leaves these to machines.
    reserved: Arc<Semaphore>,
    /// How many places are kept free.
    spare: usize,
    /// Whether these are places for TLS only.
    is_secure: bool,
    /// Clients for which connections are to be closed: for each, how many other connections it has.
    asked: Mutex<Vec<usize>>,
    ask: Notify,
}

impl Places {
    /// Creates this many places.
    pub(crate) fn new(count: usize, is_secure: bool) -> Places {
        let spare = count / SPARE;
        Places {
            open: Arc::new(Semaphore::new(count - spare / 2)),
            reserved: Arc::new(Semaphore::new(spare / 2)),
            spare,
            is_secure,
            asked: Mutex::default(),
            ask: Notify::new(),
        }
    }

    /// A place for a client that has this many other connections, if one is free now.
    pub(crate) fn take(&self, others: usize) -> Option<OwnedSemaphorePermit> {
        let place = self.open.clone().try_acquire_owned().ok().or_else(|| {
            let reserved = &self.reserved;
            (others < reserved.available_permits()).then(|| reserved.clone().try_acquire_owned().ok())?
        });
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.free() + asked.len() < self.spare || (place.is_none() && asked.is_empty()) {
            asked.push(others);
            self.ask.notify_one();
        }
        place
    }

    /// Waits for a place for a client that has this many other connections.
    pub(crate) async fn wait(&self, others: usize) -> Option<OwnedSemaphorePermit> {
        let mut place = std::pin::pin!(self.open.clone().acquire_owned());
        loop {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(others);
            self.ask.notify_one();
            if let Ok(place) = tokio::time::timeout(REMINDER, &mut place).await {
                return place.ok();
            }
        }
    }

    fn free(&self) -> usize {
        self.open.available_permits() + self.reserved.available_permits()
    }

    /// Runs for ever: closes the connections that move least in favour of clients that ask for places.
    pub(crate) async fn make_room(&self, pulses: &Pulses) {
        loop {
            self.ask.notified().await;
            let asked = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
            pulses.close_idlest(asked, self.is_secure);
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_for_those_with_fewer_connections_than_there_are_of_these() {
        let places = Places::new(256, false);
        let mut greedy: Vec<_> = (0..).map_while(|others| places.take(others)).collect();
        assert_eq!((greedy.len(), places.free()), (252, 4));
        let mut few: Vec<_> = (0..).map_while(|others| places.take(others)).collect();
        assert_eq!((few.len(), places.free()), (2, 2));
        assert!(places.take(2).is_none() && places.take(1).is_some());
        // A place goes back to the group that it was taken from.
        drop(few.pop());
        assert!(places.take(252).is_none());
        drop(greedy.pop());
        assert!(places.take(252).is_some());
    }

    #[tokio::test]
    async fn those_who_wait_have_the_next_place_before_whoever_comes() {
        let places = Places::new(1, false);
        let held = places.take(0);
        let mut waits = std::pin::pin!(places.wait(0));
        assert!(held.is_some() && tokio::time::timeout(Duration::ZERO, &mut waits).await.is_err());
        drop(held);
        assert!(places.take(0).is_none());
        assert!(waits.await.is_some());
    }

    /// The number of refusals does not matter: at most as many connections are closed as places are to be kept free.
    #[test]
    fn as_many_connections_are_closed_as_places_are_to_be_kept_free() {
        let places = Places::new(256, false);
        let _held: Vec<_> = (0..).map_while(|others| places.take(others)).collect();
        for _ in 0..1000 {
            places.take(1000);
        }
        assert_eq!(places.asked.lock().unwrap().len(), 8 - places.free());
    }
}
