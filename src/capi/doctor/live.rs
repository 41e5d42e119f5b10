//! Rules about a management cluster, from facts that somebody asked its API server for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::provider::GATE as VARIABLE;
use super::super::words::{BOOTSTRAP, CONTROL_PLANE, CORE, INFRASTRUCTURE, is_ours};
use super::{Subject, error};
use crate::base::finding::{Finding, meant};

/// The facts that a management cluster tells.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// URL of its API server.
    pub server: String,
    /// Versions of the kinds of Cluster API, by group and kind.
    pub kinds: BTreeMap<(String, String), Vec<Served>>,
    /// Controllers of providers.
    pub controllers: Vec<Controller>,
    /// Conditions of objects that say what is wrong.
    pub troubles: Vec<Trouble>,
}

/// A version of a kind.
#[derive(Clone, Debug)]
pub struct Served {
    /// Such as `v1beta2`.
    pub version: String,
    /// Whether it is served.
    pub served: bool,
    /// Its OpenAPI schema.
    pub schema: Value,
}

/// A controller.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    /// Its namespace.
    pub namespace: String,
    /// Name of its Deployment.
    pub name: String,
    /// Its images.
    pub images: Vec<String>,
    /// Arguments of its containers.
    pub arguments: Vec<String>,
    /// The provider that it belongs to, by clusterctl's label `cluster.x-k8s.io/provider`.
    pub provider: Option<String>,
}

/// A condition that is not met.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Kind, namespace and name.
    pub of: String,
    /// The condition's message.
    pub message: String,
}

/// The gate's name; [`VARIABLE`] sets it while clusterctl makes the management cluster.
const GATE: &str = "KubeadmBootstrapFormatIgnition";

/// The gate for Ignition: off in a management cluster, or not set by a tree's index.
pub(super) fn gate(subject: &Subject) -> Vec<Finding> {
    let is_cluster_alone = subject.manifests.is_empty() && subject.live.is_some();
    if !subject.has_ignition() && !is_cluster_alone {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for controller in subject.live.iter().flat_map(|live| &live.controllers) {
        let is_asked =
            ["kubeadm-bootstrap", "kubeadm-control-plane"].iter().any(|part| controller.name.contains(part));
        let gates =
            controller.arguments.iter().filter_map(|argument| argument.strip_prefix("--feature-gates="));
        let is_on =
            gates.flat_map(|gates| gates.split(',')).any(|gate| gate.trim() == format!("{GATE}=true"));
        if is_asked && !is_on {
            findings.push(
                Finding::error(format!("{}/{} runs without the feature gate {GATE}: `format: ignition` is refused", controller.namespace, controller.name))
                    .hint(format!(
                        "set {VARIABLE}=true for `clusterctl init` (`prebake capi run` does), or add {GATE}=true to the gates among the Deployment's arguments: \
                         `kubectl -n {} edit deployment {}`",
                        controller.namespace, controller.name
                    )),
            );
        }
    }
    if let Some(index) =
        subject.index.as_ref().filter(|index| index.gates.get(VARIABLE).is_none_or(|value| value != "true"))
    {
        let _ = index;
        findings.push(
            Finding::error(format!("the tree does not set {VARIABLE}"))
                .hint("build it again with this prebake"),
        );
    }
    findings
}

/// Kinds, versions and fields that the API server does not know.
pub(super) fn served(subject: &Subject) -> Vec<Finding> {
    let Some(live) = &subject.live else { return Vec::new() };
    let mut findings = Vec::new();
    for object in subject.objects().filter(|object| is_ours(&object.group)) {
        let Some(versions) = live.kinds.get(&(object.group.clone(), object.kind.clone())) else {
            findings.push(error(
                object,
                &["kind"],
                format!("{} does not know the kind {} of {}", live.server, object.kind, object.group),
                "install its provider: `clusterctl init --infrastructure proxmox --bootstrap kubeadm --control-plane kubeadm --ipam in-cluster`",
            ));
            continue;
        };
        let served: Vec<&Served> = versions.iter().filter(|version| version.served).collect();
        let Some(version) = served.iter().find(|version| version.version == object.version) else {
            let known: Vec<&str> = served.iter().map(|version| version.version.as_str()).collect();
            findings.push(error(
                object,
                &["apiVersion"],
                format!("{} serves {} of {}, and not {}", live.server, known.join(", "), object.kind, object.version),
                "`clusterctl upgrade plan` shows newer providers; `prebake capi convert` moves older manifests",
            ));
            continue;
        };
        let mut strangers = Vec::new();
        unknown(&object.value, &version.schema, &mut Vec::new(), &mut strangers);
        for (path, known) in strangers {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let key = path.last().copied().unwrap_or_default();
            findings.push(error(
                object,
                &path,
                format!(
                    "{} knows no field `{}` of {} {}",
                    live.server,
                    path.join("."),
                    object.kind,
                    object.version
                ),
                meant(key, known.iter().map(String::as_str), "fields: "),
            ));
        }
    }
    findings
}

/// Fields of a value that a schema does not have, each with those that it has there.
fn unknown(
    value: &Value,
    schema: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, Vec<String>)>,
) {
    // kind, apiVersion and metadata are of every object.
    let is_root = path.is_empty();
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let others = schema.get("additionalProperties").filter(|others| others.is_object());
            for (key, inner) in map {
                if is_root && matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status") {
                    continue;
                }
                path.push(key.clone());
                match (properties.and_then(|properties| properties.get(key)), others) {
                    (Some(schema), _) | (None, Some(schema)) => unknown(inner, schema, path, found),
                    (None, None) => {
                        if let Some(properties) = properties {
                            found.push((path.clone(), properties.keys().cloned().collect()));
                        }
                    }
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (at, inner) in items.iter().enumerate() {
                path.push(at.to_string());
                unknown(inner, schema, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Providers that a cluster of these manifests needs: the kind's group, a part of its controller's name, the option of clusterctl.
const NEEDED: &[(&str, &str, &str)] = &[
    (CORE, "capi-controller", "--core cluster-api"),
    (BOOTSTRAP, "kubeadm-bootstrap", "--bootstrap kubeadm"),
    (CONTROL_PLANE, "kubeadm-control-plane", "--control-plane kubeadm"),
    (INFRASTRUCTURE, "capmox", "--infrastructure proxmox"),
    (INFRASTRUCTURE, "caip-in-cluster", "--ipam in-cluster"),
];

/// Major and minor version of an image's tag.
fn version(image: &str) -> Option<(u64, u64)> {
    let (_, tag) = image.rsplit_once(":v")?;
    let mut parts = tag.split(['.', '-', '@']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Providers that are not there, or older than the fields of today.
pub(super) fn controllers(subject: &Subject) -> Vec<Finding> {
    /// The first versions that serve v1beta2, and v1alpha2 of Proxmox.
    const SINCE: &[(&str, (u64, u64))] = &[
        ("capi-controller", (1, 11)),
        ("kubeadm-bootstrap", (1, 11)),
        ("kubeadm-control-plane", (1, 11)),
        ("capmox", (0, 8)),
    ];
    let Some(live) = &subject.live else { return Vec::new() };
    let mut findings = Vec::new();
    for (group, part, option) in NEEDED {
        let is_proxmox = *group == INFRASTRUCTURE;
        let is_needed = match is_proxmox {
            true => subject.is_proxmox(),
            false => subject.objects().any(|object| object.group == *group),
        };
        if !is_needed || live.controllers.iter().any(|controller| controller.name.contains(part)) {
            continue;
        }
        findings.push(
            Finding::error(format!(
                "{} has no controller `{part}…`, so that nobody acts on these objects",
                live.server
            ))
            .hint(format!("`clusterctl init {option}`")),
        );
    }
    for controller in &live.controllers {
        for (part, since) in SINCE.iter().filter(|(part, _)| controller.name.contains(part)) {
            let old =
                controller.images.iter().find(|image| version(image).is_some_and(|version| version < *since));
            if let Some(image) = old {
                findings.push(
                    Finding::error(format!(
                        "{}/{} is {image}; {part} of {}.{} or later has today's fields",
                        controller.namespace, controller.name, since.0, since.1
                    ))
                    .hint("`clusterctl upgrade plan`, then `clusterctl upgrade apply`"),
                );
            }
        }
    }
    findings
}

/// Parts of messages of conditions, and the way out.
const MESSAGES: &[(&str, &str)] = &[
    (
        "available memory left",
        "the provider counts all memory that machines on a Proxmox node may have: set `schedulerHints.memoryAdjustment: 0` in the ProxmoxCluster to \
         switch the check off, or a higher percentage than 100, or ask for less `memoryMiB`",
    ),
    (
        "No credentials found",
        "set `credentialsRef` of the ProxmoxCluster, or PROXMOX_URL, PROXMOX_TOKEN and PROXMOX_SECRET for `clusterctl init`",
    ),
    (
        "KubeadmBootstrapFormatIgnition",
        "set EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION=true for `clusterctl init`",
    ),
    (
        "cloud-init",
        "set `checks.skipCloudInitStatus: true` in the ProxmoxMachineTemplate: Flatcar has no cloud-init",
    ),
    (
        "guest agent",
        "switch the agent option of the VM template on (`qm set ID --agent enabled=1`): Flatcar has the agent",
    ),
    ("unable to find", "look at `templateID`, `sourceNode` and tags: `qm list` shows what there is"),
    (
        "no addresses available",
        "make `ipv4Config.addresses` of the ProxmoxCluster larger, or remove claims of machines that are gone",
    ),
];

/// Objects that say what they lack.
pub(super) fn stuck(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Trouble { of, message } in subject.live.iter().flat_map(|live| &live.troubles) {
        let known = MESSAGES.iter().find(|(part, _)| message.to_lowercase().contains(&part.to_lowercase()));
        let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
        findings.push(match known {
            Some((_, way_out)) => Finding::error(format!("{of}: {words}")).hint(*way_out),
            None => Finding::warning(format!("{of}: {words}")),
        });
    }
    findings
}
