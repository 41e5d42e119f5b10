//! Amazon EC2, by cluster-api-provider-aws (CAPA). Names of variables are those of its own templates.

use serde_json::{Value, json};

use super::{Choices, Identity, Provider, Role, none};
use crate::capi::components::{Component, Kind};
use crate::capi::variables::{Default, Form, Variable};

/// The provider.
pub(super) static AWS: Provider = Provider {
    name: "aws",
    title: "Amazon EC2",
    platform: "ami",
    api: "v1beta2",
    cluster: "AWSCluster",
    machine: "AWSMachineTemplate",
    component: Component {
        name: "aws",
        kind: Kind::Infrastructure,
        version: "v2.13.0",
        url: "https://github.com/kubernetes-sigs/cluster-api-provider-aws/releases/download/{v}",
        file: "infrastructure-components.yaml",
        images: &[],
    },
    others: &[],
    is_vip: false,
    is_external: true,
    identity: Identity {
        unit: Some("coreos-metadata.service"),
        environment: Some("/run/metadata/flatcar"),
        // The cloud controller manager finds an instance by its private name.
        lines: &["NODE_NAME=$COREOS_EC2_HOSTNAME"],
        provider_id: None,
    },
    variables: &[
        Variable {
            name: "AWS_B64ENCODED_CREDENTIALS",
            form: Form::Text,
            default: Default::Components { secret: true },
            about: "Credentials of the provider (`clusterawsadm bootstrap credentials encode-as-profile`).",
            example: "base64",
        },
        Variable {
            name: "AWS_REGION",
            form: Form::Text,
            default: Default::Needed,
            about: "Region of the cluster.",
            example: "eu-central-1",
        },
        Variable {
            name: "AWS_S3_BUCKET_NAME",
            form: Form::Text,
            default: Default::Needed,
            about: "Bucket that holds the machines' Ignition configs: they are longer than user data may be. The provider makes it.",
            example: "cluster-api-provider-aws-prod",
        },
        Variable {
            name: "AWS_AMI_ID",
            form: Form::Text,
            default: Default::Needed,
            about: "The image: the recipe's own disk image, registered as AMI.",
            example: "ami-0123456789abcdef0",
        },
        Variable {
            name: "AWS_CONTROL_PLANE_MACHINE_TYPE",
            form: Form::Text,
            default: Default::Needed,
            about: "Type of control planes.",
            example: "t3.large",
        },
        Variable {
            name: "AWS_NODE_MACHINE_TYPE",
            form: Form::Text,
            default: Default::Needed,
            about: "Type of workers.",
            example: "t3.large",
        },
        Variable {
            name: "AWS_SSH_KEY_NAME",
            form: Form::Bare,
            default: Default::Is("\"\""),
            about: "Name of a key pair in EC2, if the machines shall have one besides `VM_SSH_KEYS`.",
            example: "ops",
        },
    ],
    cluster_spec,
    machine_spec,
    more: none,
    gates: &["EXP_BOOTSTRAP_FORMAT_IGNITION"],
    remarks: &["Nodes stay uninitialised until AWS' cloud controller manager runs in the cluster."],
};

fn cluster_spec(_: &Choices) -> Value {
    json!({
        "region": "${AWS_REGION}",
        "sshKeyName": "${AWS_SSH_KEY_NAME}",
        "controlPlaneLoadBalancer": {"loadBalancerType": "nlb", "healthCheckProtocol": "HTTPS"},
        "s3Bucket": {
            "name": "${AWS_S3_BUCKET_NAME}",
            "controlPlaneIAMInstanceProfile": "control-plane.cluster-api-provider-aws.sigs.k8s.io",
            "nodesIAMInstanceProfiles": ["nodes.cluster-api-provider-aws.sigs.k8s.io"],
        },
    })
}

fn machine_spec(_: &Choices, role: Role) -> Value {
    let (kind, profile) = match role {
        Role::ControlPlane => ("${AWS_CONTROL_PLANE_MACHINE_TYPE}", "control-plane"),
        Role::Worker => ("${AWS_NODE_MACHINE_TYPE}", "nodes"),
    };
    json!({
        "ami": {"id": "${AWS_AMI_ID}"},
        "instanceType": kind,
        "iamInstanceProfile": format!("{profile}.cluster-api-provider-aws.sigs.k8s.io"),
        "sshKeyName": "${AWS_SSH_KEY_NAME}",
        // Flatcar's Ignition reads both forms; the provider's own part is of this one, as Cluster API's is.
        "ignition": {"version": "2.3", "storageType": "ClusterObjectStore"},
    })
}
