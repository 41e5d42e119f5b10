//! What a build tells programs: its events, a summary, a report in JUnit's XML, and the exit code that all of them agree on.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use prebake::base::event::{Event, SCHEMA};
use serde_json::Value;

use crate::judges::browser::Browser;
use crate::lab::mirror::Fault;
use crate::world::schema::Schema;
use crate::world::{Run, VERSION, World, repository};

/// The events in a text, each held against the published schema.
#[track_caller]
fn events(text: &str) -> Vec<Value> {
    let schema = Schema::load("events.schema.json");
    let parse = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        schema.check(&event);
        event
    };
    text.lines().map(parse).collect()
}

/// One of every kind, with nothing left out that may be left out and all of it left out.
fn every_kind() -> Vec<Event<'static>> {
    const TOOK: Duration = Duration::from_millis(1500);
    const ERROR: &[String] = &[];
    let kinds = vec![
        Event::BuildStarted { schema: SCHEMA, prebake: "0.1.0", recipe: "r.yaml" },
        Event::FetchPlanned { inputs: 1, size: Some(7) },
        Event::FetchPlanned { inputs: 1, size: None },
        Event::FetchStarted { id: "a", size: Some(7), have: 3, url: "u" },
        Event::FetchStarted { id: "a", size: None, have: 0, url: "u" },
        Event::FetchWaiting { id: "a" },
        Event::FetchProgress { id: "a", bytes: 5 },
        Event::FetchRetry { id: "a", reason: "503" },
        Event::FetchDone { id: "a", size: 7, signer: Some("8F2E") },
        Event::FetchDone { id: "a", size: 7, signer: None },
        Event::KeyStale { reason: "404" },
        Event::Corrupt { id: "a", why: "rot" },
        Event::StepCached { id: "s", size: 7, key: "k" },
        Event::StepStarted { id: "s", key: "k" },
        Event::StepDone { id: "s", size: 7, took: TOOK },
        Event::RebuildStarted { steps: 1 },
        Event::StepRebuilt { id: "s", size: 7, took: TOOK },
        Event::RebuildDone { build_id: "b" },
        Event::Warning { message: "m", file: Some("f"), line: Some(1), column: Some(2), hint: Some("h") },
        Event::Warning { message: "m", file: None, line: None, column: None, hint: None },
        Event::BuildDone { build_id: "b", path: "p", unchanged: false },
        Event::BuildFailed { exit: 4, error: ERROR, hint: Some("h") },
        Event::BuildFailed { exit: 4, error: ERROR, hint: None },
    ];
    // Does not compile once there is another kind: it belongs into the list above and into the schema.
    for kind in &kinds {
        match kind {
            Event::BuildStarted { .. } | Event::FetchPlanned { .. } | Event::FetchStarted { .. } => {}
            Event::FetchWaiting { .. } | Event::FetchProgress { .. } | Event::FetchRetry { .. } => {}
            Event::FetchDone { .. } | Event::KeyStale { .. } | Event::Corrupt { .. } => {}
            Event::StepCached { .. } | Event::StepStarted { .. } | Event::StepDone { .. } => {}
            Event::RebuildStarted { .. } | Event::StepRebuilt { .. } | Event::RebuildDone { .. } => {}
            Event::Warning { .. } | Event::BuildDone { .. } | Event::BuildFailed { .. } => {}
        }
    }
    kinds
}

#[test]
fn every_kind_of_event_fits_the_published_schema_and_the_schema_knows_no_other() {
    let schema = Schema::load("events.schema.json");
    let mut seen = BTreeSet::new();
    for event in every_kind() {
        let mut value = serde_json::to_value(&event).unwrap();
        value["time"] = "2026-11-21T18:00:00.000Z".into();
        schema.check(&value);
        seen.insert(value["event"].as_str().unwrap().to_owned());
    }
    assert!(
        seen.iter().map(String::as_str).eq(schema.events().into_iter().collect::<BTreeSet<_>>()),
        "{seen:?}"
    );
    let page = fs::read_to_string(repository("docs/formats/events.md")).unwrap();
    assert!(seen.iter().all(|name| page.contains(&format!("`{name}`"))), "the page has them all");
}

/// A shell that runs the binary with these arguments in a world, and with descriptors as the words after them say.
fn shell(world: &World, script: &str) -> Run {
    let mut command = Command::new("bash");
    let exe = env!("CARGO_BIN_EXE_prebake");
    command.args(["-c", &format!("set -o pipefail; prebake() {{ {exe} \"$@\"; }}; {script}")]);
    command.current_dir(world.path(""));
    for (key, value) in world.command(&[]).get_envs() {
        value.map(|value| command.env(key, value));
    }
    Run::of(command.output().unwrap())
}

#[test]
fn without_a_terminal_what_takes_long_says_now_and_then_how_far_it_is() {
    let world =
        World::with_faults(|request| request.path.ends_with("pxe.vmlinuz").then_some(Fault::Stall(3)));
    let mut build = world
        .command(&["build", "recipes/small.yaml"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines().map(Result::unwrap);
    let wanted = "fetching flatcar/amd64/flatcar_production_pxe.vmlinuz: 3 B of ";
    // The server is given up before the second such line would come; that it comes at all is what is asked.
    assert!(lines.any(|line| line.starts_with(wanted)));
    build.kill().unwrap();
    build.wait().unwrap();
}

/// A recipe that cannot be built: another digest is locked than the mirror has.
fn with_a_wrong_lock() -> World {
    let world = World::new();
    world.build();
    fs::remove_dir_all(world.path("store")).unwrap();
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    let digest = prebake::base::digest::Sha256::of(format!("kernel of {VERSION}").as_bytes()).to_string();
    fs::write(world.path("recipes/small.lock"), lock.replace(&digest, &"0".repeat(64))).unwrap();
    world
}

#[test]
fn events_tell_a_build_from_its_start_to_its_end_and_fit_the_published_schema() {
    let world = World::new();
    let run = world.prebake(&["build", "recipes/small.yaml", "--events", "-"]).ok();
    assert!(run.stderr.contains("→ output/small/"), "stdout is the events':\n{}", run.stderr);
    let events = events(&run.stdout);
    let of = |name: &str| -> Vec<&Value> { events.iter().filter(|event| event["event"] == name).collect() };
    assert_eq!(events[0]["event"], "build-started");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "build-done");
    assert_eq!(last["build_id"], world.current().unwrap());
    let fetched: Vec<&str> = of("fetch-done").iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(fetched.len(), 3, "{fetched:?}");
    assert!(
        of("fetch-done").iter().all(|event| event["signer"] == "8F2E8753048542474D9D9200D26D2108E2F05BC2")
    );
    let built: Vec<&str> = of("step-done").iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(built, ["sysext/hello/amd64", "overlay/control", "overlay/control+n2", "overlay/worker"]);

    let again = world.prebake(&["build", "recipes/small.yaml", "--events", "again.jsonl", "--json"]).ok();
    let report: Value = serde_json::from_str(&again.stdout).unwrap();
    let events = self::events(&fs::read_to_string(world.path("again.jsonl")).unwrap());
    assert_eq!(events.iter().filter(|event| event["event"] == "step-cached").count(), 4);
    assert_eq!(events.last().unwrap()["build_id"], report["build_id"]);
    assert_eq!(events.last().unwrap()["unchanged"], true);
}

#[test]
fn events_come_while_the_build_runs() {
    let world =
        World::with_faults(|request| request.path.ends_with("pxe.vmlinuz").then_some(Fault::Stall(3)));
    let mut build = world
        .command(&["build", "recipes/small.yaml", "--events", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(build.stdout.take().unwrap()).lines().map(Result::unwrap);
    let wanted = "flatcar/amd64/flatcar_production_pxe.vmlinuz";
    let started = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["event"] == "fetch-started" && event["id"] == wanted
    };
    assert!(lines.by_ref().any(|line| started(&line)), "the fetch that will never end was told of");
    assert!(build.try_wait().unwrap().is_none(), "and the build waits for it still");
    let pid = rustix::process::Pid::from_child(&build);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    let last: Value = serde_json::from_str(&lines.last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["exit"]),
        (&"build-failed".into(), &130.into()),
        "an interrupt is told of"
    );
}

#[test]
fn a_build_that_fails_says_so_in_its_last_event_with_exit_code_error_and_hint() {
    let world = with_a_wrong_lock();
    let run = world.prebake(&["build", "recipes/small.yaml", "--events", "-"]);
    run.fails(4, &["has sha256", "hint:"]);
    let last = events(&run_again(&world)).pop().unwrap();
    assert_eq!((&last["event"], &last["exit"]), (&"build-failed".into(), &4.into()));
    assert!(last["error"][0].as_str().unwrap().contains("0000"), "{last}");
    assert!(last["hint"].as_str().unwrap().contains("lock --update"), "{last}");

    world.edit("recipes/small.yaml", "profiles:", "profilse:");
    let run = world.prebake(&["build", "recipes/small.yaml", "--events", "-"]);
    assert_eq!(run.code, Some(3));
    let events = events(&run.stdout);
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["build-started", "build-failed"], "also where not even the recipe can be read");
    assert_eq!(events[1]["exit"], 3);
}

fn run_again(world: &World) -> String {
    world.prebake(&["build", "recipes/small.yaml", "--events", "-"]).stdout
}

#[test]
fn events_go_to_an_open_descriptor_and_a_reader_that_leaves_does_not_end_the_build() {
    let world = World::new();
    let run =
        shell(&world, "prebake build recipes/small.yaml --events fd:3 3> >(head -n 1 > first.jsonl)").ok();
    assert!(run.stdout.contains("→ output/small/"), "{}", run.stdout);
    let first = world.current().unwrap();
    // A pipe whose reader is gone before the first event.
    let run = shell(&world, "prebake build recipes/small.yaml --events fd:4 4> >(exec true; sleep 0)").ok();
    assert!(run.stdout.contains(&first));
    shell(&world, "{ sleep 0.2; prebake build recipes/small.yaml --events -; } | true").ok();
    shell(&world, "echo before > e.jsonl; prebake build recipes/small.yaml --events fd:5 5>> e.jsonl").ok();
    let text = fs::read_to_string(world.path("e.jsonl")).unwrap();
    assert!(text.starts_with("before\n{"), "what is in a file stays: {text}");
    let run = shell(&world, "prebake build recipes/small.yaml --events fd:77");
    run.fails(2, &["cannot write events to fd:77", "hint:"]);
}

#[test]
fn the_markdown_summary_says_what_was_built_and_is_appended_to_what_is_there() {
    let world = World::new();
    fs::write(world.path("summary.md"), "# Earlier step\n").unwrap();
    world.prebake(&["build", "recipes/small.yaml", "--summary", "summary.md"]).ok();
    let page = fs::read_to_string(world.path("summary.md")).unwrap();
    let build_id = world.current().unwrap();
    assert!(page.starts_with("# Earlier step\n## prebake: `recipes/small.yaml` → `"), "{page}");
    for words in [
        build_id.as_str(),
        "| Flatcar | stable 4593.2.5 (amd64) |",
        "| Sysexts | hello 1 |",
        "| Inputs signed | 3 by `8F2E8753048542474D9D9200D26D2108E2F05BC2`",
        "| Steps | 4 built, 0 cached |",
        "| `sysext/hello/amd64` | built in ",
        "| `flatcar/amd64/version.txt` | fetched in ",
        "| Lock | moved: commit `recipes/small.lock` |",
    ] {
        assert!(page.contains(words), "no {words:?} in:\n{page}");
    }
    let world = with_a_wrong_lock();
    world.prebake(&["build", "recipes/small.yaml", "--summary", "summary.md"]).fails(4, &[]);
    let page = fs::read_to_string(world.path("summary.md")).unwrap();
    assert!(page.starts_with("## prebake: `recipes/small.yaml` failed, exit 4\n\n```text\n"), "{page}");
    assert!(page.contains("**Hint:** ") && page.contains("has sha256"), "{page}");
}

/// Python's own parser reads the file; each test case as `CLASS NAME VERDICT`.
fn junit(world: &World) -> Vec<String> {
    let script = "import sys, xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot().find('testsuite')
cases = suite.findall('testcase')
assert int(suite.get('tests')) == len(cases)
assert int(suite.get('failures')) == len(suite.findall('testcase/failure'))
assert int(suite.get('skipped')) == len(suite.findall('testcase/skipped'))
for case in cases:
    float(case.get('time'))
    verdict = [child.tag for child in case if child.tag != 'system-out'] or ['passed']
    print(case.get('classname'), case.get('name'), verdict[0])";
    let run =
        Run::of(Command::new("python3").args(["-c", script]).arg(world.path("junit.xml")).output().unwrap());
    run.ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn the_junit_report_has_a_case_for_each_input_and_step_and_the_failure_where_it_belongs() {
    let world = World::new();
    let build = ["build", "recipes/small.yaml", "--junit", "junit.xml"];
    world.prebake(&build).ok();
    let mut cases = junit(&world);
    cases[..3].sort();
    assert_eq!(
        cases,
        [
            "prebake.fetch flatcar/amd64/flatcar_production_pxe.vmlinuz passed",
            "prebake.fetch flatcar/amd64/flatcar_production_pxe_image.cpio.gz passed",
            "prebake.fetch flatcar/amd64/version.txt passed",
            "prebake.step sysext/hello/amd64 passed",
            "prebake.step overlay/control passed",
            "prebake.step overlay/control+n2 passed",
            "prebake.step overlay/worker passed",
            "prebake.build recipes/small.yaml passed",
        ]
    );
    world.prebake(&build).ok();
    assert_eq!(junit(&world)[0], "prebake.step sysext/hello/amd64 skipped", "already in the store");

    // Text that is no XML: a finding shows the line as it was written.
    world.edit("sysext/hello/sysext.yaml", "reload: true", "reload: \"]]>&<\u{1b}\"");
    let run = world.prebake(&build);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert_eq!(junit(&world), ["prebake.build recipes/small.yaml failure"]);
}

#[test]
fn a_step_that_fails_is_the_case_that_fails() {
    let world = World::new();
    // Nothing below /etc is merged by systemd-sysext, which shows when the image is put together.
    fs::create_dir_all(world.path("sysext/hello/files/etc")).unwrap();
    fs::write(world.path("sysext/hello/files/etc/hello.conf"), "a=b\n").unwrap();
    world.prebake(&["build", "recipes/small.yaml", "--junit", "junit.xml"]).fails(3, &["/etc"]);
    let cases = junit(&world);
    assert_eq!(
        cases[3..],
        ["prebake.step sysext/hello/amd64 failure", "prebake.build recipes/small.yaml failure"]
    );
}

/// Builds with a page, and opens it in a browser, which asks for nothing but the page.
fn opened(world: &World, browser: &mut Browser, code: i32) -> String {
    let run = world.prebake(&["build", "recipes/small.yaml", "--report", "report.html"]);
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    let url = format!("file://{}", world.path("report.html").display());
    browser.open(&url);
    browser.wait_for("document.readyState == 'complete' && document.querySelector('h1') != null");
    assert!(browser.requests().iter().all(|asked| *asked == url), "{:?}", browser.requests());
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.eval("document.body.innerText").as_str().unwrap().to_owned()
}

#[test]
fn a_page_pictures_a_build_its_time_its_memory_its_tree_and_what_changed() {
    let world = World::new();
    let mut browser = Browser::start();
    let text = opened(&world, &mut browser, 0);
    let build_id = world.current().unwrap();
    assert!(text.contains(&build_id) && text.contains("There was no tree of this recipe before"), "{text}");
    // Each fetch and each step has its bar, each of the three boots its own, and each file is in the treemap or in a sum.
    let count = |browser: &mut Browser, what: &str| {
        browser.eval(&format!("document.querySelectorAll('{what}').length")).as_u64().unwrap()
    };
    assert_eq!(count(&mut browser, "svg.timeline rect.fetch"), 3);
    assert_eq!(count(&mut browser, "svg.timeline rect.step"), 4);
    assert_eq!(count(&mut browser, "svg.bars > text:not(.axis-end)"), 3);
    assert!(count(&mut browser, "svg.treemap rect") > 5);
    // All that is drawn lies within its picture, and the page is no wider than the window.
    for width in [1200, 390] {
        browser.resize(width, 900);
        let outside = "[...document.querySelectorAll('svg rect')].filter(rect => { \
            const of = rect.closest('svg').getBoundingClientRect(), own = rect.getBoundingClientRect(); \
            return own.left < of.left - 1 || own.right > of.right + 1 || own.bottom > of.bottom + 1; }).length";
        assert_eq!(browser.eval(outside), 0, "at {width}");
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true, "at {width}");
    }

    let text = opened(&world, &mut browser, 0);
    assert!(text.contains("It is the same tree") && text.contains("4 steps came out of the store"), "{text}");

    world.edit("recipes/worker.ign", "/etc/role", "/etc/<b>role");
    let text = opened(&world, &mut browser, 0);
    assert!(text.contains(&build_id) && text.contains("+") && text.contains("/etc/<b>role"), "{text}");
    assert_eq!(count(&mut browser, "b"), 0, "a config is text and no markup");

    world.edit("recipes/small.yaml", "profiles:", "profilse:");
    let text = opened(&world, &mut browser, 3);
    assert!(text.contains("failed, exit 3") && text.contains("did you mean `profiles`?"), "{text}");
}
