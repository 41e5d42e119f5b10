//! `build --verify-rebuild`: what comes out the same, and what does not and where.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use prebake::bake::build;
use prebake::bake::project::{Limits, Project};
use prebake::base::error::Exit;
use prebake::base::event::{Event, Observer};
use prebake::store::Store;

use crate::world::World;
use crate::world::schema::Schema;

const GREETING: &str = "sysext/hello/files/usr/share/hello/greeting";

#[test]
fn a_rebuild_comes_out_the_same_and_says_so_everywhere() {
    let world = World::new();
    // A base and its overlay in one file, and an overlay that is sealed for its base.
    world.edit("recipes/small.yaml", "[console=ttyS0]\n", "[console=ttyS0]\n    layout: single\n");
    world.edit("recipes/small.yaml", "control.ign]\nnodes", "control.ign]\n    layout: virtual\nnodes");
    let args = ["build", "recipes/small.yaml", "--verify-rebuild", "--events", "-", "--summary", "page.md"];
    let run = world.prebake(&args).ok();
    let build_id = world.current().unwrap();
    assert!(run.stderr.contains(&format!("{build_id}: same result")), "{}", run.stderr);
    let schema = Schema::load("events.schema.json");
    let events: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    events.iter().for_each(|event| schema.check(event));
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(
        (count("step-done"), count("rebuild-started"), count("step-rebuilt"), count("rebuild-done")),
        (4, 1, 4, 1)
    );
    assert!(
        fs::read_to_string(world.path("page.md")).unwrap().contains("a second build gave the same result")
    );
    assert_eq!(world.names("store/tmp"), Vec::<String>::new(), "the second store is gone");
    // What the store has counts as the first build.
    world.prebake(&["build", "recipes/small.yaml", "--verify-rebuild", "--offline", "--locked"]).ok();
}

/// Edits a sysext's file while its step runs, and puts it back: a builder whose bytes do not follow from its key.
struct Meddler {
    file: PathBuf,
    told: Mutex<Vec<String>>,
}

impl Observer for Meddler {
    fn notice(&self, event: Event<'_>) {
        match &event {
            Event::StepStarted { id: "sysext/hello/amd64", .. } => fs::write(&self.file, "jello\n").unwrap(),
            Event::StepDone { id: "sysext/hello/amd64", .. } => fs::write(&self.file, "hello\n").unwrap(),
            _ => {}
        }
        let name = serde_json::to_value(&event).unwrap()["event"].as_str().unwrap().to_owned();
        self.told.lock().unwrap().push(name);
    }
}

#[test]
fn a_builder_that_does_not_repeat_is_found_with_file_byte_and_member_and_nothing_is_published() {
    let world = World::new();
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    let mut project = Project::load(&world.path("recipes/small.yaml")).unwrap();
    let store = Store::open(&world.path("store")).unwrap();
    let meddler = Meddler { file: world.path(GREETING), told: Mutex::default() };
    let limits = Limits { locked: true, offline: true, rebuild: true, ..Limits::default() };
    let output = world.path("output");
    let work = build::build(&mut project, &store, &output, &[], limits, None, &meddler);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(work).err().expect("the two builds differ");
    assert_eq!(error.exit(), Exit::Integrity);
    let text = error.to_string();
    for words in [
        "assets/sysext/hello/hello-1-x86-64.raw differs between two builds",
        ", in the bytes of its member `usr/share/hello/greeting`",
        // Every overlay has the sysext inside, and the lists of digests and of packages name it.
        "other files differ, too",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    assert_eq!(world.current(), None);
    let told = meddler.told.lock().unwrap();
    assert!(told.contains(&"step-rebuilt".into()) && !told.contains(&"rebuild-done".into()), "{told:?}");
    let hint = error.hint().unwrap();
    let kept: Vec<&str> = hint.split(' ').filter(|word| word.contains("/objects/")).collect();
    assert_eq!(kept.len(), 2, "{hint}");
    let [first, second] = [kept[0], kept[1]].map(|path| fs::read(path.trim_end_matches('.')).unwrap());
    let offset = first.iter().zip(&second).position(|(a, b)| a != b).unwrap();
    assert!(text.contains(&format!("the first difference is at byte {offset}")), "{text}");
}

#[test]
fn a_step_that_the_store_remembers_wrongly_is_found_by_the_command() {
    let world = World::new();
    let step = |world: &World| {
        let run = world.prebake(&["build", "recipes/small.yaml", "--json"]).ok();
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let key = report["steps"][0]["key"].as_str().unwrap().to_owned();
        world.path(&format!("store/steps/{}/{}", &key[..2], &key[2..]))
    };
    let honest = step(&world);
    fs::write(world.path(GREETING), "jello\n").unwrap();
    let other = step(&world);
    fs::write(world.path(GREETING), "hello\n").unwrap();
    fs::copy(&other, &honest).unwrap();
    let before = world.current();
    let run = world.prebake(&["build", "recipes/small.yaml", "--verify-rebuild", "--junit", "junit.xml"]);
    run.fails(
        4,
        &[
            "hello-1-x86-64.raw",
            ", in the bytes of its member `usr/share/hello/greeting`",
            "BUILD-ID",
            "hint: nothing was published",
        ],
    );
    assert_eq!(world.current(), before);
    let report = fs::read_to_string(world.path("junit.xml")).unwrap();
    let case = report.lines().find(|line| line.contains("a second build gives the same result")).unwrap();
    assert!(case.contains("<failure type=\"exit 4\"") && case.contains("usr/share/hello/greeting"), "{case}");
}
