//! The way from an image to a template, held against the API's schema, and what stops it before anything is sent.

use std::fs;
use std::process::{Command, Stdio};

use prebake::disk::layout::USR;
use prebake::tree::manifest::{Manifest, Role};
use serde_json::{Value, json};

use super::pve::{Pve, RELEASE, SECRET, TOKEN, image, image_of, private};
use crate::disk::image::{table, with_table};
use crate::judges;
use crate::world::Run;
use crate::world::tree::Tree;

const TEMPLATE: [&str; 3] = ["--vm-id", "211", "--convert-to-template"];

fn parsed(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

#[test]
fn an_image_becomes_template_211_and_a_second_run_sends_nothing() {
    for version in ["9.2", "9.1.11"] {
        let Some(pve) = Pve::of(version) else { return };
        let made = parsed(&pve.upload(&[&TEMPLATE[..], &["--json", "--tag", "Edge"]].concat()).ok());
        assert_eq!((&made["vm_id"], &made["template"]), (&json!(211), &json!(true)));
        assert_eq!((&made["was_there"], &made["uploaded"]), (&json!(false), &json!(true)));
        assert_eq!(made["release"], RELEASE);
        pve.has_only("211");
        let config = &pve.state()["vms"]["211"]["config"];
        for (key, value) in [
            ("ide0", "local-lvm:vm-211-cloudinit,media=cdrom"),
            ("serial0", "socket"),
            ("vga", "serial0"),
            ("agent", "enabled=1"),
            ("boot", "order=scsi0"),
            ("scsihw", "virtio-scsi-pci"),
            ("tags", "edge"),
            ("name", "node"),
        ] {
            assert_eq!(config[key], value, "{key}");
        }
        let described = config["description"].as_str().unwrap();
        for words in
            [format!("- release: {RELEASE}"), format!("- build-id: {}", made["build_id"].as_str().unwrap())]
        {
            assert!(described.contains(&words), "{described}");
        }
        let changes = pve.changes();
        assert_eq!(
            changes[..3],
            [
                "POST /nodes/pve/storage/local/upload",
                "POST /nodes/pve/qemu",
                "POST /nodes/pve/qemu/211/template"
            ]
        );
        pve.manners(&json!({}));
        let again = parsed(&pve.upload(&[&TEMPLATE[..], &["--json"]].concat()).ok());
        assert_eq!((&again["was_there"], &again["uploaded"]), (&json!(true), &json!(false)));
        assert!(!again["findings"].to_string().contains("does not get"), "{again}");
        // It does not move to another id, which is told.
        for more in [&["--json"][..], &["--json", "--dry-run"]] {
            let run = pve.upload(&[&["--vm-id", "212", "--convert-to-template"], more].concat()).ok();
            let words = "this build is VM 211 already, and does not get the id 212";
            assert!(parsed(&run)["findings"][0].as_str().unwrap().contains(words), "{}", run.stdout);
            assert!(run.stderr.contains(words), "{}", run.stderr);
        }
        assert_eq!(pve.changes(), [""; 0]);
        pve.has_only("211");
    }
}

#[test]
fn uefi_a_longer_disk_a_vlan_and_a_pool_are_options_of_the_same_schema() {
    let Some(pve) = Pve::start() else { return };
    let args = [
        "--firmware",
        "uefi",
        "--size",
        "40GiB",
        "--vlan",
        "5",
        "--pool",
        "edge",
        "--cores",
        "4",
        "--memory",
        "8GiB",
        "--bridge",
        "vmbr1",
        "--vm-ids",
        "9000-9009",
        "--name",
        "flatcar.edge",
    ];
    let run = pve.upload(&[&args[..], &["--convert-to-template"]].concat()).ok();
    assert!(run.stdout.contains("template 9000 `flatcar.edge` on pve is ready"), "{}", run.stdout);
    pve.has_only("9000");
    let state = pve.state();
    let config = &state["vms"]["9000"]["config"];
    assert!(config["net0"].as_str().unwrap().ends_with(",bridge=vmbr1,tag=5"));
    assert!(config["scsi0"].as_str().unwrap().ends_with("size=40G"), "{config}");
    assert_eq!(
        (&config["bios"], &config["machine"], &config["memory"]),
        (&json!("ovmf"), &json!("q35"), &json!("8192"))
    );
    let made = state["log"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["path"] == "/nodes/pve/qemu" && call["method"] == "POST")
        .unwrap();
    assert_eq!(made["given"]["efidisk0"], "local-lvm:1,efitype=4m,pre-enrolled-keys=0");
    // Without conversion it is a VM, which the same command finds.
    let Some(pve) = Pve::start() else { return };
    pve.upload(&["--vm-id", "300"]).ok();
    let vm = pve.state()["vms"]["300"]["config"].clone();
    assert!(vm["template"].is_null() && vm["description"].as_str().unwrap().contains("prebake: finished"));
    pve.manners(&json!({}));
    pve.upload(&["--vm-id", "300"]).ok();
    assert_eq!(pve.changes(), [""; 0]);
    // And one more makes a template of it.
    pve.upload(&["--vm-id", "300", "--convert-to-template"]).ok();
    assert_eq!(pve.changes()[0], "POST /nodes/pve/qemu/300/template");
    pve.has_only("300");
}

#[test]
fn a_dry_run_shows_the_calls_and_makes_none_of_them() {
    let Some(pve) = Pve::start() else { return };
    let run = pve.upload(&[&TEMPLATE[..], &["--size", "40GiB", "--dry-run"]].concat()).ok();
    let verbs: Vec<&str> = run.stdout.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(verbs, ["POST", "POST", "PUT", "POST", "PUT", "DELETE"], "{}", run.stdout);
    assert!(run.stdout.contains("import-from=local:import/prebake-node-image-"), "{}", run.stdout);
    assert_eq!(pve.changes(), [""; 0]);
    let shown: Vec<String> =
        run.stdout.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    pve.upload(&[&TEMPLATE[..], &["--size", "40GiB"]].concat()).ok();
    let encoded = |call: &String| call.replace("local:import%2F", "local:import/");
    assert_eq!(
        pve.changes().iter().map(encoded).collect::<Vec<_>>(),
        shown.iter().map(encoded).collect::<Vec<_>>()
    );
}

#[test]
fn only_the_newest_templates_are_kept_where_that_is_asked_for_and_one_with_clones_stays() {
    let Some(pve) = Pve::start() else { return };
    let base = ["--vm-ids", "9000-9099", "--name", "flatcar", "--convert-to-template"];
    for release in ["4593.2.1", "4593.2.2", "4593.2.3"] {
        fs::write(pve.directory.path().join("node.qcow2"), image_of("proxmoxve", release)).unwrap();
        pve.upload(&base).ok();
    }
    pve.settle();
    let mut state = pve.state();
    let ids = |state: &Value| state["vms"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&state), ["9000", "9001", "9002"]);
    // A linked clone of the second.
    state["storages"]["local-lvm"]["volumes"]["local-lvm:vm-300-disk-0"] =
        json!({"size": 1, "content": "images", "vmid": 300, "parent": "base-9001-disk-0"});
    pve.manners(&json!({"storages": state["storages"]}));
    fs::write(pve.directory.path().join("node.qcow2"), &image().0).unwrap();
    let run = pve.upload(&[&base[..], &["--prune", "1", "--dry-run"]].concat()).ok();
    assert!(
        run.stdout.contains("DELETE /nodes/pve/qemu/9000") && !run.stdout.contains("9001 "),
        "{}",
        run.stdout
    );
    let run = pve.upload(&[&base[..], &["--prune", "1"]].concat()).ok();
    assert!(run.stderr.contains("9001 stays: VM 300 is a linked clone"), "{}", run.stderr);
    assert_eq!(ids(&pve.state()), ["9001", "9003"]);
    assert_eq!(pve.state()["faults"], json!([]));
}

#[test]
fn a_token_comes_from_the_environment_a_private_file_or_sops_and_is_in_no_output() {
    let Some(pve) = Pve::start() else { return };
    let path = |name: &str| pve.directory.path().join(name);
    let text = format!(
        "PROXMOX_URL: {}\nPROXMOX_TOKEN: {TOKEN}\nPROXMOX_SECRET: {SECRET}\nEXP_CLUSTER_RESOURCE_SET: \"true\"\n",
        pve.url
    );
    private(&path("clusterctl.yaml"), &text);
    let with = |file: &str, keys: &str| {
        let args = [
            "proxmox",
            "upload",
            "node.qcow2",
            "--dry-run",
            "--credentials",
            file,
            "--fingerprint",
            &pve.fingerprint,
        ];
        let mut command = pve.command(&args);
        for name in ["PROXMOX_URL", "PROXMOX_TOKEN", "PROXMOX_SECRET"] {
            command.env_remove(name);
        }
        let run = Run::of(command.env("SOPS_AGE_KEY_FILE", path(keys)).output().unwrap());
        assert!(
            !run.stdout.contains("5ec7e75e") && !run.stderr.contains("5ec7e75e"),
            "{}{}",
            run.stdout,
            run.stderr
        );
        run
    };
    with("clusterctl.yaml", "none").ok();
    fs::write(path("open.yaml"), &text).unwrap();
    with("open.yaml", "none").fails(5, &["open.yaml", "others can read", "chmod 600"]);
    private(&path("broken.yaml"), &format!("PROXMOX_SECRET: [{SECRET}\n"));
    assert_ne!(with("broken.yaml", "none").code, Some(0));
    private(&path("half.yaml"), &format!("PROXMOX_URL: {}\nPROXMOX_TOKEN: {TOKEN}\n", pve.url));
    with("half.yaml", "none").fails(2, &["no PROXMOX_SECRET is known", "--credentials"]);
    private(&path("slip.yaml"), &text.replace(SECRET, &SECRET[1..]));
    with("slip.yaml", "none").fails(2, &["its secret is no UUID"]);
    private(&path("list.yaml"), &text.replace(SECRET, &format!("[{SECRET}]")));
    let run = with("list.yaml", "none");
    run.fails(3, &["list.yaml:", "PROXMOX_SECRET is a list"]);
    assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
    with("absent.yaml", "none").fails(2, &["there is no file absent.yaml", "--credentials"]);
    let Some(peer) = judges::build("sops") else { return };
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(peer.join(program));
        command.args(args).current_dir(pve.directory.path()).env("SOPS_AGE_KEY_FILE", path("keys.txt"));
        Run::of(command.stdin(Stdio::null()).output().unwrap()).ok()
    };
    run("age-keygen", &["-o", "keys.txt"]);
    let identity = fs::read_to_string(path("keys.txt")).unwrap();
    let recipient = identity.split("public key: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let sealed = run("sops", &["encrypt", "--age", &recipient, "clusterctl.yaml"]).stdout;
    assert!(!sealed.contains(SECRET));
    fs::write(path("clusterctl.enc.yaml"), &sealed).unwrap();
    with("clusterctl.enc.yaml", "keys.txt").ok();
    run("age-keygen", &["-o", "others.txt"]);
    let refused = with("clusterctl.enc.yaml", "others.txt");
    assert!(refused.code != Some(0) && refused.stderr.contains("clusterctl.enc.yaml"), "{}", refused.stderr);
    fs::write(path("changed.enc.yaml"), sealed.replacen("EXP_CLUSTER", "EXP_KLUSTER", 1)).unwrap();
    with("changed.enc.yaml", "keys.txt").fails(3, &["not as SOPS left it"]);
}

#[test]
fn what_stops_an_upload_is_told_before_a_byte_is_sent() {
    let Some(pve) = Pve::start() else { return };
    let path = |name: &str| pve.directory.path().join(name);
    let directory = pve.directory.path();
    fs::write(path("old.qcow2"), image_of("proxmoxve", "4081.3.6")).unwrap();
    fs::write(path("qemu.qcow2"), image_of("qemu", RELEASE)).unwrap();
    with_table(directory, "generic.bin", &table("OEM", USR), &[]);
    Run::of(Command::new("gzip").args(["-k", "generic.bin"]).current_dir(directory).output().unwrap()).ok();
    let of = |file: &str| pve.run(&["proxmox", "upload", file]);
    of("old.qcow2").fails(3, &["Flatcar 4081", "4152"]);
    of("qemu.qcow2").fails(3, &["image for qemu", "generic image"]);
    of("generic.bin")
        .fails(3, &["image for generic", "prebake disk inject generic.bin --platform proxmoxve"]);
    of("generic.bin.gz").fails(3, &["prebake disk convert generic.bin.gz"]);
    of("-").fails(2, &["standard input"]);
    of("absent.qcow2").fails(2, &["there is no image absent.qcow2"]);
    fs::write(path("key.pem"), "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n").unwrap();
    let with_key = |args: &[&str]| {
        let mut command = pve.command(&[&["proxmox", "upload", "node.qcow2"], args].concat());
        Run::of(command.output().unwrap())
    };
    with_key(&["--ca", "key.pem"]).fails(2, &["key.pem is no CA certificate", "BEGIN CERTIFICATE"]);
    with_key(&["--ca", "absent.pem"]).fails(2, &["there is no file absent.pem", "--ca"]);
    pve.upload(&["--size", "1MiB"]).fails(3, &["no disk is made shorter"]);
    // A signature of somebody else.
    fs::write(path("node.qcow2.sig"), "no signature").unwrap();
    assert_ne!(pve.upload(&[]).code, Some(0));
    fs::remove_file(path("node.qcow2.sig")).unwrap();
    pve.upload(&["--node", "pve9"]).fails(1, &["has no node pve9", "--node: pve"]);
    pve.upload(&["--import-storage", "local-lvm"]).fails(
        1,
        &[
            "local-lvm of pve has no content type `import`",
            "pvesm set local-lvm --content images,rootdir,import",
        ],
    );
    pve.upload(&["--storage", "local"]).fails(1, &["no content type `images`", "local-lvm"]);
    pve.upload(&["--storage", "ceph"]).fails(1, &["has no storage ceph"]);
    let vm = json!({"vms": {"211": {"node": "pve", "config": {"name": "database", "description": "prod"}}}});
    pve.manners(&vm);
    pve.upload(&TEMPLATE).fails(1, &["the VM id 211 is taken by the VM `database` on pve", "--vm-ids"]);
    // A VM that is not shown to this token.
    let privileges = super::pve::rights();
    let here: Vec<&Value> =
        privileges["/"].as_array().unwrap().iter().filter(|one| **one != "VM.Audit").collect();
    let hidden = json!({"/": here, "/vms/9001": ["VM.Audit"], "/vms/9000": []});
    pve.manners(&json!({"vms": {"9000": {"node": "pve", "config": {"name": "hidden"}}}, "rights": hidden}));
    pve.upload(&["--vm-id", "9000"]).fails(1, &["lacks 1 privilege: VM.Audit on /vms/9000"]);
    let rights = json!({"vms": {}, "rights": {"/": ["VM.Audit"], "/storage": ["Datastore.Audit"]}});
    pve.manners(&rights);
    pve.upload(&TEMPLATE).fails(
        1,
        &[
            "lacks 9 privileges",
            "Datastore.AllocateTemplate on /storage/local,",
            "VM.Allocate on /vms/211",
            TOKEN,
        ],
    );
    pve.manners(&json!({"version": "8.3.5", "rights": super::pve::rights()}));
    pve.upload(&TEMPLATE).fails(1, &["is Proxmox VE 8.3.5", "from 8.4 on", "prebake proxmox script"]);
    pve.manners(&json!({"version": "9.2.1", "nodes": {"a": "online", "b": "online", "c": "offline"}}));
    pve.upload(&TEMPLATE).fails(1, &["several nodes", "--node: a, b"]);
    assert_eq!((pve.state()["faults"].clone(), pve.changes()), (json!([]), vec![]));
}

#[test]
fn a_tree_gives_its_image_its_build_id_and_its_version_of_kubernetes() {
    let Some(pve) = Pve::start() else { return };
    let tree = || {
        let tree = Tree::new().row("disk/worker/proxmoxve.qcow2", Role::PlatformImage, &image().0);
        tree.file("sysext/kubernetes/kubernetes-v1.33.13-x86-64.raw", b"sysext")
    };
    let one = tree().publish();
    let path = |tree: &Tree| tree.path().to_str().unwrap().to_owned();
    let build =
        Manifest::parse("x", &fs::read(one.path().join("manifest.json")).unwrap()).unwrap().build_id();
    let upload = |tree: &Tree, args: &[&str]| {
        pve.run(&[&["proxmox", "upload", &path(tree)], &TEMPLATE[..], args].concat())
    };
    let made = parsed(&upload(&one, &["--json"]).ok());
    assert_eq!(
        (&made["build_id"], &made["kubernetes"], &made["name"]),
        (&json!(build), &json!("1.33.13"), &json!("tree"))
    );
    pve.has_only("211");
    let several = tree().row("disk/control/proxmoxve.qcow2", Role::PlatformImage, &image().0).publish();
    upload(&several, &[])
        .fails(2, &["several disk images for proxmoxve", "disk/control/proxmoxve.qcow2", "--profile"]);
    let refused = upload(&several, &["--profile", "worker"]);
    refused.fails(1, &["taken by the template `tree` on pve of build"]);
    upload(&Tree::new().publish(), &[]).fails(2, &["no disk image for proxmoxve", "platforms: [proxmoxve]"]);
    // Another image in the place of the published one.
    fs::write(one.path().join("disk/worker/proxmoxve.qcow2"), image_of("proxmoxve", "4593.2.9")).unwrap();
    upload(&one, &[]).fails(4, &["proxmoxve.qcow2"]);
}

/// Ids that the token does not see are asked for one by one; a container has one, too.
#[test]
fn an_id_is_taken_by_whatever_has_it() {
    let Some(pve) = Pve::start() else { return };
    let mut rights = super::pve::rights();
    let privileges = rights["/"].as_array_mut().unwrap();
    privileges.retain(|one| *one != "VM.Audit");
    // Privileges on one VM are beside those on all.
    rights["/vms/9000"] = json!(["VM.Audit"]);
    rights["/vms/9003"] = json!(["VM.Audit"]);
    let vm = |name: &str| json!({"node": "pve", "config": {"name": name}});
    let container = json!({"node": "pve", "type": "lxc", "config": {"name": "box"}});
    pve.manners(
        &json!({"vms": {"9000": container, "9001": vm("hidden"), "9002": vm("hidden")}, "rights": rights}),
    );
    pve.upload(&["--vm-id", "9000"]).fails(1, &["9000 is taken by the container `box`"]);
    let run = pve.upload(&["--vm-ids", "9000-9002"]);
    run.fails(1, &["no VM id from 9000 to 9002 is free"]);
    let run = pve.upload(&["--vm-ids", "9000-9003"]).ok();
    assert!(run.stdout.starts_with("VM 9003 `node` on pve is ready"), "{}", run.stdout);
    assert_eq!(pve.state()["faults"], json!([]));
}

#[test]
fn two_uploads_at_once_end_in_one_template() {
    for args in [&TEMPLATE[..], &["--vm-ids", "9000-9009", "--convert-to-template"]] {
        for ticks in [1, 4] {
            let Some(pve) = Pve::start() else { return };
            pve.manners(&json!({"ticks": ticks}));
            let command =
                [&["proxmox", "upload", "node.qcow2", "--fingerprint", &pve.fingerprint], args].concat();
            let start = || {
                let mut command = pve.command(&command);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            };
            let both = [start(), start()].map(|child| Run::of(child.wait_with_output().unwrap()));
            assert!(both.iter().any(|run| run.code == Some(0)), "{}\n{}", both[0].stderr, both[1].stderr);
            for run in &both {
                let is_told = run.stderr.contains("hint:") || run.stderr.contains("Proxmox VE");
                assert!(run.code == Some(0) || is_told, "{}", run.stderr);
            }
            // Whatever the other left, the next run takes it away.
            pve.upload(args).ok();
            pve.has_only(if args == TEMPLATE { "211" } else { "9000" });
        }
    }
}
