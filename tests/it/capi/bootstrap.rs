//! The real kubeadm bootstrap controller makes user data of our manifests: what it holds, and that real Ignition and kubeadm take it.

use std::fs;
use std::path::Path;
use std::process::Command;

use prebake::capi::provider::PROVIDERS;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::judges::{find, generated, management, wish};
use crate::bake::node_image::written;
use crate::judges::{self, Judge};
use crate::lab::management::{Judges, Management};
use crate::lab::user_data::{self, Given};
use crate::world::Run;

/// The script that kubeadm's unit runs before kubeadm.
const SCRIPT: &str = "/etc/prebake/before-kubeadm";

/// A machine's name, number and network, as Proxmox VE and IPAM would have given them.
pub(super) const GIVEN: Given = Given {
    hostname: "lab-worker-1",
    uuid: "11223344-5566-7788-99aa-bbccddeeff00",
    mac: "52:54:00:00:00:01",
    address: "10.0.2.15/24",
    gateway: "10.0.2.2",
    dns: "10.0.2.3",
};

/// Applies a cluster whose workload cluster is the API server itself, and says in the place of Proxmox VE's provider that its
/// infrastructure is there.
pub(super) fn provision(management: &Management, objects: &mut [Value]) {
    let name = find(objects, "Cluster", "")["metadata"]["name"].as_str().unwrap().to_owned();
    management.adopt(&name).unwrap();
    management.apply(objects).unwrap();
    management
        .set_status("proxmoxcluster", &name, &json!({"initialization": {"provisioned": true}}))
        .unwrap();
}

/// Says in the place of the first machine that the control plane is there; the user data of the first worker.
pub(super) fn worker(management: &Management, objects: &mut [Value]) -> String {
    let control_plane =
        find(objects, "KubeadmControlPlane", "")["metadata"]["name"].as_str().unwrap().to_owned();
    let initialized = json!({"initialization": {"controlPlaneInitialized": true}});
    management.set_status("kubeadmcontrolplane", &control_plane, &initialized).unwrap();
    let deployment = find(objects, "MachineDeployment", "")["metadata"]["name"].as_str().unwrap().to_owned();
    let label = format!("cluster.x-k8s.io/deployment-name={deployment}");
    let (format, config) = management.bootstrap(&label).unwrap();
    assert_eq!(format, "ignition");
    config
}

/// The same config for an Ignition that is not Flatcar's, once that and prebake take it.
fn translated(peer: &Path, work: &Path, config: &str) -> Value {
    let config = user_data::enrich(peer, config, &GIVEN).unwrap();
    assert!(!config.contains("gzip"), "{config}");
    let text = user_data::translate(peer, &config).unwrap();
    if let Some(judge) = Judge::start("ignition") {
        let answer = judge.ask(&json!({"configs": [text]}));
        assert_eq!(answer["verdicts"][0]["error"], "", "{answer}\n{text}");
    }
    let path = work.join("user-data.ign");
    fs::write(&path, &text).unwrap();
    let mut validate = Command::new(env!("CARGO_BIN_EXE_prebake"));
    Run::of(validate.args(["ignition", "validate"]).arg(&path).output().unwrap()).ok();
    serde_json::from_str(&text).unwrap()
}

/// The drop-ins of a unit by name, each followed by its text.
fn dropins(config: &Value, unit: &str) -> String {
    let units = config["systemd"]["units"].as_array().unwrap();
    let unit = units.iter().find(|candidate| candidate["name"] == unit).unwrap();
    let dropins = unit["dropins"].as_array().unwrap().iter();
    dropins.map(|dropin| format!("{}\n{}", dropin["name"], dropin["contents"].as_str().unwrap())).collect()
}

#[test]
fn the_real_bootstrap_controller_makes_user_data_that_ignition_and_kubeadm_take() {
    let directory = TempDir::new().unwrap();
    let work = directory.path();
    let Some(management) = management(work, Judges::Controllers) else { return };
    let [Some(kubernetes), Some(peer)] = ["kubernetes", "cluster-api"].map(judges::build) else { return };
    let mut objects = generated(&peer, work, &wish(PROVIDERS[0]), false);
    provision(&management, &mut objects);
    let path = format!("{}:/usr/bin:/bin", kubernetes.display());
    // The machine's own steps before it calls kubeadm, and kubeadm's verdict; the config as it stands then.
    let kubeadm_takes = |config: &Value| {
        let root = TempDir::new_in(work).unwrap();
        let at = |name: &str| root.path().join(name).display().to_string();
        for name in ["kubeadm.yml", "kubeadm.sh", "proxmox-env"] {
            fs::write(at(name), written(config, &format!("/etc/{name}"))).unwrap();
        }
        let script = written(config, SCRIPT);
        let script = ["kubeadm.yml", "kubeadm.sh"]
            .iter()
            .fold(script, |script, name| script.replace(&format!("/etc/{name}"), &at(name)));
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(script).env_clear().env("PATH", &path);
        bash.envs(
            fs::read_to_string(at("proxmox-env")).unwrap().lines().filter_map(|line| line.split_once('=')),
        );
        Run::of(bash.output().unwrap()).ok();
        let mut validate = Command::new(kubernetes.join("kubeadm"));
        validate.args(["config", "validate", "--config", &at("kubeadm.yml")]);
        Run::of(validate.output().unwrap()).ok();
        fs::read_to_string(at("kubeadm.yml")).unwrap()
    };

    let (format, config) = management.bootstrap("cluster.x-k8s.io/control-plane").unwrap();
    assert_eq!(format, "ignition");
    let version: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(version["ignition"]["version"], "2.3.0");
    let first = translated(&peer, work, &config);
    let kubeadm = kubeadm_takes(&first);
    for words in [
        "kind: InitConfiguration",
        "criSocket: unix:///run/containerd/containerd.sock",
        "name: lab-worker-1",
        "value: proxmox://11223344-5566-7788-99aa-bbccddeeff00",
        "controlPlaneComponentHealthCheck: 10m0s",
        "kubernetesAPICall: 10m0s",
        "value: /var/lib/kubelet/volumeplugins",
        "controlPlaneEndpoint: 10.77.0.5:6443",
    ] {
        assert!(kubeadm.contains(words), "no {words:?} in\n{kubeadm}");
    }
    let script = written(&first, "/etc/kubeadm.sh");
    assert!(script.contains("kubeadm init --config /etc/kubeadm.yml"), "{script}");
    assert!(
        written(&first, "/etc/kubernetes/manifests/kube-vip.yaml")
            .contains("ghcr.io/kube-vip/kube-vip:v1.2.1")
    );
    // The authority is the one that was there.
    let authority = fs::read_to_string(management.cluster().key("ca.crt")).unwrap();
    assert_eq!(written(&first, "/etc/kubernetes/pki/ca.crt").trim(), authority.trim());
    let order = dropins(&first, "kubeadm.service");
    assert!(
        order.contains("After=network-online.target containerd.service prebake-images.service"),
        "{order}"
    );
    assert!(order.contains("until [ -S /run/containerd/containerd.sock ]"), "{order}");

    let second = translated(&peer, work, &worker(&management, &mut objects));
    let kubeadm = kubeadm_takes(&second);
    for words in [
        "kind: JoinConfiguration",
        "criSocket: unix:///run/containerd/containerd.sock",
        "name: lab-worker-1",
        "value: proxmox://11223344-5566-7788-99aa-bbccddeeff00",
        "tlsBootstrap: 10m0s",
        "apiServerEndpoint: 10.77.0.5:6443",
        "key: node.cluster.x-k8s.io/uninitialized",
    ] {
        assert!(kubeadm.contains(words), "no {words:?} in\n{kubeadm}");
    }
    assert!(written(&second, "/etc/kubeadm.sh").contains("kubeadm join"));
    assert!(
        !second.to_string().contains("/etc/kubernetes/pki/ca.key"),
        "a worker has no key of the authority"
    );
    // Added by Proxmox VE's provider.
    assert_eq!(written(&second, "/etc/hostname"), GIVEN.hostname);
    let env = written(&second, "/etc/proxmox-env");
    assert!(env.contains(&format!("COREOS_CUSTOM_INSTANCE_ID={}\n", GIVEN.uuid)), "{env}");
    let network = written(&second, "/etc/systemd/network/00-eth0.network");
    for words in ["MACAddress=52:54:00:00:00:01", "Address=10.0.2.15/24", "Gateway=10.0.2.2"] {
        assert!(network.contains(words), "no {words:?} in\n{network}");
    }
    assert_eq!(dropins(&second, "kubeadm.service"), order);
    assert_eq!(second["passwd"]["users"][0]["name"], "core");
}
