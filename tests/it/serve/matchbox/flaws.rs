//! Whatever is wrong with a data directory is told when the server starts and after each edit, `--strict` refuses it, and
//! `explain` says it of the machines that it befalls: one table, and what does not fit into it. After
//! poseidon/matchbox#303, #663 and #699, where all that is said is `No matching group`, or nothing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Directory, Served, ended};
use crate::judges::matchbox::start_matchbox;
use crate::world::Run;
use crate::world::http::get;

const MAC: &str = "52:54:00:00:00:07";
const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f4e5731";

/// A directory without a flaw, in which one machine has a group of its own and all configs.
fn good() -> Directory {
    let directory = Directory::empty();
    let boot = json!({"kernel": "/assets/k", "initrd": ["--name main /assets/i"], "args": ["initrd=main"]});
    directory.json("profiles/default.json", &json!({"id": "default", "boot": boot}));
    directory.json(
        "profiles/p.json",
        &json!({"id": "p", "boot": boot, "ignition_id": "c.ign", "generic_id": "t", "cloud_id": "u"}),
    );
    directory.json("profiles/b.json", &json!({"id": "b", "boot": boot, "ignition_id": "b.yaml"}));
    directory.json("groups/default.json", &json!({"profile": "default"}));
    directory.json(
        "groups/n7.json",
        &json!({"profile": "p", "selector": {"mac": MAC}, "metadata": {"ip": "10.0.0.7", "n": 7}}),
    );
    directory.json(
        "groups/n8.json",
        &json!({"profile": "b", "selector": {"uuid": UUID}, "metadata": {"mode": "0644"}}),
    );
    directory.write("ignition/c.ign", r#"{"ignition":{"version":"3.4.0"}}"#);
    directory.write(
        "ignition/b.yaml",
        "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - {path: /a, mode: {{.mode}}, contents: {inline: \"{{.request.query.mac}}\"}}\n",
    );
    directory.write("generic/t", "ip={{.ip}} {{.request.query.mac}}\n");
    directory.write("cloud/u", "#cloud-config\nhostname: {{.request.query.hostname}}\n");
    directory.write("assets/k", "kernel");
    directory.write("assets/i", "initrd");
    directory
}

/// What makes a good directory bad.
enum Edit {
    Write(&'static str, &'static str),
    Remove(&'static str),
    Move(&'static str, &'static str),
}
use Edit::{Move, Remove, Write};

impl Edit {
    fn apply(&self, directory: &Directory) {
        match self {
            Write(path, text) => directory.write(path, text),
            Remove(path) => fs::remove_file(directory.path(path)).unwrap(),
            Move(from, to) => {
                let to = directory.path(to);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::rename(directory.path(from), to).unwrap();
            }
        }
    }
}

struct Flaw {
    edit: Edit,
    /// What is told of it.
    told: &'static str,
    /// Whether strict serving refuses it.
    is_refused: bool,
    /// What `explain` says of the machine with [`MAC`], or of that with [`UUID`]; empty where it does not befall it.
    explained: &'static str,
    /// What is asked for, and the status.
    asked: (&'static str, u16),
}

const fn flaw(edit: Edit, told: &'static str, explained: &'static str, asked: (&'static str, u16)) -> Flaw {
    Flaw { edit, told, is_refused: true, explained, asked }
}

const fn note(edit: Edit, told: &'static str, explained: &'static str, asked: (&'static str, u16)) -> Flaw {
    Flaw { edit, told, is_refused: false, explained, asked }
}

const IGNITION: &str = "/ignition?mac=52-54-00-00-00-07";
const GENERIC: &str = "/generic?mac=52-54-00-00-00-07";
const CLOUD: &str = "/cloud?mac=52-54-00-00-00-07&hostname=x";
const IPXE: &str = "/ipxe?mac=52-54-00-00-00-07";
const BUTANE: &str = "/ignition?mac=52-54-00-00-00-08&uuid=4c4c4544-0042-3510-8052-b4c04f4e5731";

const FLAWS: &[Flaw] = &[
    // Configs.
    flaw(
        Remove("ignition/c.ign"),
        "profiles/p.json: its `ignition_id`, `c.ign`, is unavailable: there is no ignition/c.ign",
        "ignition/c.ign, is answered with 404: there is no ignition/c.ign",
        (IGNITION, 404),
    ),
    flaw(
        Move("ignition/c.ign", "ignition/c.bu"),
        "there is ignition/c.bu",
        "there is no ignition/c.ign",
        (IGNITION, 404),
    ),
    flaw(Write("ignition/c.ign", ""), "ignition/c.ign: it is empty", "is answered with 404", (IGNITION, 404)),
    flaw(
        Write(
            "ignition/c.ign",
            r#"{"ignition":{"version":"3.4.0"},"systemd":{"units":[{"name":"a.servic"}]}}"#,
        ),
        "ignition/c.ign: line 1: ",
        "is answered with 404: line 1: ",
        (IGNITION, 404),
    ),
    flaw(
        Write("ignition/c.ign", r#"{"ignition":{"version":"2.3.0"}}"#),
        "ignition/c.ign: ",
        "is answered with 404",
        (IGNITION, 404),
    ),
    flaw(
        Write("ignition/c.ign", "variant: flatcar\nversion: 1.1.0\n"),
        "looks like Butane",
        "looks like Butane",
        (IGNITION, 404),
    ),
    flaw(
        Write("ignition/b.yaml", r#"{"ignition":{"version":"3.4.0"}}"#),
        "Ignition files must end in .ign or .ignition",
        "Ignition files must end in .ign",
        (BUTANE, 404),
    ),
    flaw(
        Write("ignition/b.yaml", "variant: flatcar\nversion: 1.1.0\nstorage: 7\n"),
        "ignition/b.yaml: line 3: ",
        "is answered with 404: line 3: ",
        (BUTANE, 404),
    ),
    flaw(
        Write(
            "ignition/b.yaml",
            "variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: /a, mode: {{.mode}}9}]}\n",
        ),
        "ignition/b.yaml: group n8 cannot use it: line 3: ",
        "is answered with 404: line 3: ",
        (BUTANE, 404),
    ),
    flaw(
        Write("generic/t", "{{.ip"),
        "generic/t: template: :1: unclosed action",
        "generic/t, is answered with 404: template: :1: unclosed action",
        (GENERIC, 404),
    ),
    flaw(
        Write("generic/t", "{{.ip}} {{.gateway}}"),
        "generic/t: group n7 cannot use it: template: :1:10: executing \"\" at <.gateway>: map has no entry",
        "generic/t, is answered with 404: template: :1:10",
        (GENERIC, 404),
    ),
    flaw(
        Write("generic/t", "{{.request.query.mac}} {{if eq .n 7}}{{end}}"),
        "group n7 cannot use it: ",
        "incompatible types",
        (GENERIC, 404),
    ),
    flaw(
        Write("groups/n7.json", r#"{"profile":"p","selector":{"mac":"52:54:00:00:00:07"}}"#),
        "generic/t: group n7 cannot use it: ",
        "map has no entry for key \"ip\"",
        (GENERIC, 404),
    ),
    flaw(
        Remove("generic/t"),
        "its `generic_id`, `t`, is unavailable: there is no generic/t",
        "is answered with 404: there is no generic/t",
        (GENERIC, 404),
    ),
    flaw(Write("generic/t", "\n"), "generic/t: it is empty", "", (GENERIC, 200)),
    flaw(
        Write("cloud/u", "hostname: x\n"),
        "cloud/u: the first line is neither `#cloud-config` nor `#!`",
        "cloud/u, is answered with 404: the first line",
        (CLOUD, 404),
    ),
    flaw(Write("cloud/u", "#cloud-config\na: [\n"), "cloud/u: ", "is answered with 404", (CLOUD, 404)),
    // Groups and profiles that say less than was meant.
    flaw(
        Write("groups/n7.json", r#"{"profile":"p","selector":{"mac":"52-54-00-00-00-07""#),
        "groups/n7.json: unexpected end of JSON input",
        "groups/n7.json names this machine, but is ignored: unexpected end",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/n7.json", ""),
        "groups/n7.json: unexpected end of JSON input",
        "its group may be among the ignored files: groups/n7.json",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/n7.json", r#"{"profile":"p","selector":{"mac":"52:54:00:00:00:07","rack":7}}"#),
        "cannot unmarshal number",
        "groups/n7.json names this machine",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/n7.json", r#"{"selector":{"mac":"52:54:00:00:00:07"}}"#),
        "groups/n7.json: it has no `profile`",
        "groups/n7.json: it has no `profile`",
        (IPXE, 404),
    ),
    flaw(
        Write("groups/n7.json", r#"{"profile":"defualt","selector":{"mac":"52:54:00:00:00:07"}}"#),
        "there is no profiles/defualt.json; did you mean `default`?",
        "did you mean `default`?",
        (IPXE, 404),
    ),
    flaw(
        Move("profiles/p.json", "profiles/sub/p.json"),
        "profiles/sub/p.json is called `sub/p`",
        "profiles/sub/p.json is called `sub/p`",
        (IPXE, 404),
    ),
    flaw(
        Move("profiles/p.json", "profiles/c.json"),
        "profiles/c.json has that `id`, but is called `c`, by its file's name",
        "profiles/c.json has that `id`",
        (IPXE, 404),
    ),
    flaw(
        Write("profiles/p.json", "[]"),
        "profiles/p.json: json: cannot unmarshal array",
        "its profile `p` cannot be used",
        (IPXE, 404),
    ),
    flaw(
        Write("profiles/p.json", r#"{"id":"p","ignition":"c.ign","boot":{"kernel":"/assets/k"}}"#),
        "`ignition` is not a key of a profile, and is ignored: did you mean `ignition_id`?",
        "did you mean `ignition_id`?",
        (IPXE, 200),
    ),
    flaw(
        Write("profiles/p.json", r#"{"id":"p","kernel":"/assets/k"}"#),
        "it belongs in `boot`",
        "has no `boot`",
        (IPXE, 404),
    ),
    flaw(
        Write("profiles/p.json", r#"{"id":"p","boot":{"kernel":"/assets/k","intrd":[]}}"#),
        "`intrd` is not a key of `boot`",
        "did you mean `initrd`?",
        (IPXE, 200),
    ),
    flaw(
        Write("profiles/p.json", r#"{"id":"p","boot":{"kernel":"/assets/{{.v}}/k","initrd":["--name x"]}}"#),
        "boot.initrd `--name x`: it names no file",
        "paths are not templates",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/n9.json", r#"{"profile":"p","selctor":{"mac":"52:54:00:00:00:09"}}"#),
        "`selctor` is not a key of a group, and is ignored: did you mean `selector`?",
        "",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/n9.json", r#"{"profile":"p","mac":"52:54:00:00:00:09","selector":{"os":"x"}}"#),
        "labels belong in `selector`",
        "",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/z.json", r#"{"profile":"default","selector":{"mac":"5254.0000.0007"}}"#),
        "groups/z.json: it has the same selector as groups/n7.json (mac=52:54:00:00:00:07)",
        "groups/z.json: it has the same selector",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/z.json", r#"{"profile":"p"}"#),
        "groups/z.json: it has the same selector as groups/default.json (all machines)",
        "",
        ("/ipxe", 200),
    ),
    flaw(
        Write(
            "groups/n8.json",
            r#"{"profile":"b","selector":{"uuid":"4C4C4544-0042-3510-8052-B4C04F4E5731"},"metadata":{"mode":"0644"}}"#,
        ),
        "loaders send UUIDs in lower case: write 4c4c4544-",
        "- n8 (uuid=4C4C4544-0042-3510-8052-B4C04F4E5731) does not",
        (BUTANE, 404),
    ),
    flaw(
        Write(
            "groups/n7.json",
            r#"{"profile":"p","selector":{"MAC":"52:54:00:00:00:07"},"metadata":{"ip":"x"}}"#,
        ),
        "selector `MAC`: loaders send `mac`",
        "- n7 (MAC=52:54:00:00:00:07) does not",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/n7.json", r#"{"profile":"p","selector":{"mac":"52:54:00:00:00"}}"#),
        "`52:54:00:00:00` is not a MAC address",
        "its group may be among the ignored files",
        (IPXE, 200),
    ),
    flaw(
        Write("groups/v.json", r#"{"profile":"p","selector":{"serial":""},"metadata":{"ip":"x"}}"#),
        "selector `serial`: it is empty: it matches only machines without `serial`",
        "+ v (serial=) matches, before all others",
        (IPXE, 200),
    ),
    // Files that are no groups and profiles.
    flaw(
        Move("groups/n7.json", "groups/rack1/n7.json"),
        "groups/rack1/n7.json: groups are read from groups/ itself",
        "groups/rack1/n7.json names this machine",
        (IPXE, 200),
    ),
    flaw(
        Move("groups/n7.json", "groups/n7.yaml"),
        "groups/n7.yaml: it is not read: groups are JSON",
        "groups/n7.yaml names this machine",
        (IPXE, 200),
    ),
    flaw(
        Move("groups/n7.json", "groups/n7.JSON"),
        "groups/n7.JSON: it is not read",
        "groups/n7.JSON names this machine",
        (IPXE, 200),
    ),
    flaw(
        Move("groups/n7.json", "groups/.n7.json"),
        "groups/.n7.json: it is hidden, but read like any other",
        "by group `.n7`",
        (IPXE, 200),
    ),
    flaw(
        Write("profiles/w.yaml", "id: w\n"),
        "profiles/w.yaml: it is not read: profiles are JSON",
        "",
        (IPXE, 200),
    ),
    // Works, and may not be meant.
    note(
        Write("profiles/other.json", r#"{"id":"p","boot":{"kernel":"/assets/k"}}"#),
        "profiles/other.json: its `id` is `p`, but groups find it by its file name, `other`",
        "",
        (IPXE, 200),
    ),
    note(
        Write("groups/n9.json", r#"{"profile":"default","selector":{"mac":"52:54:00:00:00:07","os":""}}"#),
        "selector `os`: it is empty: it matches only machines without `os`",
        "by group `n9`",
        (IPXE, 200),
    ),
    note(
        Write("groups/n9.json", r#"{"profile":"default","selector":{"seral":"x"}}"#),
        "did you mean `serial`?",
        "",
        (IPXE, 200),
    ),
];

fn prebake(args: &[&str], directory: &Path) -> Run {
    ended(&[args, &["--matchbox", directory.to_str().unwrap()]].concat())
}

fn refuses(directory: &Directory, words: &[&str]) {
    let run = prebake(&["serve", "--address", "127.0.0.1:0", "--strict"], &directory.path(""));
    run.fails(3, words);
}

fn explain(directory: &Directory, who: &[&str]) -> String {
    let run = prebake(&[&["explain"], who].concat(), &directory.path(""));
    let code = if run.stdout.contains("gets nothing") && !who.is_empty() { 1 } else { 0 };
    assert_eq!(run.code, Some(code), "{}\n{}", run.stdout, run.stderr);
    run.stdout
}

fn is_said(served: &Served, what: &str) -> bool {
    served.server.log.iter().any(|line| line.contains(what))
}

#[test]
fn a_good_directory_is_served_strictly_and_nothing_is_said_of_it() {
    let directory = good();
    for usual in
        ["groups/.gitkeep", "groups/README.md", "profiles/.gitignore", "README.md", "groups/..1/x.json"]
    {
        directory.write(usual, "{");
    }
    let served = directory.serve_with(&["--strict"]);
    assert!(!is_said(&served, "warning"), "{:?}", served.server.log);
    for asked in [IGNITION, GENERIC, CLOUD, IPXE, BUTANE] {
        assert_eq!(served.get(asked).status, 200, "{asked}");
    }
    let explained = explain(&directory, &["--mac", MAC, "--label", "hostname=x"]);
    assert!(!explained.contains("warning"), "{explained}");
}

#[test]
fn every_flaw_is_told_at_the_start_and_strict_serving_refuses_it() {
    for Flaw { edit, told, is_refused, explained, asked } in FLAWS {
        let directory = good();
        edit.apply(&directory);
        let served = directory.serve();
        assert!(is_said(&served, told), "{told:?} is not among {:?}", served.server.log);
        assert_eq!(served.get(asked.0).status, asked.1, "{told}: {}", asked.0);
        match is_refused {
            true => refuses(&directory, &[told]),
            false => drop(directory.serve_with(&["--strict"])),
        }
        let who = if asked.0 == BUTANE { ["--uuid", UUID] } else { ["--mac", MAC] };
        let label = ["--label", "hostname=x"];
        let offline = explain(&directory, &[who, label].concat());
        assert!(offline.contains(explained), "{explained:?} is not in:\n{offline}");
        let query = format!("/explain?{}={}&hostname=x", &who[0][2..], who[1]);
        let online = served.get(&query).text();
        assert!(online.contains(explained), "{explained:?} is not in:\n{online}");
    }
}

#[test]
fn every_flaw_is_told_after_an_edit_and_once_it_is_mended_no_more() {
    for Flaw { edit, told, .. } in FLAWS {
        let directory = good();
        let mut served = directory.serve();
        edit.apply(&directory);
        served.answers("/", 200, "matchbox\n");
        served.server.says(told);
        let status: Value = serde_json::from_str(&served.get("/status").text()).unwrap_or_default();
        let problems = status["problems"].to_string().replace("\\\"", "\"");
        assert!(problems.contains(told), "{told:?} is not among {problems}");
    }
}

/// What was good goes on being served, whatever is spoilt.
#[test]
fn strict_serving_goes_on_with_what_was_good() {
    for Flaw { edit, told, is_refused, asked, .. } in FLAWS.iter().filter(|flaw| flaw.is_refused) {
        let directory = good();
        let mut served = directory.serve_with(&["--strict"]);
        let before = served.get(asked.0);
        assert_eq!((before.status, is_refused), (200, &true), "{told}");
        edit.apply(&directory);
        let after = served.get(asked.0);
        assert_eq!((after.status, after.text()), (200, before.text()), "{told}");
        served.server.says("cannot be served strictly");
    }
    // One that is spoilt does not hold up another, and is served again once it is good.
    let directory = good();
    let mut served = directory.serve_with(&["--strict"]);
    let query = "?mac=52-54-00-00-00-07";
    served.answers(&format!("/generic{query}"), 200, "ip=10.0.0.7 52:54:00:00:00:07\n");
    directory.write("ignition/c.ign", "{");
    assert_eq!(served.get(IGNITION).status, 200);
    served.server.says("ignition/c.ign: ");
    directory.write("generic/t", "new {{.ip}}");
    served.answers(&format!("/generic{query}"), 200, "new 10.0.0.7");
    directory
        .write("ignition/c.ign", r#"{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core"}]}}"#);
    assert!(served.get(IGNITION).text().contains("core"));
    // What an editor leaves while somebody writes is no reason to wait.
    directory.write("groups/.n7.json.swp", "x");
    directory
        .json("groups/n7.json", &json!({"profile": "p", "selector": {"mac": MAC}, "metadata": {"ip": "2"}}));
    served.answers(&format!("/generic{query}"), 200, "new 2");
    refuses(&directory, &["groups/.n7.json.swp", "an editor or a script left it here"]);
}

/// poseidon/matchbox#699: all groups one level deeper than they are read from.
#[test]
fn a_directory_whose_groups_all_lie_deeper_says_so_loudly() {
    let directory = good();
    fs::create_dir(directory.path("groups/flatcar-install")).unwrap();
    for name in ["default.json", "n7.json", "n8.json"] {
        let [from, to] = ["groups", "groups/flatcar-install"].map(|folder| directory.path(folder).join(name));
        fs::rename(from, to).unwrap();
    }
    let mut served = directory.serve();
    let told = "groups/: there is no group, so no machine gets an answer; deeper folders, which neither Matchbox nor prebake reads, have 3 files: groups/flatcar-install/default.json";
    assert!(is_said(&served, told), "{:?}", served.server.log);
    served.lacks(IPXE);
    assert!(served.server.says("/ipxe 404 19B").ends_with(": there are no groups"));
    assert!(is_said(&served, "groups/flatcar-install/: groups are read from groups/ itself"));
    let explained = explain(&directory, &["--mac", MAC]);
    assert!(explained.contains("groups/flatcar-install/n7.json names this machine"), "{explained}");
    refuses(&directory, &["there is no group", "groups/flatcar-install/"]);

    let empty = Directory::empty();
    assert!(is_said(&empty.serve(), "groups/: there is no such folder, so no machine gets an answer"));
    empty.json("group/default.json", &json!({"profile": "p"}));
    assert!(is_said(&empty.serve(), "there is group/"));
    assert!(is_said(&empty.serve(), "group/: nothing is read from here: did you mean groups/?"));
    refuses(&empty, &["there is no such folder"]);
}

/// What only a machine's own words decide must not be refused.
#[test]
fn what_hangs_on_what_a_machine_says_is_told_when_it_asks() {
    for template in [
        "{{.request.query.os}}",
        "{{if eq .request.query.mac \"52:54:00:00:00:aa\"}}{{else}}{{.nothing}}{{end}}",
        "{{$q := .request.query}}{{if $q.os}}{{$q.os}}{{else}}{{.nothing}}{{end}}",
        "{{with index .request.query \"os\"}}{{.}}{{else}}{{.nothing}}{{end}}",
        "{{or (index .request.query \"os\") .nothing}}",
    ] {
        let directory = good();
        directory.write("generic/t", template);
        let mut served = directory.serve_with(&["--strict"]);
        assert!(!is_said(&served, "warning"), "{template}: {:?}", served.server.log);
        served.lacks(GENERIC);
        served.server.says("warning: generic/t: ");
    }
}

/// Real Matchbox, which the flaws are told for: what is told to be left out or unused is so there, too.
#[test]
fn matchbox_itself_makes_of_each_flaw_what_is_told() {
    for Flaw { edit, told, asked, .. } in FLAWS {
        let directory = good();
        edit.apply(&directory);
        let Some((_process, address)) = start_matchbox(&directory.path("")) else { return };
        let theirs = get(&address, asked.0, "");
        let ours = directory.serve().get(asked.0);
        let is_config = asked.0.starts_with("/ignition") && theirs.text().contains(r#""version":"""#);
        // Matchbox's empty config for one that is broken is a 404 here.
        if !is_config {
            assert_eq!((theirs.status, theirs.text()), (ours.status, ours.text()), "{told}");
        }
    }
}
