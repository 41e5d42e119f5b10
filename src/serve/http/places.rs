//! Places for connections, and who has them while there are few.
//!
//! Whether one that comes has a place, waits for one or is turned away is known at once: what waits at the door keeps all behind it
//! waiting, in the kernel's queue, which drops those for whom it has no room.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::pulse::Pulses;

/// All connections are looked through no more often than this, for those that move least. However many come meanwhile, it costs as
/// much.
const LOOK: Duration = Duration::from_millis(50);
/// How often one that waits asks for a place again: nothing may have rested before.
const REMINDER: Duration = Duration::from_millis(250);

/// This part of all places is kept free while there are connections that rest, so that whoever comes need not wait.
const SPARE: usize = 32;

/// Places of one kind.
pub struct Places {
    /// For whoever comes first.
    open: Arc<Semaphore>,
    /// Half of those that are kept free: for clients with fewer connections than there are of these. One that takes all others,
    /// with connections that move, leaves these to machines.
    reserved: Arc<Semaphore>,
    /// How many are kept free.
    spare: usize,
    /// Of what is over TLS only.
    is_secure: bool,
    /// For whom connections are to be closed: how many others each of them has.
    asked: Mutex<Vec<usize>>,
    ask: Notify,
}

impl Places {
    /// So many.
    pub fn new(count: usize, is_secure: bool) -> Places {
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

    /// A place for a client that has so many others, if there is one for it now.
    pub fn take(&self, others: usize) -> Option<OwnedSemaphorePermit> {
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

    /// A place for a client that has so many others, as soon as there is one.
    pub async fn wait(&self, others: usize) -> Option<OwnedSemaphorePermit> {
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

    /// Has the connections that move least closed for those who ask for places, for ever.
    pub async fn make_room(&self, pulses: &Pulses) {
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
        // What is given back is for those for whom it was.
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

    /// However many are turned away, no more are closed for them than are to be kept free.
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
