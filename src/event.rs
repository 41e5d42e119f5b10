//! What happens while a build runs, told to whoever listens. The rooms say it; `cli` shows it.

use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event<'e> {
    /// Bytes begin to arrive. Length in bytes where it is known.
    FetchStarted {
        /// The input's id in the lock.
        id: &'e str,
        /// Total length, if the server or the lock says.
        size: Option<u64>,
    },
    /// More bytes arrived; `bytes` counts from the start of this attempt.
    FetchProgress {
        /// The input's id.
        id: &'e str,
        /// Bytes so far.
        bytes: u64,
    },
    /// An attempt failed in a way that may pass, and is made again.
    FetchRetry {
        /// The input's id.
        id: &'e str,
        /// Why.
        reason: &'e str,
    },
    /// The bytes are complete, verified and stored.
    FetchDone {
        /// The input's id.
        id: &'e str,
        /// Length in bytes.
        size: u64,
        /// The key that signed, where a signature was verified.
        signer: Option<&'e str>,
    },
    /// A step begins to build.
    StepStarted {
        /// The step's id in the plan.
        id: &'e str,
    },
    /// A step is built and stored.
    StepDone {
        /// The step's id.
        id: &'e str,
        /// Length of what it made, in bytes.
        size: u64,
        /// How long it took.
        took: Duration,
    },
}

/// Someone who listens. Called from several threads.
pub trait Observer: Sync {
    /// Takes notice; must not block for long.
    fn notice(&self, event: Event<'_>);
}

/// Nobody listens.
pub struct Silent;

impl Observer for Silent {
    fn notice(&self, _: Event<'_>) {}
}
