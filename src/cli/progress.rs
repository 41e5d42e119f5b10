//! Shows a build's events: as bars on a terminal, else as a line now and then. Everything goes to stderr.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::fit::{elided, fitted};
use super::screen::Screen;
use super::terminal;
use crate::base::count::counted;
use crate::base::event::{Event, Observer};

/// Interval of progress lines without a terminal: CI systems end a job that prints nothing.
const INTERVAL: Duration = Duration::from_secs(5);

/// Most times a second that the rows are drawn.
const FRAMES: u8 = 10;

/// Interval of drawing a row without news.
const TICK: Duration = Duration::from_millis(250);

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
    /// A file, of which bytes come or go.
    File,
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
        total.bar.set_style(style(format!("{} of {}", total.done, counted(total.inputs, "input"))));
        total.bar.set_position(total.bytes + self.running.values().map(|fetch| fetch.bytes).sum::<u64>());
        if total.done == total.inputs {
            total.bar.finish_and_clear();
            self.total = None;
        }
    }
}

/// Columns of a row of progress at most, and of a name and a bar in it.
const WIDEST: usize = 120;
const LONGEST_NAME: usize = 50;
const LONGEST_BAR: usize = 24;
/// Rows narrower than these have no bar, or no total size.
const WITH_BAR: usize = 100;
const WITH_TOTAL: usize = 76;
/// Lines about finished inputs have no rate below this width.
const WITH_RATE: usize = 80;

/// A task in numbers.
struct Numbers {
    bytes: u64,
    size: Option<u64>,
    rate: f64,
    eta: Duration,
    elapsed: Duration,
}

/// A row of progress of at most this many columns: the task's name and, as far as they fit, a bar, its share, bytes, rate and
/// remaining time. Rows of the same width have their parts one below the other.
fn row(name: &str, columns: usize, numbers: &Numbers) -> String {
    let columns = columns.min(WIDEST);
    let Some(size) = numbers.size else {
        let bytes =
            if numbers.bytes > 0 { format!("{}  ", HumanBytes(numbers.bytes)) } else { String::new() };
        let rest = format!("  {bytes}{}", short(numbers.elapsed));
        let width = columns.saturating_sub(2 + rest.chars().count()).min(LONGEST_NAME);
        return format!("  {:width$}{rest}", elided(name, width));
    };
    let share = if size == 0 { 1.0 } else { (numbers.bytes as f64 / size as f64).min(1.0) };
    let mut rest = format!(" {:>3}% {:>10}", (share * 100.0) as u64, HumanBytes(numbers.bytes).to_string());
    if columns >= WITH_TOTAL {
        let _ = write!(rest, " of {:10}", HumanBytes(size).to_string());
    }
    let rate = format!("{}/s", HumanBytes(numbers.rate.max(0.0) as u64));
    let eta = match numbers.eta.as_secs() {
        0 => String::new(),
        seconds @ 1..=99 => format!("{seconds}s"),
        seconds @ 100..=5999 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    };
    let _ = write!(rest, " {rate:>13} {eta:>4}");
    let room = columns.saturating_sub(2 + rest.chars().count());
    let bar = if columns >= WITH_BAR { (room / 3).min(LONGEST_BAR) } else { 0 };
    let full = ((bar as f64) * share) as usize;
    let bar = match bar {
        0 => String::new(),
        _ => format!(" {}{}", "█".repeat(full), "░".repeat(bar - full)),
    };
    let width = room.saturating_sub(bar.chars().count()).min(LONGEST_NAME);
    format!("  {:width$}{bar}{rest}", elided(name, width))
}

/// Draws a task's row, as wide as the terminal is at that moment.
fn style(name: String) -> ProgressStyle {
    let draw = move |state: &ProgressState, out: &mut dyn Write| {
        let numbers = Numbers {
            bytes: state.pos(),
            size: state.len(),
            rate: state.per_sec(),
            eta: state.eta(),
            elapsed: state.elapsed(),
        };
        // The last column stays free: some terminals wrap a row that fills it.
        let columns = terminal::columns_of_stderr().unwrap_or(terminal::WIDEST).saturating_sub(1);
        let _ = out.write_str(&row(&name, columns, &numbers));
    };
    let style = ProgressStyle::with_template("{row}").unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("row", draw)
}

impl Progress {
    /// Shows bars if stderr is a terminal.
    pub(crate) fn new() -> Self {
        let is_drawn = terminal::columns_of_stderr().is_some() && !terminal::is_quiet();
        let target = || ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), FRAMES);
        let bars = is_drawn.then(|| MultiProgress::with_draw_target(target()));
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
            Some(bars) => {
                let columns = terminal::columns_of_stderr().unwrap_or(usize::MAX);
                bars.suspend(|| tell!("{}", fitted(&text, columns)));
            }
            None => tell!("{text}"),
        }
    }

    /// A line for --verbose, which is never shortened.
    fn detail(&self, text: impl FnOnce() -> String) {
        match &self.bars {
            _ if !terminal::is_verbose() => {}
            Some(bars) => bars.suspend(|| tell!("{}", text())),
            None => tell!("{}", text()),
        }
    }

    fn bar(&self, message: String, size: Option<u64>) -> ProgressBar {
        let Some(bars) = &self.bars else { return ProgressBar::hidden() };
        let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let bar = bars.add(bar.with_style(style(message)));
        // A row is drawn anew though nothing arrives, because the terminal may have another width by then.
        bar.enable_steady_tick(TICK);
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

/// A long file that is read or written, shown as long as this lives.
pub(crate) struct Passing {
    progress: Progress,
    name: String,
}

impl Passing {
    /// Shows a file; `name` says what is done to it, too. Its length in bytes may be unknown yet.
    pub(crate) fn new(name: String, length: Option<u64>) -> Self {
        let progress = Progress::new();
        let running = progress.start(What::File, &name, length, 0);
        progress.shown.lock().unwrap_or_else(PoisonError::into_inner).running.insert(name.clone(), running);
        Passing { progress, name }
    }

    /// So many bytes of it went by, of as many as are known by now.
    pub(crate) fn at(&self, bytes: u64, length: Option<u64>) {
        let mut shown = self.progress.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = shown.running.get_mut(&self.name) else { return };
        if let Some(length) = length.filter(|length| running.size != Some(*length)) {
            running.size = Some(length);
            running.bar.set_length(length);
        }
        running.bytes = bytes;
        running.bar.set_position(bytes);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut shown = self.progress.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shown.running.remove(&self.name) {
            running.bar.finish_and_clear();
        }
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

impl Running {
    fn line(&self, id: &str) -> String {
        match self.what {
            What::Fetch => {
                let of = self.size.map_or(String::new(), |size| format!(" of {}", HumanBytes(size)));
                format!("fetching {id}: {}{of}, {}", HumanBytes(self.bytes), self.rate())
            }
            What::Build => format!("building {id}: {}", short(self.started.elapsed())),
            What::File => {
                let of = self.size.map_or(String::new(), |size| format!(" of {}", HumanBytes(size)));
                format!("{id}: {}{of}", HumanBytes(self.bytes))
            }
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
            Event::FetchStarted { id, size, have, url } => {
                if let Some(old) =
                    shown.running.insert(id.to_owned(), self.start(What::Fetch, id, size, have))
                {
                    old.bar.finish_and_clear();
                }
                self.detail(|| {
                    let size = size.map_or("of unknown size".to_owned(), |size| HumanBytes(size).to_string());
                    format!("fetching {id}: {size} from {url}")
                });
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
                    let is_narrow = terminal::columns_of_stderr().is_some_and(|columns| columns < WITH_RATE);
                    if is_narrow { String::new() } else { format!(", {}", fetch.rate()) }
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
            Event::StepCached { id, size, key } => {
                self.detail(|| {
                    format!("cached   {id}: {}, the store has it under key {key}", HumanBytes(size))
                });
            }
            Event::StepStarted { id, key } => {
                self.detail(|| format!("building {id}: the store has nothing under its key {key}"));
                shown.running.insert(id.to_owned(), self.start(What::Build, id, None, 0));
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
            Event::BuildStarted { .. } | Event::BuildDone { .. } | Event::BuildFailed { .. } => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars had 113 columns, and wrapped at 110, 80 and 60 (ux.md, §2).
    #[test]
    fn a_row_of_progress_fits_every_width_from_sixty_columns_and_says_how_far_it_is() {
        let name = "flatcar/amd64/flatcar_production_pxe_image.cpio.gz";
        let second = Duration::from_secs(1);
        for columns in 60..=200 {
            for (bytes, size) in
                [(0, 41_660_234), (41_660_234, 41_660_234), (1_015_292_974, 1_099_511_627), (0, 0)]
            {
                let numbers =
                    Numbers { bytes, size: Some(size), rate: 1_023.99e6, eta: 59 * second, elapsed: second };
                let row = row(name, columns, &numbers);
                assert!(row.chars().count() <= columns, "{columns}: {row}");
                assert!(
                    row.contains(".cpio.gz") && row.contains('%') && row.contains("/s"),
                    "{columns}: {row}"
                );
            }
            let numbers = Numbers { bytes: 0, size: None, rate: 0.0, eta: second, elapsed: 90 * second };
            assert!(row(name, columns, &numbers).chars().count() <= columns);
        }
    }
}
