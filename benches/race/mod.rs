//! What the races share: contestants that take turns, medians, spreads and ratios; processor time and memory, where contestants
//! are programs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Contestants at the same work in the same run. The last one is whom the others are measured against.
pub struct Race {
    title: String,
    rows: Vec<(String, Vec<Duration>)>,
    /// Costs of the contestants that were measured.
    costs: Vec<(String, Vec<Cost>)>,
}

/// What a program cost beside time.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Seconds of processors, of its children too.
    pub cpu: f64,
    /// Most memory of one process, in MiB.
    pub memory: u64,
}

impl Race {
    /// A race without contestants yet.
    pub fn new(title: impl Into<String>) -> Self {
        Race { title: title.into(), rows: Vec::new(), costs: Vec::new() }
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

    /// One turn of a program, whose processor time and memory are kept, too.
    #[track_caller]
    pub fn program(&mut self, name: &str, command: &Command) {
        let started = Instant::now();
        let cost = measured(command);
        self.took(name, started.elapsed());
        match self.costs.iter_mut().find(|(known, _)| known == name) {
            Some((_, costs)) => costs.push(cost),
            None => self.costs.push((name.to_owned(), vec![cost])),
        }
    }

    /// The median time of a contestant, in seconds.
    pub fn seconds(&self, name: &str) -> f64 {
        let (_, times) = self.rows.iter().find(|(known, _)| known == name).unwrap();
        let mut times: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// The median of a contestant's processor times, in seconds, and the most memory that it had, in MiB.
    pub fn cost(&self, name: &str) -> Cost {
        let (_, costs) = self.costs.iter().find(|(known, _)| known == name).unwrap();
        let mut cpu: Vec<f64> = costs.iter().map(|cost| cost.cpu).collect();
        cpu.sort_by(f64::total_cmp);
        Cost { cpu: cpu[cpu.len() / 2], memory: costs.iter().map(|cost| cost.memory).max().unwrap() }
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
            let cost = self.costs.iter().any(|(known, _)| known == name).then(|| self.cost(name));
            let cost = cost.map_or_else(String::new, |Cost { cpu, memory }| {
                format!("  {cpu:.2} s of processors, {memory} MiB at its peak")
            });
            println!("  {name:24} {:>7.1?} ({min:.1?} … {max:.1?})  {ratio:.2}×{cost}", median(times));
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

/// Runs a contestant, which must succeed, and asks GNU time for its cost.
#[track_caller]
pub fn measured(command: &Command) -> Cost {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["--quiet", "-f", "%U %S %M"]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    let output = timed.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{said}");
    let numbers: Vec<f64> =
        said.lines().last().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
    Cost { cpu: numbers[0] + numbers[1], memory: numbers[2] as u64 >> 10 }
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
