//! The cards of machines, with the addresses that Cluster API gave them.

use std::fs;

use serde_json::{Value, json};

use super::pve::Pve;

#[test]
fn machines_are_listed_by_cluster_or_id_and_become_reservations_and_nodes() {
    let Some(pve) = Pve::start() else { return };
    let vm = |name: &str, mac: &str| json!({"node": "pve", "config": {"name": name, "net0": format!("virtio={mac},bridge=vmbr0")}});
    pve.manners(&json!({"vms": {
        "301": vm("edge-control-plane-abc", "BC:24:11:00:00:01"), "302": vm("edge-md-0-xyz", "BC:24:11:00:00:02"),
        "303": vm("edge2-md-0-xyz", "BC:24:11:00:00:03"), "304": {"node": "pve", "config": {"name": "edge-none"}},
        "211": {"node": "pve", "config": {"name": "edge-template", "template": "1", "net0": "virtio=BC:24:11:00:00:09,bridge=vmbr0"}},
        "400": {"node": "pve", "type": "lxc", "config": {"name": "edge-container"}},
    }}));
    let address = |claim: &str, ip: &str| json!({"kind": "IPAddress", "spec": {"address": ip, "prefix": 24, "claimRef": {"name": claim}}});
    let list = json!({"kind": "List", "items": [
        address("edge-control-plane-abc-net0-00-inet", "192.168.1.11"), address("edge2-md-0-xyz-net0-00-inet", "192.168.1.13"),
    ]});
    fs::write(pve.directory.path().join("ips.json"), list.to_string()).unwrap();
    let macs = |args: &[&str]| pve.run(&[&["proxmox", "macs"], args].concat());
    let all: Value = serde_json::from_str(&macs(&["--json"]).ok().stdout).unwrap();
    let ids: Vec<u64> =
        all["vms"].as_array().unwrap().iter().map(|vm| vm["vm_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [301, 302, 303, 304]);
    let edge: Value = serde_json::from_str(
        &macs(&["--cluster-name", "edge", "--addresses", "ips.json", "--json"]).ok().stdout,
    )
    .unwrap();
    assert_eq!(
        edge["vms"][0],
        json!({"vm_id": 301, "name": "edge-control-plane-abc", "node": "pve", "mac": "bc:24:11:00:00:01", "ip": "192.168.1.11/24"})
    );
    assert_eq!(edge["vms"].as_array().unwrap().len(), 3);
    let table = macs(&["--vm-ids", "303-304"]).ok().stdout;
    assert!(
        table.contains("edge2-md-0-xyz") && table.contains("bc:24:11:00:00:03") && !table.contains("301"),
        "{table}"
    );
    let run = macs(&["--cluster-name", "edge", "--addresses", "ips.json", "--for", "dnsmasq"]).ok();
    assert_eq!(run.stdout, "dhcp-host=bc:24:11:00:00:01,192.168.1.11,edge-control-plane-abc\n");
    assert!(run.stderr.contains("2 VMs without a card or an address"), "{}", run.stderr);
    let nodes = macs(&["--cluster-name", "edge", "--addresses", "ips.json", "--for", "prebake"]).ok().stdout;
    assert!(
        nodes.starts_with(
            "nodes:\n  - {name: edge-control-plane-abc, mac: \"bc:24:11:00:00:01\", ip: \"192.168.1.11/24\""
        ),
        "{nodes}"
    );
    fs::write(pve.directory.path().join("page.html"), "<html>").unwrap();
    macs(&["--addresses", "page.html"])
        .fails(3, &["page.html is no list of IP addresses", "kubectl get ipaddresses"]);
    for more in [&[][..], &["--for", "dnsmasq"], &["--for", "prebake"]] {
        let run = macs(&[&["--cluster-name", "edgy"], more].concat());
        run.fails(1, &["no VM begins with edgy-", "did you mean `edge`?"]);
        assert_eq!(run.stdout, "", "{more:?}");
    }
    macs(&["--vm-ids", "900-910"]).fails(1, &["no VM has an id from 900 to 910"]);
    macs(&["--addresses", "absent.json"]).fails(2, &["there is no file absent.json", "--addresses"]);
    assert_eq!((pve.state()["faults"].clone(), pve.changes()), (json!([]), vec![]));
}
