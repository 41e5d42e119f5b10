//! The facts that a management cluster of Cluster API tells: kinds with their schemas, controllers, and conditions that are not met.
//!
//! Owns asking. Leaves verdicts to `capi::doctor`, which gets plain data.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;

use super::client::{Connection, Error, Trouble as Failure};
use crate::capi::doctor::{Controller, Live, Served, Trouble};

/// Groups of Cluster API end so.
const GROUP: &str = "cluster.x-k8s.io";
/// clusterctl's label on all that belongs to a provider.
const PROVIDER: &str = "cluster.x-k8s.io/provider";
/// Parts of the names of its controllers, where something else than clusterctl installed them.
const NAMES: [&str; 4] = ["capi-", "capmox", "caip", "kubeadm-"];
/// Kinds whose conditions are looked at.
const TELLING: [&str; 6] =
    ["Cluster", "Machine", "MachineDeployment", "KubeadmControlPlane", "ProxmoxCluster", "ProxmoxMachine"];
/// Conditions that are true when all is well.
const POSITIVE: [&str; 5] =
    ["Ready", "Available", "InfrastructureReady", "BootstrapConfigReady", "VMProvisioned"];
/// Most objects of a kind that are looked at; a management cluster with more has other tools.
const MOST: u32 = 500;

/// Asks, for at most this long.
///
/// # Errors
/// The API server does not answer, or refuses.
pub async fn look(connection: &Connection, limit: Duration) -> Result<Live, Error> {
    let silent = |_| Error::Asked { server: connection.server(), trouble: Failure::silent(limit) };
    tokio::time::timeout(limit, ask(connection))
        .await
        .map_err(silent)?
        .map_err(|error| connection.failed(&error))
}

async fn ask(connection: &Connection) -> Result<Live, kube::Error> {
    let client = connection.client()?;
    let mut live = Live { server: connection.server(), ..Live::default() };
    let all = ListParams::default();
    let definitions = Api::<CustomResourceDefinition>::all(client.clone()).list(&all).await?;
    let mut telling = Vec::new();
    for definition in definitions.items.into_iter().map(|definition| definition.spec) {
        if definition.group != GROUP && !definition.group.ends_with(&format!(".{GROUP}")) {
            continue;
        }
        let names = &definition.names;
        let best = definition.versions.iter().find(|version| version.storage && version.served);
        let best = best.or_else(|| definition.versions.iter().find(|version| version.served));
        if let Some(version) = best.filter(|_| TELLING.contains(&names.kind.as_str())) {
            let kind = GroupVersionKind::gvk(&definition.group, &version.name, &names.kind);
            telling.push(ApiResource::from_gvk_with_plural(&kind, &names.plural));
        }
        let served = |version: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion| {
            let schema = version.schema.and_then(|schema| serde_json::to_value(schema.open_api_v3_schema).ok());
            Served { version: version.name, served: version.served, schema: schema.unwrap_or(Value::Null) }
        };
        let key = (definition.group, definition.names.kind);
        live.kinds.insert(key, definition.versions.into_iter().map(served).collect());
    }
    let deployments = Api::<Deployment>::all(client.clone()).list(&all).await?;
    live.controllers = deployments.items.into_iter().filter_map(controller).collect();
    for resource in telling {
        let objects = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let page = objects.list(&ListParams::default().limit(MOST)).await?;
        live.troubles.extend(page.items.iter().flat_map(|object| troubles(&resource.kind, object)));
    }
    Ok(live)
}

/// A Deployment, if it is one of Cluster API's.
fn controller(deployment: Deployment) -> Option<Controller> {
    let metadata = deployment.metadata;
    let name = metadata.name.unwrap_or_default();
    let provider = metadata.labels.and_then(|mut labels| labels.remove(PROVIDER));
    if provider.is_none() && !NAMES.iter().any(|part| name.starts_with(part)) {
        return None;
    }
    let containers = deployment.spec?.template.spec?.containers;
    let images = containers.iter().filter_map(|container| container.image.clone()).collect();
    let words = containers.into_iter().flat_map(|container| {
        container.command.unwrap_or_default().into_iter().chain(container.args.unwrap_or_default())
    });
    let arguments = words.collect();
    Some(Controller { namespace: metadata.namespace.unwrap_or_default(), name, images, arguments, provider })
}

/// The conditions of an object that are not met and say why.
fn troubles(kind: &str, object: &DynamicObject) -> Vec<Trouble> {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let text = |condition: &Value, key: &str| {
        condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let name = object.metadata.name.clone().unwrap_or_default();
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let unmet = conditions.into_iter().flatten().filter(|condition| {
        text(condition, "status") == "False" && POSITIVE.contains(&text(condition, "type").as_str())
    });
    let mut found: Vec<Trouble> = Vec::new();
    for message in unmet.map(|condition| text(condition, "message")).filter(|message| !message.is_empty()) {
        // Ready repeats what the others say.
        if !found.iter().any(|other| other.message.contains(&message) || message.contains(&other.message)) {
            found.push(Trouble { of: format!("{kind} {namespace}/{name}"), message });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmet_condition_is_told_once_and_only_of_those_that_should_be_true() {
        let object: DynamicObject = serde_json::from_value(serde_json::json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "ProxmoxMachine",
            "metadata": {"name": "a", "namespace": "n"},
            "status": {"conditions": [
                {"type": "VMProvisioned", "status": "False", "message": "cannot reserve: 0B available memory left"},
                {"type": "Ready", "status": "False", "message": "* VMProvisioned: cannot reserve: 0B available memory left"},
                {"type": "Deleting", "status": "False", "message": "it is not"},
                {"type": "Available", "status": "True", "message": "well"},
            ]},
        }))
        .unwrap();
        let [one] = &troubles("ProxmoxMachine", &object)[..] else { panic!() };
        assert_eq!(one.of, "ProxmoxMachine n/a");
        assert!(one.message.contains("0B"));
    }
}
