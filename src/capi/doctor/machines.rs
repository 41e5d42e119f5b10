//! Rules about machines: versions of Kubernetes, of Flatcar, platforms, and the network plugin.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::manifests::has_variable;
use super::super::words::{ADDONS, CONTROL_PLANE, Shape};
use super::{Subject, settled, warning};
use crate::base::finding::{Finding, Place};

/// The first major version of Flatcar whose Ignition (2.20) has the provider `proxmoxve`.
const PROXMOX_SINCE: u32 = 4152;
/// How many minor versions older than the API server a kubelet may be.
const SKEW: u64 = 3;
/// Most versions of control planes that each machine's is held against.
const MOST: usize = 32;
/// Words by which the manifests of network plugins are known.
const PLUGINS: [&str; 7] = ["calico", "cilium", "flannel", "kube-router", "antrea", "weave", "kindnet"];

/// Minor version of `v1.34.4`; none of other texts.
fn minor(version: &str) -> Option<u64> {
    let mut parts = version.strip_prefix("v1.")?.split('.');
    let minor = parts.next()?.parse().ok()?;
    parts.next()?.chars().next().filter(char::is_ascii_digit)?;
    Some(minor)
}

/// Versions of Kubernetes.
pub(super) fn kubernetes(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_image = subject.image.as_ref().and_then(|image| image.kubernetes.clone());
    let of_image =
        of_image.or_else(|| Some(subject.index.as_ref()?.kubernetes.clone()).filter(|text| !text.is_empty()));
    // Versions with their places: first those of control planes.
    let mut control: Vec<(String, Place)> = Vec::new();
    let mut workers: Vec<(String, Place)> = Vec::new();
    for part in subject.parts(Shape::ControlPlane).filter(|part| part.object.group == CONTROL_PLANE) {
        control.extend(part.text(&["version"]).map(|version| (version, part.place(&["version"]))));
    }
    for part in subject.parts(Shape::Machine) {
        workers.extend(part.text(&["version"]).map(|version| (version, part.place(&["version"]))));
    }
    for (version, place) in control.iter().chain(&workers).filter(|(version, _)| !has_variable(version)) {
        let finding = |why: String, hint: String| Finding::error(why).at(place.clone()).hint(hint);
        if minor(version).is_none() {
            findings.push(finding(
                format!("`{version}` is no version of Kubernetes"),
                "write it whole, with its `v`: v1.34.4".into(),
            ));
        } else if let Some(image) = of_image.as_ref().filter(|image| *image != version) {
            findings.push(finding(
                format!("the manifest wants Kubernetes {version}, and the image has {image}: kubeadm and kubelet come from the image"),
                format!("write {image} (`clusterctl generate cluster NAME --kubernetes-version {image}`), or build the image with {version}"),
            ));
        }
    }
    let servers: BTreeSet<&String> = control.iter().map(|(server, _)| server).collect();
    for (worker, place) in &workers {
        // One finding for each machine, however many control planes there are.
        for server in servers.iter().copied().take(MOST) {
            let (Some(of_worker), Some(of_server)) = (minor(worker), minor(server)) else { continue };
            if of_worker > of_server || of_worker + SKEW < of_server {
                findings.push(
                    Finding::error(format!("kubelets of {worker} do not work with API servers of {server}"))
                        .at(place.clone())
                        .hint("a kubelet may be up to three minor versions older than its API server, and never newer"),
                );
                break;
            }
        }
    }
    findings
}

/// The major version of a Flatcar release.
fn major(release: &str) -> Option<u32> {
    release.split('.').next()?.parse().ok()
}

/// Releases before `proxmoxve`.
pub(super) fn release(subject: &Subject) -> Vec<Finding> {
    let Some(image) = subject.image.as_ref().filter(|_| subject.is_proxmox()) else { return Vec::new() };
    match image.release.as_deref() {
        Some(release) if major(release).is_some_and(|major| major < PROXMOX_SINCE) => vec![
            Finding::error(format!(
                "{} is Flatcar {release}, whose Ignition does not know Proxmox' configuration drive: machines boot with an empty config",
                image.name
            ))
            .hint("take Flatcar 4152 or later (Ignition 2.20): any stable channel of today, and no LTS before 4152"),
        ],
        _ => Vec::new(),
    }
}

/// Other platforms and other systems.
pub(super) fn platform(subject: &Subject) -> Vec<Finding> {
    let Some(image) = &subject.image else { return Vec::new() };
    let mut findings = Vec::new();
    if image.release.is_none() && subject.has_ignition() {
        findings.push(
            Finding::error(format!("{} is no Flatcar image", image.name)).hint(
                "Cluster API writes Ignition 2.3, which Flatcar alone still reads: take an image of the disk output",
            ),
        );
        return findings;
    }
    let platform = image.platform.as_deref().unwrap_or("none");
    if subject.is_proxmox() && platform != "proxmoxve" {
        findings.push(
            Finding::error(format!(
                "{} is for the platform `{platform}`: without `flatcar.oem.id=proxmoxve` Ignition reads no configuration drive",
                image.name
            ))
            .hint("set `platform: proxmoxve` in the recipe's disk output"),
        );
    }
    findings
}

/// Clusters without a network plugin.
pub(super) fn cni(subject: &Subject) -> Vec<Finding> {
    let is_plugin = |text: &str| PLUGINS.iter().any(|word| text.to_ascii_lowercase().contains(word));
    let has_plugin = subject.objects().any(|object| {
        let is_set = object.group == ADDONS && object.kind == "ClusterResourceSet";
        let is_chart = object.kind == "HelmChartProxy";
        let named = is_plugin(&object.name);
        let resources = object.at(&["spec", "resources"]).and_then(Value::as_array);
        let of_set = || {
            resources.is_some_and(|all| {
                all.iter()
                    .filter_map(|one| one.get("name")?.as_str())
                    .any(|name| is_plugin(name) || settled(name).contains("cni"))
            })
        };
        (object.kind == "DaemonSet" && named)
            || ((is_set || is_chart) && (named || object.name.contains("cni") || of_set()))
    });
    let clusters = subject.of_kind(super::super::words::CORE, "Cluster");
    clusters
        .filter(|_| !has_plugin)
        .map(|cluster| {
            warning(
                cluster,
                &["metadata", "name"],
                format!("nothing gives {} a network plugin: its nodes stay NotReady", cluster.identity()),
                "name one in the recipe (`addons:` of the output `capi`), or apply its manifest to the new cluster",
            )
        })
        .collect()
}
