//! The config of kubeadm, and the commands that its unit runs before it.

use serde_json::{Value, json};

use super::{Role, Wish, node};
use crate::machine::vip::{self, Vip};

/// containerd's socket, with its scheme: a machine with several runtimes would be refused otherwise.
const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
/// Where plugins of volumes lie. kubeadm's default is below /usr, which is read-only (kubernetes/kubeadm#3318).
const VOLUME_PLUGINS: &str = "/var/lib/kubelet/volumeplugins";
/// Parts of a machine's kubelet config, which `kubeadm` leaves alone (`sysext/kubernetes-config`).
const KUBELET_CONFIG: &str = "/etc/kubernetes/kubelet.conf.d/10-cluster-api.conf";

/// A `KubeadmConfigSpec`.
pub(super) fn config(wish: &Wish, role: Role) -> Value {
    let mut spec = json!({"format": "ignition"});
    let mut files = vec![
        json!({"path": node::SCRIPT, "permissions": "0755", "content": node::script(wish, role)}),
        json!({"path": KUBELET_CONFIG, "permissions": "0644", "content": kubelet()}),
    ];
    if role == Role::ControlPlane {
        // Others than the kubelet read it there: both must look at the same place.
        let plugins = json!([{"name": "flex-volume-plugin-dir", "value": VOLUME_PLUGINS}]);
        let mut manager = json!({"extraArgs": plugins});
        if let (true, Some(args)) = (wish.provider.is_external, manager["extraArgs"].as_array_mut()) {
            args.push(json!({"name": "cloud-provider", "value": "external"}));
        }
        spec["clusterConfiguration"] = json!({"controllerManager": manager});
        spec["initConfiguration"] = json!({"nodeRegistration": registration(wish), "timeouts": timeouts()});
        if wish.provider.is_vip {
            let manifest = vip::manifest(&Vip {
                image: &wish.kube_vip,
                policy: wish.policy(),
                address: "${CONTROL_PLANE_ENDPOINT_IP}",
                interface: "${VIP_NETWORK_INTERFACE}",
                port: "6443",
                kubeconfig: vip::ADMIN,
            });
            files.push(json!({"path": vip::MANIFEST, "permissions": "0644", "content": manifest}));
        }
    }
    spec["joinConfiguration"] = json!({"nodeRegistration": registration(wish), "timeouts": timeouts()});
    spec["files"] = json!(files);
    let mut commands = Vec::new();
    if wish.restart_networkd {
        commands.push("systemctl restart systemd-networkd.service");
        commands.push("/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=120");
    }
    commands.push(node::SCRIPT);
    spec["preKubeadmCommands"] = json!(commands);
    spec["users"] = wish.users.iter().map(|name| user(wish, name)).collect();
    spec["ignition"] = json!({"containerLinuxConfig": {"additionalConfig": node::additional(wish)}});
    spec
}

fn registration(wish: &Wish) -> Value {
    let mut registration = json!({
        // The name that the platform gave, and not one that the machine may have by then.
        "name": "${NODE_NAME}",
        "criSocket": CRI_SOCKET,
        "imagePullPolicy": wish.policy(),
    });
    let external = wish.provider.is_external.then_some(("cloud-provider", "external"));
    let id = wish.provider.identity.provider_id.map(|id| ("provider-id", id));
    let args: Vec<Value> =
        external.into_iter().chain(id).map(|(name, value)| json!({"name": name, "value": value})).collect();
    if !args.is_empty() {
        registration["kubeletExtraArgs"] = json!(args);
    }
    registration
}

/// All of kubeadm's: an image is unpacked while a container is created, and disks of virtual machines are slow.
fn timeouts() -> Value {
    json!({
        "controlPlaneComponentHealthCheckSeconds": 600,
        "kubeletHealthCheckSeconds": 600,
        "kubernetesAPICallSeconds": 600,
        "etcdAPICallSeconds": 600,
        "tlsBootstrapSeconds": 600,
        "discoverySeconds": 900,
    })
}

fn kubelet() -> String {
    crate::machine::yaml::document(&json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "volumePluginDir": VOLUME_PLUGINS,
        // The kubelet's own limit of two minutes would begin a long unpacking of an image anew.
        "runtimeRequestTimeout": "15m0s",
    }))
}

fn user(wish: &Wish, name: &str) -> Value {
    let keys = match wish.ssh_keys.is_empty() {
        true => json!("${VM_SSH_KEYS}"),
        false => json!(wish.ssh_keys),
    };
    json!({"name": name, "sudo": "ALL=(ALL) NOPASSWD:ALL", "sshAuthorizedKeys": keys})
}
