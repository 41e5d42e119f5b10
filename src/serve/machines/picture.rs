//! The status document of all machines, made once for all clients, outside of the monitor's lock.
//!
//! A client that reads slowly holds the document that it got. All held documents share a budget; while it is used up,
//! clients get the newest existing document.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::status::Status;

/// Bytes of held documents and events, not counting the newest document.
const HELD: usize = 32 << 20;
/// A document up to this length, in bytes, is made whenever something has changed. That is a hall of some hundred
/// machines.
const SHORT: usize = 512 << 10;
/// A longer one is made again only after this many times the time that it took, so that it uses at most a twentieth of
/// one core, however many clients ask...
const REST: u32 = 20;
/// ...but after this time at the latest, since machines get stuck without an event.
const FRESH: Duration = Duration::from_secs(1);

/// The parts of a server-sent event before the document, and after it.
const HEAD: (&str, &str) = ("event: ", "\ndata: ");
const END: &str = "\n\n";

/// The newest document, and the size of all held ones.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    newest: Mutex<Option<Arc<Picture>>>,
    making: Mutex<()>,
    held: Arc<AtomicUsize>,
}

/// The status of all machines at one moment.
#[derive(Debug)]
pub(crate) struct Picture {
    /// The timeline's revision at that moment.
    pub revision: u64,
    event: Event,
    made: Instant,
    took: Duration,
}

/// A document as a server-sent event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The whole event, including its name and its end.
    pub bytes: Bytes,
    /// Offset of the document.
    start: usize,
}

impl Event {
    /// The document alone, as one line.
    pub(crate) fn document(&self) -> Bytes {
        self.bytes.slice(self.start..self.bytes.len() - END.len() + 1)
    }
}

/// Bytes that are counted as long as anybody holds them.
struct Held {
    bytes: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Pictures {
    /// The newest picture, or a new one from `make` if that is stale. If several clients ask at once, only one of them
    /// makes it.
    pub(crate) fn newest(&self, revision: u64, make: impl FnOnce() -> (u64, Status)) -> Arc<Picture> {
        let known = self.known();
        if let Some(known) = known.filter(|known| known.serves(revision) || self.is_full()) {
            return known;
        }
        let making = match self.making.try_lock() {
            Ok(making) => making,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => match self.known() {
                Some(known) => return known,
                None => self.making.lock().unwrap_or_else(PoisonError::into_inner),
            },
        };
        let started = Instant::now();
        let (revision, status) = make();
        let event = self.event("status", &status);
        let picture = Picture { revision, event, made: started, took: started.elapsed() };
        let picture = Arc::new(picture);
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(picture.clone());
        drop(making);
        picture
    }

    /// A document as an event, counted against the budget.
    pub(crate) fn event(&self, name: &str, status: &Status) -> Event {
        let mut bytes = [HEAD.0, name, HEAD.1].concat().into_bytes();
        let start = bytes.len();
        // Writing to memory cannot fail, and the keys of all maps are text.
        let _ = serde_json::to_writer(&mut bytes, status);
        bytes.extend_from_slice(END.as_bytes());
        bytes.shrink_to_fit();
        self.held.fetch_add(bytes.len(), Ordering::Relaxed);
        Event { bytes: Bytes::from_owner(Held { bytes, held: self.held.clone() }), start }
    }

    /// Whether the budget is used up, so that nothing more should be made.
    pub(crate) fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) > HELD
    }

    fn known(&self) -> Option<Arc<Picture>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Picture {
    /// The picture as an event.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// Whether it is recent enough.
    fn serves(&self, revision: u64) -> bool {
        let age = self.made.elapsed();
        let rests = self.event.bytes.len() > SHORT && age < self.took * REST;
        age < FRESH && (self.revision == revision || rests)
    }
}
