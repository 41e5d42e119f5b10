//! The images that manifests name.
//!
//! `image:` fields are most of them, and not all: cert-manager's solver, Longhorn's engines and Rook's drivers are named in arguments,
//! variables and settings. Those are in the `images:` of the description, or in the record of a vendored add-on.

use std::collections::BTreeMap;

use super::manifest::Document;
use crate::base::finding::Finding;
use crate::base::yaml::decode::Spanned;
use crate::base::yaml::{Kind, Node};
use crate::registry::reference::ImageRef;

/// Images by their canonical names.
pub type Images = BTreeMap<String, Spanned<String>>;

/// Adds the images of one object.
pub fn of_document(document: &Document, images: &mut Images, findings: &mut Vec<Finding>) {
    // Its schema has properties of that name.
    if document.kind != "CustomResourceDefinition" {
        walk(document, &document.node, images, findings);
    }
}

/// Adds one image.
pub fn add(image: Spanned<String>, images: &mut Images, findings: &mut Vec<Finding>) {
    match image.value.parse::<ImageRef>() {
        Err(why) => findings.push(Finding::error(why).at(image.place)),
        Ok(reference) if !is_fixed(&image.value) => {
            let finding = Finding::error(format!("the image `{}` has neither tag nor digest", image.value))
                .at(image.place);
            findings
                .push(finding.hint(format!(
                    "it would mean `{reference}`, another image on every day: name a version"
                )));
        }
        Ok(reference) => {
            images.entry(reference.to_string()).or_insert(image);
        }
    }
}

/// Whether a reference names a tag or digest.
fn is_fixed(text: &str) -> bool {
    let last = text.rsplit('/').next().unwrap_or(text);
    last.contains([':', '@'])
}

fn walk(document: &Document, node: &Node, images: &mut Images, findings: &mut Vec<Finding>) {
    match &node.kind {
        Kind::Scalar(..) => {}
        Kind::Sequence(items) => items.iter().for_each(|item| walk(document, item, images, findings)),
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                match (key.scalar(), value.scalar()) {
                    (Some("image"), Some(text)) if !value.is_null() && !text.is_empty() => {
                        let place = value.place(&document.place.source);
                        add(Spanned { value: composed(node, text), place }, images, findings);
                    }
                    // An image as a volume, from Kubernetes 1.31 on: `image: {reference: …}`.
                    (Some("image"), None) => {
                        if let Some(reference) = value.get("reference")
                            && let Some(text) = reference.scalar()
                        {
                            let place = reference.place(&document.place.source);
                            add(Spanned { value: text.to_owned(), place }, images, findings);
                        }
                        walk(document, value, images, findings);
                    }
                    _ => walk(document, value, images, findings),
                }
            }
        }
    }
}

/// An image of which the settings of an operator, such as NVIDIA's, name the parts: `repository`, `image` and `version`.
fn composed(mapping: &Node, image: &str) -> String {
    let part = |name: &str| mapping.get(name).and_then(Node::scalar).filter(|text| !text.is_empty());
    let image = match part("repository") {
        Some(repository) if !is_fixed(image) => format!("{repository}/{image}"),
        _ => image.to_owned(),
    };
    match part("version").or_else(|| part("tag")) {
        Some(version) if !is_fixed(&image) && version.starts_with("sha256:") => format!("{image}@{version}"),
        Some(version) if !is_fixed(&image) => format!("{image}:{version}"),
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest;
    use super::*;
    use crate::base::finding::Source;

    fn of(text: &str) -> (Vec<String>, Vec<String>) {
        let (mut images, mut findings) = (Images::new(), Vec::new());
        for document in manifest::read(&Source::new("x.yaml", text)).unwrap() {
            of_document(&document, &mut images, &mut findings);
        }
        let told = |finding: Finding| format!("{} {}", finding.place.unwrap().line, finding.message);
        (images.into_keys().collect(), findings.into_iter().map(told).collect())
    }

    #[test]
    fn images_are_found_wherever_pods_are_described_and_in_settings_of_operators() {
        let (images, findings) = of("
kind: DaemonSet
apiVersion: apps/v1
metadata: {name: a}
spec:
  template:
    spec:
      initContainers: [{name: i, image: quay.io/x/init:v1}]
      containers: [{name: c, image: &it nginx:1.2}, {name: d, image: *it}]
      volumes: [{name: v, image: {reference: quay.io/x/volume:v2, pullPolicy: Never}}]
---
kind: ClusterPolicy
apiVersion: nvidia.com/v1
metadata: {name: p}
spec:
  toolkit: {repository: nvcr.io/nvidia/k8s, image: container-toolkit, version: v1.17}
  dcgm: {repository: nvcr.io/nvidia, image: dcgm, version: \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"}
---
kind: CustomResourceDefinition
apiVersion: apiextensions.k8s.io/v1
metadata: {name: d}
spec: {properties: {image: {type: string}, other: {image: text}}}
---
kind: Pod
apiVersion: v1
metadata: {name: wrong}
spec: {containers: [{name: c, image: localhost:5000/busybox},
  {name: d, image: UPPER/case}]}
");
        let zeros = "0".repeat(64);
        let dcgm = format!("nvcr.io/nvidia/dcgm@sha256:{zeros}");
        let wanted = [
            "docker.io/library/nginx:1.2",
            dcgm.as_str(),
            "nvcr.io/nvidia/k8s/container-toolkit:v1.17",
            "quay.io/x/init:v1",
            "quay.io/x/volume:v2",
        ];
        assert_eq!(images, wanted);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("27 the image `localhost:5000/busybox` has neither"), "{findings:?}");
        assert!(findings[1].starts_with("28 `UPPER/case` is not an image"), "{findings:?}");
    }
}
