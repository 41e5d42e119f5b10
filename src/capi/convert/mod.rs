//! Manifests of an older Cluster API moved to today's fields.
//!
//! Owns which documents change and what is told. Leaves the table to `words`, single fields to [`fields`], and the text to `patch`. A file
//! of today comes out as it is, byte for byte; so does what came out of here.

mod fields;

use std::sync::Arc;

use super::manifests::{Manifest, Object, has_variable, json, value_of};
use super::patch::{Patch, as_json, whole};
use super::words::{
    ADDONS, BOOTSTRAP, CONTROL_PLANE, CORE, INFRASTRUCTURE, PLAIN, SHAPES, VERSIONS, is_ours,
};
use crate::base::finding::{Finding, Findings, Place, Source};

/// Groups whose objects are Cluster API's.
const GROUPS: [&str; 5] = [CORE, BOOTSTRAP, CONTROL_PLANE, INFRASTRUCTURE, ADDONS];

/// A text that was moved.
pub struct Converted {
    /// The new text.
    pub text: String,
    /// Fields that could not be moved (errors), and those that somebody should look at (warnings).
    pub findings: Vec<Finding>,
    /// Objects that changed, by kind and name.
    pub changed: Vec<String>,
}

/// Moves the objects of a text.
///
/// # Errors
/// It is no manifest: all findings. It has no object of Cluster API: then it is the wrong file.
pub fn convert(source: &Arc<Source>) -> Result<Converted, Findings> {
    let manifest = Manifest::read(source)?;
    if !manifest.objects.iter().any(may_be_ours) {
        let why = format!("{} has no object of Cluster API", source.name);
        return Err(Findings(vec![Finding::error(why).hint(
            "name the file that has the cluster's objects, such as what `clusterctl generate cluster` \
                 printed",
        )]));
    }
    let patch = Patch::new(&source.text);
    let mut findings = Vec::new();
    let (mut text, mut changed, mut line) = (String::new(), Vec::new(), 1);
    for object in &manifest.objects {
        let node = &object.node;
        let Ok(old) = json(node) else { continue };
        let mut new = old.clone();
        if !may_move(object, &mut findings) {
            continue;
        }
        fields::convert(&mut new, object, &mut findings);
        if new == old {
            continue;
        }
        let start = node.start;
        if start.column != 1 {
            let why =
                format!("{} has old fields, and stands in a list or behind its `---`", object.identity());
            let finding = Finding::error(why).at(object.place(&[]));
            findings.push(finding.hint(
                "write each object as a document of its own, its first key at the beginning of a line",
            ));
            continue;
        }
        let end = patch.mark(start.line).unwrap_or_else(|| patch.end());
        text += &patch.lines(line, start.line);
        let old = patch.lines(start.line, end);
        let in_json = as_json(&old, &new);
        if in_json.is_none() && old.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"')) {
            let why = format!(
                "{} is written as YAML: its text looks like JSON, but is none before its variables are filled in",
                object.identity()
            );
            findings.push(Finding::warning(why).at(object.place(&[])));
        }
        let piece = match &in_json {
            Some(text) => text.clone() + old.get(old.trim_end().len()..).unwrap_or_default(),
            None => patch.document(node, &new, end),
        };
        let piece = ended_as(&old, piece);
        // Anchors in what was replaced, odd indentation: whatever the text cannot be changed to is written anew.
        match value_of(&piece).is_some_and(|value| value == new) {
            true => {
                for (line, column, comment) in patch.lost(node, end, &piece) {
                    let place = Place { source: source.clone(), line, column };
                    let why =
                        format!("the comment `{comment}` is left out: its lines have another shape now");
                    findings.push(Finding::warning(why).at(place).hint("write it anew where it belongs"));
                }
                text += &piece;
            }
            false => {
                let why = format!(
                    "{} is written anew, without its comments: its text has a form that cannot be changed in parts",
                    object.identity()
                );
                findings.push(
                    Finding::warning(why).at(object.place(&[])).hint("write comments anew where they belong"),
                );
                text += &ended_as(&old, whole(&new));
            }
        }
        line = end;
        changed.push(object.identity());
    }
    text += &patch.lines(line, patch.end());
    findings.sort_by_key(|finding| finding.place.as_ref().map(|place| (place.line, place.column)));
    Ok(Converted { text, findings, changed })
}

/// Whether an object is one of Cluster API, of any version and provider, or may be.
fn may_be_ours(object: &Object) -> bool {
    is_ours(&object.group) || has_variable(&object.group) || has_variable(&object.version)
}

/// New lines that end as the old ones do.
fn ended_as(old: &str, new: String) -> String {
    let is_windows = old.split_inclusive('\n').all(|line| !line.ends_with('\n') || line.ends_with("\r\n"));
    match is_windows && old.contains('\n') {
        true => new.replace("\r\n", "\n").replace('\n', "\r\n"),
        false => new,
    }
}

/// Whether an object is one that is moved. Others of Cluster API that are old are told.
fn may_move(object: &Object, findings: &mut Vec<Finding>) -> bool {
    let is_known = |group: Option<&str>| {
        let kinds = SHAPES.iter().map(|(group, kind, ..)| (*group, *kind)).chain(PLAIN.iter().copied());
        kinds.into_iter().any(|(of, kind)| group.is_none_or(|group| group == of) && kind == object.kind)
    };
    let left = |why: String, key: &str| {
        Finding::error(format!("{} is left as it is: {why}", object.identity())).at(object.place(&[key]))
    };
    if (object.group.is_empty() || has_variable(&object.group) || GROUPS.contains(&object.group.as_str()))
        && has_variable(&format!("{}/{}", object.group, object.version))
    {
        if is_known(None) {
            let finding =
                left("nobody knows its version before the variable is filled in".into(), "apiVersion");
            findings.push(finding.hint("write its `apiVersion`, and run it again"));
        }
        return false;
    }
    if !GROUPS.contains(&object.group.as_str()) {
        return false;
    }
    let row = VERSIONS.iter().find(|(group, lead, ..)| {
        *group == object.group && (object.kind.starts_with(lead) || has_variable(&object.kind))
    });
    // Other providers have kinds and versions of their own.
    let Some((.., old, new)) = row else { return false };
    if object.version != *new && !is_known(Some(&object.group)) {
        let why = match has_variable(&object.kind) {
            true => "nobody knows its kind before the variable is filled in".to_owned(),
            false => format!("{} has no kind {} that is known here", object.group, object.kind),
        };
        findings.push(left(why, "kind").hint(format!("move it by hand, with version {new}")));
        return false;
    }
    if !is_known(Some(&object.group)) {
        return false;
    }
    if object.kind == "ClusterClass" && object.version == *old {
        let why = format!(
            "{} is left as it is: the templates and patches of a ClusterClass are not moved",
            object.identity()
        );
        findings.push(Finding::error(why).at(object.place(&["apiVersion"])).hint(
            "apply it to a management cluster of Cluster API 1.11 or later, and read it back: \
             `kubectl get clusterclass.v1beta2.cluster.x-k8s.io NAME -o yaml`",
        ));
        return false;
    }
    if object.version != *old && object.version != *new {
        let why = format!(
            "{} has version {}, and {old} is the oldest that is moved",
            object.identity(),
            object.version
        );
        findings.push(Finding::error(why).at(object.place(&["apiVersion"])).hint(format!(
            "a later one than {new} needs a later prebake; for an older one apply it to a management cluster of its time, and read it back as {old}"
        )));
        return false;
    }
    true
}

#[cfg(test)]
mod tests;
