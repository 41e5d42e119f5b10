//! Old words against today's fields: one table, by which manifests are moved, and from which the guide's table is made.
//!
//! Read in the conversion code of Cluster API 1.12 (`api/*/v1beta1/conversion.go`) and of its Proxmox provider 0.9
//! (`api/v1alpha1/*conversion.go`). Owns what is where now. Leaves the moving to `convert`.

use std::fmt::Write;

/// A part of a manifest that several kinds have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `Cluster`.
    Cluster,
    /// The machine of `Machine`, and that in the template of `MachineSet`, `MachineDeployment` and `MachinePool`.
    Machine,
    /// `MachineDeployment`.
    Deployment,
    /// `MachineSet`.
    Set,
    /// `MachineHealthCheck`.
    HealthCheck,
    /// `KubeadmControlPlane` and its template.
    ControlPlane,
    /// The kubeadm config of a `KubeadmConfig`, of its template and of a control plane.
    Kubeadm,
    /// `ProxmoxCluster` and its template.
    ProxmoxCluster,
    /// `ProxmoxMachine` and its template.
    ProxmoxMachine,
}

/// Group of Cluster API itself.
pub const CORE: &str = "cluster.x-k8s.io";
/// Group of the kubeadm bootstrap provider.
pub const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
/// Group of the kubeadm control plane provider.
pub const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";
/// Group of infrastructure providers.
pub const INFRASTRUCTURE: &str = super::provider::GROUP;
/// Group of ClusterResourceSet.
pub const ADDONS: &str = "addons.cluster.x-k8s.io";

/// Whether a group is one of Cluster API, of any provider.
pub(super) fn is_ours(group: &str) -> bool {
    group.strip_suffix(CORE).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Kinds, the shapes that they have, and where: `(group, kind, shape, path)`.
pub const SHAPES: &[(&str, &str, Shape, &[&str])] = &[
    (CORE, "Cluster", Shape::Cluster, &["spec"]),
    (CORE, "Machine", Shape::Machine, &["spec"]),
    (CORE, "MachineSet", Shape::Set, &["spec"]),
    (CORE, "MachineSet", Shape::Machine, &["spec", "template", "spec"]),
    (CORE, "MachineDeployment", Shape::Deployment, &["spec"]),
    (CORE, "MachineDeployment", Shape::Machine, &["spec", "template", "spec"]),
    (CORE, "MachinePool", Shape::Machine, &["spec", "template", "spec"]),
    (CORE, "MachineHealthCheck", Shape::HealthCheck, &["spec"]),
    (BOOTSTRAP, "KubeadmConfig", Shape::Kubeadm, &["spec"]),
    (BOOTSTRAP, "KubeadmConfigTemplate", Shape::Kubeadm, &["spec", "template", "spec"]),
    (CONTROL_PLANE, "KubeadmControlPlane", Shape::ControlPlane, &["spec"]),
    (CONTROL_PLANE, "KubeadmControlPlane", Shape::Kubeadm, &["spec", "kubeadmConfigSpec"]),
    (CONTROL_PLANE, "KubeadmControlPlaneTemplate", Shape::ControlPlane, &["spec", "template", "spec"]),
    (
        CONTROL_PLANE,
        "KubeadmControlPlaneTemplate",
        Shape::Kubeadm,
        &["spec", "template", "spec", "kubeadmConfigSpec"],
    ),
    (INFRASTRUCTURE, "ProxmoxCluster", Shape::ProxmoxCluster, &["spec"]),
    (INFRASTRUCTURE, "ProxmoxClusterTemplate", Shape::ProxmoxCluster, &["spec", "template", "spec"]),
    (INFRASTRUCTURE, "ProxmoxMachine", Shape::ProxmoxMachine, &["spec"]),
    (INFRASTRUCTURE, "ProxmoxMachineTemplate", Shape::ProxmoxMachine, &["spec", "template", "spec"]),
];

/// Kinds without a field that moved: `(group, kind)`.
pub const PLAIN: &[(&str, &str)] = &[
    (CORE, "ClusterClass"),
    (CORE, "MachineDrainRule"),
    (ADDONS, "ClusterResourceSet"),
    (ADDONS, "ClusterResourceSetBinding"),
];

/// Versions that are moved, and those of today: `(group, beginning of the kind, old, new)`.
pub const VERSIONS: &[(&str, &str, &str, &str)] = &[
    (CORE, "", "v1beta1", "v1beta2"),
    (BOOTSTRAP, "Kubeadm", "v1beta1", "v1beta2"),
    (CONTROL_PLANE, "Kubeadm", "v1beta1", "v1beta2"),
    (ADDONS, "ClusterResourceSet", "v1beta1", "v1beta2"),
    (INFRASTRUCTURE, "Proxmox", "v1alpha1", "v1alpha2"),
];

/// The way in which a field moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As it is.
    Same,
    /// From Go's `1h30m` to whole seconds.
    Seconds,
    /// From a mapping of names and values to a list of `name` and `value`.
    Arguments,
    /// From a reference with `apiVersion` to one with `apiGroup`, `kind` and `name`.
    Reference,
    /// From one text to a list of it.
    List,
    /// The devices of a machine in one list, each with its name and its pools.
    Network,
    /// Left out: today's API has no such field, and nothing is lost. A warning.
    Gone,
    /// Left out, and with it what it asked for: somebody has to look. An error, except for a value that asks for nothing.
    Told,
}

/// A field that moved.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// Where it is.
    pub shape: Shape,
    /// Its old path, with `*` for each item of a list.
    pub from: &'static str,
    /// Its paths of today; none if there is none.
    pub to: &'static [&'static str],
    /// How it changes.
    pub how: How,
    /// A remark for those who look at the result.
    pub words: &'static str,
}

const fn same(shape: Shape, from: &'static str, to: &'static [&'static str]) -> Move {
    Move { shape, from, to, how: How::Same, words: "" }
}

const fn seconds(shape: Shape, from: &'static str, to: &'static [&'static str]) -> Move {
    Move { shape, from, to, how: How::Seconds, words: "whole seconds" }
}

const fn arguments(shape: Shape, from: &'static str, to: &'static [&'static str]) -> Move {
    Move { shape, from, to, how: How::Arguments, words: "a list of `name` and `value`" }
}

const fn reference(shape: Shape, from: &'static str, to: &'static [&'static str]) -> Move {
    Move {
        shape,
        from,
        to,
        how: How::Reference,
        words: "`apiGroup`, `kind` and `name`: no version, no namespace",
    }
}

const fn gone(shape: Shape, from: &'static str, words: &'static str) -> Move {
    Move { shape, from, to: &[], how: How::Gone, words }
}

const fn told(shape: Shape, from: &'static str, words: &'static str) -> Move {
    Move { shape, from, to: &[], how: How::Told, words }
}

/// All of them, each before those that depend on it.
pub const MOVES: &[Move] = &[
    reference(Shape::Cluster, "infrastructureRef", &["infrastructureRef"]),
    reference(Shape::Cluster, "controlPlaneRef", &["controlPlaneRef"]),
    same(Shape::Cluster, "topology.class", &["topology.classRef.name"]),
    same(Shape::Cluster, "topology.classNamespace", &["topology.classRef.namespace"]),
    gone(Shape::Cluster, "topology.rolloutAfter", "it was never read"),
    seconds(
        Shape::Cluster,
        "topology.controlPlane.nodeDrainTimeout",
        &["topology.controlPlane.deletion.nodeDrainTimeoutSeconds"],
    ),
    seconds(
        Shape::Cluster,
        "topology.controlPlane.nodeVolumeDetachTimeout",
        &["topology.controlPlane.deletion.nodeVolumeDetachTimeoutSeconds"],
    ),
    seconds(
        Shape::Cluster,
        "topology.controlPlane.nodeDeletionTimeout",
        &["topology.controlPlane.deletion.nodeDeletionTimeoutSeconds"],
    ),
    told(
        Shape::Cluster,
        "topology.controlPlane.machineHealthCheck",
        "write it as `healthCheck` (`checks`, `remediation`), or as a MachineHealthCheck of its own",
    ),
    told(
        Shape::Cluster,
        "topology.workers.machineDeployments.*.machineHealthCheck",
        "write it as `healthCheck` (`checks`, `remediation`), or as a MachineHealthCheck of its own",
    ),
    same(
        Shape::Cluster,
        "topology.workers.machineDeployments.*.strategy",
        &["topology.workers.machineDeployments.*.rollout.strategy"],
    ),
    seconds(
        Shape::Cluster,
        "topology.workers.machineDeployments.*.nodeDrainTimeout",
        &["topology.workers.machineDeployments.*.deletion.nodeDrainTimeoutSeconds"],
    ),
    seconds(
        Shape::Cluster,
        "topology.workers.machineDeployments.*.nodeVolumeDetachTimeout",
        &["topology.workers.machineDeployments.*.deletion.nodeVolumeDetachTimeoutSeconds"],
    ),
    seconds(
        Shape::Cluster,
        "topology.workers.machineDeployments.*.nodeDeletionTimeout",
        &["topology.workers.machineDeployments.*.deletion.nodeDeletionTimeoutSeconds"],
    ),
    reference(Shape::Machine, "infrastructureRef", &["infrastructureRef"]),
    reference(Shape::Machine, "bootstrap.configRef", &["bootstrap.configRef"]),
    seconds(Shape::Machine, "nodeDrainTimeout", &["deletion.nodeDrainTimeoutSeconds"]),
    seconds(Shape::Machine, "nodeVolumeDetachTimeout", &["deletion.nodeVolumeDetachTimeoutSeconds"]),
    seconds(Shape::Machine, "nodeDeletionTimeout", &["deletion.nodeDeletionTimeoutSeconds"]),
    same(Shape::Deployment, "strategy.rollingUpdate.deletePolicy", &["deletion.order"]),
    same(Shape::Deployment, "strategy.remediation", &["remediation"]),
    same(Shape::Deployment, "strategy", &["rollout.strategy"]),
    same(Shape::Deployment, "rolloutAfter", &["rollout.after"]),
    same(Shape::Deployment, "machineNamingStrategy", &["machineNaming"]),
    same(Shape::Deployment, "minReadySeconds", &["template.spec.minReadySeconds"]),
    gone(Shape::Deployment, "progressDeadlineSeconds", "it was never read"),
    gone(Shape::Deployment, "revisionHistoryLimit", "Cluster API cleans up itself"),
    same(Shape::Set, "deletePolicy", &["deletion.order"]),
    same(Shape::Set, "machineNamingStrategy", &["machineNaming"]),
    same(Shape::Set, "minReadySeconds", &["template.spec.minReadySeconds"]),
    seconds(Shape::HealthCheck, "unhealthyConditions.*.timeout", &["unhealthyConditions.*.timeoutSeconds"]),
    same(Shape::HealthCheck, "unhealthyConditions", &["checks.unhealthyNodeConditions"]),
    seconds(Shape::HealthCheck, "nodeStartupTimeout", &["checks.nodeStartupTimeoutSeconds"]),
    same(Shape::HealthCheck, "maxUnhealthy", &["remediation.triggerIf.unhealthyLessThanOrEqualTo"]),
    same(Shape::HealthCheck, "unhealthyRange", &["remediation.triggerIf.unhealthyInRange"]),
    same(Shape::HealthCheck, "remediationTemplate", &["remediation.templateRef"]),
    reference(
        Shape::ControlPlane,
        "machineTemplate.infrastructureRef",
        &["machineTemplate.spec.infrastructureRef"],
    ),
    same(Shape::ControlPlane, "machineTemplate.readinessGates", &["machineTemplate.spec.readinessGates"]),
    seconds(
        Shape::ControlPlane,
        "machineTemplate.nodeDrainTimeout",
        &["machineTemplate.spec.deletion.nodeDrainTimeoutSeconds"],
    ),
    seconds(
        Shape::ControlPlane,
        "machineTemplate.nodeVolumeDetachTimeout",
        &["machineTemplate.spec.deletion.nodeVolumeDetachTimeoutSeconds"],
    ),
    seconds(
        Shape::ControlPlane,
        "machineTemplate.nodeDeletionTimeout",
        &["machineTemplate.spec.deletion.nodeDeletionTimeoutSeconds"],
    ),
    reference(
        Shape::ControlPlane,
        "machineTemplate.spec.infrastructureRef",
        &["machineTemplate.spec.infrastructureRef"],
    ),
    same(Shape::ControlPlane, "rolloutBefore", &["rollout.before"]),
    same(Shape::ControlPlane, "rolloutAfter", &["rollout.after"]),
    same(Shape::ControlPlane, "rolloutStrategy", &["rollout.strategy"]),
    same(Shape::ControlPlane, "remediationStrategy.maxRetry", &["remediation.maxRetry"]),
    seconds(Shape::ControlPlane, "remediationStrategy.retryPeriod", &["remediation.retryPeriodSeconds"]),
    seconds(
        Shape::ControlPlane,
        "remediationStrategy.minHealthyPeriod",
        &["remediation.minHealthyPeriodSeconds"],
    ),
    same(Shape::ControlPlane, "machineNamingStrategy", &["machineNaming"]),
    gone(Shape::Kubeadm, "clusterConfiguration.apiVersion", "kubeadm's own version is chosen by Kubernetes'"),
    gone(Shape::Kubeadm, "clusterConfiguration.kind", "it is known"),
    gone(Shape::Kubeadm, "initConfiguration.apiVersion", "kubeadm's own version is chosen by Kubernetes'"),
    gone(Shape::Kubeadm, "initConfiguration.kind", "it is known"),
    gone(Shape::Kubeadm, "joinConfiguration.apiVersion", "kubeadm's own version is chosen by Kubernetes'"),
    gone(Shape::Kubeadm, "joinConfiguration.kind", "it is known"),
    told(
        Shape::Kubeadm,
        "clusterConfiguration.networking",
        "Cluster API takes it from the Cluster: compare `spec.clusterNetwork` there",
    ),
    told(
        Shape::Kubeadm,
        "clusterConfiguration.kubernetesVersion",
        "the `version` of the control plane or machine counts",
    ),
    told(Shape::Kubeadm, "clusterConfiguration.clusterName", "the name of the Cluster counts"),
    arguments(
        Shape::Kubeadm,
        "clusterConfiguration.apiServer.extraArgs",
        &["clusterConfiguration.apiServer.extraArgs"],
    ),
    arguments(
        Shape::Kubeadm,
        "clusterConfiguration.controllerManager.extraArgs",
        &["clusterConfiguration.controllerManager.extraArgs"],
    ),
    arguments(
        Shape::Kubeadm,
        "clusterConfiguration.scheduler.extraArgs",
        &["clusterConfiguration.scheduler.extraArgs"],
    ),
    arguments(
        Shape::Kubeadm,
        "clusterConfiguration.etcd.local.extraArgs",
        &["clusterConfiguration.etcd.local.extraArgs"],
    ),
    arguments(
        Shape::Kubeadm,
        "initConfiguration.nodeRegistration.kubeletExtraArgs",
        &["initConfiguration.nodeRegistration.kubeletExtraArgs"],
    ),
    arguments(
        Shape::Kubeadm,
        "joinConfiguration.nodeRegistration.kubeletExtraArgs",
        &["joinConfiguration.nodeRegistration.kubeletExtraArgs"],
    ),
    seconds(
        Shape::Kubeadm,
        "clusterConfiguration.apiServer.timeoutForControlPlane",
        &[
            "initConfiguration.timeouts.controlPlaneComponentHealthCheckSeconds",
            "joinConfiguration.timeouts.controlPlaneComponentHealthCheckSeconds",
        ],
    ),
    seconds(
        Shape::Kubeadm,
        "joinConfiguration.discovery.timeout",
        &["joinConfiguration.timeouts.tlsBootstrapSeconds"],
    ),
    seconds(
        Shape::Kubeadm,
        "initConfiguration.bootstrapTokens.*.ttl",
        &["initConfiguration.bootstrapTokens.*.ttlSeconds"],
    ),
    gone(Shape::Kubeadm, "useExperimentalRetryJoin", "kubeadm retries itself"),
    told(
        Shape::ProxmoxCluster,
        "cloneSpec",
        "machines are described by ProxmoxMachineTemplate, keys by `users` of the kubeadm config, the interface by kube-vip's manifest",
    ),
    Move {
        shape: Shape::ProxmoxMachine,
        from: "cloudInit",
        to: &[],
        how: How::Told,
        words: "it exists in no version: the format comes from `format: ignition` of the kubeadm config alone",
    },
    Move {
        shape: Shape::ProxmoxMachine,
        from: "target",
        to: &["allowedNodes"],
        how: How::List,
        words: "a list of one node, which counted alone before, too",
    },
    told(
        Shape::ProxmoxMachine,
        "network.default.dhcp4",
        "the provider asks no DHCP server: addresses come from `ipv4Config` of the ProxmoxCluster, or from the pools in `ipPoolRef`",
    ),
    told(
        Shape::ProxmoxMachine,
        "network.default.dhcp6",
        "the provider asks no DHCP server: addresses come from `ipv6Config` of the ProxmoxCluster, or from the pools in `ipPoolRef`",
    ),
    told(
        Shape::ProxmoxMachine,
        "network.additionalDevices.*.dhcp4",
        "the provider asks no DHCP server: addresses come from `ipv4Config` of the ProxmoxCluster, or from the pools in `ipPoolRef`",
    ),
    told(
        Shape::ProxmoxMachine,
        "network.additionalDevices.*.dhcp6",
        "the provider asks no DHCP server: addresses come from `ipv6Config` of the ProxmoxCluster, or from the pools in `ipPoolRef`",
    ),
    Move {
        shape: Shape::ProxmoxMachine,
        from: "network.default",
        to: &["network.networkDevices"],
        how: How::Network,
        words: "the device `net0` with `defaultIPv4` and `defaultIPv6`; `ipv4PoolRef` and `ipv6PoolRef` become items of `ipPoolRef`",
    },
    Move {
        shape: Shape::ProxmoxMachine,
        from: "network.additionalDevices",
        to: &["network.networkDevices"],
        how: How::Network,
        words: "devices with their `name`, behind `net0`",
    },
    told(
        Shape::ProxmoxMachine,
        "network.networkDevices.*.dhcp4",
        "the provider asks no DHCP server: addresses come from `ipv4Config` of the ProxmoxCluster, or from the pools in `ipPoolRef`",
    ),
    told(
        Shape::ProxmoxMachine,
        "network.networkDevices.*.dhcp6",
        "the provider asks no DHCP server: addresses come from `ipv6Config` of the ProxmoxCluster, or from the pools in `ipPoolRef`",
    ),
];

/// Fields of today of a part that people write by hand, against slips and fields of other versions: `(shape, path, fields)`.
pub const FIELDS: &[(Shape, &str, &[&str])] = &[
    (
        Shape::ProxmoxMachine,
        "",
        &[
            "sourceNode",
            "templateID",
            "templateSelector",
            "description",
            "format",
            "full",
            "pool",
            "snapName",
            "storage",
            "providerID",
            "virtualMachineID",
            "numSockets",
            "numCores",
            "memoryMiB",
            "disks",
            "network",
            "vmIDRange",
            "checks",
            "metadataSettings",
            "allowedNodes",
            "tags",
        ],
    ),
    (Shape::ProxmoxMachine, "network", &["zone", "networkDevices", "vrfs"]),
    (
        Shape::ProxmoxMachine,
        "network.networkDevices.*",
        &[
            "bridge",
            "defaultIPv4",
            "defaultIPv6",
            "model",
            "mtu",
            "vlan",
            "queues",
            "name",
            "ipPoolRef",
            "dnsServers",
            "routes",
            "routingPolicy",
            "linkMtu",
        ],
    ),
    (Shape::ProxmoxMachine, "templateSelector", &["matchTags", "matchPolicy"]),
    (Shape::ProxmoxMachine, "vmIDRange", &["start", "end"]),
    (Shape::ProxmoxMachine, "checks", &["skipCloudInitStatus", "skipQemuGuestAgent"]),
    (
        Shape::ProxmoxCluster,
        "",
        &[
            "controlPlaneEndpoint",
            "externalManagedControlPlane",
            "allowedNodes",
            "schedulerHints",
            "ipv4Config",
            "ipv6Config",
            "dnsServers",
            "zoneConfig",
            "credentialsRef",
        ],
    ),
    (Shape::ProxmoxCluster, "ipv4Config", &["addresses", "prefix", "gateway", "metric"]),
    (Shape::ProxmoxCluster, "ipv6Config", &["addresses", "prefix", "gateway", "metric"]),
    (Shape::ProxmoxCluster, "schedulerHints", &["memoryAdjustment"]),
    (
        Shape::Kubeadm,
        "",
        &[
            "clusterConfiguration",
            "initConfiguration",
            "joinConfiguration",
            "files",
            "diskSetup",
            "mounts",
            "bootCommands",
            "preKubeadmCommands",
            "postKubeadmCommands",
            "users",
            "ntp",
            "format",
            "verbosity",
            "ignition",
        ],
    ),
    (
        Shape::ControlPlane,
        "",
        &[
            "replicas",
            "version",
            "machineTemplate",
            "kubeadmConfigSpec",
            "rollout",
            "remediation",
            "machineNaming",
        ],
    ),
];

/// The name of a shape in tables.
fn name(shape: Shape) -> &'static str {
    match shape {
        Shape::Cluster => "Cluster",
        Shape::Machine => "Machine, and each template of one",
        Shape::Deployment => "MachineDeployment",
        Shape::Set => "MachineSet",
        Shape::HealthCheck => "MachineHealthCheck",
        Shape::ControlPlane => "KubeadmControlPlane",
        Shape::Kubeadm => "KubeadmConfig, KubeadmConfigTemplate, `kubeadmConfigSpec`",
        Shape::ProxmoxCluster => "ProxmoxCluster",
        Shape::ProxmoxMachine => "ProxmoxMachine, ProxmoxMachineTemplate",
    }
}

/// The table of the guide, in Markdown.
pub fn markdown() -> String {
    let mut text = String::from("| where | old | today | |\n|---|---|---|---|\n");
    let mut last = None;
    for Move { shape, from, to, words, .. } in MOVES {
        // A row about a field that only changes its form under today's name twice would be one too many.
        let shown = if last == Some(*shape) { "" } else { name(*shape) };
        last = Some(*shape);
        let to = match to {
            [] => "none".to_owned(),
            _ => to.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "),
        };
        let _ = writeln!(text, "| {shown} | `{from}` | {to} | {words} |");
    }
    text
}
