//! What the races share: contestants that take turns, medians, spreads and ratios.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Contestants at the same work in the same run. The last one is whom the others are measured against.
pub struct Race {
    title: String,
    rows: Vec<(String, Vec<Duration>)>,
}

impl Race {
    /// A race without contestants yet.
    pub fn new(title: impl Into<String>) -> Self {
        Race { title: title.into(), rows: Vec::new() }
    }

    /// One turn of one contestant.
    pub fn turn(&mut self, name: &str, work: impl FnOnce()) {
        let started = Instant::now();
        work();
        self.took(name, started.elapsed());
    }

    /// The time of a turn that was measured elsewhere.
    pub fn took(&mut self, name: &str, time: Duration) {
        match self.rows.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => times.push(time),
            None => self.rows.push((name.to_owned(), vec![time])),
        }
    }

    /// Prints the table, and keeps the times as `target/races/TITLE.json`.
    pub fn finish(mut self) {
        self.rows.iter_mut().for_each(|(_, times)| times.sort());
        let median = |times: &[Duration]| times[times.len() / 2];
        let Some((peer, of_peer)) = self.rows.last() else { return };
        let reference = median(of_peer).as_secs_f64();
        println!("{}: median (min … max), how many times as fast as {peer}", self.title);
        for (name, times) in &self.rows {
            let ratio = reference / median(times).as_secs_f64();
            let (min, max) = (times[0], times[times.len() - 1]);
            println!("  {name:24} {:>7.1?} ({min:.1?} … {max:.1?})  {ratio:.2}×", median(times));
        }
        let seconds = |(name, times): &(String, Vec<Duration>)| {
            (
                name.clone(),
                times.iter().map(|time| time.as_secs_f64().into()).collect::<Vec<serde_json::Value>>().into(),
            )
        };
        let json: serde_json::Map<String, serde_json::Value> = self.rows.iter().map(seconds).collect();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/races");
        fs::create_dir_all(&directory).unwrap();
        let name = self.title.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        fs::write(directory.join(format!("{name}.json")), serde_json::to_vec_pretty(&json).unwrap()).unwrap();
    }
}

/// Runs a contestant, which must succeed.
#[track_caller]
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that do not compress and that no file system stores sparsely.
pub fn noise(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(|_| next()).collect()
}
