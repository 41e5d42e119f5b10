//! Microsoft Azure, by cluster-api-provider-azure (CAPZ). Names of variables are those of its own templates.

use serde_json::{Value, json};

use super::{Choices, Identity, Provider, Role};
use crate::capi::components::{Component, Kind};
use crate::capi::variables::{Default, Form, Variable};

/// The provider.
pub(super) static AZURE: Provider = Provider {
    name: "azure",
    title: "Microsoft Azure",
    platform: "azure",
    api: "v1beta1",
    cluster: "AzureCluster",
    machine: "AzureMachineTemplate",
    component: Component {
        name: "azure",
        kind: Kind::Infrastructure,
        version: "v1.26.0",
        url: "https://github.com/kubernetes-sigs/cluster-api-provider-azure/releases/download/{v}",
        file: "infrastructure-components.yaml",
        images: &[],
    },
    others: &[],
    is_vip: false,
    is_external: true,
    identity: Identity {
        unit: None,
        environment: None,
        // The machine's name as the cloud controller manager knows it. A host name may be another.
        lines: &[
            "NODE_NAME=$(curl --silent --fail --retry 20 --retry-all-errors --retry-delay 3 --noproxy '*' --header Metadata:true \
             'http://169.254.169.254/metadata/instance/compute/name?api-version=2021-02-01&format=text')",
        ],
        provider_id: None,
    },
    variables: &[
        Variable {
            name: "AZURE_SUBSCRIPTION_ID",
            form: Form::Text,
            default: Default::Needed,
            about: "Subscription of the cluster.",
            example: "a UUID",
        },
        Variable {
            name: "AZURE_TENANT_ID",
            form: Form::Text,
            default: Default::Needed,
            about: "Tenant of the identity.",
            example: "a UUID",
        },
        Variable {
            name: "AZURE_CLIENT_ID_USER_ASSIGNED_IDENTITY",
            form: Form::Text,
            default: Default::Needed,
            about: "Client id of the identity that the provider works with.",
            example: "a UUID",
        },
        Variable {
            name: "CLUSTER_IDENTITY_NAME",
            form: Form::Text,
            default: Default::Is("cluster-identity"),
            about: "Name of the object for that identity.",
            example: "cluster-identity",
        },
        Variable {
            name: "CLUSTER_IDENTITY_TYPE",
            form: Form::Text,
            default: Default::Is("WorkloadIdentity"),
            about: "Its type.",
            example: "UserAssignedMSI",
        },
        Variable {
            name: "AZURE_LOCATION",
            form: Form::Text,
            default: Default::Needed,
            about: "Location of the cluster.",
            example: "westeurope",
        },
        Variable {
            name: "AZURE_RESOURCE_GROUP",
            form: Form::Text,
            default: Default::Is("${CLUSTER_NAME}"),
            about: "Resource group of the cluster, which the provider makes.",
            example: "prod",
        },
        Variable {
            name: "AZURE_IMAGE_ID",
            form: Form::Text,
            default: Default::Needed,
            about: "The image: the recipe's own disk image, as a managed image or a version of a gallery.",
            example: "/subscriptions/…/images/capi-node",
        },
        Variable {
            name: "AZURE_CONTROL_PLANE_MACHINE_TYPE",
            form: Form::Text,
            default: Default::Needed,
            about: "Size of control planes.",
            example: "Standard_D2s_v3",
        },
        Variable {
            name: "AZURE_NODE_MACHINE_TYPE",
            form: Form::Text,
            default: Default::Needed,
            about: "Size of workers.",
            example: "Standard_D2s_v3",
        },
        Variable {
            name: "AZURE_SSH_PUBLIC_KEY_B64",
            form: Form::Bare,
            default: Default::Is("\"\""),
            about: "A public SSH key in base64 for Azure's own agent, if it shall have one.",
            example: "base64",
        },
    ],
    cluster_spec,
    machine_spec,
    more,
    gates: &[],
    remarks: &["Nodes stay uninitialised until Azure's cloud controller manager runs in the cluster."],
};

fn cluster_spec(_: &Choices) -> Value {
    json!({
        "identityRef": {
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
            "kind": "AzureClusterIdentity",
            "name": "${CLUSTER_IDENTITY_NAME}",
        },
        "location": "${AZURE_LOCATION}",
        "networkSpec": {
            "subnets": [
                {"name": "control-plane-subnet", "role": "control-plane"},
                {"name": "node-subnet", "role": "node"},
            ],
            "vnet": {"name": "${CLUSTER_NAME}-vnet"},
        },
        "resourceGroup": "${AZURE_RESOURCE_GROUP}",
        "subscriptionID": "${AZURE_SUBSCRIPTION_ID}",
    })
}

fn machine_spec(_: &Choices, role: Role) -> Value {
    let size = match role {
        Role::ControlPlane => "${AZURE_CONTROL_PLANE_MACHINE_TYPE}",
        Role::Worker => "${AZURE_NODE_MACHINE_TYPE}",
    };
    json!({
        "image": {"id": "${AZURE_IMAGE_ID}"},
        "osDisk": {"diskSizeGB": 128, "osType": "Linux"},
        "sshPublicKey": "${AZURE_SSH_PUBLIC_KEY_B64}",
        "vmSize": size,
    })
}

fn more() -> Vec<Value> {
    vec![json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
        "kind": "AzureClusterIdentity",
        "metadata": {
            "name": "${CLUSTER_IDENTITY_NAME}",
            // It goes along when the cluster moves to another management cluster.
            "labels": {"clusterctl.cluster.x-k8s.io/move-hierarchy": "true"},
        },
        "spec": {
            "allowedNamespaces": {},
            "clientID": "${AZURE_CLIENT_ID_USER_ASSIGNED_IDENTITY}",
            "tenantID": "${AZURE_TENANT_ID}",
            "type": "${CLUSTER_IDENTITY_TYPE}",
        },
    })]
}
