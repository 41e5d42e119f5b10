//! From Kubernetes' objects to the words of this program. Pure.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::change::{Kind, Node, Pod, Rollout, Versions, Workload};

/// The name under which prebake owns the fields that it applies.
pub(super) const MANAGER: &str = "prebake";
/// Labels of roles begin with it.
const ROLE: &str = "node-role.kubernetes.io/";

impl From<core::Node> for Node {
    fn from(node: core::Node) -> Node {
        let status = node.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |name: &str| conditions.iter().find(|condition| condition.type_ == name);
        let words = |condition: &core::NodeCondition| {
            sentence(condition.reason.as_deref(), condition.message.as_deref())
        };
        // Some network plugins (Calico, flannel, cloud controllers) say when a node's network is there; the kubelet is Ready as soon
        // as a CNI configuration lies on its disk (flannel-io/flannel#1989).
        let cut_off = condition("NetworkUnavailable").filter(|condition| condition.status != "False");
        let why = match condition("Ready") {
            Some(ready) if ready.status == "True" => {
                cut_off.map(|condition| format!("its network is unavailable ({})", words(condition)))
            }
            Some(ready) if ready.status == "Unknown" => {
                Some(format!("its kubelet is silent ({})", words(ready)))
            }
            Some(ready) => Some(words(ready)),
            None => Some("its kubelet has not reported yet".into()),
        };
        let labels = node.metadata.labels.unwrap_or_default();
        let roles =
            labels.keys().filter_map(|label| label.strip_prefix(ROLE)).filter(|role| !role.is_empty());
        let info = status.node_info.unwrap_or_default();
        let addresses = status.addresses.unwrap_or_default().into_iter();
        Node {
            name: node.metadata.name.unwrap_or_default(),
            ready: why.is_none(),
            why,
            roles: roles.map(str::to_owned).collect(),
            schedulable: !node.spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
            versions: Versions {
                kubelet: info.kubelet_version,
                runtime: info.container_runtime_version,
                os: info.os_image,
                kernel: info.kernel_version,
            },
            addresses: addresses
                .filter(|address| address.type_ == "InternalIP")
                .map(|address| address.address)
                .collect(),
            since: node.metadata.creation_timestamp.map(|time| time.0.to_string()),
        }
    }
}

impl From<core::Pod> for Pod {
    fn from(pod: core::Pod) -> Pod {
        let status = pod.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |name: &str| conditions.iter().find(|condition| condition.type_ == name);
        let is_ready = condition("Ready").is_some_and(|condition| condition.status == "True");
        let has_ended = status.phase.as_deref() == Some("Succeeded");
        let containers: Vec<core::ContainerStatus> =
            status.init_container_statuses.into_iter().chain(status.container_statuses).flatten().collect();
        let ready = is_ready || has_ended;
        let why = (!ready).then(|| {
            let of_containers = containers.iter().find_map(trouble);
            let unscheduled = condition("PodScheduled")
                .filter(|condition| condition.status != "True")
                .map(|condition| sentence(condition.reason.as_deref(), condition.message.as_deref()));
            let own =
                status.reason.as_deref().map(|reason| sentence(Some(reason), status.message.as_deref()));
            let waiting = containers
                .iter()
                .filter(|container| !container.ready)
                .map(|container| container.name.clone());
            let waiting: Vec<String> = waiting.collect();
            let phase = || match waiting.is_empty() {
                true => status.phase.clone().unwrap_or_else(|| "Pending".into()),
                false => format!("not ready yet: {}", waiting.join(", ")),
            };
            of_containers.or(unscheduled).or(own).unwrap_or_else(phase)
        });
        let labels = pod.metadata.labels.unwrap_or_default();
        let is_control_plane = labels.get("tier").is_some_and(|tier| tier == "control-plane");
        Pod {
            name: pod.metadata.name.unwrap_or_default(),
            node: pod.spec.and_then(|spec| spec.node_name),
            component: labels.get("component").filter(|_| is_control_plane).cloned(),
            ready,
            why,
            restarts: containers.iter().map(|container| container.restart_count.max(0) as u32).sum(),
        }
    }
}

/// Why a container does not run, if it says more than that it is being made.
fn trouble(container: &core::ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting
            .reason
            .as_deref()
            .filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"))?;
        return Some(format!("{}: {}", container.name, sentence(Some(reason), waiting.message.as_deref())));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let reason = ended.reason.as_deref().unwrap_or("ended");
    Some(format!("{}: {reason} with {}", container.name, ended.exit_code))
}

/// `Reason: message` on one line, of what is there.
fn sentence(reason: Option<&str>, message: Option<&str>) -> String {
    let message = message.map(|message| message.split_whitespace().collect::<Vec<_>>().join(" "));
    match (reason.filter(|reason| !reason.is_empty()), message.filter(|message| !message.is_empty())) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(reason), None) => reason.to_owned(),
        (None, message) => message.unwrap_or_else(|| "no reason given".into()),
    }
}

/// The numbers that a rollout is judged by.
#[derive(Default)]
struct Count {
    /// Whether its controller has seen its newest form.
    seen: bool,
    wanted: i32,
    updated: i32,
    available: i32,
    /// Pods of earlier forms that still run.
    old: i32,
}

/// As `kubectl rollout status` judges it (kubectl/pkg/polymorphichelpers/rollout_status.go).
fn rolled_out(kind: Kind, metadata: ObjectMeta, count: &Count, trouble: Option<String>) -> Workload {
    let Count { seen, wanted, updated, available, old } = *count;
    let why = match () {
        () if !seen => Some("its controller has not seen it yet".to_owned()),
        () if updated < wanted => Some(format!("{updated} of {wanted} pods are of its newest form")),
        () if old > 0 => Some(format!("{old} pods of its earlier form still run")),
        () if available < wanted => Some(format!("{available} of {wanted} pods are available")),
        () => None,
    };
    let state = if why.is_none() { Rollout::Done } else { Rollout::Underway };
    let why = why.map(|why| trouble.map_or(why.clone(), |trouble| format!("{why}; {trouble}")));
    workload(kind, metadata, state, (available, wanted), why)
}

fn workload(
    kind: Kind,
    metadata: ObjectMeta,
    state: Rollout,
    (available, wanted): (i32, i32),
    why: Option<String>,
) -> Workload {
    let ours =
        metadata.managed_fields.iter().flatten().any(|entry| entry.manager.as_deref() == Some(MANAGER));
    Workload {
        kind,
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        state,
        available: available.max(0) as u32,
        wanted: wanted.max(0) as u32,
        why,
        ours,
    }
}

fn is_seen(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed.unwrap_or_default() >= metadata.generation.unwrap_or_default()
}

impl From<Deployment> for Workload {
    fn from(deployment: Deployment) -> Workload {
        let status = deployment.status.unwrap_or_default();
        let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let updated = status.updated_replicas.unwrap_or_default();
        let count = Count {
            seen: is_seen(&deployment.metadata, status.observed_generation),
            wanted,
            updated,
            available: status.available_replicas.unwrap_or_default(),
            old: status.replicas.unwrap_or_default() - updated,
        };
        let late = status.conditions.iter().flatten().find(|condition| {
            condition.type_ == "Progressing"
                && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
                || condition.type_ == "ReplicaFailure" && condition.status == "True"
        });
        let trouble =
            late.map(|condition| sentence(condition.reason.as_deref(), condition.message.as_deref()));
        rolled_out(Kind::Deployment, deployment.metadata, &count, trouble)
    }
}

impl From<DaemonSet> for Workload {
    fn from(set: DaemonSet) -> Workload {
        let status = set.status.unwrap_or_default();
        let wanted = status.desired_number_scheduled;
        let strategy = set.spec.and_then(|spec| spec.update_strategy).and_then(|strategy| strategy.type_);
        // A person replaces the pods of `OnDelete`; nothing is awaited that does not come by itself.
        let by_hand = strategy.as_deref() == Some("OnDelete");
        let count = Count {
            seen: is_seen(&set.metadata, status.observed_generation),
            wanted,
            updated: if by_hand { wanted } else { status.updated_number_scheduled.unwrap_or_default() },
            available: status.number_available.unwrap_or_default(),
            old: 0,
        };
        rolled_out(Kind::DaemonSet, set.metadata, &count, None)
    }
}

impl From<StatefulSet> for Workload {
    fn from(set: StatefulSet) -> Workload {
        let status = set.status.unwrap_or_default();
        let spec = set.spec.unwrap_or_default();
        let wanted = spec.replicas.unwrap_or(1);
        let strategy = spec.update_strategy.unwrap_or_default();
        let by_hand = strategy.type_.as_deref() == Some("OnDelete");
        let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or_default();
        let is_whole = status.update_revision == status.current_revision || by_hand;
        let count = Count {
            seen: is_seen(&set.metadata, status.observed_generation),
            wanted,
            updated: match is_whole {
                true => wanted,
                // Pods below the partition stay as they are.
                false => status.updated_replicas.unwrap_or_default() + partition.clamp(0, wanted),
            },
            available: status.ready_replicas.unwrap_or_default(),
            old: 0,
        };
        rolled_out(Kind::StatefulSet, set.metadata, &count, None)
    }
}

/// A Job; `None` for one that a CronJob makes again and again, which is no step of an installation.
pub(super) fn job(job: Job) -> Option<Workload> {
    if job.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "CronJob") {
        return None;
    }
    let status = job.status.unwrap_or_default();
    let spec = job.spec.unwrap_or_default();
    let wanted = spec.completions.or(spec.parallelism).unwrap_or(1);
    let succeeded = status.succeeded.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |name: &str| {
        conditions.iter().find(|condition| condition.type_ == name && condition.status == "True")
    };
    let (state, why) = match (condition("Complete"), condition("Failed")) {
        (Some(_), _) => (Rollout::Done, None),
        (_, Some(failed)) => {
            (Rollout::Failed, Some(sentence(failed.reason.as_deref(), failed.message.as_deref())))
        }
        // A Job that somebody suspended is not to be awaited.
        _ if spec.suspend == Some(true) => (Rollout::Done, None),
        _ => (Rollout::Underway, Some(format!("{succeeded} of {wanted} pods have succeeded"))),
    };
    Some(workload(Kind::Job, job.metadata, state, (succeeded, wanted), why))
}
