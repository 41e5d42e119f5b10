use std::collections::BTreeSet;

use serde_json::json;

use super::super::words::{BOOTSTRAP, CONTROL_PLANE, CORE, INFRASTRUCTURE};
use super::*;

/// A cluster in which nothing is wrong.
const WELL: &str = r#"apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata:
  name: a
  labels: {cni: cilium}
spec:
  clusterNetwork:
    pods:
      cidrBlocks: [192.168.0.0/16]
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: ProxmoxCluster, name: a}
  controlPlaneRef: {apiGroup: controlplane.cluster.x-k8s.io, kind: KubeadmControlPlane, name: a-control-plane}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha2
kind: ProxmoxCluster
metadata:
  name: a
spec:
  controlPlaneEndpoint: {host: 10.0.0.9, port: 6443}
  ipv4Config:
    addresses: [10.0.0.10-10.0.0.20]
    prefix: 24
    gateway: 10.0.0.1
  dnsServers: [10.0.0.1]
---
apiVersion: controlplane.cluster.x-k8s.io/v1beta2
kind: KubeadmControlPlane
metadata:
  name: a-control-plane
spec:
  replicas: 3
  version: v1.34.4
  machineTemplate:
    spec:
      infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: ProxmoxMachineTemplate, name: a-control-plane}
  kubeadmConfigSpec:
    format: ignition
    ignition:
      containerLinuxConfig:
        additionalConfig: |
          systemd:
            units: []
    files:
    - path: /etc/kubernetes/manifests/kube-vip.yaml
      content: |
        kind: Pod
        metadata: {name: kube-vip}
        spec:
          containers:
          - image: ghcr.io/kube-vip/kube-vip:v1.2.1
            env:
            - name: vip_interface
              value: "eth0"
            - name: vip_arp
              value: "true"
            - name: address
              value: 10.0.0.9
    users:
    - name: core
    initConfiguration: {nodeRegistration: {criSocket: "unix:///run/containerd/containerd.sock"}}
    joinConfiguration: {nodeRegistration: {criSocket: "unix:///run/containerd/containerd.sock"}}
    preKubeadmCommands: [/opt/prepare]
---
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha2
kind: ProxmoxMachineTemplate
metadata:
  name: a-control-plane
spec:
  template:
    spec:
      sourceNode: pve
      templateID: 211
      full: true
      format: qcow2
      vmIDRange: {start: 300, end: 320}
      network:
        networkDevices:
        - {name: net0, bridge: vmbr0, model: virtio}
      checks: {skipCloudInitStatus: true}
---
apiVersion: cluster.x-k8s.io/v1beta2
kind: MachineDeployment
metadata:
  name: a-workers
spec:
  clusterName: a
  replicas: 2
  template:
    spec:
      clusterName: a
      version: v1.34.4
      bootstrap:
        configRef: {apiGroup: bootstrap.cluster.x-k8s.io, kind: KubeadmConfigTemplate, name: a-workers}
      infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: ProxmoxMachineTemplate, name: a-workers}
---
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha2
kind: ProxmoxMachineTemplate
metadata:
  name: a-workers
spec:
  template:
    spec:
      templateSelector: {matchTags: [flatcar]}
      network:
        networkDevices:
        - {name: net0, bridge: vmbr0}
      checks: {skipCloudInitStatus: true}
---
apiVersion: bootstrap.cluster.x-k8s.io/v1beta2
kind: KubeadmConfigTemplate
metadata:
  name: a-workers
spec:
  template:
    spec:
      format: ignition
      joinConfiguration: {nodeRegistration: {criSocket: "unix:///run/containerd/containerd.sock"}}
---
apiVersion: addons.cluster.x-k8s.io/v1beta2
kind: ClusterResourceSet
metadata: {name: cilium}
spec:
  clusterSelector: {matchLabels: {cni: cilium}}
  resources: [{kind: ConfigMap, name: cilium}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium}
data:
  cilium.yaml: ""
"#;

fn of(text: &str) -> Subject {
    let source = Source::new("cluster.yaml", text);
    Subject { manifests: vec![manifest(&source).unwrap_or_else(|all| panic!("{all}"))], ..Subject::default() }
}

fn whole(text: &str) -> Subject {
    let gates = [("EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION".to_owned(), "true".to_owned())].into();
    Subject {
        image: Some(Image {
            name: "node.qcow2".into(),
            release: Some("4593.2.5".into()),
            platform: Some("proxmoxve".into()),
            kubernetes: Some("v1.34.4".into()),
        }),
        index: Some(Index { schema: 1, kubernetes: "v1.34.4".into(), gates, ..Index::default() }),
        live: Some(live()),
        ..of(text)
    }
}

/// A management cluster that knows what `WELL` has.
fn live() -> Live {
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let kinds = [
        (CORE, "Cluster", "v1beta2"),
        (CORE, "MachineDeployment", "v1beta2"),
        (CONTROL_PLANE, "KubeadmControlPlane", "v1beta2"),
        (BOOTSTRAP, "KubeadmConfigTemplate", "v1beta2"),
        ("addons.cluster.x-k8s.io", "ClusterResourceSet", "v1beta2"),
        (INFRASTRUCTURE, "ProxmoxMachineTemplate", "v1alpha2"),
    ];
    let mut live = Live { server: "https://mgmt:6443".into(), ..Live::default() };
    for (group, kind, version) in kinds {
        let served = Served { version: version.into(), served: true, schema: free.clone() };
        live.kinds.insert((group.into(), kind.into()), vec![served]);
    }
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "controlPlaneEndpoint": free, "dnsServers": {"type": "array", "items": {"type": "string"}},
        "ipv4Config": {"type": "object", "properties": {"addresses": {}, "prefix": {}, "gateway": {}}},
    }}}});
    let served = Served { version: "v1alpha2".into(), served: true, schema };
    live.kinds.insert((INFRASTRUCTURE.into(), "ProxmoxCluster".into()), vec![served]);
    for (name, image) in [
        ("capi-controller-manager", "registry.k8s.io/cluster-api/cluster-api-controller:v1.12.10"),
        ("capi-kubeadm-bootstrap-controller-manager", "x/kubeadm-bootstrap-controller:v1.12.10"),
        ("capi-kubeadm-control-plane-controller-manager", "x/kubeadm-control-plane-controller:v1.12.10"),
        ("capmox-controller-manager", "ghcr.io/ionos-cloud/cluster-api-provider-proxmox:v0.9.0"),
        ("caip-in-cluster-controller-manager", "x/cluster-api-ipam-in-cluster-controller:v1.1.0"),
    ] {
        live.controllers.push(Controller {
            namespace: "capi-system".into(),
            name: name.into(),
            images: vec![image.into()],
            arguments: vec![
                "--leader-elect".into(),
                "--feature-gates=MachinePool=true,KubeadmBootstrapFormatIgnition=true".into(),
            ],
            provider: None,
        });
    }
    live
}

fn told(subject: &Subject) -> Vec<String> {
    examine(subject).iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(told(&of(WELL)), Vec::<String>::new());
    assert_eq!(told(&whole(WELL)), Vec::<String>::new());
}

/// Flaws that must be found: the rule, old text, new text, a part of the message.
const FLAWS: &[(&str, &str, &str, &str)] = &[
    (
        "old-fields",
        "cluster.x-k8s.io/v1beta2\nkind: Cluster\n",
        "cluster.x-k8s.io/v1beta1\nkind: Cluster\n",
        "older Cluster API",
    ),
    (
        "old-fields",
        "      full: true\n",
        "      cloudInit: {format: ignition}\n      full: true\n",
        "`spec.template.spec.cloudInit` is left out",
    ),
    ("old-fields", "  dnsServers:", "  dnsServer: [10.0.0.1]\n  dnsServers:", "`spec.dnsServer` is no field"),
    (
        "twice",
        "metadata:\n  name: a-workers\nspec:\n  template:\n    spec:\n      templateSelector",
        "metadata:\n  name: a-control-plane\nspec:\n  template:\n    spec:\n      templateSelector",
        "is there twice",
    ),
    (
        "leads-nowhere",
        "kind: ProxmoxCluster, name: a}",
        "kind: ProxmoxCluster, name: b}",
        "refers to ProxmoxCluster b",
    ),
    (
        "leads-nowhere",
        "kind: KubeadmConfigTemplate, name: a-workers}",
        "kind: KubeadmConfigTemplate, name: a-worker}",
        "refers to KubeadmConfigTemplate a-worker",
    ),
    (
        "leads-nowhere",
        "  clusterName: a\n  replicas",
        "  clusterName: c\n  replicas",
        "belongs to the cluster `c`",
    ),
    (
        "format",
        "      format: ignition\n      joinConfiguration",
        "      joinConfiguration",
        "cloud-config, which Flatcar does not read",
    ),
    ("format", "    format: ignition\n    ignition:", "    ignition:", "`ignition` is there without"),
    (
        "ignition-forbids",
        "    - name: core\n",
        "    - name: core\n      inactive: true\n",
        "`users.0.inactive`",
    ),
    (
        "ignition-forbids",
        "      content: |\n        kind: Pod",
        "      encoding: gzip+base64\n      content: |\n        kind: Pod",
        "`files.0.encoding`",
    ),
    (
        "ignition-forbids",
        "    preKubeadmCommands:",
        "    bootCommands: [a]\n    preKubeadmCommands:",
        "`bootCommands`",
    ),
    (
        "ignition-forbids",
        "    preKubeadmCommands:",
        "    diskSetup: {partitions: [{device: /x, tableType: mbr}]}\n    preKubeadmCommands:",
        "tableType",
    ),
    (
        "ignition-forbids",
        "    preKubeadmCommands:",
        "    diskSetup: {filesystems: [{device: /x, replaceFS: ext4}]}\n    preKubeadmCommands:",
        "replaceFS",
    ),
    (
        "additional-config",
        "          systemd:\n            units: []\n",
        "          variant: flatcar\n          version: 1.0.0\n",
        "is Butane",
    ),
    (
        "additional-config",
        "          systemd:\n            units: []\n",
        "          {\"ignition\": {\"version\": \"3.4.0\"}}\n",
        "is Ignition",
    ),
    (
        "no-cri-socket",
        "    initConfiguration: {nodeRegistration: {criSocket: \"unix:///run/containerd/containerd.sock\"}}",
        "    initConfiguration: {nodeRegistration: {}}",
        "runtime's socket",
    ),
    ("unpinned-image", "kube-vip:v1.2.1", "kube-vip", "has no version"),
    ("unpinned-image", "kube-vip:v1.2.1", "kube-vip:latest", "has no version"),
    ("vip", "value: 10.0.0.9\n", "value: 10.0.0.8\n", "kube-vip holds 10.0.0.8"),
    ("vip", "value: \"eth0\"", "value: \"ens18\"", "the interface ens18"),
    (
        "kubernetes-version",
        "      version: v1.34.4\n",
        "      version: v1.35.0\n",
        "do not work with API servers",
    ),
    ("kubernetes-version", "      version: v1.34.4\n", "      version: 1.34.4\n", "no version of Kubernetes"),
    (
        "no-cni",
        "metadata: {name: cilium}\nspec:\n  clusterSelector: {matchLabels: {cni: cilium}}\n  resources: [{kind: ConfigMap, name: cilium}]",
        "metadata: {name: other}\nspec: {clusterSelector: {matchLabels: {cni: cilium}}}",
        "a network plugin",
    ),
    ("no-addresses", "    gateway: 10.0.0.1\n", "", "no gateway"),
    ("no-addresses", "  dnsServers: [10.0.0.1]\n", "", "no `dnsServers`"),
    (
        "no-addresses",
        "  ipv4Config:\n    addresses: [10.0.0.10-10.0.0.20]\n    prefix: 24\n    gateway: 10.0.0.1\n",
        "",
        "asks no DHCP server",
    ),
    (
        "endpoint-in-pool",
        "{host: 10.0.0.9, port: 6443}",
        "{host: 10.0.0.15, port: 6443}",
        "is in the machines' pool",
    ),
    ("endpoint-in-pool", "[10.0.0.10-10.0.0.20]", "[10.0.0.0/24]", "is in the machines' pool"),
    ("pool-small", "[10.0.0.10-10.0.0.20]", "[10.0.0.10-10.0.0.12, 10.0.0.20]", "4 addresses for 5 machines"),
    ("pool-small", "{start: 300, end: 320}", "{start: 300, end: 250}", "no range of VM ids"),
    ("device-names", "{name: net0, bridge: vmbr0}", "{name: net1, bridge: vmbr0}", "are called net1"),
    (
        "template",
        "      templateID: 211\n",
        "      templateID: 211\n      templateSelector: {matchTags: [a]}\n",
        "by id on a node, or by tags",
    ),
    ("template", "      sourceNode: pve\n", "", "without a `sourceNode`"),
    (
        "template",
        "      templateSelector: {matchTags: [flatcar]}\n",
        "      templateSelector: {matchTags: [flatcar]}\n      sourceNode: pve\n",
        "beside it",
    ),
    ("template", "      templateID: 211\n", "", "names no template"),
    ("template", "full: true", "full: false", "linked clone"),
    (
        "cloud-init-status",
        "{name: net0, bridge: vmbr0}\n      checks: {skipCloudInitStatus: true}",
        "{name: net0, bridge: vmbr0}\n      checks: {}",
        "state of cloud-init",
    ),
    (
        "not-served",
        "  dnsServers:",
        "  schedulerHints: {}\n  dnsServers:",
        "knows no field `spec.schedulerHints`",
    ),
    (
        "value",
        "addresses: [10.0.0.10-10.0.0.20]",
        "addresses: 10.0.0.10-10.0.0.20",
        "`ipv4Config.addresses` must be a list of texts",
    ),
    (
        "value",
        "addresses: [10.0.0.10-10.0.0.20]",
        "addresses: [10.0.0.20-10.0.0.10]",
        "must be a list of addresses, ranges and networks",
    ),
    (
        "value",
        "addresses: [10.0.0.10-10.0.0.20]",
        "addresses: [10.0.0.10, 10.0.0.300]",
        "and this is `10.0.0.300`",
    ),
    (
        "value",
        "addresses: [10.0.0.10-10.0.0.20]",
        "addresses: ['fd00::10']",
        "of an IPv4 address, and this is `fd00::10`",
    ),
    ("value", "addresses: [10.0.0.10-10.0.0.20]", "addresses: [10.0.0.0/33]", "and this is `10.0.0.0/33`"),
    ("value", "addresses: [10.0.0.10-10.0.0.20]", "addresses: [12]", "and this is 12"),
    (
        "value",
        "prefix: 24",
        "prefix: 240",
        "`ipv4Config.prefix` must be a whole number from 1 to 32, and this is 240",
    ),
    ("value", "prefix: 24", "prefix: 0", "and this is 0"),
    (
        "value",
        "prefix: 24",
        "prefix: '24'",
        "`ipv4Config.prefix` must be a whole number from 1 to 32, and this is `24`",
    ),
    ("value", "prefix: 24", "prefix: ${PREFIX:=24.5}", "and this is `${PREFIX:=24.5}`"),
    (
        "value",
        "gateway: 10.0.0.1\n",
        "gateway: ''\n",
        "`ipv4Config.gateway` must be an IPv4 address, and this is empty",
    ),
    ("value", "gateway: 10.0.0.1\n", "gateway: router\n", "and this is `router`"),
    ("value", "gateway: 10.0.0.1\n", "gateway: 10.0.0.1/24\n", "and this is `10.0.0.1/24`"),
    ("value", "dnsServers: [10.0.0.1]", "dnsServers: 10.0.0.1", "`dnsServers` must be a list of texts"),
    (
        "value",
        "dnsServers: [10.0.0.1]",
        "dnsServers: [10.0.0.1, dns.example]",
        "`dnsServers` must be a list of addresses, and this is `dns.example`",
    ),
    (
        "value",
        "dnsServers: [10.0.0.1]",
        "dnsServers: [10.0.0.1]\n  allowedNodes: pve1",
        "`allowedNodes` must be a list of texts, and this is `pve1`",
    ),
    (
        "value",
        "dnsServers: [10.0.0.1]",
        "dnsServers: [10.0.0.1]\n  allowedNodes: [1]",
        "`allowedNodes` must be a list of texts, and this is 1",
    ),
    (
        "value",
        "dnsServers: [10.0.0.1]",
        "dnsServers: [10.0.0.1]\n  zoneConfig: [{zone: b, dnsServers: [x]}]",
        "`zoneConfig.0.dnsServers` must be a list of addresses",
    ),
    ("value", "port: 6443", "port: 0", "`controlPlaneEndpoint.port` must be a whole number from 1 to 65535"),
    (
        "value",
        "      sourceNode: pve\n",
        "      sourceNode: pve\n      memoryMiB: 2047\n",
        "`memoryMiB` must be a multiple of 8, 32 or more, and this is 2047",
    ),
    ("value", "      sourceNode: pve\n", "      sourceNode: pve\n      memoryMiB: 8\n", "and this is 8"),
    (
        "value",
        "      sourceNode: pve\n",
        "      sourceNode: pve\n      numCores: 0\n",
        "`numCores` must be a whole number, 1 or more",
    ),
    (
        "value",
        "      sourceNode: pve\n",
        "      sourceNode: pve\n      numSockets: -1\n",
        "`numSockets` must be a whole number, 1 or more",
    ),
    (
        "value",
        "      sourceNode: pve\n",
        "      sourceNode: pve\n      numSockets: [1]\n",
        "and this is a list",
    ),
    (
        "value",
        "{start: 300, end: 320}",
        "{start: 99, end: 320}",
        "`vmIDRange.start` must be a whole number from 100",
    ),
    ("value", "[192.168.0.0/16]", "[192.168.0.0]", "must be a list of networks, and this is `192.168.0.0`"),
    (
        "no-addresses",
        "  controlPlaneEndpoint: {host: 10.0.0.9, port: 6443}\n",
        "",
        "no `controlPlaneEndpoint.host`",
    ),
    (
        "gateway",
        "gateway: 10.0.0.1\n",
        "gateway: 10.0.1.1\n",
        "makes the network 10.0.1.1/24, in which 10.0.0.10-10.0.0.20 is not",
    ),
    ("gateway", "prefix: 24", "prefix: 28", "makes the network 10.0.0.1/28"),
    ("gateway", "gateway: 10.0.0.1\n", "gateway: 10.0.0.12\n", "one address less"),
    (
        "networks-overlap",
        "[192.168.0.0/16]",
        "[10.96.0.0/16]",
        "the network of pods 10.96.0.0/16 overlaps that of services 10.96.0.0/12",
    ),
    ("networks-overlap", "[192.168.0.0/16]", "[10.0.0.0/16]", "overlaps that of nodes 10.0.0.1/24"),
    (
        "networks-overlap",
        "    pods:\n",
        "    services: {cidrBlocks: [10.0.0.128/25]}\n    pods:\n",
        "the network of services 10.0.0.128/25 overlaps that of nodes",
    ),
    (
        "no-cri-socket",
        "    joinConfiguration: {nodeRegistration: {criSocket: \"unix:///run/containerd/containerd.sock\"}}\n    preK",
        "    joinConfiguration: {nodeRegistration: {criSocket: \"/var/run/dockershim.sock\"}}\n    preK",
        "`/var/run/dockershim.sock` is not containerd's socket",
    ),
    ("additional-config", "            units: []\n", "            units: [\n", "cannot be read: line "),
    (
        "additional-config",
        "          systemd:\n            units: []\n",
        "          just words\n",
        "it is no mapping",
    ),
    ("resource-set", "name: cilium}]", "name: cilum}]", "applies the ConfigMap cilum, which is not there"),
    ("resource-set", "{matchLabels: {cni: cilium}}", "{matchLabels: {cni: calico}}", "selects no Cluster"),
    (
        "resource-set",
        "{matchLabels: {cni: cilium}}",
        "{matchExpressions: [{key: cni, operator: NotIn, values: [cilium]}]}",
        "selects no Cluster",
    ),
    ("resource-set", "{matchLabels: {cni: cilium}}", "{}", "an empty selector"),
    (
        "flannel-network",
        "  cilium.yaml: \"\"\n",
        "  net-conf.json: '{\"Network\": \"10.244.0.0/16\"}'\n",
        "pods have 192.168.0.0/16, and flannel's network is 10.244.0.0/16",
    ),
    (
        "flannel-network",
        "  cilium.yaml: \"\"\n",
        "  flannel.yaml: |\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: kube-flannel-cfg}\n    data:\n      net-conf.json: |\n        {\"Network\": \"10.244.0.0/16\"}\n",
        "flannel's network is 10.244.0.0/16",
    ),
    ("flannel-network", "  cilium.yaml: \"\"\n", "  net-conf.json: '{\"Network\": '\n", "is no JSON"),
];

#[test]
fn every_planted_flaw_is_found_at_its_place_with_a_way_out() {
    for (code, old, new, message) in FLAWS {
        assert!(WELL.contains(old), "{code}: {old:?} is not in the cluster");
        let subject = whole(&WELL.replacen(old, new, 1));
        let findings = examine(&subject);
        let found = findings
            .iter()
            .find(|finding| finding.path.as_deref() == Some(code) && finding.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{code} ({message}): {:?}", told(&subject)));
        assert!(found.hint.is_some() && found.place.is_some(), "{found:?}");
    }
}

/// Each fault of a value is told once.
#[test]
fn a_value_that_is_wrong_is_one_finding_and_one_that_nobody_knows_yet_is_none() {
    for (code, old, new, message) in FLAWS.iter().filter(|(code, ..)| *code == "value") {
        let told = told(&of(&WELL.replacen(old, new, 1)));
        assert_eq!(told.len(), 1, "{code} ({message}): {told:?}");
    }
    for (old, new) in [
        ("addresses: [10.0.0.10-10.0.0.20]", "addresses: [\"${FIRST}-${LAST}\", 10.0.0.16/28]"),
        (
            "addresses: [10.0.0.10-10.0.0.20]",
            "addresses: ${NODE_IP_RANGES:=[10.0.0.10-10.0.0.20, 10.0.0.30]}",
        ),
        ("prefix: 24", "prefix: ${IP_PREFIX}"),
        ("prefix: 24", "prefix: ${IP_PREFIX:=24}"),
        ("gateway: 10.0.0.1\n", "gateway: ${GATEWAY}\n"),
        ("dnsServers: [10.0.0.1]", "dnsServers: ${DNS_SERVERS}"),
        (
            "      sourceNode: pve\n",
            "      sourceNode: pve\n      memoryMiB: ${MEMORY_MIB:=2048}\n      numCores: ${CORES}\n",
        ),
        ("      sourceNode: pve\n", "      sourceNode: pve\n      memoryMiB: 0\n"),
        ("[192.168.0.0/16]", "[\"${POD_CIDR}\", \"fd00:1::/64\"]"),
        ("{matchLabels: {cni: cilium}}", "{matchLabels: {cni: \"${CNI}\"}}"),
        ("{matchLabels: {cni: cilium}}", "{matchExpressions: [{key: cni, operator: In, values: [cilium]}]}"),
        ("  cilium.yaml: \"\"\n", "  net-conf.json: '{\"Network\": \"192.168.0.0/16\"}'\n"),
        ("  cilium.yaml: \"\"\n", "  net-conf.json: '{\"Network\": \"${POD_CIDR}\"}'\n"),
        ("            units: []\n", "            units: ${UNITS}\n"),
    ] {
        assert!(WELL.contains(old), "{old:?}");
        assert_eq!(told(&of(&WELL.replacen(old, new, 1))), Vec::<String>::new(), "{new:?}");
    }
}

#[test]
fn a_text_without_an_object_of_cluster_api_is_void() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    for text in ["", "# nothing\n", "---\n...\n", map] {
        assert!(of(text).void().is_some(), "{text:?}");
    }
    assert!(of(WELL).void().is_none() && Subject::default().void().is_none());
    // A file of addons beside the cluster's is none of that; an empty one is.
    let mut both = of(WELL);
    both.manifests.extend(of(map).manifests);
    assert!(both.void().is_none());
    both.manifests.extend(of("").manifests);
    assert!(both.void().is_some_and(|manifest| manifest.objects.is_empty()));
}

/// References by name were looked up one by one, and each told all names that there are.
#[test]
fn the_words_of_many_dangling_references_grow_with_their_number_alone() {
    let mut text = WELL.to_owned();
    for number in 0..300 {
        text += &format!(
            "---\napiVersion: cluster.x-k8s.io/v1beta2\nkind: MachineDeployment\nmetadata: {{name: m{number}}}\nspec: {{clusterName: a, \
             template: {{spec: {{infrastructureRef: {{kind: ProxmoxMachineTemplate, name: t{number}}}}}}}}}\n---\n\
             apiVersion: infrastructure.cluster.x-k8s.io/v1alpha2\nkind: ProxmoxMachineTemplate\nmetadata: {{name: u{number}}}\n"
        );
    }
    let findings = examine(&of(&text));
    let dangling: Vec<_> =
        findings.iter().filter(|one| one.path.as_deref() == Some("leads-nowhere")).collect();
    assert_eq!(dangling.len(), 300);
    assert!(
        dangling.iter().all(|one| one.hint.as_ref().is_some_and(|hint| hint.len() < 200)),
        "{dangling:?}"
    );
}

#[test]
fn facts_of_images_and_clusters_are_held_against_manifests() {
    let image = |change: fn(&mut Image)| {
        let mut subject = whole(WELL);
        change(subject.image.as_mut().unwrap());
        subject
    };
    let cluster = |change: fn(&mut Live)| {
        let mut subject = whole(WELL);
        change(subject.live.as_mut().unwrap());
        subject
    };
    let tree = |change: fn(&mut Index)| {
        let mut subject = whole(WELL);
        change(subject.index.as_mut().unwrap());
        subject
    };
    for (code, subject, message) in [
        ("release", image(|image| image.release = Some("4081.3.10".into())), "4081.3.10"),
        ("platform", image(|image| image.platform = Some("qemu".into())), "platform `qemu`"),
        ("platform", image(|image| image.release = None), "no Flatcar image"),
        (
            "kubernetes-version",
            image(|image| image.kubernetes = Some("v1.33.0".into())),
            "the image has v1.33.0",
        ),
        (
            "gate-off",
            cluster(|live| live.controllers.iter_mut().for_each(|one| one.arguments.clear())),
            "without the feature gate",
        ),
        ("gate-off", tree(|index| index.gates.clear()), "the tree does not set"),
        (
            "controllers",
            cluster(|live| live.controllers.retain(|one| !one.name.starts_with("caip"))),
            "no controller `caip",
        ),
        (
            "controllers",
            cluster(|live| {
                live.controllers[3].images = vec!["ghcr.io/x/cluster-api-provider-proxmox:v0.7.1".into()]
            }),
            "v0.7.1",
        ),
        (
            "not-served",
            cluster(|live| {
                live.kinds.remove(&(INFRASTRUCTURE.into(), "ProxmoxMachineTemplate".into()));
            }),
            "does not know the kind",
        ),
        (
            "not-served",
            cluster(|live| {
                live.kinds.values_mut().flatten().for_each(|served| served.version = "v1alpha1".into())
            }),
            "serves v1alpha1",
        ),
        (
            "stuck",
            cluster(|live| {
                let message = "cannot reserve 4096 B of memory: 0B available memory left".into();
                live.troubles.push(Trouble { of: "ProxmoxMachine a/b".into(), message });
            }),
            "0B available memory left",
        ),
    ] {
        let findings = examine(&subject);
        let found = findings
            .iter()
            .find(|finding| finding.path.as_deref() == Some(code) && finding.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{code} ({message}): {:?}", told(&subject)));
        assert!(found.hint.is_some(), "{found:?}");
    }
}

/// A template of clusterctl: variables are no values, their defaults are.
#[test]
fn templates_are_understood_and_variables_that_machines_have_are_told() {
    let template = WELL
        .replace("  name: a\n", "  name: ${CLUSTER_NAME}\n")
        .replace("  clusterName: a\n  replicas", "  clusterName: ${CLUSTER_NAME}\n  replicas")
        .replace("name: a}", "name: \"${CLUSTER_NAME}\"}")
        .replace("replicas: 3", "replicas: ${CONTROL_PLANE_MACHINE_COUNT}")
        .replace("[10.0.0.10-10.0.0.20]", "${NODE_IP_RANGES}")
        .replace("host: 10.0.0.9,", "host: \"${CONTROL_PLANE_ENDPOINT_IP}\",")
        .replace("value: 10.0.0.9", "value: ${CONTROL_PLANE_ENDPOINT_IP}")
        .replace("version: v1.34.4", "version: ${KUBERNETES_VERSION:=v1.34.4}")
        .replace("    - name: core\n", "    - name: core\n      sshAuthorizedKeys: [${VM_SSH_KEYS}]\n")
        .replace("[/opt/prepare]", "[\"echo $${COREOS_CUSTOM_HOSTNAME} $HOME\"]");
    assert_eq!(told(&whole(&template)), Vec::<String>::new());
    let eaten = template.replace("$${COREOS", "${COREOS");
    let [finding] = &examine(&whole(&eaten))[..] else { panic!("{:?}", told(&whole(&eaten))) };
    assert_eq!(finding.path.as_deref(), Some("variable-eaten"));
    assert!(finding.message.contains("${COREOS_CUSTOM_HOSTNAME}"), "{finding}");
    let older = template.replace("${KUBERNETES_VERSION:=v1.34.4}", "${KUBERNETES_VERSION:=v1.33.0}");
    assert!(
        told(&whole(&older)).iter().any(|one| one.contains("wants Kubernetes v1.33.0")),
        "{:?}",
        told(&whole(&older))
    );
    // A rendered manifest has no doubled dollars any more.
    let doubled = WELL.replace("[/opt/prepare]", "[\"echo $${X}\"]");
    assert!(
        told(&of(&doubled)).iter().any(|one| one.contains("variable-eaten")),
        "{:?}",
        told(&of(&doubled))
    );
    let long = WELL.replace(
        "            units: []\n",
        &format!("            units: []\n          # {}\n", "x".repeat(33 << 10)),
    );
    assert!(told(&of(&long)).iter().any(|one| one.contains("additional-config")));
}

#[test]
fn every_rule_has_a_flaw_that_it_finds() {
    let tested: BTreeSet<&str> = FLAWS.iter().map(|(code, ..)| *code).collect();
    let others = ["release", "platform", "gate-off", "controllers", "stuck", "variable-eaten"];
    let all: BTreeSet<&str> = tested.into_iter().chain(others).collect();
    assert_eq!(all, RULES.iter().map(|rule| rule.code).collect());
}
