//! The places of clients with a good certificate: a fair share for each certificate.
//!
//! One client, or its stolen certificate, could hold all places with connections that do nothing. Where there is no place, the
//! certificate that has most loses the connection without a call that has been quiet the longest, and if it has far more than the
//! newcomer, one with calls. Nobody who has few connections is pushed out of the middle of a call.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::base::digest::Sha256;

/// Connections of clients with a good certificate. Terraform needs one, whatever it writes.
pub(crate) const CONNECTIONS: usize = 256;
/// Connections with calls that a certificate keeps, whoever comes.
const KEPT: usize = 16;

/// All places.
#[derive(Clone, Default)]
pub(crate) struct Places(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    next: u64,
    taken: BTreeMap<u64, Guest>,
}

struct Guest {
    certificate: Sha256,
    activity: Activity,
    leave: Arc<Notify>,
}

/// A place until this is dropped.
pub(crate) struct Place {
    places: Places,
    number: u64,
    leave: Arc<Notify>,
    /// The calls of its connection.
    pub activity: Activity,
}

/// The calls of a connection.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Calls>);

struct Calls {
    running: AtomicUsize,
    /// The end of the last one.
    last: Mutex<Instant>,
}

/// A call until its answer is sent.
pub(crate) struct Call(Activity);

impl Activity {
    fn new() -> Activity {
        Activity(Arc::new(Calls { running: AtomicUsize::new(0), last: Mutex::new(Instant::now()) }))
    }

    /// A call begins.
    pub(crate) fn begin(&self) -> Call {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }

    /// Whether no call runs.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.running.load(Ordering::Relaxed) == 0
    }

    fn last(&self) -> Instant {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let calls = &self.0.0;
        *calls.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        calls.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    /// Takes a place, perhaps another's; `None` if all others have a better right to theirs.
    pub(crate) fn enter(&self, certificate: Sha256) -> Option<Place> {
        let mut known = self.known();
        if known.taken.len() >= CONNECTIONS {
            let number = known.least(certificate)?;
            if let Some(guest) = known.taken.remove(&number) {
                guest.leave.notify_one();
            }
        }
        known.next += 1;
        let (number, leave, activity) = (known.next, Arc::new(Notify::new()), Activity::new());
        known.taken.insert(number, Guest { certificate, activity: activity.clone(), leave: leave.clone() });
        Some(Place { places: self.clone(), number, leave, activity })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The guest with the least right to its place, for a newcomer with this certificate.
    fn least(&self, newcomer: Sha256) -> Option<u64> {
        let mut counts: HashMap<[u8; 32], usize> = HashMap::new();
        for guest in self.taken.values() {
            *counts.entry(*guest.certificate.bytes()).or_default() += 1;
        }
        let count = |certificate: Sha256| counts.get(certificate.bytes()).copied().unwrap_or_default();
        let own = count(newcomer);
        let right = |guest: &Guest| (std::cmp::Reverse(count(guest.certificate)), guest.activity.last());
        // Nobody makes room for one who has more than oneself.
        let weaker = |guest: &&Guest| guest.certificate == newcomer || count(guest.certificate) > own;
        let all = || self.taken.iter().filter(|(_, guest)| weaker(guest) || own == 0);
        let quiet = all().filter(|(_, guest)| guest.activity.is_quiet());
        let busy = || all().filter(|(_, guest)| count(guest.certificate) > KEPT.max(2 * own));
        let least = quiet.min_by_key(|(_, guest)| right(guest));
        least.or_else(|| busy().min_by_key(|(_, guest)| right(guest))).map(|(number, _)| *number)
    }
}

impl Place {
    /// Waits until another connection has taken the place.
    pub(crate) async fn lost(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.known().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(client: u8) -> Sha256 {
        Sha256::of(&[client])
    }

    async fn has_lost(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.lost()).await.is_ok()
    }

    #[tokio::test]
    async fn one_client_cannot_hold_all_places() {
        let places = Places::default();
        let honest = places.enter(of(1)).unwrap();
        let mut flood: Vec<Place> = (1..CONNECTIONS).map(|_| places.enter(of(2)).unwrap()).collect();
        // One that works is not the first to go.
        let call = flood[0].activity.begin();
        flood.push(places.enter(of(2)).unwrap());
        assert!(!has_lost(&flood[0]).await && has_lost(&flood[1]).await && !has_lost(&honest).await);
        let other = places.enter(of(3)).unwrap();
        assert!(has_lost(&flood[2]).await && !has_lost(&other).await && !has_lost(&honest).await);
        drop(call);
        flood[3].activity.begin();
        let another = places.enter(of(1)).unwrap();
        assert!(has_lost(&flood[4]).await && !has_lost(&flood[3]).await && !has_lost(&another).await);
        drop(flood);
        assert_eq!(places.known().taken.len(), 3, "places are given back");
    }

    #[tokio::test]
    async fn calls_do_not_hold_all_places_either_and_a_few_of_them_go_on() {
        let places = Places::default();
        let flood: Vec<Place> = (0..CONNECTIONS).map(|_| places.enter(of(1)).unwrap()).collect();
        let _calls: Vec<Call> = flood.iter().map(|place| place.activity.begin()).collect();
        assert!(places.enter(of(1)).is_none(), "nor does it push out itself");
        let honest = places.enter(of(2)).unwrap();
        assert!(has_lost(&flood[0]).await && !has_lost(&honest).await);

        let many = Places::default();
        let enter = |number: usize| many.enter(of(number as u8)).unwrap();
        let guests: Vec<Place> = (0..CONNECTIONS).map(|number| enter(number / KEPT)).collect();
        let _calls: Vec<Call> = guests.iter().map(|place| place.activity.begin()).collect();
        assert!(many.enter(of(200)).is_none(), "each of them has its share");
    }
}
