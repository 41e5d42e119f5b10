//! `prebake capi convert` and the provider's own converter: the same objects come out of both.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::judges::build;
use crate::world::{Run, repository};

/// Manifests of the seed's time, with what the provider's converter moves.
pub(super) const OLD: &str = include_str!("old.yaml");

/// The objects of a text whose variables are plain scalars.
fn objects(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    // A brace in brackets begins a mapping for readers that know no variables.
    let text = text.replace("[${VM_SSH_KEYS}]", "[\"${VM_SSH_KEYS}\"]");
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).unwrap()).filter(|value| !value.is_null()).collect()
}

#[test]
fn the_providers_own_converter_makes_the_same_objects() {
    let Some(peer) = build("cluster-api-convert") else { return };
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.yaml");
    fs::write(&old, OLD).unwrap();
    let theirs = Run::of(Command::new(peer.join("convert")).arg("-f").arg(&old).output().unwrap()).ok();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let ours = Run::of(command.args(["capi", "convert"]).arg(&old).output().unwrap()).ok();
    let (theirs, ours) = (objects(&theirs.stdout), objects(&ours.stdout));
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(sorted(theirs), sorted(ours), "{ours:#}");
    }
}

/// Arguments in the order of their names: theirs are a Go map's.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| {
                    let mut value = sorted(value);
                    if key.ends_with("xtraArgs")
                        && let Value::Array(items) = &mut value
                    {
                        items.sort_by_key(|item| item["name"].to_string());
                    }
                    (key.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_file_is_moved_in_place_once_and_what_is_left_ends_with_three() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("old.yaml");
    fs::write(&file, OLD).unwrap();
    let convert = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        Run::of(command.args(["capi", "convert"]).arg(&file).args(args).output().unwrap())
    };
    let run = convert(&["-o", file.to_str().unwrap()]).ok();
    assert!(run.stdout.is_empty() && run.stderr.contains("objects were moved"), "{}", run.stderr);
    let new = fs::read_to_string(&file).unwrap();
    let again = convert(&[]).ok();
    assert_eq!(again.stdout, new);
    assert!(again.stderr.contains("0 objects were moved"), "{}", again.stderr);
    let doctor = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        Run::of(command.args(["capi", "doctor"]).args(args).output().unwrap())
    };
    let run = doctor(&[file.to_str().unwrap()]);
    assert!(!run.stderr.contains("older Cluster API"), "{}", run.stderr);
    fs::write(&file, OLD).unwrap();
    doctor(&[file.to_str().unwrap()]).fails(3, &["error[old-fields]", "prebake capi convert"]);
    let document: Value = serde_json::from_str(&doctor(&["--json", file.to_str().unwrap()]).stdout).unwrap();
    assert!(
        document["error"]["findings"].as_array().unwrap().iter().any(|one| one["path"] == "old-fields"),
        "{document:#}"
    );
    doctor(&[]).fails(2, &["nothing to examine"]);
    fs::write(&file, "apiVersion: cluster.x-k8s.io/v1beta1\nkind: ClusterClass\nmetadata: {name: a}\n")
        .unwrap();
    convert(&[]).fails(3, &["ClusterClass a is left as it is", "one field or object was not moved"]);
}

/// Where the table is in the guide.
const GUIDE: &str = "docs/guides/cluster-api-migration.md";

#[test]
fn the_guide_has_the_tables_of_the_code() {
    let path = repository(GUIDE);
    let guide = fs::read_to_string(&path).unwrap();
    let mut expected = guide.clone();
    for (name, table) in
        [("words", prebake::capi::words::markdown()), ("rules", prebake::capi::doctor::markdown())]
    {
        let (begin, end) = (format!("<!-- {name}: made -->\n"), format!("<!-- {name}: end -->"));
        let (before, rest) = expected.split_once(&begin).unwrap_or_else(|| panic!("{begin} is missing"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{end} is missing"));
        expected = format!("{before}{begin}{table}{end}{after}");
    }
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    assert_eq!(guide, expected, "{GUIDE} is out of step: PREBAKE_BLESS=1 cargo test --test it capi");
}
