//! The flaws that keep a cluster of Cluster API from forming: manifests, machine image and management cluster held against each other.
//!
//! ```text
//! manifests and templates ─┐
//! a tree's index, an image ┼─▶ Subject ─▶ RULES ─▶ findings (code, place, way out)
//! an API server's facts ───┘
//! ```
//! Owns the rules, as a table. Leaves reading images and asking the API server to `cli` and `cluster`: their facts are plain data here, and
//! each may be absent. A value that a template's variable will have is not judged; its default is.

mod kubeadm;
mod live;
mod machines;
mod networks;
mod proxmox;
mod references;
mod sets;
mod values;

use std::sync::Arc;

use serde_json::Value;

use super::index::Index;
use super::manifests::{Manifest, Object, has_variable};
use super::path;
use super::words::{SHAPES, Shape, is_ours};
use crate::base::finding::{Finding, Findings, Place, Severity, Source};

pub use live::{Controller, Live, Served, Trouble};

/// All that is known.
#[derive(Default)]
pub struct Subject {
    /// The manifests.
    pub manifests: Vec<Manifest>,
    /// The index of a tree with the output `capi`.
    pub index: Option<Index>,
    /// The machines' disk image.
    pub image: Option<Image>,
    /// The management cluster.
    pub live: Option<Live>,
}

/// The facts that a disk image tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The path as the user gave it.
    pub name: String,
    /// Version of its Flatcar release; none if it is no Flatcar.
    pub release: Option<String>,
    /// Its platform, such as `proxmoxve`.
    pub platform: Option<String>,
    /// Version of Kubernetes in it, with its `v`, if anything tells.
    pub kubernetes: Option<String>,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its code, such as `gate-off`.
    pub code: &'static str,
    /// The flaws that it looks for, in words.
    pub words: &'static str,
    judge: fn(&Subject) -> Vec<Finding>,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        code: "old-fields",
        words: "fields and versions of an older Cluster API, and words that no version has",
        judge: references::old_fields,
    },
    Rule { code: "twice", words: "two objects of one kind and name", judge: references::twice },
    Rule {
        code: "leads-nowhere",
        words: "references to objects that are not there",
        judge: references::dangling,
    },
    Rule {
        code: "variable-eaten",
        words: "shell variables in braces that clusterctl would fill in",
        judge: references::eaten,
    },
    Rule { code: "value", words: "values of another type, or outside of their bounds", judge: values::judge },
    Rule {
        code: "resource-set",
        words: "ClusterResourceSets whose content is not there, or that select no cluster",
        judge: sets::sets,
    },
    Rule { code: "gate-off", words: "the feature gate for `format: ignition`", judge: live::gate },
    Rule {
        code: "format",
        words: "machines that would get cloud-init's format, which Flatcar does not read",
        judge: kubeadm::format,
    },
    Rule {
        code: "ignition-forbids",
        words: "fields that Cluster API refuses with `format: ignition`",
        judge: kubeadm::forbidden,
    },
    Rule {
        code: "additional-config",
        words: "additional configs that are too long, of another language, or no YAML",
        judge: kubeadm::additional,
    },
    Rule {
        code: "no-cri-socket",
        words: "kubeadm without containerd's socket, or with another one",
        judge: kubeadm::cri_socket,
    },
    Rule { code: "unpinned-image", words: "container images without a version", judge: kubeadm::unpinned },
    Rule { code: "vip", words: "kube-vip's interface and address", judge: kubeadm::vip },
    Rule {
        code: "kubernetes-version",
        words: "versions of Kubernetes: manifests, image, each other",
        judge: machines::kubernetes,
    },
    Rule {
        code: "release",
        words: "Flatcar releases that cannot read Proxmox' configuration drive",
        judge: machines::release,
    },
    Rule {
        code: "platform",
        words: "images for another platform, or of another system",
        judge: machines::platform,
    },
    Rule { code: "no-cni", words: "clusters whose nodes never become ready", judge: machines::cni },
    Rule {
        code: "no-addresses",
        words: "clusters without an address pool, gateway, name server or endpoint",
        judge: proxmox::addresses,
    },
    Rule {
        code: "endpoint-in-pool",
        words: "the control plane's address among those of machines",
        judge: proxmox::endpoint,
    },
    Rule {
        code: "gateway",
        words: "gateways outside of the machines' network, or among their addresses",
        judge: networks::gateways,
    },
    Rule {
        code: "networks-overlap",
        words: "networks of pods, services and nodes that overlap",
        judge: networks::overlaps,
    },
    Rule {
        code: "flannel-network",
        words: "flannel's network against that of pods",
        judge: networks::flannel,
    },
    Rule { code: "pool-small", words: "fewer addresses or VM ids than machines", judge: proxmox::small },
    Rule {
        code: "device-names",
        words: "network devices that are not net0, net1, …",
        judge: proxmox::devices,
    },
    Rule {
        code: "template",
        words: "a template by id and by tags, or by neither; clones that cannot be made",
        judge: proxmox::template,
    },
    Rule {
        code: "cloud-init-status",
        words: "waiting for cloud-init, which Flatcar does not have",
        judge: proxmox::cloud_init,
    },
    Rule {
        code: "not-served",
        words: "kinds, versions and fields that the API server does not know",
        judge: live::served,
    },
    Rule { code: "controllers", words: "providers that are not there, or too old", judge: live::controllers },
    Rule {
        code: "stuck",
        words: "objects that say what they lack, such as memory of 0 B",
        judge: live::stuck,
    },
];

/// The rules as a table of the guide, in Markdown.
pub fn markdown() -> String {
    let rows = RULES.iter().map(|Rule { code, words, .. }| format!("| `{code}` | {words} |\n"));
    format!("| code | finds |\n|---|---|\n{}", rows.collect::<String>())
}

/// Reads a manifest, for a subject.
///
/// # Errors
/// It is none.
pub fn manifest(source: &Arc<Source>) -> Result<Manifest, Findings> {
    Manifest::read(source)
}

/// All findings, each with its rule's code as path; errors first, each kind by place.
pub fn examine(subject: &Subject) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES
        .iter()
        .flat_map(|rule| (rule.judge)(subject).into_iter().map(|finding| finding.path(rule.code)))
        .collect();
    let key = |finding: &Finding| {
        let place = finding.place.as_ref();
        (
            finding.severity != Severity::Error,
            place.map(|place| (place.source.name.clone(), place.line, place.column)),
        )
    };
    findings.sort_by_key(key);
    findings
}

/// An error at a path of an object.
fn error(object: &Object, path: &[&str], message: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding::error(message).at(object.place(path)).hint(hint)
}

/// A warning at a path of an object.
fn warning(object: &Object, path: &[&str], message: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding::warning(message).at(object.place(path)).hint(hint)
}

/// A part of an object that has a shape.
struct Part<'s> {
    object: &'s Object,
    root: &'static [&'static str],
    value: &'s Value,
}

impl<'s> Part<'s> {
    /// The value at a path below the part.
    fn at(&self, path: &[&str]) -> Option<&'s Value> {
        path::at(self.value, path)
    }

    /// The text there, with a variable's default in its place, if it has one.
    fn text(&self, path: &[&str]) -> Option<String> {
        self.at(path).and_then(Value::as_str).map(settled)
    }

    /// Items of a list there.
    fn items(&self, path: &[&str]) -> &'s [Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn path<'p>(&self, path: &[&'p str]) -> Vec<&'p str> {
        self.root.iter().copied().chain(path.iter().copied()).collect()
    }

    fn error(&self, path: &[&str], message: impl Into<String>, hint: impl Into<String>) -> Finding {
        error(self.object, &self.path(path), message, hint)
    }

    fn warning(&self, path: &[&str], message: impl Into<String>, hint: impl Into<String>) -> Finding {
        warning(self.object, &self.path(path), message, hint)
    }

    fn place(&self, path: &[&str]) -> Place {
        self.object.place(&self.path(path))
    }
}

impl Subject {
    /// The manifest in which there is nothing to judge: one without an object, or the first if none has one of Cluster API. A pipe whose
    /// first program failed gives such a text.
    pub fn void(&self) -> Option<&Manifest> {
        let is_known = self.objects().any(|object| is_ours(&object.group));
        let is_empty = |manifest: &&Manifest| manifest.objects.is_empty();
        self.manifests.iter().find(is_empty).or_else(|| self.manifests.first().filter(|_| !is_known))
    }

    /// All objects.
    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.manifests.iter().flat_map(|manifest| &manifest.objects)
    }

    /// Objects of a kind.
    fn of_kind<'s>(&'s self, group: &'s str, kind: &'s str) -> impl Iterator<Item = &'s Object> {
        self.objects().filter(move |object| object.group == group && object.kind == kind)
    }

    /// Parts of a shape.
    fn parts(&self, shape: Shape) -> impl Iterator<Item = Part<'_>> {
        self.objects().flat_map(move |object| {
            let rows = SHAPES.iter().filter(move |(group, kind, of, _)| {
                *of == shape && *group == object.group && *kind == object.kind
            });
            rows.filter_map(|(_, _, _, root)| Some(Part { object, root, value: object.at(root)? }))
        })
    }

    /// Whether any machine is one of Proxmox.
    fn is_proxmox(&self) -> bool {
        self.objects().any(|object| object.kind.starts_with("Proxmox"))
    }

    /// Whether any kubeadm config asks for Ignition.
    fn has_ignition(&self) -> bool {
        self.parts(Shape::Kubeadm).any(|part| part.text(&["format"]).as_deref() == Some("ignition"))
    }
}

/// A text with the default of a variable that is the whole of it: `${X:=v1}` is `v1` unless somebody says otherwise.
fn settled(text: &str) -> String {
    let default = text.strip_prefix("${").and_then(|inner| inner.strip_suffix('}')).and_then(|inner| {
        let at = inner.find(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric())?;
        let (name, rest) = inner.split_at(at);
        let value = [":=", ":-", "=", "-"].iter().find_map(|mark| rest.strip_prefix(mark))?;
        (!name.is_empty() && !has_variable(value)).then(|| value.trim_matches('"').to_owned())
    });
    default.unwrap_or_else(|| text.to_owned())
}

/// Some of many names, for a message.
fn some<'s>(mut names: impl Iterator<Item = &'s str>) -> String {
    const MOST: usize = 5;
    let shown: Vec<&str> = names.by_ref().take(MOST).collect();
    match names.next() {
        Some(_) => format!("{} and others", shown.join(", ")),
        None => shown.join(", "),
    }
}

/// A number, or the text of one.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| settled(value.as_str()?).parse().ok())
}

#[cfg(test)]
mod tests;
