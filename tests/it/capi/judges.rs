//! The real definitions and admission webhooks of Cluster API and of Proxmox VE's provider, in a real API server, as judges: they
//! take what is meant to be right, and refuse each flaw by its name.

use std::path::Path;

use std::fs;
use std::process::Command;

use prebake::capi::flavor::{PODS, USER, Wish, template, variables};
use prebake::capi::provider::{Choices, GROUP, PROVIDERS, Provider, Template};
use prebake::capi::variables::Default as Given;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::judges;
use crate::lab::cluster::VERSION;
use crate::lab::management::{self, Judges, Management, NAMESPACE, UNGATED};
use crate::world::Run;

/// Values that templates ask for, where their examples say less than a judge wants.
pub(super) const VALUES: [(&str, &str); 6] = [
    ("CONTROL_PLANE_ENDPOINT_IP", "10.77.0.5"),
    ("NODE_IP_RANGES", "[10.77.0.30-10.77.0.60]"),
    ("GATEWAY", "10.77.0.1"),
    ("DNS_SERVERS", "[10.77.0.1]"),
    ("VM_SSH_KEYS", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEX lab"),
    ("OPENSTACK_CLOUD_YAML_B64", "e30K"),
];

/// A template's least: what a recipe wishes that says nothing of it.
pub(super) fn wish(provider: &'static Provider) -> Wish {
    Wish {
        provider,
        choices: Choices::default(),
        kubernetes: VERSION.into(),
        minor: 33,
        kube_vip: "ghcr.io/kube-vip/kube-vip:v1.2.1".into(),
        is_carried: true,
        users: vec![USER.into()],
        ssh_keys: Vec::new(),
        pods: PODS.into(),
        restart_networkd: false,
        addons: Vec::new(),
    }
}

/// The objects that clusterctl makes of a template for a cluster `lab` of a machine of each role, given what the template asks for; with
/// `all`, what it has a default for, too.
pub(super) fn generated(peer: &Path, work: &Path, wish: &Wish, all: bool) -> Vec<Value> {
    let path = work.join("template.yaml");
    fs::write(&path, template(wish)).unwrap();
    // It would look for a newer version of itself, and never end where it finds no network.
    let mut clusterctl = Command::new("timeout");
    clusterctl
        .arg("60")
        .arg(peer.join("clusterctl"))
        .args(["generate", "cluster", "lab", "--from"])
        .arg(&path);
    clusterctl.args(["-n", NAMESPACE, "--kubernetes-version", VERSION]);
    clusterctl.args(["--control-plane-machine-count", "1", "--worker-machine-count", "1"]);
    clusterctl.env_clear().env("HOME", work).env("XDG_CONFIG_HOME", work);
    clusterctl.env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true");
    for filled in variables(wish) {
        let name = filled.variable.name;
        let is_asked = filled.default.is_none() && filled.variable.default != Given::Clusterctl;
        let is_own = matches!(filled.variable.default, Given::Recipe | Given::Clusterctl);
        if is_asked || (all && !is_own) {
            let value = VALUES.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
            clusterctl.env(name, value.unwrap_or(filled.variable.example));
        }
    }
    let run = Run::of(clusterctl.output().unwrap()).ok();
    management::objects("generated.yaml", &run.stdout).unwrap()
}

/// A management cluster, or nothing where judges are skipped on purpose.
pub(super) fn management(work: &Path, judges: Judges) -> Option<Management> {
    let [Some(kubernetes), Some(peer)] = ["kubernetes", "cluster-api"].map(judges::build) else {
        return None;
    };
    Some(Management::start(&kubernetes, &peer, &work.join("management"), judges).unwrap())
}

/// The object of a kind with a name that ends so.
pub(super) fn find<'a>(objects: &'a mut [Value], kind: &str, end: &str) -> &'a mut Value {
    let is_wanted = |object: &&mut Value| {
        object["kind"] == kind && object["metadata"]["name"].as_str().unwrap().ends_with(end)
    };
    objects.iter_mut().find(is_wanted).unwrap_or_else(|| panic!("no {kind} …{end}"))
}

/// A flaw: kind and end of the name of the object that has it, where in it, what is there then, and the judge's words. `null` takes
/// the field away.
struct Flaw(&'static str, &'static str, &'static str, Value, &'static [&'static str]);

/// Cluster API's words for all that Ignition has no counterpart for.
const NOT_SUPPORTED: &str = "not supported when spec.format is set to: \"ignition\"";

/// Flaws that people have in their manifests; most of them were in those that this project was made for.
fn flaws() -> Vec<Flaw> {
    const CLUSTER: &str = "ProxmoxCluster";
    const TEMPLATE: &str = "ProxmoxMachineTemplate";
    const CONFIG: &str = "KubeadmConfigTemplate";
    const CONTROL_PLANE: &str = "KubeadmControlPlane";
    vec![
        // The format of bootstrap data is in the bootstrap secret; no version of the provider has had such a field.
        Flaw(
            TEMPLATE,
            "-workers",
            "/spec/template/spec/cloudInit",
            json!({"format": "ignition"}),
            &["unknown field", "cloudInit"],
        ),
        Flaw(
            TEMPLATE,
            "-workers",
            "/spec/template/spec/vmIDRange",
            json!({"start": 300, "end": 250}),
            &["end should be greater than or equal to start"],
        ),
        Flaw(
            TEMPLATE,
            "-workers",
            "/spec/template/spec/vmIDRange",
            json!({"start": 99, "end": 250}),
            &["vmIDRange.start in body should be greater than or equal to 100"],
        ),
        Flaw(TEMPLATE, "-workers", "/spec/template/spec/memoryMiB", json!(1001), &["memoryMiB"]),
        Flaw(
            CLUSTER,
            "",
            "/spec/controlPlaneEndpoint/host",
            json!("10.77.0.40"),
            &["addresses may not contain the endpoint IP"],
        ),
        Flaw(CLUSTER, "", "/spec/ipv4Config", Value::Null, &["at least one ip config must be set"]),
        Flaw(
            CLUSTER,
            "",
            "/spec/schedulerHints",
            json!({"memoryAdjustment": -5}),
            &["memoryAdjustment in body should be greater than or equal to 0"],
        ),
        Flaw(
            CLUSTER,
            "",
            "/spec/dnsServers",
            json!([]),
            &["dnsServers in body should have at least 1 items"],
        ),
        Flaw(
            CONFIG,
            "-workers",
            "/spec/template/spec/users/0/inactive",
            json!(true),
            &["users[0].inactive", NOT_SUPPORTED],
        ),
        Flaw(
            CONFIG,
            "-workers",
            "/spec/template/spec/files/0/encoding",
            json!("gzip"),
            &["files[0].encoding", NOT_SUPPORTED],
        ),
        Flaw(
            CONFIG,
            "-workers",
            "/spec/template/spec/bootCommands",
            json!(["echo"]),
            &["bootCommands", NOT_SUPPORTED],
        ),
        Flaw(
            CONFIG,
            "-workers",
            "/spec/template/spec/format",
            json!("cloud-config"),
            &["must be set to \"ignition\" if spec.ignition is set"],
        ),
        Flaw(
            CONTROL_PLANE,
            "",
            "/spec/kubeadmConfigSpec/users/0/inactive",
            json!(true),
            &["users[0].inactive", NOT_SUPPORTED],
        ),
        Flaw(
            CONTROL_PLANE,
            "",
            "/spec/kubeadmConfigSpec/bootCommands",
            json!(["echo"]),
            &["bootCommands", NOT_SUPPORTED],
        ),
        Flaw(
            CONTROL_PLANE,
            "",
            "/spec/replicas",
            json!(2),
            &["cannot be an even number when etcd is stacked"],
        ),
        Flaw(
            CONTROL_PLANE,
            "",
            "/spec/version",
            json!("latest"),
            &["spec.version", "must be a valid semantic version"],
        ),
    ]
}

/// Puts a value at a pointer (RFC 6901) whose parent is there, or takes away what is there.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(key).unwrap_or_else(|| panic!("no {key}"))),
        (Value::Object(map), value) => drop(map.insert(key.to_owned(), value)),
        (parent, _) => panic!("{parent} has no keys"),
    }
}

/// Every option of a template, and every provider; only Proxmox VE's and AWS' own kinds have a judge here.
fn wishes() -> Vec<(&'static str, Wish, bool)> {
    let [proxmox, ..] = PROVIDERS;
    let rich = Wish {
        choices: Choices {
            memory_adjustment: Some(0),
            vm_ids: Some((2000, 2999)),
            template: Some(Template::Id(211)),
        },
        minor: 32,
        is_carried: false,
        users: vec!["core".into(), "ops".into()],
        ssh_keys: vec!["ssh-ed25519 AAAA= me".into()],
        restart_networkd: true,
        addons: vec![(
            "cni".into(),
            vec!["---\n{\"apiVersion\":\"v1\",\"data\":{\"a\":\"${X} $$\"}}\n".into()],
        )],
        ..wish(proxmox)
    };
    let by_tags = Choices { template: Some(Template::Tags(vec!["flatcar".into()])), ..Choices::default() };
    let mut wishes = vec![
        ("all of Proxmox VE's options", rich, false),
        ("a template found by tags", Wish { choices: by_tags, ..wish(proxmox) }, false),
    ];
    for provider in PROVIDERS {
        wishes.push((provider.name, wish(provider), false));
        wishes.push((provider.title, wish(provider), true));
    }
    wishes
}

#[test]
fn real_webhooks_take_every_template_and_refuse_each_flaw_by_its_name() {
    let directory = TempDir::new().unwrap();
    let work = directory.path();
    let Some(management) = management(work, Judges::All) else { return };
    let [Some(peer), Some(aws)] = ["cluster-api", "cluster-api-aws"].map(judges::build) else { return };
    management.define_more(&aws.join("crds")).unwrap();

    let mut wrong = Vec::new();
    for (what, wish, all) in wishes() {
        let mut objects = generated(&peer, work, &wish, all);
        let all_of_them = objects.len();
        if !["proxmox", "aws"].contains(&wish.provider.name) {
            objects.retain(|object| !object["apiVersion"].as_str().unwrap().starts_with(GROUP));
            assert!(objects.len() < all_of_them);
        }
        match management.judge(NAMESPACE, &objects) {
            Ok(said) if said.matches("(server dry run)").count() == objects.len() => {
                eprintln!("{what}: {} of {all_of_them} objects are taken", objects.len());
            }
            verdict => wrong.push(format!("{what}: {verdict:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), management.logs());

    let mut right = generated(&peer, work, &wish(PROVIDERS[0]), false);
    for Flaw(kind, end, pointer, value, words) in flaws() {
        let mut object = find(&mut right, kind, end).clone();
        put(&mut object, pointer, value.clone());
        match management.judge(NAMESPACE, &[object]) {
            Err(said) if words.iter().all(|words| said.contains(words)) => {
                eprintln!("{pointer} = {value}: {}", said.lines().last().unwrap());
            }
            verdict => wrong.push(format!("{kind} {pointer} = {value}: not {words:?} in {verdict:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // A management cluster that was made without EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION=true.
    for kind in ["KubeadmConfigTemplate", "KubeadmControlPlane"] {
        let object = find(&mut right, kind, "").clone();
        let said = management.judge(UNGATED, &[object]).unwrap_err();
        let words = "can be set only if the KubeadmBootstrapFormatIgnition feature gate is enabled";
        assert!(said.contains(words), "{kind}: {said}");
    }
    // All else is taken there.
    right.retain(|object| !object["kind"].as_str().unwrap().starts_with("Kubeadm"));
    management.judge(UNGATED, &right).unwrap();
}
