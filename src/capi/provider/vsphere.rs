//! vSphere, by cluster-api-provider-vsphere (CAPV). Names of variables are those of its own templates.

use serde_json::{Value, json};

use super::{Choices, Identity, Provider, Role};
use crate::capi::components::{Component, Kind};
use crate::capi::variables::{Default, Form, Variable};

/// The provider.
pub(super) static VSPHERE: Provider = Provider {
    name: "vsphere",
    title: "VMware vSphere",
    platform: "vmware",
    api: "v1beta2",
    cluster: "VSphereCluster",
    machine: "VSphereMachineTemplate",
    component: Component {
        name: "vsphere",
        kind: Kind::Infrastructure,
        version: "v1.16.1",
        url: "https://github.com/kubernetes-sigs/cluster-api-provider-vsphere/releases/download/{v}",
        file: "infrastructure-components.yaml",
        images: &[],
    },
    others: &[],
    is_vip: true,
    is_external: true,
    identity: Identity {
        // Afterburn does not run on VMware (flatcar/scripts, coreos-base/afterburn).
        unit: None,
        environment: None,
        // The provider hands the name over as metadata for cloud-init. Tools lie in OEM or in a sysext.
        lines: &[
            "export PATH=$PATH:/usr/share/oem/bin:/oem/bin",
            "said=$(vmtoolsd --cmd 'info-get guestinfo.metadata' | base64 -d)",
            "NODE_NAME=$(sed -n 's/^ *\"\\{0,1\\}local-hostname\"\\{0,1\\}: *//p' <<<\"$said\" | tr -d '\", ' | head -n 1)",
            "[ -z \"$NODE_NAME\" ] || hostnamectl set-hostname \"$NODE_NAME\"",
        ],
        provider_id: None,
    },
    variables: &[
        Variable {
            name: "VSPHERE_SERVER",
            form: Form::Text,
            default: Default::Needed,
            about: "Name or address of vCenter.",
            example: "vcenter.example.org",
        },
        Variable {
            name: "VSPHERE_USERNAME",
            form: Form::Text,
            default: Default::Needed,
            about: "User of vCenter.",
            example: "capv@vsphere.local",
        },
        Variable {
            name: "VSPHERE_PASSWORD",
            form: Form::Text,
            default: Default::Secret,
            about: "Its password: it is in what `clusterctl generate` prints.",
            example: "a password",
        },
        Variable {
            name: "VSPHERE_TLS_THUMBPRINT",
            form: Form::Text,
            default: Default::Needed,
            about: "SHA-1 of vCenter's certificate.",
            example: "AA:BB:…",
        },
        Variable {
            name: "VSPHERE_DATACENTER",
            form: Form::Text,
            default: Default::Needed,
            about: "Data center of the machines.",
            example: "dc0",
        },
        Variable {
            name: "VSPHERE_DATASTORE",
            form: Form::Text,
            default: Default::Needed,
            about: "Data store of the machines.",
            example: "ds0",
        },
        Variable {
            name: "VSPHERE_FOLDER",
            form: Form::Text,
            default: Default::Needed,
            about: "Folder of the machines.",
            example: "vm",
        },
        Variable {
            name: "VSPHERE_NETWORK",
            form: Form::Text,
            default: Default::Needed,
            about: "Network of the machines, which has DHCP.",
            example: "VM Network",
        },
        Variable {
            name: "VSPHERE_RESOURCE_POOL",
            form: Form::Text,
            default: Default::Needed,
            about: "Pool of the machines.",
            example: "*/Resources",
        },
        Variable {
            name: "VSPHERE_STORAGE_POLICY",
            form: Form::Bare,
            default: Default::Is("\"\""),
            about: "Policy of their storage, if any.",
            example: "gold",
        },
        Variable {
            name: "VSPHERE_TEMPLATE",
            form: Form::Text,
            default: Default::Needed,
            about: "The template: the recipe's own disk image, imported.",
            example: "capi-node",
        },
        Variable {
            name: "NUM_CPUS",
            form: Form::Number,
            default: Default::Is("2"),
            about: "CPUs of a machine.",
            example: "4",
        },
        Variable {
            name: "MEMORY_MIB",
            form: Form::Number,
            default: Default::Is("8192"),
            about: "Memory of a machine in MiB.",
            example: "8192",
        },
        Variable {
            name: "DISK_GIB",
            form: Form::Number,
            default: Default::Is("25"),
            about: "Length of a machine's disk in GiB, no less than the template's.",
            example: "40",
        },
    ],
    cluster_spec,
    machine_spec,
    more,
    gates: &[],
    remarks: &["Nodes stay uninitialised until vSphere's cloud controller manager runs in the cluster."],
};

fn cluster_spec(_: &Choices) -> Value {
    json!({
        "controlPlaneEndpoint": {"host": "${CONTROL_PLANE_ENDPOINT_IP}", "port": 6443},
        "identityRef": {"kind": "Secret", "name": "${CLUSTER_NAME}"},
        "server": "${VSPHERE_SERVER}",
        "thumbprint": "${VSPHERE_TLS_THUMBPRINT}",
    })
}

fn machine_spec(_: &Choices, _: Role) -> Value {
    json!({
        "cloneMode": "fullClone",
        "server": "${VSPHERE_SERVER}",
        "datacenter": "${VSPHERE_DATACENTER}",
        "datastore": "${VSPHERE_DATASTORE}",
        "folder": "${VSPHERE_FOLDER}",
        "resourcePool": "${VSPHERE_RESOURCE_POOL}",
        "storagePolicyName": "${VSPHERE_STORAGE_POLICY}",
        "template": "${VSPHERE_TEMPLATE}",
        "numCPUs": "${NUM_CPUS}",
        "memoryMiB": "${MEMORY_MIB}",
        "diskGiB": "${DISK_GIB}",
        "os": "Linux",
        "powerOffMode": "trySoft",
        "network": {"devices": [{"networkName": "${VSPHERE_NETWORK}", "dhcp4": true, "dhcp6": false}]},
    })
}

fn more() -> Vec<Value> {
    vec![json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "${CLUSTER_NAME}"},
        "stringData": {"username": "${VSPHERE_USERNAME}", "password": "${VSPHERE_PASSWORD}"},
    })]
}
