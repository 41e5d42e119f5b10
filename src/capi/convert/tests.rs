use super::*;
use crate::base::finding::Severity;

fn of(text: &str) -> Converted {
    convert(&Source::new("old.yaml", text)).unwrap_or_else(|findings| panic!("{findings}"))
}

/// The seed's time: Cluster API v1beta1, the Proxmox provider's v1alpha1.
const OLD: &str = r#"# The cluster.
apiVersion: cluster.x-k8s.io/v1beta1
kind: Cluster
metadata:
  name: "${CLUSTER_NAME}" # filled in
spec:
  clusterNetwork:
    pods:
      cidrBlocks: ["192.168.0.0/16"]
  # Where it runs.
  infrastructureRef:
    apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1
    kind: ProxmoxCluster
    name: "${CLUSTER_NAME}"
  controlPlaneRef: {kind: KubeadmControlPlane, apiVersion: controlplane.cluster.x-k8s.io/v1beta1, name: "${CLUSTER_NAME}-control-plane"}
---
kind: KubeadmControlPlane
apiVersion: controlplane.cluster.x-k8s.io/v1beta1
metadata:
  name: "${CLUSTER_NAME}-control-plane"
spec:
  replicas: ${CONTROL_PLANE_MACHINE_COUNT}
  machineTemplate:
    # The template's kind.
    infrastructureRef:
      kind: ProxmoxMachineTemplate
      apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1
      name: "${CLUSTER_NAME}-control-plane"
    nodeDrainTimeout: 1m30s
  rolloutStrategy:
    type: RollingUpdate
    # One after the other.
    rollingUpdate:
      maxSurge: 0
  kubeadmConfigSpec:
    format: ignition
    users:
    - name: core
      sshAuthorizedKeys: [${VM_SSH_KEYS}]
    files:
    - path: /etc/motd
      content: |
        # not a comment
        kubeletExtraArgs: x
    clusterConfiguration:
      apiServer:
        timeoutForControlPlane: 20m0s
        extraArgs:
          # The audit log.
          audit-log-path: /var/log/audit.log
    initConfiguration:
      nodeRegistration:
        kubeletExtraArgs:
          provider-id: "proxmox://'{{ ds.meta_data.instance_id }}'"
    joinConfiguration:
      nodeRegistration:
        kubeletExtraArgs:
          provider-id: "proxmox://$${ID}"
  version: "${KUBERNETES_VERSION}"
---
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1
kind: ProxmoxMachineTemplate
metadata:
  name: "${CLUSTER_NAME}-worker"
spec:
  template:
    spec:
      cloudInit:
        format: ignition
      templateID: ${TEMPLATE_VMID} # 211
      target: pve2
      network:
        default:
          bridge: ${BRIDGE}
          model: virtio
          ipv4PoolRef:
            apiGroup: ipam.cluster.x-k8s.io
            kind: InClusterIPPool
            name: pool
        additionalDevices:
        - name: net1
          bridge: vmbr1
          dhcp4: true
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
data: {infrastructureRef: "x"}
"#;

const NEW: &str = r#"# The cluster.
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata:
  name: "${CLUSTER_NAME}" # filled in
spec:
  clusterNetwork:
    pods:
      cidrBlocks: ["192.168.0.0/16"]
  # Where it runs.
  infrastructureRef:
    apiGroup: infrastructure.cluster.x-k8s.io
    kind: ProxmoxCluster
    name: "${CLUSTER_NAME}"
  controlPlaneRef: {kind: KubeadmControlPlane, apiGroup: controlplane.cluster.x-k8s.io, name: "${CLUSTER_NAME}-control-plane"}
---
kind: KubeadmControlPlane
apiVersion: controlplane.cluster.x-k8s.io/v1beta2
metadata:
  name: "${CLUSTER_NAME}-control-plane"
spec:
  replicas: ${CONTROL_PLANE_MACHINE_COUNT}
  machineTemplate:
    # The template's kind.
    spec:
      infrastructureRef:
        kind: ProxmoxMachineTemplate
        apiGroup: infrastructure.cluster.x-k8s.io
        name: "${CLUSTER_NAME}-control-plane"
      deletion:
        nodeDrainTimeoutSeconds: 90
  rollout:
    strategy:
      type: RollingUpdate
      rollingUpdate:
        maxSurge: 0
  kubeadmConfigSpec:
    format: ignition
    users:
    - name: core
      sshAuthorizedKeys: [${VM_SSH_KEYS}]
    files:
    - path: /etc/motd
      content: |
        # not a comment
        kubeletExtraArgs: x
    clusterConfiguration:
      apiServer:
        extraArgs:
          # The audit log.
          - name: audit-log-path
            value: /var/log/audit.log
    initConfiguration:
      nodeRegistration:
        kubeletExtraArgs:
          - name: provider-id
            value: "proxmox://'{{ ds.meta_data.instance_id }}'"
      timeouts:
        controlPlaneComponentHealthCheckSeconds: 1200
    joinConfiguration:
      nodeRegistration:
        kubeletExtraArgs:
          - name: provider-id
            value: "proxmox://$${ID}"
      timeouts:
        controlPlaneComponentHealthCheckSeconds: 1200
  version: "${KUBERNETES_VERSION}"
---
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha2
kind: ProxmoxMachineTemplate
metadata:
  name: "${CLUSTER_NAME}-worker"
spec:
  template:
    spec:
      templateID: ${TEMPLATE_VMID} # 211
      allowedNodes:
        - pve2
      network:
        networkDevices:
          - name: net0
            defaultIPv4: true
            defaultIPv6: true
            bridge: ${BRIDGE}
            model: virtio
            ipPoolRef:
              - apiGroup: ipam.cluster.x-k8s.io
                kind: InClusterIPPool
                name: pool
          - name: net1
            bridge: vmbr1
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
data: {infrastructureRef: "x"}
"#;

#[test]
fn manifests_of_the_seeds_time_become_todays_and_comments_stay_where_their_lines_do() {
    let Converted { text, findings, changed } = of(OLD);
    assert_eq!(text, NEW, "{text}");
    assert_eq!(changed.len(), 3);
    let told: Vec<(usize, String)> = findings
        .iter()
        .map(|finding| (finding.place.as_ref().unwrap().line, finding.message.clone()))
        .collect();
    let lines: Vec<usize> = told.iter().map(|(line, _)| *line).collect();
    assert!(
        told.iter().any(|(_, why)| why.contains("the comment `One after the other.` is left out")),
        "{told:?}"
    );
    assert!(told.iter().any(|(_, why)| why.contains("cloudInit` is left out")), "{told:?}");
    assert!(told.iter().any(|(_, why)| why.contains("dhcp4` is left out")), "{told:?}");
    assert!(lines.is_sorted(), "{told:?}");
    let errors: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.message.as_str())
        .collect();
    let [cloud, dhcp] = &errors[..] else { panic!("{errors:?}") };
    assert!(cloud.contains("cloudInit") && dhcp.contains("additionalDevices.0.dhcp4"), "{errors:?}");
}

#[test]
fn todays_manifests_come_out_as_they_are_and_so_does_what_came_out() {
    let Converted { text, findings, changed } = of(NEW);
    assert_eq!(text, NEW);
    assert!(findings.is_empty() && changed.is_empty(), "{findings:?}");
    // Without an end of its last line, with Windows' ends of lines.
    for text in [NEW.trim_end(), &NEW.replace('\n', "\r\n")] {
        assert_eq!(of(text).text, text);
    }
}

/// The new text means the new value, however the old one was written.
#[test]
fn every_spelling_of_an_old_manifest_is_moved_to_the_same_objects() {
    let expected: Vec<serde_json::Value> = objects(&of(OLD).text);
    let flowing = |text: &str| {
        objects(text).iter().map(|object| format!("{object}\n")).collect::<Vec<_>>().join("---\n")
    };
    let json = of(&flowing(OLD)).text;
    assert_eq!(objects(&json), expected, "{json}");
    let indented = OLD.replace(
        "    - name: core\n      sshAuthorizedKeys",
        "    -   name: core\n        sshAuthorizedKeys",
    );
    assert_eq!(objects(&of(&indented).text), expected);
}

fn objects(text: &str) -> Vec<serde_json::Value> {
    let manifest =
        Manifest::read(&Source::new("x.yaml", text)).unwrap_or_else(|findings| panic!("{findings}\n{text}"));
    manifest.objects.into_iter().map(|object| object.value).collect()
}

#[test]
fn what_cannot_be_moved_is_told_with_its_place_and_stays() {
    for (text, line, named) in [
        (
            "apiVersion: cluster.x-k8s.io/v1beta1\nkind: ClusterClass\nmetadata: {name: a}\n",
            1,
            "ClusterClass a is left as it is",
        ),
        (
            "apiVersion: cluster.x-k8s.io/v1alpha4\nkind: Cluster\nmetadata: {name: a}\n",
            1,
            "has version v1alpha4",
        ),
        (
            "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Machine\nmetadata: {name: a}\nspec:\n  nodeDrainTimeout: ${D}\n",
            5,
            "is a variable",
        ),
        (
            "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Machine\nmetadata: {name: a}\nspec:\n  nodeDrainTimeout: soon\n",
            5,
            "`soon` is no duration",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: cluster.x-k8s.io/v1beta1\n  kind: Cluster\n  metadata: {name: a}\n",
            4,
            "stands in a list",
        ),
        (
            "apiVersion: infrastructure.cluster.x-k8s.io/v1alpha2\nkind: ProxmoxMachine\nmetadata: {name: a}\nspec:\n  memory: 1\n",
            5,
            "`spec.memory` is no field",
        ),
        (
            "apiVersion: controlplane.cluster.x-k8s.io/v1beta1\nkind: KubeadmControlPlane\nmetadata: {name: a}\nspec:\n  rolloutAfter: x\n  rollout:\n    after: y\n",
            5,
            "is there, too",
        ),
    ] {
        let converted = of(text);
        let found = converted.findings.iter().find(|finding| finding.message.contains(named));
        let found = found.unwrap_or_else(|| panic!("{named}: {:?}", converted.findings));
        assert_eq!((found.severity, found.place.as_ref().unwrap().line), (Severity::Error, line), "{named}");
        assert!(found.hint.is_some(), "{named}");
    }
}

/// The provider's own converter, which judges the other kinds (tests/it/capi), leaves this one alone.
#[test]
fn a_health_check_is_moved_as_cluster_apis_own_conversion_moves_it() {
    let old = "apiVersion: cluster.x-k8s.io/v1beta1\nkind: MachineHealthCheck\nmetadata:\n  name: health\nspec:\n  clusterName: prod\n  maxUnhealthy: 40%\n  nodeStartupTimeout: 10m\n  selector:\n    matchLabels: {a: b}\n  unhealthyConditions:\n  - type: Ready\n    status: Unknown\n    timeout: 300s\n  - type: Ready\n    status: \"False\"\n    timeout: 5m0s\n";
    let expected = serde_json::json!([{
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck", "metadata": {"name": "health"},
        "spec": {
            "clusterName": "prod", "selector": {"matchLabels": {"a": "b"}},
            "remediation": {"triggerIf": {"unhealthyLessThanOrEqualTo": "40%"}},
            "checks": {
                "nodeStartupTimeoutSeconds": 600,
                "unhealthyNodeConditions": [
                    {"type": "Ready", "status": "Unknown", "timeoutSeconds": 300},
                    {"type": "Ready", "status": "False", "timeoutSeconds": 300},
                ],
            },
        },
    }]);
    let new = of(old).text;
    assert_eq!(serde_json::Value::Array(objects(&new)), expected, "{new}");
}

/// A part that is replaced may have an anchor for others.
#[test]
fn a_text_that_cannot_be_changed_in_parts_is_written_anew_and_says_so() {
    let old = "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Machine\nmetadata: {name: a}\nspec:\n  # Here.\n  infrastructureRef: &r\n    \
        apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1\n    kind: ProxmoxMachine\n    name: a\n  bootstrap:\n    configRef: *r\n";
    let Converted { text, findings, .. } = of(old);
    let [machine] = &objects(&text)[..] else { panic!("{text}") };
    let reference = serde_json::json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "ProxmoxMachine", "name": "a"});
    assert_eq!(
        machine["spec"],
        serde_json::json!({"infrastructureRef": reference, "bootstrap": {"configRef": reference}}),
        "{text}"
    );
    assert_eq!(of(&text).text, text);
    assert!(
        text.contains("# Here.") || findings.iter().any(|finding| finding.message.contains("written anew")),
        "{text}"
    );
}

/// Messages of one severity, with their lines.
fn told(converted: &Converted, severity: Severity) -> Vec<(usize, String)> {
    converted
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .map(|finding| (finding.place.as_ref().unwrap().line, finding.message.clone()))
        .collect()
}

/// A machine with this text behind `spec:`.
fn machine(spec: &str) -> String {
    format!("apiVersion: cluster.x-k8s.io/v1beta1\nkind: Machine\nmetadata: {{name: b}}\nspec:{spec}")
}

/// A machine template with these fields, from line 6 on.
fn template(fields: &str) -> String {
    format!(
        "apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1\nkind: ProxmoxMachineTemplate\nmetadata: {{name: w}}\n\
         spec:\n  template:\n    spec: {fields}\n"
    )
}

#[test]
fn a_text_without_an_object_of_cluster_api_is_refused() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    for text in ["", "# nothing\n", "---\n---\n", other] {
        let findings = convert(&Source::new("old.yaml", text)).err().unwrap_or_else(|| panic!("{text:?}"));
        assert!(findings.to_string().contains("old.yaml has no object of Cluster API"), "{findings}");
    }
    let pool = "apiVersion: ipam.cluster.x-k8s.io/v1alpha2\nkind: InClusterIPPool\nmetadata: {name: a}\n";
    assert_eq!(of(pool).text, pool);
}

#[test]
fn what_is_lost_is_an_error_and_what_never_counted_a_warning() {
    let lost = |text: &str, field: &str, line: usize, severity: Severity| {
        let converted = of(text);
        let found = told(&converted, severity);
        assert!(
            found.iter().any(|(at, why)| *at == line && why.contains(field) && why.contains("is left out")),
            "{field}: {:?}",
            converted.findings
        );
        assert!(!converted.text.contains(field.trim_matches('`')), "{}", converted.text);
    };
    lost(&template("{cloudInit: {format: ignition}}"), "cloudInit`", 6, Severity::Error);
    lost(&template("{network: {default: {bridge: a, dhcp4: true}}}"), "dhcp4`", 6, Severity::Error);
    lost(&template("{network: {default: {bridge: a, dhcp4: false}}}"), "dhcp4`", 6, Severity::Warning);
    let cluster = "apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1\nkind: ProxmoxCluster\nmetadata: {name: w}\n\
        spec:\n  cloneSpec: {sshAuthorizedKeys: [a]}\n";
    lost(cluster, "cloneSpec`", 5, Severity::Error);
    let core = |kind: &str, field: &str| {
        format!(
            "apiVersion: cluster.x-k8s.io/v1beta1\nkind: {kind}\nmetadata: {{name: w}}\nspec:\n  paused: true\n  {field}\n"
        )
    };
    lost(
        &core("MachineDeployment", "progressDeadlineSeconds: 600"),
        "progressDeadlineSeconds`",
        6,
        Severity::Warning,
    );
    lost(
        &core("MachineDeployment", "revisionHistoryLimit: 3"),
        "revisionHistoryLimit`",
        6,
        Severity::Warning,
    );
    lost(&core("Cluster", "topology: {rolloutAfter: x}"), "topology.rolloutAfter`", 6, Severity::Warning);
    lost(
        &core("Cluster", "topology: {controlPlane: {machineHealthCheck: {maxUnhealthy: 40%}}}"),
        "machineHealthCheck`",
        6,
        Severity::Error,
    );
    let config = "apiVersion: bootstrap.cluster.x-k8s.io/v1beta1\nkind: KubeadmConfig\nmetadata: {name: s}\nspec:\n  \
        format: ignition\n  useExperimentalRetryJoin: true\n";
    lost(config, "useExperimentalRetryJoin`", 6, Severity::Warning);
}

/// Each comment is in the new text, or a warning with its line says that it is not.
#[test]
fn a_comment_stays_or_is_told() {
    let text = machine(" &spec\n  # keep me\n  clusterName: prod # and me\n  nodeDrainTimeout: 5m\n");
    let converted = of(&text);
    assert!(
        converted.text.contains("spec: &spec\n  # keep me\n  clusterName: prod # and me\n  deletion:\n"),
        "{}",
        converted.text
    );
    assert!(converted.findings.is_empty(), "{:?}", converted.findings);
    let reference = "apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1";
    let spec =
        format!("\n  infrastructureRef: {{kind: X, # why\n    {reference}, name: \"b # no\"}} # behind\n");
    let converted = of(&machine(&spec));
    let lost = told(&converted, Severity::Warning);
    let [(5, why)] = &lost[..] else { panic!("{lost:?}\n{}", converted.text) };
    assert!(why.contains("the comment `why` is left out"), "{why}");
    assert!(converted.text.contains("name: \"b # no\"} # behind\n") || converted.text.contains("# behind"));
    let converted = of(&template("\n      network:\n        default: {bridge: vmbr0} # c13"));
    assert!(
        converted.text.contains("# c13")
            || told(&converted, Severity::Warning).iter().any(|(at, why)| *at == 8 && why.contains("`c13`")),
        "{:?}\n{}",
        converted.findings,
        converted.text
    );
    // A `#` inside of a text begins no comment.
    let spec = "\n  nodeDrainTimeout: 5m\n  a: \"x\n    # no\"\n  b: |\n    # no\n    c # no\n  d: e#no\n";
    let converted = of(&machine(spec));
    assert!(converted.findings.is_empty(), "{:?}", converted.findings);
}

/// `on` and `n` are names for readers of YAML 1.1 that mean a truth; they stay as they are written.
#[test]
fn names_stay_as_they_are_written() {
    let converted = of(&machine("\n  on: yes\n  0x10: a # c\n  nodeDrainTimeout: 5m\n"));
    assert!(converted.text.contains("\n  on: yes\n  0x10: a # c\n"), "{}", converted.text);
}

#[test]
fn unknown_kinds_and_versions_are_left_alone_and_told() {
    for (kind, named) in [("${KIND}", "nobody knows its kind"), ("MachineFoo", "has no kind MachineFoo")] {
        let text =
            machine("\n  nodeDrainTimeout: 5m\n").replace("kind: Machine\n", &format!("kind: {kind}\n"));
        let converted = of(&text);
        assert_eq!(converted.text, text);
        let errors = told(&converted, Severity::Error);
        assert!(errors.iter().any(|(line, why)| *line == 2 && why.contains(named)), "{errors:?}");
    }
    for api in ["${API}", "cluster.x-k8s.io/${V}"] {
        let text = machine("\n  nodeDrainTimeout: 5m\n").replace("cluster.x-k8s.io/v1beta1", api);
        let converted = of(&text);
        assert_eq!(converted.text, text);
        let errors = told(&converted, Severity::Error);
        assert!(errors.iter().any(|(line, why)| *line == 1 && why.contains("its version")), "{errors:?}");
    }
    let rule = "apiVersion: cluster.x-k8s.io/v1beta1\nkind: MachineDrainRule\nmetadata: {name: a}\n";
    assert_eq!(of(rule).text, rule.replace("v1beta1", "v1beta2"));
}

#[test]
fn new_lines_end_as_the_files_own_do() {
    let text = OLD.replace('\n', "\r\n");
    assert_eq!(of(&text).text, NEW.replace('\n', "\r\n"));
}

#[test]
fn durations_that_are_no_whole_seconds_are_told() {
    for (old, new, is_exact) in [
        ("10m30.5s", 630, false),
        ("500ms", 1, false),
        ("1ns", 1, false),
        ("1h1.5s", 3601, false),
        ("1000ms", 1, true),
        ("0.1s900ms", 1, true),
        (".5m", 30, true),
        ("0s", 0, true),
    ] {
        let converted = of(&machine(&format!("\n  nodeDrainTimeout: {old}\n")));
        assert!(converted.text.contains(&format!("nodeDrainTimeoutSeconds: {new}\n")), "{}", converted.text);
        let rounded = told(&converted, Severity::Warning);
        assert_eq!(rounded.len(), usize::from(!is_exact), "{rounded:?}");
        assert!(is_exact || (rounded[0].0 == 5 && rounded[0].1.contains("is rounded to")), "{rounded:?}");
    }
    for old in [".s", "-5m", "1.2.3s", "99999999999999999999s", "5", "\"\""] {
        let converted = of(&machine(&format!("\n  nodeDrainTimeout: {old}\n")));
        assert_eq!(told(&converted, Severity::Error).len(), 1, "{old}: {}", converted.text);
    }
}

#[test]
fn what_has_no_room_stays_and_is_told() {
    for (fields, named, stays) in [
        (
            "{network: {default: {bridge: x}, networkDevices: [{name: net0, bridge: z}]}}",
            "two devices are named net0",
            "default: {bridge: x}",
        ),
        (
            "{network: {default: {bridge: x}, additionalDevices: [{name: net0, bridge: z}]}}",
            "two devices are named net0",
            "additionalDevices: [{name: net0, bridge: z}]",
        ),
        (
            "{network: {default: {bridge: x}, networkDevices: all}}",
            "is there, and no list",
            "default: {bridge: x}",
        ),
    ] {
        let converted = of(&template(fields));
        let errors = told(&converted, Severity::Error);
        assert!(errors.iter().any(|(line, why)| *line == 6 && why.contains(named)), "{errors:?}");
        assert!(converted.text.contains("bridge: x") && converted.text.contains(stays), "{}", converted.text);
    }
    let converted = of(&machine("\n  nodeDrainTimeout: 5m\n  deletion: ${D}\n"));
    assert!(converted.text.contains("nodeDrainTimeout: 5m\n  deletion: ${D}\n"), "{}", converted.text);
    assert!(told(&converted, Severity::Error).iter().any(|(_, why)| why.contains("there is no place for")));
    let converted = of(&template("{target: a, allowedNodes: [b, c]}"));
    assert!(
        told(&converted, Severity::Warning).iter().any(|(_, why)| why.contains("allowedNodes` is replaced"))
    );
}

#[test]
fn json_stays_json() {
    let old = serde_json::json!({"apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Machine", "metadata": {"name": "${N}"},
        "spec": {"nodeDrainTimeout": "5m", "version": "v1 # no"}});
    let new = serde_json::json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": "${N}"},
        "spec": {"deletion": {"nodeDrainTimeoutSeconds": 300}, "version": "v1 # no"}});
    assert_eq!(of(&format!("{old}\n")).text, format!("{new}\n"));
    assert_eq!(of(&format!("{old:#}\n")).text, format!("{new:#}\n"));
    let open = format!("{old}\n").replace("\"v1 # no\"", "${V}");
    let converted = of(&open);
    assert!(told(&converted, Severity::Warning).iter().any(|(_, why)| why.contains("is written as YAML")));
}
