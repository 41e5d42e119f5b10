//! Shows a build's events: as bars on a terminal, else as a line now and then. Everything goes to stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use crate::base::count::counted;
use crate::base::event::{Event, Observer};

/// Interval of progress lines without a terminal: CI systems end a job that prints nothing.
const INTERVAL: Duration = Duration::from_secs(5);

/// Name of the second build among the running tasks.
const REBUILD: &str = "second build";

/// An observer that shows progress to people.
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    shown: Arc<Mutex<Shown>>,
}

#[derive(Default)]
struct Shown {
    running: BTreeMap<String, Running>,
    total: Option<Total>,
}

struct Running {
    what: What,
    bar: ProgressBar,
    size: Option<u64>,
    started: Instant,
    /// Bytes so far, including `had` bytes from an earlier attempt.
    bytes: u64,
    had: u64,
}

enum What {
    Fetch,
    Build,
}

/// Total of all fetches.
struct Total {
    bar: ProgressBar,
    inputs: usize,
    done: usize,
    /// Bytes of the finished inputs.
    bytes: u64,
}

impl Shown {
    /// Updates the total's bar.
    fn add_up(&mut self) {
        let Some(total) = &mut self.total else { return };
        total.bar.set_message(format!("{} of {}", total.done, counted(total.inputs, "input")));
        total.bar.set_position(total.bytes + self.running.values().map(|fetch| fetch.bytes).sum::<u64>());
        if total.done == total.inputs {
            total.bar.finish_and_clear();
            self.total = None;
        }
    }
}

const KNOWN: &str = "  {msg:44!} {bar:24} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4}";
const UNKNOWN: &str = "  {msg:44!} {spinner} {bytes:>10} {elapsed}";

impl Progress {
    /// Shows bars if stderr is a terminal.
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        let shown = Arc::<Mutex<Shown>>::default();
        if bars.is_none() {
            let weak = Arc::downgrade(&shown);
            thread::spawn(move || tell_now_and_then(&weak));
        }
        Progress { bars, shown }
    }

    fn line(&self, text: String) {
        match &self.bars {
            // Printed above the bars; otherwise indicatif would draw over it.
            Some(bars) => bars.suspend(|| tell!("{text}")),
            None => tell!("{text}"),
        }
    }

    fn bar(&self, message: String, size: Option<u64>) -> ProgressBar {
        let bar = match (&self.bars, size) {
            (None, _) => ProgressBar::hidden(),
            (Some(bars), Some(size)) => bars.add(ProgressBar::new(size).with_style(style(KNOWN))),
            (Some(bars), None) => bars.add(ProgressBar::new_spinner().with_style(style(UNKNOWN))),
        };
        bar.set_message(message);
        bar
    }

    fn start(&self, what: What, id: &str, size: Option<u64>, had: u64) -> Running {
        let bar = self.bar(id.to_owned(), size);
        bar.set_position(had);
        // Bytes from an earlier attempt do not count towards the rate.
        bar.reset_eta();
        Running { what, bar, size, started: Instant::now(), bytes: had, had }
    }
}

/// Prints a line for each task that has run longer than the interval, until the `Progress` is dropped.
fn tell_now_and_then(shown: &Weak<Mutex<Shown>>) {
    loop {
        thread::sleep(INTERVAL);
        let Some(shown) = shown.upgrade() else { return };
        for (id, running) in &shown.lock().unwrap_or_else(PoisonError::into_inner).running {
            if running.started.elapsed() >= INTERVAL {
                tell!("{}", running.line(id));
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Running {
    fn line(&self, id: &str) -> String {
        match self.what {
            What::Fetch => {
                let of = self.size.map_or(String::new(), |size| format!(" of {}", HumanBytes(size)));
                format!("fetching {id}: {}{of}, {}", HumanBytes(self.bytes), self.rate())
            }
            What::Build => format!("building {id}: {}", short(self.started.elapsed())),
        }
    }

    fn rate(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        format!("{}/s", HumanBytes(((self.bytes - self.had) as f64 / seconds) as u64))
    }
}

impl Observer for Progress {
    fn notice(&self, event: Event<'_>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // A single input needs no total.
            Event::FetchPlanned { inputs, size } => {
                let bar = || self.bar(String::new(), size);
                shown.total = (inputs > 1).then(|| Total { bar: bar(), inputs, done: 0, bytes: 0 });
                shown.add_up();
            }
            Event::FetchStarted { id, size, have } => {
                if let Some(old) =
                    shown.running.insert(id.to_owned(), self.start(What::Fetch, id, size, have))
                {
                    old.bar.finish_and_clear();
                }
                if have > 0 {
                    self.line(format!("resumed  {id}: {} were already here", HumanBytes(have)));
                }
            }
            Event::FetchWaiting { id } => {
                self.line(format!("waiting  {id}: another prebake is fetching it into the same store"));
            }
            Event::FetchProgress { id, bytes } => {
                let Some(fetch) = shown.running.get_mut(id) else { return };
                fetch.bytes = bytes;
                fetch.bar.set_position(bytes);
                shown.add_up();
            }
            Event::FetchRetry { id, reason } => self.line(format!("retry    {id}: {reason}")),
            Event::FetchDone { id, size, signer } => {
                let rate = shown.running.remove(id).map_or(String::new(), |mut fetch| {
                    fetch.bar.finish_and_clear();
                    fetch.bytes = size;
                    format!(", {}", fetch.rate())
                });
                let signed = signer.map_or(String::new(), |signer| format!(", signed by {signer}"));
                self.line(format!("fetched  {id}: {}{rate}{signed}", HumanBytes(size)));
                if let Some(total) = &mut shown.total {
                    total.done += 1;
                    total.bytes += size;
                }
                shown.add_up();
            }
            Event::KeyStale { reason } => {
                self.line(format!("key      {reason}; the copy in the store is used"));
            }
            Event::Corrupt { id, why } => {
                self.line(format!("corrupt  {id}: {why}; set aside, it will be made again"));
            }
            Event::StepStarted { id } => {
                let step = self.start(What::Build, id, None, 0);
                step.bar.enable_steady_tick(Duration::from_millis(100));
                shown.running.insert(id.to_owned(), step);
            }
            Event::StepDone { id, size, took } => {
                if let Some(step) = shown.running.remove(id) {
                    step.bar.finish_and_clear();
                }
                self.line(format!("built    {id}: {} in {}", HumanBytes(size), short(took)));
            }
            Event::RebuildStarted { steps } => {
                shown.running.insert(REBUILD.into(), self.start(What::Build, REBUILD, None, 0));
                self.line(format!("rebuild  {} again, from the inputs only", counted(steps, "step")));
            }
            Event::StepRebuilt { id, size, took } => {
                self.line(format!("rebuilt  {id}: {} in {}", HumanBytes(size), short(took)));
            }
            Event::RebuildDone { build_id } => {
                if let Some(all) = shown.running.remove(REBUILD) {
                    all.bar.finish_and_clear();
                }
                self.line(format!("rebuilt  {build_id}: same result"));
            }
            Event::Warning { message, hint, .. } => {
                self.line(format!("warning  {message}"));
                if let Some(hint) = hint {
                    self.line(format!("         {hint}"));
                }
            }
            // The verb reports these itself.
            Event::BuildStarted { .. }
            | Event::StepCached { .. }
            | Event::BuildDone { .. }
            | Event::BuildFailed { .. } => {}
        }
    }
}

/// A duration for people.
pub(crate) fn short(took: Duration) -> String {
    match took.as_secs() {
        0 => format!("{} ms", took.as_millis()),
        1..60 => format!("{:.1} s", took.as_secs_f64()),
        _ => HumanDuration(took).to_string(),
    }
}
