//! KubeVirt, by cluster-api-provider-kubevirt (CAPK). Names of variables are those of its own templates.

use serde_json::{Value, json};

use super::{Choices, Identity, Provider, Role, none};
use crate::capi::components::{Component, Kind};
use crate::capi::variables::{Default, Form, Variable};

/// The provider.
pub(super) static KUBEVIRT: Provider = Provider {
    name: "kubevirt",
    title: "KubeVirt",
    platform: "kubevirt",
    api: "v1alpha1",
    cluster: "KubevirtCluster",
    machine: "KubevirtMachineTemplate",
    component: Component {
        name: "kubevirt",
        kind: Kind::Infrastructure,
        version: "v0.11.2",
        url: "https://github.com/kubernetes-sigs/cluster-api-provider-kubevirt/releases/download/{v}",
        file: "infrastructure-components.yaml",
        images: &[],
    },
    others: &[],
    is_vip: false,
    is_external: false,
    // The name comes by DHCP, and the provider itself puts its id on the node.
    identity: Identity {
        unit: None,
        environment: None,
        lines: &["NODE_NAME=$(hostname)"],
        provider_id: None,
    },
    variables: &[
        Variable {
            name: "NODE_VM_IMAGE_TEMPLATE",
            form: Form::Text,
            default: Default::Needed,
            about: "A container image with the recipe's disk image at `/disk`, as KubeVirt's container disks are made.",
            example: "registry.example.org/capi-node:1",
        },
        Variable {
            name: "CONTROL_PLANE_SERVICE_TYPE",
            form: Form::Text,
            default: Default::Is("LoadBalancer"),
            about: "Type of the service that leads to the control plane.",
            example: "ClusterIP",
        },
        Variable {
            name: "NUM_CORES",
            form: Form::Number,
            default: Default::Is("2"),
            about: "Cores of a machine.",
            example: "4",
        },
        Variable {
            name: "MEMORY",
            form: Form::Text,
            default: Default::Is("4Gi"),
            about: "Memory of a machine, as Kubernetes writes it.",
            example: "8Gi",
        },
    ],
    cluster_spec,
    machine_spec,
    more: none,
    gates: &[],
    remarks: &["The provider's own SSH check needs a user that cloud-init makes, so it is off."],
};

fn cluster_spec(_: &Choices) -> Value {
    json!({"controlPlaneServiceTemplate": {"spec": {"type": "${CONTROL_PLANE_SERVICE_TYPE}"}}})
}

fn machine_spec(_: &Choices, _: Role) -> Value {
    json!({
        "virtualMachineBootstrapCheck": {"checkStrategy": "none"},
        "virtualMachineTemplate": {"spec": {
            "runStrategy": "Always",
            "template": {"spec": {
                "domain": {
                    "cpu": {"cores": "${NUM_CORES}"},
                    "memory": {"guest": "${MEMORY}"},
                    "devices": {
                        "networkInterfaceMultiqueue": true,
                        "disks": [{"name": "containervolume", "disk": {"bus": "virtio"}}],
                    },
                },
                "evictionStrategy": "External",
                "volumes": [{"name": "containervolume", "containerDisk": {"image": "${NODE_VM_IMAGE_TEMPLATE}"}}],
            }},
        }},
    })
}
