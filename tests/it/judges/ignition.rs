//! Translating, validating and merging generated configs, beside Butane and Ignition.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prebake::base::finding::{Finding, Findings, Severity, Source};
use prebake::ignition::{self, Checked, Config, Spec, Transpile};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::configs::{Shape, config, yaml};
use super::{Judge, runner};
use crate::ignition::vectors::{cases, plain};

/// Where prebake speaks differently on purpose: the words of the originals, and why.
const OTHER_WORDS: [(&str, &str); 6] = [
    ("context tree does not match", "we say what is in the way"),
    ("json: cannot unmarshal", "Go names its own types"),
    ("rfc2396:", "Go's library names a character that is not the culprit"),
    ("illegal base64 data", "the position counts from the data, not from the config"),
    ("found garbage after section name", "Go quotes as Go does"),
    ("expected base64, got", "the rest of the URL is in the config anyway"),
];

/// Messages that stand at another line on purpose.
const OTHER_LINES: [(&str, &str); 2] = [
    ("invalid systemd unit extension", "beside a mount unit Butane names the list, we the nameless unit"),
    ("invalid systemd drop-in extension", "likewise"),
];

/// Vectors whose findings differ on purpose; the verdict does not.
const OTHER_FINDINGS: [(&str, &str); 2] = [
    (
        "ignition-merge_inline_not_json",
        "Butane counts lines inside the inline text, we point at what was written",
    ),
    ("syntax-truncated", "Go knows no place, we name the end of the text"),
];

/// A finding, as a judge and we tell it: severity, line (0 where it has none) and message.
type Said = (String, u64, String);

/// Each once and sorted, with what is worded differently cut to its constant part.
fn messages(said: impl Iterator<Item = Said>) -> Vec<Said> {
    let known = |(kind, line, message): Said| {
        let line = if OTHER_LINES.iter().any(|(words, _)| *words == message) { 0 } else { line };
        let other = OTHER_WORDS.iter().find(|(words, _)| message.contains(words));
        (kind, line, other.map_or(message, |(words, _)| (*words).to_owned()))
    };
    let mut messages: Vec<_> = said.map(known).collect();
    messages.sort();
    messages.dedup();
    messages
}

fn of_judge(entries: &Value) -> Vec<Said> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let said = |entry: &Value| (text(entry, "kind"), entry["line"].as_u64().unwrap(), text(entry, "message"));
    messages(entries.as_array().unwrap().iter().map(said))
}

fn of_ours(findings: &[Finding]) -> Vec<Said> {
    messages(findings.iter().map(|finding| {
        let line = finding.place.as_ref().map_or(0, |place| place.line as u64);
        (finding.severity.to_string(), line, finding.message.clone())
    }))
}

/// Files of every kind that a config can name.
fn files_dir(dir: &Path) {
    let write = |name: &str, contents: &[u8]| fs::write(dir.join(name), contents).unwrap();
    fs::create_dir_all(dir.join("dir/sub/deep")).unwrap();
    fs::create_dir_all(dir.join("tree/a")).unwrap();
    write("small", b"small\n");
    write("big", "a line that repeats\n".repeat(300).as_bytes());
    write("binary", &(0..=255).collect::<Vec<u8>>());
    write("keys", b"ssh-ed25519 AAAA a\r\n\nssh-rsa BBBB b\n \n");
    write("unit", b"[Unit]\nDescription=x\n");
    write("dir/nested", b"nested");
    write("dir/sub/b", b"b");
    write("dir/sub/deep/c.sh", b"#!/bin/sh\n");
    fs::set_permissions(dir.join("dir/sub/deep/c.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    write("tree/a/b", b"/a/b");
    write("tree/a-b", b"sorted before a/b by bytes, after it by walking");
    write("tree/etc", b"");
    symlink("../small", dir.join("tree/link")).unwrap();
}

/// Translates a config here and by Butane, and tells whether both accept it.
fn translated_alike(judge: &Judge, text: &str, options: &Transpile) -> Result<bool, TestCaseError> {
    let theirs = judge.ask(&json!({"config": text, "files_dir": options.files_dir}));
    let error = theirs["error"].as_str().unwrap();
    match ignition::transpile(&Source::new("config.bu", text), options) {
        Ok(Checked { config, warnings }) => {
            let said = &theirs["entries"];
            prop_assert!(error.is_empty(), "we accept, Butane says {error} {said}\n{text}");
            let wanted: Value = serde_json::from_str(theirs["ignition"].as_str().unwrap()).unwrap();
            let got: Value = serde_json::from_str(&config.to_json()).unwrap();
            prop_assert_eq!(plain(&got), plain(&wanted), "{}", text);
            prop_assert_eq!(of_ours(&warnings), of_judge(said), "{}", text);
            Ok(true)
        }
        Err(Findings(findings)) => {
            prop_assert!(!error.is_empty(), "Butane accepts, we say {findings:?}\n{text}");
            // What is no YAML or no known version is an error without entries there.
            let said = of_judge(&theirs["entries"]);
            if said.iter().any(|(kind, ..)| kind == "error") {
                prop_assert_eq!(of_ours(&findings), said, "{}", text);
            }
            Ok(false)
        }
    }
}

#[test]
fn generated_butane_is_translated_as_butane_does() {
    let Some(judge) = Judge::start("butane") else { return };
    let dir = tempfile::tempdir().unwrap();
    files_dir(dir.path());
    let options = Transpile { files_dir: Some(dir.path().to_owned()), ..Transpile::default() };
    let shapes = prop_oneof![
        (config(Shape { minor: 3, butane: true, flawed: 2 }), Just("1.0.0")),
        (config(Shape { minor: 4, butane: true, flawed: 2 }), Just("1.1.0")),
        (config(Shape { minor: 4, butane: true, flawed: 15 }), Just("1.1.0")),
    ];
    let translated = Cell::new(0);
    let cases = (shapes, 0..9_usize);
    let outcome = runner("transpile").run(&cases, |((config, version), flow_below)| {
        let text = format!("variant: flatcar\nversion: {version}\n{}", yaml(&config, flow_below.max(1)));
        if translated_alike(&judge, &text, &options)? {
            translated.set(translated.get() + 1);
        }
        Ok(())
    });
    outcome.unwrap();
    enough(translated.get());
}

/// Cases that were refused early say little.
fn enough(valid: u32) {
    eprintln!("{valid} of them were valid");
    assert!(valid > 300, "too few valid configs to say anything: {valid}");
}

fn ignition_text(config: &Value, spec: Spec) -> String {
    let mut config = config.clone();
    let members = config.as_object_mut().unwrap();
    let ignition = members.entry("ignition").or_insert_with(|| json!({}));
    ignition["version"] = spec.as_str().into();
    serde_json::to_string_pretty(&config).unwrap()
}

fn any_spec(flawed: u32) -> BoxedStrategy<(Value, Spec)> {
    let specs = Spec::ALL.into_iter().filter(|spec| *spec <= Spec::NEWEST).enumerate();
    let of = move |(minor, spec): (usize, Spec)| {
        let shape = Shape { minor: minor as u32, butane: false, flawed };
        (config(shape), Just(spec)).boxed()
    };
    proptest::strategy::Union::new(specs.map(of)).boxed()
}

/// Checks a config here and by ignition-validate, and tells whether both accept it.
fn judged_alike(judge: &Judge, source: &Arc<Source>) -> Result<bool, TestCaseError> {
    let text = &source.text;
    let theirs = judge.ask(&json!({"configs": [text]}));
    let verdict = &theirs["verdicts"][0];
    let error = verdict["error"].as_str().unwrap();
    let (accepted, findings) = match Config::parse(source) {
        Ok(Checked { warnings, .. }) => (true, warnings),
        Err(Findings(findings)) => (false, findings),
    };
    prop_assert_eq!(accepted, error.is_empty(), "we say {:?}, Ignition {}\n{}", findings, verdict, text);
    // Go stops at the first value of a wrong type, we tell all. What is no config has no entries there.
    let (ours, theirs) = (of_ours(&findings), of_judge(&verdict["entries"]));
    let misfits = |found: &[Said]| found.iter().any(|(.., message)| message.starts_with("json:"));
    if !misfits(&ours) && (accepted || !theirs.is_empty()) {
        prop_assert_eq!(ours, theirs, "{}", text);
    }
    Ok(accepted)
}

#[test]
fn generated_ignition_gets_the_verdict_of_ignition_validate() {
    let Some(judge) = Judge::start("ignition") else { return };
    let valid = Cell::new(0);
    let outcome = runner("validate").run(&prop_oneof![any_spec(1), any_spec(8)], |(config, spec)| {
        if judged_alike(&judge, &Source::new("config.ign", ignition_text(&config, spec)))? {
            valid.set(valid.get() + 1);
        }
        Ok(())
    });
    outcome.unwrap();
    enough(valid.get());
}

/// Merges valid configs here and by Ignition.
fn merged_alike(judge: &Judge, layers: &[Arc<Source>]) -> Result<(), TestCaseError> {
    let parsed = layers.iter().map(|layer| Config::parse(layer).unwrap().config);
    let texts: Vec<&str> = layers.iter().map(|layer| layer.text.as_str()).collect();
    let theirs = judge.ask(&json!({"configs": texts}));
    let wanted = theirs["merged"].as_str().unwrap();
    prop_assert!(!wanted.is_empty(), "Ignition refuses a layer: {}", theirs["verdicts"]);
    let wanted: Value = serde_json::from_str(wanted).unwrap();
    let ours = ignition::merge_all(parsed).raised(Spec::V3_7Experimental);
    let got: Value = serde_json::from_str(&ours.to_json()).unwrap();
    prop_assert_eq!(plain(&got), plain(&wanted), "{:?}", texts);
    Ok(())
}

#[test]
fn generated_layers_are_merged_as_ignition_does_at_boot() {
    let Some(judge) = Judge::start("ignition") else { return };
    let layer = any_spec(0)
        .prop_map(|(config, spec)| Source::new("layer.ign", ignition_text(&config, spec)))
        .prop_filter("layers are valid", |layer| Config::parse(layer).is_ok());
    let layers = prop::collection::vec(layer, 2..4);
    runner("merge").run(&layers, |layers| merged_alike(&judge, &layers)).unwrap();
}

/// Asks about every vector of a set and tells all that differ.
fn vectors_alike<T>(set: &str, ask: impl Fn(&Path) -> Result<T, TestCaseError>) {
    let known = |case: &Path| OTHER_FINDINGS.iter().any(|(name, _)| case.ends_with(name));
    let differ = |case: PathBuf| match ask(&case) {
        Err(_) if known(&case) => None,
        Err(why) => Some(format!("{}: {why}", case.display())),
        Ok(_) if known(&case) => Some(format!("{}: no longer differs", case.display())),
        Ok(_) => None,
    };
    let differences: Vec<String> = cases(set).into_iter().filter_map(differ).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn vector(case: &Path, name: &str) -> Arc<Source> {
    let bytes = fs::read(case.join(name)).unwrap();
    ignition::read_from(name, bytes.as_slice()).unwrap_or_else(|_| Source::new(name, ""))
}

#[test]
fn every_vector_is_translated_as_living_butane_does() {
    let Some(judge) = Judge::start("butane") else { return };
    vectors_alike("butane", |case| {
        let files_dir = Some(case.join("files")).filter(|dir| dir.is_dir());
        let options = Transpile { files_dir, experimental: true, ..Transpile::default() };
        translated_alike(&judge, &vector(case, "config.bu").text, &options)
    });
}

#[test]
fn every_vector_gets_the_verdict_of_living_ignition_validate() {
    let Some(judge) = Judge::start("ignition") else { return };
    vectors_alike("validate", |case| judged_alike(&judge, &vector(case, "config.ign")));
}

#[test]
fn every_vector_is_merged_as_living_ignition_does() {
    let Some(judge) = Judge::start("ignition") else { return };
    vectors_alike("merge", |case| {
        merged_alike(&judge, &[vector(case, "parent.ign"), vector(case, "child.ign")])
    });
}

#[test]
fn what_is_translated_is_valid_to_us_as_it_is_to_ignition() {
    let Some(judge) = Judge::start("ignition") else { return };
    let source = Source::new(
        "config.bu",
        "variant: flatcar\nversion: 1.1.0\nstorage:\n  filesystems:\n    - device: /dev/sda1\n      format: ext4\n      \
         path: /var/lib/x\n      with_mount_unit: true\n",
    );
    let config = ignition::transpile(&source, &Transpile::default()).unwrap().config;
    assert!(ignition::validate(&config).iter().all(|finding| finding.severity == Severity::Warning));
    let verdict = judge.ask(&json!({"configs": [config.to_json()]}));
    assert_eq!(verdict["verdicts"][0]["error"], "");
}
