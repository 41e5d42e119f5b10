//! The manifest of kube-vip for the controllers of a description.

use super::{Error, INTERFACE, Images, PORT, minor};
use crate::cluster::description::{Cluster, Node, Role};
use crate::machine::vip::{self, Vip};

/// Path of the manifest on a machine.
pub const MANIFEST: &str = vip::MANIFEST;

/// The manifest for a controller; nothing for a worker, and where there is no shared address or somebody else holds it.
///
/// # Errors
/// The version of Kubernetes is not supported.
pub fn manifest(
    cluster: &Cluster,
    node: &Node,
    image: &str,
    images: Images,
) -> Result<Option<String>, Error> {
    let minor = minor(cluster)?;
    let Some(shared) = cluster.vip.as_ref().filter(|vip| !vip.external && node.role == Role::Controller)
    else {
        return Ok(None);
    };
    // The controller that begins is known when this is written, so nothing is edited on it.
    let kubeconfig = match vip::begins_with_super_admin(minor) && cluster.begins(node) {
        true => vip::SUPER_ADMIN,
        false => vip::ADMIN,
    };
    Ok(Some(vip::manifest(&Vip {
        image,
        policy: images.policy(),
        address: &shared.address.value.to_string(),
        interface: INTERFACE,
        port: &PORT.to_string(),
        kubeconfig,
    })))
}
