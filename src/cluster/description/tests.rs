//! A sound description, and what is said about each kind of unsound one.

use super::*;
use crate::base::finding::Severity;

/// A description with every key that a small cluster needs, as seed 001 has them.
pub(crate) const SOUND: &str = "\
cluster:
  name: edge
  k8s_version: 1.33.13
  flatcar_version: 4593.2.5
  pod_subnet: 10.244.0.0/16
  service_subnet: 10.96.0.0/12
  ssh_authorized_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host
control_plane_vip: 192.168.1.10
bootstrap:
  ip: 192.168.1.2
nodes:
  - {name: boot, ip: 192.168.1.2, mac: '52:54:00:00:00:02', role: bootstrap}
  - name: c1
    ip: 192.168.1.11
    mac: '52:54:00:00:00:11'
    role: controller
    state: /dev/disk/by-id/virtio-state
    memory: 8GiB
  - {name: c2, ip: 192.168.1.12, mac: '52:54:00:00:00:12', role: controller, state: /dev/disk/by-id/virtio-state}
  - {name: c3, ip: 192.168.1.13, mac: '52:54:00:00:00:13', role: controller, state: /dev/disk/by-id/virtio-state}
  - {name: w1, ip: 192.168.1.21, mac: '52:54:00:00:00:21', role: worker}
";

/// Findings about a text, each as `SEVERITY LINE: MESSAGE | HINT`.
fn told(text: &str) -> Vec<String> {
    let findings = match Cluster::parse(&Source::new("cluster.yaml", text), PathBuf::new()) {
        Ok((_, findings)) => findings,
        Err(Findings(findings)) => findings,
    };
    let line = |finding: &Finding| {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let line = finding.place.as_ref().map_or(0, |place| place.line);
        format!("{severity} {line}: {} | {}", finding.message, finding.hint.as_deref().unwrap_or_default())
    };
    findings.iter().map(line).collect()
}

#[test]
fn a_sound_description_is_read_whole_and_nothing_is_said_about_it() {
    assert_eq!(told(SOUND), [""; 0]);
    let (cluster, _) = Cluster::parse(&Source::new("cluster.yaml", SOUND), PathBuf::new()).unwrap();
    assert_eq!(cluster.kubernetes.value, "v1.33.13");
    assert_eq!(cluster.channel.value, "stable");
    assert_eq!(cluster.network.to_string(), "192.168.1.0/24");
    assert_eq!(cluster.endpoint(), "192.168.1.10:6443");
    assert_eq!(cluster.bootstrap.name.as_ref().unwrap().value, "boot");
    assert_eq!((cluster.controllers().count(), cluster.workers().count()), (3, 1));
    assert_eq!(keys::strangers(), [""; 0]);
}

/// The sound description with one place changed.
fn with(from: &str, to: &str) -> String {
    assert_eq!(SOUND.matches(from).count(), 1, "{from}");
    SOUND.replace(from, to)
}

/// Wrong inputs by kind: what is changed, the severity and line of the finding, and words of its message and hint.
const WRONG: &[(&str, &str, &str, &str, &str)] = &[
    // Names, cards and addresses that two machines have.
    ("name: c2", "name: c1", "error 19", "two machines are called `c1`", "a name of its own"),
    (
        "'52:54:00:00:00:12'",
        "5254.0000.0011",
        "error 19",
        "`c1` and node `c2` have the same MAC address 52:54:00:00:00:11",
        "label",
    ),
    (
        "ip: 192.168.1.12",
        "ip: 192.168.1.11",
        "error 19",
        "node `c1` and node `c2` have the same address",
        "such as `192.168.1.",
    ),
    (
        "ip: 192.168.1.12",
        "ip: 192.168.1.2",
        "error 19",
        "the bootstrap machine and node `c2` have the same address",
        "free",
    ),
    // Addresses outside of the network, and those that mean something in it.
    (
        "ip: 192.168.1.12",
        "ip: 192.168.2.12",
        "error 19",
        "not in the machines' network 192.168.1.0/24",
        "`network`",
    ),
    ("ip: 192.168.1.12", "ip: 192.168.1.255", "error 19", "it is the broadcast address", "free"),
    ("ip: 192.168.1.12", "ip: 192.168.1.300", "error 19", "`192.168.1.300` is not an IPv4 address", ""),
    ("ip: 192.168.1.12", "ip: 192.168.001.012", "error 19", "is not an IPv4 address", "write `192.168.1.12`"),
    ("ip: 192.168.1.12", "ip: fd00::12", "error 19", "is an IPv6 address", ""),
    ("ip: 192.168.1.12", "ip: 127.0.0.1", "error 19", "every machine uses it for itself", ""),
    // Networks that have addresses in common, or that nobody can have.
    (
        "service_subnet: 10.96.0.0/12",
        "service_subnet: 10.240.0.0/12",
        "error 6",
        "`pod_subnet` 10.244.0.0/16 and `service_subnet` 10.240.0.0/12 have addresses in common",
        "such as `10.",
    ),
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: 192.168.0.0/16",
        "error 5",
        "`pod_subnet` 192.168.0.0/16 and the machines' network",
        "such as `10.",
    ),
    (
        "service_subnet: 10.96.0.0/12",
        "service_subnet: 192.168.1.0/24",
        "error 6",
        "`service_subnet` 192.168.1.0/24 and the machines' network",
        "such as",
    ),
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: 10.244.0.0",
        "error 5",
        "is not an IPv4 network",
        "`10.244.0.0/16`",
    ),
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: 10.244.0.0/255.255.0.0",
        "error 5",
        "is not an IPv4 network",
        "write `10.244.0.0/16`",
    ),
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: '10.244.0.0/16,fd00::/48'",
        "error 5",
        "is not one IPv4 network",
        "write `10.244.0.0/16`",
    ),
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: 10.244.3.0/16",
        "warning 5",
        "is an address in the network 10.244.0.0/16",
        "write `10.244.0.0/16`",
    ),
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: 127.0.0.0/16",
        "error 5",
        "every machine uses 127.0.0.0/8 for itself",
        "10.0.0.0/8",
    ),
    ("pod_subnet: 10.244.0.0/16", "pod_subnet: 224.0.0.0/16", "error 5", "multicast", "10.0.0.0/8"),
    // Subnets without room.
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: 10.244.0.0/23",
        "error 5",
        "has room for 2 of the 4 nodes",
        "take `10.244.0.0/22`",
    ),
    (
        "pod_subnet: 10.244.0.0/16",
        "pod_subnet: 10.244.0.0/25",
        "error 5",
        "is smaller than the /24 that each node takes",
        "take `10.244.0.0/16`",
    ),
    (
        "service_subnet: 10.96.0.0/12",
        "service_subnet: 20.0.0.0/8",
        "error 6",
        "larger than the API server takes",
        "`20.0.0.0/12`",
    ),
    (
        "service_subnet: 10.96.0.0/12",
        "service_subnet: 10.96.0.0/29",
        "error 6",
        "smaller than kubeadm takes",
        "/24",
    ),
    // The address of the API server.
    (
        "vip: 192.168.1.10",
        "vip: 192.168.1.12",
        "error 8",
        "`control_plane_vip` 192.168.1.12 is the address of node `c2`",
        "free",
    ),
    ("vip: 192.168.1.10", "vip: 192.168.1.2", "error 8", "is the address of the bootstrap machine", "free"),
    ("vip: 192.168.1.10", "vip: 10.244.0.10", "error 8", "is among the addresses of pods", "free"),
    ("vip: 192.168.1.10", "vip: 10.96.0.10", "error 8", "is among the addresses of services", "free"),
    ("vip: 192.168.1.10", "vip: 192.168.7.10", "error 8", "so no controller can hold it", "external: true"),
    ("vip: 192.168.1.10", "vip: 192.168.1.0", "error 8", "cannot be the `control_plane_vip`", "free"),
    (
        "vip: 192.168.1.10",
        "vip: 192.168.1.10/24",
        "error 8",
        "is not an IPv4 address",
        "write `192.168.1.10`",
    ),
    // Roles.
    (
        "role: bootstrap}",
        "role: boostrap}",
        "error 12",
        "a role cannot be `boostrap`",
        "did you mean `bootstrap`?",
    ),
    ("role: worker}", "role: master}", "error 21", "a role cannot be `master`", "write `controller`"),
    ("role: worker}", "role: Worker}", "error 21", "a role cannot be `Worker`", "write `worker`"),
    (
        "role: worker}",
        "role: bootstrap}",
        "error 21",
        "node `w1` is a second bootstrap machine",
        "`controller` or `worker`",
    ),
    (
        "  ip: 192.168.1.2\nnodes",
        "  ip: 192.168.1.3\nnodes",
        "error 12",
        "but the address of `bootstrap` is 192.168.1.3",
        "one bootstrap machine",
    ),
    // Versions.
    (
        "k8s_version: 1.33.13",
        "k8s_version: 1.33",
        "error 3",
        "`1.33` is not a version of Kubernetes",
        "such as `1.33.13`",
    ),
    (
        "k8s_version: 1.33.13",
        "k8s_version: latest",
        "error 3",
        "is not a version of Kubernetes",
        "all three numbers",
    ),
    (
        "k8s_version: 1.33.13",
        "k8s_version: 1.33.99",
        "error 3",
        "there is no Kubernetes v1.33.99",
        "`1.33.13`",
    ),
    (
        "k8s_version: 1.33.13",
        "k8s_version: 1.99.0",
        "error 3",
        "Kubernetes v1.99.0 is not known",
        "the newest that this prebake knows is 1.37",
    ),
    ("k8s_version: 1.33.13", "k8s_version: v2.0.0", "error 3", "is not known", ""),
    (
        "k8s_version: 1.33.13",
        "k8s_version: 1.24.3",
        "error 3",
        "Kubernetes v1.24.3 is too old",
        "take `1.30.14` or newer",
    ),
    ("k8s_version: 1.33.13", "k8s_version: 1.29.15", "error 3", "too old", "1.30.14"),
    ("k8s_version: 1.33.13", "k8s_version: 1.36.4", "warning 3", "newer than this prebake", "1.36.3"),
    (
        "flatcar_version: 4593.2.5",
        "flatcar_version: 4593.2",
        "error 4",
        "is not a Flatcar version",
        "all three numbers",
    ),
    (
        "flatcar_version: 4593.2.5",
        "flatcar_version: 9999.2.5",
        "error 4",
        "there is no Flatcar 9999.2.5",
        "the newest",
    ),
    ("flatcar_version: 4593.2.5", "flatcar_version: 4593.7.5", "error 4", "the second number is 0 to 3", ""),
    ("flatcar_version: 4593.2.5", "flatcar_version: 2512.2.0", "error 4", "too old for a cluster", ""),
    (
        "flatcar_version: 4593.2.5",
        "flatcar_version: 4593.2.5\n  channel: lts",
        "error 4",
        "is of the channel stable, not lts",
        "write `channel: stable`",
    ),
    (
        "flatcar_version: 4593.2.5",
        "channel: stabel",
        "error 4",
        "there is no channel `stabel`",
        "did you mean `stable`?",
    ),
    (
        "1.33.13\n  flatcar_version: 4593.2.5",
        "1.36.3\n  flatcar_version: 4081.3.10",
        "error 4",
        "does not run with containerd 1.7",
        "containerd",
    ),
    (
        "flatcar_version: 4593.2.5",
        "flatcar_version: 4081.3.10",
        "warning 4",
        "is not tested with containerd 1.7",
        "containerd",
    ),
    // Names.
    ("name: c2", "name: C2", "error 19", "lower case alone", "such as `c2`"),
    ("name: c2", "name: c_2", "error 19", "it has a `_`", "such as `c-2`"),
    ("name: c2", "name: -c2", "error 19", "begins or ends with `-`", "such as `c2`"),
    ("name: c2", "name: c 2", "error 19", "U+0020", "such as `c-2`"),
    ("name: c2", "name: 'c2.'", "error 19", "a part of it is empty", "such as `c2`"),
    ("name: c2", "name: 10.0.0.1", "error 19", "it is an address", "`10-0-0-1`"),
    ("name: c2", "name: localhost", "error 19", "each machine calls itself so", ""),
    (
        "name: c2",
        "name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        "error 19",
        "71 characters",
        "such as",
    ),
    ("name: c2", "name: käse", "error 19", "it has a `ä`", "such as `k-se`"),
    ("name: edge", "name: a/b", "error 2", "the cluster's name must be made of", ""),
    ("name: edge", "name: kubeconfig", "error 2", "cannot be called `kubeconfig`", "another name"),
    // Cards.
    ("'52:54:00:00:00:12'", "'01:00:5e:00:00:12'", "error 19", "multicast", "card"),
    ("'52:54:00:00:00:12'", "'00:00:00:00:00:00'", "error 19", "all zeros", "card"),
    (
        "'52:54:00:00:00:12'",
        "'52:54:0:0:0:12'",
        "error 19",
        "is not a MAC address",
        "write `\"52:54:00:00:00:12\"`",
    ),
    ("'52:54:00:00:00:12'", "'52:54:OO:00:00:12'", "error 19", "is not a MAC address", "52:54:00:00:00:12"),
    // Disks and memory.
    (
        "    state: /dev/disk/by-id/virtio-state\n",
        "",
        "error 16",
        "a power cut would take its part of etcd",
        "`ephemeral: true`",
    ),
    (
        "    state: /dev/disk/by-id/virtio-state\n",
        "    state: /dev/sda\n",
        "error 17",
        "`/dev/sda` may be another disk after the next boot",
        "by-id",
    ),
    (
        "    state: /dev/disk/by-id/virtio-state\n",
        "    install: {}\n",
        "error 17",
        "needs a `device`, `model` or `serial`",
        "",
    ),
    (
        "memory: 8GiB",
        "memory: 2GiB",
        "error 18",
        "node `c1` has 2.00 GiB of memory, and a controller that runs from memory needs 3.00 GiB",
        "more memory",
    ),
    ("memory: 8GiB", "memory: 8", "error 18", "is not an amount", ""),
    // Labels and taints.
    ("role: worker}", "role: worker, labels: {-a: b}}", "error 21", "is not a label", "write `a`"),
    (
        "role: worker}",
        "role: worker, labels: {Up.io/a: b}}",
        "error 21",
        "a domain in lower case",
        "write `up.io/a`",
    ),
    ("role: worker}", "role: worker, labels: {a: b c}}", "error 21", "is not a label's value", "write `b-c`"),
    (
        "role: worker}",
        "role: worker, taints: ['gpu=true:noschedule']}",
        "error 21",
        "`noschedule` is not an effect",
        "write `gpu=true:NoSchedule`",
    ),
    (
        "role: worker}",
        "role: worker, taints: [gpu]}",
        "error 21",
        "it has no effect",
        "write `gpu:NoSchedule`",
    ),
    (
        "role: worker}",
        "role: worker, taints: ['a:NoSchedule', 'a=b:NoSchedule']}",
        "error 21",
        "is listed twice",
        "leave one out",
    ),
    // Keys.
    (
        "k8s_version",
        "k8s_verison",
        "error 3",
        "unknown key `k8s_verison` in `cluster`",
        "did you mean `k8s_version`?",
    ),
    (
        "role: worker}",
        "role: worker, lables: {}}",
        "error 21",
        "unknown key `lables` in a node",
        "did you mean `labels`?",
    ),
    (
        "control_plane_vip",
        "controlplane_vip",
        "error 8",
        "unknown key `controlplane_vip`",
        "did you mean `control_plane_vip`?",
    ),
    (
        "role: worker}",
        "role: worker, bmc: {redfish: 'https://h', user: a, password: hunter2}}",
        "error 21",
        "a password stands here in clear text",
        "sops",
    ),
    (
        "role: worker}",
        "role: worker, bmc: {redfish: 'https://a:hunter2@h', user: a, password: {env: B}}}",
        "error 21",
        "a URL with a password stands here in clear text",
        "sops",
    ),
    (
        "role: worker}",
        "role: worker, bmc: {redfish: 'https://h', user: a, password: {env: $hunter2}}}",
        "error 21",
        "not the name of an environment variable",
        "without `$`",
    ),
    (
        "role: worker}",
        "role: worker, bmc: {redfish: h, user: a, password: {env: B}}}",
        "error 21",
        "is not an https: or http: URL",
        "",
    ),
    ("nodes:", "proxy: http://a:hunter2@h:1\nnodes:", "error 11", "a URL with a password", "sops"),
    // The rest.
    (
        "nodes:",
        "addons: [metalb]\nnodes:",
        "error 11",
        "there is no add-on `metalb`",
        "did you mean `metallb`?",
    ),
    ("nodes:", "addons: [cilium]\nnodes:", "error 11", "`cilium` is a network plugin", "`cni: cilium`"),
    (
        "nodes:",
        "gateway: 10.0.0.1\nnodes:",
        "error 11",
        "the address 10.0.0.1 of the gateway is not in the machines' network",
        "",
    ),
    (
        "nodes:",
        "gateway: 192.168.1.13\nnodes:",
        "error 21",
        "node `c3` and the gateway have the same address",
        "free",
    ),
    (
        "nodes:",
        "registry_mirrors: {'https://docker.io': ['http://10.0.0.2']}\nnodes:",
        "error 11",
        "is not the host of a registry",
        "write `docker.io`",
    ),
    ("nodes:", "ntp: [10.0.0.256]\nnodes:", "error 11", "is not the name or address of a server", ""),
    (
        "nodes:",
        "recipe: {mirors: {}}\nnodes:",
        "error 11",
        "unknown key `mirors` in `recipe`",
        "did you mean `mirrors`?",
    ),
    (
        "nodes:",
        "recipe: {mirrors: {flatcr: []}}\nnodes:",
        "error 11",
        "unknown source `flatcr`",
        "did you mean `flatcar`?",
    ),
];

#[test]
fn every_kind_of_wrong_input_is_told_once_where_it_is_with_the_way_out() {
    for (from, to, place, message, hint) in WRONG {
        let told = told(&with(from, to));
        let fits = |line: &&String| {
            line.starts_with(&format!("{place}: ")) && line.contains(message) && {
                line.split(" | ").nth(1).is_some_and(|said| said.contains(hint))
            }
        };
        assert_eq!(
            told.iter().filter(fits).count(),
            1,
            "{from} -> {to}: wanted {place}: {message} | {hint}\n{told:#?}"
        );
        assert!(told.len() <= 2, "one mistake is told once: {from} -> {to}: {told:#?}");
        assert!(!told.concat().contains("hunter2"), "{told:#?}");
    }
}

/// Findings about several places at once.
#[test]
fn wholes_that_cannot_be_clusters_are_told() {
    let of = |text: &str, wanted: &str| {
        let told = told(text);
        assert!(told.iter().any(|line| line.contains(wanted)), "{wanted}: {told:#?}");
        told
    };
    let (top, _) = SOUND.split_once("nodes:").unwrap();
    of("", "must be a mapping of keys");
    of("cluster: {}\n", "`cluster` needs the key `k8s_version`");
    of("nodes: []\n", "needs the key `cluster`");
    of(&format!("{top}nodes: []\n"), "no node is a controller");
    of(
        &format!("{top}nodes:\n  - {{name: w1, ip: 192.168.1.21, mac: '52:54:00:00:00:21', role: worker}}\n"),
        "no node is a controller",
    );
    let without = SOUND
        .replace("bootstrap:\n  ip: 192.168.1.2\n", "")
        .replace("  - {name: boot, ip: 192.168.1.2, mac: '52:54:00:00:00:02', role: bootstrap}\n", "");
    of(&without, "there is no bootstrap machine");
    let two = SOUND
        .lines()
        .filter(|line| !line.contains("name: c3"))
        .fold(String::new(), |text, line| text + line + "\n");
    let told_of_two = of(&two, "2 controllers stand no more losses than 1 do");
    assert!(told_of_two[0].starts_with("warning 19: "), "{told_of_two:?}");
    of(&SOUND.replace("control_plane_vip: 192.168.1.10\n", ""), "have no address in common");
    let apart =
        SOUND.replace("nodes:", "network: 192.168.1.0/24\nnodes:").replace("192.168.1.12", "192.168.1.12/25");
    of(&apart, "error 20: 192.168.1.12/25 is not in the network 192.168.1.0/24 | write `192.168.1.12/24`");
    // A recipe in the place of a description.
    of(
        "schema: 1\nname: a\nrelease: {channel: stable}\nprofiles: {w: {}}\n",
        "this is a recipe, not a cluster's description",
    );
    // All at once, in the order of the text.
    let many = SOUND
        .replace("k8s_version: 1.33.13", "k8s_version: 1.33")
        .replace("name: c2", "name: C2")
        .replace("role: worker", "role: wroker");
    let lines: Vec<usize> =
        told(&many).iter().filter_map(|line| line.split([' ', ':']).nth(1)?.parse().ok()).collect();
    assert_eq!(lines, [3, 19, 21]);
}

/// An SSH key that is no public one, in each of its spellings, and a token: neither is shown, whatever is wrong with it.
#[test]
fn nothing_of_a_secret_is_shown() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host";
    let body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUhunter2";
    let pem = format!("-----BEGIN OPENSSH PRIVATE KEY-----\\n{body}\\n-----END OPENSSH PRIVATE KEY-----");
    let block =
        "|\n    -----BEGIN RSA PRIVATE KEY-----\n    MIIEpAhunter2\n    -----END RSA PRIVATE KEY-----"
            .to_owned();
    for wrong in [
        format!("\"{pem}\""),
        block,
        body.to_owned(),
        format!("[\"{pem}\"]"),
        "\"PuTTY-User-Key-File-3: ssh-rsa\\nhunter2\"".into(),
        format!("\"{body}\\nhunter2\""),
    ] {
        let text = with(key, &wrong);
        let Err(findings) = Cluster::parse(&Source::new("cluster.yaml", text), PathBuf::new()) else {
            panic!("{wrong}")
        };
        let said = findings.to_string();
        assert!(said.contains("this is a private SSH key") && !said.contains("hunter2"), "{said}");
    }
    for token in [
        "abcdef.hunter2hunter2",
        "ABCDEF.0123456789hunter",
        "abcdef0123456789hunter2",
        "hunter2",
        "abcdef.01234567hunter2!",
        "abc.0123456789hunter2",
    ] {
        let text = with("ssh_authorized_key", &format!("token: {token}\n  ssh_authorized_key"));
        let Err(findings) = Cluster::parse(&Source::new("cluster.yaml", text), PathBuf::new()) else {
            panic!("{token}")
        };
        let said = findings.to_string();
        assert!(said.contains("this is not a bootstrap token") && !said.contains("hunter"), "{said}");
        assert!(said.contains("cluster.yaml:7:10"), "{said}");
    }
    let (cluster, _) = Cluster::parse(
        &Source::new("c", with("ssh_authorized_key", "token: abcdef.0123456789abcdef\n  ssh_authorized_key")),
        PathBuf::new(),
    )
    .unwrap();
    assert!(matches!(&cluster.join, Join::Token(Some(token)) if &**token == "abcdef.0123456789abcdef"));
    assert!(!format!("{cluster:?} {:?}", cluster.name.place).contains("0123456789abcdef"));
    // Words of a command, and the whole text behind each place.
    let text = with("role: worker", "role: worker, power: {command: [ipmitool, -P, hunter2]}");
    let (cluster, _) = Cluster::parse(&Source::new("c", text), PathBuf::new()).unwrap();
    assert!(cluster.nodes.iter().any(|node| matches!(node.power, Some(Power::Command(_)))));
    let shown = format!("{cluster:?} {:?} {:?}", cluster.nodes, cluster.ssh_keys);
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// Everything that a description may have besides.
#[test]
fn further_keys_are_read() {
    let text = "\
x-disk: &disk {state: /dev/disk/by-id/virtio-state}
cluster: {name: edge, k8s_version: v1.34.4, cni: cilium, join: token, ssh_authorized_key: [github:octo, keys/team.pub]}
control_plane_vip: {address: 203.0.113.9, external: true}
bootstrap: {ip: 10.9.0.2/16, interface: eth1, dhcp: true, mac: '52:54:00:00:00:ff'}
gateway: 10.9.0.1
dns: [10.9.0.1, 9.9.9.9]
ntp: [time.example, 10.9.0.1]
registry_mirrors: {docker.io: ['http://10.9.0.2:5000'], _default: ['http://10.9.0.2:5000']}
proxy: {url: 'http://10.9.0.1:3128', except: [.example.com, 10.0.0.0/8]}
addons: [metallb, {name: own, manifests: [manifests], images: [registry.k8s.io/pause:3.10]}]
hooks: hooks
recipe:
  mirrors: {flatcar: ['http://10.9.0.2/flatcar']}
  trust_ca: [keys/ca.pem]
  sysexts: [nerdctl, {name: ../sysext/gpu, version: '1.0'}]
  packaging: {format: erofs}
nodes:
  - {<<: *disk, name: c1, ip: 10.9.0.11, mac: '52:54:00:00:00:11', role: controller, taints: [], labels: {zone: a, empty: ''}}
  - {name: w1, ip: 10.9.3.21/16, mac: '52:54:00:00:00:21', role: worker, install: {device: /dev/disk/by-id/nvme-1, wipe: true}, kernel_args: [quiet], ignition: [gpu.bu]}
  - {name: w2, ip: 10.9.3.22, mac: '52:54:00:00:00:22', role: worker, bmc: {redfish: 'https://10.9.9.22', user: admin, password: {file: secrets/bmc}}}
  - {name: w3, ip: 10.9.3.23, mac: '52:54:00:00:00:23', role: worker, power: {command: [power.sh, w3]}}
";
    assert_eq!(told(text), [""; 0]);
    let (cluster, _) =
        Cluster::parse(&Source::new("site/cluster.yaml", text), PathBuf::from("site")).unwrap();
    assert_eq!(cluster.network.to_string(), "10.9.0.0/16");
    assert!(cluster.bootstrap.dhcp && cluster.vip.as_ref().unwrap().external);
    assert_eq!(cluster.join, Join::Token(None));
    assert_eq!(cluster.cni, Cni::Cilium);
    assert!(
        matches!(&cluster.nodes[0].storage, Storage::State { device } if device.value == "/dev/disk/by-id/virtio-state")
    );
    assert!(
        matches!(&cluster.nodes[1].storage, Storage::Installed(text) if text == "{device: /dev/disk/by-id/nvme-1, wipe: true}")
    );
    assert!(
        matches!(&cluster.nodes[2].power, Some(Power::Redfish { password: Password::File(path), .. }) if path == Path::new("site/secrets/bmc"))
    );
    assert_eq!(cluster.nodes[0].taints.as_ref().map(Vec::len), Some(0));
    assert_eq!(cluster.ssh_keys.len(), 2);
    let recipe = cluster.recipe.unwrap();
    let here = std::path::absolute("site").unwrap();
    assert_eq!(
        recipe,
        format!(
            "mirrors: {{flatcar: [\"http://10.9.0.2/flatcar\"]}}\ntrust_ca: [\"{0}/keys/ca.pem\"]\nsysexts: [nerdctl, {{name: \"{0}/../sysext/gpu\", version: \"1.0\"}}]\npackaging: {{format: erofs}}\n",
            here.display()
        )
    );
}

/// An etcd outside lets controllers be without disks and of an even number.
#[test]
fn an_etcd_outside_makes_controllers_free() {
    let etcd =
        "etcd: {endpoints: ['https://10.0.0.5:2379'], ca: ca.crt, cert: a.crt, key: a.key}\n  name: edge";
    let text = SOUND
        .replace("name: edge", etcd)
        .replace(", state: /dev/disk/by-id/virtio-state", "")
        .replace("    state: /dev/disk/by-id/virtio-state\n", "");
    let text = text
        .lines()
        .filter(|line| !line.contains("name: c3"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(told(&text), [""; 0]);
}

#[test]
fn the_example_is_sound() {
    assert_eq!(told(include_str!("../../../cluster.yaml.example")), [""; 0]);
}
