//! Takes out of a cluster what must not stay: a node that is replaced, and the right to join.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use super::client::{Connection, Error};

/// The bindings by which whoever has a bootstrapper's certificate joins (kubeadm's phase `bootstrap-token`).
const BINDINGS: [&str; 2] = ["kubeadm:kubelet-bootstrap", "kubeadm:node-autoapprove-bootstrap"];
/// Users of signing requests that are a node's own.
const NODES: &str = "system:node:";

/// Deletes a Node and its signing requests. In return whether there was a Node, and how many requests there were.
///
/// # Errors
/// The API server does not answer, or refuses.
pub async fn node(connection: &Connection, name: &str) -> Result<(bool, usize), Error> {
    let client = connection.client().map_err(|error| connection.failed(&error))?;
    let there =
        delete(&Api::<Node>::all(client.clone()), name).await.map_err(|error| connection.failed(&error))?;
    let requests = Api::<CertificateSigningRequest>::all(client);
    let all = requests.list(&ListParams::default()).await.map_err(|error| connection.failed(&error))?;
    let is_its = |user: &str| user == name || user.strip_prefix(NODES) == Some(name);
    let mut count = 0;
    for request in all.items.iter().filter(|request| request.spec.username.as_deref().is_some_and(is_its)) {
        let Some(id) = request.metadata.name.as_deref() else { continue };
        count += usize::from(delete(&requests, id).await.map_err(|error| connection.failed(&error))?);
    }
    Ok((there, count))
}

/// Deletes the bindings by which machines join. In return the names of those that were there.
///
/// # Errors
/// As of [`node`].
pub async fn joining(connection: &Connection) -> Result<Vec<&'static str>, Error> {
    let client = connection.client().map_err(|error| connection.failed(&error))?;
    let bindings = Api::<ClusterRoleBinding>::all(client);
    let mut gone = Vec::new();
    for name in BINDINGS {
        if delete(&bindings, name).await.map_err(|error| connection.failed(&error))? {
            gone.push(name);
        }
    }
    Ok(gone)
}

/// Deletes an object. In return whether it was there.
async fn delete<K>(api: &Api<K>, name: &str) -> Result<bool, kube::Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + kube::Resource,
{
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}
