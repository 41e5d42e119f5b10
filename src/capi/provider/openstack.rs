//! OpenStack, by cluster-api-provider-openstack (CAPO). Names of variables are those of its own templates.

use serde_json::{Value, json};

use super::{Choices, Identity, Provider, Role};
use crate::capi::components::{Component, Kind};
use crate::capi::variables::{Default, Form, Variable};

/// The provider.
pub(super) static OPENSTACK: Provider = Provider {
    name: "openstack",
    title: "OpenStack",
    platform: "openstack",
    api: "v1beta1",
    cluster: "OpenStackCluster",
    machine: "OpenStackMachineTemplate",
    component: Component {
        name: "openstack",
        kind: Kind::Infrastructure,
        version: "v0.14.7",
        url: "https://github.com/kubernetes-sigs/cluster-api-provider-openstack/releases/download/{v}",
        file: "infrastructure-components.yaml",
        images: &[],
    },
    others: &[],
    is_vip: false,
    is_external: true,
    identity: Identity {
        unit: Some("coreos-metadata.service"),
        environment: Some("/run/metadata/flatcar"),
        // Nova adds the domain `novalocal` to names; the cloud controller manager knows the server's alone.
        lines: &[
            "NODE_NAME=$(cut -d. -f1 <<<\"$COREOS_OPENSTACK_HOSTNAME\")",
            "NODE_ID=$COREOS_OPENSTACK_INSTANCE_UUID",
        ],
        provider_id: Some("openstack:///${NODE_ID}"),
    },
    variables: &[
        Variable {
            name: "OPENSTACK_CLOUD",
            form: Form::Text,
            default: Default::Needed,
            about: "Name of the cloud in clouds.yaml.",
            example: "openstack",
        },
        Variable {
            name: "OPENSTACK_CLOUD_YAML_B64",
            form: Form::Text,
            default: Default::Secret,
            about: "clouds.yaml in base64, with its password: it is in what `clusterctl generate` prints.",
            example: "base64",
        },
        Variable {
            name: "OPENSTACK_CLOUD_CACERT_B64",
            form: Form::Text,
            default: Default::Needed,
            about: "Certificates of the cloud's authority in base64; `Cg==` for none.",
            example: "Cg==",
        },
        Variable {
            name: "OPENSTACK_EXTERNAL_NETWORK_ID",
            form: Form::Text,
            default: Default::Needed,
            about: "UUID of the network to the outside.",
            example: "a UUID",
        },
        Variable {
            name: "OPENSTACK_DNS_NAMESERVERS",
            form: Form::Text,
            default: Default::Needed,
            about: "Name server of the machines.",
            example: "10.0.0.53",
        },
        Variable {
            name: "OPENSTACK_NODE_CIDR",
            form: Form::Text,
            default: Default::Is("10.6.0.0/24"),
            about: "Network of the machines, which the provider makes.",
            example: "10.6.0.0/24",
        },
        Variable {
            name: "OPENSTACK_FAILURE_DOMAIN",
            form: Form::Text,
            default: Default::Is("nova"),
            about: "Availability zone of the workers.",
            example: "nova",
        },
        Variable {
            name: "OPENSTACK_FLATCAR_IMAGE_NAME",
            form: Form::Text,
            default: Default::Needed,
            about: "Name of the image in Glance: the recipe's own disk image.",
            example: "capi-node",
        },
        Variable {
            name: "OPENSTACK_CONTROL_PLANE_MACHINE_FLAVOR",
            form: Form::Text,
            default: Default::Needed,
            about: "Flavor of control planes.",
            example: "m1.large",
        },
        Variable {
            name: "OPENSTACK_NODE_MACHINE_FLAVOR",
            form: Form::Text,
            default: Default::Needed,
            about: "Flavor of workers.",
            example: "m1.large",
        },
        Variable {
            name: "OPENSTACK_SSH_KEY_NAME",
            form: Form::Bare,
            default: Default::Is("\"\""),
            about: "Name of a key pair in Nova, if the machines shall have one besides `VM_SSH_KEYS`.",
            example: "ops",
        },
    ],
    cluster_spec,
    machine_spec,
    more,
    gates: &[],
    remarks: &[
        "The provider's components need those of openstack-resource-controller in the management cluster: install it first.",
        "Nodes stay uninitialised until OpenStack's cloud controller manager runs in the cluster.",
    ],
};

fn cluster_spec(_: &Choices) -> Value {
    json!({
        "identityRef": {"type": "Secret", "cloudName": "${OPENSTACK_CLOUD}", "name": "${CLUSTER_NAME}-cloud-config"},
        "externalNetwork": {"id": "${OPENSTACK_EXTERNAL_NETWORK_ID}"},
        "managedSubnets": [{"cidr": "${OPENSTACK_NODE_CIDR}", "dnsNameservers": ["${OPENSTACK_DNS_NAMESERVERS}"]}],
        // For all that a network plugin sends between nodes.
        "managedSecurityGroups": {"allowAllInClusterTraffic": true},
    })
}

fn machine_spec(_: &Choices, role: Role) -> Value {
    let flavor = match role {
        Role::ControlPlane => "${OPENSTACK_CONTROL_PLANE_MACHINE_FLAVOR}",
        Role::Worker => "${OPENSTACK_NODE_MACHINE_FLAVOR}",
    };
    json!({
        "flavor": flavor,
        "image": {"filter": {"name": "${OPENSTACK_FLATCAR_IMAGE_NAME}"}},
        "sshKeyName": "${OPENSTACK_SSH_KEY_NAME}",
    })
}

fn more() -> Vec<Value> {
    vec![json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "${CLUSTER_NAME}-cloud-config",
            // It goes along when the cluster moves to another management cluster.
            "labels": {"clusterctl.cluster.x-k8s.io/move": "true"},
        },
        "data": {"cacert": "${OPENSTACK_CLOUD_CACERT_B64}", "clouds.yaml": "${OPENSTACK_CLOUD_YAML_B64}"},
    })]
}
