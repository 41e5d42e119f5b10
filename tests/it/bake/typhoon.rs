//! The output `terraform` as its page has it, judged by OpenTofu with Matchbox's provider; and its bench for Typhoon, judged
//! against the variables that Typhoon's module has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::judges;
use crate::lab::ports;
use crate::world::http::{Server, get};
use crate::world::{Run, VERSION, World, repository};

const RECIPE: &str = "recipes/small.yaml";
const BENCH: &str = "output/small/current/boot/terraform/typhoon/bench.json";
const MODULE: &str = "output/small/current/boot/terraform/typhoon/main.tf.json";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt ops@example.com";

/// The variables of `bare-metal/flatcar-linux/kubernetes` in Typhoon v1.36.1: name, type, whether it must be given.
const VARIABLES: [(&str, &str, bool); 21] = [
    ("cluster_name", "string", true),
    ("matchbox_http_endpoint", "string", true),
    ("os_channel", "string", true),
    ("os_version", "string", true),
    ("controllers", MACHINES, true),
    ("workers", MACHINES, false),
    ("snippets", "map(list(string))", false),
    ("worker_node_labels", "map(list(string))", false),
    ("worker_node_taints", "map(list(string))", false),
    ("k8s_domain_name", "string", true),
    ("ssh_authorized_key", "string", true),
    ("networking", "string", false),
    ("pod_cidr", "string", false),
    ("service_cidr", "string", false),
    ("download_protocol", "string", false),
    ("cached_install", "bool", false),
    ("install_disk", "string", false),
    ("kernel_args", "list(string)", false),
    ("oem_type", "string", false),
    ("components", "any", false),
    ("service_account_issuer", "string", false),
];
const MACHINES: &str = "list(object({name = string, mac = string, domain = string}))";

/// The small world with a bench: two machines, one of them a controller.
fn world(options: &str) -> World {
    let world = World::new();
    world.edit(RECIPE, "sysexts: [hello]\n", &format!("ssh_keys: [\"{KEY}\"]\n"));
    world.edit(
        RECIPE,
        "control:\n",
        "control:\n    role: control-plane\n    kernel_args: ['console=ttyS0', 'a=${b}']\n",
    );
    world.edit(RECIPE, "kernel_args: [console=ttyS0]", "kernel_args: ['console=ttyS0', 'a=${b}']");
    let typhoon = format!(
        "terraform: {{typhoon: {{base_url: http://boot.lab.example:8080, domain: lab.example{options}}}}}"
    );
    world.edit(
        RECIPE,
        "default_profile:",
        &format!("outputs: {{pxe: {{}}, disk: {{}}, matchbox: {{}}, {typhoon}}}\ndefault_profile:"),
    );
    world
}

fn read(world: &World, path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(world.path(path)).unwrap()).unwrap()
}

#[test]
fn the_bench_says_what_the_recipe_says() {
    let world = world("");
    world.build();
    let mut bench = read(&world, BENCH);
    let snippets = bench.as_object_mut().unwrap().remove("snippets").unwrap();
    assert_eq!(
        bench,
        json!({
            "schema": 1,
            "rpc_endpoint": "boot.lab.example:8081",
            "cluster_name": "small",
            "matchbox_http_endpoint": "http://boot.lab.example:8080",
            "os_channel": "flatcar-stable",
            "os_version": VERSION,
            "k8s_domain_name": "n2.lab.example",
            "ssh_authorized_key": KEY,
            "install_disk": "/dev/sda",
            "kernel_args": ["console=ttyS0", "a=${b}"],
            "controllers": [{"name": "n2", "mac": "52:54:00:00:00:02", "domain": "n2.lab.example"}],
            "workers": [{"name": "n1", "mac": "52:54:00:00:00:01", "domain": "n1.lab.example"}],
        })
    );
    assert_eq!(snippets, json!({"n1": ["ignition/worker.ign"], "n2": ["ignition/control+n2.ign"]}));
    for path in ["ignition/worker.ign", "ignition/control+n2.ign"] {
        assert!(world.path("output/small/current").join(path).is_file());
    }
    // Stock files lie where `cached_install` has machines look.
    for file in [
        "flatcar_production_pxe.vmlinuz",
        "flatcar_production_pxe_image.cpio.gz",
        "flatcar_production_image.bin.bz2",
    ] {
        assert!(
            world.path(&format!("output/small/current/assets/flatcar/{VERSION}/{file}")).is_file(),
            "{file}"
        );
    }
    world.prebake(&["verify", "--closure", "output/small/current"]).ok();

    let other = ", rpc: \"10.0.0.9:9000\", api: api.lab.example, install_disk: /dev/vda";
    world.edit(RECIPE, "domain: lab.example", &format!("domain: lab.example{other}"));
    world.build();
    let bench = read(&world, BENCH);
    let given = ["rpc_endpoint", "k8s_domain_name", "install_disk"].map(|key| bench[key].as_str().unwrap());
    assert_eq!(given, ["10.0.0.9:9000", "api.lab.example", "/dev/vda"]);
}

/// A name that the module does not have, or a required one that is missing, would end `terraform plan` at the user's.
#[test]
fn each_argument_is_a_variable_of_typhoon_and_every_required_one_is_there() {
    let world = world("");
    world.build();
    let module = read(&world, MODULE);
    let arguments = module["module"]["cluster"].as_object().unwrap();
    let given: BTreeSet<&str> =
        arguments.keys().map(String::as_str).filter(|name| *name != "source").collect();
    let known: BTreeSet<&str> = VARIABLES.iter().map(|(name, ..)| *name).collect();
    let needed: BTreeSet<&str> =
        VARIABLES.iter().filter(|(.., needed)| *needed).map(|(name, ..)| *name).collect();
    assert_eq!(given.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert_eq!(needed.difference(&given).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// A module of Typhoon's variables, which says what it was given.
fn stand_in() -> Value {
    let variable = |(name, kind, needed): (&str, &str, bool)| {
        let mut variable = json!({"type": kind});
        if !needed {
            variable["default"] = match kind {
                "bool" => json!(false),
                kind if kind.starts_with("list") => json!([]),
                kind if kind.starts_with("map") => json!({}),
                _ => Value::Null,
            };
        }
        (name.to_owned(), variable)
    };
    let mut variables: serde_json::Map<String, Value> = VARIABLES.into_iter().map(variable).collect();
    variables["os_channel"]["validation"] = json!({
        "condition": "${contains([\"flatcar-stable\", \"flatcar-beta\", \"flatcar-alpha\"], var.os_channel)}",
        "error_message": "No channel of Typhoon.",
    });
    let all: BTreeMap<&str, String> =
        VARIABLES.iter().map(|(name, ..)| (*name, format!("${{var.{name}}}"))).collect();
    json!({
        "variable": variables,
        "output": {"kubeconfig-admin": {"value": "a kubeconfig", "sensitive": true}, "given": {"value": all}},
    })
}

/// The one config that an Ignition config merges.
fn merged(config: &str) -> Vec<u8> {
    let config: Value = serde_json::from_str(config).unwrap();
    let merges = config["ignition"]["config"]["merge"].as_array().unwrap();
    assert_eq!(merges.len(), 1);
    let (kind, data) = merges[0]["source"].as_str().unwrap().split_once(',').unwrap();
    let bytes = match kind.ends_with(";base64") {
        true => BASE64_STANDARD.decode(data).unwrap(),
        false => percent_decode_str(data).collect(),
    };
    let mut plain = Vec::new();
    match merges[0]["compression"] == "gzip" {
        true => GzDecoder::new(&*bytes).read_to_end(&mut plain).unwrap(),
        false => (&*bytes).read_to_end(&mut plain).unwrap(),
    };
    plain
}

/// Terraform evaluates the bench as a site has it: a copy beside its own files, the tree elsewhere. Providers, which a network
/// would bring, are taken out; the module is one of the same variables.
#[test]
fn terraform_itself_gives_the_module_what_the_tree_says_at_each_plan() {
    let Some(terraform) = judges::terraform() else { return };
    let world = world("");
    world.layer("file.bu", "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - {path: /etc/x, contents: {inline: 'a ${b} %{c}'}}\n");
    world.edit(RECIPE, "[worker.ign, control.ign]", "[worker.ign, file.bu, control.ign]");
    world.build();
    let mut module = read(&world, MODULE);
    module["terraform"].as_object_mut().unwrap().remove("required_providers");
    module.as_object_mut().unwrap().remove("provider");
    module["module"]["cluster"]["source"] = json!("./typhoon");
    module["output"]["given"] = json!({"value": "${module.cluster.given}"});
    world.write("bench/main.tf.json", module.to_string());
    world.write("bench/typhoon/main.tf.json", stand_in().to_string());
    let run = |args: &[&str]| {
        let mut command = Command::new(&terraform);
        command
            .args(args)
            .current_dir(world.path("bench"))
            .env("CHECKPOINT_DISABLE", "1")
            .env_remove("TF_CLI_CONFIG_FILE");
        Run::of(command.env("TF_CLI_ARGS", "-no-color").output().unwrap())
    };
    let apply =
        |tree: &str| run(&["apply", "-auto-approve", "-input=false", "-var", &format!("tree={tree}")]);
    let given = || -> Value {
        let shown: Value = serde_json::from_str(&run(&["output", "-json"]).ok().stdout).unwrap();
        shown["given"]["value"].clone()
    };
    run(&["init", "-input=false"]).ok();
    run(&["validate"]).ok();
    apply("../output/nowhere").fails(1, &["No tree with a bench for Typhoon is there", "-chdir=DIR"]);
    apply("../output/small/current/").ok();
    let (first, bench) = (given(), read(&world, BENCH));
    for argument in bench
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| !["schema", "rpc_endpoint", "snippets"].contains(&key.as_str()))
    {
        assert_eq!(first[argument], bench[argument], "{argument}");
    }
    assert_eq!(first["cached_install"], json!(true));

    // Each snippet is Butane that has Ignition merge the tree's config, byte for byte.
    let Some(butane) = judges::Judge::start("butane") else { return };
    for (name, path) in [("n1", "ignition/worker.ign"), ("n2", "ignition/control+n2.ign")] {
        let snippets = first["snippets"][name].as_array().unwrap();
        assert_eq!(snippets.len(), 1);
        let told = butane.ask(&json!({"config": snippets[0]}));
        assert_eq!((&told["error"], &told["entries"]), (&json!(""), &json!([])));
        let merged = merged(told["ignition"].as_str().unwrap());
        assert_eq!(merged, fs::read(world.path("output/small/current").join(path)).unwrap(), "{name}");
    }

    // The next build shows at the next plan.
    world.edit(RECIPE, "domain: lab.example", "domain: next.example");
    world.build();
    apply("../output/small/current").ok();
    assert_eq!(given()["controllers"][0]["domain"], "n2.next.example");
}

#[test]
fn what_typhoon_cannot_make_is_told_at_its_place() {
    for (from, to, words) in [
        ("disk: {}, ", "", "install the stock disk image, which the tree lacks"),
        ("    role: control-plane\n", "", "the cluster has no controller"),
        (KEY, "", "nobody may"),
        ("{channel: stable}", "{channel: lts, version: 4593.2.5}", "Typhoon does not know the channel `lts`"),
        (
            "mac: 52:54:00:00:00:01",
            "uuid: 0D1E2A3B-0000-4000-8000-00000000000A",
            "Typhoon knows machines by their MAC address, and `n1` has none",
        ),
        (
            "    ignition: [worker.ign]\n",
            "    ignition: [worker.ign]\n    sysexts: [hello]\n",
            "the sysexts of `worker` would not be on its machines",
        ),
        (
            "    ignition: [worker.ign]\n",
            "    ignition: [worker.ign]\n    install: {device: /dev/sda}\n",
            "Typhoon has an installer of its own, and `worker` has `install`",
        ),
        (
            "    ignition: [worker.ign]\n",
            "    ignition: [worker.ign]\n    private: [worker.ign]\n",
            "private layers reach no machine",
        ),
        (
            "worker.ign]\n    kernel_args: ['console=ttyS0', 'a=${b}']",
            "worker.ign]",
            "those of `control` and `worker` differ",
        ),
        (
            "domain: lab.example",
            "domain: -lab",
            "`-lab` is not a host name: a part of it begins or ends with `-`",
        ),
        ("domain: lab.example", "domain: a/b", "`a/b` is not a name such as lab.example"),
        ("domain: lab.example", "domain: 10.0.0.1", "`10.0.0.1` is not a host name: it is an address"),
        (
            "domain: lab.example",
            "domain: lab.example, api: 10.0.0.1",
            "`10.0.0.1` is not a host name: it is an address",
        ),
        (
            "domain: lab.example",
            "domain: 2.lab.example.of-a-name-that-is-longer-than-a-label-of-kubernetes-may-be",
            "the limit is 63",
        ),
        ("domain: lab.example", "domian: lab.example", "did you mean `domain`?"),
        ("domain: lab.example", "domain: lab.example, api: 10.0.0.1", "such as api.lab.example"),
        (":8080", ":8080/x", "has a path, and Matchbox answers at the root"),
        ("http://boot", "http://user:pw@boot", "`base_url` has a user or a password"),
        (
            "{base_url: http://boot.lab.example:8080, domain: lab.example}",
            "",
            "`typhoon` has neither `base_url` nor `domain`",
        ),
    ] {
        let world = world("");
        match from == KEY {
            true => world.edit(RECIPE, &format!("ssh_keys: [\"{KEY}\"]\n"), ""),
            false => world.edit(RECIPE, from, to),
        }
        world.prebake(&["plan", RECIPE]).fails(3, &[words, "recipes/small.yaml:"]);
    }
}

/// Each of these would have been found by Terraform, by a machine that installs, or by the clients of the cluster.
#[test]
fn places_that_are_none_are_told_with_line_and_way_out() {
    let world = world("");
    let plan = |option: &str| {
        let plain = "domain: lab.example";
        world.edit(RECIPE, plain, &format!("{plain}{option}"));
        let told = world.prebake(&["plan", RECIPE]);
        world.edit(RECIPE, &format!("{plain}{option}"), plain);
        told
    };
    for rpc in [
        "boot",
        ":8081",
        "::1:8081",
        "a b:1",
        "x:0",
        "x:+1",
        "x:65536",
        "${file:80",
        "10.0.0.256:80",
        "a/b:1",
        "10.1:80",
    ] {
        let told = plan(&format!(", rpc: \"{rpc}\""));
        let words = format!("`{rpc}` is not HOST:PORT such as 10.0.0.1:8081");
        told.fails(3, &[&words, "recipes/small.yaml:17:", "an IPv6 address stands in brackets"]);
    }
    for disk in [
        "sda",
        "/dev",
        "/dev/",
        "/dev/../etc/x",
        "/dev/./sda",
        "/dev//sda",
        "/dev/sda/",
        "/dev/sda; reboot",
        "/dev/${x}",
    ] {
        let told = plan(&format!(", install_disk: \"{disk}\""));
        told.fails(
            3,
            &[&format!("`{disk}` is not a disk such as /dev/sda"), "recipes/small.yaml:17:", "lsblk"],
        );
    }
    for good in [
        ", rpc: \"[fd00::1]:8081\"",
        ", rpc: \"Boot.lab:1\"",
        ", install_disk: /dev/disk/by-path/pci-0000:00:1f.2-ata-1",
    ] {
        plan(good).ok();
    }
    world.edit(RECIPE, "name: n1,", "name: n1.lab.example,");
    plan("").fails(3, &["`n1.lab.example` has the domain already", "recipes/small.yaml:", "call it `n1`"]);
}

/// Sysexts reach such machines where they fetch them, and the bench then names the config that says so.
#[test]
fn machines_that_fetch_get_their_sysexts_by_their_snippet() {
    let world = world("");
    world.edit(RECIPE, "profiles:", "sysexts: [hello]\nconfig_from: url\nprofiles:");
    world.build();
    let snippets = read(&world, BENCH)["snippets"].clone();
    let path = snippets["n1"][0].as_str().unwrap().to_owned();
    let config = fs::read_to_string(world.path("output/small/current").join(&path)).unwrap();
    assert!(config.contains("http://boot.lab.example:8080/assets/sysext/hello"), "{path}: {config}");
}

/// The page's blocks of a kind, as they stand.
fn blocks(kind: &str) -> Vec<String> {
    let page = fs::read_to_string(repository("docs/formats/terraform.md")).unwrap();
    let begin = format!("```{kind}\n");
    page.split(&begin).skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// `terraform` is OpenTofu, and reaches our server at ports of this run. What a person would answer, `TF_CLI_ARGS_apply` does.
#[test]
fn the_words_of_the_page_come_to_machines_that_have_the_tree() {
    let Some(terraform) = judges::provider() else { return };
    let world = World::new();
    world.edit(
        RECIPE,
        "default_profile:",
        "outputs: {pxe: {}, matchbox: {}, terraform: {}}\ndefault_profile:",
    );
    let first = world.build();
    let [http, rpc] = [0; 2].map(|_| ports::unused().to_string());
    let here = |block: &str| {
        let block = block.replace("output/edge", "output/small").replace("boot.lab.example:8081", &rpc);
        let block = block.replace("--rpc-address :8081", &format!("--rpc-address {rpc}"));
        let block = block.replace("--address :8080", &format!("--address {http}"));
        block.replace("boot.lab.example", "127.0.0.1").replace("prebake serve", "exec prebake serve")
    };
    world.write("bin/.keep", "");
    let link = |name: &str, program: &std::ffi::OsStr| {
        std::os::unix::fs::symlink(program, world.path("bin").join(name)).unwrap();
    };
    let tofu = terraform.command(&world.path(""), &[]);
    link("terraform", tofu.get_program());
    link("prebake", env!("CARGO_BIN_EXE_prebake").as_ref());
    let shell = |script: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-euc", script]).current_dir(world.path("")).env_clear().stdin(Stdio::null());
        command.envs(tofu.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", format!("{}:/usr/bin:/bin", world.path("bin").display()));
        command.env("TF_CLI_ARGS_apply", "-auto-approve -input=false");
        command
    };
    let run = |script: &str| Run::of(shell(script).output().unwrap());
    let scripts: Vec<String> = blocks("sh").iter().map(|block| here(block)).collect();
    let [copy, certificates, serve, apply, by_build, bench, ..] = scripts.as_slice() else {
        panic!("the page has other blocks: {scripts:#?}")
    };
    run(copy).ok();
    world.write("main.tf", here(&blocks("hcl")[0]));
    run(certificates).ok();
    let mut server = Server::start(&mut shell(serve));
    server.says(&rpc);
    let said = run(apply).ok().stdout;
    assert!(said.contains("Apply complete!"), "{said}");
    let plan = |code: i32| {
        let told = run("terraform plan -detailed-exitcode -input=false");
        assert_eq!(told.code, Some(code), "{}{}", told.stdout, told.stderr);
    };
    plan(0);
    let config = || get(&http, "/ignition?mac=52-54-00-00-00-02", "").text();
    assert!(config().contains("data:,n2"), "{}", config());
    drop(server);

    // By the build itself: another build changes nothing until both are told.
    let mut server = Server::start(&mut shell(by_build));
    server.says(&rpc);
    let overlay = || get(&http, "/assets/overlay/worker.cpio", "");
    let before = overlay();
    assert_eq!(before.status, 200);
    let node = fs::read_to_string(world.path("recipes/n2.ign")).unwrap();
    world.write("recipes/n2.ign", node.replace("data:,n2", "data:,second"));
    world.write("sysext/hello/files/usr/share/hello/greeting", "hello again\n");
    assert_ne!(world.build(), first);
    assert!(overlay().body == before.body && config().contains("data:,n2"));
    plan(2);
    drop(server);
    let mut server = Server::start(&mut shell(by_build));
    server.says(&rpc);
    run("terraform apply").ok();
    plan(0);
    assert!(overlay().body != before.body && config().contains("data:,second"));

    // The lines of the bench, up to where Typhoon's module is fetched.
    world.edit(
        RECIPE,
        "terraform: {}",
        "disk: {}, terraform: {typhoon: {base_url: http://10.0.0.1:8080, domain: lab.example}}",
    );
    world.edit(RECIPE, "sysexts: [hello]\n", &format!("ssh_keys: [\"{KEY}\"]\n"));
    world.edit(
        RECIPE,
        "  control:\n",
        "  control:\n    role: control-plane\n    kernel_args: [console=ttyS0]\n",
    );
    world.build();
    run(bench.lines().next().unwrap()).ok();
    assert!(world.path("bench/main.tf.json").is_file());
    assert!(bench.contains("-chdir=bench") && bench.contains("tree=../output/small/current"), "{bench}");
}
