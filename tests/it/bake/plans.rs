//! `prebake plan`: what it foresees is what a build then does, and `--exit-code` says whether there is anything to do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::judges::{self, browser::Browser};
use crate::world::schema::Schema;
use crate::world::{Run, World};

#[track_caller]
fn plan(world: &World, more: &[&str]) -> Value {
    let args = [&["plan", "recipes/small.yaml", "--json"], more].concat();
    let plan = serde_json::from_str(&world.prebake(&args).ok().stdout).unwrap();
    Schema::load("plan.schema.json").check(&plan);
    plan
}

fn exit(world: &World) -> Run {
    world.prebake(&["plan", "recipes/small.yaml", "--exit-code"])
}

#[test]
fn a_plan_goes_from_everything_to_nothing_and_its_exit_code_with_it() {
    let world = World::new();
    let first = plan(&world, &[]);
    assert_eq!((&first["outputs"], &first["pending"]), (&Value::Null, &true.into()), "nothing is locked yet");
    assert_eq!(first["totals"]["fetch_unknown"], 3);
    exit(&world).fails(10, &["pending: the lock would change, 3 inputs to fetch", "a tree to publish"]);
    world.prebake(&["plan", "recipes/small.yaml", "--locked", "--exit-code"]).fails(9, &["there is no lock"]);

    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    let locked = plan(&world, &["--locked"]);
    let totals = &locked["totals"];
    assert_eq!((&totals["fetch_inputs"], &totals["build_steps"]), (&0.into(), &4.into()));
    assert_eq!(locked["outputs"]["build_id"], Value::Null, "no digest of what is not built");
    let run = exit(&world);
    run.fails(10, &["pending: 4 steps to build, a tree to publish"]);
    assert!(!run.stderr.contains("error"), "to have work is no error: {}", run.stderr);

    let build_id = world.build();
    let built = plan(&world, &["--locked"]);
    assert_eq!((&built["pending"], &built["outputs"]["published"]), (&false.into(), &true.into()));
    assert_eq!(built["outputs"]["build_id"], build_id.as_str());
    exit(&world).ok();

    fs::remove_dir_all(world.path("output")).unwrap();
    exit(&world).fails(10, &["pending: a tree to publish"]);
    exit(&world).fails(10, &[]);
    assert!(!world.path("output").exists(), "a plan makes nothing");
    world.build();
    world.edit("recipes/worker.ign", "data:,worker", "data:,changed");
    exit(&world).fails(10, &["pending: 3 steps to build, a tree to publish"]);
    let layer = ["plan", "recipes/small.yaml", "--exit-code", "--layer", "recipes/n2.ign"];
    world.prebake(&layer).fails(10, &[]);
}

#[test]
fn the_files_that_a_plan_foresees_are_those_that_the_build_publishes() {
    let world = World::new();
    // All that is known of files beforehand: sealed overlays, initrds that nobody stores, updates, a unified layout.
    world.edit("recipes/small.yaml", "    kernel_args: [console=ttyS0]\n", "    layout: virtual\n");
    world.edit("recipes/small.yaml", "default_profile", "outputs: {pxe: {}, matchbox: {}, ipxe: {}, disk: {}, grub: {base_url: http://h.invalid}, sysupdate: {base_url: http://h.invalid}}\ndefault_profile");
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    let files = |plan: &Value| -> BTreeMap<String, Value> {
        plan["outputs"]["files"].as_object().unwrap().clone().into_iter().collect()
    };
    let foreseen = files(&plan(&world, &[]));
    world.build();
    let published = files(&plan(&world, &[]));
    let manifest: Value =
        serde_json::from_slice(&fs::read(world.path("output/small/current/manifest.json")).unwrap()).unwrap();
    let rows =
        ["files", "joined"].into_iter().flat_map(|part| manifest[part].as_object().into_iter().flatten());
    let of_manifest: BTreeMap<String, Value> = rows
        .map(|(path, row)| (path.clone(), serde_json::json!({"role": row["role"], "size": row["size"]})))
        .collect();
    assert_eq!(published, of_manifest);
    assert!(foreseen.keys().eq(published.keys()), "{:?}\n{:?}", foreseen.keys(), published.keys());
    let known = foreseen.iter().filter(|(_, file)| !file["size"].is_null());
    let mut count = 0;
    for (path, file) in known {
        assert_eq!(file, &published[path], "{path}");
        count += 1;
    }
    assert!(count >= 6 && count < foreseen.len(), "{count} sizes of stock files are known, and not all");
    let text = world.prebake(&["plan", "recipes/small.yaml", "--files"]).ok().stdout;
    assert!(published.keys().all(|path| text.contains(path.as_str())), "{text}");
}

/// Graphviz reads a graph; each edge by the names of its ends.
pub(crate) fn edges(text: &str) -> Vec<String> {
    let mut dot =
        Command::new("dot").arg("-Tjson").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    dot.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = dot.wait_with_output().unwrap();
    assert!(output.status.success(), "dot refuses:\n{text}");
    let graph: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |index: &Value| {
        let label = graph["objects"][index.as_u64().unwrap() as usize]["label"].as_str().unwrap();
        label.split("\\n").next().unwrap().to_owned()
    };
    let edges = graph["edges"].as_array().unwrap().iter();
    edges.map(|edge| format!("{} → {}", name(&edge["tail"]), name(&edge["head"]))).collect()
}

#[test]
fn the_graph_leads_from_inputs_over_steps_and_boots_to_the_machines() {
    let world = World::new();
    let graph = |language: &str| world.prebake(&["plan", "recipes/small.yaml", "--graph", language]);
    graph("dot").fails(9, &["there is no lock", "hint: run `prebake lock`"]);
    world.prebake(&["lock", "recipes/small.yaml"]).ok();
    let before = edges(&graph("dot").ok().stdout);
    for edge in [
        "sysext/hello/amd64 → overlay/worker",
        "overlay/worker → worker",
        "flatcar/amd64/flatcar_production_pxe_image.cpio.gz → worker",
        "worker → n1",
        "overlay/control+n2 → control+n2",
        "control+n2 → n2",
    ] {
        assert!(before.iter().any(|found| found == edge), "no {edge} in {before:#?}");
    }
    world.build();
    assert_eq!(edges(&graph("dot").ok().stdout), before, "a build adds lengths and no edges");
    let text = graph("mermaid").ok().stdout;
    let Some(script) = judges::mermaid() else { return };
    let page = format!(
        "<pre></pre><script src={script:?}></script><script>\
         document.querySelector('pre').textContent = {text};\
         mermaid.initialize({{startOnLoad: false}}); mermaid.run({{querySelector: 'pre'}})</script>",
        text = serde_json::json!(text)
    );
    fs::write(world.path("graph.html"), page).unwrap();
    let mut browser = Browser::start();
    browser.open(&format!("file://{}", world.path("graph.html").display()));
    browser.wait_for("document.querySelector('pre svg') != null");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let count = |browser: &mut Browser, what: &str| {
        browser.eval(&format!("document.querySelectorAll('pre svg {what}').length")).as_u64().unwrap()
    };
    assert_eq!(count(&mut browser, "path.flowchart-link"), before.len() as u64, "{text}");
    let drawn = browser.eval("document.querySelector('pre svg').textContent");
    assert!(drawn.as_str().unwrap().contains("flatcar/amd64/flatcar_production_pxe.vmlinuz"), "{drawn}");
}
