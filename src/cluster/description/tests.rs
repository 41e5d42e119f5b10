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
