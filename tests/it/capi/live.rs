//! A real API server with the real definitions of Cluster API: it takes what `capi convert` makes, and tells `capi doctor` what it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::judges::{generated, management, wish};
use super::moved::OLD;
use crate::judges;
use crate::lab::management::{self, Judges, Management, NAMESPACE};
use crate::world::Run;
use prebake::capi::provider::{PROVIDERS, Provider};

/// Values for the variables of manifests.
const VALUES: [(&str, &str); 7] = [
    ("CLUSTER_NAME", "prod"),
    ("CONTROL_PLANE_MACHINE_COUNT", "3"),
    ("KUBERNETES_VERSION", "v1.33.13"),
    ("VM_SSH_KEYS", "ssh-ed25519 AAAA ops"),
    ("TEMPLATE_VMID", "211"),
    ("BRIDGE", "vmbr0"),
    ("ID", "1"),
];

/// The Deployment of a controller, as components of providers have them.
fn controller(name: &str, image: &str, gates: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"cluster.x-k8s.io/provider": name}},
        "spec": {
            "selector": {"matchLabels": {"a": name}},
            "template": {
                "metadata": {"labels": {"a": name}},
                "spec": {"containers": [{"name": "manager", "image": image, "args": ["--leader-elect", gates]}]},
            },
        },
    })
}

fn doctor(directory: &Path, kubeconfig: &Path, args: &[&str]) -> (Run, Vec<(String, String)>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command
        .args(["capi", "doctor", "--json", "--kubeconfig"])
        .arg(kubeconfig)
        .args(args)
        .current_dir(directory);
    let run = Run::of(command.output().unwrap());
    let document: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr));
    let findings =
        document.get("findings").or_else(|| document["error"].get("findings")).and_then(Value::as_array);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let all = findings
        .into_iter()
        .flatten()
        .map(|finding| (text(finding, "path"), text(finding, "message")))
        .collect();
    (run, all)
}

fn has(found: &[(String, String)], code: &str, words: &str) -> bool {
    found.iter().any(|(path, message)| path == code && message.contains(words))
}

fn write(path: &Path, objects: &[Value]) {
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    fs::write(path, texts.join("\n---\n")).unwrap();
}

/// The API server takes the moved objects, every field of them.
fn takes_what_was_moved(management: &Management, work: &Path) {
    let filled = |text: &str| {
        let text = text.replace("$${", "$'{'");
        VALUES.iter().fold(text, |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
    };
    let old = work.join("old.yaml");
    fs::write(&old, filled(OLD)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let moved = Run::of(command.args(["capi", "convert"]).arg(&old).output().unwrap()).ok().stdout;
    let of_ours = |objects: Vec<Value>| -> Vec<Value> {
        objects
            .into_iter()
            .filter(|object| object["apiVersion"].as_str().is_some_and(|api| api.contains("x-k8s.io")))
            .collect()
    };
    let objects = of_ours(management::objects("moved.yaml", &moved).unwrap());
    assert!(objects.len() > 5);
    management.judge(NAMESPACE, &objects).unwrap_or_else(|error| panic!("{error}\n{moved}"));
    // The judge has teeth: as they were, it refuses them, for it is told to serve today's versions alone, or by unknown fields.
    let text = filled(OLD).replace("/v1beta1", "/v1beta2").replace("/v1alpha1", "/v1alpha2");
    let old = of_ours(management::objects("old.yaml", &text).unwrap());
    assert!(management.judge(NAMESPACE, &old).is_err());
}

#[test]
fn a_real_api_server_takes_what_was_moved_and_tells_the_doctor_what_it_lacks() {
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path();
    let Some(peer) = judges::build("cluster-api") else { return };
    let Some(management) = management(work, Judges::Controllers) else { return };
    takes_what_was_moved(&management, work);
    let kubeconfig = management.cluster().kubeconfig();
    let proxmox: &'static Provider = PROVIDERS.iter().find(|provider| provider.name == "proxmox").unwrap();
    let mut objects = generated(&peer, work, &wish(proxmox), true);
    write(&work.join("cluster.yaml"), &objects);
    // No controller runs as a Deployment there.
    let (run, found) = doctor(work, &kubeconfig, &["cluster.yaml"]);
    assert_eq!(run.code, Some(3), "{found:#?}");
    for part in ["capi-controller", "kubeadm-bootstrap", "kubeadm-control-plane", "capmox", "caip-in-cluster"]
    {
        assert!(has(&found, "controllers", part), "{part}: {found:#?}");
    }
    assert!(!found.iter().any(|(code, _)| code == "not-served" || code == "old-fields"), "{found:#?}");
    let on = "--feature-gates=MachinePool=true,KubeadmBootstrapFormatIgnition=true";
    let names = [
        ("capi-controller-manager", "x/cluster-api-controller:v1.12.10", on),
        ("capi-kubeadm-bootstrap-controller-manager", "x/kubeadm-bootstrap-controller:v1.12.10", on),
        (
            "capi-kubeadm-control-plane-controller-manager",
            "x/kubeadm-control-plane-controller:v1.12.10",
            "--feature-gates=MachinePool=true",
        ),
        ("capmox-controller-manager", "x/cluster-api-provider-proxmox:v0.7.1", on),
        ("caip-in-cluster-controller-manager", "x/cluster-api-ipam-in-cluster-controller:v1.1.0", on),
    ];
    management.apply(&names.map(|(name, image, gates)| controller(name, image, gates))).unwrap();
    let (_, found) = doctor(work, &kubeconfig, &["cluster.yaml"]);
    assert!(
        has(&found, "gate-off", "kubeadm-control-plane") && !has(&found, "gate-off", "kubeadm-bootstrap"),
        "{found:#?}"
    );
    assert!(
        has(&found, "controllers", "v0.7.1") && !has(&found, "controllers", "no controller"),
        "{found:#?}"
    );
    management
        .apply(&names.map(|(name, image, _)| controller(name, &image.replace("v0.7.1", "v0.9.0"), on)))
        .unwrap();
    let (run, found) = doctor(work, &kubeconfig, &["cluster.yaml"]);
    assert_eq!(run.code, Some(0), "{found:#?}");
    // The doctor tells beforehand of flaws that the API server refuses: an unknown field, and a range that ends before it begins.
    let machine = objects.iter_mut().find(|object| object["kind"] == "ProxmoxMachineTemplate").unwrap();
    machine["spec"]["template"]["spec"]["vmIDRange"] = json!({"start": 300, "end": 250, "step": 1});
    let machine = machine.clone();
    write(&work.join("flawed.yaml"), &objects);
    assert!(management.judge(NAMESPACE, &[machine]).is_err());
    let (run, found) = doctor(work, &kubeconfig, &["flawed.yaml"]);
    assert_eq!(run.code, Some(3));
    assert!(
        has(&found, "not-served", "vmIDRange.step") && has(&found, "pool-small", "300 to 250"),
        "{found:#?}"
    );
    // An object that says what it lacks.
    let machine = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "ProxmoxMachine", "metadata": {"name": "poor"},
        "spec": {"sourceNode": "pve", "templateID": 211, "network": {"networkDevices": [{"name": "net0", "bridge": "vmbr0"}]}},
    });
    management.apply(&[machine]).unwrap();
    let condition = json!({"conditions": [{
        "type": "Ready", "status": "False", "reason": "CloningFailed", "lastTransitionTime": "2026-01-01T00:00:00Z",
        "message": "cannot reserve 4294967296B of memory on node pve: 0B available memory left",
    }]});
    management.set_status("proxmoxmachine", "poor", &condition).unwrap();
    let (_, found) = doctor(work, &kubeconfig, &[]);
    assert!(has(&found, "stuck", "0B available memory left"), "{found:#?}");
    // A kubeconfig that leads nowhere.
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let port = text
        .split("https://")
        .nth(1)
        .unwrap()
        .split(':')
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    fs::write(work.join("gone.yaml"), text.replace(&format!(":{port}"), ":1")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["capi", "doctor", "--kubeconfig", "gone.yaml"]).current_dir(work);
    Run::of(command.output().unwrap()).fails(6, &["connection is refused"]);
}
