//! Real Matchbox beside ours on the same directory, which changes all the time.

use std::fs;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Directory;
use crate::judges::{matchbox::start_matchbox, runner};
use crate::world::http::{Reply, send};

/// One state of a directory and what is asked of it.
#[derive(Clone, Debug)]
struct Case {
    groups: Vec<String>,
    profiles: Vec<String>,
    asked: Vec<String>,
}

/// The profiles' files. A group may also name what is not there, or one of these in other words.
const PROFILES: [&str; 3] = ["a", "b", "sub/c"];
const TEMPLATES: [(&str, &str); 7] = [
    ("generic/all", "{{range $key, $value := .}}{{$key}}={{$value}}\n{{end}}"),
    ("generic/os", "<html>{{.os}} {{index .request.query \"os\"}}"),
    ("generic/n", "{{.n}}"),
    ("cloud/all", "#cloud-config\nhostname: {{.os}}\n"),
    ("cloud/bad", "#cloud-config\n{{.request.raw_query}}: [\n"),
    (
        "ignition/x.ign",
        r#"{"ignition":{"version":"3.2.0"},"storage":{"luks":[{"name":"d","device":"/dev/d"}]},"more":1}"#,
    ),
    ("ignition/y", "variant: flatcar\nversion: 1.0.0\npasswd: {users: [{name: \"{{.os}}\"}]}\n"),
];

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e30..1e30).prop_map(Value::from),
        prop::sample::select(vec!["", "x", "a b", "ü✓", "<&>'\"", "one\ntwo"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map("[a-cN]{1,2}|d-e|straße", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn selector() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["mac", "MAC", "os", "Os", "role", "uuid", "a", "a-b"]);
    let value = prop::sample::select(vec![
        json!("52-54-00-AA-BB-01"),
        json!("5254.00aa.bb02"),
        json!("525400aabb01"),
        json!("installed"),
        json!("x y"),
        json!(""),
        json!(null),
        json!("1"),
    ]);
    // Of two keys that differ in case only, Matchbox's metadata has one or the other, in the order of a Go map: any.
    btree_map(key, value, 0..3).prop_map(|mut map: std::collections::BTreeMap<&str, Value>| {
        for (one, other) in [("os", "Os"), ("mac", "MAC")] {
            if map.contains_key(one) {
                map.remove(other);
            }
        }
        json!(map)
    })
}

/// A group's text, sometimes with the oddities that Go's decoder takes.
fn group() -> impl Strategy<Value = String> {
    let profile = prop::sample::select(vec!["a", "b", "sub/c", "./a", "sub//c", "../profiles/b", "gone", ""]);
    let metadata = btree_map("n|os|m|[a-c]|request|dash-key", json_value(), 0..4);
    let oddity = prop::sample::select(vec![
        "",
        "",
        "",
        r#","Profile":"b""#,
        r#","PROFILE":null"#,
        r#","selector":{"os":"installed"}"#,
        r#","metadata":{"n":1e21,"deep":{"x":{"y":0.000001}}}"#,
        r#","unknown":[{}]"#,
        r#","selector":7"#,
        r#","name":false"#,
        ",",
    ]);
    (profile, selector(), metadata, oddity).prop_map(|(profile, selector, metadata, oddity)| {
        let (profile, metadata) = (json!(profile), json!(metadata));
        let oddity = if selector.get("Os").is_some() && oddity.contains(r#""os""#) { "" } else { oddity };
        format!(r#"{{"profile":{profile},"selector":{selector},"metadata":{metadata}{oddity}}}"#)
    })
}

fn profile() -> impl Strategy<Value = String> {
    let id = |names: Vec<&'static str>| prop::sample::select(names);
    let boot = prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!({"kernel": "k", "initrd": ["i", "--name x j"], "args": ["a", "", "b=<{{.os}}>"]})),
        Just(json!({"Kernel": "k2", "INITRD": [null], "cmdline": {"a": "b"}})),
        Just(json!([])),
    ];
    let ignition = id(vec!["x.ign", "y", "", "gone", "../ignition/x.ign", "./y", "x.ign/"]);
    let generic = id(vec!["all", "os", "n", "", "../ignition/y"]);
    (id(vec!["p", ""]), boot, ignition, generic, id(vec!["all", "bad", ""])).prop_map(
        |(id, boot, ignition, generic, cloud)| {
            let profile = json!({"id": id, "boot": boot, "ignition_id": ignition, "Generic_Id": generic, "cloud_id": cloud});
            profile.to_string()
        },
    )
}

fn target() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec![
        "ipxe",
        "ipxe",
        "grub",
        "ignition",
        "ignition",
        "generic",
        "generic",
        "cloud",
        "metadata",
        "metadata",
        "boot.ipxe",
        "none",
        "/ipxe",
        "./metadata",
        "x/../generic",
        "%69pxe",
        "ipxe/",
        "ipxe%2F",
        "Ipxe",
        "%2e/ipxe",
        "a%20b//c",
        "",
    ]);
    let pair = prop::sample::select(vec![
        "mac=52:54:00:aa:bb:01",
        "mac=52-54-00-AA-BB-02",
        "MAC=525400aabb01",
        "mac=nonsense",
        "mac=",
        "os=installed",
        "os",
        "Os=1",
        "role=x+y",
        "role=x%20y",
        "uuid=1",
        "a=1",
        "a=2",
        "a-b=1",
        "=",
        "",
        "bad=%zz",
        "semi;colon=1",
        "x=%C3%BC&y",
        "a-b=",
        "n='&m=!(x)*",
    ]);
    (path, vec(pair, 0..4)).prop_map(|(path, pairs)| match pairs.is_empty() {
        true => format!("/{path}"),
        false => format!("/{path}?{}", pairs.join("&")),
    })
}

fn cases() -> impl Strategy<Value = Case> {
    (vec(group(), 0..10), vec(profile(), PROFILES.len()), vec(target(), 1..6))
        .prop_map(|(groups, profiles, asked)| Case { groups, profiles, asked })
}

/// What must be the same of two answers.
fn compared(reply: &Reply, target: &str) -> (u16, Vec<Option<String>>, String) {
    let names = [
        "content-type",
        "location",
        "accept-ranges",
        "x-content-type-options",
        "content-range",
        "last-modified",
    ];
    let headers = names.map(|name| reply.header(name).map(str::to_owned)).into();
    let mut text = reply.text();
    if target.trim_start_matches(['/', '.']).starts_with("metadata") && reply.status == 200 {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        lines.sort_unstable();
        text = lines.concat();
    }
    (reply.status, headers, text)
}

#[track_caller]
fn alike(theirs: &Reply, ours: &Reply, target: &str) -> Result<(), TestCaseError> {
    if theirs.text().contains(r#""version":"""#) {
        prop_assert_eq!(ours.status, 404, "{}", target);
        return Ok(());
    }
    prop_assert_eq!(compared(ours, target), compared(theirs, target), "ours, then Matchbox's: {}", target);
    Ok(())
}

fn ask(address: &str, method: &str, target: &str, headers: &str) -> Reply {
    send(address, &format!("{method} {target} HTTP/1.1\nHost: x\nConnection: close\n{headers}\n"))
}

#[test]
fn any_groups_profiles_and_queries_are_answered_as_matchbox_does_while_they_change() {
    let directory = Directory::empty();
    directory.write("assets/a.txt", "");
    for (path, text) in TEMPLATES {
        directory.write(path, text);
    }
    let Some((_judge, theirs)) = start_matchbox(&directory.path("")) else { return };
    let served = directory.serve();
    let run = runner("Matchbox").run(&cases(), |case| {
        let _ = fs::remove_dir_all(directory.path("groups"));
        for (n, group) in case.groups.iter().enumerate() {
            directory.write(&format!("groups/g{n}.json"), group);
        }
        for (name, profile) in PROFILES.iter().zip(&case.profiles) {
            directory.write(&format!("profiles/{name}.json"), profile);
        }
        for target in &case.asked {
            alike(&ask(&theirs, "GET", target, ""), &ask(&served.address, "GET", target, ""), target)?;
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn files_lists_and_redirects_of_assets_are_those_of_matchbox() {
    let directory = Directory::empty();
    for (path, text) in [
        ("assets/a.txt", "0123456789"),
        ("assets/empty.txt", ""),
        ("assets/noext", "plain"),
        ("assets/page", "<!doctype html>"),
        ("assets/gz", "\u{1f}\u{8b}"),
        ("assets/a b/c'd.json", "{}"),
        ("assets/a b/<x>&\"y\".txt", ""),
        ("assets/a-dir/x", ""),
        ("assets/a.d/x", ""),
        ("assets/site/index.html", "<p>site"),
        ("assets/odd/index.html/x", ""),
        ("assets/co:lon/x:y", ""),
    ] {
        directory.write(path, text);
    }
    directory.write("assets/bytes", [0, 1, 2]);
    std::os::unix::fs::symlink("a b", directory.path("assets/link")).unwrap();
    let Some((_judge, theirs)) = start_matchbox(&directory.path("")) else { return };
    let served = directory.serve();
    let both = |method: &str, target: &str, headers: &str| {
        let (theirs, ours) =
            (ask(&theirs, method, target, headers), ask(&served.address, method, target, headers));
        alike(&theirs, &ours, target).unwrap_or_else(|error| panic!("{method} {target} {headers}: {error}"));
        if method == "HEAD" && theirs.header("content-length").is_some() {
            assert_eq!(ours.header("content-length"), theirs.header("content-length"), "{target}");
        }
    };
    for path in [
        "",
        "a.txt",
        "a.txt/",
        "a.txt/x",
        "a.txt?x=1",
        "a.txt/?x=1",
        "noext",
        "page",
        "gz",
        "bytes",
        "empty.txt",
        "none",
        "none/",
        "a%20b",
        "a%20b/",
        "a%20b/?q",
        "a%20b/c'd.json",
        "a%20b/c%27d.json",
        "link",
        "link/",
        "site",
        "site/",
        "site/?x",
        "site/index.html",
        "index.html",
        "none/index.html",
        "odd/",
        "odd/index.html",
        "odd/index.html/",
        "co:lon",
        "co:lon/",
        "co%3Alon/",
        "a-dir/..",
        "a-dir/../a.txt",
        "./a.txt",
        "/a.txt",
        "%2e%2e/ignition",
        "..%2f..%2fetc/passwd",
        "a-dir%2Fx",
        "%61.txt",
        "a.txt%00",
        "..",
        "../assets/a.txt",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let length = if method == "POST" { "Content-Length: 0\n" } else { "" };
            both(method, &format!("/assets/{path}"), length);
        }
    }
    for method in ["PUT", "DELETE", "PATCH", "FOO", "OPTIONS"] {
        for target in ["/boot.ipxe", "/assets/a.txt", "//boot.ipxe", "/none"] {
            both(method, target, "");
        }
    }
    both("OPTIONS", "*", "");
    for target in [
        "/assets",
        "/assets?x=1",
        "/%zz",
        "/assets/%4",
        "/ipxe%",
        "/%61ssets/a.txt",
        "//assets/a.txt",
        "/assets%2Fa.txt",
        "/ASSETS/",
    ] {
        both("GET", target, "");
    }
    for header in [
        "Range: bytes=0-4",
        "Range: bytes=3-",
        "Range: bytes=-3",
        "Range: bytes=-99",
        "Range: bytes=9-99",
        "Range: bytes=10-",
        "Range: bytes=5-4",
        "Range: bytes=12-9",
        "Range: bytes=a-b",
        "Range: lines=1-2",
        "Range: bytes=0-9,0-9",
        "Range: bytes=",
        "Range: bytes=20-,0-1",
        "Range: bytes= 1 - 2 ",
        "Range: bytes=99999999999999999999-",
        "If-None-Match: *",
        "If-None-Match: \"x\"",
        "If-Match: *",
        "If-Match: \"x\"",
        "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
        "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
        "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
        "If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
        "If-Modified-Since: yesterday",
        "Range: bytes=0-1\nIf-Range: \"x\"",
        "Range: bytes=0-1\nIf-Range: Thu, 01 Jan 1970 00:00:01 GMT",
    ] {
        for target in ["/assets/a.txt", "/assets/", "/assets/site/"] {
            both("GET", target, &format!("{header}\n"));
        }
    }
}

#[test]
fn butane_of_any_system_becomes_what_matchbox_makes_of_it() {
    let directory = Directory::empty();
    directory.write("assets/a.txt", "");
    directory.json("profiles/p.json", &json!({"id": "p", "ignition_id": "c.yaml"}));
    directory.json("groups/default.json", &json!({"profile": "p"}));
    let Some((_judge, theirs)) = start_matchbox(&directory.path("")) else { return };
    let served = directory.serve();
    let bodies = [
        "",
        "storage:\n  files:\n    - {path: /a, mode: 0644, contents: {inline: \"x y\"}}\n    - {path: /b, append: [{inline: z}]}\n",
        "storage:\n  filesystems:\n    - {device: /dev/vda, format: ext4, path: /var, with_mount_unit: true}\n",
        "storage:\n  luks:\n    - {name: d, device: /dev/d, clevis: {tpm2: true}}\n",
        "storage:\n  raid:\n    - {name: d, level: raid1, devices: [/dev/a, /dev/b]}\n  disks:\n    - {device: /dev/a, partitions: [{number: 0, size_mib: 1}]}\n",
        "kernel_arguments: {should_exist: [quiet]}\n",
        "passwd: {users: [{name: core, ssh_authorized_keys: [k], should_exist: true}], groups: [{name: g, gid: 7}]}\n",
        "systemd: {units: [{name: a.service, enabled: true, contents: \"[Unit]\\n\", dropins: [{name: b.conf, contents: \"\"}]}]}\n",
        "ignition: {config: {merge: [{source: \"http://a/b\"}]}, timeouts: {http_total: 5}, proxy: {no_proxy: [a]}}\n",
        "ignition: {security: {tls: {certificate_authorities: [{source: \"http://a/ca\"}]}}}\nnobody: knows\n",
        "storage: {files: [{path: relative}]}\n",
        "storage: {directories: [{path: /d, mode: 0755, user: {name: core}}], links: [{path: /l, target: /d, hard: false}]}\n",
    ];
    let versions = [
        "fcos 1.0.0",
        "fcos 1.1.0",
        "fcos 1.2.0",
        "fcos 1.3.0",
        "fcos 1.4.0",
        "fcos 1.5.0",
        "flatcar 1.0.0",
        "flatcar 1.1.0",
        "r4e 1.0.0",
        "r4e 1.1.0",
        "fiot 1.0.0",
        "fcos 1.9.0",
        "flatcar 1.0",
        "rhcos 0.1.0",
    ];
    for version in versions {
        let (variant, version) = version.split_once(' ').unwrap();
        for body in bodies {
            let text = format!("variant: {variant}\nversion: {version}\n{body}");
            directory.write("ignition/c.yaml", &text);
            let [theirs, ours] =
                [&theirs, &served.address].map(|address| ask(address, "GET", "/ignition", ""));
            alike(&theirs, &ours, &text).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    // What is not translated is refused, and never dropped.
    for only_there in ["boot_device: {luks: {tpm2: true}}", "grub: {users: [{name: root, password_hash: x}]}"]
    {
        directory.write("ignition/c.yaml", format!("variant: fcos\nversion: 1.5.0\n{only_there}\n"));
        served.lacks("/ignition");
    }
}
