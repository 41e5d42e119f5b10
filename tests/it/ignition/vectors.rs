//! The vectors of `tests/vectors/ignition`, through the binary: what real Butane, Ignition and ignition-validate said.
//!
//! A case is a directory; `cmd`, `expected.*` and `lines` say what is asked. Output is compared as JSON, where gzip data
//! URLs count by their decompressed bytes. A refusal must name one of the lines that the original names.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use prebake::base::finding::Severity;
use prebake::flatcar::quirks;
use prebake::ignition::{self, Transpile, boot};
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/ignition");

/// The directories of a set, sorted.
pub(crate) fn cases(set: &str) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> =
        fs::read_dir(Path::new(CASES).join(set)).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Runs every case of a set and tells all that fail.
fn run(set: &str, expected: usize, check: impl Fn(&Path) -> Result<(), String>) {
    let cases = cases(set);
    assert_eq!(cases.len(), expected, "cases of {set}");
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let name = case.file_name().unwrap().to_string_lossy();
            check(case).err().map(|why| format!("{set}/{name}: {why}"))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {expected} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_butane_vector_is_translated_as_butane_does() {
    run("butane", 149, |case| {
        let command = read(case, "cmd").unwrap();
        let mut arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        if case.file_name().unwrap().to_string_lossy().starts_with("experimental-") {
            arguments.push("--experimental");
        }
        let output = prebake(case, "transpile", &arguments);
        match read(case, "expected.err") {
            Some(wanted) => refused(case, &output, &wanted),
            None => accepted(&output).and_then(|()| same_output(case, &output, true)).and_then(|()| {
                let warnings = read(case, "expected.warn").unwrap_or_default();
                mentions_all(&text(&output.stderr), &lines_of(&warnings))
            }),
        }
    });
}

#[test]
fn every_merge_vector_is_merged_as_ignition_does() {
    run("merge", 52, |case| {
        let output = prebake(case, "merge", &["parent.ign", "child.ign"]);
        accepted(&output).and_then(|()| same_output(case, &output, false))
    });
}

#[test]
fn every_validate_vector_gets_the_verdict_of_ignition_validate() {
    run("validate", 119, |case| {
        let output = prebake(case, "validate", &["config.ign"]);
        let wanted = read(case, "expected.txt").unwrap();
        if wanted.contains("\nexit code: 0\n") { accepted(&output) } else { refused(case, &output, &wanted) }
    });
}

/// Vectors that are valid and yet certain to fail at the boot of a Flatcar machine: case, and a word of the reason.
const DOOMED: [(&str, &str); 5] = [
    ("ignition-merge_local_not_validated", "embedded config"),
    ("ignition-merge_and_replace_coexist", "embedded config"),
    ("inline-already_compressed", "not gzip"),
    ("trees-big_file_gzip", "/usr is read-only"),
    ("hash-not_hex_but_right_size_ok", "hexadecimal"),
];

#[test]
fn no_vector_is_said_to_fail_at_its_boot_that_would_not() {
    let mut doomed = Vec::new();
    for (set, name) in
        [("butane", "config.bu"), ("merge", "parent.ign"), ("merge", "child.ign"), ("validate", "config.ign")]
    {
        for case in cases(set) {
            let files_dir = Some(case.join("files")).filter(|dir| dir.is_dir());
            let options = Transpile { files_dir, ..Transpile::default() };
            let Ok(checked) = ignition::load(&case.join(name), &options) else { continue };
            let found = boot::failures(&checked.config, Some(quirks::system("4593.2.5".parse().unwrap())))
                .into_iter();
            let errors = found.filter(|finding| finding.severity == Severity::Error);
            let case = case.file_name().unwrap().to_string_lossy().into_owned();
            doomed.extend(errors.map(|finding| (case.clone(), finding.message)));
        }
    }
    let known = |(case, message): &&(String, String)| {
        DOOMED.iter().any(|(name, word)| case == name && message.contains(word))
    };
    let (known, unknown): (Vec<_>, Vec<_>) = doomed.iter().partition(known);
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(known.len() >= DOOMED.len(), "{known:#?}");
}

fn prebake(case: &Path, verb: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["ignition", verb]).args(arguments).current_dir(case).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(case: &Path, name: &str) -> Option<String> {
    fs::read(case.join(name)).ok().map(|bytes| text(&bytes))
}

fn accepted(output: &Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("refused: {}{}", text(&output.stderr), text(&output.stdout))),
    }
}

fn refused(case: &Path, output: &Output, wanted: &str) -> Result<(), String> {
    if output.status.code() != Some(3) {
        return Err(format!("ended with {} instead of exit code 3", output.status));
    }
    let told = text(&output.stderr) + &text(&output.stdout);
    let body = wanted.split_once("---\n").map_or(wanted, |(_, body)| body);
    let mut lines = lines_of(body);
    if lines.is_empty() {
        return Ok(());
    }
    lines.extend(
        read(case, "lines").unwrap_or_default().split_whitespace().map(|line| line.parse::<usize>().unwrap()),
    );
    match lines.iter().any(|line| mentions(&told, *line)) {
        true => Ok(()),
        false => Err(format!("none of the lines {lines:?} is named in: {told}")),
    }
}

/// The lines that the original names: `file:LINE:COL`, `line LINE col COL`, `line LINE:`.
fn lines_of(told: &str) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for line in told.lines() {
        let arrow = line.trim_start().strip_prefix("--> ").and_then(|place| place.rsplit(':').nth(1));
        let word =
            line.split_once("line ").map(|(_, rest)| rest.split([' ', ':']).next().unwrap_or_default());
        lines.extend(
            arrow.or(word).and_then(|number| number.parse::<usize>().ok()).filter(|number| *number > 0),
        );
    }
    lines
}

fn mentions(told: &str, line: usize) -> bool {
    told.contains(&format!(":{line}:")) || told.contains(&format!("line {line} "))
}

fn mentions_all(told: &str, lines: &BTreeSet<usize>) -> Result<(), String> {
    match lines.iter().find(|line| !mentions(told, **line)) {
        None => Ok(()),
        Some(line) => Err(format!("no warning for line {line} in: {told}")),
    }
}

fn same_output(case: &Path, output: &Output, butane: bool) -> Result<(), String> {
    let Some(wanted) = read(case, "expected.ign").filter(|wanted| !wanted.trim().is_empty()) else {
        return if output.stdout.is_empty() { Ok(()) } else { Err("output where none is expected".into()) };
    };
    let got: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let alternative = read(case, "expected.alt.ign");
    let mut accepted = [Some(wanted), alternative].into_iter().flatten();
    let matches = accepted.any(|wanted| {
        let mut wanted: Value = serde_json::from_str(&wanted).unwrap();
        if !butane {
            // The higher version of the two inputs is as good as the one that all inputs were raised to.
            wanted["ignition"]["version"] = got["ignition"]["version"].clone();
        }
        plain(&wanted) == plain(&got)
    });
    if matches { Ok(()) } else { Err(format!("different output: {}", text(&output.stdout))) }
}

/// A config without what means nothing, and with gzip data URLs unpacked.
pub(crate) fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let nothing = |key: &str, value: &Value| match value {
                Value::Null => true,
                Value::Object(members) => members.is_empty(),
                Value::Array(items) => items.is_empty(),
                value => key == "number" && *value == 0,
            };
            let members = members.iter().map(|(key, value)| (key.clone(), plain(value)));
            let mut members: serde_json::Map<_, _> =
                members.filter(|(key, value)| !nothing(key, value)).collect();
            let zipped = members.get("compression").is_some_and(|compression| compression == "gzip");
            if let Some(Value::String(source)) = members.get_mut("source").filter(|_| zipped)
                && let Some(bytes) = source.split_once(";base64,").map(|(_, data)| data)
                && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(bytes)
            {
                let mut unpacked = Vec::new();
                if flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).is_ok() {
                    *source =
                        format!("unpacked:{}", base64::engine::general_purpose::STANDARD.encode(unpacked));
                }
            }
            members.sort_keys();
            Value::Object(members)
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        value => value.clone(),
    }
}
