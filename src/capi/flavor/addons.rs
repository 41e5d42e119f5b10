//! Add-ons of a cluster, network plugins before all: a ClusterResourceSet applies them once its API server answers.

use serde_json::{Value, json};

use super::Wish;

/// The most bytes of objects in one ConfigMap. `kubectl apply` keeps a copy of each object in an annotation, which has room for 256 KiB.
pub const MAX_OBJECT: usize = 200 << 10;

/// Objects in groups within [`MAX_OBJECT`], each a text of documents; or the number of the first object that does not fit alone, and its
/// length.
///
/// # Errors
/// An object is too long.
pub fn split(objects: &[Value]) -> Result<Vec<String>, (usize, usize)> {
    let mut groups: Vec<String> = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        // JSON is YAML, and has no blanks.
        let text = format!("---\n{object}\n");
        if text.len() > MAX_OBJECT {
            return Err((number, text.len()));
        }
        match groups.last_mut().filter(|group| group.len() + text.len() <= MAX_OBJECT) {
            Some(group) => group.push_str(&text),
            None => groups.push(text),
        }
    }
    Ok(groups)
}

/// The objects that carry them.
pub(super) fn objects(wish: &Wish) -> Vec<Value> {
    let mut objects = Vec::new();
    for (name, groups) in &wish.addons {
        let names: Vec<String> =
            (1..=groups.len()).map(|number| format!("${{CLUSTER_NAME}}-{name}-{number}")).collect();
        let resources: Vec<Value> =
            names.iter().map(|name| json!({"kind": "ConfigMap", "name": name})).collect();
        objects.push(json!({
            "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet",
            "metadata": {"name": format!("${{CLUSTER_NAME}}-{name}")},
            "spec": {
                "clusterSelector": {"matchLabels": {"cluster.x-k8s.io/cluster-name": "${CLUSTER_NAME}"}},
                // A change of the cluster's own stays.
                "strategy": "ApplyOnce",
                "resources": resources,
            },
        }));
        for (map, group) in names.iter().zip(groups) {
            objects.push(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map},
                "data": {format!("{name}.yaml"): group},
            }));
        }
    }
    objects
}
