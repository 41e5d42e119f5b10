//! The layers that follow from the description alone: of the cluster, and of each node.
//!
//! Names, addresses and cards come from the description by MAC address, and never from DHCP or from what a machine finds
//! (openshift/installer#6037, kubernetes/kubernetes#44702).

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::role;
use super::secrets::Kubeadm;
use crate::base::error::Result;
use crate::base::finding::Source;
use crate::base::yaml::{self, Kind};
use crate::cluster::description::{Cluster, Node, Role, Storage};
use crate::cluster::kubeadm::{self, INTERFACE, vip};
use crate::sysext::known::SYSEXT;
use crate::sysext::shipped::Shipped;

/// The file of the cluster's own layer.
pub(super) const CLUSTER: &str = "cluster.bu";
/// kube-vip's image, as the sysext `kubernetes` names it.
const KUBE_VIP: &str = "ghcr.io/kube-vip/kube-vip";

/// The head of each layer.
pub(super) fn layer(storage: Value, units: Vec<Value>) -> String {
    let layer =
        json!({"variant": "flatcar", "version": "1.1.0", "storage": storage, "systemd": {"units": units}});
    format!("# Written by prebake from cluster.yaml; changes here are lost.\n{layer:#}\n")
}

/// A file that replaces what a machine has there.
pub(super) fn file(path: &str, mode: u16, text: &str) -> Value {
    json!({"path": path, "mode": mode, "overwrite": true, "contents": {"inline": text}})
}

/// The variables by which programs find a proxy.
const PROXIES: &str = "HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy";

/// The layer of all nodes.
pub(super) fn of_cluster(cluster: &Cluster) -> String {
    let mut files = Vec::new();
    for (host, mirrors) in &cluster.registry_mirrors {
        let path = format!("/etc/containerd/certs.d/{}/hosts.toml", host.value);
        files.push(file(&path, 0o644, &hosts_toml(&host.value, mirrors.iter().map(url::Url::as_str))));
    }
    if !cluster.ntp.is_empty() {
        let servers: Vec<&str> = cluster.ntp.iter().map(|server| server.value.as_str()).collect();
        let text = format!("[Time]\nNTP={}\nFallbackNTP=\n", servers.join(" "));
        files.push(file("/etc/systemd/timesyncd.conf.d/50-cluster.conf", 0o644, &text));
    }
    // kubeadm and the kubelet talk to the cluster alone (kubernetes/kubeadm#2145).
    let unset = format!("[Service]\nUnsetEnvironment={PROXIES}\n");
    let drop_in = |unit: &str, text: &str| json!({"name": unit, "dropins": [{"name": "50-cluster.conf", "contents": text}]});
    let mut units = vec![drop_in("kubelet.service", &unset)];
    if let Some(proxy) = &cluster.proxy {
        let except = except(cluster);
        let mut text = String::from("[Service]\n");
        // A percent sign begins a specifier of systemd.
        let url = proxy.url.value.as_str().trim_end_matches('/').replace('%', "%%");
        for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
            let _ = writeln!(text, "Environment=\"{name}={url}\"");
        }
        let _ = writeln!(text, "Environment=\"NO_PROXY={}\"", except.join(","));
        units.push(drop_in("containerd.service", &text));
    }
    if !cluster.ntp.is_empty() {
        units.push(json!({"name": "systemd-timesyncd.service", "enabled": true}));
    }
    layer(json!({"files": files}), units)
}

/// Hosts and networks that containerd asks without the proxy.
fn except(cluster: &Cluster) -> Vec<String> {
    let vip = cluster.vip.iter().map(|vip| vip.address.value.to_string());
    let own = [
        "localhost".to_owned(),
        "127.0.0.0/8".to_owned(),
        cluster.network.to_string(),
        cluster.pods.value.to_string(),
        cluster.services.value.to_string(),
        cluster.bootstrap.ip.value.to_string(),
    ];
    let names = [".svc".to_owned(), ".cluster.local".to_owned()];
    let mirrors = cluster
        .registry_mirrors
        .iter()
        .flat_map(|(_, mirrors)| mirrors)
        .filter_map(|url| url.host_str().map(str::to_owned));
    let said = cluster.proxy.iter().flat_map(|proxy| proxy.except.iter().cloned());
    let mut all: Vec<String> = Vec::new();
    for host in own.into_iter().chain(vip).chain(names).chain(mirrors).chain(said) {
        if !all.contains(&host) {
            all.push(host);
        }
    }
    all
}

/// containerd's file for a registry: its mirrors in order, then itself.
fn hosts_toml<'u>(host: &str, mirrors: impl Iterator<Item = &'u str>) -> String {
    let server = if host == "docker.io" { "registry-1.docker.io" } else { host };
    let mut text = match host {
        "_default" => String::new(),
        _ => format!("server = \"https://{server}\"\n"),
    };
    for mirror in mirrors {
        let _ = write!(
            text,
            "\n[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
            mirror.trim_end_matches('/')
        );
    }
    text
}

/// The layer of a node.
pub(super) fn of_node(
    cluster: &Cluster,
    node: &Node,
    pods: &BTreeMap<&str, String>,
    kubeadm: &Kubeadm,
) -> Result<String> {
    let name = &node.name.value;
    let begins = cluster.begins(node);
    let verb = if begins { "init" } else { "join" };
    let turn = if node.role == Role::Controller && !begins { "yes" } else { "no" };
    let environment = format!(
        "CLUSTER_NAME={}\nNODE_NAME={name}\nNODE_IP={}\nNODE_MAC={}\nNODE_ROLE={}\nTURN={turn}\n",
        cluster.name.value,
        node.ip.value,
        node.mac.value,
        role(node.role)
    );
    let mut files = vec![
        file("/etc/hostname", 0o644, &format!("{name}\n")),
        file("/etc/hosts", 0o644, &hosts(cluster)),
        file("/etc/prebake/node.env", 0o644, &environment),
        file(
            "/etc/systemd/network/05-lan0.link",
            0o644,
            &format!("[Match]\nMACAddress={}\nType=ether\n\n[Link]\nName={INTERFACE}\n", node.mac.value),
        ),
        file("/etc/systemd/network/05-lan0.network", 0o644, &network(cluster, node, pods)),
    ];
    files.extend(kubeadm.public().map(|(path, text)| file(path, 0o600, text)));
    if let Some(subnet) = pods.get(name.as_str()) {
        files.push(file("/etc/cni/net.d/10-routes.conflist", 0o644, &conflist(subnet)));
    }
    let image = format!("{KUBE_VIP}:{}", kube_vip_tag(cluster));
    if let Some(manifest) = vip::manifest(cluster, node, &image, kubeadm::Images::Carried)? {
        files.push(file(vip::MANIFEST, 0o600, &manifest));
    }
    let mut units = vec![json!({"name": format!("kubeadm-{verb}.service"), "enabled": true})];
    let mut storage = json!({"files": files});
    if let Storage::State { device } = &node.storage {
        // Ignition mounts it, writes what is of this boot over what the disk has, and leaves the rest of it alone.
        storage["filesystems"] = json!([{
            "device": device.value, "format": "ext4", "label": "kubernetes", "wipe_filesystem": false,
            "path": "/etc/kubernetes", "with_mount_unit": true,
        }]);
        let parts = [("etcd", "/var/lib/etcd"), ("kubelet", "/var/lib/kubelet")];
        storage["directories"] =
            parts.map(|(part, _)| json!({"path": format!("{STATE}/{part}"), "mode": 0o700})).into();
        for (part, path) in parts {
            units.push(bind(part, path));
        }
    }
    Ok(layer(storage, units))
}

/// Where the parts of a state disk that are mounted elsewhere lie.
const STATE: &str = "/etc/kubernetes/.state";

/// The unit that mounts a part of the state disk where its program looks for it.
fn bind(part: &str, path: &str) -> Value {
    let name = format!("{}.mount", path.trim_start_matches('/').replace('/', "-"));
    let contents = format!(
        "[Unit]\nDescription=The part {part} of the state disk\nRequiresMountsFor=/etc/kubernetes\nBefore=local-fs.target kubelet.service\n\n\
         [Mount]\nWhat={STATE}/{part}\nWhere={path}\nType=none\nOptions=bind\n\n[Install]\nRequiredBy=local-fs.target\n"
    );
    json!({"name": name, "enabled": true, "contents": contents})
}

/// The tag of kube-vip's image that nodes carry.
fn kube_vip_tag(cluster: &Cluster) -> String {
    // The variable of the sysext, if the description sets it.
    let recipe = Source::new("recipe", cluster.recipe.clone().unwrap_or_default());
    let sysexts = yaml::parse(&recipe).ok().and_then(|recipe| recipe.get("sysexts").cloned());
    if let Some(Kind::Sequence(items)) = sysexts.map(|sysexts| sysexts.kind) {
        let own = items.iter().find(|item| item.get("name").and_then(yaml::Node::scalar) == Some(SYSEXT));
        let set = own.and_then(|own| own.get("set")?.get("kube_vip")?.scalar().map(str::to_owned));
        if let Some(set) = set {
            return set;
        }
    }
    let shipped = Shipped::find(SYSEXT);
    let text = shipped.and_then(|shipped| shipped.text("sysext.yaml")).unwrap_or_default();
    let tag = text.lines().find_map(|line| line.trim().strip_prefix("kube_vip: "));
    tag.unwrap_or_default().trim().to_owned()
}

/// `/etc/hosts`: every node by its name, so that no name server need know them.
fn hosts(cluster: &Cluster) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for node in &cluster.nodes {
        let _ = writeln!(text, "{} {}", node.ip.value, node.name.value);
    }
    text
}

/// The card's settings. It is matched by its address alone: a card that keeps its old name gets them, too.
fn network(cluster: &Cluster, node: &Node, pods: &BTreeMap<&str, String>) -> String {
    let mut text = format!(
        "[Match]\nMACAddress={}\nType=ether\nKind=!*\n\n[Network]\nAddress={}\nLinkLocalAddressing=ipv6\n",
        node.mac.value,
        cluster.network.at(node.ip.value)
    );
    if let Some(gateway) = &cluster.gateway {
        let _ = writeln!(text, "Gateway={}", gateway.value);
    }
    for server in &cluster.dns {
        let _ = writeln!(text, "DNS={}", server.value);
    }
    for other in cluster.nodes.iter().filter(|other| other.name.value != node.name.value) {
        if let Some(subnet) = pods.get(other.name.value.as_str()) {
            let _ = write!(text, "\n[Route]\nDestination={subnet}\nGateway={}\n", other.ip.value);
        }
    }
    text
}

/// The network plugin `routes`: a bridge for the pods of this node, and addresses from its part.
fn conflist(subnet: &str) -> String {
    let conflist = json!({
        "cniVersion": "1.0.0",
        "name": "routes",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{conflist:#}\n")
}
