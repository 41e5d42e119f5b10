//! The composite action and the pipelines of docs/guides/ci.md: well-formed, and their scripts run as a runner runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_yaml::Value;

use crate::world::{Run, World, repository};

/// The n-th block of YAML behind a heading of the guide.
fn pipeline(heading: &str) -> Value {
    let guide = fs::read_to_string(repository("docs/guides/ci.md")).unwrap();
    let (_, behind) = guide.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, block) = behind.split_once("```yaml\n").unwrap();
    serde_yaml::from_str(block.split("\n```").next().unwrap()).unwrap()
}

fn action() -> Value {
    serde_yaml::from_str(&fs::read_to_string(repository("action.yml")).unwrap()).unwrap()
}

/// The text of a scalar.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        other => panic!("no scalar: {other:?}"),
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    value.as_mapping().into_iter().flatten().map(|(key, value)| (text(key), value))
}

/// What stands in `${{ … }}`.
fn expressions(yaml: &Value) -> Vec<String> {
    let whole = serde_yaml::to_string(yaml).unwrap();
    whole.split("${{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim().to_owned()).collect()
}

/// A job on a runner: the action's inputs, and what its steps have said so far.
struct Runner<'w> {
    world: &'w World,
    inputs: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
}

impl<'w> Runner<'w> {
    /// With the defaults of the action and these inputs over them.
    fn new(world: &'w World, inputs: &[(&str, &str)]) -> Self {
        let action = action();
        let declared =
            entries(&action["inputs"]).filter_map(|(name, input)| Some((name, text(input.get("default")?))));
        let mut all: BTreeMap<String, String> = declared.collect();
        all.extend(inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        fs::create_dir_all(world.path("runner")).unwrap();
        Runner { world, inputs: all, outputs: BTreeMap::new() }
    }

    /// What an expression of the action means: an input, or what a step said.
    fn value(&self, expression: &str) -> String {
        let parts: Vec<&str> = expression.split('.').collect();
        let known = match parts[..] {
            ["inputs", name] => self.inputs.get(name),
            ["steps", id, "outputs", name] => self.outputs.get(&format!("{id}.{name}")),
            _ => panic!("an unknown expression: {expression}"),
        };
        known.unwrap_or_else(|| panic!("nobody said {expression}")).clone()
    }

    /// Runs the steps of the action that are scripts, as `shell: bash` does, up to the first that fails.
    fn run(&mut self) -> Run {
        let mut last = None;
        for step in action()["runs"]["steps"].as_sequence().unwrap() {
            let Some(script) = step.get("run") else { continue };
            if let Some(condition) = step.get("if") {
                let condition = text(condition);
                let (left, right) = condition.split_once(" == ").unwrap();
                if self.value(left) != right.trim_matches('\'') {
                    continue;
                }
            }
            let mut env = BTreeMap::new();
            for (name, value) in step.get("env").into_iter().flat_map(entries) {
                let value = text(value);
                let expression = value.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).unwrap();
                env.insert(name, self.value(expression.trim()));
            }
            let said = self.world.path("runner/output");
            fs::write(&said, "").unwrap();
            let run = shell(self.world, &text(script), &env);
            for line in fs::read_to_string(&said).unwrap().lines() {
                let (name, value) = line.split_once('=').unwrap();
                self.outputs.insert(format!("{}.{name}", text(&step["id"])), value.to_owned());
            }
            let failed = run.code != Some(0);
            last = Some(run);
            if failed {
                break;
            }
        }
        last.unwrap()
    }
}

/// A script as GitHub's runner runs it, with the built binary on the path.
fn shell(world: &World, script: &str, env: &BTreeMap<String, String>) -> Run {
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).current_dir(world.path(""));
    for (key, value) in world.command(&[]).get_envs() {
        value.map(|value| command.env(key, value));
    }
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_prebake")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).envs(env);
    for (name, file) in [("OUTPUT", "output"), ("STEP_SUMMARY", "summary.md")] {
        command.env(format!("GITHUB_{name}"), world.path("runner").join(file));
    }
    command.env("RUNNER_TEMP", world.path("runner"));
    Run::of(command.output().unwrap())
}

#[test]
fn every_step_of_the_action_has_its_shell_and_names_inputs_and_steps_that_are_there() {
    let action = action();
    assert_eq!(action["runs"]["using"], "composite");
    let steps = action["runs"]["steps"].as_sequence().unwrap();
    assert!(
        steps
            .iter()
            .all(|step| step.get("uses").is_some() != (step.get("run").is_some() && step["shell"] == "bash"))
    );
    let inputs: BTreeSet<String> = entries(&action["inputs"]).map(|(name, _)| name).collect();
    let ids: BTreeSet<String> = steps.iter().filter_map(|step| Some(text(step.get("id")?))).collect();
    for expression in expressions(&action) {
        for word in
            expression.split(|letter: char| !letter.is_ascii_alphanumeric() && !"._-".contains(letter))
        {
            match word.split('.').collect::<Vec<_>>()[..] {
                ["inputs", name] => assert!(inputs.contains(name), "{expression}"),
                ["steps", id, "outputs", _] => assert!(ids.contains(id), "{expression}"),
                _ => {}
            }
        }
    }
    // What a person writes into an input never becomes part of a script.
    assert!(steps.iter().filter_map(|step| step.get("run")).all(|script| !text(script).contains("${{")));
    let workflow = pipeline("GitHub");
    let mut calls = 0;
    for (_, job) in entries(&workflow["jobs"]) {
        for step in job["steps"].as_sequence().unwrap() {
            if step.get("uses").is_some_and(|uses| uses == "OWNER/prebake@REF") {
                calls += 1;
                assert!(entries(&step["with"]).all(|(name, _)| inputs.contains(&name)), "{step:?}");
            }
        }
    }
    assert_eq!(calls, 2);
}

#[test]
fn the_action_plans_builds_and_reports_as_its_outputs_say() {
    let world = World::new();
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    let store = world.path("store").display().to_string();
    let inputs = [("recipe", "recipes/small.yaml"), ("store", store.as_str()), ("mode", "plan")];
    let mut job = Runner::new(&world, &inputs);
    job.run().ok();
    assert_eq!(job.outputs["plan.pending"], "true");
    assert_eq!(job.outputs["lock.path"], "recipes/small.lock");
    assert_eq!(world.current(), None, "a plan builds nothing");

    let build = [("recipe", "recipes/small.yaml"), ("store", store.as_str()), ("verify-rebuild", "true")];
    let mut job = Runner::new(&world, &build);
    job.run().ok();
    let build_id = world.current().unwrap();
    assert_eq!(job.outputs["build.build-id"], build_id);
    assert_eq!(job.outputs["build.path"], format!("output/small/{build_id}"));
    let summary = fs::read_to_string(world.path("runner/summary.md")).unwrap();
    for words in
        ["### prebake plan", "to do: 4 steps to build", &build_id, "a second build gave the same result"]
    {
        assert!(summary.contains(words), "no {words:?} in:\n{summary}");
    }
    assert!(world.path("prebake-junit.xml").exists());

    let mut job = Runner::new(&world, &inputs);
    job.run().ok();
    assert_eq!(job.outputs["plan.pending"], "false");
    world.edit("recipes/small.yaml", "channel: stable}", "channel: stable, version: 4593.2.4}");
    Runner::new(&world, &build).run().fails(9, &["wants version 4593.2.4"]);
}

/// A world whose recipe is the guides': recipes/edge.yaml, locked.
fn edge() -> World {
    let world = World::new();
    fs::copy(world.path("recipes/small.yaml"), world.path("recipes/edge.yaml")).unwrap();
    world.edit("recipes/edge.yaml", "name: small", "name: edge");
    world.prebake(&["lock", "recipes/edge.yaml"]).ok();
    world
}

/// A signing key as a CI system holds it, and its public half where the guide has it committed.
fn secrets(world: &World) -> BTreeMap<String, String> {
    let env = BTreeMap::from([("PREBAKE_SIGN_PASSPHRASE".to_owned(), "correct horse".to_owned())]);
    shell(world, "mkdir keys && prebake key generate --output release && mv release.pub keys", &env).ok();
    let key = fs::read_to_string(world.path("release.key")).unwrap();
    fs::remove_file(world.path("release.key")).unwrap();
    env.into_iter().chain([("PREBAKE_SIGN_KEY".to_owned(), key)]).collect()
}

#[test]
fn the_pipeline_for_gitlab_plans_builds_and_packs() {
    let world = edge();
    let pipeline = pipeline("GitLab");
    let mut env = secrets(&world);
    env.insert("RECIPE".into(), text(&pipeline["variables"]["RECIPE"]));
    env.insert("CI_PIPELINE_IID".into(), "7".into());
    let job = |name: &str| {
        assert_eq!(pipeline[name]["extends"], ".prebake");
        let lines = pipeline[name]["script"].as_sequence().unwrap().iter().map(text);
        shell(&world, &lines.collect::<Vec<_>>().join("\n"), &env)
    };
    job("plan").fails(10, &["pending: "]);
    assert_eq!(text(&pipeline["plan"]["allow_failure"]["exit_codes"][0]), "10");
    job("bake").ok();
    for artifact in pipeline["bake"]["artifacts"]["paths"].as_sequence().unwrap() {
        assert!(world.path(&text(artifact)).exists(), "{artifact:?}");
    }
    job("repeat").ok();
    job("plan").ok();
}

#[test]
fn what_the_workflow_for_github_packs_is_signed_by_the_secret_and_verified() {
    let world = edge();
    let mut env = secrets(&world);
    let store = world.path("store").display().to_string();
    let mut job = Runner::new(&world, &[("recipe", "recipes/edge.yaml"), ("store", &store)]);
    job.run().ok();
    env.insert("TREE".into(), job.outputs["build.path"].clone());
    env.insert("GITHUB_RUN_NUMBER".into(), "7".into());
    let workflow = pipeline("GitHub");
    let steps = workflow["jobs"]["build"]["steps"].as_sequence().unwrap();
    let pack =
        steps.iter().find(|step| step.get("name").is_some_and(|name| name == "Pack and sign")).unwrap();
    let given: BTreeSet<String> = entries(&pack["env"]).map(|(name, _)| name).collect();
    assert!(given.iter().all(|name| env.contains_key(name)), "{given:?}");
    shell(&world, &text(&pack["run"]), &env).ok();
    assert!(world.path("edge.bundle").exists());
}
