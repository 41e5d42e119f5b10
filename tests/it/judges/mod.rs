//! Real Butane and real Ignition as judges of generated configs, real Matchbox as the judge of published trees.
//!
//! The judges are Go programs of `tests/peers`, built once into a cache. Without Go these tests fail; only
//! `PREBAKE_SKIP_JUDGES=1` lets them pass unheard, and never where `CI=true`.

mod boot;
pub(crate) mod browser;
mod configs;
pub(crate) mod containerd;
mod editor;
mod ignition;
mod imports;
mod inputs;
pub(crate) mod kernel;
pub(crate) mod matchbox;
pub mod properties;
mod sops;
pub(crate) mod terraform;
mod yaml;

use std::cell::RefCell;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use terraform::Terraform;

/// Builds a peer and returns the directory of its binaries, or nothing where judges are skipped on purpose.
pub(crate) fn build(peer: &str) -> Option<PathBuf> {
    prepare(peer, "build.sh", &[peer])
}

/// The directory of a judge that is a Python program, for `PYTHONPATH`, or nothing where judges are skipped on purpose.
pub(crate) fn python(peer: &str) -> Option<PathBuf> {
    prepare(peer, "python.sh", &[peer])
}

/// The judge of schemas that editors have, a program for Node, or nothing where judges are skipped on purpose.
fn editor() -> Option<Judge> {
    let program = prepare("editor", "npm.sh", &["editor"])?.join("judge.mjs");
    Some(Judge::of(Command::new("node").arg(program)))
}

/// OpenTofu, or nothing where judges are skipped on purpose.
pub(crate) fn terraform() -> Option<PathBuf> {
    Some(build("terraform")?.join("tofu"))
}

/// OpenTofu with Matchbox's provider, or nothing where judges are skipped on purpose.
pub(crate) fn provider() -> Option<Terraform> {
    Some(Terraform::of(&build("terraform")?))
}

/// The root of a file system with systemd 257, or nothing where judges are skipped on purpose.
pub(crate) fn systemd() -> Option<PathBuf> {
    prepare("systemd", "systemd.sh", &[])
}

/// The real Ignition itself, or nothing where judges are skipped on purpose.
pub(crate) fn ignition() -> Option<PathBuf> {
    prepare("ignition-lab", "ignition-lab.sh", &[])
}

/// Mermaid's script for browsers, or nothing where judges are skipped on purpose.
pub(crate) fn mermaid() -> Option<PathBuf> {
    prepare("mermaid", "mermaid.sh", &[])
}

fn prepare(judge: &str, script: &str, args: &[&str]) -> Option<PathBuf> {
    let ci = env::var("CI").is_ok_and(|ci| ci == "true");
    if !ci && env::var("PREBAKE_SKIP_JUDGES").is_ok_and(|skip| skip == "1") {
        eprintln!("skipped: PREBAKE_SKIP_JUDGES=1, the judge {judge} was not asked");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let output = Command::new(script).args(args).stderr(Stdio::inherit()).output().unwrap();
    assert!(
        output.status.success(),
        "the judge {judge} could not be had; PREBAKE_SKIP_JUDGES=1 does without"
    );
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

/// A judge that answers one line of JSON with another.
pub(crate) struct Judge {
    process: Child,
    // proptest's closures are `Fn`.
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Judge {
    /// Starts the judge of a peer.
    pub(crate) fn start(peer: &str) -> Option<Self> {
        Some(Judge::of(&mut Command::new(build(peer)?.join("judge"))))
    }

    /// Starts one by a command line of one's own.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let pipes = RefCell::new((process.stdin.take().unwrap(), answers));
        Judge { process, pipes }
    }

    /// Asks about one case.
    pub(crate) fn ask(&self, case: &Value) -> Value {
        let (ask, answers) = &mut *self.pipes.borrow_mut();
        writeln!(ask, "{case}").unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the judge broke down ({error}) at {case}"))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A runner for as many cases as `PREBAKE_CASES` says (2,000), from the seed `PREBAKE_SEED` (printed).
pub(crate) fn runner(what: &str) -> TestRunner {
    let number = |name: &str, default: u64| {
        env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    let (cases, seed) = (number("PREBAKE_CASES", 2000), number("PREBAKE_SEED", 4));
    eprintln!("{what}: {cases} cases from PREBAKE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: cases as u32, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
