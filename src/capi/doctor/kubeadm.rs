//! Rules about what kubeadm and Ignition are told.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::manifests::{fault, has_variable};
use super::super::path::expanded;
use super::super::words::Shape;
use super::{Part, Subject, settled, some};
use crate::base::finding::Finding;

/// Longest additional config, in bytes (`MaxLength` of `additionalConfig`).
const LONGEST: usize = 32 << 10;
/// The way out for a format.
const FORMAT: &str = "set `format: ignition` in the KubeadmControlPlane and in each KubeadmConfigTemplate";

/// Machines with another format than Ignition.
pub(super) fn format(subject: &Subject) -> Vec<Finding> {
    let expects = subject.has_ignition() || subject.image.is_some() || subject.index.is_some();
    let parts = subject.parts(Shape::Kubeadm);
    parts
        .filter_map(|part| match part.text(&["format"]).as_deref() {
            Some("ignition") => None,
            Some(text) if has_variable(text) => None,
            _ if part.at(&["ignition"]).is_some() => Some(part.error(
                &["ignition"],
                "`ignition` is there without `format: ignition`, which Cluster API refuses",
                FORMAT,
            )),
            format if expects => Some(part.error(
                &["format"],
                format!(
                    "{} would give machines {}, which Flatcar does not read",
                    part.object.identity(),
                    format.unwrap_or("cloud-config")
                ),
                FORMAT,
            )),
            _ => None,
        })
        .collect()
}

/// Values that are refused with Ignition: path, the values that are, and the way out.
type Forbidden = (&'static [&'static str], fn(&Value) -> bool, &'static str);

/// As `validateIgnition` (api/bootstrap/kubeadm/v1beta2/kubeadmconfig_types.go).
const FORBIDDEN: &[Forbidden] = &[
    (&["users", "*", "inactive"], |value| value == &Value::Bool(true), "leave the user out"),
    (
        &["files", "*", "encoding"],
        |value| value.as_str().is_some_and(|text| text.starts_with("gzip")),
        "write the content in clear, or with `encoding: base64`",
    ),
    (
        &["bootCommands"],
        |value| !value.is_null(),
        "put the commands into a unit of `ignition.containerLinuxConfig.additionalConfig`",
    ),
    (
        &["diskSetup", "partitions", "*", "tableType"],
        |value| value.as_str().is_some_and(|text| !text.is_empty() && text != "gpt"),
        "Ignition makes GPT alone: write `gpt`, or leave it out",
    ),
    (
        &["diskSetup", "filesystems", "*", "replaceFS"],
        |value| value.as_str().is_some_and(|text| !text.is_empty()),
        "use `overwrite: true`",
    ),
    (
        &["diskSetup", "filesystems", "*", "partition"],
        |value| value.as_str().is_some_and(|text| !text.is_empty()),
        "name the partition's device in `device`, such as /dev/disk/by-partlabel/data",
    ),
];

/// Fields that Cluster API refuses with `format: ignition`.
pub(super) fn forbidden(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in
        subject.parts(Shape::Kubeadm).filter(|part| part.text(&["format"]).as_deref() == Some("ignition"))
    {
        for (path, is_refused, way_out) in FORBIDDEN {
            for at in expanded(part.value, path) {
                let at: Vec<&str> = at.iter().map(String::as_str).collect();
                if part.at(&at).is_some_and(is_refused) {
                    let why = format!("`{}` is refused with `format: ignition`", at.join("."));
                    findings.push(part.error(&at, why, *way_out));
                }
            }
        }
    }
    findings
}

/// Additional configs.
pub(super) fn additional(subject: &Subject) -> Vec<Finding> {
    const PATH: [&str; 3] = ["ignition", "containerLinuxConfig", "additionalConfig"];
    let mut findings = Vec::new();
    for part in subject.parts(Shape::Kubeadm) {
        let Some(text) = part.at(&PATH).and_then(Value::as_str) else { continue };
        if text.len() > LONGEST {
            findings.push(part.error(
                &PATH,
                format!("the additional config has {} bytes, and Cluster API takes {LONGEST}", text.len()),
                "put what is the same for all machines into the image: `files:` and `units:` of the recipe",
            ));
        }
        let first = text.trim_start();
        let is_line = |key: &str| text.lines().any(|line| line.starts_with(key));
        let other = match () {
            () if is_line("variant:") => Some("Butane"),
            () if first.starts_with('{') && text.contains("\"ignition\"") => Some("Ignition"),
            () if is_line("ignition:") && text.contains("version: 3") => Some("Ignition"),
            () if first.starts_with("#cloud-config") => Some("cloud-config"),
            () => None,
        };
        if let Some(other) = other {
            findings.push(part.error(
                &PATH,
                format!("the additional config is {other}, and Cluster API takes Container Linux Config alone"),
                "write `storage:` and `systemd:` as Container Linux Config has them: its result is Ignition 2.3, which Flatcar reads",
            ));
        } else if let Some(fault) = fault(text) {
            findings.push(part.error(
                &PATH,
                format!("the additional config cannot be read: {fault}"),
                "write a mapping with `storage:` and `systemd:`, as Container Linux Config has them",
            ));
        }
    }
    findings
}

/// Endings of the names of containerd's socket, below /run or /var/run.
const SOCKET: &str = "run/containerd/containerd.sock";

/// Registrations without a socket, and those with another runtime's, which Flatcar does not have.
pub(super) fn cri_socket(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_flatcar = subject.has_ignition();
    for part in subject.parts(Shape::Kubeadm) {
        for name in ["initConfiguration", "joinConfiguration"] {
            let is_needed = part.at(&[name]).is_some();
            let socket = part.at(&[name, "nodeRegistration", "criSocket"]);
            let other = part.text(&[name, "nodeRegistration", "criSocket"]);
            let other = other.filter(|text| is_flatcar && !has_variable(text) && !text.ends_with(SOCKET));
            if let Some(other) = other {
                findings.push(part.error(
                    &[name, "nodeRegistration", "criSocket"],
                    format!("`{other}` is not containerd's socket, and Flatcar has no other runtime: kubeadm ends there"),
                    "write unix:///run/containerd/containerd.sock",
                ));
            }
            if is_needed && socket.is_none() {
                findings.push(part.warning(
                    &[name],
                    format!("{} does not name the runtime's socket: kubeadm refuses a machine on which it finds two", part.object.identity()),
                    format!("set `{name}.nodeRegistration.criSocket: unix:///run/containerd/containerd.sock`"),
                ));
            }
        }
    }
    findings
}

/// Images in the static pods among files, and in workloads.
pub(super) fn unpinned(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_open = |image: &str| {
        let last = image.rsplit('/').next().unwrap_or(image);
        !has_variable(image)
            && !image.contains('@')
            && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
    };
    const WAY_OUT: &str = "name a version, such as `:v1.2.1`: the same manifest gives another program tomorrow otherwise, and an image without \
        internet lacks it";
    for part in subject.parts(Shape::Kubeadm) {
        for (at, file) in part.items(&["files"]).iter().enumerate() {
            let Some(content) = file.get("content").and_then(Value::as_str) else { continue };
            for image in
                content.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image:"))
            {
                let image = image.trim().trim_matches(['"', '\'']);
                if !image.is_empty() && is_open(image) {
                    let at = at.to_string();
                    let why = format!("the image {image} in a file has no version");
                    findings.push(part.warning(&["files", &at, "content"], why, WAY_OUT));
                }
            }
        }
    }
    for object in subject.objects().filter(|object| matches!(object.group.as_str(), "apps" | "batch")) {
        let mut paths = Vec::new();
        images(&object.value, &mut Vec::new(), &mut paths);
        for (path, image) in paths.iter().filter(|(_, image)| is_open(image)) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            findings.push(super::warning(
                object,
                &path,
                format!("the image {image} has no version"),
                WAY_OUT,
            ));
        }
    }
    findings
}

/// The `image` fields of an object.
fn images(value: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        _ => return,
    };
    for (key, inner) in entries {
        path.push(key);
        match inner {
            Value::String(image) if path.last().is_some_and(|key| key == "image") => {
                found.push((path.clone(), image.clone()))
            }
            _ => images(inner, path, found),
        }
        path.pop();
    }
}

/// kube-vip's settings in its static pod: `- name: NAME` and `value:` on the next line.
fn setting(content: &str, name: &str) -> Option<String> {
    let mut lines = content.lines().map(str::trim);
    lines.find(|line| {
        line.strip_prefix("- name:").is_some_and(|rest| rest.trim().trim_matches(['"', '\'']) == name)
    })?;
    let value = lines.next()?.strip_prefix("value:")?;
    Some(settled(value.trim().trim_matches(['"', '\''])))
}

/// kube-vip's interface and address against the cluster's endpoint.
pub(super) fn vip(subject: &Subject) -> Vec<Finding> {
    let endpoints: BTreeSet<String> = subject
        .parts(Shape::ProxmoxCluster)
        .filter_map(|part| part.text(&["controlPlaneEndpoint", "host"]))
        .collect();
    let is_open = endpoints.iter().any(|endpoint| has_variable(endpoint));
    let endpoints = Endpoints { all: endpoints, is_open, is_proxmox: subject.is_proxmox() };
    let mut findings = Vec::new();
    for part in subject.parts(Shape::Kubeadm) {
        for (at, file) in part.items(&["files"]).iter().enumerate() {
            let content = file.get("content").and_then(Value::as_str).unwrap_or_default();
            if !content.contains("kube-vip") || !content.contains("vip_arp") {
                continue;
            }
            let at = at.to_string();
            judge_vip(&part, &at, content, &endpoints, &mut findings);
        }
    }
    findings
}

/// The addresses that control planes have.
struct Endpoints {
    all: BTreeSet<String>,
    /// Whether a template will have one that is not known yet.
    is_open: bool,
    /// Whether machines are of Proxmox.
    is_proxmox: bool,
}

fn judge_vip(part: &Part<'_>, at: &str, content: &str, endpoints: &Endpoints, findings: &mut Vec<Finding>) {
    let path = ["files", at, "content"];
    let address = setting(content, "address").filter(|address| !has_variable(address));
    if let Some(address) = address
        && !endpoints.all.is_empty()
        && !endpoints.is_open
        && !endpoints.all.contains(&address)
    {
        findings.push(part.error(
            &path,
            format!(
                "kube-vip holds {address}, and the cluster's endpoint is {}",
                some(endpoints.all.iter().map(String::as_str))
            ),
            "both must be the same address: `controlPlaneEndpoint.host` of the ProxmoxCluster",
        ));
    }
    if let Some(interface) = setting(content, "vip_interface")
        .filter(|name| endpoints.is_proxmox && !name.is_empty() && !has_variable(name))
        && !interface.starts_with("eth")
    {
        findings.push(part.warning(
            &path,
            format!("kube-vip is told the interface {interface}; the provider calls net0 `eth0`"),
            "leave `vip_interface` empty for the one with the default route, or write eth0",
        ));
    }
}
