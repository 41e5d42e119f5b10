//! Runs of the binary that are killed somewhere between their start and their end, however fast the machine is at that moment.

use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// About how long a run takes now: it is learned from every run, for the machine may be ten times slower or faster by the next.
pub struct Span(Duration);

/// How much longer the next run is taken to last than the one that was killed.
const GROWTH: f64 = 1.25;

impl Span {
    /// Of something that was done once, to its end.
    pub fn of(run: impl FnOnce()) -> Span {
        let started = Instant::now();
        run();
        Span(started.elapsed())
    }

    /// Starts a run and kills it after a part of its span, from 0 to 1; whether it was killed before its end.
    pub fn kill(&mut self, command: &mut Command, part: f64) -> bool {
        let mut child = command.spawn().unwrap();
        let pause = self.0.mul_f64(part);
        thread::sleep(pause);
        let ended = end(&mut child);
        // One that was faster takes less than this; one that was not may take longer than was thought, within reason.
        self.0 = match ended {
            true => self.0.mul_f64(GROWTH).min(Duration::from_secs(60)),
            false => self.0.min(pause).max(Duration::from_millis(1)),
        };
        ended
    }
}

/// Kills a run; whether it was before its end.
fn end(child: &mut Child) -> bool {
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}
