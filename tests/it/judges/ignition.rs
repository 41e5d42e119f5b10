//! Translating, validating and merging generated configs, beside Butane and Ignition.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use prebake::ignition::{self, Checked, Config, Spec, Transpile};
use prebake::report::{Finding, Findings, Severity, Source};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::configs::{Shape, config, yaml};
use super::{Judge, runner};
use crate::vectors::plain;

/// Where prebake speaks differently on purpose: the words of the originals, and why.
const OTHER_WORDS: [(&str, &str); 6] = [
    ("context tree does not match", "we say what is in the way"),
    ("json: cannot unmarshal", "Go names its own types"),
    ("rfc2396:", "Go's library names a character that is not the culprit"),
    ("illegal base64 data", "the position counts from the data, not from the config"),
    ("found garbage after section name", "Go quotes as Go does"),
    ("expected base64, got", "the rest of the URL is in the config anyway"),
];

/// One thing that is said about a config: severity, line (0 where there is none), message.
type Said = (String, u64, String);

/// What a judge or we say, each once and sorted, with what is worded differently cut to its constant part.
fn messages(said: impl Iterator<Item = Said>) -> Vec<Said> {
    let known = |(severity, line, message): Said| {
        let other =
            OTHER_WORDS.iter().find(|(words, _)| message.starts_with(words) || message.contains(words));
        (severity, line, other.map_or(message.clone(), |(words, _)| (*words).to_owned()))
    };
    let mut messages: Vec<_> = said.map(known).collect();
    messages.sort();
    messages.dedup();
    messages
}

fn of_judge(entries: &Value) -> Vec<Said> {
    let field = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let said = |entry| (field(entry, "kind"), entry["line"].as_u64().unwrap(), field(entry, "message"));
    messages(entries.as_array().unwrap().iter().map(said))
}

fn of_ours(findings: &[Finding]) -> Vec<Said> {
    let said = |finding: &Finding| {
        let line = finding.place.as_ref().map_or(0, |place| place.line as u64);
        (finding.severity.to_string(), line, finding.message.clone())
    };
    messages(findings.iter().map(said))
}

fn fail(why: String) -> TestCaseError {
    TestCaseError::fail(why)
}

/// Files of every kind that a config can name.
fn files_dir(dir: &Path) {
    let write = |name: &str, contents: &[u8]| fs::write(dir.join(name), contents).unwrap();
    fs::create_dir_all(dir.join("dir/sub/deep")).unwrap();
    fs::create_dir_all(dir.join("tree/a")).unwrap();
    write("small", b"small\n");
    write("big", "a line that repeats\n".repeat(20).as_bytes());
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
        let theirs = judge.ask(&json!({"config": text, "files_dir": dir.path()}));
        let ours = ignition::transpile(&Source::new("config.bu", text.as_str()), &options);
        let error = theirs["error"].as_str().unwrap();
        match ours {
            Ok(Checked { config, warnings }) => {
                prop_assert!(
                    error.is_empty(),
                    "we accept, Butane says {error} {}\n{text}",
                    theirs["entries"]
                );
                let wanted: Value = serde_json::from_str(theirs["ignition"].as_str().unwrap()).unwrap();
                let got: Value = serde_json::from_str(&config.to_json()).unwrap();
                prop_assert_eq!(plain(&got), plain(&wanted), "{}", text);
                prop_assert_eq!(of_ours(&warnings), of_judge(&theirs["entries"]), "{}", text);
                translated.set(translated.get() + 1);
            }
            Err(Findings(findings)) => {
                prop_assert!(!error.is_empty(), "Butane accepts, we say {findings:?}\n{text}");
                if !error.contains("yaml") {
                    let (mut ours, mut theirs) = (of_ours(&findings), of_judge(&theirs["entries"]));
                    if text.contains("with_mount_unit: true") {
                        // Beside generated units Butane knows only where the list begins; we know the unit as well.
                        ours.iter_mut().chain(&mut theirs).for_each(|(_, line, _)| *line = 0);
                    }
                    prop_assert_eq!(ours, theirs, "{}", text);
                }
            }
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

#[test]
fn generated_ignition_gets_the_verdict_of_ignition_validate() {
    let Some(judge) = Judge::start("ignition") else { return };
    let valid = Cell::new(0);
    let outcome = runner("validate").run(&prop_oneof![any_spec(1), any_spec(8)], |(config, spec)| {
        let text = ignition_text(&config, spec);
        let theirs = judge.ask(&json!({"configs": [text]}));
        let verdict = &theirs["verdicts"][0];
        let error = verdict["error"].as_str().unwrap();
        let findings = match Config::parse(&Source::new("config.ign", text.as_str())) {
            Ok(Checked { warnings, .. }) => {
                prop_assert!(error.is_empty(), "we accept, Ignition says {verdict}\n{text}");
                valid.set(valid.get() + 1);
                warnings
            }
            Err(Findings(findings)) => {
                prop_assert!(!error.is_empty(), "Ignition accepts, we say {findings:?}\n{text}");
                findings
            }
        };
        // Go stops at the first value of a wrong type, we tell all.
        let misfits = |said: &[Said]| said.iter().any(|(_, _, message)| message.starts_with("json:"));
        let (ours, theirs) = (of_ours(&findings), of_judge(&verdict["entries"]));
        if !misfits(&ours) || !misfits(&theirs) {
            prop_assert_eq!(ours, theirs, "{}", text);
        }
        Ok(())
    });
    outcome.unwrap();
    enough(valid.get());
}

#[test]
fn generated_layers_are_merged_as_ignition_does_at_boot() {
    let Some(judge) = Judge::start("ignition") else { return };
    let merged = Cell::new(0);
    let layers = prop::collection::vec(any_spec(0), 2..4);
    let outcome = runner("merge").run(&layers, |layers| {
        let texts: Vec<String> = layers.iter().map(|(config, spec)| ignition_text(config, *spec)).collect();
        let parsed: Result<Vec<Config>, Findings> = texts
            .iter()
            .map(|text| Ok(Config::parse(&Source::new("layer.ign", text.as_str()))?.config))
            .collect();
        let Ok(parsed) = parsed else { return Ok(()) };
        let theirs = judge.ask(&json!({"configs": texts}));
        let wanted = theirs["merged"].as_str().unwrap();
        prop_assert!(!wanted.is_empty(), "Ignition refuses a layer: {}", theirs["verdicts"]);
        let wanted: Value = serde_json::from_str(wanted).map_err(|error| fail(error.to_string()))?;
        let ours = ignition::merge_all(parsed).raised(Spec::V3_7Experimental);
        let got: Value = serde_json::from_str(&ours.to_json()).map_err(|error| fail(error.to_string()))?;
        prop_assert_eq!(plain(&got), plain(&wanted), "{:?}", texts);
        merged.set(merged.get() + 1);
        Ok(())
    });
    outcome.unwrap();
    enough(merged.get());
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
