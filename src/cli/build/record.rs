//! Records a build's events, for the reports about it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::count::counted;
use crate::base::event::{Event, Observer};

/// An observer that records events.
pub(crate) struct Record {
    began: Instant,
    happened: Mutex<Happened>,
}

/// The history of a build.
#[derive(Clone, Debug, Default)]
pub(crate) struct Happened {
    /// The recipe's path as given.
    pub recipe: String,
    /// Fetched inputs, in the order of their starts.
    pub fetches: Vec<Task>,
    /// Build steps, in the order of their starts.
    pub steps: Vec<Task>,
    /// The second build, if there was one.
    pub rebuild: Option<Task>,
    /// Warnings, each with its place.
    pub warnings: Vec<String>,
    /// Result of the build.
    pub end: End,
    /// Duration of the whole build.
    pub took: Duration,
}

/// Result of a build.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The tree was published.
    Done {
        /// The BUILD-ID.
        build_id: String,
    },
    /// The build failed.
    Failed {
        /// Exit code of the process.
        exit: u8,
        /// The message and its causes.
        error: Vec<String>,
        /// The way out, if there is one.
        hint: Option<String>,
    },
}

impl Default for End {
    /// Used if no event reports the end.
    fn default() -> Self {
        End::Failed { exit: 1, error: vec!["the build did not finish".into()], hint: None }
    }
}

/// A fetch or a step.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The input's or step's id.
    pub id: String,
    /// When it began, counted from the start of the build.
    pub began: Duration,
    /// Progress of the task.
    pub state: State,
    /// Length in bytes of the fetched or built object, once known.
    pub size: Option<u64>,
    /// Failures on the way, and signers.
    pub notes: Vec<String>,
}

/// Progress of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// Running since this time.
    Running(Instant),
    /// It took this long.
    Done(Duration),
    /// The store already had the object.
    Cached,
}

impl Task {
    fn new(id: &str, began: Duration, state: State) -> Self {
        Task { id: id.into(), began, state, size: None, notes: Vec::new() }
    }

    fn end(&mut self) {
        if let State::Running(began) = self.state {
            self.state = State::Done(began.elapsed());
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }
}

impl Record {
    /// An empty record that starts now.
    pub(crate) fn new(recipe: &str) -> Self {
        let happened = Happened { recipe: recipe.into(), ..Happened::default() };
        Record { began: Instant::now(), happened: Mutex::new(happened) }
    }

    /// The history up to now.
    pub(crate) fn finish(&self) -> Happened {
        let happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Happened { took: self.began.elapsed(), ..happened }
    }
}

/// The task of this id, added if it is missing; it is `now` since the start of the build.
fn task<'t>(tasks: &'t mut Vec<Task>, id: &str, now: Duration) -> &'t mut Task {
    let index = tasks.iter().position(|task| task.id == id).unwrap_or_else(|| {
        tasks.push(Task::new(id, now, State::Running(Instant::now())));
        tasks.len() - 1
    });
    &mut tasks[index]
}

impl Observer for Record {
    fn notice(&self, event: Event<'_>) {
        let mut happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.began.elapsed();
        let Happened { fetches, steps, rebuild, warnings, end, .. } = &mut *happened;
        match event {
            Event::FetchStarted { id, have, .. } => {
                let fetch = task(fetches, id, now);
                if have > 0 {
                    fetch.notes.push(format!("resumed: {have} bytes were already here"));
                }
            }
            Event::FetchWaiting { id } => {
                task(fetches, id, now)
                    .notes
                    .push("waited for another prebake process that was fetching it".into());
            }
            Event::FetchRetry { id, reason } => {
                task(fetches, id, now).notes.push(format!("retried: {reason}"))
            }
            Event::FetchDone { id, size, signer } => {
                let fetch = task(fetches, id, now);
                fetch.end();
                fetch.size = Some(size);
                fetch.notes.extend(signer.map(|signer| format!("signed by {signer}")));
            }
            Event::KeyStale { reason } => warnings.push(format!("{reason}; the copy in the store was used")),
            Event::Corrupt { id, why } => warnings.push(format!("{id} was corrupt in the store: {why}")),
            Event::StepCached { id, size, .. } => {
                let step = Task { size: Some(size), ..Task::new(id, now, State::Cached) };
                steps.push(step);
            }
            Event::StepStarted { id, .. } => drop(task(steps, id, now)),
            Event::StepDone { id, size, took } => {
                let step = task(steps, id, now);
                (step.size, step.state) = (Some(size), State::Done(took));
            }
            Event::RebuildStarted { steps } => {
                let began = Task::new(&counted(steps, "step"), now, State::Running(Instant::now()));
                *rebuild = Some(began);
            }
            Event::RebuildDone { .. } => rebuild.iter_mut().for_each(Task::end),
            Event::Warning { message, file, line, column, .. } => {
                let place = file.zip(line).zip(column);
                let place = place.map(|((file, line), column)| format!(" ({file}:{line}:{column})"));
                warnings.push(format!("{message}{}", place.unwrap_or_default()));
            }
            Event::BuildDone { build_id, .. } => *end = End::Done { build_id: build_id.into() },
            Event::BuildFailed { exit, error, hint } => {
                *end = End::Failed { exit, error: error.to_vec(), hint: hint.map(Into::into) };
            }
            Event::BuildStarted { .. }
            | Event::FetchPlanned { .. }
            | Event::FetchProgress { .. }
            | Event::StepRebuilt { .. } => {}
        }
    }
}
