//! Events of a running build, for observers. The rooms emit them; `cli` shows them.
//!
//! In JSON an event is an object whose `event` is the variant's name in kebab-case (docs/formats/events.md). An
//! addition here must be added to the schema there, and [`SCHEMA`] is raised when the meaning of a field changes.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// One event.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'e> {
    /// A build begins. Always the first.
    BuildStarted {
        /// Version of the JSON form: [`SCHEMA`].
        schema: u32,
        /// This prebake's version.
        prebake: &'e str,
        /// The recipe's path as given.
        recipe: &'e str,
    },
    /// Inputs will be fetched.
    FetchPlanned {
        /// Number of inputs.
        inputs: usize,
        /// Their total length in bytes, if the lock states each length.
        size: Option<u64>,
    },
    /// Bytes begin to arrive.
    FetchStarted {
        /// The input's id in the lock.
        id: &'e str,
        /// Total length in bytes, if the server or the lock states it.
        size: Option<u64>,
        /// Bytes that earlier attempts left, where this one resumes.
        have: u64,
        /// The URL that is asked, or a mirror's, and what its server redirected to; passwords are masked.
        url: &'e str,
    },
    /// Another process is fetching the same bytes; wait for it.
    FetchWaiting {
        /// The input's id.
        id: &'e str,
    },
    /// More bytes arrived; `bytes` counts those of earlier attempts as well.
    FetchProgress {
        /// The input's id.
        id: &'e str,
        /// Bytes received so far.
        bytes: u64,
    },
    /// An attempt failed in a way that may be temporary; retry.
    FetchRetry {
        /// The input's id.
        id: &'e str,
        /// The failure of the last attempt.
        reason: &'e str,
    },
    /// The bytes are complete, verified and stored.
    FetchDone {
        /// The input's id.
        id: &'e str,
        /// Length of the input, in bytes.
        size: u64,
        /// The key that signed it, if a signature was verified.
        signer: Option<&'e str>,
    },
    /// The vendor's key file cannot be fetched; fall back to the copy that was stored earlier.
    KeyStale {
        /// The failed fetch.
        reason: &'e str,
    },
    /// An object in the store was corrupt; it is set aside and made again.
    Corrupt {
        /// Id of the input, or of the step that made it.
        id: &'e str,
        /// The kind of damage.
        why: &'e str,
    },
    /// The store already has the result of a step.
    StepCached {
        /// The step's id in the plan.
        id: &'e str,
        /// Length of the result, in bytes.
        size: u64,
        /// The key under which the store has it: a digest of everything that its bytes depend on.
        key: &'e str,
    },
    /// A step begins to build, because the store has nothing under its key.
    StepStarted {
        /// The step's id in the plan.
        id: &'e str,
        /// The key: a digest of everything that its bytes depend on.
        key: &'e str,
    },
    /// A step is built and stored.
    StepDone {
        /// The step's id.
        id: &'e str,
        /// Length of the result, in bytes.
        size: u64,
        /// Duration of the step, in seconds in JSON.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        took: Duration,
    },
    /// Everything is built a second time, to check that the result is the same.
    RebuildStarted {
        /// Number of steps.
        steps: usize,
    },
    /// A step was built a second time.
    StepRebuilt {
        /// The step's id.
        id: &'e str,
        /// Length of the result, in bytes.
        size: u64,
        /// Duration of the step, in seconds in JSON.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        took: Duration,
    },
    /// Both builds gave the same result.
    RebuildDone {
        /// The BUILD-ID of both.
        build_id: &'e str,
    },
    /// A warning: something that a person should know, and that stops nothing.
    Warning {
        /// The warning, in one sentence.
        message: &'e str,
        /// The file that it is about, if any.
        file: Option<&'e str>,
        /// Line in that file, from 1.
        line: Option<usize>,
        /// Column in characters, from 1.
        column: Option<usize>,
        /// The way out.
        hint: Option<&'e str>,
    },
    /// The tree is published. Always the last.
    BuildDone {
        /// Its BUILD-ID.
        build_id: &'e str,
        /// Its directory.
        path: &'e str,
        /// Whether the same tree was already published.
        unchanged: bool,
    },
    /// The build failed: nothing was published, or not what was asked for. Always the last.
    BuildFailed {
        /// Exit code of the process.
        exit: u8,
        /// The message and its causes, outermost first.
        error: &'e [String],
        /// The way out.
        hint: Option<&'e str>,
    },
}

fn seconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

/// A receiver of events. Called from several threads.
pub trait Observer: Sync {
    /// Receives an event; must not block for long.
    fn notice(&self, event: Event<'_>);
}

/// Several observers; each event goes to all of them, in this order.
pub(crate) struct Everyone<'o>(pub Vec<&'o dyn Observer>);

impl Observer for Everyone<'_> {
    fn notice(&self, event: Event<'_>) {
        for observer in &self.0 {
            observer.notice(event.clone());
        }
    }
}
