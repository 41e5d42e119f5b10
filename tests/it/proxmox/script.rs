//! The printed scripts, run with programs that only note what they are given; each line of `qm` is held against the API's schema.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::pve::{Pve, faults, image, image_of, schema};
use crate::world::{Run, prebake_in};

/// A program that notes its arguments, a line of JSON each time; `qm` fails at the verbs that `FAIL` names.
const NOTE: &str = r#"#!/usr/bin/env python3
import json, os, sys
with open("calls", "a") as calls:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=calls)
sys.exit(1 if sys.argv[0].endswith("qm") and sys.argv[1] in os.environ.get("FAIL", "").split() else 0)
"#;

struct Shell {
    directory: tempfile::TempDir,
}

impl Shell {
    fn new() -> Shell {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        for name in ["qm", "pvesm", "openstack"] {
            let path = directory.path().join("bin").join(name);
            fs::write(&path, NOTE).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Shell { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn print(&self, args: &[&str]) -> String {
        let run =
            Run::of(prebake_in(self.path(), &[&["proxmox", "script"], args].concat()).output().unwrap());
        run.ok().stdout
    }

    /// Runs a script in two shells, after both have read it; the calls of the last one.
    fn run(&self, script: &str, args: &[&str], fail: &str) -> (Option<i32>, Vec<Vec<String>>) {
        fs::write(self.path().join("script.sh"), script).unwrap();
        let path = format!("{}:{}", self.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut last = (None, Vec::new());
        for shell in ["bash", "sh"] {
            let command = |more: &[&str]| {
                let mut command = Command::new(shell);
                command.args(more).current_dir(self.path()).env("PATH", &path).env("FAIL", fail);
                Run::of(command.output().unwrap())
            };
            command(&["-n", "script.sh"]).ok();
            let _ = fs::remove_file(self.path().join("calls"));
            let run = command(&[&["script.sh"], args].concat());
            let calls = fs::read_to_string(self.path().join("calls")).unwrap_or_default();
            let calls = calls.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            last = (run.code, calls);
        }
        last
    }
}

/// The call of the API that a command of `qm` or `pvesm` stands for.
fn call(command: &[String]) -> Option<Value> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let options = |from: usize| -> Map<String, Value> {
        let pairs = words[from..].chunks(2);
        pairs.map(|pair| (pair[0].strip_prefix("--").unwrap().to_owned(), json!(pair[1]))).collect()
    };
    let call = |method: &str, path: String, given: Map<String, Value>| {
        Some(json!({"method": method, "path": path, "given": given}))
    };
    match words[..] {
        ["qm", "create", id, ..] => {
            let mut given = options(3);
            given.insert("vmid".into(), json!(id));
            call("POST", "/nodes/pve/qemu".into(), given)
        }
        ["qm", "set", id, ..] => call("PUT", format!("/nodes/pve/qemu/{id}/config"), options(3)),
        ["qm", "resize", id, disk, size] => call(
            "PUT",
            format!("/nodes/pve/qemu/{id}/resize"),
            json!({"disk": disk, "size": size}).as_object().unwrap().clone(),
        ),
        ["qm", "template", id] => call("POST", format!("/nodes/pve/qemu/{id}/template"), Map::new()),
        ["qm", "destroy", id, ..] => call("DELETE", format!("/nodes/pve/qemu/{id}"), options(3)),
        ["pvesm", "status", ..] => call("GET", "/nodes/pve/storage".into(), options(2)),
        ["qm", "status", _] => None,
        _ => panic!("{words:?}"),
    }
}

#[test]
fn each_line_of_the_script_is_one_that_the_schema_takes_and_the_vm_is_that_of_the_upload() {
    let Some(schema) = schema() else { return };
    let shell = Shell::new();
    fs::write(shell.path().join("it's a node.qcow2"), &image().0).unwrap();
    let options = [
        "--vm-id",
        "211",
        "--name",
        "node",
        "--firmware",
        "uefi",
        "--vlan",
        "7",
        "--size",
        "40GiB",
        "--tag",
        "edge",
        "--pool",
        "p",
        "--convert-to-template",
    ];
    let script = shell.print(&[&["it's a node.qcow2"], &options[..]].concat());
    let (code, calls) = shell.run(&script, &[], "status");
    assert_eq!(code, Some(0), "{script}");
    let judged: Vec<Value> = calls.iter().filter_map(|one| call(one)).collect();
    assert_eq!(judged.len(), 5, "{calls:?}");
    for (one, faults) in judged.iter().zip(faults(&schema, &judged)) {
        assert_eq!(faults, [""; 0], "{one}");
    }
    let made = &judged[1]["given"];
    let path = shell.path().canonicalize().unwrap().join("it's a node.qcow2");
    assert_eq!(made["scsi0"], format!("local-lvm:0,import-from={},discard=on", path.display()));
    // The API is sent the same options, other than the place of the image.
    let Some(pve) = Pve::start() else { return };
    pve.upload(&options).ok();
    let state = pve.state();
    let sent = state["log"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["path"] == "/nodes/pve/qemu" && call["method"] == "POST")
        .unwrap();
    let without = |given: &Value| {
        let mut given = given.as_object().unwrap().clone();
        given.remove("scsi0");
        given
    };
    assert_eq!(without(&sent["given"]), without(made));
    let described = |calls: &[Value]| {
        calls.iter().rev().find_map(|call| call["given"]["description"].as_str().map(str::to_owned)).unwrap()
    };
    assert_eq!(described(&judged), state["vms"]["211"]["config"]["description"]);
}

#[test]
fn a_script_stops_at_what_fails_and_leaves_no_half_made_vm() {
    let shell = Shell::new();
    fs::write(shell.path().join("node.qcow2"), &image().0).unwrap();
    let script = shell.print(&["node.qcow2", "--vm-id", "211", "--convert-to-template"]);
    let verbs = |calls: &[Vec<String>]| calls.iter().map(|call| call[1].clone()).collect::<Vec<_>>();
    // The VM is there.
    let (code, calls) = shell.run(&script, &[], "");
    assert_eq!((code, verbs(&calls)), (Some(1), vec!["status".to_owned()]));
    let (code, calls) = shell.run(&script, &[], "status create");
    assert!(code != Some(0) && !verbs(&calls).contains(&"destroy".to_owned()), "{calls:?}");
    let (code, calls) = shell.run(&script, &[], "status template");
    assert!(code != Some(0) && verbs(&calls).last().unwrap() == "destroy", "{calls:?}");
    // Another image, another id, and a name that would be two options.
    fs::write(shell.path().join("other.qcow2"), "other").unwrap();
    let (code, calls) = shell.run(&script, &["other.qcow2"], "status");
    assert!(code != Some(0) && calls.is_empty(), "{calls:?}");
    let (_, calls) = shell.run(&script, &["node.qcow2", "300"], "status");
    assert!(calls.iter().any(|call| call[..3] == ["qm", "template", "300"]), "{calls:?}");
    fs::copy(shell.path().join("node.qcow2"), shell.path().join("a,b.qcow2")).unwrap();
    let (code, calls) = shell.run(&script, &["a,b.qcow2"], "status");
    assert!(code != Some(0) && calls.is_empty(), "{calls:?}");
}

/// A `qm` with VMs in files. At the verb in `AT`, it has its shell sent the signal in `SIGNAL`, and ends as `END` says.
const STATEFUL: &str = r#"#!/usr/bin/env python3
import os, signal, sys
verb, file = sys.argv[1], "vm-" + sys.argv[2]
has = os.path.exists(file)
with open("calls", "a") as calls:
    print(verb, file=calls)
if verb == "status":
    sys.exit(0 if has else 2)
if verb == "create" and (has or os.environ.get("RIVAL")):
    with open(file, "w") as rival:
        print("lock: create", file=rival)
    sys.exit(255)
if verb == "create":
    with open(file, "w") as vm:
        print("lock: create", file=vm)
elif verb == "config":
    print(open(file).read())
elif verb == "destroy":
    if "lock" in open(file).read() and "--skiplock" not in sys.argv:
        sys.exit(255)
    os.unlink(file)
if verb == os.environ.get("AT"):
    number = getattr(signal, "SIG" + os.environ["SIGNAL"])
    if os.environ["END"] != "alone":
        os.kill(os.getppid(), number)
    if os.environ["END"] != "shell":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
if verb == "create":
    with open(file, "w") as vm:
        print("description:", sys.argv[sys.argv.index("--description") + 1], file=vm)
"#;

#[test]
fn a_script_that_a_signal_ends_leaves_no_half_made_vm_and_no_other_is_touched() {
    let shell = Shell::new();
    fs::write(shell.path().join("bin/qm"), STATEFUL).unwrap();
    fs::write(shell.path().join("bin/pvesm"), "#!/bin/sh\n").unwrap();
    fs::write(shell.path().join("node.qcow2"), &image().0).unwrap();
    let script = shell.print(&["node.qcow2", "--vm-id", "211", "--size", "40GiB", "--convert-to-template"]);
    fs::write(shell.path().join("script.sh"), script).unwrap();
    let path = format!("{}:{}", shell.path().join("bin").display(), std::env::var("PATH").unwrap());
    let vm = shell.path().join("vm-211");
    let run = |program: &str, more: &[(&str, &str)]| {
        let _ = fs::remove_file(shell.path().join("calls"));
        // A signal that was ignored when a shell began stays so (POSIX, `trap`).
        let mut command = Command::new("env");
        command.args(["--default-signal", program, "script.sh"]).current_dir(shell.path()).env("PATH", &path);
        let run = Run::of(command.envs(more.iter().copied()).output().unwrap());
        (run.code, fs::read_to_string(shell.path().join("calls")).unwrap())
    };
    for program in ["dash", "bash"] {
        for (signal, status) in [("HUP", 129), ("INT", 130), ("QUIT", 131), ("TERM", 143)] {
            for at in ["create", "resize", "template", "set"] {
                for end in ["shell", "both", "alone"] {
                    let (code, calls) = run(program, &[("AT", at), ("SIGNAL", signal), ("END", end)]);
                    assert_eq!(code, Some(status), "{program} {signal} {at} {end}: {calls}");
                    assert!(
                        !vm.exists() && calls.ends_with("destroy\n"),
                        "{program} {signal} {at} {end}: {calls}"
                    );
                }
            }
        }
        // An id that another one takes meanwhile, and one that is taken.
        let (code, calls) = run(program, &[("RIVAL", "yes")]);
        assert_eq!((code, calls.as_str()), (Some(255), "status\ncreate\n"));
        let (code, calls) = run(program, &[]);
        assert_eq!((code, calls.as_str(), vm.exists()), (Some(1), "status\n", true));
        fs::remove_file(&vm).unwrap();
        let (code, calls) = run(program, &[]);
        assert_eq!((code, calls.as_str()), (Some(0), "status\ncreate\nresize\ntemplate\nset\n"));
        fs::remove_file(&vm).unwrap();
    }
}

#[test]
fn glance_gets_the_image_with_what_nova_needs_to_know() {
    let shell = Shell::new();
    fs::write(shell.path().join("node.qcow2"), image_of("openstack", "4593.2.5")).unwrap();
    let script =
        shell.print(&["node.qcow2", "--for", "openstack", "--firmware", "uefi", "--name", "flatcar"]);
    let (code, calls) = shell.run(&script, &[], "");
    assert_eq!(code, Some(0), "{script}");
    let made = calls.last().unwrap().join(" ");
    assert!(
        made.starts_with("openstack image create flatcar --disk-format qcow2 --container-format bare"),
        "{made}"
    );
    for words in ["hw_firmware_type=uefi", "os_version=4593.2.5", "prebake_build_id=", "--private --file /"] {
        assert!(made.contains(words), "{made}");
    }
    fs::write(shell.path().join("proxmox.qcow2"), &image().0).unwrap();
    let refused = prebake_in(shell.path(), &["proxmox", "script", "proxmox.qcow2", "--for", "openstack"]);
    Run::of({ refused }.output().unwrap()).fails(3, &["image for proxmoxve"]);
    // A store has no VMs.
    let options = ["--for", "openstack", "--vm-id", "211", "--storage", "x", "--tag", "a", "--size", "20GiB"];
    let refused = prebake_in(shell.path(), &[&["proxmox", "script", "node.qcow2"], &options[..]].concat());
    let run = Run::of({ refused }.output().unwrap());
    run.fails(2, &["--vm-id, --size, --tag, --storage have no effect", "--name and --firmware"]);
    assert_eq!(run.stdout, "");
    let absent = prebake_in(shell.path(), &["proxmox", "script", "absent.qcow2"]);
    Run::of({ absent }.output().unwrap()).fails(2, &["there is no image absent.qcow2"]);
}
