//! The whole line of Cluster API but for Proxmox VE itself: the node image boots with the user data that the real bootstrap controller
//! and the provider's own code made of our manifests, and its real kubeadm joins the cluster.
//!
//! The API server is management and workload cluster at once. In the place of Proxmox VE, QEMU gives the machine its user data, by the
//! firmware's configuration and not on an ISO; in the place of Flatcar's Ignition, ign-converter raises the config to
//! specification 3, which Debian's reads.

use std::fs;
use std::time::Duration;

use prebake::capi::provider::PROVIDERS;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::bootstrap::{GIVEN, provision, worker};
use super::judges::{find, generated, management, wish};
use crate::bake::node_image::{build, recipe};
use crate::judges;
use crate::lab;
use crate::lab::cluster::VERSION;
use crate::lab::machine::{self, Machine};
use crate::lab::management::{Judges, NAMESPACE};
use crate::lab::user_data;

/// How long one stage may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// The lab's addition to the image's own config: kubeadm is heard on the console.
const LISTENING: &str = "
    - name: kubeadm.service
      dropins:
        - name: 10-containerd.conf
          contents: |
            [Unit]
            Wants=containerd.service
            After=containerd.service
            [Service]
            ExecStartPre=/usr/bin/bash -c 'until [ -S /run/containerd/containerd.sock ]; do sleep 1; done'
        - name: zz-lab.conf
          contents: |
            [Service]
            StandardOutput=journal+console
            StandardError=journal+console
";

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_machine_joins_with_the_user_data_of_cluster_api_and_becomes_its_node() {
    let Some(peer) = judges::build("cluster-api") else { return };
    let directory = TempDir::new().unwrap();
    let work = directory.path();
    recipe(work);
    // ROOT of the lab's image has room for its own files alone.
    let path = work.join("capi-node.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("formats: [qcow2]", "formats: [qcow2]\n    size: 9GiB")).unwrap();
    let base = work.join("capi-node/base.bu");
    let text = fs::read_to_string(&base).unwrap();
    let (before, rest) = text.split_once("    - name: kubeadm.service\n").unwrap();
    let (_, after) = rest.split_once("    # Pods run").unwrap();
    let units = LISTENING.trim_start_matches('\n');
    fs::write(&base, format!("{before}{units}    # Pods run{after}")).unwrap();
    let Some(built) = build(work, &lab::nonce()) else { return };

    let _turn = machine::turn();
    let Some(management) = management(work, Judges::Controllers) else { return };
    let cluster = management.cluster();
    let mut objects = generated(&peer, work, &wish(PROVIDERS[0]), false);
    let endpoint = cluster.invitation().unwrap().endpoint;
    let (host, port) = endpoint.split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    find(&mut objects, "ProxmoxCluster", "")["spec"]["controlPlaneEndpoint"] =
        json!({"host": host, "port": port});
    provision(&management, &mut objects);
    let config = worker(&management, &mut objects);
    let config = user_data::enrich(&peer, &config, &GIVEN).unwrap();
    let given = work.join("user-data.ign");
    fs::write(&given, user_data::translate(&peer, &config).unwrap()).unwrap();

    let (image, console) = (work.join("qemu.qcow2"), work.join("console"));
    fs::copy(&built.image, &image).unwrap();
    let machine = Machine::builder("", &console).no_network_boot().qcow2(&image).user_data(&given);
    let mut machine = machine.mac(GIVEN.mac).uuid(GIVEN.uuid).memory_mib(3072).start().unwrap();
    let words = ["This node has joined the cluster", "Failed to start kubeadm"];
    let event = machine.wait_for(&words, PATIENCE);
    let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(80).join("\n")));
    assert_eq!(event.pattern, 0, "{}", machine.last_lines(80).join("\n"));
    eprintln!("{:5.1} s  joined", event.after.as_secs_f64());

    let node = cluster.kubectl(&["get", "node", GIVEN.hostname, "-o", "json"]).unwrap();
    let node: Value = serde_json::from_str(&node).unwrap();
    let provider = format!("proxmox://{}", GIVEN.uuid);
    assert_eq!(node["spec"]["providerID"], json!(provider));
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], VERSION);
    assert_eq!(node["status"]["nodeInfo"]["systemUUID"], json!(GIVEN.uuid));

    // Once the provider says that number, Cluster API knows its machine by it.
    let args = ["-n", NAMESPACE, "get", "machines.cluster.x-k8s.io", "-l"];
    let label = "cluster.x-k8s.io/deployment-name";
    let infrastructure = "jsonpath={.items[0].spec.infrastructureRef.name}";
    let name = cluster.kubectl(&[&args[..], &[label, "-o", infrastructure]].concat()).unwrap();
    let patch = json!({"spec": {"providerID": provider}}).to_string();
    cluster
        .kubectl(&["-n", NAMESPACE, "patch", "proxmoxmachine", &name, "--type=merge", "-p", &patch])
        .unwrap();
    management
        .set_status("proxmoxmachine", &name, &json!({"initialization": {"provisioned": true}}))
        .unwrap();
    let known = "jsonpath={.items[0].status.nodeRef.name} {.items[0].status.phase}";
    let known = [&args[..], &[label, "-o", known]].concat();
    let wanted = format!("{} Running", GIVEN.hostname);
    let said = cluster.await_output(&known, PATIENCE, |said| said == wanted);
    said.unwrap_or_else(|error| panic!("{error}\n{}", management.logs()));
}
