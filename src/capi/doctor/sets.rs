//! The rule about ClusterResourceSets: their content, and the clusters that they select.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::super::manifests::{Object, has_variable, variables};
use super::super::words::{ADDONS, CORE};
use super::{Subject, error, warning};
use crate::base::finding::Finding;

/// A namespace, the key of a label and its value.
type Label<'s> = (Option<&'s str>, &'s str, &'s str);

/// ClusterResourceSets whose content is not there, or that select no cluster.
pub(super) fn sets(subject: &Subject) -> Vec<Finding> {
    let clusters: Vec<&Object> = subject.of_kind(CORE, "Cluster").collect();
    // A set alone may be for clusters of a management cluster.
    if clusters.is_empty() {
        return Vec::new();
    }
    let held: HashSet<Label<'_>> = subject
        .objects()
        .filter(|object| object.group.is_empty())
        .map(|object| (object.namespace.as_deref(), object.kind.as_str(), object.name.as_str()))
        .collect();
    let mut labelled: HashMap<Label<'_>, Vec<&Object>> = HashMap::new();
    let mut open: Vec<&Object> = Vec::new();
    for cluster in &clusters {
        for (key, value) in labels(cluster).into_iter().flatten() {
            let Some(value) = value.as_str() else { continue };
            let label = (cluster.namespace.as_deref(), key.as_str(), value);
            labelled.entry(label).or_default().push(cluster);
            if has_variable(value) && open.last().is_none_or(|last| !std::ptr::eq(*last, *cluster)) {
                open.push(*cluster);
            }
        }
    }
    let mut findings = Vec::new();
    for set in subject.of_kind(ADDONS, "ClusterResourceSet") {
        content(set, &held, &mut findings);
        let selector = set.at(&["spec", "clusterSelector"]).and_then(Value::as_object);
        let wanted = selector.and_then(|selector| selector.get("matchLabels")).and_then(Value::as_object);
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        let rules = selector.and_then(|selector| selector.get("matchExpressions")).and_then(Value::as_array);
        let rules = rules.map(Vec::as_slice).unwrap_or_default();
        if wanted.is_none() && rules.is_empty() {
            findings.push(error(
                set,
                &["spec", "clusterSelector"],
                format!("{} has an empty selector, which Cluster API refuses", set.identity()),
                "write `clusterSelector.matchLabels` with a label of the Cluster",
            ));
            continue;
        }
        let fits = |cluster: &Object| {
            cluster.namespace == set.namespace
                && wanted.into_iter().flatten().all(|(key, value)| pair(cluster, key, value))
                && rules.iter().all(|rule| expression(cluster, rule))
        };
        let first = wanted.and_then(|wanted| wanted.iter().next());
        let is_selected = match first.and_then(|(key, value)| Some((key.as_str(), value.as_str()?))) {
            Some((_, value)) if has_variable(value) => clusters.iter().any(|cluster| fits(cluster)),
            Some((key, value)) => {
                let exact = labelled.get(&(set.namespace.as_deref(), key, value)).into_iter().flatten();
                exact.chain(&open).any(|cluster| fits(cluster))
            }
            None => clusters.iter().any(|cluster| fits(cluster)),
        };
        if !is_selected {
            findings.push(error(
                set,
                &["spec", "clusterSelector"],
                format!("{} selects no Cluster of these manifests: nothing is applied", set.identity()),
                "write the selector's labels into `metadata.labels` of the Cluster, in the same namespace",
            ));
        }
    }
    findings
}

/// Content that is not there.
fn content(set: &Object, held: &HashSet<Label<'_>>, findings: &mut Vec<Finding>) {
    let resources = set.at(&["spec", "resources"]).and_then(Value::as_array);
    for (number, resource) in resources.into_iter().flatten().enumerate() {
        let text = |key: &str| resource.get(key).and_then(Value::as_str);
        let (Some(kind), Some(name)) = (text("kind"), text("name")) else { continue };
        let is_variable = variables(name).next().is_some_and(|range| range.len() == name.len());
        if is_variable || held.contains(&(set.namespace.as_deref(), kind, name)) {
            continue;
        }
        let number = number.to_string();
        let path = ["spec", "resources", &number, "name"];
        let why = format!("{} applies the {kind} {name}, which is not there", set.identity());
        // A Secret often is kept apart from manifests.
        findings.push(match kind {
            "Secret" => warning(set, &path, why, "apply it first, in the namespace of the set"),
            _ => error(set, &path, why, format!("add the {kind}, or name the manifest that has it, too")),
        });
    }
}

fn labels(cluster: &Object) -> Option<&Map<String, Value>> {
    cluster.at(&["metadata", "labels"])?.as_object()
}

/// Whether a cluster may have a label with a value.
fn pair(cluster: &Object, key: &str, value: &Value) -> bool {
    let Some(own) = labels(cluster).and_then(|labels| labels.get(key)) else { return false };
    let is_open = |value: &Value| value.as_str().is_some_and(has_variable);
    own == value || is_open(own) || is_open(value)
}

/// Whether a cluster fulfils an expression of a selector.
fn expression(cluster: &Object, rule: &Value) -> bool {
    let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
    let key = text("key");
    let is_there = labels(cluster).is_some_and(|labels| labels.contains_key(key));
    let values = rule.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let own = labels(cluster).and_then(|labels| labels.get(key));
    match text("operator") {
        "In" => values.iter().any(|value| pair(cluster, key, value)),
        "NotIn" => !own.is_some_and(|own| values.contains(own)),
        "Exists" => is_there,
        "DoesNotExist" => !is_there,
        _ => true,
    }
}
