//! Labels that an administrator gives a Node, because its kubelet may not give them to itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::client::{Connection, Error};
use super::objects::MANAGER;

/// Gives a Node labels; others of it stay. In return whether there is a Node.
///
/// # Errors
/// The API server does not answer, or refuses.
pub async fn give(
    connection: &Connection,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, Error> {
    let client = connection.client().map_err(|error| connection.failed(&error))?;
    // A merge: to apply would make a Node that has just gone anew, and a kubelet would find it there.
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    match Api::<Node>::all(client).patch_metadata(name, &params, &patch).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(connection.failed(&error)),
    }
}
