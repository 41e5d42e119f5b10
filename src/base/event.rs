//! What happens while a build runs, told to whoever listens. The rooms say it; `cli` shows it.
//!
//! In JSON an event is an object whose `event` is the variant's name in kebab-case (docs/formats/events.md): what is
//! added here is added to the schema there, and [`SCHEMA`] is raised where the meaning of a field changes.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'e> {
    /// A build begins. Always the first.
    BuildStarted {
        /// [`SCHEMA`].
        schema: u32,
        /// This prebake's version.
        prebake: &'e str,
        /// The recipe, as it was given.
        recipe: &'e str,
    },
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
    /// The store has what a step makes.
    StepCached {
        /// The step's id in the plan.
        id: &'e str,
        /// Length of what it made, in bytes.
        size: u64,
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
        #[serde(rename = "seconds", serialize_with = "seconds")]
        took: Duration,
    },
    /// Everything is built once more, to see whether it comes out the same.
    RebuildStarted {
        /// How many steps there are.
        steps: usize,
    },
    /// A step is built once more.
    StepRebuilt {
        /// The step's id.
        id: &'e str,
        /// Length of what it made, in bytes.
        size: u64,
        /// How long it took.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        took: Duration,
    },
    /// The second build came out as the first.
    RebuildDone {
        /// The BUILD-ID of both.
        build_id: &'e str,
    },
    /// Something that a person should know, which stops nothing.
    Warning {
        /// What.
        message: &'e str,
        /// The file that it is about, if it is about one.
        file: Option<&'e str>,
        /// Line in it, from 1.
        line: Option<usize>,
        /// Column in characters, from 1.
        column: Option<usize>,
        /// What to do about it.
        hint: Option<&'e str>,
    },
    /// The tree is published. Always the last.
    BuildDone {
        /// Its BUILD-ID.
        build_id: &'e str,
        /// Its directory.
        path: &'e str,
        /// Whether it was there before.
        unchanged: bool,
    },
    /// Nothing was published, or not what was asked for. Always the last.
    BuildFailed {
        /// What the process exits with.
        exit: u8,
        /// The message and its causes, outermost first.
        error: &'e [String],
        /// What to do about it.
        hint: Option<&'e str>,
    },
}

fn seconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
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

/// Several who listen, in this order.
pub struct Everyone<'o>(pub Vec<&'o dyn Observer>);

impl Observer for Everyone<'_> {
    fn notice(&self, event: Event<'_>) {
        for observer in &self.0 {
            observer.notice(event.clone());
        }
    }
}
