//! The configs of boot loaders and DHCP servers, judged by the programs that read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::initrd::layouts::{archive, noise, through};
use crate::judges;
use crate::world::{Run, World};

const DHCP: &str = "base_url: \"http://10.0.0.1:8080\", subnet: 10.0.0.0/24, interface: lo";

/// The small world with these outputs beside `pxe`, `matchbox` and `ipxe`, its nodes with addresses and a UUID.
fn world(outputs: &str) -> World {
    let world = World::new();
    world.edit("recipes/small.yaml", "profile: worker}", "profile: worker, ip: 10.0.0.11/24}");
    let uuid = "uuid: 0D1E2A3B-0000-4000-8000-00000000000A, ip: 10.0.0.12/24, profile: control,";
    world.edit("recipes/small.yaml", "profile: control,", uuid);
    let outputs = format!("outputs:\n  pxe: {{}}\n  matchbox: {{}}\n{outputs}\ndefault_profile:");
    world.edit("recipes/small.yaml", "default_profile:", &outputs);
    world
}

fn tree(world: &World, path: &str) -> String {
    let path = world.path("output/small/current").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file that a config loads must be in the tree; their names begin with one of these.
#[track_caller]
fn assert_loads(world: &World, config: &str, beginnings: &[&str]) {
    let words = config.split(|c: char| c.is_whitespace() || c == ',' || c == '\'');
    let named: BTreeSet<&str> = words
        .filter_map(|word| beginnings.iter().find_map(|start| word.strip_prefix(start)))
        .filter(|path| path.starts_with("assets/"))
        .collect();
    assert!(named.len() >= 3, "a kernel and two initrds: {named:?}");
    for path in named {
        assert!(world.path("output/small/current").join(path).is_file(), "{path}");
    }
}

#[test]
fn grub_itself_takes_every_config_and_each_node_has_its_own() {
    let world = world("  ipxe: {}\n  grub: {base_url: \"http://10.0.0.1/edge/\"}");
    world.build();
    let names = world.names("output/small/current/boot/grub");
    let expected = [
        "grub.cfg",
        "grub.cfg-01-52-54-00-00-00-01",
        "grub.cfg-01-52-54-00-00-00-02",
        "grub.cfg-0d1e2a3b-0000-4000-8000-00000000000a",
    ];
    assert_eq!(names, expected);
    for name in names {
        let path = world.path("output/small/current/boot/grub").join(name);
        let judged = Command::new("grub-script-check").arg(&path).output().unwrap();
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    }
    let n2 = tree(&world, "boot/grub/grub.cfg-01-52-54-00-00-00-02");
    assert!(n2.contains("set root='http,10.0.0.1'\n"), "{n2}");
    assert!(n2.contains("menuentry 'control+n2'") && n2.contains("'/edge/assets/overlay/control+n2.cpio'"));
    assert!(!n2.contains("initrd="), "GRUB hands the initrds over itself");
    assert_loads(&world, &n2, &["/edge/"]);
    let card = "\"prebake.mac=$net_default_mac\" \"BOOTIF=01-$net_default_mac\"\n";
    let menu = tree(&world, "boot/grub/grub.cfg");
    assert!(n2.contains(card) && menu.matches(card).count() == 2, "{menu}");
    let entries: Vec<&str> = menu.lines().filter_map(|line| line.strip_prefix("menuentry ")).collect();
    assert_eq!(entries, ["'worker' {", "'Boot from the local disk' {", "'control' {"]);
}

#[test]
fn grub_finds_the_tree_of_its_own_server_when_no_address_is_given() {
    let world = world("  grub: {timeout: 0}");
    world.build();
    let n1 = tree(&world, "boot/grub/grub.cfg-01-52-54-00-00-00-01");
    assert!(n1.starts_with("set default=0\nset timeout=0\nmenuentry 'worker' {\n  linux '/assets/"), "{n1}");
    assert_loads(&world, &n1, &["/"]);
}

#[test]
fn pxelinux_gets_one_line_of_initrds_and_none_of_them_as_an_argument() {
    let world = world("  pxelinux: {}");
    world.build();
    let n1 = tree(&world, "boot/pxelinux/pxelinux.cfg/01-52-54-00-00-00-01");
    let stock = "::assets/flatcar/4593.2.5/flatcar_production_pxe";
    let expected = format!(
        "DEFAULT worker\nPROMPT 0\nLABEL worker\n  KERNEL {stock}.vmlinuz\n  \
         INITRD {stock}_image.cpio.gz,::assets/overlay/worker.cpio\n  APPEND flatcar.first_boot=1 console=ttyS0\n  IPAPPEND 2\n"
    );
    assert_eq!(n1, expected);
    assert_loads(&world, &n1, &["::"]);
    let names = world.names("output/small/current/boot/pxelinux/pxelinux.cfg");
    let uuid = "0d1e2a3b-0000-4000-8000-00000000000a";
    assert_eq!(names, ["01-52-54-00-00-00-01", "01-52-54-00-00-00-02", uuid, "default"]);
    let default = tree(&world, "boot/pxelinux/pxelinux.cfg/default");
    assert!(
        default.starts_with("DEFAULT worker\nPROMPT 1\nTIMEOUT 30\nSAY small: local control worker\n"),
        "{default}"
    );
}

#[test]
fn dnsmasq_itself_takes_both_modes() {
    for (options, expected) in [
        (
            format!("mode: proxy, {DHCP}"),
            "pxe-service=tag:ipxe,x86PC,\"prebake\",http://10.0.0.1:8080/boot.ipxe\n",
        ),
        (format!("mode: full, {DHCP}"), "dhcp-range=10.0.0.0,static,255.255.255.0,43200\n"),
        (
            format!(
                "mode: full, {DHCP}, range: 10.0.0.100-10.0.0.200, gateway: 10.0.0.1, dns: [10.0.0.1, 9.9.9.9], \
                 domain: lab.example, lease: 1h, loaders: {{http: \"http://10.0.0.1/ipxe.efi\"}}"
            ),
            "dhcp-host=52:54:00:00:00:02,10.0.0.12,n2\nhost-record=n2.lab.example,n2,10.0.0.12\n",
        ),
    ] {
        let world = world(&format!("  ipxe: {{}}\n  dnsmasq: {{{options}}}"));
        world.build();
        let config = tree(&world, "boot/dnsmasq/dnsmasq.conf");
        assert!(config.contains(expected), "{config}");
        let path = world.path("output/small/current/boot/dnsmasq/dnsmasq.conf");
        let conf_file = format!("--conf-file={}", path.display());
        let judged = Run::of(Command::new("dnsmasq").args(["--test", &conf_file]).output().unwrap());
        assert_eq!((judged.code, judged.stderr.trim()), (Some(0), "dnsmasq: syntax check OK."), "{config}");
    }
}

#[test]
fn a_unified_kernel_image_holds_kernel_initrds_and_arguments_and_can_be_signed() {
    let world = world("  uki: {base_url: \"http://10.0.0.1:8080\"}");
    world.edit(
        "recipes/small.yaml",
        "    ignition: [worker.ign]\n",
        "    ignition: [worker.ign]\n    early_initrds: [ucode.cpio]\n",
    );
    world.write("recipes/ucode.cpio", archive("kernel/x86/microcode/GenuineIntel.bin", &noise(3000)));
    world.build();
    assert_eq!(world.names("output/small/current/boot/uki"), ["control+n2.efi", "control.efi", "worker.efi"]);
    let image = world.path("output/small/current/boot/uki/worker.efi");
    let run = |program: &str, args: &[&str]| {
        let output =
            Command::new(program).args(args).arg(&image).current_dir(world.path("")).output().unwrap();
        Run::of(output).ok().stdout
    };
    let section = |name: &str| {
        let dump = format!("{name}=section");
        let mut objcopy = Command::new("objcopy");
        let output =
            objcopy.args(["--dump-section", &dump]).arg(&image).arg("copy").current_dir(world.path(""));
        Run::of(output.output().unwrap()).ok();
        fs::read(world.path("section")).unwrap()
    };
    let headers = run("objdump", &["-h"]);
    assert!(headers.contains("pei-x86-64") && headers.contains(".sbat"), "{headers}");
    let cmdline = "flatcar.first_boot=1 console=ttyS0 prebake.url=http://10.0.0.1:8080";
    assert_eq!(String::from_utf8(section(".cmdline")).unwrap(), cmdline);
    assert!(
        String::from_utf8(section(".osrel"))
            .unwrap()
            .contains("PRETTY_NAME=\"Flatcar 4593.2.5, small worker\"\n")
    );
    assert_eq!(section(".linux"), b"kernel of 4593.2.5");
    // An image of one node alone can say which machine it is.
    let own = fs::read(world.path("output/small/current/boot/uki/control+n2.efi")).unwrap();
    let card = b" prebake.mac=52:54:00:00:00:02 BOOTIF=01-52-54-00-00-00-02";
    assert!(own.windows(card.len()).any(|words| words == card));
    let tree = |path: &str| fs::read(world.path("output/small/current").join(path)).unwrap();
    let mut initrds = Vec::new();
    let stock = "assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz";
    for path in ["assets/early/ucode.cpio", stock, "assets/overlay/worker.cpio"] {
        initrds.extend(tree(path));
        initrds.resize(initrds.len().next_multiple_of(4), 0);
    }
    assert!(section(".initrd") == initrds, "the initrds one after the other");

    // What signs and verifies for Secure Boot takes the image as it is.
    let key = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-keyout", "key", "-out", "cert",
    ];
    Run::of(Command::new("openssl").args(key).current_dir(world.path("")).output().unwrap()).ok();
    run("sbsign", &["--key", "key", "--cert", "cert", "--output", "signed.efi"]);
    let mut verify = Command::new("sbverify");
    let verified =
        verify.args(["--cert", "cert", "signed.efi"]).current_dir(world.path("")).output().unwrap();
    assert!(Run::of(verified).ok().stdout.contains("Signature verification OK"));
}

#[test]
fn stubs_and_early_initrds_that_are_none_are_refused() {
    let world = world("  uki: {stubs: {amd64: n2.ign}}");
    world
        .prebake(&["build", "recipes/small.yaml"])
        .fails(3, &["n2.ign is not a UEFI program", "linuxx64.efi.stub"]);
    for (name, words) in [
        ("n2.ign", "n2.ign is neither a cpio archive nor a compressed one: it is a JSON text"),
        // The kernel stops at each of these, and would not come to Flatcar's own initrd.
        ("crc64.cpio", "crc64.cpio is neither a cpio archive nor a compressed one: it is xz with CRC-64"),
        (
            "cut.cpio",
            "cut.cpio would keep the kernel from everything after it: it, gzip archive at byte 0 is not an intact",
        ),
        (
            "trailing.cpio",
            "trailing.cpio would keep the kernel from everything after it: it: the kernel ignores everything",
        ),
        ("nowhere.cpio", "nowhere.cpio cannot be read"),
        ("a b", "the file name of an early initrd must be made of"),
        ("n2.ign, n2.ign", "two early initrds are called `n2.ign`"),
    ] {
        let world = World::new();
        let ucode = archive("kernel/x86/microcode/GenuineIntel.bin", &noise(3000));
        let packed = through(&["gzip", "-n"], &ucode);
        world.write("recipes/crc64.cpio", through(&["xz", "--check=crc64"], &ucode));
        world.write("recipes/cut.cpio", &packed[..packed.len() - 30]);
        world.write("recipes/trailing.cpio", [&ucode[..], b"and more"].concat());
        let early = format!("    early_initrds: [{name}]\n    kernel_args");
        world.edit("recipes/small.yaml", "    kernel_args", &early);
        world.prebake(&["build", "recipes/small.yaml"]).fails(3, &[words, "recipes/small.yaml:9:"]);
    }
}

/// What udhcpd says while it reads a config. It serves until it is ended.
fn udhcpd(config: &Path) -> String {
    let mut child = Command::new("udhcpd")
        .arg("-f")
        .arg(config)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut stderr, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    // It has read all of it before it says so, and ends without that word where there is no such interface.
    while !said.contains(": started, ") && stderr.read_line(&mut said).unwrap() > 0 {}
    let _ = child.kill();
    child.wait().unwrap();
    said
}

#[test]
fn udhcpd_itself_reads_every_line() {
    let world = world(&format!(
        "  ipxe: {{}}\n  udhcpd: {{{DHCP}, range: 10.0.0.100-10.0.0.200, gateway: 10.0.0.1, dns: [10.0.0.1], domain: lab.example}}"
    ));
    world.build();
    let config = tree(&world, "boot/udhcpd/udhcpd.conf");
    assert!(config.contains("static_lease 52:54:00:00:00:01 10.0.0.11\n"), "{config}");
    // Its own files go where this test may write.
    let own = format!("lease_file {0}\npidfile {0}.pid\n", world.path("leases").display());
    fs::write(world.path("leases"), "").unwrap();
    let path = world.path("udhcpd.conf");
    fs::write(&path, config.clone() + &own).unwrap();
    let said = udhcpd(&path);
    assert_eq!(said, "udhcpd: started, v1.35.0\n".replace("1.35.0", version(&said)));
    // It passes over words that it does not know, so each of ours must be one whose value it judges.
    let values = ["start", "end", "siaddr", "max_leases", "opt", "static_lease"];
    let (mut broken, mut lines) = (String::new(), Vec::new());
    for (number, line) in config.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        match values.contains(&words[0]) && words[1] != "domain" {
            true => {
                let key = if words[0] == "opt" { words[..2].join(" ") } else { words[0].to_owned() };
                broken += &format!("{key} nonsense\n");
                lines.push(number + 1);
            }
            false => broken += &format!("{line}\n"),
        }
    }
    assert_eq!(lines.len(), 10, "{config}");
    fs::write(&path, broken).unwrap();
    let said = udhcpd(&path);
    for line in lines {
        assert!(said.contains(&format!("can't parse line {line} in")), "line {line} of {config}: {said}");
    }
}

/// `udhcpd: started, v1.35.0` → `1.35.0`
fn version(said: &str) -> &str {
    said.lines().next().and_then(|line| line.split(", v").nth(1)).unwrap_or_default()
}

/// A world with all that a profile of a tree can have: some have templates, some nodes have an overlay of their own.
fn terraform_world() -> World {
    let world = world("  terraform: {}");
    world.edit("recipes/small.yaml", "    kernel_args", "    generic: env.tmpl\n    kernel_args");
    world.edit("recipes/small.yaml", "console=ttyS0", "'a=${b}', 'c=100%{d}'");
    world.write("recipes/env.tmpl", "name={{index . \"name\"}} ${a} %{b}\n");
    world
}

fn records(world: &World, kind: &str) -> Vec<(String, Value)> {
    let names = world.names(&format!("output/small/current/{kind}"));
    let record = |name: &String| serde_json::from_str(&tree(world, &format!("{kind}/{name}"))).unwrap();
    let records: BTreeMap<String, Value> =
        names.iter().map(|name| (name.trim_end_matches(".json").to_owned(), record(name))).collect();
    records.into_iter().collect()
}

/// Every field that a profile or group of the tree has is one that the module reads, or the name by which it is found: one
/// that a later profile gets cannot be dropped in silence, as `generic_id` once was.
#[test]
fn terraform_reads_every_field_that_profiles_and_groups_of_the_tree_have() {
    let world = terraform_world();
    world.build();
    let module: Value = serde_json::from_str(&tree(&world, "boot/terraform/matchbox.tf.json")).unwrap();
    let mut fields = BTreeSet::new();
    for (kind, resource) in [("profiles", "matchbox_profile"), ("groups", "matchbox_group")] {
        let read = module["resource"][resource].to_string();
        for (id, record) in records(&world, kind) {
            assert_eq!((&record["id"], &record["name"]), (&json!(id), &json!(id)));
            for (key, value) in record.as_object().unwrap() {
                let inner = value.as_object().filter(|_| key == "boot").into_iter().flatten();
                let keys = inner.map(|(inner, _)| format!("boot.{inner}")).collect::<Vec<_>>();
                let keys = if keys.is_empty() { vec![key.clone()] } else { keys };
                for key in keys.into_iter().filter(|key| !["id", "name"].contains(&key.as_str())) {
                    let is_read = [format!("each.value.{key}"), format!("each.value[\"{key}\"]")]
                        .iter()
                        .any(|expression| read.contains(expression));
                    assert!(is_read, "{kind}/{id}.json has `{key}`, which {resource} does not read: {read}");
                    fields.insert(key);
                }
            }
        }
    }
    let all = ["args", "initrd", "kernel"].map(|key| format!("boot.{key}")).into_iter();
    let all = all.chain(["generic_id", "ignition_id", "metadata", "profile", "selector"].map(str::to_owned));
    assert_eq!(fields, all.collect());
}

/// What the provider's resources take (terraform-provider-matchbox, `resource_profile.go`, `resource_group.go`), beside
/// the `for_each` of every resource.
const RESOURCES: [(&str, &str, &[&str]); 2] = [
    ("matchbox_profile", "boot", &["args", "generic_config", "initrd", "kernel", "name", "raw_ignition"]),
    ("matchbox_group", "node", &["metadata", "name", "profile", "selector"]),
];

/// The module where resources that hold anything stand in for the provider's two, which cannot be had here, with the same
/// arguments.
fn without_provider(mut module: Value) -> Value {
    let mut stand_ins = serde_json::Map::new();
    for (kind, name, arguments) in RESOURCES {
        let mut resource = module["resource"][kind][name].as_object().unwrap().clone();
        let for_each = resource.remove("for_each").unwrap();
        let given: BTreeSet<&str> = resource.keys().map(String::as_str).collect();
        assert_eq!(given, arguments.iter().copied().collect());
        stand_ins.insert(name.to_owned(), json!({"for_each": for_each, "input": resource}));
    }
    let stand_ins = json!({"terraform_data": stand_ins}).to_string();
    let stand_ins = stand_ins.replace(
        "matchbox_profile.boot[each.value.profile].name",
        "terraform_data.boot[each.value.profile].input.name",
    );
    module["resource"] = serde_json::from_str(&stand_ins).unwrap();
    module["terraform"].as_object_mut().unwrap().remove("required_providers");
    let all =
        |name| json!({"value": format!("${{{{for id, made in terraform_data.{name} : id => made.input}}}}")});
    module["output"] = json!({"boot": all("boot"), "node": all("node")});
    module
}

/// Terraform's own evaluation of the module, used as the guide has it.
#[test]
fn terraform_itself_makes_the_profiles_and_groups_of_the_tree_and_sees_the_next_build() {
    let Some(terraform) = judges::terraform() else { return };
    let world = terraform_world();
    world.build();
    let module: Value = serde_json::from_str(&tree(&world, "boot/terraform/matchbox.tf.json")).unwrap();
    world.write("modules/prebake/main.tf.json", without_provider(module).to_string());
    let root = |arguments: Value| {
        let mut module = json!({"source": "./modules/prebake"});
        module.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let outputs =
            ["boot", "node"].map(|name| (name, json!({"value": format!("${{module.nodes.{name}}}")})));
        let outputs: Value = outputs.into_iter().map(|(name, output)| (name.to_owned(), output)).collect();
        world.write("main.tf.json", json!({"module": {"nodes": module}, "output": outputs}).to_string());
    };
    let run = |args: &[&str]| {
        let mut command = Command::new(&terraform);
        let command = command
            .args(args)
            .current_dir(world.path(""))
            .env("CHECKPOINT_DISABLE", "1")
            .env_remove("TF_CLI_CONFIG_FILE");
        Run::of(command.env("TF_CLI_ARGS", "-no-color").output().unwrap())
    };
    let judge = || {
        let made: Value = serde_json::from_str(&run(&["output", "-json"]).ok().stdout).unwrap();
        let made = |name: &str| made[name]["value"].as_object().unwrap().clone();
        let (profiles, groups) = (made("boot"), made("node"));
        let ids = |made: &serde_json::Map<String, Value>| made.keys().cloned().collect::<Vec<_>>();
        let names = |kind| records(&world, kind).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!((ids(&profiles), ids(&groups)), (names("profiles"), names("groups")));
        for (id, file) in records(&world, "profiles") {
            let made = &profiles[&id];
            assert_eq!((&made["name"], &made["kernel"]), (&file["id"], &file["boot"]["kernel"]));
            assert_eq!((&made["initrd"], &made["args"]), (&file["boot"]["initrd"], &file["boot"]["args"]));
            let text = |folder: &str| {
                let id = file[format!("{folder}_id")].as_str();
                id.map_or(Value::Null, |id| tree(&world, &format!("{folder}/{id}")).into())
            };
            assert_eq!(made["raw_ignition"], text("ignition"));
            assert_eq!(made["generic_config"], text("generic"));
        }
        for (id, file) in records(&world, "groups") {
            let made = &groups[&id];
            assert_eq!((&made["name"], &made["profile"]), (&file["id"], &file["profile"]));
            assert_eq!((&made["selector"], &made["metadata"]), (&file["selector"], &file["metadata"]));
        }
        profiles
    };

    // It must be told where the tree is, and that there is one: an empty plan would remove every machine.
    root(json!({}));
    run(&["init", "-input=false"]).ok();
    run(&["validate"]).fails(1, &["The argument \"tree\" is required"]);
    root(json!({"tree": "./output/nowhere"}));
    run(&["plan", "-input=false"]).fails(1, &["No tree of prebake is there"]);

    root(json!({"tree": "./output/small/current"}));
    run(&["validate"]).ok();
    run(&["apply", "-auto-approve", "-input=false"]).ok();
    let made = judge();
    assert!(made["worker"]["args"].as_array().unwrap().contains(&json!("a=${b}")));
    assert!(made["worker"]["generic_config"].as_str().unwrap().ends_with("${a} %{b}\n"));
    run(&["plan", "-detailed-exitcode", "-input=false"]).ok();

    // The next build is seen without `init`, and the old one may be gone.
    let old = world.path("output/small/current").canonicalize().unwrap();
    world.edit("recipes/small.yaml", "a=${b}", "a=next");
    world.build();
    fs::remove_dir_all(old).unwrap();
    run(&["plan", "-detailed-exitcode", "-input=false"]).fails(2, &[]);
    run(&["apply", "-auto-approve", "-input=false"]).ok();
    assert!(judge()["worker"]["args"].as_array().unwrap().contains(&json!("a=next")));
    // So it is from wherever Terraform is started, with a whole path.
    let whole = world.path("output/small/current");
    root(json!({"tree": format!("{}/", whole.display())}));
    run(&["plan", "-detailed-exitcode", "-input=false"]).ok();
}

#[test]
fn the_menu_offers_every_profile_and_boots_the_default_in_time() {
    let world = world("  ipxe: {menu: {timeout: 5, default: control}, base_url: \"http://10.0.0.1:8080\"}");
    world.build();
    let menu = tree(&world, "boot/ipxe/menu.ipxe");
    for line in [
        "set target control",
        "item worker worker",
        "choose --default ${target} --timeout 5000 target || goto shell",
        "chain profile-control.ipxe || goto failed",
    ] {
        assert!(menu.lines().any(|found| found == line), "no {line:?} in:\n{menu}");
    }
    assert!(tree(&world, "boot.ipxe").ends_with("|| chain boot/ipxe/menu.ipxe\n"));
    assert!(tree(&world, "autoexec.ipxe").contains("\nchain http://10.0.0.1:8080/boot.ipxe || shell\n"));
    assert_loads(&world, &tree(&world, "boot/ipxe/profile-worker.ipxe"), &["../../"]);
}

#[test]
fn options_that_cannot_work_are_refused_where_they_stand() {
    let dnsmasq = |options: &str| format!("  ipxe: {{}}\n  dnsmasq: {{mode: full, {DHCP}{options}}}");
    for (outputs, line, words) in [
        ("  grub: {bse_url: x}".to_owned(), 18, "unknown key `bse_url` in `grub`"),
        ("  grub: {bse_url: x}".to_owned(), 18, "did you mean `base_url`?"),
        ("  grub: {base_url: \"https://x\"}".to_owned(), 18, "GRUB supports http and tftp, not https"),
        ("  grub: [1]".to_owned(), 18, "`grub` must be a mapping of keys"),
        ("  grbu: {}".to_owned(), 18, "did you mean `grub`?"),
        ("  dnsmasq: {}".to_owned(), 18, "`dnsmasq` refers to files that only the output `ipxe` publishes"),
        ("  ipxe: {menu: {default: wroker}}".to_owned(), 18, "there is no profile `wroker`"),
        ("  ipxe: {}\n  dnsmasq:".to_owned(), 19, "`dnsmasq` needs the key `mode`"),
        ("  ipxe: {}\n  dnsmasq: {mode: prxy}".to_owned(), 19, "did you mean `proxy`?"),
        (dnsmasq(", range: 10.0.1.1-10.0.1.9"), 19, "10.0.1.1 is not in the subnet 10.0.0.0/24"),
        (dnsmasq(", gateway: nowhere"), 19, "`nowhere` is not an IPv4 address"),
        (dnsmasq(", domain: \"a b\""), 19, "`a b` is not a domain"),
        (dnsmasq(", lease: 5s"), 19, "a lease must last at least two minutes"),
        (format!("  ipxe: {{}}\n  udhcpd: {{{DHCP}}}"), 19, "`udhcpd` needs the key `range`"),
    ] {
        let world = world(&outputs);
        world
            .prebake(&["build", "recipes/small.yaml"])
            .fails(3, &[words, &format!("recipes/small.yaml:{line}:")]);
    }
}

#[test]
fn nodes_that_a_network_cannot_hold_are_refused_where_they_stand() {
    for (from, to, words) in [
        ("10.0.0.12/24", "10.0.0.11/24", "nodes `n1` and `n2` have the same address"),
        ("10.0.0.12/24", "10.0.9.12/24", "10.0.9.12 is not in the subnet 10.0.0.0/24"),
        ("10.0.0.12/24", "10.0.0.12", "`10.0.0.12` is not an address with its prefix length"),
        ("name: n2", "name: n_2", "`n_2` is not a host name"),
        ("mac: 52:54:00:00:00:02, ", "", "node `n2` has an address but no `mac`"),
    ] {
        let world = world(&format!("  ipxe: {{}}\n  dnsmasq: {{mode: full, {DHCP}}}"));
        world.edit("recipes/small.yaml", from, to);
        world.prebake(&["build", "recipes/small.yaml"]).fails(3, &[words, "recipes/small.yaml:14:"]);
    }
}

#[test]
fn arguments_that_a_loader_would_change_are_refused() {
    for (outputs, arg, words) in [
        ("  grub: {}", "'sshkey=\"ssh-ed25519 AAA\"'", "GRUB cannot pass on the quotes"),
        ("  ipxe: {}", "\"a=${b}\"", "iPXE would expand the `${`"),
    ] {
        let world = world(outputs);
        world.edit("recipes/small.yaml", "console=ttyS0", arg);
        world.prebake(&["build", "recipes/small.yaml"]).fails(3, &[words, "recipes/small.yaml:9:"]);
    }
}
