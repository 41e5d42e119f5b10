//! Work on the pieces of an image by several threads, whose results come back in the order of the pieces.
//!
//! Owns the threads and the order. Leaves the work to its callers. Pieces in flight are bounded, hence memory is; as
//! every piece is worked on by itself and numbered, results do not depend on the threads.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Pieces in flight per thread: one that it works on, and one that waits for it or for its turn.
const IN_FLIGHT: usize = 2;

/// A piece and its number.
type Numbered<T> = (u64, T);

/// Threads that work on pieces. They end when it is dropped.
pub(crate) struct Ordered<T> {
    work: Sender<Numbered<T>>,
    done: Receiver<Numbered<io::Result<T>>>,
    /// Results that are ahead of their turn.
    waiting: BTreeMap<u64, io::Result<T>>,
    /// Number of the next piece that goes out, and of the next result that is handed back.
    sent: u64,
    taken: u64,
    most: u64,
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts threads, each with a function of its own that works on one piece at a time.
    ///
    /// # Errors
    /// A function cannot be made, or a thread not be started.
    pub(crate) fn new<W>(threads: NonZeroUsize, make: impl Fn() -> io::Result<W>) -> io::Result<Self>
    where
        W: FnMut(&mut T) -> io::Result<()> + Send + 'static,
    {
        let (work, pieces) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let pieces = Arc::new(Mutex::new(pieces));
        for _ in 0..threads.get() {
            let (worker, pieces, finished) = (make()?, pieces.clone(), finished.clone());
            thread::Builder::new().spawn(move || run(worker, &pieces, &finished))?;
        }
        let most = (threads.get() * IN_FLIGHT + 1) as u64;
        Ok(Ordered { work, done, waiting: BTreeMap::new(), sent: 0, taken: 0, most })
    }

    /// Hands out a piece. Where as many are in flight as may be, returns the oldest one once it is done.
    pub(crate) fn push(&mut self, piece: T) -> Option<io::Result<T>> {
        // Cannot fail: threads end only after the sender is gone.
        let _ = self.work.send((self.sent, piece));
        self.sent += 1;
        if self.sent - self.taken >= self.most { self.next() } else { None }
    }

    /// The oldest piece in flight, once it is done; `None` if there is none.
    pub(crate) fn next(&mut self) -> Option<io::Result<T>> {
        if self.taken == self.sent {
            return None;
        }
        loop {
            if let Some(result) = self.waiting.remove(&self.taken) {
                self.taken += 1;
                return Some(result);
            }
            match self.done.recv() {
                Ok((number, result)) => drop(self.waiting.insert(number, result)),
                Err(_) => return Some(Err(io::Error::other("a thread ended early"))),
            }
        }
    }
}

/// Body of a thread. A panic becomes the error of its piece, because nobody would ever finish that piece otherwise.
fn run<T>(
    mut worker: impl FnMut(&mut T) -> io::Result<()>,
    pieces: &Mutex<Receiver<Numbered<T>>>,
    done: &Sender<Numbered<io::Result<T>>>,
) {
    loop {
        let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, mut piece)) = next else { return };
        let result = catch_unwind(AssertUnwindSafe(|| worker(&mut piece)));
        let result =
            result.unwrap_or_else(|_| Err(io::Error::other("a thread failed at a piece of the image")));
        if done.send((number, result.map(|()| piece))).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_a_panic_is_an_error_of_its_piece() {
        for threads in [1, 7] {
            let worker = || {
                Ok(|piece: &mut u64| match *piece {
                    77 => panic!("on purpose"),
                    number => {
                        thread::sleep(std::time::Duration::from_micros(number % 5 * 100));
                        *piece = number * 2;
                        Ok(())
                    }
                })
            };
            let mut ordered = Ordered::new(NonZeroUsize::new(threads).unwrap(), worker).unwrap();
            let mut results = Vec::new();
            for number in 0..100 {
                results.extend(ordered.push(number));
            }
            results.extend(std::iter::from_fn(|| ordered.next()));
            assert_eq!(results.len(), 100);
            for (number, result) in results.into_iter().enumerate() {
                assert_eq!(result.ok(), (number != 77).then_some(number as u64 * 2));
            }
        }
    }
}
