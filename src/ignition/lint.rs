//! Warnings about configs that are valid and still surprising: conflicts between layers, and features that do not work
//! when Flatcar boots by PXE.

use std::collections::HashMap;

use prebake_text::finding::Finding;

use super::Config;
use super::report::located;
use super::schema::{self, Home, Joins, Schema, Type};
use super::spec::Spec;
use super::tree::{Node, Record, Value};

/// Values of earlier layers that a later layer overrides, with the places of both.
///
/// Merging is meant to override, so these are warnings. One dangerous case has its own message: a layer that changes a
/// source and inherits the old source's hash.
pub fn conflicts(layers: &[Config]) -> Vec<Finding> {
    let spec = layers.iter().map(Config::spec).max().unwrap_or(Spec::V3_0);
    let mut findings = Vec::new();
    let mut layers = layers.iter().map(|layer| layer.clone().raised(spec).root);
    let Some(mut merged) = layers.next() else { return findings };
    for layer in layers {
        records(&merged, &layer, &mut findings);
        merged = super::merge::merge(merged, layer);
    }
    findings
}

fn records(parent: &Record, child: &Record, findings: &mut Vec<Finding>) {
    inherited(parent, child, findings);
    moved(parent, child, findings);
    for (field, (ours, theirs)) in parent.schema.fields.iter().zip(parent.fields().iter().zip(child.fields()))
    {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        // Fields that only Butane has are already translated, including its header.
        if field.home == Home::Butane {
            continue;
        }
        match (field.ty, &ours.value, &theirs.value) {
            // The version is each config's own, and names are the keys of entries.
            (Type::Text | Type::Int | Type::Flag, old, new) => {
                let own = std::ptr::eq(parent.schema, &schema::IGNITION) && field.name == "version";
                if old != new && !own && theirs.origin.is_known() {
                    let message = format!("`{}` overrides an earlier layer", field.name);
                    let message = match (short(old), short(new)) {
                        (Some(old), Some(new)) => format!("{message}: {old} becomes {new}"),
                        _ => message,
                    };
                    findings.push(both(Finding::warning(message), theirs, ours));
                }
            }
            (Type::Record(_), Value::Record(old), Value::Record(new)) => records(old, new, findings),
            (Type::Records(_), Value::List(old), Value::List(new)) if field.joins != Joins::Appended => {
                let old: HashMap<String, &Node> = old.iter().map(|node| (node.key(), node)).collect();
                for node in new {
                    let pair = old.get(&node.key()).and_then(|old| old.as_record()).zip(node.as_record());
                    if let Some((old, new)) = pair {
                        records(old, new, findings);
                    }
                }
            }
            _ => {}
        }
    }
}

fn both(finding: Finding, child: &Node, parent: &Node) -> Finding {
    let finding = located(finding, &child.origin, &[]);
    match parent.origin.place() {
        Some(place) => finding.related(place, "the earlier layer says"),
        None => finding,
    }
}

/// A value short enough for a message, if it is one.
fn short(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if text.len() <= 40 && !text.contains('\n') => Some(format!("`{text}`")),
        Value::Int(number) => Some(number.to_string()),
        Value::Flag(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Finds a new source that keeps the old hash, compression or headers.
fn inherited(parent: &Record, child: &Record, findings: &mut Vec<Finding>) {
    let resources: [&'static Schema; 3] = [&schema::RESOURCE, &schema::CONFIG_REFERENCE, &schema::AUTHORITY];
    if !resources.iter().any(|resource| std::ptr::eq(*resource, parent.schema)) {
        return;
    }
    let (Some(old), Some(new)) = (parent.text("source"), child.get("source")) else { return };
    if new.as_text() == Some(old) {
        return;
    }
    for (name, what) in [("verification", "hash"), ("compression", "compression"), ("httpHeaders", "headers")]
    {
        let kept = parent.get(name).filter(|node| !node.is_void() && node.as_text() != Some(""));
        if let Some(kept) = kept.filter(|_| child.get(name).is_none_or(Node::is_void)) {
            let message = format!("the new source inherits the {what} of the source it replaces");
            let hint = match what {
                "hash" => "give the hash of the new contents, or the boot fails",
                _ => "give those of the new source",
            };
            findings.push(both(Finding::warning(message).hint(hint), new, kept));
        }
    }
}

/// Finds entries that move to another list: a path that changes its kind, a kernel argument that changes its side.
fn moved(parent: &Record, child: &Record, findings: &mut Vec<Finding>) {
    let shared = || {
        parent.schema.fields.iter().filter_map(|field| match field.joins {
            Joins::Shared(handle) => Some((handle, field.name)),
            Joins::Keyed | Joins::Appended => None,
        })
    };
    for (handle, home) in shared() {
        let old: HashMap<String, &Node> = parent.list(home).iter().map(|node| (node.key(), node)).collect();
        for (_, list) in shared().filter(|(other, list)| *other == handle && *list != home) {
            for node in child.list(list) {
                if let Some(old) = old.get(&node.key()) {
                    let message = format!("`{}` moves from `{home}` to `{list}`", node.key());
                    findings.push(both(Finding::warning(message), node, old));
                }
            }
        }
    }
}

/// Finds features that do not work when Flatcar runs from memory.
pub fn pxe(config: &Config) -> Vec<Finding> {
    let arguments = config.root.record("kernelArguments");
    let lists = ["shouldExist", "shouldNotExist"];
    let entries = lists.iter().flat_map(|list| arguments.iter().flat_map(move |part| part.list(list)));
    let finding = || {
        Finding::error("kernel arguments cannot be set by Ignition at a PXE boot")
            .hint("there is no OEM partition to write them to and the boot fails; give them in the profile's `kernel_args`")
    };
    entries.map(|entry| located(finding(), &entry.origin, &[])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prebake_text::finding::Source;

    fn layer(name: &str, text: &str) -> Config {
        let source = Source::new(name, format!("variant: flatcar\nversion: 1.1.0\n{text}"));
        super::super::transpile(&source, &super::super::Transpile::default()).unwrap().config
    }

    #[test]
    fn a_conflict_names_the_file_and_line_of_both_sides() {
        let base = layer("base.bu", "storage:\n  files:\n    - path: /a\n      mode: 0644\n");
        let site = layer("site.bu", "storage:\n  files:\n    - path: /b\n    - path: /a\n      mode: 0600\n");
        let findings = conflicts(&[base, site]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].message, "`mode` overrides an earlier layer: 420 becomes 384");
        assert_eq!(findings[0].place.as_ref().unwrap().to_string(), "site.bu:7:13");
        assert_eq!(findings[0].related[0].0.to_string(), "base.bu:6:13");
    }

    #[test]
    fn layers_that_say_nothing_of_the_same_are_no_conflict_whatever_they_are_written_in() {
        let source = Source::new(
            "links.ign",
            r#"{"ignition":{"version":"3.3.0"},"storage":{"links":[{"path":"/l","target":"t"}]}}"#,
        );
        let links = Config::parse(&source).unwrap().config;
        let base = layer("base.bu", "storage:\n  files:\n    - path: /a\n      contents: {inline: x}\n");
        let findings = conflicts(&[links.clone(), base.clone(), links, base]);
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn a_new_source_under_the_old_hash_is_told() {
        let hash = "0".repeat(128);
        let old =
            format!("contents: {{source: \"http://h.invalid/1\", verification: {{hash: sha512-{hash}}}}}");
        let base = layer("base.bu", &format!("storage: {{files: [{{path: /a, {old}}}]}}\n"));
        let site =
            layer("site.bu", "storage: {files: [{path: /a, contents: {source: \"http://h.invalid/2\"}}]}\n");
        let findings = conflicts(&[base, site]);
        assert!(findings.iter().any(|finding| finding.message.contains("inherits the hash")), "{findings:?}");
    }

    #[test]
    fn a_path_that_changes_its_kind_is_told() {
        let base = layer("base.bu", "storage: {files: [{path: /a}]}\n");
        let site = layer("site.bu", "storage: {directories: [{path: /a}]}\n");
        assert_eq!(conflicts(&[base, site])[0].message, "`/a` moves from `files` to `directories`");
    }

    #[test]
    fn kernel_arguments_in_a_pxe_config_are_refused_where_they_stand() {
        let config = layer("a.bu", "kernel_arguments:\n  should_exist:\n    - quiet\n");
        assert_eq!(pxe(&config)[0].place.as_ref().unwrap().line, 5);
        assert!(pxe(&layer("b.bu", "")).is_empty());
    }
}
