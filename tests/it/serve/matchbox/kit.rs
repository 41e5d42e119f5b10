//! The recorded cases of `tests/vectors/matchbox`: what real Matchbox (main of 2026-08-19, Go 1.26.8) answered.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use serde_json::Value;
use tempfile::TempDir;

use super::Served;
use crate::ignition::vectors::plain;
use crate::world::http::{Reply, send};
use crate::world::repository;

/// When every recorded file was written.
const WRITTEN: Duration = Duration::from_secs(1_767_323_045);
/// The data sets; only the first has assets.
const SETS: [(&str, &str); 4] = [
    ("main", "data"),
    ("nodefault", "data-nodefault"),
    ("twodefaults", "data-twodefaults"),
    ("nogroups", "data-nogroups"),
];
/// What git would not keep, or some copies of it not: links below `assets/links/`.
const LINKS: [(&str, &str); 4] = [
    ("dangling", "nowhere"),
    ("outside", "../../generic/motd.tmpl"),
    ("to-dir", "../flatcar"),
    ("to-file", "../plain.txt"),
];

/// The cases that Matchbox answers with an empty config, status 200; see `docs/guides/matchbox.md`. We refuse them.
const REFUSED: [&str; 8] = [
    "GET /ignition?ign=badjson",
    "GET /ignition?ign=bom",
    "GET /ignition?ign=bu-fcos-160",
    "GET /ignition?ign=empty",
    "GET /ignition?ign=invalid-dup",
    "GET /ignition?ign=raw-template",
    "GET /ignition?ign=text",
    "GET /ignition?ign=type-error",
];
/// Likewise, but valid: it is sent as it lies there.
const VERBATIM: (&str, &str) = ("GET /ignition?ign=v350", "ignition/v350.ign");

/// A copy of the recorded directories, as they were when they were recorded.
fn laid_out() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut rest = vec![PathBuf::new()];
    let mut all = Vec::new();
    while let Some(path) = rest.pop() {
        let (from, to) = (repository("tests/vectors/matchbox").join(&path), root.path().join(&path));
        if from.is_dir() {
            fs::create_dir_all(&to).unwrap();
            rest.extend(fs::read_dir(&from).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        } else {
            fs::copy(&from, &to).unwrap();
        }
        all.push(to);
    }
    let assets = root.path().join("data/assets");
    fs::create_dir_all(assets.join("emptydir")).unwrap();
    fs::create_dir_all(assets.join("links")).unwrap();
    for (name, target) in LINKS {
        symlink(target, assets.join("links").join(name)).unwrap();
    }
    all.extend([assets.join("emptydir"), assets.join("links")]);
    for path in all.iter().rev() {
        fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH + WRITTEN).unwrap();
    }
    root
}

fn ask(address: &str, case: &Value) -> Reply {
    let (method, path) = (case["method"].as_str().unwrap(), case["path"].as_str().unwrap());
    let mut request = format!("{method} {path} HTTP/1.1\nHost: {address}\nConnection: close\n");
    if method == "POST" {
        request += "Content-Length: 0\n";
    }
    for (name, value) in case["opts"]["headers"].as_object().into_iter().flatten() {
        request += &format!("{name}: {}\n", value.as_str().unwrap());
    }
    send(address, &(request + "\n"))
}

fn recorded_body(case: &Value) -> Vec<u8> {
    match case["body_text"].as_str() {
        Some(text) => text.into(),
        None => {
            let encoded = case["body_b64"].as_str().unwrap_or_default();
            base64::engine::general_purpose::STANDARD.decode(encoded).unwrap()
        }
    }
}

/// How an answer differs from a recorded one.
fn difference(case: &Value, reply: &Reply) -> Option<String> {
    let header = |name: &str| case["headers"][name].as_str();
    let differs = |what: &str, theirs: Option<&str>, ours: Option<&str>| {
        (theirs != ours).then(|| format!("{what}: {theirs:?}, not {ours:?}"))
    };
    if let Some(statuses) = case["opts"]["status_any"].as_array() {
        // The status of a redirect depends on the version of Go.
        let known = statuses.iter().any(|status| *status == reply.status);
        return match known {
            true => differs("location", header("location"), reply.header("location")),
            false => Some(format!("status {}", reply.status)),
        };
    }
    if case["status"] != reply.status {
        return Some(format!("status: {}, not {}", case["status"], reply.status));
    }
    let mut compared =
        vec!["content-range", "location", "accept-ranges", "x-content-type-options", "last-modified"];
    if case["method"] == "HEAD" {
        compared.push("content-length");
    }
    let mut found = differs("content-type", case["content_type"].as_str(), reply.header("content-type"));
    for name in compared {
        found = found.or_else(|| differs(name, header(name), reply.header(name)));
    }
    let (theirs, ours) = (recorded_body(case), &reply.body);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let same = theirs == *ours
        || match case["opts"]["cmp"].as_str() {
            // Matchbox's order is random.
            Some("env") => sorted(&text(&theirs)) == sorted(&text(ours)),
            // Two gzip encoders may differ; all else is equal byte for byte.
            Some("json") if text(ours).contains("gzip") => json(&theirs) == json(ours),
            _ => false,
        };
    found.or_else(|| (!same).then(|| format!("body:\n{}\nnot\n{}", text(&theirs), text(ours))))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.sort_unstable();
    lines
}

fn json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok().map(|value| plain(&value))
}

#[test]
fn every_recorded_answer_of_matchbox_is_ours_but_for_the_listed_differences() {
    let cases: BTreeMap<String, Value> =
        serde_json::from_slice(&fs::read(repository("tests/vectors/matchbox/expected.json")).unwrap())
            .unwrap();
    assert_eq!(cases.len(), 169);
    let root = laid_out();
    let (mut failed, mut asked, mut listed) = (Vec::new(), 0, 0);
    for (set, folder) in SETS {
        let directory = root.path().join(folder);
        let assets = if set == "main" { directory.join("assets") } else { PathBuf::new() };
        let served = Served::new(&directory, &["--assets-path", assets.to_str().unwrap()]);
        let of_set =
            cases.iter().filter_map(|(key, case)| Some((key.strip_prefix(set)?.strip_prefix(' ')?, case)));
        for (key, case) in of_set {
            asked += 1;
            let reply = ask(&served.address, case);
            let difference = match (REFUSED.contains(&key), key == VERBATIM.0) {
                (false, false) => difference(case, &reply),
                (refused, _) => {
                    listed += 1;
                    is_as_listed(case, &reply, refused, &directory)
                }
            };
            failed.extend(difference.map(|what| format!("{set} {key} ({}): {what}", case["note"])));
        }
    }
    assert_eq!((asked, listed), (169, REFUSED.len() + 1));
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
}

/// Whether a case that may differ does so as the table says: Matchbox sends an empty config, we none, or the file.
fn is_as_listed(case: &Value, reply: &Reply, refused: bool, directory: &Path) -> Option<String> {
    assert!(
        case["status"] == 200 && recorded_body(case).windows(12).any(|part| part == br#""version":"""#),
        "{case}"
    );
    let expected = match refused {
        true => (404, b"404 page not found\n".to_vec()),
        false => (200, fs::read(directory.join(VERBATIM.1)).unwrap()),
    };
    (expected != (reply.status, reply.body.clone())).then(|| format!("{} {}", reply.status, reply.text()))
}
