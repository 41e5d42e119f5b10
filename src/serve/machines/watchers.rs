//! Live watchers: a queue of events for each, and an end for those that lag.
//!
//! The queue belongs to the server, so that it can be emptied when a client does not read. A client keeps its place as
//! long as the connection lives, whether or not it gets events. The client with the most places gives one up for a
//! client with fewer, so that a person's page gets in, however many clients watch from a few addresses.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Concurrent watchers, and those of one address. Further clients have to poll instead.
const MOST: usize = 64;
const MOST_OF_ONE: usize = 16;
/// Events that a client may lag behind. The connection of a slower client is closed; the client then starts again with
/// the whole status.
const LAG: usize = 8;

/// All watchers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchers(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    taken: Vec<(IpAddr, Arc<Mutex<Queue>>)>,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Bytes>,
    is_over: bool,
    waker: Option<Waker>,
}

/// The events of one client. Its place is freed when this is dropped.
#[derive(Debug)]
pub(crate) struct Events {
    queue: Arc<Mutex<Queue>>,
    watchers: Watchers,
}

impl Watchers {
    /// A place for a client, whose first event is `first`. `None` if there are too many watchers and none has more
    /// places than this client would have, or if the server stops.
    pub(crate) fn enter(&self, client: IpAddr, first: Bytes) -> Option<Events> {
        let mut places = self.places();
        let of_client = places.count_of(client);
        if places.is_closed || of_client >= MOST_OF_ONE {
            return None;
        }
        if places.taken.len() >= MOST {
            places.give_way(of_client + 1)?;
        }
        let queue = Queue { events: [first].into(), ..Queue::default() };
        let queue = Arc::new(Mutex::new(queue));
        places.taken.push((client, queue.clone()));
        Some(Events { queue, watchers: self.clone() })
    }

    /// The number of watchers.
    pub(crate) fn count(&self) -> usize {
        self.places().taken.len()
    }

    /// The current watchers. Those that come later already have the content of the next event.
    pub(crate) fn present(&self) -> Audience {
        Audience(self.places().taken.iter().map(|(_, queue)| queue.clone()).collect())
    }

    /// Ends all streams behind what they were told, and accepts no new ones.
    pub(crate) fn close(&self) {
        let mut places = self.places();
        places.is_closed = true;
        places.taken.iter().for_each(|(_, queue)| lock(queue).finish());
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        lock(&self.0)
    }
}

impl Places {
    fn count_of(&self, client: IpAddr) -> usize {
        self.taken.iter().filter(|(other, _)| *other == client).count()
    }

    /// Ends the newest place of the client that has the most, if it has more than this many.
    fn give_way(&mut self, to: usize) -> Option<()> {
        let counts =
            self.taken.iter().enumerate().map(|(index, (client, _))| (self.count_of(*client), index));
        // The last one of equal counts.
        let (_, newest) = counts.max().filter(|(count, _)| *count > to)?;
        let (_, queue) = self.taken.remove(newest);
        lock(&queue).end();
        Some(())
    }
}

/// A set of watchers.
pub(crate) struct Audience(Vec<Arc<Mutex<Queue>>>);

impl Audience {
    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends them an event.
    pub(crate) fn tell(&self, event: &Bytes) {
        for queue in &self.0 {
            let mut queue = lock(queue);
            match queue.events.len() {
                0..LAG => queue.events.push_back(event.clone()),
                _ => queue.end(),
            }
            queue.wake();
        }
    }
}

impl Queue {
    /// Ends the stream, and frees its waiting events.
    fn end(&mut self) {
        self.is_over = true;
        self.events.clear();
        self.wake();
    }

    /// Ends the stream behind its waiting events.
    fn finish(&mut self) {
        self.is_over = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Events {
    /// The next event; `None` at the end.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = lock(&self.queue);
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.is_over => Poll::Ready(None),
            None => {
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits for the next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.watchers.places().taken.retain(|(_, queue)| !Arc::ptr_eq(queue, &self.queue));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn event(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn a_client_that_lags_is_ended_and_holds_its_place_until_it_is_gone() {
        let watchers = Watchers::default();
        let mut events: Vec<Events> =
            (0..MOST_OF_ONE).map(|_| watchers.enter(ONE, event("whole")).unwrap()).collect();
        assert!(watchers.enter(ONE, event("whole")).is_none(), "one address has its share");
        let mut other = watchers.enter([192, 0, 2, 1].into(), event("whole")).unwrap();
        assert_eq!(other.next().await.unwrap(), "whole");
        for _ in 0..LAG {
            watchers.present().tell(&event("change"));
            assert_eq!(other.next().await.unwrap(), "change");
        }
        let mut lagging = events.pop().unwrap();
        assert_eq!(lagging.next().await, None, "what it was not told is taken back");
        assert_eq!(watchers.count(), MOST_OF_ONE + 1);
        drop((events, lagging));
        assert_eq!(watchers.count(), 1);
        watchers.present().tell(&event("last"));
        watchers.close();
        assert_eq!(other.next().await.unwrap(), "last", "what it was told before the end");
        assert_eq!(other.next().await, None);
        assert!(watchers.enter(ONE, event("whole")).is_none());
    }

    /// attacks.md, C-B2: four addresses held all places, and no page got any events.
    #[tokio::test]
    async fn a_few_addresses_that_hold_all_places_give_one_up_for_each_that_has_fewer() {
        let watchers = Watchers::default();
        let client = |number: u8| IpAddr::from([192, 0, 2, number]);
        let enter = |number| watchers.enter(client(number), event("whole"));
        let greedy = (1..=4).flat_map(|number| std::iter::repeat_n(number, MOST_OF_ONE));
        let mut held: Vec<(u8, Events)> = greedy.map(|number| (number, enter(number).unwrap())).collect();
        let mut person = enter(9).unwrap();
        assert_eq!((person.next().await.unwrap(), watchers.count()), (event("whole"), MOST));
        let mut ended = Vec::new();
        for (index, (number, events)) in held.iter_mut().enumerate() {
            if events.next().await.is_none() {
                ended.push((*number, index));
            }
        }
        assert_eq!(ended, [(4, held.len() - 1)], "the newest of one that has most");
        // A client with a fair number of places gets no more, and takes nothing from those with fewer.
        let again: Vec<_> = (0..MOST).map_while(|_| enter(9)).collect();
        assert_eq!(again.len(), MOST / 5 - 1);
        assert!(enter(1).is_none() && watchers.count() == MOST);
        let (all, one) = (watchers.present(), event("change"));
        all.tell(&one);
        assert_eq!(person.next().await.unwrap(), one);
        drop((held, again, person));
        assert_eq!(watchers.count(), 0);
    }
}
