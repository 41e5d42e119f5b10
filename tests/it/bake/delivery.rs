//! Configs and sysexts that machines fetch, for releases that lose what an overlay carries.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prebake::bake::delivery::release_faults;
use prebake::bake::outputs;
use prebake::bake::recipe::Recipe;
use prebake::base::digest::Sha256;
use prebake::base::finding::Source;
use prebake::tree::manifest::{Manifest, Role};
use serde_json::{Value, json};

use crate::bake::boots::lab_world;
use crate::judges::Judge;
use crate::judges::matchbox::check_tree;
use crate::lab::machine::{self, Machine};
use crate::lab::mirror::Mirror;
use crate::lab::{ports, release};
use crate::world::http::{Server, get};
use crate::world::{Run, World, repository, sign, stock};

const BASE: &str = "http://10.0.0.1:8080/edge";
const RECIPE: &str = "recipes/small.yaml";

// flatcar/Flatcar#742 and #1695: builds of such releases were silent.
#[test]
fn a_release_that_does_not_come_up_by_pxe_is_refused_with_the_next_that_does() {
    let faults = |args: &str, version: &str| -> Vec<String> {
        let text = format!(
            "schema: 1\nname: edge\nrelease: {{channel: beta}}\nprofiles:\n  worker: {{kernel_args: [{args}]}}\n  other: {{kernel_args: [{args}]}}\n"
        );
        let source = Source::new("r.yaml", text);
        let (recipe, _) = Recipe::parse(&source, PathBuf::new(), outputs::read).unwrap();
        let findings = release_faults(&recipe, version.parse().unwrap());
        findings
            .iter()
            .map(|finding| format!("{} {}", finding.message, finding.hint.as_deref().unwrap_or_default()))
            .collect()
    };
    let shell = faults("quiet", "4230.1.0");
    assert_eq!(shell.len(), 1);
    assert!(shell[0].contains("emergency shell") && shell[0].contains("4230.1.1 or newer"), "{shell:?}");
    let platform = faults("quiet", "3185.1.1");
    assert_eq!(platform.len(), 2, "each profile without the argument");
    assert!(
        platform[0].contains("`flatcar.oem.id=metal`") && platform[0].contains("3227.1.0"),
        "{platform:?}"
    );
    assert!(faults("flatcar.oem.id=metal", "3185.1.1").is_empty());
    for sound in ["4230.1.1", "4230.2.0", "4186.1.1", "3227.1.0", "3139.2.3", "4593.2.5"] {
        assert!(faults("quiet", sound).is_empty(), "{sound}");
    }
}

/// The small world on a release that loses an injected config.
fn losing() -> World {
    let (world, version) = (World::new(), "4593.1.0");
    let board = world.path("release/beta/amd64-usr");
    fs::create_dir_all(board.join(version)).unwrap();
    std::os::unix::fs::symlink(version, board.join("current")).unwrap();
    for (name, bytes) in stock(version) {
        fs::write(board.join(version).join(&name), &bytes).unwrap();
        fs::write(board.join(version).join(format!("{name}.sig")), sign(&bytes)).unwrap();
    }
    world.edit(RECIPE, "channel: stable", "channel: beta");
    world
}

/// The small world on a release that keeps it, whose recipe wants a URL all the same.
fn fetching(outputs: &str) -> World {
    let world = World::new();
    let outputs = if outputs.is_empty() { String::new() } else { format!("outputs: {{{outputs}}}\n") };
    let wish = format!("config_from: url\nbase_url: \"{BASE}/\"\n{outputs}default_profile:");
    world.edit(RECIPE, "default_profile:", &wish);
    world
}

fn tree(world: &World, path: &str) -> String {
    let path = world.path("output/small/current").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json_of(world: &World, path: &str) -> Value {
    serde_json::from_str(&tree(world, path)).unwrap()
}

fn manifest(world: &World) -> Manifest {
    Manifest::parse("manifest", tree(world, "manifest.json").as_bytes()).unwrap()
}

fn args(profile: &Value) -> Vec<&str> {
    profile["boot"]["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
}

#[test]
fn a_release_that_loses_an_injected_config_is_refused_with_the_way_out() {
    let world = losing();
    for verb in [&["build"][..], &["build", "--base-url", BASE]] {
        let run = world.prebake(&[verb, &[RECIPE]].concat());
        run.fails(
            3,
            &["small.yaml:3:20", "Flatcar 4593.1.0 loses a config", "`--auto` or `config_from: auto`"],
        );
    }
    let run = world.prebake(&["build", "--auto", RECIPE]);
    run.fails(3, &["small.yaml:3:20", "the URL of the tree is not known", "`--base-url http"]);
    assert_eq!(world.current(), None);
}

#[test]
fn with_auto_its_machines_fetch_config_and_sysexts_and_load_the_stock_files_alone() {
    let world = losing();
    world.prebake(&["build", "--auto", "--base-url", BASE, RECIPE]).ok();
    let by_flags = world.current();
    let manifest = manifest(&world);
    assert!(manifest.files.values().all(|file| file.role != Role::Overlay && file.role != Role::Initrd));
    let profile = json_of(&world, "profiles/worker.json");
    let stock = "/assets/flatcar/4593.1.0/flatcar_production_pxe_image.cpio.gz";
    assert_eq!(profile["boot"]["initrd"], json!([stock]));
    let expected = [
        "initrd=flatcar_production_pxe_image.cpio.gz",
        "flatcar.first_boot=1",
        "ignition.config.url=http://10.0.0.1:8080/edge/ignition?uuid=${uuid}&mac=${mac:hexhyp}",
        "prebake.url=http://10.0.0.1:8080/edge",
        "console=ttyS0",
    ];
    assert_eq!(args(&profile), expected);
    check_tree(&world.path("output/small/current"));

    // The recipe may say the same.
    world.edit(RECIPE, "default_profile:", &format!("config_from: auto\nbase_url: {BASE}\ndefault_profile:"));
    assert_eq!(Some(world.build()), by_flags);
}

#[test]
fn a_release_that_keeps_it_builds_the_same_tree_with_auto_as_without() {
    let expected = World::new().build();
    let world = World::new();
    world.prebake(&["build", "--auto", "--base-url", BASE, RECIPE]).ok();
    assert_eq!(world.current(), Some(expected.clone()));
    world.edit(RECIPE, "default_profile:", "config_from: auto\ndefault_profile:");
    assert_eq!(world.build(), expected);
}

#[test]
fn the_config_names_each_sysext_by_its_digest_and_ignition_itself_accepts_it() {
    let world = fetching("");
    world.build();
    let manifest = manifest(&world);
    let judge = Judge::start("ignition");
    for id in ["worker", "control", "control+n2"] {
        let text = tree(&world, &format!("assets/ignition/{id}.ign"));
        assert_eq!(text, tree(&world, &format!("ignition/{id}.ign")), "Matchbox has the same");
        let config: Value = serde_json::from_str(&text).unwrap();
        let files = config["storage"]["files"].as_array().unwrap();
        let file = files.iter().find(|file| file["path"].as_str().unwrap().ends_with(".raw")).unwrap();
        let path = file["contents"]["source"].as_str().unwrap().strip_prefix(&format!("{BASE}/")).unwrap();
        let hash = format!("sha256-{}", manifest.files[path].sha256);
        assert_eq!(file["contents"]["verification"]["hash"], hash);
        assert_eq!(manifest.files[path].role, Role::Sysext);
        let link = &config["storage"]["links"][0];
        assert_eq!((&link["path"], &link["target"]), (&json!("/etc/extensions/hello.raw"), &file["path"]));
        if let Some(judge) = &judge {
            let verdict = &judge.ask(&json!({"configs": [text]}))["verdicts"][0];
            assert_eq!((&verdict["error"], &verdict["entries"]), (&json!(""), &json!([])), "{id}");
        }
    }
}

#[test]
fn a_machine_finds_its_own_config_and_every_file_that_it_names_at_our_server() {
    let world = fetching("");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let nodes = [
        ("52-54-00-00-00-01", "worker"),
        ("52-54-00-00-00-02", "control+n2"),
        ("52-54-00-99-00-00", "worker"),
    ];
    for (mac, id) in nodes {
        let script = get(&address, &format!("/ipxe?mac={mac}"), "").text();
        let url =
            script.split_whitespace().find_map(|word| word.strip_prefix("ignition.config.url=")).unwrap();
        // What iPXE makes of it.
        let url = url.replace("${mac:hexhyp}", mac).replace("${uuid}", "");
        let config = get(&address, url.strip_prefix(BASE).unwrap(), "").text();
        assert_eq!(config, tree(&world, &format!("ignition/{id}.ign")), "{script}");
        for line in config.split('"').filter_map(|word| word.strip_prefix(BASE)) {
            let image = get(&address, line, "");
            assert_eq!(image.status, 200, "{line}");
            assert!(config.contains(&format!("sha256-{}", Sha256::of(&image.body))), "{line}");
        }
    }
}

#[test]
fn every_static_loader_names_the_boots_own_config() {
    let outputs = "pxe: {}, ipxe: {}, grub: {}, pxelinux: {}, uki: {}";
    let world = fetching(outputs);
    world.build();
    let of = |id: &str| format!("ignition.config.url={BASE}/assets/ignition/{id}.ign");
    for (file, id) in [
        ("boot/ipxe/mac-52-54-00-00-00-01.ipxe", "worker"),
        ("boot/ipxe/mac-52-54-00-00-00-02.ipxe", "control+n2"),
        ("boot/grub/grub.cfg-01-52-54-00-00-00-02", "control+n2"),
        ("boot/pxelinux/pxelinux.cfg/01-52-54-00-00-00-02", "control+n2"),
        ("boot/pxelinux/pxelinux.cfg/default", "control"),
    ] {
        let text = tree(&world, file);
        assert!(text.split([' ', '\n', '\'']).any(|word| word == of(id)), "{file}:\n{text}");
        assert!(!text.contains("overlay"), "{text}");
    }
    let config = world.path("output/small/current/boot/grub/grub.cfg-01-52-54-00-00-00-02");
    assert!(Command::new("grub-script-check").arg(config).status().unwrap().success());

    let image = fs::read(world.path("output/small/current/boot/uki/control+n2.efi")).unwrap();
    let card = "prebake.mac=52:54:00:00:00:02 BOOTIF=01-52-54-00-00-00-02";
    let cmdline = format!("flatcar.first_boot=1 {} prebake.url={BASE} {card}\0", of("control+n2"));
    assert!(image.windows(cmdline.len()).any(|window| window == cmdline.as_bytes()), "{cmdline}");
    let initrd = fs::read(
        world.path("output/small/current/assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz"),
    );
    let initrd = initrd.unwrap();
    assert!(image.windows(initrd.len()).any(|window| window == initrd));
}

#[test]
fn the_plan_shows_configs_after_the_sysexts_that_they_name() {
    let world = fetching("");
    world.build();
    let steps = |world: &World| -> BTreeMap<String, bool> {
        let run = world.prebake(&["plan", "--json", RECIPE]).ok();
        let plan: Value = serde_json::from_str(&run.stdout).unwrap();
        let steps = plan["steps"].as_array().unwrap().iter();
        steps.map(|step| (step["id"].as_str().unwrap().to_owned(), step["cached"] == true)).collect()
    };
    let names = ["config/control", "config/control+n2", "config/worker", "sysext/hello/amd64"];
    assert_eq!(steps(&world), names.map(|name| (name.to_owned(), true)).into());
    let before = tree(&world, "assets/ignition/worker.ign");
    // Another image is another digest in every config.
    world.edit("sysext/hello/files/usr/share/hello/greeting", "hello", "good day");
    assert_eq!(steps(&world), names.map(|name| (name.to_owned(), false)).into());
    world.build();
    assert_ne!(tree(&world, "assets/ignition/worker.ign"), before);
    assert_eq!(steps(&world), names.map(|name| (name.to_owned(), true)).into());
}

#[test]
fn the_url_of_an_output_serves_where_all_outputs_have_the_same() {
    let outputs = |grub: &str, uki: &str| {
        let world = World::new();
        let wish = format!(
            "config_from: url\noutputs: {{pxe: {{}}, grub: {{base_url: \"{grub}\"}}, uki: {{base_url: \"{uki}\"}}}}\ndefault_profile:"
        );
        world.edit(RECIPE, "default_profile:", &wish);
        world
    };
    let world = outputs(BASE, BASE);
    world.build();
    assert!(tree(&world, "assets/ignition/worker.ign").contains(&format!("{BASE}/assets/sysext/hello/")));
    outputs(BASE, "http://10.0.0.2").prebake(&["build", RECIPE]).fails(
        3,
        &["small.yaml:15:14", "machines fetch their config from a URL", "the URL of the tree is not known"],
    );
}

#[test]
fn a_machine_that_installs_itself_fetches_the_installer_and_the_installed_system_the_rest() {
    let world = fetching("pxe: {}, matchbox: {}, disk: {}");
    for sysext in ["install", "report"] {
        let from = repository("sysext").join(sysext);
        let copied = Command::new("cp").arg("-a").arg(from).arg(world.path("sysext")).status().unwrap();
        assert!(copied.success());
    }
    world.edit(RECIPE, "kernel_args: [console=ttyS0]", "install: {model: Lab Disk}");
    world.build();
    let fetched = |path: &str| -> Vec<String> {
        let config = json_of(&world, path);
        let links = config["storage"]["links"].as_array().unwrap().clone();
        links.iter().map(|link| link["path"].as_str().unwrap().replace("/etc/extensions/", "")).collect()
    };
    assert_eq!(fetched("ignition/worker.ign"), ["install.raw", "report.raw"]);
    assert_eq!(fetched("ignition/worker.installed.ign"), ["hello.raw"]);
    let config = json_of(&world, "ignition/worker.ign");
    let mut files = config["storage"]["files"].as_array().unwrap().iter();
    let conf = files.find(|file| file["path"] == "/etc/prebake/install.conf").unwrap();
    let conf = conf["contents"]["source"].as_str().unwrap().strip_prefix("data:;base64,").unwrap();
    let conf = String::from_utf8(STANDARD.decode(conf).unwrap()).unwrap();
    assert!(conf.contains(&format!("BASE_URL='{BASE}'\n")), "{conf}");
    check_tree(&world.path("output/small/current"));
}

#[test]
fn what_a_fetched_config_cannot_do_is_refused_where_it_is_asked_for() {
    for (profile, words) in [
        ("layout: single", "this layout joins an overlay to the release's initrd"),
        ("layout: virtual", "this layout joins an overlay to the release's initrd"),
        ("diskless: true", "cannot boot without a network: its config and sysexts are fetched"),
    ] {
        let world = fetching("");
        world.edit(RECIPE, "    kernel_args: [console=ttyS0]", &format!("    {profile}"));
        world.prebake(&["build", RECIPE]).fails(3, &[words, "recipes/small.yaml:9:"]);
    }
    for (wish, words) in [
        ("config_from: urls", "`urls` is not a source of configs: use overlay, auto or url"),
        ("base_url: 10.0.0.1", "`10.0.0.1` is not an http or https URL"),
    ] {
        let world = World::new();
        world.edit(RECIPE, "default_profile:", &format!("{wish}\ndefault_profile:"));
        world.prebake(&["build", RECIPE]).fails(3, &[words, "recipes/small.yaml:15:"]);
    }
}

#[test]
fn a_diskless_profile_must_need_nothing_of_the_network() {
    let world = World::new();
    world.edit(RECIPE, "    kernel_args", "    diskless: true\n    kernel_args");
    world.build();
    let remote = r#""contents":{"source":"http://h.invalid/role"}"#;
    world.edit("recipes/worker.ign", r#""contents":{"source":"data:,worker"}"#, remote);
    let run = world.prebake(&["build", RECIPE]);
    run.fails(
        3,
        &["http://h.invalid/role is fetched during the boot", "worker.ign:1:", "small.yaml:9:", "--inline"],
    );
}

/// How long a stage of a boot may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_machine_whose_initrd_forgets_what_was_injected_boots_by_url() {
    let world = lab_world();
    // Without KVM, on a busy machine, the kernel may find its timer too late and give up.
    world.edit("recipes/lab.yaml", "console=ttyS0,115200n8\"]", "console=ttyS0,115200n8\", no_timer_check]");
    let nonce = "storage:\n  files:\n    - {path: /etc/prebake-lab/nonce, contents: {inline: by-url}}\n";
    fs::write(world.path("nonce.bu"), format!("variant: flatcar\nversion: 1.0.0\n{nonce}")).unwrap();
    // The URL is in what is built, so the port is chosen before.
    let address = ports::unused();
    let release = release::build(&world.path("lab")).unwrap();
    let mirror = Mirror::builder().directory("/", &release.server).start().unwrap();
    let url = machine::seen_from_inside(address);
    let recipe = fs::read_to_string(world.path("recipes/lab.yaml")).unwrap();
    fs::write(world.path("recipes/lab.yaml"), format!("{recipe}config_from: url\nbase_url: {url}\n"))
        .unwrap();
    let mut build = world.command(&["build", "recipes/lab.yaml", "--layer", "nonce.bu"]);
    Run::of(build.env("PREBAKE_MIRROR_FLATCAR", mirror.url()).output().unwrap()).ok();

    // As the releases between 4487 and 4669: nothing of usr/share/oem is taken over.
    let init = fs::read_to_string(repository("tests/lab/release/init")).unwrap();
    let forgetful = init.replacen("log \"start\"\n", "log \"start\"\nrm -rf /usr/share/oem/*\n", 1);
    assert!(forgetful.len() > init.len());
    fs::create_dir(world.path("harness")).unwrap();
    fs::write(world.path("init"), forgetful).unwrap();
    world
        .prebake(&[
            "initrd",
            "inject",
            "--overlay-only",
            "-o",
            "harness/forgetful.cpio",
            "--file",
            "init=init:0755",
        ])
        .ok();
    fs::copy(release.harness.join("bootengine.cpio.gz"), world.path("harness/bootengine.cpio.gz")).unwrap();
    let script = machine::start_script(address).replacen("chain", "initrd forgetful.cpio\nchain", 1);
    let harness =
        Mirror::builder().directory("/", &world.path("harness")).page("/start.ipxe", script).start().unwrap();

    let _turn = machine::turn();
    let mut serve = world.command(&["serve", "--address", &address.to_string(), "output/lab/current"]);
    let mut server = Server::start(&mut serve);
    server.says("listening on http://");
    let start = format!("{}/start.ipxe", machine::seen_from_inside(harness.address()));
    let mut machine =
        Machine::builder(&start, &world.path("console")).mac("52:54:00:00:00:02").start().unwrap();
    for pattern in
        ["ignition needs the network", "] switch_root", "PREBAKE-LAB-OK profile=control nonce=by-url"]
    {
        let event = machine.wait_for(&[pattern], PATIENCE);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(30).join("\n")));
        eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
    }
    // It asked for these and no overlay. (It does not report: the lab's bootengine leaves the network card configured, which
    // its networkd then waits for.)
    server.says("GET /ignition 200");
    server.says("GET /assets/sysext/report/report-");
    assert!(!server.log.iter().any(|line| line.contains("/overlay/")), "{:?}", server.log);
}
