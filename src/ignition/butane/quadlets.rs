//! Podman quadlets of 1.2.0-experimental: files below `/etc/containers/systemd`.

use super::embed::embed;
use super::local::FilesDir;
use super::trees::Nodes;
use crate::report::Report;
use crate::spec::Spec;
use crate::tree::{Node, Origin, Record, Step};

const NODE_EXISTS: &str = "matching filesystem node has existing contents or different type";

/// The template `x@.ext` of an instance `x@y.ext`.
pub(super) fn template_of(name: &str) -> Option<String> {
    let at = name.find('@')?;
    let dot = name.rfind('.')?;
    (at + 1 != dot).then(|| format!("{}@{}", &name[..at], &name[dot..]))
}

/// Adds the files and links of the quadlets.
pub(super) fn add(config: &mut Record, files: &FilesDir<'_>, spec: Spec, report: &mut Report) {
    let quadlets = config.record("systemd").map_or(Vec::new(), |systemd| systemd.list("quadlets").to_vec());
    let mut nodes = Nodes::of(config, spec);
    for node in &quadlets {
        let Some(quadlet) = node.as_record() else { continue };
        let name = quadlet.text("name").unwrap_or_default();
        let base = if quadlet.is_true("rootful") { "" } else { "/users" };
        let path = format!("/etc/containers/systemd{base}/{name}");
        let mut add = |path: &str, part: &Record, origin: &Origin, target: Option<String>| {
            let outcome = match target {
                Some(target) => link(config, &mut nodes, path, target, origin),
                None => file(config, &mut nodes, path, part, files, spec, origin),
            };
            if let Err((step, why)) = outcome {
                report.error(origin, step.as_slice(), why);
            }
        };
        add(&path, quadlet, &node.origin, template_of(name));
        for dropin in quadlet.list("dropins") {
            if let Some(part) = dropin.as_record() {
                let path = format!("{path}.d/{}", part.text("name").unwrap_or_default());
                add(&path, part, &dropin.origin, None);
            }
        }
    }
}

type Outcome = Result<(), (Option<Step>, String)>;

fn link(config: &mut Record, nodes: &mut Nodes, path: &str, target: String, origin: &Origin) -> Outcome {
    match nodes.at(config, "links", path, origin) {
        Ok((node, true)) => {
            node.set("target", Node::text(target, origin));
            Ok(())
        }
        _ => Err((None, NODE_EXISTS.into())),
    }
}

fn file(
    config: &mut Record,
    nodes: &mut Nodes,
    path: &str,
    part: &Record,
    files: &FilesDir<'_>,
    spec: Spec,
    origin: &Origin,
) -> Outcome {
    let Ok((node, true)) = nodes.at(config, "files", path, origin) else {
        return Err((None, NODE_EXISTS.into()));
    };
    let contents = match (part.filled("contents"), part.filled("contentsLocal")) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(local)) => files.read(local).map_err(|why| (Some(Step::Yaml("contentsLocal")), why))?,
        (None, None) => Vec::new(),
    };
    embed(node.record_mut("contents", spec), &contents, origin);
    node.set("mode", Node::int(0o644, origin));
    Ok(())
}
