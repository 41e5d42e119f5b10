//! An answer on its way: counts what left, tells how it goes, and logs it when it has left or broke off.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::boots::Download;
use crate::serve::notice::{Notice, Notices, Record};

/// How often a long answer tells how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// The record of an answer and where it is told; telling ends with the answer, when this is dropped.
pub struct Tally {
    record: Record,
    started: Instant,
    told: Instant,
    /// Its last part was told to leave.
    leaves: bool,
    notices: Notices,
    /// Keeps the client's turn in the boot queue as long as the answer is on its way.
    download: Option<Download>,
}

impl Tally {
    /// An answer to a request that came at `started`, nothing of which has left.
    pub fn new(record: Record, started: Instant, notices: Notices, download: Option<Download>) -> Tally {
        Tally { record, started, told: Instant::now(), leaves: false, notices, download }
    }

    /// What it is told as.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// So many more bytes of the body are about to leave. Whoever sends says it first: as soon as the kernel has the last byte,
    /// the client may ask again, on another thread.
    pub fn leaves(&mut self, bytes: u64) {
        if !self.leaves && self.record.sent + bytes >= self.record.length {
            self.leaves = true;
            (self.notices)(&Notice::Leaving(&self.record));
        }
    }

    /// So many more bytes of the body have left.
    pub fn sent(&mut self, bytes: u64) {
        self.record.sent += bytes;
        if let Some(download) = &self.download {
            download.took(bytes);
        }
        if self.record.sent < self.record.length && self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            self.record.took = self.started.elapsed();
            (self.notices)(&Notice::Progress(&self.record));
        }
    }
}

/// What broke an answer off may be a panic: another one, of what is told, would end the whole server. It has been printed
/// already, and there is nobody left to hand it to.
impl Drop for Tally {
    fn drop(&mut self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.end()));
    }
}

impl Tally {
    fn end(&mut self) {
        self.record.took = self.started.elapsed();
        if self.record.sent == self.record.length {
            // Of an empty body nobody says that it leaves.
            self.leaves(0);
        }
        (self.notices)(&Notice::Answered(&self.record));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::Method;

    use super::*;
    use crate::serve::site::labels::Labels;

    /// An answer that panicked, with a log that panicked too, aborted the process, and with it every boot.
    #[test]
    fn an_answer_that_panics_ends_alone_whatever_its_end_is_told_to() {
        let record = Record {
            peer: ([127, 0, 0, 1], 1).into(),
            method: Method::GET,
            path: "/a".into(),
            labels: Labels::default(),
            status: 200,
            sent: 1,
            length: 2,
            took: Duration::ZERO,
            group: None,
            profile: None,
            why: None,
        };
        let notices: Notices = Arc::new(|_| panic!("the log"));
        let answer = std::thread::spawn(move || {
            let _tally = Tally::new(record, Instant::now(), notices, None);
            panic!("the answer");
        });
        assert_eq!(answer.join().unwrap_err().downcast_ref(), Some(&"the answer"));
    }
}
