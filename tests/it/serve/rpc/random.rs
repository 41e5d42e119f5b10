//! Sequences of random calls of real Matchbox and of ours, which share no state but what they were told.

use std::collections::VecDeque;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

use super::kit::Both;
use super::request::{by_id, config, group, list, profile, select};
use crate::judges::runner;

/// How many calls are told of where both differ.
const TOLD: usize = 12;

/// What both should come to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// The same.
    Alike,
    /// Matchbox stores it, ours does only with `--lenient`.
    Broken,
}
use Expected::{Alike, Broken};

/// Few names, so that calls meet.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "default", "x y", "é", ".dot", "a.json"])
}

fn names_of_files() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a.ign", "b.ignition", "c.yaml", "d.yaml.tmpl", "sub/e.ign", "f", "sub"])
}

fn metadata() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| if number.is_finite() { json!(number) } else { json!(0) }),
        (-1e25..1e25).prop_map(Value::from),
        (-1e-5..1e-5).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["<b>&'\"", "\u{2028}\u{2029}", "\u{7f}\u{0}\u{1b}", "\u{fffd}", "a\tb\\/"])
            .prop_map(Value::from),
    ];
    let any = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-cN<é]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    prop_oneof![
        6 => btree_map("[a-cN<é]{1,3}", any, 0..4).prop_map(|map| json!(map).to_string()),
        1 => prop::sample::select(vec!["", "null", "{}", " {\n}\t", "[]", "{", "{\"a\":1}}", "true", "{\"a\":1e400}", "{\"a\":1E+2,\"a\":[]}"])
            .prop_map(str::to_owned),
    ]
}

fn selector() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["mac", "os", "role", "uuid", "<a>"]);
    let value = prop::sample::select(vec![
        "52-54-00-AA-BB-01",
        "5254.00aa.bb02",
        "525400aabb03",
        "installed",
        "",
        "1",
    ]);
    btree_map(key, value, 0..3).prop_map(|map| json!(map))
}

fn is_mac(text: &str) -> bool {
    text.len() >= 12
}

fn put_group() -> impl Strategy<Value = (Value, Expected)> {
    let profile = prop::sample::select(vec!["a", "b", "é", "none", ""]);
    (name(), profile, selector(), metadata()).prop_map(|(id, profile, selector, metadata)| {
        let sound = selector["mac"].as_str().is_none_or(is_mac);
        // What Matchbox refuses by itself is alike, unless it is wrong in two ways.
        let expected = if sound || profile.is_empty() { Alike } else { Broken };
        (group(id, profile, &selector, &metadata), expected)
    })
}

fn put_profile() -> impl Strategy<Value = (Value, Expected)> {
    let words = || vec(prop::sample::select(vec!["/k", "--name x /i", "a=<&>", "", "é"]), 0..3);
    let boot = prop_oneof![
        1 => Just(json!(null)),
        4 => (words(), words()).prop_map(|(initrd, args)| json!({"kernel": "/k", "initrd": initrd, "args": args})),
    ];
    let id = prop_oneof![9 => name(), 1 => Just("")];
    let generic = prop::sample::select(vec!["f", "", "none"]);
    (id, boot, names_of_files(), generic, ".{0,4}").prop_map(|(id, boot, ignition, generic, name)| {
        let call =
            json!({"id": id, "name": name, "boot": boot, "ignitionId": ignition, "genericId": generic});
        (profile(&call), Alike)
    })
}

fn put_ignition() -> impl Strategy<Value = (Value, Expected)> {
    let raw = prop::sample::select(vec![
        (r#"{"ignition":{"version":"3.3.0"}}"#, true),
        (
            r#"{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/é","contents":{"source":"data:,a%20b"}}]}}"#,
            true,
        ),
        ("{\"ignition\": {\"version\": \"3.0.0\"}}\n", true),
        ("{}", false),
        ("", false),
        (r#"{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"relative"}]}}"#, false),
        (r#"{"ignition":{"version":"2.3.0"}}"#, false),
    ]);
    let butane = prop::sample::select(vec![
        ("variant: flatcar\nversion: 1.1.0\n", true),
        ("variant: flatcar\nversion: 1.0.0\npasswd: {users: [{name: core}]}\n", true),
        (
            "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /a, contents: {inline: \"{{.os}}\"}}]}\n",
            true,
        ),
        ("variant: flatcar\nversion: 9.9.9\n", false),
        ("variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: /a, contents: {local: x}}]}\n", false),
        ("variant: [\n", false),
        ("variant: flatcar\nversion: 1.1.0\n# {{end}}\n", false),
    ]);
    (names_of_files(), raw, butane).prop_map(|(name, raw, butane)| {
        let is_raw = name.ends_with(".ign") || name.ends_with(".ignition");
        let (text, sound) = if is_raw { raw } else { butane };
        (config("Ignition", name, text), if sound { Alike } else { Broken })
    })
}

fn put_generic() -> impl Strategy<Value = (Value, Expected)> {
    let text = prop_oneof![
        2 => prop::sample::select(vec![("{{.os}}\n", true), ("", true), ("<x>\r\n", true), ("{{.a", false), ("{{nope}}", false)])
            .prop_map(|(text, sound)| (text.as_bytes().to_vec(), sound)),
        1 => vec(any::<u8>().prop_filter("no template", |byte| *byte != b'{'), 0..40).prop_map(|bytes| (bytes, true)),
    ];
    (names_of_files(), text)
        .prop_map(|(name, (text, sound))| (config("Generic", name, text), if sound { Alike } else { Broken }))
}

fn call() -> impl Strategy<Value = (Value, Expected)> {
    let of_names =
        |calls: Vec<&'static str>| (prop::sample::select(calls), prop_oneof![9 => name(), 1 => Just("none")]);
    let of_files = |calls: Vec<&'static str>| (prop::sample::select(calls), names_of_files());
    let labels = btree_map(
        prop::sample::select(vec!["mac", "os", "role", "uuid", "<a>"]),
        prop::sample::select(vec!["52:54:00:aa:bb:01", "52-54-00-AA-BB-01", "installed", "", "1"]),
        0..4,
    );
    let of_labels = (prop::sample::select(vec!["SelectGroup", "SelectProfile"]), labels);
    prop_oneof![
        5 => put_group(),
        3 => put_profile(),
        3 => put_ignition(),
        2 => put_generic(),
        3 => of_names(vec!["GroupGet", "GroupDelete", "ProfileGet", "ProfileDelete"]).prop_map(|(call, id)| (by_id(call, id), Alike)),
        3 => of_files(vec!["IgnitionGet", "IgnitionDelete", "GenericGet", "GenericDelete"]).prop_map(|(call, id)| (by_id(call, id), Alike)),
        1 => prop::sample::select(vec!["GroupList", "ProfileList"]).prop_map(|call| (list(call), Alike)),
        3 => of_labels.prop_map(|(call, labels)| (select(call, &json!(labels)), Alike)),
    ]
}

/// What is asked over HTTP between two calls.
const ASKED: [&str; 6] = [
    "/ipxe",
    "/ignition?os=installed",
    "/generic?os=installed&role=1",
    "/metadata?mac=52-54-00-aa-bb-01",
    "/ignition?mac=52-54-00-aa-bb-02&os=1",
    "/grub?uuid=1",
];

/// Makes as many calls of both as the runner has cases, and an HTTP request after each.
fn play(what: &str, flags: &[&str], lenient: bool) {
    let Some(mut both) = Both::start(flags) else { return };
    let (mut runner, call) = (runner(what), call());
    let (mut last, mut refused) = (VecDeque::new(), 0);
    for turn in 0..runner.config().cases as usize {
        let (call, expected) = call.new_tree(&mut runner).unwrap().current();
        last.push_back(call.to_string());
        last.drain(..last.len().saturating_sub(TOLD));
        let _told = Told(&last);
        match expected {
            Broken if !lenient => refused += usize::from(both.fails(&call)),
            _ => drop(both.alike(&call)),
        }
        both.same_answer(ASKED[turn % ASKED.len()]);
    }
    eprintln!("{what}: {} calls of both, {refused} of them refused by ours", both.asked);
}

/// Tells of the last calls where one failed.
struct Told<'a>(&'a VecDeque<String>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|call| eprintln!("  {call}"));
        }
    }
}

#[test]
fn random_calls_come_to_the_same_as_with_matchbox_but_for_what_is_broken() {
    play("gRPC", &[], false);
}

#[test]
fn with_lenient_random_calls_come_to_the_same_as_with_matchbox() {
    play("gRPC with --lenient", &["--lenient"], true);
}
