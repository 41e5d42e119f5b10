//! What happens while a build runs, told to whoever listens. The rooms say it; `cli` shows it.

use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event<'e> {
    /// Inputs will be fetched.
    FetchPlanned {
        /// How many.
        inputs: usize,
        /// Their length in bytes together, if the lock says it of all.
        size: Option<u64>,
    },
    /// Bytes begin to arrive. Length in bytes where it is known.
    FetchStarted {
        /// The input's id in the lock.
        id: &'e str,
        /// Total length, if the server or the lock says.
        size: Option<u64>,
        /// Bytes that an earlier attempt left.
        have: u64,
    },
    /// Another process fetches the same bytes; they are waited for.
    FetchWaiting {
        /// The input's id.
        id: &'e str,
    },
    /// More bytes arrived; `bytes` counts those of earlier attempts as well.
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
    /// The vendor's key file cannot be had; the copy that was stored earlier is used.
    KeyStale {
        /// Why.
        reason: &'e str,
    },
    /// An object in the store was corrupt; it is set aside and made anew.
    Corrupt {
        /// The input's id, or the step's that made it.
        id: &'e str,
        /// What is wrong with it.
        why: &'e str,
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
