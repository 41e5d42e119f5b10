//! Rules about objects among themselves: old fields, names, references, variables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::convert::{Converted, convert};
use super::super::manifests::{Manifest, Object, has_variable, variables};
use super::super::words::{BOOTSTRAP, CONTROL_PLANE, CORE, INFRASTRUCTURE, Shape};
use super::{Subject, error, some};
use crate::base::finding::{Finding, Severity};

/// An object's namespace, if it names one, and its name.
type Named<'d> = (Option<&'d str>, &'d str);

/// Fields of an older Cluster API.
pub(super) fn old_fields(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in &subject.manifests {
        let Ok(Converted { findings: told, changed, .. }) = convert(&manifest.source) else { continue };
        let old: BTreeSet<&String> = changed.iter().collect();
        for object in manifest.objects.iter().filter(|object| old.contains(&object.identity())) {
            findings.push(error(
                object,
                &["apiVersion"],
                format!("{} has fields or a version of an older Cluster API", object.identity()),
                format!("`prebake capi convert {}` moves them", manifest.source.name),
            ));
        }
        // Comments that would be lost are no fault of the manifest.
        let is_fault = |finding: &Finding| {
            finding.severity == Severity::Error || !finding.message.starts_with("the comment")
        };
        findings.extend(told.into_iter().filter(is_fault));
    }
    findings
}

type Name<'o> = (&'o str, &'o str, Option<&'o str>, &'o str);

/// Objects that are there twice.
pub(super) fn twice(subject: &Subject) -> Vec<Finding> {
    let mut first: BTreeMap<Name<'_>, &Object> = BTreeMap::new();
    let mut findings = Vec::new();
    for object in subject.objects() {
        let name =
            (object.group.as_str(), object.kind.as_str(), object.namespace.as_deref(), object.name.as_str());
        match first.get(&name) {
            Some(other) => findings.push(
                error(
                    object,
                    &["metadata", "name"],
                    format!("{} is there twice: the later one replaces the earlier one", object.identity()),
                    "give one of them another name",
                )
                .related(other.place(&["metadata", "name"]), "the first one"),
            ),
            None => {
                first.insert(name, object);
            }
        }
    }
    findings
}

/// References: the shape that has one, its path, and the group if the reference names none.
const REFERENCES: &[(Shape, &[&str], &str)] = &[
    (Shape::Cluster, &["infrastructureRef"], INFRASTRUCTURE),
    (Shape::Cluster, &["controlPlaneRef"], CONTROL_PLANE),
    (Shape::ControlPlane, &["machineTemplate", "spec", "infrastructureRef"], INFRASTRUCTURE),
    (Shape::Machine, &["infrastructureRef"], INFRASTRUCTURE),
    (Shape::Machine, &["bootstrap", "configRef"], BOOTSTRAP),
];

/// References that lead nowhere.
pub(super) fn dangling(subject: &Subject) -> Vec<Finding> {
    // A single object, such as a new machine template, may refer to those of a management cluster.
    if subject.of_kind(CORE, "Cluster").next().is_none() {
        return Vec::new();
    }
    // Each kind's objects by name: a file may have thousands of references.
    let mut kinds: BTreeMap<(&str, &str), BTreeSet<Named<'_>>> = BTreeMap::new();
    let mut clusters = BTreeSet::new();
    for object in subject.objects() {
        let name = (object.namespace.as_deref(), object.name.as_str());
        kinds.entry((&object.group, &object.kind)).or_default().insert(name);
        if object.group == CORE && object.kind == "Cluster" {
            clusters.insert(object.name.as_str());
        }
    }
    let mut findings = Vec::new();
    for (shape, path, usual) in REFERENCES {
        for part in subject.parts(*shape) {
            let Some(reference) = part.at(path) else { continue };
            let text = |key: &str| reference.get(key).and_then(Value::as_str);
            let group = text("apiGroup").or_else(|| text("apiVersion")?.split('/').next()).unwrap_or(usual);
            let (Some(kind), Some(name)) = (text("kind"), text("name")) else {
                let why =
                    format!("`{}` of {} names no kind and name", path.join("."), part.object.identity());
                findings.push(part.error(path, why, "write `apiGroup`, `kind` and `name`"));
                continue;
            };
            let there = kinds.get(&(group, kind));
            if there.is_some_and(|there| there.contains(&(part.object.namespace.as_deref(), name))) {
                continue;
            }
            // One more than a message has, so that it says whether there are others.
            let near = there.into_iter().flatten().take(6).map(|(namespace, name)| match namespace {
                Some(namespace) => format!("{namespace}/{name}"),
                None => (*name).to_owned(),
            });
            let near: Vec<String> = near.collect();
            let hint = match near.as_slice() {
                [] => format!("add the {kind}, or name the manifest that has it, too"),
                near => format!(
                    "there is {}: names and namespaces must be the same",
                    some(near.iter().map(String::as_str))
                ),
            };
            findings.push(part.error(
                path,
                format!("{} refers to {kind} {name}, which is not there", part.object.identity()),
                hint,
            ));
        }
    }
    for object in subject.of_kind(CORE, "MachineDeployment") {
        let cluster = object.text(&["spec", "clusterName"]).unwrap_or_default();
        if !clusters.contains(cluster) {
            findings.push(error(
                object,
                &["spec", "clusterName"],
                format!("{} belongs to the cluster `{cluster}`, which is not there", object.identity()),
                "write the name of the Cluster",
            ));
        }
    }
    findings
}

/// Texts of a kubeadm config that a machine's shell reads.
fn scripts(manifest: &Manifest) -> Vec<(&Object, Vec<String>, &str)> {
    fn walk<'o>(
        object: &'o Object,
        value: &'o Value,
        path: &mut Vec<String>,
        found: &mut Vec<(&'o Object, Vec<String>, &'o str)>,
    ) {
        const SCRIPTS: [&str; 4] =
            ["content", "preKubeadmCommands", "postKubeadmCommands", "additionalConfig"];
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    path.push(key.clone());
                    walk(object, inner, path, found);
                    path.pop();
                }
            }
            Value::Array(items) => {
                for (at, inner) in items.iter().enumerate() {
                    path.push(at.to_string());
                    walk(object, inner, path, found);
                    path.pop();
                }
            }
            Value::String(text) if path.iter().any(|key| SCRIPTS.contains(&key.as_str())) => {
                found.push((object, path.clone(), text));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    let of_kubeadm = |object: &&Object| object.group == BOOTSTRAP || object.group == CONTROL_PLANE;
    for object in manifest.objects.iter().filter(of_kubeadm) {
        walk(object, &object.value, &mut Vec::new(), &mut found);
    }
    found
}

/// The name of a variable, of the text in its braces.
fn name(variable: &str) -> &str {
    let inner = variable.trim_start_matches("${").trim_start();
    let end =
        inner.find(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric()).unwrap_or(inner.len());
    inner.get(..end).unwrap_or_default()
}

/// Variables in scripts that clusterctl fills in, though nothing else in the template has them and machines would.
pub(super) fn eaten(subject: &Subject) -> Vec<Finding> {
    /// Beginnings of the names of variables that machines have: afterburn's, and those of shells.
    const OF_MACHINES: [&str; 8] =
        ["COREOS_", "HOME", "HOSTNAME", "PATH", "PWD", "USER", "BASH_", "NODE_NAME"];
    let mut findings = Vec::new();
    for manifest in &subject.manifests {
        let is_template = manifest.objects.iter().any(|object| has_variable(&object.name));
        for (object, path, text) in scripts(manifest) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            if !is_template {
                if text.contains("$${") {
                    findings.push(super::warning(
                        object,
                        &path,
                        "`$${` is left in a manifest that is no template: a shell reads its process number there",
                        "render the template with clusterctl, or write `${` here",
                    ));
                }
                continue;
            }
            let mut seen = BTreeSet::new();
            for range in variables(text) {
                let variable = text.get(range).unwrap_or_default();
                let name = name(variable);
                let is_lower = name.chars().any(|letter| letter.is_ascii_lowercase());
                let is_machines = OF_MACHINES.iter().any(|lead| name.starts_with(lead));
                let is_shell = variable.contains("##") || variable.contains("%%") || name.is_empty();
                if (is_lower || is_machines || is_shell) && seen.insert(variable) {
                    findings.push(error(
                        object,
                        &path,
                        format!("clusterctl fills in {variable} before any machine sees it"),
                        format!("write `${variable}` for the shell on the machine; clusterctl makes `{variable}` of it"),
                    ));
                }
            }
        }
    }
    findings
}
