//! Takes out of a cluster what must not stay: a node that is replaced, and the right to join; and gives the right back.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

use super::client::{Connection, Error};

/// The bindings by which whoever has a bootstrapper's certificate joins, and the roles that they give (kubeadm's phase
/// `bootstrap-token`).
const BINDINGS: [(&str, &str); 2] = [
    ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper"),
    (
        "kubeadm:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
    ),
];
/// The group of those that join.
const JOINING: &str = "system:bootstrappers:kubeadm:default-node-token";
/// The API group of roles and bindings.
const RBAC: &str = "rbac.authorization.k8s.io";
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
    for (name, _) in BINDINGS {
        if delete(&bindings, name).await.map_err(|error| connection.failed(&error))? {
            gone.push(name);
        }
    }
    Ok(gone)
}

/// Makes the bindings by which machines join, as `kubeadm init` makes them, where they are missing: a teardown deletes them. In return the
/// names of those that were missing.
///
/// # Errors
/// As of [`node`].
pub async fn admit(connection: &Connection) -> Result<Vec<&'static str>, Error> {
    let client = connection.client().map_err(|error| connection.failed(&error))?;
    let bindings = Api::<ClusterRoleBinding>::all(client);
    let mut made = Vec::new();
    for (name, role) in BINDINGS {
        let role_ref = RoleRef { api_group: RBAC.into(), kind: "ClusterRole".into(), name: role.into() };
        let group = Subject {
            api_group: Some(RBAC.into()),
            kind: "Group".into(),
            name: JOINING.into(),
            namespace: None,
        };
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        let binding = ClusterRoleBinding { metadata, role_ref, subjects: Some(vec![group]) };
        match bindings.create(&PostParams::default(), &binding).await {
            Ok(_) => made.push(name),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(connection.failed(&error)),
        }
    }
    Ok(made)
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
