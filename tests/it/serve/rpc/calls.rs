//! Each call and each fault that its sender can make, of real Matchbox and of ours: the same codes, texts, responses and files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::kit::Both;
use super::request::{by_id, config, frame, group, list, profile, select};
use crate::judges;
use crate::world::Run;

/// The largest message that grpc-go takes.
const LARGEST: usize = 4 << 20;

/// What Matchbox stores and ours refuses, and words of the reason.
fn broken() -> Vec<(Value, &'static str)> {
    let minimal = |id: &str, selector: Value| group(id, "p", &selector, "");
    let mut all = vec![
        (minimal("mac", json!({"mac": "52-54-00-aa-bb"})), "mac"),
        (minimal("mac", json!({"MAC": ""})), "MAC"),
        // It is stored in a directory below groups/, which no listing enters.
        (minimal("deep/inside", json!({})), "deep/inside"),
    ];
    let configs = [
        ("a.ign", "", ""),
        ("a.ign", "{", "a.ign:1"),
        ("a.ign", "{\n  \"ignition\": {\"version\": \"3.4.0\"},\n  \"storage\": 7\n}", "a.ign:3"),
        ("a.ignition", r#"{"ignition":{"version":"2.3.0"}}"#, "unsupported config version"),
        ("b.yaml", "variant: flatcar\nversion: 1.1.0\nstorage: [\n", "b.yaml:"),
        ("b.yaml", "variant: nobody\nversion: 1.1.0\n", "nobody"),
        ("c.yaml.tmpl", "variant: flatcar\nversion: 1.1.0\n# {{if .x}}\n", "c.yaml.tmpl:"),
    ];
    all.extend(configs.map(|(name, text, words)| (config("Ignition", name, text), words)));
    all.push((config("Generic", "g", "one\n{{ .x"), "generic/g:2"));
    all
}

/// What is stored on both sides.
fn sound() -> Vec<Value> {
    let rich = r#"{"text":"<a href='x'>&amp;</a>\u2028é✓","n":3,"large":9007199254740993,"e":1e21,"small":0.000001,"neg":-0.0,
        "list":[1,null,true,{"b":1,"a":[]}],"map":{"z":{},"a":""},"null":null,"dup":1,"dup":2}"#;
    let boot =
        json!({"kernel": "/k", "initrd": ["/i", "--name x /j"], "args": ["a=<&>", "", "b=\"c\"", "é"]});
    vec![
        group("default", "p", &json!({}), ""),
        group("default", "p", &json!({}), "{}"),
        group("default", "p", &json!({}), "null"),
        group("rich", "p", &json!({"mac": "52-54-00-AA-BB-01", "os": "installed", "<": "&"}), rich),
        group("with space", "no/such", &json!({"a": ""}), r#"{"a":{"b":{"c":[[[]]]}}}"#),
        group(".hidden", "p", &json!({"os": "hidden"}), r#"{"x":"y"}"#),
        group("x.json", "p", &json!({"os": "x"}), " \n{\"x\":\t1e6}\n"),
        group("é", "p", &json!({"é": "ü"}), r#"{"é":"\ud800"}"#),
        json!({"call": "GroupPut", "request": {"group": {"id": "named", "name": "A <name>", "profile": "p"}}}),
        profile(&json!({"id": "p"})),
        profile(&json!({"id": "p", "boot": {}})),
        profile(
            &json!({"id": "p", "name": "P & Q", "boot": boot, "ignitionId": "i.ign", "genericId": "g", "cloudId": "c"}),
        ),
        profile(
            &json!({"id": "q", "boot": {"kernel": "", "initrd": [""]}, "ignitionId": "../ignition/i.ign"}),
        ),
        profile(&json!({"id": "deep/inside", "boot": {"kernel": "k"}})),
        config("Ignition", "i.ign", r#"{"ignition":{"version":"3.3.0"}}"#),
        config(
            "Ignition",
            "i.ign",
            "{\"ignition\":{\"version\":\"3.4.0\"},\n\"storage\":{\"files\":[{\"path\":\"/etc/é\"}]}}\n",
        ),
        config("Ignition", "deep/i.yaml", "variant: flatcar\nversion: 1.1.0\n"),
        config(
            "Ignition",
            "t.yaml.tmpl",
            "variant: flatcar\nversion: 1.0.0\npasswd: {users: [{name: \"{{.os}}\"}]}\n",
        ),
        config("Generic", "g", "{{.os}} {{index .request.query \"os\"}}\n"),
        config("Generic", "g", "plain\r\nüå\n"),
        config("Generic", "deep/g", ""),
    ]
}

/// Calls that fail by themselves, with the code.
fn faults() -> Vec<(Value, &'static str)> {
    let long = "x".repeat(300);
    let mut all = vec![
        (json!({"call": "GroupPut", "request": {"group": {}}}), "Unknown"),
        (json!({"call": "GroupPut", "request": {"group": {"id": "x"}}}), "Unknown"),
        (json!({"call": "GroupPut", "request": {"group": {"profile": "x"}}}), "Unknown"),
        (json!({"call": "ProfilePut", "request": {"profile": {"name": "x"}}}), "Unknown"),
        (group(&long, "p", &json!({}), ""), "Unknown"),
        (group("nul\0", "p", &json!({}), ""), "Unknown"),
        (profile(&json!({"id": long})), "Unknown"),
        (config("Ignition", &format!("{long}.ign"), r#"{"ignition":{"version":"3.3.0"}}"#), "Unknown"),
        (config("Generic", "g/below", "x"), "Unknown"),
        (config("Generic", "deep", "x"), "Unknown"),
        (config("Generic", "", "x"), "Unknown"),
        (config("Generic", ".", "x"), "Unknown"),
    ];
    for text in [
        "{",
        "[]",
        "7",
        "\"x\"",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":1e999}",
        "nul",
        "{} x",
        "{\"a\":\"\n\"}",
        "\u{feff}{}",
    ] {
        all.push((group("x", "p", &json!({}), text), "Unknown"));
    }
    for kind in ["Group", "Profile", "Ignition", "Generic"] {
        for verb in ["Get", "Delete"] {
            for id in ["", "none", "none/deep", ".", "nul\0", &long, "deep"] {
                all.push((by_id(&format!("{kind}{verb}"), id), "Unknown"));
            }
        }
    }
    for call in ["SelectGroup", "SelectProfile"] {
        all.push((select(call, &json!({"os": "nobody", "a": "x"})), "NotFound"));
        all.push((select(call, &json!({"a": "x"})), "NotFound"));
    }
    all
}

/// Messages that are none, methods that are none.
fn frames() -> Vec<(Value, &'static str)> {
    // Field 1, of five bytes, of which one is there.
    let cut = &[0x0a, 0x05, 0x0a];
    let method = |name: &str| format!("/rpcpb.Groups/{name}");
    vec![
        (frame(&method("GroupGet"), cut), "Internal"),
        (frame(&method("GroupPut"), cut), "Internal"),
        (frame(&method("GroupGet"), &[0xff]), "Internal"),
        (frame(&method("GroupGet"), &[0x0f]), "Internal"),
        // The last of a field that came twice counts, and messages that came twice are one.
        (frame(&method("GroupGet"), b"\x0a\x01x\x0a\x04none"), "Unknown"),
        (frame(&method("GroupPut"), b"\x0a\x03\x0a\x01x\x0a\x03\x1a\x01p"), "OK"),
        (frame(&method("GroupGet"), b"\x0a\x01x\x12\x01y\x98\x06\x01"), "OK"),
        (frame(&method("GroupDelete"), b"\x0a\x01x"), "OK"),
        (frame(&method("GroupNone"), b""), "Unimplemented"),
        (frame("/rpcpb.None/GroupGet", b""), "Unimplemented"),
        (frame("/GroupGet", b""), "Unimplemented"),
        (frame("/rpcpb.Groups/", b""), "Unimplemented"),
        (frame("/rpcpb.Groups/GroupGet/x", b""), "Unimplemented"),
        (frame("/serverpb.Groups/GroupGet", b""), "Unimplemented"),
    ]
}

#[test]
fn every_call_and_fault_has_matchbox_s_answer_and_leaves_matchbox_s_files() {
    let Some(mut both) = Both::start(&[]) else { return };
    // Nothing is there, not even the directories.
    for call in ["GroupList", "ProfileList"] {
        both.says(&list(call), "Unknown", "no such file or directory");
    }
    both.says(&select("SelectGroup", &json!({})), "Unknown", "no such file or directory");
    both.says(&select("SelectProfile", &json!({})), "NotFound", "No matching Group");
    for (call, _) in faults() {
        let name = call["call"].as_str().unwrap();
        if name.ends_with("Get") || name.ends_with("Delete") {
            both.alike(&call);
        }
    }
    for call in sound() {
        both.says(&call, "OK", "");
        for target in ["/ipxe", "/ignition", "/generic?os=x", "/metadata"] {
            both.same_answer(target);
        }
    }
    for name in ["default", "rich", "with space", ".hidden", "x.json", "é", "named"] {
        both.says(&by_id("GroupGet", name), "OK", "");
    }
    for call in [
        by_id("ProfileGet", "p"),
        by_id("ProfileGet", "deep/inside"),
        by_id("IgnitionGet", "deep/i.yaml"),
        by_id("GenericGet", "deep/g"),
        list("GroupList"),
        list("ProfileList"),
        select("SelectGroup", &json!({})),
        select("SelectGroup", &json!({"mac": "52:54:00:aa:bb:01", "os": "installed", "<": "&", "more": "x"})),
        select("SelectGroup", &json!({"mac": "52-54-00-AA-BB-01", "os": "installed", "<": "&"})),
        select("SelectProfile", &json!({"os": "hidden"})),
    ] {
        both.says(&call, "OK", "");
    }
    both.says(&select("SelectProfile", &json!({"a": "", "é": "ü", "x": "y"})), "OK", "");
    for all_machines in ["default", "named"] {
        both.says(&by_id("GroupDelete", all_machines), "OK", "");
    }
    for (call, code) in faults() {
        let answer = both.alike(&call);
        assert_eq!(answer["code"], code, "{call}: {answer}");
    }
    for (call, code) in frames() {
        let answer = both.alike(&call);
        assert_eq!(answer["code"], code, "{call}: {answer}");
    }
    for call in sound() {
        let (call, request) = (call["call"].as_str().unwrap().replace("Put", "Delete"), &call["request"]);
        let id = request.as_object().unwrap().values().next().unwrap();
        both.alike(&by_id(&call, id.as_str().or_else(|| id["id"].as_str()).unwrap_or_default()));
    }
    eprintln!("{} calls of both", both.asked);
}

#[test]
fn a_broken_thing_is_refused_with_the_reason_and_with_lenient_it_is_stored_as_matchbox_does() {
    let Some(mut both) = Both::start(&[]) else { return };
    for (call, words) in broken() {
        both.refused(&call, words);
    }
    let Some(mut lenient) = Both::start(&["--lenient"]) else { return };
    for (call, _) in broken() {
        lenient.says(&call, "OK", "");
    }
    lenient.alike(&list("GroupList"));
    lenient.says(&by_id("GroupGet", "mac"), "Unknown", "invalid MAC address");
}

/// Matchbox takes each for a path below the data directory, which need not be the folder of its kind.
#[test]
fn an_id_that_leaves_its_folder_is_refused_however_lenient() {
    for flags in [&[][..], &["--lenient"]] {
        let Some(mut both) = Both::start(flags) else { return };
        for id in ["../x", "../../x", "../../../tmp/x", "a/../../x", "/../x", "../cloud/x"] {
            for call in [
                group(id, "p", &json!({}), ""),
                profile(&json!({"id": id})),
                config("Ignition", &format!("{id}.ign"), r#"{"ignition":{"version":"3.3.0"}}"#),
                config("Generic", &format!("{id}/y"), "x"),
            ] {
                both.refused(&call, "..");
            }
        }
    }
}

#[test]
fn files_that_were_there_keep_their_modes_and_broken_ones_cost_what_they_cost_in_matchbox() {
    let Some(mut both) = Both::start(&[]) else { return };
    for (path, text) in [
        ("groups/bad.json", "{"),
        ("groups/null.json", "null"),
        ("groups/list.json", "[]"),
        ("groups/mac.json", r#"{"id":"mac","profile":"p","selector":{"mac":"x"}}"#),
        ("groups/other.txt", "x"),
        ("groups/upper.JSON", "{}"),
        ("groups/double.json", r#"{"id":"double","Profile":"a","profile":"b","unknown":7}"#),
        ("groups/double.swp", ""),
        (
            "groups/other-id.json",
            r#"{"id":"not this","profile":"p","selector":{"o":"1"},"metadata":{"n":1e6,"m":[1.50]}}"#,
        ),
        ("groups/directory.json/x", ""),
        ("profiles/bad.json", "{"),
        ("profiles/no-id.json", r#"{"name":"x"}"#),
        ("profiles/fine.json", r#"{"ID":"fine","boot":{"kernel":"k","cmdline":{"a":"b"}}}"#),
        ("profiles/x.txt", "x"),
        ("profiles/types.json", r#"{"id":"t","boot":[]}"#),
        ("ignition/latin", "x"),
        ("generic/g", "old"),
    ] {
        both.write(path, text);
    }
    both.write("generic/latin", b"\xff\xfe\0");
    for side in [&both.theirs, &both.ours] {
        for (path, mode) in
            [("generic/g", 0o600), ("groups/double.json", 0o640), ("profiles/fine.json", 0o664)]
        {
            fs::set_permissions(side.path(path), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    for call in ["GroupList", "ProfileList"] {
        both.says(&list(call), "OK", "");
    }
    for id in ["bad", "null", "list", "mac", "other", "upper", "double", "other-id", "directory"] {
        both.alike(&by_id("GroupGet", id));
    }
    for id in ["bad", "no-id", "fine", "x", "types"] {
        both.alike(&by_id("ProfileGet", id));
    }
    both.says(&by_id("GenericGet", "latin"), "OK", "");
    both.says(&by_id("GroupDelete", "directory"), "Unknown", "directory not empty");
    both.says(&by_id("GroupDelete", "bad"), "OK", "");
    both.says(&by_id("ProfileDelete", "bad"), "OK", "");
    for call in [
        config("Generic", "g", "new"),
        group("double", "p", &json!({}), r#"{"a":1}"#),
        profile(&json!({"id": "fine"})),
        select("SelectGroup", &json!({"o": "1"})),
    ] {
        both.says(&call, "OK", "");
    }
    both.says(&group("directory", "p", &json!({}), ""), "Unknown", "is a directory");
}

#[test]
fn messages_have_grpc_s_limits_and_its_words_for_what_is_beyond() {
    let Some(mut both) = Both::start(&[]) else { return };
    // A field's name and its length are five bytes; the name is three more.
    let fits = config("Generic", "x", vec![b'x'; LARGEST - 8]);
    both.says(&fits, "OK", "");
    let beyond = config("Generic", "x", vec![b'y'; LARGEST - 7]);
    both.says(&beyond, "ResourceExhausted", "larger than max (4194305 vs. 4194304)");
    both.says(&config("Generic", "x", vec![b'y'; 6 << 20]), "ResourceExhausted", "larger than max");
    both.says(&by_id("GenericGet", "x"), "OK", "");
    let mut packed = config("Generic", "packed", "x");
    packed["gzip"] = true.into();
    both.says(&packed, "Unimplemented", "");
    let mut list = list("GroupList");
    list["gzip"] = true.into();
    both.says(&list, "Unimplemented", "");
}

/// The real one ends with all that it served at the time (v0.11.0, a group or profile that is not there is read all the same).
#[test]
fn a_put_of_nothing_ends_matchbox_and_is_refused_by_ours_which_goes_on() {
    for call in ["GroupPut", "ProfilePut"] {
        let Some(mut both) = Both::start(&[]) else { return };
        let nothing = json!({"call": call, "request": {}});
        assert_eq!(both.theirs.ask(&nothing)["code"], "Unavailable");
        both.theirs.server.wait();
        let answer = both.ours.ask(&nothing);
        assert_eq!((&answer["code"], &answer["message"]), (&json!("Unknown"), &json!("Id is required")));
        assert!(both.ours.files().values().all(|file| file.bytes.is_none()));
        both.ours.put(&group("x", "p", &json!({}), ""));
    }
}

/// A name of protobuf is UTF-8; ours come from its JSON, those below from the wire.
#[test]
fn texts_that_are_no_utf_8_are_refused_as_matchbox_refuses_them() {
    let Some(mut both) = Both::start(&[]) else { return };
    for (method, bytes) in [
        ("/rpcpb.Groups/GroupPut", &b"\x0a\x06\x0a\x01\xff\x1a\x01p"[..]),
        ("/rpcpb.Groups/GroupGet", b"\x0a\x01\xff"),
        ("/rpcpb.Generic/GenericPut", b"\x0a\x01\xff\x12\x01x"),
        ("/rpcpb.Select/SelectGroup", b"\x0a\x06\x0a\x01\xff\x12\x01x"),
    ] {
        both.alike(&frame(method, bytes));
    }
}

/// A run of the real client.
fn bootcmd(both: &Both, address: &str, args: &[&str]) -> Run {
    let mut command = Command::new(judges::build("matchbox").unwrap().join("bootcmd"));
    command.args(args).args(["--endpoints", address]);
    for (flag, file) in [("--ca-file", "ca.crt"), ("--cert-file", "client.crt"), ("--key-file", "client.key")]
    {
        command.arg(flag).arg(both.certificates.path(file));
    }
    Run::of(command.output().unwrap())
}

#[test]
fn bootcmd_has_from_ours_what_it_has_from_matchbox() {
    let Some(both) = Both::start(&[]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let group = write(
        "g.json",
        r#"{"id":"g","name":"A group","profile":"p","selector":{"mac":"52:54:00:AA:bb:01"},"metadata":{"a":[1]}}"#,
    );
    let profile = write(
        "p.json",
        r#"{"id":"p","name":"A profile","boot":{"kernel":"/k","initrd":["/i"],"args":["a"]},"ignition_id":"i.ign"}"#,
    );
    let ignition = write("i.ign", r#"{"ignition":{"version":"3.3.0"}}"#);
    let (generic, none) = (write("t", "{{.a}}"), write("none.json", r#"{"id":"none"}"#));
    for args in [
        &["group", "list"][..],
        &["group", "create", "-f", &group],
        &["profile", "create", "-f", &profile],
        &["ignition", "create", "-f", &ignition],
        &["generic", "create", "-f", &generic],
        &["group", "create", "-f", &none],
        &["group", "list"],
        &["group", "describe", "g"],
        &["group", "describe", "no"],
        &["profile", "list"],
        &["profile", "describe", "p"],
        &["profile", "describe", "no"],
    ] {
        let said = [&both.theirs, &both.ours].map(|side| {
            let run = bootcmd(&both, &side.rpc, args);
            (run.code, run.stdout, run.stderr)
        });
        assert_eq!(said[1], said[0], "{args:?}");
        both.same_files(&json!(args));
    }
    let seen = bootcmd(&both, &both.ours.rpc, &["group", "describe", "g"]).ok();
    assert!(seen.stdout.contains("A group") && seen.stdout.contains("52:54:00:aa:bb:01"), "{}", seen.stdout);
    assert_eq!(both.same_answer("/ipxe?mac=52-54-00-aa-bb-01").status, 200);
    let kept = both.ours.ask(&by_id("GenericGet", "t"));
    assert_eq!(kept["answer"]["config"], BASE64_STANDARD.encode("{{.a}}"));
}
