//! Accounts for an answer on its way: counts the bytes that left, reports progress, and logs the answer when it is
//! complete or aborted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::boots::Download;
use crate::serve::notice::{Notice, Notices, Record};

/// How often a long answer reports its progress.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// The record of an answer, and the receiver of its notices. Dropping it ends the answer.
pub(crate) struct Tally {
    record: Record,
    started: Instant,
    told: Instant,
    /// Whether the last part was announced.
    leaves: bool,
    notices: Notices,
    /// Keeps the client's turn in the boot queue as long as the answer is on its way.
    download: Option<Download>,
}

impl Tally {
    /// An answer to a request that came at `started`; nothing has left yet.
    pub(crate) fn new(
        record: Record,
        started: Instant,
        notices: Notices,
        download: Option<Download>,
    ) -> Tally {
        Tally { record, started, told: Instant::now(), leaves: false, notices, download }
    }

    /// The record as it is reported.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Announces that this many more bytes of the body are about to leave. Callers call this before they send: once the
    /// kernel has the last byte, the client may ask again, on another thread.
    pub(crate) fn leaves(&mut self, bytes: u64) {
        if !self.leaves && self.record.sent + bytes >= self.record.length {
            self.leaves = true;
            (self.notices)(&Notice::Leaving(&self.record));
        }
    }

    /// Called when this many more bytes of the body have left.
    pub(crate) fn sent(&mut self, bytes: u64) {
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

/// The answer may have been aborted by a panic. A second panic, from a receiver of notices, would end the whole server.
/// That second panic has been printed already, and there is nobody to pass it on to.
impl Drop for Tally {
    fn drop(&mut self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.end()));
    }
}

impl Tally {
    fn end(&mut self) {
        self.record.took = self.started.elapsed();
        if self.record.sent == self.record.length {
            // Nothing else announces an empty body.
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

    /// When both an answer and the log panicked, the process aborted, and with it every boot.
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
