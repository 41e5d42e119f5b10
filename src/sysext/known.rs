//! The images of Kubernetes versions that this prebake knows.

use std::collections::BTreeMap;

use crate::base::arch::Arch;
use crate::base::finding::Source;
use crate::sysext::description::Description;
use crate::sysext::schema;

/// The sysext that the lists belong to.
pub(crate) const SYSEXT: &str = "kubernetes";

/// Names of its lists: images of control planes only, and images of every node.
pub(crate) const CONTROL_PLANE: &str = "control-plane";

pub(crate) const NODE: &str = "node";

/// The images that kubeadm of a version runs on a control plane, from the built-in table; `None` for a version that is
/// not in it.
pub fn known_images(version: &str) -> Option<Vec<String>> {
    let description = table()?;
    let version = BTreeMap::from([("version".to_owned(), version.to_owned())]);
    let variables = description.variables(Arch::Amd64, &version).ok()?;
    let mut lists = description.images(&variables).ok()?;
    let of_lists = [CONTROL_PLANE, NODE].map(|list| lists.remove(list));
    of_lists.into_iter().collect::<Option<Vec<_>>>().map(|lists| lists.concat())
}

/// The versions of Kubernetes in the built-in table, each with its `v`.
pub(crate) fn known_versions() -> Vec<String> {
    let versions = table().map(|description| description.values.versions).unwrap_or_default();
    // A row of two numbers holds what its patch versions have in common.
    versions.into_keys().filter(|version| version.split('.').count() == 3).collect()
}

/// The built-in table.
fn table() -> Option<Description> {
    const TABLE: &str = include_str!("../../sysext/kubernetes/sysext.yaml");
    let table = Source::new("the table of Kubernetes' images", TABLE);
    schema::parse(&table, SYSEXT).ok()
}
