//! What a person sees in a terminal and a program on standard output: colours, how much is told, failures as JSON, and progress that
//! fits.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::format::images::judge;
use crate::lab::mirror::Fault;
use crate::world::{Run, World};

fn run(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = world.command(arguments);
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("TERM", "xterm-256color");
    command.envs(variables.iter().copied());
    Run::of(command.output().unwrap())
}

/// The text without escape sequences of colours.
fn stripped(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// Our own errors were plain, and there was no `--color` (ux.md, §2 and §6).
#[test]
fn errors_are_coloured_where_that_is_asked_for_and_their_text_stays() {
    let world = World::new();
    world.edit("recipes/small.yaml", "profiles:", "profilse:");
    let plain = run(&world, &["build", "recipes/small.yaml"], &[]);
    assert!(plain.stderr.contains("error") && plain.stderr.contains("  --> "), "{}", plain.stderr);
    assert!(!plain.stderr.contains('\x1b'), "a pipe gets no colours");
    /// Arguments, variables, and whether there is colour.
    type Case<'c> = (&'c [&'c str], &'c [(&'c str, &'c str)], bool);
    let cases: [Case<'_>; 6] = [
        (&["build", "recipes/small.yaml", "--color", "always"], &[], true),
        (&["--color=always", "build", "recipes/small.yaml"], &[("NO_COLOR", "1")], true),
        (&["build", "recipes/small.yaml"], &[("CLICOLOR_FORCE", "1")], true),
        (&["build", "recipes/small.yaml", "--color=never"], &[("CLICOLOR_FORCE", "1")], false),
        (&["build", "recipes/small.yaml"], &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false),
        (&["build", "recipes/small.yaml"], &[("TERM", "dumb")], false),
    ];
    for (arguments, variables, is_coloured) in cases {
        let run = run(&world, arguments, variables);
        assert_eq!(
            run.stderr.contains("\x1b[1m\x1b[91merror"),
            is_coloured,
            "{arguments:?} {variables:?}: {:?}",
            run.stderr
        );
        assert_eq!(stripped(&run.stderr), plain.stderr, "{arguments:?}");
    }
    let clap = run(&world, &["biuld", "--color", "always"], &[]);
    assert!(clap.stderr.contains('\x1b') && clap.stderr.contains("prebake build"), "{:?}", clap.stderr);
}

#[test]
fn quiet_leaves_errors_and_results_and_verbose_tells_sources_reasons_and_what_was_there() {
    let world = World::new();
    let verbose = world.prebake(&["build", "recipes/small.yaml", "-v"]).ok();
    for wanted in [
        "fetching flatcar/amd64/flatcar_production_pxe.vmlinuz: ",
        &format!(" from {}", world.mirror.url()),
        "building overlay/worker: the store has nothing under its key ",
    ] {
        assert!(verbose.stderr.contains(wanted), "{wanted}:\n{}", verbose.stderr);
    }
    let again = world.prebake(&["build", "recipes/small.yaml", "--verbose"]).ok();
    for wanted in ["cached   overlay/worker: ", "cached   flatcar/amd64/flatcar_production_pxe.vmlinuz: "] {
        assert!(again.stderr.contains(wanted), "{wanted}:\n{}", again.stderr);
    }
    let usual = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(!usual.stderr.contains("cached   "), "{}", usual.stderr);

    fs::remove_dir_all(world.path("store")).unwrap();
    let quiet = world.prebake(&["-q", "build", "recipes/small.yaml"]).ok();
    assert_eq!(quiet.stderr, "");
    assert!(quiet.stdout.contains("→ output/small/"), "{}", quiet.stdout);
    world.prebake(&["build", "--quiet", "recipes/nowhere.yaml"]).fails(2, &["error: cannot read the recipe"]);
    world.prebake(&["build", "-q", "-v", "recipes/small.yaml"]).fails(2, &["cannot be used with"]);
}

/// With `--json`, standard output was empty on failure (ux.md, §2).
#[test]
fn a_failure_with_json_is_one_document_on_standard_output() {
    let world = World::new();
    let document = |arguments: &[&str]| -> Value {
        let run = world.prebake(arguments);
        assert!(run.stderr.starts_with("error"), "people read it, too: {}", run.stderr);
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(document["error"]["exit"], run.code.unwrap(), "{document}");
        document["error"].clone()
    };
    let missing = document(&["plan", "recipes/nowhere.yaml", "--json"]);
    assert_eq!((&missing["exit"], &missing["findings"]), (&2.into(), &Value::Array(Vec::new())));
    assert!(missing["hint"].as_str().unwrap().contains("recipes/small.yaml"), "{missing}");
    let gone = document(&["diff", "nowhere", "output", "--json"]);
    assert!(gone["causes"][0].as_str().unwrap().contains("No such file"), "{gone}");
    let drift = document(&["build", "recipes/small.yaml", "--locked", "--json"]);
    assert_eq!(drift["exit"], 9);
    assert!(drift["hint"].as_str().unwrap().contains("prebake lock"), "{drift}");
    assert_eq!(document(&["plan", "--json"])["exit"], 2);
    assert_eq!(document(&["store", "path", "nothing", "--json"])["exit"], 1);

    world.edit("recipes/small.yaml", "profiles:", "profilse:");
    let invalid = document(&["build", "recipes/small.yaml", "--json"]);
    let findings = invalid["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["place"]["line"] == 6).unwrap();
    assert_eq!((&invalid["exit"], &finding["severity"]), (&3.into(), &"error".into()));
    let message = finding["message"].as_str().unwrap();
    assert!(invalid["message"].as_str().unwrap().ends_with(&format!("; {message}")), "{invalid}");

    // What was found wrong is a result; it stays the only document.
    fs::write(world.path("bad.ign"), "{}").unwrap();
    let run = world.prebake(&["ignition", "validate", "bad.ign", "--json"]);
    assert_eq!(run.code, Some(3));
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(report["error"].is_null() && report["findings"].is_array(), "{report}");
}

#[test]
fn what_makes_files_tells_programs_which() {
    let world = World::new();
    world.build();
    let json = |line: &str| -> Value {
        let run = world.prebake(&line.split(' ').collect::<Vec<_>>()).ok();
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {}", run.stdout))
    };
    let image = "output/small/current/assets/sysext/hello/hello-1-x86-64.raw";
    assert_eq!(json(&format!("sysext extract {image} -o hello --json"))["directory"], "hello");
    assert_eq!(json("sysext key generate -o keys --json")["key"], "keys/sysext.key");
    let injected = json("initrd inject --overlay-only --ignition recipes/n2.ign -o n2.cpio --json");
    assert_eq!(injected["overlay_bytes"], fs::metadata(world.path("n2.cpio")).unwrap().len());
    let path = json("store path flatcar/amd64/version.txt --json");
    assert!(fs::metadata(path["path"].as_str().unwrap()).is_ok(), "{path}");
    let extracted = json("initrd extract n2.cpio -o there --json");
    assert!(extracted["members"].as_u64().unwrap() > 0, "{extracted}");
    json("bundle create output/small/current -o s.bundle --unsigned --json");
    json("key generate -o site --no-passphrase --json");
    let signed = json("bundle sign s.bundle --sign-key site.key --json");
    assert_eq!(signed["signers"].as_array().unwrap().len(), 1, "{signed}");
}

/// `prebake help` and `prebake help build` were unknown (ux.md, §2).
#[test]
fn help_is_found_by_every_way_in_which_people_look_for_it() {
    let world = World::new();
    let help = |line: &str| world.prebake(&line.split(' ').collect::<Vec<_>>()).ok().stdout;
    let build = help("sysext build --help");
    assert!(build.contains("Examples:\n"), "{build}");
    assert_eq!(help("help sysext build"), build);
    assert_eq!(help("sysext help build"), build);
    assert_eq!(help("help"), help("--help"));
    assert!(help("-h").contains("Every day:\n"), "verbs are in groups");
    world.prebake(&["help", "biuld"]).fails(2, &["try `prebake build`"]);
    assert_eq!(help("version"), format!("prebake {}\n", env!("CARGO_PKG_VERSION")));
    for line in
        ["store ls --unused", "store verify", "store gc --dry-run", "completions bash", "man sysext build"]
    {
        help(line);
    }
}

#[test]
fn usage_lines_name_no_option_that_only_the_environment_set() {
    let world = World::new();
    let run = world.prebake(&["build"]);
    assert!(run.stderr.contains("Usage: prebake build [OPTIONS] <RECIPE>\n"), "{}", run.stderr);
}

/// A tmux server of this test alone.
struct Tmux(String);

impl Tmux {
    fn run(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("tmux").args(["-L", &self.0, "-f", "/dev/null"]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen and all that scrolled out of it, once they contain a text.
    fn wait_for(&self, text: &str) -> Vec<String> {
        let started = Instant::now();
        loop {
            let seen = self.run(&["capture-pane", "-p", "-S", "-"]);
            if seen.contains(text) {
                return seen.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
            }
            assert!(started.elapsed() < Duration::from_secs(120), "no {text:?} in:\n{seen}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// Bars had 113 columns: each wrapped at 110, 80 and 60, and a resize left rubbish behind (ux.md, §2).
#[test]
fn progress_has_one_row_for_each_task_at_any_width_and_after_a_resize() {
    if !judge("tmux", "tmux") {
        return;
    }
    let kernel = "_pxe.vmlinuz";
    for (width, resized) in [(60, None), (80, None), (110, Some(60)), (200, Some(80)), (60, Some(200))] {
        let world = World::with_faults(move |request| {
            request.path.ends_with("pxe.vmlinuz").then_some(Fault::Stall(3))
        });
        let tmux = Tmux(format!("prebake-{}-{width}-{resized:?}", std::process::id()));
        let mut command = String::new();
        for (key, value) in world.command(&[]).get_envs() {
            let value = value.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
            command += &format!("export {}='{value}'; ", key.to_string_lossy());
        }
        // What scrolled by before: without it, tmux moves the top of the screen out of reach when it becomes narrower.
        command += &format!(
            "export LC_ALL=C.UTF-8; cd {}; seq 30; {} build recipes/small.yaml; sleep 100",
            world.path("").display(),
            env!("CARGO_BIN_EXE_prebake")
        );
        let (columns, rows) = (width.to_string(), "24");
        tmux.run(&["new-session", "-d", "-x", &columns, "-y", rows, &command]);
        tmux.wait_for(kernel);
        if let Some(resized) = resized {
            tmux.run(&["resize-window", "-x", &resized.to_string(), "-y", rows]);
        }
        // Rows are drawn several times in this time, though nothing more arrives.
        thread::sleep(Duration::from_millis(1500));
        let seen = tmux.wait_for("fetched  ");
        let bars: Vec<&String> = seen.iter().filter(|line| line.contains(kernel)).collect();
        let now = resized.unwrap_or(width);
        assert_eq!(bars.len(), 1, "{width} → {resized:?}:\n{}", seen.join("\n"));
        assert!(bars[0].contains('%') && bars[0].contains("/s"), "{}", bars[0]);
        assert!(bars[0].chars().count() < now, "{}", bars[0]);
        let totals = seen.iter().filter(|line| line.contains(" of 3 inputs")).count();
        assert_eq!(totals, 1, "{width} → {resized:?}:\n{}", seen.join("\n"));
    }
}
