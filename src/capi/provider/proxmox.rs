//! Proxmox VE, by cluster-api-provider-proxmox (CAPMOX). Names of variables are those of its own templates.

use serde_json::{Value, json};

use super::{Choices, Identity, Provider, Role, Template, none};
use crate::capi::components::{Component, IPAM, Kind};
use crate::capi::variables::{Default, Form, Variable};

/// The provider.
pub(super) static PROXMOX: Provider = Provider {
    name: "proxmox",
    title: "Proxmox VE",
    platform: "proxmoxve",
    api: "v1alpha2",
    cluster: "ProxmoxCluster",
    machine: "ProxmoxMachineTemplate",
    component: Component {
        name: "proxmox",
        kind: Kind::Infrastructure,
        version: "v0.9.0",
        url: "https://github.com/ionos-cloud/cluster-api-provider-proxmox/releases/download/{v}",
        file: "infrastructure-components.yaml",
        images: &[],
    },
    // Its machines have all their addresses from it: there is no DHCP.
    others: &[&IPAM],
    is_vip: true,
    is_external: false,
    identity: Identity {
        unit: None,
        // The provider adds it to the Ignition config, so that it is there before the first boot (CAPMOX, pkg/ignition/enrich.go).
        environment: Some("/etc/proxmox-env"),
        lines: &["NODE_NAME=$COREOS_CUSTOM_HOSTNAME", "NODE_ID=$COREOS_CUSTOM_INSTANCE_ID"],
        provider_id: Some("proxmox://${NODE_ID}"),
    },
    variables: &[
        Variable {
            name: "PROXMOX_URL",
            form: Form::Text,
            default: Default::Components { secret: false },
            about: "URL of Proxmox VE's API.",
            example: "https://pve.example.org:8006",
        },
        Variable {
            name: "PROXMOX_TOKEN",
            form: Form::Text,
            default: Default::Components { secret: false },
            about: "Name of an API token.",
            example: "capmox@pve!capi",
        },
        Variable {
            name: "PROXMOX_SECRET",
            form: Form::Text,
            default: Default::Components { secret: true },
            about: "The token's secret.",
            example: "a UUID",
        },
        Variable {
            name: "PROXMOX_SOURCENODE",
            form: Form::Text,
            default: Default::Needed,
            about: "The node of Proxmox VE that holds the template. Not asked for where the recipe finds the template by tags.",
            example: "pve1",
        },
        Variable {
            name: "TEMPLATE_VMID",
            form: Form::Number,
            default: Default::Recipe,
            about: "Number of the template (`template.id` of the recipe). Not there where the recipe finds it by tags.",
            example: "211",
        },
        Variable {
            name: "ALLOWED_NODES",
            form: Form::List,
            default: Default::Is("[]"),
            about: "Nodes of Proxmox VE that machines are made on; without any, the template's.",
            example: "[pve1, pve2]",
        },
        Variable {
            name: "NODE_IP_RANGES",
            form: Form::List,
            default: Default::Needed,
            about: "Addresses that machines get from the in-cluster pool: ranges, networks or single ones.",
            example: "[10.0.0.10-10.0.0.50]",
        },
        Variable {
            name: "IP_PREFIX",
            form: Form::Number,
            default: Default::Needed,
            about: "Prefix length of their network.",
            example: "24",
        },
        Variable {
            name: "GATEWAY",
            form: Form::Text,
            default: Default::Needed,
            about: "Their router; a machine without one is refused.",
            example: "10.0.0.1",
        },
        Variable {
            name: "DNS_SERVERS",
            form: Form::List,
            default: Default::Needed,
            about: "Their name servers.",
            example: "[10.0.0.53]",
        },
        Variable {
            name: "BRIDGE",
            form: Form::Text,
            default: Default::Is("vmbr0"),
            about: "Bridge of the first card.",
            example: "vmbr0",
        },
        Variable {
            name: "NUM_SOCKETS",
            form: Form::Number,
            default: Default::Is("2"),
            about: "Sockets of a machine.",
            example: "1",
        },
        Variable {
            name: "NUM_CORES",
            form: Form::Number,
            default: Default::Is("4"),
            about: "Cores of a socket.",
            example: "4",
        },
        Variable {
            name: "MEMORY_MIB",
            form: Form::Number,
            default: Default::Is("16384"),
            about: "Memory of a machine in MiB, a multiple of 8.",
            example: "8192",
        },
        Variable {
            name: "BOOT_VOLUME_DEVICE",
            form: Form::Text,
            default: Default::Is("scsi0"),
            about: "The template's disk.",
            example: "scsi0",
        },
        Variable {
            name: "BOOT_VOLUME_SIZE",
            form: Form::Number,
            default: Default::Is("100"),
            about: "Length of a machine's disk in GB, no less than the template's.",
            example: "40",
        },
    ],
    cluster_spec,
    machine_spec,
    more: none,
    gates: &[],
    remarks: &[
        "Addresses come from the in-cluster pool that the provider makes of `ipv4Config`: there is no DHCP, and the address of the control \
         plane must not be among them.",
        "`schedulerHints.memoryAdjustment: 0` switches the provider's check of memory off, which ends in \"0b available\" where a host's \
         memory is all given away already (`memory_adjustment` of the recipe).",
    ],
};

fn cluster_spec(choices: &Choices) -> Value {
    let mut spec = json!({
        "controlPlaneEndpoint": {"host": "${CONTROL_PLANE_ENDPOINT_IP}", "port": 6443},
        "ipv4Config": {"addresses": "${NODE_IP_RANGES}", "prefix": "${IP_PREFIX}", "gateway": "${GATEWAY}"},
        "dnsServers": "${DNS_SERVERS}",
        "allowedNodes": "${ALLOWED_NODES}",
    });
    if let Some(percent) = choices.memory_adjustment {
        spec["schedulerHints"] = json!({"memoryAdjustment": percent});
    }
    spec
}

fn machine_spec(choices: &Choices, _: Role) -> Value {
    let mut spec = match &choices.template {
        Some(Template::Tags(tags)) => {
            json!({"templateSelector": {"matchTags": tags, "matchPolicy": "uniqueSubset"}})
        }
        _ => json!({"sourceNode": "${PROXMOX_SOURCENODE}", "templateID": "${TEMPLATE_VMID}"}),
    };
    // No `format`: storages of blocks know raw alone, and every other keeps the template's.
    spec["full"] = json!(true);
    if let Some((start, end)) = choices.vm_ids {
        spec["vmIDRange"] = json!({"start": start, "end": end});
    }
    let own = json!({
        "numSockets": "${NUM_SOCKETS}",
        "numCores": "${NUM_CORES}",
        "memoryMiB": "${MEMORY_MIB}",
        "disks": {"bootVolume": {"disk": "${BOOT_VOLUME_DEVICE}", "sizeGb": "${BOOT_VOLUME_SIZE}"}},
        // The address of the pool goes to the card that says so: the provider's webhook says it for net0 alone, and only where it runs.
        "network": {"networkDevices": [
            {"name": "net0", "bridge": "${BRIDGE}", "model": "virtio", "defaultIPv4": true},
        ]},
        // Flatcar has no cloud-init; its guest agent starts where the machine has a port for it.
        "checks": {"skipCloudInitStatus": true, "skipQemuGuestAgent": false},
    });
    if let (Value::Object(spec), Value::Object(own)) = (&mut spec, own) {
        spec.extend(own);
    }
    spec
}
