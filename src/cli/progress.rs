//! Shows a build's events: bars on a terminal, a line now and then elsewhere. Everything goes to stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use crate::event::{Event, Observer};

/// Without a terminal, a running fetch says where it is this often.
const INTERVAL: Duration = Duration::from_secs(5);

/// An observer for people.
pub struct Progress {
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    bar: ProgressBar,
    size: Option<u64>,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Bars if stderr is a terminal.
    pub fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Progress { bars, running: Mutex::default() }
    }

    fn line(&self, text: String) {
        match &self.bars {
            // Printed above the bars; indicatif would else draw over it.
            Some(bars) => bars.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn start(&self, id: &str, size: Option<u64>) -> Running {
        let now = Instant::now();
        let bar = match (&self.bars, size) {
            (None, _) => ProgressBar::hidden(),
            (Some(bars), Some(size)) => bars.add(ProgressBar::new(size).with_style(style(
                "  {msg:44!} {bar:24} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4}",
            ))),
            (Some(bars), None) => bars.add(
                ProgressBar::new_spinner().with_style(style("  {msg:44!} {spinner} {bytes:>10} {elapsed}")),
            ),
        };
        bar.set_message(id.to_owned());
        Running { bar, size, started: now, last_line: now }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn rate(bytes: u64, since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f64().max(1e-3);
    format!("{}/s", HumanBytes((bytes as f64 / seconds) as u64))
}

impl Observer for Progress {
    fn notice(&self, event: Event<'_>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::FetchStarted { id, size } => {
                if let Some(old) = running.insert(id.to_owned(), self.start(id, size)) {
                    old.bar.finish_and_clear();
                }
            }
            Event::FetchProgress { id, bytes } => {
                let Some(fetch) = running.get_mut(id) else { return };
                fetch.bar.set_position(bytes);
                if self.bars.is_none() && fetch.last_line.elapsed() >= INTERVAL {
                    fetch.last_line = Instant::now();
                    let of = fetch.size.map_or(String::new(), |size| format!(" of {}", HumanBytes(size)));
                    self.line(format!(
                        "fetching {id}: {}{of}, {}",
                        HumanBytes(bytes),
                        rate(bytes, fetch.started)
                    ));
                }
            }
            Event::FetchRetry { id, reason } => self.line(format!("again    {id}: {reason}")),
            Event::FetchDone { id, size, signer } => {
                let started = running.remove(id).map(|fetch| {
                    fetch.bar.finish_and_clear();
                    fetch.started
                });
                let rate = started.map_or(String::new(), |started| format!(", {}", rate(size, started)));
                let signed = signer.map_or(String::new(), |signer| format!(", signed by {signer}"));
                self.line(format!("fetched  {id}: {}{rate}{signed}", HumanBytes(size)));
            }
            Event::StepStarted { id } => {
                let step = self.start(id, None);
                step.bar.enable_steady_tick(Duration::from_millis(100));
                running.insert(id.to_owned(), step);
            }
            Event::StepDone { id, size, took } => {
                if let Some(step) = running.remove(id) {
                    step.bar.finish_and_clear();
                }
                self.line(format!("built    {id}: {} in {}", HumanBytes(size), short(took)));
            }
        }
    }
}

fn short(took: Duration) -> String {
    match took.as_secs() {
        0 => format!("{} ms", took.as_millis()),
        1..60 => format!("{:.1} s", took.as_secs_f64()),
        _ => HumanDuration(took).to_string(),
    }
}
