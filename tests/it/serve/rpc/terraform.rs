//! Terraform at work: OpenTofu with Matchbox's own provider, against real Matchbox and against ours.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::kit::{Both, Side, files};
use super::request::{by_id, group, profile};
use super::script::{Script, client};
use super::site::{Certificates, bench, mac, puts};
use crate::judges::{self, terraform::Module};
use crate::lab::ports;
use crate::world::Run;
use crate::world::http::soon;

/// What Terraform is told to do.
pub(super) trait Told {
    fn run(&self, args: &[&str]) -> Run;

    fn apply(&self) -> Run {
        self.run(&["apply", "-auto-approve", "-input=false", "-parallelism=32"])
    }

    /// A plan has nothing to do.
    #[track_caller]
    fn is_settled(&self) {
        self.run(&["plan", "-detailed-exitcode", "-input=false"]).ok();
    }

    /// A plan has something to do.
    #[track_caller]
    fn is_unsettled(&self) {
        self.run(&["plan", "-detailed-exitcode", "-input=false"]).fails(2, &[]);
    }

    fn destroy(&self) -> Run {
        self.run(&["destroy", "-auto-approve", "-input=false", "-parallelism=32"])
    }
}

impl Told for Module<'_> {
    fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }
}

/// How many files a bench has: of each node two groups, two profiles, two configs and a generic one.
const FILES: usize = 7;

fn is_file(name: &str) -> bool {
    name.contains('/')
}

#[test]
fn terraform_applies_plans_destroys_and_applies_again_as_with_matchbox() {
    let (Some(terraform), Some(both)) = (judges::provider(), Both::start(&[])) else { return };
    let modules = [&both.theirs, &both.ours]
        .map(|side| Module::new(&terraform, &both.certificates.provider(&side.rpc), &bench(3, "one")));
    let applied = |mark: &str| {
        for module in &modules {
            module.has(&bench(3, mark));
            let said = module.apply().ok().stdout;
            assert!(said.contains("Apply complete!"), "{said}");
            module.is_settled();
        }
        both.same_files(&mark.into());
        let count = both.ours.files().keys().filter(|name| is_file(name)).count();
        assert_eq!(count, 3 * FILES, "{:?}", both.ours.files().keys());
        for target in [
            "/ignition?mac=52-54-00-00-00-01",
            "/ignition?mac=52-54-00-00-00-01&os=installed",
            "/ipxe?mac=52:54:00:00:00:02",
            "/metadata?mac=52-54-00-00-00-02&os=installed",
        ] {
            let reply = both.same_answer(target);
            assert!(
                reply.status == 200 && (target.starts_with("/i") || reply.text().contains(mark)),
                "{target}"
            );
        }
    };
    applied("one");
    // Each argument of the provider's resources makes them anew.
    applied("two");
    for module in &modules {
        module.destroy().ok();
    }
    both.same_files(&"destroyed".into());
    assert_eq!(both.ours.files().keys().filter(|name| is_file(name)).count(), 0);
    applied("three");

    // Somebody else's edits are seen by the next plan, and set back by the next apply.
    for (module, side) in modules.iter().zip([&both.theirs, &both.ours]) {
        side.put(&group("bench-node-1", "bench-node-1", &json!({"mac": mac(1)}), "{}"));
        fs::remove_file(side.path("ignition/bench-install-2.ign")).unwrap();
        module.is_unsettled();
        let said = module.apply().ok().stdout;
        assert!(said.contains("2 added, 0 changed, 1 destroyed") || said.contains("3 added"), "{said}");
        module.is_settled();
    }
    both.same_files(&"set back".into());
}

/// What the provider's own tests hold of it (matchbox/resource_*_test.go), of the real server instead of a store in memory.
#[test]
fn the_provider_s_own_scenarios_come_to_the_same_with_both() {
    let (Some(terraform), Some(both)) = (judges::provider(), Both::start(&["--lenient"])) else { return };
    let one = |kind: &str, resource: Value| json!({kind: {"default": resource}});
    let full = one(
        "matchbox_group",
        json!({"name": "default", "profile": "worker", "selector": {"os": "installed"}, "metadata": {"user": "core"}}),
    );
    let minimal = one("matchbox_group", json!({"name": "minimal", "profile": "worker"}));
    let boot = json!({"name": "default", "kernel": "foo", "initrd": ["bar"], "args": ["qux"]});
    let with = |more: Value| {
        let mut profile = boot.clone();
        profile.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one("matchbox_profile", profile)
    };
    let template = with(json!({"container_linux_config": "baz", "generic_config": "experimental"}));
    let (raw, conflict) = (
        with(json!({"raw_ignition": "baz"})),
        with(json!({"raw_ignition": "baz", "container_linux_config": "baz"})),
    );
    let modules = [&both.theirs, &both.ours]
        .map(|side| (Module::new(&terraform, &both.certificates.provider(&side.rpc), &full), side));
    for (resources, file, text) in [
        (&full, "groups/default.json", "\"user\": \"core\""),
        (&minimal, "groups/minimal.json", "\"profile\": \"worker\""),
        (&template, "ignition/default.yaml.tmpl", "baz"),
        (&template, "generic/default", "experimental"),
        (&raw, "ignition/default.ign", "baz"),
        (&raw, "profiles/default.json", "\"ignition_id\": \"default.ign\""),
    ] {
        for (module, side) in &modules {
            module.has(resources);
            module.apply().ok();
            module.is_settled();
            let found = fs::read_to_string(side.path(file)).unwrap();
            assert!(found.contains(text), "{file}: {found}");
        }
        both.same_files(resources);
    }
    for (module, side) in &modules {
        // A profile that somebody altered, and one that is gone.
        side.put(&profile(&json!({"id": "default", "boot": {"kernel": "foo", "initrd": ["bar"], "args": ["qux", "bux"]}, "ignitionId": "default.ign"})));
        module.is_unsettled();
        module.apply().ok();
        side.put(&by_id("ProfileDelete", "default"));
        module.is_unsettled();
        module.apply().ok();
        module.has(&conflict);
        module.apply().fails(1, &["are mutually exclusive"]);
        // A group whose metadata are empty, as Matchbox reads them from its file.
        module.has(&minimal);
        module.apply().ok();
        side.put(&group("minimal", "worker", &json!({}), ""));
        module.is_settled();
        side.put(&group("minimal", "altered", &json!({}), ""));
        module.is_unsettled();
    }
    both.same_files(&"at the end".into());
}

/// Without `--lenient` a broken config fails the apply with the reason, where Matchbox stores it and its machine comes up bare.
#[test]
fn a_broken_config_fails_the_apply_with_the_reason_and_a_mended_one_goes_through() {
    let (Some(terraform), certificates) = (judges::provider(), Certificates::new()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let ours = Side::prebake(directory.path(), &certificates, &[]);
    let with = |config: &str| json!({"matchbox_profile": {"p": {"name": "p", "raw_ignition": config}}});
    let broken = with(
        "{\n  \"ignition\": {\"version\": \"3.4.0\"},\n  \"storage\": {\"files\": [{\"path\": \"relative\"}]}\n}",
    );
    let module = Module::new(&terraform, &certificates.provider(&ours.rpc), &broken);
    module.apply().fails(1, &["InvalidArgument", "p.ign:3"]);
    assert!(!ours.files().contains_key("ignition/p.ign"));
    module.has(&with(r#"{"ignition":{"version":"3.4.0"}}"#));
    module.apply().ok();
    module.is_settled();
    assert!(ours.files().contains_key("ignition/p.ign"));
}

#[test]
fn two_applies_at_once_come_to_one_of_both_in_every_file_and_the_next_to_all_of_its_own() {
    let (Some(terraform), certificates) = (judges::provider(), Certificates::new()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let ours = Side::prebake(directory.path(), &certificates, &[]);
    let modules = ["one", "two"]
        .map(|mark| Module::new(&terraform, &certificates.provider(&ours.rpc), &bench(20, mark)));
    thread::scope(|scope| {
        for module in &modules {
            scope.spawn(|| module.apply().ok());
        }
    });
    let all = ours.files();
    assert_eq!(all.keys().filter(|name| is_file(name)).count(), 20 * FILES);
    assert_whole(directory.path(), &["one", "two"]);
    // Terraform's own rule: whoever applies last has it all.
    modules[1].apply().ok();
    modules[1].is_settled();
    assert_whole(directory.path(), &["two"]);
    modules[0].is_unsettled();
}

/// Each file of a bench is whole: it has one of these marks wherever a file of its kind has it.
#[track_caller]
fn assert_whole(directory: &Path, marks: &[&str]) {
    // What a kill left unfinished is under no name that anything reads, until the next start removes it.
    let finished = files(directory).into_iter().filter(|(name, _)| !name.contains("/.prebake-"));
    for (name, file) in finished {
        let Some(bytes) = file.bytes else { continue };
        let text = String::from_utf8(bytes).unwrap();
        let is_whole = marks.iter().any(|mark| match name.split('/').next() {
            Some("ignition") => is_config(&text, mark),
            Some("generic") => text == format!("{mark}\n"),
            Some("groups") => {
                serde_json::from_str::<Value>(&text).is_ok_and(|group| group["metadata"]["mark"] == *mark)
            }
            Some("profiles") => serde_json::from_str::<Value>(&text)
                .is_ok_and(|profile| profile["boot"]["args"][1] == format!("mark={mark}")),
            _ => false,
        });
        assert!(is_whole, "{name} is not of {marks:?}: {text}");
    }
}

/// Whether a config is the bench's with this mark, from its begin to its end.
fn is_config(text: &str, mark: &str) -> bool {
    let Ok(config) = serde_json::from_str::<Value>(text) else { return false };
    let source = config["storage"]["files"][0]["contents"]["source"].as_str().unwrap_or_default();
    source.starts_with(&format!("data:,{mark}-0123")) && source.ends_with(&format!("cdef-{mark}"))
}

/// Processes that a process started.
fn children(id: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let of = |task: std::io::Result<fs::DirEntry>| {
        fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()
    };
    tasks
        .flat_map(|task| of(task).split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<i32>>())
        .collect()
}

/// kill -9 of the process that writes, or of the server that started it, which ends the other.
fn kill(side: &mut Side, writer: bool) {
    use rustix::process::{Pid, Signal, kill_process};
    let id = if writer { children(side.server.id())[0] } else { side.server.id() as i32 };
    kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
    side.server.wait();
    // The one that writes ends when its parent's end of a pipe is gone.
    soon(|| TcpStream::connect(&side.rpc).is_err());
}

/// Numbers that look like any, from 0 to 1.
fn parts() -> impl Iterator<Item = f64> {
    let mut state = 21_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    })
}

/// What the provider asks, 200 times, by its library; Terraform itself takes a second to start, so that it has fewer kills below.
#[test]
fn killed_at_any_point_of_200_applies_it_leaves_whole_files_and_all_that_it_had_confirmed() {
    const NODES: usize = 5;
    let Some(programs) = judges::build("matchbox") else { return };
    let (directory, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let client = |side: &Side| client(&programs, &side.rpc, &certificates.path(""));
    let calls_of = |mark: &str| (0..NODES).flat_map(|node| puts(node, mark)).collect::<Vec<Value>>();
    let path_of = |call: &Value| {
        let (request, call) = (&call["request"], call["call"].as_str().unwrap());
        match call {
            "GroupPut" => format!("groups/{}.json", request["group"]["id"].as_str().unwrap()),
            "ProfilePut" => format!("profiles/{}.json", request["profile"]["id"].as_str().unwrap()),
            "IgnitionPut" => format!("ignition/{}", request["name"].as_str().unwrap()),
            _ => format!("generic/{}", request["name"].as_str().unwrap()),
        }
    };
    let has = |call: &Value, mark: &str| {
        fs::read_to_string(directory.path().join(path_of(call))).is_ok_and(|text| text.contains(mark))
    };

    let mut side = Side::prebake(directory.path(), &certificates, &[]);
    let (started, first) = (Instant::now(), "mark-first");
    Script::new(&calls_of(first)).play(client(&side));
    let (mut span, mut before, mut midway) = (started.elapsed(), first.to_owned(), 0);
    for (round, part) in parts().take(200).enumerate() {
        let mark = format!("mark-{round}.");
        let calls = calls_of(&mark);
        let script = Script::new(&calls);
        let mut player = script.played(client(&side)).spawn().unwrap();
        thread::sleep(span.mul_f64(part));
        kill(&mut side, round % 2 == 0);
        player.kill().unwrap();
        player.wait().unwrap();
        let confirmed = script.confirmed();
        midway += usize::from(confirmed > 0 && confirmed < calls.len());
        for (index, call) in calls.iter().enumerate() {
            // The one after the last that was confirmed may be either.
            let is_as_told = index == confirmed || has(call, &mark) == (index < confirmed);
            assert!(is_as_told, "round {round}: {confirmed} were confirmed, and {} is not so", path_of(call));
        }
        assert_whole(directory.path(), &[&mark, &before]);
        side = Side::prebake(directory.path(), &certificates, &[]);
        let started = Instant::now();
        script.play(client(&side));
        span = started.elapsed();
        let names: BTreeSet<String> =
            files(directory.path()).into_keys().filter(|name| is_file(name)).collect();
        assert_eq!(names, calls.iter().map(path_of).collect(), "round {round}: leftovers");
        assert_whole(directory.path(), &[&mark]);
        before = mark;
    }
    assert!(midway > 50, "only {midway} of 200 kills came midway");
    eprintln!("{midway} of 200 kills came midway");
}

/// Kills come behind some line of the log, which has one for each write, so that each meets an apply at work.
#[test]
fn terraform_converges_after_its_server_was_killed_midway() {
    const NODES: usize = 12;
    let (Some(terraform), certificates) = (judges::provider(), Certificates::new()) else { return };
    let directory = tempfile::tempdir().unwrap();
    // The addresses stay, and are nobody else's while no server has them.
    let [http, rpc] = [0; 2].map(|_| ports::unused().to_string());
    let start = || Side::prebake_at(&http, &rpc, directory.path(), &certificates, &[]);
    let mut side = start();
    let module = Module::new(&terraform, &certificates.provider(&rpc), &bench(NODES, "first"));
    module.apply().ok();
    let (mut before, mut failed) = ("first".to_owned(), 0);
    for (round, part) in parts().take(8).enumerate() {
        // The lines of this server's log are of this round alone.
        side.server.end();
        side = start();
        let mark = format!("round{round}");
        module.has(&bench(NODES, &mark));
        // All files are removed, and written anew.
        let writes = 1 + ((2 * NODES * FILES - 1) as f64 * part) as usize;
        let run = thread::scope(|scope| {
            let run = scope.spawn(|| module.apply());
            (0..writes).for_each(|_| drop(side.server.says(" gRPC ")));
            kill(&mut side, round % 2 == 0);
            run.join().unwrap()
        });
        failed += usize::from(run.code != Some(0));
        assert_whole(directory.path(), &[&before, &mark]);
        side = start();
        module.apply().ok();
        // The provider takes any error of a read for a file that is gone, so that a server which is not there fails here, too.
        let plan = module.run(&["plan", "-detailed-exitcode", "-input=false"]);
        assert!(plan.code == Some(0), "round {round}: {}\nthe server:\n{}", plan.stdout, side.server.end());
        assert_whole(directory.path(), &[&mark]);
        assert_eq!(side.files().keys().filter(|name| is_file(name)).count(), NODES * FILES);
        before = mark;
    }
    assert!(failed > 0, "no apply was met");
    eprintln!("{failed} of 8 applies were met");
}
